// Derivatives by several arguments and by structs, of every kind, and results beside the loss.
#include <doctest/doctest.h>

#include <array>
#include <map>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tuple>
#include <utility>
#include <vector>

#include "../error_message.hpp"

namespace {

using namespace tapegrad;
using X = Tensor<>;

X normal(const Shape& shape, std::uint64_t seed) { return random::Generator(seed).normal<double>(shape); }
bool close(const X& a, const X& b) { return a.shape() == b.shape() && allclose(a, b, 1e-12, 1e-12); }

/// Of a batch (3, 2), a matrix (2, 4) and a vector (4); no two second derivatives of it are alike.
X energy(const X& x, const X& W, const X& b) {
  return sum(tanh(matmul(x, W) + b) * exp(0.3 * b)) + sum(square(x), {0, 1}) * sum(W * W * W);
}

struct Layer {
  X W, b;
  auto tensors() { return std::tie(W, b); }
};

const X x0 = normal({3, 2}, 1), W0 = normal({2, 4}, 2), b0 = normal({4}, 3);
const X v_x = normal({3, 2}, 4), v_W = normal({2, 4}, 5), v_b = normal({4}, 6);

/// d^2 energy / (d argument i) (d argument j), of one block alone.
template <std::size_t i, std::size_t j>
X block() {
  return jacobian<j>(grad<i>(energy))(x0, W0, b0).dense();
}

X flat(const X& x) { return reshape(x, {-1}); }
X as_matrix(const X& H, std::int64_t rows) { return reshape(H, {rows, -1}); }

TEST_CASE("the Hessian by several arguments is one block for each pair") {
  const auto [xx_xb, bx_bb] = hessian<0, 2>(energy)(x0, W0, b0);
  CHECK(close(std::get<0>(xx_xb), block<0, 0>()));
  CHECK(close(std::get<1>(xx_xb), block<0, 2>()));
  CHECK(close(std::get<0>(bx_bb), block<2, 0>()));
  CHECK(close(std::get<1>(bx_bb), block<2, 2>()));
  CHECK(std::get<1>(xx_xb).shape() == Shape{3, 2, 4});
  // In the order that was asked for.
  const auto in_order = hessian<2, 0>(energy)(x0, W0, b0);
  CHECK(close(std::get<1>(std::get<0>(in_order)), block<2, 0>()));
  CHECK(close(std::get<0>(std::get<1>(in_order)), block<0, 2>()));
  // By one of several.
  CHECK(close(hessian(energy)(x0, W0, b0), block<0, 0>()));
  CHECK(close(hessian<1>(energy)(x0, W0, b0), block<1, 1>()));
  // What does not depend on one argument has blocks of zeros.
  const auto H =
      hessian<0, 1>([](const X& a, const X& b) { return sum(a * a * a) + 0.0 * sum(b); })(X{1, 2}, X{1, 2, 3});
  CHECK(close(std::get<0>(std::get<0>(H)), X({{6, 0}, {0, 12}})));
  CHECK(close(std::get<0>(std::get<1>(H)), zeros({3, 2})));
}

TEST_CASE("the Hessian by a struct is one matrix, in the order of its tensors") {
  const auto by_struct = [](const Layer& l, const X& x) { return energy(x, l.W, l.b); };
  const auto row = [](const X& W_W, const X& W_b) { return concatenate({as_matrix(W_W, 8), as_matrix(W_b, 8)}, 1); };
  const X expected =
      concatenate({row(block<1, 1>(), block<1, 2>()), concatenate({as_matrix(block<2, 1>(), 4), block<2, 2>()}, 1)}, 0);
  CHECK(expected.shape() == Shape{12, 12});
  CHECK(close(hessian(by_struct)(Layer{W0, b0}, x0), expected));
  using Map = std::map<std::string, X>;
  CHECK(close(
      hessian([](const Map& p, const X& x) { return energy(x, p.at("W"), p.at("b")); })(Map{{"W", W0}, {"b", b0}}, x0),
      expected));
  // With a tensor beside it, of which the axes stay.
  const auto H = hessian<0, 1>(by_struct)(Layer{W0, b0}, x0);
  CHECK(close(std::get<0>(std::get<0>(H)), expected));
  const X mixed = concatenate({as_matrix(block<1, 0>(), 8), as_matrix(block<2, 0>(), 4)}, 0);
  CHECK(close(std::get<1>(std::get<0>(H)), reshape(mixed, {12, 3, 2})));
  CHECK(close(std::get<0>(std::get<1>(H)), reshape(transpose(mixed), {3, 2, 12})));
  CHECK(close(std::get<1>(std::get<1>(H)), block<0, 0>()));
  // And differentiable itself.
  const auto trace = [&](const X& x) {
    const X matrix = hessian(by_struct)(Layer{W0, b0}, x);
    return sum(eye(12) * matrix);
  };
  check_derivatives({.order = 1}, trace, x0);
}

TEST_CASE("the Hessian by several arguments keeps what is known of each block") {
  // 1,000 elements: a matrix (1000, 1000) would be made of 1,000 sweeps, a diagonal is not.
  const X a = normal({1000}, 7), b = normal({1000}, 8);
  const auto H = hessian<0, 1>([](const X& p, const X& q) { return sum(p * p * q); })(a, b);
  const X diagonal = eye(1000);
  CHECK(close(std::get<0>(std::get<0>(H)), diagonal * 2 * b));
  CHECK(close(std::get<1>(std::get<0>(H)), diagonal * 2 * a));
  CHECK(close(std::get<1>(std::get<1>(H)), zeros({1000, 1000})));
}

TEST_CASE("jvp by several arguments: the tangents follow all arguments") {
  const auto f = [](const X& x, const X& W, const X& b) { return tanh(matmul(x, W) + b); };
  const auto J_x = jacobian<0>(f)(x0, W0, b0);
  const auto J_b = jacobian<2>(f)(x0, W0, b0);
  const auto [y, dy] = jvp<0, 2>(f)(x0, W0, b0, v_x, v_b);
  CHECK(close(y, f(x0, W0, b0)));
  CHECK(close(dy, J_x.apply(v_x) + J_b.apply(v_b)));
  CHECK(close(jvp<2, 0>(f)(x0, W0, b0, v_b, v_x).second, dy));
  CHECK(close(jvp(f)(x0, W0, b0, v_x).second, J_x.apply(v_x)));
  CHECK(close(jvp<1>(f)(x0, W0, b0, v_W).second, jacobian<1>(f)(x0, W0, b0).apply(v_W)));
  // A struct, with a tangent of its kind, and a tensor; float beside double.
  const auto of_struct = [&f](const X& x, const Layer& l) { return f(x, l.W, l.b); };
  const auto [value, tangent] = jvp<0, 1>(of_struct)(x0, Layer{W0, b0}, v_x, Layer{v_W, v_b});
  CHECK(close(value, y));
  CHECK(close(tangent, dy + jacobian<1>(f)(x0, W0, b0).apply(v_W)));
  const auto mixed = [](const X& p, const Tensor<float>& q) { return p * astype<double>(q); };
  CHECK(close(jvp<0, 1>(mixed)(X{2, 3}, Tensor<float>{4, 5}, X{1, 10}, Tensor<float>{100, 0}).second, X{204, 50}));
}

TEST_CASE("hvp by several arguments and by structs") {
  const auto [h_x, h_b] = hvp<0, 2>(energy)(x0, W0, b0, v_x, v_b);
  const auto product = [](const X& H, const X& v) { return matmul(reshape(H, {-1, v.size()}), flat(v)); };
  CHECK(close(flat(h_x), product(block<0, 0>(), v_x) + product(block<0, 2>(), v_b)));
  CHECK(close(flat(h_b), product(block<2, 0>(), v_x) + product(block<2, 2>(), v_b)));
  CHECK(close(flat(hvp(energy)(x0, W0, b0, v_x)), product(block<0, 0>(), v_x)));
  CHECK(close(flat(hvp<1>(energy)(x0, W0, b0, v_W)), product(block<1, 1>(), v_W)));
  const auto by_struct = [](const Layer& l, const X& x) { return energy(x, l.W, l.b); };
  const Layer h = hvp(by_struct)(Layer{W0, b0}, x0, Layer{v_W, v_b});
  CHECK(close(flat(h.W), product(block<1, 1>(), v_W) + product(block<1, 2>(), v_b)));
  CHECK(close(flat(h.b), product(block<2, 1>(), v_W) + product(block<2, 2>(), v_b)));
}

TEST_CASE("tangents that do not fit are refused, naming the operation and the line") {
  const auto refused = [](const auto& call, const std::string& operation, const std::string& shape) {
    const std::string message = message_of(call);
    CAPTURE(message);
    CHECK(message.starts_with(operation + " at several.cpp:"));
    CHECK(contains(message, shape));
  };
  refused([] { jvp<0, 2>(energy)(x0, W0, b0, v_x, v_W); }, "jvp", "(2, 4) where (4) is needed");
  refused([] { hvp<0, 2>(energy)(x0, W0, b0, v_b, v_b); }, "hvp", "(4) where (3, 2) is needed");
  refused([] { hvp(energy)(x0, W0, b0, v_b); }, "hvp", "a tangent has shape (4)");
  refused([] { jvp([](const X& x) { return x; }, x0, b0); }, "jvp", "a tangent has shape (4)");
  const auto of_list = [](const std::vector<X>& p) { return sum(p[0]); };
  refused([&] { jvp(of_list)(std::vector<X>{x0, b0}, std::vector<X>{x0}); }, "jvp", "different numbers of tensors");
  refused([&] { hvp(of_list)(std::vector<X>{x0}, std::vector<X>{x0, b0}); }, "hvp", "different numbers of tensors");
  const auto pullback = vjp([](const X& x, const X& W) { return matmul(x, W); }, x0, W0).second;
  refused([&] { pullback(b0); }, "the pullback of vjp", "a cotangent has shape (4) where (3, 4) is needed");
  using Map = std::map<std::string, X>;
  const auto product = [](const Map& p) { return sum(p.at("a") * p.at("b")); };
  const Map at{{"a", X{1, 2}}, {"b", X{3, 4}}}, other{{"b", X{1, 0}}, {"c", X{0, 1}}};
  CHECK(contains(message_of([&] { hvp(product)(at, other); }), "tensors of other names"));
  CHECK(contains(message_of([&] { jvp(product, at, other); }), "tensors of other names"));
  CHECK(contains(message_of([&] { jvp(product, at, Map{{"a", X{1, 0}}}); }), "numbers of tensors"));
  CHECK_NOTHROW(hvp(product)(at, at));
}

TEST_CASE("the first of a pair is differentiated as the second is") {
  using Pair = std::pair<X, X>;
  const auto f = [](const Pair& p) { return sum(square(p.first) * p.second); };
  const Pair g = grad(f)(Pair{X{1, 2}, X{3, -1}});
  CHECK(close(g.first, X{6, -4}));
  CHECK(close(g.second, X{1, 4}));
}

TEST_CASE("results beside the loss") {
  const auto f = [](const X& w, const X& x) {
    const X y = tanh(x * w);
    return std::tuple(sum(square(y)), y, std::string("text"), 7, std::vector<X>{y + 1, x}, argmax(y, -1),
                      std::pair(3 * y, std::array<double, 2>{1, 2}));
  };
  const auto loss_alone = [&f](const X& w, const X& x) { return std::get<0>(f(w, x)); };
  const X w{0.5, -1, 2}, x{1, 2, 3};
  const auto [value, gradient] = value_and_grad(f)(w, x);
  const auto& [loss, y, text, number, list, label, pair] = value;
  CHECK(close(gradient, grad(loss_alone)(w, x)));
  CHECK(close(grad(f)(w, x), gradient));
  CHECK(close(grad<1>(f)(w, x), grad<1>(loss_alone)(w, x)));
  CHECK(close(loss, loss_alone(w, x)));
  CHECK(close(y, tanh(x * w)));
  CHECK(text == "text");
  CHECK(number == 7);
  CHECK(close(list[0], y + 1));
  CHECK(label.item() == 2);
  CHECK(close(pair.first, 3 * y));
  // None is left on the tape of the function that has returned.
  for (const X& result : {loss, y, list[0], list[1], pair.first}) CHECK_FALSE(result.traced());

  // Inside another function they stay on its tape: d/dw of sum(y) + sum(g), where y and g come from within.
  const auto outer = [&](const X& p) {
    const auto [inner, slopes] = value_and_grad([](const X& q) {
      const X z = tanh(q);
      return std::pair(sum(z * z), z);
    })(p);
    return sum(inner.second) + sum(slopes);
  };
  const auto by_hand = [](const X& p) {
    const X z = tanh(p);
    return sum(z) + sum(2 * z * (1 - z * z));
  };
  CHECK(close(grad(outer)(w), grad(by_hand)(w)));
  // Second derivatives are the loss's.
  const auto with_aux = [](const X& p) { return std::pair(sum(p * p * p), p); };
  CHECK(close(hessian(with_aux)(w), 6 * w * eye(3)));
  CHECK(close(hvp(with_aux)(w, x), 6 * w * x));
  CHECK(contains(message_of([&] { grad([](const X& p) { return std::pair(p, p); })(w); }), "grad at several.cpp:"));
}

}  // namespace
