// Layers: each is compared with its formula in plain loops; also its derivatives, what it keeps, and what it refuses.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

#include "../close.hpp"
#include "../error_message.hpp"

using namespace tapegrad;
using nn::Params;

namespace {

template <Real T>
Tensor<T> random_tensor(const Shape& shape, std::uint64_t seed = 1) {
  return random::Generator(seed).normal<T>(shape);
}

/// The output of a layer without state.
template <class L, Real T>
Tensor<T> call(const L& layer, const Params<T>& p, const Tensor<T>& x, nn::Mode mode = {}) {
  Params<T> none;
  return nn::Layer<T>(layer)(p, none, x, mode);
}

/// gamma (x - mean) / sqrt(variance + epsilon) + beta over `count` elements, `stride` apart.
void normalize(double* x, int count, int stride, double epsilon, const double* gamma, const double* beta, int step,
               double* average = nullptr, double* variance = nullptr) {
  double m = 0, v = 0;
  for (int i = 0; i < count; ++i) m += x[i * stride] / count;
  for (int i = 0; i < count; ++i) v += (x[i * stride] - m) * (x[i * stride] - m) / count;
  for (int i = 0; i < count; ++i) {
    x[i * stride] = gamma[i * step] * (x[i * stride] - m) / std::sqrt(v + epsilon) + beta[i * step];
  }
  if (average) *average = m;
  if (variance) *variance = v;
}

/// The output of BatchNorm in training, with the batch's mean and variance.
struct BatchStatistics {
  std::vector<double> y, mean, variance;
  BatchStatistics(const Tensor<>& x, const Tensor<>& gamma, const Tensor<>& beta, double epsilon)
      : y(x.data(), x.data() + x.size()),
        mean(static_cast<std::size_t>(gamma.size())),
        variance(static_cast<std::size_t>(gamma.size())) {
    const auto n = static_cast<int>(gamma.size()), rows = static_cast<int>(x.size()) / n;
    for (int j = 0; j < n; ++j) {
      const auto at = static_cast<std::size_t>(j);
      normalize(y.data() + j, rows, n, epsilon, gamma.data() + j, beta.data() + j, 0, &mean[at], &variance[at]);
    }
  }
};

Tensor<> like(const Tensor<>& x, const std::vector<double>& values) { return Tensor<>(x.shape(), values); }
Tensor<> vector_of(const std::vector<double>& v) { return Tensor<>({static_cast<std::int64_t>(v.size())}, v); }

/// A layer with two branches side by side: what a user writes for a Concatenate with parameters.
struct Branches {
  nn::Dense left{3, "tanh"}, right{2, "relu"};

  template <class T>
  Params<T> init(const Shape& in, nn::Rng& rng) const {
    Params<T> p;
    for (const auto& [name, tensor] : left.init<T>(in, rng)) p.add("left." + name, tensor);
    for (const auto& [name, tensor] : right.init<T>(in, rng)) p.add("right." + name, tensor);
    return p;
  }
  template <class T>
  Tensor<T> operator()(const Params<T>& p, const Tensor<T>& x, nn::Mode mode) const {
    const Params<T> l{{"kernel", p["left.kernel"]}, {"bias", p["left.bias"]}};
    const Params<T> r{{"kernel", p["right.kernel"]}, {"bias", p["right.bias"]}};
    return concatenate({left(l, x, mode), right(r, x, mode)}, -1);
  }
};

}  // namespace

// ------------------------------------------------------------------------------------------------- Dense, penalties

TEST_CASE("Dense is f(x W + b)") {
  nn::Rng rng(3);
  const nn::Dense dense{.units = 2, .activation = "tanh", .bias_initializer = nn::random_normal(1)};
  for (std::int64_t rows : {1, 7}) {
    const Params<double> p = dense.init<double>({3}, rng);
    const Tensor<> x = random_tensor<double>({rows, 3}), y = call(dense, p, x);
    REQUIRE(y.shape() == Shape{rows, 2});
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < 2; ++j) {
        double z = p["bias"](j);
        for (std::int64_t k = 0; k < 3; ++k) z += x(i, k) * p["kernel"](k, j);
        CHECK(y(i, j) == about(std::tanh(z), 1e-14));
      }
    }
  }
}

