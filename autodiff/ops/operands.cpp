#include "operands.hpp"

#include <string>

namespace tapegrad::detail {

void throw_no_value(const char* operation, const Where& where) {
  throw ValueError(std::string(operation) + to_string(where) +
                   ": an operand has no value; it was default-constructed or moved from");
}

}  // namespace tapegrad::detail
