#include "../layers.hpp"
#include "../core/errors.hpp"

#include <algorithm>
#include <cmath>

#include "../../autodiff/ops.hpp"

namespace tapegrad::nn {
namespace {

/// Throws ShapeError unless the examples of x, of any rank, end in an axis of n.
void require_last_axis(const char* layer, const Shape& x, std::int64_t n) {
  if (x.rank() >= 2 && x.back() == n) return;
  throw ShapeError(std::string(layer) + " has parameters for " + std::to_string(n) +
                   " values along the last axis, and was given " + to_string(x) + "; give it (batch, ..., " +
                   std::to_string(n) + "), or build another one");
}

void require_positive_epsilon(const char* layer, double epsilon) {
  if (std::isfinite(epsilon) && epsilon > 0) return;
  throw ValueError(std::string(layer) + ": epsilon is " + std::to_string(epsilon) +
                   "; it must be above 0, since a variance can be 0");
}

template <class T>
Params<T> scale_and_shift(const char* layer, const Shape& in) {
  if (in.rank() == 0) {
    throw ShapeError(std::string(layer) +
                     " normalizes along an axis, and an example is a single number, of shape (); " +
                     "give it (batch, n)");
  }
  return {{"gamma", ones<T>({in.back()})}, {"beta", zeros<T>({in.back()})}};
}

/// x with all axes except the last merged into one.
template <class T>
Tensor<T> rows_of(const Tensor<T>& x) {
  return x.rank() == 2 ? x : reshape(x, {-1, x.shape().back()}, Caller{});
}

}  // namespace

void detail::require_different_names(const PoolVector<std::string_view>& names) {
  for (auto name = names.begin(); name != names.end(); ++name) {
    if (std::find(names.begin(), name, *name) == name) continue;
    throw ValueError("two of its parameters or states are named \"" + std::string(*name) +
                     "\", where at() would find the first alone; give each a name of its own");
  }
}

// ---------------------------------------------------------------------------------------------------------- Dense

template <class T>
Params<T> Dense::init(const Shape& in, Rng& rng) const {
  if (units < 1) throw ValueError("Dense needs at least one unit, not " + std::to_string(units));
  if (in.rank() != 1) {
    throw ShapeError("Dense takes vectors, but an example is " + to_string(in) + "; put a Flatten before it");
  }
  Params<T> p{{"kernel", kernel_initializer.make<T>({in.back(), units}, rng)}};
  if (use_bias) p.add("bias", bias_initializer.make<T>({units}, rng));
  return p;
}

template <class T>
Tensor<T> Dense::logits(const Params<T>& p, const Tensor<T>& x, Mode) const {
  const Tensor<T>& kernel = p.at("kernel", Caller{});
  require_last_axis(name, x.shape(), kernel.shape().front());
  const Tensor<T> z = matmul(x, kernel, Caller{});
  return use_bias ? z + p.at("bias", Caller{}) : z;
}

template <class T>
std::optional<Tensor<T>> Dense::penalty(const Params<T>& p) const {
  std::optional<Tensor<T>> total;
  if (kernel_regularizer) total = kernel_regularizer(p.at("kernel", Caller{}));
  if (bias_regularizer && use_bias) {
    const Tensor<T> of_bias = bias_regularizer(p.at("bias", Caller{}));
    total = total ? *total + of_bias : of_bias;
  }
  return total;
}

// ---------------------------------------------------------------------------------------- layers without parameters

template <class T>
Tensor<T> Flatten::operator()(const Params<T>&, const Tensor<T>& x, Mode) const {
  std::int64_t n = 1;
  for (std::int64_t axis = 1; axis < x.rank(); ++axis) n *= x.shape()[axis];
  return reshape(x, {x.shape().front(), n}, Caller{});
}

template <class T>
Tensor<T> Dropout::operator()(const Params<T>&, const Tensor<T>& x, Mode mode) const {
  if (!(rate >= 0 && rate < 1)) {
    throw ValueError("Dropout" + to_string(where) + ": the rate is " + std::to_string(rate) +
                     "; it must be from 0 to below 1");
  }
  if (!mode.training || rate == 0) return x;
  if (!mode.rng) {
    throw ValueError("Dropout" + to_string(where) +
                     " draws random numbers in training: call it with Mode{.training = true, .rng = &rng}");
  }
  return mul0(mode.rng->template bernoulli<T>(x.shape(), 1 - rate, 1 / (1 - rate)), x, Caller{});
}

// -------------------------------------------------------------------------------------------------- normalization

template <class T>
Params<T> BatchNorm::init(const Shape& in, Rng&) const {
  require_positive_epsilon(name, epsilon);
  if (!(momentum >= 0 && momentum <= 1)) {
    throw ValueError("BatchNorm: the momentum is " + std::to_string(momentum) + "; it must be from 0 to 1");
  }
  return scale_and_shift<T>(name, in);
}

template <class T>
Params<T> BatchNorm::state(const Shape& in) const {
  return {{"moving_mean", zeros<T>({in.back()})}, {"moving_variance", ones<T>({in.back()})}};
}

template <class T>
Tensor<T> BatchNorm::operator()(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const {
  const Tensor<T>&gamma = p.at("gamma", Caller{}), &beta = p.at("beta", Caller{});
  Tensor<T>&moving_mean = state.at("moving_mean", Caller{}), &moving_variance = state.at("moving_variance", Caller{});
  require_last_axis(name, x.shape(), gamma.size());
  if (!mode.training) return (x - moving_mean) * (gamma / sqrt(moving_variance + epsilon)) + beta;
  const Tensor<T> rows = rows_of(x);
  const Tensor<T> average = mean(rows, 0, KeepDims::no, Caller{});
  const Tensor<T> centered = rows - average;
  const Tensor<T> variance = mean(square(centered, Caller{}), 0, KeepDims::no, Caller{});
  moving_mean = momentum * moving_mean + (1 - momentum) * stop_gradient(average);
  moving_variance = momentum * moving_variance + (1 - momentum) * stop_gradient(variance);
  const Tensor<T> y = centered * (gamma / sqrt(variance + epsilon, Caller{})) + beta;
  return x.rank() == 2 ? y : reshape(y, x.shape(), Caller{});
}

template <class T>
Params<T> LayerNorm::init(const Shape& in, Rng&) const {
  require_positive_epsilon(name, epsilon);
  return scale_and_shift<T>(name, in);
}

template <class T>
Tensor<T> LayerNorm::operator()(const Params<T>& p, const Tensor<T>& x, Mode) const {
  const Tensor<T>& gamma = p.at("gamma", Caller{});
  require_last_axis(name, x.shape(), gamma.size());
  const Tensor<T> centered = x - mean(x, -1, keep_dims, Caller{});
  const Tensor<T> variance = mean(square(centered, Caller{}), -1, keep_dims, Caller{});
  return centered / sqrt(variance + epsilon, Caller{}) * gamma + p.at("beta", Caller{});
}

// ------------------------------------------------------------------------------------------------------- Residual

namespace {

/// The prefix of the names of layer k.
std::string prefix(std::size_t k) { return std::to_string(k) + "."; }

/// The tensors of layer k, under the layer's own names.
template <class T>
Params<T> part(const Params<T>& all, std::size_t k) {
  const std::string front = prefix(k);
  Params<T> own;
  for (const auto& [name, tensor] : all) {
    if (name.starts_with(front)) own.add(name.substr(front.size()), tensor);
  }
  return own;
}

template <class T>
void add_part(Params<T>& all, std::size_t k, const Params<T>& own) {
  for (const auto& [name, tensor] : own) all.add(prefix(k).append(name), tensor);
}

template <class T>
const Layer<T>& layer_of(const detail::EitherLayer& layer) {
  const auto& typed = [&]() -> const std::optional<Layer<T>>& {
    if constexpr (std::is_same_v<T, float>)
      return layer.of_float;
    else
      return layer.of_double;
  }();
  if (!typed) detail::throw_not_written_for<T>("layer of a Residual", "x");
  return *typed;
}

}  // namespace

template <class T>
std::pair<Params<T>, Params<T>> Residual::build(const Shape& in, Rng& rng) const {
  Params<T> p, state;
  Tensor<T> x = zeros<T>(Shape{1}.concat(in));
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    const Layer<T>& layer = layer_of<T>(layers_[k]);
    const Shape own_in = x.shape().suffix(1);
    const Params<T> own = layer.init(own_in, rng);
    Params<T> own_state = layer.state(own_in);
    add_part(p, k, own);
    add_part(state, k, own_state);
    x = layer(own, own_state, x, Mode{});
  }
  return {std::move(p), std::move(state)};
}

template <class T>
Params<T> Residual::init(const Shape& in, Rng& rng) const {
  return build<T>(in, rng).first;
}

// Building the layers gives the shapes between them.
template <class T>
Params<T> Residual::state(const Shape& in) const {
  Rng unused;
  return build<T>(in, unused).second;
}

template <class T>
Tensor<T> Residual::operator()(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const {
  Tensor<T> y = x;
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    Params<T> own_state = part(state, k);
    y = layer_of<T>(layers_[k])(part(p, k), own_state, y, mode);
    if (!mode.training) continue;
    auto own = own_state.begin();
    for (auto& [name, tensor] : state) {
      if (name.starts_with(prefix(k))) tensor = std::move((own++)->second);
    }
  }
  if (!(y.shape() == x.shape())) {
    throw ShapeError("Residual adds what its layers make of x to x, but they make " + to_string(y.shape()) + " of " +
                     to_string(x.shape()) + "; let the last be a Dense of " + std::to_string(x.shape().back()) +
                     " units");
  }
  return x + y;
}

template <class T>
std::optional<Tensor<T>> Residual::penalty(const Params<T>& p) const {
  std::optional<Tensor<T>> total;
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    if (const auto own = layer_of<T>(layers_[k]).penalty(part(p, k))) total = total ? *total + *own : *own;
  }
  return total;
}

