// User-made elementwise functions: what they compute, their derivatives to order 3, and what a program promises beyond
// the operations one by one.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <thread>
#include <vector>

namespace {

#include "../close.hpp"
#include "../error_message.hpp"

using namespace tapegrad;

template <class T>
constexpr T inf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

// Every lambda serves tensors and symbolic numbers; on tensors it is the reference.
const auto swish = [](const auto& x) { return x / (1 + exp(-x)); };
const auto naive_gelu = [](const auto& x) { return 0.5 * x * (1 + erf(x / std::sqrt(2.0))); };
const auto naive_mish = [](const auto& x) { return x * tanh(log1p(exp(x))); };
const auto beta_swish = [](const auto& x, const auto& beta) { return x * sigmoid(beta * x); };
const auto three = [](const auto& a, const auto& b, const auto& c) { return a * sin(b) - exp(a * c) / (2 + cos(b)); };
const auto four = [](const auto& a, const auto& b, const auto& c, const auto& d) {
  return a * b - tanh(c - d) * a + d;
};

template <Real T>
void check_equal(const Tensor<T>& a, const Tensor<T>& b, double ulp = 0) {
  CAPTURE(a);
  CAPTURE(b);
  REQUIRE(a.shape() == b.shape());
  CHECK(allclose(a, b, ulp * static_cast<double>(std::numeric_limits<T>::epsilon()), 0));
}

template <Real T, class F>
void check_rules(const F& f, const std::vector<Tensor<T>>& at, int order = 3) {
  auto function = [&](std::span<const Tensor<T>> x) {
    if constexpr (std::is_invocable_v<F, Tensor<T>>)
      return f(x[0]);
    else if constexpr (std::is_invocable_v<F, Tensor<T>, Tensor<T>>)
      return f(x[0], x[1]);
    else if constexpr (std::is_invocable_v<F, Tensor<T>, Tensor<T>, Tensor<T>>)
      return f(x[0], x[1], x[2]);
    else
      return f(x[0], x[1], x[2], x[3]);
  };
  CHECK_NOTHROW(check_derivatives<T>(function, at, {.order = std::is_same_v<T, float> ? 2 : order}));
}

TEST_CASE("one lambda for tensors and for elementwise(), and log(1 + exp(x)) without overflow") {
  const auto leaky = [](const auto& x) { return where(x > 0, x, 0.01 * x); };
  const Tensor<> x{-2, 0, 3};
  CHECK(allclose(leaky(x), elementwise(leaky)(x), 0, 0));
  CHECK(allclose(where(x > 0, 1.0, x), Tensor<>{-2, 0, 1}, 0, 0));
  const auto softplus_by_hand = elementwise([](auto z) { return log(1 + exp(z)); });
  const Tensor<> large{-1e4, 0, 750, 1e4};
  CHECK(allclose(softplus_by_hand(large), softplus(large), 1e-15, 0));
  CHECK(allclose(elementwise_grad(softplus_by_hand)(large), sigmoid(large), 1e-15, 0));
}

TEST_CASE("jvp in one pass is the derivative") {
  const auto swish = elementwise([](auto z) { return z / (1 + exp(-z)); }, "swish");
  const auto swish_by_hand = [](const Tensor<>& z) { return z / (1 + exp(-z)); };
  for (std::int64_t n : {0, 1, 7, 1000, 5001}) {
    const Tensor<> x = random::Generator(1).normal<double>({n}), v = random::Generator(2).normal<double>({n});
    const auto [y, tangent] = jvp(swish, x, v);
    const auto [expected, slope] = jvp(swish_by_hand, x, v);
    CHECK(allclose(y, expected, 1e-14, 1e-14));
    CHECK(allclose(tangent, slope, 1e-13, 1e-13));
    const auto nested = [&](const Tensor<>& t) { return sum(jvp(swish, t, v).second); };
    const auto nested_by_hand = [&](const Tensor<>& t) { return sum(jvp(swish_by_hand, t, v).second); };
    CHECK(allclose(grad(nested)(x), grad(nested_by_hand)(x), 1e-12, 1e-12));
  }
  CHECK_THROWS_AS(jvp(swish, Tensor<>{1, 2}, Tensor<>{1}), ShapeError);
}

}  // namespace

