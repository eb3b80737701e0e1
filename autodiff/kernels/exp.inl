#pragma once
// exp, 2 to 3 times as fast as in xsimd 8.1, which divides and converts to integers lane by lane for doubles.

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
  static constexpr float lowest = -87.3F, highest = 88.37F;  // beyond: 0, infinity
  static constexpr std::array polynomial = {0.5F, 1.6666277e-1F, 4.1665401e-2F, 8.3955629e-3F, 1.3997796e-3F};
};

template <>
struct Exp<double> {
  using Integer = std::int64_t;
  static constexpr int mantissa = 52;
  static constexpr double shift = 0x1.8p52, log_2_high = 6.93147180369123816490e-01,
                          log_2_low = 1.90821492927058770002e-10;
  static constexpr double lowest = -708.39, highest = 709.43;
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

// exp(x) = 2^k exp(r) with k = round(x / log 2) and r = x - k log 2.
template <class T>
inline Batch<T> exp(const Batch<T>& x) {
  using E = Exp<T>;
  using Bits = Batch<typename E::Integer>;
  const Batch<T> shift(E::shift);
  const Batch<T> shifted = xsimd::fma(x, Batch<T>(static_cast<T>(1.4426950408889634)), shift), k = shifted - shift;
  const Batch<T> r = xsimd::fnma(k, Batch<T>(E::log_2_low), xsimd::fnma(k, Batch<T>(E::log_2_high), x));
  constexpr int degree = static_cast<int>(E::polynomial.size()) - 1;
  Batch<T> q(E::polynomial[degree]);
  unroll<degree>([&](auto i) { q = xsimd::fma(q, r, Batch<T>(E::polynomial[degree - 1 - i])); });
  const Batch<T> y = xsimd::fma(r * r, q, r) + Batch<T>(T{1});
  const Bits power = (xsimd::bitwise_cast<Bits>(shifted) << E::mantissa) + xsimd::bitwise_cast<Bits>(Batch<T>(T{1}));
  const Batch<T> result =
      xsimd::select(x > Batch<T>(E::highest), Batch<T>(infinity<T>), y * xsimd::bitwise_cast<Batch<T>>(power));
  return xsimd::select(x < Batch<T>(E::lowest), zero<T>(), result);
}

}  // namespace
}  // namespace tapegrad::kernels
