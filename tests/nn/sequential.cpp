// Sequential: layers, training under every way of delta, its options, and what it refuses.

#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <set>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <tapegrad/nn/train/progress.hpp>

#include "../close.hpp"
#include "../error_message.hpp"

using namespace tapegrad;
using nn::OutputDelta;

namespace {

// The blocks of api.md, as they stand there.
struct Scale {
  template <class T>
  nn::Params<T> init(const Shape& in, nn::Rng&) const {
    return {{"gamma", ones<T>({in.back()})}};
  }
  template <class T>
  Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x, nn::Mode) const {
    return x * p.at("gamma");
  }
};

const Tensor<> xor_inputs{{0, 0}, {0, 1}, {1, 0}, {1, 1}};
const Tensor<> xor_targets{{1, 0}, {0, 1}, {0, 1}, {1, 0}};
const Tensor<std::int64_t> xor_labels{0, 1, 1, 0};

nn::Sequential<double> xor_model(OutputDelta way, const nn::Loss& loss, const nn::Activation& f = "softmax") {
  nn::Sequential<double> model({nn::Dense{8, "tanh"}, nn::Dense{2, f}}, /*seed*/ 4);
  model.compile(
      {.optimizer = nn::SGD{.learning_rate = 0.5}, .loss = loss, .metrics = {"accuracy"}, .output_delta = way});
  return model;
}

/// Rows that name themselves.
Tensor<> numbered(std::int64_t n) { return reshape(arange(static_cast<double>(n)), {n, 1}); }

/// A loss that notes the rows it is called with and learns nothing from them.
nn::Loss recording_loss(std::vector<std::vector<double>>& seen) {
  return [&seen](const Tensor<>& a, const Tensor<>& y) {
    seen.emplace_back(y.data(), y.data() + y.size());
    return mean(a - a, -1);
  };
}

std::vector<std::vector<double>> batches_seen(const nn::FitOptions& options, std::int64_t n) {
  std::vector<std::vector<double>> seen;
  nn::Sequential<double> model({nn::Dense{1}});
  model.compile({.loss = recording_loss(seen)});
  model.fit(numbered(n), numbered(n), options);
  return seen;
}

}  // namespace

TEST_CASE("a const model predicts and evaluates once it is built") {
  nn::Sequential<double> model = xor_model(OutputDelta::automatic, "categorical_crossentropy");
  const nn::Sequential<double>& fixed = model;
  CHECK_THROWS_WITH_AS(fixed.predict(xor_inputs), doctest::Contains("call build first"), ValueError);
  CHECK_THROWS_WITH_AS(fixed.predict_classes(xor_inputs), doctest::Contains("call build first"), ValueError);
  CHECK_THROWS_WITH_AS(fixed.evaluate(xor_inputs, xor_targets), doctest::Contains("evaluate at sequential.cpp:"),
                       ValueError);
  const Tensor<> expected = model.predict(xor_inputs);  // which builds it
  CHECK(allclose(fixed.predict(xor_inputs), expected, 0, 0));
  CHECK(allclose(fixed.predict(xor_inputs, {.batch_size = 3}), expected, 1e-15, 0));
  CHECK(allclose(astype<double>(fixed.predict_classes(xor_inputs)), astype<double>(argmax(expected, -1)), 0, 0));
  CHECK(fixed.evaluate(xor_inputs, xor_targets)["loss"] == model.evaluate(xor_inputs, xor_targets)["loss"]);
  CHECK_THROWS_AS(fixed.predict(ones({2, 5})), ShapeError);
  CHECK_THROWS_AS(fixed.predict(ones({2})), ShapeError);
}

TEST_CASE("a network learns XOR, on the same path under every way of delta") {
  std::vector<Tensor<>> weights;
  std::vector<double> losses;
  for (OutputDelta way : {OutputDelta::automatic, OutputDelta::closed_form, OutputDelta::vjp, OutputDelta::jacobian}) {
    nn::Sequential<double> model = xor_model(way, "categorical_crossentropy");
    const nn::History h = model.fit(xor_inputs, xor_targets, {.epochs = 400, .batch_size = 4});
    CHECK(h["accuracy"].back() == 1);
    CHECK(h["loss"].back() < 0.05);
    CHECK(h["loss"].size() == 400);
    CHECK(model.evaluate(xor_inputs, xor_targets)["accuracy"] == 1);
    weights.push_back(model.parameters()[0]);
    losses.push_back(h["loss"].back());
  }
  for (std::size_t i = 1; i < weights.size(); ++i) {
    CHECK(allclose(weights[i], weights[0], 0, 1e-12));
    CHECK(losses[i] == about(losses[0], 1e-12));
  }
}

