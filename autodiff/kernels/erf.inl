#pragma once
// The error function for doubles within 5 ulp, its complement and the normal distribution function within 8, by the rational approximations of Cody, Rational
// Chebyshev approximations for the error function, Math. Comp. 23 (1969): erf(x) = x P(x^2) / Q(x^2) up to 0.46875,
// above it erfc(x) = exp(-x^2) R(x) / S(x), and from 4 on erfc(x) = exp(-x^2) / x (1 / sqrt(pi) - z U(z) / W(z)),
// z = 1 / x^2.

#include <numbers>

#include "exp.inl"

namespace tapegrad::kernels {
namespace {

// The coefficients of the highest power first.
struct Cody {
  static constexpr std::array p{1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
                                3.77485237685302021e2, 3.20937758913846947e3};
  static constexpr std::array q{1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
                                2.84423683343917062e3};
  static constexpr std::array r{2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
                                6.61191906371416295e1,  2.98635138197400131e2,  8.81952221241769090e2,
                                1.71204761263407058e3,  2.05107837782607147e3,  1.23033935479799725e3};
  static constexpr std::array s{1.0,
                                1.57449261107098347e1,
                                1.17693950891312499e2,
                                5.37181101862009858e2,
                                1.62138957456669019e3,
                                3.29079923573345963e3,
                                4.36261909014324716e3,
                                3.43936767414372164e3,
                                1.23033935480374942e3};
  static constexpr std::array u{1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
                                1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4};
  static constexpr std::array w{1.0,
                                2.56852019228982242e0,
                                1.87295284992346725e0,
                                5.27905102951428412e-1,
                                6.05183413124413191e-2,
                                2.33520497626869185e-3};
};

// c[0] x^n + c[1] x^(n-1) + ...
template <class T, std::size_t n>
inline Batch<T> polynomial(const std::array<double, n>& c, const Batch<T>& x) {
  Batch<T> y(static_cast<T>(c[0]));
  unroll<static_cast<int>(n) - 1>([&](auto i) { y = xsimd::fma(y, x, Batch<T>(static_cast<T>(c[i + 1]))); });
  return y;
}

// For |x| <= 0.46875.
template <class T>
inline Batch<T> erf_near_zero(const Batch<T>& x) {
  const Batch<T> square = x * x;
  return x * polynomial(Cody::p, square) / polynomial(Cody::q, square);
}

inline Batch<double> erf(const Batch<double>& x) {
  // Beyond 6 the result is 1 to the last bit, and the approximation no longer meant.
  const Batch<double> magnitude = xsimd::abs(x), large = xsimd::min(magnitude, Batch<double>(6.0));
  const Batch<double> complement = exp(-(large * large)) * polynomial(Cody::r, large) / polynomial(Cody::s, large);
  const Batch<double> tail = xsimd::copysign(Batch<double>(1.0) - complement, x);
  // NaN is neither small nor large: x * x keeps it.
  return xsimd::select(magnitude > Batch<double>(0.46875), tail, erf_near_zero(x));
}

// erfc(x), given exp(-x^2) to its last digits.
template <class T>
inline Batch<T> erfc(const Batch<T>& x, const Batch<T>& gauss) {
  const Batch<T> one(T(1)), magnitude = xsimd::abs(x);
  // Beyond 30 the result is 0, and no square overflows.
  const Batch<T> large = xsimd::min(magnitude, Batch<T>(T(30)));
  const Batch<T> middle = polynomial(Cody::r, large) / polynomial(Cody::s, large);
  const Batch<T> z = one / (large * large);
  const Batch<T> far = (Batch<T>(static_cast<T>(std::numbers::inv_sqrtpi)) -
                        z * polynomial(Cody::u, z) / polynomial(Cody::w, z)) / large;
  const Batch<T> tail = gauss * xsimd::select(large > Batch<T>(T(4)), far, middle);
  return xsimd::select(magnitude > Batch<T>(T(0.46875)), xsimd::select(x < zero<T>(), Batch<T>(T(2)) - tail, tail),
                       one - erf_near_zero(x));
}
template <class T>
inline Batch<T> erfc(const Batch<T>& x) {
  return kernels::erfc<T>(x, gaussian<T>(x, T{1}));
}

template <class T>
inline Batch<T> normal_cdf(const Batch<T>& x) {
  const Batch<T> z = x * Batch<T>(-std::numbers::sqrt2_v<T> / 2);
  return Batch<T>(T{0.5}) * kernels::erfc<T>(z, gaussian<T>(x, T{0.5}));
}

}  // namespace
}  // namespace tapegrad::kernels
