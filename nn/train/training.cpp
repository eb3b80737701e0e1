// Sequential with targets: evaluate, train_on_batch, fit.

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "../../autodiff/transforms.hpp"
#include "../clipping.hpp"
#include "../core/errors.hpp"
#include "../data/prepare.hpp"
#include "../sequential.hpp"
#include "dataset.hpp"
#include "interrupt.hpp"
#include "progress.hpp"
#include "sampler.hpp"

namespace tapegrad::nn {
namespace detail {

template <Real T>
struct BatchResult {
  double loss = 0;      // the mean
  double examples = 0;  // that it is over
  Tensor<T> prediction;
};

}  // namespace detail

namespace {

using detail::Dataset;
using detail::Gathered;

template <Real T, class Y>
Dataset<T, Y> dataset(const Tensor<T>& x, const Tensor<Y>& y, const RealTensor& sample_weight, const char* caller,
                      const Where& where) {
  detail::require_plain(x.handle(), caller, where);
  if constexpr (Real<Y>) detail::require_plain(y.handle(), caller, where);
  Dataset<T, Y> data{x, y, detail::as<T>(sample_weight, "sample_weight", caller, where)};
  if (x.rank() == 0 || y.rank() == 0 || x.shape()[0] != y.shape()[0]) {
    throw ShapeError(caller + to_string(where) + ": X is " + to_string(x.shape()) + " and y " + to_string(y.shape()) +
                     "; they must have the same number of rows");
  }
  if (data.size() == 0) throw ShapeError(caller + to_string(where) + ": there are no examples");
  if (!data.weights.handle()) return data;
  if (!(data.weights.shape() == Shape{data.size()})) {
    throw ShapeError(caller + to_string(where) + ": sample_weight is " + to_string(data.weights.shape()) +
                     ", not one number for each of the " + std::to_string(data.size()) + " examples");
  }
  for (const T weight : data.weights.elements_view()) {
    if (std::isfinite(weight) && weight >= 0) continue;
    throw ValueError(caller + to_string(where) + ": sample_weight holds " + std::to_string(weight) +
                     "; weights are finite and not negative");
  }
  return data;
}

/// What is trained on, and what is evaluated after each epoch.
template <Real T, class Y>
struct Parts {
  Dataset<T, Y> training;
  std::optional<Dataset<T, Y>> validation = {};
};

template <Real T, class Y>
Parts<T, Y> split(const Dataset<T, Y>& all, const FitOptions& options, const Where& where) {
  const double part = options.validation_split;
  if (options.validation_data) {
    if (part != 0) {
      throw ValueError("fit" + to_string(where) + ": give validation_data or validation_split, not both");
    }
    const char* caller = "fit, validation_data";
    const ValidationData& given = *options.validation_data;
    return {all, dataset(detail::as<T>(given.x, "x", caller, where), detail::as<Y>(given.y, "y", caller, where),
                         given.sample_weight, caller, where)};
  }
  if (part == 0) return {all};
  const bool between = part > 0 && part < 1;
  const detail::PartOfRows validation = between ? detail::part_of(all.size(), part) : detail::PartOfRows{};
  const std::int64_t training = all.size() - validation.rows - (validation.rest ? 1 : 0);
  if (!between || training == 0) {
    throw ValueError("fit" + to_string(where) + ": validation_split is " + detail::shortest(part) + " of " +
                     std::to_string(all.size()) +
                     " examples; it is a part between 0 and 1 that leaves some for each of training and validation");
  }
  return {all.rows(0, training, where), all.rows(training, all.size(), where)};
}

template <class Y>
bool is_ignored(const Y& target, const std::optional<std::int64_t>& ignored_label) {
  if constexpr (std::is_same_v<Y, std::int64_t>)
    return target == ignored_label;
  else
    return false;
}

/// How many examples have a label that is not ignored.
template <class Y>
std::int64_t counted(const Tensor<Y>& targets, const Loss& loss) {
  const std::optional<std::int64_t> ignored_label = loss.ignored_label();
  if (!ignored_label) return targets.shape()[0];
  const auto view = targets.elements_view();
  return std::count_if(view.begin(), view.end(), [&](const Y& y) { return !is_ignored(y, ignored_label); });
}

/// Puts loss and number of examples of a batch into its result; the mean of none is 0.
template <Real T, class Y>
void put_mean_loss(detail::BatchResult<T>& result, const detail::OutputHead<T>& head, const Dataset<T, Y>& batch,
                   const Loss& loss, const Where& where) {
  result.examples = static_cast<double>(counted(batch.y, loss));
  if (head.loss.rank() == 0) {
    result.loss = static_cast<double>(head.loss.item(where));
    return;
  }
  if (!(head.loss.shape() == Shape{batch.size()})) {
    throw ShapeError("the loss gave " + to_string(head.loss.shape()) + " for a batch of " +
                     std::to_string(batch.size()) + to_string(where) + "; a loss gives one value per example, (" +
                     std::to_string(batch.size()) + "), or a scalar");
  }
  // The rest are 0.
  result.loss = static_cast<double>(sum(head.loss).item(where)) / std::max(result.examples, 1.0);
}

/// The metrics of the examples that count: neither of weight 0 nor of the ignored label. Where none does, they are 0.
template <Real T, class Y>
void put_metrics(Logs& logs, const CompileOptions& options, const Tensor<T>& prediction, const Tensor<Y>& targets,
                 const Tensor<T>& weights, const Where& where) {
  if (options.metrics.empty()) return;
  const std::optional<std::int64_t> ignored_label = options.loss.ignored_label();
  const std::int64_t size = targets.shape()[0];
  auto counts = [&](std::int64_t i) {
    return !(weights.handle() && weights.data()[i] == 0) && !is_ignored(targets.data()[i], ignored_label);
  };
  detail::PoolVector<std::int64_t> rows;
  if (ignored_label || weights.handle()) {
    for (std::int64_t i = 0; i < size; ++i) {
      if (counts(i)) rows.push_back(i);
    }
  }
  if ((!ignored_label && !weights.handle()) || static_cast<std::int64_t>(rows.size()) == size) {
    for (const Metric& metric : options.metrics) logs[metric.name()] = metric(prediction, targets, where);
    return;
  }
  const Tensor<std::int64_t> kept({static_cast<std::int64_t>(rows.size())}, rows);
  const Tensor<T> a = take(prediction, kept, 0, where);
  const Tensor<Y> y = take(targets, kept, 0, where);
  for (const Metric& metric : options.metrics) logs[metric.name()] = rows.empty() ? 0 : metric(a, y, where);
}

/// The rows of each label's first example that counts, in the order of the labels; of many labels those of the smallest
/// and the largest, which are out of range where any is.
template <Real T>
std::vector<std::int64_t> rows_of_labels(const Dataset<T, std::int64_t>& data,
                                         const std::optional<std::int64_t>& ignored_label) {
  constexpr std::size_t most = 512;
  std::array<bool, 1024> seen{};
  std::map<std::int64_t, std::int64_t> first;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const std::int64_t label = data.y.data()[i];
    const bool small = label >= 0 && label < std::ssize(seen);
    if ((small && seen[static_cast<std::size_t>(label)]) || !data.counts(i) || label == ignored_label) continue;
    if (small) seen[static_cast<std::size_t>(label)] = true;
    first.emplace(label, i);
  }
  std::vector<std::int64_t> rows;
  for (const auto& [label, row] : first) rows.push_back(row);
  if (rows.size() > most) rows.erase(rows.begin() + most / 2, rows.end() - most / 2);
  return rows;
}

std::string printed(double nonfinite) { return std::isnan(nonfinite) ? "nan" : nonfinite > 0 ? "inf" : "-inf"; }

template <Real T>
const T* find_nonfinite(const T* begin, const T* end) {
  return std::find_if(begin, end, [](T value) { return !std::isfinite(value); });
}

/// "nan in row 3", of the first number in the rows of `values` that count, which are `rows` of the user's; empty where
/// all are finite.
template <Real T, class Y, Real V>
std::string nonfinite_row(const Tensor<V>& values, const Dataset<T, Y>& batch, const Tensor<std::int64_t>& rows,
                          const std::optional<std::int64_t>& ignored_label) {
  const std::int64_t width = values.size() / batch.size();
  for (std::int64_t i = 0; i < batch.size(); ++i) {
    const V *begin = values.data() + i * width, *end = begin + width, *found = find_nonfinite(begin, end);
    if (found == end || !batch.counts(i) || is_ignored(batch.y.data()[i], ignored_label)) continue;
    return printed(static_cast<double>(*found)) + " in row " + std::to_string(rows.data()[i]);
  }
  return "";
}

}  // namespace

