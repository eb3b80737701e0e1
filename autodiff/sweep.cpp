// The two sweeps over a closed scope, and the proof that rows do not mix.

#include <algorithm>
#include <limits>
#include <string>

#include "kernels/kernels.hpp"
#include "ops/common.hpp"
#include "tape.hpp"

namespace tapegrad::detail {
namespace {

using Table = std::vector<Handle, PoolAllocator<Handle>>;

// A rule, once for all seeds or once for each.
using RuleFunction = Handle (*)(const Call&, std::size_t, const Handle&);
Handle apply(RuleFunction rule, bool single_seed, const Call& call, std::size_t k, const Handle& v,
             std::size_t own_rank, const Shape& result_shape) {
  const std::size_t seeds = v.shape().rank() - own_rank;
  if (!single_seed || seeds == 0) return rule(call, k, v);
  return with_real(v.array()->dtype, [&]<class T>(T) {
    const Shape prefix = v.shape().prefix(seeds), own = v.shape().suffix(seeds);
    const std::int64_t count = prefix.count();
    if (count == 0) return zeros<T>(prefix.concat(result_shape)).handle();
    const Tensor<T> flat = reshape(Tensor<T>(v), Shape{count}.concat(own));
    std::vector<Tensor<T>> results;
    for (std::int64_t s = 0; s < count; ++s) {
      const Tensor<T> one = reshape(slice(flat, 0, s, s + 1), own);
      const Tensor<T> result(rule(call, k, one.handle()));
      results.push_back(reshape(result, Shape{1}.concat(result.shape())));
    }
    const Tensor<T> all = concatenate(results, 0);
    return reshape(all, prefix.concat(all.shape().suffix(1))).handle();
  });
}

// The long way round, which may be recorded: J_k^T v by the rule, summed down, and added.
[[gnu::noinline]] void accumulate_by_rule(const Call& call, std::size_t k, const Handle& v, Handle& sum) {
  const Primitive& primitive = call.primitive();
  const Shape& operand = call.operand_shape(k);
  const std::size_t own_rank = call.output_shape().rank();
  Handle term = apply(primitive.pullback, primitive.single_seed, call, k, v, own_rank, operand);
  add_term(sum, sum_down(std::move(term), v.shape().rank() - own_rank, operand, call.where()));
}

// Adjoints of chosen elements that wait for the others of the same tensor, where their sum is recorded: added one after
// the other, each among zeros, n of them would cost n times the whole, and so would their derivatives.
class PendingParts {
 public:
  explicit PendingParts(const Segment& segment) : segment_(segment) {}

  // v is the adjoint of `record`, which chooses from the value of record `source`; `sum` is that one's adjoint so far.
  [[gnu::noinline]] void add(std::uint32_t source, std::uint32_t record, Handle v, Handle& sum) {
    if (last_.empty()) last_.resize(segment_.end - segment_.begin, none);
    if (sum) push(source, no_record, std::move(sum));
    push(source, record, std::move(v));
  }

  // Adds what waits for the adjoint of record `source`, in the order in which it came, as a plain sweep does; `sum` is
  // what came after it.
  [[gnu::noinline]] void add_to(Handle& sum, std::uint32_t source) {
    std::size_t& last = last_[source - segment_.begin];
    if (last == none) return;
    const Call call(segment_, parts_[last].record);
    if (sum) {
      push(source, no_record, std::move(sum));
    } else if (parts_[last].before == none) {
      accumulate_by_rule(call, 0, std::exchange(parts_[last].v, {}), sum);
      last = none;
      return;
    }
    const Shape& own = call.operand_shape(0);
    with_real(parts_[last].v.array()->dtype, [&]<class T>(T) {
      std::vector<Part, PoolAllocator<Part>> parts;
      for (; last != none; last = parts_[last].before) parts.push_back(placed<T>(parts_[last], own));
      std::ranges::reverse(parts);
      const Shape& first = parts[0].v.shape();
      const Shape whole = first.prefix(first.rank() - own.rank()).concat(own);
      sum = put_parts<T>(parts, whole, call.where()).handle();
    });
  }

 private:
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
  struct Pending {
    Handle v;
    std::uint32_t record;  // no_record for a whole adjoint
    std::size_t before;    // the one added before it to the same adjoint
  };

