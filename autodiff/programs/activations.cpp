// The activations of ops.hpp that are composed of other functions: one line each, in the way that is open to users too.

#include "../elementwise.hpp"

#include <numbers>

namespace tapegrad {
namespace {

// The program is built on the first call.
template <class F, class... V>
auto call(const char* name, const F& f, const Caller& where, const V&... x) {
  static const auto function = elementwise(f, name);
  if constexpr (requires { function(x..., where); })
    return function(x..., where);
  else
    return function(x...);
}

}  // namespace

template <ElementwiseOperand V>
V log_sigmoid(const V& x, Caller where) {
  return call(
      "log_sigmoid", [](auto z) { return -softplus(-z); }, where, x);
}

template <ElementwiseOperand V>
V silu(const V& x, Caller where) {
  return call(
      "silu", [](auto z) { return z * sigmoid(z); }, where, x);
}

template <ElementwiseOperand V>
V gelu(const V& x, Caller where) {
  return call(
      "gelu", [](auto z) { return z * block<ops::NormalCdf>(z); }, where, x);
}

// (1 + tanh(u)) / 2 = sigmoid(2 u), which loses no digits where tanh is near -1.
constexpr double twice_sqrt_2_over_pi = 2 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
template <ElementwiseOperand V>
V gelu_tanh(const V& x, Caller where) {
  return call(
      "gelu_tanh", [](auto z) { return z * sigmoid(twice_sqrt_2_over_pi * (z + 0.044715 * pow(z, 3))); }, where, x);
}

template <ElementwiseOperand V>
V elu(const V& x, double alpha, Caller where) {
  auto f = [](auto z, auto a) { return tapegrad::where(z > 0, z, a * expm1(z)); };
  if constexpr (std::is_same_v<V, Scalar>)
    return f(x, Scalar(alpha));
  else
    return call("elu", f, where, x, Operand<typename V::value_type>(alpha));
}

// Klambauer et al., Self-Normalizing Neural Networks (2017).
constexpr double selu_alpha = 1.6732632423543772, selu_scale = 1.0507009873554805;
template <ElementwiseOperand V>
V selu(const V& x, Caller where) {
  return call(
      "selu", [](auto z) { return tapegrad::where(z > 0, selu_scale * z, selu_scale * selu_alpha * expm1(z)); }, where,
      x);
}

template <ElementwiseOperand V>
V mish(const V& x, Caller where) {
  return call(
      "mish", [](auto z) { return z * tanh(softplus(z)); }, where, x);
}

template <ElementwiseOperand V>
V relu6(const V& x, Caller where) {
  return call(
      "relu6", [](auto z) { return tapegrad::where(z >= 6, 6, relu(z)); }, where, x);
}

template <ElementwiseOperand V>
V hard_sigmoid(const V& x, Caller where) {
  return call(
      "hard_sigmoid", [](auto z) { return tapegrad::where(z >= 3, 1, relu(z + 3) / 6); }, where, x);
}

template <ElementwiseOperand V>
V hard_swish(const V& x, Caller where) {
  return call(
      "hard_swish", [](auto z) { return z * hard_sigmoid(z); }, where, x);
}

template <ElementwiseOperand V>
V hard_tanh(const V& x, Caller where) {
  return call(
      "hard_tanh", [](auto z) { return tapegrad::where(z >= 1, 1, tapegrad::where(z <= -1, -1, z)); }, where, x);
}

namespace {

template <ElementwiseOperand V>
constexpr std::tuple of_one(&log_sigmoid<V>, &silu<V>, &gelu<V>, &gelu_tanh<V>, &elu<V>, &selu<V>, &mish<V>, &relu6<V>,
                            &hard_sigmoid<V>, &hard_swish<V>, &hard_tanh<V>);
// Makes every function above for each kind of value.
[[gnu::used]] constexpr std::tuple functions(of_one<Tensor<float>>, of_one<Tensor<double>>, of_one<Scalar>);

}  // namespace
}  // namespace tapegrad
