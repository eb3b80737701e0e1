#pragma once
// The elementwise primitives' loops: the text of ops/elementwise.hpp over SIMD vectors.

#include "erf.inl"
#include "exp.inl"
#include "kernels.hpp"
#include "simd.hpp"

// As for xsimd itself, see simd.hpp.
#ifdef __clang__
#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)
#endif

namespace tapegrad::kernels {
namespace {

// Of products a * b, those that are NaN because one factor is 0 become 0. One test for all n vectors: their sum is NaN
// where any of them is.
template <int n, class T>
inline void absorb(Batch<T>* product, const Batch<T>* a, const Batch<T>* b) {
  Batch<T> sum = product[0];
  unroll<n - 1>([&](auto i) { sum += product[i + 1]; });
  // With ==: in xsimd 8.1 a NaN is not != anything under AVX.
  if (xsimd::all(sum == sum)) return;
  const Batch<T> zero(T(0));
  unroll<n>([&](auto i) {
    const Batch<T> p = product[i];
    product[i] = xsimd::select(p == p, p, xsimd::select((a[i] == zero) | (b[i] == zero), zero, p));
  });
}

}  // namespace
}  // namespace tapegrad::kernels

// The text finds these beside the functions of xsimd, through its arguments.
namespace xsimd {

// The strong-zero product of ops/elementwise.hpp. A NaN is the only sign of a zero that met an infinity or a NaN.
template <class T, class A>
static inline batch<T, A> mul0(const batch<T, A>& a, const batch<T, A>& b) {
  batch<T, A> product[] = {a * b};
  tapegrad::kernels::absorb<1>(product, &a, &b);
  return product[0];
}

// Before xsimd's own exp, which is slower, erf, which is 70 ulp off for doubles, and erfc, 70 for floats and 1e7 for
// doubles.
template <class A>
static inline batch<float, A> exp(const batch<float, A>& x) {
  return tapegrad::kernels::exp(x);
}
template <class A>
static inline batch<double, A> exp(const batch<double, A>& x) {
  return tapegrad::kernels::exp(x);
}

template <class A>
static inline batch<double, A> erf(const batch<double, A>& x) {
  return tapegrad::kernels::erf(x);
}

template <class A>
static inline batch<float, A> erfc(const batch<float, A>& x) {
  return tapegrad::kernels::erfc(x);
}
template <class A>
static inline batch<double, A> erfc(const batch<double, A>& x) {
  return tapegrad::kernels::erfc(x);
}

template <class T, class A>
static inline batch<T, A> sigmoid(const batch<T, A>& x) {
  return 1 / (1 + exp(-x));
}

// Small whole exponents by repeated squaring, one half by sqrt, others by the C library, element by element: xsimd's pow
// is off by up to a thousand ulp.
template <class T, class A>
static inline batch<T, A> power(const batch<T, A>& x, T p) {
  const T magnitude = p < 0 ? -p : p;
  const batch<T, A> zero(T(0)), infinite(std::numeric_limits<T>::infinity());
  if (p == T(0.5)) return select(x == -infinite, infinite, sqrt(x) + zero);
  if (magnitude <= T(4) && magnitude == static_cast<T>(static_cast<int>(magnitude))) {
    batch<T, A> result(T(1)), square = x;
    for (int n = static_cast<int>(magnitude); n > 0; n /= 2) {
      if (n % 2 == 1) result = result * square;
      square = square * square;
    }
    return p < 0 ? batch<T, A>(T(1)) / result : result;
  }
  T lanes[batch<T, A>::size];
  x.store_unaligned(lanes);
  for (T& lane : lanes) lane = std::pow(lane, p);
  return batch<T, A>::load_unaligned(lanes);
}

}  // namespace xsimd

#include "../ops/elementwise.hpp"

#ifdef __clang__
#pragma clang attribute pop
#endif

