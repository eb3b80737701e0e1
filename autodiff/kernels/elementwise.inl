#pragma once
// The elementwise primitives' loops: the text of ops/elementwise.hpp over SIMD vectors.

#include "erf.inl"
#include "exp.inl"
#include "kernels.hpp"
#include "log.inl"
#include "simd.hpp"
#include "trig.inl"

// As for xsimd itself, see simd.hpp.
#ifdef __clang__
#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)
#endif

// The text finds these, and those at the ends of exp.inl, log.inl, trig.inl and erf.inl, beside the functions of xsimd,
// through its arguments.
namespace xsimd {

// The strong-zero product: a NaN is the only sign of a zero that met an infinity or a NaN. With ==: in xsimd 8.1 a NaN
// is not != anything under AVX.
template <class T, class A>
static inline batch<T, A> mul0(const batch<T, A>& a, const batch<T, A>& b) {
  const batch<T, A> product = a * b, zero(T(0));
  if (all(product == product)) return product;
  return select(product == product, product, select((a == zero) | (b == zero), zero, product));
}

// Before xsimd's own, which is wrong for subnormal doubles.
template <class A>
static inline batch<double, A> cbrt(const batch<double, A>& x) {
  using V = batch<double, A>;
  const auto small = abs(x) < V(std::numeric_limits<double>::min());
  const V root = kernel::cbrt<A>(select(small, x * V(0x1p54), x), A{});
  return select(small, root * V(0x1p-18), root);
}

// Small whole exponents by repeated squaring, one half by sqrt, others by the C library, element by element: xsimd's
// pow is off by up to a thousand ulp.
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

#include "../rules/elementwise.hpp"

namespace tapegrad::kernels {
namespace {

template <class Op, class T, class... V>
inline Batch<T> value(T p, const V&... x) {
  if constexpr (requires { Op::value(x..., p); })
    return Op::value(x..., p);
  else
    return Op::value(x...);
}

}  // namespace
}  // namespace tapegrad::kernels

namespace xsimd {

template <class Op, class T, class A>
static inline batch<T, A> block(const batch<T, A>& x, std::type_identity_t<T> p = 0) {
  return tapegrad::kernels::value<Op, T>(p, x);
}

}  // namespace xsimd

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

// Every vector of a row is a whole one: what spills over the row's end is overwritten by the next row.
template <class Op, class T>
[[gnu::flatten]] void unary_value(std::int64_t rows, std::int64_t cols, const Source<T>* in, T p, T* out) {
  for (std::int64_t i = 0; i < rows; ++i, out += cols) {
    const T* x = in[0].data + i * in[0].row;
    for (std::int64_t j = 0; j < cols; j += width<T>) store(out + j, value<Op, T>(p, load(x + j)));
  }
}

// out = term(0), term(W), ..., products of n vectors; false, and nothing is written, where one is NaN: several vectors
// share one test, for their sum is NaN where any of them is, and v may be out itself.
template <int n, class T, class Term>
inline bool plain_products_of(Term term, T* out) {
  Batch<T> product[n];
  unroll<n>([&](auto i) { product[i] = term(i * width<T>); });
  Batch<T> sum = product[0];
  unroll<n - 1>([&](auto i) { sum += product[i + 1]; });
  if (!xsimd::all(sum == sum)) [[unlikely]]
    return false;
  unroll<n>([&](auto i) { store(out + i * width<T>, product[i]); });
  return true;
}

// The same for a row of up to four vectors, if it is one: without the preparations of the loops below, which would take
// half the time of ten numbers.
template <class T, class Term>
inline bool plain_products_of_short_row(std::int64_t cols, Term term, T* out) {
  switch ((cols + width<T> - 1) / width<T>) {
    case 1:
      return plain_products_of<1>(term, out);
    case 2:
      return plain_products_of<2>(term, out);
    case 3:
      return plain_products_of<3>(term, out);
    case 4:
      return plain_products_of<4>(term, out);
    default:
      return false;
  }
}

// out = term(j) up to where one is NaN, or to the end: the element of the row that was reached.
template <int most, class T, class Term>
inline std::int64_t plain_products(std::int64_t cols, Term term, T* out) {
  std::int64_t reached = 0;
  each_group<most, T>(cols, [&](std::int64_t j, auto n) {
    if (!plain_products_of<n>([&](std::int64_t i) { return term(j + i); }, out + j)) return false;
    reached = j + n * width<T>;
    return true;
  });
  return reached;
}

// The rest of a loop over rows and columns, from element (i, j) on, with strong-zero products: product(of) of the
// elements of(k) of the sources.
template <class T, class Product>
[[gnu::noinline, gnu::cold, gnu::flatten]] void strong_products(std::int64_t rows, std::int64_t cols,
                                                                const Source<T>* in, T* out, std::int64_t i,
                                                                std::int64_t j, Product product) {
  for (; i < rows; ++i, j = 0) {
    for (; j < cols; j += width<T>) {
      const auto of = [&](int k) {
        const T* row = in[k].data + i * in[k].row;
        return in[k].steps ? load(row + j) : Batch<T>(*row);
      };
      store(out + i * cols + j, product(of));
    }
  }
}

template <class Op, class T>
[[gnu::flatten]] void unary_product(std::int64_t rows, std::int64_t cols, const Source<T>* in, T p, T* out) {
  const auto strong = [p](auto of) { return ops::product<Op>(of(0), of(1), of(2), p); };
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto row = [=](int k) { return RowOf<T, true>(in[k].data + i * in[k].row); };
    const auto v = row(0), x = row(1), y = row(2);
    T* to = out + i * cols;
    if constexpr (requires(Batch<T> b) { ops::chain<Op>(b, b, b, p, ops::Plain{}); }) {
      const auto term = [&](std::int64_t j) { return ops::chain<Op>(v(j), x(j), y(j), p, ops::Plain{}); };
      const std::int64_t reached = plain_products<2>(cols, term, to);
      if (reached < cols) [[unlikely]]
        return strong_products(rows, cols, in, out, i, reached, strong);
    } else {
      for (std::int64_t j = 0; j < cols; j += width<T>) store(to + j, ops::product<Op>(v(j), x(j), y(j), p));
    }
  }
}

