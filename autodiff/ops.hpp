#pragma once
// Every public operation. All take the user's line as a hidden last argument and throw ShapeError, naming it, if shapes
// or axes do not fit. Axes count from 0, or from the end if negative. Broadcasting is NumPy's: shapes are aligned at
// the last axis, and axes of size 1 are repeated. Operations on traced tensors are recorded; the formula of each
// derivative is with its primitive in ops/. Subgradients are documented here for functions with a corner.
//
//     auto softmax_by_hand = [](const Tensor<>& z) {
//       auto e = exp(z - max(z, -1, keep_dims));
//       return e / sum(e, -1, keep_dims);
//     };

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <vector>

#include "core/scalar.hpp"
#include "rules/elementwise.hpp"
#include "tensor.hpp"

namespace tapegrad {

/// The operand of an elementwise function: a tensor, or a symbolic number inside elementwise().
template <class V>
concept ElementwiseOperand =
    std::is_same_v<V, Tensor<float>> || std::is_same_v<V, Tensor<double>> || std::is_same_v<V, Scalar>;

// ---------------------------------------------------------------------------------------------------- creation

/// Constants of the given shape. Throws ShapeError for a negative size, as do the others.
template <class T = double>
TAPEGRAD_EXPORT Tensor<T> zeros(const Shape& shape, Caller where = Caller::here());
template <class T = double>
TAPEGRAD_EXPORT Tensor<T> ones(const Shape& shape, Caller where = Caller::here());
template <class T = double>
TAPEGRAD_EXPORT Tensor<T> full(const Shape& shape, std::type_identity_t<T> value, Caller where = Caller::here());
/// Vectors of n constants. Throw ShapeError for a negative n.
template <class T = double>
Tensor<T> zeros(detail::Count auto n, Caller where = Caller::here()) {
  return zeros<T>(Shape{static_cast<std::int64_t>(n)}, where);
}
template <class T = double>
Tensor<T> ones(detail::Count auto n, Caller where = Caller::here()) {
  return ones<T>(Shape{static_cast<std::int64_t>(n)}, where);
}
template <class T = double>
Tensor<T> full(detail::Count auto n, std::type_identity_t<T> value, Caller where = Caller::here()) {
  return full<T>(Shape{static_cast<std::int64_t>(n)}, value, where);
}
/// The identity matrix (n, n).
template <class T = double>
TAPEGRAD_EXPORT Tensor<T> eye(std::int64_t n, Caller where = Caller::here());
/// start, start + step, ..., up to but not including stop. Throws ValueError if step is 0 or a bound is not finite.
template <class T = double>
TAPEGRAD_EXPORT Tensor<T> arange(double start, double stop, double step = 1, Caller where = Caller::here());
template <class T = double>
Tensor<T> arange(double stop, Caller where = Caller::here()) {
  return arange<T>(0, stop, 1, where);
}
/// `count` evenly spaced numbers from start to stop, both included.
template <Real T = double>
TAPEGRAD_EXPORT Tensor<T> linspace(double start, double stop, std::int64_t count, Caller where = Caller::here());
/// (labels..., classes): 1 at each label, 0 elsewhere. Throws ValueError for a label outside 0..classes-1, where Keras
/// gives zeros.
template <Real T = double>
TAPEGRAD_EXPORT Tensor<T> one_hot(const Tensor<std::int64_t>& labels, std::int64_t classes,
                                  Caller where = Caller::here());

// ------------------------------------------------------------------------------------------------- elementwise

// These take tensors, and the symbolic numbers of elementwise(). They are accurate to 4 ulp unless stated otherwise.

/// e^x; inf above 709.78 (float: 88.72), 0 below -708.396 (float: -87.336), where results would be subnormal. The same
/// holds for functions made of it: sigmoid, its slope, x sigmoid(x) and the like are 0 where their exponential is.
template <ElementwiseOperand V>
V exp(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Exp>(x, where);
}
/// e^x - 1, exact near 0; inf above 709.78 (float: 88.72).
template <ElementwiseOperand V>
V expm1(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Expm1>(x, where);
}
/// 2^x; inf from 1024 (float: 128) on, 0 where results would be subnormal.
template <ElementwiseOperand V>
V exp2(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Exp2>(x, where);
}
/// Natural logarithm; -inf at 0, NaN below.
template <ElementwiseOperand V>
V log(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Log>(x, where);
}
/// Logarithm to base 2; -inf at 0, NaN below.
template <ElementwiseOperand V>
V log2(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Log2>(x, where);
}
/// Logarithm to base 10, exact for the powers of 10 that are numbers of the type; -inf at 0, NaN below.
template <ElementwiseOperand V>
V log10(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Log10>(x, where);
}
/// log(1 + x), exact near 0; -inf at -1, NaN below.
template <ElementwiseOperand V>
V log1p(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Log1p>(x, where);
}
/// Hyperbolic tangent.
template <ElementwiseOperand V>
V tanh(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Tanh>(x, where);
}
/// Hyperbolic sine and cosine; infinite beyond +-710 (float: +-89.4).
template <ElementwiseOperand V>
V sinh(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Sinh>(x, where);
}
template <ElementwiseOperand V>
V cosh(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Cosh>(x, where);
}
/// Sine, cosine and tangent of radians, within 3 ulp for every finite x; NaN at infinity.
template <ElementwiseOperand V>
V sin(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Sin>(x, where);
}
template <ElementwiseOperand V>
V cos(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Cos>(x, where);
}
template <ElementwiseOperand V>
V tan(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Tan>(x, where);
}
/// Inverse sine, in [-pi/2, pi/2]; NaN outside [-1, 1], with an infinite derivative at the ends.
template <ElementwiseOperand V>
V asin(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Asin>(x, where);
}
/// Inverse cosine, in [0, pi]; NaN outside [-1, 1], with an infinite derivative at the ends.
template <ElementwiseOperand V>
V acos(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Acos>(x, where);
}
/// Inverse tangent, in [-pi/2, pi/2].
template <ElementwiseOperand V>
V atan(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Atan>(x, where);
}
/// The logistic function 1 / (1 + e^-x).
template <ElementwiseOperand V>
V sigmoid(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Sigmoid>(x, where);
}
/// log(1 + e^x), finite for every finite x.
template <ElementwiseOperand V>
V softplus(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Softplus>(x, where);
}
/// x / (1 + |x|).
template <ElementwiseOperand V>
V softsign(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Softsign>(x, where);
}
/// max(x, 0); derivative 0 at 0.
template <ElementwiseOperand V>
V relu(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Relu>(x, where);
}
/// x where x > 0, slope * x elsewhere; derivative `slope` at 0. The slope has no default, because it is 0.01 in the
/// paper and in PyTorch but 0.2 in Keras.
template <ElementwiseOperand V>
V leaky_relu(const V& x, double slope, Caller where = Caller::here()) {
  return detail::unary<ops::LeakyRelu>(x, where, slope);
}
/// |x|; derivative 0 at 0.
template <ElementwiseOperand V>
V abs(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Abs>(x, where);
}
/// -1, 0 or 1; its derivative is 0 everywhere, as are those of the next three.
template <ElementwiseOperand V>
V sign(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Sign>(x, where);
}
/// The whole number at or below x, at or above it, or nearest to it, where halfway cases go to the even one.
template <ElementwiseOperand V>
V floor(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Floor>(x, where);
}
template <ElementwiseOperand V>
V ceil(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Ceil>(x, where);
}
template <ElementwiseOperand V>
V round(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Round>(x, where);
}
/// Square root, NaN below 0. The derivative at 0 is infinite; the chain rule takes 0 * inf as 0 (see mul0), which is a
/// convention and not always the limit: sqrt(sum(square(x))) at 0 gets 0, and so does square(sqrt(x)), whose slope is
/// 1.
template <ElementwiseOperand V>
V sqrt(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Sqrt>(x, where);
}
/// Cube root, for either sign; the derivative at 0 is infinite, as for sqrt.
template <ElementwiseOperand V>
V cbrt(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Cbrt>(x, where);
}
/// x * x.
template <ElementwiseOperand V>
V square(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Square>(x, where);
}
/// 1 / x.
template <ElementwiseOperand V>
V reciprocal(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Reciprocal>(x, where);
}
/// Gauss's error function, 2/sqrt(pi) times the integral of e^(-t^2) from 0 to x.
template <ElementwiseOperand V>
V erf(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Erf>(x, where);
}
/// 1 - erf(x), within 4 ulp even where it is small; 0 where it would be subnormal.
template <ElementwiseOperand V>
V erfc(const V& x, Caller where = Caller::here()) {
  return detail::unary<ops::Erfc>(x, where);
}
/// x to a constant power; NaN for a negative x and a power that is not whole.
template <ElementwiseOperand V>
V pow(const V& x, double exponent, Caller where = Caller::here()) {
  return detail::unary<ops::Pow>(x, where, exponent);
}

/// Any primitive of rules/elementwise.hpp, including those without a function here: block<ops::NormalCdf>(x). `p` is
/// its constant.
template <class Op, ElementwiseOperand V>
V block(const V& x, double p = 0, Caller where = Caller::here()) {
  return detail::unary<Op>(x, where, p);
}

// Activations composed of the above, each in one pass over memory. Their first two derivatives are finite and correct
// at +-1e4. As everywhere, a derivative keeps its digits: f' is accurate to 16 eps (|f'| + |x f''|).

/// log(sigmoid(x)) = -softplus(-x).
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V log_sigmoid(const V& x, Caller where = Caller::here());
/// x sigmoid(x), also known as swish.
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V silu(const V& x, Caller where = Caller::here());
/// x times the normal distribution function, x (1 + erf(x / sqrt(2))) / 2, within 5 ulp.
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V gelu(const V& x, Caller where = Caller::here());
/// Its approximation x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, within 4 ulp of |f| + |x f'|.
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V gelu_tanh(const V& x, Caller where = Caller::here());
/// x where x > 0, alpha (e^x - 1) elsewhere; derivative alpha at 0.
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V elu(const V& x, double alpha = 1, Caller where = Caller::here());
/// 1.0507 elu(x, 1.6733): keeps mean 0 and variance 1 through layers. Derivative 1.7581 at 0.
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V selu(const V& x, Caller where = Caller::here());
/// x tanh(softplus(x)).
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V mish(const V& x, Caller where = Caller::here());
/// min(max(x, 0), 6); derivative 0 at 0 and 6.
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V relu6(const V& x, Caller where = Caller::here());
/// relu6(x + 3) / 6; derivative 0 at -3 and 3.
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V hard_sigmoid(const V& x, Caller where = Caller::here());
/// x hard_sigmoid(x).
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V hard_swish(const V& x, Caller where = Caller::here());
/// min(max(x, -1), 1); derivative 0 at -1 and 1.
template <ElementwiseOperand V>
TAPEGRAD_EXPORT V hard_tanh(const V& x, Caller where = Caller::here());

/// The larger (smaller) of two numbers, NaN if either is. If they are equal, each gets half of the derivative.
template <Real T>
Tensor<T> maximum(const Tensor<T>& a, const std::type_identity_t<Operand<T>>& b) {
  return detail::binary<ops::Maximum>(a, b.tensor(), b.where());
}
template <Real T>
Tensor<T> maximum(double a, const Tensor<T>& b, Caller where = Caller::here()) {
  return maximum(b, Operand<T>(Tensor<T>(a), where));
}
inline Scalar maximum(const Scalar& a, const Scalar& b) { return detail::binary<ops::Maximum>(a, b); }
template <Real T>
Tensor<T> minimum(const Tensor<T>& a, const std::type_identity_t<Operand<T>>& b) {
  return detail::binary<ops::Minimum>(a, b.tensor(), b.where());
}
template <Real T>
Tensor<T> minimum(double a, const Tensor<T>& b, Caller where = Caller::here()) {
  return minimum(b, Operand<T>(Tensor<T>(a), where));
}
inline Scalar minimum(const Scalar& a, const Scalar& b) { return detail::binary<ops::Minimum>(a, b); }
/// The strong-zero product: a * b, but 0 where either factor is 0, even if the other is infinite or NaN. Every chain
/// rule multiplies cotangents and tangents with slopes this way, so that an element that nothing asks for adds nothing;
/// its own derivatives are taken in the same way. It is commutative and, apart from underflow and overflow,
/// associative, so that forward and reverse agree.
template <Real T>
Tensor<T> mul0(const Tensor<T>& a, const Tensor<T>& b, Caller where = Caller::here()) {
  return detail::binary<ops::Mul0>(a, b, where);
}
inline Scalar mul0(const Scalar& a, const Scalar& b) { return detail::binary<ops::Mul0>(a, b); }
/// x log(y); 0 where x is 0, for every y that is not NaN (as in SciPy): 0 log 0 = 0. The derivative by x is log(y),
/// which is -inf at y = 0, where the chain rule takes 0 * inf as 0; the derivative by y is x / y, and 0 at x = 0.
template <Real T>
Tensor<T> xlogy(const Tensor<T>& x, const std::type_identity_t<Operand<T>>& y) {
  return detail::binary<ops::XLogY>(x, y.tensor(), y.where());
}
template <Real T>
Tensor<T> xlogy(double x, const Tensor<T>& y, Caller where = Caller::here()) {
  return xlogy(Tensor<T>(x), Operand<T>(y, where));
}
inline Scalar xlogy(const Scalar& x, const Scalar& y) { return detail::binary<ops::XLogY>(x, y); }

/// a where the mask is true, b elsewhere; all three broadcast. core/scalar.hpp has the same for symbolic numbers, so
/// that a generic lambda serves both.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> where(const Tensor<bool>& mask, const Tensor<T>& a,
                                const std::type_identity_t<Operand<T>>& b);
