// Losses are compared with their formulas, written as plain loops, and their derivatives with finite differences.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include "../close.hpp"

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

/// A loss of the table below: its value for one row, by plain arithmetic, at points away from corners.
struct Case {
  nn::Loss loss;
  Tensor<> a, y;
  std::function<double(const std::vector<double>& a, const std::vector<double>& y)> formula;
};

std::vector<double> row_of(const Tensor<>& x, std::int64_t i) {
  const double* row = x.data() + i * x.shape()[1];
  return {row, row + x.shape()[1]};
}

auto mean_over(double (*term)(double, double)) {
  return [=](const std::vector<double>& a, const std::vector<double>& y) {
    double total = 0;
    for (std::size_t j = 0; j < a.size(); ++j) total += term(a[j], y[j]);
    return total / static_cast<double>(a.size());
  };
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// Both branches of every loss occur: |a - y| below and above 0.5 and 1, margins kept and missed.
const Tensor<> values{{0.3, -1.2, 2.0, 0.1}, {-0.3, 1.1, 0.05, -3.0}, {1.5, 0.2, -0.6, 0.9}};
const Tensor<> numbers{{0.5, 1.4, 1.8, -0.2}, {0.6, 0.3, -0.1, -1.1}, {-0.7, 0.45, 0.3, 0.25}};
const Tensor<> signs{{1, -1, 1, -1}, {-1, -1, 1, 1}, {1, 1, -1, 1}};
const Tensor<> classes{{0, 0, 1, 0}, {1, 0, 0, 0}, {0, 1, 0, 0}};
const Tensor<> distributions{{0.25, 0.2, 0.3, 0.25}, {0.35, 0.2, 0.25, 0.2}, {0.25, 0.3, 0.2, 0.25}};
const Tensor<> positive{{0.5, 1.4, 1.8, 0.2}, {0.6, 3.3, 0.1, 1.1}, {0.7, 0.45, 2.3, 0.25}};

std::vector<Case> loss_cases() {
  auto hinge = [](double a, double y) { return std::max(1 - y * a, 0.0); };
  auto softmax_of = [](std::vector<double> z) {
    double total = 0;
    for (double& x : z) total += x = std::exp(x);
    for (double& x : z) x /= total;
    return z;
  };
  auto crossentropy = [](const std::vector<double>& a, const std::vector<double>& y, double smoothing) {
    double total = 0;
    for (std::size_t j = 0; j < a.size(); ++j) {
      total -= (y[j] * (1 - smoothing) + smoothing / static_cast<double>(a.size())) * std::log(a[j]);
    }
    return total;
  };
  return {
      {nn::mae, values, numbers, mean_over([](double a, double y) { return std::abs(a - y); })},
      {nn::msle, values, numbers, mean_over([](double a, double y) {
         return std::pow(std::log1p(std::max(a, 0.0)) - std::log1p(std::max(y, 0.0)), 2);
       })},
      {nn::huber, values, numbers, mean_over([](double a, double y) {
         const double d = std::abs(a - y);
         return d <= 1 ? d * d / 2 : d - 0.5;
       })},
      {nn::Huber{.delta = 0.5}, values, numbers, mean_over([](double a, double y) {
         const double d = std::abs(a - y);
         return d <= 0.5 ? d * d / 2 : 0.5 * (d - 0.25);
       })},
      {nn::log_cosh, values, numbers, mean_over([](double a, double y) { return std::log(std::cosh(a - y)); })},
      {nn::hinge, values, signs, mean_over(hinge)},
      {nn::squared_hinge, values, signs,
       mean_over([](double a, double y) { return std::pow(std::max(1 - y * a, 0.0), 2); })},
      {nn::categorical_hinge, values, classes,
       [](const std::vector<double>& a, const std::vector<double>& y) {
         double wrong = 0;  // as Keras: the right class takes part with 0
         for (std::size_t j = 0; j < a.size(); ++j) wrong = std::max(wrong, (1 - y[j]) * a[j]);
         return std::max(1 + wrong - dot(a, y), 0.0);
       }},
      {nn::CategoricalCrossentropy{.label_smoothing = 0.2}, distributions, positive,
       [=](const auto& a, const auto& y) { return crossentropy(a, y, 0.2); }},
      {nn::CategoricalCrossentropy{.label_smoothing = 0.2, .from_logits = true}, values, positive,
       [=](const auto& z, const auto& y) { return crossentropy(softmax_of(z), y, 0.2); }},
      {nn::BinaryCrossentropy{.label_smoothing = 0.2}, distributions, numbers, mean_over([](double a, double y) {
         const double t = 0.8 * y + 0.1;
         return -t * std::log(a) - (1 - t) * std::log(1 - a);
       })},
      {nn::BinaryCrossentropy{.label_smoothing = 0.2, .from_logits = true}, values, numbers,
       mean_over([](double z, double y) {
         const double t = 0.8 * y + 0.1, a = 1 / (1 + std::exp(-z));
         return -t * std::log(a) - (1 - t) * std::log(1 - a);
       })},
      {nn::kl_divergence, distributions, positive,
       [](const std::vector<double>& a, const std::vector<double>& y) {
         double total = 0;
         for (std::size_t j = 0; j < a.size(); ++j) total += y[j] * std::log(y[j] / a[j]);
         return total;
       }},
      {nn::poisson, positive, numbers, mean_over([](double a, double y) { return a - y * std::log(a); })},
      {nn::cosine_similarity, values, numbers,
       [](const auto& a, const auto& y) { return -dot(a, y) / std::sqrt(dot(a, a) * dot(y, y)); }},
  };
}

double logistic(double z) { return 1 / (1 + std::exp(-z)); }

template <class T>
bool all_finite(const Tensor<T>& x) {
  const auto view = x.elements_view();
  return std::all_of(view.begin(), view.end(), [](T value) { return std::isfinite(value); });
}

template <class T>
void check_loss(const Case& each) {
  CAPTURE(each.loss.name());
  const Tensor<T> a = astype<T>(each.a), y = astype<T>(each.y);
  std::vector<double> expected;
  for (std::int64_t i = 0; i < a.shape()[0]; ++i)
    expected.push_back(each.formula(row_of(each.a, i), row_of(each.y, i)));
  CHECK(
      allclose(astype<double>(each.loss(a, y)), Tensor<>({a.shape()[0]}, expected), sizeof(T) == 8 ? 1e-14 : 2e-6, 0));
  check_derivatives<T>([&](std::span<const Tensor<T>> at) { return each.loss(at[0], at[1]); }, {a, y});

  // Predictions of +-1e4, and of exactly the target.
  Tensor<T> far = y;
  for (std::int64_t k = 0; k < far.size(); k += 2) far.mutable_data()[k] = k % 4 == 0 ? T(1e4) : T(-1e4);
  auto total = [&](const Tensor<T>& at) { return sum(each.loss(at, y)); };
  CHECK(all_finite(each.loss(far, y)));
  CHECK(all_finite(grad(total)(far)));
  CHECK(all_finite(hvp(total)(far, ones<T>(far.shape()))));
}

template <class T>
void check_extreme_logits() {
  const Tensor<T> z{{T(1e4), T(-1e4), 0}, {T(-1e4), T(-1e4), T(1e4)}};
  const Tensor<T> y{{0, 1, 0}, {0, 0, 1}};
  const Tensor<std::int64_t> wrong{1, 2};
  const double tolerance = sizeof(T) == 8 ? 1e-15 : 1e-7;
  auto check = [&](const auto& loss, const auto& target, double first, double second) {
    const Tensor<T> value = loss(z, target);
    CHECK(static_cast<double>(value(0)) == about(first, tolerance));
    CHECK(static_cast<double>(value(1)) == second);
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
  CHECK(
      allclose(nn::mse(a, y), mean_over_columns(a, y, [](double p, double t) { return (p - t) * (p - t); }), 1e-15, 0));
  CHECK(allclose(nn::mean_error(a, y), mean_over_columns(a, y, [](double p, double t) { return t - p; }), 0, 1e-16));
  CHECK(allclose(nn::categorical_crossentropy(a, y),
                 3 * mean_over_columns(a, y, [](double p, double t) { return -t * std::log(p); }), 1e-15, 0));
  CHECK(allclose(nn::sparse_categorical_crossentropy(a, labels),
                 by_rows(a, [&](std::int64_t i) { return -std::log(a(i, labels(i))); }), 1e-15, 0));
  CHECK(
      allclose(nn::binary_crossentropy(a, y),
               mean_over_columns(a, y, [](double p, double t) { return -t * std::log(p) - (1 - t) * std::log(1 - p); }),
               1e-14, 0));
}

TEST_CASE(
    "further losses and options are their formulas, with right derivatives, in float and double, finite at +-1e4") {
  for (const Case& each : loss_cases()) {
    check_loss<double>(each);
    check_loss<float>(each);
  }
}

TEST_CASE("Huber's loss where its branches meet and at 0") {
  auto loss = [](const Tensor<>& a) { return nn::Huber{.delta = 0.5}(a, zeros(a.shape())); };
  CHECK(grad(loss)(Tensor<>{0.5})(0) == 0.5);
  CHECK(grad(loss)(Tensor<>{-0.5})(0) == -0.5);
  CHECK(hessian(loss)(Tensor<>{0.0})(0, 0) == 1);
  CHECK_THROWS_WITH_AS(nn::Huber{.delta = 0}(values, numbers), doctest::Contains("delta is 0.0"), ValueError);
}

TEST_CASE("log_cosh is precise for small differences, and its slope is tanh") {
  auto loss = [](const auto& a) { return nn::log_cosh(a, zeros<typename std::decay_t<decltype(a)>::value_type>({1})); };
  CHECK(loss(Tensor<>{1e-9}).item() / 0.5e-18 == about(1, 1e-15));
  CHECK(loss(Tensor<float>{1e-5F}).item() / 0.5e-10F == about(1, 1e-6));
  CHECK(loss(Tensor<>{-1e4}).item() == about(1e4 - std::log(2.0), 1e-15));
  for (double d : {-1e-9, 0.3, 0.999999, 1.0, -1.0, 1.000001, -20.0}) {
    CHECK(grad(loss)(Tensor<>{d})(0) / std::tanh(d) == about(1, 1e-15));
    CHECK(hessian(loss)(Tensor<>{d})(0, 0) == about(1 / std::pow(std::cosh(d), 2), 1e-14));
  }
}

TEST_CASE("hinge losses take targets of 0 and 1 for -1 and 1") {
  const Tensor<> zero_one = (signs + 1.0) * 0.5;
  CHECK(allclose(nn::hinge(values, zero_one), nn::hinge(values, signs), 0, 0));
  CHECK(allclose(nn::squared_hinge(values, zero_one), nn::squared_hinge(values, signs), 0, 0));
}

TEST_CASE("divergences where a probability is 0") {
  const Tensor<> y{{0, 1, 0}}, a{{0, 0.5, 0.5}}, wrong{{1, 0, 0}};
  CHECK(nn::kl_divergence(a, y).item() == about(std::log(2.0), 1e-15));
  CHECK(nn::kl_divergence(y, y).item() == 0);
  CHECK(nn::kl_divergence(wrong, y).item() == about(-std::log(std::numeric_limits<double>::min()), 1e-15));
  auto total = [](const Tensor<>& p, const Tensor<>& t) { return sum(nn::kl_divergence(p, t)); };
  CHECK(all_finite(grad<0>(total)(a, y)));
  CHECK(all_finite(grad<1>(total)(a, y)));
  CHECK(nn::poisson(zeros({1, 3}), zeros({1, 3})).item() == 0);
  CHECK(all_finite(grad([&](const Tensor<>& p) { return sum(nn::poisson(p, y)); })(zeros({1, 3}))));
}

TEST_CASE("cosine similarity at any length, and of zero vectors") {
  const Tensor<> expected = nn::cosine_similarity(values, numbers);
  auto total = [](const Tensor<>& a, const Tensor<>& y) { return sum(nn::cosine_similarity(a, y)); };
  const Tensor<> slope = grad(total)(values, numbers);
  for (double length : {1e-300, 1e-160, 1e4, 1e300}) {
    CHECK(allclose(nn::cosine_similarity(values * length, numbers * length), expected, 1e-14, 0));
    CHECK(allclose(grad(total)(values * length, numbers) * length, slope, 1e-13, 0));
  }
  CHECK(nn::cosine_similarity(values, values * 3.0)(0) == about(-1, 1e-15));
  // Along the vector itself the angle does not change, also where its rescaled square is exactly 1.
  CHECK(allclose(grad(total)(Tensor<>{{2, 0, 0}}, Tensor<>{{1, 1, 0}}), Tensor<>{{0, -std::sqrt(0.125), 0}}, 0, 1e-16));
  const Tensor<> nothing = zeros(values.shape());
  CHECK(allclose(nn::cosine_similarity(nothing, numbers), zeros({3}), 0, 0));
  for (const Tensor<>& y : {numbers, nothing}) {
    CHECK(all_finite(grad(total)(nothing, y)));
    CHECK(all_finite(hessian([&](const Tensor<>& a) { return total(a, y); })(nothing)));
  }
}

TEST_CASE("label smoothing outside 0..1 is refused, and 0 changes nothing") {
  CHECK_THROWS_WITH_AS((nn::CategoricalCrossentropy{.label_smoothing = 1.5}(probabilities, targets)),
                       doctest::Contains("losses.cpp:"), ValueError);
  CHECK_THROWS_AS((nn::BinaryCrossentropy{.label_smoothing = -0.1}(probabilities, targets)), ValueError);
  CHECK(allclose(nn::CategoricalCrossentropy{.label_smoothing = 0}(probabilities, targets),
                 nn::categorical_crossentropy(probabilities, targets), 0, 0));
}

TEST_CASE_TEMPLATE("label smoothing of labels is that of one-hot targets", T, float, double) {
  const Tensor<T> a = astype<T>(probabilities), z = astype<T>(logits), y = one_hot<T>(labels, 3);
  for (double s : {0.0, 0.1, 0.5, 1.0}) {
    CAPTURE(s);
    const nn::SparseCategoricalCrossentropy sparse{.label_smoothing = s},
        of_logits{.label_smoothing = s, .from_logits = true};
    const nn::CategoricalCrossentropy dense{.label_smoothing = s},
        dense_of_logits{.label_smoothing = s, .from_logits = true};
    const double tolerance = sizeof(T) == 8 ? 1e-15 : 1e-6;
    CHECK(allclose(sparse(a, labels), dense(a, y), tolerance, 0));
    CHECK(allclose(of_logits(z, labels), dense_of_logits(z, y), tolerance, 0));
    for (nn::OutputDelta way : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
      CHECK(allclose(nn::output_delta("softmax", sparse, z, labels, way), nn::output_delta("softmax", dense, z, y, way),
                     tolerance, tolerance));
      CHECK(allclose(nn::output_delta("linear", of_logits, z, labels, way),
                     nn::output_delta("softmax", dense, z, y, way), tolerance, tolerance));
    }
  }
  // -(0.8 log 0.3 + 0.2/3 (log 0.2 + log 0.5 + log 0.3))
  CHECK(nn::SparseCategoricalCrossentropy{.label_smoothing = 0.2}(probabilities, labels)(0) ==
        about(-0.8 * std::log(0.3) - 0.2 / 3 * std::log(0.03), 1e-14));
  CHECK_THROWS_WITH_AS((nn::SparseCategoricalCrossentropy{.label_smoothing = 1.5}(a, labels)),
                       doctest::Contains("label_smoothing at "), ValueError);
}

TEST_CASE_TEMPLATE("a row with the ignored label has loss 0 and slope 0, whatever is predicted", T, float, double) {
  const T nan = std::numeric_limits<T>::quiet_NaN(), inf = std::numeric_limits<T>::infinity();
  const Tensor<T> a{{T(0.2), T(0.5), T(0.3)}, {nan, nan, nan}, {T(0.7), T(0.05), T(0.25)}, {0, inf, 1}};
  for (std::int64_t ignored : {-1, 1, 255}) {
    const Tensor<std::int64_t> y{2, ignored, 0, ignored};
    for (bool from_logits : {false, true}) {
      for (double smoothing : {0.0, 0.25}) {
        CAPTURE(ignored);
        CAPTURE(from_logits);
        CAPTURE(smoothing);
        const nn::SparseCategoricalCrossentropy loss{smoothing, from_logits, ignored}, plain{smoothing, from_logits};
        const Tensor<std::int64_t> counted{0, 2};
        const Tensor<T> few = take(a, counted), value = loss(a, y);
        CHECK(allclose(take(value, counted), plain(few, take(y, counted)), 0, 0));
        CHECK((value(1) == 0 && value(3) == 0));
        auto check_delta = [&](const Tensor<T>& delta, const Tensor<T>& expected) {
          CHECK(allclose(take(delta, counted), expected, 0, 0));
          CHECK(allclose(take(delta, Tensor<std::int64_t>{1, 3}), zeros<T>({2, 3}), 0, 0));
        };
        check_delta(grad([&](const Tensor<T>& x) { return sum(loss(x, y)); })(a),
                    grad([&](const Tensor<T>& x) { return sum(plain(x, take(y, counted))); })(few));
        const char* activation = from_logits ? "linear" : "softmax";
        for (nn::OutputDelta way : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp}) {
          check_delta(nn::output_delta(activation, loss, a, y, way),
                      nn::output_delta(activation, plain, few, take(y, counted), way));
        }
      }
    }
    CHECK_THROWS_WITH_AS(
        (nn::SparseCategoricalCrossentropy{.ignored_label = ignored}(a, Tensor<std::int64_t>{0, 3, 1, 2})),
        doctest::Contains("label 3 is out of range 0..2"), ValueError);
  }
  CHECK(nn::Loss(nn::SparseCategoricalCrossentropy{.ignored_label = -1}).ignored_label() == -1);
  CHECK(nn::class_weights_of<double>(Tensor<std::int64_t>{1, 255, 0}, std::vector<double>{2, 3}, 255)(1) == 0);
}

TEST_CASE("class weights become weights of examples") {
  const std::vector<double> weights{1, 0.5, 4};
  const Tensor<> expected{4, 1, 0.5};
  CHECK(allclose(nn::class_weights_of<double>(Tensor<std::int64_t>{2, 0, 1}, weights), expected, 0, 0));
  CHECK(allclose(nn::class_weights_of<double>(Tensor<>{2.0, 0.0, 1.0}, weights), expected, 0, 0));
  CHECK(allclose(nn::class_weights_of<double>(reshape(Tensor<>{2.0, 0.0, 1.0}, {3, 1}), weights), expected, 0, 0));
  CHECK(allclose(nn::class_weights_of<float>(Tensor<float>{{0, 0, 1}, {1, 0, 0}, {0, 1, 0}}, weights),
                 astype<float>(expected), 0, 0));
  CHECK_THROWS_WITH_AS(nn::class_weights_of<double>(Tensor<std::int64_t>{2, 3}, weights),
                       doctest::Contains("target 3 of example 1"), ValueError);
  CHECK_THROWS_AS(nn::class_weights_of<double>(Tensor<std::int64_t>{-1}, weights), ValueError);
  CHECK_THROWS_AS(nn::class_weights_of<double>(Tensor<>{0.5}, weights), ValueError);
  CHECK_THROWS_AS(nn::class_weights_of<double>(Tensor<>{std::nan("")}, weights), ValueError);
  CHECK_THROWS_WITH_AS(nn::class_weights_of<double>(eye(4), weights), doctest::Contains("(4, 4)"), ShapeError);
  CHECK_THROWS_AS(nn::class_weights_of<double>(zeros({2, 3, 1}), weights), ShapeError);
  for (const double wrong : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    CHECK_THROWS_WITH_AS(nn::class_weights_of<double>(Tensor<std::int64_t>{0}, std::vector<double>{1, wrong}),
                         doctest::Contains("class 1"), ValueError);
  }
  // These are finite only in double.
  CHECK_THROWS_AS(nn::class_weights_of<float>(Tensor<std::int64_t>{0}, std::vector<double>{1e300}), ValueError);
}

TEST_CASE("losses from logits are those of the probabilities") {
  const Tensor<> a = softmax(logits);
  CHECK(allclose(nn::categorical_crossentropy_from_logits(logits, targets), nn::categorical_crossentropy(a, targets),
                 1e-14, 0));
  CHECK(allclose(nn::sparse_categorical_crossentropy_from_logits(logits, labels),
                 nn::sparse_categorical_crossentropy(a, labels), 1e-14, 0));
  CHECK(allclose(nn::binary_crossentropy_from_logits(logits, targets),
                 mean_over_columns(logits, targets,
                                   [](double z, double t) {
                                     return -t * std::log(logistic(z)) - (1 - t) * std::log(1 - logistic(z));
                                   }),
                 1e-14, 0));
}

TEST_CASE("losses of one example have no batch axis") {
  const Tensor<> a{0.2, 0.8}, y{0.0, 1.0};
  CHECK(nn::mse(a, y).item() == about(0.04, 1e-15));
  CHECK(nn::categorical_crossentropy(a, y).item() == about(-std::log(0.8), 1e-15));
  CHECK(nn::sparse_categorical_crossentropy(a, Tensor<std::int64_t>(1)).item() == about(-std::log(0.8), 1e-15));
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
  CHECK(nn::categorical_crossentropy(a, wrong)(0) == about(worst, 1e-15));
  CHECK(nn::sparse_categorical_crossentropy(a, Tensor<std::int64_t>{0, 0})(0) == about(worst, 1e-15));
  for (const Tensor<>& y : {right, wrong}) {
    CHECK(all_finite(grad([&](const Tensor<>& p) { return sum(nn::categorical_crossentropy(p, y)); })(a)));
    CHECK(all_finite(grad([&](const Tensor<>& p) { return sum(nn::binary_crossentropy(p, y)); })(a)));
    // Through the softmax too, where the right class has underflowed.
    const Tensor<> z{{0, 1e4, 0}, {1e4, 0, -1e4}};
    CHECK(all_finite(grad([&](const Tensor<>& x) { return sum(nn::categorical_crossentropy(softmax(x), y)); })(z)));
    CHECK(all_finite(grad([&](const Tensor<>& x) { return sum(nn::binary_crossentropy(sigmoid(x), y)); })(z)));
  }
}

TEST_CASE("numbers that are no probabilities stay finite") {
  CHECK(all_finite(nn::categorical_crossentropy(logits * 100, targets)));
  CHECK(all_finite(nn::binary_crossentropy(logits * 100, targets)));
  CHECK(all_finite(nn::sparse_categorical_crossentropy(logits * 100, labels)));
}

TEST_CASE("probabilities inside (0, 1) are not shifted") {
  const Tensor<> a{{1e-12, 1 - 1e-12}};
  CHECK(nn::categorical_crossentropy(a, Tensor<>{{1.0, 0.0}})(0) == about(-std::log(1e-12), 1e-15));
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
    CHECK(message.find("losses.cpp:") != std::string::npos);
  }
}

