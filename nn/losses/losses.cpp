#include "../losses.hpp"
#include "../core/errors.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "../../autodiff/extend.hpp"
#include "../../autodiff/ops.hpp"

namespace tapegrad::nn {

void detail::require_same_shapes(const char* loss, const Shape& prediction, const Shape& target, const Caller& line) {
  if (prediction == target) return;
  throw ShapeError(std::string(loss) + to_string(line) + ": the prediction is " + to_string(prediction) +
                   " and the target " + to_string(target) + "; they must have the same shape" +
                   (prediction == target.concat({1}) ? ": reshape(y, {-1, 1}) makes y a column"
                                                     : ": a last layer has as many units as y has columns"));
}

namespace {

// ------------------------------------------------------------------------------------------------- what they share

/// The mean over the last axis of an elementwise function of a, y and possibly a constant.
template <class F, Real T, class... Constant>
Tensor<T> mean_of(const F& f, const Tensor<T>& a, const Tensor<T>& y, const Caller& line, Constant... constant) {
  return mean(f(a, y, constant..., line), -1, KeepDims::no, line);
}

template <Real T>
double last_size(const Tensor<T>& x) {
  return x.rank() == 0 ? 1 : static_cast<double>(x.shape().back());
}

/// y (1 - s) + s / classes: the part s of each target is spread over all classes. Throws ValueError unless 0 <= s <= 1.
template <Real T>
Tensor<T> smooth_labels(const Tensor<T>& y, double s, double classes, const Caller& line) {
  if (s == 0) return y;
  if (!(s > 0 && s <= 1)) {
    throw ValueError("label_smoothing" + to_string(line) + " is " + std::to_string(s) +
                     "; it is the part of a target that is spread over the classes, from 0 to 1");
  }
  return y * (1 - s) + s / classes;
}

/// Labels with the ignored one replaced by 0, and the positions where it stood.
struct Ignored {
  Tensor<std::int64_t> labels;
  Tensor<bool> rows = {};
};

Ignored ignore(const Tensor<std::int64_t>& labels, std::int64_t ignored_label, const Caller& line) {
  const auto keep = [=](std::int64_t label) { return label == ignored_label ? 0 : label; };
  return {tapegrad::detail::mapped<std::int64_t>("ignored labels", line, keep, labels), labels == ignored_label};
}

/// Labels (..., 1) of predictions (..., n) become (...); others stay as they are.
Tensor<std::int64_t> one_per_row(const Tensor<std::int64_t>& labels, const Shape& prediction) {
  if (prediction.rank() == 0) return labels;
  const Shape rows = prediction.prefix(prediction.rank() - 1);
  return labels.shape() == rows.concat({1}) ? reshape(labels, rows, Caller{}) : labels;
}

/// log p for p >= 0, finite at 0; see the note in the header.
template <Real T>
Tensor<T> finite_log(const Tensor<T>& p, const Caller& line) {
  return log(maximum(p, {static_cast<double>(std::numeric_limits<T>::min())}), line);
}

/// Throws unless there is one label per row of x, which is one of its classes.
void require_labels(const char* loss, const Shape& x, const Tensor<std::int64_t>& labels, const Caller& line) {
  if (x.rank() == 0 || !(labels.shape() == x.prefix(x.rank() - 1))) {
    throw ShapeError(loss + to_string(line) + ": the prediction is " + to_string(x) + " and the labels are " +
                     to_string(labels.shape()) +
                     "; there must be one label per row. Targets in one-hot form go with categorical_crossentropy.");
  }
  const auto check = [loss, line, classes = x.back()](std::int64_t label, std::int64_t) {
    if (label >= 0 && label < classes) return;
    throw ValueError(loss + to_string(line) + ": label " + std::to_string(label) + " is out of range 0.." +
                     std::to_string(classes - 1));
  };
  tapegrad::detail::visit(loss, line, check, labels);
}

/// x[..., labels[...]].
template <Real T>
Tensor<T> pick(const Tensor<T>& x, const Tensor<std::int64_t>& labels, const Caller& line) {
  const Tensor<std::int64_t> column = reshape(labels, labels.shape().concat({1}), line);
  return reshape(take_along(x, column, line), labels.shape(), line);
}

/// How far a prediction falls short of the margin 1 of an SVM. A target of 0 stands for -1.
Scalar missing_margin(const Scalar& a, const Scalar& y) { return relu(1 - where(y == 0, -1, y) * a); }

/// x divided by its largest |x_j|, so that squares neither overflow nor vanish. The divisor may be treated as a
/// constant, because the angle, and therefore each of its derivatives, is the same for every divisor.
template <Real T>
Tensor<T> rescaled(const Tensor<T>& x, const Caller& line) {
  const Tensor<T> size = max(abs(stop_gradient(x), line), -1, keep_dims, line);
  return x / where(size > 0.0, size, {1.0});
}

/// The length of a rescaled vector u; its square is 0 or at least 1.
template <Real T>
Tensor<T> length(const Tensor<T>& u, const Caller& line) {
  return sqrt(maximum(sum(square(u, line), -1, KeepDims::no, line), {0.5}), line);
}

template <Real T>
Tensor<T> scaled(const Tensor<T>& x, double factor) {
  return factor == 1 ? x : x * factor;
}

/// The slope of -sum_j y_j log p_j by the logits of p = softmax(z): p sum_j y_j - y, which is p - y where targets sum
/// to 1.
template <Real T>
Tensor<T> softmax_slope(const Tensor<T>& p, const Tensor<T>& y, double scale) {
  return scaled(tapegrad::detail::log_softmax_product(p, y), -scale);
}

/// A row of the table below: the formula, which is a generic lambda of (a, y, line), and the closed form, if there is
/// one.
template <class F>
constexpr PlainLoss plain(const char* name, F formula, detail::ClosedForm (*closed_form)() = nullptr) {
  return {name, formula, formula, closed_form};
}

}  // namespace

// ------------------------------------------------------------------------------------------------- without options

constinit const PlainLoss mse = plain(
    "mse",
    [](const auto& a, const auto& y, const Caller& line) { return mean(square(a - y, line), -1, KeepDims::no, line); },
    [] {
      const auto slope = []<Real T>(const Tensor<T>& z, const Tensor<T>&, const Tensor<T>& y, double scale,
                                    const Caller&) { return scaled(z - y, scale * (2 / last_size(z))); };
      return detail::ClosedForm{"linear", mse, slope};
    });

constinit const PlainLoss mae = plain("mae", [](const auto& a, const auto& y, const Caller& line) {
  static const auto f = elementwise([](auto p, auto t) { return abs(p - t); }, "mae");
  return mean_of(f, a, y, line);
});

constinit const PlainLoss msle = plain("msle", [](const auto& a, const auto& y, const Caller& line) {
  static const auto f = elementwise([](auto p, auto t) { return square(log1p(relu(p)) - log1p(relu(t))); }, "msle");
  return mean_of(f, a, y, line);
});

constinit const PlainLoss mean_error = plain(
    "mean_error", [](const auto& a, const auto& y, const Caller& line) { return mean(y - a, -1, KeepDims::no, line); },
    [] {
      const auto slope = []<Real T>(const Tensor<T>& z, const Tensor<T>&, const Tensor<T>&, double scale,
                                    const Caller&) {
        return full<T>(z.shape(), static_cast<T>(-scale / last_size(z)));
      };
      return detail::ClosedForm{"linear", mean_error, slope};
    });

constinit const PlainLoss log_cosh = plain("log_cosh", [](const auto& a, const auto& y, const Caller& line) {
  // cosh d = 1 + 2 sinh(d/2)^2 where d is small, and e^|d| (1 + e^(-2|d|)) / 2 where e^|d| could overflow.
  static const auto f = elementwise(
      [](auto p, auto t) {
        const auto d = p - t, size = abs(d), small = minimum(maximum(d, -1), 1);
        return where(size < 1, log1p(2 * square(sinh(0.5 * small))), size + log1p(exp(-2 * size)) - std::log(2.0));
      },
      "log_cosh");
  return mean_of(f, a, y, line);
});

constinit const PlainLoss hinge = plain("hinge", [](const auto& a, const auto& y, const Caller& line) {
  static const auto f = elementwise([](auto p, auto t) { return missing_margin(p, t); }, "hinge");
  return mean_of(f, a, y, line);
});

constinit const PlainLoss squared_hinge = plain("squared_hinge", [](const auto& a, const auto& y, const Caller& line) {
  static const auto f = elementwise([](auto p, auto t) { return square(missing_margin(p, t)); }, "squared_hinge");
  return mean_of(f, a, y, line);
});

constinit const PlainLoss categorical_hinge =
    plain("categorical_hinge", [](const auto& a, const auto& y, const Caller& line) {
      const auto wrong = max(mul0(1.0 - y, a, line), -1, KeepDims::no, line);
      return relu(wrong - sum(mul0(y, a, line), -1, KeepDims::no, line) + 1.0, line);
    });

// It differs from the cross-entropy by the entropy of y, which does not depend on a.
constinit const PlainLoss kl_divergence = plain(
    "kl_divergence",
    [](const auto& a, const auto& y, const Caller& line) {
      return sum(y * (finite_log(y, line) - finite_log(a, line)), -1, KeepDims::no, line);
    },
    [] {
      const auto from_logits = []<Real T>(const Tensor<T>& z, const Tensor<T>& y, const Caller& line) {
        detail::require_same_shapes(kl_divergence.name(), z.shape(), y.shape(), line);
        return sum(mul0(y, finite_log(y, line) - log_softmax(z, -1, line), line), -1, KeepDims::no, line);
      };
      const auto slope = []<Real T>(const Tensor<T>&, const Tensor<T>& a, const Tensor<T>& y, double scale,
                                    const Caller&) { return softmax_slope(a, y, scale); };
      return detail::ClosedForm{"softmax", from_logits, slope};
    });

constinit const PlainLoss poisson = plain(
    "poisson",
    [](const auto& a, const auto& y, const Caller& line) {
      return mean(a - y * finite_log(a, line), -1, KeepDims::no, line);
    },
    [] {
      const auto from_logits = []<Real T>(const Tensor<T>& z, const Tensor<T>& y, const Caller& line) {
        detail::require_same_shapes(poisson.name(), z.shape(), y.shape(), line);
        return mean(exp(z, line) - mul0(y, z, line), -1, KeepDims::no, line);
      };
      const auto slope = []<Real T>(const Tensor<T>& z, const Tensor<T>& a, const Tensor<T>& y, double scale,
                                    const Caller&) { return scaled(a - y, scale / last_size(z)); };
      return detail::ClosedForm{"exponential", from_logits, slope};
    });

constinit const PlainLoss cosine_similarity =
    plain("cosine_similarity", [](const auto& a, const auto& y, const Caller& line) {
      const auto u = rescaled(a, line), v = rescaled(y, line);
      return -sum(u * v, -1, KeepDims::no, line) / (length(u, line) * length(v, line));
    });

// ------------------------------------------------------------------------------------------------- with options

template <Real T>
Tensor<T> Huber::operator()(const Tensor<T>& a, const Tensor<T>& y, Caller line) const {
  detail::require_same_shapes(name(), a.shape(), y.shape(), line);
  if (!(delta > 0)) throw ValueError("huber" + to_string(line) + ": delta is " + std::to_string(delta) + ", not > 0");
  // With c = d clipped to +-delta, both branches are c (d - c / 2), and the slope is defined where they meet.
  static const auto f = elementwise(
      [](auto p, auto t, auto limit) {
        const auto d = p - t, c = minimum(maximum(d, -limit), limit);
        return c * (d - 0.5 * c);
      },
      "huber");
  return mean_of(f, a, y, line, delta);
}

template <Real T>
Tensor<T> CategoricalCrossentropy::operator()(const Tensor<T>& a, const Tensor<T>& y, Caller line) const {
  detail::require_same_shapes(name(), a.shape(), y.shape(), line);
  const Tensor<T> target = smooth_labels(y, label_smoothing, last_size(y), line);
  const Tensor<T> terms = from_logits ? mul0(target, log_softmax(a, -1, line), line) : target * finite_log(a, line);
  return -sum(terms, -1, KeepDims::no, line);
}

detail::ClosedForm CategoricalCrossentropy::closed_form() const {
  return {.activation = from_logits ? "linear" : "softmax",
          .loss = CategoricalCrossentropy{label_smoothing, true},
          .slope = [own = *this]<Real T>(const Tensor<T>& z, const Tensor<T>& a, const Tensor<T>& y, double scale,
                                         const Caller& line) {
            const Tensor<T> target = smooth_labels(y, own.label_smoothing, last_size(y), line);
            return softmax_slope(own.from_logits ? softmax(z, -1, line) : a, target, scale);
          }};
}

template <Real T>
Tensor<T> SparseCategoricalCrossentropy::operator()(const Tensor<T>& a, const Tensor<std::int64_t>& given,
                                                    Caller line) const {
  const Tensor<std::int64_t> labels = one_per_row(given, a.shape());
  if (ignored_label) {
    const Ignored ignored = ignore(labels, *ignored_label, line);
    const SparseCategoricalCrossentropy of_all{label_smoothing, from_logits};
    return where(ignored.rows, 0.0, of_all(a, ignored.labels, line), line);
  }
  require_labels(name(), a.shape(), labels, line);
  if (label_smoothing != 0) {
    const CategoricalCrossentropy dense{label_smoothing, from_logits};
    return dense(a, one_hot<T>(labels, a.shape().back(), line), line);
  }
  return from_logits ? -pick(log_softmax(a, -1, line), labels, line) : -finite_log(pick(a, labels, line), line);
}

detail::ClosedForm SparseCategoricalCrossentropy::closed_form() const {
  return {.activation = from_logits ? "linear" : "softmax",
          .loss = SparseCategoricalCrossentropy{label_smoothing, true, ignored_label},
          .slope = [own = *this]<Real T>(const Tensor<T>& z, const Tensor<T>& a, const Tensor<std::int64_t>& y,
                                         double scale, const Caller& line) {
            const Tensor<std::int64_t> labels = one_per_row(y, z.shape());
            const Ignored ignored = own.ignored_label ? ignore(labels, *own.ignored_label, line) : Ignored{labels};
            const Tensor<T> target = one_hot<T>(ignored.labels, z.shape().back(), line);
            Tensor<T> slope = softmax_slope(own.from_logits ? softmax(z, -1, line) : a,
                                            smooth_labels(target, own.label_smoothing, last_size(z), line), scale);
            if (!own.ignored_label) return slope;
            return where(reshape(ignored.rows, labels.shape().concat({1}), line), 0.0, slope, line);
          }};
}

template <Real T>
Tensor<T> BinaryCrossentropy::operator()(const Tensor<T>& a, const Tensor<T>& y, Caller line) const {
  detail::require_same_shapes(name(), a.shape(), y.shape(), line);
  const Tensor<T> target = smooth_labels(y, label_smoothing, 2, line);
  if (from_logits) {
    // softplus(z) - y z, written with the smaller of softplus(z) and softplus(-z), so that nothing cancels and both
    // sides are equally precise.
    static const auto of_logits = elementwise(
        [](auto z, auto t) {
          const auto lost = where(z > 0, mul0(1 - t, z), mul0(t, -z));
          return lost + softplus(where(z > 0, -z, z));
        },
        name());
    return mean_of(of_logits, a, target, line);
  }
  static const auto of_probabilities = elementwise(
      [](auto p, auto t, auto least) {
        const auto log_not = where(p < 0.5, log1p(-minimum(p, 0.5)), log(maximum(1 - p, least)));
        return -(t * log(maximum(p, least)) + (1 - t) * log_not);
      },
      name());
  return mean_of(of_probabilities, a, target, line, static_cast<double>(std::numeric_limits<T>::min()));
}

detail::ClosedForm BinaryCrossentropy::closed_form() const {
  return {.activation = from_logits ? "linear" : "sigmoid",
          .loss = BinaryCrossentropy{label_smoothing, true},
          .slope = [own = *this]<Real T>(const Tensor<T>& z, const Tensor<T>&, const Tensor<T>& y, double scale,
                                         const Caller& line) {
            // a - y; where z > 0 it is computed from 1 - a = sigmoid(-z), which keeps its digits there.
            static const auto f = elementwise([](auto x, auto t) {
              const auto smaller = sigmoid(where(x > 0, -x, x));
              return where(x > 0, (1 - t) - smaller, smaller - t);
            });
            return scaled(f(z, smooth_labels(y, own.label_smoothing, 2, line), line), scale / last_size(z));
          }};
}

template <class T, class Y = T>
using LossOf = Tensor<T>(const Tensor<T>&, const Tensor<Y>&, Caller) const;
template LossOf<float> Huber::operator();
template LossOf<double> Huber::operator();
template LossOf<float> CategoricalCrossentropy::operator();
template LossOf<double> CategoricalCrossentropy::operator();
template LossOf<float, std::int64_t> SparseCategoricalCrossentropy::operator();
template LossOf<double, std::int64_t> SparseCategoricalCrossentropy::operator();
template LossOf<float> BinaryCrossentropy::operator();
template LossOf<double> BinaryCrossentropy::operator();

// ------------------------------------------------------------------------------------------------- by name

const Named<Loss>& detail::known_losses() {
  static const Named<Loss> known{
      {"mse", mse},
      {"mean_squared_error", mse},
      {"mae", mae},
      {"mean_absolute_error", mae},
      {"msle", msle},
      {"mean_squared_logarithmic_error", msle},
      {"mean_error", mean_error},
      {"huber", huber},
      {"log_cosh", log_cosh},
      {"logcosh", log_cosh},
      {"hinge", hinge},
      {"squared_hinge", squared_hinge},
      {"categorical_hinge", categorical_hinge},
      {"categorical_crossentropy", categorical_crossentropy},
      {"categorical_crossentropy_from_logits", categorical_crossentropy_from_logits},
      {"sparse_categorical_crossentropy", sparse_categorical_crossentropy},
      {"sparse_categorical_crossentropy_from_logits", sparse_categorical_crossentropy_from_logits},
      {"binary_crossentropy", binary_crossentropy},
      {"binary_crossentropy_from_logits", binary_crossentropy_from_logits},
      {"kl_divergence", kl_divergence},
      {"kullback_leibler_divergence", kl_divergence},
      {"poisson", poisson},
      {"cosine_similarity", cosine_similarity},
  };
  return known;
}

Loss::Loss(const char* name, Caller where) : Loss(detail::by_name("loss", name, detail::known_losses(), where)) {}

template <class T, class Y>
void Loss::refuse(const Shape& prediction, const Caller& line) const {
  if (name_.empty()) throw ValueError("no loss is set" + to_string(line));
  constexpr bool is_float = std::is_same_v<T, float>, of_labels = std::is_same_v<Y, std::int64_t>;
  using OtherT = std::conditional_t<is_float, double, float>;
  if (function_.get<OtherT, std::conditional_t<of_labels, Y, OtherT>>()) {
    detail::throw_not_written_for<T>("loss", "a, const auto& y", line);
  }
  const std::string type = is_float ? "float" : "double";
  const std::int64_t classes = prediction.rank() == 0 ? 1 : prediction.back();
  const std::string cure = !of_labels ? "the sparse losses take labels, Tensor<std::int64_t>"
                           : classes == 1
                               ? "labels of one column become numbers by reshape(astype<" + type + ">(labels), {-1, 1})"
                               : "labels go with the sparse losses, or become numbers by one_hot<" + type +
                                     ">(labels, " + std::to_string(classes) + ")";
  throw ValueError("the loss " + name_ + to_string(line) + " does not take a prediction of Tensor<" + type +
                   "> with a target of Tensor<" + (of_labels ? "std::int64_t" : type) + ">: " + cure);
}
template void Loss::refuse<float, float>(const Shape&, const Caller&) const;
template void Loss::refuse<double, double>(const Shape&, const Caller&) const;
template void Loss::refuse<float, std::int64_t>(const Shape&, const Caller&) const;
template void Loss::refuse<double, std::int64_t>(const Shape&, const Caller&) const;

// ------------------------------------------------------------------------------------------------- weights

template <Real T, class Y>
Tensor<T> class_weights_of(const Tensor<Y>& targets, std::span<const double> weights,
                           std::optional<std::int64_t> ignored_label, Caller where) {
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
  const std::vector kept(weights.begin(), weights.end());
  const auto choose = [=, rows = shape[0]](const Y* row, T* out) {
    for (std::int64_t i = 0; i < rows; ++i, row += of_rows ? classes : 1) {
      out[i] = 0;
      if (detail::is_ignored(*row, ignored_label)) continue;
      const auto k = static_cast<double>(of_rows ? static_cast<Y>(std::max_element(row, row + classes) - row) : *row);
      if (!(k >= 0 && k < static_cast<double>(classes)) || k != std::floor(k)) {
        std::ostringstream message;
        message << "class weights" << to_string(where) << ": the target " << k << " of example " << i
                << " is none of the classes 0.." << classes - 1 << " that have a weight";
        throw ValueError(message.str());
      }
      out[i] = static_cast<T>(kept[static_cast<std::size_t>(k)]);
    }
  };
  return tapegrad::detail::tensor_of<T>({shape[0]}, "class weights", where, choose, targets);
}
template <class T, class Y = T>
using WeightsOf = Tensor<T>(const Tensor<Y>&, std::span<const double>, std::optional<std::int64_t>, Caller);
template TAPEGRAD_EXPORT WeightsOf<float> class_weights_of;
template TAPEGRAD_EXPORT WeightsOf<double> class_weights_of;
template TAPEGRAD_EXPORT WeightsOf<float, std::int64_t> class_weights_of;
template TAPEGRAD_EXPORT WeightsOf<double, std::int64_t> class_weights_of;

}  // namespace tapegrad::nn
