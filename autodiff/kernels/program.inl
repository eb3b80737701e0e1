#pragma once
// The loops of what only programs have, see ops/elementwise.hpp: of three operands, of which one of the first two may
// be a constant, and the third.

#include "elementwise.inl"

namespace tapegrad::kernels {
namespace {

template <class Op, class T, bool a_steps, bool b_steps>
inline void ternary_row(std::int64_t n, const Source<T>* in, T* out) {
  const RowOf<T, a_steps> a(in[0].data);
  const RowOf<T, b_steps> b(in[1].data);
  if (in[2].steps)
    value_row<Op>(n, out, a, b, RowOf<T, true>(in[2].data));
  else
    value_row<Op>(n, out, a, b, RowOf<T, false>(in[2].data));
}

template <class Op, class T>
[[gnu::flatten]] void ternary_value(std::int64_t, std::int64_t n, const Source<T>* in, T, T* out) {
  if (in[0].steps && in[1].steps)
    ternary_row<Op, T, true, true>(n, in, out);
  else if (in[0].steps)
    ternary_row<Op, T, true, false>(n, in, out);
  else
    ternary_row<Op, T, false, true>(n, in, out);
}

template <class T, class... Op>
inline constexpr std::array<ElementwiseKernel<T>, sizeof...(Op)> comparison_table(const std::tuple<Op...>*) {
  return {binary_value<Op, T>...};
}
template <class T, class... Op>
inline constexpr std::array<ElementwiseKernel<T>, sizeof...(Op)> ternary_table(const std::tuple<Op...>*) {
  return {ternary_value<Op, T>...};
}

template <class T>
inline constexpr auto comparison_kernels = comparison_table<T>(static_cast<const ops::Comparisons*>(nullptr));
template <class T>
inline constexpr auto ternary_kernels = ternary_table<T>(static_cast<const ops::Ternary*>(nullptr));

}  // namespace
}  // namespace tapegrad::kernels
