#pragma once
// The error function for doubles, its complement and the normal distribution function, within 4 ulp: erf(x) =
// x P(x^2) / Q(x^2) up to 0.46875 with Cody's coefficients, Rational Chebyshev approximations for the error function,
// Math. Comp. 23 (1969), and above it erfc(x) = exp(-x^2) C(t) / (1 + 2 x) with t = (x - K) / (x + K), as Shepherd and
// Laframboise, Chebyshev approximation of (1 + 2 x) exp(x^2) erfc x, Math. Comp. 36 (1981): C is near 1 everywhere and
// hardly depends on t, so that it keeps its digits.

#include <numbers>

#include "exp.inl"

namespace tapegrad::kernels {
namespace {

// The coefficients of P and Q, highest power first.
struct Cody {
  static constexpr std::array p{1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
                                3.77485237685302021e2, 3.20937758913846947e3};
  static constexpr std::array q{1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
                                2.84423683343917062e3};
};

// The coefficients of C, highest power first: Chebyshev's approximation of it from 0.46 to where erfc ends.
template <class T>
struct Tail;
template <>
struct Tail<float> {
  static constexpr float middle = 2, end = 10;
  static constexpr std::array c{-0.000278945187F, -0.00124621154F, 0.00119007637F, 0.00864600861F, -0.00801759698F,
                                -0.0542085048F,   0.164049958F,    -0.166031006F,  -0.0927637979F, 1.27697839F};
};
template <>
struct Tail<double> {
  static constexpr double middle = 3.5, end = 27;
  static constexpr std::array c{
      3.804735190029503e-10,  1.0201394766656219e-8,   -6.4225280449271816e-10, -9.2452281190032084e-8,
      -6.2688671700664101e-9, 5.9947113070327462e-7,   -4.5502040174067699e-8,  -3.8139325402684382e-6,
      2.3288934706934168e-6,  2.4260756099847967e-5,   -4.2782400085164938e-5,  -0.00012151237974877631,
      0.00056438444826629568, -0.00030226788340057288, -0.0042150199111923594,  0.019099330942924891,
      -0.0488233258276806,    0.087983153824839401,    -0.11508959816019944,    0.097519095153259246,
      -0.010555596332218189,  -0.14000918013761942,    1.2423492448711544};
};

// For |x| <= 0.46875.
template <class T>
inline Batch<T> erf_near_zero(const Batch<T>& x) {
  const Batch<T> square = x * x;
  return x * horner<T>(Cody::p, square) / horner<T>(Cody::q, square);
}

// c[0] x^(n-1) + c[1] x^(n-2) + ... + c[n-1], all but the last in two chains, of the odd and the even powers.
template <class T, std::size_t n>
inline Batch<T> two_horners(const std::array<T, n>& c, const Batch<T>& x) {
  const Batch<T> square = x * x;
  Batch<T> y[] = {Batch<T>(c[0]), Batch<T>(c[1])};
  unroll<static_cast<int>(n) - 3>([&](auto i) { y[i % 2] = xsimd::fma(y[i % 2], square, Batch<T>(c[i + 2])); });
  return xsimd::fma(xsimd::fma(y[(n + 1) % 2], x, y[n % 2]), x, Batch<T>(c[n - 1]));
}

// For the complement of s x: C h, which serves with h + x = h (1 + 2 s x).
template <class T, bool normal>
struct ScaledTail {
  static constexpr T s = normal ? std::numbers::sqrt2_v<T> / 2 : 1, h = T{0.5} / s, middle = Tail<T>::middle / s,
                     end = Tail<T>::end / s;
  static constexpr auto c = [] {
    auto scaled = Tail<T>::c;
    for (T& v : scaled) v *= h;
    return scaled;
  }();
};

// The same with fewer coefficients, for erf itself: of small complements it needs fewer digits, and of those beyond 6
// none.
struct ErfTail {
  static constexpr double h = 0.5, middle = 2, end = 6;
  static constexpr std::array c{
      -1.6987320462245592e-6, -9.4227742132321797e-6, -1.9313659200626479e-5,  -9.0882629609359147e-7,
      7.5585029701348072e-5,  0.00010321575091868823, -0.00022716753956445749, -0.00072840809276996466,
      0.00063566922696543428, 0.0043613269443336756,  -0.0040170075354638747,  -0.027110000495815028,
      0.082025640016673596,   -0.083015198807646862,  -0.046381913292872893,   0.63848919077626436};
};

// erfc(s x) for s x >= 0.46, given exp(-(s x)^2).
template <class S, class T>
inline Batch<T> erfc_tail(const Batch<T>& x, const Batch<T>& gauss) {
  const Batch<T> middle(S::middle), y = xsimd::min(x, Batch<T>(S::end)), t = (y - middle) / (y + middle);
  return gauss * two_horners<T>(S::c, t) / (y + Batch<T>(S::h));
}

inline Batch<double> erf(const Batch<double>& x) {
  // Beyond 6 the result is 1 to the last bit, and no square overflows.
  const Batch<double> magnitude = xsimd::abs(x), large = xsimd::min(magnitude, Batch<double>(ErfTail::end));
  const Batch<double> complement = erfc_tail<ErfTail, double>(large, exp(-(large * large)));
  const Batch<double> tail = xsimd::copysign(Batch<double>(1.0) - complement, x);
  // NaN is neither small nor large: x * x keeps it.
  return xsimd::select(magnitude > Batch<double>(0.46875), tail, erf_near_zero(x));
}

// erfc(s x), given exp(-(s x)^2) to its last digits.
template <class T, bool normal>
inline Batch<T> erfc(const Batch<T>& x, const Batch<T>& gauss) {
  using S = ScaledTail<T, normal>;
  constexpr T near = static_cast<T>(0.46875) / S::s;
  const Batch<T> magnitude = xsimd::abs(x), tail = erfc_tail<S, T>(magnitude, gauss);
  return xsimd::select(magnitude > Batch<T>(near), xsimd::select(x < zero<T>(), Batch<T>(T{2}) - tail, tail),
                       Batch<T>(T{1}) - erf_near_zero(Batch<T>(S::s) * x));
}
template <class T>
inline Batch<T> erfc(const Batch<T>& x) {
  return kernels::erfc<T, false>(x, gaussian<T>(x, T{1}));
}

template <class T>
inline Batch<T> normal_cdf(const Batch<T>& x) {
  return Batch<T>(T{0.5}) * kernels::erfc<T, true>(-x, gaussian<T>(x, T{0.5}));
}

}  // namespace
}  // namespace tapegrad::kernels

// Found by the text in rules/ through its arguments, before xsimd's own (erf of doubles is 70 ulp off there, erfc of
// floats too, of doubles 1e7).
namespace xsimd {

template <class A>
static inline batch<double, A> erf(const batch<double, A>& x) {
  return tapegrad::kernels::erf(x);
}
template <std::floating_point T, class A>
static inline batch<T, A> erfc(const batch<T, A>& x) {
  return tapegrad::kernels::erfc<T>(x);
}
template <std::floating_point T, class A>
static inline batch<T, A> normal_cdf(const batch<T, A>& x) {
  return tapegrad::kernels::normal_cdf<T>(x);
}

}  // namespace xsimd