template <class Op, class T, class... R>
inline void value_row(std::int64_t cols, T* out, const R&... in) {
  each_vector<T>(cols, [&](std::int64_t j) { store(out + j, Op::value(in(j)...)); });
}

template <class Op, class T, bool a_steps, bool b_steps>
inline void binary_value_rows(std::int64_t rows, std::int64_t cols, const Source<T>* in, T* out) {
  if (cols == 0) return;
  for (std::int64_t i = 0; i < rows; ++i) {
    const RowOf<T, a_steps> a(in[0].data + i * in[0].row);
    const RowOf<T, b_steps> b(in[1].data + i * in[1].row);
    T* to = out + i * cols;
    if constexpr (std::is_same_v<Op, ops::Mul0>) {
      const std::int64_t reached = plain_products<4>(
          cols, [&](std::int64_t j) { return a(j) * b(j); }, to);
      if (reached < cols) [[unlikely]] {
        return strong_products(rows, cols, in, out, i, reached, [](auto of) { return mul0(of(0), of(1)); });
      }
    } else {
      value_row<Op>(cols, to, a, b);
    }
  }
}

template <class Op, class T>
[[gnu::flatten]] void binary_value(std::int64_t rows, std::int64_t cols, const Source<T>* in, T, T* out) {
  if (in[0].steps && in[1].steps)
    binary_value_rows<Op, T, true, true>(rows, cols, in, out);
  else if (in[0].steps)
    binary_value_rows<Op, T, true, false>(rows, cols, in, out);
  else
    binary_value_rows<Op, T, false, true>(rows, cols, in, out);
}

