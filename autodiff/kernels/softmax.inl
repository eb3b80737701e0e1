#pragma once
// Softmax of rows and its relatives. exp only sees x - max(x) <= 0. A NaN stays one, +inf - +inf becomes one, and the
// sum spreads it over the row. The maximum counts as finite from below, so that -inf stays -inf, also in a row of it
// alone, whose sum is 0.

#include "log.inl"
#include "sum.inl"

namespace tapegrad::kernels {
namespace {

// The maximum in every lane. NaN may or may not be seen: the caller's exp(x - m) meets it anyway.
template <class T>
inline Batch<T> shift_of_row(const T* x, std::int64_t n) {
  constexpr std::int64_t W = width<T>;
  const Batch<T> lowest(std::numeric_limits<T>::lowest());
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

// 1 / sum, finite where every term is 0.
template <class T>
inline Batch<T> inverse_sum(const Batch<T>& sum) {
  const Batch<T> one(T{1});
  return one / xsimd::select(sum == zero<T>(), one, sum);
}

// The maximum of a row of V vectors, `used` of the last one, in every lane.
template <int V, class T>
inline Batch<T> narrow_maximum(const Batch<T>* x, const Mask<T>& used) {
  const Batch<T> lowest(std::numeric_limits<T>::lowest());
  Batch<T> m = lowest;
  unroll<V - 1>([&](auto v) { m = xsimd::max(m, x[v]); });
  return max_across(xsimd::max(m, xsimd::select(used, x[V - 1], lowest)));
}

// A row of V vectors, the last of them partly used, kept in registers.
template <int V, class T>
inline void softmax_narrow(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t W = width<T>;
  const Mask<T> used = first_lanes<T>(cols - (V - 1) * W);
  for (std::int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
    Batch<T> e[V];
    unroll<V>([&](auto v) { e[v] = load(x + v * W); });
    const Batch<T> m = narrow_maximum<V>(e, used);
    // What is beside the row must not take exp out of its range.
    e[V - 1] = xsimd::select(used, e[V - 1], m);
    unroll<V>([&](auto v) { e[v] = kernels::exp(e[v] - m); });
    e[V - 1] = xsimd::select(used, e[V - 1], zero<T>());
    Batch<T> sum = zero<T>();
    unroll<V>([&](auto v) { sum += e[v]; });
    const Batch<T> scale = inverse_sum(sum_across(sum));
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
    const Batch<T> scale = inverse_sum(sum);
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

// Of a row: m, which is subtracted, and the sum of exp(x - m) without one of the elements that are m, so that log1p of
// it is log(sum) to the last digit also where the others hardly count; -1 where nothing is m, as in a row of -inf.
template <class T>
struct RowSum {
  T shift, others;
};

// m where it is to be subtracted from infinities: 0 instead of +inf, or of NaN, which the row's terms keep.
template <class T>
inline Batch<T> finite_shift(const Batch<T>& m) {
  return xsimd::select(m < Batch<T>(infinity<T>), m, zero<T>());
}

// Where there is a p, p becomes exp(x - m) over the sum.
template <int V, class T, class Shift>
inline RowSum<T> row_sum_narrow(const T* x, T* p, std::int64_t cols, Shift shift) {
  constexpr std::int64_t W = width<T>;
  const Mask<T> used = first_lanes<T>(cols - (V - 1) * W);
  const Batch<T> one(T{1});
  Batch<T> d[V], e[V], others = zero<T>(), largest = zero<T>();
  unroll<V>([&](auto v) { e[v] = load(x + v * W); });
  const Batch<T> m = shift(narrow_maximum<V>(e, used));
  unroll<V>([&](auto v) { d[v] = e[v] - m; });
  d[V - 1] = xsimd::select(used, d[V - 1], one);  // neither the largest nor out of exp's range
  unroll<V>([&](auto v) { e[v] = kernels::exp(d[v]); });
  e[V - 1] = xsimd::select(used, e[V - 1], zero<T>());
  unroll<V>([&](auto v) {
    const Mask<T> is_largest = d[v] == zero<T>();
    others += xsimd::select(is_largest, zero<T>(), e[v]);
    largest += xsimd::select(is_largest, one, zero<T>());
  });
  others = sum_across(others) + (sum_across(largest) - one);
  if (p) {
    const Batch<T> scale = inverse_sum(others + one);
    unroll<V>([&](auto v) { store(p + v * W, e[v] * scale); });
  }
  return {first(m), first(others)};
}

template <class T, class Shift>
inline RowSum<T> row_sum_wide(const T* x, T* p, std::int64_t cols, Shift shift) {
  const Batch<T> one(T{1}), m = shift(shift_of_row(x, cols));
  const Batch<T> largest =
      sum_terms<T>(cols, [=](std::int64_t i) { return xsimd::select(load(x + i) == m, one, zero<T>()); });
  const Batch<T> others = sum_terms<T>(cols,
                                       [=](std::int64_t i) {
                                         const Batch<T> d = load(x + i) - m, e = kernels::exp(d);
                                         if (p) store(p + i, e);
                                         return xsimd::select(d == zero<T>(), zero<T>(), e);
                                       }) +
                          (largest - one);
  if (p) {
    const Batch<T> scale = inverse_sum(others + one);
    for (std::int64_t i = 0; i < cols; i += width<T>) store(p + i, load(p + i) * scale);
  }
  return {first(m), first(others)};
}

template <class T, class Shift>
inline RowSum<T> row_sum(const T* x, T* p, std::int64_t cols, Shift shift) {
  switch ((cols + width<T> - 1) / width<T>) {
    case 1:
      return row_sum_narrow<1>(x, p, cols, shift);
    case 2:
      return row_sum_narrow<2>(x, p, cols, shift);
    case 3:
      return row_sum_narrow<3>(x, p, cols, shift);
    default:
      return row_sum_wide(x, p, cols, shift);
  }
}

// Rows are taken a few at a time, so that one vector of logarithms serves several.
inline constexpr std::int64_t rows_at_a_time = 16;

template <class T>
[[gnu::flatten]] void log_softmax(const T* x, T* y, T* p, std::int64_t rows, std::int64_t cols) {
  T shift[rows_at_a_time], log_sum[rows_at_a_time] = {};
  for (std::int64_t begin = 0; begin < rows; begin += rows_at_a_time) {
    const std::int64_t n = std::min(rows_at_a_time, rows - begin);
    for (std::int64_t r = 0; r < n; ++r) {
      const std::int64_t row = (begin + r) * cols;
      const RowSum<T> sum = row_sum(x + row, p ? p + row : nullptr, cols, [](const Batch<T>& m) { return m; });
      shift[r] = sum.shift;
      log_sum[r] = sum.others;
    }
    for (std::int64_t r = 0; r < n; r += width<T>) {
      const Batch<T> others = load(log_sum + r);
      store(log_sum + r, kernels::log1p<T>(xsimd::select(others < zero<T>(), zero<T>(), others)));
    }
    for (std::int64_t r = 0; r < n; ++r) {
      const Batch<T> m(shift[r]), log_s(log_sum[r]);
      const std::int64_t row = (begin + r) * cols;
      for (std::int64_t i = row; i < row + cols; i += width<T>) store(y + i, (load(x + i) - m) - log_s);
    }
  }
}

// m + log(sum exp(x - m)) holds for every finite m; with m = 0 where the maximum is +inf, it gives the limit, and
// beside +inf a slope of 0.
template <class T>
[[gnu::flatten]] void logsumexp(const T* x, T* y, T* p, std::int64_t rows, std::int64_t cols) {
  T shift[rows_at_a_time] = {}, sum[rows_at_a_time] = {};
  for (std::int64_t begin = 0; begin < rows; begin += rows_at_a_time) {
    const std::int64_t n = std::min(rows_at_a_time, rows - begin);
    for (std::int64_t r = 0; r < n; ++r) {
      const std::int64_t row = (begin + r) * cols;
      const RowSum<T> of_row = row_sum(x + row, p ? p + row : nullptr, cols, finite_shift<T>);
      shift[r] = of_row.shift;
      sum[r] = of_row.others;
    }
    for (std::int64_t r = 0; r < n; r += width<T>)
      store(y + begin + r, load(shift + r) + kernels::log1p<T>(load(sum + r)));
  }
}

// The products below take p = softmax(x) apart at its element above 1/2, if there is one: 1 - p there is the sum of the
// others, which keeps its digits where p has rounded to 1. A row whose sums are not finite is done again, one element
// after the other, with 0 times anything 0.

template <class T>
inline bool finite(const Batch<T>& v) {
  const T x = first(v);
  return x - x == T{0};
}

template <class T>
inline void softmax_product_strong(const T* y, const T* g, T* out, std::int64_t cols) {
  T dot = 0;
  for (std::int64_t i = 0; i < cols; ++i) dot += strong(y[i], g[i]);
  for (std::int64_t i = 0; i < cols; ++i) out[i] = strong(y[i], g[i] - dot);
}

template <class T>
inline void log_softmax_product_strong(const T* p, const T* g, T* out, std::int64_t cols) {
  T rest = 0, own = 0, others = 0;
  for (std::int64_t i = 0; i < cols; ++i) {
    const bool above = p[i] > T(0.5);
    (above ? own : others) += g[i];
    if (!above) rest += p[i];
  }
  for (std::int64_t i = 0; i < cols; ++i) {
    out[i] = p[i] > T(0.5) ? strong(g[i], rest) - strong(others, p[i]) : g[i] - strong(p[i], others + own);
  }
}

// With w = g - g_k for the element k above 1/2: y (g - <g, y>) = y (w - <w, y>), where w_k = 0.
template <int V, class T>
inline void softmax_product_narrow(const T* y, const T* g, T* out, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t W = width<T>;
  const Mask<T> used = first_lanes<T>(cols - (V - 1) * W);
  const Batch<T> half(T(0.5));
  for (std::int64_t r = 0; r < rows; ++r, y += cols, g += cols, out += cols) {
    Batch<T> p[V], q[V];
    unroll<V>([&](auto v) {
      p[v] = load(y + v * W);
      q[v] = load(g + v * W);
    });
    p[V - 1] = xsimd::select(used, p[V - 1], zero<T>());
    q[V - 1] = xsimd::select(used, q[V - 1], zero<T>());
    Batch<T> own = zero<T>();
    unroll<V>([&](auto v) { own += xsimd::select(p[v] > half, q[v], zero<T>()); });
    own = sum_across(own);
    Batch<T> dot = zero<T>();
    unroll<V>([&](auto v) { dot = xsimd::fma(p[v], q[v] -= own, dot); });
    dot = sum_across(dot);
    if (finite(dot))
      unroll<V>([&](auto v) { store(out + v * W, p[v] * (q[v] - dot)); });
    else
      softmax_product_strong(y, g, out, cols);
  }
}

template <class T>
inline void softmax_product_wide(const T* y, const T* g, T* out, std::int64_t rows, std::int64_t cols) {
  const Batch<T> half(T(0.5));
  for (std::int64_t r = 0; r < rows; ++r, y += cols, g += cols, out += cols) {
    const Batch<T> own =
        sum_terms<T>(cols, [=](std::int64_t i) { return xsimd::select(load(y + i) > half, load(g + i), zero<T>()); });
    const Batch<T> dot = sum_terms<T>(cols, [=](std::int64_t i) { return load(y + i) * (load(g + i) - own); });
    if (!finite(dot)) {
      softmax_product_strong(y, g, out, cols);
      continue;
    }
    for (std::int64_t i = 0; i < cols; i += width<T>) store(out + i, load(y + i) * ((load(g + i) - own) - dot));
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

// g - p sum(g); at the element k above 1/2: g_k sum of the other p - p_k sum of the other g.
template <int V, class T>
inline void log_softmax_product_narrow(const T* p, const T* g, T* out, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t W = width<T>;
  const Mask<T> used = first_lanes<T>(cols - (V - 1) * W);
  const Batch<T> half(T(0.5));
  for (std::int64_t r = 0; r < rows; ++r, p += cols, g += cols, out += cols) {
    Batch<T> a[V], b[V], rest = zero<T>(), others = zero<T>(), own = zero<T>();
    unroll<V>([&](auto v) {
      a[v] = load(p + v * W);
      b[v] = load(g + v * W);
    });
    a[V - 1] = xsimd::select(used, a[V - 1], zero<T>());
    b[V - 1] = xsimd::select(used, b[V - 1], zero<T>());
    unroll<V>([&](auto v) {
      const Mask<T> above = a[v] > half;
      rest += xsimd::select(above, zero<T>(), a[v]);
      others += xsimd::select(above, zero<T>(), b[v]);
      own += xsimd::select(above, b[v], zero<T>());
    });
    rest = sum_across(rest);
    others = sum_across(others);
    const Batch<T> sum = others + sum_across(own);
    if (finite(rest + sum)) {
      unroll<V>([&](auto v) {
        store(out + v * W, xsimd::select(a[v] > half, b[v] * rest - a[v] * others, b[v] - a[v] * sum));
      });
    } else {
      log_softmax_product_strong(p, g, out, cols);
    }
  }
}

template <class T>
inline void log_softmax_product_wide(const T* p, const T* g, T* out, std::int64_t rows, std::int64_t cols) {
  const Batch<T> half(T(0.5));
  for (std::int64_t r = 0; r < rows; ++r, p += cols, g += cols, out += cols) {
    const auto sum_where = [=](const T* x, bool above) {
      return sum_terms<T>(cols, [=](std::int64_t i) {
        const Batch<T> v = load(x + i);
        return above ? xsimd::select(load(p + i) > half, v, zero<T>())
                     : xsimd::select(load(p + i) > half, zero<T>(), v);
      });
    };
    const Batch<T> rest = sum_where(p, false), others = sum_where(g, false), sum = others + sum_where(g, true);
    if (!finite(rest + sum)) {
      log_softmax_product_strong(p, g, out, cols);
      continue;
    }
    for (std::int64_t i = 0; i < cols; i += width<T>) {
      const Batch<T> pi = load(p + i), gi = load(g + i);
      store(out + i, xsimd::select(pi > half, gi * rest - pi * others, gi - pi * sum));
    }
  }
}

template <class T>
[[gnu::flatten]] void log_softmax_product(const T* p, const T* g, T* out, std::int64_t seeds, std::int64_t rows,
                                          std::int64_t cols) {
  for (std::int64_t s = 0; s < seeds; ++s, g += rows * cols, out += rows * cols) {
    switch ((cols + width<T> - 1) / width<T>) {
      case 0:
        return;
      case 1:
        log_softmax_product_narrow<1>(p, g, out, rows, cols);
        break;
      case 2:
        log_softmax_product_narrow<2>(p, g, out, rows, cols);
        break;
      case 3:
        log_softmax_product_narrow<3>(p, g, out, rows, cols);
        break;
      default:
        log_softmax_product_wide(p, g, out, rows, cols);
    }
  }
}

}  // namespace
}  // namespace tapegrad::kernels