TEST_CASE("labels, one-hot targets, probabilities and logits give one path") {
  auto train = [](nn::Sequential<double> model, const auto& y) {
    model.fit(xor_inputs, y, {.epochs = 50, .batch_size = 2, .seed = 5});
    return model.parameters()[0];
  };
  const OutputDelta any = OutputDelta::automatic;
  const Tensor<> expected = train(xor_model(any, "categorical_crossentropy"), xor_targets);
  CHECK(allclose(train(xor_model(any, nn::sparse_categorical_crossentropy), xor_labels), expected, 0, 1e-13));
  CHECK(allclose(train(xor_model(any, "categorical_crossentropy_from_logits", "linear"), xor_targets), expected, 0,
                 1e-13));
  CHECK(
      allclose(train(xor_model(OutputDelta::vjp, "sparse_categorical_crossentropy_from_logits", "linear"), xor_labels),
               expected, 0, 1e-13));
}

TEST_CASE("a user's activation and loss train by the tape") {
  auto tempered = [](const Tensor<float>& z) {
    auto e = exp((z - max(z, -1, keep_dims)) / 0.7);
    return e / sum(e, -1, keep_dims);
  };
  auto focal = [](const Tensor<float>& a, const Tensor<float>& y) { return -sum(y * square(1 - a) * log(a), -1); };
  std::vector<Tensor<float>> weights;
  for (OutputDelta way : {OutputDelta::automatic, OutputDelta::jacobian}) {
    nn::Sequential<float> model(
        {nn::Flatten{}, nn::Dense{8, [](const auto& x) { return x * sigmoid(x); }}, Scale{},
         nn::Dense{.units = 2, .activation = tempered, .kernel_initializer = nn::random_normal(0.5)}},
        1);
    model.compile({.optimizer = nn::SGD{.learning_rate = 0.5},
                   .loss = focal,
                   .metrics = {"accuracy"},
                   .reduction = nn::Reduction::mean,
                   .output_delta = way});
    CHECK(model.output_delta_used() == (way == OutputDelta::automatic ? OutputDelta::vjp : OutputDelta::jacobian));
    const nn::History h = model.fit(astype<float>(xor_inputs), astype<float>(xor_targets),
                                    {.epochs = 1000,
                                     .batch_size = 4,
                                     .steps_per_epoch = {},
                                     .shuffle = true,
                                     .seed = 1,
                                     .verbose = 0,
                                     .callbacks = {[](nn::Epoch& e) {
                                       if (e.logs["loss"] < 0.01) e.stop();
                                     }}});
    CHECK(h["loss"].back() < 0.01);
    CHECK(h["loss"].size() < 1000);
    CHECK(model.layer_parameters()[2].at("gamma").size() == 8);
    weights.push_back(model.parameters()[0]);
  }
  CHECK(allclose(weights[0], weights[1], 1e-3, 1e-4));
}

TEST_CASE("the way of delta is chosen at compile, and can be asked for") {
  CHECK(xor_model(OutputDelta::automatic, "categorical_crossentropy").output_delta_used() == OutputDelta::closed_form);
  CHECK(xor_model(OutputDelta::automatic, "mse").output_delta_used() == OutputDelta::vjp);
  CHECK(xor_model(OutputDelta::jacobian, "mse").output_delta_used() == OutputDelta::jacobian);
  const std::string message = message_of([] { xor_model(OutputDelta::closed_form, "mse"); });
  CHECK(message.find("softmax + categorical_crossentropy") != std::string::npos);
}

