// delta = J^T dC/da: the ways agree with each other, with the closed forms and with differences.

#include <doctest/doctest.h>

#include <cmath>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include "../close.hpp"

using namespace tapegrad;
using nn::OutputDelta;

namespace {

const Tensor<> z{{0.3, -1.2, 2.0, 0.7}, {-0.4, 1.1, 0.0, -2.0}, {1.5, 0.2, -0.6, 0.9}};
const Tensor<> one_hot_targets{{0, 0, 1, 0}, {1, 0, 0, 0}, {0, 0, 0, 1}};
const Tensor<> soft_targets{{0.1, 0.2, 0.9, 0.3}, {0.6, 0.3, 0.1, 0.5}, {0.2, 0.0, 1.0, 0.4}};

/// Its Jacobian is lower triangular, so that J g in place of J^T g shows.
auto cumulative = [](const auto& x) { return cumsum(softmax(x), -1); };
auto weighted = [](const auto& a, const auto& y) { return sum(square(a - y) * square(a), -1); };

/// Central differences of the sum of the loss, of order 4.
template <class F, class C, class Y>
Tensor<> by_differences(const F& f, const C& c, const Tensor<>& at, const Tensor<Y>& y) {
  std::vector<double> out;
  for (std::int64_t k = 0; k < at.size(); ++k) {
    auto moved = [&](double h) {
      Tensor<> x = at;
      x.mutable_data()[k] += h;
      return sum(c(f(x), y)).item();
    };
    constexpr double h = 1e-3;
    out.push_back((8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h));
  }
  return Tensor<>(at.shape(), out);
}

template <class F, class C, class Y>
void check_all_ways(const F& f, const C& c, const Tensor<Y>& y) {
  const nn::Activation activation = f;
  const nn::Loss loss = c;
  CAPTURE(activation.name() + " + " + loss.name());
  const Tensor<> expected = by_differences(activation, loss, z, y);
  const Tensor<> weights{0.5, 3, 0};
  const Tensor<> value = loss(activation(z), y);
  for (OutputDelta way : {OutputDelta::automatic, OutputDelta::vjp, OutputDelta::jacobian, OutputDelta::closed_form}) {
    CAPTURE(to_string(way));
    const Tensor<> delta = nn::output_delta(f, c, z, y, way);
    CHECK(allclose(delta, expected, 0, 1e-10));
    CHECK(allclose(delta, nn::output_delta(f, c, z, y, OutputDelta::vjp), 0, 4e-15));

    if (way == OutputDelta::automatic) continue;
    const auto head = nn::detail::output_head(activation, loss, z, y, way, 0.25);
    CHECK(allclose(head.prediction, activation(z), 0, 0));
    CHECK(allclose(head.loss, value, 0, 1e-14));
    CHECK(allclose(head.delta, 0.25 * delta, 0, 1e-14));
    const auto weighted = nn::detail::output_head(activation, loss, z, y, way, 0.25, weights);
    CHECK(allclose(weighted.loss, weights * value, 0, 1e-14));
    CHECK(allclose(weighted.delta, reshape(weights, {3, 1}) * delta * 0.25, 0, 1e-14));
  }
}

}  // namespace

TEST_CASE("the ways of delta agree for every known pair") {
  const Tensor<std::int64_t> labels{2, 0, 3};
  for (const Tensor<>& y : {one_hot_targets, soft_targets}) {
    check_all_ways("softmax", "categorical_crossentropy", y);
    check_all_ways("linear", "categorical_crossentropy_from_logits", y);
    check_all_ways("sigmoid", "binary_crossentropy", y);
    check_all_ways("linear", "binary_crossentropy_from_logits", y);
    check_all_ways("linear", "mse", y);
    check_all_ways("linear", "mean_error", y);
    check_all_ways("softmax", "kl_divergence", y);
    check_all_ways("exponential", "poisson", y);
    check_all_ways("softmax", nn::CategoricalCrossentropy{.label_smoothing = 0.1}, y);
    check_all_ways("linear", nn::CategoricalCrossentropy{.label_smoothing = 0.1, .from_logits = true}, y);
    check_all_ways("sigmoid", nn::BinaryCrossentropy{.label_smoothing = 0.1}, y);
    check_all_ways("linear", nn::BinaryCrossentropy{.label_smoothing = 0.1, .from_logits = true}, y);
  }
  check_all_ways("softmax", "sparse_categorical_crossentropy", labels);
  check_all_ways("linear", "sparse_categorical_crossentropy_from_logits", labels);
}

TEST_CASE("the ways of delta agree for other pairs, by name or of a user's own") {
  auto by_tape = [](const auto& f, const auto& c) {
    const Tensor<> expected = by_differences(nn::Activation(f), nn::Loss(c), z, soft_targets);
    for (OutputDelta way : {OutputDelta::automatic, OutputDelta::vjp, OutputDelta::jacobian}) {
      CAPTURE(to_string(way));
      CHECK(allclose(nn::output_delta(f, c, z, soft_targets, way), expected, 0, 1e-10));
    }
    CHECK_THROWS_AS(nn::output_delta(f, c, z, soft_targets, OutputDelta::closed_form), ValueError);
  };
  by_tape("softmax", "mse");
  by_tape("tanh", "mse");
  by_tape("sigmoid", "mse");
  by_tape(cumulative, weighted);
  by_tape("softmax", weighted);
  by_tape(cumulative, nn::mse);
}

