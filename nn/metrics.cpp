#include "metrics.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "../autodiff/ops.hpp"
#include "named.hpp"

namespace tapegrad::nn {
namespace {

// ------------------------------------------------------------------------------------------------- of classes

[[noreturn]] void throw_shapes(const std::string& metric, const Shape& prediction, const Shape& target,
                               const char* takes, const Where& where) {
  throw ShapeError(metric + to_string(where) + ": the prediction is " + to_string(prediction) + " and the target " +
                   to_string(target) + "; it takes " + takes);
}

/// The class that a row of probabilities stands for; -1, none, when there is a NaN among them.
template <class T>
std::int64_t decide(const T* row, std::int64_t columns, double threshold) {
  if (std::any_of(row, row + columns, [](T p) { return p != p; })) return -1;
  if (columns == 1) return static_cast<double>(*row) > threshold ? 1 : 0;
  return std::max_element(row, row + columns) - row;
}

/// The class of each row that counts, -1 for none.
struct Classes {
  std::int64_t columns = 0;
  detail::PoolVector<std::int64_t> predicted = {}, actual = {}, rows = {};

  std::int64_t count() const { return std::max<std::int64_t>(columns, 2); }
};

template <Real T, class Y>
Classes classes_of(const std::string& metric, const Tensor<T>& a, const Tensor<Y>& y, double threshold,
                   std::optional<std::int64_t> ignored_label, const Where& where) {
  constexpr bool of_labels = std::is_same_v<Y, std::int64_t>;
  const Shape& shape = a.shape();
  if (shape.rank() != 2 || shape.count() == 0 || !(y.shape() == (of_labels ? shape.prefix(1) : shape))) {
    throw_shapes(metric, shape, y.shape(),
                 "(batch, n) with batch > 0, and a target of the same shape or one label per row", where);
  }
  Classes classes{.columns = shape[1]};
  const T* predictions = tapegrad::detail::elements_of(a);
  const Y* targets = tapegrad::detail::elements_of(y);
  for (std::int64_t i = 0; i < shape[0]; ++i) {
    if constexpr (of_labels) {
      if (targets[i] == ignored_label) continue;
    }
    classes.rows.push_back(i);
    classes.predicted.push_back(decide(predictions + i * shape[1], shape[1], threshold));
    if constexpr (!of_labels) {
      classes.actual.push_back(decide(targets + i * shape[1], shape[1], 0.5));
    } else {
      const std::int64_t label = targets[i];
      if (label < 0 || label >= classes.count()) {
        throw ValueError(metric + to_string(where) + ": label " + std::to_string(label) + " of example " +
                         std::to_string(i) + " is out of range 0.." + std::to_string(classes.count() - 1));
      }
      classes.actual.push_back(label);
    }
  }
  return classes;
}

double fraction(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// value(right, predicted, actual), the numbers of examples, of class 1 or averaged over the classes that occur.
template <class Value>
double macro_average(const Classes& classes, const Value& value) {
  const auto count = static_cast<std::size_t>(classes.count());
  detail::PoolVector<std::int64_t> right(count), predicted(count), actual(count);
  for (std::size_t i = 0; i < classes.actual.size(); ++i) {
    const std::int64_t p = classes.predicted[i], t = classes.actual[i];
    if (p >= 0) ++predicted[static_cast<std::size_t>(p)];
    if (t >= 0) ++actual[static_cast<std::size_t>(t)];
    if (p >= 0 && p == t) ++right[static_cast<std::size_t>(p)];
  }
  if (classes.columns == 1) return value(right[1], predicted[1], actual[1]);
  double total = 0;
  int occurring = 0;
  for (std::size_t k = 0; k < count; ++k) {
    if (predicted[k] + actual[k] == 0) continue;
    total += value(right[k], predicted[k], actual[k]);
    ++occurring;
  }
  return occurring == 0 ? 0 : total / occurring;
}

// ------------------------------------------------------------------------------------------------- of numbers

template <class Metric, Real T>
void require_numbers(const Metric& metric, const Tensor<T>& a, const Tensor<T>& y, const Where& where) {
  if (a.shape() == y.shape() && a.size() > 0) return;
  throw_shapes(metric.name(), a.shape(), y.shape(), "two of the same shape with at least one element", where);
}

}  // namespace

template <Real T, class Y>
double Accuracy::operator()(const Tensor<T>& a, const Tensor<Y>& y, Where where) const {
  const Classes classes = classes_of(name(), a, y, threshold, ignored_label, where);
  std::int64_t right = 0;
  for (std::size_t i = 0; i < classes.actual.size(); ++i) {
    if (classes.predicted[i] >= 0 && classes.predicted[i] == classes.actual[i]) ++right;
  }
  return fraction(right, static_cast<std::int64_t>(classes.actual.size()));
}

template <Real T, class Y>
double BinaryAccuracy::operator()(const Tensor<T>& a, const Tensor<Y>& y, Where where) const {
  if constexpr (std::is_same_v<Y, std::int64_t>) {
    if (a.rank() != 2 || a.shape()[1] != 1) {
      throw_shapes(name(), a.shape(), y.shape(), "labels with one column; of several, accuracy takes the largest",
                   where);
    }
    return Accuracy{.threshold = threshold, .ignored_label = ignored_label}(a, y, where);
  } else {
    require_numbers(*this, a, y, where);
    return Accuracy{.threshold = threshold}(reshape(a, {-1, 1}, where), reshape(y, {-1, 1}, where), where);
  }
}

template <Real T, class Y>
double TopK::operator()(const Tensor<T>& a, const Tensor<Y>& y, Where where) const {
  if (k < 1) throw ValueError("TopK" + to_string(where) + ": k is " + std::to_string(k) + ", not >= 1");
  const Classes classes = classes_of(name(), a, y, 0.5, ignored_label, where);
  if (classes.columns < 2) throw_shapes(name(), a.shape(), y.shape(), "(batch, n) with n > 1", where);
  const T* predictions = tapegrad::detail::elements_of(a);
  std::int64_t right = 0;
  for (std::size_t i = 0; i < classes.actual.size(); ++i) {
    if (classes.predicted[i] < 0 || classes.actual[i] < 0) continue;
    const T* row = predictions + classes.rows[i] * classes.columns;
    const T own = row[classes.actual[i]];
    if (std::count_if(row, row + classes.columns, [own](T p) { return p > own; }) < k) ++right;
  }
  return fraction(right, static_cast<std::int64_t>(classes.actual.size()));
}

template <Real T, class Y>
double Precision::operator()(const Tensor<T>& a, const Tensor<Y>& y, Where where) const {
  return macro_average(
      classes_of(name(), a, y, threshold, ignored_label, where),
      [](std::int64_t right, std::int64_t predicted, std::int64_t) { return fraction(right, predicted); });
}

template <Real T, class Y>
double Recall::operator()(const Tensor<T>& a, const Tensor<Y>& y, Where where) const {
  return macro_average(classes_of(name(), a, y, threshold, ignored_label, where),
                       [](std::int64_t right, std::int64_t, std::int64_t actual) { return fraction(right, actual); });
}

template <Real T, class Y>
double F1::operator()(const Tensor<T>& a, const Tensor<Y>& y, Where where) const {
  return macro_average(classes_of(name(), a, y, threshold, ignored_label, where),
                       [](std::int64_t right, std::int64_t predicted, std::int64_t actual) {
                         return fraction(2 * right, predicted + actual);
                       });
}

template <Real T, class Y>
Tensor<std::int64_t> confusion_matrix(const Tensor<T>& a, const Tensor<Y>& y, double threshold,
                                      std::optional<std::int64_t> ignored_label, Where where) {
  const Classes classes = classes_of("confusion_matrix", a, y, threshold, ignored_label, where);
  Tensor<std::int64_t> counts = zeros<std::int64_t>({classes.count(), classes.count()});
  std::int64_t* out = counts.mutable_data();
  for (std::size_t i = 0; i < classes.actual.size(); ++i) {
    if (classes.predicted[i] >= 0 && classes.actual[i] >= 0) {
      ++out[classes.actual[i] * classes.count() + classes.predicted[i]];
    }
  }
  return counts;
}

template <Real T>
double RootMeanSquaredError::operator()(const Tensor<T>& a, const Tensor<T>& y, Where where) const {
  require_numbers(*this, a, y, where);
  return std::sqrt(
      static_cast<double>(mean(square(stop_gradient(a) - stop_gradient(y), where), {}, KeepDims::no, where).item()));
}

template <Real T>
double R2::operator()(const Tensor<T>& a, const Tensor<T>& y, Where where) const {
  require_numbers(*this, a, y, where);
  const T *predictions = tapegrad::detail::elements_of(a), *targets = tapegrad::detail::elements_of(y);
  const std::int64_t outputs = a.rank() > 1 ? a.shape().back() : 1, rows = a.size() / outputs;
  double total = 0;
  for (std::int64_t j = 0; j < outputs; ++j) {
    auto sum_of = [&](const auto& term) {
      double out = 0;
      for (std::int64_t i = j; i < a.size(); i += outputs) {
        out += term(static_cast<double>(predictions[i]), static_cast<double>(targets[i]));
      }
      return out;
    };
    // From the first target, so that equal ones have no spread at all.
    const auto first = static_cast<double>(targets[j]);
    const double average = first + sum_of([=](double, double t) { return t - first; }) / static_cast<double>(rows);
    const double left = sum_of([](double p, double t) { return (p - t) * (p - t); });
    const double spread = sum_of([=](double, double t) { return (t - average) * (t - average); });
    const bool constant = spread == 0 && !std::isnan(left);
    total += !constant ? 1 - left / spread : left == 0 ? 1 : 0;
  }
  return total / static_cast<double>(outputs);
}

template <class T, class Y>
using MetricOf = double(const Tensor<T>&, const Tensor<Y>&, Where) const;
template MetricOf<float, float> Accuracy::operator();
template MetricOf<double, double> Accuracy::operator();
template MetricOf<float, std::int64_t> Accuracy::operator();
template MetricOf<double, std::int64_t> Accuracy::operator();
template MetricOf<float, float> BinaryAccuracy::operator();
template MetricOf<double, double> BinaryAccuracy::operator();
template MetricOf<float, std::int64_t> BinaryAccuracy::operator();
template MetricOf<double, std::int64_t> BinaryAccuracy::operator();
template MetricOf<float, float> TopK::operator();
template MetricOf<double, double> TopK::operator();
template MetricOf<float, std::int64_t> TopK::operator();
template MetricOf<double, std::int64_t> TopK::operator();
template MetricOf<float, float> Precision::operator();
template MetricOf<double, double> Precision::operator();
template MetricOf<float, std::int64_t> Precision::operator();
template MetricOf<double, std::int64_t> Precision::operator();
template MetricOf<float, float> Recall::operator();
template MetricOf<double, double> Recall::operator();
template MetricOf<float, std::int64_t> Recall::operator();
template MetricOf<double, std::int64_t> Recall::operator();
template MetricOf<float, float> F1::operator();
template MetricOf<double, double> F1::operator();
template MetricOf<float, std::int64_t> F1::operator();
template MetricOf<double, std::int64_t> F1::operator();
template MetricOf<float, float> RootMeanSquaredError::operator();
template MetricOf<double, double> RootMeanSquaredError::operator();
template MetricOf<float, float> R2::operator();
template MetricOf<double, double> R2::operator();

template <class T, class Y>
using CountsOf = Tensor<std::int64_t>(const Tensor<T>&, const Tensor<Y>&, double, std::optional<std::int64_t>, Where);
template TAPEGRAD_EXPORT CountsOf<float, float> confusion_matrix;
template TAPEGRAD_EXPORT CountsOf<double, double> confusion_matrix;
template TAPEGRAD_EXPORT CountsOf<float, std::int64_t> confusion_matrix;
template TAPEGRAD_EXPORT CountsOf<double, std::int64_t> confusion_matrix;

// ------------------------------------------------------------------------------------------------- by name

namespace {

struct Known {
  std::string_view name;
  Metric metric;
};

const std::vector<Known>& known_metrics() {
  static const std::vector<Known> known{
      {"accuracy", accuracy},
      {"categorical_accuracy", accuracy},
      {"sparse_categorical_accuracy", accuracy},
      {"binary_accuracy", binary_accuracy},
      {"top_k_categorical_accuracy", TopK{}},
      {"precision", precision},
      {"recall", recall},
      {"f1", f1},
      {"rmse", rmse},
      {"root_mean_squared_error", rmse},
      {"r2", r2},
      {"r2_score", r2},
  };
  return known;
}

/// k of "top_<k>_accuracy"; 0 for another name.
std::int64_t top_k_of(std::string_view name) {
  constexpr std::string_view start = "top_", end = "_accuracy";
  if (!name.starts_with(start) || !name.ends_with(end)) return 0;
  std::int64_t k = 0;
  const char* stop = name.data() + name.size() - end.size();
  const auto [at, error] = std::from_chars(name.data() + start.size(), stop, k);
  return error == std::errc() && at == stop ? k : 0;
}

}  // namespace

Metric::Metric(const char* name, Where where) {
  const std::string wanted = name ? name : "";
  if (const std::int64_t k = top_k_of(wanted); k > 0) {
    *this = TopK{.k = k};
    return;
  }
  if (const Loss* loss = detail::find_loss(wanted)) {
    *this = Metric(wanted, *loss);
    return;
  }
  detail::PoolVector<std::string_view> names;
  for (const Known& known : known_metrics()) {
    if (known.name == wanted) {
      *this = known.metric;
      name_ = wanted;
      return;
    }
    names.push_back(known.name);
  }
  for (const Loss& loss : detail::known_losses()) names.push_back(loss.name());
  detail::throw_unknown("metric", wanted, names, where);
}

template <Real T, class Y>
double Metric::operator()(const Tensor<T>& prediction, const Tensor<Y>& target, Where where) const {
  constexpr bool of_labels = std::is_same_v<Y, std::int64_t>;
  const auto& f = [this]() -> const auto& {
    if constexpr (of_labels)
      return of_labels_.get<Signature<T, Y>>();
    else
      return of_numbers_.get<Signature<T, Y>>();
  }
  ();
  if (!f) {
    throw ValueError("the metric " + name_ + to_string(where) +
                     (of_labels ? " does not take labels; one_hot(labels, classes) makes them numbers"
                                : " was not written for targets of this number type; a generic lambda, "
                                  "[](const auto& a, const auto& y) { ... }, serves float and double"));
  }
  return f(prediction, target, where);
}
template TAPEGRAD_EXPORT MetricOf<float, float> Metric::operator();
template TAPEGRAD_EXPORT MetricOf<double, double> Metric::operator();
template TAPEGRAD_EXPORT MetricOf<float, std::int64_t> Metric::operator();
template TAPEGRAD_EXPORT MetricOf<double, std::int64_t> Metric::operator();

}  // namespace tapegrad::nn
