#include "structure.hpp"

#include <algorithm>

#include "kernels/kernels.hpp"
#include "nan_watch.hpp"
#include "ops/common.hpp"

namespace tapegrad::detail {
namespace {

// The same numbers with the same derivative.
bool same(const Handle& a, const Handle& b) {
  return a.array()->data == b.array()->data && a.place().scope == b.place().scope &&
         a.place().record() == b.place().record();
}

template <class E>
void append_to(Terms::List<E>& list, E term) {
  if (list.empty()) list.reserve(4);
  list.push_back(std::move(term));
}

// right(j), for the block b of its row, as (n, batch, 1).
template <Real T>
Tensor<T> as_columns(const Tensor<T>& right, const Blocks& blocks) {
  const Tensor<T> rows = reshape(right, {blocks.batch, blocks.n});
  return reshape(blocks.batch == 1 ? rows : transpose(rows), {blocks.n, blocks.batch, 1});
}

// (n, 1, m): 1 where holds(row i, column j).
template <Real T, class Holds>
Tensor<T> columns_where(const Blocks& blocks, Holds holds) {
  Tensor<T> result = zeros<T>({blocks.n, 1, blocks.m});
  T* out = result.mutable_data();
  for (std::int64_t j = 0; j < blocks.n; ++j) {
    for (std::int64_t i = 0; i < blocks.m; ++i) *out++ = holds(i, j) ? T{1} : T{0};
  }
  return result;
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
    y = transpose(sum(mul0(columns, x), -1));
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

const Handle& Ones::operator()(const Shape& shape) {
  for (const Handle& own : made_) {
    if (own.shape() == shape) return own;
  }
  append_to(made_, with_real(dtype_, [&]<class T>(T) { return ones<T>(shape).handle(); }));
  return made_.back();
}

Handle Carried::row() const {
  if (diagonal.shift == 0 && diagonal.entries.shape() == input) return diagonal.entries;
  return with_real(diagonal.entries.array()->dtype, [&]<class T>(T) {
    const Tensor<T> entries = reshape(Tensor<T>(diagonal.entries), {in.batch, in.m});
    return reshape(shifted(entries, -diagonal.shift, in.n), input).handle();
  });
}

Handle Carried::scale() const {
  Handle scale = row();
  return scale.array()->data == ones(input).array()->data ? Handle() : std::move(scale);
}

bool carry_moved(const Carried& carried, std::int64_t offset) {
  const Diagonal& term = carried.diagonal;
  carried.sum.add(Diagonal{term.shift - offset, pushed(carried.call, carried.k, term.entries)});
  return true;
}

bool carry_diagonal(const Carried& carried) { return carried.in.m == carried.out.m && carry_moved(carried, 0); }

template bool Terms::add<float>(Matrix, const Blocks&, bool);
template bool Terms::add<double>(Matrix, const Blocks&, bool);
template Tensor<float> columns_of(const Matrix&, const Blocks&, bool);
template Tensor<double> columns_of(const Matrix&, const Blocks&, bool);
template Tensor<float> matrix_product(const Matrix&, const Blocks&, const Tensor<float>&, bool);
template Tensor<double> matrix_product(const Matrix&, const Blocks&, const Tensor<double>&, bool);
template Tensor<float> shifted(const Tensor<float>&, std::int64_t, std::int64_t);
template Tensor<double> shifted(const Tensor<double>&, std::int64_t, std::int64_t);

namespace {

// Pushes the terms of operand k through a call.
template <Real T>
class Push {
 public:
  Push(const Call& call, std::size_t k, const Shape& input, const Blocks& in, const Blocks& out, int& column_pushes,
       Ones& ones, Terms& sum)
      : call_(call), k_(k), input_(input), in_(in), out_(out), column_pushes_(column_pushes), ones_(ones), sum_(sum) {}

  // False where more would have to be pushed column by column than is left of `column_pushes`. After the `last` push
  // there are no terms.
  bool operator()(Terms& terms, bool last) {
    for (const Diagonal& term : terms.diagonals()) {
      if (!push(term)) return false;
    }
    for (RankOne& term : terms.rank_ones()) {
      sum_.add(RankOne{pushed(call_, k_, term.left), last ? std::move(term.right) : term.right});
    }
    if (terms.matrix() && !push(*terms.matrix())) return false;
    if (last) terms.clear();
    return true;
  }

 private:
  Carried carried(const Diagonal& term) const { return {call_, k_, term, input_, in_, out_, ones_, sum_}; }
  Handle row_of(std::int64_t shift, Handle entries) const { return carried({shift, std::move(entries)}).row(); }
  // J_k of an output with one element in each block, which is a row, in the operand's shape.
  Tensor<T> weights() const {
    const Handle& seed = ones_(call_.output_shape());
    return Tensor<T>(sum_down(call_.primitive().pullback(call_, k_, seed), 0, call_.operand_shape(k_), call_.where()));
  }
  void add_row(Handle row) { sum_.add(RankOne{ones_(call_.output_shape()), std::move(row)}); }

  bool push(const Diagonal& term) {
    const auto carry = call_.primitive().carry;
    if (carry && carry(carried(term))) return true;
    if (in_.m == 1) {
      sum_.add(RankOne{pushed(call_, k_, term.entries), row_of(term.shift, ones_(call_.operand_shape(k_)))});
      return true;
    }
    if (out_.m == 1) {
      const Tensor<T> w = weights();
      add_row(row_of(term.shift, carried(term).unit() ? w.handle() : mul0(w, Tensor<T>(term.entries)).handle()));
      return true;
    }
    if (column_pushes_ == 0) return false;
    const Tensor<T> unit = columns_where<T>(in_, [&term](auto i, auto j) { return j == i + term.shift; });
    return push_columns({Matrix::Kind::columns, {}, unit.handle(), row_of(term.shift, term.entries)});
  }

  bool push(const Matrix& term) {
    if (call_.primitive().carry == carry_diagonal && in_.m == out_.m) {
      const Handle& left = term.left ? term.left : ones_(call_.operand_shape(k_));
      Handle scaled = pushed(call_, k_, left);
      if (!term.left && scaled.array()->data == left.array()->data) scaled = {};
      return add({term.kind, std::move(scaled), term.columns, term.right, term.constant});
    }
    if (out_.m == 1) {
      const Tensor<T> row = matrix_product(term, in_, reshape(weights(), {in_.batch, in_.m}), true);
      add_row(reshape(row, input_).handle());
      return true;
    }
    return push_columns(term);
  }

  bool push_columns(const Matrix& term) {
    if (column_pushes_-- == 0 || call_.operand_shape(k_).rank() == Shape::max_rank) return false;
    const Shape seeded = Shape{in_.n}.concat(call_.operand_shape(k_));
    const Tensor<T> columns(pushed(call_, k_, reshape(columns_of<T>(term, in_, false), seeded).handle()));
    return add({Matrix::Kind::columns, {}, reshape(columns, {out_.n, out_.batch, out_.m}).handle(), term.right});
  }

  bool add(Matrix term) {
    const bool write_out = sum_.matrix() != nullptr && column_pushes_ > 0;
    column_pushes_ -= write_out;
    return sum_.add<T>(std::move(term), out_, write_out);
  }

  const Call& call_;
  std::size_t k_;
  const Shape& input_;
  Blocks in_, out_;
  int& column_pushes_;
  Ones& ones_;
  Terms& sum_;
};

}  // namespace

bool few(const Terms& terms, const Blocks& blocks) {
  const auto most = static_cast<std::size_t>(std::clamp<std::int64_t>(blocks.n / 2, 4, most_terms));
  return terms.diagonals().size() + terms.rank_ones().size() <= most;
}

template <Real T>
std::optional<Structured> Recording::structure(const Handle& output, std::size_t input, std::span<const BatchAxis> axes,
                                               bool columns_allowed, Lost* lost) const {
  require_open({});
  const Unwatched unwatched;  // what comes of it is
  const Segment& s = segment_;
  const Shape& shape = s.tape->record(s.begin + static_cast<std::uint32_t>(input)).output->shape;
  const std::int64_t batch = axes.empty() ? 1 : shape.front();
  if (shape.count() == 0 || output.shape().count() == 0) return {};
  // A batch axis is the first one here.
  const std::size_t first = axes.empty() ? 0 : 1;
  const std::int64_t n = shape.count(first, shape.rank());
  const auto blocks_of = [=](const Shape& value) { return Blocks{batch, value.count(first, value.rank()), n}; };
  const Blocks blocks = blocks_of(output.shape());
  std::optional<Structured> result(std::in_place);
  result->blocks = blocks;
  // Columns are as many tangents as the input has elements, where a reverse sweep has as many adjoints as the output;
  // and a sweep takes all terms at once, so that it is cheaper where this happens often.
  constexpr int most_column_pushes = 2;
  const int allowed = columns_allowed && blocks.n < blocks.m ? most_column_pushes : 0;
  int column_pushes = allowed;
  if (!depends_on_inputs(output)) return result;
  const LastUses last = last_uses(output);
  std::vector<Terms, PoolAllocator<Terms>> table(last.size());
  Ones units(dtype_of<T>);
  table[input].add(Diagonal{0, units(shape)});
  const std::uint32_t end = output.place().record() - s.begin;
  std::vector<std::size_t, PoolAllocator<std::size_t>> last_operand(
      last.size());  // of the record in hand, by what it is
  const auto ended_by = [&](std::uint32_t i) -> std::optional<Structured> {
    const Record& record = s.tape->record(s.begin + i);
    if (lost) *lost = {record.primitive->name, {record.file, static_cast<int>(record.line)}};
    return {};
  };
  for (std::uint32_t i = s.inputs; i <= end; ++i) {
    if (last[i] == 0) continue;
    const Call call(s, s.begin + i);
    const auto inside = [&](std::uint32_t record) { return record != no_record && record >= s.begin; };
    for (std::size_t k = 0; k < call.operand_count(); ++k) {
      const std::uint32_t from = call.operands(k).record;
      if (inside(from)) last_operand[from - s.begin] = k;
    }
    for (std::size_t k = 0; k < call.operand_count(); ++k) {
      const std::uint32_t from = call.operands(k).record;
      if (!inside(from)) continue;
      Terms& terms = table[from - s.begin];
      if (terms.zero()) continue;
      const bool leading = axes.empty() || axes[i] == static_cast<BatchAxis>(call.output_shape().rank());
      if (!leading || call.output_array().dtype != dtype_of<T> || !call.primitive().pushforward) return ended_by(i);
      Push<T> push(call, k, shape, blocks_of(call.operand_shape(k)), blocks_of(call.output_shape()), column_pushes,
                   units, table[i]);
      const bool last_push = last[from - s.begin] == i && last_operand[from - s.begin] == k;
      if (!push(terms, last_push) || !few(table[i], blocks)) return ended_by(i);
    }
  }
  result->terms = std::move(table[end]);
  result->by_columns = column_pushes != allowed;
  return result;
}

template std::optional<Structured> Recording::structure<float>(const Handle&, std::size_t, std::span<const BatchAxis>,
                                                               bool, Lost*) const;
template std::optional<Structured> Recording::structure<double>(const Handle&, std::size_t, std::span<const BatchAxis>,
                                                                bool, Lost*) const;

}  // namespace tapegrad::detail
