// fit: what is trained on and what is evaluated after each epoch.

#include <doctest/doctest.h>

#include <string>

#include "../close.hpp"
#include "../error_message.hpp"
#include "fit_models.hpp"

using namespace fit_tests;

TEST_CASE("validation_split takes the last rows, and trains on the others alone") {
  const Clouds<double> data(50);
  nn::Sequential<double> split = classifier<double>(), given = classifier<double>();
  const nn::History a = split.fit(data.X, data.y, {.epochs = 3, .batch_size = 8, .validation_split = 0.25});
  // floor(50 * 0.75) = 37
  const nn::History b = given.fit(
      slice(data.X, 0, 0, 37), slice(data.y, 0, 0, 37),
      {.epochs = 3, .batch_size = 8, .validation_data = {{slice(data.X, 0, 37, 50), slice(data.y, 0, 37, 50)}}});
  for (const char* name : {"loss", "accuracy", "val_loss", "val_accuracy"}) CHECK(a[name] == b[name]);
  CHECK(same_bits(split.parameters(), given.parameters()));
  const nn::Logs now = split.evaluate(slice(data.X, 0, 37, 50), slice(data.y, 0, 37, 50));
  CHECK(now["loss"] == a["val_loss"].back());
  CHECK(now["accuracy"] == a["val_accuracy"].back());
}

TEST_CASE("validation data may be of another type of number, but not labels for numbers") {
  const Clouds<double> data;
  const Clouds<float> single;
  nn::Sequential<double> model = classifier<double>();
  const nn::History h = model.fit(data.X, data.y, {.validation_data = {{single.X, single.y}}});
  CHECK(h["val_loss"].back() == about(model.evaluate(data.X, data.y)["loss"], 1e-6));
  const std::string message = message_of([&] {
    model.fit(data.X, data.y, {.validation_data = {{data.X, data.labels}}});
  });
  CHECK(contains(message, "splits.cpp:"));
  CHECK(contains(message, "validation_data"));
  CHECK(contains(message, "y holds labels"));
}

TEST_CASE("validation_split is the decimal that was written") {
  const auto trained_on = [](std::int64_t rows, double part) {
    std::int64_t seen = 0;
    const auto count = [&](const nn::Params<double>&, const Tensor<>& x, nn::Mode mode) {
      if (mode.training) seen += x.shape()[0];
      return x;
    };
    nn::Sequential<double> model({count, nn::Dense{1}});
    model.compile({.loss = "mse"});
    model.fit(zeros({rows, 1}), zeros({rows, 1}), {.validation_split = part});
    return seen;
  };
  CHECK(trained_on(5, 0.8) == 1);
  CHECK(trained_on(100, 0.9) == 10);
  CHECK(trained_on(10, 0.9) == 1);
  CHECK(trained_on(1000, 0.999) == 1);
  CHECK(trained_on(10, 0.3) == 7);
  CHECK(trained_on(50, 0.25) == 37);
  CHECK(trained_on(3, 1.0 / 3) == 2);
  CHECK(trained_on(7, 1e-300) == 6);
  for (std::int64_t k = 1; k < 100; ++k) {
    CAPTURE(k);
    CHECK(trained_on(100, static_cast<double>(k) / 100) == 100 - k);
  }
  CHECK(contains(message_of([&] { trained_on(5, 0.81); }), "validation_split is 0.81 of 5"));
}
