// Activations: names, any callable, and the refusal of functions that mix the rows of a batch.

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include "../close.hpp"
#include "../error_message.hpp"

using namespace tapegrad;

namespace {

const Tensor<> z{{-1.5, 0.25, 2.0}, {0.5, -3.0, 1.0}};

/// Notebook 001's softmax: the sum runs over the whole batch.
auto whole_array_softmax = [](const auto& x) {
  auto e = exp(x);
  return e / sum(e);
};

}  // namespace

TEST_CASE("activations by name are the functions of the engine") {
  CHECK(allclose(nn::Activation("linear")(z), z, 0, 0));
  CHECK(allclose(nn::Activation("sigmoid")(z), sigmoid(z), 0, 0));
  CHECK(allclose(nn::Activation("tanh")(z), tanh(z), 0, 0));
  CHECK(allclose(nn::Activation("relu")(z), relu(z), 0, 0));
  CHECK(allclose(nn::Activation("leaky_relu")(z), maximum(z, 0.2 * z), 1e-15, 0));
  CHECK(allclose(nn::Activation("softmax")(z), softmax(z), 0, 0));
  CHECK(allclose(nn::Activation("log_softmax")(z), log(softmax(z)), 1e-14, 0));
  for (const char* name : {"silu", "swish"}) CHECK(allclose(nn::Activation(name)(z), z * sigmoid(z), 1e-15, 0));
  for (const char* name : {"hard_silu", "hard_swish"}) CHECK(allclose(nn::Activation(name)(z), hard_swish(z), 0, 0));
  CHECK(allclose(nn::Activation("gelu")(z), gelu(z), 0, 0));
  CHECK(allclose(nn::Activation("gelu_tanh")(z), gelu_tanh(z), 0, 0));
  CHECK(allclose(nn::Activation("mish")(z), mish(z), 0, 0));
  CHECK(allclose(nn::Activation("elu")(z), elu(z), 0, 0));
  CHECK(allclose(nn::Activation("selu")(z), selu(z), 0, 0));
  CHECK(allclose(nn::Activation("relu6")(z), relu6(z), 0, 0));
  CHECK(allclose(nn::Activation("softplus")(z), softplus(z), 0, 0));
  CHECK(allclose(nn::Activation("softsign")(z), softsign(z), 0, 0));
  CHECK(allclose(nn::Activation("log_sigmoid")(z), log_sigmoid(z), 0, 0));
  CHECK(allclose(nn::Activation("hard_sigmoid")(z), hard_sigmoid(z), 0, 0));
  CHECK(allclose(nn::Activation("hard_tanh")(z), hard_tanh(z), 0, 0));
  CHECK(allclose(nn::Activation("exponential")(z), exp(z), 0, 0));
  CHECK(nn::Activation("softmax")(astype<float>(z)).shape() == Shape{2, 3});
}

TEST_CASE("an unknown activation is refused with the names there are") {
  CHECK_THROWS_AS(nn::Activation("RELU"), ValueError);
  const std::string message = message_of([] { static_cast<void>(nn::Dense{3, "RELU"}); });
  CHECK(message.find("\"RELU\"") != std::string::npos);
  CHECK(message.find("leaky_relu") != std::string::npos);
  CHECK(message.find("activations.cpp:") != std::string::npos);
}

TEST_CASE("a callable serves the number types that it was written for") {
  const nn::Activation both = [](const auto& x) { return x * x; };
  CHECK(both(z)(0, 0) == 2.25);
  CHECK(both(astype<float>(z))(0, 0) == 2.25F);
  const nn::Activation only_float = [](const Tensor<float>& x) { return exp(x); };
  CHECK(only_float(astype<float>(z))(0, 1) == about(std::exp(0.25), 2e-7));
  CHECK_THROWS_AS(only_float(z), ValueError);
  CHECK(only_float.name() == "custom");
}

