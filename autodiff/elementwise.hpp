#pragma once
// Your own elementwise functions, at the speed of code written by hand with SIMD.
//
//     auto swish = elementwise([](auto x) { return x / (1 + exp(-x)); }, "swish");
//     auto leaky = elementwise([](auto x) { return where(x > 0, x, 0.01 * x); });
//     auto beta_swish = elementwise([](auto x, auto beta) { return x * sigmoid(beta * x); });
//
//     Tensor<float> y = swish(z);                        // float and double, plain and recorded
//     Tensor<float> w = beta_swish(z, beta);             // operands broadcast as those of + and *
//     nn::Dense{128, swish};
//
// The lambda is called once, with symbolic numbers; the program that it writes down runs in the library's own SIMD
// kernels and is differentiated as a program, to any order. Therefore numbers that the lambda captures are fixed from
// then on, nothing in it can branch on its arguments, and it can call only the elementwise functions of ops.hpp, and
// where. A program gives the same bits as the operations one by one, except for these liberties, each accurate to a few
// ulp: constant factors are multiplied with each other first; a / (1 + exp(-x)) is taken as a * sigmoid(x), log(1 + u)
// as log1p(u), log1p(exp(x)) as softplus(x) and tanh(softplus(x)) at the cost of one exp, which stay finite, with their
// derivatives, where the exponential overflows. programs/activations.cpp has functions of the library made in this way.

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "ops.hpp"

namespace tapegrad {

template <std::size_t n, class Rest = std::make_index_sequence<n - 1>>
class Elementwise;

namespace detail {

inline constexpr std::size_t most_operands = 4;

/// Builds a program from the result of a lambda for its operands, and returns its handle.
class TAPEGRAD_EXPORT FunctionBuilder {
 public:
  explicit FunctionBuilder(std::string name);
  /// Operand k.
  Scalar operand(std::size_t k);
  Handle finish(std::size_t operands, const Scalar& result);

 private:
  std::string name_;
  std::shared_ptr<Graph> graph_;
};

/// Runs a program, and records it if an operand is traced.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> run_function(const Handle& program, std::span<const Tensor<T>* const> operands,
                                       const Caller& where);
/// (f(x), f'(x) v) for plain tensors.
template <Real T>
TAPEGRAD_EXPORT std::pair<Tensor<T>, Tensor<T>> run_with_tangent(const Handle& program, const Tensor<T>& x,
                                                                 const Tensor<T>& v, const Caller& where);
/// Writes a program down inside another one.
TAPEGRAD_EXPORT Scalar inline_function(const Handle& program, std::span<const Scalar* const> operands);

/// Converts to a symbolic number and to nothing else.
struct OnlyScalar {
  operator Scalar() const;
};

template <class F, class Argument, std::size_t... k>
constexpr bool callable_with(std::index_sequence<k...>) {
  return std::is_invocable_v<const F&, std::enable_if_t<k != most_operands, const Argument&>...>;
}
template <class F, class Argument, std::size_t n = 1>
constexpr std::size_t operands_of() {
  if constexpr (n > most_operands)
    return 0;
  else if constexpr (callable_with<F, Argument>(std::make_index_sequence<n>()))
    return n;
  else
    return operands_of<F, Argument, n + 1>();
}

template <class F>
constexpr std::size_t checked_operands_of() {
  if constexpr (requires { &F::operator(); }) {
    constexpr std::size_t n = operands_of<F, OnlyScalar>();
    static_assert(n > 0,
                  "tapegrad::elementwise: the lambda must be generic, of 1 to 4 numbers: write [](auto x) { ... }");
    return n;
  } else {
    constexpr std::size_t n = operands_of<F, Scalar>();
    static_assert(
        n > 0,
        "tapegrad::elementwise: give a lambda of 1 to 4 numbers, [](auto x, auto y) { ... }, which calls nothing "
        "but functions of tapegrad, unqualified: exp(x), maximum(x, y), where(x > 0, a, b)");
    return n;
  }
}

}  // namespace detail

/// A function made by elementwise(), of n operands; cheap to copy, and safe to share between threads. A tape keeps its
/// program alive.
template <std::size_t n, std::size_t... rest>
class Elementwise<n, std::index_sequence<rest...>> {
  template <std::size_t, class V>
  using Repeat = V;

 public:
  explicit Elementwise(detail::Handle function) : function_(std::move(function)) {}

  /// Calls the function with tensors that broadcast against each other. Operands may be numbers if one of the first two
  /// is a tensor. Throws ShapeError, with the function's name, if the shapes do not fit.
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& x, const Repeat<rest, std::type_identity_t<Operand<T>>>&... more,
                       Caller where = Caller::here()) const {
    const Tensor<T>* operands[] = {&x, &more.tensor()...};
    return detail::run_function<T>(function_, operands, where);
  }
  template <Real T, class... More>
  requires(n > 1 && sizeof...(More) == n - 2) Tensor<T>
  operator()(double first, const Tensor<T>& x, const More&... more) const {
    return (*this)(Tensor<T>(first), x, more...);
  }
  /// Inside the lambda of another elementwise function.
  Scalar operator()(const Scalar& x, const Repeat<rest, Scalar>&... more) const {
    const Scalar* operands[] = {&x, &more...};
    return detail::inline_function(function_, operands);
  }

  /// (f(x), f'(x) v) for plain tensors of the same shape and a function of one operand, in one pass over memory; jvp(f,
  /// x, v) uses it. Throws ShapeError if the shapes differ.
  template <Real T>
  requires(n == 1) std::pair<Tensor<T>, Tensor<T>> jvp(const Tensor<T>& x, const Tensor<T>& v,
                                                       Caller where = Caller::here())
  const { return detail::run_with_tangent(function_, x, v, where); }

 private:
  detail::Handle function_;
};

/// The elementwise function of a generic lambda of 1 to 4 numbers. `name` appears in errors. Throws ValueError if the
/// result contains an operand of another elementwise function, kept from its lambda.
template <class F>
auto elementwise(const F& f, std::string name = "elementwise") {
  constexpr std::size_t n = detail::checked_operands_of<F>();
  if constexpr (n > 0) {
    detail::FunctionBuilder builder(std::move(name));
    auto call = [&]<std::size_t... k>(std::index_sequence<k...>) { return f(builder.operand(k)...); };
    using Result = decltype(call(std::make_index_sequence<n>()));
    constexpr bool is_number = std::is_same_v<Result, Scalar> || std::is_arithmetic_v<Result>;
    static_assert(!std::is_same_v<Result, ScalarMask>,
                  "tapegrad::elementwise: the lambda returns a condition; return a number: where(condition, 1, 0)");
    static_assert(is_number || std::is_same_v<Result, ScalarMask>,
                  "tapegrad::elementwise: the lambda must return a number");
    if constexpr (is_number)
      return Elementwise<n>(builder.finish(n, call(std::make_index_sequence<n>())));
    else
      return Elementwise<n>(detail::Handle());
  } else {
    return Elementwise<1>(detail::Handle());  // no further messages after that of the assertion
  }
}

}  // namespace tapegrad
