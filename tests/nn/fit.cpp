// fit, evaluate and predict: batches, options, weights of examples, errors, and fit again.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>
#include <sstream>
#include <string>

#include "../close.hpp"
#include "../error_message.hpp"
#include "fit_models.hpp"

using namespace fit_tests;

namespace {

/// A model of one layer whose parameters say whether two ways of training it are one.
template <Real T>
nn::Sequential<T> logistic_model(const nn::Loss& loss, const nn::Activation& activation, nn::OutputDelta way,
                                 std::vector<nn::Metric> metrics) {
  nn::Sequential<T> model({nn::Dense{3, activation}}, 5);
  model.compile({.optimizer = nn::SGD{.learning_rate = 0.1},
                 .loss = loss,
                 .metrics = std::move(metrics),
                 .reduction = nn::Reduction::sum,
                 .output_delta = way});
  return model;
}

/// The parameters after 4 epochs, divided into calls of so many epochs each.
TensorList<double> after_calls(nn::Sequential<double> model, const std::vector<std::int64_t>& calls,
                               nn::FitOptions options, bool compile_again = false) {
  const Clouds<double> data;
  options.batch_size = 7;
  for (const std::int64_t epochs : calls) {
    options.epochs = epochs;
    const nn::History h = model.fit(data.X, data.y, options);
    CHECK(h.first_epoch == 0);
    CHECK(std::ssize(h["loss"]) == epochs);
    if (compile_again) model.compile({.optimizer = nn::SGD{.learning_rate = 0.1}, .loss = "categorical_crossentropy"});
  }
  CHECK(model.epochs_trained() == 4);
  return model.parameters();
}

}  // namespace

TEST_CASE("what the options refuse is named with its field") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const auto refusal = [&](const nn::FitOptions& options) {
    return message_of([&] { model.fit(data.X, data.y, options); });
  };
  CHECK(contains(refusal({.validation_split = 1}), "validation_split is 1"));
  CHECK(contains(refusal({.validation_split = -0.1}), "validation_split"));
  CHECK(contains(refusal({.validation_split = 0.999}), "validation_split"));
  CHECK(contains(refusal({.validation_split = std::nan("")}), "validation_split"));
  CHECK(contains(refusal({.validation_split = 0.1, .validation_data = {{data.X, data.y}}}), "not both"));
  CHECK(contains(refusal({.validation_data = {{data.X, slice(data.y, 0, 0, 3)}}}), "validation_data"));
  CHECK(contains(refusal({.sample_weight = ones({3})}), "sample_weight is (3)"));
  CHECK(contains(refusal({.sample_weight = full({60}, -1.0)}), "sample_weight holds -1"));
  CHECK(contains(refusal({.initial_epoch = -1}), "initial_epoch is -1"));
  CHECK(contains(refusal({.batch_size = 0}), "batch_size"));
  CHECK(contains(message_of([&] { model.predict(data.X, {.batch_size = 0}); }), "batch_size is 0"));
  CHECK(contains(message_of([&] { model.evaluate(data.X, data.y, {.batch_size = -2}); }), "batch_size is -2"));
}

TEST_CASE("the order of an epoch depends on the seed and the epoch alone") {
  const Clouds<double> data;
  for (const std::optional<std::int64_t> steps : {std::optional<std::int64_t>(), std::optional<std::int64_t>(5)}) {
    nn::Sequential<double> whole = classifier<double>(), parts = classifier<double>();
    const nn::History all = whole.fit(
        data.X, data.y, {.epochs = 7, .batch_size = 8, .steps_per_epoch = steps, .validation_split = 0.1, .seed = 5});
    parts.fit(data.X, data.y,
              {.epochs = 3, .batch_size = 8, .steps_per_epoch = steps, .validation_split = 0.1, .seed = 5});
    CHECK(parts.epochs_trained() == 3);
    const nn::History rest = parts.fit(data.X, data.y,
                                       {.epochs = 7,
                                        .batch_size = 8,
                                        .steps_per_epoch = steps,
                                        .validation_split = 0.1,
                                        .seed = 5,
                                        .initial_epoch = parts.epochs_trained()});
    CHECK(parts.epochs_trained() == 7);
    REQUIRE(rest["loss"].size() == 4);
    for (std::size_t k = 0; k < 4; ++k) CHECK(rest["loss"][k] == all["loss"][k + 3]);
    CHECK(same_bits(whole.parameters(), parts.parameters()));
  }
}

