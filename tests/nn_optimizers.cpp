// Optimisers, schedules and initialisers.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <tuple>

using namespace tapegrad;

namespace {

struct Net {
  Tensor<> W{{1, 2}, {3, 4}};
  Tensor<float> b{1, 2};
  auto tensors() { return std::tie(W, b); }
};

}  // namespace

TEST_CASE("SGD subtracts the rate times the gradient, for anything that holds tensors") {
  nn::Optimizer opt = nn::SGD{.learning_rate = 0.5};
  Tensor<> one{1, 2};
  opt.step(one, {10, 20});
  CHECK(allclose(one, Tensor<>{-4, -8}, 0, 0));
  std::vector<Tensor<float>> list{{1, 2}, {3}};
  opt.step(list, {{2, 4}, {6}});
  CHECK(list[1].item() == 0);
  std::map<std::string, Tensor<>> named{{"w", {1, 2}}};
  opt.step(named, {{"w", {2, 2}}});
  CHECK(named["w"](1) == 1);
  Net net, gradient;
  opt.step(net, gradient);
  CHECK(net.W(1, 1) == 2);
  CHECK(net.b(0) == 0.5F);
  nn::Params<double> params{{"kernel", Tensor<>{1, 2}}};
  opt.step(params, {{"kernel", Tensor<>{1, 1}}});
  CHECK(params.at("kernel")(1) == 1.5);
}

TEST_CASE("the update is in place, and never under another handle") {
  nn::Optimizer opt = nn::SGD{.learning_rate = 1};
  Tensor<> w{1, 2};
  const double* place = w.data();
  opt.step(w, {1, 1});
  CHECK(w.data() == place);
  const Tensor<> kept = w;
  opt.step(w, {1, 1});
  CHECK(kept(0) == 0);
  CHECK(w(0) == -1);
  opt.step(w, w);
  CHECK(w(0) == 0);
}

TEST_CASE("gradients that do not fit the parameters are refused, and nothing has changed") {
  nn::Optimizer opt = nn::SGD{};
  std::vector<Tensor<>> w{{1, 2}, {3, 4}};
  CHECK_THROWS_AS(opt.step(w, {{1, 1}}), ShapeError);
  CHECK_THROWS_AS(opt.step(w, {{1, 1}, {1, 1, 1}}), ShapeError);
  CHECK(w[0](0) == 1);
}

TEST_CASE("a learning rate that is negative or not finite is refused when it is used") {
  Tensor<> w{1, 2};
  for (double rate : {std::nan(""), std::numeric_limits<double>::infinity(), -0.1}) {
    nn::Optimizer opt = nn::SGD{.learning_rate = rate};
    CHECK_THROWS_AS(opt.step(w, {1, 1}), ValueError);
  }
  nn::Optimizer late =
      nn::SGD{.learning_rate = [](std::int64_t, std::int64_t step) { return 1.0 / static_cast<double>(1 - step); }};
  late.step(w, {1, 1});
  CHECK_THROWS_AS(late.step(w, {1, 1}), ValueError);
  CHECK(w(0) == 0);
}

TEST_CASE("a schedule is asked with epoch and step, and inverse time decay starts again at every epoch") {
  nn::Optimizer opt = nn::SGD{.learning_rate = nn::inverse_time_decay(0.1, 0.01)};
  Tensor<> w{0.0};
  for (int step = 0; step < 3; ++step) {
    CHECK(opt.learning_rate() == 0.1 / (1 + 0.01 * step));
    opt.step(w, {0});
  }
  opt.begin_epoch(1);
  CHECK(opt.learning_rate() == 0.1);
  nn::Optimizer by_epoch = nn::SGD{.learning_rate = [](auto epoch, auto) { return epoch < 2 ? 0.1 : 0.01; }};
  by_epoch.begin_epoch(2);
  CHECK(by_epoch.learning_rate() == 0.01);
}

TEST_CASE("a user's own loop") {
  nn::Optimizer opt = nn::SGD{.learning_rate = 0.1};
  std::vector<Tensor<>> params{{3, -2}};
  auto f = [](const std::vector<Tensor<>>& p) { return sum(square(p[0])); };
  for (int i = 0; i < 100; ++i) {
    auto [loss, g] = value_and_grad(f)(params);
    opt.step(params, g);
  }
  CHECK(std::abs(params[0](0)) < 1e-8);
}

TEST_CASE("initializers") {
  nn::Rng rng(1);
  CHECK(allclose(nn::Initializer("zeros").make<double>({2, 3}, rng), zeros({2, 3}), 0, 0));
  CHECK(nn::constant(0.5).make<float>({2}, rng)(1) == 0.5F);
  const Tensor<> w = nn::Initializer("glorot_uniform").make<double>({200, 100}, rng);
  const double limit = std::sqrt(6.0 / 300);
  CHECK(max(abs(w)).item() <= limit);
  CHECK(max(abs(w)).item() > 0.99 * limit);
  const Tensor<> n = nn::normal(0.01).make<double>({200, 100}, rng);
  CHECK(sqrt(mean(square(n))).item() == doctest::Approx(0.01).epsilon(0.03));
  nn::Rng first(7), second(7);
  const Tensor<> wide = nn::normal(1).make<double>({5}, first);
  CHECK(allclose(astype<float>(wide), nn::normal(1).make<float>({5}, second), 0, 0));
  CHECK_THROWS_AS(nn::Initializer("glorot"), ValueError);
  CHECK_THROWS_AS(nn::normal(-1), ValueError);
  const nn::Initializer wrong = [](const Shape&, nn::Rng&) { return zeros({1}); };
  CHECK_THROWS_AS(wrong.make<double>({2}, rng), ShapeError);
}
