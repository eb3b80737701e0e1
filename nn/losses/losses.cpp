#include "../losses.hpp"
#include "../core/errors.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "../../autodiff/ops.hpp"
#include "../named.hpp"

namespace tapegrad::nn {

void detail::require_same_shapes(const char* loss, const Shape& prediction, const Shape& target, const Where& line) {
  if (prediction == target) return;
  throw ShapeError(std::string(loss) + to_string(line) + ": the prediction is " + to_string(prediction) +
                   " and the target " + to_string(target) + "; they must have the same shape" +
                   (prediction == target.concat({1}) ? ": reshape(y, {-1, 1}) makes y a column" : ""));
}

template <Real T>
Tensor<T> detail::smooth_labels(const Tensor<T>& y, double s, double classes, const Where& line) {
  if (s == 0) return y;
  if (!(s > 0 && s <= 1)) {
    throw ValueError("label_smoothing" + to_string(line) + " is " + std::to_string(s) +
                     "; it is the part of a target that is spread over the classes, from 0 to 1");
  }
  return y * (1 - s) + s / classes;
}
template Tensor<float> detail::smooth_labels(const Tensor<float>&, double, double, const Where&);
template Tensor<double> detail::smooth_labels(const Tensor<double>&, double, double, const Where&);

detail::Ignored detail::ignore(const Tensor<std::int64_t>& labels, std::int64_t ignored_label) {
  Ignored out{labels, zeros<bool>(labels.shape())};
  std::int64_t* label = out.labels.mutable_data();
  bool* row = out.rows.mutable_data();
  for (std::int64_t i = 0; i < labels.size(); ++i) {
    row[i] = label[i] == ignored_label;
    if (row[i]) label[i] = 0;
  }
  return out;
}

Tensor<std::int64_t> detail::one_per_row(const Tensor<std::int64_t>& labels, const Shape& prediction) {
  if (prediction.rank() == 0) return labels;
  const Shape rows = prediction.prefix(prediction.rank() - 1);
  return labels.shape() == rows.concat({1}) ? reshape(labels, rows, Where{}) : labels;
}

namespace {

template <class Loss, Real T>
void require_same_shape(const Loss& loss, const Tensor<T>& a, const Tensor<T>& y, const Where& line) {
  detail::require_same_shapes(loss.name(), a.shape(), y.shape(), line);
}

/// The mean over the last axis of an elementwise function of (a, y), and perhaps of a constant.
template <class Loss, class F, Real T, class... Constant>
Tensor<T> mean_of(const Loss& loss, const F& f, const Tensor<T>& a, const Tensor<T>& y, const Where& line,
                  Constant... constant) {
  require_same_shape(loss, a, y, line);
  return mean(f(a, y, constant..., line), -1, KeepDims::no, line);
}

/// log p for p >= 0, finite at 0; see the note in the header.
template <Real T>
Tensor<T> finite_log(const Tensor<T>& p, const Where& line) {
  return log(maximum(p, {static_cast<double>(std::numeric_limits<T>::min())}), line);
}

/// Throws unless labels are one class of x for each row.
template <class Loss, Real T>
void require_labels(const Loss& loss, const Tensor<T>& x, const Tensor<std::int64_t>& labels, const Where& line) {
  const Shape& shape = x.shape();
  if (shape.rank() == 0 || !(labels.shape() == shape.prefix(shape.rank() - 1))) {
    throw ShapeError(std::string(loss.name()) + to_string(line) + ": the prediction is " + to_string(shape) +
                     " and the labels are " + to_string(labels.shape()) +
                     "; there must be one label per row. Targets in one-hot form go with categorical_crossentropy.");
  }
  for (std::int64_t label : labels.elements_view()) {
    if (label < 0 || label >= shape.back()) {
      throw ValueError(std::string(loss.name()) + to_string(line) + ": label " + std::to_string(label) +
                       " is out of range 0.." + std::to_string(shape.back() - 1));
    }
  }
}

/// x[..., labels[...]].
template <Real T>
Tensor<T> pick(const Tensor<T>& x, const Tensor<std::int64_t>& labels, const Where& line) {
  const Tensor<std::int64_t> column = reshape(labels, labels.shape().concat({1}), line);
  return reshape(take_along(x, column, line), labels.shape(), line);
}

/// What is left of the margin 1 of an SVM; a target of 0 stands for -1.
Scalar missing_margin(const Scalar& a, const Scalar& y) { return relu(1 - select(y == 0, -1, y) * a); }

/// x over its largest |x_j|, so that squares neither overflow nor vanish. The divisor may count as a constant, since
/// the angle, and so each of its derivatives, is the same for every divisor.
template <Real T>
Tensor<T> rescaled(const Tensor<T>& x, const Where& line) {
  const Tensor<T> size = max(abs(stop_gradient(x), line), -1, keep_dims, line);
  return x / where(size > 0.0, size, {1.0});
}

/// |u| of a rescaled u, whose square is 0 or at least 1.
template <Real T>
Tensor<T> length(const Tensor<T>& u, const Where& line) {
  return sqrt(maximum(sum(square(u, line), -1, KeepDims::no, line), {0.5}), line);
}

}  // namespace

template <Real T>
Tensor<T> MeanSquaredError::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  return mean(square(a - y, line), -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> MeanAbsoluteError::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  static const auto f = elementwise([](auto p, auto t) { return abs(p - t); }, "mae");
  return mean_of(*this, f, a, y, line);
}

template <Real T>
Tensor<T> MeanError::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  return mean(y - a, -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> Huber::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  if (!(delta > 0)) throw ValueError("huber" + to_string(line) + ": delta is " + std::to_string(delta) + ", not > 0");
  // With c = d cut off at +-delta, both branches are c (d - c / 2), and no slope is undefined where they meet.
  static const auto f = elementwise(
      [](auto p, auto t, auto limit) {
        const auto d = p - t, c = minimum(maximum(d, -limit), limit);
        return c * (d - 0.5 * c);
      },
      "huber");
  return mean_of(*this, f, a, y, line, delta);
}

template <Real T>
Tensor<T> LogCosh::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  // cosh d = 1 + 2 sinh(d/2)^2 where d is small, and e^|d| (1 + e^(-2|d|)) / 2 where e^|d| could overflow.
  static const auto f = elementwise(
      [](auto p, auto t) {
        const auto d = p - t, size = abs(d), small = minimum(maximum(d, -1), 1);
        return select(size < 1, log1p(2 * square(sinh(0.5 * small))), size + log1p(exp(-2 * size)) - std::log(2.0));
      },
      "log_cosh");
  return mean_of(*this, f, a, y, line);
}

