#pragma once
// The tape of a function in readable form.
//
//     std::cout << dump(f)(w, x);
//
//     %0 = argument                        f64 (3)
//     %1 = multiply %0, constant (4, 3)    f64 (4, 3)   model.cpp:12
//     %2 = sum %1 [axes -2 to -1]          f64 ()       model.cpp:12
//     result %2
//
//     std::ofstream("tape.dot") << dump(f)(w, x).graphviz();     // dot -Tsvg tape.dot

#include <iosfwd>
#include <string>
#include <vector>

#include "core/export.hpp"
#include "transforms.hpp"

namespace tapegrad {

/// A record of a tape as text.
struct DumpedRecord {
  std::string operation, attributes;
  std::vector<std::string> operands;  // "%2", or "constant (4, 3)"
  std::string type, shape, where;     // "f64", "(4, 3)", "model.cpp:12"
};

/// The result of dump(): the records of a function in the order in which they were made. Record i is %i.
struct TAPEGRAD_EXPORT Dump {
  std::vector<DumpedRecord> records;
  std::string result;  // as an operand

  /// The same in the language of Graphviz, whose program dot draws it.
  std::string graphviz() const;
};

/// Writes one line for each record.
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, const Dump& dump);

namespace detail {

TAPEGRAD_EXPORT Dump dump_of(const Recording& recording, const Handle& result, const Caller& where);

}  // namespace detail

/// The records of f(args...), whose result is a tensor, when it is differentiated with respect to the arguments with
/// the given numbers, by default the first. Throws ValueError if the result has no value.
template <std::size_t... I, class F>
auto dump(F f, Caller where = Caller::here()) {
  return [f = std::move(f), where](const auto&... args) {
    using Selected = std::conditional_t<sizeof...(I) == 0, detail::Indices<0>, detail::Indices<I...>>;
    detail::Scope scope(where);
    const auto y = detail::call_traced<Selected>(scope, f, std::tuple<const decltype(args)&...>(args...),
                                                 std::index_sequence_for<decltype(args)...>{});
    static_assert(detail::is_real_tensor<std::remove_cvref_t<decltype(y)>>,
                  "dump needs a function that returns one Tensor<float> or Tensor<double>");
    return detail::dump_of(scope.close(), y.handle(), where);
  };
}

}  // namespace tapegrad
