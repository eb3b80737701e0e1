#pragma once
// How a model is trained: the options of compile and fit, of evaluate and predict.

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "callbacks.hpp"
#include "losses.hpp"
#include "metrics.hpp"
#include "optimizers.hpp"
#include "output_delta.hpp"

namespace tapegrad::nn {

/// What is differentiated: the mean of the losses of the examples, or their sum as in notebook 001, whose step grows
/// with the batch; penalties of layers are added to either as they are. The loss that is reported is always the mean,
/// and the penalties, so that it does not depend on the batch size. A loss that gives a scalar is taken as it is.
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

/// A tensor of either type; a model of T takes it as Tensor<T>, converted where it is of the other.
using RealTensor = std::variant<Tensor<double>, Tensor<float>>;
/// Targets: numbers, or labels.
using TargetTensor = std::variant<Tensor<double>, Tensor<float>, Tensor<std::int64_t>>;

/// Inputs and targets, and perhaps a weight for each example.
struct ValidationData {
  RealTensor x = {};
  TargetTensor y = {};
  RealTensor sample_weight = {};
};

/// What fit does about the first loss of a step, penalties included, that is not finite. The step is not made, so that
/// the weights of before it are kept. Where these are not finite either, the model and its optimizer go back to the end
/// of the last epoch whose weights gave a finite loss.
enum class OnNonfinite {
  fail,   // throws ValueError that tells epoch and step, what went first (X, y or the weights), and what was kept
  stop,   // ends training; History::nonfinite tells the same
  go_on,  // makes the step, as any other
};

struct FitOptions {
  /// The number of epochs; with a given initial_epoch that of the last one: with initial_epoch = 10, epochs = 12 trains
  /// two, as in Keras.
  std::int64_t epochs = 1;
  std::int64_t batch_size = 32;
  /// Given: each step draws batch_size distinct examples. Not given: an epoch runs through all examples once, and its
  /// last batch may be short.
  std::optional<std::int64_t> steps_per_epoch = {};
  /// Row k holds the indices of the examples of step k, counted through all epochs; then batch_size, shuffle and seed
  /// have no say, and steps_per_epoch is by default the number of rows over the number of epochs.
  Tensor<std::int64_t> batches = {};
  /// The part of the examples, from the end and before any shuffling, that is not trained on but evaluated after each
  /// epoch: their loss and metrics are "val_loss", ... n validation_split of them, rounded up; refused when none is
  /// left for one of the two. The part is that of the shortest decimal that reads back as this double: 0.9 of 100
  /// examples leaves 10 for training. Keras rounds the binary 1 - validation_split, which leaves 9.
  double validation_split = 0;
  /// The same for other examples: {{Xv, yv}}, or {{Xv, yv, weights}}.
  std::optional<ValidationData> validation_data = {};
  /// Which multiplies the loss of each example, (examples); what is reported is the sum of these over the number of
  /// examples. Metrics do not see it, but that examples of weight 0 are left out: nothing that stands in their targets,
  /// a NaN or a label of no class, has any effect.
  RealTensor sample_weight = {};
  /// class_weight[k] multiplies the loss of each example of class k in training; see class_weights_of.
  std::vector<double> class_weight = {};
  bool shuffle = true;
  /// The order of the examples of epoch k depends on seed and k alone, k counted as initial_epoch says.
  std::uint64_t seed = 0;
  /// The number, from 0, of the epoch to begin with; all counting is from there. Where it is not given, epochs count
  /// from 0 within this call, but the order of the examples and schedules by epoch go on from model.epochs_trained():
  /// n calls of one epoch are one call of n, to the bit. Keras begins with epoch 0 again.
  std::optional<std::int64_t> initial_epoch = {};
  /// 1 prints a line per epoch, and a progress bar where standard output is a terminal.
  int verbose = 0;
  /// Called in this order. They are copied when fit starts, so that their state begins anew with every fit.
  std::vector<Callback> callbacks = {};
  /// Ctrl-C (SIGINT) ends training after the running step; the history of the epochs that ended is returned, with
  /// `interrupted` set. A second one does what it would have done before. Off by default: the signals of a process
  /// belong to the program, not to a library.
  bool stop_on_interrupt = false;
  OnNonfinite on_nonfinite = OnNonfinite::fail;
};

struct EvaluateOptions {
  /// Examples at a time: they bound the memory that is taken, beside the predictions, which metrics see all together.
  /// Only the last bits of results may depend on their number.
  std::int64_t batch_size = 512;
  /// See FitOptions.
  RealTensor sample_weight = {};
};

struct PredictOptions {
  std::int64_t batch_size = 512;
};

}  // namespace tapegrad::nn
