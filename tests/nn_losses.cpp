// Losses against their formulas, written as plain loops, and their derivatives against differences.

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

using namespace tapegrad;

namespace {

// Asymmetric on purpose: a and y exchanged, or rows and columns, would show.
const Tensor<> probabilities{{0.2, 0.5, 0.3}, {0.7, 0.05, 0.25}};
const Tensor<> targets{{0.1, 0.0, 0.9}, {0.6, 0.3, 0.1}};
const Tensor<> logits{{0.3, -1.2, 2.0}, {-0.4, 1.1, 0.0}};
const Tensor<std::int64_t> labels{2, 0};

Tensor<> by_rows(const Tensor<>& a, const std::function<double(std::int64_t row)>& value) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < a.shape()[0]; ++i) out.push_back(value(i));
  return Tensor<>({a.shape()[0]}, out);
}

Tensor<> mean_over_columns(const Tensor<>& a, const Tensor<>& y, const std::function<double(double, double)>& term) {
  return by_rows(a, [&](std::int64_t i) {
    double total = 0;
    for (std::int64_t j = 0; j < a.shape()[1]; ++j) total += term(a(i, j), y(i, j));
    return total / static_cast<double>(a.shape()[1]);
  });
}

double logistic(double z) { return 1 / (1 + std::exp(-z)); }

bool finite(const Tensor<>& x) {
  for (double value : x.elements_view()) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

template <class T>
void check_extreme_logits() {
  const Tensor<T> z{{T(1e4), T(-1e4), 0}, {T(-1e4), T(-1e4), T(1e4)}};
  const Tensor<T> y{{0, 1, 0}, {0, 0, 1}};
  const Tensor<std::int64_t> wrong{1, 2};
  auto check = [&](const auto& loss, const auto& target, double first, double second) {
    const Tensor<T> value = loss(z, target);
    CHECK(static_cast<double>(value(0)) == doctest::Approx(first));
    CHECK(static_cast<double>(value(1)) == doctest::Approx(second));
    const Tensor<T> g = grad([&](const Tensor<T>& at) { return sum(loss(at, target)); })(z);
    for (T slope : g.elements_view()) CHECK(std::isfinite(slope));
    CHECK(static_cast<double>(g(0, 0)) > 0.3);  // the wrong class is pushed down
  };
  check(nn::categorical_crossentropy_from_logits, y, 2e4, 0);
  check(nn::sparse_categorical_crossentropy_from_logits, wrong, 2e4, 0);
  check(nn::binary_crossentropy_from_logits, y, (2e4 + std::log(2.0)) / 3, 0);
}

}  // namespace

TEST_CASE("losses are their formulas") {
  const Tensor<>&a = probabilities, &y = targets;
  CHECK(allclose(nn::mse(a, y), mean_over_columns(a, y, [](double p, double t) { return (p - t) * (p - t); }), 1e-15));
  CHECK(allclose(nn::mean_error(a, y), mean_over_columns(a, y, [](double p, double t) { return t - p; }), 0, 1e-16));
  CHECK(allclose(nn::categorical_crossentropy(a, y),
                 3 * mean_over_columns(a, y, [](double p, double t) { return -t * std::log(p); }), 1e-15));
  CHECK(allclose(nn::sparse_categorical_crossentropy(a, labels),
                 by_rows(a, [&](std::int64_t i) { return -std::log(a(i, labels(i))); }), 1e-15));
  CHECK(allclose(
      nn::binary_crossentropy(a, y),
      mean_over_columns(a, y, [](double p, double t) { return -t * std::log(p) - (1 - t) * std::log(1 - p); }), 1e-14));
}

TEST_CASE("losses from logits are those of the probabilities") {
  const Tensor<> a = softmax(logits);
  CHECK(allclose(nn::categorical_crossentropy_from_logits(logits, targets), nn::categorical_crossentropy(a, targets),
                 1e-14));
  CHECK(allclose(nn::sparse_categorical_crossentropy_from_logits(logits, labels),
                 nn::sparse_categorical_crossentropy(a, labels), 1e-14));
  CHECK(allclose(nn::binary_crossentropy_from_logits(logits, targets),
                 mean_over_columns(logits, targets,
                                   [](double z, double t) {
                                     return -t * std::log(logistic(z)) - (1 - t) * std::log(1 - logistic(z));
                                   }),
                 1e-14));
}

