#include "../transforms.hpp"

#include <string>

namespace tapegrad::detail {

void require_value(const char* operation, const Handle& result, const Caller& where) {
  if (result) return;
  throw ValueError(operation + to_string(where) +
                   ": the function returned a tensor without a value; it was default-constructed or moved from");
}

void require_scalar(const char* operation, const Handle& result, const Caller& where) {
  require_value(operation, result, where);
  const Shape& shape = result.shape();
  if (shape.rank() == 0) return;
  throw TapeError(operation + to_string(where) + ": the function returned a tensor of shape " + to_string(shape) +
                  ", and a gradient is one of a scalar. Use jacobian(f) for all derivatives, vjp(f, x) for J^T g, or "
                  "return sum(...) of it");
}

void require_same_shape(const char* operation, const char* what, const Shape& given, const Shape& expected,
                        const Caller& where) {
  if (given == expected) return;
  throw ShapeError(operation + to_string(where) + ": " + what + " has shape " + to_string(given) + " where " +
                   to_string(expected) + " is needed");
}

void throw_other_tangents(const char* operation, const Caller& where) {
  throw ShapeError(operation + to_string(where) +
                   ": an argument and its tangent hold different numbers of tensors, or tensors of other names");
}

}  // namespace tapegrad::detail
