#pragma once
// Which examples each training step sees.

#include <vector>

#include "../../autodiff/random.hpp"
#include "../fit.hpp"

namespace tapegrad::nn::detail {

class Sampler {
 public:
  /// Throws ValueError or ShapeError if the options do not fit `examples`.
  Sampler(std::int64_t examples, const FitOptions& options, const Caller& where);

  /// The number of steps per epoch.
  std::int64_t steps() const { return steps_; }
  /// The number of examples that an epoch sees, including repetitions.
  std::int64_t rows() const { return rows_of_epoch_; }
  /// Makes the next step the first one of this epoch of fit. The order depends only on the seed and on `trained`, the
  /// number of epochs before it.
  void begin_epoch(std::int64_t epoch, std::int64_t trained);
  /// The indices of the examples of the next step.
  Tensor<std::int64_t> next();

 private:
  enum class Source { list, draw, pass } source_;
  /// Draws batch_size_ distinct examples.
  Tensor<std::int64_t> draw();

  std::int64_t examples_, batch_size_, steps_, rows_of_epoch_ = 0;
  bool shuffle_;
  std::uint64_t seed_;
  random::Generator rng_;
  Tensor<std::int64_t> rows_;  // the user's list, the order of this epoch, or 0, 1, 2, ... to draw from
  std::vector<std::int64_t> swapped_;
  std::int64_t step_ = 0;  // its number within the list, or within the epoch
};

}  // namespace tapegrad::nn::detail
