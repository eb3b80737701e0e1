#pragma once
// SIMD vectors for the per-ISA files alone: their width follows the -march flags of the file that includes this.
// Everything here and in the kernels has internal linkage, and every kernel is flattened, so that no inline function
// remains that the linker could hand, compiled for AVX2, to code that must run without.

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

// In g++ [[gnu::flatten]] inlines the whole call tree, in clang only its first level.
#ifdef __clang__
#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)
#endif
#include <xsimd/xsimd.hpp>
#ifdef __clang__
#pragma clang attribute pop
#endif

namespace tapegrad::kernels {
namespace {

template <class T>
using Batch = xsimd::batch<T, xsimd::default_arch>;

template <class T>
using Mask = xsimd::batch_bool<T, xsimd::default_arch>;

template <class T>
inline constexpr std::int64_t width = static_cast<std::int64_t>(Batch<T>::size);

template <class T>
inline constexpr T infinity = std::numeric_limits<T>::infinity();

template <class T>
inline constexpr std::array<T, 16> lane_index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

template <class T>
inline Batch<T> load(const T* x) {
  return Batch<T>::load_unaligned(x);
}

template <class T>
inline void store(T* y, const Batch<T>& v) {
  v.store_unaligned(y);
}

template <class T>
inline Batch<T> zero() {
  return Batch<T>(T{0});
}

// f(0), ..., f(n - 1) without a loop, so that small arrays of vectors stay in registers.
template <int n, class F>
inline void unroll(F f) {
  [&]<int... i>(std::integer_sequence<int, i...>) { (f(std::integral_constant<int, i>{}), ...); }
  (std::make_integer_sequence<int, n>{});
}

// f(0), f(W), ... below n, four at a time: where f is a sum or a product, the loop itself would take a third.
template <class T, class F>
inline void each_vector(std::int64_t n, F f) {
  constexpr std::int64_t W = width<T>;
  std::int64_t i = 0;
  for (; i + 3 * W < n; i += 4 * W) unroll<4>([&](auto k) { f(i + k * W); });
  for (; i < n; i += W) f(i);
}

// f(j, n) for n vectors from element j on, `most` at a time and then what is left, as long as f gives true.
template <int most, class T, class F>
inline void each_group(std::int64_t cols, F f) {
  constexpr std::int64_t W = width<T>;
  std::int64_t j = 0;
  for (; j + (most - 1) * W < cols; j += most * W) {
    if (!f(j, std::integral_constant<int, most>{})) return;
  }
  const std::int64_t left = (cols - j + W - 1) / W;
  unroll<most - 1>([&](auto n) {
    if (left == n + 1) f(j, std::integral_constant<int, n + 1>{});
  });
}

// The lanes below n.
template <class T>
inline Mask<T> first_lanes(std::int64_t n) {
  return load(lane_index<T>.data()) < Batch<T>(static_cast<T>(n));
}

// The strong-zero product of ops/elementwise.hpp, of one element.
template <class T>
inline T strong(T a, T b) {
  const T product = a * b;
  return product == product || (a != 0 && b != 0) ? product : T{0};
}

template <class T>
inline T first(const Batch<T>& v) {
  const typename Batch<T>::register_type r = v;
  return r[0];
}

// Lane i takes lane i ^ distance.
template <std::size_t distance, class T, std::size_t... i>
inline Batch<T> exchange(const Batch<T>& v, std::index_sequence<i...>) {
  using Register = typename Batch<T>::register_type;
  const Register r = v;
  return Batch<T>(__builtin_shufflevector(r, r, static_cast<int>(i ^ distance)...));
}

// combine over all lanes, in every lane: a butterfly of log2(width) steps, for a commutative combine.
template <std::size_t distance = 1, class T, class Combine>
inline Batch<T> across(Batch<T> v, Combine combine) {
  if constexpr (distance < Batch<T>::size) {
    v = combine(v, exchange<distance>(v, std::make_index_sequence<Batch<T>::size>{}));
    return across<2 * distance>(v, combine);
  } else {
    return v;
  }
}

// One level of a tree over the lanes of a and b: in every group of 2 * distance lanes the first half holds a's, the
// second b's, each combined with the lanes `distance` further on.
template <std::size_t distance, class T, class Combine, std::size_t... i>
inline Batch<T> fold(const Batch<T>& a, const Batch<T>& b, Combine combine, std::index_sequence<i...>) {
  using Register = typename Batch<T>::register_type;
  constexpr std::size_t W = Batch<T>::size;
  const Register p = a, q = b;
  return combine(
      Batch<T>(__builtin_shufflevector(p, q, static_cast<int>((i / distance) % 2 == 0 ? i : W + i - distance)...)),
      Batch<T>(__builtin_shufflevector(p, q, static_cast<int>((i / distance) % 2 == 0 ? i + distance : W + i)...)));
}

// Lane r is the combination of all lanes of v[r], for as many vectors as there are lanes.
template <std::size_t distance = 1, class T, class Combine>
inline Batch<T> across_each(Batch<T>* v, Combine combine) {
  constexpr std::size_t W = Batch<T>::size;
  if constexpr (distance < W) {
    unroll<static_cast<int>(W / distance / 2)>(
        [&](auto r) { v[r] = fold<distance>(v[2 * r], v[2 * r + 1], combine, std::make_index_sequence<W>{}); });
    return across_each<2 * distance>(v, combine);
  } else {
    return v[0];
  }
}

// put(r, v, count): the lanes of row(r), row(r + 1), ... combined are the first `count` lanes of v.
template <class Row, class Combine, class Put>
inline void reduce_each(std::int64_t rows, Row row, Combine combine, Put put) {
  using V = decltype(row(0));
  constexpr std::int64_t W = static_cast<std::int64_t>(V::size);
  std::int64_t r = 0;
  for (; r + W <= rows; r += W) {
    V v[static_cast<std::size_t>(W)];
    unroll<static_cast<int>(W)>([&](auto i) { v[i] = row(r + i); });
    put(r, across_each(v, combine), W);
  }
  for (; r < rows; ++r) put(r, across(row(r), combine), 1);
}

template <class T>
inline Batch<T> sum_across(const Batch<T>& v) {
  return across(v, [](const Batch<T>& a, const Batch<T>& b) { return a + b; });
}

template <class T>
inline Batch<T> max_across(const Batch<T>& v) {
  return across(v, [](const Batch<T>& a, const Batch<T>& b) { return xsimd::max(a, b); });
}

}  // namespace
}  // namespace tapegrad::kernels
