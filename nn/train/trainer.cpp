// Training: compile, evaluate, a step, and what fit does between two steps.

#include "trainer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>

#include "../../autodiff/transforms.hpp"
#include "../clipping.hpp"
#include "../core/errors.hpp"
#include "dataset.hpp"
#include "interrupt.hpp"
#include "progress.hpp"
#include "sampler.hpp"

namespace tapegrad::nn {

using detail::Dataset;

/// The results of a batch, and the ingredients of a step.
template <Real T>
struct detail::BatchResult {
  double loss = 0;      // the mean
  double examples = 0;  // the number of examples in that mean
  Tensor<T> prediction = {};
  PoolVector<Params<T>> gradients = {}, states = {};
};

// ------------------------------------------------------------------------------------------------- compile

template <Real T>
void Trainer<T>::compile(const Network<T>& network, const CompileOptions& options, const Caller& where) {
  const std::string caller = "compile" + to_string(where);
  require_no_fit("compile", where);
  if (options.loss.name().empty()) {
    throw ValueError(caller + ": it needs a loss: .loss = \"mse\", or a function");
  }
  if (options.clip_value && options.clip_global_norm) {
    throw ValueError(caller + ": it takes clip_value or clip_global_norm, not both");
  }
  if (options.clip_value) detail::require_limit("compile with clip_value", *options.clip_value, where);
  if (options.clip_global_norm)
    detail::require_limit("compile with clip_global_norm", *options.clip_global_norm, where);
  std::set<std::string_view> names{"loss"};
  for (const Metric& metric : options.metrics) {
    if (names.insert(metric.name()).second && !metric.name().starts_with("val_")) continue;
    throw ValueError(caller + ": a metric is named \"" + metric.name() +
                     "\", as another log is; give it a name of its own: nn::Metric(\"name\", metric)");
  }
  if (!network.layers_.empty()) output_delta_of(network, options, where);
  options_ = options;
  for (Metric& metric : options_.metrics) metric = metric.with(options.loss.outputs());
}

template <Real T>
OutputDelta Trainer<T>::output_delta_of(const Network<T>& network, const CompileOptions& options,
                                        const Caller& where) const {
  if (network.layers_.empty()) throw ValueError("the model has no layers" + to_string(where));
  const Activation& activation = network.layers_.back().activation();
  const bool known = detail::is_known_pair(activation, options.loss);
  if (options.output_delta == OutputDelta::automatic) return known ? OutputDelta::closed_form : OutputDelta::vjp;
  if (options.output_delta == OutputDelta::closed_form && !known) {
    detail::in_place([&] { return "output_delta" + to_string(where) + ": "; },
                     [&] { detail::throw_no_closed_form(activation.name(), options.loss.name()); });
  }
  return options.output_delta;
}

template <Real T>
void Trainer<T>::require_compiled(const char* caller, const Caller& where) const {
  if (!compiled()) throw ValueError(caller + to_string(where) + ": compile the model first");
}

template <Real T>
void Trainer<T>::require_no_fit(const char* caller, const Caller& where) const {
  if (!fitting_.now) return;
  throw ValueError(caller + to_string(where) + ": a fit of this model is running; end it first (Epoch::stop)");
}

template <Real T>
Logs Trainer<T>::empty_logs() const {
  Logs logs{{"loss", 0.0}};
  for (const Metric& metric : options_.metrics) logs.add(metric.name(), 0);
  return logs;
}

// ------------------------------------------------------------------------------------------------- evaluate

template <Real T>
Tensor<std::int64_t> Trainer<T>::classes_of(const Tensor<T>& outputs, const Caller& where) const {
  const Tensor<T> prediction = stop_gradient(outputs);
  if (prediction.rank() != 2) {
    throw ShapeError("predict_classes" + to_string(where) + ": the output is " + to_string(prediction.shape()) +
                     ", not (batch, n)");
  }
  if (prediction.shape()[1] > 1) return argmax(prediction, -1, where);
  const T threshold = options_.loss.outputs() == Outputs::probabilities ? T(0.5) : T(0);
  const auto decide = [threshold](T p) { return p > threshold ? 1 : 0; };
  return reshape(tapegrad::detail::mapped<std::int64_t>("predict_classes", where, decide, prediction), {-1}, where);
}

namespace {

/// The number of examples whose label is not ignored.
template <Real T, class Y>
std::int64_t counted(const Dataset<T, Y>& batch, const Loss& loss, const Caller& where) {
  if (!loss.ignored_label()) return batch.size();
  return std::ssize(Dataset<T, Y>{batch.x, batch.y}.rows_that_count(loss.ignored_label(), where));
}

/// Puts the loss and the number of examples of a batch into its result. The mean over no examples is 0.
template <Real T, class Y>
void put_mean_loss(detail::BatchResult<T>& result, const detail::OutputHead<T>& head, const Dataset<T, Y>& batch,
                   const Loss& loss, const Caller& where) {
  result.examples = static_cast<double>(counted(batch, loss, where));
  if (head.loss.rank() == 0) {
    result.loss = static_cast<double>(head.loss.item(where));
    return;
  }
  if (!(head.loss.shape() == Shape{batch.size()})) {
    throw ShapeError("the loss gave " + to_string(head.loss.shape()) + " for a batch of " +
                     std::to_string(batch.size()) + to_string(where) + "; a loss gives one value per example, (" +
                     std::to_string(batch.size()) + "), or a scalar");
  }
  // The losses of the other examples are 0.
  result.loss = static_cast<double>(sum(head.loss).item(where)) / std::max(result.examples, 1.0);
}

/// The metrics over the examples that count, which have neither weight 0 nor the ignored label. They are 0 if no
/// example counts.
template <Real T, class Y>
void put_metrics(Logs& logs, const CompileOptions& options, const Tensor<T>& prediction, const Dataset<T, Y>& data,
                 const Caller& where) {
  if (options.metrics.empty()) return;
  const auto rows = data.rows_that_count(options.loss.ignored_label(), where);
  const bool all = std::ssize(rows) == data.size();
  const Tensor<std::int64_t> kept({std::ssize(rows)}, rows);
  const Tensor<T> a = all ? prediction : take(prediction, kept, 0, where);
  const Tensor<Y> y = all ? data.y : take(data.y, kept, 0, where);
  for (const Metric& metric : options.metrics) logs[metric.name()] = rows.empty() ? 0 : metric(a, y, where);
}

}  // namespace

template <Real T>
template <class Y>
detail::BatchResult<T> Trainer<T>::evaluate_batch(const Network<T>& network, const Dataset<T, Y>& batch,
                                                  const char* caller, const Caller& where) const {
  const Tensor<T> z = network.run(batch.x, true, caller, where);
  detail::OutputHead<T> head =
      detail::output_loss(network.layers_.back().activation(), options_.loss, z, batch.y, batch.weights, where);
  detail::BatchResult<T> result{.prediction = std::move(head.prediction)};
  put_mean_loss(result, head, batch, options_.loss, where);
  return result;
}

template <Real T>
template <class Y>
Logs Trainer<T>::evaluate(const Network<T>& network, const Dataset<T, Y>& data, std::int64_t batch_size,
                          const char* caller, const Caller& where) const {
  Logs logs = empty_logs();
  // Metrics see all predictions together.
  std::optional<detail::Gathered<T>> predictions;
  if (!options_.metrics.empty()) predictions.emplace(data.size());
  double loss = 0, examples = 0;
  const std::int64_t step = network.rows_at_a_time(data.x, batch_size, caller, where);
  for (std::int64_t row = 0; row < data.size(); row += step) {
    const Dataset<T, Y> batch = data.rows(row, row + std::min(step, data.size() - row), where);
    const detail::BatchResult<T> result = evaluate_batch(network, batch, caller, where);
    loss += result.loss * result.examples;
    examples += result.examples;
    if (predictions) predictions->append(result.prediction, where);
  }
  logs["loss"] = loss / std::max(examples, 1.0) + network.penalties(caller, where);
  if (predictions) put_metrics(logs, options_, predictions->finish(), data, where);
  return logs;
}

template <Real T>
template <TargetOf<T> Y>
Logs Trainer<T>::evaluate(const Network<T>& network, const Tensor<T>& x, const Tensor<Y>& y,
                          const EvaluateOptions& options, const Caller& where) const {
  const Dataset<T, Y> data = detail::dataset(x, y, options.sample_weight, "evaluate", where);
  require_compiled("evaluate", where);
  network.require_batch(data.x, "evaluate", where);
  return evaluate(network, data, options.batch_size, "evaluate", where);
}

template <Real T>
template <class Y>
void Trainer<T>::require_targets(const Network<T>& network, const Dataset<T, Y>& data, std::int64_t row,
                                 const char* caller, const Caller& where) const {
  constexpr bool of_labels = std::is_same_v<Y, std::int64_t>;
  if (!of_labels && options_.metrics.empty()) return;
  std::vector<std::int64_t> rows{0};
  if constexpr (of_labels) {
    if (data.y.rank() == 1) rows = detail::rows_of_labels(data, options_.loss.ignored_label(), where);
  }
  const Tensor<T> prediction = network.run(data.rows(0, 1, where).x, false, caller, where);
  for (const std::int64_t i : rows) {
    const auto place = [&] {
      return caller + to_string(where) + ", row " + std::to_string(row + i) + " of the targets: ";
    };
    detail::in_place(place, [&] {
      const Tensor<Y> target = slice(data.y, 0, i, i + 1, 1, where);
      if constexpr (of_labels) options_.loss(prediction, target, where);
      for (const Metric& metric : options_.metrics) {
        if (metric.is_builtin()) metric(prediction, target, where);
      }
    });
  }
  // A user's own metric may need several examples.
  if (std::ranges::all_of(options_.metrics, &Metric::is_builtin)) return;
  const Dataset<T, Y> first = data.rows(0, std::min<std::int64_t>(data.size(), 32), where);
  const Tensor<T> predictions = network.run(first.x, false, caller, where);
  const auto place = [&] { return caller + to_string(where) + ", the first targets: "; };
  for (const Metric& metric : options_.metrics) {
    if (!metric.is_builtin()) detail::in_place(place, [&] { metric(predictions, first.y, where); });
  }
}

// ------------------------------------------------------------------------------------------------- a step

template <Real T>
template <class Y>
detail::BatchResult<T> Trainer<T>::gradients_of(const Network<T>& network, const Dataset<T, Y>& batch,
                                                const char* caller, const Caller& where) const {
  const bool summed = options_.reduction == Reduction::sum;
  const double scale = summed ? 1 : 1 / std::max(static_cast<double>(counted(batch, options_.loss, where)), 1.0);
  // Streams are counted from the last one, far from those of the initial parameters and of the order of the examples.
  Rng rng(network.seed_, ~static_cast<std::uint64_t>(steps_));
  detail::BatchResult<T> result{.states = network.states_};
  {
    // x is not traced, so that no gradient of the data is computed. The tape is gone before the update, which can then
    // be done in place.
    const Mode training{.training = true, .rng = &rng};
    auto [z, pullback] = vjp(
        [&](const Parameters& traced) {
          return network.run(traced, result.states, batch.x, training, true, caller, where);
        },
        network.parameters_);
    const detail::OutputHead<T> head =
        detail::output_head(network.layers_.back().activation(), options_.loss, z, batch.y,
                            output_delta_used(network, where), scale, batch.weights, where);
    put_mean_loss(result, head, batch, options_.loss, where);
    result.prediction = head.prediction;
    result.gradients = pullback(head.delta);
  }
  result.loss += network.add_penalties(result.gradients, caller, where);
  return result;
}

template <Real T>
void Trainer<T>::step(Network<T>& network, detail::BatchResult<T>& result, const Caller& where) {
  if (options_.clip_value) clip_by_value(result.gradients, *options_.clip_value, where);
  if (options_.clip_global_norm) clip_by_global_norm(result.gradients, *options_.clip_global_norm, where);
  options_.optimizer.step(network.parameters_, result.gradients, where);
  network.states_ = std::move(result.states);
  ++steps_;
}

template <Real T>
template <TargetOf<T> Y>
Logs Trainer<T>::train_on_batch(Network<T>& network, const Tensor<T>& x, const Tensor<Y>& y, const Caller& where) {
  const char* caller = "train_on_batch";
  const Dataset<T, Y> batch = detail::dataset(x, y, {}, caller, where);
  require_compiled(caller, where);
  network.prepare(batch.x, caller, where);
  detail::BatchResult<T> result = gradients_of(network, batch, caller, where);
  step(network, result, where);
  Logs logs = empty_logs();
  logs["loss"] = result.loss;
  put_metrics(logs, options_, result.prediction, batch, where);
  return logs;
}

// ------------------------------------------------------------------------------------------------- fit

template <Real T>
struct Trainer<T>::InFit final : detail::InTraining {
  InFit(Trainer& t, Network<T>& n, const Caller& w) : trainer(t), network(n), where(w) { trainer.fitting_.now = true; }
  ~InFit() override { trainer.fitting_.now = false; }

