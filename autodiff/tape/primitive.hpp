#pragma once
// What a primitive is, and how an operation records a call of one.

#include <initializer_list>
#include <optional>
#include <span>

#include "carry.hpp"
#include "nan_watch.hpp"
#include "tape.hpp"

namespace tapegrad::detail {

/// Where the elements of a part stand along an axis of a whole: every `step`th from `start` on, or at indices from 0
/// on, whose rows the axes before this one take in turn.
struct Places {
  std::size_t axis;  // from the end
  std::int64_t start = 0, step = 1;
  const std::int64_t* indices = nullptr;  // in place of start and step
  std::int64_t index_rows = 1;
};

/// A primitive for one number type. Rules are linear in `v`, answer for one operand, and may be given any number of
/// seed axes in front of v's own: axes are counted from the end. They mention no broadcasting: the sweep sums an
/// adjoint down to the operand's shape and spreads a tangent up to the output's.
struct Primitive {
  const char* name;
  /// J_k^T v: v has the output's shape behind its seed axes, the result a shape that sums to operand k's.
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
  /// A shorter way for the reverse sweep where nothing is traced: adds J_k^T v, summed down to operand k's shape, to
  /// `sum`, which is empty or nobody else's. After the `last` use v may be moved from, or written over where it is
  /// nobody else's. False: there is none, and nothing has changed.
  bool (*accumulate)(const Call& call, std::size_t k, Handle& v, bool last, Handle& sum) = nullptr;
  /// Where the output's elements stand in the only operand, for a primitive that does no more than choose them: a
  /// reverse sweep that is recorded then puts all parts of an adjoint together at once.
  Places (*places)(const Call& call) = nullptr;
  /// Adds the terms that the diagonal becomes; false, or no rule, where they have no structure.
  bool (*carry)(Carry& carry) = nullptr;
};

/// Takes over `value`, which is fresh: with its place on the tape, or plain when no operand is traced.
inline Handle record(const Primitive& primitive, Array* value, std::span<const Handle* const> operands,
                     const Where& where, const Attributes& attributes = no_attributes) {
  Handle plain(value);
  if (watched()) [[unlikely]]
    watch_value(*value, primitive.name, where);
  for (const Handle* operand : operands) {
    if (operand->traced()) return std::move(plain).at(append(primitive, value, operands, attributes, where));
  }
  return plain;
}
inline Handle record(const Primitive& primitive, Array* value, std::initializer_list<const Handle*> operands,
                     const Where& where, const Attributes& attributes = no_attributes) {
  return record(primitive, value, std::span(operands.begin(), operands.size()), where, attributes);
}

}  // namespace tapegrad::detail
