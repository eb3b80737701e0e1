#pragma once
// The elementwise primitives: each block holds a function and its derivative, generic in the number type V. With SIMD
// batches a block is one fused loop, with tensors that record it can be differentiated again, so each formula is
// written once. An elementwise function has a diagonal Jacobian: one product v * f'(x) serves as pullback and as
// pushforward. A block gives the `slope` f'(x), which may use the output y; what multiplies it with v is written once,
// at the end, and is a strong-zero product: 0 where v or the slope is 0. A block whose slope over- or underflows before
// the product does gives the `chain` of products, times(times(v, f1), f2) for f' = f1 f2; one which only chooses gives
// the `product` itself. `p` is the primitive's constant, where it has one. With the symbolic numbers of elementwise()
// the slopes are the derivative table of users' functions.
//
// A slope keeps its digits wherever f' is a normal number, and so does the slope of what it is made of: no difference
// of numbers that are nearly equal, no result of which the rounding has taken what counts. Where no formula in x and y
// is like that, the slope is a block of its own, called by block<Op>(x). A block names it `Slope` where one exponential
// gives value and slope; they are then computed `both` at once, and the slope is kept for the reverse sweep.
//
// Only this header and the per-ISA kernels know the text; it names no tensor and no SIMD type.
//
// Derivatives: Abramowitz & Stegun, Handbook of Mathematical Functions, chapters 3, 4 and 7.

#include <array>
#include <cmath>
#include <numbers>
#include <tuple>

#include "../core/export.hpp"

