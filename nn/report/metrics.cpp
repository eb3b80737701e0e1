#include "../metrics.hpp"
#include "../core/errors.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "../../autodiff/extend.hpp"
#include "../../autodiff/ops.hpp"
#include "../named.hpp"

namespace tapegrad::nn {
namespace {

// ------------------------------------------------------------------------------------------------- of classes

[[noreturn]] void throw_shapes(const std::string& metric, const Shape& prediction, const Shape& target,
                               const std::string& takes, const Caller& where) {
  throw ShapeError(metric + to_string(where) + ": the prediction is " + to_string(prediction) + " and the target " +
                   to_string(target) + "; it takes " + takes);
}

template <class Y>
constexpr bool are_labels = std::is_same_v<Y, std::int64_t>;

/// Takes x off the tape so that it can be read: a metric has no derivative.
template <class E>
Tensor<E> plain(const Tensor<E>& x) {
  if constexpr (Real<E>)
    return stop_gradient(x);
  else
    return x;
}

/// Throws unless a is (batch, n) and y is (batch, n), or labels (batch) or (batch, 1), each of which is a class or the
/// ignored label.
template <Real T, class Y>
void require_classes(const std::string& metric, const Tensor<T>& a, const Tensor<Y>& y,
                     std::optional<std::int64_t> ignored_label, const Caller& where) {
  const Shape &shape = a.shape(), &target = y.shape();
  bool fits = shape.rank() == 2 && shape.count() > 0;
  if constexpr (are_labels<Y>)
    fits = fits && (target == shape.prefix(1) || target == Shape{shape[0], 1});
  else
    fits = fits && target == shape;
  if (!fits) {
    const bool one_each = !are_labels<Y> && shape.rank() == 2 && target.rank() > 0 && target.count() == shape[0];
    throw_shapes(metric, shape, target,
                 std::string("(batch, n) with batch > 0, and a target of the same shape or one label per row") +
                     (!one_each          ? ""
                      : shape.back() > 1 ? ": astype<std::int64_t>(y) makes labels of these numbers"
                                         : ": reshape(y, {-1, 1}) makes y a column"),
                 where);
  }
  if constexpr (are_labels<Y>) {
    const std::int64_t classes = std::max<std::int64_t>(shape[1], 2);
    const auto check = [=](std::int64_t label, std::int64_t i) {
      if ((label >= 0 && label < classes) || label == ignored_label) return;
      throw ValueError(metric + to_string(where) + ": label " + std::to_string(label) + " of example " +
                       std::to_string(i) + " is out of range 0.." + std::to_string(classes - 1));
    };
    tapegrad::detail::visit("metric", where, check, y);
  }
}

/// Numbers, and the threshold with which they are compared.
template <Real T>
struct Cut {
  Tensor<T> a;
  T threshold;
};
template <class M, Real T>
Cut<T> cut(const M& metric, const Tensor<T>& prediction, const Caller& where) {
  const Tensor<T> a = plain(prediction);
  // The threshold is converted to T, the type of the predictions, so that 0.3 is not above 0.3.
  if (metric.threshold) return {a, static_cast<T>(*metric.threshold)};
  if (metric.outputs == Outputs::probabilities) return {a, T(0.5)};
  if (metric.outputs == Outputs::softmax_logits && a.shape().back() > 1) return {softmax(a, -1, where), T(0.5)};
  return {a, T(0)};
}

double fraction(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// The first largest element of a row; for a single column, whether it is above the threshold. -1, for no class, if
/// there is a NaN.
template <class T>
std::int64_t decide(const T* row, std::int64_t columns, double threshold) {
  if (std::any_of(row, row + columns, [](T p) { return p != p; })) return -1;
  if (columns == 1) return *row > static_cast<T>(threshold) ? 1 : 0;
  return std::max_element(row, row + columns) - row;
}

/// The fraction of elements that equal the target after they are compared with the threshold.
template <Real T, class Y>
double fraction_met(const Cut<T>& predicted, const Tensor<Y>& y, std::optional<std::int64_t> ignored_label,
                    const Caller& where) {
  const auto count = [ignored_label, threshold = predicted.threshold, n = y.size()](const T* a, const Y* target) {
    std::int64_t right = 0, counted = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      if (detail::is_ignored(target[i], ignored_label)) continue;
      ++counted;
      const std::int64_t p = decide(a + i, 1, threshold);
      if (p >= 0 && static_cast<Y>(p) == target[i]) ++right;
    }
    return fraction(right, counted);
  };
  return tapegrad::detail::result_of("metric", where, count, predicted.a, plain(y));
}

/// A row that counts, with its predicted and actual class; -1 stands for none.
struct Judged {
  std::int64_t row, predicted, actual;
  bool right() const { return predicted >= 0 && predicted == actual; }
};
std::int64_t count_of_classes(const Shape& prediction) { return std::max<std::int64_t>(prediction[1], 2); }

template <Real T, class Y>
detail::PoolVector<Judged> judge(const std::string& metric, const Tensor<T>& prediction, const Tensor<Y>& target,
                                 double threshold, std::optional<std::int64_t> ignored_label, const Caller& where) {
  require_classes(metric, prediction, target, ignored_label, where);
  const auto each = [=, n = prediction.shape()[0], columns = prediction.shape()[1]](const T* a, const Y* y) {
    detail::PoolVector<Judged> rows;
    for (std::int64_t i = 0; i < n; ++i, a += columns) {
      if constexpr (are_labels<Y>) {
        if (y[i] != ignored_label) rows.push_back({i, decide(a, columns, threshold), y[i]});
      } else {
        rows.push_back({i, decide(a, columns, threshold), decide(y + i * columns, columns, 0.5)});
      }
    }
    return rows;
  };
  return tapegrad::detail::result_of("metric", where, each, plain(prediction), plain(target));
}

/// How often a class was predicted, how often it was the actual one, and how often it was both.
struct Counts {
  std::int64_t right = 0, predicted = 0, actual = 0;

