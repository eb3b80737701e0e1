#include "named.hpp"

namespace tapegrad::nn::detail {

void throw_unknown(std::string_view what, std::string_view name, const PoolVector<std::string_view>& known,
                   Where where) {
  std::string message = "unknown " + std::string(what) + " \"" + std::string(name) + "\"" + to_string(where);
  const char* separator = known.empty() ? "; there are none" : "; known: ";
  if (known.empty()) message += separator;
  for (std::string_view one : known) {
    message += separator;
    message += one;
    separator = ", ";
  }
  throw ValueError(message);
}

}  // namespace tapegrad::nn::detail
