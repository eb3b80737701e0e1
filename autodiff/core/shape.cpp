#include "../shape.hpp"

#include <ostream>
#include <string>

#include "command.hpp"

namespace tapegrad {

[[gnu::cold]] void detail::throw_no_axis(const Shape& shape, std::int64_t axis, const Caller& where, bool from_end) {
  const std::string begin = "axis " + std::to_string(axis) + (from_end ? " from the end" : "") + to_string(where) +
                            " of shape " + to_string(shape);
  if (shape.rank() == 0) throw ShapeError(begin + ": a scalar has no axes");
  throw ShapeError(begin + ": its axes go from " + std::to_string(-shape.rank()) + " to " +
                   std::to_string(shape.rank() - 1));
}

[[gnu::cold]] void detail::throw_too_many_axes(const Caller& where) {
  throw ShapeError("a shape" + to_string(door.line ? *door.line : where) +
                   ": a tensor has at most 8 axes, and so has a Jacobian, of its output's and its input's together; "
                   "reshape joins axes");
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::int64_t i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << to_string(shape); }

}  // namespace tapegrad