TEST_CASE("metrics are of all predictions of an epoch together") {
  const Clouds<double> data(23);
  nn::Sequential<double> model({nn::Dense{3, "softmax"}}, 1);
  model.compile(
      {.optimizer = nn::SGD{.learning_rate = 0}, .loss = "categorical_crossentropy", .metrics = {"accuracy"}});
  const nn::History h = model.fit(data.X, data.y, {.epochs = 2, .batch_size = 4});
  const nn::Logs now = model.evaluate(data.X, data.y);
  CHECK(h["accuracy"][1] == now["accuracy"]);
  CHECK(h["loss"][1] == about(now["loss"], 1e-14));
}

TEST_CASE("evaluate and predict in batches are the whole but for the last bits, and on the tape the whole") {
  const Clouds<double> data(101);
  nn::Sequential<double> model = classifier<double>();
  model.build({5});
  const Tensor<> whole = model.predict(data.X, {.batch_size = 1000});
  for (const std::int64_t size : {1, 7, 64, 100, 101}) {
    CAPTURE(size);
    CHECK(allclose(model.predict(data.X, {.batch_size = size}), whole, 0, 1e-15));
    const nn::Logs logs = model.evaluate(data.X, data.y, {.batch_size = size});
    CHECK(logs["loss"] == about(model.evaluate(data.X, data.y)["loss"], 1e-14));
    CHECK(logs["accuracy"] == model.evaluate(data.X, data.y)["accuracy"]);
  }
  const auto gradient = [&](std::int64_t size) {
    return grad([&](const Tensor<>& x) { return sum(square(model.predict(x, {.batch_size = size}))); })(data.X);
  };
  CHECK(same_bits(gradient(7), gradient(1000)));
  const auto blocks = batch_jacobian([&](const Tensor<>& x) { return model.predict(x, {.batch_size = 7}); })(data.X);
  CHECK(blocks.output_shape() == Shape{101, 3});
}

TEST_CASE("an activation that mixes rows sees them all, whatever the batch size") {
  const Clouds<double> data;
  const auto over_batch = [](const Tensor<>& z) {
    const Tensor<> e = exp(z);
    return e / sum(e);
  };
  nn::Sequential<double> model({nn::Dense{3, nn::mixes_rows(nn::Activation(over_batch))}});
  CHECK(sum(model.predict(data.X, {.batch_size = 7})).item() == about(1, 1e-14));
}

TEST_CASE("predict_classes: the largest output, or above a half") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const Tensor<std::int64_t> classes = model.predict_classes(data.X, {.batch_size = 9});
  CHECK(classes.shape() == Shape{60});
  CHECK(same_bits(classes, argmax(model.predict(data.X), -1)));
  nn::Sequential<double> binary({nn::Dense{1, "sigmoid"}}, 2);
  const Tensor<> p = binary.predict(data.X);
  const Tensor<std::int64_t> decided = binary.predict_classes(data.X);
  for (std::int64_t i = 0; i < 60; ++i) CHECK(decided(i) == (p(i, 0) > 0.5));
  CHECK(max(p).item() > 0.5);
  CHECK(min(p).item() < 0.5);
}

TEST_CASE("a model is a function of its parameters") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>(), trained = classifier<double>();
  model.build({5});
  trained.build({5});
  const auto loss = [&](const TensorList<double>& p, const Tensor<>& x, const Tensor<>& y) {
    return mean(nn::categorical_crossentropy(model(p, x), y));
  };
  TensorList<double> p = model.parameters();
  nn::Optimizer optimizer = nn::SGD{.learning_rate = 0.1};
  for (int step = 0; step < 10; ++step) {
    auto [value, gradient] = value_and_grad(loss)(p, data.X, data.y);
    optimizer.step(p, gradient);
    trained.train_on_batch(data.X, data.y);
  }
  model.set_parameters(p);
  for (std::size_t k = 0; k < p.size(); ++k) CHECK(allclose(p[k], trained.parameters()[k], 0, 1e-14));
  CHECK(same_bits(model.predict(data.X), model(p, data.X)));
  p.pop_back();
  CHECK_THROWS_AS(model(p, data.X), ShapeError);
}

