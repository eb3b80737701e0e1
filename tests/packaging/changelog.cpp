// What CHANGELOG.md says is new compiles, and does the same as the old where that is still there: a case for each row
// of its table, named by the old spelling. packaging/changelog.cmake compares the two lists.
#include <doctest/doctest.h>

#include <cstdint>
#include <span>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace tapegrad;

bool same(const Tensor<>& a, const Tensor<>& b) { return allclose(a, b, 0, 0); }
bool same(const Tensor<bool>& a, const Tensor<bool>& b) { return same(astype<double>(a), astype<double>(b)); }
bool same(const Tensor<std::int64_t>& a, const Tensor<std::int64_t>& b) {
  return same(astype<double>(a), astype<double>(b));
}

const Tensor<> x{1, -2, 3}, y{4, 0, -1}, A({2, 3}, {1, 2, 3, 4, 5, 7});
const Tensor<bool> p = x > 0, q = y > 0;
const Tensor<std::int64_t> labels{0, 1, 1};

TEST_CASE("logical_and(a, b), logical_or(a, b), logical_not(a)") {
  CHECK(same(p && q, logical_and(p, q)));
  CHECK(same(p || q, logical_or(p, q)));
  CHECK(same(!p, logical_not(p)));
}

TEST_CASE("astype<double>(labels) == 1.0") {
  CHECK(same(labels == 1, astype<double>(labels) == 1.0));
  CHECK(same(labels != 1, labels < 1));
  CHECK(same(labels <= 0, !(labels > 0)));
  CHECK(same(labels >= 1, labels == 1));
  CHECK(same(labels + 1, Tensor<std::int64_t>{1, 2, 2}));
  CHECK(same(labels - 1, Tensor<std::int64_t>{-1, 0, 0}));
}

TEST_CASE("select(condition, a, b)") {
  CHECK(same(where(p, x, y), Tensor<>{1, 0, 3}));
  CHECK(same(elementwise([](auto a) { return where(a > 0, a, 0.5 * a); })(x), Tensor<>{1, -1, 3}));
}

TEST_CASE("argmax(x), cumsum(x), logsumexp(x)") {
  CHECK(argmax(x, -1).item() == 2);
  CHECK(same(cumsum(x, -1), Tensor<>{1, -1, 2}));
  CHECK(logsumexp(x, -1).rank() == 0);
}

TEST_CASE("sum(x, {0, 1}, keep_dims)") {
  CHECK(same(sum(A, keep_dims), sum(A, {0, 1}, keep_dims)));
  CHECK(same(mean(A, keep_dims), mean(A, {0, 1}, keep_dims)));
  CHECK(same(max(A, keep_dims), max(A, {0, 1}, keep_dims)));
  CHECK(same(min(A, keep_dims), min(A, {0, 1}, keep_dims)));
}

TEST_CASE("transpose(x) of rank > 2") {
  const Tensor<> cube = ones({2, 3, 4});
  CHECK(matrix_transpose(cube).shape() == Shape{2, 4, 3});
  CHECK(transpose(cube, {2, 1, 0}).shape() == Shape{4, 3, 2});
}

TEST_CASE("Tensor<>({2, 3}, std::vector<double>{1, 2, 3, 4, 5, 6})") {
  CHECK(same(Tensor<>({2, 3}, {1, 2, 3, 4, 5, 6}), Tensor<>({2, 3}, std::vector<double>{1, 2, 3, 4, 5, 6})));
}

TEST_CASE("Tensor<>({n}, std::vector<double>(n))") {
  const std::vector<double> values{1, -2, 3};
  CHECK(same(Tensor<>(values), Tensor<>({3}, values)));
  CHECK(same(Tensor<>(std::span(values)), x));
}

TEST_CASE("Where (the line of a caller), Rule<T>, Value") {
  const Caller here = Caller::here();
  CHECK(here.line > 0);
  const CustomRule<double> rule{
      .name = "twice",
      .value = [](std::span<const Tensor<>> operands) { return 2 * operands[0]; },
      .pullback = [](std::size_t, const Tensor<>& g, const Tensor<>&, std::span<const Tensor<>>) { return 2 * g; }};
  CHECK(same(custom(rule)(x), 2 * x));
  static_assert(ElementwiseOperand<Tensor<float>> && ElementwiseOperand<Scalar> && !ElementwiseOperand<double>);
}

TEST_CASE("zeros({3}), ones({3}), full({3}, v)") {
  CHECK(same(zeros(3), zeros({3})));
  CHECK(same(ones(3), ones({3})));
  CHECK(same(full(3, 0.5), full({3}, 0.5)));
}

TEST_CASE("for (int i = 0; i < x.shape()[0]; ++i) f(x[i])") {
  Tensor<> by_index = 0.0, by_element = 0.0;
  for (int i = 0; i < x.shape()[0]; ++i) by_index = 2 * by_index + x[i];
  for (Tensor<> element : x) by_element = 2 * by_element + element;
  CHECK(same(by_element, by_index));
}

TEST_CASE("concatenate({reshape(a, {1, n}), reshape(b, {1, n})})") {
  CHECK(same(stack({x, y}), concatenate({reshape(x, {1, 3}), reshape(y, {1, 3})})));
}

TEST_CASE("std::size_t n = x.rank(), m = x.shape().rank()") {
  static_assert(std::is_same_v<decltype(x.rank()), std::int64_t>);
  static_assert(std::is_same_v<decltype(x.shape().rank()), std::int64_t>);
  static_assert(std::is_same_v<decltype(x.rank()), decltype(x.size())>);
  CHECK(A.rank() - 3 == -1);
}

const auto f = [](const Tensor<>& a, const Tensor<>& b) { return sum(a * a * b); };

TEST_CASE("hessian(f)(x)") {
  const auto H = hessian<0, 1>(f)(x, y);
  CHECK(same(std::get<1>(std::get<0>(H)), 2 * x * eye(3)));
  const auto whole = hessian([](const std::vector<Tensor<>>& w) { return f(w[0], w[1]); })(std::vector{x, y});
  CHECK(same(slice(slice(whole, 0, 0, 3), 1, 3, 6), 2 * x * eye(3)));
  CHECK(same(hessian([](const Tensor<>& a) { return f(a, y); })(x), std::get<0>(std::get<0>(H))));
}

TEST_CASE("hvp(f)(x, v)") {
  const auto [h_a, h_b] = hvp<0, 1>(f)(x, y, ones(3), zeros(3));
  CHECK(same(h_a, 2 * y));
  CHECK(same(h_b, 2 * x));
  CHECK(same(hvp(f)(x, y, ones(3)), hvp([](const Tensor<>& a) { return f(a, y); })(x, ones(3))));
}

TEST_CASE("jvp(f, x, v)") {
  const auto [value, tangent] = jvp<0, 1>(f)(x, y, ones(3), zeros(3));
  CHECK(same(tangent, jvp([](const Tensor<>& a) { return f(a, y); }, x, ones(3)).second));
}

TEST_CASE("value_and_grad(f) of a loss alone") {
  const auto [value, gradient] = value_and_grad([](const Tensor<>& w) { return std::pair(f(w, y), w + 1); })(x);
  CHECK(same(gradient, value_and_grad(f)(x, y).second));
  CHECK(same(value.second, x + 1));
}

TEST_CASE("nn::normal(deviation), nn::uniform(low, high)") {
  nn::Rng rng(1);
  CHECK(same(nn::random_normal(0).make<double>({3}, rng), zeros(3)));
  CHECK(same(nn::random_uniform(2, 2).make<double>({3}, rng), full(3, 2.0)));
}

}  // namespace
