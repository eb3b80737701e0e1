// The reverse sweep: one loop over the records, from the last to the first, with a table of adjoints. It is no
// recursion, so that a chain of a million operations needs no more stack than one of ten.

#include <algorithm>
#include <limits>

#include "../ops/internal.hpp"
#include "rules.hpp"
#include "sweep.hpp"

namespace tapegrad::detail {

Handle sum_down(Handle v, std::int64_t seeds, const Shape& operand, const Caller& where) {
  if (v.shape().rank() == seeds + operand.rank() && v.shape().ends_with(operand)) return v;
  return with_real(v.array()->dtype, [&]<class T>(T) {
    return sum_to(Tensor<T>(v), v.shape().prefix(seeds).concat(operand), seeds, where).handle();
  });
}

namespace {

// The long way round, which may be recorded: J_k^T v by the rule, summed down, and added.
[[gnu::noinline]] void accumulate_by_rule(const Call& call, std::size_t k, const Handle& v, Handle& sum) {
  const Primitive& primitive = call.primitive();
  const Shape& operand = call.operand_shape(k);
  const std::int64_t own_rank = call.output_shape().rank();
  Handle term = apply(primitive.pullback, primitive.single_seed, call, k, v, own_rank, operand);
  add_term(sum, sum_down(std::move(term), v.shape().rank() - own_rank, operand, call.where()));
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

// By the rule that answers for all operands at once: add(k, J_k^T v).
template <class Add>
void accumulate_all(const Call& call, const Handle& v, Add add) {
  Table adjoints(call.operand_count());
  call.primitive().pullback_all(call, v, adjoints);
  const std::int64_t seeds = v.shape().rank() - call.output_shape().rank();
  for_each_operand(call, [&](std::size_t k, bool) {
    add(k, sum_down(std::move(adjoints[k]), seeds, call.operand_shape(k), call.where()));
  });
}

// Adjoints of chosen elements that wait for the others of the same tensor, where their sum is recorded: added one after
// the other, each among zeros, n of them would cost n times the whole, and so would their derivatives.
class PendingParts {
 public:
  explicit PendingParts(const Segment& segment) : segment_(segment) {}

  // v is the adjoint of `record`, which chooses from the value of record `source`; `sum` is that one's adjoint so far.
  [[gnu::noinline]] void add(std::uint32_t source, std::uint32_t record, Handle v, Handle& sum) {
    if (last_.empty()) last_.resize(segment_.end - segment_.begin, none);
    if (sum) push(source, no_record, std::exchange(sum, {}));
    push(source, record, std::move(v));
  }

  // Adds what waits for the adjoint of record `source`, in the order in which it came, as a plain sweep does; `sum` is
  // what came after it.
  [[gnu::noinline]] void add_to(Handle& sum, std::uint32_t source) {
    std::size_t& last = last_[source - segment_.begin];
    if (last == none) return;
    const Call call(segment_, parts_[last].record);
    if (sum) {
      push(source, no_record, std::exchange(sum, {}));
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
    if (pending.record == no_record) return {std::move(pending.v), {}};
    const Call call(segment_, pending.record);
    const Placed at = call.primitive().places(call);
    Handle v = std::move(pending.v);
    if (call.output_shape().rank() < own.rank()) v = insert_axes(Tensor<T>(std::move(v)), at.at.axis, 1).handle();
    return {std::move(v), at.at, share(at.indices)};
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

}  // namespace

void reverse(const Recording& recording, std::span<const Handle> outputs, std::span<const Handle> adjoints,
             std::span<Handle> inputs, const Caller& where) {
  recording.require_open(where);
  const Segment& s = recording.segment();
  Table table(s.end - s.begin);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (adjoints[i] && recording.depends_on_inputs(outputs[i])) {
      add_term(table[outputs[i].place().record() - s.begin], adjoints[i]);
    }
  }
  const bool looked_at = observed(), watching = nan_watch() != nullptr;
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
    if (plain && !looked_at) [[likely]] {
      for_each_operand(call, [&](std::size_t k, bool last) { accumulate(call, k, adjoint, last, sum_of(k)); });
    } else if (recorded && call.primitive().places) {
      pending.add(call.operands(0).record, i, std::move(adjoint), sum_of(0));
      waiting = true;
    } else {
      const AtLine line(call.where());
      const AtSite site(call.primitive().name, call.where(), Site::Part::adjoint);
      const bool all_seeds = !call.primitive().single_seed || adjoint.shape().rank() == call.output_shape().rank();
      if (call.primitive().pullback_all && all_seeds && !plain && !watching) {
        accumulate_all(call, adjoint, [&](std::size_t k, Handle term) {
          if (waiting) pending.add_to(sum_of(k), call.operands(k).record);
          add_term(sum_of(k), std::move(term));
        });
        continue;
      }
      for_each_operand(call, [&](std::size_t k, bool last) {
        if (waiting && !plain) pending.add_to(sum_of(k), call.operands(k).record);
        if (watching)
          watch_accumulate(call, k, adjoint, last, sum_of(k), plain);
        else if (plain)
          accumulate(call, k, adjoint, last, sum_of(k));
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

}  // namespace tapegrad::detail