  double learning_rate() const override { return trainer.options_.optimizer.learning_rate(); }
  void set_learning_rate(double rate) override { trainer.options_.optimizer.set_learning_rate(rate, where); }
  void save(const std::string& path) const override { trainer.save(network, path, where); }
  std::optional<bool> larger_is_better(std::string_view log) const override {
    if (log.starts_with("val_")) log.remove_prefix(4);
    if (log == "loss") return false;
    for (const Metric& metric : trainer.options_.metrics) {
      if (metric.name() == log) return metric.larger_is_better();
    }
    return {};
  }
  void restore_at_end() override { kept = {network.parameters_, network.states_}; }
  void end() {
    if (kept) std::tie(network.parameters_, network.states_) = *kept;
  }

  /// Remembers the model at the beginning of this epoch, to go back to. It costs nothing now, like restore_at_end.
  void mark(const Epoch& epoch) {
    marked = {network.parameters_, network.states_,         trainer.options_.optimizer.moment(),
              trainer.steps_,      trainer.epochs_trained_, epoch.index};
  }
  /// Does what OnNonfinite promises, and gives the message.
  template <class Y>
  std::string meet(double loss, const Epoch& epoch, std::int64_t step, const Dataset<T, Y>& batch,
                   const Tensor<std::int64_t>& rows) {
    const auto ignored_label = trainer.options_.loss.ignored_label();
    const std::string x = detail::nonfinite_row(batch.x, batch, rows, ignored_label, where);
    const std::string weights = nonfinite(network.parameters_, network.states_);
    std::string y;
    if constexpr (Real<Y>) y = detail::nonfinite_row(batch.y, batch, rows, ignored_label, where);
    // A row that does not count affects the loss only through other rows.
    const std::string of_any_row = detail::nonfinite_row(batch.x, Dataset<T, Y>{batch.x, batch.y}, rows, {}, where);
    const std::string cause =
        !x.empty()   ? "X holds " + x + "; take such rows out, or give them sample_weight 0"
        : !y.empty() ? "y holds " + y + "; take such rows out, or give them sample_weight 0"
        : !weights.empty()
            ? "the weights hold " + weights + "; lower the learning rate, or compile with clip_global_norm"
        : !of_any_row.empty()
            ? "X holds " + of_any_row +
                  ", which does not count, but a layer lets rows mix, as BatchNorm does; take such rows out"
            : "X, y and the weights are finite, so the loss or a layer overflows; lower the learning "
              "rate, or scale X and y";
    return "fit" + to_string(where) + ": the loss of epoch " + std::to_string(epoch.index + 1) + ", step " +
           std::to_string(step + 1) + ", is " + detail::printed(loss) + ": " + cause + ". That step was not made: " +
           (weights.empty() ? "the model keeps the weights of before that step" : go_back(epoch));
  }

