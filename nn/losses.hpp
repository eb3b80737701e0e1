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

#include "../autodiff/elementwise.hpp"
#include "core/overloads.hpp"
#include "named.hpp"

namespace tapegrad::nn {
namespace detail {

/// Throws ShapeError unless the shapes are equal: otherwise elements would be broadcast, each prediction against every
/// target.
TAPEGRAD_EXPORT void require_same_shapes(const char* loss, const Shape& prediction, const Shape& target,
                                         const Caller& line = {});

/// Whether a target is the ignored label; a number never is.
template <class Y>
bool is_ignored(const Y& target, const std::optional<std::int64_t>& ignored_label) {
  if constexpr (std::is_same_v<Y, std::int64_t>)
    return target == ignored_label;
  else
    return false;
}

/// A loss as it is called: an elementwise function becomes its sum over the last axis.
template <class F>
const F& as_loss(const F& f) {
  return f;
}
inline auto as_loss(const Elementwise<2>& f) {
  return [f]<Real T>(const Tensor<T>& a, const Tensor<T>& y, const Caller& line = {}) {
    require_same_shapes("an elementwise loss", a.shape(), y.shape(), line);
    return sum(f(a, y, line), -1, KeepDims::no, line);
  };
}

template <class T, class Y>
using LossSignature = Tensor<T>(const Tensor<T>& a, const Tensor<Y>& y, const Caller& where);
template <class T, class Y>
using SlopeSignature = Tensor<T>(const Tensor<T>& z, const Tensor<T>& a, const Tensor<Y>& y, double scale,
                                 const Caller& where);

/// What a loss C knows about its composition with one activation f, as functions of the logits z: C(f(z), y), and the
/// gradient by z of its sum over the examples, times `scale`, where a = f(z) is given. Both are right even where
/// probabilities f(z) underflow or round to 1.
struct ClosedForm {
  std::string activation = {};  // the name of f; empty if there is no closed form
  OfTargets<LossSignature> loss = {};
  OfTargets<SlopeSignature> slope = {};
};

}  // namespace detail

/// The kind of predictions, which determines where the probability is 1/2: at 1/2, or at a logit of 0. For softmax
/// logits it depends on the row, so that the softmax of the row is taken.
enum class Outputs { probabilities, sigmoid_logits, softmax_logits };

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

/// A loss without options; losses.cpp has their formulas.
struct TAPEGRAD_EXPORT PlainLoss {
  using Tag = detail::Builtin;

  const char* own_name;
  detail::LossSignature<float, float>* of_float;
  detail::LossSignature<double, double>* of_double;
  detail::ClosedForm (*known)() = nullptr;

  constexpr const char* name() const { return own_name; }
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Caller where = Caller::here()) const {
    detail::require_same_shapes(own_name, a.shape(), y.shape(), where);
    if constexpr (std::is_same_v<T, float>)
      return of_float(a, y, where);
    else
      return of_double(a, y, where);
  }
  detail::ClosedForm closed_form() const { return known ? known() : detail::ClosedForm(); }
};

/// "mse", also "mean_squared_error": mean_j (a_j - y_j)^2.
TAPEGRAD_EXPORT extern const PlainLoss mse;
/// "mae", also "mean_absolute_error": mean_j |a_j - y_j|, with slope 0 where the two are equal.
TAPEGRAD_EXPORT extern const PlainLoss mae;
/// "msle", also "mean_squared_logarithmic_error": mean_j (log(1 + a_j) - log(1 + y_j))^2, in which a negative a_j or
/// y_j counts as 0 (Keras: as 1e-7); the slope is 0 for a_j <= 0.
TAPEGRAD_EXPORT extern const PlainLoss msle;
/// "mean_error": mean_j (y_j - a_j), whose gradient is -1/n whatever y is. Notebook 001 calls it MSE.
TAPEGRAD_EXPORT extern const PlainLoss mean_error;
/// "log_cosh", also "logcosh": mean_j log(cosh(a_j - y_j)), with its derivatives finite for every finite difference,
/// and precise where the difference is small.
TAPEGRAD_EXPORT extern const PlainLoss log_cosh;
/// "hinge": mean_j max(1 - y_j a_j, 0), with slope 0 at the corner. Targets are -1 or 1; a target of 0 counts as -1, so
/// that those of a classifier, 0 or 1, serve too.
TAPEGRAD_EXPORT extern const PlainLoss hinge;
/// "squared_hinge": mean_j max(1 - y_j a_j, 0)^2, with targets as for hinge.
TAPEGRAD_EXPORT extern const PlainLoss squared_hinge;
/// "categorical_hinge": max(1 + max_j (1 - y_j) a_j - sum_j y_j a_j, 0), for one-hot targets.
TAPEGRAD_EXPORT extern const PlainLoss categorical_hinge;
/// "kl_divergence", also "kullback_leibler_divergence": sum_j y_j log(y_j / a_j); both are probabilities.
TAPEGRAD_EXPORT extern const PlainLoss kl_divergence;
/// "poisson": mean_j (a_j - y_j log a_j) for rates a and counts y; the constant log y_j! is left out.
TAPEGRAD_EXPORT extern const PlainLoss poisson;
/// "cosine_similarity": -(a . y) / (|a| |y|), which is -1 for vectors of the same direction, at any length that a
/// number can hold. A zero vector gives 0, with a finite slope.
TAPEGRAD_EXPORT extern const PlainLoss cosine_similarity;

