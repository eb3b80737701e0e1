#pragma once
// Elementwise functions of floats, and their derivatives times v, each in one fused pass.

#include "hand_common.inl"

namespace tapegrad::benchmarks {
namespace {

using Floats = Batch<float>;

inline Floats number(double value) { return Floats(static_cast<float>(value)); }

struct Pair {
  Floats value, slope;
};

// x s with s = 1 / (1 + e^-x).
struct Swish {
  static Floats value(const Floats& x) { return x / (number(1) + kernels::exp(-x)); }
  static Pair both(const Floats& x) {
    const Floats s = number(1) / (number(1) + kernels::exp(-x)), y = x * s;
    return {y, xsimd::fma(y, number(1) - s, s)};
  }
};

// x t with t = tanh(log(1 + e^x)) = q / (q + 2), q = e^x (e^x + 2); dt/dx = 4 e^x (e^x + 1) / (q + 2)^2. From 20 on t
// = 1.
struct Mish {
  static Floats value(const Floats& x) {
    const Floats e = kernels::exp(xsimd::min(x, number(20))), q = e * (e + number(2));
    return x * (q / (q + number(2)));
  }
  static Pair both(const Floats& x) {
    const Floats e = kernels::exp(xsimd::min(x, number(20))), q = e * (e + number(2));
    const Floats inverse = number(1) / (q + number(2)), t = q * inverse;
    const Floats dt = number(4) * (e * inverse) * ((e + number(1)) * inverse);
    return {x * t, xsimd::fma(x, dt, t)};
  }
};

// The same by the functions of the formula.
struct MishByFormula {
  static Floats value(const Floats& x) { return x * xsimd::tanh(xsimd::log1p(kernels::exp(x))); }
  static Pair both(const Floats& x) {
    const Floats e = kernels::exp(x), t = xsimd::tanh(xsimd::log1p(e));
    return {x * t, xsimd::fma(x * xsimd::fnma(t, t, number(1)), e / (number(1) + e), t)};
  }
};

// x P with P = (1 + erf(x / sqrt 2)) / 2; dP/dx = e^(-x^2 / 2) / sqrt(2 pi).
struct Gelu {
  static Floats probability(const Floats& x) {
    return number(0.5) * (number(1) + xsimd::erf(x * number(0.70710678118654752)));
  }
  static Floats value(const Floats& x) { return x * probability(x); }
  static Pair both(const Floats& x) {
    const Floats P = probability(x), dP = number(0.39894228040143268) * kernels::exp(number(-0.5) * x * x);
    return {x * P, xsimd::fma(x, dP, P)};
  }
};

struct Sigmoid {
  static Floats value(const Floats& x) { return number(1) / (number(1) + kernels::exp(-x)); }
  static Pair both(const Floats& x) {
    const Floats y = value(x);
    return {y, y * (number(1) - y)};
  }
};

struct Tanh {
  static Floats value(const Floats& x) { return xsimd::tanh(x); }
  static Pair both(const Floats& x) {
    const Floats y = value(x);
    return {y, xsimd::fnma(y, y, number(1))};
  }
};

template <class Function>
[[gnu::flatten]] void value_of(const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += width<float>) store(y + i, Function::value(load(x + i)));
}

template <class Function>
[[gnu::flatten]] void value_and_product_of(const float* x, const float* v, float* y, float* product, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += width<float>) {
    const Pair both = Function::both(load(x + i));
    store(y + i, both.value);
    store(product + i, both.slope * load(v + i));
  }
}

template <class Function>
inline constexpr Hand::Elementwise elementwise_of = {value_of<Function>, value_and_product_of<Function>};

}  // namespace
}  // namespace tapegrad::benchmarks
