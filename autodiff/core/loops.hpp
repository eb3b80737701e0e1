#pragma once
// Loops over all elements of tensors, through the door of command.hpp: for libraries that stand on this one.
//
//     loop("halve", where, [n = x.size()](T* at) { ... at[i] /= 2; }, updated(x, where));
//     const double largest = result_of("largest", where, [n = x.size()](const T* from) { ... }, x);
//     const Tensor<T> sums = tensor_of<T>({rows}, "sums", where, [rows](const T* from, T* to) { ... }, x);

#include <algorithm>

#include "../tensor.hpp"
#include "command.hpp"

namespace tapegrad::detail {

/// A tensor among the operands of a loop stands for reading its elements. Throws TapeError where they cannot be read.
template <class T>
In<T> operand(const Tensor<T>& x, const Caller& where) {
  return {x.data(where), x.size()};
}
template <class Access>
const Access& operand(const Access& access, const Caller&) {
  return access;
}

/// All elements of x, to be read and written; they are copied first when another handle shares them.
template <class T>
InOut<T> updated(Tensor<T>& x, const Caller& where) {
  return {x.mutable_data(where), x.size()};
}

template <class Body, class... Operands>
[[gnu::noinline, gnu::cold]] void observed_loop(const char* name, const Caller& where, const Body& body,
                                                const Operands&... operands) {
  const AtSite site(name, where);
  command(name, body, operands...);
}
/// body(elements of each operand...), a command of that name on the user's line.
template <class Body, class... Operands>
void loop(const char* name, const Caller& where, const Body& body, const Operands&... operands) {
  if (observed()) [[unlikely]]
    return observed_loop(name, where, body, operand(operands, where)...);
  body(operand(operands, where).data...);
}

/// What body(elements of each operand...) returns.
template <class Body, class... Operands>
auto result_of(const char* name, const Caller& where, const Body& body, const Operands&... operands) {
  using R = std::invoke_result_t<const Body&, decltype(operand(operands, where).data)...>;
  R result{};
  loop(
      name, where, [body](R* to, auto*... from) { *to = body(from...); }, Out<R>{&result, 1}, operands...);
  return result;
}

/// A new tensor: body(elements of each operand..., its own) sets its elements.
template <class R, class Body, class... Operands>
Tensor<R> tensor_of(const Shape& shape, const char* name, const Caller& where, const Body& body,
                    const Operands&... operands) {
  Handle out(allocate(dtype_of<R>, shape));
  loop(name, where, body, operands..., Out<R>{out.array()->template as<R>(), shape.count()});
  return Tensor<R>(std::move(out));
}

// ------------------------------------------------------------------------------------------------- by elements

/// f(element, index) for each element of x, in their order. It may throw.
template <class F, class T>
void visit(const char* name, const Caller& where, const F& f, const Tensor<T>& x) {
  const auto body = [f, n = x.size()](const T* from) {
    for (std::int64_t i = 0; i < n; ++i) f(from[i], i);
  };
  loop(name, where, body, x);
}

/// The indices i < n for which f(i, elements of each operand...) is true.
template <class F, class... Operands>
PoolVector<std::int64_t> indices_where(const char* name, const Caller& where, std::int64_t n, const F& f,
                                       const Operands&... operands) {
  const auto body = [f, n](const auto*... all) {
    PoolVector<std::int64_t> found;
    for (std::int64_t i = 0; i < n; ++i) {
      if (f(i, all...)) found.push_back(i);
    }
    return found;
  };
  return result_of(name, where, body, operands...);
}

/// A tensor of f(element) for each element of x.
template <class R, class F, class T>
Tensor<R> mapped(const char* name, const Caller& where, const F& f, const Tensor<T>& x) {
  const auto body = [f, n = x.size()](const T* from, R* to) { std::transform(from, from + n, to, f); };
  return tensor_of<R>(x.shape(), name, where, body, x);
}

/// Copies x into the elements of `whole` from `at` on.
template <class T>
void copy_into(const char* name, const Caller& where, const Tensor<T>& x, Tensor<T>& whole, std::int64_t at) {
  const auto body = [n = x.size()](const T* from, T* to) { std::copy_n(from, n, to); };
  loop(name, where, body, x, Out<T>{whole.mutable_data(where) + at, x.size()});
}

/// x = f(x, y...) for each element, in place. Each y has the size of x.
template <class F, class T, class... Y>
void change(const char* name, const Caller& where, const F& f, Tensor<T>& x, const Tensor<Y>&... y) {
  const auto body = [f, n = x.size()](T* to, const Y*... from) {
    for (std::int64_t i = 0; i < n; ++i) to[i] = f(to[i], from[i]...);
  };
  loop(name, where, body, updated(x, where), y...);
}

}  // namespace tapegrad::detail
