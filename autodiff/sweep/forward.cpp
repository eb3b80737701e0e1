#include <string>

#include "../ops/axes.hpp"
#include "../ops/internal.hpp"
#include "rules.hpp"
#include "sweep.hpp"

namespace tapegrad::detail {
namespace {

[[noreturn, gnu::cold]] void throw_no_pushforward(const Call& call) {
  throw ValueError(std::string(call.primitive().name) + to_string(call.where()) +
                   ": the rule has no pushforward, which forward sweeps (jvp, hvp, some Jacobians) need");
}

// Behind seed axes, or from an operand of lower rank.
[[gnu::noinline]] Handle pushed_with_seeds(const Call& call, std::size_t k, const Handle& tangent) {
  const Primitive& primitive = call.primitive();
  const Shape& output = call.output_shape();
  std::int64_t own_rank = call.operand_shape(k).rank();
  const std::int64_t seeds = tangent.shape().rank() - own_rank;
  return with_real(call.output_array().dtype, [&]<class T>(T) {
    const Shape full = tangent.shape().prefix(seeds).concat(output, {});
    Handle aligned = tangent;
    if (primitive.broadcasts && own_rank < output.rank()) {
      // Between seed axes and value axes, so that no seed axis meets an axis of the other operand.
      aligned =
          insert_axes(Tensor<T>(tangent), rank_of(output), static_cast<std::size_t>(output.rank() - own_rank)).handle();
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

namespace {

[[gnu::noinline, gnu::cold]] void watch_push(const Call& call, std::size_t k, const Handle& tangent, Handle& sum) {
  watch_rule(
      call, k, "derivative by", tangent, sum, [&] { add_term(sum, pushed(call, k, tangent)); },
      [&](const Handle& u) { return pushed(call, k, u); });
}

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

void forward(const Recording& recording, std::span<const Handle> inputs, std::span<const Handle> outputs,
             std::span<Handle> tangents, const Caller& where) {
  recording.require_open(where);
  const Segment& s = recording.segment();
  Table table(s.end - s.begin);
  for (std::size_t i = 0; i < inputs.size(); ++i) table[i] = inputs[i];
  const bool watching = nan_watch() != nullptr;
  for (std::uint32_t i = s.begin + s.inputs; i < s.end; ++i) {
    if ((s.tape->record(i).levels & s.level) == 0) continue;
    const Call call(s, i);
    const AtLine line(call.where());
    const AtSite site(call.primitive().name, call.where(), Site::Part::tangent);
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
    if (recording.depends_on_inputs(outputs[i])) tangents[i] = table[outputs[i].place().record() - s.begin];
  }
}

}  // namespace tapegrad::detail