template <Real T>
Tensor<T> where(const Tensor<bool>& mask, double a, const Tensor<T>& b, Caller line = Caller::here()) {
  return where(mask, Tensor<T>(a), Operand<T>(b, line));
}
/// Logic of masks, which broadcast, under NumPy's names. The operators are a && b, a || b and !a.
TAPEGRAD_EXPORT Tensor<bool> logical_and(const Tensor<bool>& a, const Tensor<bool>& b, Caller where = Caller::here());
TAPEGRAD_EXPORT Tensor<bool> logical_or(const Tensor<bool>& a, const Tensor<bool>& b, Caller where = Caller::here());
TAPEGRAD_EXPORT Tensor<bool> logical_not(const Tensor<bool>& a, Caller where = Caller::here());

// -------------------------------------------------------------------------------------------------- reductions

namespace detail {

/// Gives an error for an argument that stands in place of an axis, usually because the larger of two numbers was meant,
/// or keep_dims.
template <class A>
concept NoAxis = NoIndex<A> || is_tensor<std::remove_cvref_t<A>>;
template <class A>
constexpr void refuse_axis() {
  static_assert(
      never<A>,
      "an axis is a whole number, as in sum(x, -1, keep_dims); the larger or smaller of two is maximum(a, b) or "
      "minimum(a, b), and the larger of x and 0 is relu(x)");
}

}  // namespace detail

