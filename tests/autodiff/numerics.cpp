// Numbers: stability, infinities and NaN, documented subgradients, accuracy, the xtensor bridge, printing, random
// numbers, matrix products against another library.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numbers>
#include <set>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/autodiff/xtensor.hpp>
#include <utility>
#include <vector>
#include <xtensor-blas/xlinalg.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>

#include "../close.hpp"

namespace {

using namespace tapegrad;
using X = Tensor<>;

template <class T>
constexpr T inf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

template <Real T>
bool all_finite(const Tensor<T>& x) {
  return std::all_of(x.data(), x.data() + x.size(), [](T v) { return std::isfinite(v); });
}
template <Real T>
bool all_nan(const Tensor<T>& x) {
  return std::all_of(x.data(), x.data() + x.size(), [](T v) { return std::isnan(v); });
}
// Equal bit for bit, except for the sign of zero.
template <class T>
void check_equal(const Tensor<T>& a, const Tensor<T>& b) {
  CAPTURE(a);
  CAPTURE(b);
  REQUIRE(a.shape() == b.shape());
  CHECK(std::equal(a.data(), a.data() + a.size(), b.data()));
}
template <Real T>
void check_close(const Tensor<T>& a, const Tensor<T>& b, double tolerance) {
  CAPTURE(a);
  CAPTURE(b);
  CHECK(allclose(a, b, tolerance, tolerance));
}

template <class T>
concept HasView = requires {
  std::declval<T>().array();
};

TEST_SUITE("numerics") {
  // ---------------------------------------------------------------------------------------------- stability

  TEST_CASE_TEMPLATE("extreme inputs give finite values and gradients", T, float, double) {
    using V = Tensor<T>;
    const V x{1e4, 0, -1e4, 9e3};
    struct Function {
      std::string name;
      std::function<V(const V&)> f;
      V value;
    };
    const std::vector<Function> functions = {
        {"softmax", [](const V& z) { return softmax(z); }, {1, 0, 0, 0}},
        {"log_softmax", [](const V& z) { return log_softmax(z); }, {0, -1e4, -2e4, -1e3}},
        {"logsumexp", [](const V& z) { return logsumexp(z, -1); }, V(1e4)},
        {"softmax of equals", [](const V& z) { return softmax(z * 0 - 1e4); }, {0.25, 0.25, 0.25, 0.25}},
        {"sigmoid", [](const V& z) { return sigmoid(z); }, {1, 0.5, 0, 1}},
        {"tanh", [](const V& z) { return tanh(z); }, {1, 0, -1, 1}},
        {"erf", [](const V& z) { return erf(z); }, {1, 0, -1, 1}},
        {"softplus", [](const V& z) { return relu(z) + log1p(exp(-abs(z))); }, {1e4, std::log(T{2}), 0, 9e3}},
        {"exp of very negative", [](const V& z) { return exp(minimum(z, 0) - 1e4); }, {0, 0, 0, 0}},
    };
    for (const Function& function : functions) {
      CAPTURE(function.name);
      check_close(function.f(x), function.value, 4 * eps<T>);
      auto total = [&](const V& z) { return sum(function.f(z)); };
      CHECK(all_finite(grad(total)(x)));
      CHECK(all_finite(jacobian(function.f)(x).dense()));
      CHECK(all_finite(jacobian(function.f, {.sweep = Sweep::forward})(x).dense()));
      CHECK(all_finite(hessian(total)(x)));
    }
    // The loss of a prediction that is entirely wrong still has a slope.
    check_close(grad([](const V& z) { return -sum(log_softmax(z) * V{0, 0, 1, 0}); })(x), V{1, 0, -1, 0}, 4 * eps<T>);
  }

  TEST_CASE_TEMPLATE("the edges of exp and of the shift", T, float, double) {
    using V = Tensor<T>;
    CHECK(exp(V(T{1000})).item() == inf<T>);
    CHECK(exp(V(-inf<T>)).item() == 0);
    CHECK(exp(V(inf<T>)).item() == inf<T>);
    CHECK(log(V(T{0})).item() == -inf<T>);
    CHECK(std::isnan(log(V(T{-1})).item()));
    CHECK(std::isnan(sqrt(V(T{-1})).item()));
    CHECK(log(V(inf<T>)).item() == inf<T>);
    CHECK(log1p(V(T{-1})).item() == -inf<T>);
    CHECK(log1p(V(T(1e-30))).item() == T(1e-30));
    CHECK(tanh(V(T(1e-30))).item() == T(1e-30));
    check_equal(softmax(V{-inf<T>, 0, 0}), V{0, 0.5, 0.5});
    CHECK(logsumexp(V{-inf<T>, 3}, -1).item() == 3);
    CHECK(logsumexp(V{T{-1000}}, -1).item() == -1000);
  }

  // ---------------------------------------------------------------------------------------------- 0 * inf

  TEST_CASE_TEMPLATE("an infinite slope that nothing asks for gives no NaN", T, float, double) {
    using V = Tensor<T>;
    struct Function {
      std::string name;
      std::function<V(const V&)> f;
      double slope_at_4;
    };
    const std::vector<Function> functions = {
        {"sqrt", [](const V& z) { return sqrt(z); }, 0.25},
        {"log", [](const V& z) { return log(z); }, 0.25},
        {"log1p", [](const V& z) { return log1p(z - 1); }, 0.25},
        {"divide", [](const V& z) { return 1 / z; }, -1.0 / 16},
        {"divide its own numerator", [](const V& z) { return z / z; }, 0},
        {"pow 0.5", [](const V& z) { return pow(z, 0.5); }, 0.25},
        {"pow -1", [](const V& z) { return pow(z, -1); }, -1.0 / 16},
        {"pow 0.3", [](const V& z) { return pow(z, 0.3); }, 0.3 * std::pow(4.0, -0.7)},
        {"mul0",
         [](const V& z) {
           return mul0(V{0, 1}, log(z));
         },
         0.25},
        {"mul0 of both", [](const V& z) { return mul0(z, 1 / z); }, 0},
    };
    const V x{0, 4};
    const double tolerance = std::is_same_v<T, float> ? 1e-6 : 1e-14;
    for (const Function& function : functions) {
      CAPTURE(function.name);
      auto masked = [&](const V& z) { return sum(where(z > 0, function.f(z), 0)); };
      check_close(grad(masked)(x), V{0, T(function.slope_at_4)}, tolerance);
      const auto [y, pullback] = vjp(function.f, x);
      check_close(pullback(V{0, 1}), V{0, T(function.slope_at_4)}, tolerance);
      check_close(pullback(V{0, 0}), V{0, 0}, 0);
      check_close(jvp(function.f, x, V{0, 1}).second * V{0, 1}, V{0, T(function.slope_at_4)}, tolerance);
      // The same holds for what a second derivative does with it.
      CHECK(all_finite(hessian(masked)(x)));
      CHECK(all_finite(hvp(masked)(x, V{1, 1})));
    }
    // If it is asked for, it is infinite.
    CHECK(grad([](const V& z) { return sqrt(z); })(V(T{0})).item() == inf<T>);
    CHECK(grad([](const V& z) { return log(z); })(V(T{0})).item() == inf<T>);
    CHECK(grad([](const V& z) { return 1 / z; })(V(T{0})).item() == -inf<T>);
    // The cross-entropy of a certain and correct prediction.
    const V a{1, 0, 0}, y{1, 0, 0};
    auto entropy = [&](const V& p) { return -sum(mul0(y, log(p))); };
    CHECK(entropy(a).item() == 0);
    check_equal(grad(entropy)(a), V{-1, 0, 0});
  }

  TEST_CASE("negative powers whose slope overflows before the product does") {
    const auto slope = [](double p, double at) {
      return grad([=](const Tensor<>& x) { return log(pow(x, p)); })(Tensor<>(at));
    };
    for (const auto& [p, at] : {std::pair{-1.0, 1e-200}, std::pair{-2.0, 1e-120}, std::pair{-0.5, 1e-250}})
      CHECK(slope(p, at).item() == about(p / at, 1e-14));
  }

  TEST_CASE("mul0") {
    const double big = inf<double>, bad = not_a_number<double>;
    check_equal(mul0(X{0, 0, 2, 0, 2, -0.0}, X{big, bad, 3, 5, big, -big}), X{0, 0, 6, 0, big, 0});
    check_equal(mul0(X{big, -big, 1}, X{0, 0, 0}), zeros({3}));
    CHECK(std::isnan(mul0(X(2.0), X(bad)).item()));
    check_equal(mul0(X{bad, 0, -0.0}, X{0, bad, bad}), zeros({3}));
    CHECK(std::isnan(mul0(X(bad), X(2.0)).item()));
    // Finite products are not touched, at any length.
    for (std::int64_t n = 1; n <= 20; ++n) {
      check_equal(mul0(zeros({n}), full({n}, big)), zeros({n}));
      check_equal(mul0(ones<float>({n}), full<float>({n}, inf<float>)), full<float>({n}, inf<float>));
      check_equal(mul0(zeros<float>({n}), full<float>({n}, not_a_number<float>)), zeros<float>({n}));
    }
  }

  TEST_CASE_TEMPLATE("xlogy and entropy: 0 log 0 is 0", T, float, double) {
    using V = Tensor<T>;
    const T nan = not_a_number<T>;
    const V x{0, 0, 0, 0, -0.0, 0, 2, 2, -2}, y{0, 3, inf<T>, -1, 0, nan, 0, inf<T>, 0};
    const V value = xlogy(x, y);
    check_equal(slice(value, 0, 0, 5), zeros<T>({5}));
    CHECK(std::isnan(value(5)));
    check_equal(slice(value, 0, 6, 9), V{-inf<T>, inf<T>, inf<T>});
    CHECK(std::isnan(xlogy(V(T{2}), V(T{-1})).item()));
    CHECK(std::isnan(xlogy(V(nan), V(T{0})).item()));
    CHECK(std::isnan(xlogy(V(inf<T>), V(T{1})).item()));  // inf * 0
    check_equal(xlogy(0, V{1, 0}), zeros<T>({2}));
    // (a, b, a log b, log b, a / b), by mpmath.
    for (const auto& [a, b, f, by_a, by_b] :
         std::vector<std::array<double, 5>>{{0.5, 3, 0.549306144334054846, 1.09861228866810969, 0.166666666666666667},
                                            {2, 0.25, -2.77258872223978124, -1.38629436111989062, 8},
                                            {-1.5, 0.25, 2.07944154167983593, -1.38629436111989062, -6},
                                            {0, 0.25, 0, -1.38629436111989062, 0},
                                            {0, 0, 0, -inf<double>, 0}}) {
      const double tolerance = 4 * static_cast<double>(std::numeric_limits<T>::epsilon());
      auto near = [&](T u, double v) {
        return static_cast<double>(u) == v || std::abs(u - v) <= tolerance * std::abs(v);
      };
      const V p = V(T(a)), q = V(T(b));
      CHECK(near(xlogy(p, q).item(), f));
      auto of = [](const V& u, const V& v) { return xlogy(u, v); };
      const auto [da, db] = grad<0, 1>(of)(p, q);
      CHECK((near(da.item(), by_a) && near(db.item(), by_b)));
      CHECK(near(jvp([&](const V& u) { return xlogy(u, q); }, p, V(T{1})).second.item(), by_a));
      CHECK(near(jvp([&](const V& v) { return xlogy(p, v); }, q, V(T{1})).second.item(), by_b));
      // The same in an elementwise program.
      const auto program = elementwise([](auto u, auto v) { return xlogy(u, v); });
      CHECK(near(program(p, q).item(), f));
      const auto [pa, pb] = grad<0, 1>([&](const V& u, const V& v) { return program(u, v); })(p, q);
      CHECK((near(pa.item(), by_a) && near(pb.item(), by_b)));
      // d2 / da db = 1 / b from either side.
      const T first = grad([&](const V& v) { return grad([&](const V& u) { return xlogy(u, v); })(p); })(q).item();
      const T second = grad([&](const V& u) { return grad([&](const V& v) { return xlogy(u, v); })(q); })(p).item();
      CHECK((near(first, 1 / b) && near(second, 1 / b)));
    }
    // Denormal numbers, whose reciprocal overflows.
    const V tiny(std::numeric_limits<T>::min() / 16);
    CHECK(grad([&](const V& v) { return xlogy(tiny, v); })(tiny).item() == 1);

    const V certain{0, 1, 0}, p{T(0.125), T(0.5), T(0.375)};
    check_equal(entropy(certain), V(T{0}));
    CHECK_FALSE(std::signbit(entropy(certain).item()));
    check_close(entropy(p), V(T(0.974314752869349485)), 4 * eps<T>);
    check_close(entropy(concatenate({reshape(p, {3, 1}), reshape(p, {3, 1})}, 1), 0, keep_dims),
                full<T>({1, 2}, T(0.974314752869349485)), 4 * eps<T>);
    CHECK(entropy(zeros<T>({2, 0})).shape() == Shape{2});
    check_close(grad([](const V& z) { return entropy(z); })(p), -log(p) - 1, 4 * eps<T>);
    check_equal(grad([](const V& z) { return entropy(z); })(certain), V{inf<T>, -1, inf<T>});
    check_close(hessian([](const V& z) { return entropy(z); })(p), -eye<T>(3) / p, 4 * eps<T>);
    // After a softmax, an impossible class has no effect.
    const V logits{-inf<T>, 1, 2, T(-1e4)};
    const V slope = grad([](const V& z) { return entropy(softmax(z)); })(logits);
    check_close(
        slope,
        concatenate({zeros<T>({1}), grad([](const V& z) { return entropy(softmax(z)); })(V{1, 2}), zeros<T>({1})}),
        4 * eps<T>);
    CHECK_THROWS_AS(entropy(p, 1), ShapeError);
  }

  TEST_CASE("powers at zero and of negative numbers") {
    auto slope = [](double p, double x) { return grad([=](const X& z) { return pow(z, p); })(X(x)).item(); };
    auto curvature = [](double p, double x) { return hessian([=](const X& z) { return pow(z, p); })(X(x)).item(); };
    CHECK(pow(X(0.0), 0).item() == 1);
    CHECK(slope(0, 0) == 0);
    CHECK(slope(1, 0) == 1);
    CHECK(slope(2, 0) == 0);
    CHECK(curvature(1, 0) == 0);
    CHECK(curvature(2, 0) == 2);
    CHECK(curvature(3, 0) == 0);
    CHECK(curvature(0, 0) == 0);
    CHECK(slope(3, -2) == 12);
    CHECK(slope(-1, -2) == -0.25);
    CHECK(pow(X(-2.0), 3).item() == -8);
    CHECK(pow(X(-2.0), -2).item() == 0.25);
    CHECK(std::isnan(pow(X(-2.0), 0.5).item()));
    CHECK(pow(X(2.0), 100).item() == about(std::pow(2.0, 100), 1e-13));
    CHECK(pow(X(1.7), 3.3).item() == about(std::pow(1.7, 3.3), 1e-14));
    CHECK(pow(Tensor<float>(3), 0.5).item() == about(std::sqrt(3.0F), 1e-6));
  }

  // ---------------------------------------------------------------------------------------------- corners

  TEST_CASE_TEMPLATE("documented subgradients", T, float, double) {
    using V = Tensor<T>;
    for (std::int64_t n : {1, 3, 9, 33}) {  // all lanes, and a remainder
      const V zero = zeros<T>({n}), one = ones<T>({n}), half = full<T>({n}, T(0.5));
      auto slopes = [&](auto f) { return elementwise_grad(f)(zero); };
      check_equal(slopes([](const V& z) { return relu(z); }), zero);
      check_equal(slopes([](const V& z) { return relu(-z); }), zero);
      check_equal(slopes([](const V& z) { return leaky_relu(z, 0.25); }), full<T>({n}, T(0.25)));
      check_equal(slopes([](const V& z) { return abs(z); }), zero);
      check_equal(slopes([](const V& z) { return maximum(z, 0); }), half);
      check_equal(slopes([](const V& z) { return minimum(0, z); }), half);
      check_equal(slopes([](const V& z) { return maximum(z, z); }), one);
      check_equal(jvp([](const V& z) { return maximum(z, 0); }, zero, one).second, half);
      const auto [da, db] = grad<0, 1>([](const V& a, const V& b) { return sum(maximum(a, b)); })(one, one);
      check_equal(da, half);
      check_equal(db, half);
    }
    // The first of equal elements.
    auto first = [](auto reduce) { return [=](const V& z) { return sum(reduce(z)); }; };
    const V ties{2, 5, 5, 1, 1, 5};
    check_equal(grad(first([](const V& z) { return max(z); }))(ties), V{0, 1, 0, 0, 0, 0});
    check_equal(grad(first([](const V& z) { return min(z); }))(ties), V{0, 0, 0, 1, 0, 0});
    CHECK(jvp([](const V& z) { return max(z); }, ties, V{1, 2, 3, 4, 5, 6}).second.item() == 2);
    const V rows({{3, 3}, {3, 1}});
    check_equal(grad(first([](const V& z) { return max(z, 0); }))(rows), V({{1, 1}, {0, 0}}));
    check_equal(grad(first([](const V& z) { return max(z, 1); }))(rows), V({{1, 0}, {1, 0}}));
    CHECK(argmax(ties, -1).item() == 1);
    check_equal(argmax(rows, -1), Tensor<std::int64_t>{0, 0});
    check_equal(argmax(rows, 0), Tensor<std::int64_t>{0, 0});
    // Equal elements keep their order in a sort.
    check_equal(vjp([](const V& z) { return sort(z); }, ties).second(V{1, 2, 3, 4, 5, 6}), V{3, 4, 5, 1, 2, 6});
    // The second derivative at a corner is 0.
    check_equal(hessian([](const V& z) { return sum(relu(z) + abs(z) + maximum(z, 0)); })(zeros<T>({3})),
                zeros<T>({3, 3}));
  }

  TEST_CASE_TEMPLATE("NaN is not lost", T, float, double) {
    using V = Tensor<T>;
    const T nan = not_a_number<T>;
    for (std::int64_t n : {1, 2, 5, 8, 17, 64, 100}) {
      CAPTURE(n);
      for (std::int64_t at = 0; at < n; at += (n > 20 ? 7 : 1)) {
        V x = full<T>({n}, T{1});
        x.mutable_data()[at] = nan;
        for (const V& y :
             {relu(x), leaky_relu(x, 0.01), maximum(x, 0), maximum(0, x), minimum(x, 0), minimum(0, x), abs(x), exp(x),
              tanh(x), sqrt(x), sigmoid(x), erf(x), log(x), log1p(x), pow(x, 2), pow(x, 0.3), -x, x * 0}) {
          CHECK(std::isnan(y(at)));
          CHECK((n == 1 || !std::isnan(y(at == 0 ? n - 1 : 0))));
        }
        CHECK(std::isnan(max(x).item()));
        CHECK(std::isnan(min(x).item()));
        CHECK(std::isnan(sum(x).item()));
        CHECK(std::isnan(mean(x).item()));
        CHECK(all_nan(softmax(x)));
        CHECK(all_nan(log_softmax(x)));
        CHECK(std::isnan(logsumexp(x, -1).item()));
        CHECK(argmax(x, -1).item() == at);
        CHECK(std::isnan(max(reshape(x, {n, 1}), 0).item()));
        CHECK(std::isnan(max(concatenate({reshape(x, {n, 1}), ones<T>({n, 1})}, 1), 0)(0)));
        const V sorted = sort(x);
        CHECK(std::isnan(sorted(n - 1)));
        CHECK((n == 1 || sorted(0) == 1));
        CHECK_FALSE((x < 2)(at));
        CHECK_FALSE((x >= 0)(at));
        CHECK_FALSE((x == x)(at));
        CHECK((x != x)(at));
        CHECK((x == x)(at == 0 ? n - 1 : 0) == (n > 1));
      }
    }
    CHECK(std::isnan(maximum(V(nan), V(T{1})).item()));
    CHECK(std::isnan(maximum(V(T{1}), V(nan)).item()));
    CHECK(std::isnan(minimum(V(nan), V(T{1})).item()));
    CHECK(std::isnan(minimum(V(T{1}), V(nan)).item()));
    CHECK(max(V{-inf<T>, -inf<T>}).item() == -inf<T>);
    CHECK(min(V{inf<T>, inf<T>}).item() == inf<T>);
  }

  // ---------------------------------------------------------------------------------------------- accuracy

  TEST_CASE("float sums do not lose their small terms") {
    const std::int64_t n = 20'000'000;
    const Tensor<float> x = ones<float>({n});
    CHECK(sum(x).item() == 2e7F);
    CHECK(mean(x).item() == 1);
    check_equal(sum(reshape(x, {n / 2, 2}), 0), full<float>({2}, 1e7F));
    check_equal(sum(reshape(x, {2, n / 2}), 1), full<float>({2}, 1e7F));
    // Nor does the adjoint of what was broadcast.
    CHECK(grad([&](const Tensor<float>& b) { return sum(x * b); })(Tensor<float>(2)).item() == 2e7F);
    const Tensor<float> tenths = full<float>({n}, 0.1F);
    CHECK(sum(tenths).item() == about(static_cast<double>(0.1F) * static_cast<double>(n), 1e-6));
  }

  template <class T, class Ours, class Reference>
  double worst_ulp(Ours ours, Reference reference, double low, double high) {
    random::Generator rng(11);
    const Tensor<T> x =
        concatenate({rng.uniform<T>({20000}, low, high), rng.normal<T>({2000}, 0.5 * (low + high), 1e-3)});
    const Tensor<T> y = ours(x);
    double worst = 0;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      if (x.data()[i] < static_cast<T>(low) || x.data()[i] > static_cast<T>(high)) continue;
      const long double exact = reference(static_cast<long double>(x.data()[i]));
      const T near = static_cast<T>(exact);
      const long double ulp =
          static_cast<long double>(std::nextafter(std::abs(near), inf<T>)) - static_cast<long double>(std::abs(near));
      worst = std::max(worst, static_cast<double>(std::abs(static_cast<long double>(y.data()[i]) - exact) / ulp));
    }
    return worst;
  }