TEST_CASE("one step is w - rate * gradient, of the sum or of the mean") {
  for (nn::Reduction reduction : {nn::Reduction::sum, nn::Reduction::mean}) {
    for (OutputDelta way : {OutputDelta::vjp, OutputDelta::jacobian}) {
      nn::Sequential<double> model({nn::Dense{3, "tanh"}, nn::Dense{2, "sigmoid"}}, 2);
      model.compile(
          {.optimizer = nn::SGD{.learning_rate = 0.3}, .loss = "mse", .reduction = reduction, .output_delta = way});
      model.build({2});
      const TensorList<double> before = model.parameters();
      auto loss = [&](const TensorList<double>& p) {
        const Tensor<> a = sigmoid(matmul(tanh(matmul(xor_inputs, p[0]) + p[1]), p[2]) + p[3]);
        const Tensor<> c = nn::mse(a, xor_targets);
        return reduction == nn::Reduction::sum ? sum(c) : mean(c);
      };
      const auto [value, g] = value_and_grad(loss)(before);
      const nn::Logs logs = model.train_on_batch(xor_inputs, xor_targets);
      // What is reported is the mean, whatever is differentiated.
      CHECK(logs["loss"] == about(value.item() / (reduction == nn::Reduction::sum ? 4 : 1), 1e-14));
      const TensorList<double> after = model.parameters();
      for (std::size_t k = 0; k < 4; ++k) CHECK(allclose(after[k], before[k] - 0.3 * g[k], 0, 1e-15));
    }
  }
}

TEST_CASE("a loss with a scalar result is taken as it is") {
  nn::Sequential<double> model({nn::Dense{.units = 1, .kernel_initializer = "ones", .use_bias = false}});
  model.compile(
      {.optimizer = nn::SGD{.learning_rate = 1}, .loss = [](const auto& a, const auto& y) { return sum(a * y); }});
  model.train_on_batch(reshape(Tensor<>{1, 2}, {2, 1}), reshape(Tensor<>{10, 100}, {2, 1}));
  CHECK(model.parameters()[0].item() == 1 - 210);
}

TEST_CASE("parameters come in the order of the layers, and can be set") {
  nn::Sequential<double> model({nn::Dense{3, "relu"}, nn::Dense{.units = 2, .use_bias = false}}, 1);
  CHECK_THROWS_AS(model.set_parameters({zeros({2, 3})}), ValueError);
  model.build({2});
  const TensorList<double> p = model.parameters();
  REQUIRE(p.size() == 3);
  CHECK(p[0].shape() == Shape{2, 3});
  CHECK(p[1].shape() == Shape{3});
  CHECK(p[2].shape() == Shape{3, 2});
  const Tensor<> W = ones({2, 3}), b{1, 2, 3}, V = ones({3, 2});
  model.set_parameters({W, b, V});
  CHECK(model.predict(xor_inputs)(3, 0) == 12);
  CHECK_THROWS_AS(model.set_parameters({W, b}), ShapeError);
  CHECK_THROWS_AS(model.set_parameters({W, b, W}), ShapeError);
  // Training leaves the user's tensors alone.
  model.compile({.loss = "mse"});
  model.train_on_batch(xor_inputs, xor_targets);
  CHECK(allclose(W, ones({2, 3}), 0, 0));
  CHECK(b(0) == 1);
}

TEST_CASE("the same seed gives the same network and the same path") {
  auto train = [](std::uint64_t seed, std::uint64_t order) {
    nn::Sequential<float> model({nn::Dense{5, "tanh"}, nn::Dense{2, "softmax"}}, seed);
    model.compile({.loss = "categorical_crossentropy"});
    model.fit(astype<float>(xor_inputs), astype<float>(xor_targets), {.epochs = 3, .batch_size = 1, .seed = order});
    return model.parameters()[0];
  };
  CHECK(allclose(train(1, 1), train(1, 1), 0, 0));
  CHECK_FALSE(allclose(train(1, 1), train(2, 1), 0, 1e-6));
  CHECK_FALSE(allclose(train(1, 1), train(1, 2), 0, 1e-9));
}

TEST_CASE("an epoch runs through all examples once, in another order each time") {
  const auto seen = batches_seen({.epochs = 2, .batch_size = 4}, 10);
  REQUIRE(seen.size() == 6);
  std::vector<double> orders[2];
  for (std::size_t step = 0; step < 6; ++step) {
    CHECK(seen[step].size() == (step % 3 == 2 ? 2 : 4));
    orders[step / 3].insert(orders[step / 3].end(), seen[step].begin(), seen[step].end());
  }
  CHECK(std::set<double>(orders[0].begin(), orders[0].end()).size() == 10);
  CHECK(std::set<double>(orders[1].begin(), orders[1].end()).size() == 10);
  CHECK(orders[0] != orders[1]);
  const auto in_order = batches_seen({.epochs = 2, .batch_size = 4, .shuffle = false}, 6);
  CHECK(in_order == std::vector<std::vector<double>>{{0, 1, 2, 3}, {4, 5}, {0, 1, 2, 3}, {4, 5}});
}

