#pragma once
// The tape of a function, to be read.
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

/// A record of a tape, in words.
struct DumpedRecord {
  std::string operation, attributes;
  std::vector<std::string> operands;  // "%2", or "constant (4, 3)"
  std::string type, shape, where;     // "f64", "(4, 3)", "model.cpp:12"
};

/// What dump() gives: the records of a function in the order in which they were made; record i is %i.
struct TAPEGRAD_EXPORT Dump {
  std::vector<DumpedRecord> records;
  std::string result;  // as an operand

  /// In Graphviz' language, whose program dot draws it.
  std::string graphviz() const;
};

/// A line for each record.
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, const Dump& dump);

namespace detail {

TAPEGRAD_EXPORT Dump dump_of(const Recording& recording, const Handle& result);

}  // namespace detail

/// What f(args...) records, a tensor its result, when it is differentiated by the arguments of the given numbers, by
/// default the first.
template <std::size_t... I, class F>
auto dump(F f, Caller where = Caller::here()) {
  return [f = std::move(f), where](const auto&... args) {
    using Selected = std::conditional_t<sizeof...(I) == 0, detail::Indices<0>, detail::Indices<I...>>;
    detail::Scope scope(where);
    const auto y = detail::call_traced<Selected>(scope, f, std::tuple<const decltype(args)&...>(args...),
                                                 std::index_sequence_for<decltype(args)...>{});
    static_assert(detail::is_real_tensor<std::remove_cvref_t<decltype(y)>>,
                  "dump needs a function that returns one Tensor<float> or Tensor<double>");
    return detail::dump_of(scope.close(), y.handle());
  };
}

}  // namespace tapegrad