TEST_CASE("regularizers are Keras' penalties, with the derivatives of the tape") {
  const Tensor<> w{{1, -2, 0}, {0.5, 3, -4}};
  const double absolute = 10.5, squares = 30.25;
  CHECK(nn::l1(0.1)(w).item() == about(0.1 * absolute, 1e-15));
  CHECK(nn::l2(0.1)(w).item() == about(0.1 * squares, 1e-15));
  CHECK(nn::l1_l2(0.1, 0.2)(w).item() == about(0.1 * absolute + 0.2 * squares, 1e-15));
  CHECK(nn::l1_l2()(w).item() == about(0.01 * (absolute + squares), 1e-15));
  const Tensor<> signs{{1, -1, 0}, {1, 1, -1}};
  CHECK(allclose(grad(nn::l1(0.1))(w), 0.1 * signs, 1e-15, 0));
  CHECK(allclose(grad(nn::l2(0.1))(w), 0.2 * w, 1e-15, 0));
  CHECK(allclose(grad(nn::l1_l2(0.1, 0.2))(w), 0.1 * signs + 0.4 * w, 1e-15, 0));
  CHECK(nn::l2(0.5)(astype<float>(w)).item() == 0.5 * squares);
  CHECK_FALSE(nn::Regularizer());
  CHECK(nn::l2());
}

TEST_CASE_TEMPLATE("the penalty of a layer is added once to the mean loss, and its derivative to the gradient", T,
                   float, double) {
  const Tensor<T> x = random_tensor<T>({7, 3}), y = random_tensor<T>({7, 2}, 2);
  nn::Sequential<T> model(
      {nn::Dense{.units = 4,
                 .activation = "tanh",
                 .bias_initializer = nn::random_normal(1),
                 .kernel_regularizer = nn::l1_l2(0.01, 0.02),
                 .bias_regularizer = nn::l2(0.3)},
       nn::Dense{.units = 2, .use_bias = false, .kernel_regularizer = [](const auto& w) { return sum(exp(w)); }}},
      5);
  model.compile({.optimizer = nn::SGD{.learning_rate = 0.1}, .loss = "mse"});
  model.build({3});
  const auto before = model.parameters();
  auto loss = [&](const TensorList<T>& p) {
    const Tensor<T> a = matmul(tanh(matmul(x, p[0]) + p[1]), p[2]);
    return mean(nn::mse(a, y)) + 0.01 * sum(abs(p[0])) + 0.02 * sum(square(p[0])) + 0.3 * sum(square(p[1])) +
           sum(exp(p[2]));
  };
  const auto [value, gradients] = value_and_grad(loss)(before);
  const double tolerance = std::is_same_v<T, float> ? 1e-6 : 1e-14;
  CHECK(model.train_on_batch(x, y)["loss"] == about(value.item(), 10 * tolerance));
  const auto after = model.parameters();
  for (std::size_t k = 0; k < 3; ++k) CHECK(allclose(after[k], before[k] - 0.1 * gradients[k], 0, tolerance));
}

TEST_CASE("regularizers are refused what they cannot be") {
  CHECK(contains(message_of([] { nn::l2(-1); }), "layers.cpp:"));
  CHECK_THROWS_AS(nn::l1(std::nan("")), ValueError);
  CHECK_THROWS_AS(nn::l1_l2(0, -1), ValueError);
  nn::Rng rng;
  const nn::Dense not_a_number{.units = 2, .kernel_regularizer = [](const auto& w) { return square(w); }};
  const std::string message = message_of([&] { not_a_number.penalty(not_a_number.init<double>({3}, rng)); });
  CHECK(contains(message, "(3, 2)"));
  CHECK(contains(message, "one number"));
  const nn::Dense of_float{.units = 2, .kernel_regularizer = [](const Tensor<float>& w) { return sum(w); }};
  CHECK_THROWS_AS(of_float.penalty(of_float.init<double>({3}, rng)), ValueError);
  const nn::Dense no_bias{.units = 2, .use_bias = false, .bias_regularizer = nn::l2()};
  CHECK_FALSE(no_bias.penalty(no_bias.init<double>({3}, rng)));
}

// --------------------------------------------------------------------------------------------------------- Dropout