/// The axes to reduce: one, several or, by default, all.
class Axes {
 public:
  constexpr Axes() = default;
  constexpr Axes(int axis) : axes_{axis}, count_(1), all_(false) {}
  template <detail::NoAxis A>
  constexpr Axes(const A&) {
    detail::refuse_axis<A>();
  }
  constexpr Axes(std::initializer_list<int> axes, Caller where = Caller::here()) : all_(false) {
    for (int axis : axes) {
      if (count_ == Shape::max_rank) detail::throw_too_many_axes(where);
      axes_[count_++] = axis;
    }
  }
  constexpr bool all() const { return all_; }
  constexpr const int* begin() const { return axes_.data(); }
  constexpr const int* end() const { return axes_.data() + count_; }

 private:
  std::array<int, Shape::max_rank> axes_{};
  std::size_t count_ = 0;
  bool all_ = true;
};

/// `keep_dims`, after the axes or instead of them, keeps reduced axes with size 1: sum(x, -1, keep_dims), or sum(x,
/// keep_dims), which has shape (1, 1) for a matrix.
enum class KeepDims : bool { no, yes };
inline constexpr KeepDims keep_dims = KeepDims::yes;

/// Pairwise sum. The sum of no elements is 0.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> sum(const Tensor<T>& x, Axes axes = {}, KeepDims keep = KeepDims::no,
                              Caller where = Caller::here());
