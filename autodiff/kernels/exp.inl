#pragma once
// exp and what is made of one exponential. 2 to 3 times as fast as in xsimd 8.1, which divides and converts to integers
// lane by lane for doubles, and right wherever the result is a normal number.

#include "simd.hpp"

namespace tapegrad::kernels {
namespace {

// polynomial: the coefficients of Q in exp(r) = 1 + r + r^2 Q(r) on |r| <= log(2) / 2.
// shift: 1.5 * 2^p for p mantissa bits; adding it rounds to an integer and leaves that in the lowest bits.
template <class T>
struct Exp;

template <>
struct Exp<float> {
  using Integer = std::int32_t;
  static constexpr int mantissa = 23;
  static constexpr float shift = 0x1.8p23F, log_2_high = 0.693359375F, log_2_low = -2.12194440e-4F;
  static constexpr float lowest = -87.33655F, highest = 88.72283F;  // where e^x leaves the normal numbers
  static constexpr float lowest_quarter = -88.72283F;               // where 4 e^x does
  static constexpr float one_is_lost = 20;                          // e^x - 1 is e^x above, -1 below
  static constexpr float lowest_power = -126, highest_power = 128;  // of 2, normal up to below the second
  static constexpr std::array polynomial = {0.5F, 1.6666277e-1F, 4.1665401e-2F, 8.3955629e-3F, 1.3997796e-3F};
};

template <>
struct Exp<double> {
  using Integer = std::int64_t;
  static constexpr int mantissa = 52;
  static constexpr double shift = 0x1.8p52, log_2_high = 6.93147180369123816490e-01,
                          log_2_low = 1.90821492927058770002e-10;
  static constexpr double lowest = -708.3964185322642, highest = 709.782712893384;
  static constexpr double lowest_quarter = -709.782712893384;
  static constexpr double one_is_lost = 40;
  static constexpr double lowest_power = -1022, highest_power = 1024;
  static constexpr std::array polynomial = {0.5,
                                            0.1666666666666667,
                                            0.04166666666666667,
                                            0.008333333333326112,
                                            0.001388888888888373,
                                            0.0001984126987490126,
                                            2.4801587325605324e-05,
                                            2.7557255297969643e-06,
                                            2.755727357010214e-07,
                                            2.5105259538448494e-08,
                                            2.0914717341716378e-09};
};

template <class T>
using BitsOf = Batch<typename Exp<T>::Integer>;

// c[0] x^(n-1) + c[1] x^(n-2) + ...
template <class T, class Coefficient, std::size_t n>
inline Batch<T> horner(const std::array<Coefficient, n>& c, const Batch<T>& x) {
  Batch<T> y(static_cast<T>(c[0]));
  unroll<static_cast<int>(n) - 1>([&](auto i) { y = xsimd::fma(y, x, Batch<T>(static_cast<T>(c[i + 1]))); });
  return y;
}

// exp(r) - 1 for |r| <= log(2) / 2.
template <class T>
inline Batch<T> expm1_near_zero(const Batch<T>& r) {
  constexpr auto& c = Exp<T>::polynomial;
  constexpr int degree = static_cast<int>(c.size()) - 1;
  Batch<T> q(c[degree]);
  unroll<degree>([&](auto i) { q = xsimd::fma(q, r, Batch<T>(c[degree - 1 - i])); });
  return xsimd::fma(r * r, q, r);
}

// exp(x) = 2^k (1 + p) with k = round(x / log 2), p = exp(x - k log 2) - 1, and k in the lowest bits of `shifted`.
template <class T>
struct Split {
  Batch<T> p, shifted;
};
// With `low`, a small number or none, of x + low.
template <class T>
inline Split<T> split_exp(const Batch<T>& x, const std::same_as<Batch<T>> auto&... low) {
  using E = Exp<T>;
  const Batch<T> shift(E::shift);
  const Batch<T> shifted = xsimd::fma(x, Batch<T>(static_cast<T>(1.4426950408889634)), shift), k = shifted - shift;
  const Batch<T> r = xsimd::fnma(k, Batch<T>(E::log_2_low), xsimd::fnma(k, Batch<T>(E::log_2_high), x));
  return {expm1_near_zero<T>((r + ... + low)), shifted};
}

// 2^(k + more) y, added to the exponent of y, so that every normal result is reached. A NaN may become anything.
template <class T>
inline Batch<T> scaled(const Batch<T>& y, const Batch<T>& shifted, typename Exp<T>::Integer more = 0) {
  using Bits = BitsOf<T>;
  const Bits k = xsimd::bitwise_cast<Bits>(shifted) + Bits(more);
  return xsimd::bitwise_cast<Batch<T>>(xsimd::bitwise_cast<Bits>(y) + (k << Exp<T>::mantissa));
}

// `result` from lowest to highest, 0 below, infinity above. Most vectors are within as a whole; others, masked ones
// among them, pay for the question.
template <class T>
inline Batch<T> between(T lowest, T highest, const Batch<T>& x, const Batch<T>& result) {
  if (xsimd::all(xsimd::abs(x) <= Batch<T>(std::min(-lowest, highest)))) [[likely]]
    return result;
  const Batch<T> up = xsimd::select(x <= Batch<T>(highest), result, x + Batch<T>(infinity<T>));
  return xsimd::select(x < Batch<T>(lowest), zero<T>(), up);
}

template <class T>
inline Batch<T> exp(const Batch<T>& x) {
  const Split<T> e = split_exp<T>(x);
  return between<T>(Exp<T>::lowest, Exp<T>::highest, x, scaled<T>(e.p + Batch<T>(T{1}), e.shifted));
}

// 2^x = 2^k exp((x - k) log 2), k = round(x).
template <class T>
inline Batch<T> exp2(const Batch<T>& x) {
  using E = Exp<T>;
  const Batch<T> shift(E::shift), shifted = x + shift, rest = x - (shifted - shift);
  const Batch<T> y = expm1_near_zero<T>(rest * Batch<T>(std::numbers::ln2_v<T>)) + Batch<T>(T{1});
  const Batch<T> up = x + Batch<T>(infinity<T>);
  const Batch<T> result = xsimd::select(x < Batch<T>(E::highest_power), scaled<T>(y, shifted), up);
  return xsimd::select(x < Batch<T>(E::lowest_power), zero<T>(), result);
}

// 2^k (1 + p) - 1 = 2^k p + (2^k - 1), for |x| <= one_is_lost.
template <class T>
inline Batch<T> expm1_of(const Split<T>& e) {
  const Batch<T> one(T{1}), power = scaled<T>(one, e.shifted);
  return xsimd::fma(power, e.p, power - one);
}

template <class T>
inline Batch<T> expm1(const Batch<T>& x) {
  using E = Exp<T>;
  const Split<T> e = split_exp<T>(x);
  const Batch<T> up = between<T>(E::lowest, E::highest, x, scaled<T>(e.p + Batch<T>(T{1}), e.shifted));
  const Batch<T> result = xsimd::select(x > Batch<T>(E::one_is_lost), up, expm1_of<T>(e));
  return xsimd::select(x < Batch<T>(-E::one_is_lost), Batch<T>(T{-1}), result);
}

// With t = exp(-2 |x|) - 1: |tanh| = -t / (t + 2), its slope 4 exp(-2 |x|) / (t + 2)^2.
template <class T>
inline std::pair<Batch<T>, Batch<T>> tanh_and_slope(const Batch<T>& x) {
  using E = Exp<T>;
  const Batch<T> one(T{1}), u = Batch<T>(T{-2}) * xsimd::abs(x);
  const Split<T> e = split_exp<T>(u);
  const Batch<T> t = xsimd::select(u < Batch<T>(-E::one_is_lost), -one, expm1_of<T>(e));
  const Batch<T> four_exp =
      xsimd::select(u < Batch<T>(E::lowest_quarter), zero<T>(), scaled<T>(e.p + one, e.shifted, 2));
  const Batch<T> inverse = one / (t + Batch<T>(T{2}));
  return {xsimd::copysign(t * inverse, x), four_exp * inverse * inverse};
}

// y = sigmoid(x) and y sigmoid(-x), with e = exp(-x): y = 1 / (1 + e) and (e y) y, where e y is 1 for huge e, 0 for an
// infinite one. min gives its second number where one is NaN.
template <class T>
inline std::pair<Batch<T>, Batch<T>> sigmoid_and_slope(const Batch<T>& x) {
  const Batch<T> one(T{1}), e = kernels::exp<T>(-x), y = one / (one + e);
  return {y, (xsimd::min(Batch<T>(std::numeric_limits<T>::max()), e) * y) * y};
}

// tanh(log(1 + exp(x))) and its slope, with e = exp(x) and q = e (e + 2): q / (q + 2) and 4 e (1 + e) / (q + 2)^2.
// Where q overflows, the slope is no normal number any more.
template <class T>
inline std::pair<Batch<T>, Batch<T>> tanh_softplus_and_slope(const Batch<T>& x) {
  const Batch<T> one(T{1}), two(T{2}), e = xsimd::min(Batch<T>(std::numeric_limits<T>::max()), kernels::exp<T>(x));
  const Batch<T> q = xsimd::fma(e, e, e + e), inverse = one / (q + two);
  const Batch<T> y = xsimd::select(x > Batch<T>(Exp<T>::one_is_lost), one, q * inverse), once = e * inverse;
  return {y, (two * (once + inverse)) * (once + once)};
}

// exp(-p x^2). p x^2 is head + rest, of which head is exact; exp would magnify the rounding of their sum, so what that
// has lost is taken from the reduced argument.
template <class T>
inline Batch<T> gaussian(const Batch<T>& x, T p) {
  const Batch<T> magnitude = xsimd::abs(x), most(T{64});
  const Batch<T> y = xsimd::select(magnitude > most, most, magnitude);
  // y in half its digits.
  const Batch<T> shift(Exp<T>::shift / (std::is_same_v<T, float> ? T{0x1p6} : T{0x1p19})), near = (y + shift) - shift;
  const Batch<T> head = Batch<T>(p) * (near * near), rest = Batch<T>(p) * ((y - near) * (y + near));
  const Batch<T> sum = head + rest, lost = (head - sum) + rest;
  const Split<T> e = split_exp<T>(-sum, -lost);
  return between<T>(Exp<T>::lowest, Exp<T>::highest, -sum, scaled<T>(e.p + Batch<T>(T{1}), e.shifted));
}

}  // namespace
}  // namespace tapegrad::kernels

