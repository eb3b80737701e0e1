#pragma once
// The loops of what only programs have, see ops/elementwise.hpp: of two or three operands, any of which may be a constant.

#include "elementwise.inl"

namespace tapegrad::kernels {
namespace {

template <class Op, class T, bool... steps, class... Pointer>
inline void program_row(std::int64_t n, T* out, Pointer... in) {
  for (std::int64_t j = 0; j < n; j += width<T>) store(out + j, Op::value(load<T, steps>(in, j)...));
}

template <class Op, class T>
[[gnu::flatten]] void comparison(std::int64_t, std::int64_t n, const Source<T>* in, T, T* out) {
  if (in[0].steps && in[1].steps) program_row<Op, T, true, true>(n, out, in[0].data, in[1].data);
  else if (in[0].steps) program_row<Op, T, true, false>(n, out, in[0].data, in[1].data);
  else program_row<Op, T, false, true>(n, out, in[0].data, in[1].data);
}

template <class Op, class T, bool a_steps, bool b_steps>
inline void ternary_row(std::int64_t n, const Source<T>* in, T* out) {
  if (in[2].steps) program_row<Op, T, a_steps, b_steps, true>(n, out, in[0].data, in[1].data, in[2].data);
  else program_row<Op, T, a_steps, b_steps, false>(n, out, in[0].data, in[1].data, in[2].data);
}

template <class Op, class T>
[[gnu::flatten]] void ternary(std::int64_t, std::int64_t n, const Source<T>* in, T, T* out) {
  if (in[0].steps && in[1].steps) ternary_row<Op, T, true, true>(n, in, out);
  else if (in[0].steps) ternary_row<Op, T, true, false>(n, in, out);
  else ternary_row<Op, T, false, true>(n, in, out);
}

template <class T, class... Op>
inline constexpr std::array<ElementwiseKernel<T>, sizeof...(Op)> comparison_table(const std::tuple<Op...>*) {
  return {comparison<Op, T>...};
}
template <class T, class... Op>
inline constexpr std::array<ElementwiseKernel<T>, sizeof...(Op)> ternary_table(const std::tuple<Op...>*) {
  return {ternary<Op, T>...};
}

template <class T>
inline constexpr auto comparison_kernels = comparison_table<T>(static_cast<const ops::Comparisons*>(nullptr));
template <class T>
inline constexpr auto ternary_kernels = ternary_table<T>(static_cast<const ops::Ternary*>(nullptr));

}  // namespace
}  // namespace tapegrad::kernels