TEST_CASE("the cure that a message names is one") {
  const Tensor<> column = reshape(Tensor<>{0.2, 0.7}, {2, 1});
  const Tensor<std::int64_t> labels{0, 1};
  CHECK_THROWS_WITH_AS(nn::Loss("binary_crossentropy")(column, labels),
                       doctest::Contains("reshape(astype<double>(labels), {-1, 1})"), ValueError);
  CHECK_NOTHROW(nn::Loss("binary_crossentropy")(column, reshape(astype<double>(labels), {-1, 1})));
  CHECK_THROWS_WITH_AS(nn::Loss("mse")(probabilities, labels), doctest::Contains("one_hot<double>(labels, 3)"),
                       ValueError);
  CHECK_THROWS_WITH_AS(nn::mse(column, Tensor<>{0, 1}), doctest::Contains("reshape(y, {-1, 1})"), ShapeError);
  CHECK_NOTHROW(nn::mse(column, reshape(Tensor<>{0, 1}, {-1, 1})));
}

TEST_CASE("a loss by name, by value or as a function") {
  CHECK(allclose(nn::Loss("mse")(probabilities, targets), nn::mse(probabilities, targets), 0, 0));
  CHECK(nn::Loss(nn::mse).name() == "mse");
  CHECK(nn::Loss("mean_squared_error").name() == "mse");
  CHECK(nn::Loss("mean_absolute_error").name() == "mae");
  CHECK(nn::Loss("kullback_leibler_divergence").name() == "kl_divergence");
  CHECK(nn::Loss(nn::CategoricalCrossentropy{.from_logits = true}).name() == "categorical_crossentropy_from_logits");
  const nn::Loss told_the_line = [](const Tensor<>& a, const Tensor<>&, Caller line = {}) {
    return full({a.shape()[0]}, line.line);
  };
  CHECK(told_the_line(probabilities, targets)(0) == __LINE__);
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
  CHECK_THROWS_WITH_AS(each(ones({3, 1}), ones({3})), doctest::Contains("losses.cpp:"), ShapeError);
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
