#pragma once
// The sweeps over a recording, and the proof that its rows do not mix.

#include <span>

#include "../tape/recording.hpp"

namespace tapegrad::detail {

/// Adjoints of the inputs from those of the outputs: sum over i of J_i^T adjoints[i]. An adjoint may carry leading seed
/// axes. Inputs that no output depends on get an empty handle.
TAPEGRAD_EXPORT void reverse(const Recording& recording, std::span<const Handle> outputs,
                             std::span<const Handle> adjoints, std::span<Handle> inputs, const Caller& where = {});
/// Tangents of the outputs from those of the inputs; empty handles stand for zero on both sides.
TAPEGRAD_EXPORT void forward(const Recording& recording, std::span<const Handle> inputs,
                             std::span<const Handle> outputs, std::span<Handle> tangents, const Caller& where = {});

/// Proves from the recorded axes, whatever their sizes, that element b of the input's first axis reaches only element b
/// of the output's. Throws RowMixingError naming the operation that mixes them and its line. Gives the batch axis of
/// every record that leads to the output.
TAPEGRAD_EXPORT BatchAxes separate_rows(const Recording& recording, const Handle& output, const Shape& input,
                                        const Caller& where);

/// For each record the number, in the scope, of the last record that leads to the output and uses it; the output's own
/// for itself, 0 for what does not lead there.
PoolVector<std::uint32_t> last_uses(const Recording& recording, const Handle& output);

/// v summed down to the operand's shape behind v's seed axes.
Handle sum_down(Handle v, std::int64_t seeds, const Shape& operand, const Caller& where);
/// The tangent of the output from that of operand k, behind the same seed axes: J_k v, spread to the output's shape.
Handle pushed(const Call& call, std::size_t k, const Handle& tangent);

}  // namespace tapegrad::detail