TEST_CASE("what layers draw in training depends on the seed of the model and the number of the step alone") {
  const Clouds<double> data(8);
  const auto drawn = [&](std::uint64_t seed, std::vector<int> runs) {
    std::vector<double> numbers;
    const auto noting = [&](const nn::Params<double>&, const Tensor<>& x, nn::Mode mode) {
      if (mode.training) numbers.push_back(mode.rng->uniform());
      return x;
    };
    nn::Sequential<double> model({noting, nn::Dense{3, "softmax"}}, seed);
    model.compile({.loss = "categorical_crossentropy"});
    for (const int epochs : runs) model.fit(data.X, data.y, {.epochs = epochs, .batch_size = 4, .seed = 1});
    return numbers;
  };
  const std::vector<double> numbers = drawn(1, {3});
  REQUIRE(numbers.size() == 6);
  CHECK(std::set<double>(numbers.begin(), numbers.end()).size() == 6);
  CHECK(drawn(1, {1, 1, 1}) == numbers);
  CHECK(drawn(2, {3}) != numbers);
}

TEST_CASE("weights of examples and of classes multiply the losses; metrics see only which are 0") {
  const Clouds<double> data;
  Tensor<> weights = zeros({60});
  for (std::int64_t i = 0; i < 60; ++i) weights.mutable_data()[i] = i % 3 == 0 ? 0 : 1 + static_cast<double>(i % 4);
  // With summed losses and one step, a weight of 2 counts the example twice, and a weight of 0 not at all.
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < 60; ++i) {
    for (int k = 0; k < weights(i); ++k) rows.push_back(i);
  }
  const Tensor<std::int64_t> repeated({static_cast<std::int64_t>(rows.size())}, rows);
  std::vector<std::int64_t> each = rows;
  each.erase(std::unique(each.begin(), each.end()), each.end());
  const Tensor<std::int64_t> repeated_once({static_cast<std::int64_t>(each.size())}, each);
  const auto model_of = [] {
    nn::Sequential<double> model = classifier<double>();
    model.compile({.optimizer = nn::SGD{.learning_rate = 0.01},
                   .loss = "categorical_crossentropy",
                   .metrics = {"accuracy"},
                   .reduction = nn::Reduction::sum});
    return model;
  };
  nn::Sequential<double> weighted = model_of(), repeating = model_of(), labeled = model_of();
  const nn::History h =
      weighted.fit(data.X, data.y, {.epochs = 4, .batch_size = 60, .sample_weight = astype<float>(weights)});
  const nn::History r =
      repeating.fit(take(data.X, repeated), take(data.y, repeated), {.epochs = 4, .batch_size = 1000});
  for (std::size_t k = 0; k < 4; ++k) {
    CHECK(h["loss"][k] * 60 == about(r["loss"][k] * static_cast<double>(rows.size()), 1e-13));
    CHECK(allclose(weighted.parameters()[k], repeating.parameters()[k], 0, 1e-13));
  }
  const nn::Logs logs = weighted.evaluate(data.X, data.y, {.batch_size = 7, .sample_weight = weights});
  CHECK(logs["loss"] * 60 ==
        about(sum(weights * nn::categorical_crossentropy(weighted.predict(data.X), data.y)).item(), 1e-13));
  CHECK(logs["accuracy"] == weighted.evaluate(take(data.X, repeated_once), take(data.y, repeated_once))["accuracy"]);

  // Class weights are weights by label, and both multiply.
  const std::vector<double> by_class{0.5, 2, 3};
  Tensor<> product = take(Tensor<>{0.5, 2, 3}, data.labels) * weights;
  nn::Sequential<double> both = model_of(), one = model_of();
  both.fit(data.X, data.y, {.epochs = 2, .sample_weight = weights, .class_weight = by_class});
  one.fit(data.X, data.y, {.epochs = 2, .sample_weight = product});
  CHECK(same_bits(both.parameters(), one.parameters()));
  labeled.compile({.loss = "sparse_categorical_crossentropy"});
  labeled.fit(data.X, data.labels, {.class_weight = by_class});
  CHECK(contains(message_of([&] { both.fit(data.X, data.y, {.class_weight = {1, 2}}); }), "fit.cpp:"));

  // The validation has the weights of its own rows.
  nn::Sequential<double> validated = model_of();
  const nn::History v =
      validated.fit(data.X, data.y, {.validation_split = 0.25, .sample_weight = weights, .class_weight = by_class});
  CHECK(v["val_loss"].back() == validated.evaluate(slice(data.X, 0, 45, 60), slice(data.y, 0, 45, 60),
                                                   {.sample_weight = slice(weights, 0, 45, 60)})["loss"]);
}

