#pragma once
// Which examples each training step sees.

#include <vector>

#include "../../autodiff/random.hpp"
#include "../fit.hpp"

namespace tapegrad::nn::detail {

class Sampler {
 public:
  /// Throws ValueError or ShapeError when the options do not fit `examples`.
  Sampler(std::int64_t examples, const FitOptions& options, const Caller& where);

  /// Per epoch.
  std::int64_t steps() const { return steps_; }
  /// The number of examples that an epoch sees, repeated ones included.
  std::int64_t rows() const { return rows_of_epoch_; }
  /// The next step is the first of this epoch of fit. Its order depends on the seed and `trained`, the epochs before
  /// it, alone.
  void begin_epoch(std::int64_t epoch, std::int64_t trained);
  /// Indices of the examples of the next step.
  Tensor<std::int64_t> next();

 private:
  enum class Source { list, draw, pass } source_;
  /// batch_size_ distinct examples.
  Tensor<std::int64_t> draw();

  std::int64_t examples_, batch_size_, steps_, rows_of_epoch_ = 0;
  bool shuffle_;
  std::uint64_t seed_;
  random::Generator rng_;
  Tensor<std::int64_t> rows_;  // the user's list, the order of this epoch, or to draw from: 0, 1, 2, ...
  std::vector<std::int64_t> swapped_;
  std::int64_t step_ = 0;  // within the list, or within the epoch
};

}  // namespace tapegrad::nn::detail
