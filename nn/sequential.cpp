#include "sequential.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <iostream>

#include "../autodiff/jacobian.hpp"
#include "../autodiff/transforms.hpp"
#include "clipping.hpp"
#include "dataset.hpp"

namespace tapegrad::nn {

// ---------------------------------------------------------------------------------------------- what it is made of

template <Real T>
void Sequential<T>::add(Layer<T> layer) {
  if (!parameters_.empty()) {
    throw ValueError("add: the model is built, and its parameters would be lost; add all layers first");
  }
  layers_.push_back(std::move(layer));
}

template <Real T>
void Sequential<T>::compile(const CompileOptions& options) {
  if (options.loss.name().empty()) throw ValueError("compile needs a loss: .loss = \"mse\", or a function");
  if (options.clip_value && options.clip_global_norm) {
    throw ValueError("compile takes clip_value or clip_global_norm, not both");
  }
  if (options.clip_value) detail::require_limit("compile with clip_value", *options.clip_value);
  if (options.clip_global_norm) detail::require_limit("compile with clip_global_norm", *options.clip_global_norm);
  options_ = options;
  rate_.reset();
  if (!layers_.empty()) output_delta_used();
}

template <Real T>
OutputDelta Sequential<T>::output_delta_used() const {
  if (layers_.empty()) throw ValueError("the model has no layers");
  const std::string &activation = layers_.back().activation().name(), &loss = options_.loss.name();
  switch (options_.output_delta) {
    case OutputDelta::automatic:
      return detail::is_known_pair(activation, loss) ? OutputDelta::closed_form : OutputDelta::vjp;
    case OutputDelta::closed_form:
      detail::require_known_pair(activation, loss);
      return OutputDelta::closed_form;
    default:
      return options_.output_delta;
  }
}

template <Real T>
void Sequential<T>::build(const Shape& example, Where where) {
  if (layers_.empty()) throw ValueError("the model has no layers" + to_string(where));
  if (!parameters_.empty()) {
    throw ValueError("build" + to_string(where) + ": the model has parameters already, for examples of shape " +
                     to_string(example_));
  }
  Rng rng(seed_);
  Parameters made, states;
  detail::PoolVector<std::size_t> penalised;
  // A layer need not tell the shape of its output: it is asked with a batch of one.
  Tensor<T> x = zeros<T>(Shape{1}.concat(example));
  for (const Layer<T>& layer : layers_) {
    const Shape in = x.shape().suffix(1);
    made.push_back(layer.init(in, rng));
    states.push_back(layer.state(in));
    if (layer.penalty(made.back())) penalised.push_back(made.size() - 1);
    x = layer(made.back(), states.back(), x, Mode{});
    if (x.rank() == 0 || x.shape()[0] != 1) {
      throw ShapeError("layer " + std::to_string(made.size() - 1) + " gave " + to_string(x.shape()) +
                       " for a batch of one; a layer keeps the batch as the first axis");
    }
  }
  parameters_ = std::move(made);
  states_ = std::move(states);
  penalised_ = std::move(penalised);
  example_ = example;
}

template <Real T>
void Sequential<T>::require_built(const char* caller, const Where& where) const {
  if (!parameters_.empty()) return;
  throw ValueError(caller + to_string(where) + ": call build first, with the shape of an example");
}

template <Real T>
void Sequential<T>::summary(std::ostream& out) const {
  require_built("summary", Where{});
  const auto count = [](const Params<T>& tensors) {
    std::int64_t numbers = 0;
    for (const auto& [name, tensor] : tensors) numbers += tensor.size();
    return numbers;
  };
  std::vector<std::array<std::string, 4>> rows{{"layer", "output", "trained", "kept"}};
  std::int64_t trained = 0, kept = 0;
  Tensor<T> x = zeros<T>(Shape{1}.concat(example_));
  Parameters states = states_;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    x = layers_[i](parameters_[i], states[i], x, Mode{});
    const std::int64_t numbers[] = {count(parameters_[i]), count(states_[i])};
    rows.push_back({std::to_string(i) + " " + layers_[i].name(), to_string(x.shape().suffix(1)),
                    std::to_string(numbers[0]), std::to_string(numbers[1])});
    trained += numbers[0];
    kept += numbers[1];
  }
  rows.push_back({"total", "", std::to_string(trained), std::to_string(kept)});
  std::array<std::size_t, 4> widths{};
  for (const auto& row : rows) {
    for (std::size_t k = 0; k < row.size(); ++k) widths[k] = std::max(widths[k], row[k].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t k = 0; k < row.size(); ++k) {
      const std::string space(widths[k] - row[k].size(), ' ');
      line += (k == 0 ? "" : "  ") + (k < 2 ? row[k] + space : space + row[k]);
    }
    out << line << '\n';
  }
}

template <Real T>
void Sequential<T>::summary() const {
  summary(std::cout);
}

template <Real T>
TensorList<T> Sequential<T>::parameters() const {
  TensorList<T> all;
  for (const Params<T>& layer : parameters_) {
    for (const auto& [name, tensor] : layer) all.push_back(tensor);
  }
  return all;
}

template <Real T>
auto Sequential<T>::arrange(const TensorList<T>& values, const char* caller, const Where& where) const -> Parameters {
  require_built(caller, where);
  Parameters arranged = parameters_;
  std::size_t k = 0;
  for (Params<T>& layer : arranged) {
    for (auto& [name, tensor] : layer) {
      if (k < values.size() && !(values[k].shape() == tensor.shape())) {
        throw ShapeError(caller + to_string(where) + ": parameter " + std::to_string(k) + " is " +
                         to_string(tensor.shape()) + ", not " + to_string(values[k].shape()));
      }
      if (k < values.size()) tensor = values[k];
      ++k;
    }
  }
  if (values.size() != k) {
    throw ShapeError(caller + to_string(where) + ": the model has " + std::to_string(k) + " parameters, not " +
                     std::to_string(values.size()));
  }
  return arranged;
}