TEST_CASE_TEMPLATE("a row of weight 0 contributes nothing, whatever its target", T, float, double) {
  const Clouds<T> data(20);
  const double tolerance = sizeof(T) == 8 ? 1e-13 : 1e-5;
  Tensor<T> weights = ones<T>({20}), y = data.y;
  Tensor<std::int64_t> labels = data.labels;
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < 20; ++i) {
    if (i % 4 != 0) {
      kept.push_back(i);
      weights.mutable_data()[i] = T(1 + i % 3);
      continue;
    }
    weights.mutable_data()[i] = 0;
    labels.mutable_data()[i] = i % 8 == 0 ? -7 : 99;
    for (int j = 0; j < 3; ++j) y.mutable_data()[3 * i + j] = std::numeric_limits<T>::quiet_NaN();
  }
  const Tensor<std::int64_t> rows({static_cast<std::int64_t>(kept.size())}, kept);
  const Tensor<T> X = take(data.X, rows), W = take(weights, rows);
  // A loss whose slope is infinite at the target, which strong zeros alone would not mend in the value.
  auto own = [](const auto& a, const auto& t) { return sum(sqrt(abs(a - t)), -1); };
  auto check = [&](const nn::Loss& loss, const char* activation, nn::OutputDelta way, const auto& all,
                   std::vector<nn::Metric> metrics) {
    CAPTURE(loss.name());
    CAPTURE(to_string(way));
    const auto few = take(all, rows);
    auto with = logistic_model<T>(loss, activation, way, metrics), without = with;
    const nn::FitOptions fit{.epochs = 3, .batch_size = 20, .shuffle = false};
    nn::FitOptions with_weights = fit, without_weights = fit;
    with_weights.sample_weight = weights;
    without_weights.sample_weight = W;
    const nn::History h = with.fit(data.X, all, with_weights), g = without.fit(X, few, without_weights);
    for (std::size_t k = 0; k < 2; ++k) CHECK(allclose(with.parameters()[k], without.parameters()[k], 0, tolerance));
    const nn::Logs a = with.evaluate(data.X, all, {.batch_size = 3, .sample_weight = weights}),
                   b = with.evaluate(X, few, {.sample_weight = W});
    CHECK(a["loss"] * 20 == about(b["loss"] * 15, tolerance));
    CHECK(h["loss"][2] * 20 == about(g["loss"][2] * 15, tolerance));
    for (const nn::Metric& metric : metrics) {
      CAPTURE(metric.name());
      CHECK(a[metric.name()] == about(b[metric.name()], tolerance));
      CHECK(h[metric.name()][2] == about(g[metric.name()][2], tolerance));
    }
    // The same with validation data, and nothing happens at all if every weight is 0.
    nn::FitOptions validated = with_weights;
    validated.validation_data = {{data.X, all, weights}};
    CHECK(std::isfinite(with.fit(data.X, all, validated)["val_loss"].back()));
    const TensorList<T> before = with.parameters();
    validated.sample_weight = zeros<T>({20});
    const nn::History none = with.fit(data.X, all, validated);
    CHECK(none["loss"].back() == 0);
    CHECK(same_bits(before, with.parameters()));
    for (const nn::Metric& metric : metrics) CHECK(none[metric.name()].back() == 0);
  };
  using nn::OutputDelta;
  for (OutputDelta way : {OutputDelta::closed_form, OutputDelta::vjp, OutputDelta::jacobian}) {
    check("categorical_crossentropy", "softmax", way, y, {"accuracy", "mse", "f1"});
    check("mse", "linear", way, y, {"mae"});
    check("sparse_categorical_crossentropy", "softmax", way, labels, {"accuracy", nn::TopK{.k = 2}});
    if (way != OutputDelta::closed_form) check(own, "tanh", way, y, {"rmse"});
  }
  // Weights by class too: the class of a row of weight 0 cannot be known.
  auto model = logistic_model<T>("categorical_crossentropy", "softmax", OutputDelta::automatic, {"accuracy"});
  CHECK(std::isfinite(model.fit(data.X, y, {.sample_weight = weights, .class_weight = {1, 0, 2}})["loss"].back()));
  CHECK_NOTHROW(logistic_model<T>("sparse_categorical_crossentropy", "softmax", OutputDelta::automatic, {"accuracy"})
                    .fit(data.X, labels, {.sample_weight = weights, .class_weight = {1, 0, 2}}));
}

