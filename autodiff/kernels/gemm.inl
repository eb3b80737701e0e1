#pragma once
// Small matrix products. A tile of c, up to six rows by two vectors, stays in registers while k runs: nothing is
// packed, which pays as long as b stays in the cache (Goto & van de Geijn, Anatomy of high-performance matrix
// multiplication, 2008, whose micro-kernel this is).

#include "sum.inl"

namespace tapegrad::kernels {
namespace {

// c = v + beta c for the first `count` columns: the next row may already stand behind them.
template <class T>
inline void put(T* c, const Batch<T>& v, std::int64_t count, T beta) {
  if (count >= width<T>) {
    store(c, beta == 0 ? v : xsimd::fma(Batch<T>(beta), load(c), v));
    return;
  }
  T lanes[static_cast<std::size_t>(width<T>)];
  store(lanes, v);
  for (std::int64_t j = 0; j < count; ++j) c[j] = beta == 0 ? lanes[j] : lanes[j] + beta * c[j];
}

// Element (i, p) of op(a) is a[i * row + p * step].
template <class T, int rows, int vectors>
inline void gemm_tile(std::int64_t k, std::int64_t n, std::int64_t cols, const T* a, std::int64_t row,
                      std::int64_t step, const T* b, T beta, T* c) {
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
    unroll<vectors>([&](auto v) { put(c + i * n + v * width<T>, sum[i][v], cols - v * width<T>, beta); });
  });
}

template <class T, int rows>
inline void gemm_rows(std::int64_t k, std::int64_t n, const T* a, std::int64_t row, std::int64_t step, const T* b,
                      std::int64_t j, T beta, T* c) {
  const std::int64_t cols = n - j;
  if (cols > width<T>)
    gemm_tile<T, rows, 2>(k, n, cols, a, row, step, b + j, beta, c + j);
  else
    gemm_tile<T, rows, 1>(k, n, cols, a, row, step, b + j, beta, c + j);
}

// One row of c, eight vectors at a time: as many sums as hide the latency of an addition.
template <class T>
inline void gemm_row(std::int64_t k, std::int64_t n, const T* a, std::int64_t step, const T* b, T beta, T* c) {
  const auto tile = [&](auto vectors, std::int64_t j) {
    gemm_tile<T, 1, vectors>(k, n, n - j, a, 0, step, b + j, beta, c + j);
  };
  std::int64_t j = 0;
  for (; n - j >= 8 * width<T>; j += 8 * width<T>) tile(std::integral_constant<int, 8>{}, j);
  // No vector begins beyond the row: it might lie beyond b's padding.
  const std::int64_t left = (n - j + width<T> - 1) / width<T>;
  unroll<8>([&](auto i) {
    if (left == i + 1) tile(std::integral_constant<int, i + 1>{}, j);
  });
}

// k = 1. Without beta a row may spill into those after it, which are written afterwards.
template <class T>
inline void outer_product(std::int64_t m, std::int64_t n, const T* a, const T* b, T beta, T* c) {
  for (std::int64_t i = 0; i < m; ++i, c += n) {
    const Batch<T> ai(a[i]);
    const std::int64_t free = (m - 1 - i) * n >= width<T> ? n : n - width<T> + 1;
    std::int64_t j = 0;
    if (beta == 0) {
      for (; j < free; j += width<T>) store(c + j, ai * load(b + j));
    }
    for (; j < n; j += width<T>) put(c + j, ai * load(b + j), n - j, beta);
  }
}

template <class T>
[[gnu::flatten]] void gemm(bool transpose_a, std::int64_t m, std::int64_t n, std::int64_t k, const T* a, const T* b,
                           T beta, T* c) {
  const std::int64_t row = transpose_a ? 1 : k, step = transpose_a ? m : 1;
  if (k == 1) return outer_product(m, n, a, b, beta, c);
  if (m == 1) return gemm_row(k, n, a, step, b, beta, c);
  for (std::int64_t j = 0; j < n; j += 2 * width<T>) {
    std::int64_t i = 0;
    for (; i + 6 <= m; i += 6) gemm_rows<T, 6>(k, n, a + i * row, row, step, b, j, beta, c + i * n);
    switch (m - i) {
      case 5:
        gemm_rows<T, 5>(k, n, a + i * row, row, step, b, j, beta, c + i * n);
        break;
      case 4:
        gemm_rows<T, 4>(k, n, a + i * row, row, step, b, j, beta, c + i * n);
        break;
      case 3:
        gemm_rows<T, 3>(k, n, a + i * row, row, step, b, j, beta, c + i * n);
        break;
      case 2:
        gemm_rows<T, 2>(k, n, a + i * row, row, step, b, j, beta, c + i * n);
        break;
      case 1:
        gemm_rows<T, 1>(k, n, a + i * row, row, step, b, j, beta, c + i * n);
        break;
      default:
        break;
    }
  }
}

template <class T>
[[gnu::flatten]] void gemv(std::int64_t rows, std::int64_t k, const T* a, const T* x, T beta, T* y) {
  const auto dot = [=](std::int64_t r) {
    const T* from = a + r * k;
    return sum_lanes<T>(k, [=](std::int64_t p) { return load(from + p) * load(x + p); });
  };
  reduce_each(
      rows, dot, [](const Batch<T>& p, const Batch<T>& q) { return p + q; },
      [=](std::int64_t r, const Batch<T>& v, std::int64_t count) { put(y + r, v, count, beta); });
}

}  // namespace
}  // namespace tapegrad::kernels