template <Real T>
Tensor<T> Hinge::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  static const auto f = elementwise([](auto p, auto t) { return missing_margin(p, t); }, "hinge");
  return mean_of(*this, f, a, y, line);
}

template <Real T>
Tensor<T> SquaredHinge::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  static const auto f = elementwise([](auto p, auto t) { return square(missing_margin(p, t)); }, "squared_hinge");
  return mean_of(*this, f, a, y, line);
}

template <Real T>
Tensor<T> CategoricalHinge::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  const Tensor<T> wrong = max(mul0(1.0 - y, a, line), -1, KeepDims::no, line);
  return relu(wrong - sum(mul0(y, a, line), -1, KeepDims::no, line) + 1.0, line);
}

template <Real T>
Tensor<T> CategoricalCrossentropy::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  const Tensor<T> target = detail::smooth_labels(y, label_smoothing, static_cast<double>(y.shape().back()), line);
  const Tensor<T> terms = from_logits ? mul0(target, log_softmax(a, -1, line), line) : target * finite_log(a, line);
  return -sum(terms, -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> SparseCategoricalCrossentropy::operator()(const Tensor<T>& a, const Tensor<std::int64_t>& given,
                                                    Where line) const {
  const Tensor<std::int64_t> labels = detail::one_per_row(given, a.shape());
  if (ignored_label) {
    SparseCategoricalCrossentropy of_all = *this;
    of_all.ignored_label.reset();
    const detail::Ignored ignored = detail::ignore(labels, *ignored_label);
    return where(ignored.rows, 0.0, of_all(a, ignored.labels, line), line);
  }
  require_labels(*this, a, labels, line);
  if (label_smoothing != 0) {
    const CategoricalCrossentropy dense{.label_smoothing = label_smoothing, .from_logits = from_logits};
    return dense(a, one_hot<T>(labels, a.shape().back(), line), line);
  }
  if (from_logits) return -pick(log_softmax(a, -1, line), labels, line);
  return -finite_log(pick(a, labels, line), line);
}

template <Real T>
Tensor<T> BinaryCrossentropy::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  const Tensor<T> target = detail::smooth_labels(y, label_smoothing, 2, line);
  if (from_logits) {
    // softplus(z) - y z, of the smaller of softplus(z) and softplus(-z), so that nothing cancels and each side is as
    // precise as the other.
    static const auto of_logits = elementwise(
        [](auto z, auto t) {
          const auto lost = select(z > 0, mul0(1 - t, z), mul0(t, -z));
          return lost + softplus(select(z > 0, -z, z));
        },
        name());
    return mean_of(*this, of_logits, a, target, line);
  }
  static const auto of_probabilities = elementwise(
      [](auto p, auto t, auto least) {
        const auto log_not = select(p < 0.5, log1p(-minimum(p, 0.5)), log(maximum(1 - p, least)));
        return -(t * log(maximum(p, least)) + (1 - t) * log_not);
      },
      name());
  return mean_of(*this, of_probabilities, a, target, line, static_cast<double>(std::numeric_limits<T>::min()));
}