TEST_CASE_TEMPLATE("an ignored label: the mean over the other rows, in training, report and metrics", T, float,
                   double) {
  const Clouds<T> data(20);
  const double tolerance = sizeof(T) == 8 ? 1e-13 : 1e-5;
  Tensor<std::int64_t> labels = data.labels;
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < 20; ++i) {
    if (i % 4 == 1 || i < 4)
      labels.mutable_data()[i] = 255;
    else
      kept.push_back(i);
  }
  const Tensor<std::int64_t> rows({static_cast<std::int64_t>(kept.size())}, kept), few = take(labels, rows);
  const Tensor<T> X = take(data.X, rows);
  for (bool from_logits : {false, true}) {
    for (nn::OutputDelta way : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
      CAPTURE(from_logits);
      CAPTURE(to_string(way));
      const nn::SparseCategoricalCrossentropy loss{
          .label_smoothing = 0.1, .from_logits = from_logits, .ignored_label = 255};
      nn::Sequential<T> with({nn::Dense{3, from_logits ? "linear" : "softmax"}}, 5);
      with.compile({.optimizer = nn::SGD{.learning_rate = 0.1},
                    .loss = loss,
                    .metrics = {"accuracy", "recall",
                                nn::Metric("own",
                                           [](const auto& a, const Tensor<std::int64_t>& y) {
                                             return static_cast<double>(max(a).item()) + static_cast<double>(y(0));
                                           })},
                    .output_delta = way});
      nn::Sequential<T> without = with;
      const nn::History h = with.fit(data.X, labels, {.epochs = 3, .batch_size = 20, .shuffle = false});
      const nn::History g = without.fit(X, few, {.epochs = 3, .batch_size = 20, .shuffle = false});
      for (std::size_t k = 0; k < 2; ++k) CHECK(allclose(with.parameters()[k], without.parameters()[k], 0, tolerance));
      for (const char* name : {"loss", "accuracy", "recall", "own"}) {
        CHECK(h[name][2] == about(g[name][2], tolerance));
      }
      // In batches, the first of which is ignored as a whole.
      const nn::Logs a = with.evaluate(data.X, labels, {.batch_size = 4}), b = with.evaluate(X, few);
      for (const char* name : {"loss", "accuracy", "recall", "own"}) {
        CHECK(a[name] == about(b[name], tolerance));
      }
      CHECK_NOTHROW(with.fit(data.X, labels, {.batch_size = 4, .class_weight = {1, 2, 3}, .shuffle = false}));
      const Tensor<std::int64_t> all = full<std::int64_t>({20}, 255);
      const TensorList<T> before = with.parameters();
      const nn::History none = with.fit(data.X, all);
      CHECK(same_bits(before, with.parameters()));
      for (const char* name : {"loss", "accuracy", "recall", "own"}) CHECK(none[name].back() == 0);
      CHECK(with.evaluate(data.X, all)["loss"] == 0);
      CHECK(contains(message_of([&] { with.fit(data.X, full<std::int64_t>({20}, 254)); }), "out of range"));
    }
  }
}

TEST_CASE("a summary counts what is trained and what is kept") {
  nn::Sequential<double> model({nn::Flatten{}, nn::Dense{7, "tanh"}, nn::BatchNorm{}, nn::Dense{3, "softmax"}});
  CHECK_THROWS_AS(model.summary(), ValueError);
  model.build({2, 3});
  std::ostringstream out;
  model.summary(out);
  CHECK(out.str() ==
        "layer        output  trained  kept\n"
        "0 Flatten    (6)           0     0\n"
        "1 Dense      (7)          49     0\n"
        "2 BatchNorm  (7)          14    14\n"
        "3 Dense      (3)          24     0\n"
        "total                     87    14\n");
}

