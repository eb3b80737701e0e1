// Metrics.

#include <doctest/doctest.h>

#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

using namespace tapegrad;

TEST_CASE("accuracy of classes, by one-hot targets and by labels") {
  const Tensor<> a{{0.2, 0.5, 0.3}, {0.7, 0.05, 0.25}, {0.1, 0.1, 0.8}};
  CHECK(nn::accuracy(a, Tensor<>{{0, 1, 0}, {0, 0, 1}, {0, 0, 1}}) == doctest::Approx(2.0 / 3));
  CHECK(nn::accuracy(a, Tensor<std::int64_t>{1, 2, 2}) == doctest::Approx(2.0 / 3));
  CHECK(nn::Metric("accuracy")(a, Tensor<std::int64_t>{1, 0, 2}) == 1);
}

TEST_CASE("accuracy of one column is a threshold of 0.5") {
  const Tensor<float> a = reshape(Tensor<float>{0.4F, 0.6F, 0.9F, 0.1F}, {4, 1});
  CHECK(nn::accuracy(a, reshape(Tensor<float>{0, 1, 0, 1}, {4, 1})) == 0.5);
  CHECK(nn::accuracy(a, Tensor<std::int64_t>{0, 1, 1, 1}) == 0.75);
}

TEST_CASE("the metric mse is the mean over examples and features") {
  CHECK(nn::Metric("mse")(Tensor<>{{1, 2}, {3, 4}}, Tensor<>{{0, 2}, {3, 1}}) == 2.5);
}

TEST_CASE("metrics refuse what does not fit") {
  const Tensor<> a{{0.2, 0.8}};
  CHECK_THROWS_AS(nn::accuracy(a, Tensor<>{{1, 0, 0}}), ShapeError);
  CHECK_THROWS_AS(nn::accuracy(a, Tensor<std::int64_t>{1, 0}), ShapeError);
  CHECK_THROWS_AS(nn::accuracy(zeros({0, 2}), zeros({0, 2})), ShapeError);
  CHECK_THROWS_AS(nn::Metric("mse")(a, Tensor<std::int64_t>{1}), ValueError);
  CHECK_THROWS_AS(nn::Metric("acc"), ValueError);
}
