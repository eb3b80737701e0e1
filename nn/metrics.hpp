#pragma once
// Metrics: numbers to read, not to differentiate; by name, as values with options, or functions of your own.
//
//     nn::accuracy(a, y);
//     nn::Metric worst("worst", [](const auto& a, const auto& y) { return max(abs(a - y)); });
//     model.compile({.loss = "mse", .metrics = {"mae", "accuracy", nn::TopK{.k = 3}, worst}});
//     std::cout << nn::confusion_matrix(a, y);
//
// A metric is a function of all predictions and all targets, so that it may be any function of them and not only a mean
// over the examples.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>

#include "../autodiff/tensor.hpp"
#include "core/overloads.hpp"
#include "losses.hpp"

namespace tapegrad::nn {

// Metrics of classes. Predictions are (batch, n); targets are (batch, n), one-hot or the like, or labels (batch) or
// (batch, 1). The class of a row is its first largest element; with one column it is 1 where the prediction is above
// the threshold, and 0 elsewhere. The threshold is compared with the predictions themselves. If none is given, it is
// where the probability is 1/2, and `outputs` says what the predictions are; a model sets that from its loss, so that
// with "binary_crossentropy_from_logits" the threshold is 0. A prediction with a NaN belongs to no class and is never
// right. A row whose label is ignored_label does not count; if no row counts, the metric is 0. Throws ShapeError for
// other shapes or no rows, ValueError for a label outside 0..n-1.

/// "accuracy", also "categorical_accuracy" and "sparse_categorical_accuracy": the fraction of rows whose class is the
/// target's. With one column it is binary_accuracy, as in Keras, where however "categorical_accuracy" of one column is
/// 1.
struct TAPEGRAD_EXPORT Accuracy {
  std::optional<double> threshold = {};
  std::optional<std::int64_t> ignored_label = {};
  Outputs outputs = Outputs::probabilities;

  constexpr const char* name() const { return "accuracy"; }
  static constexpr bool larger_is_better = true;
  using Tag = detail::Builtin;
  template <Real T, class Y>
  double operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where = Caller::here()) const;
};
inline constexpr Accuracy accuracy;

/// "binary_accuracy": the fraction of elements that equal the target after the threshold has turned them into 0 or 1;
/// each column is a question of its own. No prediction equals a soft target, which is neither 0 nor 1, as in Keras.
/// Labels need a single column.
struct TAPEGRAD_EXPORT BinaryAccuracy {
  std::optional<double> threshold = {};
  std::optional<std::int64_t> ignored_label = {};
  Outputs outputs = Outputs::probabilities;

  constexpr const char* name() const { return "binary_accuracy"; }
  static constexpr bool larger_is_better = true;
  using Tag = detail::Builtin;
  template <Real T, class Y>
  double operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where = Caller::here()) const;
};
inline constexpr BinaryAccuracy binary_accuracy;

/// "top_k_categorical_accuracy" or "sparse_top_k_categorical_accuracy", or "top_3_accuracy" for k = 3, and so on: the
/// fraction of rows where fewer than k elements are larger than the one of the target's class. So ties count as right:
/// rows of equal numbers are all right, whereas accuracy takes the first of them. Throws ValueError unless k >= 1.
struct TAPEGRAD_EXPORT TopK {
  std::int64_t k = 5;
  std::optional<std::int64_t> ignored_label = {};

  std::string name() const { return "top_" + std::to_string(k) + "_accuracy"; }
  static constexpr bool larger_is_better = true;
  using Tag = detail::Builtin;
  template <Real T, class Y>
  double operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where = Caller::here()) const;
};

/// How precision, recall and F1 of several columns become one number. `micro` counts all elements together: each that
/// is above the threshold, as many of a row as there are, is predicted as its column's class. `macro` is the mean of
/// the values of the classes that occur among targets or predictions, where each row is predicted as its largest
/// element's class; Keras, and scikit-learn with all `labels`, count a class that occurs nowhere as well, as 0.
enum class Average { micro, macro };

// With one column these are of class 1. 0/0 is 0: the precision of a class that is never predicted. As in Keras, a
// target that is not 0 counts as of the class, soft ones too, but for macro averages, which take the largest of a row.