  void push(std::uint32_t source, std::uint32_t record, Handle v) {
    std::size_t& last = last_[source - segment_.begin];
    parts_.push_back({std::move(v), record, last});
    last = parts_.size() - 1;
  }

  // In a whole of shape `own`, with the axis that x[i] has left out.
  template <class T>
  Part placed(Pending& pending, const Shape& own) const {
    if (pending.record == no_record) return {std::move(pending.v), {.axis = 1}};
    const Call call(segment_, pending.record);
    const Places places = call.primitive().places(call);
    if (call.output_shape().rank() == own.rank()) return {std::move(pending.v), places};
    return {insert_axes(Tensor<T>(std::move(pending.v)), places.axis, 1).handle(), places};
  }

  const Segment& segment_;
  std::vector<Pending, PoolAllocator<Pending>> parts_;
  std::vector<std::size_t, PoolAllocator<std::size_t>> last_;  // by record
};

// The shorter way, where nothing is recorded and the primitive has one.
inline void accumulate(const Call& call, std::size_t k, Handle& v, bool last, Handle& sum) {
  const bool own = !sum || (!sum.traced() && unique(sum.array()));
  if (!own || !call.primitive().accumulate(call, k, v, last, sum)) accumulate_by_rule(call, k, v, sum);
}

// body(k, whether it is the last) for the operands that lead to an input. The first comes last: it more often has the
// output's shape, and its adjoint can take the output's place.
template <class Body>
inline void for_each_operand(const Call& call, Body body) {
  std::size_t last = 0;
  while (!call.leads_to_input(last)) ++last;
  for (std::size_t k = call.operand_count(); k-- > last;) {
    if (k == last || call.leads_to_input(k)) body(k, k == last);
  }
}

}  // namespace

Handle sum_down(Handle v, std::size_t seeds, const Shape& operand, const Where& where) {
  if (v.shape().rank() == seeds + operand.rank() && v.shape().ends_with(operand)) return v;
  return with_real(v.array()->dtype, [&]<class T>(T) {
    return sum_to(Tensor<T>(v), v.shape().prefix(seeds).concat(operand), seeds, where).handle();
  });
}

void add_term(Handle& sum, Handle term) {
  if (!sum) {
    sum = std::move(term);
    return;
  }
  with_real(sum.array()->dtype, [&]<class T>(T) {
    if (!sum.traced() && !term.traced() && unique(sum.array())) {
      kernels::kernels<T>().add_to(sum.array()->as<T>(), term.array()->as<T>(), sum.shape().count());
    } else {
      sum = (Tensor<T>(std::move(sum)) + Tensor<T>(std::move(term))).handle();
    }
  });
}

namespace {

// rule() gives `result` from v; again(u) does for another v.
template <class Rule, class Again>
void watch_rule(const Call& call, std::size_t k, const char* what, Handle v, const Handle& result, Rule rule,
                Again again) {
  const Unwatched unwatched;
  rule();
  const char* name = call.primitive().name;
  const std::string operand = " its operand " + std::to_string(k);
  if (result) require_finite(*result.array(), name, std::string("the ") + what + operand, call.where());
  const auto& absorbed = nan_watch()->options.absorbed;
  const Handle zeros = absorbed ? zeros_of(v) : Handle();
  const Handle slopes = zeros ? again(zeros) : Handle();
  if (slopes && !all_finite(*slopes.array())) {
    absorbed(name + to_string(call.where()) + ": a product of 0 with a slope by" + operand +
             " that is infinite or NaN was taken as 0");
  }
}

[[gnu::noinline, gnu::cold]] void watch_accumulate(const Call& call, std::size_t k, Handle& v, bool last, Handle& sum,
                                                   bool plain) {
  watch_rule(
      call, k, "adjoint of", v, sum,
      [&] { plain ? accumulate(call, k, v, last, sum) : accumulate_by_rule(call, k, v, sum); },
      [&](const Handle& u) {
        Handle term;
        accumulate_by_rule(call, k, u, term);
        return term;
      });
}

[[gnu::noinline, gnu::cold]] void watch_push(const Call& call, std::size_t k, const Handle& tangent, Handle& sum) {
  watch_rule(
      call, k, "derivative by", tangent, sum, [&] { add_term(sum, pushed(call, k, tangent)); },
      [&](const Handle& u) { return pushed(call, k, u); });
}

[[noreturn, gnu::cold]] void throw_no_pushforward(const Call& call) {
  throw ValueError(std::string(call.primitive().name) + to_string(call.where()) +
                   ": the rule has no pushforward, which forward sweeps (jvp, hvp, some Jacobians) need");
}

// Behind seed axes, or from an operand of lower rank.
[[gnu::noinline]] Handle pushed_with_seeds(const Call& call, std::size_t k, const Handle& tangent) {
  const Primitive& primitive = call.primitive();
  const Shape& output = call.output_shape();
  std::size_t own_rank = call.operand_shape(k).rank();
  const std::size_t seeds = tangent.shape().rank() - own_rank;
  return with_real(call.output_array().dtype, [&]<class T>(T) {
    const Shape full = tangent.shape().prefix(seeds).concat(output);
    Handle aligned = tangent;
    if (primitive.broadcasts && own_rank < output.rank()) {
      // Between seed axes and value axes, so that no seed axis meets an axis of the other operand.
      aligned = insert_axes(Tensor<T>(tangent), output.rank(), output.rank() - own_rank).handle();
      own_rank = output.rank();
    }
    Handle term = apply(primitive.pushforward, primitive.single_seed, call, k, aligned, own_rank, output);
    return term.shape() == full ? term : broadcast_to(Tensor<T>(term), full).handle();
  });
}

}  // namespace

Handle pushed(const Call& call, std::size_t k, const Handle& tangent) {
  const auto pushforward = call.primitive().pushforward;
  if (!pushforward) throw_no_pushforward(call);
  const Shape& output = call.output_shape();
  if (tangent.shape().rank() != output.rank() || call.operand_shape(k).rank() != output.rank()) {
    return pushed_with_seeds(call, k, tangent);
  }
  Handle term = pushforward(call, k, tangent);
  if (term.shape() == output) return term;
  return with_real(term.array()->dtype,
                   [&]<class T>(T) { return broadcast_to(Tensor<T>(std::move(term)), output).handle(); });
}

void Recording::reverse(std::span<const Handle> outputs, std::span<const Handle> adjoints, std::span<Handle> inputs,
                        const Where& where) const {
  require_open(where);
  const Segment& s = segment_;
  Table table(s.end - s.begin);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (adjoints[i] && depends_on_inputs(outputs[i])) {
      add_term(table[outputs[i].place().record() - s.begin], adjoints[i]);
    }
  }
  const bool watching = watched();
  bool waiting = false;  // some adjoints of chosen elements for the others
  PendingParts pending(s);
  for (std::uint32_t i = s.end; i-- > s.begin + s.inputs;) {
    Handle adjoint = std::move(table[i - s.begin]);
    if (waiting) [[unlikely]]
      pending.add_to(adjoint, i);
    if (!adjoint) continue;
    const Call call(s, i);
    const bool recorded = call.traced() || adjoint.traced();
    const bool plain = !recorded && call.primitive().accumulate;
    const auto sum_of = [&](std::size_t k) -> Handle& { return table[call.operands(k).record - s.begin]; };
    if (plain && !watching) [[likely]] {
      for_each_operand(call, [&](std::size_t k, bool last) { accumulate(call, k, adjoint, last, sum_of(k)); });
    } else if (recorded && call.primitive().places) {
      pending.add(call.operands(0).record, i, std::move(adjoint), sum_of(0));
      waiting = true;
    } else {
      for_each_operand(call, [&](std::size_t k, bool last) {
        if (waiting && !plain) pending.add_to(sum_of(k), call.operands(k).record);
        if (watching)
          watch_accumulate(call, k, adjoint, last, sum_of(k), plain);
        else
          accumulate_by_rule(call, k, adjoint, sum_of(k));
      });
    }
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    inputs[i] = std::move(table[i]);
    if (waiting) pending.add_to(inputs[i], s.begin + static_cast<std::uint32_t>(i));
  }
}

