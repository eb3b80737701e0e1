#pragma once
// What can happen between the epochs of a fit: any function of nn::Epoch&, or one of these.
//
//     model.fit(X, y, {.epochs = 100, .validation_split = 0.2, .callbacks = {
//         nn::EarlyStopping{.monitor = "val_loss", .patience = 5, .restore_best = true},
//         nn::ModelCheckpoint{.path = "epoch_{epoch}.npz"},
//         [](nn::Epoch& e) { if (e.logs["val_accuracy"] > 0.98) e.stop(); }}});

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "named.hpp"

namespace tapegrad::nn {

namespace detail {

/// What callbacks can do to the model that is being trained.
struct InTraining {
  virtual ~InTraining() = default;
  virtual double learning_rate() const = 0;
  virtual void set_learning_rate(double rate) = 0;
  virtual void save(const std::string& path) const = 0;
  virtual void restore_at_end() = 0;
  virtual std::optional<bool> larger_is_better(std::string_view log) const = 0;
};

}  // namespace detail

/// One epoch of a fit.
class TAPEGRAD_EXPORT Epoch {
 public:
  Epoch(detail::InTraining& model, const Caller& where) : model_(model), where_(where) {}

  std::int64_t index = 0;    // from 0 in this fit, or from its initial_epoch
  std::int64_t first = 0;    // of this fit
  std::int64_t epochs = 0;   // the number that fit was given
  std::int64_t trained = 0;  // epochs of the model before this one, including those of earlier fits
  double seconds = 0;
  /// "loss" and the metrics of the training, then those of the validation, each with "val_" before its name. logs[name]
  /// throws ValueError for any other name. Whatever callbacks write or add here appears in the history.
  Logs logs;

  /// Ends training after this epoch.
  void stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }

  /// The learning rate of the next step.
  double learning_rate() const { return model_.learning_rate(); }
  /// Sets the learning rate from now on, in place of any schedule. Throws ValueError unless it is finite and not
  /// negative.
  void set_learning_rate(double rate) { model_.set_learning_rate(rate); }
  /// Saves the model as Sequential::save does.
  void save(const std::string& path) const { model_.save(path); }
  /// At its end, unless it throws, fit restores the parameters and states that the model has now. A later call replaces
  /// an earlier one. It costs nothing now; the next step writes into fresh tensors.
  void restore_at_end() { model_.restore_at_end(); }

  /// Whether a larger value of this log is better; for the loss it is not. Empty if that is not known, as for a log
  /// that a callback adds.
  std::optional<bool> larger_is_better(std::string_view log) const { return model_.larger_is_better(log); }

  /// The line of the fit.
  const Caller& where() const { return where_; }

 private:
  detail::InTraining& model_;
  Caller where_;
  bool stopped_ = false;
};

/// Called at the end of each epoch. Its optional members are begin(Epoch&), called at the beginning of an epoch, when
/// the logs have their names but no values; begun(Epoch&), called after all callbacks have begun; and ended(Epoch&),
/// called after all have been called at the end, when the logs are complete.
class Callback {
 public:
  template <class F>
  static constexpr bool accepts = requires(F& f, Epoch& epoch) {
    f(epoch);
  }
  || requires(F& f, Epoch& epoch) { f.begin(epoch); }
  || requires(F& f, Epoch& epoch) { f.begun(epoch); }
  || requires(F& f, Epoch& epoch) { f.ended(epoch); };

  /// The times in an epoch at which it is called, in this order.
  enum class When { begin, begun, end, ended };

  template <class F>
  requires(!std::same_as<F, Callback> && accepts<F>) Callback(F callback)
      : call_([f = std::move(callback)](When when, Epoch& epoch) mutable {
          if constexpr (requires { f.begin(epoch); }) {
            if (when == When::begin) f.begin(epoch);
          }
          if constexpr (requires { f.begun(epoch); }) {
            if (when == When::begun) f.begun(epoch);
          }
          if constexpr (requires { f(epoch); }) {
            if (when == When::end) f(epoch);
          }
          if constexpr (requires { f.ended(epoch); }) {
            if (when == When::ended) f.ended(epoch);
          }
        }) {}

  void operator()(When when, Epoch& epoch) { call_(when, epoch); }

 private:
  std::function<void(When, Epoch&)> call_;  // each copy has a state of its own
};