TEST_CASE("logs have names of their own, and a compile that throws changes nothing") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const auto refusal = [&](const std::vector<nn::Metric>& metrics) {
    return message_of([&] { model.compile({.loss = "mse", .metrics = metrics}); });
  };
  const auto own = [](const char* name) {
    return nn::Metric(name, [](const auto& a, const auto& y) { return mean(a - y); });
  };
  CHECK(contains(refusal({nn::Accuracy{.threshold = 0.3}, nn::Accuracy{}}), "compile at fit.cpp:"));
  CHECK(contains(refusal({nn::Accuracy{.threshold = 0.3}, nn::Accuracy{}}), "\"accuracy\""));
  CHECK(contains(refusal({own("loss")}), "\"loss\""));
  CHECK(contains(refusal({own("val_loss")}), "\"val_loss\""));
  CHECK(contains(message_of([&] { model.compile({.loss = "mae", .output_delta = nn::OutputDelta::closed_form}); }),
                 "fit.cpp:"));
  nn::Sequential<double> same = classifier<double>();
  CHECK(model.fit(data.X, data.y)["loss"] == same.fit(data.X, data.y)["loss"]);
  // The remedy that the message names.
  model.compile({.loss = "mse", .metrics = {nn::Metric("lenient", nn::Accuracy{.threshold = 0.3}), nn::Accuracy{}}});
  CHECK(model.evaluate(data.X, data.y).size() == 3);
}

TEST_CASE("numbers of steps and epochs that cannot be counted are refused, and many epochs take no memory") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const auto stop = [](nn::Epoch& e) { e.stop(); };
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(contains(
      message_of([&] { model.fit(data.X, data.y, {.steps_per_epoch = std::int64_t{1} << 60, .callbacks = {stop}}); }),
      "too many"));
  const Tensor<std::int64_t> batches = zeros<std::int64_t>({4, 2});
  CHECK_THROWS_AS(model.fit(data.X, data.y, {.epochs = most, .steps_per_epoch = 2, .batches = batches}), ValueError);
  CHECK(model.fit(data.X, data.y, {.epochs = most, .callbacks = {stop}})["loss"].size() == 1);
}

TEST_CASE("options are checked before the model is built, and the validation before the first epoch") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  CHECK_THROWS_AS(model.fit(data.X, data.y, {.batch_size = 0}), ValueError);
  model.build({3});  // not built yet
  nn::Sequential<double> other = classifier<double>();
  int epochs = 0;
  const auto count = [&](nn::Epoch&) { ++epochs; };
  const std::string message = message_of([&] {
    other.fit(data.X, data.y, {.validation_data = {{data.X, zeros({60, 4})}}, .callbacks = {count}});
  });
  CHECK(contains(message, "(1, 4)"));
  CHECK(epochs == 0);
  CHECK(contains(message_of([&] { other.fit(data.X, data.y, {.validation_split = -1e-20}); }),
                 "validation_split is -1e-20"));
}

TEST_CASE("the loss of evaluate and of the validation includes the penalties, as that of training does") {
  const Clouds<double> data;
  for (const nn::Reduction reduction : {nn::Reduction::mean, nn::Reduction::sum}) {
    nn::Sequential<double> model({nn::Dense{.units = 4, .kernel_regularizer = nn::l2(0.1)},
                                  nn::Dense{.units = 3, .activation = "softmax", .kernel_regularizer = nn::l1(0.3)}});
    model.compile(
        {.optimizer = nn::SGD{.learning_rate = 0}, .loss = "categorical_crossentropy", .reduction = reduction});
    const nn::History h = model.fit(data.X, data.y, {.batch_size = 60, .validation_data = {{data.X, data.y}}});
    const double loss = model.evaluate(data.X, data.y, {.batch_size = 7})["loss"];
    CHECK(h["loss"].back() == about(loss, 1e-14));
    CHECK(h["val_loss"].back() == about(loss, 1e-14));
    const TensorList<double> p = model.parameters();
    const double penalties = 0.1 * sum(square(p[0])).item() + 0.3 * sum(abs(p[2])).item();
    CHECK(loss == about(mean(nn::categorical_crossentropy(model.predict(data.X), data.y)).item() + penalties, 1e-14));
  }
}

