#pragma once
// What a formula reads, found by computing it with sets of arguments in place of numbers.

#include <type_traits>

#include "elementwise.hpp"

namespace tapegrad::ops {

/// The arguments that a number depends on, be it through a comparison: bit k for the k-th. Every function of numbers
/// depends on what they do.
struct Read {
  using value_type = double;
  unsigned arguments = 0;

  template <class U>
  requires std::is_arithmetic_v<U> Read(U) {}
  static Read argument(unsigned k) { return Read(1U << k, {}); }
  friend Read operator|(Read a, Read b) { return Read(a.arguments | b.arguments, {}); }

 private:
  struct Set {};
  Read(unsigned set, Set) : arguments(set) {}
};

template <class A, class B>
concept ReadOperands = (std::is_same_v<A, Read> && (std::is_same_v<B, Read> || std::is_arithmetic_v<B>)) ||
                       (std::is_arithmetic_v<A> && std::is_same_v<B, Read>);

inline Read operator-(Read x) { return x; }
template <class A, class B>
requires ReadOperands<A, B> Read operator+(A a, B b) { return Read(a) | Read(b); }
template <class A, class B>
requires ReadOperands<A, B> Read operator-(A a, B b) { return Read(a) | Read(b); }
template <class A, class B>
requires ReadOperands<A, B> Read operator*(A a, B b) { return Read(a) | Read(b); }
template <class A, class B>
requires ReadOperands<A, B> Read operator/(A a, B b) { return Read(a) | Read(b); }
inline Read operator<(Read a, Read b) { return a | b; }
inline Read operator>(Read a, Read b) { return a | b; }
inline Read operator==(Read a, Read b) { return a | b; }
inline Read where(Read condition, Read a, Read b) { return condition | a | b; }
inline Read mul0(Read a, Read b) { return a | b; }
inline Read power(Read x, double) { return x; }
template <class Op, class... P>
Read block(Read x, P...) {
  return x;
}

inline Read abs(Read x) { return x; }
inline Read cos(Read x) { return x; }
inline Read cosh(Read x) { return x; }
inline Read exp(Read x) { return x; }
inline Read log(Read x) { return x; }
inline Read sigmoid(Read x) { return x; }
inline Read sin(Read x) { return x; }
inline Read sinh(Read x) { return x; }
inline Read sqrt(Read x) { return x; }
inline Read tanh(Read x) { return x; }

}  // namespace tapegrad::ops