template <Real T>
template <class Y>
detail::BatchResult<T> Sequential<T>::evaluate_batch(const Dataset<T, Y>& batch, const char* caller,
                                                     const Where& where) const {
  const Tensor<T> z = run_plain(batch.x, true, caller, where);
  detail::OutputHead<T> head =
      detail::output_loss(layers_.back().activation(), options_.loss, z, batch.y, batch.weights, where);
  detail::BatchResult<T> result{.prediction = std::move(head.prediction)};
  put_mean_loss(result, head, batch, options_.loss, where);
  return result;
}

template <Real T>
template <class Y>
Logs Sequential<T>::evaluate_plain(const Dataset<T, Y>& data, std::int64_t batch_size, const char* caller,
                                   const Where& where) const {
  Logs logs = empty_logs();
  // Metrics see all predictions together.
  std::optional<Gathered<T>> predictions;
  if (!options_.metrics.empty()) predictions.emplace(data.size());
  double loss = 0, examples = 0;
  const std::int64_t step = rows_at_a_time(data.x, batch_size, caller, where);
  for (std::int64_t row = 0; row < data.size(); row += step) {
    const Dataset<T, Y> batch = data.rows(row, row + std::min(step, data.size() - row), where);
    const detail::BatchResult<T> result = evaluate_batch(batch, caller, where);
    loss += result.loss * result.examples;
    examples += result.examples;
    if (predictions) predictions->append(result.prediction, where);
  }
  logs["loss"] = loss / std::max(examples, 1.0) + penalties(caller, where);
  if (predictions) put_metrics(logs, options_, predictions->finish(), data.y, data.weights, where);
  return logs;
}

