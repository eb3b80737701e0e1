#pragma once
// What a lambda of symbolic numbers writes down: a graph of elementwise operations, simplified as it grows. Its nodes
// are differentiated by the rules of rules/elementwise.hpp.

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "../kernels/kernels.hpp"
#include "../ops.hpp"

namespace tapegrad {

// The rules' text calls this name, which is spelled differently for symbolic numbers. It is found through its argument.
inline Scalar power(const Scalar& x, double p) { return pow(x, p); }

namespace detail {

/// An empty tangent stands for zero.
using Tangent = std::optional<Scalar>;

inline constexpr std::size_t max_arity = 3;
inline constexpr int no_node = -1;

template <class T>
using PairKernel = decltype(kernels::UnaryKernels<T>::both);

inline bool is_constant(const Scalar& x) { return !ScalarAccess::graph(x); }
inline double constant_of(const Scalar& x) { return ScalarAccess::constant(x); }
/// Whether x is the constant with exactly these bits.
inline bool is_constant(const Scalar& x, double value) {
  return is_constant(x) && std::bit_cast<std::uint64_t>(constant_of(x)) == std::bit_cast<std::uint64_t>(value);
}

/// What a node computes: there is one for each block of rules/elementwise.hpp.
struct Operation {
  std::size_t arity;
  kernels::ElementwiseKernel<float> (*kernel_f32)(const kernels::Kernels<float>&);
  kernels::ElementwiseKernel<double> (*kernel_f64)(const kernels::Kernels<double>&);
  /// The tangent of y = op(x...) from those of its operands, at least one of which is not zero.
  Tangent (*tangent)(std::span<const Tangent> dx, std::span<const Scalar> x, const Scalar& y, double p);
  /// The operation on tensors; null if it has several operands.
  Tensor<float> (*of_f32)(const Tensor<float>& x, const Caller& where, double p) = nullptr;
  Tensor<double> (*of_f64)(const Tensor<double>& x, const Caller& where, double p) = nullptr;
  /// If there is one kernel for both value and slope: that kernel, and the operation whose value the slope is.
  const Operation* slope = nullptr;
  PairKernel<float> (*pair_f32)(const kernels::Kernels<float>&) = nullptr;
  PairKernel<double> (*pair_f64)(const kernels::Kernels<double>&) = nullptr;
};

template <class Op>
Tangent unary_tangent(std::span<const Tangent> dx, std::span<const Scalar> x, const Scalar& y, double p) {
  const Scalar& v = *dx[0];
  if constexpr (Passes<Op>) {
    if (Op::passes[0] == 0) return {};
    return Op::passes[0] > 0 ? v : -v;
  } else {
    return ops::product<Op>(v, x[0], y, p);
  }
}

template <class Op>
Tangent binary_tangent(std::span<const Tangent> dx, std::span<const Scalar> x, const Scalar& y, double) {
  auto term = [&](std::size_t k) -> Tangent {
    if (!dx[k]) return {};
    const Scalar& v = *dx[k];
    if constexpr (Passes<Op>) {
      if (Op::passes[k] == 0) return {};
      return Op::passes[k] > 0 ? v : -v;
    } else {
      return k == 0 ? ops::product<Op, 0>(v, x[0], x[1], y) : ops::product<Op, 1>(v, x[0], x[1], y);
    }
  };
  const Tangent a = term(0), b = term(1);
  if (!a || !b) return a ? a : b;
  return *a + *b;
}

/// The branch not taken has no part in the sum, so that an infinity or a NaN in it has no effect.
inline Tangent select_tangent(std::span<const Tangent> dx, std::span<const Scalar> x, const Scalar&, double) {
  if (!dx[1] && !dx[2]) return {};
  return where(ScalarAccess::mask(x[0]), dx[1].value_or(0), dx[2].value_or(0));
}

/// The operation of a block of rules/elementwise.hpp.
template <class Op>
inline constexpr Operation operation = [] {
  if constexpr (is_in<Op, ops::Unary>) {
    constexpr std::size_t i = index_in<Op, ops::Unary>;
    Operation unary_operation{1,
                              [](const kernels::Kernels<float>& k) { return k.unary[i].value; },
                              [](const kernels::Kernels<double>& k) { return k.unary[i].value; },
                              unary_tangent<Op>,
                              &unary<Op, float>,
                              &unary<Op, double>};
    if constexpr (requires { typename Op::Slope; }) {
      unary_operation.slope = &operation<typename Op::Slope>;
      unary_operation.pair_f32 = [](const kernels::Kernels<float>& k) { return k.unary[i].both; };
      unary_operation.pair_f64 = [](const kernels::Kernels<double>& k) { return k.unary[i].both; };
    }
    return unary_operation;
  } else if constexpr (is_in<Op, ops::Binary>) {
    constexpr std::size_t i = index_in<Op, ops::Binary>;
    return Operation{2, [](const kernels::Kernels<float>& k) { return k.binary[i].value; },
                     [](const kernels::Kernels<double>& k) { return k.binary[i].value; }, binary_tangent<Op>};
  } else if constexpr (is_in<Op, ops::Comparisons>) {
    constexpr std::size_t i = index_in<Op, ops::Comparisons>;
    return Operation{2, [](const kernels::Kernels<float>& k) { return k.comparisons[i]; },
                     [](const kernels::Kernels<double>& k) { return k.comparisons[i]; }, binary_tangent<Op>};
  } else {
    constexpr std::size_t i = index_in<Op, ops::Ternary>;
    return Operation{3, [](const kernels::Kernels<float>& k) { return k.ternary[i]; },
                     [](const kernels::Kernels<double>& k) { return k.ternary[i]; },
                     std::is_same_v<Op, ops::Select> ? select_tangent : nullptr};
  }
}();

/// An operand of the function (p is its number), a constant (p is its value), or an operation.
struct Node {
  enum class Kind : std::uint8_t { operand, constant, operation };
  Kind kind = Kind::operation;
  const Operation* operation = nullptr;
  std::array<int, max_arity> in{no_node, no_node, no_node};
  double p = 0;
};

template <class Op>
bool is(const Operation& o) {
  return &o == &operation<Op>;
}
template <class Op>
bool is(const Node& node) {
  return node.operation == &operation<Op>;
}

/// Nodes in the order of evaluation, and which of them are results. Every node is needed.
struct Formula {
  std::vector<Node> nodes;
  std::vector<int> results;
};

/// Nodes in the order of evaluation, each distinct.
class Graph : public std::enable_shared_from_this<Graph> {
 public:
  Scalar operand(std::size_t k) { return scalar(add({.kind = Node::Kind::operand, .p = static_cast<double>(k)})); }
  /// Adds operation(x...), where at least one of x is not a constant. Throws ValueError for a number of another graph.
  Scalar apply(const Operation& operation, std::span<const Scalar> x, double p);
  /// The node that x stands for; null for a constant or a number of another graph.
  const Node* node_behind(const Scalar& x) const;
  /// Operand k of the operation that x stands for.
  Scalar operand_behind(const Scalar& x, std::size_t k);
  /// The part of the graph that the results need.
  Formula formula(std::span<const Scalar> results);

 private:
  using Key = std::tuple<Node::Kind, const Operation*, std::array<int, max_arity>, std::uint64_t>;
  int add(const Node& node);
  int node_of(const Scalar& x);
  Scalar scalar(int node) { return ScalarAccess::make(shared_from_this(), node); }

  std::vector<Node> nodes_;
  std::map<Key, int> known_;
};

/// operation(x...) in the graph of its operands, or computed at once if all of them are constants.
Scalar apply(const Operation& operation, std::span<const Scalar> x, double p);

}  // namespace detail
}  // namespace tapegrad
