#include "../named.hpp"

#include <functional>
#include <mutex>
#include <unordered_set>

namespace tapegrad::detail {

std::string_view interned(std::string_view text) {
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using Texts = std::unordered_set<std::string, Hash, std::equal_to<>>;
  static std::mutex mutex;
  static Texts* const texts = new Texts;  // never destroyed, because lists of names may be static
  const std::lock_guard lock(mutex);
  auto found = texts->find(text);
  if (found == texts->end()) found = texts->emplace(text).first;
  return *found;
}

std::string known_names(const PoolVector<std::string_view>& known) {
  if (known.empty()) return "; there are none";
  std::string list;
  for (std::string_view one : known) {
    list += list.empty() ? "; known: " : ", ";
    list += one;
  }
  return list;
}

void throw_not_named(std::string_view name, const PoolVector<std::string_view>& known, const char* cure,
                     const Caller& where) {
  std::string quoted = "\"";
  quoted.append(name).append("\"");
  throw ValueError("Named[" + quoted + "]" + to_string(where) + ": there is no " + quoted + known_names(known) + "; " +
                   (cure ? cure : "add(" + quoted + ", value) makes one"));
}

}  // namespace tapegrad::detail
