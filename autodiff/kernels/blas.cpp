#include "blas.hpp"

#include <cblas.h>

#include <limits>
#include <string>
#include <vector>

#include "../error.hpp"
#include "kernels.hpp"

namespace tapegrad::kernels {
namespace {

// OpenBLAS would start one thread per core, and two callers at once would fight for them.
void default_to_one_thread() {
  static const bool done = (openblas_set_num_threads(1), true);
  static_cast<void>(done);
}

void call_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, blasint m, blasint n, blasint k, const float* a, blasint lda,
               const float* b, blasint ldb, float beta, float* c) {
  cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1, a, lda, b, ldb, beta, c, n);
}
void call_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, blasint m, blasint n, blasint k, const double* a, blasint lda,
               const double* b, blasint ldb, double beta, double* c) {
  cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1, a, lda, b, ldb, beta, c, n);
}

void call_gemv(CBLAS_TRANSPOSE ta, blasint rows, blasint cols, const float* a, const float* x, float beta, float* y) {
  cblas_sgemv(CblasRowMajor, ta, rows, cols, 1, a, cols, x, 1, beta, y, 1);
}
void call_gemv(CBLAS_TRANSPOSE ta, blasint rows, blasint cols, const double* a, const double* x, double beta,
               double* y) {
  cblas_dgemv(CblasRowMajor, ta, rows, cols, 1, a, cols, x, 1, beta, y, 1);
}

blasint blas_size(std::int64_t size) {
  if (size > std::numeric_limits<blasint>::max()) {
    throw ShapeError("gemm: a side of " + std::to_string(size) + " is beyond the " +
                     std::to_string(std::numeric_limits<blasint>::max()) + " that this BLAS can address");
  }
  return static_cast<blasint>(size);
}

// Up to here our own kernel multiplies. It must not be less: OpenBLAS has kernels for small products that take memory
// from the heap at every call (those for AVX-512, up to 100^3 multiplications).
constexpr std::int64_t most_small = 1'000'000;

bool is_small(std::int64_t m, std::int64_t n, std::int64_t k) {
  return m <= most_small && n <= most_small && k <= most_small && m * n <= most_small && m * n * k <= most_small;
}

template <class T>
void multiply_small(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
                    const T* b, T beta, T* c) {
  const Kernels<T>& own = kernels<T>();
  if (m == 1 && transpose_b) return own.gemv(n, k, b, a, beta, c);
  if (n == 1 && !transpose_a) return own.gemv(m, k, a, b, beta, c);
  if (n == 1) return own.gemm(false, 1, m, k, b, a, beta, c);  // c^T = b^T op(a)^T
  if (!transpose_b) return own.gemm(transpose_a, m, n, k, a, b, beta, c);
  thread_local std::vector<T> transposed;  // grows to the largest once
  const auto size = static_cast<std::size_t>(n * k) + padding / sizeof(T);
  if (transposed.size() < size) transposed.resize(size);
  own.transpose(b, transposed.data(), n, k);
  own.gemm(transpose_a, m, n, k, a, transposed.data(), beta, c);
}

template <class T>
void multiply(bool transpose_a, bool transpose_b, std::int64_t rows, std::int64_t cols, std::int64_t inner, const T* a,
              const T* b, T beta, T* c) {
  const blasint m = blas_size(rows), n = blas_size(cols), k = blas_size(inner);
  if (k == 0) {  // BLAS returns early and would leave c as it is.
    for (std::int64_t i = 0; i < rows * cols; ++i) c[i] = beta == 0 ? 0 : beta * c[i];
    return;
  }
  if (m == 0 || n == 0) return;
  if (is_small(rows, cols, inner)) return multiply_small(transpose_a, transpose_b, rows, cols, inner, a, b, beta, c);
  default_to_one_thread();
  const auto op = [](bool transpose) { return transpose ? CblasTrans : CblasNoTrans; };
  const blasint lda = transpose_a ? m : k, ldb = transpose_b ? k : n;
  if (n == 1) {
    call_gemv(op(transpose_a), transpose_a ? k : m, lda, a, b, beta, c);
  } else if (m == 1) {  // c^T = op(b)^T a^T
    call_gemv(op(!transpose_b), transpose_b ? n : k, ldb, b, a, beta, c);
  } else {
    call_gemm(op(transpose_a), op(transpose_b), m, n, k, a, lda, b, ldb, beta, c);
  }
}

