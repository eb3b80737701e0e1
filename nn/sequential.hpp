#pragma once
// Layers one after the other, and their training.
//
//     nn::Sequential<double> model({nn::Dense{64, "sigmoid"}, nn::Dense{10, "softmax"}}, /*seed*/ 1);
//     model.compile({.optimizer = nn::SGD{.learning_rate = 0.01}, .loss = "categorical_crossentropy",
//                    .metrics = {"accuracy"}});
//     nn::History h = model.fit(X, y, {.epochs = 5, .verbose = 1});
//     model.evaluate(X_test, y_test)["accuracy"];  model.predict(X_test);

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "fit.hpp"
#include "history.hpp"
#include "layers.hpp"

namespace tapegrad::nn {

/// What targets of a model of Tensor<T> are: numbers of the same type, or labels.
template <class Y, class T>
concept TargetOf = std::is_same_v<Y, T> || std::is_same_v<Y, std::int64_t>;

/// Layers in a row, with their parameters. Not to be trained or built by several threads at once; copies are
/// independent. Throws TapeError for traced data in training, which is not differentiated, and RowMixingError for a
/// layer that mixes the rows of a batch outside training.
template <Real T>
class TAPEGRAD_EXPORT Sequential {
 public:
  explicit Sequential(std::initializer_list<Layer<T>> layers = {}, std::uint64_t seed = 0)
      : layers_(layers), rng_(seed) {}
  /// Throws ValueError once the model is built: its parameters would be lost.
  void add(Layer<T> layer);

  /// Throws ValueError when closed_form is asked for and the pair of activation and loss has none.
  void compile(const CompileOptions& options);
  /// The way that delta of the output layer is found: never automatic.
  OutputDelta output_delta_used() const;

  /// Makes the parameters for examples of this shape, without the batch axis. The first batch does it otherwise. Throws
  /// ValueError when the model has parameters already.
  void build(const Shape& example, Where where = Where::here());
  /// All parameters, in the order of the layers: kernel, bias, kernel, bias, ... They share elements with the model
  /// until it takes its next step.
  TensorList<T> parameters() const;
  /// Throws ShapeError when the number or a shape differs, ValueError before build, TapeError for a traced value: a
  /// model is differentiated by its input only; for derivatives by parameters write a function of them.
  void set_parameters(const TensorList<T>& values, Where where = Where::here());
  /// The parameters of each layer, by name.
  const detail::PoolVector<Params<T>>& layer_parameters() const { return parameters_; }

  /// The output for x of (batch, ...); a function that can itself be differentiated by x.
  Tensor<T> predict(const Tensor<T>& x, Where where = Where::here());
  /// Mean loss and metrics over all examples: evaluate(X, y)["loss"].
  template <TargetOf<T> Y>
  Logs evaluate(const Tensor<T>& x, const Tensor<Y>& y, Where where = Where::here());
  /// One step of the optimiser; loss and metrics of the batch before it.
  template <TargetOf<T> Y>
  Logs train_on_batch(const Tensor<T>& x, const Tensor<Y>& y, Where where = Where::here());
  /// Trains, and gives loss and metrics of every epoch: means over its batches, each before its step. Throws ShapeError
  /// when X and y differ in their number of rows, ValueError for options that do not fit the data, RowMixingError at
  /// the first batch when an activation mixes rows and was not declared to (nn::mixes_rows).
  template <TargetOf<T> Y>
  History fit(const Tensor<T>& x, const Tensor<Y>& y, const FitOptions& options = {}, Where where = Where::here());

 private:
  using Parameters = detail::PoolVector<Params<T>>;

  Tensor<T> logits(const Parameters& parameters, Parameters& states, Tensor<T> x, Mode mode) const;
  /// Adds the penalties of the layers to gradients; their sum.
  double add_penalties(Parameters& gradients) const;
  void prepare(const Tensor<T>& x, const Where& where);
  template <class Y>
  void prepare(const Tensor<T>& x, const Tensor<Y>& y, const Where& where);
  Logs empty_logs() const;
  /// Adds loss and metrics, times the number of examples, to `logs`.
  template <class Y>
  void add_to(Logs& logs, const Tensor<T>& prediction, const Tensor<T>& loss, const Tensor<Y>& y) const;
  template <class Y>
  void step(const Tensor<T>& x, const Tensor<Y>& y, Logs& logs);

  std::vector<Layer<T>> layers_;
  Rng rng_;
  Parameters parameters_;                      // of each layer, once built
  Parameters states_;                          // of each layer, kept beside
  detail::PoolVector<std::size_t> penalised_;  // the layers that add to the loss
  Shape example_;                              // what they were built for
  CompileOptions options_;
  bool rows_checked_ = false;
};

extern template class Sequential<float>;
extern template class Sequential<double>;

}  // namespace tapegrad::nn