namespace {

void push_all(const Call& call, const Table& table, std::uint32_t begin, Handle& sum) {
  Table tangents(call.operand_count());
  bool any = false;
  for (std::size_t k = 0; k < call.operand_count(); ++k) {
    if (!call.leads_to_input(k)) continue;
    tangents[k] = table[call.operands(k).record - begin];
    any = any || tangents[k];
  }
  if (any) sum = call.primitive().pushforward_all(call, tangents);
}

}  // namespace

void Recording::forward(std::span<const Handle> inputs, std::span<const Handle> outputs, std::span<Handle> tangents,
                        const Where& where) const {
  require_open(where);
  const Segment& s = segment_;
  Table table(s.end - s.begin);
  for (std::size_t i = 0; i < inputs.size(); ++i) table[i] = inputs[i];
  const bool watching = watched();
  for (std::uint32_t i = s.begin + s.inputs; i < s.end; ++i) {
    if ((s.tape->record(i).levels & s.level) == 0) continue;
    const Call call(s, i);
    if (call.primitive().pushforward_all && !watching) {
      push_all(call, table, s.begin, table[i - s.begin]);
      continue;
    }
    for (std::size_t k = 0; k < call.operand_count(); ++k) {
      if (!call.leads_to_input(k)) continue;
      const std::uint32_t from = call.operands(k).record;
      if (!table[from - s.begin]) continue;
      if (watching) [[unlikely]]
        watch_push(call, k, table[from - s.begin], table[i - s.begin]);
      else
        add_term(table[i - s.begin], pushed(call, k, table[from - s.begin]));
    }
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (depends_on_inputs(outputs[i])) tangents[i] = table[outputs[i].place().record() - s.begin];
  }
}