TEST_SUITE("elementwise") {
  TEST_CASE_TEMPLATE("a function computes what its lambda does on tensors", T, float, double) {
    random::Generator rng(3);
    // Sizes below, at and above a vector and a block; the last one spans several blocks and leaves a remainder.
    for (std::int64_t n : {0, 1, 3, 8, 15, 16, 17, 384, 767, 768, 769, 5003}) {
      CAPTURE(n);
      const Tensor<T> x = rng.normal<T>({n}, 0, 3);
      check_equal(elementwise(swish)(x), swish(x), 4);
      check_equal(elementwise(naive_gelu)(x), naive_gelu(x), 4);
      check_equal(elementwise(naive_mish)(x), naive_mish(x), 4);
      check_equal(elementwise(three)(x, x, x), three(x, x, x), 4);
      check_equal(elementwise([](auto a) { return 1 - a * a; })(x), 1 - x * x);
      check_equal(elementwise([](auto a) { return (a - 2) * (a + 3) - a; })(x), (x - 2) * (x + 3) - x);
      check_equal(elementwise([](auto a) { return a; })(x), x);
      check_equal(elementwise([](auto a) { return 0 * a + 3; })(x), full<T>({n}, 3));
      check_equal(elementwise([](auto) { return 2; })(x), full<T>({n}, 2));
    }
    check_equal(elementwise(swish)(Tensor<T>(1.5)), swish(Tensor<T>(1.5)), 4);
    check_equal(elementwise(swish)(zeros<T>({2, 0, 3})), zeros<T>({2, 0, 3}));
  }

  TEST_CASE_TEMPLATE("derivatives to order 3", T, float, double) {
    random::Generator rng(4);
    for (const Shape& shape : std::vector<Shape>{{}, {0}, {1}, {5}, {2, 3}, {1, 17}}) {
      const Tensor<T> x = rng.uniform<T>(shape, -1.5, 1.5);
      CAPTURE(shape.rank());
      check_rules<T>(elementwise(swish), {x});
      check_rules<T>(elementwise(naive_gelu), {x});
      check_rules<T>(elementwise(naive_mish), {x});
      check_rules<T>(elementwise([](auto a) { return a * a * a; }), {x});
      check_rules<T>(elementwise([](auto a) { return exp(-(a * a)) * cos(3 * a); }), {x});
      check_rules<T>(elementwise([](auto a) { return sqrt(a * a + 1) + pow(a + 3, 1.5) + cbrt(a + 4) / (2 + a); }),
                     {x});
      check_rules<T>(elementwise([](auto a) { return 3 * a + 1; }), {x});
      check_rules<T>(elementwise([](auto) { return Scalar(7); }), {x});
    }
  }

  TEST_CASE_TEMPLATE("several operands broadcast, in values and derivatives", T, float, double) {
    random::Generator rng(5);
    auto some = [&](const Shape& shape) { return rng.uniform<T>(shape, -1.5, 1.5); };
    using Shapes = std::vector<Shape>;
    for (const Shapes& s : std::vector<Shapes>{{{}, {}},
                                               {{5}, {5}},
                                               {{2, 3}, {}},
                                               {{}, {2, 3}},
                                               {{3, 1}, {4}},
                                               {{4}, {3, 1}},
                                               {{2, 1, 3}, {4, 1}},
                                               {{2, 3, 2}, {3, 1}},
                                               {{0}, {1}},
                                               {{2, 0}, {1}},
                                               {{1}, {3}}}) {
      const Tensor<T> a = some(s[0]), b = some(s[1]);
      check_equal(elementwise(beta_swish)(a, b), beta_swish(a, b), 4);
      check_rules<T>(elementwise(beta_swish), {a, b});
    }
    for (const Shapes& s : std::vector<Shapes>{{{3}, {3}, {3}}, {{2, 1}, {3}, {}}, {{}, {2, 3}, {2, 1}}}) {
      const Tensor<T> a = some(s[0]), b = some(s[1]), c = some(s[2]);
      check_equal(elementwise(three)(a, b, c), three(a, b, c), 8);
      check_rules<T>(elementwise(three), {a, b, c}, 2);
    }
    const Tensor<T> a = some({2, 1, 2}), b = some({3, 1}), c = some({}), d = some({2});
    check_equal(elementwise(four)(a, b, c, d), four(a, b, c, d), 8);
    check_rules<T>(elementwise(four), {a, b, c, d}, 2);
    // Many blocks that do not end where the rows end.
    const Tensor<T> rows = some({70, 1}), columns = some({129}), deep = some({2, 1, 129});
    check_equal(elementwise(beta_swish)(rows, columns), beta_swish(rows, columns), 4);
    check_equal(elementwise(beta_swish)(columns, rows), beta_swish(columns, rows), 4);
    check_equal(elementwise(beta_swish)(rows, deep), beta_swish(rows, deep), 4);
    // Operands can be numbers.
    check_equal(elementwise(beta_swish)(a, 2), beta_swish(a, full<T>({}, 2)), 4);
    check_equal(elementwise(beta_swish)(2, a), beta_swish(full<T>({}, 2), a), 4);
    check_equal(elementwise(three)(2, a, 0.5), three(full<T>({}, 2), a, full<T>({}, 0.5)), 8);
  }

  TEST_CASE("only the operands that are asked for get a derivative") {
    const auto f = elementwise(beta_swish);
    const Tensor<> x{-1, 0.5, 2}, beta(1.5);
    auto reference = [](const Tensor<>& z, const Tensor<>& b) { return sum(beta_swish(z, b)); };
    auto ours = [&](const Tensor<>& z, const Tensor<>& b) { return sum(f(z, b)); };
    CHECK(allclose(grad<0>(ours)(x, beta), grad<0>(reference)(x, beta), 1e-14, 1e-15));
    CHECK(allclose(grad<1>(ours)(x, beta), grad<1>(reference)(x, beta), 1e-14, 1e-15));
    const auto [dx, db] = grad<0, 1>(ours)(x, beta);
    const auto [ex, eb] = grad<0, 1>(reference)(x, beta);
    CHECK(allclose(dx, ex, 1e-14, 1e-15));
    CHECK(allclose(db, eb, 1e-14, 1e-15));
    // The function does not use one of its operands.
    const auto first = elementwise([](auto a, auto) { return a * a; });
    CHECK(allclose(grad<1>([&](const Tensor<>& z, const Tensor<>& b) { return sum(first(z, b)); })(x, beta),
                   Tensor<>(0), 0, 0));
  }

  TEST_CASE("transforms nest") {
    const auto f = elementwise(swish);
    const Tensor<> x{-1, 0.5, 2};
    auto loss = [&](const Tensor<>& z) { return sum(square(f(z)) * f(2 * z)); };
    auto reference = [&](const Tensor<>& z) { return sum(square(swish(z)) * swish(2 * z)); };
    CHECK(allclose(hessian(loss)(x), hessian(reference)(x), 1e-12, 1e-13));
    CHECK(allclose(hvp(loss)(x, ones({3})), hvp(reference)(x, ones({3})), 1e-12, 1e-13));
    CHECK(allclose(jacobian(grad(loss))(x).dense(), jacobian(grad(reference))(x).dense(), 1e-12, 1e-13));
    auto third = [](const auto& g) {
      return grad([=](const Tensor<>& z) { return sum(grad([=](const Tensor<>& u) { return sum(grad(g)(u)); })(z)); });
    };
    CHECK(allclose(third(loss)(x), third(reference)(x), 1e-11, 1e-12));
    CHECK(allclose(batch_jacobian(f)(Tensor<>({{1, 2}, {3, -4}})).dense(),
                   batch_jacobian(swish)(Tensor<>({{1, 2}, {3, -4}})).dense(), 1e-14, 1e-15));
    CHECK(allclose(jvp(f, x, Tensor<>{1, 2, 3}).second, jvp(swish, x, Tensor<>{1, 2, 3}).second, 1e-14, 1e-15));
  }

  TEST_CASE_TEMPLATE("a naive x / (1 + exp(-x)) and its derivatives are finite and right at both ends", T, float,
                     double) {
    const auto f = elementwise([](auto x) { return x / (1 + exp(-x)); });
    const Tensor<T> x{T(-1e4), -200, -89, 89, 200, T(1e4)};
    const Tensor<T> zero = zeros<T>({6}), one{0, 0, 0, 1, 1, 1};
    CHECK(allclose(f(x), x * one, 4 * eps<T>, 1e-30));
    CHECK(allclose(elementwise_grad(f)(x), one, 4 * eps<T>, 1e-30));
    CHECK(allclose(elementwise_grad(elementwise_grad(f))(x), zero, 0, 1e-30));
    // With any other constant nothing is rewritten, and mul0 keeps the derivatives finite.
    const auto g = elementwise([](auto u) { return u / (2 + exp(-u)); });
    CHECK(allclose(elementwise_grad(g)(x), 0.5 * one, 4 * eps<T>, 1e-30));
    CHECK(allclose(elementwise_grad(elementwise_grad(g))(x), zero, 0, 1e-30));
  }

  TEST_CASE("where: values, derivatives, and nothing of the branch not taken") {
    const auto leaky = elementwise([](auto x) { return where(x > 0, x, 0.01 * x); });
    const Tensor<> x{-2, 0, 3, not_a_number<double>};
    CHECK(leaky(x)(0) == -0.02);
    CHECK(leaky(x)(2) == 3);
    CHECK(std::isnan(leaky(x)(3)));
    CHECK(allclose(elementwise_grad(leaky)(Tensor<>{-2, 0, 3}), Tensor<>{0.01, 0.01, 1}, 0, 0));
    // log and its slope are NaN or infinite where the other branch is taken.
    const auto safe_log = elementwise([](auto z) { return where(z > 0, log(z), 0); });
    const Tensor<> z{-1, 0, 2};
    CHECK(allclose(safe_log(z), Tensor<>{0, 0, std::log(2.0)}, 1e-15, 0));
    CHECK(allclose(elementwise_grad(safe_log)(z), Tensor<>{0, 0, 0.5}, 0, 0));
    CHECK(allclose(elementwise_grad(elementwise_grad(safe_log))(z), Tensor<>{0, 0, -0.25}, 0, 0));
    const auto band = elementwise([](auto a, auto b) {
      return where((a >= b && !(a == 2)) || a < -b, 1, 0) + 2 * where(a <= b, 1, 0) + 4 * where(a != b, 1, 0);
    });
    CHECK(allclose(band(Tensor<>{-3, 0, 1, 2, 5}, 1), Tensor<>{7, 6, 3, 4, 5}, 0, 0));
    random::Generator rng(6);
    check_rules<double>(elementwise([](auto a, auto b) { return where(a < b, a * b, exp(a)) * a; }),
                        {Tensor<>{-0.5, 1, 0.3}, Tensor<>{0.5, 0.2, -1}});
  }

  TEST_CASE("captured numbers are fixed when the function is made") {
    double slope = 0.1;
    const auto f = elementwise([&](auto x) { return slope * x; });
    slope = 7;
    CHECK(f(Tensor<>(2.0)).item() == 0.2);
    // Numbers are folded in double, whatever the tensors hold.
    const double third = 1.0 / 3;
    const auto g = elementwise([&](auto x) { return x + (Scalar(third) * 3 - 1); });
    CHECK(g(Tensor<float>(0.F)).item() == 0.F);
  }

  TEST_CASE_TEMPLATE("a function that is a primitive runs as that", T, float, double) {
    random::Generator rng(8);
    const Tensor<T> x = rng.normal<T>({100}), v = rng.normal<T>({100});
    auto same = [&](const auto& f, const auto& primitive) {
      const auto [y, pullback] = vjp(elementwise(f), x);
      const auto [expected, other] = vjp(primitive, x);
      CHECK(allclose(y, expected, 0, 0));
      CHECK(allclose(pullback(v), other(v), 0, 0));
    };
    same([](auto u) { return 1 / (1 + exp(-u)); }, [](const Tensor<T>& u) { return sigmoid(u); });
    same([](auto u) { return tanh(u); }, [](const Tensor<T>& u) { return tanh(u); });
    same([](auto u) { return leaky_relu(u, 0.3); }, [](const Tensor<T>& u) { return leaky_relu(u, 0.3); });
    same([](auto u) { return log1p(exp(u)); }, [](const Tensor<T>& u) { return softplus(u); });
  }

  TEST_CASE("functions of functions, and loops, are one program") {
    const auto inner = elementwise(swish);
    const auto outer = elementwise([&](auto x) { return inner(2 * x) + inner(x); });
    const Tensor<> x{-1, 0.5, 2};
    CHECK(allclose(outer(x), swish(2 * x) + swish(x), 1e-15, 0));
    const auto horner = elementwise([](auto u) {
      auto y = u;
      for (int i = 0; i < 50; ++i) y = y * u + 1.0 / (i + 1);
      return y;
    });
    auto same = [](const Tensor<>& u) {
      Tensor<> y = u;
      for (int i = 0; i < 50; ++i) y = y * u + 1.0 / (i + 1);
      return y;
    };
    CHECK(allclose(horner(0.5 * x), same(0.5 * x), 0, 0));
    CHECK(allclose(elementwise_grad(horner)(0.4 * x), elementwise_grad(same)(0.4 * x), 1e-13, 0));
  }

  TEST_CASE_TEMPLATE("a program changes no bit, signs of zeros and NaN included", T, float, double) {
    const Tensor<T> x{T{-0.0},         0,       -inf<T>, inf<T>,
                      not_a_number<T>, T(-1.3), T(0.7),  std::numeric_limits<T>::denorm_min()};
    auto same_bits = [&](const auto& f) {
      const Tensor<T> ours = elementwise(f)(x), theirs = f(x);
      CAPTURE(ours);
      CAPTURE(theirs);
      for (std::int64_t i = 0; i < x.size(); ++i) {
        const T a = ours.data()[i], b = theirs.data()[i];
        CHECK(((std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b))));
      }
    };
    same_bits([](const auto& a) { return a + 0; });
    same_bits([](const auto& a) { return a - 0; });
    same_bits([](const auto& a) { return a * 1; });
    same_bits([](const auto& a) { return -(-a); });
    same_bits([](const auto& a) { return a + -a; });
    same_bits([](const auto& a) { return 0 - a; });
    same_bits([](const auto& a) { return -a * 3; });
    same_bits([](const auto& a) { return -(a - 0.5); });
    same_bits([](const auto& a) { return a * a - a * a; });
    same_bits([](const auto& a) { return a * a * a - a * 0.3 * a; });
    same_bits([](const auto& a) { return a / 4 + 1 / a; });
    same_bits([](const auto& a) { return a / 3; });
    same_bits([](const auto& a) { return pow(a, 2) + pow(a, 3) - pow(a, -1); });
    same_bits([](const auto& a) { return square(a) - reciprocal(a); });
    same_bits([](const auto& a) { return 1 / (1 + exp(-a)); });
    same_bits([](const auto& a) { return maximum(a, 0.5) * minimum(a, -a) + abs(a) * relu(a) - leaky_relu(a, 0.3); });
    same_bits([](const auto& a) { return a * 0; });
  }

  TEST_CASE("errors name the function and the line") {
    const auto f = elementwise(beta_swish, "beta_swish");
    const std::string message = message_of([&] { f(ones({3}), ones({4})); });
    CHECK(message.find("beta_swish at elementwise.cpp:") == 0);
    CHECK(message.find("(3)") != std::string::npos);
    CHECK(message.find("(4)") != std::string::npos);
    CHECK_THROWS_AS(f(Tensor<>(), ones({1})), ValueError);
    Tensor<> kept;
    grad([&](const Tensor<>& x) { return sum(kept = x); })(ones({2}));
    CHECK(message_of([&] { elementwise(swish, "swish")(kept); }).find("swish at elementwise.cpp:") == 0);
  }

  TEST_CASE("symbolic numbers mean nothing outside of their lambda") {
    Scalar kept = 0;
    elementwise([&](auto x) { return kept = x; });
    CHECK_THROWS_AS(elementwise([&](auto x) { return x + kept; }), ValueError);
    CHECK_THROWS_AS(elementwise([&](auto) { return kept; }), ValueError);
  }

  TEST_CASE("a tape keeps the function alive") {
    const Tensor<> x{-1, 0.5, 2};
    auto make = [](double c) { return elementwise([=](auto z) { return exp(-c * z) * z; }); };
    auto f = [&](const Tensor<>& z) { return make(2)(make(3)(z)); };
    auto reference = [&](const Tensor<>& z) {
      auto g = [](double c, const Tensor<>& u) { return exp(-c * u) * u; };
      return g(2, g(3, z));
    };
    CHECK(allclose(elementwise_grad(f)(x), elementwise_grad(reference)(x), 1e-13, 1e-13));
    CHECK(allclose(elementwise_grad(elementwise_grad(f))(x), elementwise_grad(elementwise_grad(reference))(x), 1e-12,
                   1e-12));
    auto [y, pullback] = vjp(f, x);
    CHECK(allclose(pullback(ones({3})), elementwise_grad(reference)(x), 1e-13, 1e-13));
  }
}

