#pragma once
// Named<V>: a short ordered list of named values, such as the parameters of a layer, the logs of an epoch or a history.
//
//     Params<float> p{{"kernel", w}, {"bias", b}};
//     p.at("kernel");                                 // p["kernel"] is the same
//     for (const auto& [name, tensor] : p) std::cout << name << tensor.shape().count() << '\n';

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/memory.hpp"
#include "tensor.hpp"

namespace tapegrad {

namespace detail {

/// "; known: " followed by the names.
TAPEGRAD_EXPORT std::string known_names(const PoolVector<std::string_view>& known);

/// How what a list of V does not hold comes to be there, for its error, and the same of columns of V; null: by add().
template <class V>
inline constexpr const char* cure_for_missing = nullptr;
template <class V>
inline constexpr const char* cure_for_missing<std::vector<V>> = cure_for_missing<V>;

/// Throws ValueError for a name that a Named does not hold.
[[noreturn]] TAPEGRAD_EXPORT void throw_not_named(std::string_view name, const PoolVector<std::string_view>& known,
                                                  const char* cure, const Caller& where);

/// The only copy of this text, followed by a zero byte.
TAPEGRAD_EXPORT std::string_view interned(std::string_view text);

/// A name, with the line on which it is written.
struct NameAt {
  std::string_view name;
  Caller where;
  template <class S>
  requires std::is_convertible_v<const S&, std::string_view> NameAt(const S& text, const char* file = __builtin_FILE(),
                                                                    int line = __builtin_LINE())
      : name(text), where{file, line} {}
};

}  // namespace detail

/// A name: text that is stored once, for the life of the process, however many lists hold it. Lists of names are copied
/// in every training step, but their text is not.
class Name : public std::string_view {
 public:
  Name() = default;
  template <class S>
  requires std::is_convertible_v<const S&, std::string_view> Name(const S& text)
      : std::string_view(detail::interned(text)) {}
  Name(const char* text, std::size_t size) : Name(std::string_view(text, size)) {}

  /// The text with a terminating zero byte.
  const char* c_str() const { return empty() ? "" : data(); }
};

/// The concatenation of texts, at least one of which is a Name.
template <class A, class B>
requires((std::is_same_v<A, Name> || std::is_same_v<B, Name>)&&std::is_convertible_v<const A&, std::string_view>&&
             std::is_convertible_v<const B&, std::string_view>) std::string
operator+(const A& a, const B& b) {
  return std::string(std::string_view(a)).append(std::string_view(b));
}

template <class V>
class Named {
 public:
  using Entry = std::pair<Name, V>;

  Named() = default;
  Named(std::initializer_list<Entry> entries) : entries_(entries) {}

  /// The first value with this name; null if there is none.
  const V* find(std::string_view name) const {
    for (const Entry& entry : entries_) {
      if (entry.first == name) return &entry.second;
    }
    return nullptr;
  }
  /// The first value with this name. Throws ValueError, listing the names, if there is none.
  const V& at(std::string_view name, Caller where = Caller::here()) const {
    if (const V* value = find(name)) return *value;
    detail::throw_not_named(name, names(), detail::cure_for_missing<V>, where);
  }
  V& at(std::string_view name, Caller where = Caller::here()) {
    return const_cast<V&>(std::as_const(*this).at(name, where));
  }
  /// The same. Unlike in std::map, a missing name is not added; add() does that.
  const V& operator[](const detail::NameAt& key) const { return at(key.name, key.where); }
  V& operator[](const detail::NameAt& key) { return at(key.name, key.where); }

  /// All of them, in order.
  detail::PoolVector<std::string_view> names() const {
    detail::PoolVector<std::string_view> all;
    for (const Entry& entry : entries_) all.push_back(entry.first);
    return all;
  }
  void add(std::string_view name, V value) { entries_.emplace_back(Name(name), std::move(value)); }
  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  auto begin() { return entries_.begin(); }
  auto end() { return entries_.end(); }

 private:
  detail::PoolVector<Entry> entries_;
};

/// The parameters of one layer. grad and vjp can differentiate with respect to them.
template <class T>
using Params = Named<Tensor<T>>;

}  // namespace tapegrad
