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

void require_plain(const tapegrad::detail::Handle& tensor, const char* operation, const Where& where) {
  if (!tensor.traced()) return;
  throw TapeError(operation + to_string(where) +
                  ": a tensor is on a tape, and the derivative would stop here; pass stop_gradient(x)");
}

template <Real T>
void throw_not_written_for(const char* what, const char* argument) {
  const bool is_float = std::is_same_v<T, float>;
  throw ValueError(std::string("this ") + what + " was written for Tensor<" + (is_float ? "double" : "float") +
                   ">, but the values are of " + (is_float ? "float" : "double") +
                   ". Write it for both: [](const auto& " + argument + ") { ... }");
}
template void throw_not_written_for<float>(const char*, const char*);
template void throw_not_written_for<double>(const char*, const char*);

}  // namespace tapegrad::nn::detail