template <Real T>
template <TargetOf<T> Y>
Logs Sequential<T>::evaluate(const Tensor<T>& x, const Tensor<Y>& y, const EvaluateOptions& options, Where where) {
  const Dataset<T, Y> data = dataset(x, y, options.sample_weight, "evaluate", where);
  require_compiled("evaluate", where);
  prepare(data.x, "evaluate", where);
  return evaluate_plain(data, options.batch_size, "evaluate", where);
}

template <Real T>
template <class Y>
void Sequential<T>::require_targets(const Dataset<T, Y>& data, std::int64_t row, const char* caller,
                                    const Where& where) const {
  constexpr bool of_labels = std::is_same_v<Y, std::int64_t>;
  if (!of_labels && options_.metrics.empty()) return;
  std::vector<std::int64_t> rows{0};
  if constexpr (of_labels) {
    if (data.y.rank() == 1) rows = rows_of_labels(data, options_.loss.ignored_label());
  }
  const Tensor<T> prediction = run_plain(data.rows(0, 1, where).x, false, caller, where);
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
  // A user's own may need several examples.
  if (std::ranges::all_of(options_.metrics, &Metric::is_builtin)) return;
  const Dataset<T, Y> first = data.rows(0, std::min<std::int64_t>(data.size(), 32), where);
  const Tensor<T> predictions = run_plain(first.x, false, caller, where);
  const auto place = [&] { return caller + to_string(where) + ", the first targets: "; };
  for (const Metric& metric : options_.metrics) {
    if (!metric.is_builtin()) detail::in_place(place, [&] { metric(predictions, first.y, where); });
  }
}