TEST_CASE("bernoulli draws the words of the generator") {
  const double p = 0.3;
  for (std::int64_t n : {1, 31, 128, 1000}) {
    random::Generator rng(7), words(7);
    const Tensor<float> drawn = rng.bernoulli<float>({n}, p, 2.5);
    std::vector<float> expected;
    while (static_cast<std::int64_t>(expected.size()) < n) {
      std::uint32_t word[4][32];
      for (std::size_t block = 0; block < 32; ++block) {
        for (std::size_t half = 0; half < 2; ++half) {
          const std::uint64_t bits = words.bits();
          word[2 * half][block] = static_cast<std::uint32_t>(bits >> 32);
          word[2 * half + 1][block] = static_cast<std::uint32_t>(bits);
        }
      }
      for (const auto& row : word) {
        for (std::uint32_t w : row) expected.push_back(w < p * 0x1p32 ? 2.5F : 0.0F);
      }
    }
    for (std::int64_t i = 0; i < n; ++i) REQUIRE(drawn(i) == expected[static_cast<std::size_t>(i)]);
    CHECK_FALSE(allclose(rng.bernoulli<float>({1000}, p), rng.bernoulli<float>({1000}, p), 0.1, 0.1));
  }
  random::Generator rng;
  CHECK(allclose(rng.bernoulli<double>({100}, 0), zeros({100}), 0, 0));
  CHECK(allclose(rng.bernoulli<double>({100}, 1, 3), full({100}, 3), 0, 0));
  CHECK(rng.bernoulli<double>({0}, 0.5).size() == 0);
  CHECK_THROWS_AS(rng.bernoulli<double>({3}, 1.5), ValueError);
  CHECK_THROWS_AS(rng.bernoulli<double>({3}, std::nan("")), ValueError);
}

TEST_CASE_TEMPLATE("Dropout drops or scales in training, and does nothing in prediction", T, float, double) {
  const Tensor<T> x = 1 + abs(random_tensor<T>({1000, 20}));
  for (double rate : {0.2, 0.5, 0.9}) {
    const nn::Dropout dropout{rate};
    CHECK(allclose(call(dropout, {}, x), x, 0, 0));
    nn::Rng rng(11), again(11), other(12);
    const nn::Mode mode{.training = true, .rng = &rng};
    const Tensor<T> y = call(dropout, {}, x, mode);
    std::int64_t dropped = 0;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      if (y.data()[i] == 0)
        ++dropped;
      else
        REQUIRE(y.data()[i] == about(static_cast<double>(x.data()[i]) / (1 - rate), 2 * eps<T>));
    }
    // Five standard deviations of the share of 20000.
    const double n = 20000;
    CHECK(std::abs(static_cast<double>(dropped) / n - rate) < 5 * std::sqrt(rate * (1 - rate) / n));
    // The expectation stays the same.
    const double spread = std::sqrt(rate / (1 - rate) * static_cast<double>(mean(square(x)).item()) / n);
    CHECK(std::abs(static_cast<double>(mean(y).item() - mean(x).item())) < 5 * spread);
    CHECK(allclose(call(dropout, {}, x, {.training = true, .rng = &again}), y, 0, 0));
    CHECK_FALSE(allclose(call(dropout, {}, x, mode), y, 0.1, 0.1));
    CHECK_FALSE(allclose(call(dropout, {}, x, {.training = true, .rng = &other}), y, 0.1, 0.1));
  }
  nn::Rng rng;
  CHECK(allclose(call(nn::Dropout{0}, {}, x, {.training = true, .rng = &rng}), x, 0, 0));
}

TEST_CASE("Dropout's derivative is its mask, and a dropped infinity is 0") {
  const Tensor<> x = random_tensor<double>({7, 5});
  auto dropped = [](const Tensor<>& z) {
    nn::Rng rng(4);
    return call(nn::Dropout{0.4}, {}, z, {.training = true, .rng = &rng});
  };
  check_derivatives(dropped, x);
  CHECK(allclose(grad([&](const Tensor<>& z) { return sum(dropped(z)); })(x), dropped(ones({7, 5})), 0, 0));
  const Tensor<> mask = dropped(ones({7, 5}));
  const Tensor<> infinite = dropped(full({7, 5}, std::numeric_limits<double>::infinity()));
  CHECK(min(mask).item() == 0);
  for (std::int64_t i = 0; i < mask.size(); ++i) CHECK((infinite.data()[i] == 0) == (mask.data()[i] == 0));
}

TEST_CASE("a network with Dropout: one path for a seed, and predictions that draw nothing") {
  const Tensor<> x = random_tensor<double>({16, 4}), y = random_tensor<double>({16, 2}, 2);
  auto train = [&](std::uint64_t seed, double rate) {
    nn::Sequential<double> model({nn::Dense{8, "tanh"}, nn::Dropout{rate}, nn::Dense{2}}, seed);
    model.compile({.loss = "mse"});
    model.fit(x, y, {.epochs = 3, .batch_size = 5});
    CHECK(allclose(model.predict(x), model.predict(x), 0, 0));
    return model.parameters()[2];
  };
  CHECK(allclose(train(1, 0.3), train(1, 0.3), 0, 0));
  CHECK_FALSE(allclose(train(1, 0.3), train(2, 0.3), 1e-3, 1e-3));
  CHECK_FALSE(allclose(train(1, 0.3), train(1, 0), 1e-3, 1e-3));
}

