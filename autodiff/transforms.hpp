#pragma once
// Derivatives of functions: grad, value_and_grad, elementwise_grad, vjp, jvp, hvp. (jacobian and hessian are in
// jacobian.hpp.) Each takes an ordinary function of tensors and returns one, so that they nest: grad(grad(f)).
//
//     auto f = [](const Tensor<>& w, const Tensor<>& x) { return sum(square(tanh(x * w))); };
//     Tensor<> dw = grad(f)(w, x);                       // with respect to the first argument
//     Tensor<> dx = grad<1>(f)(w, x);                    // with respect to the second
//     auto [c, g] = value_and_grad(f)(w, x);
//     auto [y, pullback] = vjp(f, w, x);   auto [y2, dy] = jvp<0, 1>(f)(w, x, v_w, v_x);
//
// Arguments that are differentiated may be anything parameters.hpp lists; the gradient has the same type. Source of the
// method: Griewank & Walther, Evaluating Derivatives, 2nd ed., chapters 3 and 4.

#include <algorithm>
#include <array>
#include <cstdint>
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

/// Throw when the result of the function is a tensor that was never given a value; when it is no scalar.
TAPEGRAD_EXPORT void require_value(const char* operation, const Handle& result, const Caller& where);
TAPEGRAD_EXPORT void require_scalar(const char* operation, const Handle& result, const Caller& where);
/// Throws ShapeError, naming the operation and what its argument is.
TAPEGRAD_EXPORT void require_same_shape(const char* operation, const char* what, const Shape& given,
                                        const Shape& expected, const Caller& where);
[[noreturn]] TAPEGRAD_EXPORT void throw_other_tangents(const char* operation, const Caller& where);

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
constexpr bool are_distinct() {
  constexpr std::array<std::size_t, sizeof...(I)> all{I...};
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (all[i] == all[j]) return false;
    }
  }
  return true;
}

template <std::size_t... I>
struct Indices {
  static_assert(are_distinct<I...>(),
                "a derivative by the same argument is asked for twice: grad<0, 1>, not grad<0, 0>");
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

/// What is differentiated of a result: all, or the first of a pair or tuple.
template <class Y>
const auto& loss_of(const Y& y) {
  if constexpr (TupleLike<Y> && !Range<Y>)
    return std::get<0>(y);
  else
    return y;
}

template <std::size_t... I, class F, class... Args>
auto value_and_gradients(const char* operation, F& f, const Caller& where, const Args&... args) {
  const std::tuple<const Args&...> arguments(args...);
  Scope scope(where);
  std::array<std::size_t, sizeof...(Args)> first{};
  auto y = call_traced<Indices<I...>>(scope, f, arguments, std::index_sequence_for<Args...>{}, &first);
  const auto& loss = loss_of(y);
  using Loss = std::remove_cvref_t<decltype(loss)>;
  static_assert(is_real_tensor<Loss>,
                "grad needs a function that returns a Tensor<float> or Tensor<double>, or a pair or tuple that begins "
                "with one");
  require_scalar(operation, loss.handle(), where);
  const Recording recording = scope.close();
  const Handle seed = ones<typename Loss::value_type>(loss.shape()).handle();
  Handles gradients(recording.inputs());
  detail::reverse(recording, {&loss.handle(), 1}, {&seed, 1}, gradients);
  auto gradient_of = [&](std::size_t argument, const auto& of) {
    Handle* next = gradients.data() + first[argument];
    return replaced(of, next);
  };
  std::tuple<std::remove_cvref_t<std::tuple_element_t<I, std::tuple<Args...>>>...> all{
      gradient_of(I, std::get<I>(arguments))...};
  for_each_tensor<Others::skipped>(y, [&]<class T>(Tensor<T>& t) { t = Tensor<T>(recording.lift(t.handle())); });
  return std::pair(std::move(y), one_or_tuple(std::move(all)));
}

}  // namespace detail

/// (value, gradient) of a function with a scalar result, by running it once and sweeping once in reverse. The template
/// arguments are the numbers of the arguments to differentiate by, by default the first; several give a tuple in their
/// order. Throws TapeError, which points to jacobian, if the result is not a scalar.
template <std::size_t... I, class F>
auto value_and_grad(F f, Caller where = Caller::here()) {
  return [f = std::move(f), where](const auto&... args) {
    if constexpr (sizeof...(I) == 0)
      return detail::value_and_gradients<0>("grad", f, where, args...);
    else
      return detail::value_and_gradients<I...>("grad", f, where, args...);
  };
}

/// The gradient alone, of the loss where f returns more.
template <std::size_t... I, class F>
auto grad(F f, Caller where = Caller::here()) {
  return [g = value_and_grad<I...>(std::move(f), where)](const auto&... args) { return g(args...).second; };
}

