#pragma once
// The common parts of nn's errors.

#include <string>
#include <string_view>

#include "../named.hpp"

namespace tapegrad::nn::detail {

/// Throws ValueError: unknown `what` "name"; known: the names in `known`.
[[noreturn]] TAPEGRAD_EXPORT void throw_unknown(const char* what, std::string_view name,
                                                const PoolVector<std::string_view>& known, const Caller& where);

/// The built-in thing that a user's word stands for in a table. Throws ValueError for an unknown word or a null
/// pointer, saying what was looked for and listing the names.
template <class V>
const V& by_name(const char* what, const char* name, const Named<V>& table, const Caller& where) {
  const std::string_view wanted = name ? name : "";
  if (const V* value = table.find(wanted)) return *value;
  throw_unknown(what, wanted, table.names(), where);
}

/// Throws TapeError for a tensor on a tape that is passed to an operation without a derivative.
TAPEGRAD_EXPORT void require_plain(const tapegrad::detail::Handle& tensor, const char* operation, const Caller& where);

/// Throws ValueError: a user's function, called `what`, takes tensors of the other number type; it would be
/// [](const auto& `argument`) { ... } for both.
template <Real T>
[[noreturn]] TAPEGRAD_EXPORT void throw_not_written_for(const char* what, const char* argument,
                                                        const Caller& where = {});

/// Returns f(). The message of an error that it throws begins with place(), a string, and the error keeps its type.
template <class Place, class F>
decltype(auto) in_place(const Place& place, F&& f) {
  try {
    return f();
  } catch (const ShapeError& error) {
    throw ShapeError(place() + error.what());
  } catch (const ValueError& error) {
    throw ValueError(place() + error.what());
  } catch (const TapeError& error) {
    throw TapeError(place() + error.what());
  } catch (const RowMixingError& error) {
    throw RowMixingError(place() + error.what());
  }
}

}  // namespace tapegrad::nn::detail