TEST_CASE("Dropout refuses rates outside [0, 1), and training without random numbers") {
  for (double rate : {-0.1, 1.0, 1.5, std::nan("")}) {
    nn::Sequential<double> model({nn::Dropout{rate}, nn::Dense{1}});
    CHECK_THROWS_AS(model.build({2}), ValueError);
  }
  CHECK(contains(message_of([] { call(nn::Dropout{}, {}, ones({2, 2}), {.training = true}); }), ".rng = &rng"));
}

// --------------------------------------------------------------------------------------------------- normalization

TEST_CASE("BatchNorm by its formula, in training and prediction, with the moving averages of three batches") {
  const nn::BatchNorm norm{.momentum = 0.9, .epsilon = 1e-2};
  const std::vector<Shape> batches{{7, 3}, {1, 3}, {2, 4, 3}};
  const Tensor<> gamma{1.5, -2, 0.25}, beta{0.1, 0.2, -0.3};
  const Params<double> p{{"gamma", gamma}, {"beta", beta}};
  Params<double> state = norm.state<double>({3});
  std::vector<double> moving_mean(3, 0), moving_variance(3, 1);
  std::uint64_t seed = 0;
  for (const Shape& shape : batches) {
    const Tensor<> x = 2 + 3 * random_tensor<double>(shape, ++seed);
    const BatchStatistics expected(x, gamma, beta, 1e-2);
    const Tensor<> y = norm(p, state, x, {.training = true});
    CHECK(allclose(y, like(x, expected.y), 1e-13, 1e-14));
    for (std::size_t j = 0; j < 3; ++j) {
      moving_mean[j] = 0.9 * moving_mean[j] + 0.1 * expected.mean[j];
      moving_variance[j] = 0.9 * moving_variance[j] + 0.1 * expected.variance[j];
    }
    CHECK(allclose(state["moving_mean"], vector_of(moving_mean), 1e-14, 1e-15));
    CHECK(allclose(state["moving_variance"], vector_of(moving_variance), 1e-14, 1e-15));

    const Tensor<> m = state["moving_mean"], v = state["moving_variance"];
    const Tensor<> predicted = norm(p, state, x, {});
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const auto j = static_cast<std::size_t>(i % 3);
      const double scaled = (x.data()[i] - moving_mean[j]) / std::sqrt(moving_variance[j] + 1e-2);
      CHECK(predicted.data()[i] == about(gamma.data()[j] * scaled + beta.data()[j], 1e-13));
    }
    CHECK_FALSE(allclose(predicted, y, 1e-3, 1e-3));
    CHECK(allclose(state["moving_mean"], m, 0, 0));
    CHECK(allclose(state["moving_variance"], v, 0, 0));
  }
}

TEST_CASE_TEMPLATE("BatchNorm's derivatives by x, gamma and beta", T, float, double) {
  const nn::BatchNorm norm{.epsilon = 0.1};
  nn::Rng rng;
  for (const Shape& shape : {Shape{1, 3}, Shape{7, 3}, Shape{2, 2, 3}}) {
    for (const bool training : {true, false}) {
      CAPTURE(to_string(shape));
      CAPTURE(training);
      auto f = [&](const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta) {
        Params<T> state = norm.state<T>({3});
        return norm(Params<T>{{"gamma", gamma}, {"beta", beta}}, state, x, {.training = training, .rng = &rng});
      };
      check_derivatives(f, random_tensor<T>(shape), random_tensor<T>({3}, 2), random_tensor<T>({3}, 3));
    }
  }
}

TEST_CASE_TEMPLATE("BatchNorm stays finite: a constant column, a batch of one, large numbers", T, float, double) {
  const nn::BatchNorm norm;
  nn::Rng rng;
  const Params<T> p{{"gamma", full<T>({2}, T(3))}, {"beta", full<T>({2}, T(0.5))}};
  for (const Tensor<T>& x : {full<T>({7, 2}, T(10000)), full<T>({1, 2}, T(-10000))}) {
    Params<T> state = norm.state<T>({2});
    auto f = [&](const Tensor<T>& z) { return norm(p, state, z, {.training = true}); };
    CHECK(allclose(f(x), full<T>(x.shape(), T(0.5)), 0, 0));
    CHECK(
        allclose(grad([&](const Tensor<T>& z) { return sum(square(f(z))); })(x), zeros<T>(x.shape()), 0, 1e3 * eps<T>));
    CHECK_FALSE(state["moving_mean"].traced());
  }
  const Tensor<T> wide{{10000, -10000}, {-10000, 10000}, {0, 1}};
  Params<T> state = norm.state<T>({2});
  const Tensor<T> y = norm(p, state, wide, {.training = true});
  CHECK(std::abs(static_cast<double>(y(0, 0)) - (0.5 + 3 * std::sqrt(1.5))) < 1e-5);
}

