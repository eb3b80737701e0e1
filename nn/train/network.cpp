#include "../network.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <iostream>
#include <string>
#include <string_view>

#include "../../autodiff/jacobian.hpp"
#include "../../autodiff/transforms.hpp"
#include "../core/errors.hpp"
#include "dataset.hpp"

namespace tapegrad::nn {
namespace {

void require_rows(const Shape& output, std::int64_t rows) {
  if (!output.empty() && output[0] == rows) return;
  throw ShapeError("it gave " + to_string(output) + " for a batch of " + std::to_string(rows) +
                   "; a layer keeps the batch as the first axis");
}

}  // namespace

// ---------------------------------------------------------------------------------------------- what it is made of

template <Real T>
template <class F>
decltype(auto) Network<T>::in_layer(std::size_t i, const char* caller, const Caller& where, F&& f) const {
  return detail::in_place(
      [&] { return caller + to_string(where) + ", layer " + std::to_string(i) + " (" + layers_[i].name() + "): "; }, f);
}

template <Real T>
void Network<T>::add(Layer<T> layer, Caller where) {
  if (!parameters_.empty()) {
    throw ValueError("add" + to_string(where) +
                     ": the model is built, and its parameters would be lost; add all layers first");
  }
  layers_.push_back(std::move(layer));
}

template <Real T>
void Network<T>::build(const Shape& example, Caller where) {
  if (!parameters_.empty()) {
    throw ValueError("build" + to_string(where) + ": the model has parameters already, for examples of shape " +
                     to_string(example_));
  }
  make(example, "build", where);
}

template <Real T>
void Network<T>::make(const Shape& example, const char* caller, const Caller& where) {
  if (layers_.empty()) throw ValueError(caller + to_string(where) + ": the model has no layers");
  Rng rng(seed_);
  Parameters made, states;
  detail::PoolVector<std::size_t> penalized;
  // A layer need not declare its output shape: it is run on two rows, the smallest number that can mix.
  Tensor<T> x = zeros<T>(Shape{2}.concat(example));
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer<T>& layer = layers_[i];
    in_layer(i, caller, where, [&] {
      const Shape in = x.shape().suffix(1);
      made.push_back(layer.init(in, rng));
      states.push_back(layer.state(in));
      detail::PoolVector<std::string_view> names;
      for (const Params<T>* tensors : {&made[i], &states[i]}) {
        for (const auto& [name, tensor] : *tensors) names.push_back(name);
      }
      detail::require_different_names(names);
      if (layer.penalty(made[i])) penalized.push_back(i);
      const Tensor<T> y = layer(made[i], states[i], x, Mode{});
      require_rows(y.shape(), 2);
      tapegrad::require_separate_rows(
          [&](const Tensor<T>& traced) { return layer.logits(made[i], states[i], traced, Mode{}); }, x, where);
      layer.activation().require_separate_rows(layer.logits(made[i], states[i], x, Mode{}));
      x = y;
    });
  }
  parameters_ = std::move(made);
  states_ = std::move(states);
  penalized_ = std::move(penalized);
  example_ = example;
}

template <Real T>
void Network<T>::require_built(const char* caller, const Caller& where) const {
  if (!parameters_.empty()) return;
  throw ValueError(caller + to_string(where) + ": call build first, with the shape of an example");
}

template <Real T>
void Network<T>::summary(std::ostream& out, Caller where) const {
  require_built("summary", where);
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
    const auto space = [&](std::size_t k) { return std::string(widths[k] - row[k].size(), ' '); };
    out << row[0] + space(0) + "  " + row[1] + space(1) + "  " + space(2) + row[2] + "  " + space(3) + row[3] + '\n';
  }
}

template <Real T>
void Network<T>::summary(Caller where) const {
  summary(std::cout, where);
}

template <Real T>
TensorList<T> Network<T>::parameters() const {
  TensorList<T> all;
  for (const Params<T>& layer : parameters_) {
    for (const auto& [name, tensor] : layer) all.push_back(tensor);
  }
  return all;
}