  Trainer& trainer;
  Network<T>& network;
  Caller where;
  std::optional<std::pair<Parameters, Parameters>> kept;

 private:
  /// "nan in "kernel" of layer 0 (Dense)"; empty if all are finite.
  std::string nonfinite(const Parameters& parameters, const Parameters& states) const {
    for (const Parameters* all : {&parameters, &states}) {
      for (std::size_t i = 0; i < all->size(); ++i) {
        for (const auto& [name, tensor] : (*all)[i]) {
          const std::string found = detail::nonfinite_in<T>({tensor.data(), tensor.size()}, where);
          if (found.empty()) continue;
          return found + " in \"" + std::string(name) + "\" of layer " + std::to_string(i) + " (" +
                 network.layers_[i].name() + ")";
        }
      }
    }
    return "";
  }
  std::string go_back(const Epoch& epoch) {
    const bool at_first = !marked || marked->epoch == epoch.first;
    const std::string then =
        at_first ? "before the first epoch" : "at the end of epoch " + std::to_string(marked->epoch);
    if (!marked || !nonfinite(marked->parameters, marked->states).empty()) {
      return then + " they were not finite either, and the model keeps them";
    }
    std::tie(network.parameters_, network.states_) = std::tie(marked->parameters, marked->states);
    std::tie(trainer.steps_, trainer.epochs_trained_) = std::tie(marked->steps, marked->epochs_trained);
    trainer.options_.optimizer.go_back(marked->optimizer);
    return "the model has those " + (at_first ? "from " + then : "of" + then.substr(2)) + " again";
  }