TEST_CASE("with steps_per_epoch each step draws distinct examples") {
  const auto seen = batches_seen({.epochs = 2, .batch_size = 8, .steps_per_epoch = 20, .seed = 3}, 10);
  REQUIRE(seen.size() == 40);
  std::set<double> all;
  for (const auto& batch : seen) {
    CHECK(std::set<double>(batch.begin(), batch.end()).size() == 8);
    all.insert(batch.begin(), batch.end());
  }
  CHECK(all.size() == 10);
  CHECK(seen[0] != seen[1]);
}

TEST_CASE("a given list of batches runs through all epochs") {
  const Tensor<std::int64_t> batches({4, 2}, std::vector<std::int64_t>{3, 1, 0, 0, 2, 3, 1, 2});
  const std::vector<std::vector<double>> expected{{3, 1}, {0, 0}, {2, 3}, {1, 2}};
  CHECK(batches_seen({.epochs = 2, .batches = batches}, 4) == expected);
  CHECK(batches_seen({.epochs = 1, .steps_per_epoch = 4, .batches = batches}, 4) == expected);
  CHECK(batches_seen({.epochs = 1, .steps_per_epoch = 3, .batches = batches}, 4).size() == 3);
}

TEST_CASE("the schedule starts again at every epoch") {
  std::vector<std::pair<std::int64_t, std::int64_t>> asked;
  nn::Sequential<double> model({nn::Dense{2}});
  model.compile({.optimizer = nn::SGD{.learning_rate =
                                          [&](std::int64_t epoch, std::int64_t step) {
                                            asked.emplace_back(epoch, step);
                                            return 0.1;
                                          }},
                 .loss = "mse"});
  model.fit(xor_inputs, xor_targets, {.epochs = 2, .batch_size = 2});
  CHECK(asked == std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 0}, {0, 1}, {1, 0}, {1, 1}});
}

TEST_CASE("callbacks see each epoch, and a wrong name of a log is refused") {
  nn::Sequential<double> model = xor_model(OutputDelta::automatic, "categorical_crossentropy");
  std::int64_t epochs = 0;
  const nn::History h =
      model.fit(xor_inputs, xor_targets, {.epochs = 10, .callbacks = {[&](nn::Epoch& e) {
                                                          CHECK(e.index == epochs++);
                                                          CHECK(e.epochs == 10);
                                                          CHECK_THROWS_AS(e.logs["val_loss"], ValueError);
                                                          CHECK(model.predict(xor_inputs).shape() == Shape{4, 2});
                                                          if (e.index == 3) e.stop();
                                                        }}});
  CHECK(epochs == 4);
  CHECK(h["loss"].size() == 4);
  CHECK_THROWS_AS(h["acc"], ValueError);
  CHECK(message_of([&] { h["acc"]; }).find("accuracy") != std::string::npos);
}

TEST_CASE("a prediction can be differentiated by the input") {
  nn::Sequential<double> model = xor_model(OutputDelta::automatic, "categorical_crossentropy");
  model.build({2});
  check_derivatives([&](const Tensor<>& x) { return model.predict(x); }, xor_inputs);
}

TEST_CASE("layers are refused what they cannot take") {
  nn::Sequential<double> images({nn::Dense{2}});
  CHECK(message_of([&] { images.predict(zeros({4, 3, 3})); }).find("Flatten") != std::string::npos);
  nn::Sequential<double> flat({nn::Flatten{}, nn::Dense{2}});
  CHECK(flat.predict(zeros({4, 3, 3})).shape() == Shape{4, 2});
  CHECK_THROWS_AS(flat.predict(zeros({4, 10})), ShapeError);
  nn::Sequential<double> none({nn::Dense{0}});
  CHECK_THROWS_AS(none.predict(xor_inputs), ValueError);
  nn::Sequential<double> empty;
  CHECK_THROWS_AS(empty.predict(xor_inputs), ValueError);
  CHECK_THROWS_AS(flat.predict(Tensor<>{1, 2}), ShapeError);
}

