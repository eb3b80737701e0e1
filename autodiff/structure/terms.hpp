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
#include <optional>
#include <span>

#include "../kernels/kernels.hpp"
#include "../ops.hpp"
#include "../ops/operands.hpp"
#include "../tape/carry.hpp"
#include "../tape/recording.hpp"

namespace tapegrad::detail {

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
/// (n, 1, m): 1 where holds(row i, column j).
template <Real T, class Holds>
Tensor<T> columns_where(const Blocks& blocks, Holds holds) {
  return made<T>({blocks.n, 1, blocks.m}, "jacobian", {}, [=, m = blocks.m, n = blocks.n](T* out, std::int64_t) {
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t i = 0; i < m; ++i) *out++ = holds(i, j) ? T{1} : T{0};
    }
  });
}
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

/// Beyond this many diagonals and rank-one terms, sweeps are as cheap.
inline constexpr std::int64_t most_terms = kernels::most_terms;

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
                             const Caller& where);

/// Few enough to be cheaper than a sweep.
bool few(const Terms& terms, const Blocks& blocks);

/// The operation that ended the search for structure, if one did.
struct Lost {
  const char* operation = nullptr;
  Caller where = {};
};

/// The Jacobian of a recording's output by one of its inputs, in terms; by blocks, where the batch axes are given.
/// Nothing where a sweep costs less; then `lost` says why. Only with `columns_allowed` may a matrix as large as the
/// Jacobian be made on the way.
template <Real T>
std::optional<Structured> structure(const Recording& recording, const Handle& output, std::size_t input,
                                    std::span<const BatchAxis> axes, bool columns_allowed, Lost* lost = nullptr);

}  // namespace tapegrad::detail