/// "precision": the fraction of what is predicted as a class that is of it.
struct TAPEGRAD_EXPORT Precision {
  std::optional<double> threshold = {};
  Average average = Average::micro;
  std::optional<std::int64_t> ignored_label = {};
  Outputs outputs = Outputs::probabilities;

  constexpr const char* name() const { return "precision"; }
  static constexpr bool larger_is_better = true;
  using Tag = detail::Builtin;
  template <Real T, class Y>
  double operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where = Caller::here()) const;
};
inline constexpr Precision precision;

/// "recall": the fraction of what is of a class that is predicted as it.
struct TAPEGRAD_EXPORT Recall {
  std::optional<double> threshold = {};
  Average average = Average::micro;
  std::optional<std::int64_t> ignored_label = {};
  Outputs outputs = Outputs::probabilities;

  constexpr const char* name() const { return "recall"; }
  static constexpr bool larger_is_better = true;
  using Tag = detail::Builtin;
  template <Real T, class Y>
  double operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where = Caller::here()) const;
};
inline constexpr Recall recall;

/// "f1", also "f1_score": the harmonic mean of precision and recall of a class; of several columns the macro average.
/// Keras' F1Score is an array of one number per class unless it is told to average; with one column it takes every
/// prediction but 0 for class 1, where this one cuts at the threshold.
struct TAPEGRAD_EXPORT F1 {
  std::optional<double> threshold = {};
  Average average = Average::macro;
  std::optional<std::int64_t> ignored_label = {};
  Outputs outputs = Outputs::probabilities;

  constexpr const char* name() const { return "f1"; }
  static constexpr bool larger_is_better = true;
  using Tag = detail::Builtin;
  template <Real T, class Y>
  double operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where = Caller::here()) const;
};
inline constexpr F1 f1;

/// How many examples of class i (row) were predicted as class j (column), (n, n), or (2, 2) for one column. Predictions
/// with a NaN stand in no column, rows with the ignored label nowhere. astype<double> makes a matrix for heat_map.
template <Real T, class Y>
TAPEGRAD_EXPORT Tensor<std::int64_t> confusion_matrix(const Tensor<T>& a, const Tensor<Y>& y, double threshold = 0.5,
                                                      std::optional<std::int64_t> ignored_label = {},
                                                      Caller where = Caller::here());

// Metrics of numbers. They throw ShapeError if the shapes differ or there are no elements.

/// "rmse", also "root_mean_squared_error": the square root of the mean of (a - y)^2 over all elements.
struct TAPEGRAD_EXPORT RootMeanSquaredError {
  constexpr const char* name() const { return "rmse"; }
  static constexpr bool larger_is_better = false;
  using Tag = detail::Builtin;
  template <Real T>
  double operator()(const Tensor<T>& a, const Tensor<T>& y, Caller where = Caller::here()) const;
};
inline constexpr RootMeanSquaredError rmse;

/// "r2", also "r2_score": 1 - sum (a - y)^2 / sum (y - mean y)^2 of each output (index along the last axis; (batch) is
/// one output), averaged over the outputs. Where the targets of an output are all equal, it is 1 for predictions that
/// are exact and 0 for others, as in scikit-learn; Keras gives NaN for exact ones.
struct TAPEGRAD_EXPORT R2 {
  constexpr const char* name() const { return "r2"; }
  static constexpr bool larger_is_better = true;
  using Tag = detail::Builtin;
  template <Real T>
  double operator()(const Tensor<T>& a, const Tensor<T>& y, Caller where = Caller::here()) const;
};
inline constexpr R2 r2;

namespace detail {

/// A function as a metric: the number that it returns, or the mean of the tensor.
template <class F>
struct AsMetric {
  WithLine<F> f;

  template <class A, class Y, class R = std::invoke_result_t<WithLine<F>&, const A&, const Y&, const Caller&>>
  requires(std::is_arithmetic_v<R> || std::is_same_v<R, A>) double operator()(const A& a, const Y& y,
                                                                              const Caller& line) {
    if constexpr (std::is_arithmetic_v<R>)
      return static_cast<double>(f(a, y, line));
    else
      return static_cast<double>(mean(stop_gradient(f(a, y, line)), {}, KeepDims::no, line).item());
  }
};

template <class T, class Y>
using MetricSignature = double(const Tensor<T>& a, const Tensor<Y>& y, const Caller& where);

}  // namespace detail