/// The product, by halves: of the first half of the elements with the second, and so on. It is 1 over no elements. The
/// derivative by an element is the product of the others, also where there are zeros.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> prod(const Tensor<T>& x, Axes axes = {}, KeepDims keep = KeepDims::no,
                               Caller where = Caller::here());
template <Real T>
Tensor<T> prod(const Tensor<T>& x, KeepDims keep, Caller where = Caller::here()) {
  return prod(x, Axes(), keep, where);
}
/// The mean. Throws ShapeError for no elements, where NumPy gives NaN.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> mean(const Tensor<T>& x, Axes axes = {}, KeepDims keep = KeepDims::no,
                               Caller where = Caller::here());
/// Largest (smallest) element, NaN if any is. The derivative goes to the first of equal elements. Throws ShapeError for
/// no elements.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> max(const Tensor<T>& x, Axes axes = {}, KeepDims keep = KeepDims::no,
                              Caller where = Caller::here());
template <Real T>
TAPEGRAD_EXPORT Tensor<T> min(const Tensor<T>& x, Axes axes = {}, KeepDims keep = KeepDims::no,
                              Caller where = Caller::here());
template <Real T>
Tensor<T> sum(const Tensor<T>& x, KeepDims keep, Caller where = Caller::here()) {
  return sum(x, Axes(), keep, where);
}
template <Real T>
Tensor<T> mean(const Tensor<T>& x, KeepDims keep, Caller where = Caller::here()) {
  return mean(x, Axes(), keep, where);
}
template <Real T>
Tensor<T> max(const Tensor<T>& x, KeepDims keep, Caller where = Caller::here()) {
  return max(x, Axes(), keep, where);
}
template <Real T>
Tensor<T> min(const Tensor<T>& x, KeepDims keep, Caller where = Caller::here()) {
  return min(x, Axes(), keep, where);
}
/// Index of the first largest element along one axis, which disappears. The axis (-1 is the last) has no default,
/// because NumPy's default is the whole array.
template <Real T>
TAPEGRAD_EXPORT Tensor<std::int64_t> argmax(const Tensor<T>& x, int axis, Caller where = Caller::here());
/// Running sum along one axis, which has no default, because NumPy's is the whole array.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> cumsum(const Tensor<T>& x, int axis, Caller where = Caller::here());