template <Real T>
template <class Y, class Proceed>
detail::BatchResult<T> Sequential<T>::step(const Dataset<T, Y>& batch, const char* caller, const Where& where,
                                           const Proceed& proceed) {
  const bool summed = options_.reduction == Reduction::sum;
  const double scale = summed ? 1 : 1 / std::max(static_cast<double>(counted(batch.y, options_.loss)), 1.0);
  // Counted from the last stream, far from those that the initial parameters and the order of the examples are of.
  Rng rng(seed_, ~static_cast<std::uint64_t>(steps_));
  detail::BatchResult<T> result;
  Parameters gradients, states = states_;
  {
    // x is not traced: no gradient of the data is computed. The tape goes before the update, so that it is in place.
    const Mode training{.training = true, .rng = &rng};
    auto [z, pullback] =
        vjp([&](const Parameters& traced) { return run(traced, states, batch.x, training, true, caller, where); },
            parameters_);
    const detail::OutputHead<T> head = detail::output_head(layers_.back().activation(), options_.loss, z, batch.y,
                                                           output_delta_used(where), scale, batch.weights, where);
    put_mean_loss(result, head, batch, options_.loss, where);
    result.prediction = head.prediction;
    gradients = pullback(head.delta);
  }
  result.loss += add_penalties(gradients, caller, where);
  if (!proceed(result.loss)) return result;
  if (options_.clip_value) clip_by_value(gradients, *options_.clip_value, where);
  if (options_.clip_global_norm) clip_by_global_norm(gradients, *options_.clip_global_norm, where);
  options_.optimizer.step(parameters_, gradients, where);
  states_ = std::move(states);
  ++steps_;
  return result;
}

template <Real T>
template <TargetOf<T> Y>
Logs Sequential<T>::train_on_batch(const Tensor<T>& x, const Tensor<Y>& y, Where where) {
  const Dataset<T, Y> batch = dataset(x, y, {}, "train_on_batch", where);
  require_compiled("train_on_batch", where);
  prepare(batch.x, "train_on_batch", where);
  const detail::BatchResult<T> result = step(batch, "train_on_batch", where, [](double) { return true; });
  Logs logs = empty_logs();
  logs["loss"] = result.loss;
  put_metrics(logs, options_, result.prediction, y, batch.weights, where);
  return logs;
}

template <Real T>
struct Sequential<T>::InFit final : detail::InTraining {
  InFit(Sequential& m, const Where& w) : model(m), where(w) { model.fitting_.now = true; }
  ~InFit() { model.fitting_.now = false; }

  double learning_rate() const override { return model.options_.optimizer.learning_rate(); }
  void set_learning_rate(double rate) override { model.options_.optimizer.set_learning_rate(rate, where); }
  void save(const std::string& path) const override { model.save(path, where); }
  std::optional<bool> larger_is_better(std::string_view log) const override {
    if (log.starts_with("val_")) log.remove_prefix(4);
    if (log == "loss") return false;
    for (const Metric& metric : model.options_.metrics) {
      if (metric.name() == log) return metric.larger_is_better();
    }
    return {};
  }
  void restore_at_end() override { kept = {model.parameters_, model.states_}; }
  void end() {
    if (kept) std::tie(model.parameters_, model.states_) = *kept;
  }

  /// The model at the beginning of this epoch, to go back to. Costs nothing now, as restore_at_end.
  void mark(const Epoch& epoch) {
    marked = {model.parameters_, model.states_,         model.options_.optimizer.moment(),
              model.steps_,      model.epochs_trained_, epoch.index};
  }
  /// What OnNonfinite promises, and the words for it.
  template <class Y>
  std::string meet(double loss, const Epoch& epoch, std::int64_t step, const Dataset<T, Y>& batch,
                   const Tensor<std::int64_t>& rows) {
    const auto ignored_label = model.options_.loss.ignored_label();
    const std::string x = nonfinite_row(batch.x, batch, rows, ignored_label);
    const std::string weights = nonfinite(model.parameters_, model.states_);
    std::string y;
    if constexpr (Real<Y>) y = nonfinite_row(batch.y, batch, rows, ignored_label);
    // A row that does not count reaches the loss only through the others.
    const std::string of_any_row = nonfinite_row(batch.x, Dataset<T, Y>{batch.x, batch.y}, rows, {});
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
           std::to_string(step + 1) + ", is " + printed(loss) + ": " + cause + ". That step was not made: " +
           (weights.empty() ? "the model keeps the weights of before that step" : go_back(epoch)) +
           ". on_nonfinite = nn::OnNonfinite::stop or go_on does not throw";
  }