class TAPEGRAD_EXPORT Metric {
 public:
  using Function = detail::OfTargets<detail::MetricSignature>;
  template <class F>
  static constexpr bool is_own = !detail::is_builtin<F> && !std::is_same_v<F, Loss>;
  template <class F>
  static constexpr bool accepts =
      Function::takes_numbers<detail::AsMetric<F>> || Function::takes_labels<detail::AsMetric<F>, !is_own<F>>;

  /// A built-in metric, or a built-in loss, whose mean over the examples is taken; "cosine_similarity" is the cosine
  /// itself, as Keras' metric of that name, and not the loss, its negative. In logs it has the name given here. Throws
  /// ValueError for another name.
  Metric(const char* name, Caller where = Caller::here());
  Metric(const std::string& name, Caller where = Caller::here()) : Metric(name.c_str(), where) {}
  /// A built-in metric or loss as a value: nn::mae, nn::TopK{.k = 3}.
  template <class F>
  requires detail::is_builtin<F> Metric(const F& f) : Metric(f.name(), f) {}
  /// A function of all predictions and all targets that gives a number, or a tensor, whose mean is taken; elementwise()
  /// included. One of labels names their type: [](const auto& a, const Tensor<std::int64_t>& y) { ... }. A type with a
  /// member static constexpr bool larger_is_better says so to callbacks.
  template <class F>
  requires(accepts<F>) Metric(std::string name, const F& f)
      : name_(std::move(name)),
        builtin_(!is_own<F>),
        function_(detail::AsMetric<F>{{f}}, std::bool_constant<!is_own<F>>()) {
    if constexpr (!is_own<F>) larger_is_better_ = false;
    if constexpr (requires { F::larger_is_better; }) larger_is_better_ = F::larger_is_better;
    if constexpr (requires { f.outputs; }) {
      with_outputs_ = [f](Outputs outputs) {
        F other = f;
        other.outputs = outputs;
        return Metric("", other);
      };
    }
  }
  /// A loss without options, the same as by its name.
  Metric(std::string name, const PlainLoss& loss) : Metric(loss.name()) { name_ = std::move(name); }

  template <class F>
  requires(!accepts<F> && detail::HasCallOperator<F>) Metric(const std::string&, const F&) {
    static_assert(
        detail::never<F>,
        "a metric is a function of (prediction, target), two tensors of one number type or a tensor and labels, "
        "that gives a number or a tensor: [](const auto& a, const auto& y) { return max(abs(a - y)); }");
  }
  template <class F>
  requires(is_own<F>&& detail::HasCallOperator<F>) Metric(const F&) {
    static_assert(detail::never<F>, "a metric of your own has a name: nn::Metric(\"worst\", function)");
  }

  const std::string& name() const& { return name_; }
  std::string name() && { return std::move(name_); }
  /// Whether it is a metric of the library, which has a value even for one example. Before its first step fit calls
  /// your own metrics with up to 32 examples, so that they fail at once if they fail.
  bool is_builtin() const { return builtin_; }
  /// Whether a larger value is better than a smaller one; empty if your own metric does not say.
  std::optional<bool> larger_is_better() const { return larger_is_better_; }
  /// The metric of all examples at once. Y is T or std::int64_t. Throws ValueError if the metric does not take such
  /// targets.
  template <Real T, class Y>
  double operator()(const Tensor<T>& prediction, const Tensor<Y>& target, Caller where = Caller::here()) const {
    const auto& f = function_.get<T, Y>();
    if (!f) refuse(std::is_same_v<Y, std::int64_t>, where);
    return f(prediction, target, where);
  }

  /// The same metric for predictions of another kind, if it depends on where the probability is 1/2.
  Metric with(Outputs outputs) const;

 private:
  [[noreturn]] void refuse(bool labels, const Caller& where) const;

  std::string name_;
  bool builtin_ = false;
  std::optional<bool> larger_is_better_;
  std::function<Metric(Outputs)> with_outputs_;
  Function function_;
};

}  // namespace tapegrad::nn