// These work along one axis and subtract the maximum, so that they are finite for every finite x. An element of -inf is
// no candidate: beside others it changes nothing, and its derivative is 0. NaN turns everything that is computed from
// it into NaN, and so does +inf, except in the value of logsumexp.

/// log(sum(exp(x))) along an axis that has no default, because SciPy's is the whole array. It is -inf if all x are
/// -inf, with derivative 0, and +inf if one is +inf.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> logsumexp(const Tensor<T>& x, int axis, KeepDims keep = KeepDims::no,
                                    Caller where = Caller::here());
/// e^x / sum(e^x). It is 0 where x is -inf, even if all are: nothing is chosen then, and the derivative is 0.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> softmax(const Tensor<T>& x, int axis = -1, Caller where = Caller::here());
/// log(softmax(x)) without underflow, and accurate to the last digit where softmax(x) rounds to 1. It is -inf where x
/// is -inf, even if all are.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> log_softmax(const Tensor<T>& x, int axis = -1, Caller where = Caller::here());
/// -sum(p log(p)) with 0 log 0 = 0 (Shannon 1948). The numbers p need not sum to 1; NaN if one is negative. The
/// derivative is -log(p) - 1, which is +inf at 0.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> entropy(const Tensor<T>& p, int axis = -1, KeepDims keep = KeepDims::no,
                                  Caller where = Caller::here());