  void add(bool is_predicted, bool is_actual) {
    predicted += is_predicted;
    actual += is_actual;
    right += is_predicted && is_actual;
  }
};

/// The counts over all elements, for one column or the micro average.
template <class M, Real T, class Y>
Counts count_elements(const M& metric, const Tensor<T>& a, const Tensor<Y>& y, const Caller& where) {
  require_classes(metric.name(), a, y, metric.ignored_label, where);
  const auto [prediction, threshold] = cut(metric, a, where);
  const auto count = [cut = threshold, ignored = metric.ignored_label, n = a.size(), columns = a.shape()[1]](
                         const T* p, const Y* targets) {
    Counts counts;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t row = i / columns, column = i % columns;
      const Y target = targets[are_labels<Y> ? row : i];
      if (detail::is_ignored(target, ignored)) continue;
      if constexpr (are_labels<Y>)
        counts.add(decide(p + i, 1, cut) == 1, target == (columns == 1 ? 1 : column));
      else
        counts.add(decide(p + i, 1, cut) == 1, target != 0 && target == target);
    }
    return counts;
  };
  return tapegrad::detail::result_of("metric", where, count, prediction, plain(y));
}

/// value(counts) by the metric's average.
template <class M, Real T, class Y, class Value>
double averaged(const M& metric, const Tensor<T>& a, const Tensor<Y>& y, const Caller& where, const Value& value) {
  if (metric.average == Average::micro || (a.rank() == 2 && a.shape()[1] == 1)) {
    return value(count_elements(metric, a, y, where));
  }
  const auto judged = judge(metric.name(), a, y, 0.5, metric.ignored_label, where);
  detail::PoolVector<Counts> of_class(static_cast<std::size_t>(count_of_classes(a.shape())));
  for (const auto& [row, p, t] : judged) {
    if (p >= 0) of_class[static_cast<std::size_t>(p)].add(true, p == t);
    if (t >= 0 && t != p) of_class[static_cast<std::size_t>(t)].add(false, true);
  }
  double total = 0;
  int occurring = 0;
  for (const Counts& counts : of_class) {
    if (counts.predicted + counts.actual == 0) continue;
    total += value(counts);
    ++occurring;
  }
  return occurring == 0 ? 0 : total / occurring;
}

// ------------------------------------------------------------------------------------------------- of numbers

template <class Metric, Real T>
void require_numbers(const Metric& metric, const Tensor<T>& a, const Tensor<T>& y, const Caller& where) {
  if (a.shape() == y.shape() && a.size() > 0) return;
  throw_shapes(metric.name(), a.shape(), y.shape(), "two of the same shape with at least one element", where);
}

}  // namespace

