#include <algorithm>

#include "../ops/internal.hpp"
#include "../sweep/sweep.hpp"
#include "../tape/nan_watch.hpp"
#include "terms.hpp"

namespace tapegrad::detail {
namespace {

// Pushes the terms of operand k through a call.
template <Real T>
class Push final : public Carry {
 public:
  Push(const Call& call_, std::size_t k_, const Shape& input, const Blocks& in_, const Blocks& out_, int& column_pushes,
       Ones& ones, Terms& sum)
      : Carry(call_, k_, in_, out_), input_(input), column_pushes_(column_pushes), ones_(ones), sum_(sum) {}

  // Returns false if more would have to be pushed column by column than `column_pushes` still allows. The `last` push
  // leaves the terms empty.
  bool operator()(Terms& terms, bool last) {
    for (const Diagonal& term : terms.diagonals()) {
      if (!push(term)) return false;
    }
    for (RankOne& term : terms.rank_ones()) {
      add(RankOne{pushed(call, k, term.left), last ? std::move(term.right) : term.right});
    }
    if (terms.matrix() && !push(*terms.matrix())) return false;
    if (last) terms.clear();
    return true;
  }

  const Diagonal& diagonal() const override { return *diagonal_; }
  bool unit() const override { return same_elements(diagonal_->entries, ones_(diagonal_->entries.shape())); }
  Handle row(const Diagonal& of) const override {
    if (of.shift == 0 && of.entries.shape() == input_) return of.entries;
    const Tensor<T> entries = reshape(Tensor<T>(of.entries), {in.batch, in.m});
    return reshape(shifted(entries, -of.shift, in.n), input_).handle();
  }
  Handle scale() const override {
    Handle scale = row(*diagonal_);
    return same_elements(scale, ones_(input_)) ? Handle() : std::move(scale);
  }
  const Handle& ones(const Shape& shape) const override { return ones_(shape); }

  void add(Diagonal term) override { sum_.add(std::move(term)); }
  void add(RankOne term) override { sum_.add(std::move(term)); }
  bool add(Matrix term) override { return sum_.add<T>(std::move(term), out); }
  void add_moved(std::int64_t offset) override {
    add(Diagonal{diagonal_->shift - offset, pushed(call, k, diagonal_->entries)});
  }

 private:
  // J_k of an output with one element per block: a row, in the operand's shape.
  Tensor<T> weights() const {
    const Handle& seed = ones_(call.output_shape());
    return Tensor<T>(sum_down(call.primitive().pullback(call, k, seed), 0, call.operand_shape(k), call.where()));
  }
  void add_row(Handle row_of_input) { add(RankOne{ones_(call.output_shape()), std::move(row_of_input)}); }

  bool push(const Diagonal& term) {
    diagonal_ = &term;
    const auto carry = call.primitive().carry;
    if (carry && carry(*this)) return true;
    if (in.m == 1) {
      add(RankOne{pushed(call, k, term.entries), row({term.shift, ones_(call.operand_shape(k))})});
      return true;
    }
    if (out.m == 1) {
      const Tensor<T> w = weights();
      add_row(row({term.shift, unit() ? w.handle() : mul0(w, Tensor<T>(term.entries)).handle()}));
      return true;
    }
    if (column_pushes_ == 0) return false;
    const Tensor<T> ones_there = columns_where<T>(in, [shift = term.shift](auto i, auto j) { return j == i + shift; });
    return push_columns({Matrix::Kind::columns, {}, ones_there.handle(), row(term)});
  }

  bool push(const Matrix& term) {
    if (call.primitive().carry == carry_diagonal && in.m == out.m) {
      const Handle& left = term.left ? term.left : ones_(call.operand_shape(k));
      Handle scaled = pushed(call, k, left);
      if (!term.left && same_elements(scaled, left)) scaled = {};
      return add_matrix({term.kind, std::move(scaled), term.columns, term.right, term.constant});
    }
    if (out.m == 1) {
      const Tensor<T> sums = matrix_product(term, in, reshape(weights(), {in.batch, in.m}), true);
      add_row(reshape(sums, input_).handle());
      return true;
    }
    return push_columns(term);
  }

