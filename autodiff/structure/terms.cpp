#include "terms.hpp"

#include <algorithm>

#include "../ops/internal.hpp"

namespace tapegrad::detail {
namespace {

// Whether both are the same numbers with the same derivative.
bool same(const Handle& a, const Handle& b) {
  return a.array()->data == b.array()->data && a.place().scope == b.place().scope &&
         a.place().record() == b.place().record();
}

template <class E>
void append_to(Terms::List<E>& list, E term) {
  if (list.empty()) list.reserve(4);
  list.push_back(std::move(term));
}

// right(j) for each block b, as (n, batch, 1).
template <Real T>
Tensor<T> as_columns(const Tensor<T>& right, const Blocks& blocks) {
  const Tensor<T> rows = reshape(right, {blocks.batch, blocks.n});
  return reshape(blocks.batch == 1 ? rows : transpose(rows), {blocks.n, blocks.batch, 1});
}

}  // namespace

void Terms::add(Diagonal term) {
  for (Diagonal& own : diagonals_) {
    if (own.shift == term.shift) return add_term(own.entries, std::move(term.entries));
  }
  append_to(diagonals_, std::move(term));
}

void Terms::add(RankOne term) {
  for (RankOne& own : rank_ones_) {
    if (same(own.right, term.right)) return add_term(own.left, std::move(term.left));
    if (same(own.left, term.left)) return add_term(own.right, std::move(term.right));
  }
  append_to(rank_ones_, std::move(term));
}

template <Real T>
bool Terms::add(Matrix term, const Blocks& blocks, bool write_out) {
  if (const Matrix* own = matrix()) {
    if (!write_out) return false;
    const Tensor<T> sum = columns_of<T>(*own, blocks, true) + columns_of<T>(term, blocks, true);
    matrix_.clear();
    term = {Matrix::Kind::columns, {}, sum.handle(), {}};
  }
  matrix_.push_back(std::move(term));
  return true;
}

void Terms::clear() {
  diagonals_.clear();
  rank_ones_.clear();
  matrix_.clear();
}

template <Real T>
Tensor<T> columns_of(const Matrix& matrix, const Blocks& blocks, bool scaled_by_right) {
  Tensor<T> columns;
  if (matrix.kind == Matrix::Kind::columns)
    columns = Tensor<T>(matrix.columns);
  else if (matrix.kind == Matrix::Kind::lower)
    columns = columns_where<T>(blocks, [](auto i, auto j) { return j <= i; });
  else
    columns = columns_where<T>(blocks, [](auto i, auto j) { return j >= i; });
  if (matrix.left) columns = mul0(columns, reshape(Tensor<T>(matrix.left), {blocks.batch, blocks.m}));
  if (scaled_by_right && matrix.right) columns = mul0(columns, as_columns(Tensor<T>(matrix.right), blocks));
  return broadcast_to(columns, {blocks.n, blocks.batch, blocks.m});
}

template <Real T>
Tensor<T> matrix_product(const Matrix& matrix, const Blocks& blocks, const Tensor<T>& v, bool transposed) {
  const auto scaled = [&](const Tensor<T>& x, const Handle& by) {
    return by ? mul0(x, reshape(Tensor<T>(by), {blocks.batch, by.shape().count() / blocks.batch})) : x;
  };
  const Tensor<T> x = scaled(v, transposed ? matrix.left : matrix.right);
  Tensor<T> y;
  if (matrix.kind != Matrix::Kind::columns) {
    y = cumsum_along(x, 1, (matrix.kind == Matrix::Kind::upper) != transposed, {});
  } else if (const Tensor<T> columns(matrix.columns); columns.shape()[1] == 1) {
    const Tensor<T> shared = reshape(columns, {blocks.n, blocks.m});
    y = strong_matmul(x, transposed ? transpose(shared) : shared);
  } else if (transposed) {
    y = matrix_transpose(sum(mul0(columns, x), -1));
  } else {
    y = sum(mul0(columns, as_columns(x, blocks)), 0);
  }
  return scaled(y, transposed ? matrix.right : matrix.left);
}

template <Real T>
Tensor<T> shifted(const Tensor<T>& x, std::int64_t shift, std::int64_t size) {
  const std::int64_t batch = x.shape()[0], given = x.shape()[1];
  if (shift == 0 && size == given) return x;
  // y takes x[begin + shift, end + shift).
  const std::int64_t begin = std::clamp<std::int64_t>(-shift, 0, size);
  const std::int64_t end = std::clamp<std::int64_t>(given - shift, begin, size);
  const Tensor<T> parts[] = {zeros<T>({batch, begin}), slice(x, 1, begin + shift, end + shift),
                             zeros<T>({batch, size - end})};
  return concatenate(std::span<const Tensor<T>>(parts), 1);
}

bool few(const Terms& terms, const Blocks& blocks) {
  const auto most = static_cast<std::size_t>(std::clamp<std::int64_t>(blocks.n / 2, 4, most_terms));
  return terms.diagonals().size() + terms.rank_ones().size() <= most;
}

const Handle& Ones::operator()(const Shape& shape) {
  for (const Handle& own : made_) {
    if (own.shape() == shape) return own;
  }
  append_to(made_, with_real(dtype_, [&]<class T>(T) { return ones<T>(shape).handle(); }));
  return made_.back();
}

template bool Terms::add<float>(Matrix, const Blocks&, bool);
template bool Terms::add<double>(Matrix, const Blocks&, bool);
template Tensor<float> columns_of(const Matrix&, const Blocks&, bool);
template Tensor<double> columns_of(const Matrix&, const Blocks&, bool);
template Tensor<float> matrix_product(const Matrix&, const Blocks&, const Tensor<float>&, bool);
template Tensor<double> matrix_product(const Matrix&, const Blocks&, const Tensor<double>&, bool);
template Tensor<float> shifted(const Tensor<float>&, std::int64_t, std::int64_t);
template Tensor<double> shifted(const Tensor<double>&, std::int64_t, std::int64_t);

}  // namespace tapegrad::detail