std::string Residual::description() const {
  std::string text = name;
  for (const detail::EitherLayer& layer : layers_) {
    text += text == name ? " (" : ", ";
    text += layer.of_double ? layer.of_double->description() : layer.of_float->description();
  }
  return text + (layers_.empty() ? "" : ")");
}

// ---------------------------------------------------------------------------------------------------- instantiation

template Params<float> Dense::init(const Shape&, Rng&) const;
template Params<double> Dense::init(const Shape&, Rng&) const;
template Tensor<float> Dense::logits(const Params<float>&, const Tensor<float>&, Mode) const;
template Tensor<double> Dense::logits(const Params<double>&, const Tensor<double>&, Mode) const;
template std::optional<Tensor<float>> Dense::penalty(const Params<float>&) const;
template std::optional<Tensor<double>> Dense::penalty(const Params<double>&) const;
template Tensor<float> Flatten::operator()(const Params<float>&, const Tensor<float>&, Mode) const;
template Tensor<double> Flatten::operator()(const Params<double>&, const Tensor<double>&, Mode) const;
template Tensor<float> Dropout::operator()(const Params<float>&, const Tensor<float>&, Mode) const;
template Tensor<double> Dropout::operator()(const Params<double>&, const Tensor<double>&, Mode) const;
template Params<float> BatchNorm::init(const Shape&, Rng&) const;
template Params<double> BatchNorm::init(const Shape&, Rng&) const;
template Params<float> BatchNorm::state(const Shape&) const;
template Params<double> BatchNorm::state(const Shape&) const;
template Tensor<float> BatchNorm::operator()(const Params<float>&, Params<float>&, const Tensor<float>&, Mode) const;
template Tensor<double> BatchNorm::operator()(const Params<double>&, Params<double>&, const Tensor<double>&,
                                              Mode) const;
template Params<float> LayerNorm::init(const Shape&, Rng&) const;
template Params<double> LayerNorm::init(const Shape&, Rng&) const;
template Tensor<float> LayerNorm::operator()(const Params<float>&, const Tensor<float>&, Mode) const;
template Tensor<double> LayerNorm::operator()(const Params<double>&, const Tensor<double>&, Mode) const;
template Params<float> Residual::init(const Shape&, Rng&) const;
template Params<double> Residual::init(const Shape&, Rng&) const;
template Params<float> Residual::state(const Shape&) const;
template Params<double> Residual::state(const Shape&) const;
template Tensor<float> Residual::operator()(const Params<float>&, Params<float>&, const Tensor<float>&, Mode) const;
template Tensor<double> Residual::operator()(const Params<double>&, Params<double>&, const Tensor<double>&, Mode) const;
template std::optional<Tensor<float>> Residual::penalty(const Params<float>&) const;
template std::optional<Tensor<double>> Residual::penalty(const Params<double>&) const;

}  // namespace tapegrad::nn
