#pragma once
// What an expert writes by hand for one case, with the SIMD of the library's kernels and chosen at run time like them:
// the floor that ratios refer to. As there, a loop's last vector spills up to `padding` elements past the end of its
// output, so that rows need no scalar tail.

#include <cstdint>
#include <vector>

namespace tapegrad::benchmarks {

struct Hand {
  static constexpr std::size_t padding = 8;  // doubles

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

  /// out = a - y, a * b, a + b.
  void (*subtract)(const double* a, const double* y, double* out, std::int64_t n);
  void (*multiply)(const double* a, const double* b, double* out, std::int64_t n);
  void (*add)(const double* a, const double* b, double* out, std::int64_t n);
};

/// For this CPU, or as TAPEGRAD_ISA forces.
const Hand& hand();

extern const Hand hand_baseline;
extern const Hand hand_v3;

/// n elements, and room behind them for what spills.
inline std::vector<double> padded(std::int64_t n) {
  return std::vector<double>(static_cast<std::size_t>(n) + Hand::padding);
}

}  // namespace tapegrad::benchmarks