namespace tapegrad {
// Exported, since the primitives of the library's interface are named by these types.
namespace ops TAPEGRAD_EXPORT {

/// A number of V's element type.
template <class V>
V constant(double value) {
  return V(static_cast<typename V::value_type>(value));
}

/// The choice of tensors and of symbolic numbers, under the name that it has for SIMD batches.
template <class Condition, class V>
auto select(const Condition& condition, const V& a, const V& b) -> decltype(where(condition, a, b)) {
  return where(condition, a, b);
}

// `passes`: the slopes, where they are -1, 0 or 1 everywhere.
struct Negate {
  static constexpr const char* name = "negate";
  static constexpr std::array passes{-1};
  template <class V>
  static V value(const V& x) {
    return -x;
  }
};

struct Exp {
  static constexpr const char* name = "exp";
  template <class V>
  static V value(const V& x) {
    return exp(x);
  }
  template <class V>
  static V slope(const V&, const V& y) {
    return y;
  }
};

// With exp(x), not y + 1, which has no digits left where y is near -1.
struct Expm1 {
  static constexpr const char* name = "expm1";
  template <class V>
  static V value(const V& x) {
    return expm1(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return exp(x);
  }
};

struct Exp2 {
  static constexpr const char* name = "exp2";
  template <class V>
  static V value(const V& x) {
    return exp2(x);
  }
  template <class V>
  static V slope(const V&, const V& y) {
    return constant<V>(std::numbers::ln2) * y;
  }
};

struct Log {
  static constexpr const char* name = "log";
  template <class V>
  static V value(const V& x) {
    return log(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return 1 / x;
  }
};

struct Log2 {
  static constexpr const char* name = "log2";
  template <class V>
  static V value(const V& x) {
    return log2(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return constant<V>(std::numbers::log2e) / x;
  }
};

struct Log10 {
  static constexpr const char* name = "log10";
  template <class V>
  static V value(const V& x) {
    return log10(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return constant<V>(std::numbers::log10e) / x;
  }
};

struct Log1p {
  static constexpr const char* name = "log1p";
  template <class V>
  static V value(const V& x) {
    return log1p(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return 1 / (1 + x);
  }
};

// 1 / cosh(x)^2 = 1 - tanh(x)^2.
struct TanhSlope {
  static constexpr const char* name = "tanh_slope";
  template <class V>
  static V value(const V& x) {
    return tanh_and_slope(x).second;
  }
  template <class V>
  static V slope(const V& x, const V& y) {
    return -2 * (tanh(x) * y);
  }
};

struct Tanh {
  static constexpr const char* name = "tanh";
  using Slope = TanhSlope;
  template <class V>
  static V value(const V& x) {
    return tanh_and_slope(x).first;
  }
  template <class V>
  static auto both(const V& x) {
    return tanh_and_slope(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return block<TanhSlope>(x);
  }
};

// sigmoid(x) sigmoid(-x).
struct SigmoidSlope {
  static constexpr const char* name = "sigmoid_slope";
  template <class V>
  static V value(const V& x) {
    return sigmoid_and_slope(x).second;
  }
  template <class V>
  static V slope(const V& x, const V& y) {
    return -(tanh(constant<V>(0.5) * x) * y);
  }
};

struct Sigmoid {
  static constexpr const char* name = "sigmoid";
  using Slope = SigmoidSlope;
  template <class V>
  static V value(const V& x) {
    return sigmoid_and_slope(x).first;
  }
  template <class V>
  static auto both(const V& x) {
    return sigmoid_and_slope(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return block<SigmoidSlope>(x);
  }
};

// log(1 + exp(x)), whose exponential cannot overflow.
struct Softplus {
  static constexpr const char* name = "softplus";
  template <class V>
  static V value(const V& x) {
    return select(x > V(0), x, V(0)) + log1p(exp(-abs(x)));
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return sigmoid(x);
  }
};

// h' = (1 - h^2) s of h below, s = sigmoid(x); h'' = h' (1 - s - 2 h s). Within 11 ulp, where x h'' is larger than h'.
struct TanhSoftplusSlope {
  static constexpr const char* name = "tanh_softplus_slope";
  template <class V>
  static V value(const V& x) {
    return tanh_softplus_and_slope(x).second;
  }
  template <class V>
  static V slope(const V& x, const V& y);
};

// h = tanh(log(1 + e^x)), the factor of mish.
struct TanhSoftplus {
  static constexpr const char* name = "tanh_softplus";
  using Slope = TanhSoftplusSlope;
  template <class V>
  static V value(const V& x) {
    return tanh_softplus_and_slope(x).first;
  }
  template <class V>
  static auto both(const V& x) {
    return tanh_softplus_and_slope(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return block<TanhSoftplusSlope>(x);
  }
};

template <class V>
V TanhSoftplusSlope::slope(const V& x, const V& y) {
  return y * (sigmoid(-x) - 2 * (block<TanhSoftplus>(x) * sigmoid(x)));
}

struct Softsign {
  static constexpr const char* name = "softsign";
  template <class V>
  static V value(const V& x) {
    return x / (1 + abs(x));
  }
  template <class V>
  static V slope(const V& x, const V&) {
    const V inverse = 1 / (1 + abs(x));
    return inverse * inverse;
  }
};

struct Relu {
  static constexpr const char* name = "relu";
  // Written so that NaN stays NaN.
  template <class V>
  static V value(const V& x) {
    return select(x <= V(0), V(0), x);
  }
  template <class V>
  static V product(const V& v, const V& x, const V&) {
    return select(x > V(0), v, V(0));
  }
};

struct LeakyRelu {
  static constexpr const char* name = "leaky_relu";
  template <class V, class T>
  static V value(const V& x, T p) {
    return select(x > V(0), x, V(p) * x);
  }
  template <class V, class T>
  static V product(const V& v, const V& x, const V&, T p) {
    return select(x > V(0), v, mul0(v, V(p)));
  }
};

struct Abs {
  static constexpr const char* name = "abs";
  template <class V>
  static V value(const V& x) {
    return abs(x);
  }
  template <class V>
  static V product(const V& v, const V& x, const V&) {
    return select(x > V(0), v, select(x < V(0), -v, V(0)));
  }
};

// 0 and NaN are themselves.
struct Sign {
  static constexpr const char* name = "sign";
  static constexpr std::array passes{0};
  template <class V>
  static V value(const V& x) {
    return select(x > V(0), V(1), select(x < V(0), V(-1), x));
  }
};

struct Floor {
  static constexpr const char* name = "floor";
  static constexpr std::array passes{0};
  template <class V>
  static V value(const V& x) {
    return floor(x);
  }
};

struct Ceil {
  static constexpr const char* name = "ceil";
  static constexpr std::array passes{0};
  template <class V>
  static V value(const V& x) {
    return ceil(x);
  }
};

struct Round {
  static constexpr const char* name = "round";
  static constexpr std::array passes{0};
  template <class V>
  static V value(const V& x) {
    return nearbyint(x);
  }
};

struct Sqrt {
  static constexpr const char* name = "sqrt";
  template <class V>
  static V value(const V& x) {
    return sqrt(x);
  }
  template <class V>
  static V slope(const V&, const V& y) {
    return 1 / (y + y);
  }
};

struct Cbrt {
  static constexpr const char* name = "cbrt";
  template <class V>
  static V value(const V& x) {
    return cbrt(x);
  }
  template <class V>
  static V slope(const V&, const V& y) {
    return 1 / (3 * (y * y));
  }
};

struct Square {
  static constexpr const char* name = "square";
  template <class V>
  static V value(const V& x) {
    return x * x;
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return x + x;
  }
};

struct Reciprocal {
  static constexpr const char* name = "reciprocal";
  template <class V>
  static V value(const V& x) {
    return 1 / x;
  }
  // Of g(1 / x) the product v y is y g'(y), of g's magnitude where y^2 overflows.
  template <class V, class Times>
  static V chain(const V& v, const V&, const V& y, Times times) {
    return -times(times(v, y), y);
  }
};

struct Sin {
  static constexpr const char* name = "sin";
  template <class V>
  static V value(const V& x) {
    return sin(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return cos(x);
  }
};

struct Cos {
  static constexpr const char* name = "cos";
  template <class V>
  static V value(const V& x) {
    return cos(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return -sin(x);
  }
};

struct Tan {
  static constexpr const char* name = "tan";
  template <class V>
  static V value(const V& x) {
    return tan(x);
  }
  template <class V>
  static V slope(const V&, const V& y) {
    return 1 + y * y;
  }
};

struct AsinSlope {
  static constexpr const char* name = "asin_slope";
  template <class V>
  static V value(const V& x) {
    return 1 / sqrt((1 - x) * (1 + x));
  }
  template <class V>
  static V slope(const V& x, const V& y) {
    return x * (y * y * y);
  }
};

struct Asin {
  static constexpr const char* name = "asin";
  template <class V>
  static V value(const V& x) {
    return asin(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return block<AsinSlope>(x);
  }
};

struct Acos {
  static constexpr const char* name = "acos";
  template <class V>
  static V value(const V& x) {
    return acos(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return -block<AsinSlope>(x);
  }
};

struct AtanSlope {
  static constexpr const char* name = "atan_slope";
  template <class V>
  static V value(const V& x) {
    return 1 / (1 + x * x);
  }
  template <class V>
  static V slope(const V& x, const V& y) {
    return -2 * (mul0(x, y) * y);
  }
};

struct Atan {
  static constexpr const char* name = "atan";
  template <class V>
  static V value(const V& x) {
    return atan(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return block<AtanSlope>(x);
  }
};

struct Sinh {
  static constexpr const char* name = "sinh";
  template <class V>
  static V value(const V& x) {
    return sinh(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return cosh(x);
  }
};

struct Cosh {
  static constexpr const char* name = "cosh";
  template <class V>
  static V value(const V& x) {
    return cosh(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return sinh(x);
  }
};

// exp(-p x^2), p a power of two.
struct Gaussian {
  static constexpr const char* name = "gaussian";
  template <class V, class T>
  static V value(const V& x, T p) {
    return gaussian(x, p);
  }
  template <class V, class T>
  static V slope(const V& x, const V& y, T p) {
    return V(-2 * p) * mul0(x, y);
  }
};

struct Erf {
  static constexpr const char* name = "erf";
  template <class V>
  static V value(const V& x) {
    return erf(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return constant<V>(2 * std::numbers::inv_sqrtpi) * block<Gaussian>(x, 1);
  }
};

struct Erfc {
  static constexpr const char* name = "erfc";
  template <class V>
  static V value(const V& x) {
    return erfc(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return constant<V>(-2 * std::numbers::inv_sqrtpi) * block<Gaussian>(x, 1);
  }
};

// The distribution function of the normal distribution, erfc(-x / sqrt(2)) / 2.
struct NormalCdf {
  static constexpr const char* name = "normal_cdf";
  template <class V>
  static V value(const V& x) {
    return normal_cdf(x);
  }
  template <class V>
  static V slope(const V& x, const V&) {
    return constant<V>(std::numbers::inv_sqrtpi / std::numbers::sqrt2) * block<Gaussian>(x, 0.5);
  }
};

// p x^(p-1) as p x^p / x, for a power between 0 and 1: the rounding of p - 1 would count, and x^(p-1) would
// overflow before the slope. Behind it the limits at 0 and infinity.
struct PowSlope {
  static constexpr const char* name = "pow_slope";
  template <class V, class T>
  static V value(const V& x, T p) {
    const V quotient = (V(p) * power(x, p)) / x;
    return select(quotient == quotient, quotient, V(p) / (x * sqrt(x)));
  }
  template <class V, class T>
  static V slope(const V& x, const V& y, T p) {
    const V quotient = (V(p - 1) * y) / x;
    return select(quotient == quotient, quotient, V(p * (p - 1)) / (x * x * sqrt(x)));
  }
};

struct Pow {
  static constexpr const char* name = "pow";
  template <class V, class T>
  static V value(const V& x, T p) {
    return power(x, p);
  }
  // The slope p x^(p-1) is 0 for p = 0, also where x^-1 is infinite. Below that it is taken as in Reciprocal.
  template <class V, class T, class Times>
  static V chain(const V& v, const V& x, const V& y, T p, Times times) {
    if (p < 0) return times(times(v, y), V(p) / x);
    if (p == 0) return times(v, V(0));
    return times(v, p < 1 ? block<PowSlope>(x, p) : V(p) * power(x, p - 1));
  }
};

struct Add {
  static constexpr const char* name = "add";
  static constexpr std::array passes{1, 1};
  template <class V>
  static V value(const V& a, const V& b) {
    return a + b;
  }
};

struct Subtract {
  static constexpr const char* name = "subtract";
  static constexpr std::array passes{1, -1};
  template <class V>
  static V value(const V& a, const V& b) {
    return a - b;
  }
};

struct Multiply {
  static constexpr const char* name = "multiply";
  template <class V>
  static V value(const V& a, const V& b) {
    return a * b;
  }
  template <class V>
  static V slope_a(const V&, const V& b, const V&) {
    return b;
  }
  template <class V>
  static V slope_b(const V& a, const V&, const V&) {
    return a;
  }
};

struct Divide {
  static constexpr const char* name = "divide";
  template <class V>
  static V value(const V& a, const V& b) {
    return a / b;
  }
  template <class V, class Times>
  static V chain_a(const V& v, const V&, const V& b, const V&, Times times) {
    return times(v, 1 / b);
  }
  // v y first, as in Reciprocal.
  template <class V, class Times>
  static V chain_b(const V& v, const V&, const V& b, const V& y, Times times) {
    return times(times(v, y), -1 / b);
  }
};

// The strong-zero product: a * b, but 0 where either is 0, whatever the other, infinite and NaN included.
struct Mul0 {
  static constexpr const char* name = "mul0";
  template <class V>
  static V value(const V& a, const V& b) {
    return mul0(a, b);
  }
  template <class V>
  static V slope_a(const V&, const V& b, const V&) {
    return b;
  }
  template <class V>
  static V slope_b(const V& a, const V&, const V&) {
    return a;
  }
};

// a log b, and 0 where a is 0, unless b is NaN. The slope by b there is 0, which mul0 leaves with its own slope 1 / b.
struct XLogY {
  static constexpr const char* name = "xlogy";
  template <class V>
  static V value(const V& a, const V& b) {
    return select(a == V(0), select(b == b, V(0), b), a * log(b));
  }
  template <class V>
  static V slope_a(const V&, const V& b, const V&) {
    return log(b);
  }
  template <class V>
  static V slope_b(const V& a, const V& b, const V&) {
    return select(a == V(0), mul0(a, 1 / b), a / b);
  }
};

// Equal arguments get half of the derivative each; a NaN on either side is the value.
struct Maximum {
  static constexpr const char* name = "maximum";
  template <class V>
  static V value(const V& a, const V& b) {
    return select(a == a, select(a > b, a, b), a);
  }
  template <class V>
  static V product_a(const V& v, const V& a, const V& b, const V&) {
    return select(a > b, v, select(a == b, V(0.5) * v, V(0)));
  }
  template <class V>
  static V product_b(const V& v, const V& a, const V& b, const V&) {
    return select(a < b, v, select(a == b, V(0.5) * v, V(0)));
  }
};

struct Minimum {
  static constexpr const char* name = "minimum";
  template <class V>
  static V value(const V& a, const V& b) {
    return select(a == a, select(a < b, a, b), a);
  }
  template <class V>
  static V product_a(const V& v, const V& a, const V& b, const V&) {
    return select(a < b, v, select(a == b, V(0.5) * v, V(0)));
  }
  template <class V>
  static V product_b(const V& v, const V& a, const V& b, const V&) {
    return select(a > b, v, select(a == b, V(0.5) * v, V(0)));
  }
};

/// Products of the chain rule: the strong-zero one, and the plain one, the same but for its NaN.
struct Strong {
  template <class V>
  V operator()(const V& a, const V& b) const {
    return mul0(a, b);
  }
};
struct Plain {
  template <class V>
  V operator()(const V& a, const V& b) const {
    return a * b;
  }
};

/// v * f'(x) of a block of one operand that gives its slope, or a chain.
template <class Op, class V, class T, class Times>
requires requires(const V& x, T p) { Op::slope(x, x, p); } || requires(const V& x) {
  Op::slope(x, x);
} || requires(const V& x, Times times) {
  Op::chain(x, x, x, times);
} || requires(const V& x, T p, Times times) {
  Op::chain(x, x, x, p, times);
}
V chain(const V& v, const V& x, const V& y, T p, Times times) {
  if constexpr (requires { Op::chain(v, x, y, p, times); })
    return Op::chain(v, x, y, p, times);
  else if constexpr (requires { Op::chain(v, x, y, times); })
    return Op::chain(v, x, y, times);
  else if constexpr (requires { Op::slope(x, y, p); })
    return times(v, Op::slope(x, y, p));
  else
    return times(v, Op::slope(x, y));
}

/// v * df/da for k = 0, v * df/db for k = 1, of a block of two operands that gives its slopes, or chains.
template <class Op, int k, class V, class Times>
requires requires(const V& x) { Op::slope_a(x, x, x); } || requires(const V& x, Times times) {
  Op::chain_a(x, x, x, x, times);
}
V chain(const V& v, const V& a, const V& b, const V& y, Times times) {
  if constexpr (requires { Op::chain_a(v, a, b, y, times); })
    return k == 0 ? Op::chain_a(v, a, b, y, times) : Op::chain_b(v, a, b, y, times);
  else
    return times(v, k == 0 ? Op::slope_a(a, b, y) : Op::slope_b(a, b, y));
}

/// v * f'(x) of a block of one operand.
template <class Op, class V, class T>
V product(const V& v, const V& x, const V& y, T p) {
  if constexpr (requires { chain<Op>(v, x, y, p, Strong{}); })
    return chain<Op>(v, x, y, p, Strong{});
  else if constexpr (requires { Op::product(v, x, y, p); })
    return Op::product(v, x, y, p);
  else
    return Op::product(v, x, y);
}

/// v * df/da for k = 0, v * df/db for k = 1, of a block of two operands.
template <class Op, int k, class V>
V product(const V& v, const V& a, const V& b, const V& y) {
  if constexpr (requires { chain<Op, k>(v, a, b, y, Strong{}); })
    return chain<Op, k>(v, a, b, y, Strong{});
  else if constexpr (k == 0)
    return Op::product_a(v, a, b, y);
  else
    return Op::product_b(v, a, b, y);
}

/// Every block above: the kernels and the registry are made from these lists.
using Unary = std::tuple<Negate, Exp, Expm1, Exp2, Log, Log2, Log10, Log1p, Tanh, TanhSlope, Sigmoid, SigmoidSlope,
                         Softplus, TanhSoftplus, TanhSoftplusSlope, Softsign, Relu, LeakyRelu, Abs, Sign, Floor, Ceil,
                         Round, Sqrt, Cbrt, Square, Reciprocal, Sin, Cos, Tan, Asin, Acos, AsinSlope, Atan, AtanSlope,
                         Sinh, Cosh, Erf, Erfc, Gaussian, NormalCdf, Pow, PowSlope>;
using Binary = std::tuple<Add, Subtract, Multiply, Divide, Mul0, XLogY, Maximum, Minimum>;

// What only the programs of elementwise() have: comparisons, which give 1 or 0, the choice by them, and two operations
// in one pass over memory.

struct Less {
  static constexpr std::array passes{0, 0};
  template <class V>
  static V value(const V& a, const V& b) {
    return select(a < b, V(1), V(0));
  }
};

struct LessEqual {
  static constexpr std::array passes{0, 0};
  template <class V>
  static V value(const V& a, const V& b) {
    return select(a <= b, V(1), V(0));
  }
};

struct Equal {
  static constexpr std::array passes{0, 0};
  template <class V>
  static V value(const V& a, const V& b) {
    return select(a == b, V(1), V(0));
  }
};

struct Select {
  template <class V>
  static V value(const V& condition, const V& a, const V& b) {
    return select(condition == V(0), b, a);
  }
};

/// Outer of Inner(a, b) and c, in the other order when `second`; each rounds as it does alone.
template <class Outer, class Inner, bool second>
struct Pair {
  template <class V>
  static V value(const V& a, const V& b, const V& c) {
    if constexpr (second)
      return Outer::value(c, Inner::value(a, b));
    else
      return Outer::value(Inner::value(a, b), c);
  }
};

using Comparisons = std::tuple<Less, LessEqual, Equal>;
template <class Inner>
using PairsOf = std::tuple<Pair<Add, Inner, false>, Pair<Multiply, Inner, false>, Pair<Subtract, Inner, false>,
                           Pair<Subtract, Inner, true>>;
using Ternary =
    decltype(std::tuple_cat(std::tuple<Select>(), PairsOf<Add>(), PairsOf<Subtract>(), PairsOf<Multiply>()));

}  // namespace TAPEGRAD_EXPORT

namespace detail {

/// The place of a block of this header in one of its lists; the list's length where it is none of it.
template <class Op, class List>
inline constexpr std::size_t index_in = 0;
template <class Op, class... All>
inline constexpr std::size_t index_in<Op, std::tuple<All...>> = [] {
  std::size_t i = 0;
  static_cast<void>(((std::is_same_v<Op, All> || (++i, false)) || ...));
  return i;
}();
template <class Op, class List>
inline constexpr bool is_in = index_in<Op, List> < std::tuple_size_v<List>;

template <class Op>
concept Passes = requires {
  Op::passes;
};

}  // namespace detail
}  // namespace tapegrad
