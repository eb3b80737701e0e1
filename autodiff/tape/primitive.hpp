#pragma once
// What a primitive is, and how an operation calls one: its results are evaluated, and the call is recorded.
//
//     template <class T>
//     struct Sum {
//       static constexpr const char* name = "sum";
//       struct Attributes { ... };                          // trivially copyable; none where there are none
//       static void evaluate(const Attributes&, Operands x, Results y);
//       static Handle pullback(const Call&, std::size_t k, const Handle& v);
//       ...                                                 // as in Primitive
//     };
//     apply<Sum<T>>({&x.handle()}, allocate_like<T>(shape), where, attributes);

#include <array>
#include <new>
#include <optional>
#include <span>
#include <string>

#include "../core/command.hpp"
#include "../core/few.hpp"
#include "carry.hpp"
#include "recording.hpp"

namespace tapegrad::detail {

/// Where the elements of a part stand along an axis of a whole: every `step`th from `start` on.
struct Placement {
  std::int64_t start = 0;
  std::int32_t step = 1;
  std::uint8_t axis = 1;  // from the end
  bool along = false;     // each row of the other axes has indices of its own
};
/// Or at indices from 0 on; null where there are none.
struct Placed {
  Placement at;
  Array* indices = nullptr;
};

/// Whose numbers a product by one operand reads besides those of v: bit k for operand k, and the output's.
struct Reads {
  std::uint32_t operands = 0;
  bool output = false;
};

using Operands = std::span<const Array* const>;
/// The value, and what is kept beside it for the rules where they will be asked.
using Results = std::span<Array* const>;

/// A primitive for one number type. Rules are linear in `v`, answer for one operand, and may be given any number of
/// seed axes in front of v's own: axes are counted from the end. They mention no broadcasting: the sweep sums an
/// adjoint down to the operand's shape and spreads a tangent up to the output's.
struct Primitive {
  const char* name;
  /// The results from operands and attributes alone: the same again whenever it is called. Null where the value is the
  /// first operand in another shape.
  void (*evaluate)(const std::uint64_t* attributes, Operands operands, Results results);
  /// J_k^T v: v has the output's shape behind its seed axes, the result a shape that sums to operand k's. Null where
  /// nothing is recorded.
  Handle (*pullback)(const Call& call, std::size_t k, const Handle& v);
  /// J_k v: v has operand k's shape behind its seed axes (with axes of size 1 between them, up to the output's rank,
  /// where the primitive broadcasts); the result has a shape that spreads to the output's. Null where only the pullback
  /// is known.
  Handle (*pushforward)(const Call& call, std::size_t k, const Handle& v);
  /// The batch axis of the output given those of the operands, or nothing when rows mix.
  std::optional<BatchAxis> (*rows)(const Call& call, std::span<const BatchAxis> operands);
  /// Operands broadcast against each other.
  bool broadcasts = false;
  /// Rules take one seed at a time.
  bool single_seed = false;
  /// The sum over the operands of J_k tangents[k], an empty one standing for zero, for a primitive of so many operands
  /// that one by one they would cost too much; the tangents have the same seed axes.
  Handle (*pushforward_all)(const Call& call, std::span<const Handle> tangents) = nullptr;
  /// J_k^T v for all operands that lead to an input, into adjoints[k], for a primitive whose products share work.
  void (*pullback_all)(const Call& call, const Handle& v, std::span<Handle> adjoints) = nullptr;
  /// What the products by operand k read in a sweep that is not itself recorded. Null: all operands and the output.
  Reads (*reads)(const std::uint64_t* attributes, std::size_t k) = nullptr;
  /// A shorter way for the reverse sweep where nothing is traced: adds J_k^T v, summed down to operand k's shape, to
  /// `sum`, which is empty or nobody else's. After the `last` use v may be moved from, or written over where it is
  /// nobody else's. False: there is none, and nothing has changed.
  bool (*accumulate)(const Call& call, std::size_t k, Handle& v, bool last, Handle& sum) = nullptr;
  /// Where the output's elements stand in the first operand, for a primitive that does no more than choose them: a
  /// reverse sweep that is recorded then puts all parts of an adjoint together at once.
  Placed (*places)(const Call& call) = nullptr;
  /// Adds the terms that the diagonal becomes; false, or no rule, where they have no structure.
  bool (*carry)(Carry& carry) = nullptr;
  /// The attributes in words.
  std::string (*describe)(const std::uint64_t* attributes) = nullptr;
};

struct NoAttributes {};

template <class P>
struct AttributesOf {
  using type = NoAttributes;
};
template <class P>
requires requires { typename P::Attributes; }
struct AttributesOf<P> {
  using type = typename P::Attributes;
};

/// The attributes of a call of P.
template <class P>
const typename AttributesOf<P>::type& attributes_of(const Call& call) {
  return call.attributes<typename AttributesOf<P>::type>();
}

template <class P>
inline constexpr bool differentiable = true;
template <class P>
requires requires { P::differentiable; }
inline constexpr bool differentiable<P> = P::differentiable;

/// P as a Primitive: what it has, the rest as it is without.
template <class P>
inline constexpr Primitive primitive = [] {
  using A = typename AttributesOf<P>::type;
  Primitive made{.name = P::name, .evaluate = nullptr, .pullback = nullptr, .pushforward = nullptr, .rows = nullptr};
  if constexpr (requires { &P::evaluate; }) {
    made.evaluate = [](const std::uint64_t* attributes, Operands operands, Results results) __attribute__((cold)) {
      P::evaluate(*reinterpret_cast<const A*>(attributes), operands, results);
    };
  }
  if constexpr (requires(const A& a) { P::describe(a); }) {
    made.describe = [](const std::uint64_t* attributes) {
      return P::describe(*reinterpret_cast<const A*>(attributes));
    };
  }
  if constexpr (differentiable<P>) {
    if constexpr (requires { P::pullback; }) made.pullback = P::pullback;
    if constexpr (requires { P::pushforward; }) made.pushforward = P::pushforward;
    if constexpr (requires { P::rows; }) made.rows = P::rows;
    if constexpr (requires { P::broadcasts; }) made.broadcasts = P::broadcasts;
    if constexpr (requires { P::single_seed; }) made.single_seed = P::single_seed;
    if constexpr (requires { P::pushforward_all; }) made.pushforward_all = P::pushforward_all;
    if constexpr (requires { P::pullback_all; }) made.pullback_all = P::pullback_all;
    if constexpr (requires(const A& a) { P::reads(a, 0); }) {
      made.reads = [](const std::uint64_t* attributes, std::size_t k) {
        return P::reads(*reinterpret_cast<const A*>(attributes), k);
      };
    } else if constexpr (requires { P::reads; }) {
      made.reads = [](const std::uint64_t*, std::size_t) { return P::reads; };
    }
    if constexpr (requires { P::accumulate; }) made.accumulate = P::accumulate;
    if constexpr (requires { P::places; }) made.places = P::places;
    if constexpr (requires { P::carry; }) made.carry = P::carry;
  }
  return made;
}();

/// An operation's value with its place on the tape; plain when no operand is traced, or the primitive has no rules.
/// Behind the operands stands what is kept for the rules.
template <class A>
[[gnu::always_inline]] inline Handle record(const Primitive& primitive, Handle&& value,
                                            std::span<const Handle* const> operands, const A& attributes,
                                            const Caller& where) {
  static_assert(std::is_trivially_copyable_v<A> && alignof(A) <= alignof(std::uint64_t));
  if (observed()) [[unlikely]]
    door.observer->value({primitive.name, where}, *value.array());
  for (const Handle* operand : operands) {
    if (!operand->traced() || !primitive.pullback) continue;
    constexpr std::size_t words = std::is_empty_v<A> ? 0 : (sizeof(A) + 7) / 8;
    std::uint64_t* place_of_attributes = nullptr;
    const Place place = append(primitive, value.array(), operands, where, words, place_of_attributes);
    // From registers: through memory they would be read as a whole before their parts are written.
    if constexpr (words != 0) new (place_of_attributes) A(attributes);
    return std::move(value).at(place);
  }
  return std::move(value);
}

/// Evaluates P into `out`, which is fresh, and records the call.
template <class P, std::size_t n>
Handle apply(const Handle* const (&operands)[n], Array* out, const Caller& where,
             const typename AttributesOf<P>::type& attributes = {}) {
  Handle value(out);
  const AtSite site(P::name, where);
  const Array* arrays[n];
  for (std::size_t k = 0; k < n; ++k) arrays[k] = operands[k]->array();
  P::evaluate(attributes, arrays, {&out, 1});
  return record(primitive<P>, std::move(value), operands, attributes, where);
}

/// The same for a P of one operand that keeps something beside its value for its rules: `kept`, fresh too, or empty
/// where nothing will be asked.
template <class P>
Handle apply_keeping(const Handle& operand, Array* out, const Handle& kept, const Caller& where,
                     const typename AttributesOf<P>::type& attributes = {}) {
  Handle value(out);
  const AtSite site(P::name, where);
  const Array* const arrays[] = {operand.array()};
  Array* const results[] = {out, kept.array()};
  P::evaluate(attributes, arrays, results);
  const Handle* const all[] = {&operand, &kept};
  return record(primitive<P>, std::move(value), std::span(all, kept ? 2 : 1), attributes, where);
}

/// The same for any number of operands, of a primitive that is made at run time.
template <class P>
Handle apply_all(const Primitive& as, std::span<const Handle* const> operands, std::span<const Handle> kept, Array* out,
                 const Caller& where, const typename AttributesOf<P>::type& attributes = {}) {
  Handle value(out);
  const AtSite site(as.name, where);
  Few<const Array*, 8> arrays(operands.size());
  Few<Array*, 8> results(1 + kept.size());
  Few<const Handle*, 16> all(operands.size() + kept.size());
  for (std::size_t k = 0; k < operands.size(); ++k) arrays[k] = (all[k] = operands[k])->array();
  results[0] = out;
  for (std::size_t k = 0; k < kept.size(); ++k) results[1 + k] = (all[operands.size() + k] = &kept[k])->array();
  P::evaluate(attributes, arrays, results);
  return record(as, std::move(value), all, attributes, where);
}

}  // namespace tapegrad::detail