TEST_CASE_TEMPLATE("LayerNorm by its formula, the same in training and prediction", T, float, double) {
  const nn::LayerNorm norm{.epsilon = 1e-2};
  nn::Rng rng;
  for (const Shape& shape : {Shape{1, 5}, Shape{7, 5}, Shape{2, 3, 5}}) {
    const Tensor<> x = 2 + 3 * random_tensor<double>(shape), gamma = random_tensor<double>({5}, 2),
                   beta = random_tensor<double>({5}, 3);
    std::vector<double> expected(x.data(), x.data() + x.size());
    for (std::int64_t row = 0; row < x.size() / 5; ++row) {
      normalize(expected.data() + 5 * row, 5, 1, 1e-2, gamma.data(), beta.data(), 1);
    }
    const Params<T> p{{"gamma", astype<T>(gamma)}, {"beta", astype<T>(beta)}};
    const Tensor<T> y = call(norm, p, astype<T>(x));
    CHECK(allclose(y, astype<T>(like(x, expected)), std::is_same_v<T, float> ? 1e-4 : 1e-13,
                   std::is_same_v<T, float> ? 1e-5 : 1e-14));
    CHECK(allclose(call(norm, p, astype<T>(x), {.training = true, .rng = &rng}), y, 0, 0));
    check_derivatives(
        [&](const Tensor<T>& z, const Tensor<T>& g, const Tensor<T>& b) {
          return call(norm, Params<T>{{"gamma", g}, {"beta", b}}, z);
        },
        random_tensor<T>(shape, 4), random_tensor<T>({5}, 5), random_tensor<T>({5}, 6));
  }
  const Params<T> p{{"gamma", ones<T>({2})}, {"beta", full<T>({2}, T(0.5))}};
  const Tensor<T> extreme{{10000, 10000}, {10000, -10000}};
  const Tensor<T> y = call(nn::LayerNorm{}, p, extreme);
  CHECK(y(0, 0) == T(0.5));
  CHECK(y(1, 1) == about(0.5 - 1 / std::sqrt(1 + 1e-3 / 1e8), 4 * eps<T>));
  const Tensor<T> slopes = grad([&](const Tensor<T>& x) { return sum(square(call(nn::LayerNorm{}, p, x))); })(extreme);
  for (T slope : slopes.elements_view()) CHECK(std::isfinite(slope));
}

TEST_CASE("the Jacobian of LayerNorm is found to be diagonal plus rank 2, of BatchNorm in prediction diagonal") {
  nn::Rng rng;
  const Tensor<> x = random_tensor<double>({4, 6});
  const Params<double> p = nn::LayerNorm{}.init<double>({6}, rng);
  const auto layer_norm = batch_jacobian([&](const Tensor<>& z) { return call(nn::LayerNorm{}, p, z); })(x);
  CHECK(layer_norm.structure() == Structure::diagonal_plus_low_rank);
  CHECK(layer_norm.rank() == 2);
  Params<double> state = nn::BatchNorm{}.state<double>({6});
  const auto batch_norm = batch_jacobian([&](const Tensor<>& z) { return nn::BatchNorm{}(p, state, z, {}); })(x);
  CHECK(batch_norm.structure() == Structure::diagonal);
}

TEST_CASE("normalization has Keras' defaults") {
  nn::Rng rng;
  CHECK(nn::BatchNorm{}.momentum == 0.99);
  CHECK(nn::BatchNorm{}.epsilon == 1e-3);
  CHECK(nn::LayerNorm{}.epsilon == 1e-3);
  const Params<float> p = nn::BatchNorm{}.init<float>({3, 2}, rng), state = nn::BatchNorm{}.state<float>({3, 2});
  CHECK(allclose(p["gamma"], ones<float>({2}), 0, 0));
  CHECK(allclose(p["beta"], zeros<float>({2}), 0, 0));
  CHECK(allclose(state["moving_mean"], zeros<float>({2}), 0, 0));
  CHECK(allclose(state["moving_variance"], ones<float>({2}), 0, 0));
}