TEST_CASE("losses of one example have no batch axis") {
  const Tensor<> a{0.2, 0.8}, y{0.0, 1.0};
  CHECK(nn::mse(a, y).item() == doctest::Approx(0.04));
  CHECK(nn::categorical_crossentropy(a, y).item() == doctest::Approx(-std::log(0.8)));
  CHECK(nn::sparse_categorical_crossentropy(a, Tensor<std::int64_t>(1)).item() == doctest::Approx(-std::log(0.8)));
}

TEST_CASE("derivatives of losses agree with differences") {
  check_derivatives([](const Tensor<>& a, const Tensor<>& y) { return nn::mse(a, y); }, probabilities, targets);
  check_derivatives([](const Tensor<>& a, const Tensor<>& y) { return nn::mean_error(a, y); }, probabilities, targets);
  check_derivatives([](const Tensor<>& a, const Tensor<>& y) { return nn::categorical_crossentropy(a, y); },
                    probabilities, targets);
  check_derivatives([](const Tensor<>& a) { return nn::sparse_categorical_crossentropy(a, labels); }, probabilities);
  check_derivatives([](const Tensor<>& a, const Tensor<>& y) { return nn::binary_crossentropy(a, y); }, probabilities,
                    targets);
  check_derivatives([](const Tensor<>& z, const Tensor<>& y) { return nn::categorical_crossentropy_from_logits(z, y); },
                    logits, targets);
  check_derivatives([](const Tensor<>& z) { return nn::sparse_categorical_crossentropy_from_logits(z, labels); },
                    logits);
  // One logit is exactly 0, where max(z, 0) and |z| have their corner and softplus has none.
  check_derivatives([](const Tensor<>& z, const Tensor<>& y) { return nn::binary_crossentropy_from_logits(z, y); },
                    logits, targets);
}

TEST_CASE("binary cross-entropy from logits has the slope of a sigmoid at 0") {
  auto loss = [](const Tensor<>& z) { return nn::binary_crossentropy_from_logits(z, Tensor<>{0.25}); };
  CHECK(grad(loss)(Tensor<>{0.0})(0) == 0.25);
  CHECK(hessian(loss)(Tensor<>{0.0})(0, 0) == 0.25);
}

TEST_CASE("logits of +-1e4 give finite values and slopes") {
  check_extreme_logits<double>();
  check_extreme_logits<float>();
}

TEST_CASE("probabilities of exactly 0 and 1 give finite values and slopes") {
  const Tensor<> a{{0, 1, 0}, {1, 0, 0}};
  const Tensor<> right = a, wrong{{1, 0, 0}, {0, 0, 1}};
  CHECK(allclose(nn::categorical_crossentropy(a, right), zeros({2}), 0, 0));
  CHECK(allclose(nn::binary_crossentropy(a, right), zeros({2}), 0, 0));
  const double worst = -std::log(std::numeric_limits<double>::min());
  CHECK(nn::categorical_crossentropy(a, wrong)(0) == doctest::Approx(worst));
  CHECK(nn::sparse_categorical_crossentropy(a, Tensor<std::int64_t>{0, 0})(0) == doctest::Approx(worst));
  for (const Tensor<>& y : {right, wrong}) {
    CHECK(finite(grad([&](const Tensor<>& p) { return sum(nn::categorical_crossentropy(p, y)); })(a)));
    CHECK(finite(grad([&](const Tensor<>& p) { return sum(nn::binary_crossentropy(p, y)); })(a)));
    // Through the softmax too, where the right class has underflowed.
    const Tensor<> z{{0, 1e4, 0}, {1e4, 0, -1e4}};
    CHECK(finite(grad([&](const Tensor<>& x) { return sum(nn::categorical_crossentropy(softmax(x), y)); })(z)));
    CHECK(finite(grad([&](const Tensor<>& x) { return sum(nn::binary_crossentropy(sigmoid(x), y)); })(z)));
  }
}