  bool push_columns(const Matrix& term) {
    if (column_pushes_-- == 0 || call.operand_shape(k).rank() == Shape::max_rank) return false;
    const Shape seeded = Shape{in.n}.concat(call.operand_shape(k));
    const Tensor<T> columns(pushed(call, k, reshape(columns_of<T>(term, in, false), seeded).handle()));
    return add_matrix({Matrix::Kind::columns, {}, reshape(columns, {out.n, out.batch, out.m}).handle(), term.right});
  }

  bool add_matrix(Matrix term) {
    const bool write_out = sum_.matrix() != nullptr && column_pushes_ > 0;
    column_pushes_ -= write_out;
    return sum_.add<T>(std::move(term), out, write_out);
  }

  static bool same_elements(const Handle& a, const Handle& b) { return a.array()->data == b.array()->data; }

  const Shape& input_;
  int& column_pushes_;
  Ones& ones_;
  Terms& sum_;
  const Diagonal* diagonal_ = nullptr;  // the one that is being pushed
};

}  // namespace

template <Real T>
std::optional<Structured> structure(const Recording& recording, const Handle& output, std::size_t input,
                                    std::span<const BatchAxis> axes, bool columns_allowed, Lost* lost) {
  recording.require_open({});
  const Unwatched unwatched;  // only the result is watched
  const Segment& s = recording.segment();
  const Shape& shape = s.tape->record(s.begin + static_cast<std::uint32_t>(input)).output->shape;
  const std::int64_t batch = axes.empty() ? 1 : shape.front();
  if (shape.count() == 0 || output.shape().count() == 0) return {};
  // A batch axis comes first here.
  const std::size_t first = axes.empty() ? 0 : 1;
  const std::int64_t n = shape.count(first, shape.rank());
  const auto blocks_of = [=](const Shape& value) { return Blocks{batch, value.count(first, value.rank()), n}; };
  const Blocks blocks = blocks_of(output.shape());
  std::optional<Structured> result(std::in_place);
  result->blocks = blocks;
  // Pushing columns takes as many tangents as the input has elements, while a reverse sweep takes as many adjoints as
  // the output has; and a sweep takes all terms at once, so that it is cheaper if this happens often.
  constexpr int most_column_pushes = 2;
  const int allowed = columns_allowed && blocks.n < blocks.m ? most_column_pushes : 0;
  int column_pushes = allowed;
  if (!recording.depends_on_inputs(output)) return result;
  const PoolVector<std::uint32_t> last = last_uses(recording, output);
  std::vector<Terms, PoolAllocator<Terms>> table(last.size());
  Ones units(dtype_of<T>);
  table[input].add(Diagonal{0, units(shape)});
  const std::uint32_t end = output.place().record() - s.begin;
  std::vector<std::size_t, PoolAllocator<std::size_t>> last_operand(
      last.size());  // for the current record, depending on its kind
  const auto ended_by = [&](std::uint32_t i) -> std::optional<Structured> {
    const Record& record = s.tape->record(s.begin + i);
    if (lost) *lost = {record.primitive->name, {record.file, static_cast<int>(record.line)}};
    return {};
  };
  for (std::uint32_t i = s.inputs; i <= end; ++i) {
    if (last[i] == 0) continue;
    const Call call(s, s.begin + i);
    const AtLine line(call.where());
    const AtSite site(call.primitive().name, call.where(), Site::Part::tangent);
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

template std::optional<Structured> structure<float>(const Recording&, const Handle&, std::size_t,
                                                    std::span<const BatchAxis>, bool, Lost*);
template std::optional<Structured> structure<double>(const Recording&, const Handle&, std::size_t,
                                                     std::span<const BatchAxis>, bool, Lost*);

}  // namespace tapegrad::detail
