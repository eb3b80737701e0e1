#pragma once
// Logarithms. In xsimd 8.1 those of subnormal doubles are off by up to 37, and the others slower.

#include <numbers>

#include "exp.inl"

namespace tapegrad::kernels {
namespace {

// In 2 atanh(s) = 2 s + s R(s^2), coefficients of R, the highest power first: Chebyshev's approximation on
// |s| <= 0.1716.
template <class T>
inline constexpr std::array<float, 4> log_polynomial = {0.23330964F, 0.28550803F, 0.40000122F, 0.66666667F};
template <>
inline constexpr std::array<double, 8> log_polynomial<double> = {
    0.13087236196659622, 0.13268714792348097, 0.15386241881938596, 0.18181795600060792,
    0.22222222392089008, 0.28571428570801957, 0.4000000000000088,  0.66666666666666666};

// x = 2^k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2), for a normal x.
template <class T>
struct Mantissa {
  Batch<T> k, f;
};
template <class T>
inline Mantissa<T> split_log(const Batch<T>& x) {
  using E = Exp<T>;
  using Integer = std::make_unsigned_t<typename E::Integer>;
  using Bits = Batch<Integer>;
  constexpr int bias = std::numeric_limits<T>::max_exponent - 1;
  const Bits from = xsimd::bitwise_cast<Bits>(Batch<T>(std::numbers::sqrt2_v<T> / 2));
  const Bits one = xsimd::bitwise_cast<Bits>(Batch<T>(T{1}));
  // Of bits that begin at sqrt(1/2) the upper ones count k from the bias on.
  const Bits bits = xsimd::bitwise_cast<Bits>(x) + (one - from);
  const Bits fraction = bits & Bits((Integer{1} << E::mantissa) - 1);
  // Whole numbers below 2^mantissa are the lowest bits of that power plus them.
  const Batch<T> power(static_cast<T>(Integer{1} << E::mantissa));
  const Bits exponent = (bits >> E::mantissa) | xsimd::bitwise_cast<Bits>(power);
  return {xsimd::bitwise_cast<Batch<T>>(exponent) - (power + Batch<T>(static_cast<T>(bias))),
          xsimd::bitwise_cast<Batch<T>>(fraction + from) - Batch<T>(T{1})};
}

// log(1 + f) + k log(2): with s = f / (2 + f) it is 2 atanh(s) = f - (h - s (h + R)), h = f^2 / 2.
template <class T>
inline Batch<T> log_of(const Mantissa<T>& x) {
  using E = Exp<T>;
  constexpr auto& c = log_polynomial<T>;
  const Batch<T> f = x.f, s = f / (Batch<T>(T{2}) + f), square = s * s, h = Batch<T>(T{0.5}) * f * f;
  Batch<T> r(c[0]);
  unroll<static_cast<int>(c.size()) - 1>([&](auto i) { r = xsimd::fma(r, square, Batch<T>(c[i + 1])); });
  const Batch<T> tail = xsimd::fma(s, xsimd::fma(r, square, h), x.k * Batch<T>(E::log_2_low));
  return xsimd::fma(x.k, Batch<T>(E::log_2_high), f - (h - tail));
}

// f(x split) where every x is normal; else with the subnormal ones scaled, and what has no logarithm.
template <class T, class F>
inline Batch<T> log_by(const Batch<T>& x, F f) {
  using Limits = std::numeric_limits<T>;
  const Batch<T> least(Limits::min()), infinite(infinity<T>);
  if (xsimd::all((x >= least) & (x < infinite))) [[likely]]
    return f(split_log<T>(x));
  constexpr int up = Limits::digits;
  const auto small = x < least;
  Mantissa<T> scaled = split_log<T>(xsimd::select(small, x * Batch<T>(static_cast<T>(std::int64_t{1} << up)), x));
  scaled.k -= xsimd::select(small, Batch<T>(T{up}), zero<T>());
  const Batch<T> normal = xsimd::select(x < infinite, f(scaled), x);
  const Batch<T> negative = xsimd::select(x < zero<T>(), Batch<T>(Limits::quiet_NaN()), x);
  const Batch<T> rest = xsimd::select(x == zero<T>(), -infinite, negative);
  return xsimd::select(x > zero<T>(), normal, rest);
}

template <class T>
inline Batch<T> log(const Batch<T>& x) {
  return log_by<T>(x, [](const Mantissa<T>& m) { return log_of<T>(m); });
}

// log(u) and the part of 1 + x that u has lost, over u.
template <class T>
inline Batch<T> log1p(const Batch<T>& x) {
  const Batch<T> one(T{1}), u = one + x, kept = u - one;
  return kernels::log<T>(u) + xsimd::select(kept == x, zero<T>(), (x - kept) / u);
}

}  // namespace
}  // namespace tapegrad::kernels

// Found by the text in rules/ through its arguments, before xsimd's own.
namespace xsimd {

template <std::floating_point T, class A>
static inline batch<T, A> log(const batch<T, A>& x) {
  return tapegrad::kernels::log<T>(x);
}
template <std::floating_point T, class A>
static inline batch<T, A> log2(const batch<T, A>& x) {
  using namespace tapegrad::kernels;
  return log_by<T>(x, [](const Mantissa<T>& m) {
    return fma(log_of<T>({zero<T>(), m.f}), Batch<T>(std::numbers::log2e_v<T>), m.k);
  });
}
// With log10(2) in two parts, of which the first is so short that its products with k are exact.
template <std::floating_point T, class A>
static inline batch<T, A> log10(const batch<T, A>& x) {
  using namespace tapegrad::kernels;
  constexpr T high = static_cast<T>(std::is_same_v<T, float> ? 0x1.344p-2 : 0x1.34413509f7p-2);
  constexpr T low = static_cast<T>(0x1.34413509f79fef311f12b35816f9p-2L - static_cast<long double>(high));
  return log_by<T>(x, [](const Mantissa<T>& m) {
    const Batch<T> rest = log_of<T>({zero<T>(), m.f}) * Batch<T>(std::numbers::log10e_v<T>);
    return fma(m.k, Batch<T>(high), fma(m.k, Batch<T>(low), rest));
  });
}
template <std::floating_point T, class A>
static inline batch<T, A> log1p(const batch<T, A>& x) {
  return tapegrad::kernels::log1p<T>(x);
}

}  // namespace xsimd
