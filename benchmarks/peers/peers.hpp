#pragma once
// Other libraries for automatic differentiation, computing what benchmarks/jacobian.cpp times, from arrays to arrays,
// so that none of their headers reaches a program. One file each, built where the library is found.

#include <span>

#include "../support/hand.hpp"

namespace tapegrad::benchmarks {

/// A function is null where the library has no sensible way to it.
struct Peer {
  const char* name;
  Hand::Jacobian softmax;  // needs no scratch
  void (*mlp_jacobian)(const Mlp& net, const double* x, double* J);
  void (*mlp_gradient)(const Mlp& net, const double* x, const double* y, double* loss, double* gradient);
  void (*logistic_hessian)(const double* X, const double* y, const double* w, double* H, std::int64_t points,
                           std::int64_t parameters);
};

extern const Peer adolc, sacado, libtorch;

/// Those that were built.
std::span<const Peer* const> peers();

}  // namespace tapegrad::benchmarks
