#pragma once
// Axes of operations, and of the seeds in front of them.

#include "../core/handle.hpp"
#include "../shape.hpp"

namespace tapegrad::detail {

/// Axis -rank..rank-1 as 0..rank-1.
std::int64_t normalize_axis(int axis, std::int64_t rank, const char* operation, const Shape& shape,
                            const Caller& where);

/// The sizes around one axis: x is seen as (outer, count, inner).
struct AxisView {
  std::int64_t outer = 1, count = 1, inner = 1;
};
/// Around the `axes` axes that begin at `first`.
inline AxisView around(const Shape& shape, std::size_t first, std::size_t axes = 1) {
  return {shape.count(0, first), shape.count(first, first + axes), shape.count(first + axes, shape.rank())};
}

/// The seed axes that v has in front of a value of shape `own`, followed by `other`.
inline Shape seeded(const Handle& v, const Shape& own, const Shape& other) {
  return v.shape().prefix(v.shape().rank() - own.rank()).concat(other);
}

}  // namespace tapegrad::detail
