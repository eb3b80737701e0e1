#include "../output_delta.hpp"

#include <algorithm>
#include <limits>

#include "../../autodiff/extend.hpp"
#include "../named.hpp"

namespace tapegrad::nn {

std::string to_string(OutputDelta way) {
  switch (way) {
    case OutputDelta::automatic:
      return "automatic";
    case OutputDelta::closed_form:
      return "closed_form";
    case OutputDelta::vjp:
      return "vjp";
    case OutputDelta::jacobian:
      return "jacobian";
  }
  return "";
}

namespace detail {
namespace {

/// delta of the sum over examples, a the prediction.
enum class Form {
  softmax,     // a sum_j y_j - y; a - y where targets sum to 1
  kl,          // the same: the entropy of y, which KL adds, does not depend on a
  sparse,      // a - one_hot(label)
  sigmoid,     // (a - y) / n, and with b = 1 - a (1 - y - b) / n where z > 0
  poisson,     // (a - y) / n
  square,      // 2 (a - y) / n
  mean_error,  // -1 / n
};

struct Pair {
  std::string_view activation, loss;
  Form form;
};

constexpr Pair known_pairs[] = {
    {"softmax", categorical_crossentropy.name(), Form::softmax},
    {"linear", categorical_crossentropy_from_logits.name(), Form::softmax},
    {"softmax", sparse_categorical_crossentropy.name(), Form::sparse},
    {"linear", sparse_categorical_crossentropy_from_logits.name(), Form::sparse},
    {"softmax", kl_divergence.name(), Form::kl},
    {"sigmoid", binary_crossentropy.name(), Form::sigmoid},
    {"linear", binary_crossentropy_from_logits.name(), Form::sigmoid},
    {"exponential", poisson.name(), Form::poisson},
    {"linear", mse.name(), Form::square},
    {"linear", mean_error.name(), Form::mean_error},
};

const Pair* find_pair(std::string_view activation, std::string_view loss) {
  for (const Pair& pair : known_pairs) {
    if (pair.activation == activation && pair.loss == loss) return &pair;
  }
  return nullptr;
}

template <Real T>
double last_size(const Tensor<T>& z) {
  return z.rank() == 0 ? 1 : static_cast<double>(z.shape().back());
}

/// The losses of examples times their weights, if there are any.
template <Real T>
Tensor<T> weighted(const Tensor<T>& losses, const Tensor<T>& weights, const Where& where) {
  if (!weights.handle()) return losses;
  if (losses.rank() == 0) {
    throw ValueError("a loss that gives a scalar cannot be weighted by example" + to_string(where) +
                     "; let it give one value per example, as in sum(square(a - y), -1)");
  }
  if (!(weights.shape() == losses.shape())) {
    throw ShapeError("weights" + to_string(where) + ": there are losses " + to_string(losses.shape()) +
                     " and weights " + to_string(weights.shape()) + "; an example has one weight");
  }
  return mul0(weights, losses, where);
}

/// head(z, y) with each row of weight 0 replaced by the first that counts: whatever stood there meets no rule, and the
/// label no check. Where none counts, all is 0.
template <Real T, class Y, class Head>
OutputHead<T> of_rows_that_count(const Tensor<T>& z, const Tensor<Y>& y, const Tensor<T>& weights, const Where& where,
                                 const Head& head) {
  if (!weights.handle() || z.rank() == 0 || y.rank() == 0 || !(weights.shape() == z.shape().prefix(1))) {
    return head(z, y);
  }
  const auto view = weights.elements_view();
  if (std::find(view.begin(), view.end(), T{0}) == view.end()) return head(z, y);
  const Tensor<std::int64_t> rows = stand_ins(weights);
  if (!rows.handle()) return {zeros<T>(z.shape()), zeros<T>(weights.shape()), zeros<T>(z.shape())};
  return head(take(z, rows, 0, where), take(y, rows, 0, where));
}

/// The delta of a sigmoid with binary cross-entropy, but for the factor: a - y, where z > 0 from 1 - a = sigmoid(-z).
template <Real T>
Tensor<T> sigmoid_delta(const Tensor<T>& z, const Tensor<T>& target, const Where& where) {
  static const auto f = elementwise([](auto x, auto y) {
    const auto smaller = sigmoid(select(x > 0, -x, x));
    return select(x > 0, (1 - y) - smaller, smaller - y);
  });
  return f(z, target, where);
}

}  // namespace

template <Real T>
Tensor<std::int64_t> stand_ins(const Tensor<T>& weights) {
  const auto view = weights.elements_view();
  const auto first = std::find_if(view.begin(), view.end(), [](T weight) { return weight != 0; });
  if (first == view.end()) return {};
  Tensor<std::int64_t> rows = zeros<std::int64_t>(weights.shape());
  std::int64_t* row = rows.mutable_data();
  for (std::int64_t i = 0; i < rows.size(); ++i) row[i] = weights.data()[i] != 0 ? i : first - view.begin();
  return rows;
}
template Tensor<std::int64_t> stand_ins(const Tensor<float>&);
template Tensor<std::int64_t> stand_ins(const Tensor<double>&);

bool is_known_pair(std::string_view activation, std::string_view loss) {
  return find_pair(activation, loss) != nullptr;
}

void require_known_pair(std::string_view activation, std::string_view loss) {
  if (is_known_pair(activation, loss)) return;
  std::string message = "there is no closed form of delta for activation \"" + std::string(activation) +
                        "\" with loss \"" + std::string(loss) + "\"; known:";
  const char* separator = " ";
  for (const Pair& pair : known_pairs) {
    message += separator;
    message += std::string(pair.activation) + " + " + std::string(pair.loss);
    separator = ", ";
  }
  throw ValueError(message + ". OutputDelta::vjp and OutputDelta::jacobian serve any pair.");
}

template <Real T, class Y>
Tensor<T> loss_from_logits(std::string_view activation, const LossKey& loss, const Tensor<T>& z, const Tensor<Y>& y,
                           const Where& where) {
  const Form form = find_pair(activation, loss.name)->form;
  if constexpr (std::is_same_v<Y, std::int64_t>) {
    if (form != Form::sparse) Loss(std::string(loss.name))(z, y, where);  // throws: this loss takes no labels
    return SparseCategoricalCrossentropy{loss.label_smoothing, true, loss.ignored_label}(z, y, where);
  } else {
    switch (form) {
      case Form::softmax:
        return CategoricalCrossentropy{loss.label_smoothing, true}(z, y, where);
      case Form::kl: {
        require_same_shapes(kl_divergence.name(), z.shape(), y.shape(), where);
        const Tensor<T> log_y = log(maximum(y, {static_cast<double>(std::numeric_limits<T>::min()), where}), where);
        return sum(mul0(y, log_y - log_softmax(z, -1, where), where), -1, KeepDims::no, where);
      }
      case Form::sigmoid:
        return BinaryCrossentropy{loss.label_smoothing, true}(z, y, where);
      case Form::poisson:
        require_same_shapes(poisson.name(), z.shape(), y.shape(), where);
        return mean(exp(z, where) - mul0(y, z, where), -1, KeepDims::no, where);
      case Form::square:
        return mse(z, y, where);
      case Form::mean_error:
        return mean_error(z, y, where);
      case Form::sparse:
        break;
    }
    return Loss(std::string(loss.name))(z, y, where);  // throws: this loss takes labels
  }
}

template <Real T, class Y>
Tensor<T> known_delta_by_sweep(std::string_view activation, const LossKey& loss, const Tensor<T>& z, const Tensor<Y>& y,
                               const Where& where) {
  return grad([&](const Tensor<T>& traced) { return total(loss_from_logits(activation, loss, traced, y, where)); })(z);
}

template <Real T, class Y>
OutputHead<T> closed_form_head(std::string_view activation, const LossKey& loss, const Tensor<T>& z, const Tensor<Y>& y,
                               double scale, const Tensor<T>& weights, const Where& where) {
  require_known_pair(activation, loss.name);
  const Form form = find_pair(activation, loss.name)->form;
  const double n = last_size(z);
  OutputHead<T> head;
  head.loss = weighted(loss_from_logits(activation, loss, z, y, where), weights, where);
  Tensor<T> a = z;
  if constexpr (std::is_same_v<Y, std::int64_t>) {
    const Tensor<std::int64_t> labels = one_per_row(y, z.shape());
    const Ignored ignored = loss.ignored_label ? ignore(labels, *loss.ignored_label) : Ignored{.labels = labels};
    a = softmax(z, -1, where);
    const Tensor<T> target = one_hot<T>(ignored.labels, z.shape().back(), where);
    head.delta = log_softmax_product(a, smooth_labels(target, loss.label_smoothing, n, where));
    if (loss.ignored_label) {
      const Tensor<bool> rows = reshape(ignored.rows, labels.shape().concat({1}), where);
      head.delta = tapegrad::where(rows, 0.0, head.delta, where);
    }
    scale = -scale;
  } else {
    switch (form) {
      case Form::softmax:
      case Form::kl:
        a = softmax(z, -1, where);
        head.delta = log_softmax_product(a, smooth_labels(y, loss.label_smoothing, n, where));
        scale = -scale;
        break;
      case Form::sigmoid:
        a = sigmoid(z, where);
        head.delta = sigmoid_delta(z, smooth_labels(y, loss.label_smoothing, 2, where), where);
        scale /= n;
        break;
      case Form::poisson:
        a = exp(z, where);
        head.delta = a - y;
        scale /= n;
        break;
      case Form::square:
        head.delta = z - y;
        scale *= 2 / n;
        break;
      case Form::mean_error:
        head.delta = full<T>(z.shape(), -1);
        scale /= n;
        break;
      case Form::sparse:
        break;
    }
  }
  head.prediction = activation == "linear" ? z : a;
  if (weights.handle()) {
    head.delta = mul0(reshape(weights, weights.shape().concat({1}), where), head.delta, where);
  }
  if (scale != 1) head.delta = head.delta * scale;
  return head;
}

template <Real T, class Y>
OutputHead<T> output_loss(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y,
                          const Tensor<T>& weights, const Where& where) {
  return of_rows_that_count(z, y, weights, where, [&](const Tensor<T>& x, const Tensor<Y>& target) {
    OutputHead<T> head{.prediction = f(x)};
    head.loss = weighted(is_known_pair(f.name(), c.name()) ? loss_from_logits(f.name(), c.key(), x, target, where)
                                                           : c(head.prediction, target, where),
                         weights, where);
    return head;
  });
}

namespace {

template <Real T, class Y>
OutputHead<T> swept_head(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y, OutputDelta way,
                         double scale, const Tensor<T>& weights, const Where& where) {
  const bool known = is_known_pair(f.name(), c.name());
  OutputHead<T> head;
  auto activation = [&](const Tensor<T>& traced) {
    Tensor<T> a = f(traced);
    head.prediction = stop_gradient(a);
    return a;
  };
  auto keep = [&](const Tensor<T>& losses) {
    const Tensor<T> value = weighted(losses, weights, where);
    head.loss = stop_gradient(value);
    // A scalar is taken as it is: it has been reduced by the loss itself.
    return value.rank() == 0 || scale == 1 ? value : value * scale;
  };
  if (way == OutputDelta::vjp && known) {
    head.prediction = f(z);
    head.delta = grad(
        [&](const Tensor<T>& traced) { return total(keep(loss_from_logits(f.name(), c.key(), traced, y, where))); })(z);
    return head;
  }
  auto loss = [&](const Tensor<T>& a, const Tensor<Y>& target) { return keep(c(a, target, where)); };
  if (way == OutputDelta::vjp) {
    head.delta = delta_by_sweep(activation, loss, z, y);
    return head;
  }
  try {
    head.delta = delta_by_jacobian(activation, loss, z, y, f.may_mix_rows());
  } catch (const RowMixingError& error) {
    throw_rows_mixed(error.what());
  }
  if (known) head.loss = weighted(loss_from_logits(f.name(), c.key(), z, y, where), weights, where);
  return head;
}

}  // namespace

template <Real T, class Y>
OutputHead<T> output_head(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y, OutputDelta way,
                          double scale, const Tensor<T>& weights, const Where& where) {
  return of_rows_that_count(z, y, weights, where, [&](const Tensor<T>& x, const Tensor<Y>& target) {
    return way == OutputDelta::closed_form ? closed_form_head(f.name(), c.key(), x, target, scale, weights, where)
                                           : swept_head(f, c, x, target, way, scale, weights, where);
  });
}

template <class T, class Y>
using LossFromLogits = Tensor<T>(std::string_view, const LossKey&, const Tensor<T>&, const Tensor<Y>&, const Where&);
template LossFromLogits<float, float> loss_from_logits;
template LossFromLogits<double, double> loss_from_logits;
template LossFromLogits<float, std::int64_t> loss_from_logits;
template LossFromLogits<double, std::int64_t> loss_from_logits;
template LossFromLogits<float, float> known_delta_by_sweep;
template LossFromLogits<double, double> known_delta_by_sweep;
template LossFromLogits<float, std::int64_t> known_delta_by_sweep;
template LossFromLogits<double, std::int64_t> known_delta_by_sweep;

template <class T, class Y>
using OutputLoss = OutputHead<T>(const Activation&, const Loss&, const Tensor<T>&, const Tensor<Y>&, const Tensor<T>&,
                                 const Where&);
template OutputLoss<float, float> output_loss;
template OutputLoss<double, double> output_loss;
template OutputLoss<float, std::int64_t> output_loss;
template OutputLoss<double, std::int64_t> output_loss;

template <class T, class Y>
using HeadOf = OutputHead<T>(std::string_view, const LossKey&, const Tensor<T>&, const Tensor<Y>&, double,
                             const Tensor<T>&, const Where&);
template HeadOf<float, float> closed_form_head;
template HeadOf<double, double> closed_form_head;
template HeadOf<float, std::int64_t> closed_form_head;
template HeadOf<double, std::int64_t> closed_form_head;

template <class T, class Y>
using StepOf = OutputHead<T>(const Activation&, const Loss&, const Tensor<T>&, const Tensor<Y>&, OutputDelta, double,
                             const Tensor<T>&, const Where&);
template StepOf<float, float> output_head;
template StepOf<double, double> output_head;
template StepOf<float, std::int64_t> output_head;
template StepOf<double, std::int64_t> output_head;

}  // namespace detail
}  // namespace tapegrad::nn
