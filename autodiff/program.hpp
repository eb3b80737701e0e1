#pragma once
// Programs: what a lambda of symbolic numbers wrote down. A graph is the program while it is made, simplified as it
// grows; a Program is finished: it runs, and knows its derivatives.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/kernels.hpp"
#include "primitive.hpp"
#include "scalar.hpp"

namespace tapegrad::detail {

/// What an instruction of a program does: one for each block of ops/elementwise.hpp.
struct Operation {
  std::size_t arity;
  kernels::ElementwiseKernel<float> (*kernel_f32)(const kernels::Kernels<float>&);
  kernels::ElementwiseKernel<double> (*kernel_f64)(const kernels::Kernels<double>&);
  /// The tangent of y = op(x...) by those of its operands, of which at least one is not zero; null stands for zero.
  /// Gives nothing for a slope of 0.
  std::optional<Scalar> (*tangent)(std::span<const std::optional<Scalar>> dx, std::span<const Scalar> x, const Scalar& y,
                                   double p);
};

inline constexpr int no_node = -1;
inline constexpr std::size_t max_arity = 3;

/// An operand of the function (no operation; p is its number), a constant (p is its value), or an operation.
struct Node {
  enum class Kind : std::uint8_t { operand, constant, operation };
  Kind kind = Kind::operation;
  const Operation* operation = nullptr;
  std::array<int, max_arity> in{no_node, no_node, no_node};
  double p = 0;
};

/// Nodes in the order of evaluation, each once.
class Graph : public std::enable_shared_from_this<Graph> {
 public:
  Scalar operand(std::size_t k) { return scalar(add({.kind = Node::Kind::operand, .p = static_cast<double>(k)})); }
  Scalar apply(const Operation& operation, std::span<const Scalar> x, double p);
  /// The node of a number; constants get one. Throws ValueError for a number of another graph.
  int node_of(const Scalar& x);
  const std::vector<Node>& nodes() const { return nodes_; }
  /// Something was multiplied by mul0.
  bool guarded() const { return guarded_; }

 private:
  using Key = std::tuple<Node::Kind, const Operation*, std::array<int, max_arity>, std::uint64_t>;
  int add(const Node& node);
  Scalar scalar(int node) { return ScalarAccess::make(shared_from_this(), node); }

  std::vector<Node> nodes_;
  std::map<Key, int> known_;
  bool guarded_ = false;
};

/// A finished program. Immutable and shared by handles and tapes; its derivatives are made when first asked for.
class Program : public Object {
 public:
  /// The last node is the result; every node is needed.
  Program(std::string name, std::size_t operands, std::vector<Node> nodes);

  const std::string& name() const { return name_; }
  std::size_t operands() const { return operands_; }
  template <Real T>
  const Primitive& primitive() const;

  /// Its value depends on operand k.
  bool reads(std::size_t k) const { return used_[k] != 0; }
  /// f at every element of the result, from operands that broadcast to its shape.
  template <Real T>
  void run(std::span<const Array* const> operands, Array& result) const;
  /// The program written down again, of other operands.
  Scalar replay(std::span<const Scalar> operands) const;
  /// The program of (v, y, x...) for v * df/dx_k, y = f(x...).
  const Handle& product(std::size_t k) const;

 private:
  // A step reads slots and writes a register. Slots are registers, the first of which is the block of the result, then
  // operands, then constants.
  struct Step {
    kernels::ElementwiseKernel<float> kernel_f32;
    kernels::ElementwiseKernel<double> kernel_f64;
    double p;
    std::array<int, max_arity> in;
    std::size_t arity;
    int out;
  };
  struct Lowering;
  struct Product {
    std::once_flag once;
    Handle program;
  };

  Handle make_product(std::size_t k) const;

  std::string name_;
  std::size_t operands_;
  std::vector<Node> nodes_;
  std::vector<Step> steps_;
  int registers_ = 1;
  int result_slot_ = 0;
  std::vector<float> constants_f32_;
  std::vector<double> constants_f64_;
  std::vector<char> used_;  // operands that a step reads
  Primitive primitive_f32_, primitive_f64_;
  std::unique_ptr<Product[]> products_;
};

}  // namespace tapegrad::detail
