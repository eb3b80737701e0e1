#pragma once
// Derivatives of functions: grad, value_and_grad, elementwise_grad, vjp, jvp, hvp. (jacobian and hessian are in
// jacobian.hpp.) Each takes an ordinary function of tensors and returns one, so that they nest: grad(grad(f)).
//
//     auto f = [](const Tensor<>& w, const Tensor<>& x) { return sum(square(tanh(x * w))); };
//     Tensor<> dw = grad(f)(w, x);                       // with respect to the first argument
//     Tensor<> dx = grad<1>(f)(w, x);                    // with respect to the second
//     auto [c, g] = value_and_grad(f)(w, x);
//     auto [y, pullback] = vjp(f, w);   auto [y2, dy] = jvp(f, w, v);
//
// Arguments that are differentiated may be anything parameters.hpp lists; the gradient has the same type. Source of the
// method: Griewank & Walther, Evaluating Derivatives, 2nd ed., chapters 3 and 4.

#include <array>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "ops.hpp"
#include "parameters.hpp"
#include "sweep/sweep.hpp"

namespace tapegrad {
namespace detail {

using Handles = std::vector<Handle, PoolAllocator<Handle>>;

TAPEGRAD_EXPORT void require_scalar(const Shape& shape, const Caller& where);
TAPEGRAD_EXPORT void require_same_shape(const char* what, const Shape& given, const Shape& expected,
                                        const Caller& where);

template <class P>
P traced_in(Scope& scope, const P& argument) {
  const auto trace = [&]<class T>(const Tensor<T>& x) { return Tensor<T>(scope.trace(x.handle())); };
  if constexpr (is_real_tensor<P>) {
    return trace(argument);
  } else {
    P copy = argument;
    for_each_tensor(copy, [&](auto& x) { x = trace(x); });
    return copy;
  }
}

template <class P>
Handles handles_of(P& p) {
  Handles handles;
  for_each_tensor(p, [&](const auto& x) { handles.push_back(x.handle()); });
  return handles;
}

/// The argument with its tensors replaced by the next ones of `values`, which are moved from; an empty handle becomes
/// zeros, with the seed axes in front.
template <class P>
P replaced(const P& argument, Handle*& values, const Shape& seeds = {}) {
  const auto next = [&]<class T>(const Tensor<T>& x) {
    Handle& value = *values++;
    return value ? Tensor<T>(std::move(value)) : zeros<T>(seeds.concat(x.shape()));
  };
  if constexpr (is_real_tensor<P>) {
    return next(argument);
  } else {
    P copy = argument;
    for_each_tensor(copy, [&](auto& x) { x = next(x); });
    return copy;
  }
}

template <std::size_t... I>
struct Indices {
  static constexpr bool contains(std::size_t i) { return ((i == I) || ...); }
};

/// Calls f with the arguments, of which those in `Selected` are traced in `scope`; first[i] is the number of argument
/// i's first input.
template <class Selected, class F, class Tuple, std::size_t... All>
auto call_traced(Scope& scope, F& f, const Tuple& arguments, std::index_sequence<All...>,
                 std::array<std::size_t, sizeof...(All)>* first = nullptr) {
  // Only arguments that are differentiated are copied.
  auto prepare = [&]<std::size_t i>(std::integral_constant<std::size_t, i>) -> decltype(auto) {
    if constexpr (Selected::contains(i)) {
      if (first) (*first)[i] = scope.inputs();
      return traced_in(scope, std::get<i>(arguments));
    } else {
      return std::get<i>(arguments);
    }
  };
  static_assert(
      std::is_invocable_v<F&, const std::remove_cvref_t<std::tuple_element_t<All, Tuple>>&...>,
      "tapegrad: the function cannot be called with these arguments; it takes each as a const reference, as in "
      "[](const Tensor<float>& x) or [](const auto& x)");
  std::tuple<decltype(prepare(std::integral_constant<std::size_t, All>{}))...> prepared{
      prepare(std::integral_constant<std::size_t, All>{})...};
  return std::apply(f, std::as_const(prepared));
}

/// A single element is returned as itself, several as a tuple.
template <class First, class... Rest>
auto one_or_tuple(std::tuple<First, Rest...>&& t) {
  if constexpr (sizeof...(Rest) == 0)
    return std::get<0>(std::move(t));
  else
    return std::move(t);
}

template <std::size_t... I, class F, class... Args>
auto value_and_gradients(F& f, const Caller& where, const Args&... args) {
  const std::tuple<const Args&...> arguments(args...);
  Scope scope(where);
  std::array<std::size_t, sizeof...(Args)> first{};
  auto y = call_traced<Indices<I...>>(scope, f, arguments, std::index_sequence_for<Args...>{}, &first);
  using Y = std::remove_cvref_t<decltype(y)>;
  static_assert(is_real_tensor<Y>, "grad needs a function that returns a Tensor<float> or Tensor<double>");
  require_scalar(y.shape(), where);
  const Recording recording = scope.close();
  const Handle seed = ones<typename Y::value_type>(y.shape()).handle();
  Handles gradients(recording.inputs());
  detail::reverse(recording, {&y.handle(), 1}, {&seed, 1}, gradients);
  auto gradient_of = [&](std::size_t argument, const auto& of) {
    Handle* next = gradients.data() + first[argument];
    return replaced(of, next);
  };
  std::tuple<std::remove_cvref_t<std::tuple_element_t<I, std::tuple<Args...>>>...> all{
      gradient_of(I, std::get<I>(arguments))...};
  return std::pair(Y(recording.lift(y.handle())), one_or_tuple(std::move(all)));
}

}  // namespace detail

/// (value, gradient) of a function with a scalar result, by running it once and sweeping once in reverse. The template
/// arguments are the numbers of the arguments to differentiate by, by default the first; several give a tuple in their
/// order. Throws TapeError, which points to jacobian, if the result is not a scalar.
template <std::size_t... I, class F>
auto value_and_grad(F f, Caller where = Caller::here()) {
  return [f = std::move(f), where](const auto&... args) {
    if constexpr (sizeof...(I) == 0)
      return detail::value_and_gradients<0>(f, where, args...);
    else
      return detail::value_and_gradients<I...>(f, where, args...);
  };
}

/// The gradient alone.
template <std::size_t... I, class F>
auto grad(F f, Caller where = Caller::here()) {
  return [g = value_and_grad<I...>(std::move(f), where)](const auto&... args) { return g(args...).second; };
}

/// The derivative of the sum of the outputs, which is f'(x) for a function that acts on each element separately.
template <class F>
auto elementwise_grad(F f) {
  return [f = std::move(f)](const auto& x, const auto&... more) {
    return grad([&](const auto& traced) { return sum(f(traced, more...)); })(x);
  };
}

/// Computes J^T g of a recorded function, any number of times. vjp makes it.
template <class Y, class... Args>
class Pullback {
 public:
  Pullback(detail::Recording&& recording, Y&& output, const Args&... args)
      : state_(std::allocate_shared<State>(detail::PoolAllocator<State>{}, std::move(recording), std::move(output),
                                           args...)) {}