TEST_CASE("an activation that mixes rows is refused at the first batch, whatever its size") {
  for (const Shape& shape : {Shape{1, 3}, Shape{2, 3}, Shape{3, 3}}) {
    nn::Sequential<double> model({nn::Dense{4, "tanh"}, nn::Dense{3, whole_array_softmax}});
    model.compile({.loss = "categorical_crossentropy"});
    CHECK_THROWS_AS(model.train_on_batch(ones(shape), ones(shape)), RowMixingError);
    CHECK_THROWS_AS(model.predict(ones(shape)), RowMixingError);
  }
  nn::Sequential<double> hidden({nn::Dense{4, [](const auto& x) { return x - mean(x, 0); }}, nn::Dense{3, "softmax"}});
  hidden.compile({.loss = "categorical_crossentropy"});
  const std::string message = message_of([&] { hidden.fit(z, softmax(z)); });
  CHECK(message.find("activations.cpp:") != std::string::npos);
  CHECK(message.find("mixes_rows") != std::string::npos);
  CHECK(message.find("-1, keep_dims") != std::string::npos);
}

TEST_CASE("an activation that was declared to mix rows is used, under every way of delta that can") {
  for (const nn::OutputDelta way : {nn::OutputDelta::automatic, nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
    nn::Sequential<double> model({nn::Dense{3, nn::mixes_rows(whole_array_softmax)}}, 3);
    model.compile({.loss = "categorical_crossentropy", .output_delta = way});
    model.train_on_batch(z, softmax(z));
    const Tensor<> expected = [] {
      nn::Sequential<double> again({nn::Dense{3, nn::mixes_rows(whole_array_softmax)}}, 3);
      again.build({3});
      auto parameters = again.parameters();
      auto loss = [](const TensorList<double>& p) {
        return mean(nn::categorical_crossentropy(whole_array_softmax(matmul(z, p[0]) + p[1]), softmax(z)));
      };
      return parameters[0] - 0.01 * grad(loss)(parameters)[0];
    }();
    CHECK(allclose(model.parameters()[0], expected, 0, 1e-15));
  }
}

TEST_CASE("rows that only constants mix are not mixed") {
  // Each row is shifted by the mean of a constant batch, so that other rows of z have no influence.
  auto shifted = [](const auto& x) { return softmax(x - mean(stop_gradient(x))); };
  nn::Sequential<double> model({nn::Dense{3, shifted}});
  model.compile({.loss = "categorical_crossentropy", .output_delta = nn::OutputDelta::jacobian});
  CHECK_NOTHROW(model.train_on_batch(z, softmax(z)));
}

TEST_CASE("an elementwise function is an activation, and with two operands a loss") {
  const auto swish = elementwise([](auto x) { return x / (1 + exp(-x)); }, "swish");
  const auto log_cosh = elementwise([](auto a, auto y) { return log(cosh(a - y)); }, "log_cosh");
  auto train = [](const nn::Activation& activation, const nn::Loss& loss) {
    nn::Sequential<double> model({nn::Dense{4, activation}, nn::Dense{3, activation}}, 3);
    model.compile({.loss = loss});
    for (int i = 0; i < 5; ++i) model.train_on_batch(z, softmax(z));
    return model.parameters();
  };
  const auto ours = train(swish, log_cosh);
  const auto theirs = train([](const auto& x) { return x / (1 + exp(-x)); },
                            [](const auto& a, const auto& y) { return sum(log(cosh(a - y)), -1); });
  REQUIRE(ours.size() == theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i) CHECK(allclose(ours[i], theirs[i], 1e-12, 1e-14));
  for (const nn::OutputDelta way : {nn::OutputDelta::automatic, nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
    CHECK(allclose(nn::output_delta(swish, log_cosh, z, softmax(z), way),
                   nn::output_delta(
                       "swish", [](const auto& a, const auto& y) { return sum(log(cosh(a - y)), -1); }, z, softmax(z)),
                   1e-13, 1e-15));
  }
}
