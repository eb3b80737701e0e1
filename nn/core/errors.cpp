#include "errors.hpp"

namespace tapegrad::nn::detail {

void throw_unknown(const char* what, std::string_view name, const PoolVector<std::string_view>& known,
                   const Caller& where) {
  throw ValueError("unknown " + std::string(what) + " \"" + std::string(name) + "\"" + to_string(where) +
                   tapegrad::detail::known_names(known));
}

void require_plain(const tapegrad::detail::Handle& tensor, const char* operation, const Caller& where) {
  if (!tensor.traced()) return;
  throw TapeError(operation + to_string(where) +
                  ": a tensor is on a tape, and the derivative would stop here; pass stop_gradient(x)");
}

template <Real T>
void throw_not_written_for(const char* what, const char* argument, const Caller& where) {
  const bool is_float = std::is_same_v<T, float>;
  throw ValueError(std::string("this ") + what + to_string(where) + " was written for Tensor<" +
                   (is_float ? "double" : "float") + ">, but the values are of " + (is_float ? "float" : "double") +
                   ". Write it for both: [](const auto& " + argument + ") { ... }");
}
template void throw_not_written_for<float>(const char*, const char*, const Caller&);
template void throw_not_written_for<double>(const char*, const char*, const Caller&);

}  // namespace tapegrad::nn::detail
