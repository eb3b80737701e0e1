#pragma once
// Named<V>: a short list of values in order, each with a name. Parameters of a layer, logs of an epoch, a history.
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

/// "; known: ", and the names.
TAPEGRAD_EXPORT std::string known_names(const PoolVector<std::string_view>& known);

/// Throws ValueError: what a Named does not hold.
[[noreturn]] TAPEGRAD_EXPORT void throw_not_named(std::string_view name, const PoolVector<std::string_view>& known,
                                                  const Where& where);

/// A name, with the line that it stands on.
struct NameAt {
  std::string_view name;
  Where where;
  template <class S>
  requires std::is_convertible_v<const S&, std::string_view> NameAt(const S& text, const char* file = __builtin_FILE(),
                                                                    int line = __builtin_LINE())
      : name(text), where{file, line} {}
};

}  // namespace detail

/// A string whose storage comes from the pool, so that lists of names can be copied in every training step.
using Name = std::basic_string<char, std::char_traits<char>, detail::PoolAllocator<char>>;

template <class V>
class Named {
 public:
  using Entry = std::pair<Name, V>;

  Named() = default;
  Named(std::initializer_list<Entry> entries) : entries_(entries) {}

  /// Throws ValueError, listing the names there are.
  const V& at(std::string_view name, Where where = Where::here()) const {
    for (const Entry& entry : entries_) {
      if (entry.first == name) return entry.second;
    }
    detail::PoolVector<std::string_view> known;
    for (const Entry& entry : entries_) known.push_back(entry.first);
    detail::throw_not_named(name, known, where);
  }
  V& at(std::string_view name, Where where = Where::here()) {
    return const_cast<V&>(std::as_const(*this).at(name, where));
  }
  /// The same; a name that is not there is not made, as std::map would. add() makes one.
  const V& operator[](const detail::NameAt& key) const { return at(key.name, key.where); }
  V& operator[](const detail::NameAt& key) { return at(key.name, key.where); }

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

/// The parameters of one layer; something that grad and vjp can differentiate by.
template <class T>
using Params = Named<Tensor<T>>;

}  // namespace tapegrad
