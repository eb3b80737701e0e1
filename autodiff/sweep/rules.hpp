#pragma once
// How the sweeps call the rules of primitives: once for each seed where a rule takes one at a time, and watched while
// debug_nans() is.

#include <string>

#include "../tape/nan_watch.hpp"
#include "../tape/primitive.hpp"

namespace tapegrad::detail {

using Table = PoolVector<Handle>;

/// rule(call, k, v), once for all seeds or once for each. v's own rank and the result's shape are those without seeds.
Handle apply(Handle (*rule)(const Call&, std::size_t, const Handle&), bool single_seed, const Call& call, std::size_t k,
             const Handle& v, std::int64_t own_rank, const Shape& result_shape);

/// rule() gives `result` from v; again(u) does for another v.
template <class Rule, class Again>
void watch_rule(const Call& call, std::size_t k, const char* what, const Handle& v, const Handle& result, Rule rule,
                Again again) {
  const auto& absorbed = nan_watch()->options.absorbed;
  const Unwatched unwatched;
  const Handle zeros = absorbed ? zeros_of(v) : Handle();  // before the rule, which may take v
  rule();
  const char* name = call.primitive().name;
  const std::string operand = " its operand " + std::to_string(k);
  if (result) require_finite(*result.array(), name, std::string("the ") + what + operand, call.where());
  const Handle slopes = zeros ? again(zeros) : Handle();
  if (slopes && !all_finite(*slopes.array())) {
    absorbed(name + to_string(call.where()) + ": a product of 0 with a slope by" + operand +
             " that is infinite or NaN was taken as 0");
  }
}

}  // namespace tapegrad::detail
