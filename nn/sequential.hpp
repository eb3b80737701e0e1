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

/// Layers in a row, with their parameters; copies are independent. Threads may share a model that is built to predict,
/// evaluate and call it outside training, which only read it; they must not build or train it at the same time. Throws
/// TapeError for traced data in training, which is not differentiated. Errors of a layer name the call and the layer.
template <Real T>
class TAPEGRAD_EXPORT Sequential {
 public:
  /// The seed decides about the initial parameters, and about what layers draw in training: that of a step depends on
  /// the seed and the number of the step alone.
  explicit Sequential(std::initializer_list<Layer<T>> layers = {}, std::uint64_t seed = 0)
      : layers_(layers), seed_(seed) {}
  /// Throws ValueError once the model is built: its parameters would be lost.
  void add(Layer<T> layer, Where where = Where::here());

  /// Throws ValueError when closed_form is asked for and the pair of activation and loss has none; when two metrics
  /// have one name, or a metric the name of another log: "loss", or what begins with "val_"; in a callback of fit. Then
  /// nothing has changed.
  void compile(const CompileOptions& options, Where where = Where::here());
  /// The way that delta of the output layer is found: never automatic.
  OutputDelta output_delta_used(Where where = Where::here()) const;

  /// Makes the parameters for examples of this shape, without the batch axis. The first batch does it otherwise. Throws
  /// ValueError when the model has parameters already, RowMixingError for a layer that mixes the rows of a batch
  /// outside training and was not declared to (nn::mixes_rows).
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
  /// The class of each example, (batch): the first largest output, or with one output whether it is above 0.5, or above
  /// 0 where the loss takes logits. Throws ShapeError unless the output is (batch, n).
  Tensor<std::int64_t> predict_classes(const Tensor<T>& x, const PredictOptions& options = {},
                                       Where where = Where::here());
  /// Mean loss, penalties of the layers included, and metrics over all examples: evaluate(X, y)["loss"]. A loss that
  /// gives a scalar is averaged over the batches.
  template <TargetOf<T> Y>
  Logs evaluate(const Tensor<T>& x, const Tensor<Y>& y, const EvaluateOptions& options = {},
                Where where = Where::here());
  /// One step of the optimiser; loss and metrics of the batch before it.
  template <TargetOf<T> Y>
  Logs train_on_batch(const Tensor<T>& x, const Tensor<Y>& y, Where where = Where::here());
  /// Trains, and gives loss and metrics of every epoch: the mean of the losses of its batches, each before its step,
  /// and the metrics of all their predictions together; those of the validation are of the model after the epoch.
  /// The validation is evaluated in batches of EvaluateOptions{}.batch_size. Throws ShapeError when X and y differ in
  /// their number of rows, ValueError for options that do not fit the data and at a loss that is not finite (see
  /// OnNonfinite), and what build throws. Before the first step the metrics are asked once about one row, and losses
  /// and metrics of labels about one of each, so that what they refuse shows then.
  template <TargetOf<T> Y>
  History fit(const Tensor<T>& x, const Tensor<Y>& y, const FitOptions& options = {}, Where where = Where::here());

  /// A table of the layers: name, shape of the output without the batch, parameters that are trained, and numbers that
  /// are kept beside them. Throws ValueError before build.
  void summary(std::ostream& out, Where where = Where::here()) const;
  /// On standard output.
  void summary(Where where = Where::here()) const;

  /// Writes the model to a .npz file: parameters ("0.kernel", by the number of the layer), states
  /// ("3.moving_mean"), the state of the optimiser ("optimizer.0.m"), its iterations and learning rate, and how far
  /// training has come. The file appears whole or not at all, exact to the bit. Layers, loss and optimiser are code and
  /// are not in it, but for the names of layers and activations ("layers": the bytes of a line each, "Dense relu").
  /// Throws ValueError before build, Error when the file cannot be written.
  void save(const std::string& path, Where where = Where::here()) const;
  /// Reads what save has written into a model with the same layers, which is built for it where it is not. After
  /// compile with the same optimiser, training goes on as if it had not stopped:
  ///
  ///     model.compile({...});
  ///     model.load("m.npz");
  ///     model.fit(X, y, {.epochs = 20 - model.epochs_trained()});
  ///
  /// Before compile the parameters and states alone are taken, and any optimiser begins anew. A file of float is read
  /// into a model of double, exactly; one of double is refused by a model of float. Throws ValueError or ShapeError,
  /// naming the file and the array or layer, for a file of another model: with other arrays, or with other names of
  /// layers and activations, where functions of one's own are all "custom", and a file of tapegrad 0.1 has none; Error
  /// for one that cannot be read; then nothing has changed.
  void load(const std::string& path, Where where = Where::here());