TEST_CASE("data that do not fit are refused, naming the line") {
  nn::Sequential<double> model({nn::Dense{2, "softmax"}});
  CHECK_THROWS_AS(model.fit(xor_inputs, xor_targets), ValueError);  // not compiled
  CHECK_THROWS_AS(model.compile({}), ValueError);                   // no loss
  model.compile({.loss = "categorical_crossentropy"});
  const std::string message = message_of([&] { model.fit(xor_inputs, slice(xor_targets, 0, 0, 3)); });
  CHECK(message.find("(4, 2)") != std::string::npos);
  CHECK(message.find("(3, 2)") != std::string::npos);
  CHECK(message.find("sequential.cpp:") != std::string::npos);
  CHECK_THROWS_AS(model.fit(xor_inputs, slice(xor_targets, 0, 0, 3)), ShapeError);
  CHECK_THROWS_AS(model.evaluate(xor_inputs, slice(xor_targets, 0, 0, 3)), ShapeError);
  CHECK_THROWS_AS(model.train_on_batch(xor_inputs, slice(xor_targets, 0, 0, 3)), ShapeError);
  CHECK_THROWS_AS(model.fit(xor_inputs, zeros({4, 3})), ShapeError);
  CHECK_THROWS_AS(model.fit(zeros({0, 2}), zeros({0, 2})), ShapeError);
  CHECK_THROWS_AS(model.fit(xor_inputs, xor_labels), ValueError);  // labels go with the sparse loss
  nn::Sequential<double> sparse({nn::Dense{2, "softmax"}});
  sparse.compile({.loss = "sparse_categorical_crossentropy"});
  CHECK_THROWS_AS(sparse.fit(xor_inputs, xor_targets), ValueError);
  CHECK_THROWS_AS(sparse.fit(xor_inputs, Tensor<std::int64_t>{0, 1, 2, 0}), ValueError);
  nn::Sequential<double> per_feature({nn::Dense{2}});
  per_feature.compile({.loss = [](const auto& a, const auto& y) { return square(a - y); }});
  CHECK_THROWS_AS(per_feature.fit(xor_inputs, xor_targets), ShapeError);
  nn::Sequential<double> wild({nn::Dense{2}});
  wild.compile({.optimizer = nn::SGD{.learning_rate = std::nan("")}, .loss = "mse"});
  CHECK_THROWS_AS(wild.fit(xor_inputs, xor_targets), ValueError);
}

TEST_CASE("options that do not fit the data are refused") {
  nn::Sequential<double> model({nn::Dense{2}});
  model.compile({.loss = "mse"});
  auto fit = [&](const nn::FitOptions& options) { model.fit(xor_inputs, xor_targets, options); };
  CHECK_THROWS_AS(fit({.batch_size = 0}), ValueError);
  CHECK_THROWS_AS(fit({.epochs = -1}), ValueError);
  CHECK_THROWS_AS(fit({.batch_size = 2, .steps_per_epoch = 0}), ValueError);
  CHECK_THROWS_AS(fit({.batch_size = 5, .steps_per_epoch = 1}), ValueError);
  const Tensor<std::int64_t> batches({3, 1}, std::vector<std::int64_t>{0, 1, 2});
  CHECK_THROWS_AS(fit({.epochs = 2, .batches = batches}), ValueError);
  CHECK_THROWS_AS(fit({.epochs = 2, .steps_per_epoch = 2, .batches = batches}), ValueError);
  CHECK_THROWS_AS(fit({.batches = Tensor<std::int64_t>{0, 1}}), ShapeError);
  CHECK_THROWS_AS(fit({.batches = Tensor<std::int64_t>({1, 1}, std::vector<std::int64_t>{4})}), ValueError);
  CHECK_THROWS_AS(fit({.batches = Tensor<std::int64_t>({1, 1}, std::vector<std::int64_t>{-1})}), ValueError);
}