TEST_CASE("a model with BatchNorm: trained by the batch, predicted row by row") {
  const Tensor<> x = 5 + random_tensor<double>({64, 4}), y = sum(x, -1, keep_dims);
  nn::Sequential<double> model(
      {nn::BatchNorm{.momentum = 0.9}, nn::Dense{8, "tanh"}, nn::BatchNorm{}, nn::LayerNorm{}, nn::Dense{1}}, 3);
  model.compile({.optimizer = nn::SGD{.learning_rate = 0.02}, .loss = "mse"});
  const auto untrained = model.predict(x);
  const nn::History h = model.fit(x, y, {.epochs = 60, .batch_size = 16});
  CHECK(h["loss"].back() < 0.1 * h["loss"].front());
  const Tensor<> all = model.predict(x);
  CHECK_FALSE(allclose(all, untrained, 1e-3, 1e-3));
  for (std::int64_t i : {0, 1, 63}) {
    CHECK(allclose(model.predict(slice(x, 0, i, i + 1)), slice(all, 0, i, i + 1), 0, 1e-13));
  }
  // Its averages are those of the data by now; evaluate and predict leave them alone.
  const double before = model.evaluate(x, y)["loss"];
  CHECK(model.evaluate(x, y)["loss"] == before);
}

TEST_CASE("rows are separate in prediction, and mix in the training of BatchNorm alone") {
  nn::Rng rng;
  auto check = [&](const nn::Layer<double>& layer, bool mixes_in_training) {
    const Params<double> p = layer.init({5}, rng);
    for (std::int64_t rows : {1, 7}) {
      const Tensor<> x = random_tensor<double>({rows, 5});
      Params<double> state = layer.state({5});
      auto f = [&](bool training) {
        return [&, training](const Tensor<>& z) { return layer(p, state, z, {.training = training, .rng = &rng}); };
      };
      CHECK_NOTHROW(require_separate_rows(f(false), x));
      if (mixes_in_training)
        CHECK_THROWS_AS(require_separate_rows(f(true), x), RowMixingError);
      else
        CHECK_NOTHROW(require_separate_rows(f(true), x));
    }
  };
  check(nn::Dense{3, "relu"}, false);
  check(nn::Dropout{}, false);
  check(nn::LayerNorm{}, false);
  check(nn::Flatten{}, false);
  check(nn::Activation("softmax"), false);
  check(nn::BatchNorm{}, true);
  check(nn::Residual{nn::Dense{4}, nn::BatchNorm{}, nn::Dense{5}}, true);
}

TEST_CASE("normalization is refused what it cannot take") {
  nn::Rng rng;
  for (double epsilon : {0.0, -1.0, std::nan("")}) {
    CHECK_THROWS_AS(nn::BatchNorm{.epsilon = epsilon}.init<double>({3}, rng), ValueError);
    CHECK_THROWS_AS(nn::LayerNorm{.epsilon = epsilon}.init<double>({3}, rng), ValueError);
  }
  for (double momentum : {-0.1, 1.1, std::nan("")}) {
    CHECK_THROWS_AS(nn::BatchNorm{.momentum = momentum}.init<double>({3}, rng), ValueError);
  }
  CHECK_THROWS_AS(nn::BatchNorm{}.init<double>({}, rng), ShapeError);
  CHECK_THROWS_AS(nn::LayerNorm{}.init<double>({}, rng), ShapeError);
  const Params<double> p = nn::BatchNorm{}.init<double>({3}, rng);
  Params<double> state = nn::BatchNorm{}.state<double>({3});
  for (const Tensor<>& wrong : {ones({2, 4}), ones({2, 1}), ones({3})}) {
    const std::string message = message_of([&] { nn::BatchNorm{}(p, state, wrong, {.training = true}); });
    CHECK(contains(message, "BatchNorm"));
    CHECK(contains(message, to_string(wrong.shape())));
    CHECK(contains(message, "(batch, ..., 3)"));
    CHECK(contains(message_of([&] { nn::LayerNorm{}(p, wrong, {}); }), "LayerNorm"));
    CHECK(contains(message_of([&] { nn::Dense{2}(nn::Dense{2}.init<double>({3}, rng), wrong, {}); }), "Dense"));
  }
}

// ----------------------------------------------------------------------------------------------- functions as layers

