// fit: losses and weights that are not finite.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "../error_message.hpp"
#include "fit_models.hpp"

using namespace fit_tests;

namespace {

nn::Sequential<double> linear(const nn::Optimizer& optimizer = nn::SGD{.learning_rate = 0.1}) {
  nn::Sequential<double> model({nn::Dense{3}}, 4);
  model.compile({.optimizer = optimizer, .loss = "mse"});
  model.build({5});
  return model;
}

/// `all`, with one number of a row changed.
Tensor<> spoilt(const Tensor<>& all, std::int64_t row, double value) {
  Tensor<> changed = all;
  changed.mutable_data()[row * all.shape()[1] + 1] = value;
  return changed;
}

/// Momentum that turns everything it has into NaN at one step, once.
struct Spoiling {
  nn::LearningRate learning_rate = 0.01;
  int* steps_to_go = nullptr;
  template <class T>
  nn::Params<T> slots(const Tensor<T>& w) const {
    return {{"v", zeros<T>(w.shape())}};
  }
  template <class T>
  void update(Tensor<T>& w, const Tensor<T>& g, nn::Params<T>& slots, const nn::Step& step) const {
    slots["v"] = 0.5 * slots["v"] + g;
    w = w - step.rate * slots["v"];
    // The kernel comes first.
    if (w.rank() != 2 || --*steps_to_go != 0) return;
    slots["v"] = slots["v"] * std::numeric_limits<T>::quiet_NaN();
    w = w + slots["v"];
  }
};

}  // namespace

TEST_CASE("a loss that is not finite ends fit before the step is made, and says what went first") {
  const Clouds<double> data;
  for (const double bad : {undefined, infinite, -infinite}) {
    const std::string printed = std::isnan(bad) ? "nan" : bad > 0 ? "inf" : "-inf";
    nn::Sequential<double> model = linear(), same = linear();
    std::string message = message_of(
        [&] { model.fit(spoilt(data.X, 37, bad), data.y, {.epochs = 3, .batch_size = 10, .shuffle = false}); });
    CAPTURE(message);
    CHECK(message.starts_with("fit at nonfinite.cpp:"));
    CHECK(contains(message, "the loss of epoch 1, step 4, is "));
    CHECK(contains(message, "X holds " + printed + " in row 37"));
    CHECK(contains(message, "the model keeps the weights of before that step"));
    CHECK(contains(message, "on_nonfinite"));
    same.fit(slice(data.X, 0, 0, 30), slice(data.y, 0, 0, 30), {.batch_size = 10, .shuffle = false});
    CHECK(same_bits(model.parameters(), same.parameters()));

    message = message_of([&] { model.fit(data.X, spoilt(data.y, 8, bad)); });
    CAPTURE(message);
    CHECK(contains(message, "y holds " + printed + " in row 8"));
  }
  // Shuffled, the row is that of the user's X all the same; so it is for examples that are pictures.
  nn::Sequential<double> model = linear();
  CHECK(contains(message_of([&] { model.fit(spoilt(data.X, 23, undefined), data.y, {.seed = 6}); }),
                 "X holds nan in row 23"));
  nn::Sequential<double> pictures({nn::Flatten{}, nn::Dense{3, "softmax"}});
  pictures.compile({.loss = "sparse_categorical_crossentropy"});
  const Tensor<> images = reshape(spoilt(data.X, 23, undefined), {12, 5, 5});
  CHECK(contains(message_of([&] { pictures.fit(images, slice(data.labels, 0, 0, 12)); }), "X holds nan in row 4"));
}

TEST_CASE("a row of weight 0 is not what went first") {
  const Clouds<double> data;
  Tensor<> weights = ones({60});
  weights.mutable_data()[11] = 0;
  nn::Sequential<double> model = linear();
  const Tensor<> X = spoilt(spoilt(data.X, 11, undefined), 40, infinite);
  const nn::FitOptions options{.batch_size = 60, .sample_weight = weights, .shuffle = false};
  CHECK(contains(message_of([&] { model.fit(X, data.y, options); }), "X holds inf in row 40"));
  CHECK(contains(message_of([&] { model.fit(data.X, spoilt(spoilt(data.y, 11, undefined), 40, infinite), options); }),
                 "y holds inf in row 40"));
}

TEST_CASE("what overflows on the way, with finite data and weights, is said to") {
  const Clouds<double> data;
  nn::Sequential<double> model = linear();
  const TensorList<double> before = model.parameters();
  const std::string message = message_of([&] { model.fit(data.X, data.y * 1e200); });
  CHECK(contains(message, "the loss of epoch 1, step 1, is inf"));
  CHECK(contains(message, "X, y and the weights are finite"));
  CHECK(same_bits(model.parameters(), before));

  // An exploding rate is of this kind too: each step's weights are finite.
  nn::Sequential<double> exploding = linear(nn::SGD{.learning_rate = 1e10});
  CHECK(contains(message_of([&] { exploding.fit(data.X, data.y, {.epochs = 100}); }), "learning rate"));
  for (const Tensor<>& w : exploding.parameters()) CHECK(std::isfinite(sum(w / 1e200).item()));

  nn::Sequential<double> penal({nn::Dense{.units = 3, .kernel_regularizer = nn::l2(1e300)}});
  penal.compile({.optimizer = nn::SGD{.learning_rate = 1}, .loss = "mse"});
  penal.build({5});
  CHECK(contains(message_of([&] { penal.fit(data.X, data.y, {.epochs = 9}); }), "is inf"));
}

