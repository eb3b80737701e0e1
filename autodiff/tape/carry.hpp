#pragma once
// What a primitive says of the structure of its Jacobian: `carry` makes terms of the diagonal Jacobian of an operand.
// structure/terms.hpp has the whole of it.

#include <cstdint>

#include "../core/handle.hpp"

namespace tapegrad::detail {

class Call;

/// The Jacobian's blocks, one for each row of a batch: `batch` of (m, n).
struct Blocks {
  std::int64_t batch = 1, m = 0, n = 0;
};

/// J(i, i + shift) = entries(i), where that column exists. Entries have the shape of the value.
struct Diagonal {
  std::int64_t shift;
  Handle entries;
};

/// J(i, j) = left(i) right(j): shapes of the value and of the input.
struct RankOne {
  Handle left, right;
};

/// J(i, j) = left(i) M(i, j) right(j); an empty factor stands for ones. M is a triangle of ones, or kept by its
/// columns: (n, batch, m), or (n, 1, m) where the whole batch shares it.
struct Matrix {
  enum class Kind : std::uint8_t { columns, lower, upper };
  Kind kind;
  Handle left, columns, right;
  bool constant = false;  // M does not depend on the point
};

/// A diagonal Jacobian of operand k of a call, on its way to the output's.
class Carry {
 public:
  Carry(const Call& call_, std::size_t k_, const Blocks& in_, const Blocks& out_)
      : call(call_), k(k_), in(in_), out(out_) {}
  Carry(const Carry&) = delete;

  const Call& call;
  const std::size_t k;
  const Blocks in, out;  // of operand and output

  virtual const Diagonal& diagonal() const = 0;
  /// The diagonal scales nothing.
  virtual bool unit() const = 0;
  /// The column sums of a diagonal, a row of the shape of the Jacobian's input; and those of diagonal(), but empty
  /// where they are all one.
  virtual Handle row(const Diagonal& of) const = 0;
  virtual Handle scale() const = 0;
  /// Ones of any shape, the same array for the same shape. Good until the next call.
  virtual const Handle& ones(const Shape& shape) const = 0;

  // Terms of the output's Jacobian.
  virtual void add(Diagonal term) = 0;
  virtual void add(RankOne term) = 0;
  /// False, and nothing added, where there is another matrix.
  virtual bool add(Matrix term) = 0;
  /// The diagonal, `offset` rows further down in the block.
  virtual void add_moved(std::int64_t offset) = 0;

 protected:
  ~Carry() = default;
};

/// Elementwise, or the elements of a row in the same order: the diagonal stays one.
inline bool carry_diagonal(Carry& carry) {
  if (carry.in.m != carry.out.m) return false;
  carry.add_moved(0);
  return true;
}

}  // namespace tapegrad::detail
