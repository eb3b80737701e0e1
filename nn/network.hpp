#pragma once
// What a model computes: a chain of layers, their parameters, and their states.

#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <vector>

#include "fit.hpp"
#include "layers.hpp"

namespace tapegrad::nn {

template <Real T>
class Trainer;

/// A chain of layers with their parameters and states; copies are independent. const functions only read: threads may
/// share a network that is built, as long as none changes it. Errors of a layer name the call and the layer.
template <Real T>
class TAPEGRAD_EXPORT Network {
 public:
  /// The seed determines the initial parameters, and the numbers that layers draw in training: those of a step depend
  /// only on the seed and the number of the step.
  explicit Network(std::initializer_list<Layer<T>> layers = {}, std::uint64_t seed = 0)
      : layers_(layers), seed_(seed) {}
  /// Throws ValueError if the network is built already, because its parameters would be lost.
  void add(Layer<T> layer, Caller where = Caller::here());

  /// Makes the parameters for examples of this shape, without the batch axis. Otherwise a model that is not const makes
  /// them at its first batch. Throws ValueError if there are parameters already, RowMixingError for a layer that mixes
  /// the rows of a batch outside training and was not declared to do so (nn::mixes_rows).
  void build(const Shape& example, Caller where = Caller::here());
  /// All parameters, in the order of the layers: kernel, bias, kernel, bias, ... They share elements with the network
  /// until it takes its next step.
  TensorList<T> parameters() const;
  /// Throws ShapeError if the number or a shape differs, ValueError before build, TapeError for a traced value: a
  /// network is differentiated only by its input; for derivatives by parameters write a function of them.
  void set_parameters(const TensorList<T>& values, Caller where = Caller::here());
  /// The parameters of each layer, by name.
  const detail::PoolVector<Params<T>>& layer_parameters() const { return parameters_; }

  /// The network as a function of its parameters, in the order of parameters(), and of x (batch, ...); differentiable
  /// by both, in a training loop of your own:
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
  /// With Mode{.training = true, .rng = &rng} layers do as in training, and write the network's states. Throws as
  /// set_parameters does.
  Tensor<T> operator()(const TensorList<T>& parameters, const Tensor<T>& x, Mode mode = {},
                       Caller where = Caller::here());

  /// The output for x of shape (batch, ...). It can be differentiated by x, which is then processed as a whole whatever
  /// the batch size, as it is for an activation that was declared to mix rows. Throws ValueError before build.
  Tensor<T> predict(const Tensor<T>& x, const PredictOptions& options = {}, Caller where = Caller::here()) const;

  /// A table of the layers: name, shape of the output without the batch, parameters that are trained, and numbers that
  /// are kept beside them. Throws ValueError before build.
  void summary(std::ostream& out, Caller where = Caller::here()) const;
  /// The same on standard output.
  void summary(Caller where = Caller::here()) const;

 protected:
  /// Called before a batch: makes the parameters if there are none.
  void prepare(const Tensor<T>& x, const char* caller, const Caller& where);

 private:
  friend class Trainer<T>;
  using Parameters = detail::PoolVector<Params<T>>;

  /// Returns f(), whose errors name the call and layer i.
  template <class F>
  decltype(auto) in_layer(std::size_t i, const char* caller, const Caller& where, F&& f) const;
  /// Makes the parameters, after a proof that each layer keeps the rows of a batch apart.
  void make(const Shape& example, const char* caller, const Caller& where);
  void require_built(const char* caller, const Caller& where) const;
  /// Throws ShapeError unless x is a batch of examples that it was built for.
  void require_batch(const Tensor<T>& x, const char* caller, const Caller& where) const;
  /// `values`, arranged by layer and name.
  Parameters arrange(const TensorList<T>& values, const char* caller, const Caller& where) const;
  /// Runs all layers, or all but the activation of the last.
  Tensor<T> run(const Parameters& parameters, Parameters& states, Tensor<T> x, Mode mode, bool to_logits,
                const char* caller, const Caller& where) const;
  /// The same outside of training, where layers do not write their states.
  Tensor<T> run(const Tensor<T>& x, bool to_logits, const char* caller, const Caller& where) const;
  /// The number of rows to run at a time: all of them if rows must not be separated.
  std::int64_t rows_at_a_time(const Tensor<T>& x, std::int64_t batch_size, const char* caller,
                              const Caller& where) const;
  /// The sum of the penalties of the layers.
  double penalties(const char* caller, const Caller& where) const;
  /// Adds the gradients of the penalties to `gradients`, and returns the sum of the penalties.
  double add_penalties(Parameters& gradients, const char* caller, const Caller& where) const;

  std::vector<Layer<T>> layers_;
  std::uint64_t seed_;
  Parameters parameters_;                      // of each layer, once built
  Parameters states_;                          // of each layer, kept beside
  detail::PoolVector<std::size_t> penalized_;  // the layers that add to the loss
  Shape example_;                              // what they were built for
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace tapegrad::nn