TEST_CASE("weights that went first are those of the last epoch's end again, from where training can go on") {
  const Clouds<double> data;
  const auto options = [](std::int64_t epochs) {
    return nn::FitOptions{.epochs = epochs, .batch_size = 15, .seed = 2};  // 4 steps
  };
  const auto trained = [&](std::int64_t epochs) {
    int never = -1;
    nn::Sequential<double> model = linear(Spoiling{.steps_to_go = &never});
    model.fit(data.X, data.y, options(epochs));
    return model;
  };
  struct Case {
    int spoilt_step;
    std::string told;
    std::int64_t kept;
  };
  for (const Case& spoilt :
       {Case{10, "the loss of epoch 3, step 3, is nan", 2}, Case{9, "the loss of epoch 3, step 2, is nan", 2},
        // The weights at the end of epoch 2 are not finite either.
        Case{8, "the loss of epoch 3, step 1, is nan", 1}, Case{3, "the loss of epoch 1, step 4, is nan", 0}}) {
    const auto& [spoilt_step, told, kept] = spoilt;
    CAPTURE(spoilt.spoilt_step);
    int steps_to_go = spoilt_step;
    nn::Sequential<double> model = linear(Spoiling{.steps_to_go = &steps_to_go});
    const TensorList<double> before = model.parameters();
    const std::string message = message_of([&] { model.fit(data.X, data.y, options(5)); });
    CAPTURE(message);
    CHECK(contains(message, told));
    CHECK(contains(message, "the weights hold nan in \"kernel\" of layer 0 (Dense)"));
    CHECK(contains(message, kept == 0 ? "the model has those from before the first epoch"
                                      : "the model has those of the end of epoch " + std::to_string(kept)));
    CHECK(model.epochs_trained() == kept);
    CHECK(same_bits(model.parameters(), kept == 0 ? before : trained(kept).parameters()));
    model.fit(data.X, data.y, options(5 - kept));
    CHECK(same_bits(model.parameters(), trained(5).parameters()));
  }
  // There may be none to go back to.
  nn::Sequential<double> model = linear();
  TensorList<double> w = model.parameters();
  w[1] = full({3}, -infinite);
  model.set_parameters(w);
  const std::string message = message_of([&] { model.fit(data.X, data.y); });
  CHECK(contains(message, "the weights hold -inf in \"bias\" of layer 0 (Dense)"));
  CHECK(contains(message, "before the first epoch they were not finite either"));
  CHECK(same_bits(model.parameters(), w));
}

TEST_CASE("a loss that is not finite may stop training, or be passed over") {
  const Clouds<double> data;
  const auto options = [](nn::OnNonfinite on_nonfinite) {
    return nn::FitOptions{.epochs = 5, .batch_size = 15, .seed = 2, .on_nonfinite = on_nonfinite};
  };
  for (const int spoilt_step : {10, 8}) {
    int to_stop = spoilt_step, to_go_on = spoilt_step, never = -1;
    nn::Sequential<double> stopped = linear(Spoiling{.steps_to_go = &to_stop}),
                           gone_on = linear(Spoiling{.steps_to_go = &to_go_on}),
                           good = linear(Spoiling{.steps_to_go = &never});
    const nn::History h = stopped.fit(data.X, data.y, options(nn::OnNonfinite::stop));
    CHECK(h["loss"].size() == 2);
    CHECK(contains(h.nonfinite, "the loss of epoch 3, step "));
    CHECK_FALSE(h.interrupted);
    const nn::History g = good.fit(data.X, data.y, {.epochs = spoilt_step == 8 ? 1 : 2, .batch_size = 15, .seed = 2});
    CHECK(g.nonfinite.empty());
    CHECK(same_bits(stopped.parameters(), good.parameters()));

    const nn::History all = gone_on.fit(data.X, data.y, options(nn::OnNonfinite::go_on));
    CHECK(all["loss"].size() == 5);
    CHECK(std::isnan(all["loss"].back()));
    CHECK(all.nonfinite.empty());
    CHECK(gone_on.epochs_trained() == 5);
  }
  // The best epoch comes back after a stop too.
  int steps_to_go = 14;
  nn::Sequential<double> model = linear(Spoiling{.steps_to_go = &steps_to_go});
  std::vector<TensorList<double>> weights;
  const auto log = [&](nn::Epoch& e) {
    e.logs["loss"] = e.index == 1 ? 1 : 2;
    weights.push_back(model.parameters());
  };
  nn::FitOptions restoring = options(nn::OnNonfinite::stop);
  restoring.callbacks = {log, nn::EarlyStopping{.monitor = "loss", .patience = 9, .restore_best = true}};
  model.fit(data.X, data.y, restoring);
  CHECK(weights.size() == 3);
  CHECK(same_bits(model.parameters(), weights[1]));
}