TEST_CASE("with a loss of logits, one output is cut at 0") {
  const Tensor<> X = reshape(Tensor<>{-3.0, -1.0, -0.2, 0.1, 0.3, 2.0}, {6, 1});
  const Tensor<> y = reshape(Tensor<>{0, 0, 1, 1, 1, 0}, {6, 1});
  const Tensor<std::int64_t> labels{0, 0, 1, 1, 1, 0};
  nn::Sequential<double> logits({nn::Dense{1}}), probabilities({nn::Dense{1, "sigmoid"}});
  for (auto* model : {&logits, &probabilities}) {
    model->build({1});
    model->set_parameters({ones({1, 1}), zeros({1})});
  }
  const std::vector<nn::Metric> metrics{"accuracy", "binary_accuracy", "precision", "recall", "f1"};
  probabilities.compile({.loss = "binary_crossentropy", .metrics = metrics});
  for (const nn::Loss& loss :
       {nn::Loss("binary_crossentropy_from_logits"), nn::Loss(nn::BinaryCrossentropy{.from_logits = true}),
        nn::Loss(nn::BinaryCrossentropy{.label_smoothing = 0.1, .from_logits = true})}) {
    logits.compile({.loss = loss, .metrics = metrics});
    for (const nn::Metric& metric : metrics) {
      CAPTURE(metric.name());
      CHECK(logits.evaluate(X, y)[metric.name()] == probabilities.evaluate(X, y)[metric.name()]);
      CHECK(logits.fit(X, y, {.epochs = 1, .batch_size = 6})[metric.name()].back() ==
            probabilities.evaluate(X, y)[metric.name()]);
      logits.set_parameters({ones({1, 1}), zeros({1})});
    }
    const Tensor<std::int64_t> classes = logits.predict_classes(X), expected{0, 0, 0, 1, 1, 1};
    CHECK(allclose(astype<double>(classes), astype<double>(expected), 0, 0));
  }
  CHECK(logits.evaluate(X, y)["accuracy"] == 4.0 / 6);
  // A user's own threshold stays.
  logits.compile({.loss = "binary_crossentropy_from_logits", .metrics = {nn::BinaryAccuracy{.threshold = 0.5}}});
  CHECK(logits.evaluate(X, y)["binary_accuracy"] == 2.0 / 6);
  // Other losses say nothing about logits.
  logits.compile({.loss = "mse", .metrics = {"accuracy"}});
  CHECK(logits.evaluate(X, y)["accuracy"] == 2.0 / 6);
  CHECK(logits.predict_classes(X)(4) == 0);
}

TEST_CASE("with a softmax inside the loss, a row's softmax is what precision cuts") {
  const Tensor<> X{{1, 1.1, 1.2}, {3, 1, 1}, {0.2, 2, 0.1}};
  const Tensor<std::int64_t> labels{2, 0, 0}, column = reshape(labels, {3, 1});
  nn::Sequential<double> logits({[](const auto&x) { return 1 * x; }}), probabilities({nn::Activation("softmax")});
  const std::vector<nn::Metric> metrics{"accuracy", "precision", "recall", "f1", nn::TopK{.k = 2}};
  logits.compile({.loss = "sparse_categorical_crossentropy_from_logits", .metrics = metrics});
  probabilities.compile({.loss = "sparse_categorical_crossentropy", .metrics = metrics});
  const nn::Logs of_logits = logits.evaluate(X, labels), of_column = logits.evaluate(X, column);
  for (const auto& [key, value] : probabilities.evaluate(X, labels)) {
    const std::string name(key);
    CAPTURE(name);
    CHECK(of_logits[name] == about(value, 1e-15));
    CHECK(of_column[name] == of_logits[name]);
  }
  CHECK(of_logits["recall"] == 1.0 / 3);
}

TEST_CASE("labels in a column train as labels do, in every way") {
  const Tensor<> X{{1, -1}, {0.5, 2}, {-1, 0.3}, {0.1, 0.2}};
  const Tensor<std::int64_t> labels{0, 2, 1, 2}, column = reshape(labels, {4, 1});
  for (const nn::OutputDelta way : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
    std::vector<Tensor<>> kernels;
    for (const Tensor<std::int64_t>& y : {labels, column}) {
      nn::Sequential<double> model({nn::Dense{3, "softmax"}}, 3);
      model.compile({.loss = "sparse_categorical_crossentropy", .metrics = {"accuracy"}, .output_delta = way});
      model.fit(X, y, {.epochs = 3, .batch_size = 2, .validation_split = 0.5, .class_weight = {1, 2, 3}});
      kernels.push_back(model.parameters()[0]);
    }
    CHECK(allclose(kernels[0], kernels[1], 0, 0));
  }
}

