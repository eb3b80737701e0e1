#pragma once
// What an expert writes by hand for one case, with the SIMD of the library's kernels and chosen at run time like them:
// the floor that ratios refer to. As there, a loop's last vector spills up to `padding` elements past the end of its
// output, so that rows need no scalar tail.

#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace tapegrad::benchmarks {

/// Weights of x -> softmax(tanh(x W1 + b1) W2 + b2), row-major, W1 (inputs, hidden) and W2 (hidden, outputs); the last
/// two with padding.
struct Mlp {
  static constexpr std::int64_t inputs = 64, hidden = 32, outputs = 10;
  const double *W1, *b1, *W2, *b2;
};

struct Hand {
  static constexpr std::size_t padding = 8;  // elements

  /// delta (rows, cols) from z and y (rows, cols); `scratch` holds one row.
  using Delta = void (*)(const double* z, const double* y, double* delta, double* scratch, std::int64_t rows,
                         std::int64_t cols);
  /// a = softmax(z), g = dC/da, delta = a * (g - <a, g>).
  Delta softmax_crossentropy;
  Delta softmax_mse;
  /// a = softmax(z), delta = a - y.
  Delta softmax_crossentropy_closed;
  /// a = sigmoid(z), g = dC/da, delta = g * (a * (1 - a)); and delta = a - y.
  Delta sigmoid_bce;
  Delta sigmoid_bce_closed;
  /// a = z, delta = 2 (a - y) / cols.
  Delta linear_mse;

  /// J (rows, cols, cols) and out = J^T g (rows, cols) of the functions that benchmarks/jacobian.cpp names, of each row
  /// of z; `scratch` holds two padded rows.
  using Jacobian = void (*)(const double* z, const double* g, double* J, double* out, double* scratch,
                            std::int64_t rows, std::int64_t cols);
  Jacobian normalize, softmax, xsoftmax, layernorm, cumsoftmax;
  /// With exp of the C library.
  Jacobian softmax_libm, xsoftmax_libm, cumsoftmax_libm;

  /// J (outputs, inputs).
  void (*mlp_jacobian)(const Mlp& net, const double* x, double* J);
  /// The cross-entropy loss for the target y, and its derivatives by W1, b1, W2, b2, in a row.
  void (*mlp_gradient)(const Mlp& net, const double* x, const double* y, double* loss, double* gradient);
  /// X (points, parameters) with each row times the root of its weight in the Hessian of mean(log(1 + exp(-y * X w))).
  void (*logistic_scaled)(const double* X, const double* y, const double* w, double* scaled, std::int64_t points,
                          std::int64_t parameters);

  /// y = f(x), and product = v * f'(x).
  struct Elementwise {
    void (*value)(const float* x, float* y, std::int64_t n);
    void (*value_and_product)(const float* x, const float* v, float* y, float* product, std::int64_t n);
  };
  Elementwise swish, mish, mish_by_formula, gelu, sigmoid, tanh;

  /// out = a - y, a * b, a + b.
  void (*subtract)(const double* a, const double* y, double* out, std::int64_t n);
  void (*multiply)(const double* a, const double* b, double* out, std::int64_t n);
  void (*add)(const double* a, const double* b, double* out, std::int64_t n);
};

/// For this CPU, or as TAPEGRAD_ISA forces.
const Hand& hand();

/// The Hessian (parameters, parameters) of mean(log(1 + exp(-y * X w))): X^T D X, one half by dsyrk and the other
/// copied. `scaled` has the size of X, and padding.
void logistic_hessian(double* scaled, const double* X, const double* y, const double* w, double* H, std::int64_t points,
                      std::int64_t parameters);

extern const Hand hand_baseline;
extern const Hand hand_v3;

/// n elements, and room behind them for what spills.
template <class T = double>
std::vector<T> padded(std::int64_t n) {
  return std::vector<T>(static_cast<std::size_t>(n) + Hand::padding);
}
template <class T>
std::span<const T> unpadded(const std::vector<T>& memory) {
  return {memory.data(), memory.size() - Hand::padding};
}
/// A copy of the elements of a tensor or another range.
template <class Range>
auto padded_copy(const Range& elements) {
  auto copy = padded<std::remove_cvref_t<decltype(*elements.data())>>(static_cast<std::int64_t>(elements.size()));
  std::copy_n(elements.data(), elements.size(), copy.begin());
  return copy;
}

}  // namespace tapegrad::benchmarks