template <Real T, class Y>
double Accuracy::operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where) const {
  if (a.rank() == 2 && a.shape()[1] == 1) {
    require_classes(name(), a, y, ignored_label, where);
    return fraction_met(cut(*this, a, where), y, ignored_label, where);
  }
  const auto judged = judge(name(), a, y, 0.5, ignored_label, where);
  return fraction(std::ranges::count_if(judged, &Judged::right), std::ssize(judged));
}

template <Real T, class Y>
double BinaryAccuracy::operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where) const {
  if constexpr (are_labels<Y>) {
    if (a.rank() != 2 || a.shape()[1] != 1) {
      throw_shapes(name(), a.shape(), y.shape(), "labels with one column; of several, accuracy takes the largest",
                   where);
    }
    require_classes(name(), a, y, ignored_label, where);
  } else {
    require_numbers(*this, a, y, where);
  }
  return fraction_met(cut(*this, a, where), y, ignored_label, where);
}

template <Real T, class Y>
double TopK::operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where) const {
  if (k < 1) throw ValueError("TopK" + to_string(where) + ": k is " + std::to_string(k) + ", not >= 1");
  const auto judged = judge(name(), a, y, 0.5, ignored_label, where);
  const std::int64_t columns = a.shape()[1];
  if (columns < 2) throw_shapes(name(), a.shape(), y.shape(), "(batch, n) with n > 1", where);
  const auto count = [=, most = k](const T* prediction) {
    return std::ranges::count_if(judged, [&](const Judged& each) {
      if (each.predicted < 0 || each.actual < 0) return false;
      const T *row = prediction + each.row * columns, own = row[each.actual];
      return std::count_if(row, row + columns, [own](T p) { return p > own; }) < most;
    });
  };
  return fraction(tapegrad::detail::result_of("metric", where, count, plain(a)), std::ssize(judged));
}

template <Real T, class Y>
double Precision::operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where) const {
  return averaged(*this, a, y, where, [](const Counts& c) { return fraction(c.right, c.predicted); });
}

template <Real T, class Y>
double Recall::operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where) const {
  return averaged(*this, a, y, where, [](const Counts& c) { return fraction(c.right, c.actual); });
}

template <Real T, class Y>
double F1::operator()(const Tensor<T>& a, const Tensor<Y>& y, Caller where) const {
  return averaged(*this, a, y, where, [](const Counts& c) { return fraction(2 * c.right, c.predicted + c.actual); });
}

template <Real T, class Y>
Tensor<std::int64_t> confusion_matrix(const Tensor<T>& a, const Tensor<Y>& y, double threshold,
                                      std::optional<std::int64_t> ignored_label, Caller where) {
  const auto judged = judge("confusion_matrix", a, y, threshold, ignored_label, where);
  const std::int64_t classes = count_of_classes(a.shape());
  const auto count = [=](std::int64_t* out) {
    std::fill_n(out, classes * classes, 0);
    for (const auto& [row, predicted, actual] : judged) {
      if (predicted >= 0 && actual >= 0) ++out[actual * classes + predicted];
    }
  };
  return tapegrad::detail::tensor_of<std::int64_t>({classes, classes}, "confusion_matrix", where, count);
}

template <Real T>
double RootMeanSquaredError::operator()(const Tensor<T>& a, const Tensor<T>& y, Caller where) const {
  require_numbers(*this, a, y, where);
  return std::sqrt(static_cast<double>(mean(square(plain(a) - plain(y), where), {}, KeepDims::no, where).item()));
}

