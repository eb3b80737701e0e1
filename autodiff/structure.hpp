#pragma once
// How the Jacobian of a recorded value is kept while it is found: a sum of terms with structure, pushed forward through
// the records, one block for each row of a batch. An elementwise operation scales the rows of every term; a reduction
// of a row makes one rank-one term of a diagonal. So a softmax made of exp, sum and a division is found to be diagonal
// plus rank one, with no rule for softmax: with e = exp(z), s = sum(e), y = e / s,
//
//     J_e = diag(e),   J_s = 1 e^T,   J_y = diag(1 / s) J_e - (e / s^2) J_s = diag(y) - (e / s^2) e^T.
//
// A rank-one term goes through any primitive by the pushforward of its left factor. What a primitive makes of a
// diagonal is its `carry`; where that has no structure, the diagonal becomes a matrix, pushed forward column by column.

#include <cstdint>
#include <vector>

#include "tensor.hpp"

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

/// The Jacobian of one value by the input: a sum. Terms meet where they share the array of a factor, never by the
/// numbers in it.
class Terms {
 public:
  template <class E>
  using List = std::vector<E, PoolAllocator<E>>;

  bool zero() const { return diagonals_.empty() && rank_ones_.empty() && !matrix(); }
  const List<Diagonal>& diagonals() const { return diagonals_; }
  const List<RankOne>& rank_ones() const { return rank_ones_; }
  List<RankOne>& rank_ones() { return rank_ones_; }
  /// Null where there is none.
  const Matrix* matrix() const { return matrix_.empty() ? nullptr : matrix_.data(); }

  void add(Diagonal term);
  void add(RankOne term);
  /// Two matrices would become one, written out; false, and nothing added, unless `write_out` allows that.
  template <Real T>
  bool add(Matrix term, const Blocks& blocks, bool write_out = false);
  void clear();

 private:
  List<Diagonal> diagonals_;
  List<RankOne> rank_ones_;
  List<Matrix> matrix_;  // at most one
};

/// (n, batch, m): M with its rows scaled by `left`, and its columns by `right` where that is wanted.
template <Real T>
Tensor<T> columns_of(const Matrix& matrix, const Blocks& blocks, bool scaled_by_right);
/// M v, or M^T v, with both factors: v (batch, n) to (batch, m), or the other way round.
template <Real T>
Tensor<T> matrix_product(const Matrix& matrix, const Blocks& blocks, const Tensor<T>& v, bool transposed);
/// y(b, i) = x(b, i + shift), or 0 where that is not: (batch, any) to (batch, size).
template <Real T>
Tensor<T> shifted(const Tensor<T>& x, std::int64_t shift, std::int64_t size);

/// Ones of any shape, the same array for the same shape, so that terms which scale nothing meet.
class Ones {
 public:
  explicit Ones(Dtype dtype) : dtype_(dtype) {}
  /// Good until the next call.
  const Handle& operator()(const Shape& shape);

 private:
  Dtype dtype_;
  Terms::List<Handle> made_;
};

/// What a primitive's `carry` is given: the diagonal Jacobian of operand k, and where its terms go.
struct Carried {
  const Call& call;
  std::size_t k;
  const Diagonal& diagonal;
  const Shape& input;  // of the Jacobian
  Blocks in, out;      // of operand and output
  Ones& ones;
  Terms& sum;

  /// J's column sums, a row of the input's shape; and the same, but empty where they are all one.
  Handle row() const;
  Handle scale() const;
  /// The diagonal scales nothing.
  bool unit() const { return diagonal.entries.array()->data == ones(diagonal.entries.shape()).array()->data; }
  /// The same for another diagonal.
  Carried with(const Diagonal& other) const { return {call, k, other, input, in, out, ones, sum}; }
};

/// Elementwise, or the elements of a row in the same order: the diagonal stays one.
bool carry_diagonal(const Carried& carried);
/// An element of the output's block moves down by `offset` against that of the operand.
bool carry_moved(const Carried& carried, std::int64_t offset);

/// Beyond this many diagonals and rank-one terms, sweeps are as cheap.
inline constexpr std::int64_t most_terms = 16;

/// A Jacobian in terms, few of them.
struct Structured {
  Terms terms;
  Blocks blocks;
  bool by_columns = false;  // some matrix was pushed, or written out, column by column
};

/// A factor as (batch, size of its row).
template <Real T>
Tensor<T> rows_of(const Handle& factor, const Blocks& blocks);
/// All elements in the order of (batch, m, n), of the given shape.
template <Real T>
Tensor<T> written(const Structured& form, const Shape& shape);
/// J v, v in the order of (batch, n), or J^T v, v in that of (batch, m); the result has the given shape.
template <Real T>
Tensor<T> structured_product(const Structured& form, const Tensor<T>& v, bool transposed, const Shape& result,
                             const Where& where);

/// Few enough to be cheaper than a sweep.
bool few(const Terms& terms, const Blocks& blocks);

}  // namespace tapegrad::detail
