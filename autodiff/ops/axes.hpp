#pragma once
// Axes of operations, and of the seeds in front of them.

#include "../core/handle.hpp"
#include "../shape.hpp"

namespace tapegrad::detail {

/// Axis -rank..rank-1 as 0..rank-1.
std::int64_t normalize_axis(int axis, std::int64_t rank, const char* operation, const Shape& shape,
                            const Caller& where);

/// The rank as an unsigned number, for indices of standard containers.
inline std::size_t rank_of(const Shape& shape) { return static_cast<std::size_t>(shape.rank()); }

/// The sizes around one axis: x is seen as (outer, count, inner).
struct AxisView {
  std::int64_t outer = 1, count = 1, inner = 1;
};
/// Around the `axes` axes that begin at `first`.
inline AxisView around(const Shape& shape, std::integral auto first, std::int64_t axes = 1) {
  const auto begin = static_cast<std::int64_t>(first), end = begin + axes;
  return {shape.count(0, begin), shape.count(begin, end), shape.count(end, shape.rank())};
}

/// The seed axes that v has in front of a value of shape `own`, followed by `other`.
inline Shape seeded(const Handle& v, const Shape& own, const Shape& other) {
  return v.shape().prefix(v.shape().rank() - own.rank()).concat(other, {});
}

}  // namespace tapegrad::detail
