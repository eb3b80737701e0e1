#include "../named.hpp"

namespace tapegrad::detail {

std::string known_names(const PoolVector<std::string_view>& known) {
  if (known.empty()) return "; there are none";
  std::string list;
  for (std::string_view one : known) {
    list += list.empty() ? "; known: " : ", ";
    list += one;
  }
  return list;
}

void throw_not_named(std::string_view name, const PoolVector<std::string_view>& known, const Where& where) {
  std::string quoted = "\"";
  quoted.append(name).append("\"");
  throw ValueError("Named[" + quoted + "]" + to_string(where) + ": there is no " + quoted + known_names(known) +
                   "; add(" + quoted + ", value) makes one");
}

}  // namespace tapegrad::detail
