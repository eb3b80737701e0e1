#pragma once
// The error function for doubles, within 5 ulp, by the rational approximations of Cody, Rational Chebyshev approximations
// for the error function, Math. Comp. 23 (1969): erf(x) = x P(x^2) / Q(x^2) up to 0.46875, and above it
// 1 - exp(-x^2) R(x) / S(x).

#include "exp.inl"

namespace tapegrad::kernels {
namespace {

// c[0] x^n + c[1] x^(n-1) + ...
template <std::size_t n>
inline Batch<double> polynomial(const std::array<double, n>& c, const Batch<double>& x) {
  Batch<double> y(c[0]);
  unroll<static_cast<int>(n) - 1>([&](auto i) { y = xsimd::fma(y, x, Batch<double>(c[i + 1])); });
  return y;
}

inline Batch<double> erf(const Batch<double>& x) {
  constexpr std::array p{1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
                         3.20937758913846947e3};
  constexpr std::array q{1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
                         2.84423683343917062e3};
  constexpr std::array r{2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
                         6.61191906371416295e1,  2.98635138197400131e2,  8.81952221241769090e2,
                         1.71204761263407058e3,  2.05107837782607147e3,  1.23033935479799725e3};
  constexpr std::array s{1.0,
                         1.57449261107098347e1,
                         1.17693950891312499e2,
                         5.37181101862009858e2,
                         1.62138957456669019e3,
                         3.29079923573345963e3,
                         4.36261909014324716e3,
                         3.43936767414372164e3,
                         1.23033935480374942e3};
  // Beyond 6 the result is 1 to the last bit, and the approximation no longer meant.
  const Batch<double> magnitude = xsimd::abs(x), large = xsimd::min(magnitude, Batch<double>(6.0)), square = x * x;
  const Batch<double> near_zero = x * polynomial(p, square) / polynomial(q, square);
  const Batch<double> complement = exp(-(large * large)) * polynomial(r, large) / polynomial(s, large);
  const Batch<double> tail = xsimd::copysign(Batch<double>(1.0) - complement, x);
  // NaN is neither small nor large: x * x keeps it.
  return xsimd::select(magnitude > Batch<double>(0.46875), tail, near_zero);
}

}  // namespace
}  // namespace tapegrad::kernels
