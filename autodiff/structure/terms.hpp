#pragma once
// The form in which the Jacobian of a recorded value is kept while it is being found: a sum of structured terms, pushed
// forward through the records, with one block for each row of a batch. An elementwise operation scales the rows of
// every term; a reduction of a row makes one rank-one term of a diagonal. So a softmax made of exp, sum and a division
// is found to be diagonal plus rank one, with no rule for softmax: with e = exp(z), s = sum(e), y = e / s,
//
//     J_e = diag(e),   J_s = 1 e^T,   J_y = diag(1 / s) J_e - (e / s^2) J_s = diag(y) - (e / s^2) e^T.
//
// A rank-one term goes through any primitive by the pushforward of its left factor. A primitive's `carry` says what
// becomes of a diagonal; where the result has no structure, the diagonal becomes a matrix, which is pushed forward
// column by column.

#include <cstdint>
#include <optional>
#include <span>

#include "../kernels/kernels.hpp"
#include "../ops.hpp"
#include "../ops/operands.hpp"
#include "../tape/carry.hpp"
#include "../tape/recording.hpp"

namespace tapegrad::detail {

/// The Jacobian of one value by the input, as a sum. Terms are merged if they share the array of a factor; the numbers
/// in it are never compared.
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
  /// A second matrix would be merged with the first, written out. Unless `write_out` allows that, returns false and
  /// adds nothing.
  template <Real T>
  bool add(Matrix term, const Blocks& blocks, bool write_out = false);
  void clear();

 private:
  List<Diagonal> diagonals_;
  List<RankOne> rank_ones_;
  List<Matrix> matrix_;  // at most one
};

/// M as (n, batch, m), with its rows scaled by `left` and, if wanted, its columns by `right`.
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
/// M v or M^T v with both factors; takes v (batch, n) to (batch, m), or the other way round.
template <Real T>
Tensor<T> matrix_product(const Matrix& matrix, const Blocks& blocks, const Tensor<T>& v, bool transposed);
/// y(b, i) = x(b, i + shift), or 0 where that does not exist; takes (batch, any) to (batch, size).
template <Real T>
Tensor<T> shifted(const Tensor<T>& x, std::int64_t shift, std::int64_t size);

/// Ones of any shape, with one array per shape, so that terms without scaling are merged.
class Ones {
 public:
  explicit Ones(Dtype dtype) : dtype_(dtype) {}
  /// The reference is valid until the next call.
  const Handle& operator()(const Shape& shape);

 private:
  Dtype dtype_;
  Terms::List<Handle> made_;
};

/// With more diagonals and rank-one terms than this, sweeps are just as cheap.
inline constexpr std::int64_t most_terms = kernels::most_terms;

/// A Jacobian as a sum of few terms.
struct Structured {
  Terms terms;
  Blocks blocks;
  bool by_columns = false;  // a matrix was pushed or written out column by column
};

/// A factor as (batch, size of its row).
template <Real T>
Tensor<T> rows_of(const Handle& factor, const Blocks& blocks);
/// All elements in the order of (batch, m, n), in the given shape.
template <Real T>
Tensor<T> written(const Structured& form, const Shape& shape);
/// J v, with v in the order of (batch, n), or J^T v, with v in the order of (batch, m). The result has the given shape.
template <Real T>
Tensor<T> structured_product(const Structured& form, const Tensor<T>& v, bool transposed, const Shape& result,
                             const Caller& where);

/// Whether the terms are few enough to be cheaper than a sweep.
bool few(const Terms& terms, const Blocks& blocks);

/// The operation that ended the search for structure, if there was one.
struct Lost {
  const char* operation = nullptr;
  Caller where = {};
};

/// The Jacobian of a recording's output by one of its inputs, as terms; block by block if the batch axes are given.
/// Returns nothing if a sweep costs less; `lost` then says why. A matrix as large as the Jacobian may be formed on the
/// way only if `columns_allowed`.
template <Real T>
std::optional<Structured> structure(const Recording& recording, const Handle& output, std::size_t input,
                                    std::span<const BatchAxis> axes, bool columns_allowed, Lost* lost = nullptr);

}  // namespace tapegrad::detail
