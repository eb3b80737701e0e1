#include "sequential.hpp"

#include <algorithm>

#include "../autodiff/jacobian.hpp"
#include "../autodiff/transforms.hpp"
#include "clipping.hpp"
#include "progress.hpp"
#include "sampler.hpp"

namespace tapegrad::nn {
namespace {

template <Real T>
void require_plain(const Tensor<T>& x, const char* what, const Where& where) {
  if (!x.traced()) return;
  throw TapeError(std::string(what) + to_string(where) +
                  ": a tensor is on a tape, and the derivative would stop here; pass stop_gradient(x)");
}

}  // namespace

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
  Parameters made, states;
  detail::PoolVector<std::size_t> penalised;
  // A layer need not tell the shape of its output: it is asked with a batch of one.
  Tensor<T> x = zeros<T>(Shape{1}.concat(example));
  for (const Layer<T>& layer : layers_) {
    const Shape in = x.shape().suffix(1);
    made.push_back(layer.init(in, rng_));
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
TensorList<T> Sequential<T>::parameters() const {
  TensorList<T> all;
  for (const Params<T>& layer : parameters_) {
    for (const auto& [name, tensor] : layer) all.push_back(tensor);
  }
  return all;
}

template <Real T>
void Sequential<T>::set_parameters(const TensorList<T>& values, Where where) {
  if (parameters_.empty()) {
    throw ValueError("set_parameters" + to_string(where) + ": call build first, with the shape of an example");
  }
  const TensorList<T> present = parameters();
  if (values.size() != present.size()) {
    throw ShapeError("set_parameters" + to_string(where) + ": the model has " + std::to_string(present.size()) +
                     " parameters, not " + std::to_string(values.size()));
  }
  for (std::size_t k = 0; k < values.size(); ++k) {
    if (values[k].shape() == present[k].shape()) continue;
    throw ShapeError("set_parameters" + to_string(where) + ": parameter " + std::to_string(k) + " is " +
                     to_string(present[k].shape()) + ", not " + to_string(values[k].shape()));
  }
  for (const Tensor<T>& value : values) require_plain(value, "set_parameters", where);
  std::size_t k = 0;
  for (Params<T>& layer : parameters_) {
    for (auto& [name, tensor] : layer) tensor = values[k++];
  }
}

// ------------------------------------------------------------------------------------------------- its computation

/// Everything but the activation of the last layer.
template <Real T>
Tensor<T> Sequential<T>::logits(const Parameters& parameters, Parameters& states, Tensor<T> x, Mode mode) const {
  const std::size_t last = layers_.size() - 1;
  for (std::size_t i = 0; i < last; ++i) x = layers_[i](parameters[i], states[i], x, mode);
  return layers_[last].logits(parameters[last], states[last], x, mode);
}

/// Before the first batch: makes the parameters, and proves that activations keep rows apart.
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
template <class Y>
void Sequential<T>::prepare(const Tensor<T>& x, const Tensor<Y>& y, const Where& where) {
  if (options_.loss.name().empty()) throw ValueError("compile the model first" + to_string(where));
  if (x.rank() == 0 || y.rank() == 0 || x.shape()[0] != y.shape()[0]) {
    throw ShapeError("X is " + to_string(x.shape()) + " and y " + to_string(y.shape()) + to_string(where) +
                     "; they must have the same number of rows");
  }
  if (x.shape()[0] == 0) throw ShapeError("there are no examples" + to_string(where));
  prepare(x, where);
}

template <Real T>
Tensor<T> Sequential<T>::predict(const Tensor<T>& x, Where where) {
  prepare(x, where);
  Tensor<T> y = x;
  for (std::size_t i = 0; i < layers_.size(); ++i) y = layers_[i](parameters_[i], states_[i], y, Mode{});
  return y;
}

// ---------------------------------------------------------------------------------------------------- its training

namespace {

void divide_by(Logs& logs, std::int64_t examples) {
  for (auto& [name, value] : logs) value /= static_cast<double>(examples);
}

}  // namespace

template <Real T>
Logs Sequential<T>::empty_logs() const {
  Logs logs{{"loss", 0.0}};
  for (const Metric& metric : options_.metrics) logs.add(metric.name(), 0);
  return logs;
}

template <Real T>
template <class Y>
void Sequential<T>::add_to(Logs& logs, const Tensor<T>& prediction, const Tensor<T>& loss, const Tensor<Y>& y) const {
  const std::int64_t examples = y.shape()[0];
  if (loss.rank() != 0 && !(loss.shape() == Shape{examples})) {
    throw ShapeError("the loss gave " + to_string(loss.shape()) + " for a batch of " + std::to_string(examples) +
                     "; a loss gives one value per example, (" + std::to_string(examples) + "), or a scalar");
  }
  const auto weight = static_cast<double>(examples);
  auto entry = logs.begin();
  entry++->second += static_cast<double>(loss.rank() == 0 ? loss.item() : mean(loss).item()) * weight;
  for (const Metric& metric : options_.metrics) entry++->second += metric(prediction, y) * weight;
}

template <Real T>
double Sequential<T>::add_penalties(Parameters& gradients) const {
  double total = 0;
  for (std::size_t i : penalised_) {
    auto [penalty, slopes] =
        value_and_grad([&](const Params<T>& p) { return layers_[i].penalty(p).value(); })(parameters_[i]);
    total += static_cast<double>(penalty.item());
    auto slope = slopes.begin();
    for (auto& [name, gradient] : gradients[i]) gradient = gradient + (slope++)->second;
  }
  return total;
}

template <Real T>
template <class Y>
void Sequential<T>::step(const Tensor<T>& x, const Tensor<Y>& y, Logs& logs) {
  const double scale = options_.reduction == Reduction::sum ? 1 : 1 / static_cast<double>(y.shape()[0]);
  Parameters gradients;
  {
    // x is not traced: no gradient of the data is computed. The tape goes before the update, so that it is in place.
    auto [z, pullback] =
        vjp([&](const Parameters& traced) { return logits(traced, states_, x, {.training = true, .rng = &rng_}); },
            parameters_);
    const detail::OutputHead<T> head =
        detail::output_head(layers_.back().activation(), options_.loss, z, y, output_delta_used(), scale);
    add_to(logs, head.prediction, head.loss, y);
    gradients = pullback(head.delta);
  }
  logs["loss"] += add_penalties(gradients) * static_cast<double>(y.shape()[0]);
  if (options_.clip_value) clip_by_value(gradients, *options_.clip_value);
  if (options_.clip_global_norm) clip_by_global_norm(gradients, *options_.clip_global_norm);
  options_.optimizer.step(parameters_, gradients);
}

template <Real T>
template <TargetOf<T> Y>
Logs Sequential<T>::evaluate(const Tensor<T>& x, const Tensor<Y>& y, Where where) {
  prepare(x, y, where);
  const Tensor<T> z = logits(parameters_, states_, x, Mode{});
  Logs logs = empty_logs();
  const OutputDelta way = output_delta_used();
  const Activation& activation = layers_.back().activation();
  if (way == OutputDelta::closed_form) {
    const detail::OutputHead<T> head = detail::output_head(activation, options_.loss, z, y, way, 1);
    add_to(logs, head.prediction, head.loss, y);
  } else {
    const Tensor<T> prediction = activation(z);
    add_to(logs, prediction, options_.loss(prediction, y), y);
  }
  divide_by(logs, y.shape()[0]);
  return logs;
}

template <Real T>
template <TargetOf<T> Y>
Logs Sequential<T>::train_on_batch(const Tensor<T>& x, const Tensor<Y>& y, Where where) {
  require_plain(x, "train_on_batch", where);
  if constexpr (Real<Y>) require_plain(y, "train_on_batch", where);
  prepare(x, y, where);
  Logs logs = empty_logs();
  step(x, y, logs);
  divide_by(logs, y.shape()[0]);
  return logs;
}

template <Real T>
template <TargetOf<T> Y>
History Sequential<T>::fit(const Tensor<T>& x, const Tensor<Y>& y, const FitOptions& options, Where where) {
  require_plain(x, "fit", where);
  if constexpr (Real<Y>) require_plain(y, "fit", where);
  prepare(x, y, where);
  detail::Sampler sampler(x.shape()[0], options, where);
  detail::Progress progress(options.verbose, sampler.steps());
  Epoch epoch;
  epoch.epochs = options.epochs;
  epoch.logs = empty_logs();
  History history;
  history.reserve(epoch.logs, options.epochs);
  for (; epoch.index < options.epochs && !epoch.stopped; ++epoch.index) {
    for (auto& [name, value] : epoch.logs) value = 0;
    options_.optimizer.begin_epoch(epoch.index);
    progress.begin_epoch();
    std::int64_t examples = 0;
    for (std::int64_t k = 0; k < sampler.steps(); ++k) {
      const Tensor<std::int64_t> rows = sampler.next();
      step(take(x, rows, 0, where), take(y, rows, 0, where), epoch.logs);
      examples += rows.size();
      progress.step(k + 1);
    }
    divide_by(epoch.logs, examples);
    epoch.seconds = progress.seconds();
    history.append(epoch.logs);
    progress.end_epoch(epoch);
    for (const auto& callback : options.callbacks) callback(epoch);
  }
  return history;
}

template class Sequential<float>;
template class Sequential<double>;

template Logs Sequential<float>::evaluate(const Tensor<float>&, const Tensor<float>&, Where);
template Logs Sequential<double>::evaluate(const Tensor<double>&, const Tensor<double>&, Where);
template Logs Sequential<float>::evaluate(const Tensor<float>&, const Tensor<std::int64_t>&, Where);
template Logs Sequential<double>::evaluate(const Tensor<double>&, const Tensor<std::int64_t>&, Where);
template Logs Sequential<float>::train_on_batch(const Tensor<float>&, const Tensor<float>&, Where);
template Logs Sequential<double>::train_on_batch(const Tensor<double>&, const Tensor<double>&, Where);
template Logs Sequential<float>::train_on_batch(const Tensor<float>&, const Tensor<std::int64_t>&, Where);
template Logs Sequential<double>::train_on_batch(const Tensor<double>&, const Tensor<std::int64_t>&, Where);
template History Sequential<float>::fit(const Tensor<float>&, const Tensor<float>&, const FitOptions&, Where);
template History Sequential<double>::fit(const Tensor<double>&, const Tensor<double>&, const FitOptions&, Where);
template History Sequential<float>::fit(const Tensor<float>&, const Tensor<std::int64_t>&, const FitOptions&, Where);
template History Sequential<double>::fit(const Tensor<double>&, const Tensor<std::int64_t>&, const FitOptions&, Where);

}  // namespace tapegrad::nn