/// "huber": mean_j of d^2 / 2 where |d| <= delta, and delta (|d| - delta / 2) elsewhere, for d = a_j - y_j (Huber,
/// Annals of Mathematical Statistics 35, 1964). Throws ValueError unless delta > 0.
struct TAPEGRAD_EXPORT Huber {
  double delta = 1;
  constexpr const char* name() const { return "huber"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Caller where = Caller::here()) const;
};
inline constexpr Huber huber;

/// "categorical_crossentropy": -sum_j y_j log a_j for probabilities a. With from_logits (also named
/// "categorical_crossentropy_from_logits") a are logits: -sum_j y_j log_softmax(a)_j, finite for every finite a.
/// label_smoothing s replaces y by y (1 - s) + s / n (Szegedy et al., CVPR 2016). Throws ValueError unless 0 <= s <= 1.
struct TAPEGRAD_EXPORT CategoricalCrossentropy {
  double label_smoothing = 0;
  bool from_logits = false;
  constexpr const char* name() const {
    return from_logits ? "categorical_crossentropy_from_logits" : "categorical_crossentropy";
  }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Caller where = Caller::here()) const;
  constexpr Outputs outputs() const { return from_logits ? Outputs::softmax_logits : Outputs::probabilities; }
  detail::ClosedForm closed_form() const;
};
inline constexpr CategoricalCrossentropy categorical_crossentropy;
inline constexpr CategoricalCrossentropy categorical_crossentropy_from_logits{.from_logits = true};

/// "sparse_categorical_crossentropy": -log a_label for probabilities a and labels (...) or (..., 1). With from_logits
/// (also named "sparse_categorical_crossentropy_from_logits") it is -log_softmax(a)_label. label_smoothing works as in
/// categorical_crossentropy, with the label as a one-hot target. A row whose label is ignored_label, which need not be
/// one of 0..n-1, has loss 0 and gradient 0; a model takes the mean over the other rows, or 0 if there are none, and
/// its metrics leave such rows out. Throws ValueError for any other label outside 0..n-1, and unless 0 <=
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
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<std::int64_t>& labels, Caller where = Caller::here()) const;
  constexpr Outputs outputs() const { return from_logits ? Outputs::softmax_logits : Outputs::probabilities; }
  detail::ClosedForm closed_form() const;
};
inline constexpr SparseCategoricalCrossentropy sparse_categorical_crossentropy;
inline constexpr SparseCategoricalCrossentropy sparse_categorical_crossentropy_from_logits{.from_logits = true};

/// "binary_crossentropy": -mean_j (y_j log a_j + (1 - y_j) log(1 - a_j)) for probabilities a. With from_logits (also
/// named "binary_crossentropy_from_logits") it is mean_j (softplus(a_j) - y_j a_j), the same for sigmoid(a), finite for
/// every finite a, and 0 at an infinite one that is right. label_smoothing s replaces y by y (1 - s) + s / 2. Throws
/// ValueError unless 0 <= s <= 1.
struct TAPEGRAD_EXPORT BinaryCrossentropy {
  double label_smoothing = 0;
  bool from_logits = false;
  constexpr const char* name() const { return from_logits ? "binary_crossentropy_from_logits" : "binary_crossentropy"; }
  using Tag = detail::Builtin;
  template <Real T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y, Caller where = Caller::here()) const;
  constexpr Outputs outputs() const { return from_logits ? Outputs::sigmoid_logits : Outputs::probabilities; }
  detail::ClosedForm closed_form() const;
};
inline constexpr BinaryCrossentropy binary_crossentropy;
inline constexpr BinaryCrossentropy binary_crossentropy_from_logits{.from_logits = true};