TEST_CASE("a step that throws has not moved what layers keep") {
  const Folder folder;
  nn::Sequential<double> model({nn::BatchNorm{}, nn::Dense{1}});
  model.compile({.loss = "mse"});
  model.build({5});
  model.save(folder.file("before.npz"));
  const Clouds<double> data;
  CHECK_THROWS_AS(model.train_on_batch(data.X, data.y), ShapeError);
  model.save(folder.file("after.npz"));
  CHECK(contents(folder.file("before.npz")) == contents(folder.file("after.npz")));
}

TEST_CASE("errors of layers and optimizers name the line of the call and the layer") {
  const Clouds<double> data;
  nn::Sequential<double> model({nn::Dense{3}, nn::Dense{3}});
  model.compile({.optimizer = nn::SGD{.momentum = 2}, .loss = "mse"});
  CHECK(contains(message_of([&] {
                   model.fit(reshape(data.X, {15, 4, 5}), slice(data.y, 0, 0, 15));
                 }),
                 "layer 0 (Dense): "));
  CHECK(message_of([&] {
          model.fit(reshape(data.X, {15, 4, 5}), slice(data.y, 0, 0, 15));
        }).starts_with("fit at fit.cpp:"));
  CHECK(message_of([&] { model.fit(data.X, data.y); }).starts_with("step at fit.cpp:"));
  CHECK(message_of([&] { model.add(nn::Dense{2}); }).starts_with("add at fit.cpp:"));
  nn::Sequential<double> penal({nn::Dense{.units = 1, .kernel_regularizer = [](const auto& w) { return square(w); }}});
  CHECK(message_of([&] { penal.build({2}); }).starts_with("build at fit.cpp:"));
  nn::Sequential<double> short_of_rows({[](const auto& x) { return slice(x, 0, 0, 1); }, nn::Dense{2}});
  CHECK(contains(message_of([&] { short_of_rows.predict(data.X); }), "layer 0 (custom): it gave (1, 5)"));
}

TEST_CASE("metrics and labels that do not fit are refused before the first step") {
  const Clouds<double> data;
  const auto refusal = [&](const nn::CompileOptions& compiled, const auto& y, nn::FitOptions options) {
    nn::Sequential<double> model({nn::Dense{3, "softmax"}});
    model.compile(compiled);
    model.build({5});
    const TensorList<double> before = model.parameters();
    const std::string message = message_of([&] { model.fit(data.X, y, options); });
    CHECK(same_bits(model.parameters(), before));
    CHECK(message != "");
    return message;
  };
  const nn::Loss sparse = "sparse_categorical_crossentropy";
  CHECK(contains(refusal({.loss = sparse, .metrics = {"mse"}}, data.labels, {}), "mse"));
  CHECK(contains(refusal({.loss = sparse, .metrics = {"categorical_crossentropy"}}, data.labels, {}), "labels"));
  CHECK(contains(refusal({.loss = sparse, .metrics = {"binary_accuracy"}}, data.labels, {}), "binary_accuracy"));
  const auto wide = [](const auto& a, const auto&) { return mean(reshape(a, {a.shape()[0], 5})); };
  CHECK(contains(refusal({.loss = "mse", .metrics = {nn::Metric("wide", wide)}}, data.y, {}), "reshape"));

  // A metric that needs several examples is no reason to refuse.
  nn::Sequential<double> model({nn::Dense{3, "softmax"}});
  const auto spread = [](const auto& a, const auto&) {
    if (a.shape()[0] < 2) throw ValueError("spread needs two examples");
    return max(a) - min(a);
  };
  model.compile({.loss = "mse", .metrics = {nn::Metric("spread", spread)}});
  CHECK_NOTHROW(model.fit(data.X, data.y));

  // A label without a class, in whatever row.
  const auto bad = [&](std::int64_t row, std::int64_t label) {
    Tensor<std::int64_t> labels = data.labels;
    labels.mutable_data()[row] = label;
    return labels;
  };
  CHECK(contains(refusal({.loss = sparse}, bad(59, 3), {.batch_size = 1, .shuffle = false}), "label 3"));
  CHECK(contains(refusal({.loss = sparse}, bad(31, -2), {}), "label -2"));
  CHECK(contains(refusal({.loss = sparse}, data.labels, {.validation_data = {{data.X, bad(58, 7)}}}), "label 7"));
  CHECK(contains(refusal({.loss = sparse, .metrics = {"accuracy"}}, bad(59, 4), {.validation_split = 0.1}), "label 4"));
  for (const std::string& message :
       {refusal({.loss = sparse}, data.labels, {.validation_data = {{data.X, bad(58, 7)}}})}) {
    CHECK(contains(message, "row 58"));
  }
}

