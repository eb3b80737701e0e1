#include "axes.hpp"

#include <string>

namespace tapegrad::detail {
namespace {

[[noreturn, gnu::cold]] void throw_axis(int axis, int rank, const char* operation, const Shape& shape,
                                        const Caller& where) {
  throw ShapeError(
      std::string(operation) + to_string(where) + ": axis " + std::to_string(axis) +
      " is out of range for a tensor of shape " + to_string(shape) +
      (rank == 0 ? ", which has no axes" : "; use " + std::to_string(-rank) + " to " + std::to_string(rank - 1)));
}

}  // namespace

std::int64_t normalize_axis(int axis, std::int64_t rank, const char* operation, const Shape& shape,
                            const Caller& where) {
  const int n = static_cast<int>(rank);
  if (axis < -n || axis >= n) throw_axis(axis, n, operation, shape, where);
  return axis < 0 ? axis + n : axis;
}

}  // namespace tapegrad::detail