namespace {

struct Twice {
  static constexpr const char* name = "Twice";
  bool in_state = false;
  template <class T>
  nn::Params<T> init(const Shape&, nn::Rng&) const {
    nn::Params<T> p{{"gamma", ones<T>({})}};
    if (!in_state) p.add("gamma", ones<T>({}));
    return p;
  }
  template <class T>
  nn::Params<T> state(const Shape&) const {
    return in_state ? nn::Params<T>{{"gamma", ones<T>({})}} : nn::Params<T>{};
  }
  template <class T>
  Tensor<T> operator()(const nn::Params<T>& p, nn::Params<T>&, const Tensor<T>& x, nn::Mode) const {
    return p.at("gamma") * x;
  }
};

}  // namespace

TEST_CASE("two parameters of one name are refused when the model is built") {
  for (const bool in_state : {false, true}) {
    nn::Sequential<double> model({nn::Dense{2}, Twice{in_state}});
    const std::string message = message_of([&] { model.build({3}); });
    CAPTURE(message);
    CHECK(contains(message, "build at sequential.cpp:"));
    CHECK(contains(message, "layer 1 (Twice): two of its parameters or states are named \"gamma\""));
    CHECK(model.parameters().empty());
  }
}

TEST_CASE("a model's file says which layers and activations it belongs to") {
  const std::string path = "layers_of_a_model.npz";
  const auto own = [](const auto& z) { return 2 * z; };
  nn::Sequential<double> saved({nn::Dense{3, "swish"}, nn::Residual{nn::Dense{3, own}}, nn::Activation("relu")});
  saved.build({2});
  saved.save(path);
  const auto loads = [&](nn::Sequential<double> model) { return message_of([&] { model.load(path); }); };
  CHECK(loads(nn::Sequential<double>(
            {nn::Dense{3, "silu"}, nn::Residual{nn::Dense{3, own}}, nn::Activation("relu")})) == "");
  const std::string activation =
      loads(nn::Sequential<double>({nn::Dense{3, "tanh"}, nn::Residual{nn::Dense{3, own}}, nn::Activation("relu")}));
  CHECK(contains(activation, "load at sequential.cpp:"));
  CHECK(contains(activation,
                 path + " is of another model: its layer 0 is \"Dense silu\", and in this one \"Dense tanh\""));
  CHECK(contains(
      loads(nn::Sequential<double>({nn::Dense{3, "silu"}, nn::Residual{nn::Dense{3, "tanh"}}, nn::Activation("relu")})),
      "its layer 1 is \"Residual (Dense custom)\", and in this one \"Residual (Dense tanh)\""));
  CHECK(contains(loads(nn::Sequential<double>({nn::Dense{3, "silu"}, nn::Residual{nn::Dense{3, own}}})),
                 "its layer 2 is \"relu\", and in this one missing"));
  // A file written by 0.1 has no such names.
  const nn::Npz file = nn::read_npz(path);
  nn::Named<nn::AnyTensor> old;
  for (const std::string& name : file.names()) {
    if (name == "layers") continue;
    if (name[0] >= '0' && name[0] <= '9')
      old.add(name, file.read<double>(name));
    else
      old.add(name, file.read<std::int64_t>(name));
  }
  nn::write_npz(path, old);
  nn::Sequential<double> other({nn::Dense{3, "tanh"}, nn::Residual{nn::Dense{3}}});
  other.load(path);
  CHECK(allclose(other.parameters()[0], saved.parameters()[0], 0, 0));
  std::remove(path.c_str());
}

TEST_CASE("numbers of an epoch's line are readable from 1e-12 to 1e12") {
  const struct {
    double value;
    const char* text;
  } cases[] = {{0, "0.0000"},           {0.6931, "0.6931"},        {-12.5, "-12.5000"},   {0.012345, "0.0123"},
               {999999, "999999.0000"}, {0.0012345, "1.2345e-03"}, {1e-12, "1.0000e-12"}, {-2.5e-7, "-2.5000e-07"},
               {1e12, "1.0000e+12"},    {1234567, "1.2346e+06"},   {1 / 0.0, "inf"}};
  for (const auto& c : cases) CHECK(nn::detail::readable(c.value) == c.text);
  CHECK(contains(nn::detail::readable(std::nan("")), "nan"));
}
