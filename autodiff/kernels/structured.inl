#pragma once
// Matrices of structure: written out at the speed of memory, and multiplied with vectors without being written.
// Products are strong-zero ones: computed plainly, and again, one by one, where a NaN comes out.

#include "sum.inl"

namespace tapegrad::kernels {
namespace {

// x - x is 0 where x is finite, NaN where it is not.
template <class T>
[[gnu::flatten]] bool all_finite(const T* x, std::int64_t n) {
  const Batch<T> sum = sum_block<T>(0, n, [x](std::int64_t i) { return load(x + i) - load(x + i); });
  return first(sum_across(sum)) == T{0};
}

// Where nothing is NaN the sum may still be one, of infinities.
template <class T>
[[gnu::flatten]] bool any_nan(const T* x, std::int64_t n) {
  const Batch<T> sum = sum_block<T>(0, n, [x](std::int64_t i) { return load(x + i); });
  return !xsimd::all(sum == sum) && std::any_of(x, x + n, [](T element) { return element != element; });
}

// row(j) += scale * right(j) where j <= i, or where j >= i.
template <class T>
inline void add_triangle(Triangle kind, std::int64_t i, std::int64_t n, T scale, const T* right, T* row) {
  constexpr std::int64_t W = width<T>;
  const Batch<T> s(scale);
  const std::int64_t corner = i - i % W;  // the vector that holds the diagonal
  const Batch<T> old = load(row + corner), added = xsimd::fma(s, load(right + corner), old);
  const std::int64_t lanes = i % W + (kind == Triangle::lower ? 1 : 0);
  const auto low = first_lanes<T>(lanes);
  store(row + corner, kind == Triangle::lower ? xsimd::select(low, added, old) : xsimd::select(low, old, added));
  const std::int64_t begin = kind == Triangle::lower ? 0 : corner + W, end = kind == Triangle::lower ? corner : n;
  for (std::int64_t j = begin; j < end; j += W) store(row + j, xsimd::fma(s, load(right + j), load(row + j)));
}

// What is added to row i once its outer products are written, while it is in the cache.
template <class T>
inline void finish_row(const StructuredMatrix<T>& J, std::int64_t b, std::int64_t i, T* row) {
  if (J.triangle != Triangle::none) {
    add_triangle(J.triangle, i, J.n, J.scale.left[b * J.m + i], J.scale.right + b * J.n, row);
  }
  for (std::int64_t d = 0; d < J.bands; ++d) {
    const std::int64_t j = i + J.band[d].shift;
    if (j >= 0 && j < J.n) row[j] += J.band[d].entries[b * J.m + i];
  }
}

// sum over k of left_k right_k(j), K terms.
template <int K, class T, class Right>
inline Batch<T> combine(const Batch<T>* left, Right right) {
  if constexpr (K == 0) {
    return zero<T>();
  } else {
    Batch<T> sum = left[0] * right(std::integral_constant<int, 0>{});
    unroll<K - 1>([&](auto k) {
      constexpr int next = k + 1;
      sum = xsimd::fma(left[next], right(std::integral_constant<int, next>{}), sum);
    });
    return sum;
  }
}

// Finite factors make no product in which a zero would have to absorb anything.
template <class T>
inline bool finite_factors(const StructuredMatrix<T>& J) {
  const auto finite = [&](const OuterProduct<T>& of) {
    return all_finite(of.left, J.batch * J.m) && all_finite(of.right, J.batch * J.n);
  };
  return std::all_of(J.outer, J.outer + J.outers, finite) && (J.triangle == Triangle::none || finite(J.scale));
}

// The NaN of a block that is complete, by strong products.
template <class T>
inline void absorb_zeros(const StructuredMatrix<T>& J, std::int64_t b, T* out) {
  for (std::int64_t i = 0; i < J.m; ++i) {
    for (std::int64_t j = 0; j < J.n; ++j) {
      T& entry = out[i * J.n + j];
      if (entry == entry) continue;
      entry = 0;
      for (std::int64_t k = 0; k < J.outers; ++k) {
        entry += strong(J.outer[k].left[b * J.m + i], J.outer[k].right[b * J.n + j]);
      }
      const bool inside = J.triangle == Triangle::lower ? j <= i : J.triangle == Triangle::upper && j >= i;
      if (inside) entry += strong(J.scale.left[b * J.m + i], J.scale.right[b * J.n + j]);
      for (std::int64_t d = 0; d < J.bands; ++d) {
        if (j == i + J.band[d].shift) entry += J.band[d].entries[b * J.m + i];
      }
    }
  }
}

// V vectors of columns: the right factors stay in registers.
template <int K, int V, class T>
inline void write_narrow(const StructuredMatrix<T>& J, std::int64_t b, const OuterProduct<T>* terms, T* out) {
  constexpr int size = K == 0 ? 1 : K;
  Batch<T> right[size * V], left[size];
  unroll<K * V>([&](auto i) { right[i] = load(terms[i / V].right + i % V * width<T>); });
  for (std::int64_t i = 0; i < J.m; ++i, out += J.n) {
    unroll<K>([&](auto k) { left[k] = Batch<T>(terms[k].left[i]); });
    unroll<V>(
        [&](auto v) { store(out + v * width<T>, combine<K, T>(left, [&](auto k) { return right[k * V + v]; })); });
    finish_row(J, b, i, out);
  }
}

template <int K, class T>
inline void write_wide(const StructuredMatrix<T>& J, std::int64_t b, const OuterProduct<T>* terms, T* out) {
  Batch<T> left[K == 0 ? 1 : K];
  for (std::int64_t i = 0; i < J.m; ++i, out += J.n) {
    unroll<K>([&](auto k) { left[k] = Batch<T>(terms[k].left[i]); });
    each_vector<T>(J.n, [&](std::int64_t j) {
      store(out + j, combine<K, T>(left, [&](auto k) { return load(terms[k].right + j); }));
    });
    finish_row(J, b, i, out);
  }
}

template <int K, class T>
inline void write_block(const StructuredMatrix<T>& J, std::int64_t b, const OuterProduct<T>* terms, T* out) {
  switch ((J.n + width<T> - 1) / width<T>) {
    case 1:
      return write_narrow<K, 1>(J, b, terms, out);
    case 2:
      return write_narrow<K, 2>(J, b, terms, out);
    case 3:
      return write_narrow<K, 3>(J, b, terms, out);
    default:
      return write_wide<K>(J, b, terms, out);
  }
}

// This many outer products in one pass.
inline constexpr std::int64_t outers_at_once = 3;

// The blocks of the first terms: pointers moved to block b.
template <class T>
inline std::int64_t first_terms(const StructuredMatrix<T>& J, std::int64_t b, OuterProduct<T>* terms) {
  const std::int64_t count = std::min(J.outers, outers_at_once);
  for (std::int64_t k = 0; k < count; ++k) terms[k] = {J.outer[k].left + b * J.m, J.outer[k].right + b * J.n};
  return count;
}

template <class T>
[[gnu::flatten]] void structured_dense(const StructuredMatrix<T>& J, T* out) {
  const bool finite = finite_factors(J);
  for (std::int64_t b = 0; b < J.batch; ++b, out += J.m * J.n) {
    OuterProduct<T> terms[outers_at_once] = {};
    const std::int64_t count = first_terms(J, b, terms);
    if (count == 0)
      write_block<0>(J, b, terms, out);
    else if (count == 1)
      write_block<1>(J, b, terms, out);
    else if (count == 2)
      write_block<2>(J, b, terms, out);
    else
      write_block<3>(J, b, terms, out);
    for (std::int64_t k = count; k < J.outers; ++k) {
      const T *left = J.outer[k].left + b * J.m, *right = J.outer[k].right + b * J.n;
      for (std::int64_t i = 0; i < J.m; ++i) {
        for (std::int64_t j = 0; j < J.n; ++j) out[i * J.n + j] += left[i] * right[j];
      }
    }
    if (!finite) absorb_zeros(J, b, out);
  }
}

template <class T>
inline Batch<T> dot(const T* a, const T* b, std::int64_t n) {
  return sum_terms<T>(n, [=](std::int64_t i) { return load(a + i) * load(b + i); });
}

template <class T>
inline Batch<T> strong_dot(const T* a, const T* b, std::int64_t n) {
  const Batch<T> plain = dot(a, b, n);
  if (xsimd::all(plain == plain)) return plain;
  T sum{0};
  for (std::int64_t i = 0; i < n; ++i) sum += strong(a[i], b[i]);
  return Batch<T>(sum);
}

// out = J v, or J^T g, of one block: `along` multiplies with v, `across` spans the result.
template <int K, class T>
inline void apply_block(const T* const* along, const T* const* across, const T* entries, const T* v, std::int64_t size,
                        std::int64_t out_size, T* out) {
  Batch<T> coefficient[K == 0 ? 1 : K];
  unroll<K>([&](auto k) { coefficient[k] = strong_dot(along[k], v, size); });
  Mask<T> good = zero<T>() == zero<T>();
  for (std::int64_t j = 0; j < out_size; j += width<T>) {
    Batch<T> sum = combine<K, T>(coefficient, [&](auto k) { return load(across[k] + j); });
    if (entries) sum = xsimd::fma(load(entries + j), load(v + j), sum);
    good = good & (sum == sum);
    store(out + j, sum);
  }
  if (xsimd::all(good)) return;
  for (std::int64_t j = 0; j < out_size; ++j) {
    if (out[j] == out[j]) continue;
    out[j] = entries ? strong(entries[j], v[j]) : T{0};
    unroll<K>([&](auto k) { out[j] += strong(first(coefficient[k]), across[k][j]); });
  }
}

// out += the triangle, by a running sum.
template <class T>
inline void add_triangle_product(Triangle kind, const T* along, const T* across, const T* v, std::int64_t n, T* out) {
  T sum{0};
  for (std::int64_t step = 0; step < n; ++step) {
    const std::int64_t i = kind == Triangle::lower ? step : n - 1 - step;
    sum += strong(along[i], v[i]);
    out[i] += strong(across[i], sum);
  }
}

template <class T>
[[gnu::flatten]] void structured_apply(const StructuredMatrix<T>& J, bool transposed, const T* v, T* out) {
  const std::int64_t size = transposed ? J.m : J.n, out_size = transposed ? J.n : J.m;
  // A diagonal of the whole block joins the pass over the outer products.
  const bool whole = J.bands == 1 && J.band[0].shift == 0 && J.m == J.n;
  for (std::int64_t b = 0; b < J.batch; ++b, v += size, out += out_size) {
    OuterProduct<T> terms[outers_at_once] = {};
    const std::int64_t count = first_terms(J, b, terms);
    const T *along[outers_at_once] = {}, *across[outers_at_once] = {};
    for (std::int64_t k = 0; k < count; ++k) {
      along[k] = transposed ? terms[k].left : terms[k].right;
      across[k] = transposed ? terms[k].right : terms[k].left;
    }
    const T* entries = whole ? J.band[0].entries + b * J.m : nullptr;
    if (count == 0)
      apply_block<0>(along, across, entries, v, size, out_size, out);
    else if (count == 1)
      apply_block<1>(along, across, entries, v, size, out_size, out);
    else if (count == 2)
      apply_block<2>(along, across, entries, v, size, out_size, out);
    else
      apply_block<3>(along, across, entries, v, size, out_size, out);
    for (std::int64_t k = count; k < J.outers; ++k) {
      const T *left = J.outer[k].left + b * J.m, *right = J.outer[k].right + b * J.n;
      const T scale = first(strong_dot(transposed ? left : right, v, size));
      for (std::int64_t j = 0; j < out_size; ++j) out[j] += strong(scale, (transposed ? right : left)[j]);
    }
    for (std::int64_t d = 0; d < J.bands && !whole; ++d) {
      const std::int64_t shift = J.band[d].shift;
      for (std::int64_t i = std::max<std::int64_t>(0, -shift); i < std::min(J.m, J.n - shift); ++i) {
        const T entry = J.band[d].entries[b * J.m + i];
        if (transposed)
          out[i + shift] += strong(entry, v[i]);
        else
          out[i] += strong(entry, v[i + shift]);
      }
    }
    if (J.triangle != Triangle::none) {
      const T *left = J.scale.left + b * J.m, *right = J.scale.right + b * J.n;
      const Triangle other = J.triangle == Triangle::lower ? Triangle::upper : Triangle::lower;
      const Triangle kind = transposed ? other : J.triangle;
      add_triangle_product(kind, transposed ? left : right, transposed ? right : left, v, size, out);
    }
  }
}

}  // namespace
}  // namespace tapegrad::kernels
