#pragma once
// Scalar: the symbolic number that a lambda given to elementwise() computes with, see elementwise.hpp.

#include <memory>
#include <type_traits>

#include "../error.hpp"
#include "export.hpp"

namespace tapegrad {

class Scalar;

namespace ops TAPEGRAD_EXPORT {
struct Negate;
struct Add;
struct Subtract;
struct Multiply;
struct Divide;
struct Less;
struct LessEqual;
struct Equal;
struct Maximum;
}  // namespace TAPEGRAD_EXPORT

namespace detail {

class Graph;
struct ScalarAccess;

/// The elementwise primitives of symbolic numbers; p is a primitive's constant.
template <class Op>
TAPEGRAD_EXPORT Scalar unary(const Scalar& x, const Caller& where, double p = 0);
template <class Op>
TAPEGRAD_EXPORT Scalar binary(const Scalar& a, const Scalar& b);

}  // namespace detail

/// A symbolic number: an operand of an elementwise function, or what was computed from one. Arithmetic and the
/// elementwise functions of ops.hpp write down a program instead of computing. It has no value: to branch on it, use
/// where.
class TAPEGRAD_EXPORT Scalar {
 public:
  using value_type = double;

  /// A known number.
  template <class U>
  requires std::is_arithmetic_v<U> Scalar(U constant) : constant_(static_cast<double>(constant)) {}

  // These exist only for their messages: without them the compiler would list every function that does not fit.
  template <class T>
  requires std::is_same_v<T, double>
  operator T() const {
    static_assert(
        detail::never<T>,
        "tapegrad::elementwise: the argument of the lambda is symbolic and becomes no double. Call the functions "
        "of tapegrad unqualified, exp(x) instead of std::exp(x): abs exp log pow sqrt sin cos tanh erf sigmoid "
        "maximum minimum where and the other elementwise ones of <tapegrad/autodiff/ops.hpp>");
    return T{};
  }
  template <class T>
  requires std::is_same_v<T, bool>
  explicit operator T() const {
    static_assert(detail::never<T>,
                  "tapegrad::elementwise: the argument of the lambda is symbolic, so nothing can branch "
                  "on it. Write where(x != 0, a, b)");
    return T{};
  }

 private:
  friend detail::ScalarAccess;
  Scalar(std::shared_ptr<detail::Graph> graph, int node) : graph_(std::move(graph)), node_(node) {}

  std::shared_ptr<detail::Graph> graph_;  // null for a constant
  int node_ = 0;
  double constant_ = 0;
};

/// The result of comparing symbolic numbers, to be passed to where and combined with &&, || and !. A NaN is unequal to
/// everything.
class TAPEGRAD_EXPORT ScalarMask {
 public:
  template <class T>
  requires std::is_same_v<T, bool>
  explicit operator T() const {
    static_assert(detail::never<T>,
                  "tapegrad::elementwise: a lambda cannot branch on its argument, which is symbolic. "
                  "Instead of if, ?:, min or max write where(x > 0, a, b), minimum or maximum");
    return T{};
  }

  friend ScalarMask operator&&(const ScalarMask& a, const ScalarMask& b) {
    return ScalarMask(detail::binary<ops::Multiply>(a.one_or_zero_, b.one_or_zero_));
  }
  friend ScalarMask operator||(const ScalarMask& a, const ScalarMask& b) {
    return ScalarMask(detail::binary<ops::Maximum>(a.one_or_zero_, b.one_or_zero_));
  }
  friend ScalarMask operator!(const ScalarMask& a) {
    return ScalarMask(detail::binary<ops::Subtract>(1, a.one_or_zero_));
  }

 private:
  friend detail::ScalarAccess;
  explicit ScalarMask(Scalar one_or_zero) : one_or_zero_(std::move(one_or_zero)) {}

  Scalar one_or_zero_;
};

namespace detail {

/// Gives the library access to the inside of symbolic numbers.
struct ScalarAccess {
  static Scalar make(std::shared_ptr<Graph> graph, int node) { return Scalar(std::move(graph), node); }
  static ScalarMask mask(Scalar one_or_zero) { return ScalarMask(std::move(one_or_zero)); }
  static const std::shared_ptr<Graph>& graph(const Scalar& x) { return x.graph_; }
  static int node(const Scalar& x) { return x.node_; }
  static double constant(const Scalar& x) { return x.constant_; }
  static const Scalar& number(const ScalarMask& mask) { return mask.one_or_zero_; }
};

template <class A>
inline constexpr bool is_scalar = std::is_same_v<A, Scalar>;

// These are templates so that a number on one side needs no conversion, which would compete with the built-in
// operators.
template <class A, class B>
concept ScalarOperands = (is_scalar<A> && (is_scalar<B> || std::is_arithmetic_v<B>)) ||
                         (std::is_arithmetic_v<A> && is_scalar<B>);

}  // namespace detail

inline Scalar operator-(const Scalar& x) { return detail::unary<ops::Negate>(x, {}); }
inline Scalar operator+(const Scalar& x) { return x; }

template <class A, class B>
requires detail::ScalarOperands<A, B> Scalar operator+(const A& a, const B& b) {
  return detail::binary<ops::Add>(a, b);
}
template <class A, class B>
requires detail::ScalarOperands<A, B> Scalar operator-(const A& a, const B& b) {
  return detail::binary<ops::Subtract>(a, b);
}
template <class A, class B>
requires detail::ScalarOperands<A, B> Scalar operator*(const A& a, const B& b) {
  return detail::binary<ops::Multiply>(a, b);
}
template <class A, class B>
requires detail::ScalarOperands<A, B> Scalar operator/(const A& a, const B& b) {
  return detail::binary<ops::Divide>(a, b);
}
inline Scalar& operator+=(Scalar& a, const Scalar& b) { return a = a + b; }
inline Scalar& operator-=(Scalar& a, const Scalar& b) { return a = a - b; }
inline Scalar& operator*=(Scalar& a, const Scalar& b) { return a = a * b; }
inline Scalar& operator/=(Scalar& a, const Scalar& b) { return a = a / b; }

template <class A, class B>
requires detail::ScalarOperands<A, B> ScalarMask operator<(const A& a, const B& b) {
  return detail::ScalarAccess::mask(detail::binary<ops::Less>(a, b));
}
template <class A, class B>
requires detail::ScalarOperands<A, B> ScalarMask operator>(const A& a, const B& b) { return b < a; }
template <class A, class B>
requires detail::ScalarOperands<A, B> ScalarMask operator<=(const A& a, const B& b) {
  return detail::ScalarAccess::mask(detail::binary<ops::LessEqual>(a, b));
}
template <class A, class B>
requires detail::ScalarOperands<A, B> ScalarMask operator>=(const A& a, const B& b) { return b <= a; }
template <class A, class B>
requires detail::ScalarOperands<A, B> ScalarMask operator==(const A& a, const B& b) {
  return detail::ScalarAccess::mask(detail::binary<ops::Equal>(a, b));
}
template <class A, class B>
requires detail::ScalarOperands<A, B> ScalarMask operator!=(const A& a, const B& b) { return !(a == b); }

/// a where the condition holds, b elsewhere. The derivative is that of the branch taken; an infinity or a NaN in the
/// other branch has no effect.
TAPEGRAD_EXPORT Scalar where(const ScalarMask& condition, const Scalar& a, const Scalar& b);

}  // namespace tapegrad
