#pragma once
// NumPy's numbers from NumPy's seeds.
//
//     random::NumpyRandomState rng(42);               // np.random.seed(42)
//     Tensor<> W1 = 0.01 * rng.randn({784, 128});     // 0.01 * np.random.randn(784, 128)
//     auto order = rng.permutation(60000);            // np.random.permutation(60000)
//     auto batch = rng.choice(60000, {32}, false);    // np.random.choice(60000, 32, replace=False)

#include <cstdint>

#include "ops.hpp"

namespace tapegrad::random {

/// np.random.RandomState, which np.random.seed and the functions of np.random use: the same calls give the same numbers
/// to the bit (normal numbers as far as log of the C library does). The Mersenne Twister MT19937 (Matsumoto and
/// Nishimura, ACM TOMACS 8, 1998) with the transformations that NumPy has frozen. It is meant for reproducing results
/// from NumPy; for anything else Generator is better. Whatever NumPy refuses throws ValueError here and draws nothing:
/// a shape with a negative size, and the cases below.
class TAPEGRAD_EXPORT NumpyRandomState {
 public:
  /// Throws ValueError for a seed above 2^32 - 1, as NumPy does.
  explicit NumpyRandomState(std::uint64_t seed, Caller where = Caller::here());

  /// 32 random bits.
  std::uint32_t bits();
  /// Uniform in [0, 1), 53 bits.
  double random();
  /// Standard normal (Marsaglia's polar method).
  double gauss();

  /// Uniform in [0, 1).
  Tensor<double> rand(const Shape& shape, Caller where = Caller::here());
  /// Standard normal.
  Tensor<double> randn(const Shape& shape, Caller where = Caller::here());
  /// Uniform in [low, high), or in (high, low] if high is smaller, as in NumPy. Throws ValueError unless high - low is
  /// finite.
  Tensor<double> uniform(double low, double high, const Shape& shape, Caller where = Caller::here());
  /// Throws ValueError for a negative standard deviation, including -0.
  Tensor<double> normal(double mean, double standard_deviation, const Shape& shape, Caller where = Caller::here());
  /// Integers low..high-1. Throws ValueError unless low < high.
  Tensor<std::int64_t> randint(std::int64_t low, std::int64_t high, const Shape& shape, Caller where = Caller::here());
  /// Integers 0..n-1, with or without repetition. Throws ValueError if there are too few.
  Tensor<std::int64_t> choice(std::int64_t n, const Shape& shape, bool replace = true, Caller where = Caller::here());
  /// 0..n-1 in random order. Throws ValueError for n < 0, where NumPy returns no numbers.
  Tensor<std::int64_t> permutation(std::int64_t n, Caller where = Caller::here());
  /// x with its rows (entries of the first axis) in random order, as np.random.shuffle(x) leaves them. Throws
  /// ShapeError for a scalar.
  template <Real T>
  Tensor<T> permutation(const Tensor<T>& x, Caller where = Caller::here()) {
    return take(x, permutation(rows_of(x.shape(), where), where), 0, where);
  }

 private:
  static std::int64_t rows_of(const Shape& shape, const Caller& where);
  std::uint64_t up_to(std::uint64_t most);

  static constexpr int words = 624;
  std::uint32_t state_[words];
  int used_ = words;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace tapegrad::random