namespace tapegrad::kernels {
namespace {

// The elements of a row; one that is repeated is read once, since the loop's stores might otherwise have changed it.
template <class T, bool steps>
struct RowOf {
  explicit RowOf(const T* row) : row_(row) {}
  Batch<T> operator()(std::int64_t j) const { return kernels::load(row_ + j); }
  const T* row_;
};
template <class T>
struct RowOf<T, false> {
  explicit RowOf(const T* row) : value_(*row) {}
  const Batch<T>& operator()(std::int64_t) const { return value_; }
  Batch<T> value_;
};

template <class Op, class T, class... V>
inline Batch<T> value(T p, const V&... x) {
  if constexpr (requires { Op::value(x..., p); }) return Op::value(x..., p);
  else return Op::value(x...);
}

// Every vector of a row is a whole one: what spills over the row's end is overwritten by the next row.
template <class Op, class T>
[[gnu::flatten]] void unary_value(std::int64_t rows, std::int64_t cols, const Source<T>* in, T p, T* out) {
  for (std::int64_t i = 0; i < rows; ++i, out += cols) {
    const T* x = in[0].data + i * in[0].row;
    for (std::int64_t j = 0; j < cols; j += width<T>) store(out + j, value<Op, T>(p, load(x + j)));
  }
}

// f(j, n) for n vectors from element j on, `most` at a time and the rest one by one.
template <int most, class T, class F>
inline void each_group(std::int64_t cols, F f) {
  constexpr std::int64_t W = width<T>;
  std::int64_t j = 0;
  for (; j + (most - 1) * W < cols; j += most * W) f(j, std::integral_constant<int, most>{});
  for (; j < cols; j += W) f(j, std::integral_constant<int, 1>{});
}

// out = v * slope(j), strongly.
template <int most, class T, class V, class Slope>
inline void strong_products(std::int64_t cols, const V& v, Slope slope, T* out) {
  each_group<most, T>(cols, [&](std::int64_t j, auto n) {
    Batch<T> a[n], b[n], product[n];
    unroll<n>([&](auto i) {
      a[i] = v(j + i * width<T>);
      b[i] = slope(j + i * width<T>);
      product[i] = a[i] * b[i];
    });
    absorb<n>(product, a, b);
    unroll<n>([&](auto i) { store(out + j + i * width<T>, product[i]); });
  });
}

template <class Op, class T>
[[gnu::flatten]] void unary_product(std::int64_t rows, std::int64_t cols, const Source<T>* in, T p, T* out) {
  for (std::int64_t i = 0; i < rows; ++i, out += cols) {
    const RowOf<T, true> v(in[0].data + i * in[0].row), x(in[1].data + i * in[1].row), y(in[2].data + i * in[2].row);
    if constexpr (requires(Batch<T> b) { Op::slope(b, b, p); }) {
      strong_products<2>(cols, v, [&](std::int64_t j) { return Op::slope(x(j), y(j), p); }, out);
    } else if constexpr (requires(Batch<T> b) { Op::slope(b, b); }) {
      strong_products<2>(cols, v, [&](std::int64_t j) { return Op::slope(x(j), y(j)); }, out);
    } else {
      for (std::int64_t j = 0; j < cols; j += width<T>) store(out + j, ops::product<Op>(v(j), x(j), y(j), p));
    }
  }
}

template <class Op, class T, class... R>
inline void value_row(std::int64_t cols, T* out, const R&... in) {
  if constexpr (std::is_same_v<Op, ops::Mul0>) strong_products<4>(cols, in..., out);
  else each_vector<T>(cols, [&](std::int64_t j) { store(out + j, Op::value(in(j)...)); });
}

template <class Op, class T, bool a_steps, bool b_steps>
inline void binary_value_rows(std::int64_t rows, std::int64_t cols, const Source<T>* in, T* out) {
  if (cols == 0) return;
  for (std::int64_t i = 0; i < rows; ++i, out += cols) {
    value_row<Op>(cols, out, RowOf<T, a_steps>(in[0].data + i * in[0].row), RowOf<T, b_steps>(in[1].data + i * in[1].row));
  }
}

template <class Op, class T>
[[gnu::flatten]] void binary_value(std::int64_t rows, std::int64_t cols, const Source<T>* in, T, T* out) {
  if (in[0].steps && in[1].steps) binary_value_rows<Op, T, true, true>(rows, cols, in, out);
  else if (in[0].steps) binary_value_rows<Op, T, true, false>(rows, cols, in, out);
  else binary_value_rows<Op, T, false, true>(rows, cols, in, out);
}

template <class Op, class T, int k, bool v_steps, bool a_steps, bool b_steps>
inline void binary_product_rows(std::int64_t rows, std::int64_t cols, const Source<T>* in, T* out) {
  for (std::int64_t i = 0; i < rows; ++i, out += cols) {
    const RowOf<T, v_steps> v(in[0].data + i * in[0].row);
    const RowOf<T, a_steps> a(in[1].data + i * in[1].row);
    const RowOf<T, b_steps> b(in[2].data + i * in[2].row);
    const RowOf<T, true> y(in[3].data + i * in[3].row);
    if constexpr (requires { Op::slope_a(a(0), b(0), y(0)); }) {
      strong_products<4>(cols, v, [&](std::int64_t j) {
        if constexpr (k == 0) return Op::slope_a(a(j), b(j), y(j));
        else return Op::slope_b(a(j), b(j), y(j));
      }, out);
    } else {
      for (std::int64_t j = 0; j < cols; j += width<T>) store(out + j, ops::product<Op, k>(v(j), a(j), b(j), y(j)));
    }
  }
}

template <class Op, class T, int k, bool v_steps>
inline void binary_product_by_steps(std::int64_t rows, std::int64_t cols, const Source<T>* in, T* out) {
  if (in[1].steps && in[2].steps) binary_product_rows<Op, T, k, v_steps, true, true>(rows, cols, in, out);
  else if (in[1].steps) binary_product_rows<Op, T, k, v_steps, true, false>(rows, cols, in, out);
  else binary_product_rows<Op, T, k, v_steps, false, true>(rows, cols, in, out);
}
template <class Op, class T, int k>
[[gnu::flatten]] void binary_product(std::int64_t rows, std::int64_t cols, const Source<T>* in, T, T* out) {
  if (in[0].steps) binary_product_by_steps<Op, T, k, true>(rows, cols, in, out);
  else binary_product_by_steps<Op, T, k, false>(rows, cols, in, out);
}

template <class Op>
concept Passes = requires { Op::passes; };

template <class T, class Op>
constexpr UnaryKernels<T> unary_kernels_of() {
  if constexpr (Passes<Op>) return {unary_value<Op, T>, nullptr};
  else return {unary_value<Op, T>, unary_product<Op, T>};
}
template <class T, class Op>
constexpr BinaryKernels<T> binary_kernels_of() {
  if constexpr (Passes<Op>) return {binary_value<Op, T>, {nullptr, nullptr}};
  else return {binary_value<Op, T>, {binary_product<Op, T, 0>, binary_product<Op, T, 1>}};
}

template <class T, class... Op>
inline constexpr std::array<UnaryKernels<T>, sizeof...(Op)> unary_table(const std::tuple<Op...>*) {
  return {unary_kernels_of<T, Op>()...};
}
template <class T, class... Op>
inline constexpr std::array<BinaryKernels<T>, sizeof...(Op)> binary_table(const std::tuple<Op...>*) {
  return {binary_kernels_of<T, Op>()...};
}

template <class T>
inline constexpr auto unary_kernels = unary_table<T>(static_cast<const ops::Unary*>(nullptr));
template <class T>
inline constexpr auto binary_kernels = binary_table<T>(static_cast<const ops::Binary*>(nullptr));

}  // namespace
}  // namespace tapegrad::kernels
