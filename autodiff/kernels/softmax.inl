#pragma once
// Softmax of rows and its relatives. exp only sees x - max(x) <= 0, and NaN and infinities find their own way: a NaN
// stays one, +inf - +inf and -inf - -inf become one, and the sum spreads it over the row.

#include "log.inl"
#include "sum.inl"

namespace tapegrad::kernels {
namespace {

// The maximum in every lane. NaN may or may not be seen: the caller's exp(x - m) meets it anyway.
template <class T>
inline Batch<T> shift_of_row(const T* x, std::int64_t n) {
  constexpr std::int64_t W = width<T>;
  const Batch<T> lowest(-infinity<T>);
  Batch<T> m0 = lowest, m1 = lowest, m2 = lowest, m3 = lowest;
  std::int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    m0 = xsimd::max(m0, load(x + i));
    m1 = xsimd::max(m1, load(x + i + W));
    m2 = xsimd::max(m2, load(x + i + 2 * W));
    m3 = xsimd::max(m3, load(x + i + 3 * W));
  }
  for (; i + W <= n; i += W) m0 = xsimd::max(m0, load(x + i));
  if (i < n) m1 = xsimd::max(m1, xsimd::select(first_lanes<T>(n - i), load(x + i), lowest));
  return max_across(xsimd::max(xsimd::max(m0, m1), xsimd::max(m2, m3)));
}

// A row of V vectors, the last of them partly used, kept in registers.
template <int V, class T>
inline void softmax_narrow(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t W = width<T>;
  const Mask<T> used = first_lanes<T>(cols - (V - 1) * W);
  for (std::int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
    Batch<T> e[V];
    unroll<V>([&](auto v) { e[v] = load(x + v * W); });
    e[V - 1] = xsimd::select(used, e[V - 1], Batch<T>(-infinity<T>));
    Batch<T> m = e[0];
    unroll<V>([&](auto v) { m = xsimd::max(m, e[v]); });
    m = max_across(m);
    Batch<T> sum = zero<T>();
    unroll<V>([&](auto v) { sum += e[v] = kernels::exp(e[v] - m); });
    const Batch<T> scale = Batch<T>(T{1}) / sum_across(sum);
    unroll<V>([&](auto v) { store(y + v * W, e[v] * scale); });
  }
}

template <class T>
inline void softmax_wide(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  for (std::int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const Batch<T> m = shift_of_row(x, cols);
    const Batch<T> sum = sum_terms<T>(cols, [=](std::int64_t i) {
      const Batch<T> e = kernels::exp(load(x + i) - m);
      store(y + i, e);
      return e;
    });
    const Batch<T> scale = Batch<T>(T{1}) / sum;
    for (std::int64_t i = 0; i < cols; i += width<T>) store(y + i, load(y + i) * scale);
  }
}

template <class T>
[[gnu::flatten]] void softmax(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  switch ((cols + width<T> - 1) / width<T>) {
    case 0:
      return;
    case 1:
      return softmax_narrow<1>(x, y, rows, cols);
    case 2:
      return softmax_narrow<2>(x, y, rows, cols);
    case 3:
      return softmax_narrow<3>(x, y, rows, cols);
    case 4:
      return softmax_narrow<4>(x, y, rows, cols);
    default:
      return softmax_wide(x, y, rows, cols);
  }
}

// Rows are taken a few at a time, so that one vector of logarithms serves several.
inline constexpr std::int64_t rows_at_a_time = 16;

template <class T>
[[gnu::flatten]] void log_softmax(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  T shift[rows_at_a_time], log_sum[rows_at_a_time] = {};
  for (std::int64_t begin = 0; begin < rows; begin += rows_at_a_time) {
    const std::int64_t n = std::min(rows_at_a_time, rows - begin);
    for (std::int64_t r = 0; r < n; ++r) {
      const T* row = x + (begin + r) * cols;
      const Batch<T> m = shift_of_row(row, cols);
      shift[r] = first(m);
      log_sum[r] = first(sum_terms<T>(cols, [=](std::int64_t i) { return kernels::exp(load(row + i) - m); }));
    }
    for (std::int64_t r = 0; r < n; r += width<T>) store(log_sum + r, kernels::log<T>(load(log_sum + r)));
    for (std::int64_t r = 0; r < n; ++r) {
      const Batch<T> m(shift[r]), log_s(log_sum[r]);
      const std::int64_t row = (begin + r) * cols;
      for (std::int64_t i = row; i < row + cols; i += width<T>) store(y + i, (load(x + i) - m) - log_s);
    }
  }
}

// m + log(sum exp(x - m)) holds for every finite m; with m = 0 where the maximum is infinite, +inf and a row of -inf
// give the limits.
template <class T>
[[gnu::flatten]] void logsumexp(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  T shift[rows_at_a_time] = {}, sum[rows_at_a_time] = {};
  for (std::int64_t begin = 0; begin < rows; begin += rows_at_a_time) {
    const std::int64_t n = std::min(rows_at_a_time, rows - begin);
    for (std::int64_t r = 0; r < n; ++r, x += cols) {
      Batch<T> m = shift_of_row(x, cols);
      m = xsimd::select(xsimd::abs(m) < Batch<T>(infinity<T>), m, zero<T>());
      shift[r] = first(m);
      sum[r] = first(sum_terms<T>(cols, [=](std::int64_t i) { return kernels::exp(load(x + i) - m); }));
    }
    for (std::int64_t r = 0; r < n; r += width<T>) store(y + begin + r, load(shift + r) + kernels::log<T>(load(sum + r)));
  }
}

template <int V, class T>
inline void softmax_product_narrow(const T* y, const T* g, T* out, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t W = width<T>;
  const Mask<T> used = first_lanes<T>(cols - (V - 1) * W);
  for (std::int64_t r = 0; r < rows; ++r, y += cols, g += cols, out += cols) {
    Batch<T> p[V], q[V];
    unroll<V>([&](auto v) {
      p[v] = load(y + v * W);
      q[v] = load(g + v * W);
    });
    Batch<T> dot = xsimd::select(used, p[V - 1] * q[V - 1], zero<T>());
    unroll<V - 1>([&](auto v) { dot = xsimd::fma(p[v], q[v], dot); });
    dot = sum_across(dot);
    unroll<V>([&](auto v) { store(out + v * W, p[v] * (q[v] - dot)); });
  }
}

template <class T>
inline void softmax_product_wide(const T* y, const T* g, T* out, std::int64_t rows, std::int64_t cols) {
  for (std::int64_t r = 0; r < rows; ++r, y += cols, g += cols, out += cols) {
    const Batch<T> dot = sum_terms<T>(cols, [=](std::int64_t i) { return load(y + i) * load(g + i); });
    for (std::int64_t i = 0; i < cols; i += width<T>) store(out + i, load(y + i) * (load(g + i) - dot));
  }
}

template <class T>
[[gnu::flatten]] void softmax_product(const T* y, const T* g, T* out, std::int64_t seeds, std::int64_t rows,
                                      std::int64_t cols) {
  for (std::int64_t s = 0; s < seeds; ++s, g += rows * cols, out += rows * cols) {
    switch ((cols + width<T> - 1) / width<T>) {
      case 0:
        return;
      case 1:
        softmax_product_narrow<1>(y, g, out, rows, cols);
        break;
      case 2:
        softmax_product_narrow<2>(y, g, out, rows, cols);
        break;
      case 3:
        softmax_product_narrow<3>(y, g, out, rows, cols);
        break;
      case 4:
        softmax_product_narrow<4>(y, g, out, rows, cols);
        break;
      default:
        softmax_product_wide(y, g, out, rows, cols);
    }
  }
}

}  // namespace
}  // namespace tapegrad::kernels
