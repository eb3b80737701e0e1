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
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "fit.hpp"
#include "history.hpp"
#include "layers.hpp"

namespace tapegrad::nn {

/// What targets of a model of Tensor<T> are: numbers of the same type, or labels.
template <class Y, class T>
concept TargetOf = std::is_same_v<Y, T> || std::is_same_v<Y, std::int64_t>;

namespace detail {

template <Real T, class Y>
struct Dataset;
template <Real T>
struct BatchResult;

}  // namespace detail

/// Layers in a row, with their parameters. Not to be trained or built by several threads at once; copies are
/// independent. Throws TapeError for traced data in training, which is not differentiated, and RowMixingError for a
/// layer that mixes the rows of a batch outside training.
template <Real T>
class TAPEGRAD_EXPORT Sequential {
 public:
  /// The seed decides about the initial parameters, and about what layers draw in training: that of a step depends on
  /// the seed and the number of the step alone.
  explicit Sequential(std::initializer_list<Layer<T>> layers = {}, std::uint64_t seed = 0)
      : layers_(layers), seed_(seed) {}
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

  /// The model as a function of its parameters, in the order of parameters(), and of x (batch, ...); differentiable by
  /// both, in a training loop of your own:
  ///
  ///     auto loss = [&](const TensorList<float>& p, const Tensor<float>& x, const Tensor<float>& y) {
  ///       return mean(nn::categorical_crossentropy(model(p, x), y));
  ///     };
  ///     model.build({784});
  ///     TensorList<float> p = model.parameters();
  ///     nn::Optimizer optimizer = nn::SGD{.learning_rate = 0.1};
  ///     for (...) {
  ///       auto [value, gradient] = value_and_grad(loss)(p, x, y);
  ///       optimizer.step(p, gradient);
  ///     }
  ///     model.set_parameters(p);
  ///
  /// With Mode{.training = true, .rng = &rng} layers do as in training, and write the model's states. Throws as
  /// set_parameters does.
  Tensor<T> operator()(const TensorList<T>& parameters, const Tensor<T>& x, Mode mode = {},
                       Where where = Where::here());

  /// The output for x of (batch, ...). It can be differentiated by x, which is then taken in one piece whatever the
  /// batch size, as it is by an activation that was declared to mix rows.
  Tensor<T> predict(const Tensor<T>& x, const PredictOptions& options = {}, Where where = Where::here());
  /// The class of each example, (batch): the first largest output, or with one output whether it is above 0.5. Throws
  /// ShapeError unless the output is (batch, n).
  Tensor<std::int64_t> predict_classes(const Tensor<T>& x, const PredictOptions& options = {},
                                       Where where = Where::here());
  /// Mean loss and metrics over all examples: evaluate(X, y)["loss"]. A loss that gives a scalar is averaged over the
  /// batches.
  template <TargetOf<T> Y>
  Logs evaluate(const Tensor<T>& x, const Tensor<Y>& y, const EvaluateOptions& options = {},
                Where where = Where::here());
  /// One step of the optimiser; loss and metrics of the batch before it.
  template <TargetOf<T> Y>
  Logs train_on_batch(const Tensor<T>& x, const Tensor<Y>& y, Where where = Where::here());
  /// Trains, and gives loss and metrics of every epoch: the mean of the losses of its batches, each before its step,
  /// and the metrics of all their predictions together; those of the validation are of the model after the epoch.
  /// Throws ShapeError when X and y differ in their number of rows, ValueError for options that do not fit the data,
  /// RowMixingError at the first batch when an activation mixes rows and was not declared to (nn::mixes_rows).
  template <TargetOf<T> Y>
  History fit(const Tensor<T>& x, const Tensor<Y>& y, const FitOptions& options = {}, Where where = Where::here());

  /// A table of the layers: name, shape of the output without the batch, parameters that are trained, and numbers that
  /// are kept beside them. Throws ValueError before build.
  void summary(std::ostream& out) const;
  /// On standard output.
  void summary() const;

  /// Writes the model to a .npz file: parameters ("0.kernel", by the number of the layer), states
  /// ("3.moving_mean"), the state of the optimiser ("optimizer.0.m"), its iterations and learning rate, and how far
  /// training has come. The file appears whole or not at all, exact to the bit. Layers, loss and optimiser are code and
  /// are not in it. Throws ValueError before build, Error when the file cannot be written.
  void save(const std::string& path, Where where = Where::here()) const;
  /// Reads what save has written into a model with the same layers, which is built for it where it is not. After
  /// compile with the same optimiser, training goes on as if it had not stopped:
  ///
  ///     model.compile({...});
  ///     model.load("m.npz");
  ///     model.fit(X, y, {.epochs = 20, .initial_epoch = model.epochs_trained()});
  ///
  /// Before compile the parameters and states alone are taken, and any optimiser begins anew. A file of float is read
  /// into a model of double, exactly; one of double is refused by a model of float. Throws ValueError or ShapeError,
  /// naming the file and the array, for a file of another model, Error for one that cannot be read; then nothing has
  /// changed.
  void load(const std::string& path, Where where = Where::here());

  /// How far the last fit came: the number of its last epoch that ended, counted from 1.
  std::int64_t epochs_trained() const { return epochs_trained_; }

 private:
  using Parameters = detail::PoolVector<Params<T>>;

  Tensor<T> logits(const Parameters& parameters, Parameters& states, Tensor<T> x, Mode mode) const;
  /// Adds the penalties of the layers to gradients; their sum.
  double add_penalties(Parameters& gradients) const;
  /// Before the first batch: makes the parameters, and proves that activations keep rows apart.
  void prepare(const Tensor<T>& x, const Where& where);
  void require_built(const char* caller, const Where& where) const;
  template <class Y>
  void prepare(const detail::Dataset<T, Y>& data, const char* caller, const Where& where);
  /// `values`, by layer and name.
  Parameters arrange(const TensorList<T>& values, const char* caller, const Where& where) const;
  Logs empty_logs() const;
  /// The whole, where rows must not be parted.
  std::int64_t rows_at_a_time(const Tensor<T>& x, std::int64_t batch_size, const char* caller,
                              const Where& where) const;
  template <class Y>
  Logs evaluate_plain(const detail::Dataset<T, Y>& data, std::int64_t batch_size, const Where& where);
  /// One step of the optimiser.
  template <class Y>
  detail::BatchResult<T> step(const detail::Dataset<T, Y>& batch, const Where& where);

  struct InFit;

  std::vector<Layer<T>> layers_;
  std::uint64_t seed_;
  Parameters parameters_;                      // of each layer, once built
  Parameters states_;                          // of each layer, kept beside
  detail::PoolVector<std::size_t> penalised_;  // the layers that add to the loss
  Shape example_;                              // what they were built for
  CompileOptions options_;
  bool rows_checked_ = false;
  std::int64_t steps_ = 0, epochs_trained_ = 0;
  std::optional<double> rate_;  // that a callback has set
};

extern template class Sequential<float>;
extern template class Sequential<double>;

}  // namespace tapegrad::nn