  /// The epochs of all fits that ended; after a fit with an initial_epoch the number of its last one, counted from 1.
  std::int64_t epochs_trained() const { return epochs_trained_; }

 private:
  using Parameters = detail::PoolVector<Params<T>>;

  /// f(), whose errors name the call and layer i.
  template <class F>
  decltype(auto) in_layer(std::size_t i, const char* caller, const Where& where, F&& f) const;
  /// The parameters, after a proof that each layer keeps the rows of a batch apart.
  void make(const Shape& example, const char* caller, const Where& where);
  OutputDelta output_delta_of(const CompileOptions& options, const Where& where) const;
  /// All layers, or all but the activation of the last.
  Tensor<T> run(const Parameters& parameters, Parameters& states, Tensor<T> x, Mode mode, bool to_logits,
                const char* caller, const Where& where) const;
  /// Outside training, where layers do not write their states.
  Tensor<T> run_plain(const Tensor<T>& x, bool to_logits, const char* caller, const Where& where) const;
  /// The sum of the penalties of the layers.
  double penalties(const char* caller, const Where& where) const;
  /// Adds them to gradients; their sum.
  double add_penalties(Parameters& gradients, const char* caller, const Where& where) const;
  /// Before the first batch: makes the parameters where there are none.
  void prepare(const Tensor<T>& x, const char* caller, const Where& where);
  void require_built(const char* caller, const Where& where) const;
  void require_compiled(const char* caller, const Where& where) const;
  void require_no_fit(const char* caller, const Where& where) const;
  /// `values`, by layer and name.
  Parameters arrange(const TensorList<T>& values, const char* caller, const Where& where) const;
  Logs empty_logs() const;
  /// The whole, where rows must not be parted.
  std::int64_t rows_at_a_time(const Tensor<T>& x, std::int64_t batch_size, const char* caller,
                              const Where& where) const;
  /// Outside training.
  template <class Y>
  detail::BatchResult<T> evaluate_batch(const detail::Dataset<T, Y>& batch, const char* caller,
                                        const Where& where) const;
  template <class Y>
  Logs evaluate_plain(const detail::Dataset<T, Y>& data, std::int64_t batch_size, const char* caller,
                      const Where& where) const;
  /// Throws what loss and metrics throw about targets of data, before an epoch is spent on it. `row` is the user's
  /// number of its first row.
  template <class Y>
  void require_targets(const detail::Dataset<T, Y>& data, std::int64_t row, const char* caller,
                       const Where& where) const;
  /// One step of the optimiser, unless proceed(loss) is false. Changes nothing then, and when it throws.
  template <class Y, class Proceed>
  detail::BatchResult<T> step(const detail::Dataset<T, Y>& batch, const char* caller, const Where& where,
                              const Proceed& proceed);

  struct InFit;

  std::vector<Layer<T>> layers_;
  std::uint64_t seed_;
  Parameters parameters_;                      // of each layer, once built
  Parameters states_;                          // of each layer, kept beside
  detail::PoolVector<std::size_t> penalised_;  // the layers that add to the loss
  Shape example_;                              // what they were built for
  CompileOptions options_;
  std::int64_t steps_ = 0, epochs_trained_ = 0;
  /// Whether a fit of this object is running, which is no part of its value.
  struct Running {
    bool now = false;
    Running() = default;
    Running(const Running&) {}
    Running& operator=(const Running&) { return *this; }
  } fitting_;
};

extern template class Sequential<float>;
extern template class Sequential<double>;

}  // namespace tapegrad::nn
