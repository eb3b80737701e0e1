#pragma once
// Losses: by name, or any function of (prediction, target), prediction first.
//
//     Tensor<> per_example = nn::categorical_crossentropy(a, y);      // (batch)
//     model.compile({.loss = "categorical_crossentropy"});             // by name,
//     model.compile({.loss = nn::mse});                                // as a value,
//     model.compile({.loss = nn::Huber{.delta = 0.5}});                // with options,
//     model.compile({.loss = [](const auto& a, const auto& y) { return sum(square(a - y) * square(a), -1); }});
//
// A loss gives one value per example, which the model sums or averages, or a scalar, which is taken as it is. An
// elementwise function of (prediction, target) is summed over the last axis:
//
//     model.compile({.loss = elementwise([](auto a, auto y) { return square(a - y) * square(a); })});

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../autodiff/elementwise.hpp"
#include "core/overloads.hpp"

namespace tapegrad::nn {
namespace detail {

/// Throws ShapeError: elements of another shape would be broadcast, each prediction against every target.
TAPEGRAD_EXPORT void require_same_shapes(const char* loss, const Shape& prediction, const Shape& target,
                                         const Where& line = {});

/// y (1 - s) + s / classes: the part s of each target is spread over all classes. Throws ValueError unless 0 <= s <= 1.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> smooth_labels(const Tensor<T>& y, double s, double classes, const Where& line);

/// Labels with 0 in place of the ignored one, and where that stood.
struct Ignored {
  Tensor<std::int64_t> labels;
  Tensor<bool> rows = {};
};
TAPEGRAD_EXPORT Ignored ignore(const Tensor<std::int64_t>& labels, std::int64_t ignored_label);

/// Labels (..., 1) of predictions (..., n) as (...), as they are otherwise.
TAPEGRAD_EXPORT Tensor<std::int64_t> one_per_row(const Tensor<std::int64_t>& labels, const Shape& prediction);

/// A loss as it is called: an elementwise function becomes its sum over the last axis.
template <class F>
const F& as_loss(const F& f) {
  return f;
}
inline auto as_loss(const Elementwise<2>& f) {
  return [f]<Real T>(const Tensor<T>& a, const Tensor<T>& y, const Where& line = {}) {
    require_same_shapes("an elementwise loss", a.shape(), y.shape(), line);
    return sum(f(a, y, line), -1, KeepDims::no, line);
  };
}

/// What a closed form knows a built-in loss by; "custom" is none.
struct LossKey {
  std::string_view name = "custom";
  double label_smoothing = 0;
  std::optional<std::int64_t> ignored_label = {};
};
template <class F>
LossKey key_of(const F& f) {
  LossKey key;
  if constexpr (is_builtin<F>) {
    key.name = f.name();
    if constexpr (requires { f.label_smoothing; }) key.label_smoothing = f.label_smoothing;
    if constexpr (requires { f.ignored_label; }) key.ignored_label = f.ignored_label;
  }
  return key;
}

}  // namespace detail

// The built-in losses are called like functions and passed like values, with their options where they have any. a is
// the prediction and y the target, both (..., n), and the result is (...). Throws ShapeError, naming both shapes, when
// they differ. Names are Keras's, its longer ones ("mean_squared_error") beside the short; so are the formulas, but
// that Keras divides probabilities by their sum and cuts them off at 1e-7 (poisson adds that to the rate), and takes
// hinge targets of 0 for -1 only where all are 0 or 1.
//
// Where a logarithm is taken of a probability, one below the smallest normal number (2.2e-308, float 1.2e-38) counts as
// that number, with slope 0: 0 log 0 is 0, log 0 is -708 (float -87), and gradients stay finite. Inside (0, 1) nothing
// is shifted. Where probabilities underflow, or round to 1, the forms from logits are right where these are only
// finite: they keep their digits, value and slope, for any finite logits, and a logit of -inf whose target is 0 counts
// nothing.

/// "mse": mean_j (a_j - y_j)^2.
struct TAPEGRAD_EXPORT MeanSquaredError {
  constexpr const char* name() const { return "mse"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr MeanSquaredError mse;

/// "mae": mean_j |a_j - y_j|, with slope 0 where the two are equal.
struct TAPEGRAD_EXPORT MeanAbsoluteError {
  constexpr const char* name() const { return "mae"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr MeanAbsoluteError mae;

/// "mean_error": mean_j (y_j - a_j), whose gradient is -1/n whatever y is. Notebook 001 calls it MSE.
struct TAPEGRAD_EXPORT MeanError {
  constexpr const char* name() const { return "mean_error"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr MeanError mean_error;

/// "huber": mean_j of d^2 / 2 where |d| <= delta, and delta (|d| - delta / 2) elsewhere, for d = a_j - y_j (Huber,
/// Annals of Mathematical Statistics 35, 1964). Throws ValueError unless delta > 0.
struct TAPEGRAD_EXPORT Huber {
  double delta = 1;
  constexpr const char* name() const { return "huber"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr Huber huber;

/// "log_cosh": mean_j log(cosh(a_j - y_j)), with its derivatives finite for every finite difference, and precise where
/// the difference is small.
struct TAPEGRAD_EXPORT LogCosh {
  constexpr const char* name() const { return "log_cosh"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr LogCosh log_cosh;

/// "hinge": mean_j max(1 - y_j a_j, 0), with slope 0 at the corner. Targets are -1 or 1; a target of 0 counts as -1, so
/// that those of a classifier, 0 or 1, serve too.
struct TAPEGRAD_EXPORT Hinge {
  constexpr const char* name() const { return "hinge"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr Hinge hinge;

/// "squared_hinge": mean_j max(1 - y_j a_j, 0)^2, with targets as for hinge.
struct TAPEGRAD_EXPORT SquaredHinge {
  constexpr const char* name() const { return "squared_hinge"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr SquaredHinge squared_hinge;

/// "categorical_hinge": max(1 + max_j (1 - y_j) a_j - sum_j y_j a_j, 0), of one-hot targets.
struct TAPEGRAD_EXPORT CategoricalHinge {
  constexpr const char* name() const { return "categorical_hinge"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr CategoricalHinge categorical_hinge;

/// "categorical_crossentropy": -sum_j y_j log a_j, of probabilities a. With from_logits (and then by the name
/// "categorical_crossentropy_from_logits") a are logits: -sum_j y_j log_softmax(a)_j, finite for every finite a.
/// label_smoothing s takes y (1 - s) + s / n for y (Szegedy et al., CVPR 2016). Throws ValueError unless 0 <= s <= 1.
struct TAPEGRAD_EXPORT CategoricalCrossentropy {
  double label_smoothing = 0;
  bool from_logits = false;
  constexpr const char* name() const {
    return from_logits ? "categorical_crossentropy_from_logits" : "categorical_crossentropy";
  }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr CategoricalCrossentropy categorical_crossentropy;
inline constexpr CategoricalCrossentropy categorical_crossentropy_from_logits{.from_logits = true};

/// "sparse_categorical_crossentropy": -log a_label, of probabilities a and labels (...) or (..., 1). With from_logits
/// (and then by the name "sparse_categorical_crossentropy_from_logits") -log_softmax(a)_label. label_smoothing as of
/// categorical_crossentropy, of the label as a one-hot target. A row whose label is ignored_label, which need be none
/// of 0..n-1, has the loss 0 and the gradient 0; a model takes the mean over the other rows, 0 where there are none,
/// and its metrics leave such rows out. Throws ValueError for another label outside 0..n-1, and unless 0 <=
/// label_smoothing <= 1.
struct TAPEGRAD_EXPORT SparseCategoricalCrossentropy {
  double label_smoothing = 0;
  bool from_logits = false;
  std::optional<std::int64_t> ignored_label = {};
  constexpr const char* name() const {
    return from_logits ? "sparse_categorical_crossentropy_from_logits" : "sparse_categorical_crossentropy";
  }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<std::int64_t>& labels, Where where = Where::here()) const;
};
inline constexpr SparseCategoricalCrossentropy sparse_categorical_crossentropy;
inline constexpr SparseCategoricalCrossentropy sparse_categorical_crossentropy_from_logits{.from_logits = true};

/// "binary_crossentropy": -mean_j (y_j log a_j + (1 - y_j) log(1 - a_j)), of probabilities a. With from_logits (and
/// then by the name "binary_crossentropy_from_logits") mean_j (softplus(a_j) - y_j a_j), the same of sigmoid(a), finite
/// for every finite a, and 0 at an infinite one that is right. label_smoothing s takes y (1 - s) + s / 2 for y. Throws
/// ValueError unless 0 <= s <= 1.
struct TAPEGRAD_EXPORT BinaryCrossentropy {
  double label_smoothing = 0;
  bool from_logits = false;
  constexpr const char* name() const { return from_logits ? "binary_crossentropy_from_logits" : "binary_crossentropy"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr BinaryCrossentropy binary_crossentropy;
inline constexpr BinaryCrossentropy binary_crossentropy_from_logits{.from_logits = true};

/// "kl_divergence": sum_j y_j log(y_j / a_j), of probabilities both.
struct TAPEGRAD_EXPORT KLDivergence {
  constexpr const char* name() const { return "kl_divergence"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr KLDivergence kl_divergence;

/// "poisson": mean_j (a_j - y_j log a_j), of rates a and counts y; the constant log y_j! is left out.
struct TAPEGRAD_EXPORT Poisson {
  constexpr const char* name() const { return "poisson"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr Poisson poisson;

/// "cosine_similarity": -(a . y) / (|a| |y|): -1 for vectors of one direction, at any length that a number can hold. A
/// zero vector gives 0, with a finite slope.
struct TAPEGRAD_EXPORT CosineSimilarity {
  constexpr const char* name() const { return "cosine_similarity"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Where where = Where::here()) const;
};
inline constexpr CosineSimilarity cosine_similarity;

class TAPEGRAD_EXPORT Loss {
 public:
  template <Real T, class Y>
  using Signature = Tensor<T>(const Tensor<T>&, const Tensor<Y>&, const Where&);
  /// Targets are numbers as the prediction is, or labels.
  using OfNumbers = detail::Overloads<Signature<float, float>, Signature<double, double>>;
  using OfLabels = detail::Overloads<Signature<float, std::int64_t>, Signature<double, std::int64_t>>;
  template <class F>
  static constexpr bool accepts = [] {
    if constexpr (OfNumbers::accepts<detail::WithLine<F>>)
      return true;
    else
      return OfLabels::accepts<detail::WithLine<F>>;
  }();

  /// None yet: a model cannot be trained with it.
  Loss() = default;
  /// A built-in loss with its default options. Throws ValueError for another name.
  Loss(const char* name, Where where = Where::here());
  Loss(const std::string& name, Where where = Where::here()) : Loss(name.c_str(), where) {}
  /// A built-in loss, or a function of (prediction, target), elementwise() included. One with a third argument,
  /// Where where = Where::here(), gets the user's line.
  template <class F>
  requires(accepts<F>) Loss(const F& f) : name_(detail::key_of(f).name), key_(detail::key_of(f)) {
    const detail::WithLine call{detail::as_loss(f)};
    if constexpr (OfNumbers::accepts<detail::WithLine<F>>)
      of_numbers_ = OfNumbers(call);
    else
      of_labels_ = OfLabels(call);
  }

  template <class F>
  requires(!accepts<F> && detail::HasCallOperator<F>) Loss(const F&) {
    static_assert(
        detail::never<F>,
        "a loss is a function of (prediction, target), two tensors of one number type or a tensor and labels, "
        "that gives a tensor: [](const auto& a, const auto& y) { return sum(square(a - y), -1); }");
  }

  /// Throws ValueError when the function was not written for these types. Y is T or std::int64_t.
  template <Real T, class Y>
  Tensor<T> operator()(const Tensor<T>& prediction, const Tensor<Y>& target, Where where = Where::here()) const;

  /// The name of a built-in loss; "custom" for a function, empty for none.
  const std::string& name() const& { return name_; }
  std::string name() && { return std::move(name_); }
  /// What a closed form knows it by.
  detail::LossKey key() const { return {name_, key_.label_smoothing, key_.ignored_label}; }

 private:
  std::string name_;
  detail::LossKey key_;  // but for its name
  OfNumbers of_numbers_;
  OfLabels of_labels_;
};

namespace detail {

/// The built-in losses with their default options.
TAPEGRAD_EXPORT const std::vector<Loss>& known_losses();
/// The one of this name, short or long; null for another name.
TAPEGRAD_EXPORT const Loss* find_loss(std::string_view name);

}  // namespace detail

/// The weight of each example, (batch), by the class of its target: weights[k] for class k. Targets are labels (batch),
/// also as numbers (batch) or (batch, 1), or one row per example, (batch, n), whose class is the first largest element.
/// Throws ShapeError when the targets have another shape or another number of classes than there are weights,
/// ValueError for a class without a weight, or a weight that is negative or not finite in T. An ignored label has the
/// weight 0.
template <Real T, class Y>
TAPEGRAD_EXPORT Tensor<T> class_weights_of(const Tensor<Y>& targets, std::span<const double> weights,
                                           std::optional<std::int64_t> ignored_label = {}, Where where = Where::here());

}  // namespace tapegrad::nn
