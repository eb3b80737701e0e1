// What errors of networks say to do.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include "../error_message.hpp"

using namespace tapegrad;
namespace fs = std::filesystem;

namespace {

const Tensor<> inputs({{0, 1}, {1, 0}, {1, 1}, {0, 0}}), targets({4, 1}, {1, 1, 0, 0});

template <Real T>
nn::Sequential<T> model_of(const nn::Dense& last = {1}) {
  nn::Sequential<T> model({nn::Dense{3, "tanh"}, last});
  model.compile({.loss = "mse"});
  return model;
}

TEST_CASE("a metric that was not compiled, and a log without validation data") {
  nn::Sequential<double> model = model_of<double>();
  const nn::History h = model.fit(inputs, targets, {});
  std::string message = message_of([&] { model.evaluate(inputs, targets)["accuracy"]; });
  CAPTURE(message);
  CHECK(contains(message, "there is no \"accuracy\"; known: loss; metrics are CompileOptions' .metrics"));
  CHECK(contains(message, "at messages.cpp:"));
  message = message_of([&] { h["val_loss"]; });
  CAPTURE(message);
  CHECK(contains(message, "there is no \"val_loss\"; known: loss; "));
  CHECK(contains(message, "val_... comes with .validation_data or .validation_split"));
  // Other lists are not about training.
  CHECK(contains(message_of([] { nn::Params<double>()["w"]; }), "add(\"w\", value) makes one"));
}

TEST_CASE("a target of another width than the last layer's") {
  nn::Sequential<double> model = model_of<double>();
  const std::string message = message_of([&] { model.fit(inputs, ones({4, 3})); });
  CAPTURE(message);
  CHECK(contains(message, "mse at messages.cpp:"));
  CHECK(contains(message, "the prediction is (4, 1) and the target (4, 3)"));
  CHECK(contains(message, "a last layer has as many units as y has columns"));
  CHECK(contains(message_of([&] { model.fit(inputs, ones({4})); }), "reshape(y, {-1, 1}) makes y a column"));
}

TEST_CASE("a file of double is no model of float") {
  const std::string path =
      (fs::temp_directory_path() / ("tapegrad_nn_messages_" + std::to_string(getpid()) + ".npz")).string();
  nn::Sequential<double> saved = model_of<double>();
  saved.build({2});
  saved.save(path);
  nn::Sequential<float> other = model_of<float>();
  const std::string message = message_of([&] { other.load(path); });
  CAPTURE(message);
  CHECK(message.starts_with("load at messages.cpp:"));
  CHECK(contains(message, "this model is of float, and a file of double goes into a Sequential<double>"));
  CHECK(contains(message, "0.kernel"));
  fs::remove(path);
}

TEST_CASE("evaluate compares the numbers of rows before it builds the model") {
  nn::Sequential<double> model = model_of<double>();
  CHECK(contains(message_of([&] { model.evaluate(inputs, ones({3, 1})); }), "must have the same number of rows"));
  CHECK(contains(message_of([&] { model.evaluate(inputs, Tensor<>(1.0)); }), "must have the same number of rows"));
  CHECK(contains(message_of([&] { model.summary(); }), "call build first"));
  CHECK(model.evaluate(inputs, ones({4, 1}))["loss"] >= 0);
}

TEST_CASE("that a policy would not throw is said where it throws") {
  Tensor<> spoilt = inputs;
  spoilt.mutable_data()[3] = std::numeric_limits<double>::quiet_NaN();
  nn::Sequential<double> model = model_of<double>();
  const std::string thrown = message_of([&] { model.fit(spoilt, ones({4, 1})); });
  CHECK(contains(thrown, "; on_nonfinite = nn::OnNonfinite::stop or go_on would not throw"));
  const nn::History h = model.fit(spoilt, ones({4, 1}), {.on_nonfinite = nn::OnNonfinite::stop});
  CHECK(contains(h.nonfinite, "the loss of epoch 1"));
  CHECK_FALSE(contains(h.nonfinite, "on_nonfinite"));
}

}  // namespace
