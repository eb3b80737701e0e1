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
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "named.hpp"

namespace tapegrad::nn {

namespace detail {

/// What callbacks may do to the model that is being trained.
struct InTraining {
  virtual ~InTraining() = default;
  virtual double learning_rate() const = 0;
  virtual void set_learning_rate(double rate) = 0;
  virtual void save(const std::string& path) const = 0;
  virtual void restore_at_end() = 0;
};

}  // namespace detail

/// One epoch of a fit.
class TAPEGRAD_EXPORT Epoch {
 public:
  Epoch(detail::InTraining& model, const Where& where) : model_(model), where_(where) {}

  std::int64_t index = 0;   // from 0
  std::int64_t first = 0;   // of this fit
  std::int64_t epochs = 0;  // the number that fit was given
  double seconds = 0;
  /// "loss" and the metrics of the training, then those of the validation, each with "val_" before its name. logs[name]
  /// throws ValueError for another name. What callbacks write or add here stands in the history.
  Logs logs;

  /// Ends training after this epoch.
  void stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }

  /// Of the next step.
  double learning_rate() const { return model_.learning_rate(); }
  /// From now on, whatever schedule there was. Throws ValueError unless it is finite and not negative.
  void set_learning_rate(double rate) { model_.set_learning_rate(rate); }
  /// As Sequential::save does.
  void save(const std::string& path) const { model_.save(path); }
  /// The parameters and states of this moment are those that fit leaves the model with, however it ends (but for an
  /// exception), unless this is called again. Costs nothing now; the next step writes into fresh tensors.
  void restore_at_end() { model_.restore_at_end(); }

  /// The line of the fit.
  const Where& where() const { return where_; }

 private:
  detail::InTraining& model_;
  Where where_;
  bool stopped_ = false;
};

/// Called at the end of each epoch; with a member begin(Epoch&), that is called at its beginning, when the logs have
/// their names but no values.
class Callback {
 public:
  template <class F>
  static constexpr bool accepts = requires(F& f, Epoch& epoch) {
    f(epoch);
  }
  || requires(F& f, Epoch& epoch) { f.begin(epoch); };

  template <class F>
  requires(!std::same_as<F, Callback> && accepts<F>) Callback(F f)
      : callback_(std::make_unique<Holder<F>>(std::move(f))) {}
  Callback(const Callback& other) : callback_(other.callback_->clone()) {}
  Callback& operator=(const Callback& other) {
    callback_ = other.callback_->clone();
    return *this;
  }

  void begin(Epoch& epoch) { callback_->begin(epoch); }
  void end(Epoch& epoch) { callback_->end(epoch); }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual std::unique_ptr<Interface> clone() const = 0;
    virtual void begin(Epoch& epoch) = 0;
    virtual void end(Epoch& epoch) = 0;
  };
  template <class F>
  struct Holder final : Interface {
    explicit Holder(F callback) : f(std::move(callback)) {}
    std::unique_ptr<Interface> clone() const override { return std::make_unique<Holder>(f); }
    void begin([[maybe_unused]] Epoch& epoch) override {
      if constexpr (requires { f.begin(epoch); }) f.begin(epoch);
    }
    void end([[maybe_unused]] Epoch& epoch) override {
      if constexpr (requires { f(epoch); }) f(epoch);
    }
    F f;
  };

  std::unique_ptr<Interface> callback_;
};

namespace detail {

/// The best value of a log in this fit. `mode` is "min" or "max", which says what is better, or "auto", which knows the
/// losses and metrics of the library by their names.
struct TAPEGRAD_EXPORT Best {
  std::optional<double> value = {};
  std::int64_t waited = 0;  // epochs since

  /// Throws ValueError, naming the callback, for a name that is not in the logs, another mode, or "auto" for a log that
  /// is not known.
  static void require(const Epoch& epoch, const char* callback, const std::string& monitor, const std::string& mode);
  /// Whether the value of this epoch is better by more than min_delta; a NaN never is.
  bool improved(const Epoch& epoch, const std::string& monitor, const std::string& mode, double min_delta);
};

}  // namespace detail

/// Ends training when `monitor` has not improved by more than min_delta for `patience` epochs. With restore_best the
/// model ends with the parameters of its best epoch, also when training ends for another reason; the state of the
/// optimiser stays that of the last step. Throws ValueError before training for a name that is not in the logs or
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

/// Saves the model after each epoch, so that the file is whole at any moment. "{epoch}" in the path stands for the
/// number of the epoch, from 1. With save_best_only it is saved only when `monitor` has improved, in this fit or,
/// given, on initial_best: without it the first epoch of a fit that goes on with a saved model replaces a better file.
struct TAPEGRAD_EXPORT ModelCheckpoint {
  std::string path = "model.npz";
  std::string monitor = "val_loss";
  bool save_best_only = false;
  std::string mode = "auto";
  std::optional<double> initial_best = {};
  detail::Best best = {};

  void begin(Epoch& epoch) const {
    if (save_best_only) detail::Best::require(epoch, "ModelCheckpoint", monitor, mode);
  }
  void operator()(Epoch& epoch);
};

/// Writes a line of the logs after each epoch, under a header: "epoch" from 1, and the logs, numbers in full. With
/// `append` lines are added to a file that has the same header. Throws ValueError for another header, Error when the
/// file cannot be written.
struct TAPEGRAD_EXPORT CsvLogger {
  std::string path = "log.csv";
  bool append = false;

  void operator()(Epoch& epoch) const;
};

/// Sets the learning rate of each epoch to function(epoch from 0, rate so far).
struct TAPEGRAD_EXPORT LearningRateScheduler {
  std::function<double(std::int64_t, double)> function = {};

  /// Throws ValueError without a function.
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

  /// Throws ValueError for what EarlyStopping refuses, and for a factor that is not between 0 and 1.
  void begin(Epoch& epoch) const;
  void operator()(Epoch& epoch);
};

}  // namespace tapegrad::nn