  TEST_CASE_TEMPLATE("elementary functions are within a few ulp of long double", T, float, double) {
    using V = Tensor<T>;
    using L = long double;
    constexpr bool is_float = std::is_same_v<T, float>;
    const double edge = is_float ? 86 : 700;
    auto worst = [](auto ours, auto exact, double low, double high) { return worst_ulp<T>(ours, exact, low, high); };
    auto exp_ = [](const V& x) { return exp(x); };
    auto exp_exact = [](L x) { return std::exp(x); };
    CHECK(worst(exp_, exp_exact, -edge, edge) <= 4);
    CHECK(worst(exp_, exp_exact, -1, 1) <= 4);
    auto log_ = [](const V& x) { return log(x); };
    auto log_exact = [](L x) { return std::log(x); };
    CHECK(worst(log_, log_exact, 1e-30, 1e-20) <= 4);
    CHECK(worst(log_, log_exact, 1e-3, 0.5) <= 4);
    CHECK(worst(log_, log_exact, 0.5, 2) <= 4);
    CHECK(worst(log_, log_exact, 2, 1e30) <= 4);
    auto tanh_ = [](const V& x) { return tanh(x); };
    auto tanh_exact = [](L x) { return std::tanh(x); };
    CHECK(worst(tanh_, tanh_exact, -0.1, 0.1) <= 4);
    CHECK(worst(tanh_, tanh_exact, -1, 1) <= 4);
    CHECK(worst(tanh_, tanh_exact, -30, 30) <= 4);
    auto all = [&](auto ours, auto exact, double ulp, std::initializer_list<std::pair<double, double>> ranges) {
      for (const auto& range : ranges) {
        const auto low = range.first, high = range.second;
        CAPTURE(low);
        CHECK(worst(ours, exact, low, high) <= ulp);
      }
    };
    all([](const V& x) { return erf(x); }, [](L x) { return std::erf(x); }, 4, {{-0.1, 0.1}, {-1, 1}, {-6, 6}});
    all([](const V& x) { return erfc(x); }, [](L x) { return std::erfc(x); }, 4,
        {{-0.1, 0.1}, {-1, 1}, {-6, 6}, {0.4, 4.1}, {4, is_float ? 9.1 : 26}});
    all([](const V& x) { return expm1(x); }, [](L x) { return std::expm1(x); }, 4,
        {{-edge, edge}, {-1, 1}, {-1e-8, 1e-8}});
    all([](const V& x) { return exp2(x); }, [](L x) { return std::exp2(x); }, 4,
        {{-1, 1}, {is_float ? -125 : -1021, is_float ? 126 : 1022}});
    all([](const V& x) { return log2(x); }, [](L x) { return std::log2(x); }, 4, {{1e-30, 1e-20}, {0.5, 2}, {2, 1e30}});
    all([](const V& x) { return log10(x); }, [](L x) { return std::log10(x); }, 4,
        {{1e-30, 1e-20}, {0.5, 2}, {2, 1e30}});
    all([](const V& x) { return sin(x); }, [](L x) { return std::sin(x); }, 3,
        {{-1, 1}, {-4, 4}, {-100, 100}, {-1e5, 1e5}, {1e8, 1e15}});
    all([](const V& x) { return cos(x); }, [](L x) { return std::cos(x); }, 3,
        {{-1, 1}, {-4, 4}, {-100, 100}, {-1e5, 1e5}, {1e8, 1e15}});
    all([](const V& x) { return tan(x); }, [](L x) { return std::tan(x); }, 3,
        {{-1, 1}, {-4, 4}, {-100, 100}, {-1e5, 1e5}, {1e8, 1e15}});
    all([](const V& x) { return asin(x); }, [](L x) { return std::asin(x); }, 4, {{-1, 1}, {-0.01, 0.01}, {0.99, 1}});
    all([](const V& x) { return acos(x); }, [](L x) { return std::acos(x); }, 4, {{-1, 1}, {-0.01, 0.01}, {0.99, 1}});
    all([](const V& x) { return atan(x); }, [](L x) { return std::atan(x); }, 4, {{-1, 1}, {-9, 9}, {1, 1e15}});
    all([](const V& x) { return sinh(x); }, [](L x) { return std::sinh(x); }, 4, {{-0.1, 0.1}, {-4, 4}, {-edge, edge}});
    all([](const V& x) { return cosh(x); }, [](L x) { return std::cosh(x); }, 4, {{-0.1, 0.1}, {-4, 4}, {-edge, edge}});
    all([](const V& x) { return cbrt(x); }, [](L x) { return std::cbrt(x); }, 1, {{-1, 1}, {-1e-20, 1e-20}, {1, 1e30}});
    all([](const V& x) { return softplus(x); }, [](L x) { return std::log1p(std::exp(x)); }, 4,
        {{-edge, 1}, {-1, 1}, {1, edge}});
    all([](const V& x) { return softsign(x); }, [](L x) { return x / (1 + std::abs(x)); }, 4, {{-1, 1}, {-1e9, 1e9}});
    CHECK(worst([](const V& x) { return log1p(x); }, [](L x) { return std::log1p(x); }, -0.5, 0.5) <= 4);
    CHECK(worst([](const V& x) { return log1p(x); }, [](L x) { return std::log1p(x); }, -1e-8, 1e-8) <= 4);
    CHECK(worst([](const V& x) { return sqrt(x); }, [](L x) { return std::sqrt(x); }, 0, 1e10) <= 0.51);
    CHECK(worst([](const V& x) { return sigmoid(x); }, [](L x) { return 1 / (1 + std::exp(-x)); }, -30, 30) <= 4);
  }

