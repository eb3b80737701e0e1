#pragma once
// Stores a function object for every signature with which it can be called.

#include <cstdint>
#include <functional>
#include <tuple>
#include <type_traits>

#include "../../autodiff/tensor.hpp"

namespace tapegrad::nn::detail {

/// Marks the library's own losses and metrics: a user's type that happens to have a name is not one of them.
struct Builtin {};
template <class F>
inline constexpr bool is_builtin = requires {
  requires std::is_same_v<typename F::Tag, Builtin>;
};

/// Calls f with two arguments and, if it takes one, the user's line.
template <class F>
struct WithLine {
  F f;

  template <class A, class B>
  requires std::is_invocable_v<F&, const A&, const B&>
  auto operator()(const A& a, const B& b, const Caller& line) {
    if constexpr (std::is_invocable_v<F&, const A&, const B&, const Caller&>)
      return f(a, b, line);
    else
      return f(a, b);
  }
};
template <class F>
WithLine(F) -> WithLine<F>;

/// Whether F can be called with Args... and gives exactly R: a plain number, whose derivative would be lost, is not a
/// tensor.
template <class F, class Signature>
inline constexpr bool gives = false;
template <class F, class R, class... Args>
inline constexpr bool gives<F, R(Args...)> = [] {
  if constexpr (std::is_invocable_v<F&, Args...>) {
    return std::is_same_v<std::remove_cvref_t<std::invoke_result_t<F&, Args...>>, R>;
  } else {
    return false;
  }
}();

using tapegrad::detail::never;

/// A class with some call operator, about which the compiler can say little before it is called.
struct CallOperator {
  void operator()();
};
template <class F>
struct BesideCall : F, CallOperator {};
template <class F>
concept HasCallOperator = std::is_class_v<F> && !std::is_final_v<F> && !requires {
  &BesideCall<F>::operator();
};

/// Overloads<Tensor<float>(...), Tensor<double>(...)>: a generic lambda fills both places, any other lambda its own.
template <class... Signatures>
class Overloads {
 public:
  template <class F>
  static constexpr bool accepts = (gives<F, Signatures> || ...);

  Overloads() = default;
  template <class F>
  requires accepts<F>
  explicit Overloads(const F& f) {
    auto fill = [&]<class Signature>(std::function<Signature>& place) {
      if constexpr (gives<F, Signature>) place = f;
    };
    std::apply([&](auto&... place) { (fill(place), ...); }, functions_);
  }

  /// Empty if the function cannot be called with this signature.
  template <class Signature>
  const std::function<Signature>& get() const {
    return std::get<std::function<Signature>>(functions_);
  }

 private:
  std::tuple<std::function<Signatures>...> functions_;
};

/// A function of predictions of T and targets of Y, kept for float and double, and for targets that are numbers as the
/// predictions are or labels. Signature<T, Y> is what it is called as.
template <template <class T, class Y> class Signature>
class OfTargets {
  using Numbers = Overloads<Signature<float, float>, Signature<double, double>>;
  using Labels = Overloads<Signature<float, std::int64_t>, Signature<double, std::int64_t>>;

 public:
  template <class F>
  static constexpr bool takes_numbers = Numbers::template accepts<F>;
  /// A generic lambda of numbers is not tried with labels, unless it is meant for `both`: it need not compile.
  template <class F, bool both = false>
  static constexpr bool takes_labels = [] {
    if constexpr (both || !takes_numbers<F>)
      return Labels::template accepts<F>;
    else
      return false;
  }();

  OfTargets() = default;
  template <class F, bool both = false>
  requires(takes_numbers<F> || takes_labels<F, both>) OfTargets(const F& f, std::bool_constant<both> = {}) {
    if constexpr (takes_numbers<F>) numbers_ = Numbers(f);
    if constexpr (takes_labels<F, both>) labels_ = Labels(f);
  }

  /// Empty if the function cannot be called with these types.
  template <class T, class Y>
  const std::function<Signature<T, Y>>& get() const {
    if constexpr (std::is_same_v<Y, std::int64_t>)
      return labels_.template get<Signature<T, Y>>();
    else
      return numbers_.template get<Signature<T, Y>>();
  }

 private:
  Numbers numbers_;
  Labels labels_;
};

}  // namespace tapegrad::nn::detail
