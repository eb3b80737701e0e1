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
  sparse,      // a - one_hot(label)
  sigmoid,     // (a - y) / n
  square,      // 2 (a - y) / n
  mean_error,  // -1 / n
};

struct Pair {
  std::string_view activation, loss;
  Form form;
};

constexpr Pair known_pairs[] = {
    {"softmax", CategoricalCrossentropy::name, Form::softmax},
    {"linear", CategoricalCrossentropyFromLogits::name, Form::softmax},
    {"softmax", SparseCategoricalCrossentropy::name, Form::sparse},
    {"linear", SparseCategoricalCrossentropyFromLogits::name, Form::sparse},
    {"sigmoid", BinaryCrossentropy::name, Form::sigmoid},
    {"linear", BinaryCrossentropyFromLogits::name, Form::sigmoid},
    {"linear", MeanSquaredError::name, Form::square},
    {"linear", MeanError::name, Form::mean_error},
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
OutputHead<T> closed_form_head(std::string_view activation, std::string_view loss, const Tensor<T>& z,
                               const Tensor<Y>& y, double scale) {
  require_known_pair(activation, loss);
  const Pair* pair = find_pair(activation, loss);
  OutputHead<T> head;
  head.prediction = z;
  if constexpr (std::is_same_v<Y, std::int64_t>) {
    if (pair->form != Form::sparse) Loss(std::string(loss))(z, y);  // throws: this loss takes no labels
    head.loss = sparse_categorical_crossentropy_from_logits(z, y, Where{});
    const Tensor<T> a = softmax(z, -1, Where{});
    head.delta = a - one_hot<T>(y, z.shape().back(), Where{});
    if (pair->activation == "softmax") head.prediction = a;
  } else {
    switch (pair->form) {
      case Form::softmax: {
        head.loss = categorical_crossentropy_from_logits(z, y, Where{});
        const Tensor<T> a = softmax(z, -1, Where{});
        head.delta = a * sum(y, -1, keep_dims, Where{}) - y;
        if (pair->activation == "softmax") head.prediction = a;
        break;
      }
      case Form::sigmoid: {
        head.loss = binary_crossentropy_from_logits(z, y, Where{});
        const Tensor<T> a = sigmoid(z, Where{});
        head.delta = a - y;
        scale /= last_size(z);
        if (pair->activation == "sigmoid") head.prediction = a;
        break;
      }
      case Form::square:
        head.loss = mse(z, y, Where{});
        head.delta = z - y;
        scale *= 2 / last_size(z);
        break;
      case Form::mean_error:
        head.loss = mean_error(z, y, Where{});
        head.delta = full<T>(z.shape(), static_cast<T>(-scale / last_size(z)));
        return head;
      case Form::sparse:
        Loss(std::string(loss))(z, y);  // throws: this loss takes labels
    }
  }
  if (scale != 1) head.delta = head.delta * scale;
  return head;
}

template <Real T, class Y>
OutputHead<T> output_head(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y, OutputDelta way,
                          double scale) {
  if (way == OutputDelta::closed_form) return closed_form_head(f.name(), c.name(), z, y, scale);
  OutputHead<T> head;
  auto activation = [&](const Tensor<T>& traced) {
    Tensor<T> a = f(traced);
    head.prediction = stop_gradient(a);
    return a;
  };
  auto loss = [&](const Tensor<T>& a, const Tensor<Y>& target) {
    Tensor<T> value = c(a, target);
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

template <class T, class Y>
using HeadOf = OutputHead<T>(std::string_view, std::string_view, const Tensor<T>&, const Tensor<Y>&, double);
template HeadOf<float, float> closed_form_head;
template HeadOf<double, double> closed_form_head;
template HeadOf<float, std::int64_t> closed_form_head;
template HeadOf<double, std::int64_t> closed_form_head;

template <class T, class Y>
using StepOf = OutputHead<T>(const Activation&, const Loss&, const Tensor<T>&, const Tensor<Y>&, OutputDelta, double);
template StepOf<float, float> output_head;
template StepOf<double, double> output_head;
template StepOf<float, std::int64_t> output_head;
template StepOf<double, std::int64_t> output_head;

}  // namespace detail
}  // namespace tapegrad::nn