// Found by the text in rules/ through its arguments, before xsimd's own, which are slower (exp, tanh) or end too early
// (exp2, expm1).
namespace xsimd {

template <std::floating_point T, class A>
static inline batch<T, A> exp(const batch<T, A>& x) {
  return tapegrad::kernels::exp<T>(x);
}
template <std::floating_point T, class A>
static inline batch<T, A> exp2(const batch<T, A>& x) {
  return tapegrad::kernels::exp2<T>(x);
}
template <std::floating_point T, class A>
static inline batch<T, A> expm1(const batch<T, A>& x) {
  return tapegrad::kernels::expm1<T>(x);
}
template <std::floating_point T, class A>
static inline auto tanh_and_slope(const batch<T, A>& x) {
  return tapegrad::kernels::tanh_and_slope<T>(x);
}
template <std::floating_point T, class A>
static inline auto sigmoid_and_slope(const batch<T, A>& x) {
  return tapegrad::kernels::sigmoid_and_slope<T>(x);
}
template <std::floating_point T, class A>
static inline auto tanh_softplus_and_slope(const batch<T, A>& x) {
  return tapegrad::kernels::tanh_softplus_and_slope<T>(x);
}
template <std::floating_point T, class A>
static inline batch<T, A> tanh(const batch<T, A>& x) {
  return tanh_and_slope(x).first;
}
template <std::floating_point T, class A>
static inline batch<T, A> sigmoid(const batch<T, A>& x) {
  return sigmoid_and_slope(x).first;
}
template <std::floating_point T, class A>
static inline batch<T, A> gaussian(const batch<T, A>& x, T p) {
  return tapegrad::kernels::gaussian<T>(x, p);
}

}  // namespace xsimd
