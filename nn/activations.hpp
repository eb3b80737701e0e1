#pragma once
// Activations: by name, or any function of a tensor (batch, n) that treats each row separately.
//
//     nn::Dense{128, "relu"};
//     auto tempered = [](const auto& z) {            // a generic lambda serves float and double
//       auto e = exp((z - max(z, -1, keep_dims)) / 0.7);
//       return e / sum(e, -1, keep_dims);            // reduces over the last axis, so rows stay apart
//     };
//     nn::Dense{10, tempered};
//     nn::Dense{128, elementwise([](auto x) { return x / (1 + exp(-x)); })};
//     nn::Sequential<float>({nn::Dense{128}, nn::BatchNorm{}, nn::Activation("relu"), ...});   // a layer of its own

#include <string>
#include <type_traits>
#include <utility>

#include "../autodiff/tensor.hpp"
#include "core/overloads.hpp"

namespace tapegrad::nn {

class TAPEGRAD_EXPORT Activation {
 public:
  template <Real T>
  using Signature = Tensor<T>(const Tensor<T>&);
  using Function = detail::Overloads<Signature<float>, Signature<double>>;

  /// The identity.
  Activation() : Activation("linear") {}
  /// "linear", "sigmoid", "tanh", "relu", "leaky_relu" (slope 0.2), "relu6", "elu", "selu", "silu" (or "swish"),
  /// "gelu", "gelu_tanh", "mish", "softplus", "softsign", "log_sigmoid", "hard_sigmoid", "hard_swish" (or "hard_silu"),
  /// "hard_tanh", "exponential"; "softmax" or "log_softmax" over the last axis.
  /// Names that Keras 3 has are its functions, with its options: for another slope take the function,
  /// [](const auto& z) { return leaky_relu(z, 0.01); }. Throws ValueError for another name.
  Activation(const char* name, Caller where = Caller::here());
  Activation(const std::string& name, Caller where = Caller::here()) : Activation(name.c_str(), where) {}
  /// A function of tensors, elementwise() included; its derivatives come from the tape.
  template <class F>
  requires(Function::accepts<F>) Activation(const F& f) : name_("custom"), function_(f), built_in_(false) {}
  template <class F>
  requires(!Function::accepts<F> && detail::HasCallOperator<F>) Activation(const F&) {
    static_assert(detail::never<F>,
                  "an activation is a function of one tensor that gives a tensor of the same number type: "
                  "[](const auto& z) { return tanh(z); }");
  }

  /// Throws ValueError if the function was not written for this number type.
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& z) const;

  /// The name from which it was made; "custom" for a function.
  const std::string& name() const& { return name_; }
  std::string name() && { return std::move(name_); }
  /// The same, but unique for each function: the kind of "swish" is "silu".
  const char* kind() const;
  bool may_mix_rows() const { return may_mix_rows_; }
  /// Throws RowMixingError, with the line and a remedy, if a row of f(z) depends on another row of z and that was not
  /// declared. Built-in activations are known to keep rows apart.
  template <Real T>
  void require_separate_rows(const Tensor<T>& z) const;

  friend Activation mixes_rows(Activation f) {
    f.may_mix_rows_ = true;
    return f;
  }

 private:
  std::string name_;
  Function function_;
  bool built_in_ = true;
  bool may_mix_rows_ = false;
};

/// Declares that f mixes the rows of a batch on purpose. Without this, a network refuses it at its first batch.
Activation mixes_rows(Activation f);

namespace detail {

/// Rethrows a RowMixingError that was caught at an activation, with a remedy.
[[noreturn]] TAPEGRAD_EXPORT void throw_rows_mixed(const char* message);

}  // namespace detail
}  // namespace tapegrad::nn