TEST_CASE("numbers that are no probabilities stay finite") {
  CHECK(finite(nn::categorical_crossentropy(logits * 100, targets)));
  CHECK(finite(nn::binary_crossentropy(logits * 100, targets)));
  CHECK(finite(nn::sparse_categorical_crossentropy(logits * 100, labels)));
}

TEST_CASE("probabilities inside (0, 1) are not shifted") {
  const Tensor<> a{{1e-12, 1 - 1e-12}};
  CHECK(nn::categorical_crossentropy(a, Tensor<>{{1.0, 0.0}})(0) == doctest::Approx(-std::log(1e-12)).epsilon(1e-15));
}

TEST_CASE("labels out of range and shapes that differ are refused") {
  const Tensor<>& a = probabilities;
  CHECK_THROWS_AS(nn::sparse_categorical_crossentropy(a, Tensor<std::int64_t>{0, 3}), ValueError);
  CHECK_THROWS_AS(nn::sparse_categorical_crossentropy(a, Tensor<std::int64_t>{-1, 0}), ValueError);
  CHECK_THROWS_AS(nn::sparse_categorical_crossentropy_from_logits(a, Tensor<std::int64_t>{0, 3}), ValueError);
  CHECK_THROWS_AS(nn::sparse_categorical_crossentropy(a, Tensor<std::int64_t>{0, 1, 2}), ShapeError);
  // Broadcasting (2, 3) against (2) or (2, 1) would give a number, and the wrong one.
  CHECK_THROWS_AS(nn::mse(a, zeros({2, 1})), ShapeError);
  CHECK_THROWS_AS(nn::mean_error(a, zeros({3})), ShapeError);
  CHECK_THROWS_AS(nn::categorical_crossentropy(a, zeros({1, 3})), ShapeError);
  CHECK_THROWS_AS(nn::binary_crossentropy_from_logits(a, zeros({2})), ShapeError);
  try {
    nn::sparse_categorical_crossentropy(a, Tensor<std::int64_t>{0, 3});
  } catch (const ValueError& error) {
    CHECK(std::string(error.what()).find("label 3 is out of range 0..2") != std::string::npos);
  }
  try {
    nn::mse(a, zeros({2, 1}));
  } catch (const ShapeError& error) {
    const std::string message = error.what();
    CHECK(message.find("(2, 3)") != std::string::npos);
    CHECK(message.find("(2, 1)") != std::string::npos);
    CHECK(message.find("nn_losses.cpp:") != std::string::npos);
  }
}

TEST_CASE("a loss by name, by value or as a function") {
  CHECK(allclose(nn::Loss("mse")(probabilities, targets), nn::mse(probabilities, targets), 0, 0));
  CHECK(nn::Loss(nn::mse).name() == "mse");
  CHECK(nn::Loss("binary_crossentropy_from_logits").name() == "binary_crossentropy_from_logits");
  const nn::Loss sparse = nn::sparse_categorical_crossentropy;
  CHECK(allclose(sparse(probabilities, labels), nn::sparse_categorical_crossentropy(probabilities, labels), 0, 0));
  CHECK_THROWS_AS(sparse(probabilities, targets), ValueError);
  CHECK_THROWS_AS(nn::Loss("mse")(probabilities, labels), ValueError);
  const nn::Loss own = [](const auto& a, const auto& y) { return sum(square(a - y) * a, -1); };
  CHECK(own.name() == "custom");
  CHECK(own(astype<float>(probabilities), astype<float>(targets)).shape() == Shape{2});
  const nn::Loss each = elementwise([](auto a, auto y) { return square(a - y); });
  CHECK(each(probabilities, targets).shape() == Shape{2});
  CHECK_THROWS_WITH_AS(each(ones({3, 1}), ones({3})),
                       doctest::Contains("an elementwise loss: the prediction is (3, 1)"), ShapeError);
  const nn::Loss of_labels = [](const Tensor<>& a, const Tensor<std::int64_t>& y) {
    return -take_along(a, reshape(y, {-1, 1}));
  };
  CHECK(of_labels(probabilities, labels)(0, 0) == -0.3);
  try {
    nn::Loss("crossentropy");
    FAIL("an unknown name was taken");
  } catch (const ValueError& error) {
    CHECK(std::string(error.what()).find("sparse_categorical_crossentropy_from_logits") != std::string::npos);
  }
}
