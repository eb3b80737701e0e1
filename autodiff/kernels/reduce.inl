#pragma once
// Reductions and running sums of (outer, count, inner) along the middle axis. Columns are the inner axis.

#include "sum.inl"

namespace tapegrad::kernels {
namespace {

// Sums `rows` rows of V vectors each, a stride apart; 8 accumulators whatever V is.
template <int V, class T>
inline void sum_rows(const T* x, std::int64_t rows, std::int64_t stride, Batch<T>* sum) {
  constexpr int U = 8 / V;  // rows at a time
  Batch<T> s[U * V];
  unroll<U * V>([&](auto i) { s[i] = zero<T>(); });
  std::int64_t row = 0;
  for (; row + U <= rows; row += U) {
    unroll<U * V>([&](auto i) { s[i] += load(x + (row + i / V) * stride + i % V * width<T>); });
  }
  for (; row < rows; ++row) {
    unroll<V>([&](auto v) { s[v] += load(x + row * stride + v * width<T>); });
  }
  unroll<V>([&](auto v) {
    if constexpr (U == 8) {
      sum[v] = ((s[v] + s[v + V]) + (s[v + 2 * V] + s[v + 3 * V])) +
               ((s[v + 4 * V] + s[v + 5 * V]) + (s[v + 6 * V] + s[v + 7 * V]));
    } else if constexpr (U == 4) {
      sum[v] = (s[v] + s[v + V]) + (s[v + 2 * V] + s[v + 3 * V]);
    } else {
      sum[v] = s[v];
    }
  });
}

// y (inner) = sum of the rows of x (count, inner): tiles of columns, in each a block of rows at a time.
template <class T>
inline void sum_columns(const T* x, T* y, std::int64_t count, std::int64_t inner) {
  constexpr std::int64_t W = width<T>, block = 16;  // rows
  constexpr int tile = 128;                         // vectors: wide, so that memory is read nearly in order
  for (std::int64_t column = 0; column < inner; column += tile * W) {
    const int vectors = static_cast<int>(std::min<std::int64_t>(tile, (inner - column + W - 1) / W));
    Cascade<T, tile> cascade(vectors);
    Batch<T> sum[tile];
    for (std::int64_t row = 0; row < count; row += block) {
      const T* corner = x + row * inner + column;
      const std::int64_t rows = std::min(block, count - row);
      int j = 0;
      for (; j + 8 <= vectors; j += 8) sum_rows<8>(corner + j * W, rows, inner, sum + j);
      for (; j + 2 <= vectors; j += 2) sum_rows<2>(corner + j * W, rows, inner, sum + j);
      if (j < vectors) sum_rows<1>(corner + j * W, rows, inner, sum + j);
      if (count > block) cascade.add(sum);
    }
    for (int j = 0; j < vectors; ++j) store(y + column + j * W, count > block ? cascade.total(j) : sum[j]);
  }
}

// y (rows) from rows of x (rows, cols): those of up to four vectors stay in registers, the last of them filled up with
// `neutral`; longer ones are reduced to one vector by `row`.
template <class T, class Row, class Combine>
inline void reduce_rows(const T* x, T* y, std::int64_t rows, std::int64_t cols, T neutral, Combine combine, Row row) {
  const auto put = [=](std::int64_t r, const Batch<T>& v, std::int64_t count) {
    if (count == 1)
      y[r] = first(v);
    else
      store(y + r, v);
  };
  const auto narrow = [=](auto vectors) {
    constexpr int V = vectors, W = static_cast<int>(width<T>);
    const Mask<T> used = first_lanes<T>(cols - (V - 1) * W);
    reduce_each(
        rows,
        [=](std::int64_t r) {
          const T* from = x + r * cols;
          Batch<T> v = xsimd::select(used, load(from + (V - 1) * W), Batch<T>(neutral));
          unroll<V - 1>([&](auto i) { v = combine(v, load(from + i * W)); });
          return v;
        },
        combine, put);
  };
  switch ((cols + width<T> - 1) / width<T>) {
    case 1:
      return narrow(std::integral_constant<int, 1>{});
    case 2:
      return narrow(std::integral_constant<int, 2>{});
    case 3:
      return narrow(std::integral_constant<int, 3>{});
    case 4:
      return narrow(std::integral_constant<int, 4>{});
    default:
      return reduce_each(
          rows, [=](std::int64_t r) { return row(x + r * cols); }, combine, put);
  }
}

template <class T>
[[gnu::flatten]] void sum(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner) {
  if (count == 0) {
    for (std::int64_t i = 0; i < outer * inner; ++i) y[i] = T{0};
  } else if (inner == 1) {
    reduce_rows(
        x, y, outer, count, T{0}, [](const Batch<T>& a, const Batch<T>& b) { return a + b; },
        [=](const T* row) { return sum_lanes<T>(count, [row](std::int64_t i) { return load(row + i); }); });
  } else {
    for (std::int64_t o = 0; o < outer; ++o) sum_columns(x + o * count * inner, y + o * inner, count, inner);
  }
}

// An x86 maximum or minimum is its second operand when either is NaN, and so would forget a NaN in the first.
struct Largest {
  template <class T>
  static constexpr T neutral = -infinity<T>;
  template <class T>
  static inline Batch<T> of(const Batch<T>& a, const Batch<T>& b) {
    return xsimd::select(a == a, xsimd::max(a, b), a);
  }
};
struct Smallest {
  template <class T>
  static constexpr T neutral = infinity<T>;
  template <class T>
  static inline Batch<T> of(const Batch<T>& a, const Batch<T>& b) {
    return xsimd::select(a == a, xsimd::min(a, b), a);
  }
};

template <class Extreme, class T>
inline Batch<T> extreme_lanes(const T* x, std::int64_t n) {
  constexpr std::int64_t W = width<T>;
  const Batch<T> neutral(Extreme::template neutral<T>);
  Batch<T> m[4];
  unroll<4>([&](auto k) { m[k] = neutral; });
  std::int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    unroll<4>([&](auto k) { m[k] = Extreme::of(m[k], load(x + i + k * W)); });
  }
  for (; i + W <= n; i += W) m[0] = Extreme::of(m[0], load(x + i));
  if (i < n) m[1] = Extreme::of(m[1], xsimd::select(first_lanes<T>(n - i), load(x + i), neutral));
  return Extreme::of(Extreme::of(m[0], m[1]), Extreme::of(m[2], m[3]));
}

// V vectors of columns; the rows after the first join what y holds.
template <class Extreme, int V, class T>
inline void extreme_columns(const T* x, T* y, std::int64_t rows, std::int64_t stride, bool first) {
  Batch<T> m[V];
  unroll<V>([&](auto v) { m[v] = first ? Batch<T>(Extreme::template neutral<T>) : load(y + v * width<T>); });
  for (std::int64_t row = 0; row < rows; ++row) {
    unroll<V>([&](auto v) { m[v] = Extreme::of(m[v], load(x + row * stride + v * width<T>)); });
  }
  unroll<V>([&](auto v) { store(y + v * width<T>, m[v]); });
}

template <class Extreme, class T>
[[gnu::flatten]] void extreme(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner) {
  if (inner == 1) {
    reduce_rows(
        x, y, outer, count, Extreme::template neutral<T>,
        [](const Batch<T>& a, const Batch<T>& b) { return Extreme::of(a, b); },
        [=](const T* row) { return extreme_lanes<Extreme>(row, count); });
    return;
  }
  constexpr std::int64_t W = width<T>, block = 16;  // rows: memory is read nearly in order
  for (std::int64_t o = 0; o < outer; ++o, x += count * inner, y += inner) {
    for (std::int64_t row = 0; row < count; row += block) {
      const T* from = x + row * inner;
      const std::int64_t rows = std::min(block, count - row);
      std::int64_t j = 0;
      for (; j + 4 * W <= inner; j += 4 * W) extreme_columns<Extreme, 4>(from + j, y + j, rows, inner, row == 0);
      for (; j < inner; j += W) extreme_columns<Extreme, 1>(from + j, y + j, rows, inner, row == 0);
    }
  }
}

// Where x is what is wanted, NaN where that is one.
template <class T>
inline Mask<T> is_wanted(const Batch<T>& x, const Batch<T>& wanted) {
  return (x == wanted) | (xsimd::isnan(wanted) & xsimd::isnan(x));
}
template <class T>
inline bool is_wanted(T x, T wanted) {
  return x == wanted || (wanted != wanted && x != x);
}

// The first `lanes` columns of a vector, down the rows until each has found what it wants.
template <class T>
inline void find_columns(const T* x, const T* wanted, std::int64_t* position, std::int64_t lanes, std::int64_t inner) {
  const Batch<T> w = load(wanted), one(T{1});
  T open[static_cast<std::size_t>(width<T>)] = {};
  for (std::int64_t l = 0; l < lanes; ++l) open[l] = T{1};
  Mask<T> looking = load(open) == one;
  for (std::int64_t at = 0, left = lanes; left > 0; at += inner) {
    if (!xsimd::any(is_wanted(load(x + at), w) & looking)) continue;
    for (std::int64_t l = 0; l < lanes; ++l) {
      if (open[l] == 0 || !is_wanted(x[at + l], wanted[l])) continue;
      position[l] = at + l;
      open[l] = 0;
      --left;
    }
    looking = load(open) == one;
  }
}

template <class T>
[[gnu::flatten]] void find(const T* x, const T* y, std::int64_t* position, std::int64_t outer, std::int64_t count,
                           std::int64_t inner) {
  constexpr std::int64_t W = width<T>;
  for (std::int64_t o = 0; o < outer; ++o) {
    const std::int64_t begin = o * count * inner;
    if (inner == 1) {
      // The first vector in which anything is wanted holds it, before what may stand behind the row.
      const Batch<T> wanted(y[o]);
      std::int64_t i = begin;
      while (!xsimd::any(is_wanted(load(x + i), wanted))) i += W;
      while (!is_wanted(x[i], y[o])) ++i;
      position[o] = i;
      continue;
    }
    for (std::int64_t j = 0; j < inner; j += W) {
      const std::int64_t lanes = std::min(W, inner - j), to = o * inner + j;
      find_columns(x + begin + j, y + to, position + to, lanes, inner);
      for (std::int64_t l = 0; l < lanes; ++l) position[to + l] += begin + j;
    }
  }
}

// y may be a part of something larger, or followed by the next row, so the lanes beyond n keep their bits.
template <class T, class Term>
inline void add_row(T* y, std::int64_t n, Term term) {
  constexpr std::int64_t W = width<T>;
  std::int64_t i = 0;
  for (; i + W <= n; i += W) store(y + i, load(y + i) + term(i));
  if (i < n) {
    const Batch<T> old = load(y + i);
    store(y + i, xsimd::select(first_lanes<T>(n - i), old + term(i), old));
  }
}

template <class T>
[[gnu::flatten]] void add_to(T* y, const T* x, std::int64_t n) {
  add_row(y, n, [x](std::int64_t i) { return load(x + i); });
}

template <class T>
[[gnu::flatten]] void spread(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner, bool add) {
  const auto write = [&](std::int64_t n, auto term) {
    if (add) {
      add_row(y, n, term);
    } else {
      for (std::int64_t i = 0; i < n; i += width<T>) store(y + i, term(i));
    }
    y += n;
  };
  for (std::int64_t o = 0; o < outer; ++o, x += inner) {
    if (inner == 1) {
      write(count, [v = Batch<T>(*x)](std::int64_t) { return v; });
    } else {
      for (std::int64_t c = 0; c < count; ++c) write(inner, [x](std::int64_t i) { return load(x + i); });
    }
  }
}

// Row by row, each from its neighbor. In reverse the spill of a row would destroy the one written before it, so there
// the last columns are scalars.
template <class T>
[[gnu::flatten]] void cumsum(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner,
                             bool reverse) {
  constexpr std::int64_t W = width<T>;
  const std::int64_t step = reverse ? -inner : inner;
  for (std::int64_t o = 0; o < outer; ++o) {
    const std::int64_t begin = (o * count + (reverse ? count - 1 : 0)) * inner;
    if (inner == 1) {
      T sum{0};
      const T* from = x + begin;
      T* to = y + begin;
      for (std::int64_t row = 0; row < count; ++row) to[row * step] = sum += from[row * step];
      continue;
    }
    for (std::int64_t row = 0; row < count; ++row) {
      const T* from = x + begin + row * step;
      T* to = y + begin + row * step;
      const std::int64_t vectorised = reverse ? inner - inner % W : inner;
      std::int64_t j = 0;
      for (; j < vectorised; j += W) store(to + j, row == 0 ? load(from + j) : load(to + j - step) + load(from + j));
      for (; j < inner; ++j) to[j] = row == 0 ? from[j] : to[j - step] + from[j];
    }
  }
}

}  // namespace
}  // namespace tapegrad::kernels
