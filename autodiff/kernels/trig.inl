#pragma once
// sin, cos and tan. Those of xsimd 8.1 are off by up to 12 ulp beside multiples of pi / 2, and slower.

#include <numbers>

#include "exp.inl"

namespace tapegrad::kernels {
namespace {

// pi / 2 in parts: all but the last are so short that their products with whole numbers from 0 to those that belong to
// `most` are exact (Cody and Waite, Software Manual for the Elementary Functions, 1980).
// sine: the coefficients of P, highest power first, in sin(r) = r + r^3 P(r^2) on |r| <= pi / 2, Chebyshev's
// approximation; over, under: of N and D in tan(r) = r (1 + r^2 N(r^2)) / (1 + r^2 D(r^2)) on |r| <= pi / 4, which is
// exact at Chebyshev's points.
template <class T>
struct Trig;

template <>
struct Trig<float> {
  static constexpr float most = 1e4F;
  static constexpr std::array high = {0x1.92p0F, 0x1.fb4p-12F};
  static constexpr float middle = 0x1.444p-24F, low = 0x1.68cp-39F, last = 0x1.1a6264p-54F;
  static constexpr std::array sine = {-2.40801809e-8F, 2.75364632e-6F, -0.000198410866F, 0.00833333277F, -0.166666667F};
  static constexpr std::array over = {0.00107151255F, -0.111308589F};
  static constexpr std::array under = {0.0159521472F, -0.444641922F};
};

template <>
struct Trig<double> {
  static constexpr double most = 1e6;
  static constexpr std::array high = {0x1.921fb544p0};
  static constexpr double middle = 0x1.0b4611a6p-34, low = 0x1.3198a2ep-69, last = 0x1.b839a252049c1p-104;
  static constexpr std::array sine = {2.7314439779805666e-15, -7.6439702335202906e-13, 1.6058977310482129e-10,
                                      -2.5052107616965614e-8, 2.7557319219162993e-6,   -0.00019841269841254973,
                                      0.0083333333333333159,  -0.16666666666666667};
  static constexpr std::array over = {-1.7847971900187168e-5, 0.0034240683970451353, -0.13337674798249395};
  static constexpr std::array under = {4.9753521466572931e-7, -0.00031167848770662028, 0.025660762168987574,
                                       -0.46671008131582729};
};

// r + low, of which low is at most about the last digit of r.
template <class T>
struct Reduced {
  Batch<T> r, low;
};

// x - q pi / 2. Each difference is exact where x is near q pi / 2, for then it is a small multiple of a power of two;
// the rounding of the others is kept.
template <class T>
inline Reduced<T> reduce(const Batch<T>& x, const Batch<T>& q) {
  using C = Trig<T>;
  Batch<T> a = x;
  unroll<static_cast<int>(C::high.size())>([&](auto i) { a = xsimd::fnma(q, Batch<T>(C::high[i]), a); });
  const Batch<T> middle(C::middle), b = xsimd::fnma(q, middle, a);
  const Batch<T> rest = xsimd::fnma(q, Batch<T>(C::low), xsimd::fnma(q, middle, a - b)), r = b + rest;
  return {r, xsimd::fnma(q, Batch<T>(C::last), (b - r) + rest)};
}

template <class T, std::size_t n>
inline Batch<T> horner(const std::array<T, n>& c, const Batch<T>& x) {
  Batch<T> y(c[0]);
  unroll<static_cast<int>(n) - 1>([&](auto i) { y = xsimd::fma(y, x, Batch<T>(c[i + 1])); });
  return y;
}

// r + r^3 P + low (1 - r^2 / 2), the sine of r + low.
template <class T>
inline Batch<T> sine(const Reduced<T>& x) {
  const Batch<T> square = x.r * x.r, low = xsimd::fnma(Batch<T>(T{0.5}) * x.low, square, x.low);
  return x.r + xsimd::fma(x.r * square, horner<T>(Trig<T>::sine, square), low);
}

// -0 where the whole number in the lowest bits of `shifted` is odd, else 0.
template <class T>
inline Batch<T> sign_if_odd(const Batch<T>& shifted) {
  return xsimd::bitwise_cast<Batch<T>>(xsimd::bitwise_cast<BitsOf<T>>(shifted) << static_cast<int>(8 * sizeof(T) - 1));
}

// `result`, and f lane by lane where x is beyond what reduce can do: a number's sine does not depend on its neighbors.
// In twice the digits, for the C library's functions of doubles (glibc 2.36) are off by up to 1e5 ulp where a huge
// number is nearest to a multiple of pi / 2.
template <class T, class F>
inline Batch<T> within_range(const Batch<T>& result, const Batch<T>& x, const Batch<T>& magnitude, F f) {
  const auto inside = magnitude <= Batch<T>(Trig<T>::most);
  if (xsimd::all(inside)) [[likely]]
    return result;
  return [&]() __attribute__((noinline, cold)) {
    T lanes[Batch<T>::size];
    store(lanes, x);
    using Wider = std::conditional_t<std::is_same_v<T, float>, double, long double>;
    for (T& lane : lanes) lane = static_cast<T>(f(Wider{lane}));
    return xsimd::select(inside, result, load(lanes));
  }
  ();
}

// sin(r) (-1)^k with r = |x| - k pi, of x's sign.
template <class T>
inline Batch<T> sin(const Batch<T>& x) {
  const Batch<T> magnitude = xsimd::abs(x), shift(Exp<T>::shift);
  const Batch<T> shifted = xsimd::fma(magnitude, Batch<T>(std::numbers::inv_pi_v<T>), shift), k = shifted - shift;
  const Reduced<T> r = reduce<T>(magnitude, k + k);
  return within_range<T>(sine<T>(r) ^ sign_if_odd<T>(shifted) ^ (x ^ magnitude), x, magnitude,
                         [](auto v) { return std::sin(v); });
}

// sin(r) (-1)^k with r = |x| - (k - 1/2) pi.
template <class T>
inline Batch<T> cos(const Batch<T>& x) {
  const Batch<T> magnitude = xsimd::abs(x), shift(Exp<T>::shift);
  const Batch<T> inverse(std::numbers::inv_pi_v<T>);
  const Batch<T> shifted = xsimd::fma(magnitude, inverse, Batch<T>(T{0.5})) + shift, k = shifted - shift;
  const Reduced<T> r = reduce<T>(magnitude, (k + k) - Batch<T>(T{1}));
  return within_range<T>(sine<T>(r) ^ sign_if_odd<T>(shifted), x, magnitude, [](auto v) { return std::cos(v); });
}

// tan(r), or -1 / tan(r) for an odd k, with r = |x| - k pi / 2, and x's sign.
template <class T>
inline Batch<T> tan(const Batch<T>& x) {
  using C = Trig<T>;
  const Batch<T> magnitude = xsimd::abs(x), shift(Exp<T>::shift);
  const Batch<T> shifted = xsimd::fma(magnitude, Batch<T>(2 * std::numbers::inv_pi_v<T>), shift), k = shifted - shift;
  const Reduced<T> r = reduce<T>(magnitude, k);
  const Batch<T> square = r.r * r.r, one(T{1}), half = Batch<T>(T{0.5}) * k;
  const Batch<T> over = r.r + xsimd::fma(r.r * square, horner<T>(C::over, square), r.low);
  const Batch<T> under = xsimd::fma(square, horner<T>(C::under, square), one);
  const auto even = (half + shift) - shift == half;
  const Batch<T> quotient = xsimd::select(even, over, under) / xsimd::select(even, under, over);
  return within_range<T>(quotient ^ sign_if_odd<T>(shifted) ^ (x ^ magnitude), x, magnitude,
                         [](auto v) { return std::tan(v); });
}

}  // namespace
}  // namespace tapegrad::kernels

// Found by the text in rules/ through its arguments, before xsimd's own.
namespace xsimd {

template <std::floating_point T, class A>
static inline batch<T, A> sin(const batch<T, A>& x) {
  return tapegrad::kernels::sin<T>(x);
}
template <std::floating_point T, class A>
static inline batch<T, A> cos(const batch<T, A>& x) {
  return tapegrad::kernels::cos<T>(x);
}
template <std::floating_point T, class A>
static inline batch<T, A> tan(const batch<T, A>& x) {
  return tapegrad::kernels::tan<T>(x);
}

}  // namespace xsimd