template <Real T>
double R2::operator()(const Tensor<T>& prediction, const Tensor<T>& target, Caller where) const {
  require_numbers(*this, prediction, target, where);
  const std::int64_t outputs = prediction.rank() > 1 ? prediction.shape().back() : 1;
  const auto mean_of = [outputs, n = prediction.size()](const T* a, const T* y) {
    double total = 0;
    for (std::int64_t j = 0; j < outputs; ++j) {
      const auto sum_of = [=](const auto& term) {
        double out = 0;
        for (std::int64_t i = j; i < n; i += outputs) out += term(static_cast<double>(a[i]), static_cast<double>(y[i]));
        return out;
      };
      // Targets are measured from the first one, so that equal targets have no spread at all.
      const auto first = static_cast<double>(y[j]), rows = static_cast<double>(n / outputs);
      const double average = first + sum_of([=](double, double t) { return t - first; }) / rows;
      const double left = sum_of([](double p, double t) { return (p - t) * (p - t); });
      const double spread = sum_of([=](double, double t) { return (t - average) * (t - average); });
      const bool constant = spread == 0 && !std::isnan(left);
      total += !constant ? 1 - left / spread : left == 0 ? 1 : 0;
    }
    return total / static_cast<double>(outputs);
  };
  return tapegrad::detail::result_of("metric", where, mean_of, plain(prediction), plain(target));
}

template <class T, class Y>
using MetricOf = double(const Tensor<T>&, const Tensor<Y>&, Caller) const;
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
using CountsOf = Tensor<std::int64_t>(const Tensor<T>&, const Tensor<Y>&, double, std::optional<std::int64_t>, Caller);
template TAPEGRAD_EXPORT CountsOf<float, float> confusion_matrix;
template TAPEGRAD_EXPORT CountsOf<double, double> confusion_matrix;
template TAPEGRAD_EXPORT CountsOf<float, std::int64_t> confusion_matrix;
template TAPEGRAD_EXPORT CountsOf<double, std::int64_t> confusion_matrix;

// ------------------------------------------------------------------------------------------------- by name

namespace {

/// The cosine itself: 1 for vectors of the same direction. The loss, which is minimized, is -1 there.
struct Cosine {
  static constexpr bool larger_is_better = true;
  using Tag = detail::Builtin;
  template <Real T>
  double operator()(const Tensor<T>& a, const Tensor<T>& y, const Caller& where = {}) const {
    return -static_cast<double>(mean(plain(cosine_similarity(a, y, where)), {}, KeepDims::no, where).item());
  }
};

const Named<Metric>& known_metrics() {
  static const Named<Metric> known = [] {
    Named<Metric> table{
        {"accuracy", accuracy},
        {"categorical_accuracy", accuracy},
        {"sparse_categorical_accuracy", accuracy},
        {"binary_accuracy", binary_accuracy},
        {"top_k_categorical_accuracy", TopK{}},
        {"sparse_top_k_categorical_accuracy", TopK{}},
        {"precision", precision},
        {"recall", recall},
        {"f1", f1},
        {"f1_score", f1},
        {"rmse", rmse},
        {"root_mean_squared_error", rmse},
        {"r2", r2},
        {"r2_score", r2},
        {cosine_similarity.name(), Metric(cosine_similarity.name(), Cosine{})},
    };
    for (const auto& [name, loss] : detail::known_losses()) {
      if (loss.name() != cosine_similarity.name()) table.add(name, Metric(loss.name(), loss));
    }
    return table;
  }();
  return known;
}

/// The k of "top_<k>_accuracy"; 0 for any other name.
std::int64_t top_k_of(std::string_view name) {
  constexpr std::string_view start = "top_", end = "_accuracy";
  if (!name.starts_with(start) || !name.ends_with(end)) return 0;
  std::int64_t k = 0;
  const char* stop = name.data() + name.size() - end.size();
  const auto [at, error] = std::from_chars(name.data() + start.size(), stop, k);
  return error == std::errc() && at == stop ? k : 0;
}

}  // namespace

Metric::Metric(const char* name, Caller where)
    : Metric([&]() -> Metric {
        if (const std::int64_t k = top_k_of(name ? name : ""); k > 0) return TopK{.k = k};
        return detail::by_name("metric", name, known_metrics(), where);
      }()) {
  name_ = name;
}

Metric Metric::with(Outputs outputs) const {
  if (!with_outputs_) return *this;
  Metric other = with_outputs_(outputs);
  other.name_ = name_;
  return other;
}

void Metric::refuse(bool labels, const Caller& where) const {
  throw ValueError("the metric " + name_ + to_string(where) +
                   (labels ? " does not take labels; one_hot(labels, classes) makes them numbers"
                           : " was not written for targets of this number type; a generic lambda, "
                             "[](const auto& a, const auto& y) { ... }, serves float and double"));
}

}  // namespace tapegrad::nn