TEST_CASE("weights of examples that do not fit are refused, whatever the way") {
  const Tensor<std::int64_t> labels{2, 0, 3};
  auto scalar = [](const auto& a, const auto& y) { return sum(square(a - y)); };
  for (OutputDelta way : {OutputDelta::closed_form, OutputDelta::vjp, OutputDelta::jacobian}) {
    CAPTURE(to_string(way));
    CHECK_THROWS_WITH_AS(nn::detail::output_head({"linear"}, {"mse"}, z, soft_targets, way, 1, ones({2})),
                         doctest::Contains("losses (3) and weights (2)"), ShapeError);
    CHECK_THROWS_AS(nn::detail::output_head({"linear"}, {"mse"}, z, soft_targets, way, 1, ones({3, 1})), ShapeError);
    if (way == OutputDelta::closed_form) continue;
    CHECK_THROWS_WITH_AS(nn::detail::output_head(nn::Activation("linear"), nn::Loss(scalar), z, soft_targets, way, 1,
                                                 ones({3}), Caller::here()),
                         doctest::Contains("output_delta.cpp:"), ValueError);
  }
}

TEST_CASE("the closed forms are right where probabilities underflow, with smoothing and weights") {
  const Tensor<> extreme{{1e4, -1e4, 0.0, 1e4}}, y{{0, 1, 0, 0}}, weights{2.0};
  const auto head =
      nn::detail::output_head(nn::Activation("softmax"), nn::Loss(nn::CategoricalCrossentropy{.label_smoothing = 0.4}),
                              extreme, y, OutputDelta::closed_form, 1, weights);
  CHECK(allclose(head.delta, 2.0 * Tensor<>{{0.4, -0.7, -0.1, 0.4}}, 0, 1e-15));
  CHECK(head.loss(0) == about(2 * (0.7 * 2e4 + 0.1 * 1e4 + std::log(2.0)), 1e-15));
  CHECK(allclose(nn::output_delta("softmax", "kl_divergence", extreme, y), Tensor<>{{0.5, -1, 0, 0.5}}, 0, 1e-15));
  const Tensor<> low{{-1e4, -1e4}}, counts{{3.0, 0.0}};
  CHECK(allclose(nn::output_delta("exponential", "poisson", low, counts), Tensor<>{{-1.5, 0}}, 0, 0));
}

TEST_CASE("delta is J^T g and not J g") {
  const Tensor<> row = reshape(slice(z, 0, 0, 1), {4}), y = reshape(slice(soft_targets, 0, 0, 1), {4});
  const auto J = jacobian(cumulative)(row);
  const Tensor<> g = grad(weighted)(cumulative(row), y);
  const Tensor<> delta = nn::output_delta(cumulative, weighted, row, y, OutputDelta::jacobian);
  CHECK(delta.shape() == Shape{4});
  CHECK(allclose(delta, matmul(transpose(J.dense()), g), 0, 1e-15));
  CHECK(allclose(delta, nn::output_delta(cumulative, weighted, row, y, OutputDelta::vjp), 0, 1e-15));
  CHECK_FALSE(allclose(delta, matmul(J.dense(), g), 0, 1e-2));
}

TEST_CASE("one example without a batch axis, and a scalar loss") {
  const Tensor<> row{0.3, -1.2, 2.0}, y{0, 0, 1};
  auto total = [](const auto& a, const auto& t) { return -sum(t * log(a)); };
  const Tensor<> expected = softmax(row) - y;
  CHECK(allclose(nn::output_delta("softmax", total, row, y, OutputDelta::jacobian), expected, 0, 1e-15));
  CHECK(allclose(nn::output_delta("softmax", total, row, y), expected, 0, 1e-15));
  CHECK(allclose(nn::output_delta("softmax", "categorical_crossentropy", row, y), expected, 0, 5e-16));
  auto of_batch = [](const auto& a, const auto& t) { return -sum(t * log(a)); };
  CHECK(allclose(nn::output_delta("softmax", of_batch, z, one_hot_targets, OutputDelta::jacobian),
                 softmax(z) - one_hot_targets, 0, 1e-15));
}

TEST_CASE("the closed form is a - y, and to the bit where a is not above 1/2") {
  const Tensor<> delta = nn::output_delta("softmax", "categorical_crossentropy", z, one_hot_targets);
  const Tensor<> a = softmax(z), simple = a - one_hot_targets;
  CHECK(allclose(delta, simple, 0, 5e-16));
  CHECK(allclose(where(a > 0.5, simple, delta), simple, 0, 0));
}

