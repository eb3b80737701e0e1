#pragma once
// Rewrites of what a lambda asks for. Each is an identity that holds to the last bit for every number, NaN and the
// signs of zeros included, or one of those that elementwise.hpp names; those of mul0 may change the sign of a zero.

#include <optional>
#include <span>

#include "graph.hpp"

namespace tapegrad::detail {

/// An operation that is about to be written down, with operands a and b, or a alone.
struct Asked {
  Graph& graph;
  const Operation& operation;
  const Scalar &a, &b;
  double p;

  /// Whether x stands for an Op of this graph.
  template <class Op>
  bool made_by(const Scalar& x) const {
    const Node* node = graph.node_behind(x);
    return node && is<Op>(*node);
  }
  /// Operand k of the operation that x stands for.
  Scalar inside(const Scalar& x, std::size_t k) const { return graph.operand_behind(x, k); }
};

/// One identity of an operation.
struct Rewrite {
  const char* text;  // with c and d for constants
  const Operation* operation;
  /// What is written instead; nothing where the identity does not apply.
  std::optional<Scalar> (*result)(const Asked& asked);
};

/// All rewrites. The first one that applies is taken; its result has been simplified in turn.
std::span<const Rewrite> rewrites();

}  // namespace tapegrad::detail