  struct Marked {
    Parameters parameters, states;
    Optimizer::Moment optimizer;
    std::int64_t steps, epochs_trained, epoch;
  };
  std::optional<Marked> marked;
};

template <Real T>
template <TargetOf<T> Y>
History Trainer<T>::fit(Network<T>& network, const Tensor<T>& x, const Tensor<Y>& y, const FitOptions& options,
                        const Caller& where) {
  require_no_fit("fit", where);
  auto [training, validation] =
      detail::split(detail::dataset(x, y, options.sample_weight, "fit", where), options, where);
  if (!options.class_weight.empty()) {
    if (!training.weights.handle()) training.weights = ones<T>({training.size()});
    if (const Tensor<std::int64_t> rows = detail::stand_ins(training.weights, where); rows.handle()) {
      training.weights = training.weights * class_weights_of<T>(take(training.y, rows, 0, where), options.class_weight,
                                                                options_.loss.ignored_label(), where);
    }
  }
  require_compiled("fit", where);
  detail::Sampler sampler(training.size(), options, where);
  const std::int64_t before = options.initial_epoch ? 0 : epochs_trained_;
  if (before > std::numeric_limits<std::int64_t>::max() - options.epochs) {
    throw ValueError("fit" + to_string(where) + ": " + std::to_string(options.epochs) + " epochs after " +
                     std::to_string(before) + " are too many to count");
  }
  network.prepare(training.x, "fit", where);
  require_targets(network, training, 0, "fit", where);
  if (validation) {
    const char* caller = "fit, validation_data";
    network.prepare(validation->x, caller, where);
    require_targets(network, *validation, options.validation_data ? 0 : training.size(), caller, where);
    // Validation data that do not fit the loss are found now, and not after an epoch.
    evaluate_batch(network, validation->rows(0, 1, where), caller, where);
  }
  detail::Progress progress(options.verbose, sampler.steps());
  std::optional<detail::Interrupt> interrupt;
  if (options.stop_on_interrupt) interrupt.emplace();
  std::vector<Callback> callbacks = options.callbacks;

  InFit in_fit(*this, network, where);
  Epoch epoch(in_fit, where);
  epoch.first = options.initial_epoch.value_or(0);
  epoch.epochs = options.epochs;
  const auto call = [&](Callback::When when) {
    for (Callback& callback : callbacks) callback(when, epoch);
  };
  Logs blank = empty_logs();
  std::vector<Name> validated;  // the names of the validation's loss and metrics
  if (validation) {
    for (const auto& [name, value] : empty_logs()) blank.add(validated.emplace_back("val_" + std::string(name)), 0);
  }
  History history;
  history.first_epoch = epoch.first;
  history.reserve(blank, std::max<std::int64_t>(options.epochs - epoch.first, 0));

  const auto interrupted = [&] { return history.interrupted = interrupt && interrupt->arrived(); };

  detail::Gathered<T> predictions(sampler.rows());
  detail::Gathered<std::int64_t> order(sampler.rows());
  for (epoch.index = epoch.first; epoch.index < options.epochs && !epoch.stopped(); ++epoch.index) {
    epoch.logs = blank;
    epoch.trained = before + epoch.index;
    options_.optimizer.begin_epoch(epoch.trained);
    sampler.begin_epoch(epoch.index, epoch.trained);
    progress.begin_epoch();
    call(Callback::When::begin);
    call(Callback::When::begun);
    double loss = 0, examples = 0;
    for (std::int64_t k = 0; k < sampler.steps(); ++k) {
      const Tensor<std::int64_t> rows = sampler.next();
      const Dataset<T, Y> batch = training.take(rows, where);
      detail::BatchResult<T> result = gradients_of(network, batch, "fit", where);
      if (options.on_nonfinite != OnNonfinite::go_on && !std::isfinite(result.loss)) {
        history.nonfinite = in_fit.meet(result.loss, epoch, k, batch, rows);
        if (options.on_nonfinite == OnNonfinite::fail) {
          throw ValueError(history.nonfinite + "; on_nonfinite = nn::OnNonfinite::stop or go_on would not throw");
        }
        if (in_fit.kept) history.nonfinite += ". fit ended with the weights that a callback kept";
        break;
      }
      // The weights at the beginning of an epoch count as good once they have given a finite loss.
      if (k == 0 && options.on_nonfinite != OnNonfinite::go_on) in_fit.mark(epoch);
      step(network, result, where);
      loss += result.loss * result.examples;
      examples += result.examples;
      if (!options_.metrics.empty()) {
        predictions.append(result.prediction, where);
        order.append(rows, where);
      }
      progress.step(k + 1);
      if (k + 1 < sampler.steps() && interrupted()) break;
    }
    if (history.interrupted || !history.nonfinite.empty()) break;

    epoch.logs["loss"] = loss / std::max(examples, 1.0);
    if (!options_.metrics.empty()) {
      const Tensor<std::int64_t>& rows = order.finish();
      const Tensor<T> weights = training.weights.handle() ? take(training.weights, rows, 0, where) : Tensor<T>();
      const Dataset<T, Y> seen{{}, take(training.y, rows, 0, where), weights};
      put_metrics(epoch.logs, options_, predictions.finish(), seen, where);
    }
    if (validation) {
      auto name = validated.begin();
      for (const auto& [log, value] :
           evaluate(network, *validation, EvaluateOptions{}.batch_size, "fit, validation_data", where)) {
        epoch.logs[*name++] = value;
      }
    }
    epoch.seconds = progress.seconds();
    epochs_trained_ = epoch.trained + 1;
    progress.end_epoch(epoch);
    call(Callback::When::end);
    call(Callback::When::ended);
    history.append(epoch.logs);
    if (interrupted()) break;
  }
  in_fit.end();
  return history;
}

template class Trainer<float>;
template class Trainer<double>;

template <class T, class Y>
using EvaluateOf = Logs(const Network<T>&, const Tensor<T>&, const Tensor<Y>&, const EvaluateOptions&,
                        const Caller&) const;
template EvaluateOf<float, float> Trainer<float>::evaluate;
template EvaluateOf<double, double> Trainer<double>::evaluate;
template EvaluateOf<float, std::int64_t> Trainer<float>::evaluate;
template EvaluateOf<double, std::int64_t> Trainer<double>::evaluate;

template <class T, class Y>
using TrainOf = Logs(Network<T>&, const Tensor<T>&, const Tensor<Y>&, const Caller&);
template TrainOf<float, float> Trainer<float>::train_on_batch;
template TrainOf<double, double> Trainer<double>::train_on_batch;
template TrainOf<float, std::int64_t> Trainer<float>::train_on_batch;
template TrainOf<double, std::int64_t> Trainer<double>::train_on_batch;

template <class T, class Y>
using FitOf = History(Network<T>&, const Tensor<T>&, const Tensor<Y>&, const FitOptions&, const Caller&);
template FitOf<float, float> Trainer<float>::fit;
template FitOf<double, double> Trainer<double>::fit;
template FitOf<float, std::int64_t> Trainer<float>::fit;
template FitOf<double, std::int64_t> Trainer<double>::fit;

}  // namespace tapegrad::nn