namespace detail {

/// The best value of a log in this fit. `mode` says which values are better: "min", "max", or "auto", where the loss or
/// metric itself decides.
struct TAPEGRAD_EXPORT Best {
  std::optional<double> value = {};  // NaN counts as none
  std::int64_t waited = 0;           // the number of epochs since then

  /// Throws ValueError, naming the callback, for a name that is not in the logs, another mode, "auto" for a log that is
  /// not known, a min_delta that is NaN, or negative patience.
  static void require(const Epoch& epoch, const char* callback, const std::string& monitor, const std::string& mode,
                      double min_delta, std::int64_t patience = 0);
  /// Whether the value of this epoch is better by more than min_delta. A NaN never is.
  bool improved(const Epoch& epoch, const std::string& monitor, const std::string& mode, double min_delta);
};

}  // namespace detail

/// Ends training when `monitor` has not improved by more than min_delta for `patience` epochs. With restore_best the
/// model ends with the parameters of its best epoch, even if training ends for another reason; the state of the
/// optimizer remains that of the last step. Throws ValueError before training for a name that is not in the logs or
/// negative patience.
struct TAPEGRAD_EXPORT EarlyStopping {
  std::string monitor = "val_loss";
  double min_delta = 0;
  std::int64_t patience = 0;
  std::string mode = "auto";
  bool restore_best = false;
  detail::Best best = {};

  void begin(Epoch& epoch) const;
  void operator()(Epoch& epoch);
};

/// Saves the model after each epoch, so that the file is whole at any moment. In the path "{epoch}" stands for the
/// number of the epoch, from 1 where Epoch::index is 0, and "{val_loss}" or another name for that log; both take a
/// format, "{epoch:03}", "{val_loss:.4f}", as std::format has it for an integer and a double. "{{" and "}}" are braces.
/// With save_best_only the model is saved only if `monitor` has improved, within this fit and, if it is given and not
/// NaN, on initial_best; without initial_best, the first epoch of a fit that continues with a saved model replaces a
/// better file. Before training, throws ValueError for a name that is not in the logs or a format that does not fit,
/// and Error for a folder that does not exist or cannot be written to.
struct TAPEGRAD_EXPORT ModelCheckpoint {
  std::string path = "model.npz";
  std::string monitor = "val_loss";
  bool save_best_only = false;
  std::string mode = "auto";
  std::optional<double> initial_best = {};
  detail::Best best = {};

  void begin(Epoch& epoch) const {
    if (save_best_only) detail::Best::require(epoch, "ModelCheckpoint", monitor, mode, 0);
  }
  void begun(Epoch& epoch) const;
  void operator()(Epoch& epoch);
};

/// Writes a line of the logs after each epoch, under a header: "epoch" from 1, and the logs as all callbacks have left
/// them, numbers in full. The columns are those of fit and those that callbacks have added by the end of the first
/// epoch; a value that is missing later is nan. With `append`, lines are added to a file whose header has at least
/// these columns, after its last complete line; a line that a crash has cut off is removed. Throws ValueError for any
/// other header, before training if it lacks the logs of fit, and for a log that is new after the first epoch; Error if
/// the file cannot be written, before training if its folder does not exist.
struct TAPEGRAD_EXPORT CsvLogger {
  std::string path = "log.csv";
  bool append = false;
  std::vector<std::string> columns = {};     // beside "epoch"
  std::optional<std::uintmax_t> whole = {};  // bytes that stay of a file with a header

  void begun(Epoch& epoch);
  void ended(Epoch& epoch);
};

/// Sets the learning rate of each epoch to function(epoch, rate so far); epochs count from 0 over all fits of the
/// model, see Epoch::trained.
struct TAPEGRAD_EXPORT LearningRateScheduler {
  std::function<double(std::int64_t, double)> function = {};

  /// Throws ValueError if there is no function.
  void begin(Epoch& epoch) const;
};

/// Multiplies the learning rate by `factor` when `monitor` has not improved by more than min_delta for `patience`
/// epochs, down to minimum.
struct TAPEGRAD_EXPORT ReduceLearningRateOnPlateau {
  std::string monitor = "val_loss";
  double factor = 0.1;
  std::int64_t patience = 10;
  double min_delta = 1e-4;
  double minimum = 0;
  std::string mode = "auto";
  detail::Best best = {};

  /// Throws ValueError for everything that EarlyStopping refuses, and for a factor that is not between 0 and 1.
  void begin(Epoch& epoch) const;
  void operator()(Epoch& epoch);
};

}  // namespace tapegrad::nn
