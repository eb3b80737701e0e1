#pragma once
// A chain of layers, and its training.
//
//     nn::Sequential<double> model({nn::Dense{64, "sigmoid"}, nn::Dense{10, "softmax"}}, /*seed*/ 1);
//     model.compile({.optimizer = nn::SGD{.learning_rate = 0.01}, .loss = "categorical_crossentropy",
//                    .metrics = {"accuracy"}});
//     nn::History h = model.fit(X, y, {.epochs = 5, .verbose = 1});
//     model.evaluate(X_test, y_test)["accuracy"];  model.predict(X_test);

#include <cstdint>
#include <string>
#include <utility>

#include "train/trainer.hpp"

namespace tapegrad::nn {

/// A network (network.hpp: add, build, parameters, the call, summary) with its training; copies are independent.
/// Threads may share a model that is built to predict, evaluate and call it outside training, which only read it; they
/// must not build or train it at the same time. Throws TapeError for traced data in training, which is not
/// differentiated. Errors of a layer name the call and the layer.
template <Real T>
class Sequential : public Network<T> {
 public:
  using Network<T>::Network;

  /// Throws ValueError if closed_form is asked for and the pair of activation and loss has none; if two metrics have
  /// the same name, or a metric has the name of another log, which is "loss" or begins with "val_"; and in a callback
  /// of fit. Nothing has changed then.
  void compile(const CompileOptions& options, Caller line = Caller::here()) { trainer_.compile(*this, options, line); }
  /// The way in which delta of the output layer is found, which is never automatic.
  OutputDelta output_delta_used(Caller line = Caller::here()) const { return trainer_.output_delta_used(*this, line); }

  using Network<T>::predict;
  /// The same; the model is built from x if it is not built yet.
  Tensor<T> predict(const Tensor<T>& x, const PredictOptions& options = {}, Caller line = Caller::here()) {
    this->prepare(x, "predict", line);
    return std::as_const(*this).predict(x, options, line);
  }
  /// The class of each example, (batch): the first largest output, or with one output whether it is above 0.5, or above
  /// 0 where the loss takes logits. Throws ShapeError unless the output is (batch, n).
  Tensor<std::int64_t> predict_classes(const Tensor<T>& x, const PredictOptions& options = {},
                                       Caller line = Caller::here()) const {
    return trainer_.classes_of(std::as_const(*this).predict(x, options, line), line);
  }
  Tensor<std::int64_t> predict_classes(const Tensor<T>& x, const PredictOptions& options = {},
                                       Caller line = Caller::here()) {
    this->prepare(x, "predict_classes", line);
    return std::as_const(*this).predict_classes(x, options, line);
  }

  /// The mean loss, including the penalties of the layers, and the metrics over all examples: evaluate(X, y)["loss"]. A
  /// loss that gives a scalar is averaged over the batches.
  template <TargetOf<T> Y>
  Logs evaluate(const Tensor<T>& x, const Tensor<Y>& y, const EvaluateOptions& options = {},
                Caller line = Caller::here()) const {
    return trainer_.evaluate(*this, x, y, options, line);
  }
  template <TargetOf<T> Y>
  Logs evaluate(const Tensor<T>& x, const Tensor<Y>& y, const EvaluateOptions& options = {},
                Caller line = Caller::here()) {
    if (x.rank() * y.rank() > 0 && x.shape()[0] == y.shape()[0]) this->prepare(x, "evaluate", line);
    return std::as_const(*this).evaluate(x, y, options, line);
  }
  /// One step of the optimizer; loss and metrics of the batch before it.
  template <TargetOf<T> Y>
  Logs train_on_batch(const Tensor<T>& x, const Tensor<Y>& y, Caller line = Caller::here()) {
    return trainer_.train_on_batch(*this, x, y, line);
  }
  /// Trains, and gives loss and metrics of every epoch: the mean of the losses of its batches, each before its step,
  /// and the metrics of all their predictions together; those of the validation are of the model after the epoch.
  /// The validation is evaluated in batches of EvaluateOptions{}.batch_size. Throws ShapeError when X and y differ in
  /// their number of rows, ValueError for options that do not fit the data and at a loss that is not finite (see
  /// OnNonfinite), and what build throws. Before the first step the metrics are asked once about one row, and losses
  /// and metrics of labels about one of each, so that what they refuse shows then.
  template <TargetOf<T> Y>
  History fit(const Tensor<T>& x, const Tensor<Y>& y, const FitOptions& options = {}, Caller line = Caller::here()) {
    return trainer_.fit(*this, x, y, options, line);
  }

  /// Writes the model to a .npz file: parameters ("0.kernel", by the number of the layer), states
  /// ("3.moving_mean"), the state of the optimizer ("optimizer.0.m"), its iterations and learning rate, and how far
  /// training has come. The file appears whole or not at all, exact to the bit. Layers, loss and optimizer are code and
  /// are not in it, but for the names of layers and activations ("layers": the bytes of a line each, "Dense relu").
  /// Throws ValueError before build, Error when the file cannot be written.
  void save(const std::string& path, Caller line = Caller::here()) const { trainer_.save(*this, path, line); }
  /// Reads what save has written into a model with the same layers, which is built for it where it is not. After
  /// compile with the same optimizer, training goes on as if it had not stopped:
  ///
  ///     model.compile({...});
  ///     model.load("m.npz");
  ///     model.fit(X, y, {.epochs = 20 - model.epochs_trained()});
  ///
  /// Before compile the parameters and states alone are taken, and any optimizer begins anew. A file of float is read
  /// into a model of double, exactly; one of double is refused by a model of float. Throws ValueError or ShapeError,
  /// naming the file and the array or layer, for a file of another model: with other arrays, or with other names of
  /// layers and activations, where functions of one's own are all "custom", and a file of tapegrad 0.1 has none; Error
  /// for one that cannot be read; then nothing has changed.
  void load(const std::string& path, Caller line = Caller::here()) { trainer_.load(*this, path, line); }

  /// The epochs of all fits that ended; after a fit with an initial_epoch the number of its last one, counted from 1.
  std::int64_t epochs_trained() const { return trainer_.epochs_trained(); }

 private:
  Trainer<T> trainer_;
};

}  // namespace tapegrad::nn
