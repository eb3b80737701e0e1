// Initial values: their distribution, and that a seed fixes them.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include "../close.hpp"

using namespace tapegrad;

namespace {

Tensor<> draw(const nn::Initializer& initializer, const Shape& shape, std::uint64_t seed = 3) {
  nn::Rng rng(seed);
  return initializer.make<double>(shape, rng);
}

double largest(const Tensor<>& x) { return max(abs(x)).item(); }
double deviation(const Tensor<>& x) { return std::sqrt(mean(square(x)).item()); }

/// Mean 0 and the variance within 5 standard errors, of which the variance's are at most those of a normal; and never
/// beyond `bound`, but close to it.
void check_distribution(const char* name, const Shape& shape, double variance, double bound) {
  CAPTURE(name);
  const Tensor<> x = draw(name, shape);
  const double errors = 5 / std::sqrt(static_cast<double>(x.size()));
  CHECK(std::abs(mean(x).item()) < errors * std::sqrt(variance));
  CHECK(std::abs(mean(square(x)).item() / variance - 1) < errors * std::sqrt(2.0));
  CHECK(largest(x) <= bound);
  CHECK(largest(x) > 0.99 * bound);
}

}  // namespace

TEST_CASE("initial values by Keras's names have their variance and bounds") {
  const Shape shape{300, 100};
  // The variance of a normal distribution truncated at two standard deviations, with density phi, is 1 - 4 phi(2) / (2
  // Phi(2) - 1).
  const double kept = 1 - 4 * std::exp(-2.0) / std::sqrt(2 * std::acos(-1.0)) / std::erf(std::sqrt(2.0));
  CHECK(std::sqrt(kept) == about(0.87962566103423978, 1e-15));
  auto truncated = [&](const char* name, double variance) {
    check_distribution(name, shape, variance, 2 * std::sqrt(variance / kept));
  };
  auto uniform = [&](const char* name, double variance) {
    check_distribution(name, shape, variance, std::sqrt(3 * variance));
  };
  uniform("glorot_uniform", 1.0 / 200);
  uniform("he_uniform", 2.0 / 300);
  uniform("lecun_uniform", 1.0 / 300);
  truncated("glorot_normal", 1.0 / 200);
  truncated("he_normal", 2.0 / 300);
  truncated("lecun_normal", 1.0 / 300);
  uniform("random_uniform", 0.05 * 0.05 / 3);
  truncated("truncated_normal", 0.05 * 0.05 * kept);
  CHECK(deviation(draw("random_normal", shape)) == about(0.05, 0.03));
  CHECK(largest(draw("random_normal", shape)) > 0.15);
}

TEST_CASE("constants, and a uniform distribution of one's own") {
  CHECK(allclose(draw("ones", {2, 3}), ones({2, 3}), 0, 0));
  CHECK(allclose(draw(nn::constant(0.5), {2}), full({2}, 0.5), 0, 0));
  const Tensor<> x = draw(nn::random_uniform(2, 3), {1000});
  CHECK(min(x).item() >= 2);
  CHECK(max(x).item() < 3);
  CHECK(mean(x).item() == about(2.5, 0.02));
}

TEST_CASE("fans of vectors and of more than two axes are Keras's") {
  CHECK(largest(draw("he_uniform", {1000})) == about(std::sqrt(6.0 / 1000), 0.01));
  CHECK(largest(draw("he_uniform", {3, 3, 20, 30})) == about(std::sqrt(6.0 / 180), 0.01));
  CHECK(largest(draw("glorot_uniform", {3, 3, 20, 30})) == about(std::sqrt(6.0 / 450), 0.01));
  CHECK(draw("he_normal", {}).rank() == 0);
  CHECK(draw("glorot_normal", {0, 4}).shape() == Shape{0, 4});
}

TEST_CASE("orthogonal matrices") {
  for (const Shape& shape : {Shape{7, 4}, Shape{4, 7}, Shape{200, 200}}) {
    const Tensor<> q = draw(nn::orthogonal(2), shape);
    REQUIRE(q.shape() == shape);
    const Tensor<> product = shape[0] >= shape[1] ? matmul(transpose(q), q) : matmul(q, transpose(q));
    CHECK(allclose(product, 4.0 * eye(product.shape()[0]), 0, 1e-14));
  }
  CHECK_THROWS_AS(draw("orthogonal", {3}), ShapeError);
}

TEST_CASE("a seed fixes the initial values, and float gets them rounded") {
  for (const char* name : {"zeros", "ones", "random_normal", "random_uniform", "truncated_normal", "glorot_uniform",
                           "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "orthogonal"}) {
    CAPTURE(name);
    const Tensor<> x = draw(name, {20, 10});
    CHECK(allclose(draw(name, {20, 10}), x, 0, 0));
    nn::Rng rng(3);
    CHECK(allclose(nn::Initializer(name).make<float>({20, 10}, rng), astype<float>(x), 0, 0));
    const bool random = std::string(name) != "zeros" && std::string(name) != "ones";
    CHECK(allclose(draw(name, {20, 10}, 4), x, 0, 0) == !random);
  }
}

TEST_CASE("initializers refuse what is no distribution") {
  CHECK_THROWS_AS(nn::truncated_normal(-1), ValueError);
  CHECK_THROWS_AS(nn::random_normal(INFINITY), ValueError);
  CHECK_THROWS_WITH_AS(nn::random_uniform(1, 0), doctest::Contains("initializers.cpp:"), ValueError);
  CHECK_THROWS_WITH_AS(nn::Initializer("he"), doctest::Contains("lecun_normal"), ValueError);
}