template <class Op, class T, int k, bool v_steps, bool a_steps, bool b_steps>
inline void binary_product_rows(std::int64_t rows, std::int64_t cols, const Source<T>* in, T* out) {
  const auto strong = [](auto of) { return ops::product<Op, k>(of(0), of(1), of(2), of(3)); };
  for (std::int64_t i = 0; i < rows; ++i) {
    const RowOf<T, v_steps> v(in[0].data + i * in[0].row);
    const RowOf<T, a_steps> a(in[1].data + i * in[1].row);
    const RowOf<T, b_steps> b(in[2].data + i * in[2].row);
    const RowOf<T, true> y(in[3].data + i * in[3].row);
    T* to = out + i * cols;
    if constexpr (requires { ops::chain<Op, k>(v(0), a(0), b(0), y(0), ops::Plain{}); }) {
      const auto term = [&](std::int64_t j) { return ops::chain<Op, k>(v(j), a(j), b(j), y(j), ops::Plain{}); };
      const std::int64_t reached = plain_products<4>(cols, term, to);
      if (reached < cols) [[unlikely]]
        return strong_products(rows, cols, in, out, i, reached, strong);
    } else {
      for (std::int64_t j = 0; j < cols; j += width<T>) store(to + j, ops::product<Op, k>(v(j), a(j), b(j), y(j)));
    }
  }
}

template <class Op, class T, int k, bool v_steps>
inline void binary_product_by_steps(std::int64_t rows, std::int64_t cols, const Source<T>* in, T* out) {
  if (in[1].steps && in[2].steps)
    binary_product_rows<Op, T, k, v_steps, true, true>(rows, cols, in, out);
  else if (in[1].steps)
    binary_product_rows<Op, T, k, v_steps, true, false>(rows, cols, in, out);
  else
    binary_product_rows<Op, T, k, v_steps, false, true>(rows, cols, in, out);
}
template <class Op, class T, int k>
[[gnu::noinline, gnu::flatten]] void binary_product_of_any(std::int64_t rows, std::int64_t cols, const Source<T>* in,
                                                           T* out) {
  if (in[0].steps)
    binary_product_by_steps<Op, T, k, true>(rows, cols, in, out);
  else
    binary_product_by_steps<Op, T, k, false>(rows, cols, in, out);
}
template <class Op, class T, int k>
[[gnu::flatten]] void binary_product(std::int64_t rows, std::int64_t cols, const Source<T>* in, T, T* out) {
  if constexpr (requires(Batch<T> b) { ops::chain<Op, k>(b, b, b, b, ops::Plain{}); }) {
    if (rows == 1 && in[0].steps && in[1].steps && in[2].steps) {
      const auto term = [=](std::int64_t j) {
        const auto of = [=](int i) { return load(in[i].data + j); };
        return ops::chain<Op, k>(of(0), of(1), of(2), of(3), ops::Plain{});
      };
      if (plain_products_of_short_row(cols, term, out)) return;
    }
  }
  binary_product_of_any<Op, T, k>(rows, cols, in, out);
}

template <class Op, class T>
[[gnu::flatten]] void value_and_slope(std::int64_t n, const T* x, T* y, T* slope) {
  for (std::int64_t j = 0; j < n; j += width<T>) {
    const auto both = Op::both(load(x + j));
    store(y + j, both.first);
    store(slope + j, both.second);
  }
}

template <class Op>
concept Passes = requires {
  Op::passes;
};

template <class T, class Op>
constexpr UnaryKernels<T> unary_kernels_of() {
  if constexpr (Passes<Op>)
    return {unary_value<Op, T>, nullptr};
  else if constexpr (requires { typename Op::Slope; })
    return {unary_value<Op, T>, nullptr, value_and_slope<Op, T>};
  else
    return {unary_value<Op, T>, unary_product<Op, T>};
}
template <class T, class Op>
constexpr BinaryKernels<T> binary_kernels_of() {
  if constexpr (Passes<Op>)
    return {binary_value<Op, T>, {nullptr, nullptr}};
  else
    return {binary_value<Op, T>, {binary_product<Op, T, 0>, binary_product<Op, T, 1>}};
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