// ------------------------------------------------------------------------------------------------------- shape

/// The same elements in another shape, without a copy. One size may be -1: it follows from the others.
template <class T>
TAPEGRAD_EXPORT Tensor<T> reshape(const Tensor<T>& x, const Shape& shape, Caller where = Caller::here());
/// The transpose of a matrix. Throws ShapeError for any other rank: for more axes, matrix_transpose(x) exchanges the
/// last two, and transpose(x, {2, 1, 0}) reverses all of them, as NumPy's transpose does without axes.
template <class T>
TAPEGRAD_EXPORT Tensor<T> transpose(const Tensor<T>& x, Caller where = Caller::here());
/// The last two axes exchanged: each matrix of a batch transposed. Throws ShapeError below rank 2.
template <class T>
TAPEGRAD_EXPORT Tensor<T> matrix_transpose(const Tensor<T>& x, Caller where = Caller::here());
/// The axes in another order: axis i of the result is axis axes[i] of x. Throws ShapeError unless each axis is named
/// once.
template <class T>
TAPEGRAD_EXPORT Tensor<T> transpose(const Tensor<T>& x, std::initializer_list<int> axes, Caller where = Caller::here());
/// x repeated along axes of size 1 and along new axes in front. Throws ShapeError if x does not broadcast to `shape`.
template <class T>
TAPEGRAD_EXPORT Tensor<T> broadcast_to(const Tensor<T>& x, const Shape& shape, Caller where = Caller::here());
/// The elements start, start + step, ..., up to but not including stop, along one axis, like Python's
/// x[start:stop:step] with step >= 1: negative bounds count from the end, and bounds beyond the ends are clipped.
template <class T>
TAPEGRAD_EXPORT Tensor<T> slice(const Tensor<T>& x, int axis, std::int64_t start, std::int64_t stop,
                                std::int64_t step = 1, Caller where = Caller::here());
/// x[..., indices, ...] along one axis, the first by default (NumPy's is the whole array), which is replaced by the
/// axes of `indices`. Throws ValueError for an index outside -n..n-1.
template <class T>
TAPEGRAD_EXPORT Tensor<T> take(const Tensor<T>& x, const Tensor<std::int64_t>& indices, int axis = 0,
                               Caller where = Caller::here());
/// y[..., j] = x[..., indices[..., j]] along the last axis. The other axes of `indices` are those of x.
template <class T>
TAPEGRAD_EXPORT Tensor<T> take_along(const Tensor<T>& x, const Tensor<std::int64_t>& indices,
                                     Caller where = Caller::here());