  Sequential& model;
  Where where;
  std::optional<std::pair<Parameters, Parameters>> kept;

 private:
  /// "nan in "kernel" of layer 0 (Dense)"; empty where all are finite.
  std::string nonfinite(const Parameters& parameters, const Parameters& states) const {
    for (const Parameters* all : {&parameters, &states}) {
      for (std::size_t i = 0; i < all->size(); ++i) {
        for (const auto& [name, tensor] : (*all)[i]) {
          const T *end = tensor.data() + tensor.size(), *found = find_nonfinite(tensor.data(), end);
          if (found == end) continue;
          return printed(static_cast<double>(*found)) + " in \"" + std::string(name) + "\" of layer " +
                 std::to_string(i) + " (" + model.layers_[i].name() + ")";
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
    model.parameters_ = marked->parameters;
    model.states_ = marked->states;
    model.options_.optimizer.go_back(marked->optimizer);
    model.steps_ = marked->steps;
    model.epochs_trained_ = marked->epochs_trained;
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
History Sequential<T>::fit(const Tensor<T>& x, const Tensor<Y>& y, const FitOptions& options, Where where) {
  require_no_fit("fit", where);
  auto [training, validation] = split(dataset(x, y, options.sample_weight, "fit", where), options, where);
  if (!options.class_weight.empty()) {
    auto by_class = [&](const Tensor<Y>& targets) {
      return class_weights_of<T>(targets, options.class_weight, options_.loss.ignored_label(), where);
    };
    if (!training.weights.handle()) {
      training.weights = by_class(training.y);
    } else if (const Tensor<std::int64_t> rows = detail::stand_ins(training.weights); rows.handle()) {
      training.weights = training.weights * by_class(take(training.y, rows, 0, where));
    }
  }
  require_compiled("fit", where);
  detail::Sampler sampler(training.size(), options, where);
  const std::int64_t before = options.initial_epoch ? 0 : epochs_trained_;
  if (before > std::numeric_limits<std::int64_t>::max() - options.epochs) {
    throw ValueError("fit" + to_string(where) + ": " + std::to_string(options.epochs) + " epochs after " +
                     std::to_string(before) + " are too many to count");
  }
  prepare(training.x, "fit", where);
  require_targets(training, 0, "fit", where);
  if (validation) {
    const char* caller = "fit, validation_data";
    prepare(validation->x, caller, where);
    require_targets(*validation, options.validation_data ? 0 : training.size(), caller, where);
    // What does not fit the loss shows now, and not after an epoch.
    evaluate_batch(validation->rows(0, 1, where), caller, where);
  }
  detail::Progress progress(options.verbose, sampler.steps());
  std::optional<detail::Interrupt> interrupt;
  if (options.stop_on_interrupt) interrupt.emplace();
  std::vector<Callback> callbacks = options.callbacks;

  InFit in_fit(*this, where);
  Epoch epoch(in_fit, where);
  epoch.first = options.initial_epoch.value_or(0);
  epoch.epochs = options.epochs;
  const auto validated = [](const Name& name) { return "val_" + name; };
  Logs blank = empty_logs();
  if (validation) {
    for (const auto& [name, value] : empty_logs()) blank.add(validated(name), 0);
  }
  History history;
  history.first_epoch = epoch.first;
  history.reserve(blank, std::max<std::int64_t>(options.epochs - epoch.first, 0));

  Gathered<T> predictions(sampler.rows());
  Gathered<std::int64_t> order(sampler.rows());
  for (epoch.index = epoch.first; epoch.index < options.epochs && !epoch.stopped(); ++epoch.index) {
    epoch.logs = blank;
    epoch.trained = before + epoch.index;
    options_.optimizer.begin_epoch(epoch.trained);
    sampler.begin_epoch(epoch.index, epoch.trained);
    progress.begin_epoch();
    for (Callback& callback : callbacks) callback.begin(epoch);
    for (Callback& callback : callbacks) callback.begun(epoch);
    double loss = 0, examples = 0;
    for (std::int64_t k = 0; k < sampler.steps(); ++k) {
      const Tensor<std::int64_t> rows = sampler.next();
      const Dataset<T, Y> batch = training.take(rows, where);
      const auto proceed = [&](double now) {
        if (options.on_nonfinite == OnNonfinite::go_on) return true;
        // The weights of an epoch's beginning count as good once they gave a loss.
        if (k == 0 && std::isfinite(now)) in_fit.mark(epoch);
        return std::isfinite(now);
      };
      const detail::BatchResult<T> result = step(batch, "fit", where, proceed);
      if (options.on_nonfinite != OnNonfinite::go_on && !std::isfinite(result.loss)) {
        history.nonfinite = in_fit.meet(result.loss, epoch, k, batch, rows);
        if (options.on_nonfinite == OnNonfinite::fail) throw ValueError(history.nonfinite);
        if (in_fit.kept) history.nonfinite += ". fit ended with the weights that a callback kept";
        break;
      }
      loss += result.loss * result.examples;
      examples += result.examples;
      if (!options_.metrics.empty()) {
        predictions.append(result.prediction, where);
        order.append(rows, where);
      }
      progress.step(k + 1);
      if (interrupt && interrupt->arrived() && k + 1 < sampler.steps()) {
        history.interrupted = true;
        break;
      }
    }
    if (history.interrupted || !history.nonfinite.empty()) break;

    epoch.logs["loss"] = loss / std::max(examples, 1.0);
    if (!options_.metrics.empty()) {
      const Tensor<std::int64_t>& rows = order.finish();
      const Tensor<T> weights = training.weights.handle() ? take(training.weights, rows, 0, where) : Tensor<T>();
      put_metrics(epoch.logs, options_, predictions.finish(), take(training.y, rows, 0, where), weights, where);
    }
    if (validation) {
      for (const auto& [name, value] :
           evaluate_plain(*validation, EvaluateOptions{}.batch_size, "fit, validation_data", where)) {
        epoch.logs[validated(name)] = value;
      }
    }
    epoch.seconds = progress.seconds();
    epochs_trained_ = epoch.trained + 1;
    progress.end_epoch(epoch);
    for (Callback& callback : callbacks) callback.end(epoch);
    for (Callback& callback : callbacks) callback.ended(epoch);
    history.append(epoch.logs);
    if (interrupt && interrupt->arrived()) {
      history.interrupted = true;
      break;
    }
  }
  in_fit.end();
  return history;
}

template <class T, class Y>
using EvaluateOf = Logs(const Tensor<T>&, const Tensor<Y>&, const EvaluateOptions&, Where);
template EvaluateOf<float, float> Sequential<float>::evaluate;
template EvaluateOf<double, double> Sequential<double>::evaluate;
template EvaluateOf<float, std::int64_t> Sequential<float>::evaluate;
template EvaluateOf<double, std::int64_t> Sequential<double>::evaluate;

template <class T, class Y>
using TrainOf = Logs(const Tensor<T>&, const Tensor<Y>&, Where);
template TrainOf<float, float> Sequential<float>::train_on_batch;
template TrainOf<double, double> Sequential<double>::train_on_batch;
template TrainOf<float, std::int64_t> Sequential<float>::train_on_batch;
template TrainOf<double, std::int64_t> Sequential<double>::train_on_batch;

template <class T, class Y>
using FitOf = History(const Tensor<T>&, const Tensor<Y>&, const FitOptions&, Where);
template FitOf<float, float> Sequential<float>::fit;
template FitOf<double, double> Sequential<double>::fit;
template FitOf<float, std::int64_t> Sequential<float>::fit;
template FitOf<double, std::int64_t> Sequential<double>::fit;

}  // namespace tapegrad::nn
