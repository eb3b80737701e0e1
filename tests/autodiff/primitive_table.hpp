#pragma once
// The table of primitives: for each one, functions that use it, the range of their operands, and edge-case shapes.

#include <algorithm>
#include <functional>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/autodiff/ops/registry.hpp>
#include <vector>

namespace primitive_table {

using namespace tapegrad;
using Shapes = std::vector<Shape>;

// The operands of a row: away from the corners and the poles of its function.
template <Real T>
using Sampler = Tensor<T> (*)(const Shape& shape, std::size_t operand, random::Generator& rng);

template <Real T>
Tensor<T> anywhere(const Shape& shape, std::size_t, random::Generator& rng) {
  return rng.uniform<T>(shape, -1.5, 1.5);
}
template <Real T>
Tensor<T> positive(const Shape& shape, std::size_t, random::Generator& rng) {
  return rng.uniform<T>(shape, 0.7, 2);
}
// Numbers of which a third are exactly 0.
template <Real T>
Tensor<T> with_zeros(const Shape& shape, std::size_t, random::Generator& rng) {
  Tensor<T> x = rng.uniform<T>(shape, -1.5, 1.5);
  for (std::int64_t i = 0; i < x.size(); ++i) {
    if (rng.below(3) == 0) x.mutable_data()[i] = 0;
  }
  return x;
}
// Numbers at least 0.4 away from 0, of either sign.
template <Real T>
Tensor<T> off_zero(const Shape& shape, std::size_t, random::Generator& rng) {
  Tensor<T> x = rng.uniform<T>(shape, 0.4, 1.5);
  for (std::int64_t i = 0; i < x.size(); ++i) {
    if (rng.below(2) == 0) x.mutable_data()[i] = -x.data()[i];
  }
  return x;
}
// Any numerator, and a denominator away from zero.
template <Real T>
Tensor<T> quotient(const Shape& shape, std::size_t operand, random::Generator& rng) {
  return operand == 0 ? anywhere<T>(shape, operand, rng) : off_zero<T>(shape, operand, rng);
}
// No element of one operand is within 0.4 of an element of the other.
template <Real T>
Tensor<T> interleaved(const Shape& shape, std::size_t operand, random::Generator& rng) {
  Tensor<T> x = zeros<T>(shape);
  for (std::int64_t i = 0; i < x.size(); ++i) {
    x.mutable_data()[i] =
        static_cast<T>(0.8 * static_cast<double>(rng.below(5) - 2) + 0.4 * static_cast<double>(operand));
  }
  return x;
}
// All elements are at least 0.4 apart, in random order.
template <Real T>
Tensor<T> apart(const Shape& shape, std::size_t, random::Generator& rng) {
  const Tensor<std::int64_t> order = rng.permutation(shape.count());
  Tensor<T> x = zeros<T>(shape);
  for (std::int64_t i = 0; i < x.size(); ++i) {
    x.mutable_data()[i] = static_cast<T>(0.4 * static_cast<double>(order.data()[i]) - 1);
  }
  return x;
}

// Inside (-1, 1), the domain of asin and acos.
template <Real T>
Tensor<T> fraction(const Shape& shape, std::size_t, random::Generator& rng) {
  return rng.uniform<T>(shape, -0.7, 0.7);
}
// Between whole numbers, at least 0.2 away from a step of floor, ceil or round.
template <Real T>
Tensor<T> off_steps(const Shape& shape, std::size_t, random::Generator& rng) {
  return floor(rng.uniform<T>(shape, -4, 4)) + rng.uniform<T>(shape, 0.2, 0.3);
}

template <Real T>
struct Row {
  std::string primitive;  // its own name; empty for a function made of other primitives
  std::string what;
  Sampler<T> sample;
  std::vector<Shapes> cases;  // the shapes of all operands, for each case
  TensorFunction<T> function;
  CheckOptions options = {};
};

inline const std::vector<Shapes> unary_cases = {{{}}, {{0}}, {{1}}, {{5}}, {{2, 3}}, {{3, 1, 2}}, {{0, 3}}};
inline const std::vector<Shapes> binary_cases = {
    {{}, {}},      {{5}, {5}}, {{2, 3}, {2, 3}}, {{}, {2, 3}},        {{2, 3}, {}},        {{3, 1}, {4}},
    {{4}, {3, 1}}, {{1}, {3}}, {{3}, {2, 3}},    {{2, 3, 2}, {3, 1}}, {{2, 1, 3}, {4, 1}}, {{4, 1}, {2, 1, 3}},
    {{0}, {1}},    {{1}, {0}}, {{2, 0}, {1}},    {{3, 1}, {1, 0}},    {{1, 1}, {1}},       {{3, 2, 1, 2}, {2, 1}}};

inline const std::vector<Shapes> axis_cases = {{{3}}, {{1}}, {{2, 3}}, {{3, 1}}, {{1, 4}}, {{2, 3, 4}}};

template <Real T>
std::vector<Row<T>> table() {
  using X = Tensor<T>;
  using Operands = std::span<const X>;
  std::vector<Row<T>> rows;
  auto add = [&](std::string primitive, std::string what, Sampler<T> sample, std::vector<Shapes> cases, auto function,
                 CheckOptions options = {}) {
    if (options.order == 2 && options.tolerance == 0 && std::is_same_v<T, double>) options.order = 3;
    TensorFunction<T> f;
    if constexpr (std::is_invocable_v<decltype(function), Operands>)
      f = function;
    else if constexpr (std::is_invocable_v<decltype(function), X>)
      f = [function](Operands x) { return function(x[0]); };
    else
      f = [function](Operands x) { return function(x[0], x[1]); };
    rows.push_back({std::move(primitive), std::move(what), sample, std::move(cases), std::move(f), options});
  };
  auto unary = [&](const char* name, Sampler<T> sample, auto function, const char* what = "") {
    add(name, what, sample, unary_cases, function);
  };
  auto binary = [&](const char* name, Sampler<T> sample, auto function, const char* what = "") {
    add(name, what, sample, binary_cases, function);
  };

  // ---------------------------------------------------------------------------------------------- elementwise
  unary("negate", anywhere<T>, [](const X& x) { return -x; });
  unary("exp", anywhere<T>, [](const X& x) { return exp(x); });
  unary("expm1", anywhere<T>, [](const X& x) { return expm1(x); });
  unary("exp2", anywhere<T>, [](const X& x) { return exp2(x); });
  unary("log2", positive<T>, [](const X& x) { return log2(x); });
  unary("log10", positive<T>, [](const X& x) { return log10(x); });
  unary("softplus", anywhere<T>, [](const X& x) { return softplus(x); });
  unary("tanh_softplus", anywhere<T>, [](const X& x) { return block<ops::TanhSoftplus>(x); });
  unary("tanh_softplus_slope", anywhere<T>, [](const X& x) { return block<ops::TanhSoftplusSlope>(x); });
  unary("tanh_slope", anywhere<T>, [](const X& x) { return block<ops::TanhSlope>(x); });
  unary("sigmoid_slope", anywhere<T>, [](const X& x) { return block<ops::SigmoidSlope>(x); });
  unary("asin_slope", fraction<T>, [](const X& x) { return block<ops::AsinSlope>(x); });
  unary("atan_slope", anywhere<T>, [](const X& x) { return block<ops::AtanSlope>(x); });
  unary("gaussian", anywhere<T>, [](const X& x) { return block<ops::Gaussian>(x, 0.5); });
  unary("normal_cdf", anywhere<T>, [](const X& x) { return block<ops::NormalCdf>(x); });
  unary("pow_slope", positive<T>, [](const X& x) { return block<ops::PowSlope>(x, 0.3); });
  unary("softsign", off_zero<T>, [](const X& x) { return softsign(x); });
  unary("sign", off_zero<T>, [](const X& x) { return sign(x); });
  unary("floor", off_steps<T>, [](const X& x) { return floor(x); });
  unary("ceil", off_steps<T>, [](const X& x) { return ceil(x); });
  unary("round", off_steps<T>, [](const X& x) { return round(x); });
  unary("cbrt", off_zero<T>, [](const X& x) { return cbrt(x); });
  unary("reciprocal", off_zero<T>, [](const X& x) { return reciprocal(x); });
  unary("sin", anywhere<T>, [](const X& x) { return sin(x); });
  unary("cos", anywhere<T>, [](const X& x) { return cos(x); });
  unary("tan", fraction<T>, [](const X& x) { return tan(x); });
  unary("asin", fraction<T>, [](const X& x) { return asin(x); });
  unary("acos", fraction<T>, [](const X& x) { return acos(x); });
  unary("atan", anywhere<T>, [](const X& x) { return atan(x); });
  unary("sinh", anywhere<T>, [](const X& x) { return sinh(x); });
  unary("cosh", anywhere<T>, [](const X& x) { return cosh(x); });
  unary("erfc", anywhere<T>, [](const X& x) { return erfc(x); });
  unary("log", positive<T>, [](const X& x) { return log(x); });
  unary("log1p", positive<T>, [](const X& x) { return log1p(x); });
  unary("tanh", anywhere<T>, [](const X& x) { return tanh(x); });
  unary("sigmoid", anywhere<T>, [](const X& x) { return sigmoid(x); });
  unary("relu", off_zero<T>, [](const X& x) { return relu(x); });
  unary("leaky_relu", off_zero<T>, [](const X& x) { return leaky_relu(x, 0.01); });
  unary(
      "leaky_relu", off_zero<T>, [](const X& x) { return leaky_relu(x, 0.3); }, "slope 0.3");
  unary("abs", off_zero<T>, [](const X& x) { return abs(x); });
  unary("sqrt", positive<T>, [](const X& x) { return sqrt(x); });
  unary("square", anywhere<T>, [](const X& x) { return square(x); });
  unary("erf", anywhere<T>, [](const X& x) { return erf(x); });
  for (double p : {-1.5, -1.0, 0.0, 0.5, 1.0, 2.5}) {
    add("pow", "to the power " + std::to_string(p), positive<T>, unary_cases, [p](const X& x) { return pow(x, p); });
  }
  unary(
      "pow", off_zero<T>, [](const X& x) { return pow(x, 3); }, "of negative numbers");
  unary(
      "pow", off_zero<T>, [](const X& x) { return pow(x, -2); }, "of negative numbers, inverted");

  binary("add", anywhere<T>, [](const X& a, const X& b) { return a + b; });
  binary("subtract", anywhere<T>, [](const X& a, const X& b) { return a - b; });
  binary("multiply", anywhere<T>, [](const X& a, const X& b) { return a * b; });
  binary("divide", quotient<T>, [](const X& a, const X& b) { return a / b; });
  binary("mul0", off_zero<T>, [](const X& a, const X& b) { return mul0(a, b); });
  binary("xlogy", positive<T>, [](const X& a, const X& b) { return xlogy(a, b); });
  unary(
      "xlogy", positive<T>, [](const X& x) { return xlogy(x, x) - xlogy(2, x); }, "of one operand twice, of a number");
  binary("maximum", interleaved<T>, [](const X& a, const X& b) { return maximum(a, b); });
  binary("minimum", interleaved<T>, [](const X& a, const X& b) { return minimum(a, b); });
  unary(
      "add", anywhere<T>, [](const X& x) { return x + x; }, "of one operand twice");
  unary(
      "multiply", anywhere<T>, [](const X& x) { return x * x * x; }, "of one operand thrice");
  unary(
      "divide", off_zero<T>, [](const X& x) { return 2 / x - x / 3; }, "by and of numbers");
  unary(
      "maximum", off_zero<T>, [](const X& x) { return maximum(x, 0) - minimum(0.1, x); }, "of numbers");

  auto mask = [](const Shape& shape) {
    Tensor<bool> m = zeros<bool>(shape);
    for (std::int64_t i = 0; i < m.size(); ++i) m.mutable_data()[i] = i % 3 != 1;
    return m;
  };
  for (const Shape& shape : Shapes{{2, 3}, {3, 1}, {3}, {}}) {
    add("where", "mask " + to_string(shape), anywhere<T>,
        {{{2, 3, 3}, {2, 3, 3}}, {{}, {3}}, {{3, 3}, {}}, {{3, 1}, {2, 1, 3}}, {{}, {}}},
        [m = mask(shape)](const X& a, const X& b) {
          // A mask (2, 3) meets operands with 3 rows only as rows of its own.
          return m.rank() == 2 && m.shape()[0] == 2 ? where(reshape(m, {2, 1, 3}), a, b) : where(m, a, b);
        });
  }
  add("where", "of more than a vector", anywhere<T>, {{{3, 7}, {3, 7}}, {{7}, {3, 1}}},
      [m = mask({3, 7})](const X& a, const X& b) { return where(m, a, b); });
  add("where", "of numbers", anywhere<T>, {{{2, 3}}, {{1}}, {{}}},
      [m = mask({2, 3})](const X& x) { return where(m, x, 2) * where(m, 3, x); });

  // ---------------------------------------------------------------------------------------------- reductions
  auto reductions = [&](const char* primitive, const std::string& what, Sampler<T> sample, auto reduce,
                        bool of_nothing) {
    for (KeepDims keep : {KeepDims::no, KeepDims::yes}) {
      const std::string kept = what + (keep == KeepDims::yes ? ", dims kept" : "");
      auto over = [=](Axes axes) { return [=](const X& x) { return reduce(x, axes, keep); }; };
      add(primitive, kept + ", all axes", sample, {{{}}, {{1}}, {{5}}, {{2, 3}}, {{2, 3, 2}}}, over({}));
      add(primitive, kept + ", axis -1", sample, axis_cases, over(-1));
      add(primitive, kept + ", axis 0", sample, axis_cases, over(0));
      add(primitive, kept + ", axis 1", sample, {{{2, 3, 4}}, {{3, 1, 2}}, {{2, 3, 2, 2}}}, over(1));
      add(primitive, kept + ", axes 0 and -1", sample, {{{2, 3, 4}}, {{2, 3}}, {{2, 3, 1, 2}}}, over({0, -1}));
      add(primitive, kept + ", axes 2 and 0", sample, {{{2, 3, 2, 2}}}, over({2, 0}));
      add(primitive, kept + ", axes 1 and 2", sample, {{{2, 3, 4}}, {{2, 3, 2, 2}}}, over({1, 2}));
      add(primitive, kept + ", an empty axis left", sample, {{{0, 3}}}, over(-1));
      if (of_nothing) add(primitive, kept + ", an empty axis", sample, {{{0, 3}}, {{0}}}, over(0));
    }
  };
  reductions(
      "sum", "", anywhere<T>, [](const X& x, Axes axes, KeepDims keep) { return sum(x, axes, keep); }, true);
  for (const Sampler<T> sample : {anywhere<T>, with_zeros<T>}) {
    reductions(
        "prod", sample == Sampler<T>{anywhere<T>} ? "" : "of zeros", sample,
        [](const X& x, Axes axes, KeepDims keep) { return prod(x, axes, keep); }, true);
  }
  reductions(
      "", "mean", anywhere<T>, [](const X& x, Axes axes, KeepDims keep) { return mean(x, axes, keep); }, false);
  reductions(
      "max", "", apart<T>, [](const X& x, Axes axes, KeepDims keep) { return max(x, axes, keep); }, false);
  reductions(
      "min", "", apart<T>, [](const X& x, Axes axes, KeepDims keep) { return min(x, axes, keep); }, false);

  const std::vector<Shapes> with_empty = {{{3}}, {{1}}, {{2, 3}}, {{3, 1}}, {{2, 3, 4}}, {{0, 3}}};
  const std::vector<Shapes> inner_cases = {{{2, 3, 4}}, {{3, 2}}, {{2, 3, 1, 2}}, {{2, 1}}};
  auto along_axes = [&](const char* primitive, auto function) {
    add(primitive, "axis -1", anywhere<T>, with_empty, [=](const X& x) { return function(x, -1); });
    add(primitive, "axis 0", anywhere<T>, axis_cases, [=](const X& x) { return function(x, 0); });
    add(primitive, "axis 1", anywhere<T>, inner_cases, [=](const X& x) { return function(x, 1); });
    add(primitive, "axis -2", anywhere<T>, inner_cases, [=](const X& x) { return function(x, -2); });
  };
  along_axes("cumsum", [](const X& x, int axis) { return cumsum(x, axis); });
  add("cumsum", "of nothing", anywhere<T>, {{{0}}, {{2, 0}}}, [](const X& x) { return cumsum(x, -1); });
  for (KeepDims keep : {KeepDims::no, KeepDims::yes}) {
    add("", "entropy", positive<T>, with_empty, [=](const X& x) { return entropy(x, -1, keep); });
    add("", "entropy, axis 1", positive<T>, inner_cases, [=](const X& x) { return entropy(x, 1, keep); });
  }
  along_axes("softmax", [](const X& x, int axis) { return softmax(x, axis); });
  along_axes("log_softmax", [](const X& x, int axis) { return log_softmax(x, axis); });
  along_axes("logsumexp", [](const X& x, int axis) { return logsumexp(x, axis); });
  along_axes("logsumexp", [](const X& x, int axis) { return logsumexp(x, axis, keep_dims); });

  // ---------------------------------------------------------------------------------------------- matrices
  add("matmul", "of matrices", anywhere<T>,
      {{{2, 3}, {3, 4}}, {{1, 3}, {3, 1}}, {{3, 1}, {1, 2}}, {{1, 1}, {1, 1}}, {{2, 0}, {0, 3}}, {{0, 2}, {2, 3}}},
      [](const X& a, const X& b) { return matmul(a, b); });
  add("matmul", "of batches", anywhere<T>,
      {{{4, 2, 3}, {4, 3, 2}},
       {{3, 2, 3}, {3, 2}},
       {{2, 3}, {3, 3, 2}},
       {{2, 1, 2, 3}, {3, 3, 1}},
       {{3, 2, 3}, {1, 3, 2}},
       {{1, 2, 3}, {3, 3, 2}},
       {{2, 1, 2, 2}, {1, 3, 2, 2}},
       {{0, 2, 3}, {3, 2}}},
      [](const X& a, const X& b) { return matmul(a, b); });
  add("matmul", "of vectors", anywhere<T>,
      {{{3}, {3}}, {{3}, {3, 2}}, {{2, 3}, {3}}, {{2, 4, 3}, {3}}, {{3}, {2, 3, 4}}, {{0}, {0}}, {{1}, {1}}},
      [](const X& a, const X& b) { return matmul(a, b); });
  add("matmul", "of transposes", anywhere<T>, {{{3, 2}, {4, 3}}, {{2, 3, 2}, {4, 3}}},
      [](const X& a, const X& b) { return matmul(matrix_transpose(a), matrix_transpose(b)); });
  add("matmul", "of one operand twice", anywhere<T>, {{{2, 2}}, {{3, 2, 2}}}, [](const X& x) { return matmul(x, x); });

  // ---------------------------------------------------------------------------------------------- shape
  add("transpose", "the last two", anywhere<T>, {{{2, 3}}, {{4, 2, 3}}, {{1, 3}}, {{0, 2}}, {{2, 2, 3, 4}}},
      [](const X& x) { return matrix_transpose(x); });
  add("transpose", "of a matrix", anywhere<T>, {{{2, 3}}, {{0, 2}}}, [](const X& x) { return transpose(x); });
  add("transpose", "{2, 0, 1}", anywhere<T>, {{{2, 3, 4}}, {{1, 3, 2}}, {{2, 0, 3}}}, [](const X& x) {
    return transpose(x, {2, 0, 1});
  });
  add("transpose", "{1, 0, 2}", anywhere<T>, {{{2, 3, 4}}}, [](const X& x) { return transpose(x, {1, 0, 2}); });
  add("transpose", "{-1, 0, -2, 1}", anywhere<T>, {{{2, 3, 4, 2}}}, [](const X& x) {
    return transpose(x, {-1, 0, -2, 1});
  });
  add("transpose", "{0}", anywhere<T>, {{{3}}}, [](const X& x) { return transpose(x, {0}); });

  auto reshape_row = [&](const Shape& from, const Shape& to) {
    add("reshape", "to " + to_string(to), anywhere<T>, {{from}}, [to](const X& x) { return reshape(x, to); });
  };
  reshape_row({2, 3}, {3, 2});
  reshape_row({6}, {2, -1});
  reshape_row({}, {1, 1});
  reshape_row({1}, {});
  reshape_row({2, 3, 4}, {6, 4});
  reshape_row({0, 3}, {3, 0, 2});

  auto broadcast_row = [&](const Shape& from, const Shape& to) {
    add("broadcast_to", "to " + to_string(to), anywhere<T>, {{from}}, [to](const X& x) { return broadcast_to(x, to); });
  };
  broadcast_row({}, {2, 3});
  broadcast_row({1}, {3});
  broadcast_row({3}, {2, 3});
  broadcast_row({3, 1}, {2, 3, 4});
  broadcast_row({2, 1, 3}, {2, 2, 3});
  broadcast_row({2, 3}, {2, 3});
  broadcast_row({1, 3}, {0, 3});

  // ---------------------------------------------------------------------------------------------- choosing elements
  struct Slice {
    Shape shape;
    int axis;
    std::int64_t start, stop, step;
  };
  for (const Slice& s : {Slice{{7}, 0, 1, 6, 2}, Slice{{2, 5}, -1, 1, 4, 1}, Slice{{2, 5}, 1, -4, -1, 2},
                         Slice{{2, 4, 3}, 1, 0, 9, 3}, Slice{{5, 2}, 0, 3, 3, 1}, Slice{{4}, 0, 0, 4, 1},
                         Slice{{4}, 0, 1, 4, 9}, Slice{{0, 2}, 1, 0, 1, 1}, Slice{{3, 2, 2}, 0, 1, 3, 1}}) {
    const std::string what = "axis " + std::to_string(s.axis) + " of " + to_string(s.shape) + " from " +
                             std::to_string(s.start) + " to " + std::to_string(s.stop) + " by " +
                             std::to_string(s.step);
    const auto choose = [axis = s.axis, start = s.start, stop = s.stop, step = s.step](const X& x) {
      return slice(x, axis, start, stop, step);
    };
    add("slice", what, anywhere<T>, {{s.shape}}, choose);
    add("put", "transpose of " + what, anywhere<T>, {{choose(zeros<T>(s.shape)).shape()}},
        [choose, shape = s.shape](const X& g) { return vjp(choose, zeros<T>(shape)).second(g); });
  }

  for (const std::int64_t i : {0, 1, -1}) {
    add("x[i]", std::to_string(i), anywhere<T>, {{{2}}, {{3}}, {{2, 3}}, {{4, 1}}, {{3, 2, 2}}, {{2, 0}}},
        [i](const X& x) { return x[i]; });
  }
  add("x[i]", "of a row", anywhere<T>, {{{2, 3}}, {{3, 3}}, {{2, 3, 2}}},
      [](const X& x) { return x[1][2] * x[0][-1]; });
  add("x[i]", "with the whole", anywhere<T>, {{{2}}, {{3, 2}}}, [](const X& x) { return x * x[0] + x[-1] * sum(x); });

  struct Take {
    Shape shape;
    int axis;
    Tensor<std::int64_t> indices;
  };
  for (const Take& t : {Take{{4, 2}, 0, {3, 1, 3, 3}}, Take{{2, 4}, -1, {0, -1, 0}}, Take{{2, 3, 2}, 1, {2, 2, 0, 1}},
                        Take{{3}, 0, Tensor<std::int64_t>(1)}, Take{{3, 2}, 0, Tensor<std::int64_t>({{0, 2}, {2, 2}})},
                        Take{{3, 2}, 1, zeros<std::int64_t>({0})}, Take{{5}, 0, {4}}}) {
    const std::string what =
        to_string(t.indices.shape()) + " of " + to_string(t.shape) + " on axis " + std::to_string(t.axis);
    auto choose = [t](const X& x) { return take(x, t.indices, t.axis); };
    add("take", what, anywhere<T>, {{t.shape}}, choose);
    add("put", "transpose of " + what, anywhere<T>, {{choose(zeros<T>(t.shape)).shape()}},
        [choose, shape = t.shape](const X& g) { return vjp(choose, zeros<T>(shape)).second(g); });
  }
  const auto parts_of = [&](const std::string& what, const Shape& shape, auto choose) {
    add("put_parts", "transpose of " + what, anywhere<T>, {{choose(zeros<T>(shape)).shape()}},
        [choose, shape](const X& g) { return vjp(choose, zeros<T>(shape)).second(g); });
  };
  parts_of("parts along the last axis", {2, 5}, [](const X& x) {
    return slice(x, -1, 0, 3) + slice(x, -1, 2, 5) - 2.0 * take(x, {4, 0, 4}, -1);
  });
  const Tensor<std::int64_t> own({{1, 1}, {0, 3}}), other({{2, 0}, {0, 1}}), flat{3, 0, 3};
  parts_of("own parts of each row", {2, 4},
           [=](const X& x) { return take_along(x, own) - 3.0 * take_along(x, other) + slice(x, 1, 1, 3); });
  parts_of("own parts of a vector", {4}, [=](const X& x) { return take_along(x, flat) + 2.0 * take_along(x, flat); });
  parts_of("elements", {3}, [](const X& x) { return x[0] * 2.0 - x[2] + x[0]; });
  parts_of("none of two", {2, 3}, [](const X& x) { return slice(x, 0, 1, 1) + take(x, zeros<std::int64_t>({0}), 0); });
  parts_of("parts along several axes", {3, 4}, [](const X& x) {
    const auto flat = [](const X& part) { return reshape(part, {-1}); };
    return concatenate({flat(slice(x, 0, 0, 3, 2)), flat(slice(x, 1, 1, 3)), flat(take(x, {2, 0, 2}, 1)), x[1], x[1],
                        reshape(x[-1][2], {1})},
                       0);
  });
  parts_of("parts and the whole", {2, 2}, [](const X& x) {
    return x + reshape(concatenate({x[1], x[0]}, 0), {2, 2}) * 3.0 + x[0];
  });
  for (const Take& t :
       {Take{{4}, -1, {3, 0, 3}}, Take{{2, 4}, -1, Tensor<std::int64_t>({{1, 1, -1}, {0, 3, 3}})},
        Take{{2, 1, 3}, -1, zeros<std::int64_t>({2, 1, 4})}, Take{{2, 3}, -1, zeros<std::int64_t>({2, 0})}}) {
    const std::string what = to_string(t.indices.shape()) + " along " + to_string(t.shape);
    auto choose = [t](const X& x) { return take_along(x, t.indices); };
    add("take_along", what, anywhere<T>, {{t.shape}}, choose);
    add("put", "transpose of " + what, anywhere<T>, {{choose(zeros<T>(t.shape)).shape()}},
        [choose, shape = t.shape](const X& g) { return vjp(choose, zeros<T>(shape)).second(g); });
  }
  add("", "sort", apart<T>, {{{5}}, {{2, 4}}, {{1}}, {{2, 3, 2}}, {{0}}, {{2, 0}}}, [](const X& x) { return sort(x); });

  add("concatenate", "axis 0", anywhere<T>, {{{2, 3}, {1, 3}}, {{2}, {3}}, {{0, 2}, {2, 2}}, {{1}, {1}}},
      [](const X& a, const X& b) {
        return concatenate({a, b}, 0);
      });
  add("concatenate", "axis -1", anywhere<T>, {{{2, 3}, {2, 1}}, {{2, 1, 2}, {2, 1, 3}}}, [](const X& a, const X& b) {
    return concatenate({a, b}, -1);
  });
  add("concatenate", "axis 1, three parts, one twice", anywhere<T>, {{{2, 3, 2}, {2, 1, 2}}},
      [](const X& a, const X& b) {
        return concatenate({a, b, a}, 1);
      });
  add("concatenate", "of parts that depend on one of two", anywhere<T>, {{{2, 2}, {1, 2}}}, [](const X& a, const X& b) {
    return concatenate({a * b, ones<T>({1, 2}), b, square(a), b}, 0);
  });
  add("concatenate", "with a constant", anywhere<T>, {{{2, 3}}}, [](const X& x) {
    return concatenate({ones<T>({2, 2}), x, ones<T>({2, 1})}, 1);
  });

  // ---------------------------------------------------------------------------------------------- number types
  using Other = std::conditional_t<std::is_same_v<T, float>, double, float>;
  // Linear, so that a long step does no harm; it drowns the rounding to float.
  add("astype", "there and back", anywhere<T>, unary_cases, [](const X& x) { return astype<T>(astype<Other>(x)) * 2; },
      {.order = 3, .tolerance = 1e-5, .step = 0.05});

  // ---------------------------------------------------------------------------------------------- what rules share
  add("", "one value used by many operations", anywhere<T>, {{{2, 3}}, {{}}}, [](const X& x) {
    const X y = tanh(x), z = y * x;
    return y + z * y - broadcast_to(sum(z), x.shape());
  });
  add("", "the argument itself", anywhere<T>, unary_cases, [](const X& x) { return x; });
  return rows;
}

}  // namespace primitive_table