template <Real T>
Tensor<T> KLDivergence::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  return sum(y * (finite_log(y, line) - finite_log(a, line)), -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> Poisson::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  return mean(a - y * finite_log(a, line), -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> CosineSimilarity::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  const Tensor<T> u = rescaled(a, line), v = rescaled(y, line);
  return -sum(u * v, -1, KeepDims::no, line) / (length(u, line) * length(v, line));
}

template <class T, class Y = T>
using LossOf = Tensor<T>(const Tensor<T>&, const Tensor<Y>&, Where) const;
template LossOf<float> MeanSquaredError::operator();
template LossOf<double> MeanSquaredError::operator();
template LossOf<float> MeanAbsoluteError::operator();
template LossOf<double> MeanAbsoluteError::operator();
template LossOf<float> MeanError::operator();
template LossOf<double> MeanError::operator();
template LossOf<float> Huber::operator();
template LossOf<double> Huber::operator();
template LossOf<float> LogCosh::operator();
template LossOf<double> LogCosh::operator();
template LossOf<float> Hinge::operator();
template LossOf<double> Hinge::operator();
template LossOf<float> SquaredHinge::operator();
template LossOf<double> SquaredHinge::operator();
template LossOf<float> CategoricalHinge::operator();
template LossOf<double> CategoricalHinge::operator();
template LossOf<float> CategoricalCrossentropy::operator();
template LossOf<double> CategoricalCrossentropy::operator();
template LossOf<float, std::int64_t> SparseCategoricalCrossentropy::operator();
template LossOf<double, std::int64_t> SparseCategoricalCrossentropy::operator();
template LossOf<float> BinaryCrossentropy::operator();
template LossOf<double> BinaryCrossentropy::operator();
template LossOf<float> KLDivergence::operator();
template LossOf<double> KLDivergence::operator();
template LossOf<float> Poisson::operator();
template LossOf<double> Poisson::operator();
template LossOf<float> CosineSimilarity::operator();
template LossOf<double> CosineSimilarity::operator();

// ------------------------------------------------------------------------------------------------- by name

const std::vector<Loss>& detail::known_losses() {
  static const std::vector<Loss> known{mse,
                                       mae,
                                       mean_error,
                                       huber,
                                       log_cosh,
                                       hinge,
                                       squared_hinge,
                                       categorical_hinge,
                                       categorical_crossentropy,
                                       categorical_crossentropy_from_logits,
                                       sparse_categorical_crossentropy,
                                       sparse_categorical_crossentropy_from_logits,
                                       binary_crossentropy,
                                       binary_crossentropy_from_logits,
                                       kl_divergence,
                                       poisson,
                                       cosine_similarity};
  return known;
}

const Loss* detail::find_loss(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> long_names[] = {
      {"mean_squared_error", "mse"},
      {"mean_absolute_error", "mae"},
      {"kullback_leibler_divergence", "kl_divergence"},
      {"logcosh", "log_cosh"},
  };
  for (const auto& [long_name, short_name] : long_names) {
    if (name == long_name) name = short_name;
  }
  const std::vector<Loss>& known = known_losses();
  const auto found = std::find_if(known.begin(), known.end(), [&](const Loss& loss) { return loss.name() == name; });
  return found == known.end() ? nullptr : &*found;
}

namespace {

template <class T>
const char* type_name() {
  if constexpr (std::is_same_v<T, float>)
    return "Tensor<float>";
  else if constexpr (std::is_same_v<T, double>)
    return "Tensor<double>";
  else
    return "Tensor<std::int64_t>";
}

}  // namespace

Loss::Loss(const char* name, Where where) {
  if (!name) name = "";
  if (const Loss* known = detail::find_loss(name)) {
    *this = *known;
    return;
  }
  detail::PoolVector<std::string_view> names;
  for (const Loss& known : detail::known_losses()) names.push_back(known.name());
  detail::throw_unknown("loss", name, names, where);
}

template <Real T, class Y>
Tensor<T> Loss::operator()(const Tensor<T>& prediction, const Tensor<Y>& target, Where line) const {
  const auto& f = [this]() -> const auto& {
    if constexpr (std::is_same_v<Y, std::int64_t>)
      return of_labels_.get<Signature<T, Y>>();
    else
      return of_numbers_.get<Signature<T, Y>>();
  }
  ();
  if (!f) {
    if (name_.empty()) throw ValueError("no loss is set" + to_string(line));
    using Other = std::conditional_t<std::is_same_v<T, float>, double, float>;
    if constexpr (std::is_same_v<Y, std::int64_t>) {
      if (of_labels_.get<Signature<Other, Y>>()) detail::throw_not_written_for<T>("loss", "a, const auto& y", line);
    } else {
      if (of_numbers_.get<Signature<Other, Other>>()) {
        detail::throw_not_written_for<T>("loss", "a, const auto& y", line);
      }
    }
    std::string cure = ": the sparse losses take labels, Tensor<std::int64_t>";
    if constexpr (std::is_same_v<Y, std::int64_t>) {
      const std::int64_t classes = prediction.rank() == 0 ? 1 : prediction.shape().back();
      const std::string type = std::is_same_v<T, float> ? "float" : "double";
      cure = classes == 1 ? ": labels of one column become numbers by reshape(astype<" + type + ">(labels), {-1, 1})"
                          : ": labels go with the sparse losses, or become numbers by one_hot<" + type + ">(labels, " +
                                std::to_string(classes) + ")";
    }
    throw ValueError("the loss " + name_ + to_string(line) + " does not take a prediction of " + type_name<T>() +
                     " with a target of " + type_name<Y>() + cure);
  }
  return f(prediction, target, line);
}

template TAPEGRAD_EXPORT LossOf<float> Loss::operator();
template TAPEGRAD_EXPORT LossOf<double> Loss::operator();
template TAPEGRAD_EXPORT LossOf<float, std::int64_t> Loss::operator();
template TAPEGRAD_EXPORT LossOf<double, std::int64_t> Loss::operator();

// ------------------------------------------------------------------------------------------------- weights

template <Real T, class Y>
Tensor<T> class_weights_of(const Tensor<Y>& targets, std::span<const double> weights,
                           std::optional<std::int64_t> ignored_label, Where where) {
  const Shape& shape = targets.shape();
  const auto classes = static_cast<std::int64_t>(weights.size());
  const bool of_rows = shape.rank() == 2 && shape[1] > 1;
  if (shape.rank() < 1 || shape.rank() > 2 || (of_rows && shape[1] != classes)) {
    throw ShapeError("class weights" + to_string(where) + ": the targets are " + to_string(shape) + " and there are " +
                     std::to_string(classes) +
                     " weights; there must be one weight for each class, and targets are (batch) or (batch, classes)");
  }
  for (std::size_t k = 0; k < weights.size(); ++k) {
    if (std::isfinite(static_cast<T>(weights[k])) && weights[k] >= 0) continue;
    throw ValueError("class weights" + to_string(where) + ": the weight of class " + std::to_string(k) + " is " +
                     std::to_string(weights[k]) + "; weights are finite and not negative");
  }
  const Y* values = tapegrad::detail::elements_of(targets);
  auto class_of = [&](std::int64_t i) {
    if (!of_rows) return static_cast<double>(values[i]);
    const Y* row = values + i * classes;
    return static_cast<double>(std::max_element(row, row + classes) - row);
  };
  std::vector<T> out(static_cast<std::size_t>(shape[0]));
  for (std::int64_t i = 0; i < shape[0]; ++i) {
    if constexpr (std::is_same_v<Y, std::int64_t>) {
      if (targets.data()[i] == ignored_label) continue;
    }
    const double k = class_of(i);
    if (!(k >= 0 && k < static_cast<double>(classes)) || k != std::floor(k)) {
      std::ostringstream message;
      message << "class weights" << to_string(where) << ": the target " << k << " of example " << i
              << " is none of the classes 0.." << classes - 1 << " that have a weight";
      throw ValueError(message.str());
    }
    out[static_cast<std::size_t>(i)] = static_cast<T>(weights[static_cast<std::size_t>(k)]);
  }
  return Tensor<T>({shape[0]}, out);
}
template <class T, class Y = T>
using WeightsOf = Tensor<T>(const Tensor<Y>&, std::span<const double>, std::optional<std::int64_t>, Where);
template TAPEGRAD_EXPORT WeightsOf<float> class_weights_of;
template TAPEGRAD_EXPORT WeightsOf<double> class_weights_of;
template TAPEGRAD_EXPORT WeightsOf<float, std::int64_t> class_weights_of;
template TAPEGRAD_EXPORT WeightsOf<double, std::int64_t> class_weights_of;

}  // namespace tapegrad::nn