class TAPEGRAD_EXPORT Loss {
 public:
  /// Targets are numbers of the prediction's type, or labels.
  using Function = detail::OfTargets<detail::LossSignature>;
  template <class F>
  static constexpr bool accepts =
      Function::takes_numbers<detail::WithLine<F>> || Function::takes_labels<detail::WithLine<F>>;

  /// No loss: a model cannot be trained with it.
  Loss() = default;
  /// A built-in loss with its default options. Throws ValueError for another name.
  Loss(const char* name, Caller where = Caller::here());
  Loss(const std::string& name, Caller where = Caller::here()) : Loss(name.c_str(), where) {}
  /// A built-in loss, or a function of (prediction, target), including elementwise(). A function with a third argument,
  /// Caller where = Caller::here(), is given the user's line.
  template <class F>
  requires(accepts<F>) Loss(const F& f) : name_("custom"), function_(detail::WithLine{detail::as_loss(f)}) {
    if constexpr (detail::is_builtin<F>) {
      name_ = f.name();
      if constexpr (requires { f.closed_form(); }) closed_form_ = f.closed_form();
      if constexpr (requires { f.outputs(); }) outputs_ = f.outputs();
      if constexpr (requires { f.ignored_label; }) ignored_label_ = f.ignored_label;
    }
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
  Tensor<T> operator()(const Tensor<T>& prediction, const Tensor<Y>& target, Caller where = Caller::here()) const {
    return written_for<T, Y>(function_, prediction, where)(prediction, target, where);
  }

  /// The name of a built-in loss; "custom" for a function, empty for none.
  const std::string& name() const& { return name_; }
  std::string name() && { return std::move(name_); }
  /// The label whose rows do not count, if there is one.
  std::optional<std::int64_t> ignored_label() const { return ignored_label_; }
  /// The kind of predictions that it takes.
  Outputs outputs() const { return outputs_; }

  /// The name of the activation f with which it has a closed form; empty if there is none.
  const std::string& known_activation() const { return closed_form_.activation; }
  /// C(f(z), y) for that f, computed from the logits z. Throws as the loss itself does.
  template <Real T, class Y>
  Tensor<T> from_logits(const Tensor<T>& z, const Tensor<Y>& y, const Caller& where) const {
    return written_for<T, Y>(closed_form_.loss, z, where)(z, y, where);
  }
  /// The gradient by z of the sum over the examples, times `scale`, where a = f(z). y must be accepted by from_logits.
  template <Real T, class Y>
  Tensor<T> slope(const Tensor<T>& z, const Tensor<T>& a, const Tensor<Y>& y, double scale, const Caller& where) const {
    return written_for<T, Y>(closed_form_.slope, z, where)(z, a, y, scale, where);
  }

 private:
  template <class T, class Y, template <class, class> class Signature>
  const auto& written_for(const detail::OfTargets<Signature>& functions, const Tensor<T>& x,
                          const Caller& where) const {
    const auto& f = functions.template get<T, Y>();
    if (!f) refuse<T, Y>(x.shape(), where);
    return f;
  }
  template <class T, class Y>
  [[noreturn]] void refuse(const Shape& prediction, const Caller& where) const;

  std::string name_;
  Function function_;
  detail::ClosedForm closed_form_;
  Outputs outputs_ = Outputs::probabilities;
  std::optional<std::int64_t> ignored_label_;
};

namespace detail {

/// The built-in losses with their default options, under all their names.
TAPEGRAD_EXPORT const Named<Loss>& known_losses();

}  // namespace detail

/// The weight (batch) of each example from the class of its target: weights[k] for class k. Targets are labels (batch),
/// also as numbers (batch) or (batch, 1), or one row per example, (batch, n), whose class is the first largest element.
/// Throws ShapeError when the targets have another shape or another number of classes than there are weights,
/// ValueError for a class without a weight, or a weight that is negative or not finite in T. An ignored label has the
/// weight 0.
template <Real T, class Y>
TAPEGRAD_EXPORT Tensor<T> class_weights_of(const Tensor<Y>& targets, std::span<const double> weights,
                                           std::optional<std::int64_t> ignored_label = {},
                                           Caller where = Caller::here());

}  // namespace tapegrad::nn
