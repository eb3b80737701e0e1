#pragma once
// The one seam to BLAS. cblas.h and xtensor-blas do not compile in one file, so cblas.h is included only in blas.cpp.

#include <cstdint>

namespace tapegrad::kernels {

// c (m, n) = op(a) op(b) + beta c, all row-major and packed: op(a) is (m, k), op(b) is (k, n), and transpose_a says
// that a is stored as (k, m). One row (m == 1) or one column (n == 1) goes to gemv, a small product with beta 0 to our
// own kernel, the rest to gemm; a, b and c have the padding of kernels.hpp behind them. Empty sizes are allowed (k ==
// 0 gives beta c). Without threads unless set_num_threads says otherwise.
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          const float* b, float beta, float* c);
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const double* a,
          const double* b, double beta, double* c);

// The same with strong-zero products, 0 * x = 0 for every x: the product of a chain rule.
void strong_gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
                 const float* b, float beta, float* c);
void strong_gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const double* a,
                 const double* b, double beta, double* c);

void set_blas_threads(int count);
int blas_threads();

}  // namespace tapegrad::kernels