TEST_CASE("calls of fit go on where the last one ended, to the bit") {
  const auto by_epoch = [](std::int64_t epoch, std::int64_t step) {
    return 0.1 / static_cast<double>(1 + epoch) / static_cast<double>(1 + step);
  };
  const nn::LearningRateScheduler scheduler{[](std::int64_t epoch, double rate) {
    return epoch == 2 ? rate * 0.1 : rate + 0.01 * static_cast<double>(epoch);
  }};
  const std::vector<nn::Optimizer> optimizers{nn::SGD{.learning_rate = 0.1}, nn::SGD{.learning_rate = by_epoch},
                                              nn::SGD{.learning_rate = 0.1, .momentum = 0.9},
                                              nn::Adam{.learning_rate = nn::warm_up(0.01, 20)}};
  for (const nn::Optimizer& optimizer : optimizers) {
    for (const nn::FitOptions& options :
         {nn::FitOptions{}, nn::FitOptions{.validation_split = 0.1, .seed = 3},
          nn::FitOptions{.steps_per_epoch = 5, .seed = 3}, nn::FitOptions{.callbacks = {scheduler}}}) {
      nn::Sequential<double> model = resumable<double>();
      model.compile({.optimizer = optimizer, .loss = "categorical_crossentropy"});
      const TensorList<double> whole = after_calls(model, {4}, options);
      CHECK(same_bits(after_calls(model, {1, 1, 1, 1}, options), whole));
      CHECK(same_bits(after_calls(model, {2, 0, 1, 1}, options), whole));
    }
  }
  // A model that is compiled again keeps what it has learned, and another seed gives another order.
  const nn::Sequential<double> model = classifier<double>();
  const TensorList<double> whole = after_calls(model, {4}, {});
  CHECK(same_bits(after_calls(model, {1, 3}, {}, true), whole));
  CHECK_FALSE(same_bits(after_calls(model, {4}, {.seed = 1}), whole));
}

TEST_CASE("epochs and history count within the call, and a given initial_epoch within the whole") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  std::vector<std::int64_t> seen;
  const nn::Callback note = [&](nn::Epoch& e) { seen.insert(seen.end(), {e.index, e.first, e.epochs, e.trained}); };
  using Seen = std::vector<std::int64_t>;
  model.fit(data.X, data.y, {.epochs = 2, .callbacks = {note}});
  model.fit(data.X, data.y, {.epochs = 1, .callbacks = {note}});
  CHECK(seen == Seen{0, 0, 2, 0, 1, 0, 2, 1, 0, 0, 1, 2});
  seen.clear();
  const nn::History h = model.fit(data.X, data.y, {.epochs = 6, .initial_epoch = 5, .callbacks = {note}});
  CHECK(h.first_epoch == 5);
  CHECK(seen == Seen{5, 5, 6, 5});
  CHECK(model.epochs_trained() == 6);
  // Starting from 0 again gives the order of the first epoch, as often as it is asked for.
  nn::Sequential<double> first = classifier<double>(), again = classifier<double>();
  first.fit(data.X, data.y);
  again.fit(data.X, data.y, {.epochs = 3});
  nn::Sequential<double> fresh = classifier<double>();
  fresh.build({5});
  again.set_parameters(fresh.parameters());
  again.fit(data.X, data.y, {.initial_epoch = 0});
  CHECK(same_bits(again.parameters(), first.parameters()));
  CHECK(again.epochs_trained() == 1);

  // A list of batches belongs to its call.
  const Tensor<std::int64_t> batches = reshape(arange<std::int64_t>(60), {4, 15});
  nn::Sequential<double> listed = classifier<double>(), all = classifier<double>();
  for (std::int64_t k = 0; k < 4; ++k) listed.fit(data.X, data.y, {.batches = slice(batches, 0, k, k + 1)});
  all.fit(data.X, data.y, {.epochs = 4, .batches = batches});
  CHECK(same_bits(listed.parameters(), all.parameters()));
}
