#include "operands.hpp"

#include <string>

namespace tapegrad::detail {

void throw_no_value(const char* operation, const Caller& where) {
  throw ValueError(std::string(operation) + to_string(where) +
                   ": an operand has no value; it was default-constructed or moved from");
}

Command::Operand operand_of(const Array* array, Command::Access access) {
  if (!array) return {nullptr, 0, access};
  return {array->data, array->shape.count() * static_cast<std::int64_t>(size_of(array->dtype)), access};
}

}  // namespace tapegrad::detail
