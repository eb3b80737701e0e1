#pragma once
// Losses: by name, or any function of (prediction, target), prediction first.
//
//     Tensor<> per_example = nn::categorical_crossentropy(a, y);      // (batch)
//     model.compile({.loss = "categorical_crossentropy"});             // by name,
//     model.compile({.loss = nn::mse});                                // as a value,
//     model.compile({.loss = [](const auto& a, const auto& y) { return sum(square(a - y) * square(a), -1); }});
//
// A loss gives one value per example, which the model sums or averages, or a scalar, which is taken as it is. An
// elementwise function of (prediction, target) is summed over the last axis:
//
//     model.compile({.loss = elementwise([](auto a, auto y) { return log(cosh(a - y)); })});

#include <cstdint>
#include <string>

#include "../autodiff/elementwise.hpp"
#include "overloads.hpp"

namespace tapegrad::nn {
namespace detail {

/// Marks the library's own losses: a user's type that happens to have a name is not one of them.
struct BuiltinLoss {};
template <class F>
inline constexpr bool is_builtin_loss = requires {
  requires std::is_same_v<typename F::Tag, BuiltinLoss>;
};

/// Throws ShapeError: elements of another shape would be broadcast, each prediction against every target.
TAPEGRAD_EXPORT void require_same_shapes(const char* loss, const Shape& prediction, const Shape& target,
                                         const Where& line = {});

/// A loss as it is called: an elementwise function becomes its sum over the last axis.
template <class F>
const F& as_loss(const F& f) {
  return f;
}
inline auto as_loss(const Elementwise<2>& f) {
  return [f]<Real T>(const Tensor<T>& a, const Tensor<T>& y) {
    require_same_shapes("an elementwise loss", a.shape(), y.shape());
    return sum(f(a, y, Where{}), -1, KeepDims::no, Where{});
  };
}

}  // namespace detail

// The built-in losses are called like functions and passed like values. a and y are (..., n), the result is (...).
// Throws ShapeError, naming both shapes, when they differ.
//
// Where a logarithm is taken, a probability below the smallest normal number (2.2e-308, float 1.2e-38) counts as that
// number, with slope 0: 0 log 0 is 0, log 0 is -708 (float -87), and gradients stay finite. Inside (0, 1) nothing is
// shifted. Where probabilities underflow, the form from logits is right where this one is only finite.

/// "mse": mean_j (a_j - y_j)^2.
struct TAPEGRAD_EXPORT MeanSquaredError {
  static constexpr const char* name = "mse";
  using Tag = detail::BuiltinLoss;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr MeanSquaredError mse;

/// "mean_error": mean_j (y_j - a_j), whose gradient is -1/n whatever y is. Notebook 001 calls it MSE.
struct TAPEGRAD_EXPORT MeanError {
  static constexpr const char* name = "mean_error";
  using Tag = detail::BuiltinLoss;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr MeanError mean_error;

/// "categorical_crossentropy": -sum_j y_j log a_j, of probabilities a.
struct TAPEGRAD_EXPORT CategoricalCrossentropy {
  static constexpr const char* name = "categorical_crossentropy";
  using Tag = detail::BuiltinLoss;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr CategoricalCrossentropy categorical_crossentropy;

/// "categorical_crossentropy_from_logits": -sum_j y_j log_softmax(z)_j, finite for every finite z.
struct TAPEGRAD_EXPORT CategoricalCrossentropyFromLogits {
  static constexpr const char* name = "categorical_crossentropy_from_logits";
  using Tag = detail::BuiltinLoss;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& z, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr CategoricalCrossentropyFromLogits categorical_crossentropy_from_logits;

/// "sparse_categorical_crossentropy": -log a_label; labels are (...). Throws ValueError for a label outside 0..n-1.
struct TAPEGRAD_EXPORT SparseCategoricalCrossentropy {
  static constexpr const char* name = "sparse_categorical_crossentropy";
  using Tag = detail::BuiltinLoss;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<std::int64_t>& labels, Where where = Where::here()) const;
};
inline constexpr SparseCategoricalCrossentropy sparse_categorical_crossentropy;

/// "sparse_categorical_crossentropy_from_logits": -log_softmax(z)_label. Throws ValueError for a label outside 0..n-1.
struct TAPEGRAD_EXPORT SparseCategoricalCrossentropyFromLogits {
  static constexpr const char* name = "sparse_categorical_crossentropy_from_logits";
  using Tag = detail::BuiltinLoss;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& z, const Tensor<std::int64_t>& labels, Where where = Where::here()) const;
};
inline constexpr SparseCategoricalCrossentropyFromLogits sparse_categorical_crossentropy_from_logits;

/// "binary_crossentropy": -mean_j (y_j log a_j + (1 - y_j) log(1 - a_j)), of probabilities a.
struct TAPEGRAD_EXPORT BinaryCrossentropy {
  static constexpr const char* name = "binary_crossentropy";
  using Tag = detail::BuiltinLoss;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr BinaryCrossentropy binary_crossentropy;

/// "binary_crossentropy_from_logits": mean_j (softplus(z_j) - y_j z_j), the same of a = sigmoid(z), finite for every
/// finite z.
struct TAPEGRAD_EXPORT BinaryCrossentropyFromLogits {
  static constexpr const char* name = "binary_crossentropy_from_logits";
  using Tag = detail::BuiltinLoss;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& z, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr BinaryCrossentropyFromLogits binary_crossentropy_from_logits;

class TAPEGRAD_EXPORT Loss {
 public:
  template <Real T, class Y>
  using Signature = Tensor<T>(const Tensor<T>&, const Tensor<Y>&);
  /// Targets are numbers as the prediction is, or labels.
  using OfNumbers = detail::Overloads<Signature<float, float>, Signature<double, double>>;
  using OfLabels = detail::Overloads<Signature<float, std::int64_t>, Signature<double, std::int64_t>>;
  template <class F>
  static constexpr bool accepts = [] {
    if constexpr (OfNumbers::accepts<F>)
      return true;
    else
      return OfLabels::accepts<F>;
  }();

  /// None yet: a model cannot be trained with it.
  Loss() = default;
  /// A built-in loss. Throws ValueError for another name.
  Loss(const char* name, Where where = Where::here());
  Loss(const std::string& name, Where where = Where::here()) : Loss(name.c_str(), where) {}
  /// A built-in loss, or a function of (prediction, target), elementwise() included.
  template <class F>
  requires(accepts<F>) Loss(const F& f) : name_("custom") {
    if constexpr (detail::is_builtin_loss<F>) name_ = F::name;
    if constexpr (OfNumbers::accepts<F>)
      of_numbers_ = OfNumbers(detail::as_loss(f));
    else
      of_labels_ = OfLabels(f);
  }

  /// Throws ValueError when the function was not written for these types. Y is T or std::int64_t.
  template <Real T, class Y>
  Tensor<T> operator()(const Tensor<T>& prediction, const Tensor<Y>& target) const;

  /// The name of a built-in loss; "custom" for a function, empty for none.
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  OfNumbers of_numbers_;
  OfLabels of_labels_;
};

}  // namespace tapegrad::nn