/// Tensors joined along an axis that they have; stack joins along a new one, scalars too.
template <class T>
TAPEGRAD_EXPORT Tensor<T> concatenate(std::span<const Tensor<T>> parts, int axis = 0, Caller where = Caller::here());
template <class T>
Tensor<T> concatenate(std::initializer_list<Tensor<T>> parts, int axis = 0, Caller where = Caller::here()) {
  return concatenate(std::span<const Tensor<T>>(parts.begin(), parts.size()), axis, where);
}
template <class T>
Tensor<T> concatenate(const std::vector<Tensor<T>>& parts, int axis = 0, Caller where = Caller::here()) {
  return concatenate(std::span<const Tensor<T>>(parts), axis, where);
}
/// Tensors of one shape along a new axis, the first by default: of three vectors (n) it makes a matrix (3, n), of
/// scalars a vector. Throws ShapeError for no tensors, and where the shapes differ.
template <class T>
TAPEGRAD_EXPORT Tensor<T> stack(std::span<const Tensor<T>> parts, int axis = 0, Caller where = Caller::here());
template <class T>
Tensor<T> stack(std::initializer_list<Tensor<T>> parts, int axis = 0, Caller where = Caller::here()) {
  return stack(std::span<const Tensor<T>>(parts.begin(), parts.size()), axis, where);
}
template <class T>
Tensor<T> stack(const std::vector<Tensor<T>>& parts, int axis = 0, Caller where = Caller::here()) {
  return stack(std::span<const Tensor<T>>(parts), axis, where);
}
/// x sorted along the last axis in ascending order, with NaN last; equal elements keep their order.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> sort(const Tensor<T>& x, Caller where = Caller::here());

/// The value alone: a constant for every derivative, whose numbers may be read. It also makes a value kept from a
/// closed tape usable in computations.
template <Real T>
Tensor<T> stop_gradient(const Tensor<T>& x) {
  return Tensor<T>(detail::share(x.handle().array()));
}
/// x converted to another element type. Between float and double this is differentiable.
template <class To, class T>
TAPEGRAD_EXPORT Tensor<To> astype(const Tensor<T>& x, Caller where = Caller::here());

// The same functions with something else in place of the axis or an index: these do not compile, and the message says
// why.

template <class T, detail::NoAxis A, class... Rest>
void argmax(const Tensor<T>&, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, detail::NoAxis A, class... Rest>
void cumsum(const Tensor<T>&, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, detail::NoAxis A, class... Rest>
void logsumexp(const Tensor<T>&, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, detail::NoAxis A, class... Rest>
void softmax(const Tensor<T>&, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, detail::NoAxis A, class... Rest>
void log_softmax(const Tensor<T>&, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, detail::NoAxis A, class... Rest>
void take(const Tensor<T>&, const Tensor<std::int64_t>&, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, detail::NoAxis A, class... Rest>
void concatenate(const std::vector<Tensor<T>>&, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, detail::NoAxis A, class... Rest>
void concatenate(std::initializer_list<Tensor<T>>, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, detail::NoAxis A, class... Rest>
void stack(const std::vector<Tensor<T>>&, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, detail::NoAxis A, class... Rest>
void stack(std::initializer_list<Tensor<T>>, const A&, const Rest&...) {
  detail::refuse_axis<A>();
}
template <class T, class A, class B, class C>
requires(detail::NoIndex<A> || detail::NoIndex<B> ||
         detail::NoIndex<C>) void slice(const Tensor<T>&, const A&, const B&, const C&, const auto&...) {
  static_assert(detail::never<A>, "the axis and the bounds of a slice are whole numbers: slice(x, axis, start, stop)");
}

// ------------------------------------------------------------------------------------------------------ matrices

/// Matrix product (..., m, k) x (..., k, n) -> (..., m, n); leading axes broadcast. A vector counts as a row on the
/// left and as a column on the right, and its axis disappears.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, Caller where = Caller::here());

/// Sets the number of threads that matrix products may use; it is 1 at the start. With more threads, products of fewer
/// than about 128 rows get slower. For a fixed number the results are the same from run to run. Throws ValueError below
/// 1.
TAPEGRAD_EXPORT void set_num_threads(int count, Caller where = Caller::here());
TAPEGRAD_EXPORT int num_threads();

// ---------------------------------------------------------------------------------------------------- comparison

/// True when the shapes agree and |a - b| <= atol + rtol * |b| everywhere. NaN is close to nothing.
template <Real T>
TAPEGRAD_EXPORT bool allclose(const Tensor<T>& a, const Tensor<T>& b, double rtol = 1e-5, double atol = 1e-8);

}  // namespace tapegrad
