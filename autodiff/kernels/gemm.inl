#pragma once
// Small matrix products. A tile of c, up to six rows by two vectors, stays in registers while k runs: nothing is packed,
// which pays as long as b stays in the cache (Goto & van de Geijn, Anatomy of high-performance matrix multiplication,
// 2008, whose micro-kernel this is).

#include "simd.hpp"

namespace tapegrad::kernels {
namespace {

// Columns at the end of a row are stored alone: the next row may already stand behind them.
template <class T>
inline void store_first(T* c, const Batch<T>& v, std::int64_t count) {
  if (count >= width<T>) {
    store(c, v);
    return;
  }
  T lanes[static_cast<std::size_t>(width<T>)];
  store(lanes, v);
  for (std::int64_t j = 0; j < count; ++j) c[j] = lanes[j];
}

// Element (i, p) of op(a) is a[i * row + p * step].
template <class T, int rows, int vectors>
inline void gemm_tile(std::int64_t k, std::int64_t n, std::int64_t cols, const T* a, std::int64_t row,
                      std::int64_t step, const T* b, T* c) {
  // Unrolled by hand: g++ leaves the sums in memory otherwise.
  Batch<T> sum[rows][vectors];
  unroll<rows>([&](auto i) { unroll<vectors>([&](auto v) { sum[i][v] = zero<T>(); }); });
  for (std::int64_t p = 0; p < k; ++p, a += step, b += n) {
    Batch<T> bp[vectors];
    unroll<vectors>([&](auto v) { bp[v] = load(b + v * width<T>); });
    unroll<rows>([&](auto i) {
      const Batch<T> ai(a[i * row]);
      unroll<vectors>([&](auto v) { sum[i][v] = xsimd::fma(ai, bp[v], sum[i][v]); });
    });
  }
  unroll<rows>([&](auto i) {
    unroll<vectors>([&](auto v) { store_first(c + i * n + v * width<T>, sum[i][v], cols - v * width<T>); });
  });
}

template <class T, int rows>
inline void gemm_rows(std::int64_t k, std::int64_t n, const T* a, std::int64_t row, std::int64_t step, const T* b,
                      std::int64_t j, T* c) {
  const std::int64_t cols = n - j;
  if (cols > width<T>) gemm_tile<T, rows, 2>(k, n, cols, a, row, step, b + j, c + j);
  else gemm_tile<T, rows, 1>(k, n, cols, a, row, step, b + j, c + j);
}

template <class T>
[[gnu::flatten]] void gemm(bool transpose_a, std::int64_t m, std::int64_t n, std::int64_t k, const T* a, const T* b,
                           T* c) {
  const std::int64_t row = transpose_a ? 1 : k, step = transpose_a ? m : 1;
  for (std::int64_t j = 0; j < n; j += 2 * width<T>) {
    std::int64_t i = 0;
    for (; i + 6 <= m; i += 6) gemm_rows<T, 6>(k, n, a + i * row, row, step, b, j, c + i * n);
    switch (m - i) {
      case 5: gemm_rows<T, 5>(k, n, a + i * row, row, step, b, j, c + i * n); break;
      case 4: gemm_rows<T, 4>(k, n, a + i * row, row, step, b, j, c + i * n); break;
      case 3: gemm_rows<T, 3>(k, n, a + i * row, row, step, b, j, c + i * n); break;
      case 2: gemm_rows<T, 2>(k, n, a + i * row, row, step, b, j, c + i * n); break;
      case 1: gemm_rows<T, 1>(k, n, a + i * row, row, step, b, j, c + i * n); break;
      default: break;
    }
  }
}

}  // namespace
}  // namespace tapegrad::kernels
