// Where nothing is traced, the reverse sweep accumulates in place, in shorter ways than the rules. With seed axes it
// uses the rules, so each adjoint is compared with that of a stack of seeds.
#include <doctest/doctest.h>

#include <cstdint>
#include <tapegrad/autodiff.hpp>
#include <utility>
#include <vector>

namespace {

using namespace tapegrad;

template <class T>
constexpr double tolerance = std::is_same_v<T, float> ? 2e-5 : 1e-13;

// Compares J^T g with the two halves of J^T (g, 2 g).
template <class T, class F>
void check_ways(const char* name, F f, const Tensor<T>& a, const Tensor<T>& b) {
  CAPTURE(name);
  CAPTURE(a.shape());
  CAPTURE(b.shape());
  const auto [y, pullback] = vjp(f, a, b);
  random::Generator rng(3);
  const Tensor<T> g = rng.normal<T>(y.shape()), copy(g.shape(), g.elements_view());
  const Tensor<T> one = reshape(g, Shape{1}.concat(g.shape()));
  const auto [da, db] = pullback(g);
  const auto [sa, sb] = pullback(concatenate({one, 2 * one}, 0));
  CHECK(allclose(g, copy, 0, 0));
  const auto check = [](const Tensor<T>& single, const Tensor<T>& stacked) {
    for (const double s : {1.0, 2.0}) {
      const Tensor<T> seed =
          reshape(slice(stacked, 0, static_cast<std::int64_t>(s) - 1, static_cast<std::int64_t>(s)), single.shape());
      CHECK(allclose(s * single, seed, tolerance<T>, tolerance<T>));
    }
  };
  check(da, sa);
  check(db, sb);
}

const std::pair<Shape, Shape> broadcasts[] = {
    {{37}, {37}},           {{5, 37}, {5, 37}},     {{5, 37}, {5, 1}},   {{5, 1}, {5, 37}},      {{5, 37}, {37}},
    {{37}, {5, 37}},        {{5, 37}, {}},          {{}, {5, 37}},       {{5, 37}, {1}},         {{5, 1}, {1, 37}},
    {{3, 5, 8}, {3, 1, 8}}, {{3, 5, 8}, {3, 5, 1}}, {{3, 5, 8}, {5, 1}}, {{3, 5, 8}, {3, 1, 1}}, {{64, 10}, {64, 1}},
    {{3, 2000}, {3, 1}},    {{3000}, {1}},          {{4, 0}, {4, 1}},    {{0, 4}, {1, 4}},       {{8, 16}, {8, 1}},
    {{1, 1}, {1, 1}},       {{9, 1, 4}, {9, 6, 4}},
};

TEST_SUITE("sweep") {
  TEST_CASE_TEMPLATE("elementwise functions of broadcast operands", T, float, double) {
    using X = Tensor<T>;
    random::Generator rng(1);
    for (const auto& [left, right] : broadcasts) {
      const X a = rng.uniform<T>(left, 0.5, 2), b = rng.uniform<T>(right, 0.5, 2);
      check_ways<T>(
          "add", [](const X& x, const X& y) { return x + y; }, a, b);
      check_ways<T>(
          "subtract", [](const X& x, const X& y) { return x - y; }, a, b);
      check_ways<T>(
          "multiply", [](const X& x, const X& y) { return x * y; }, a, b);
      check_ways<T>(
          "divide", [](const X& x, const X& y) { return x / y; }, a, b);
      check_ways<T>(
          "maximum", [](const X& x, const X& y) { return maximum(x, y); }, a, b);
      // Adjoints that are summed: of operands used before, after and twice, and shared by two of them.
      check_ways<T>(
          "meeting", [](const X& x, const X& y) { return exp(x - y) * (x / y) - (y * y + -x); }, a, b);
      check_ways<T>(
          "shared", [](const X& x, const X& y) { return (x + y) - tanh(x) * (y - x); }, a, b);
      check_ways<T>(
          "negated", [](const X& x, const X& y) { return -(-(x * y) - -exp(-x)); }, a, b);
    }
  }

  TEST_CASE_TEMPLATE("reductions, spread into what is there or alone", T, float, double) {
    using X = Tensor<T>;
    random::Generator rng(2);
    for (const Shape& shape : {Shape{7}, {37}, {5, 37}, {37, 5}, {3, 5, 8}, {64, 10}, {2, 1000}}) {
      const X a = rng.normal<T>(shape), b = rng.normal<T>(shape);
      for (int axis = -static_cast<int>(shape.rank()); axis < 0; ++axis) {
        CAPTURE(axis);
        for (const KeepDims keep : {KeepDims::no, KeepDims::yes}) {
          check_ways<T>(
              "sum", [&](const X& x, const X& y) { return sum(x * y, axis, keep); }, a, b);
          check_ways<T>(
              "max", [&](const X& x, const X& y) { return max(x + y, axis, keep); }, a, b);
        }
        check_ways<T>(
            "sum meets", [&](const X& x, const X& y) { return x / (2 + tanh(sum(x + y, axis, keep_dims))) + y; }, a, b);
        check_ways<T>(
            "max meets", [&](const X& x, const X& y) { return exp(x - max(x, axis, keep_dims)) * y; }, a, b);
      }
      check_ways<T>(
          "all", [](const X& x, const X& y) { return x * sum(y) - max(x) * y; }, a, b);
    }
  }

  TEST_CASE_TEMPLATE("matrices, once and twice, shared by a batch or not", T, float, double) {
    using X = Tensor<T>;
    random::Generator rng(4);
    const std::pair<Shape, Shape> shapes[] = {{{1, 64}, {64, 32}}, {{10, 7}, {7, 9}},      {{2, 5, 7}, {7, 3}},
                                              {{4, 1}, {1, 40}},   {{2, 5, 7}, {2, 7, 3}}, {{5, 7}, {2, 7, 3}},
                                              {{0, 3}, {3, 2}},    {{2, 0}, {0, 3}}};
    for (const auto& [left, right] : shapes) {
      const X a = rng.normal<T>(left), b = rng.normal<T>(right);
      check_ways<T>(
          "matmul", [](const X& x, const X& y) { return matmul(x, y); }, a, b);
      check_ways<T>(
          "twice", [](const X& x, const X& y) { return matmul(x, y) * matmul(tanh(x), tanh(y)); }, a, b);
    }
  }

  TEST_CASE("an adjoint that two operands share is not written over") {
    const Tensor<> x{1, 2, 3}, y{4, 5, 6}, g{1, 10, 100};
    const auto [v, pullback] = vjp([](const Tensor<>& p, const Tensor<>& q) { return square(p) + (p + q); }, x, y);
    for (int i = 0; i < 2; ++i) {
      const auto [dx, dy] = pullback(g);
      CHECK(allclose(dx, g * (2 * x + 1), 0, 0));
      CHECK(allclose(dy, g, 0, 0));
    }
    // Here a rule adds to the shared adjoint without an array of its own.
    const auto shared = [&](auto first) {
      const auto [dx, dy] = grad<0, 1>([&](const Tensor<>& p, const Tensor<>& q) {
        const Tensor<> s = first(p);
        return s + sum((p + q) * g);
      })(x, y);
      CHECK_FALSE(allclose(dx, g, 1e-3, 0));
      CHECK(allclose(dy, g, 0, 0));
    };
    shared([](const Tensor<>& p) { return sum(p); });
    shared([](const Tensor<>& p) { return max(p); });
    shared([](const Tensor<>& p) { return sum(-p * 2); });
    shared([](const Tensor<>& p) { return sum(matmul(ones({1, 3}), reshape(p, {3, 1}))); });
  }
}

}  // namespace
