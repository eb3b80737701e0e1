#pragma once
// How a model is trained: the options of compile and fit, and what a callback sees.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "losses.hpp"
#include "metrics.hpp"
#include "named.hpp"
#include "optimizers.hpp"
#include "output_delta.hpp"

namespace tapegrad::nn {

/// What is differentiated: the mean of the losses of the examples, or their sum as in notebook 001, whose step grows
/// with the batch. The loss that is reported is always the mean, so that it does not depend on the batch size. A loss
/// that gives a scalar is taken as it is.
enum class Reduction { mean, sum };

struct CompileOptions {
  Optimizer optimizer = SGD{};
  Loss loss = {};
  std::vector<Metric> metrics = {};
  Reduction reduction = Reduction::mean;
  OutputDelta output_delta = OutputDelta::automatic;
  /// The gradients of a step, penalties included, are clipped (nn/clipping.hpp) by one of these, as Keras' clipvalue
  /// and global_clipnorm.
  std::optional<double> clip_value = {};
  std::optional<double> clip_global_norm = {};
};

/// One epoch that has ended.
struct Epoch {
  std::int64_t index = 0;   // from 0
  std::int64_t epochs = 0;  // of this fit
  double seconds = 0;
  Logs logs;  // means over the examples seen: "loss" and the metrics; logs[name] throws ValueError for another name

  /// Ends training after this epoch.
  void stop() { stopped = true; }
  bool stopped = false;
};

struct FitOptions {
  std::int64_t epochs = 1;
  std::int64_t batch_size = 32;
  /// Given: each step draws batch_size distinct examples. Not given: an epoch runs through all examples once.
  std::optional<std::int64_t> steps_per_epoch = {};
  /// Row k holds the indices of the examples of step k, counted through all epochs; then batch_size, shuffle and seed
  /// have no say, and steps_per_epoch is by default the number of rows over the number of epochs.
  Tensor<std::int64_t> batches = {};
  bool shuffle = true;
  std::uint64_t seed = 0;
  /// 1 prints a line per epoch, and a progress bar where standard output is a terminal.
  int verbose = 0;
  std::vector<std::function<void(Epoch&)>> callbacks = {};
};

}  // namespace tapegrad::nn