TEST_SUITE("threads") {
  TEST_CASE("threads share a function and make its derivatives together") {
    const Tensor<> x{-1, 0.5, 2}, expected = elementwise_grad(elementwise_grad(naive_gelu))(x);
    for (int round = 0; round < 20; ++round) {
      const auto f = elementwise(naive_gelu);
      std::atomic<int> right{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i) {
        threads.emplace_back(
            [&] { right += allclose(elementwise_grad(elementwise_grad(f))(x), expected, 1e-12, 1e-13); });
      }
      for (std::thread& thread : threads) thread.join();
      CHECK(right == 4);
    }
  }
}

TEST_SUITE("activations") {
  TEST_CASE_TEMPLATE("activations made of other functions: values and derivatives", T, float, double) {
    using L = long double;
    struct Row {
      Tensor<T> (*ours)(const Tensor<T>&);
      L (*exact)(L);
    };

    const Row rows[] = {
        {[](const Tensor<T>& x) { return log_sigmoid(x); }, [](L x) { return -std::log1p(std::exp(-x)); }},
        {[](const Tensor<T>& x) { return silu(x); }, [](L x) { return x / (1 + std::exp(-x)); }},
        {[](const Tensor<T>& x) { return gelu(x); }, [](L x) { return x * std::erfc(-x / std::sqrt(L{2})) / 2; }},
        {[](const Tensor<T>& x) { return gelu_tanh(x); },
         [](L x) {
           // (1 + tanh u) / 2 without the cancellation.
           return x / (1 + std::exp(-2 * std::sqrt(2 / std::numbers::pi_v<L>) * (x + 0.044715L * x * x * x)));
         }},
        {[](const Tensor<T>& x) { return elu(x); }, [](L x) { return x > 0 ? x : std::expm1(x); }},
        {[](const Tensor<T>& x) { return elu(x, 0.5); }, [](L x) { return x > 0 ? x : std::expm1(x) / 2; }},
        {[](const Tensor<T>& x) { return selu(x); },
         [](L x) {
           return 1.0507009873554804934193349852946L * (x > 0 ? x : 1.6732632423543772848170429916717L * std::expm1(x));
         }},
        {[](const Tensor<T>& x) { return mish(x); }, [](L x) { return x * std::tanh(std::log1p(std::exp(x))); }},
        {[](const Tensor<T>& x) { return relu6(x); }, [](L x) { return std::min(std::max(x, L{0}), L{6}); }},
        {[](const Tensor<T>& x) { return hard_sigmoid(x); },
         [](L x) { return std::min(std::max(x + 3, L{0}), L{6}) / 6; }},
        {[](const Tensor<T>& x) { return hard_swish(x); },
         [](L x) { return x * std::min(std::max(x + 3, L{0}), L{6}) / 6; }},
        {[](const Tensor<T>& x) { return hard_tanh(x); }, [](L x) { return std::min(std::max(x, L{-1}), L{1}); }},
        {[](const Tensor<T>& x) { return softplus(x); }, [](L x) { return std::log1p(std::exp(x)); }},
        {[](const Tensor<T>& x) { return softsign(x); }, [](L x) { return x / (1 + std::abs(x)); }},
    };
    for (std::size_t r = 0; r < std::size(rows); ++r) {
      CAPTURE(r);
      const auto& [ours, exact] = rows[r];
      const Tensor<T> x = linspace<T>(-7.93, 8.07, 161), y = ours(x);
      // Away from the corners, where the second difference of long doubles is good to 1e-9.
      const Tensor<T> d = elementwise_grad(ours)(x), dd = elementwise_grad(elementwise_grad(ours))(x);
      for (std::int64_t i = 0; i < x.size(); ++i) {
        const L at = static_cast<L>(x.data()[i]), h = 1e-5L;
        CAPTURE(x.data()[i]);
        // gelu_tanh takes exp of a rounded argument of up to 48.
        CHECK(static_cast<double>(y.data()[i]) == about(static_cast<double>(exact(at)), 100 * eps<T>));
        const L first = (exact(at + h) - exact(at - h)) / (2 * h);
        const L second = (exact(at + h) - 2 * exact(at) + exact(at - h)) / (h * h);
        CHECK(std::abs(static_cast<double>(d.data()[i]) - static_cast<double>(first)) < 40 * eps<T> + 1e-9);
        CHECK(std::abs(static_cast<double>(dd.data()[i]) - static_cast<double>(second)) < 100 * eps<T> + 1e-7);
      }
      // At the ends they are straight lines, and the second derivative is 0.
      const Tensor<T> ends{T(-1e4), T(1e4)};
      const Tensor<T> at_ends = ours(ends), slopes = elementwise_grad(ours)(ends),
                      bends = elementwise_grad(elementwise_grad(ours))(ends);
      for (int i : {0, 1}) {
        const L at = i == 0 ? L{-1e4} : L{1e4};
        CHECK(static_cast<double>(at_ends(i)) == about(static_cast<double>(exact(at)), 4 * eps<T>));
        const L slope = (exact(at + 1) - exact(at - 1)) / 2;
        CHECK(std::abs(static_cast<double>(slopes(i)) - static_cast<double>(slope)) < 4 * eps<T> + 1e-11);
        CHECK(std::abs(static_cast<double>(bends(i))) < 1e-11);
      }
    }
  }

  TEST_CASE("a lambda of twenty thousand operations, by a gradient in linear time") {
    const auto f = elementwise([](auto x) {
      auto y = x;
      for (int i = 0; i < 10000; ++i) y = sin(y) + x;
      return y;
    });
    double y = 0.3, slope = 1;
    for (int i = 0; i < 10000; ++i) slope = std::cos(y) * slope + 1, y = std::sin(y) + 0.3;
    const auto [value, gradient] = value_and_grad([&](const Tensor<>& x) { return sum(f(x)); })(Tensor<>{0.3});
    CHECK(std::abs(value.item() - y) <= 1e-12 * std::abs(y));
    CHECK(std::abs(gradient(0) - slope) <= 1e-9 * std::abs(slope));
  }

  TEST_CASE("activations inside the lambda of another function") {
    const auto f = elementwise([](auto x) { return silu(x) + gelu(2 * x) * elu(x, 0.5); });
    const Tensor<> x{-1, 0.5, 2};
    CHECK(allclose(f(x), silu(x) + gelu(2 * x) * elu(x, 0.5), 1e-14, 0));
  }
}