/// The derivative of the sum of the outputs, which is f'(x) for a function that acts on each element separately.
template <class F>
auto elementwise_grad(F f, Caller where = Caller::here()) {
  return [f = std::move(f), where](const auto& x, const auto&... more) {
    return grad([&](const auto& traced) { return sum(f(traced, more...), {}, KeepDims::no, where); }, where)(x);
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
    const std::int64_t seeds = std::max<std::int64_t>(given.rank() - shape.rank(), 0);
    if (!given.ends_with(shape)) detail::require_same_shape("the pullback of vjp", "a cotangent", given, shape, where);
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
  detail::require_value("vjp", y.handle(), {});
  detail::Recording recording = scope.close();
  detail::Handle value = recording.lift(y.handle());
  return std::pair<Y, Pullback<Y, Args...>>(std::piecewise_construct, std::forward_as_tuple(std::move(value)),
                                            std::forward_as_tuple(std::move(recording), std::move(y), args...));
}

namespace detail {

/// (f, the sum of J_i v_i) over the arguments numbered I, whose tangents v_i are.
template <std::size_t... I, class F, class Arguments, class Tangents>
auto push_forward(const char* operation, F& f, const Caller& where, const Arguments& arguments,
                  const Tangents& tangents) {
  constexpr std::size_t n = std::tuple_size_v<Arguments>;
  Scope scope(where);
  std::array<std::size_t, n> first{};
  auto y = call_traced<Indices<I...>>(scope, f, arguments, std::make_index_sequence<n>{}, &first);
  const Handles outputs = handles_of(y);
  if constexpr (is_real_tensor<decltype(y)>) require_value(operation, y.handle(), where);
  const Recording recording = scope.close();
  Handles directions(recording.inputs()), results(outputs.size());
  const auto place = [&]<class P>(std::size_t input, const P& argument, std::type_identity_t<P> tangent) {
    Handles given = handles_of(tangent);
    if constexpr (!is_real_tensor<P>) {
      P of_argument = argument, of_tangent = tangent;
      if (!same_keys(of_argument, of_tangent)) throw_other_tangents(operation, where);
    }
    for (Handle& v : given) {
      require_same_shape(operation, "a tangent", v.shape(), recording.input(input).shape, where);
      directions[input++] = std::move(v);
    }
  };
  std::apply([&](const auto&... v) { (place(first[I], std::get<I>(arguments), v), ...); }, tangents);
  forward(recording, directions, outputs, results);
  auto value = y;
  std::size_t k = 0;
  for_each_tensor(value, [&]<class T>(Tensor<T>& t) { t = Tensor<T>(recording.lift(outputs[k++])); });
  Handle* next = results.data();
  return std::pair(std::move(value), replaced(y, next));
}

/// The same of all arguments, which the tangents follow.
template <std::size_t... I, class F, class... All>
auto push_forward_all(const char* operation, F& f, const Caller& where, const All&... all) {
  constexpr bool enough = ((I + sizeof...(I) < sizeof...(All)) && ...);
  static_assert(
      enough, "a tangent for each argument that is differentiated follows all arguments: jvp<0, 1>(f)(a, b, v_a, v_b)");
  if constexpr (enough) {
    constexpr std::size_t n = sizeof...(All) - sizeof...(I);
    const std::tuple<const All&...> both(all...);
    const auto from = [&both]<std::size_t first, std::size_t... k>(std::integral_constant<std::size_t, first>,
                                                                   std::index_sequence<k...>) {
      return std::tie(std::get<first + k>(both)...);
    };
    return push_forward<I...>(operation, f, where,
                              from(std::integral_constant<std::size_t, 0>{}, std::make_index_sequence<n>{}),
                              from(std::integral_constant<std::size_t, n>{}, std::make_index_sequence<sizeof...(I)>{}));
  }
}

}  // namespace detail

/// (f(x), J v). `v` holds tensors as x does, of the same shapes; f may return a tensor or anything that holds tensors.
/// Throws ShapeError where the shapes differ.
template <class F, class P>
auto jvp(F&& f, const P& x, const std::type_identity_t<P>& v, Caller where = Caller::here()) {
  if constexpr (requires { f.jvp(x, v, where); }) {
    if (!x.traced() && !v.traced()) return f.jvp(x, v, where);
  }
  return detail::push_forward<0>("jvp", f, where, std::tie(x), std::tie(v));
}

/// The same of a function of several arguments: jvp<0, 1>(f)(a, b, v_a, v_b) is (f(a, b), J_a v_a + J_b v_b). Template
/// arguments are the numbers of the arguments to differentiate, by default the first; their tangents follow all
/// arguments, in the same order.
template <std::size_t... I, class F>
auto jvp(F f, Caller where = Caller::here()) {
  return [f = std::move(f), where](const auto&... all) {
    if constexpr (sizeof...(I) == 0)
      return detail::push_forward_all<0>("jvp", f, where, all...);
    else
      return detail::push_forward_all<I...>("jvp", f, where, all...);
  };
}

/// Hessian times vector of a function with a scalar result, forward over reverse: the price of a few gradients
/// (Pearlmutter, Fast exact multiplication by the Hessian, 1994). hvp(f)(x, v) has the type of x. Of several arguments,
/// hvp<0, 1>(f)(a, b, v_a, v_b) is the tuple (H_aa v_a + H_ab v_b, H_ba v_a + H_bb v_b), as in jvp. Throws ShapeError
/// where a tangent has not its argument's shape, TapeError when the result is not a scalar.
template <std::size_t... I, class F>
auto hvp(F f, Caller where = Caller::here()) {
  return [gradient = grad<I...>(std::move(f), where), where](const auto&... all) {
    if constexpr (sizeof...(I) == 0)
      return detail::push_forward_all<0>("hvp", gradient, where, all...).second;
    else
      return detail::push_forward_all<I...>("hvp", gradient, where, all...).second;
  };
}

}  // namespace tapegrad
