// The BLAS seam against three loops in long double.
#include "../autodiff/kernels/blas.hpp"
#include "../autodiff/kernels/kernels.hpp"

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
  // With the padding that every buffer of the library has.
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

TEST_CASE("gemm: threads, and sizes beyond BLAS") {
  CHECK(blas_threads() == 1);
  CHECK_THROWS_AS(set_blas_threads(0), tapegrad::ValueError);
  const float* none = nullptr;
  CHECK_THROWS_AS(gemm(false, false, 1, int64_t{1} << 31, 1, none, none, 0.F, nullptr), tapegrad::ShapeError);
}
