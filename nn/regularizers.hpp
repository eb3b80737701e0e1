#pragma once
// Penalties on the size of parameters, added to the loss of a step.
//
//     nn::Dense{.units = 64, .kernel_regularizer = nn::l2(1e-4)};
//     nn::Dense{.units = 64, .kernel_regularizer = [](const auto& w) { return 1e-4 * sum(square(w)); }};  // the same

#include <type_traits>

#include "../autodiff/tensor.hpp"
#include "core/overloads.hpp"

namespace tapegrad::nn {

class TAPEGRAD_EXPORT Regularizer {
 public:
  template <Real T>
  using Signature = Tensor<T>(const Tensor<T>&);
  using Function = detail::Overloads<Signature<float>, Signature<double>>;

  /// None.
  Regularizer() = default;
  /// A function of a tensor that gives a scalar; its derivative comes from the tape.
  template <class F>
  requires(Function::accepts<F>) Regularizer(const F& f) : function_(f), given_(true) {}

  /// Whether there is a penalty.
  explicit operator bool() const { return given_; }
  /// The penalty, a scalar. Throws ShapeError when the function gives another shape, ValueError when it was not written
  /// for this number type.
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& w) const;

 private:
  Function function_;
  bool given_ = false;
};

/// factor * sum |w|; derivative 0 at 0. Throws ValueError for a factor that is negative or not finite, as do the
/// others.
TAPEGRAD_EXPORT Regularizer l1(double factor = 0.01, Caller where = Caller::here());
/// factor * sum w^2, without a half, as in Keras.
TAPEGRAD_EXPORT Regularizer l2(double factor = 0.01, Caller where = Caller::here());
/// l1 * sum |w| + l2 * sum w^2.
TAPEGRAD_EXPORT Regularizer l1_l2(double l1 = 0.01, double l2 = 0.01, Caller where = Caller::here());

}  // namespace tapegrad::nn
