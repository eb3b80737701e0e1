#pragma once
// How a model is trained: the options of compile and fit, of evaluate and predict. What happens in fit from batch to
// batch is in train/trainer.cpp.

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

/// What is differentiated: the mean of the examples' losses, or their sum as in notebook 001, whose step grows with the
/// batch. Penalties of layers are added to either. The reported loss is always the mean plus the penalties, so that it
/// does not depend on the batch size. A loss that gives a scalar is taken as it is.
enum class Reduction { mean, sum };

struct CompileOptions {
  Optimizer optimizer = SGD{};
  Loss loss = {};
  std::vector<Metric> metrics = {};
  Reduction reduction = Reduction::mean;
  OutputDelta output_delta = OutputDelta::automatic;
  /// If one of these is given, the gradients of a step, including the penalties', are clipped by it (nn/clipping.hpp),
  /// like Keras's clipvalue and global_clipnorm.
  std::optional<double> clip_value = {};
  std::optional<double> clip_global_norm = {};
};

/// A tensor of either type. A model of T converts it to Tensor<T>.
using RealTensor = std::variant<Tensor<double>, Tensor<float>>;
/// Targets: numbers, or labels.
using TargetTensor = std::variant<Tensor<double>, Tensor<float>, Tensor<std::int64_t>>;

/// Inputs, targets and, optionally, a weight for each example.
struct ValidationData {
  RealTensor x = {};
  TargetTensor y = {};
  RealTensor sample_weight = {};
};

/// What fit does at the first step whose loss, including penalties, is not finite. Except with go_on, the step is not
/// made, so that the weights from before it are kept. If these are not finite either, the model and its optimizer go
/// back to the end of the last epoch whose weights gave a finite loss.
enum class OnNonfinite {
  fail,   // throws ValueError with the epoch and the step, what was not finite (X, y or the weights), and what was kept
  stop,   // ends training; History::nonfinite says the same
  go_on,  // makes the step like any other
};

struct FitOptions {
  /// The number of epochs; if initial_epoch is given, the number of the last one: with initial_epoch = 10, epochs = 12
  /// trains two, as in Keras.
  std::int64_t epochs = 1;
  std::int64_t batch_size = 32;
  /// If given, each step draws batch_size distinct examples. Otherwise an epoch runs through all examples once, and its
  /// last batch may be short.
  std::optional<std::int64_t> steps_per_epoch = {};
  /// Row k holds the indices of the examples of step k, counted through all epochs. If given, batch_size, shuffle and
  /// seed have no effect, and steps_per_epoch is by default the number of rows divided by the number of epochs.
  Tensor<std::int64_t> batches = {};
  /// The fraction of the examples, taken from the end before any shuffling, that is not trained on but evaluated after
  /// each epoch, which gives "val_loss", ... Their number is rounded up; ValueError if either part would be empty. The
  /// fraction is taken as the shortest decimal that reads back as this double: 0.9 of 100 examples leaves 10 for
  /// training. Keras rounds the binary 1 - validation_split, which leaves 9.
  double validation_split = 0;
  /// Other examples to evaluate after each epoch: {{Xv, yv}}, or {{Xv, yv, weights}}.
  std::optional<ValidationData> validation_data = {};
  /// Multiplies the loss of each example; its shape is (examples). The reported loss is the sum of these divided by the
  /// number of examples. Metrics ignore weights, except that examples of weight 0 are left out: their targets have no
  /// effect, even if they are NaN or the label of no class.
  RealTensor sample_weight = {};
  /// class_weight[k] multiplies the loss of each example of class k in training; see class_weights_of.
  std::vector<double> class_weight = {};
  bool shuffle = true;
  /// The order of the examples of epoch k depends only on seed and k, where k is counted as described at initial_epoch.
  std::uint64_t seed = 0;
  /// The number, from 0, of the first epoch; everything is counted from there. If it is not given, epochs count from 0
  /// within this call, but the order of the examples and schedules by epoch continue from model.epochs_trained(): n
  /// calls of one epoch equal one call of n epochs, to the bit. Keras begins with epoch 0 again.
  std::optional<std::int64_t> initial_epoch = {};
  /// 1 prints a line per epoch, and a progress bar if standard output is a terminal.
  int verbose = 0;
  /// The callbacks, called in this order. They are copied when fit starts, so that each fit begins with fresh state.
  std::vector<Callback> callbacks = {};
  /// Whether Ctrl-C (SIGINT) ends training after the current step; the history of the completed epochs is then
  /// returned, with `interrupted` set. A second Ctrl-C does what it would have done before. This is off by default,
  /// because the signals of a process belong to the program and not to a library.
  bool stop_on_interrupt = false;
  OnNonfinite on_nonfinite = OnNonfinite::fail;
};

struct EvaluateOptions {
  /// The number of examples at a time. It bounds the memory, apart from that of the predictions, which metrics see all
  /// together. Only the last bits of results may depend on it.
  std::int64_t batch_size = 512;
  /// See FitOptions.
  RealTensor sample_weight = {};
};

struct PredictOptions {
  std::int64_t batch_size = 512;
};

}  // namespace tapegrad::nn