// Elements of c = op(a) op(b) that are NaN, without the products by 0.
template <class T>
void absorb_zeros(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
                  const T* b, T* c) {
  const std::int64_t row = transpose_a ? 1 : k, down = transpose_a ? m : 1;
  const std::int64_t column = transpose_b ? k : 1, along = transpose_b ? 1 : n;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j, ++c) {
      if (*c == *c) continue;
      *c = 0;
      for (std::int64_t p = 0; p < k; ++p) {
        const T x = a[i * row + p * down], y = b[j * column + p * along];
        if (x != 0 && y != 0) *c += x * y;
      }
    }
  }
}

// Finite factors make no product that the two kinds differ in, nor does a finite result come of one: whichever is less
// to read is tested. A sum that is added to cannot be had back from its result.
template <class T>
void multiply_strongly(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
                       const T* b, T beta, T* c) {
  const auto finite = [](const T* x, std::int64_t size) { return kernels<T>().all_finite(x, size); };
  const auto product = [&](T factor, T* out) { multiply(transpose_a, transpose_b, m, n, k, a, b, factor, out); };
  if ((beta != 0 || m * k + k * n < m * n) && finite(a, m * k) && finite(b, k * n)) return product(beta, c);
  std::vector<T> apart(beta != 0 ? static_cast<std::size_t>(m * n) + padding / sizeof(T) : 0);
  T* out = beta != 0 ? apart.data() : c;
  product(0, out);
  if (kernels<T>().any_nan(out, m * n)) absorb_zeros(transpose_a, transpose_b, m, n, k, a, b, out);
  if (beta == 0) return;
  for (std::int64_t i = 0; i < m * n; ++i) c[i] = out[i] + beta * c[i];
}

template <class T, auto product>
void multiplied(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
                const T* b, T beta, T* c) {
  using namespace detail;
  const auto body = [=](const T* x, const T* y, T* out) {
    product(transpose_a, transpose_b, m, n, k, x, y, beta, out);
  };
  if (beta == 0)
    command("gemm", body, In<T>{a, m * k}, In<T>{b, k * n}, Out<T>{c, m * n});
  else
    command("gemm", body, In<T>{a, m * k}, In<T>{b, k * n}, InOut<T>{c, m * n});
}

}  // namespace

void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          const float* b, float beta, float* c) {
  multiplied<float, multiply<float>>(transpose_a, transpose_b, m, n, k, a, b, beta, c);
}

void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const double* a,
          const double* b, double beta, double* c) {
  multiplied<double, multiply<double>>(transpose_a, transpose_b, m, n, k, a, b, beta, c);
}

void strong_gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
                 const float* b, float beta, float* c) {
  multiplied<float, multiply_strongly<float>>(transpose_a, transpose_b, m, n, k, a, b, beta, c);
}

void strong_gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const double* a,
                 const double* b, double beta, double* c) {
  multiplied<double, multiply_strongly<double>>(transpose_a, transpose_b, m, n, k, a, b, beta, c);
}

void set_blas_threads(int count) {
  if (count < 1) throw ValueError("set_num_threads: " + std::to_string(count) + ", but at least 1 is needed");
  default_to_one_thread();
  openblas_set_num_threads(count);
}

int blas_threads() {
  default_to_one_thread();
  return openblas_get_num_threads();
}

}  // namespace tapegrad::kernels
