#include "../transforms.hpp"

#include <string>

namespace tapegrad::detail {

void require_scalar(const Shape& shape, const Caller& where) {
  if (shape.count() == 1 && shape.rank() == 0) return;
  throw TapeError("grad" + to_string(where) + ": the function returned a tensor of shape " + to_string(shape) +
                  ", and a gradient is that of a scalar. Use jacobian(f) for all derivatives, vjp(f, x) for J^T g, or "
                  "return sum(...) of it");
}

void require_same_shape(const char* what, const Shape& given, const Shape& expected, const Caller& where) {
  if (given == expected) return;
  throw ShapeError(std::string(what) + to_string(where) + " has shape " + to_string(given) + " where " +
                   to_string(expected) + " is needed");
}

}  // namespace tapegrad::detail