TEST_CASE("an unknown pair has no closed form, and the message lists the known") {
  try {
    nn::output_delta("softmax", "mse", z, soft_targets, OutputDelta::closed_form);
    FAIL("a closed form was found");
  } catch (const ValueError& error) {
    const std::string message = error.what();
    CHECK(message.find("\"softmax\" with loss \"mse\"") != std::string::npos);
    CHECK(message.find("sigmoid + binary_crossentropy") != std::string::npos);
  }
  // A user's function is not taken for the built-in one, whatever it computes.
  CHECK_THROWS_AS(nn::output_delta([](const auto& x) { return softmax(x); }, "categorical_crossentropy", z,
                                   one_hot_targets, OutputDelta::closed_form),
                  ValueError);
}

TEST_CASE("errors of a loss name the line that asked for delta") {
  const Tensor<> two = ones({2, 4});
  for (OutputDelta way : {OutputDelta::closed_form, OutputDelta::vjp, OutputDelta::jacobian}) {
    CAPTURE(to_string(way));
    const auto here = doctest::Contains("output_delta.cpp:");
    CHECK_THROWS_WITH_AS(nn::output_delta("linear", "mse", z, two, way), here, ShapeError);
    if (way == OutputDelta::closed_form) continue;
    CHECK_THROWS_WITH_AS(nn::output_delta("linear", nn::mae, z, two, way), here, ShapeError);
    const auto each = elementwise([](auto a, auto y) { return square(a - y); });
    CHECK_THROWS_WITH_AS(nn::output_delta("linear", each, z, two, way), here, ShapeError);
  }
}

TEST_CASE("delta of a function that mixes rows") {
  auto mixing = [](const auto& x) {
    auto e = exp(x);
    return e / sum(e);
  };
  CHECK_THROWS_AS(nn::output_delta(mixing, weighted, z, soft_targets, OutputDelta::jacobian), RowMixingError);
  const Tensor<> expected = by_differences(mixing, weighted, z, soft_targets);
  CHECK(allclose(nn::output_delta(nn::mixes_rows(mixing), weighted, z, soft_targets, OutputDelta::jacobian), expected,
                 0, 1e-10));
}

TEST_CASE("delta of logits of +-1e4 is finite under every way") {
  const Tensor<> extreme{{1e4, -1e4, 0.0, 1e4}};
  const Tensor<> y{{0, 1, 0, 0}};
  for (OutputDelta way : {OutputDelta::closed_form, OutputDelta::vjp, OutputDelta::jacobian}) {
    for (const auto& [f, c] :
         {std::pair("softmax", "categorical_crossentropy"), std::pair("sigmoid", "binary_crossentropy")}) {
      const Tensor<> delta = nn::output_delta(f, c, extreme, y, way);
      for (double value : delta.elements_view()) CHECK(std::isfinite(value));
    }
  }
  const Tensor<> right{{0.5, -1, 0, 0.5}};
  CHECK(allclose(nn::output_delta("softmax", "categorical_crossentropy", extreme, y), right, 0, 1e-15));
}

TEST_CASE("delta can itself be differentiated") {
  // The Hessian of the loss by z, as the Jacobian of its delta.
  const Tensor<> row{0.3, -1.2, 2.0}, y{0, 0, 1};
  auto delta_of = [&](OutputDelta way) {
    return [&, way](const Tensor<>& at) { return nn::output_delta("softmax", "categorical_crossentropy", at, y, way); };
  };
  const Tensor<> s = softmax(row);
  const Tensor<> expected = eye(3) * s - reshape(s, {3, 1}) * s;
  for (OutputDelta way : {OutputDelta::closed_form, OutputDelta::vjp, OutputDelta::jacobian}) {
    CAPTURE(to_string(way));
    CHECK(allclose(jacobian(delta_of(way))(row).dense(), expected, 0, 1e-14));
  }
}

TEST_CASE("the comparison finds a wrong closed form, and times each way") {
  auto softmax_of = [](const auto& x) { return softmax(x); };
  const nn::DeltaReport report =
      nn::compare_output_delta(softmax_of, "categorical_crossentropy", z, one_hot_targets,
                               [](const auto&, const auto& a, const auto& y) { return a - y; });
  REQUIRE(report.rows.size() == 4);
  for (const auto& row : report.rows) {
    CAPTURE(row.way);
    CHECK(row.max_difference < 1e-15);
    CHECK(row.seconds > 0);
  }
  std::ostringstream out;
  out << report;
  CHECK(out.str().find("jacobian") != std::string::npos);

  const nn::DeltaReport wrong = nn::compare_output_delta(
      softmax_of, "mse", z, one_hot_targets, [](const auto&, const auto& a, const auto& y) { return a - y; });
  CHECK(wrong.rows[2].max_difference > 0.1);
  CHECK(wrong.rows[3].max_difference > 0.1);
  CHECK_THROWS_AS(nn::compare_output_delta(softmax_of, "mse", z, one_hot_targets,
                                           [](const auto&, const auto& a, const auto&) { return sum(a); }),
                  ShapeError);
}
