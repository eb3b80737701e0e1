#include "../activations.hpp"
#include "../core/errors.hpp"

#include "../../autodiff/jacobian.hpp"
#include "../../autodiff/ops.hpp"
#include "../named.hpp"

namespace tapegrad::nn {
namespace {

const Named<Activation::Function>& known_activations() {
  using Function = Activation::Function;
  static const Named<Function> known{
      {"linear", Function([]<Real T>(const Tensor<T>& z) { return z; })},
      {"sigmoid", Function([]<Real T>(const Tensor<T>& z) { return sigmoid(z, Caller{}); })},
      {"tanh", Function([]<Real T>(const Tensor<T>& z) { return tanh(z, Caller{}); })},
      {"relu", Function([]<Real T>(const Tensor<T>& z) { return relu(z, Caller{}); })},
      {"leaky_relu", Function([]<Real T>(const Tensor<T>& z) { return leaky_relu(z, 0.2, Caller{}); })},
      {"relu6", Function([]<Real T>(const Tensor<T>& z) { return relu6(z, Caller{}); })},
      {"elu", Function([]<Real T>(const Tensor<T>& z) { return elu(z, 1, Caller{}); })},
      {"selu", Function([]<Real T>(const Tensor<T>& z) { return selu(z, Caller{}); })},
      {"silu", Function([]<Real T>(const Tensor<T>& z) { return silu(z, Caller{}); })},
      {"swish", Function([]<Real T>(const Tensor<T>& z) { return silu(z, Caller{}); })},
      {"gelu", Function([]<Real T>(const Tensor<T>& z) { return gelu(z, Caller{}); })},
      {"gelu_tanh", Function([]<Real T>(const Tensor<T>& z) { return gelu_tanh(z, Caller{}); })},
      {"mish", Function([]<Real T>(const Tensor<T>& z) { return mish(z, Caller{}); })},
      {"softplus", Function([]<Real T>(const Tensor<T>& z) { return softplus(z, Caller{}); })},
      {"softsign", Function([]<Real T>(const Tensor<T>& z) { return softsign(z, Caller{}); })},
      {"log_sigmoid", Function([]<Real T>(const Tensor<T>& z) { return log_sigmoid(z, Caller{}); })},
      {"hard_sigmoid", Function([]<Real T>(const Tensor<T>& z) { return hard_sigmoid(z, Caller{}); })},
      {"hard_swish", Function([]<Real T>(const Tensor<T>& z) { return hard_swish(z, Caller{}); })},
      {"hard_silu", Function([]<Real T>(const Tensor<T>& z) { return hard_swish(z, Caller{}); })},
      {"hard_tanh", Function([]<Real T>(const Tensor<T>& z) { return hard_tanh(z, Caller{}); })},
      {"exponential", Function([]<Real T>(const Tensor<T>& z) { return exp(z, Caller{}); })},
      {"softmax", Function([]<Real T>(const Tensor<T>& z) { return softmax(z, -1, Caller{}); })},
      {"log_softmax", Function([]<Real T>(const Tensor<T>& z) { return log_softmax(z, -1, Caller{}); })},
  };
  return known;
}

}  // namespace

Activation::Activation(const char* name, Caller where)
    : function_(detail::by_name("activation", name, known_activations(), where)) {
  name_ = name;
}

const char* Activation::kind() const {
  return name_ == "swish" ? "silu" : name_ == "hard_silu" ? "hard_swish" : name_.c_str();
}

template <Real T>
Tensor<T> Activation::operator()(const Tensor<T>& z) const {
  const auto& f = function_.get<Signature<T>>();
  if (!f) detail::throw_not_written_for<T>("activation", "z");
  return f(z);
}

template <Real T>
void Activation::require_separate_rows(const Tensor<T>& z) const {
  if (built_in_ || may_mix_rows_) return;
  try {
    tapegrad::require_separate_rows(*this, z);
  } catch (const RowMixingError& error) {
    detail::throw_rows_mixed(error.what());
  }
}

void detail::throw_rows_mixed(const char* message) {
  throw RowMixingError(std::string(message) +
                       "\nAn activation gets a whole batch, (batch, n), and treats each row by itself: reduce over the "
                       "last axis, as in sum(exp(z), -1, keep_dims). If it mixes rows on purpose, say so with "
                       "nn::mixes_rows(f).");
}

template TAPEGRAD_EXPORT Tensor<float> Activation::operator()(const Tensor<float>&) const;
template TAPEGRAD_EXPORT Tensor<double> Activation::operator()(const Tensor<double>&) const;
template TAPEGRAD_EXPORT void Activation::require_separate_rows(const Tensor<float>&) const;
template TAPEGRAD_EXPORT void Activation::require_separate_rows(const Tensor<double>&) const;

}  // namespace tapegrad::nn