TEST_CASE("an activation as the last layer is that of the layer before it, closed form and all") {
  const Tensor<> x = random_tensor<double>({7, 3}), y = softmax(random_tensor<double>({7, 4}, 2));
  auto train = [&](std::initializer_list<nn::Layer<double>> layers) {
    nn::Sequential<double> model(layers, 6);
    model.compile({.loss = "categorical_crossentropy"});
    CHECK(model.output_delta_used() == nn::OutputDelta::closed_form);
    model.fit(x, y, {.epochs = 5, .batch_size = 3});
    return std::pair(model.parameters(), model.predict(x));
  };
  const auto [inside, predicted] = train({nn::Dense{5, "relu"}, nn::Dense{4, "softmax"}});
  const auto [apart, predicted_apart] =
      train({nn::Dense{5}, nn::Activation("relu"), nn::Dense{4}, nn::Activation("softmax")});
  REQUIRE(inside.size() == apart.size());
  for (std::size_t k = 0; k < inside.size(); ++k) CHECK(allclose(apart[k], inside[k], 0, 0));
  CHECK(allclose(predicted_apart, predicted, 0, 0));
}

TEST_CASE("functions of a tensor are layers: lambdas, elementwise, joined branches") {
  const Tensor<> x = random_tensor<double>({7, 3}), y = random_tensor<double>({7, 2}, 2);
  nn::Sequential<double> model({[](const auto& z) {
                                  return concatenate({z, square(z)}, -1);
                                },
                                nn::Dense{4}, elementwise([](auto z) { return z / (1 + exp(-z)); }, "swish"),
                                nn::Dense{2}, [](const Tensor<double>& z) { return z + tanh(z); }},
                               8);
  model.compile({.optimizer = nn::SGD{.learning_rate = 0.1}, .loss = "mse"});
  model.build({3});
  const auto before = model.parameters();
  CHECK(before[0].shape() == Shape{6, 4});
  auto f = [&](const TensorList<double>& p) {
    const Tensor<> z = matmul(silu(matmul(concatenate({x, square(x)}, -1), p[0]) + p[1]), p[2]) + p[3];
    return z + tanh(z);
  };
  CHECK(allclose(model.predict(x), f(before), 1e-14, 1e-14));
  const auto gradients = grad([&](const TensorList<double>& p) { return mean(nn::mse(f(p), y)); })(before);
  model.train_on_batch(x, y);
  for (std::size_t k = 0; k < 4; ++k) {
    CHECK(allclose(model.parameters()[k], before[k] - 0.1 * gradients[k], 0, 1e-15));
  }
}

TEST_CASE("a generic function need not compile for the other number type") {
  const Tensor<double> W = random_tensor<double>({3, 2}), x = random_tensor<double>({4, 3}, 2);
  nn::Sequential<double> model({[W](const auto& z) { return matmul(z, W); }, nn::Dense{1}});
  model.build({3});
  CHECK(allclose(model.predict(x), matmul(matmul(x, W), model.parameters()[0]) + model.parameters()[1], 1e-14, 1e-14));
}

TEST_CASE("a function that mixes rows is refused as a layer, unless it says so") {
  auto center = [](const auto& z) { return z - mean(z, 0); };
  nn::Sequential<double> refused({nn::Dense{3}, center, nn::Dense{2}});
  CHECK_THROWS_AS(refused.predict(ones({4, 3})), RowMixingError);
  nn::Sequential<double> declared({nn::Dense{3}, nn::mixes_rows(center), nn::Dense{2}});
  CHECK(declared.predict(ones({4, 3})).shape() == Shape{4, 2});
  static_assert(!std::is_constructible_v<nn::Layer<double>, const char*>);
  static_assert(!std::is_constructible_v<nn::Layer<double>, Tensor<float> (*)(const Tensor<float>&)>);
}

TEST_CASE("a user's layer of two branches") {
  const Tensor<> x = random_tensor<double>({7, 4});
  nn::Sequential<double> model({Branches{}, nn::Dense{2}}, 1);
  model.build({4});
  const Params<double>& p = model.layer_parameters()[0];
  const Tensor<> joined = concatenate({tanh(matmul(x, p["left.kernel"])), relu(matmul(x, p["right.kernel"]))}, -1);
  CHECK(allclose(model.predict(x), matmul(joined, model.parameters()[4]), 1e-14, 1e-14));
}

