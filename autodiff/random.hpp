#pragma once
// Seeded random numbers: the same seed gives the same numbers for every thread count, and (but for the last bits of
// normal(), which uses the logarithm of the C library) on every machine.
//
//     random::Generator rng(42);
//     Tensor<> w = rng.normal<double>({784, 128}, 0, 0.01);
//     random::Generator epoch(42, 7);                 // the seventh stream of the seed, whatever else was drawn

#include <cstdint>

#include "ops.hpp"

namespace tapegrad::random {

/// A counter-based generator: number i is a function of (seed, stream, i), and streams of a seed are independent.
/// Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3; SC 2011).
class TAPEGRAD_EXPORT Generator {
 public:
  explicit Generator(std::uint64_t seed = 0, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  /// 64 random bits.
  std::uint64_t bits();
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  /// Standard normal (Box and Muller 1958).
  double normal();
  /// Uniform in 0..n-1, without bias. Throws ValueError for n < 1.
  std::int64_t below(std::int64_t n, Caller where = Caller::here());

  /// Uniform in [low, high), as numbers of type T. Throws ShapeError for a negative size, as do the others.
  template <Real T>
  Tensor<T> uniform(const Shape& shape, double low = 0, double high = 1, Caller where = Caller::here());
  template <Real T>
  Tensor<T> normal(const Shape& shape, double mean = 0, double standard_deviation = 1, Caller where = Caller::here());
  /// `value` with the given probability, to within 2^-32, and 0 otherwise. Throws ValueError for a probability outside
  /// [0, 1].
  template <Real T>
  Tensor<T> bernoulli(const Shape& shape, double probability, double value = 1, Caller where = Caller::here());
  /// 0..n-1 in random order (Fisher and Yates, Durstenfeld's form).
  Tensor<std::int64_t> permutation(std::int64_t n, Caller where = Caller::here());
  /// k distinct numbers of 0..n-1. Throws ValueError unless 0 <= k <= n.
  Tensor<std::int64_t> choice(std::int64_t n, std::int64_t k, Caller where = Caller::here());

 private:
  std::uint64_t seed_, stream_;
  std::uint64_t counter_ = 0;
  std::uint32_t block_[4][1] = {};
  int left_ = 0;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace tapegrad::random
