#include "../error.hpp"

#include <cstring>

namespace tapegrad {

std::string to_string(const Caller& where) {
  if (!where.file || !*where.file) return "";
  const char* slash = std::strrchr(where.file, '/');
  return std::string(" at ") + (slash ? slash + 1 : where.file) + ":" + std::to_string(where.line);
}

}  // namespace tapegrad