TEST_CASE("layers have names") {
  CHECK(nn::Layer<float>(nn::Dense{3, "relu"}).name() == "Dense");
  CHECK(nn::Layer<float>(nn::Flatten{}).name() == "Flatten");
  CHECK(nn::Layer<float>(nn::Dropout{}).name() == "Dropout");
  CHECK(nn::Layer<float>(nn::BatchNorm{}).name() == "BatchNorm");
  CHECK(nn::Layer<float>(nn::LayerNorm{}).name() == "LayerNorm");
  CHECK(nn::Layer<float>(nn::Residual{nn::Dense{3}, nn::Dropout{}}).name() == "Residual");
  CHECK(nn::Layer<float>(nn::Activation("relu")).name() == "relu");
  CHECK(nn::Layer<float>([](const auto& x) { return x; }).name() == "custom");
  CHECK(nn::Layer<double>(Branches{}).name() == "custom");
}

// -------------------------------------------------------------------------------------------------------- Residual

TEST_CASE_TEMPLATE("Residual is x + g(x), with the parameters, state and penalties of its layers", T, float, double) {
  const nn::Residual block{nn::Dense{.units = 4, .activation = "tanh", .kernel_regularizer = nn::l2(0.1)},
                           nn::BatchNorm{.momentum = 0.5}, [](const auto& z) { return 2 * z; },
                           nn::Dense{.units = 3, .use_bias = false, .kernel_regularizer = nn::l1(0.2)}};
  nn::Rng rng(3);
  const nn::Layer<T> layer(block);
  const Params<T> p = layer.init({3}, rng);
  Params<T> state = layer.state({3});
  REQUIRE(p.size() == 5);
  CHECK(p["0.kernel"].shape() == Shape{3, 4});
  CHECK(p["1.gamma"].shape() == Shape{4});
  CHECK(p["3.kernel"].shape() == Shape{4, 3});
  REQUIRE(state.size() == 2);
  const Tensor<T> x = random_tensor<T>({7, 3});

  const Tensor<T> h = tanh(matmul(x, p["0.kernel"]));
  const double tolerance = std::is_same_v<T, float> ? 1e-5 : 1e-13;
  CHECK(allclose(layer(p, state, x, {}), x + matmul(2 / std::sqrt(1.001) * h, p["3.kernel"]), tolerance, tolerance));
  CHECK(allclose(state["1.moving_mean"], zeros<T>({4}), 0, 0));

  const Tensor<T> c = h - mean(h, 0), variance = mean(square(c), 0);
  const Tensor<T> expected = x + matmul(2 * c / sqrt(variance + 1e-3), p["3.kernel"]);
  CHECK(allclose(layer(p, state, x, {.training = true, .rng = &rng}), expected, tolerance, tolerance));
  CHECK(allclose(state["1.moving_mean"], 0.5 * mean(h, 0), tolerance, tolerance));
  CHECK(allclose(state["1.moving_variance"], 0.5 + 0.5 * variance, tolerance, tolerance));

  const Tensor<T> penalty = 0.1 * sum(square(p["0.kernel"])) + 0.2 * sum(abs(p["3.kernel"]));
  REQUIRE(layer.penalty(p));
  CHECK(layer.penalty(p)->item() == about(penalty.item(), tolerance));
  auto f = [&](const Tensor<T>& z, const Tensor<T>& w) {
    Params<T> traced = p, own = state;
    traced["0.kernel"] = w;
    return layer(traced, own, z, {.training = true, .rng = &rng});
  };
  check_derivatives(f, x, p["0.kernel"]);
}

TEST_CASE("residual blocks in a model, nested") {
  const nn::Residual inner{nn::Dense{3, "tanh"}, nn::Dropout{0.1}};
  nn::Sequential<double> model({nn::Residual{inner, nn::LayerNorm{}}, nn::Dense{2, "softmax"}}, 2);
  model.compile({.loss = "categorical_crossentropy"});
  const Tensor<> x = random_tensor<double>({20, 3});
  const Tensor<> y = one_hot(argmax(slice(x, 1, 0, 2), -1), 2);
  CHECK(model.fit(x, y, {.epochs = 100, .batch_size = 5})["loss"].back() < 0.6);
  CHECK(model.layer_parameters()[0]["0.0.kernel"].shape() == Shape{3, 3});
}

TEST_CASE("a residual block is refused what does not fit") {
  nn::Sequential<double> model({nn::Residual{nn::Dense{4}, nn::Dense{5}}});
  const std::string message = message_of([&] { model.build({3}); });
  CHECK(contains(message, "(2, 5)"));
  CHECK(contains(message, "(2, 3)"));
  CHECK(contains(message, "Dense of 3"));
  nn::Sequential<double> of_float(
      {nn::Residual{nn::Dense{3}, [](const Tensor<float>& x) { return exp(x); }}, nn::Dense{2}});
  CHECK(contains(message_of([&] { of_float.build({3}); }), "Tensor<float>"));
}
