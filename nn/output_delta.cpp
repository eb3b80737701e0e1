#include "output_delta.hpp"

#include "named.hpp"

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
  sigmoid,     // (a - y) / n
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
  return static_cast<double>(z.shape().back());
}

}  // namespace

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
  return losses * weights;
}

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
OutputHead<T> closed_form_head(std::string_view activation, const LossKey& loss, const Tensor<T>& z, const Tensor<Y>& y,
                               double scale, const Tensor<T>& weights, const Where& where) {
  require_known_pair(activation, loss.name);
  const Form form = find_pair(activation, loss.name)->form;
  const double n = z.rank() == 0 ? 1 : last_size(z);
  OutputHead<T> head;
  Tensor<T> a = z;
  if constexpr (std::is_same_v<Y, std::int64_t>) {
    if (form != Form::sparse) Loss(std::string(loss.name))(z, y, where);  // throws: this loss takes no labels
    head.loss = sparse_categorical_crossentropy_from_logits(z, y, where);
    a = softmax(z, -1, where);
    head.delta = a - one_hot<T>(one_per_row(y, z.shape()), z.shape().back(), where);
  } else {
    switch (form) {
      case Form::softmax:
      case Form::kl: {
        const Tensor<T> target = smooth_labels(y, loss.label_smoothing, n, where);
        head.loss = categorical_crossentropy_from_logits(z, target, where);
        if (form == Form::kl) head.loss = head.loss - categorical_crossentropy(target, target, where);
        a = softmax(z, -1, where);
        head.delta = a * sum(target, -1, keep_dims, where) - target;
        break;
      }
      case Form::sigmoid: {
        const Tensor<T> target = smooth_labels(y, loss.label_smoothing, 2, where);
        head.loss = binary_crossentropy_from_logits(z, target, where);
        a = sigmoid(z, where);
        head.delta = a - target;
        scale /= n;
        break;
      }
      case Form::poisson:
        a = exp(z, where);
        require_same_shapes(poisson.name(), z.shape(), y.shape(), where);
        head.loss = mean(a - y * z, -1, KeepDims::no, where);
        head.delta = a - y;
        scale /= n;
        break;
      case Form::square:
        head.loss = mse(z, y, where);
        head.delta = z - y;
        scale *= 2 / n;
        break;
      case Form::mean_error:
        head.loss = mean_error(z, y, where);
        head.delta = full<T>(z.shape(), -1);
        scale /= n;
        break;
      case Form::sparse:
        Loss(std::string(loss.name))(z, y, where);  // throws: this loss takes labels
    }
  }
  head.prediction = activation == "linear" ? z : a;
  head.loss = weighted(head.loss, weights, where);
  if (weights.handle()) head.delta = head.delta * reshape(weights, weights.shape().concat({1}), where);
  if (scale != 1) head.delta = head.delta * scale;
  return head;
}

template <Real T, class Y>
OutputHead<T> output_head(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y, OutputDelta way,
                          double scale, const Tensor<T>& weights, const Where& where) {
  if (way == OutputDelta::closed_form) return closed_form_head(f.name(), c.key(), z, y, scale, weights, where);
  OutputHead<T> head;
  auto activation = [&](const Tensor<T>& traced) {
    Tensor<T> a = f(traced);
    head.prediction = stop_gradient(a);
    return a;
  };
  auto loss = [&](const Tensor<T>& a, const Tensor<Y>& target) {
    const Tensor<T> value = weighted(c(a, target, where), weights, where);
    head.loss = stop_gradient(value);
    // A scalar is taken as it is: it has been reduced by the loss itself.
    return value.rank() == 0 || scale == 1 ? value : value * scale;
  };
  if (way == OutputDelta::vjp) {
    head.delta = delta_by_sweep(activation, loss, z, y);
    return head;
  }
  try {
    head.delta = delta_by_jacobian(activation, loss, z, y, f.may_mix_rows());
  } catch (const RowMixingError& error) {
    throw_rows_mixed(error.what());
  }
  return head;
}

template Tensor<float> weighted(const Tensor<float>&, const Tensor<float>&, const Where&);
template Tensor<double> weighted(const Tensor<double>&, const Tensor<double>&, const Where&);

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