template <Real T>
auto Network<T>::arrange(const TensorList<T>& values, const char* caller, const Caller& where) const -> Parameters {
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
void Network<T>::set_parameters(const TensorList<T>& values, Caller where) {
  for (const Tensor<T>& value : values) detail::require_plain(value.handle(), "set_parameters", where);
  parameters_ = arrange(values, "set_parameters", where);
}

// ------------------------------------------------------------------------------------------------- its computation

template <Real T>
Tensor<T> Network<T>::run(const Parameters& parameters, Parameters& states, Tensor<T> x, Mode mode, bool to_logits,
                          const char* caller, const Caller& where) const {
  const std::int64_t rows = x.shape()[0];
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    x = in_layer(i, caller, where, [&] {
      const bool all = i + 1 < layers_.size() || !to_logits;
      Tensor<T> y =
          all ? layers_[i](parameters[i], states[i], x, mode) : layers_[i].logits(parameters[i], states[i], x, mode);
      require_rows(y.shape(), rows);
      return y;
    });
  }
  return x;
}

template <Real T>
Tensor<T> Network<T>::run(const Tensor<T>& x, bool to_logits, const char* caller, const Caller& where) const {
  Parameters states = states_;
  return run(parameters_, states, x, Mode{}, to_logits, caller, where);
}

template <Real T>
void Network<T>::prepare(const Tensor<T>& x, const char* caller, const Caller& where) {
  if (parameters_.empty() && x.rank() > 1) make(x.shape().suffix(1), caller, where);
  require_batch(x, caller, where);
}

template <Real T>
void Network<T>::require_batch(const Tensor<T>& x, const char* caller, const Caller& where) const {
  if (x.rank() < 2) {
    throw ShapeError(caller + to_string(where) + ": a batch is (examples, ...), not " + to_string(x.shape()));
  }
  require_built(caller, where);
  if (x.shape().suffix(1) == example_) return;
  throw ShapeError(caller + to_string(where) + ": the model was built for examples of shape " + to_string(example_) +
                   ", and X is " + to_string(x.shape()));
}

template <Real T>
Tensor<T> Network<T>::operator()(const TensorList<T>& parameters, const Tensor<T>& x, Mode mode, Caller where) {
  prepare(x, "model", where);
  const Parameters arranged = arrange(parameters, "model", where);
  Parameters states = states_;
  Tensor<T> y = run(arranged, states, x, mode, false, "model", where);
  if (mode.training) states_ = std::move(states);
  return y;
}

template <Real T>
std::int64_t Network<T>::rows_at_a_time(const Tensor<T>& x, std::int64_t batch_size, const char* caller,
                                        const Caller& where) const {
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
Tensor<T> Network<T>::predict(const Tensor<T>& x, const PredictOptions& options, Caller where) const {
  require_batch(x, "predict", where);
  const std::int64_t rows = x.shape()[0], step = rows_at_a_time(x, options.batch_size, "predict", where);
  const auto output = [&](const Tensor<T>& part) { return run(part, false, "predict", where); };
  if (rows <= step) return output(x);
  detail::Gathered<T> predictions(rows);
  for (std::int64_t row = 0; row < rows; row += step) predictions.append(output(slice(x, 0, row, row + step)), where);
  return predictions.finish();
}

template <Real T>
double Network<T>::penalties(const char* caller, const Caller& where) const {
  double total = 0;
  for (std::size_t i : penalized_) {
    total += in_layer(i, caller, where,
                      [&] { return static_cast<double>(layers_[i].penalty(parameters_[i]).value().item(where)); });
  }
  return total;
}

template <Real T>
double Network<T>::add_penalties(Parameters& gradients, const char* caller, const Caller& where) const {
  double total = 0;
  for (std::size_t i : penalized_) {
    auto [penalty, slopes] = in_layer(i, caller, where, [&] {
      return value_and_grad([&](const Params<T>& p) { return layers_[i].penalty(p).value(); })(parameters_[i]);
    });
    total += static_cast<double>(penalty.item(where));
    auto slope = slopes.begin();
    for (auto& [name, gradient] : gradients[i]) {
      tapegrad::detail::change("penalties", where, std::plus{}, gradient, (slope++)->second);
    }
  }
  return total;
}

template class Network<float>;
template class Network<double>;

}  // namespace tapegrad::nn