Recording::LastUses Recording::last_uses(const Handle& output) const {
  const Segment& s = segment_;
  LastUses last(s.end - s.begin, 0);
  const std::uint32_t end = output.place().record() - s.begin;
  last[end] = end;
  for (std::uint32_t i = end; i >= s.inputs && i > 0; --i) {
    if (last[i] == 0) continue;
    const Call call(s, s.begin + i);
    for (std::size_t k = 0; k < call.operand_count(); ++k) {
      const std::uint32_t from = call.operands(k).record;
      if (from != no_record && from >= s.begin && last[from - s.begin] == 0) last[from - s.begin] = i;
    }
  }
  return last;
}

BatchAxes Recording::require_separate_rows(const Handle& output, const Shape& input, const Where& where) const {
  const Segment& s = segment_;
  BatchAxes table(s.end - s.begin, 0);
  if (!depends_on_inputs(output)) return table;
  // Only what leads to the output can mix its rows.
  const LastUses last = last_uses(output);
  for (std::uint32_t i = 0; i < s.inputs; ++i) {
    table[i] = static_cast<BatchAxis>(s.tape->record(s.begin + i).output->shape.rank());
  }
  BatchAxes axes;
  for (std::uint32_t i = s.begin + s.inputs; i < s.end; ++i) {
    if (last[i - s.begin] == 0) continue;
    const Call call(s, i);
    axes.clear();
    bool any = false;
    for (std::size_t k = 0; k < call.operand_count(); ++k) {
      const std::uint32_t from = call.operands(k).record;
      axes.push_back(from != no_record && from >= s.begin ? table[from - s.begin] : BatchAxis{0});
      any = any || axes.back() != 0;
    }
    if (!any) continue;
    const Primitive& primitive = call.primitive();
    const std::optional<BatchAxis> axis = primitive.rows(call, axes);
    if (!axis) {
      throw RowMixingError(std::string(primitive.name) + to_string(call.where()) + " mixes the rows of a batch: " +
                           to_string(call.operand_shape(0)) + " -> " + to_string(call.output_shape()) +
                           ". Work along the last axis only, as in sum(z, -1, keep_dims)");
    }
    table[i - s.begin] = *axis;
  }
  const Shape& shape = output.shape();
  if (table[output.place().record() - s.begin] != static_cast<BatchAxis>(shape.rank()) ||
      shape.front() != input.front()) {
    throw RowMixingError("the function" + to_string(where) + " takes a batch of shape " + to_string(input) +
                         " to shape " + to_string(shape) + ", whose first axis is not that batch");
  }
  return table;
}

}  // namespace tapegrad::detail
