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
      {"sigmoid", Function([]<Real T>(const Tensor<T>& z) { return sigmoid(z, Where{}); })},
      {"tanh", Function([]<Real T>(const Tensor<T>& z) { return tanh(z, Where{}); })},
      {"relu", Function([]<Real T>(const Tensor<T>& z) { return relu(z, Where{}); })},
      {"leaky_relu", Function([]<Real T>(const Tensor<T>& z) { return leaky_relu(z, 0.2, Where{}); })},
      {"relu6", Function([]<Real T>(const Tensor<T>& z) { return relu6(z, Where{}); })},
      {"elu", Function([]<Real T>(const Tensor<T>& z) { return elu(z, 1, Where{}); })},
      {"selu", Function([]<Real T>(const Tensor<T>& z) { return selu(z, Where{}); })},
      {"silu", Function([]<Real T>(const Tensor<T>& z) { return silu(z, Where{}); })},
      {"swish", Function([]<Real T>(const Tensor<T>& z) { return silu(z, Where{}); })},
      {"gelu", Function([]<Real T>(const Tensor<T>& z) { return gelu(z, Where{}); })},
      {"gelu_tanh", Function([]<Real T>(const Tensor<T>& z) { return gelu_tanh(z, Where{}); })},
      {"mish", Function([]<Real T>(const Tensor<T>& z) { return mish(z, Where{}); })},
      {"softplus", Function([]<Real T>(const Tensor<T>& z) { return softplus(z, Where{}); })},
      {"softsign", Function([]<Real T>(const Tensor<T>& z) { return softsign(z, Where{}); })},
      {"log_sigmoid", Function([]<Real T>(const Tensor<T>& z) { return log_sigmoid(z, Where{}); })},
      {"hard_sigmoid", Function([]<Real T>(const Tensor<T>& z) { return hard_sigmoid(z, Where{}); })},
      {"hard_swish", Function([]<Real T>(const Tensor<T>& z) { return hard_swish(z, Where{}); })},
      {"hard_silu", Function([]<Real T>(const Tensor<T>& z) { return hard_swish(z, Where{}); })},
      {"hard_tanh", Function([]<Real T>(const Tensor<T>& z) { return hard_tanh(z, Where{}); })},
      {"exponential", Function([]<Real T>(const Tensor<T>& z) { return exp(z, Where{}); })},
      {"softmax", Function([]<Real T>(const Tensor<T>& z) { return softmax(z, -1, Where{}); })},
      {"log_softmax", Function([]<Real T>(const Tensor<T>& z) { return log_softmax(z, -1, Where{}); })},
  };
  return known;
}

}  // namespace

Activation::Activation(const char* name, Where where)
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
