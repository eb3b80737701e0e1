// The BLAS seam, compared with three loops in long double.
#include "../../autodiff/kernels/blas.hpp"
#include "../../autodiff/kernels/kernels.hpp"

#include <doctest/doctest.h>

#include <tapegrad/autodiff/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace {

using namespace tapegrad::kernels;
using std::int64_t;
using Real = long double;

template <class T>
std::vector<T> input(int64_t n) {
  static std::mt19937 engine(7);
  std::uniform_real_distribution<T> uniform(-3, 3);
  // Buffers have the padding that every buffer of the library has.
  std::vector<T> x(static_cast<std::size_t>(n) + padding / sizeof(T));
  for (T& v : x) v = uniform(engine);
  return x;
}

}  // namespace

TEST_CASE_TEMPLATE("gemm: every shape, transposition and beta", T, float, double) {
  for (int64_t m : {0, 1, 2, 7, 33}) {
    for (int64_t n : {0, 1, 3, 10, 40, 75}) {
      for (int64_t k : {0, 1, 5, 64, 300}) {
        for (int variant = 0; variant < 12; ++variant) {
          const bool ta = variant & 1, tb = variant & 2;
          const T beta = static_cast<T>(variant / 4) / 2;
          const auto a = input<T>(m * k), b = input<T>(k * n), old = input<T>(m * n);
          auto c = old;
          if (beta == 0) std::fill_n(c.begin(), m * n, std::numeric_limits<T>::quiet_NaN());
          gemm(ta, tb, m, n, k, a.data(), b.data(), beta, c.data());
          bool right = true;
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              const auto at = static_cast<std::size_t>(i * n + j);
              Real expected = Real{beta} * old[at];
              for (int64_t l = 0; l < k; ++l) {
                expected += Real{a[static_cast<std::size_t>(ta ? l * m + i : i * k + l)]} *
                            b[static_cast<std::size_t>(tb ? j * k + l : l * n + j)];
              }
              right &= std::abs(static_cast<Real>(c[at]) - expected) <=
                       9 * std::numeric_limits<T>::epsilon() * static_cast<Real>(k + 1);
            }
          }
          CAPTURE(m);
          CAPTURE(n);
          CAPTURE(k);
          CAPTURE(ta);
          CAPTURE(tb);
          CAPTURE(beta);
          CHECK(right);
          CHECK(std::equal(c.begin() + m * n, c.end(), old.begin() + m * n));
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("strong_gemm: a zero absorbs, all else is to the bit what gemm gives", T, float, double) {
  const T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  // The last sizes are beyond our own kernel, with few and with many rows, so that both factors and results are tested.
  const int64_t sizes[][3] = {{1, 3, 5}, {7, 1, 4}, {5, 6, 7}, {33, 40, 3}, {4, 40, 64}, {2, 3, 0}, {120, 110, 80}};
  for (const auto& size : sizes) {
    const int64_t m = size[0], n = size[1], k = size[2];
    for (int variant = 0; variant < 8; ++variant) {
      const bool ta = variant & 1, tb = variant & 2;
      const T beta = static_cast<T>(variant / 4);
      auto a = input<T>(m * k), b = input<T>(k * n);
      const auto old = input<T>(m * n);
      auto plain = old, strong = old;
      strong_gemm(ta, tb, m, n, k, a.data(), b.data(), beta, strong.data());
      gemm(ta, tb, m, n, k, a.data(), b.data(), beta, plain.data());
      CHECK(strong == plain);
      if (k < 3) continue;
      // op(a)(0, 0) = inf meets op(b)(0, 0) = 0, op(a)(m - 1, 2) = 0 meets a NaN of op(b)(2, n - 1).
      const auto of_a = [&](int64_t i, int64_t p) -> T& {
        return a[static_cast<std::size_t>(ta ? p * m + i : i * k + p)];
      };
      const auto of_b = [&](int64_t p, int64_t j) -> T& {
        return b[static_cast<std::size_t>(tb ? j * k + p : p * n + j)];
      };
      of_a(0, 0) = inf, of_b(0, 0) = 0;
      of_a(m - 1, 2) = -T{0}, of_b(2, n - 1) = nan;
      strong = plain = old;
      strong_gemm(ta, tb, m, n, k, a.data(), b.data(), beta, strong.data());
      gemm(ta, tb, m, n, k, a.data(), b.data(), beta, plain.data());
      bool right = true;
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          Real expected = 0;
          for (int64_t p = 0; p < k; ++p) {
            if (of_a(i, p) != 0 && of_b(p, j) != 0) expected += Real{of_a(i, p)} * of_b(p, j);
          }
          const auto at = static_cast<std::size_t>(i * n + j);
          expected += Real{beta} * old[at];
          const Real given = strong[at];
          if (std::isfinite(expected))
            right &= std::abs(given - expected) <= 9 * std::numeric_limits<T>::epsilon() * static_cast<Real>(k + 1);
          else
            right &= std::isnan(expected) ? std::isnan(given) : given == expected;
          right &= std::isnan(plain[at]) || beta != 0 || strong[at] == plain[at];
        }
      }
      CAPTURE(m);
      CAPTURE(n);
      CAPTURE(k);
      CAPTURE(variant);
      CHECK(right);
    }
  }
}

TEST_CASE("gemm: threads, and sizes beyond BLAS") {
  CHECK(blas_threads() == 1);
  CHECK_THROWS_AS(set_blas_threads(0), tapegrad::ValueError);
  const float* none = nullptr;
  CHECK_THROWS_AS(gemm(false, false, 1, int64_t{1} << 31, 1, none, none, 0.F, nullptr), tapegrad::ShapeError);
}