template <Real T>
void Sequential<T>::set_parameters(const TensorList<T>& values, Where where) {
  for (const Tensor<T>& value : values) detail::require_plain(value, "set_parameters", where);
  parameters_ = arrange(values, "set_parameters", where);
}

// ------------------------------------------------------------------------------------------------- its computation

/// Everything but the activation of the last layer.
template <Real T>
Tensor<T> Sequential<T>::logits(const Parameters& parameters, Parameters& states, Tensor<T> x, Mode mode) const {
  const std::size_t last = layers_.size() - 1;
  for (std::size_t i = 0; i < last; ++i) x = layers_[i](parameters[i], states[i], x, mode);
  return layers_[last].logits(parameters[last], states[last], x, mode);
}

template <Real T>
void Sequential<T>::prepare(const Tensor<T>& x, const Where& where) {
  if (x.rank() < 2) throw ShapeError("a batch is (examples, ...), not " + to_string(x.shape()) + to_string(where));
  if (parameters_.empty()) build(x.shape().suffix(1), where);
  if (!(x.shape().suffix(1) == example_)) {
    throw ShapeError("the model was built for examples of shape " + to_string(example_) + ", and X is " +
                     to_string(x.shape()) + to_string(where));
  }
  if (rows_checked_) return;
  Tensor<T> value = stop_gradient(slice(x, 0, 0, 2, 1, where));
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    tapegrad::require_separate_rows(
        [&](const Tensor<T>& traced) { return layers_[i].logits(parameters_[i], states_[i], traced, Mode{}); }, value,
        where);
    layers_[i].activation().require_separate_rows(layers_[i].logits(parameters_[i], states_[i], value, Mode{}));
    value = layers_[i](parameters_[i], states_[i], value, Mode{});
  }
  rows_checked_ = true;
}

template <Real T>
Tensor<T> Sequential<T>::operator()(const TensorList<T>& parameters, const Tensor<T>& x, Mode mode, Where where) {
  prepare(x, where);
  const Parameters arranged = arrange(parameters, "model", where);
  Tensor<T> y = x;
  for (std::size_t i = 0; i < layers_.size(); ++i) y = layers_[i](arranged[i], states_[i], y, mode);
  return y;
}

template <Real T>
std::int64_t Sequential<T>::rows_at_a_time(const Tensor<T>& x, std::int64_t batch_size, const char* caller,
                                           const Where& where) const {
  if (batch_size < 1) {
    throw ValueError(caller + to_string(where) + ": batch_size is " + std::to_string(batch_size) +
                     "; it must be at least 1");
  }
  const bool whole = x.traced() || std::ranges::any_of(layers_, [](const Layer<T>& layer) {
                       return layer.activation().may_mix_rows();
                     });
  return whole ? std::max<std::int64_t>(x.shape()[0], 1) : batch_size;
}

template <Real T>
Tensor<T> Sequential<T>::predict(const Tensor<T>& x, const PredictOptions& options, Where where) {
  prepare(x, where);
  const std::int64_t rows = x.shape()[0], step = rows_at_a_time(x, options.batch_size, "predict", where);
  const auto output = [&](Tensor<T> y) {
    for (std::size_t i = 0; i < layers_.size(); ++i) y = layers_[i](parameters_[i], states_[i], y, Mode{});
    return y;
  };
  if (rows <= step) return output(x);
  detail::Gathered<T> predictions(rows);
  for (std::int64_t row = 0; row < rows; row += step) predictions.append(output(slice(x, 0, row, row + step)));
  return predictions.finish();
}

template <Real T>
Tensor<std::int64_t> Sequential<T>::predict_classes(const Tensor<T>& x, const PredictOptions& options, Where where) {
  const Tensor<T> prediction = predict(x, options, where);
  if (prediction.rank() != 2) {
    throw ShapeError("predict_classes" + to_string(where) + ": the output is " + to_string(prediction.shape()) +
                     ", not (batch, n)");
  }
  if (prediction.shape()[1] > 1) return argmax(prediction, -1, where);
  Tensor<std::int64_t> classes = zeros<std::int64_t>({prediction.shape()[0]});
  std::ranges::transform(prediction.elements_view(), classes.mutable_data(), [](T p) { return p > T(0.5) ? 1 : 0; });
  return classes;
}

template <Real T>
double Sequential<T>::add_penalties(Parameters& gradients) const {
  double total = 0;
  for (std::size_t i : penalised_) {
    auto [penalty, slopes] =
        value_and_grad([&](const Params<T>& p) { return layers_[i].penalty(p).value(); })(parameters_[i]);
    total += static_cast<double>(penalty.item());
    auto slope = slopes.begin();
    for (auto& [name, gradient] : gradients[i]) {
      T* sums = gradient.mutable_data(Where{});
      std::transform(sums, sums + gradient.size(), (slope++)->second.data(), sums, std::plus{});
    }
  }
  return total;
}

template <Real T>
Logs Sequential<T>::empty_logs() const {
  Logs logs{{"loss", 0.0}};
  for (const Metric& metric : options_.metrics) logs.add(metric.name(), 0);
  return logs;
}

template class Sequential<float>;
template class Sequential<double>;

}  // namespace tapegrad::nn
