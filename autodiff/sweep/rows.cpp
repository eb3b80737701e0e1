#include <string>

#include "../tape/primitive.hpp"
#include "sweep.hpp"

namespace tapegrad::detail {

PoolVector<std::uint32_t> last_uses(const Recording& recording, const Handle& output) {
  const Segment& s = recording.segment();
  PoolVector<std::uint32_t> last(s.end - s.begin, 0);
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

BatchAxes separate_rows(const Recording& recording, const Handle& output, const Shape& input, const Caller& where) {
  const Segment& s = recording.segment();
  BatchAxes table(s.end - s.begin, 0);
  if (!recording.depends_on_inputs(output)) return table;
  // Only what leads to the output can mix its rows.
  const PoolVector<std::uint32_t> last = last_uses(recording, output);
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
