#include <cblas.h>

#include "hand.hpp"

namespace tapegrad::benchmarks {

void logistic_hessian(double* scaled, const double* X, const double* y, const double* w, double* H, std::int64_t points,
                      std::int64_t parameters) {
  hand().logistic_scaled(X, y, w, scaled, points, parameters);
  const int n = static_cast<int>(parameters);
  cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, n, static_cast<int>(points), 1, scaled, n, 0, H, n);
  for (std::int64_t i = 0; i < parameters; ++i) {
    for (std::int64_t j = 0; j < i; ++j) H[i * parameters + j] = H[j * parameters + i];
  }
}

}  // namespace tapegrad::benchmarks
