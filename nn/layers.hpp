#pragma once
// The library's layers. Each is an aggregate without a number type, which the model determines.
//
//     nn::Sequential<float> model({nn::Flatten{}, nn::Dense{.units = 128, .kernel_regularizer = nn::l2(1e-4)},
//                                  nn::BatchNorm{}, nn::Activation("relu"), nn::Dropout{0.2},
//                                  nn::Residual{nn::Dense{64, "relu"}, nn::Dense{128}}, nn::Dense{10, "softmax"}});
//
// Your own layer is a struct of a few lines: see layer.hpp.

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <vector>

#include "layer.hpp"
#include "regularizers.hpp"

namespace tapegrad::nn {

/// f(x W + b): (batch, n) -> (batch, units). Parameters "kernel" (n, units) and, with use_bias, "bias" (units).
struct TAPEGRAD_EXPORT Dense {
  static constexpr const char* name = "Dense";
  std::int64_t units = 1;
  Activation activation = {};
  Initializer kernel_initializer = "glorot_uniform";
  Initializer bias_initializer = "zeros";
  bool use_bias = true;
  Regularizer kernel_regularizer = {};
  Regularizer bias_regularizer = {};

  /// Throws ValueError unless units >= 1, ShapeError unless an example is a vector.
  template <class T>
  Params<T> init(const Shape& in, Rng& rng) const;
  /// Throws ShapeError unless x is (batch, n), as does logits.
  template <class T>
  Tensor<T> operator()(const Params<T>& p, const Tensor<T>& x, Mode mode) const {
    return activation(logits(p, x, mode));
  }
  /// x W + b. If a layer has `logits` and `activation`, the model can take the derivative between the two.
  template <class T>
  Tensor<T> logits(const Params<T>& p, const Tensor<T>& x, Mode mode) const;
  /// The sum of the layer's regularizers; empty without one.
  template <class T>
  std::optional<Tensor<T>> penalty(const Params<T>& p) const;
};

/// (batch, ...) -> (batch, n).
struct TAPEGRAD_EXPORT Flatten {
  static constexpr const char* name = "Flatten";
  template <class T>
  Tensor<T> operator()(const Params<T>& p, const Tensor<T>& x, Mode mode) const;
};

/// In training each element becomes 0 with probability `rate` and is otherwise divided by 1 - rate, so that its
/// expectation stays the same; in prediction it is the identity (Srivastava et al., Dropout, JMLR 2014; the inverted
/// form). A dropped infinity is 0.
struct TAPEGRAD_EXPORT Dropout {
  static constexpr const char* name = "Dropout";
  double rate = 0.5;
  Caller where = Caller::here();

  /// Throws ValueError unless 0 <= rate < 1, or in training without random numbers.
  template <class T>
  Tensor<T> operator()(const Params<T>& p, const Tensor<T>& x, Mode mode) const;
};

/// gamma (x - mean) / sqrt(variance + epsilon) + beta for each element of the last axis (Ioffe and Szegedy, Batch
/// normalization, ICML 2015). In training the mean and the (biased) variance are those of the batch over all other
/// axes, and are differentiated; for a batch of one number the variance is 0 and the output is beta. In prediction they
/// are the moving averages that training keeps: moving = momentum * moving + (1 - momentum) * batch, starting with 0
/// and 1. Parameters "gamma" and "beta" (n); state "moving_mean" and "moving_variance" (n).
struct TAPEGRAD_EXPORT BatchNorm {
  static constexpr const char* name = "BatchNorm";
  double momentum = 0.99;
  double epsilon = 1e-3;

  /// Throws ValueError unless 0 <= momentum <= 1 and epsilon > 0, ShapeError unless an example has an axis.
  template <class T>
  Params<T> init(const Shape& in, Rng& rng) const;
  template <class T>
  Params<T> state(const Shape& in) const;
  /// Throws ShapeError unless the last axis of x is that of its parameters.
  template <class T>
  Tensor<T> operator()(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const;
};

/// gamma (x - mean) / sqrt(variance + epsilon) + beta, with mean and variance of the last axis of x itself, in training
/// and prediction alike (Ba, Kiros and Hinton, Layer normalization, 2016). Parameters "gamma" and "beta" (n).
struct TAPEGRAD_EXPORT LayerNorm {
  static constexpr const char* name = "LayerNorm";
  double epsilon = 1e-3;

  /// Throws ValueError unless epsilon > 0, ShapeError unless an example has an axis.
  template <class T>
  Params<T> init(const Shape& in, Rng& rng) const;
  /// Throws ShapeError unless the last axis of x is that of its parameters.
  template <class T>
  Tensor<T> operator()(const Params<T>& p, const Tensor<T>& x, Mode mode) const;
};

namespace detail {

/// A layer for float and double, or for the only one for which it was written.
struct EitherLayer {
  template <class L>
  requires(IsLayer<L, float> || IsLayer<L, double>) EitherLayer(const L& layer) {
    if constexpr (IsLayer<L, float>) of_float.emplace(layer);
    if constexpr (IsLayer<L, double>) of_double.emplace(layer);
  }
  template <class L>
  requires(!IsLayer<L, float> && !IsLayer<L, double> && HasCallOperator<L>) EitherLayer(const L& layer) {
    Layer<double>{layer};  // which says what a layer is
  }

  std::optional<Layer<float>> of_float;
  std::optional<Layer<double>> of_double;
};

}  // namespace detail

/// x + g(x), where g is a chain of layers that keeps the shape (He et al., Deep residual learning, CVPR 2016). Its
/// parameters and state are those of these layers, with the number of the layer in front of the name: "0.kernel".
class TAPEGRAD_EXPORT Residual {
 public:
  static constexpr const char* name = "Residual";

  Residual(std::initializer_list<detail::EitherLayer> layers) : layers_(layers) {}

  /// Throws ValueError if a layer was not written for this number type.
  template <class T>
  Params<T> init(const Shape& in, Rng& rng) const;
  template <class T>
  Params<T> state(const Shape& in) const;
  /// Throws ShapeError if the layers do not keep the shape.
  template <class T>
  Tensor<T> operator()(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const;
  template <class T>
  std::optional<Tensor<T>> penalty(const Params<T>& p) const;
  /// Its name, with those of its layers.
  std::string description() const;

 private:
  /// Parameters and state of its layers.
  template <class T>
  std::pair<Params<T>, Params<T>> build(const Shape& in, Rng& rng) const;

  std::vector<detail::EitherLayer> layers_;
};

}  // namespace tapegrad::nn