  // Moving copies, so that a pullback is never empty.
  Pullback(const Pullback&) = default;
  Pullback& operator=(const Pullback&) = default;

  /// `g` has the shape of the output, after any number of seed axes, which the result then has too. The result is
  /// differentiable in g, and in the arguments if an outer derivative depends on them. Throws ShapeError, or TapeError
  /// if the scope around the vjp has closed.
  auto operator()(const Y& g, Caller where = Caller::here()) const {
    const Shape& given = g.shape();
    const Shape& shape = state_->output.shape();
    const std::size_t seeds = given.rank() >= shape.rank() ? given.rank() - shape.rank() : 0;
    if (!given.ends_with(shape)) detail::require_same_shape("a cotangent", given, shape, where);
    detail::Handles gradients(state_->recording.inputs());
    detail::reverse(state_->recording, {&state_->output.handle(), 1}, {&g.handle(), 1}, gradients, where);
    detail::Handle* next = gradients.data();
    return std::apply(
        [&](const Args&... args) {
          return detail::one_or_tuple(std::tuple<Args...>{detail::replaced(args, next, given.prefix(seeds))...});
        },
        state_->arguments);
  }

 private:
  struct State {
    State(detail::Recording&& r, Y&& y, const Args&... a)
        : recording(std::move(r)), output(std::move(y)), arguments(a...) {}
    detail::Recording recording;
    Y output;
    std::tuple<Args...> arguments;
  };
  std::shared_ptr<const State> state_;
};

/// (f(args...), pullback): pullback(g) = J^T g, one cotangent per argument.
template <class F, class... Args>
auto vjp(F&& f, const Args&... args) {
  detail::Scope scope;
  const std::tuple<const Args&...> arguments(args...);
  using All = std::index_sequence_for<Args...>;
  auto y = [&]<std::size_t... I>(std::index_sequence<I...> all) {
    return detail::call_traced<detail::Indices<I...>>(scope, f, arguments, all);
  }
  (All{});
  using Y = std::remove_cvref_t<decltype(y)>;
  static_assert(detail::is_real_tensor<Y>, "vjp needs a function that returns one Tensor<float> or Tensor<double>");
  detail::Recording recording = scope.close();
  return std::pair<Y, Pullback<Y, Args...>>(std::piecewise_construct, std::forward_as_tuple(recording.lift(y.handle())),
                                            std::forward_as_tuple(std::move(recording), std::move(y), args...));
}

/// (f(x), J v). `v` has the structure and the shapes of x; f may return a tensor or anything that holds tensors.
template <class F, class P>
auto jvp(F&& f, const P& x, const std::type_identity_t<P>& v, Caller where = Caller::here()) {
  if constexpr (requires { f.jvp(x, v, where); }) {
    if (!x.traced() && !v.traced()) return f.jvp(x, v, where);
  }
  detail::Scope scope(where);
  P traced = detail::traced_in(scope, x), direction = v;
  const detail::Handles tangents = detail::handles_of(direction);
  std::size_t k = 0;
  detail::for_each_tensor(traced, [&](const auto& t) {
    if (k < tangents.size()) detail::require_same_shape("a tangent", tangents[k].shape(), t.shape(), where);
    ++k;
  });
  if (k != tangents.size()) throw ShapeError("jvp" + to_string(where) + ": x and v hold different numbers of tensors");
  auto y = f(std::as_const(traced));
  const detail::Handles outputs = detail::handles_of(y);
  const detail::Recording recording = scope.close();
  detail::Handles results(outputs.size());
  detail::forward(recording, tangents, outputs, results);
  auto value = y;
  k = 0;
  detail::for_each_tensor(value, [&]<class T>(Tensor<T>& t) { t = Tensor<T>(recording.lift(outputs[k++])); });
  detail::Handle* next = results.data();
  return std::pair(std::move(value), detail::replaced(y, next));
}

/// The Hessian times a vector for a function with a scalar result, forward over reverse, at the cost of a few gradients
/// (Pearlmutter, Fast exact multiplication by the Hessian, 1994).
template <class F>
auto hvp(F f, Caller where = Caller::here()) {
  return [f = std::move(f), where]<class P>(const P& x, const std::type_identity_t<P>& v) {
    return jvp(grad(f, where), x, v, where).second;
  };
}

}  // namespace tapegrad
