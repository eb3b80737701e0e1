// A number read from a tensor on a tape is never a silent constant; x[i] stays on the tape.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/autodiff/xtensor.hpp>
#include <tapegrad/nn.hpp>
#include <thread>
#include <type_traits>
#include <vector>

#include "../error_message.hpp"

namespace {

using namespace tapegrad;
using X = Tensor<>;
using Labels = Tensor<std::int64_t>;

// The message when `read` is given the traced argument; empty if it may read.
template <Real T>
std::string refusal(const std::function<void(const Tensor<T>&)>& read, const Tensor<T>& at) {
  return message_of([&] {
    static_cast<void>(grad([&](const Tensor<T>& x) {
      read(x);
      return sum(x * x);
    })(at));
  });
}

// sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2, by elements and by slices.
template <Real T>
Tensor<T> rosenbrock(const Tensor<T>& x) {
  Tensor<T> total(T(0));
  for (std::int64_t i = 0; i + 1 < x.shape()[0]; ++i) {
    total += 100 * square(x[i + 1] - square(x[i])) + square(1 - x[i]);
  }
  return total;
}
template <Real T>
Tensor<T> rosenbrock_by_slices(const Tensor<T>& x) {
  const Tensor<T> a = slice(x, 0, 0, -1), b = slice(x, 0, 1, x.size());
  return sum(100 * square(b - square(a)) + square(1 - a));
}

template <class I>
concept indexed_by = requires(X x, I i) {
  x[i];
};

TEST_SUITE("reading") {
  TEST_CASE_TEMPLATE("while a function is differentiated, reading throws: operation, line and both cures", T, float,
                     double) {
    using Y = Tensor<T>;
    int line = 0;
    const auto check = [&](const char* operation, const std::function<void(const Y&)>& read) {
      const std::string message = refusal<T>(read, Y{2, 5});
      CAPTURE(message);
      CHECK(message.starts_with(operation + std::string(" at reading.cpp:") + std::to_string(line) + ": "));
      CHECK(contains(message, std::string(operation) == "item" ? "()" : "(2)"));
      CHECK(contains(message, "x[i]"));
      CHECK(contains(message, "stop_gradient(x)"));
    };
    check("an element", [&](const Y& x) { line = __LINE__, static_cast<void>(x(0)); });
    check("an element", [&](const Y& x) { line = __LINE__, static_cast<void>((x * 2)(-1)); });
    check("item", [&](const Y& x) { line = __LINE__, static_cast<void>((sum(x) * ones<T>({2}))[1].item()); });
    check("data", [&](const Y& x) { line = __LINE__, static_cast<void>(x.data()); });
    check("elements_view", [&](const Y& x) { line = __LINE__, static_cast<void>(x.elements_view()); });
    check("array", [&](const Y& x) { line = __LINE__, static_cast<void>(x.array()); });
    check("global_norm", [&](const Y& x) { line = __LINE__, static_cast<void>(nn::global_norm(TensorList<T>{x})); });
  }

  TEST_CASE("under every transform, and under several") {
    const auto f = [](const X& x) { return sum(x) * x(0); };
    const X x{2, 5};
    CHECK_THROWS_AS(static_cast<void>(grad(f)(x)), TapeError);
    CHECK_THROWS_AS(static_cast<void>(vjp(f, x)), TapeError);
    CHECK_THROWS_AS(static_cast<void>(jvp(f, x, x)), TapeError);
    CHECK_THROWS_AS(static_cast<void>(hvp(f)(x, x)), TapeError);
    CHECK_THROWS_AS(static_cast<void>(jacobian(f)(x)), TapeError);
    CHECK_THROWS_AS(static_cast<void>(hessian(f)(x)), TapeError);
    CHECK_THROWS_AS(static_cast<void>(batch_jacobian([](const X& z) { return z * z(0, 0); })(X({{1, 2}}))), TapeError);
    // The argument of the outer function is read inside the inner one.
    CHECK_THROWS_AS(static_cast<void>(grad(
                        [&](const X& a) { return sum(grad([&](const X& b) { return sum(b * a(0)); })(x) * a); })(x)),
                    TapeError);
    // Results of the inner function are read in the outer one: the gradient, the value, a Jacobian.
    const auto inner = [](const X& a) { return [&a](const X& b) { return sum(square(b * a)); }; };
    CHECK_THROWS_AS(static_cast<void>(grad([&](const X& a) { return sum(a) * grad(inner(a))(x)(0); })(x)), TapeError);
    CHECK_THROWS_AS(static_cast<void>(grad([&](const X& a) { return sum(a) * vjp(inner(a), x).first.item(); })(x)),
                    TapeError);
    CHECK_THROWS_AS(static_cast<void>(grad([](const X& a) {
                      return sum(a) * jacobian([](const X& b) { return softmax(b); })(a).dense()(0, 1);
                    })(x)),
                    TapeError);
    // A rule of one's own that reads gives a first derivative and refuses a second.
    const auto own =
        custom<double>({.name = "own",
                        .value = [](auto z) { return X(z[0].data()[0] * z[0].data()[0]); },
                        .pullback = [](std::size_t, auto& v, auto&, auto z) { return reshape(v * 2 * z[0](0), {1}); }});
    const auto of_own = [&](const X& z) { return reshape(own(reshape(z, {1})), {}); };
    CHECK(grad([&](const X& z) { return of_own(z); })(X(3.0)).item() == 6);
    CHECK_THROWS_AS(static_cast<void>(grad(grad(of_own))(X(3.0))), TapeError);
  }

  TEST_CASE("what may be read") {
    const X x{2, 5};
    // Allowed: reading on purpose, printing, comparing, as a mask and as integers, and whatever does not depend on the
    // argument.
    CHECK(allclose(grad([](const X& z) { return sum(z) * stop_gradient(z)(0); })(x), X{2, 2}, 0, 0));
    CHECK(refusal<double>(
              [&](const X& z) {
                std::ostringstream out;
                out << z << sum(z);
                CHECK(out.str() == "[2, 5]7");
                CHECK((z > 0)(1));
                CHECK((z > 0)[1].item());
                CHECK((sum(z) > 0).item());
                CHECK(argmax(z, -1).item() == 1);
                CHECK(astype<std::int64_t>(z)(1) == 5);
                CHECK(allclose(z, x, 0, 0));
                CHECK((2 * x)(1) == 10);
                CHECK(grad([](const X& other) { return sum(other * other); })(x)(0) == 4);
              },
              x) == "");
    CHECK(allclose(grad([](const X& z) {
                     X y = z * z;
                     if ((y[0] > 1).item()) y = y * z;
                     return sum(y);
                   })(x),
                   X{12, 75}, 0, 0));
  }

  TEST_CASE("kept handles of closed scopes, and other threads, read") {
    X kept, outer;
    double there = 0;
    const X g = grad([&](const X& x) {
      outer = x;
      const X inner = grad([&](const X& z) { return kept = z * 3, sum(kept * z); })(X{1, 2});
      CHECK(kept(1) == 6);
      std::thread([&] { there = x(1); }).join();
      return sum(x * inner);
    })(X{2, 5});
    CHECK(allclose(g, X{6, 12}, 0, 0));
    CHECK(there == 5);
    CHECK(outer(0) == 2);
    CHECK(kept.elements_view()[0] == 3);
    // Nor does a scope that an exception closed count.
    CHECK_THROWS(static_cast<void>(
        grad([&](const X& x) -> X { throw std::runtime_error(to_string((kept = x).shape())); })(X{7})));
    CHECK(kept(0) == 7);
  }

  TEST_CASE("the library's own readers work on stopped values") {
    const X a({{0.2, 0.8}, {0.6, 0.4}}), y({{0, 1}, {0, 1}});
    const Labels labels{1, 1};
    const std::string path = std::filesystem::temp_directory_path() / ("tapegrad_reading_" + std::to_string(getpid()));
    std::optional<Labels> classes;
    CHECK(refusal<double>(
              [&](const X& x) {
                CHECK(nn::accuracy(x, labels) == 0.5);
                CHECK(nn::accuracy(x, y) == 0.5);
                CHECK(nn::binary_accuracy(x, y) == 0.5);
                CHECK(nn::precision(x, labels) == 0.5);
                CHECK(nn::recall(x, y * x / x) > 0);
                CHECK(nn::f1(x, labels) > 0);
                CHECK(nn::TopK{.k = 2}(x, labels) == 1);
                CHECK(nn::confusion_matrix(x, labels)(1, 1) == 1);
                CHECK(nn::rmse(x, y) > 0);
                CHECK(nn::r2(x, y) < 1);
                CHECK_NOTHROW(check_derivatives([&](const X& z) { return z * x; }, X({{1, 2}, {3, 4}})));
                nn::write_npy(path + ".npy", x);
                nn::write_npz(path + ".npz", {{"x", x}});
                nn::Sequential<double> model({nn::Dense{1, "sigmoid"}});
                classes = model.predict_classes(x);
              },
              a) == "");
    CHECK(classes->shape() == Shape{2});
    CHECK(allclose(nn::read_npy<double>(path + ".npy"), a, 0, 0));
    CHECK(allclose(nn::read_npz(path + ".npz").read<double>("x"), a, 0, 0));
    std::filesystem::remove(path + ".npy");
    std::filesystem::remove(path + ".npz");
  }

  TEST_CASE("a model that depends on an outer argument gives no plain loss") {
    const X x({{1, 2}, {3, 4}}), y = reshape(X{1, 0}, {2, 1});
    const std::string message = message_of([&] {
      static_cast<void>(grad([&](const X& w) {
        nn::Sequential<double> model({[&](const X& z) { return z * w; }, nn::Dense{1}});
        model.compile({.loss = nn::mse});
        return sum(w) * model.evaluate(x, y).at("loss");
      })(X{1, 2}));
    });
    CHECK(contains(message, "reading.cpp"));
    CHECK(contains(message, "stop_gradient"));
  }

  TEST_CASE("x[i]: elements, rows, from the end, of every type") {
    const X A({{1, 2, 3}, {4, 5, 6}});
    CHECK(A[1].shape() == Shape{3});
    CHECK(allclose(A[1], X{4, 5, 6}, 0, 0));
    CHECK(allclose(A[-2], X{1, 2, 3}, 0, 0));
    CHECK(A[1][0].shape() == Shape{});
    CHECK(A[1][-1].item() == 6);
    CHECK(zeros({3, 0})[2].shape() == Shape{0});
    CHECK(ones<float>({2, 3, 4})[1].shape() == Shape{3, 4});
    const Labels labels{7, 8, 9};
    static_assert(std::is_same_v<decltype(labels[0]), Labels>);
    CHECK(labels[-1].item() == 9);
    const Tensor<bool> mask = A > 4;
    static_assert(std::is_same_v<decltype(mask[0]), Tensor<bool>>);
    CHECK(mask[1][1].item());
    CHECK_FALSE(mask[0][1].item());
    CHECK(A[1L].size() + A[1U].size() + A[std::size_t{1}].size() + A[std::int8_t{1}].size() == 12);
    // What is no index does not compile; nor does what would change nothing, A[0] = x, see packaging/messages.cmake.
    static_assert(std::is_assignable_v<X&, decltype(A[0])>);
    static_assert(!indexed_by<double> && !indexed_by<bool> && indexed_by<short>);
  }

  TEST_CASE("x[i]: derivatives in every way") {
    const X x{2, 5};
    // The example: a sum times an element.
    const auto f = [](const X& z) { return sum(z) * z[0]; };
    CHECK(allclose(grad(f)(x), X{9, 2}, 0, 0));
    CHECK(allclose(jvp(f, x, X{1, 10}).second, X(29.0), 0, 0));
    CHECK(allclose(hessian(f)(x), X({{2, 1}, {1, 0}}), 0, 0));

    random::Generator rng(3);
    const X at = rng.normal<double>({12}), v = rng.normal<double>({12});
    CHECK(allclose(rosenbrock(at), rosenbrock_by_slices(at), 1e-13, 0));
    const X g = grad(rosenbrock<double>)(at), H = hessian(rosenbrock_by_slices<double>)(at);
    CHECK(allclose(g, grad(rosenbrock_by_slices<double>)(at), 1e-12, 1e-12));
    CHECK(allclose(jvp(rosenbrock<double>, at, v).second, sum(g * v), 1e-12, 1e-12));
    CHECK(allclose(hessian(rosenbrock<double>)(at), H, 1e-12, 1e-12));
    CHECK(allclose(hvp(rosenbrock<double>)(at, v), matmul(H, v), 1e-12, 1e-12));
    CHECK(allclose(jacobian(grad(rosenbrock<double>))(at).dense(), H, 1e-12, 1e-12));
    CHECK(allclose(grad([&](const X& z) { return sum(grad(rosenbrock<double>)(z) * v); })(at), matmul(H, v), 1e-12,
                   1e-12));
    const Tensor<float> single = astype<float>(at);
    CHECK(allclose(grad(rosenbrock<float>)(single), grad(rosenbrock_by_slices<float>)(single), 1e-4, 1e-3));
  }

  TEST_CASE("x[i]: Jacobians, with their structure, and rows of a batch") {
    random::Generator rng(4);
    const X x = rng.normal<double>({4, 3});
    const auto f = [](const X& z) { return exp(z[1]) * sum(z[-1]); };
    const auto by_slices = [](const X& z) {
      return exp(reshape(slice(z, 0, 1, 2), {3})) * sum(reshape(slice(z, 0, 3, 4), {3}));
    };
    const auto J = jacobian(f)(x);
    CHECK(J.structure() == Structure::diagonal_plus_low_rank);
    CHECK(allclose(J.dense(), jacobian(by_slices)(x).dense(), 1e-13, 0));
    const X u = rng.normal<double>({3}), v = rng.normal<double>({4, 3});
    CHECK(allclose(J.apply(v), jvp(f, x, v).second, 1e-13, 0));
    CHECK(allclose(J.apply_transposed(u), vjp(f, x).second(u), 1e-13, 0));
    CHECK(allclose(vjp(f, x).second(eye(3)), J.dense(), 1e-13, 0));
    CHECK(jacobian([](const X& z) { return z[2]; })(x[0]).dense().shape() == Shape{3});

    // The batch must stay: columns by an exchange of axes, but no element of the batch.
    const auto columns = [](const X& z) { return reshape(transpose(z)[0] * sum(z, -1), {4, 1}); };
    const auto blocks = batch_jacobian(columns)(x);
    for (std::int64_t b = 0; b < 4; ++b) {
      const X row = x[b];
      CHECK(allclose(blocks.dense()[b][0], grad([](const X& z) { return z[0] * sum(z); })(row), 1e-13, 1e-15));
    }
    const std::string message =
        message_of([&] { static_cast<void>(batch_jacobian([](const X& z) { return z * z[0]; })(x)); });
    CHECK(contains(message, "x[i] at reading.cpp"));
    CHECK(contains(message, "mixes the rows"));
  }

  TEST_CASE("x[i]: the adjoint that it adds to belongs to somebody else") {
    // sum(x * y) gives x and y adjoints that other handles may share; nothing of theirs may change.
    const X x{1, 2, 3}, y{4, 5, 6};
    const auto f = [](const X& a, const X& b) {
      const X c = a + b;
      return sum(c) + c[0] * c[2] + a[1] + b[2] * b[2];
    };
    const auto [by_x, by_y] = grad<0, 1>(f)(x, y);
    CHECK(allclose(by_x, X{10, 2, 6}, 0, 0));
    CHECK(allclose(by_y, X{10, 1, 18}, 0, 0));
    const auto [value, pullback] = vjp([](const X& a) { return a + a[0]; }, x);
    const X g{1, 10, 100};
    CHECK(allclose(pullback(g), X{112, 10, 100}, 0, 0));
    CHECK(allclose(g, X{1, 10, 100}, 0, 0));
  }
}

}  // namespace