  TEST_CASE_TEMPLATE("elementary functions at the ends of their domains", T, float, double) {
    using V = Tensor<T>;
    const T nan = std::numeric_limits<T>::quiet_NaN(), pi = std::numbers::pi_v<T>;
    const V ends{-inf<T>, -2, -1, T{-0.0}, 0, 1, 2, inf<T>, nan};
    const V nans(nan);
    auto check = [&](const V& y, std::initializer_list<T> expected) {
      CAPTURE(y);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const T ours = y.data()[i], exact = expected.begin()[i];
        CAPTURE(i);
        if (std::isnan(exact))
          CHECK(std::isnan(ours));
        else if (std::isinf(exact) || exact == 0)
          CHECK(ours == exact);
        else
          CHECK(ours == about(static_cast<double>(exact), 4 * eps<T>));
      }
    };
    const T e = std::numbers::e_v<T>;
    check(expm1(ends), {-1, 1 / (e * e) - 1, 1 / e - 1, 0, 0, e - 1, e * e - 1, inf<T>, nan});
    check(exp2(ends), {0, T(0.25), T(0.5), 1, 1, 2, 4, inf<T>, nan});
    check(log2(ends), {nan, nan, nan, -inf<T>, -inf<T>, 0, 1, inf<T>, nan});
    check(log10(ends), {nan, nan, nan, -inf<T>, -inf<T>, 0, std::log10(T{2}), inf<T>, nan});
    for (int n = 0; n <= (std::is_same_v<T, float> ? 10 : 22); ++n) {
      const T power = static_cast<T>(std::pow(10.0L, n));
      CHECK(log10(V{power, power, power, power})(0) == static_cast<T>(n));
    }
    check(sin(ends), {nan, -std::sin(T{2}), -std::sin(T{1}), 0, 0, std::sin(T{1}), std::sin(T{2}), nan, nan});
    check(cos(ends), {nan, std::cos(T{2}), std::cos(T{1}), 1, 1, std::cos(T{1}), std::cos(T{2}), nan, nan});
    check(tan(ends), {nan, -std::tan(T{2}), -std::tan(T{1}), 0, 0, std::tan(T{1}), std::tan(T{2}), nan, nan});
    check(asin(ends), {nan, nan, -pi / 2, 0, 0, pi / 2, nan, nan, nan});
    check(acos(ends), {nan, nan, pi, pi / 2, pi / 2, 0, nan, nan, nan});
    check(atan(ends), {-pi / 2, -std::atan(T{2}), -pi / 4, 0, 0, pi / 4, std::atan(T{2}), pi / 2, nan});
    check(sinh(ends),
          {-inf<T>, -std::sinh(T{2}), -std::sinh(T{1}), 0, 0, std::sinh(T{1}), std::sinh(T{2}), inf<T>, nan});
    check(cosh(ends), {inf<T>, std::cosh(T{2}), std::cosh(T{1}), 1, 1, std::cosh(T{1}), std::cosh(T{2}), inf<T>, nan});
    check(erf(ends), {-1, std::erf(T{-2}), std::erf(T{-1}), 0, 0, std::erf(T{1}), std::erf(T{2}), 1, nan});
    check(erfc(ends), {2, std::erfc(T{-2}), std::erfc(T{-1}), 1, 1, std::erfc(T{1}), std::erfc(T{2}), 0, nan});
    check(cbrt(ends), {-inf<T>, std::cbrt(T{-2}), -1, 0, 0, 1, std::cbrt(T{2}), inf<T>, nan});
    check(reciprocal(ends), {0, T(-0.5), -1, -inf<T>, inf<T>, 1, T(0.5), 0, nan});
    check(sign(ends), {-1, -1, -1, 0, 0, 1, 1, 1, nan});
    check(softplus(V{-inf<T>, T(-1e4), 0, T(1e4), inf<T>, nan}), {0, 0, std::numbers::ln2_v<T>, T(1e4), inf<T>, nan});
    const V steps{T(-2.5), T(-1.5), T(-0.5), T(0.5), T(1.5), T(2.5), T(1e30), -inf<T>, nan};
    check(floor(steps), {-3, -2, -1, 0, 1, 2, T(1e30), -inf<T>, nan});
    check(ceil(steps), {-2, -1, 0, 1, 2, 3, T(1e30), -inf<T>, nan});
    check(round(steps), {-2, -2, 0, 0, 2, 2, T(1e30), -inf<T>, nan});
  }

  // ---------------------------------------------------------------------------------------------- matrix products

  template <class T>
  void check_product(std::int64_t m, std::int64_t k, std::int64_t n, random::Generator & rng) {
    CAPTURE(m);
    CAPTURE(k);
    CAPTURE(n);
    const Tensor<T> a = rng.normal<T>({m, k}), b = rng.normal<T>({k, n});
    const xt::xarray<T> left = a.array(), right = b.array();
    const xt::xarray<T> expected = xt::linalg::dot(left, right);
    const double tolerance = (std::is_same_v<T, float> ? 1e-6 : 1e-15) * (3 + static_cast<double>(k));
    check_close(matmul(a, b), Tensor<T>(expected), tolerance);
    // The same through the transposed products of the rules: A B = (B^T A^T)^T, and dA of sum(AB * C) = C B^T.
    check_close(transpose(matmul(transpose(b), transpose(a))), Tensor<T>(expected), tolerance);
    const Tensor<T> c = rng.normal<T>({m, n});
    const auto [da, db] = vjp([](const Tensor<T>& u, const Tensor<T>& v) { return matmul(u, v); }, a, b).second(c);
    check_close(da, matmul(c, transpose(b)), tolerance * 10);
    check_close(db, matmul(transpose(a), c), tolerance * 10);
    if (n == 1) check_close(matmul(a, reshape(b, {k})), reshape(Tensor<T>(expected), {m}), tolerance);
    if (m == 1) check_close(matmul(reshape(a, {k}), b), reshape(Tensor<T>(expected), {n}), tolerance);
  }

  TEST_CASE_TEMPLATE("matmul against xtensor-blas", T, float, double) {
    random::Generator rng(2);
    for (std::int64_t m : {1, 2, 5, 32, 67})
      for (std::int64_t k : {1, 3, 16, 65})
        for (std::int64_t n : {1, 2, 7, 40}) check_product<T>(m, k, n, rng);
    check_equal(matmul(zeros<T>({3, 0}), zeros<T>({0, 2})), zeros<T>({3, 2}));
    CHECK(matmul(zeros<T>({0, 3}), zeros<T>({3, 2})).shape() == Shape{0, 2});
    CHECK(matmul(zeros<T>({3, 2}), zeros<T>({2, 0})).shape() == Shape{3, 0});
    CHECK(matmul(zeros<T>({0}), zeros<T>({0})).item() == 0);
    check_equal(matmul(zeros<T>({2, 3, 0}), zeros<T>({0, 2})), zeros<T>({2, 3, 2}));
  }

  TEST_CASE("batched products are the products of the batch") {
    random::Generator rng(3);
    struct Case {
      Shape a, b, c;
    };
    for (const Case& c :
         {Case{{4, 2, 3}, {4, 3, 5}, {4, 2, 5}}, Case{{4, 2, 3}, {3, 5}, {4, 2, 5}}, Case{{2, 3}, {4, 3, 5}, {4, 2, 5}},
          Case{{2, 1, 2, 3}, {4, 3, 1}, {2, 4, 2, 1}}, Case{{1, 2, 3}, {4, 3, 5}, {4, 2, 5}},
          Case{{4, 1, 3}, {1, 3, 5}, {4, 1, 5}}, Case{{2, 1, 2, 3}, {1, 4, 3, 2}, {2, 4, 2, 2}}}) {
      const X a = rng.normal<double>(c.a), b = rng.normal<double>(c.b), y = matmul(a, b);
      REQUIRE(y.shape() == c.c);
      const Shape batch = c.c.prefix(c.c.rank() - 2);
      auto part = [&](const X& x, std::int64_t i) {  // matrix i of the broadcast batch
        const Shape matrix = x.shape().suffix(x.rank() - 2);
        const X all = broadcast_to(x, batch.concat(matrix));
        return reshape(slice(reshape(all, Shape{-1}.concat(matrix)), 0, i, i + 1), matrix);
      };
      for (std::int64_t i = 0; i < batch.count(); ++i) {
        const X p = part(a, i), q = part(b, i);
        const xt::xarray<double> left = p.array(), right = q.array();
        check_close(part(y, i), X(xt::linalg::dot(left, right)), 1e-13);
      }
    }
    // Vectors.
    const X A = rng.normal<double>({5, 2, 3}), v = rng.normal<double>({3}), w = rng.normal<double>({2});
    check_close(matmul(A, v), sum(A * v, -1), 1e-14);
    check_close(matmul(w, A), sum(A * reshape(w, {2, 1}), 1), 1e-14);
    check_close(matmul(v, v), sum(v * v), 1e-14);
  }

  TEST_CASE("matmul keeps its results from run to run and with more threads") {
    random::Generator rng(4);
    const Tensor<float> a = rng.normal<float>({130, 200}), b = rng.normal<float>({200, 90});
    const Tensor<float> once = matmul(a, b);
    check_equal(matmul(a, b), once);
    set_num_threads(2);
    CHECK(num_threads() == 2);
    const Tensor<float> threaded = matmul(a, b);
    check_close(threaded, once, 1e-5);
    check_equal(matmul(a, b), threaded);
    set_num_threads(1);
    check_equal(matmul(a, b), once);
  }

  // ---------------------------------------------------------------------------------------------- the xtensor bridge

  TEST_CASE("tensors out of xtensor expressions") {
    const xt::xarray<double> a = {{1, 2, 3}, {4, 5, 6}};
    check_equal(X(a), X({{1, 2, 3}, {4, 5, 6}}));
    check_equal(X(a * 2 + 1), X({{3, 5, 7}, {9, 11, 13}}));
    check_equal(X(xt::transpose(a)), X({{1, 4}, {2, 5}, {3, 6}}));
    check_equal(X(xt::view(a, xt::all(), xt::range(1, 3))), X({{2, 3}, {5, 6}}));
    check_equal(X(xt::view(a, 1)), X{4, 5, 6});
    check_equal(X(xt::sum(a, {1})), X{6, 15});
    const xt::xarray<double, xt::layout_type::column_major> columns = a;
    check_equal(X(columns), X({{1, 2, 3}, {4, 5, 6}}));
    const xt::xtensor<int, 2> integers = {{1, 2}, {3, 4}};
    check_equal(X(integers), X({{1, 2}, {3, 4}}));
    check_equal(Tensor<std::int64_t>(integers), Tensor<std::int64_t>({{1, 2}, {3, 4}}));
    check_equal(Tensor<float>(a), Tensor<float>({{1, 2, 3}, {4, 5, 6}}));
    check_equal(Tensor<bool>(a > 3), Tensor<bool>({{false, false, false}, {true, true, true}}));
    CHECK(X(xt::xarray<double>(7.0)).shape() == Shape{});
    CHECK(X(xt::xarray<double>(7.0)).item() == 7);
    CHECK(X(xt::zeros<double>({0, 3})).shape() == Shape{0, 3});
    CHECK(X(xt::ones<double>({2, 1, 2})).shape() == Shape{2, 1, 2});
  }

  TEST_CASE("views of tensors as xtensor expressions, without a copy") {
    const X x({{1, 2, 3}, {4, 5, 6}});
    auto view = x.array();
    CHECK(view.data() == x.data());
    CHECK(view.dimension() == 2);
    CHECK(view.shape()[1] == 3);
    CHECK(view(1, 2) == 6);
    const xt::xarray<double> more = view + 1;
    CHECK(more(0, 0) == 2);
    check_equal(X(view * view), square(x));
    check_equal(X(xt::transpose(view)), transpose(x));
    const X scalar(3.0), nothing = zeros({0, 2});
    CHECK(scalar.array()() == 3);
    CHECK(scalar.array().dimension() == 0);
    CHECK(nothing.array().size() == 0);
    const Tensor<bool> mask = x > 3;
    CHECK(mask.array()(1, 0));
    static_assert(std::is_const_v<std::remove_pointer_t<decltype(view.data())>>);
    // A temporary has no view that could dangle.
    static_assert(HasView<const X&> && HasView<X&> && !HasView<X>);
    // A view of what is traced reads its value, where that is meant.
    check_equal(grad([](const X& z) {
                  const X value = stop_gradient(z);
                  const xt::xarray<double> seen = value.array() * 2;
                  return sum(z * X(seen));
                })(x),
                2 * x);
  }

  TEST_CASE("xt::eval and immediate reducers of dynamic arrays are not broken in C++20") {
    const xt::xarray<double> a = {{1, 2, 3}, {4, 5, 9}};
    auto evaluated = xt::eval(a + 1);
    static_assert(std::is_same_v<decltype(evaluated), xt::xarray<double>>);
    CHECK(evaluated(1, 2) == 10);
    const xt::xarray<double> sums = xt::sum(a, {1}, xt::evaluation_strategy::immediate);
    CHECK(sums(1) == 18);
    const X x(a);
    auto view = x.array();
    const xt::xarray<double> maxima = xt::amax(view, {1}, xt::keep_dims | xt::evaluation_strategy::immediate);
    CHECK(maxima.shape(0) == 2);
    CHECK(maxima(1, 0) == 9);
    check_equal(X(xt::eval(view * 2)), 2 * x);
  }

  TEST_CASE("a softmax in xtensor, with its reducers stored, agrees with ours") {
    const X z = random::Generator(6).normal<double>({37, 11});
    auto view = z.array();
    const xt::xarray<double> largest = xt::amax(view, {1}, xt::keep_dims);
    const xt::xarray<double> e = xt::exp(view - largest);
    const xt::xarray<double> total = xt::sum(e, {1}, xt::keep_dims);
    check_close(softmax(z), X(e / total), 1e-15);
    check_equal(X(xt::amax(view, {1}, xt::keep_dims)), max(z, 1, keep_dims));
  }

  // ---------------------------------------------------------------------------------------------- printing, allclose

  template <class T>
  std::string printed(const T& x) {
    std::ostringstream out;
    out << x;
    return out.str();
  }

  TEST_CASE("printing") {
    CHECK(printed(X(3.5)) == "3.5");
    CHECK(printed(X{1, 2.5, -3}) == "[1, 2.5, -3]");
    CHECK(printed(X({{1, 2}, {3, 4}})) == "[[1, 2],\n [3, 4]]");
    CHECK(printed(ones({2, 1, 2})) == "[[[1, 1]],\n [[1, 1]]]");
    CHECK(printed(zeros({0})) == "[]");
    CHECK(printed(zeros({0, 3})) == "[]");
    CHECK(printed(X()) == "[]");
    CHECK(printed(Tensor<bool>{true, false}) == "[true, false]");
    CHECK(printed(Tensor<std::int64_t>{1, -2}) == "[1, -2]");
    CHECK(printed(arange(8)) == "[0, 1, 2, 3, 4, 5, 6, 7]");
    CHECK(printed(arange(2000)) == "[0, 1, 2, ..., 1997, 1998, 1999]");
    CHECK(printed(zeros({2, 1000})) == "[[0, 0, 0, ..., 0, 0, 0],\n [0, 0, 0, ..., 0, 0, 0]]");
    CHECK(printed(X{inf<double>, -inf<double>}) == "[inf, -inf]");
    CHECK(printed(zeros({2000, 1000})).size() < 1000);
    CHECK(to_string(Shape{32, 10}) == "(32, 10)");
    CHECK(to_string(Shape{}) == "()");
    const auto J = jacobian([](const X& z) { return square(z); })(X{1, 2});
    CHECK(printed(J).find("(2) -> (2)") != std::string::npos);
    CHECK(printed(J).find("dense") != std::string::npos);
  }

  TEST_CASE("allclose") {
    const double big = inf<double>, bad = not_a_number<double>;
    CHECK(allclose(X{1, 2}, X{1, 2 + 1e-6}));        // the default tolerance
    CHECK_FALSE(allclose(X{1, 2}, X{1, 2 + 3e-5}));  // the default tolerance
    CHECK_FALSE(allclose(X{1, 2}, X({{1, 2}}), 1, 1));
    CHECK_FALSE(allclose(X{1}, X{1, 1}, 1, 1));
    CHECK_FALSE(allclose(X{bad}, X{bad}, 1, 1));
    CHECK_FALSE(allclose(X{bad}, X{1}, 1, 1));
    CHECK(allclose(X{big, -big}, X{big, -big}, 0, 0));
    CHECK_FALSE(allclose(X{big}, X{-big}, 1, 1));
    CHECK_FALSE(allclose(X{1}, X{big}, 1, 1));
    CHECK_FALSE(allclose(X{big}, X{1}, 1, 1));
    CHECK(allclose(zeros({0}), zeros({0}), 0, 0));
    CHECK(allclose(X(100.0), X(101.0), 0.01, 0));
    CHECK_FALSE(allclose(X(100.0), X(102.1), 0.02, 0));
    CHECK(allclose(X(0.0), X(0.5), 0, 0.5));
    CHECK(allclose(X{0.0}, X{-0.0}, 0, 0));
  }

  // ---------------------------------------------------------------------------------------------- creation

  TEST_CASE("creation") {
    check_equal(eye(2), X({{1, 0}, {0, 1}}));
    CHECK(eye(0).shape() == Shape{0, 0});
    check_equal(arange(2, 5), X{2, 3, 4});
    check_equal(arange(1, 0, -0.25), X{1, 0.75, 0.5, 0.25});
    check_equal(arange<std::int64_t>(3), Tensor<std::int64_t>{0, 1, 2});
    CHECK(arange(0, 1, 0.1).size() == 10);
    check_equal(linspace(0, 1, 5), X{0, 0.25, 0.5, 0.75, 1});
    CHECK(linspace(0, 0.3, 4)(3) == 0.3);
    check_equal(linspace(2, 3, 1), X{2});
    CHECK(linspace(0, 1, 0).size() == 0);
    check_equal(full({2}, 7), X{7, 7});
    check_equal(one_hot(Tensor<std::int64_t>({{0, 2}, {1, 1}}), 3),
                X({2, 2, 3}, std::vector<double>{1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0}));
    CHECK(one_hot(zeros<std::int64_t>({0}), 3).shape() == Shape{0, 3});
    check_equal(astype<std::int64_t>(X{1.9, -1.9}), Tensor<std::int64_t>{1, -1});
    check_equal(astype<double>(X{1, 0} > 0.5), X{1, 0});
    CHECK(X(7).item() == 7);
    CHECK(Tensor<float>(2.5).item() == 2.5F);
  }

  // ---------------------------------------------------------------------------------------------- random numbers

  struct Philox {  // Salmon et al. 2011, written once more
    std::uint32_t c[4], k[2];
    void run() {
      for (int round = 0; round < 10; ++round) {
        if (round > 0) k[0] += 0x9E3779B9U, k[1] += 0xBB67AE85U;
        const std::uint64_t p = 0xD2511F53ULL * c[0], q = 0xCD9E8D57ULL * c[2];
        const std::uint32_t n[4] = {static_cast<std::uint32_t>(q >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(q),
                                    static_cast<std::uint32_t>(p >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(p)};
        std::memcpy(c, n, sizeof c);
      }
    }
  };

  TEST_CASE("Philox4x32-10, known answers") {
    auto check_answer = [](Philox p, const std::uint32_t(&answer)[4]) {
      p.run();
      for (int i = 0; i < 4; ++i) CHECK(p.c[i] == answer[i]);
    };
    // These are kat_vectors of Random123.
    check_answer({{0, 0, 0, 0}, {0, 0}}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    check_answer({{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}},
                 {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    check_answer({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}},
                 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
    random::Generator zero(0);
    CHECK(zero.bits() == 0x6627e8d5e169c58dULL);
    CHECK(zero.bits() == 0xbc57ac4c9b00dbd8ULL);
    for (std::uint64_t seed : {1ULL, 42ULL, 0x123456789abcdef0ULL, ~0ULL}) {
      random::Generator rng(seed);
      for (std::uint32_t counter = 0; counter < 5; ++counter) {
        Philox p{{counter, 0, 0, 0}, {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
        p.run();
        CHECK(rng.bits() == (std::uint64_t{p.c[0]} << 32 | p.c[1]));
        CHECK(rng.bits() == (std::uint64_t{p.c[2]} << 32 | p.c[3]));
      }
    }
    const std::uint64_t stream = 0x0370734413198a2eULL;
    random::Generator rng(42, stream);
    Philox p{{0, 0, static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}, {42, 0}};
    p.run();
    CHECK(rng.bits() == (std::uint64_t{p.c[0]} << 32 | p.c[1]));
  }

  TEST_CASE("the same seed gives the same numbers, another one others") {
    random::Generator a(42), b(42), c(43);
    const X x = a.normal<double>({1000}), y = b.normal<double>({1000}), z = c.normal<double>({1000});
    check_equal(x, y);
    CHECK_FALSE(allclose(x, z, 0.1, 0.1));
    CHECK_FALSE(allclose(x, a.normal<double>({1000}), 0.1, 0.1));
    random::Generator copy = a;
    CHECK(copy.bits() == a.bits());
    // Only the order of the draws matters, not their shapes.
    random::Generator d(42);
    check_equal(reshape(d.normal<double>({10, 100}), {1000}), x);
  }

  TEST_CASE("distributions") {
    random::Generator rng(2026);
    const std::int64_t n = 200000;
    const double count = static_cast<double>(n), five_sigma = 5 / std::sqrt(count);
    const X u = rng.uniform<double>({n}), g = rng.normal<double>({n}), shifted = rng.normal<double>({n}, 3, 0.01);
    CHECK(min(u).item() >= 0);
    CHECK(max(u).item() < 1);
    CHECK(std::abs(mean(u).item() - 0.5) < five_sigma * std::sqrt(1.0 / 12));
    CHECK(std::abs(mean(square(u - 0.5)).item() - 1.0 / 12) < five_sigma * 0.08);
    CHECK(std::abs(mean(g).item()) < five_sigma);
    CHECK(std::abs(mean(square(g)).item() - 1) < five_sigma * std::sqrt(2.0));
    CHECK(std::abs(mean(pow(g, 3)).item()) < five_sigma * std::sqrt(15.0));
    CHECK(std::abs(mean(pow(g, 4)).item() - 3) < five_sigma * std::sqrt(96.0));
    CHECK(std::abs(mean(slice(g, 0, 0, n - 1) * slice(g, 0, 1, n)).item()) < five_sigma);  // neighbors
    CHECK(std::abs(mean(shifted).item() - 3) < 0.01 * five_sigma);
    CHECK(std::sqrt(mean(square(shifted - 3)).item()) == about(0.01, 0.02));
    const Tensor<float> f = rng.uniform<float>({n}, -2, 5);
    CHECK(min(f).item() >= -2);
    CHECK(max(f).item() <= 5);
    CHECK(std::abs(mean(f).item() - 1.5F) < 0.03F);
    CHECK(rng.uniform<double>({0}).size() == 0);
    CHECK(rng.normal<double>({}).shape() == Shape{});
  }

  TEST_CASE("below") {
    random::Generator rng(5);
    std::vector<int> seen(7);
    for (int i = 0; i < 70000; ++i) {
      const std::int64_t k = rng.below(7);
      REQUIRE(k >= 0);
      REQUIRE(k < 7);
      ++seen[static_cast<std::size_t>(k)];
    }
    double chi_squared = 0;
    for (int n : seen) chi_squared += (n - 10000.0) * (n - 10000.0) / 10000.0;
    CHECK(chi_squared < 25);  // 6 degrees of freedom, p = 0.0003
    for (int i = 0; i < 100; ++i) {
      CHECK(rng.below(1) == 0);
      const std::int64_t huge = rng.below(std::numeric_limits<std::int64_t>::max());
      CHECK(huge >= 0);
    }
    // Without rejection the lower half of this range would come twice as often.
    const std::int64_t n = 3 * (std::int64_t{1} << 61);
    int low = 0;
    for (int i = 0; i < 30000; ++i) low += rng.below(n) < n / 3;
    CHECK(std::abs(low - 10000) < 500);
  }

  TEST_CASE("permutation and choice") {
    random::Generator rng(8);
    for (std::int64_t n : {0, 1, 2, 10, 1000}) {
      const Tensor<std::int64_t> p = rng.permutation(n);
      REQUIRE(p.shape() == Shape{n});
      std::set<std::int64_t> all(p.data(), p.data() + n);
      CHECK(all.size() == static_cast<std::size_t>(n));
      CHECK((n == 0 || (*all.begin() == 0 && *all.rbegin() == n - 1)));
    }
    std::vector<int> first(5);
    for (int i = 0; i < 5000; ++i) ++first[static_cast<std::size_t>(rng.permutation(5)(0))];
    for (int count : first) CHECK(std::abs(count - 1000) < 150);
    std::set<std::vector<std::int64_t>> orders;
    for (int i = 0; i < 500; ++i) {
      const Tensor<std::int64_t> p = rng.permutation(3);
      orders.emplace(p.data(), p.data() + 3);
    }
    CHECK(orders.size() == 6);
    const Tensor<std::int64_t> some = rng.choice(1000, 30);
    CHECK(some.shape() == Shape{30});
    CHECK(std::set<std::int64_t>(some.data(), some.data() + 30).size() == 30);
    CHECK(max(astype<double>(some)).item() < 1000);
    CHECK(rng.choice(5, 0).size() == 0);
  }
}

}  // namespace
