#pragma once
// The functions of benchmarks/jacobian.cpp for a scalar type of another library, as its user would write them: T is
// what is differentiated, and the weights may be plain numbers.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../support/hand.hpp"

namespace tapegrad::benchmarks {

template <class T>
void softmax(const T* z, T* s, std::int64_t n) {
  using std::exp;
  // The shift changes no derivative: that of a plain number would do as well.
  T largest = z[0];
  for (std::int64_t i = 1; i < n; ++i) {
    if (z[i] > largest) largest = z[i];
  }
  T total = 0.0;
  for (std::int64_t i = 0; i < n; ++i) total += s[i] = exp(z[i] - largest);
  for (std::int64_t i = 0; i < n; ++i) s[i] /= total;
}

template <class T, class Weight, class Input>
void mlp(const Weight* W1, const Weight* b1, const Weight* W2, const Weight* b2, const Input* x, T* s) {
  using std::tanh;
  std::vector<T> h(b1, b1 + Mlp::hidden), z(b2, b2 + Mlp::outputs);
  for (std::int64_t k = 0; k < Mlp::inputs; ++k) {
    for (std::int64_t j = 0; j < Mlp::hidden; ++j) h[static_cast<std::size_t>(j)] += x[k] * W1[k * Mlp::hidden + j];
  }
  for (T& each : h) each = tanh(each);
  for (std::int64_t j = 0; j < Mlp::hidden; ++j) {
    for (std::int64_t i = 0; i < Mlp::outputs; ++i) {
      z[static_cast<std::size_t>(i)] += h[static_cast<std::size_t>(j)] * W2[j * Mlp::outputs + i];
    }
  }
  softmax(z.data(), s, Mlp::outputs);
}

// All weights in a row.
template <class T>
T mlp_loss(const T* weights, const double* x, const double* y) {
  using std::log;
  const T *W1 = weights, *b1 = W1 + Mlp::inputs * Mlp::hidden, *W2 = b1 + Mlp::hidden,
          *b2 = W2 + Mlp::hidden * Mlp::outputs;
  T s[Mlp::outputs], loss = 0.0;
  mlp<T>(W1, b1, W2, b2, x, s);
  for (std::int64_t i = 0; i < Mlp::outputs; ++i) loss -= y[i] * log(s[i]);
  return loss;
}

inline std::vector<double> weights_of(const Mlp& net) {
  std::vector<double> all(net.W1, net.W1 + Mlp::inputs * Mlp::hidden);
  all.insert(all.end(), net.b1, net.b1 + Mlp::hidden);
  all.insert(all.end(), net.W2, net.W2 + Mlp::hidden * Mlp::outputs);
  all.insert(all.end(), net.b2, net.b2 + Mlp::outputs);
  return all;
}

template <class T>
T logistic_loss(const double* X, const double* y, const T* w, std::int64_t points, std::int64_t parameters) {
  using std::exp, std::log;
  T total = 0.0;
  for (std::int64_t i = 0; i < points; ++i) {
    T margin = 0.0;
    for (std::int64_t j = 0; j < parameters; ++j) margin += X[i * parameters + j] * w[j];
    total += log(1.0 + exp(-y[i] * margin));
  }
  return total / static_cast<double>(points);
}

/// out = J^T g.
inline void multiply_transposed(const double* J, const double* g, double* out, std::int64_t n) {
  std::fill_n(out, n, 0.0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) out[j] += g[i] * J[i * n + j];
  }
}

}  // namespace tapegrad::benchmarks
