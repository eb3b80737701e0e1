// Optimizers, schedules, clipping and initializers.

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <tuple>
#include <vector>

#include "../close.hpp"
#include "../error_message.hpp"

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
  // Shared or not, the numbers are the same.
  for (const nn::Optimizer& rule : {nn::Optimizer(nn::Adam{}), nn::Optimizer(nn::SGD{.momentum = 0.9}),
                                    nn::Optimizer(nn::RMSprop{.momentum = 0.9, .centered = true})}) {
    nn::Optimizer alone = rule, shared = rule;
    Tensor<> a = linspace(-1, 1, 37), b = linspace(-1, 1, 37), first = b;
    for (int t = 0; t < 3; ++t) {
      const Tensor<> last = b;
      const nn::Optimizer before = shared;
      alone.step(a, linspace(1, t, 37));
      shared.step(b, linspace(1, t, 37));
      CHECK(allclose(a, b, 0, 0));
      CHECK_FALSE(allclose(last, b, 0, 0));
    }
    CHECK(allclose(first, linspace(-1, 1, 37), 0, 0));
  }
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
  nn::Optimizer opt = nn::SGD{.learning_rate = nn::inverse_time_decay_in_epoch(0.1, 0.01)};
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
  for (const char* name : {"sgd", "adam", "adamw", "rmsprop", "adagrad"}) {
    CAPTURE(name);
    nn::Optimizer opt = name;
    opt.set_learning_rate(0.1);
    std::vector<Tensor<>> params{{3, -2}};
    auto f = [](const std::vector<Tensor<>>& p) { return sum(square(p[0])); };
    for (int i = 0; i < 1000; ++i) {
      auto [loss, g] = value_and_grad(f)(params);
      opt.step(params, g);
    }
    CHECK(std::abs(params[0](0)) < 0.1);
    CHECK(opt.iterations() == 1000);
  }
  CHECK_THROWS_WITH_AS(nn::Optimizer("Adam"), doctest::Contains("known: sgd, adam"), ValueError);
}

// ------------------------------------------------------------------------------------------------------ the rules

namespace {

struct NamedRule {
  std::string name;
  nn::Optimizer optimizer;
};

// Every rule, in both forms where there are two, with every option away from its default.
std::vector<NamedRule> all_rules() {
  using nn::EpsilonPlace;
  std::vector<NamedRule> rules{{"sgd", nn::SGD{.learning_rate = 0.1}},
                               {"momentum", nn::SGD{.learning_rate = 0.1, .momentum = 0.8}},
                               {"nesterov", nn::SGD{.learning_rate = 0.1, .momentum = 0.8, .nesterov = true}}};
  for (const auto& [suffix, place] : {std::pair{"_keras", EpsilonPlace::keras}, {"_torch", EpsilonPlace::torch}}) {
    const auto name = [&, suffix = suffix](const char* rule) { return rule + std::string(suffix); };
    rules.push_back(
        {name("adam"),
         nn::Adam{.learning_rate = 0.1, .beta_1 = 0.7, .beta_2 = 0.95, .epsilon = 0.01, .epsilon_place = place}});
    rules.push_back({name("adamw"), nn::AdamW{.learning_rate = 0.1,
                                              .weight_decay = 0.3,
                                              .beta_1 = 0.7,
                                              .beta_2 = 0.95,
                                              .epsilon = 0.01,
                                              .epsilon_place = place}});
    for (const double momentum : {0.0, 0.8}) {
      for (const bool centered : {false, true}) {
        rules.push_back({name("rmsprop") + (momentum != 0 ? "_momentum" : "") + (centered ? "_centered" : ""),
                         nn::RMSprop{.learning_rate = 0.1,
                                     .rho = 0.7,
                                     .momentum = momentum,
                                     .epsilon = 0.01,
                                     .centered = centered,
                                     .epsilon_place = place}});
      }
    }
    rules.push_back(
        {name("adagrad"),
         nn::Adagrad{.learning_rate = 0.1, .initial_accumulator_value = 0.2, .epsilon = 0.01, .epsilon_place = place}});
  }
  return rules;
}

// The same rules of one number, as Keras 3 (keras/src/optimizers) and PyTorch (torch/optim) write them.
struct ByHand {
  std::string rule;
  double w, m = 0, v = 0, a = 0, b = 0;
  int t = 0;

  void step(double g) {
    const bool torch = contains(rule, "torch");
    const double lr = 0.1, eps = 0.01;
    ++t;
    if (rule == "sgd") {
      w -= lr * g;
    } else if (rule == "momentum" || rule == "nesterov") {
      m = 0.8 * m - lr * g;
      w += rule == "nesterov" ? 0.8 * m - lr * g : m;
    } else if (contains(rule, "adam")) {
      if (contains(rule, "adamw")) w -= lr * 0.3 * w;
      m = 0.7 * m + (1 - 0.7) * g;
      v = 0.95 * v + (1 - 0.95) * g * g;
      const double c1 = 1 - std::pow(0.7, t), c2 = 1 - std::pow(0.95, t);
      if (torch)
        w -= lr * (m / c1) / (std::sqrt(v / c2) + eps);
      else
        w -= lr * std::sqrt(c2) / c1 * m / (std::sqrt(v) + eps);
    } else if (contains(rule, "rmsprop")) {
      v = 0.7 * v + (1 - 0.7) * g * g;
      a = 0.7 * a + (1 - 0.7) * g;
      const double variance = contains(rule, "centered") ? v - a * a : v;
      const double u = g / (torch ? std::sqrt(variance) + eps : std::sqrt(variance + eps));
      b = (contains(rule, "momentum") ? 0.8 * b : 0) + lr * u;
      w -= b;
    } else {
      if (t == 1) v = 0.2;
      v += g * g;
      w -= lr * g / (torch ? std::sqrt(v) + eps : std::sqrt(v + eps));
    }
  }
};

Tensor<> gradient_at(int t) { return {0.3 * t, -1.0 / t, std::sin(t), 0}; }

template <class T>
double difference(const Tensor<T>& a, const Tensor<T>& b) {
  return static_cast<double>(max(abs(a - b)).item());
}

}  // namespace

TEST_CASE("every rule is the published one, in double and in float") {
  for (const NamedRule& rule : all_rules()) {
    CAPTURE(rule.name);
    nn::Optimizer opt = rule.optimizer, single = rule.optimizer;
    Tensor<> w{1, -2, 0.5, 3};
    auto f = astype<float>(w);
    std::vector<ByHand> expected;
    for (double start : w.elements_view()) expected.push_back({rule.name, start});
    for (int t = 1; t <= 20; ++t) {
      opt.step(w, gradient_at(t));
      single.step(f, astype<float>(gradient_at(t)));
      for (std::size_t i = 0; i < 4; ++i) {
        expected[i].step(gradient_at(t)(i));
        CHECK(w(i) == about(expected[i].w, 1e-13));
        // The variance of a centered rule cancels.
        CHECK(std::abs(f(i) - expected[i].w) < 2e-5);
      }
    }
  }
}

TEST_CASE_TEMPLATE("every element moves as if it were alone", T, float, double) {
  for (const NamedRule& rule : all_rules()) {
    CAPTURE(rule.name);
    for (std::int64_t n = 0; n <= 40; ++n) {
      CAPTURE(n);
      const Tensor<T> g = linspace<T>(-3, 4, n);
      nn::Optimizer together = rule.optimizer, apart = rule.optimizer;
      Tensor<T> w = linspace<T>(2, -1, n);
      std::vector<Tensor<T>> elements, gradients;
      for (std::int64_t i = 0; i < n; ++i) elements.emplace_back(w(i)), gradients.emplace_back(g(i));
      for (int t = 0; t < 3; ++t) {
        together.step(w, g);
        apart.step(elements, gradients);
      }
      bool equal = true;
      for (std::int64_t i = 0; i < n; ++i) equal &= w(i) == elements[static_cast<std::size_t>(i)].item();
      CHECK(equal);
    }
  }
}

TEST_CASE("the two places of epsilon are two rules") {
  std::map<std::string, Tensor<>> after;
  for (const NamedRule& rule : all_rules()) {
    Tensor<> w{1, -2, 0.5, 3};
    nn::Optimizer opt = rule.optimizer;
    opt.step(w, gradient_at(1));
    after[rule.name] = w;
  }
  for (const char* rule : {"adam", "adamw", "rmsprop", "adagrad"}) {
    CAPTURE(rule);
    CHECK(difference(after[rule + std::string("_keras")], after[rule + std::string("_torch")]) > 1e-5);
  }
}

namespace {

struct SignSGD {
  nn::LearningRate learning_rate = 0.01;
  template <class T>
  void update(Tensor<T>& w, const Tensor<T>& g, double rate) const {
    w = w - rate * sign(g);
  }
};

struct Lion {
  nn::LearningRate learning_rate = 1e-4;
  template <class T>
  nn::Params<T> slots(const Tensor<T>& w) const {
    return {{"m", zeros<T>(w.shape())}};
  }
  template <class T>
  void update(Tensor<T>& w, const Tensor<T>& g, nn::Params<T>& slots, nn::Step step) const {
    w = w - step.rate * sign(0.9 * slots["m"] + 0.1 * g);
    slots["m"] = 0.99 * slots["m"] + 0.01 * g;
  }
};

}  // namespace

TEST_CASE("rules of a user's own, with slots and without") {
  nn::Optimizer by_sign = SignSGD{.learning_rate = 0.5}, lion = Lion{.learning_rate = 0.5};
  Tensor<> w{1, 2, 3};
  by_sign.step(w, {10, -1e-3, 0});
  CHECK(allclose(w, Tensor<>{0.5, 2.5, 3}, 0, 0));
  Tensor<float> v{1, 2};
  lion.step(v, {10, -1});
  lion.step(v, {-0.1F, -1});
  CHECK(allclose(v, Tensor<float>{0, 3}, 0, 0));  // 0.9 * 0.1 - 0.01 > 0: the first step is remembered
  CHECK(lion.state<float>()["0.m"](1) == about(-0.0199, 1e-7));
}

TEST_CASE("scalars, and parameters of both types in a struct, a tuple, a map") {
  for (const NamedRule& rule : all_rules()) {
    CAPTURE(rule.name);
    nn::Optimizer alone = rule.optimizer, of_struct = rule.optimizer, of_tuple = rule.optimizer,
                  of_map = rule.optimizer;
    Tensor<> w = 2, g = 0.7;
    Net net{full({2, 2}, 2), full<float>({2}, 2)}, slope{full({2, 2}, 0.7), full<float>({2}, 0.7F)};
    std::tuple<Tensor<float>, Tensor<>> both{2, 2}, slopes{0.7, 0.7};
    std::map<std::string, Tensor<>> named{{"b", 2}, {"a", full({3}, 2)}}, by_name{{"b", 0.7}, {"a", full({3}, 0.7)}};
    for (int t = 0; t < 3; ++t) {
      alone.step(w, g);
      of_struct.step(net, slope);
      of_tuple.step(both, slopes);
      of_map.step(named, by_name);
    }
    CHECK(net.W(1, 1) == w.item());
    CHECK(net.b(1) == about(w.item(), 1e-5));
    CHECK(std::get<1>(both).item() == w.item());
    CHECK(std::get<0>(both).item() == net.b(0));
    CHECK(named["a"](2) == w.item());
    CHECK(named["b"].item() == w.item());
  }
}

TEST_CASE("a rate of 0 moves nothing, and what is kept goes on") {
  for (const NamedRule& rule : all_rules()) {
    CAPTURE(rule.name);
    nn::Optimizer opt = rule.optimizer;
    opt.set_learning_rate(0);
    Tensor<> w{1, -2, 0.5, 3};
    opt.step(w, gradient_at(1));
    CHECK(allclose(w, Tensor<>{1, -2, 0.5, 3}, 0, 0));
    CHECK(opt.iterations() == 1);
    opt.set_learning_rate(0.1);
    opt.step(w, gradient_at(1));
    CHECK(w(0) != 1);
    CHECK(std::isfinite(w(3)));
  }
}

TEST_CASE("large, small and vanished gradients leave finite weights") {
  for (const NamedRule& rule : all_rules()) {
    CAPTURE(rule.name);
    nn::Optimizer opt = rule.optimizer;
    Tensor<float> w = zeros<float>({5});
    for (int t = 0; t < 200; ++t) opt.step(w, {1e4F, -1e4F, 1e-30F, 0, 1});
    for (float value : w.elements_view()) CHECK(std::isfinite(value));
    CHECK(w(3) == 0);
  }
  // The centered second moment of a constant gradient is 0, and is rounded to either side of it.
  nn::Optimizer centered = nn::RMSprop{.centered = true};
  const Tensor<float> g = linspace<float>(1, 1e4F, 1000);
  Tensor<float> w = zeros<float>({1000});
  for (int t = 0; t < 200; ++t) {
    centered.step(w, g);
    REQUIRE(std::isfinite(sum(w).item()));
  }
}

namespace {

/// The rules that divide by the root of a second moment, with and without their defaults, and the number of steps for
/// which they remember earlier gradients.
std::vector<std::pair<NamedRule, int>> scaled_rules() {
  std::vector<std::pair<NamedRule, int>> rules;
  for (const NamedRule& rule : all_rules()) {
    if (contains(rule.name, "_")) rules.push_back({rule, contains(rule.name, "adam") ? 20 : 4});
  }
  rules.push_back({{"adam by default", nn::Adam{}}, 1000});
  rules.push_back({{"adamw by default", nn::AdamW{}}, 1000});
  rules.push_back({{"rmsprop by default", nn::RMSprop{}}, 10});
  rules.push_back({{"adagrad by default", nn::Adagrad{}}, 10});
  rules.push_back({{"adagrad from 0", nn::Adagrad{.initial_accumulator_value = 0}}, 10});
  return rules;
}

}  // namespace

TEST_CASE_TEMPLATE("a gradient whose square overflows counts as those before it, and the weight moves on", T, float,
                   double) {
  const T most = std::numeric_limits<T>::max(), root = std::sqrt(most);
  const auto usual = [](int t) { return static_cast<T>(1 + 0.5 * std::sin(t)); };
  for (const auto& [rule, remembered] : scaled_rules()) {
    for (const T huge : {root * T(1.001), -root * T(10), most, -std::numeric_limits<T>::infinity()}) {
      for (const int before : {0, 1, 30}) {
        for (const int times : {1, 5}) {
          const std::string rule_name = rule.name;
          CAPTURE(rule_name);
          CAPTURE(huge);
          CAPTURE(before);
          CAPTURE(times);
          nn::Optimizer opt = rule.optimizer;
          const double rate = opt.learning_rate();
          const bool decays = contains(rule.name, "adamw");  // and moves where it will
          Tensor<T> w{1, 1, 1};                              // the last has usual gradients only
          int t = 0;
          const auto step = [&](T slope) {
            const Tensor<T> last = w;
            opt.step(w, {slope, usual(t), usual(t)});
            ++t;
            return static_cast<double>(w(0) - last(0));
          };
          for (int k = 0; k < before; ++k) step(usual(k));
          for (int k = 0; k < times; ++k) {
            const double moved = step(huge);
            CHECK(std::abs(moved) < 50 * rate);
            if (before == 0 && !decays) CHECK(moved * (huge > 0 ? -1 : 1) > 0);
          }
          double farthest = 0;
          for (int k = 0; k < 10 * remembered; ++k) farthest = std::max(farthest, std::abs(step(usual(k))));
          CHECK(farthest < 50 * rate);
          const double moved = step(usual(t));
          CHECK((decays ? std::abs(moved) : -moved) > 1e-4 * rate);
          CHECK(w(1) == w(2));
          for (const auto& [name, slot] : opt.template state<T>()) {
            for (T value : slot.elements_view()) CHECK(std::isfinite(value));
          }
        }
      }
    }
    nn::Optimizer opt = rule.optimizer;
    Tensor<T> w{1, 1};
    opt.step(w, {std::numeric_limits<T>::quiet_NaN(), 1});
    CHECK(std::isnan(w(0)));
    CHECK(std::isfinite(w(1)));
  }
}

TEST_CASE_TEMPLATE("squares that overflow in their sum only do not stop Adagrad", T, float, double) {
  nn::Optimizer opt = nn::Adagrad{.learning_rate = 0.1};
  const T large = std::sqrt(std::numeric_limits<T>::max()) * T(0.9);
  Tensor<T> w{0};
  for (int t = 0; t < 5; ++t) {
    const T last = w(0);
    opt.step(w, {large});
    CHECK(last - w(0) > T(0.08));
  }
  CHECK(w(0) > -0.6);
}

TEST_CASE("options out of their range are refused at the first step, and nothing has changed") {
  const double nan = std::nan("");
  const std::vector<nn::Optimizer> wrong{
      nn::SGD{.momentum = 1},
      nn::SGD{.momentum = -0.1},
      nn::SGD{.nesterov = true},
      nn::Adam{.beta_1 = 1},
      nn::Adam{.beta_2 = nan},
      nn::Adam{.epsilon = 0},
      nn::AdamW{.weight_decay = -1},
      nn::AdamW{.beta_1 = -0.5},
      nn::RMSprop{.rho = 1},
      nn::RMSprop{.momentum = 2},
      nn::RMSprop{.epsilon = -1},
      nn::Adagrad{.initial_accumulator_value = -1},
      nn::Adagrad{.epsilon = INFINITY},
      nn::Adam{.epsilon = 1e-320},
  };
  for (nn::Optimizer opt : wrong) {
    Tensor<> w{1, 2};
    CHECK_THROWS_AS(opt.step(w, {1, 1}), ValueError);
    CHECK(w(0) == 1);
    CHECK(opt.iterations() == 0);
  }
  nn::Optimizer tiny = nn::Adam{.epsilon = 1e-60};
  Tensor<float> w{1};
  CHECK_THROWS_WITH_AS(tiny.step(w, {1}), doctest::Contains("positive in the parameters' type"), ValueError);
}

TEST_CASE("an optimizer keeps its slots for one set of parameters") {
  nn::Optimizer opt = nn::Adam{};
  std::vector<Tensor<>> w{{1, 2}, {3}}, other{{1, 2}, {3, 4}}, fewer{{1, 2}}, same{{5, 6}, {7}};
  opt.step(w, w);
  CHECK_THROWS_WITH_AS(opt.step(other, other), doctest::Contains("one optimizer for each set"), ShapeError);
  CHECK_THROWS_AS(opt.step(fewer, fewer), ShapeError);
  std::vector<Tensor<float>> single{{1, 2}, {3}};
  CHECK_THROWS_AS(opt.step(single, single), ShapeError);
  CHECK(opt.iterations() == 1);
  opt.step(same, same);
  std::vector<Tensor<>> unset(1);
  nn::Optimizer plain = nn::SGD{};
  CHECK_THROWS_WITH_AS(plain.step(unset, unset), doctest::Contains("parameter 0 has no value"), ValueError);
}

TEST_CASE("what is on a tape is refused, as parameter and as gradient") {
  nn::Optimizer opt = nn::Adam{};
  grad([&](const Tensor<>& x) {
    Tensor<> traced = x, plain{1, 2};
    CHECK_THROWS_AS(opt.step(traced, plain), TapeError);
    CHECK_THROWS_WITH_AS(opt.step(plain, traced), doctest::Contains("stop_gradient"), TapeError);
    CHECK(plain(0) == 1);
    return sum(x);
  })(Tensor<>{1, 2});
}

TEST_CASE("a copy made in mid-run goes its own way") {
  for (const NamedRule& rule : all_rules()) {
    CAPTURE(rule.name);
    nn::Optimizer first = rule.optimizer;
    Tensor<> w{1, -2, 0.5, 3};
    for (int t = 1; t <= 3; ++t) first.step(w, gradient_at(t));
    nn::Optimizer second = first;
    Tensor<> v = w;
    for (int t = 4; t <= 6; ++t) first.step(w, gradient_at(t));
    for (int t = 4; t <= 6; ++t) second.step(v, gradient_at(t));
    CHECK(allclose(w, v, 0, 0));
    CHECK(w.data() != v.data());
  }
}

// ------------------------------------------------------------------------------------------------------ its state

TEST_CASE("state and iterations are all there is to an optimizer: a run continues bit for bit") {
  for (const NamedRule& rule : all_rules()) {
    CAPTURE(rule.name);
    nn::Optimizer first = rule.optimizer;
    std::vector<Tensor<>> w{{1, -2, 0.5, 3}, {4, 3, 2, 1}};
    auto slopes = [](int t) { return std::vector<Tensor<>>{gradient_at(t), gradient_at(t + 1)}; };
    for (int t = 1; t <= 3; ++t) first.step(w, slopes(t));
    const nn::Params<double> state = first.state<double>();
    nn::Optimizer second = rule.optimizer;
    std::vector<Tensor<>> v = w;
    second.set_state(v, state, first.iterations());
    for (int t = 4; t <= 6; ++t) first.step(w, slopes(t));
    for (int t = 4; t <= 6; ++t) second.step(v, slopes(t));
    CHECK(allclose(w[0], v[0], 0, 0));
    CHECK(allclose(w[1], v[1], 0, 0));
    CHECK(second.iterations() == 6);
  }
  nn::Optimizer adam = nn::Adam{};
  std::vector<Tensor<>> w{{1, 2}, {3}};
  CHECK(adam.state<double>().empty());
  adam.step(w, w);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : adam.state<double>()) names.emplace_back(name);
  CHECK(names == std::vector<std::string>{"0.m", "0.v", "1.m", "1.v"});
}

TEST_CASE("the state of parameters of both types") {
  nn::Optimizer first = nn::Adam{}, second = nn::Adam{};
  Net w;
  first.step(w, w);
  const nn::Params<double> of_double = first.state<double>();
  const nn::Params<float> of_float = first.state<float>();
  CHECK(of_double.begin()->first == "0.m");
  CHECK(of_float.begin()->first == "1.m");
  second.set_state(w, of_double, 1);
  second.set_state(w, of_float, 1);
  Net v = w;
  first.step(w, w);
  second.step(v, v);
  CHECK(allclose(w.W, v.W, 0, 0));
  CHECK(allclose(w.b, v.b, 0, 0));
}

TEST_CASE("a state that does not fit is refused, and nothing has changed") {
  nn::Optimizer opt = nn::Adam{};
  std::vector<Tensor<>> w{{1, 2}, {3}};
  opt.step(w, w);
  const nn::Params<double> state = opt.state<double>();
  const Tensor<> m = state["0.m"];
  nn::Params<double> fewer{{"0.m", zeros({2})}, {"0.v", zeros({2})}, {"1.m", zeros({1})}}, more = state, other = state;
  more.add("2.m", Tensor<>{1});
  other["1.v"] = Tensor<>{1, 2};
  CHECK_THROWS_WITH_AS(opt.set_state(w, fewer, 1), doctest::Contains("no 1.v"), ValueError);
  CHECK_THROWS_WITH_AS(opt.set_state(w, more, 1), doctest::Contains("5 tensors"), ValueError);
  CHECK_THROWS_WITH_AS(opt.set_state(w, other, 1), doctest::Contains("1.v is (2)"), ShapeError);
  CHECK_THROWS_AS(opt.set_state(w, state, -1), ValueError);
  nn::Optimizer plain = nn::SGD{};
  CHECK_THROWS_AS(plain.set_state(w, state, 1), ValueError);
  CHECK(allclose(opt.state<double>()["0.m"], m, 0, 0));
  CHECK(opt.iterations() == 1);
  opt.set_state(w, nn::Params<double>{}, 0);
  CHECK(opt.state<double>().empty());
  CHECK(opt.iterations() == 0);
}

// -------------------------------------------------------------------------------------------------- learning rates

TEST_CASE("a learning rate is a number, or a function of epoch and step, of the iteration, or of all") {
  using Int = std::int64_t;
  CHECK(nn::LearningRate(0.5).at(1, 2, 3) == 0.5);
  CHECK(nn::LearningRate([](Int epoch, Int step) { return double(10 * epoch + step); }).at(1, 2, 3) == 12);
  CHECK(nn::LearningRate([](Int iteration) { return double(iteration); }).at(1, 2, 3) == 3);
  CHECK(nn::LearningRate([](Int epoch, Int step, Int i) { return double(100 * epoch + 10 * step + i); }).at(1, 2, 3) ==
        123);
  CHECK_THROWS_AS(nn::LearningRate(std::function<double(Int)>()), ValueError);
  CHECK_THROWS_AS(nn::LearningRate(std::function<double(Int, Int)>()), ValueError);

  nn::Optimizer opt = nn::SGD{.learning_rate = [](Int iteration) { return iteration < 3 ? 1.0 : 0.5; }};
  Tensor<> w{0.0};
  for (Int epoch = 0; epoch < 2; ++epoch) {
    opt.begin_epoch(epoch);
    for (int step = 0; step < 2; ++step) opt.step(w, {1});
  }
  CHECK(w(0) == -3.5);  // the iteration runs on over epochs
  opt.set_learning_rate(2);
  CHECK(opt.learning_rate() == 2);
  opt.step(w, {1});
  CHECK(w(0) == -5.5);
  CHECK_THROWS_WITH_AS(opt.set_learning_rate(-1), doctest::Contains("optimizers.cpp"), ValueError);
  CHECK(opt.learning_rate() == 2);
}

TEST_CASE("schedules by their formulas") {
  const auto at = [](const nn::LearningRate& rate, std::int64_t i) { return about(rate.at(7, 7, i), 1e-14); };
  const auto by_time = nn::inverse_time_decay(0.5, 10, 0.3);
  CHECK(0.5 == at(by_time, 0));
  CHECK(0.5 / 1.3 == at(by_time, 10));
  CHECK(0.5 / 1.45 == at(by_time, 15));
  CHECK(0.5 / 1.3 == at(nn::inverse_time_decay(0.5, 10, 0.3, true), 19));
  const auto smooth = nn::exponential_decay(0.5, 10, 0.25), steps = nn::exponential_decay(0.5, 10, 0.25, true);
  CHECK(0.25 == at(smooth, 5));
  CHECK(0.5 == at(steps, 9));
  CHECK(0.125 == at(steps, 10));
  CHECK(0.125 == at(steps, 19));
  const auto pieces = nn::piecewise_constant({10, 20}, {1, 0.5, 0.1});
  CHECK(1 == at(pieces, 10));
  CHECK(0.5 == at(pieces, 11));
  CHECK(0.5 == at(pieces, 20));
  CHECK(0.1 == at(pieces, 21));
  CHECK(3 == at(nn::piecewise_constant({}, {3}), 5));
  const auto cosine = nn::cosine_decay(2, 100, 0.1);
  CHECK(2 == at(cosine, 0));
  CHECK(2 * (0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5))) == at(cosine, 25));
  CHECK(1.1 == at(cosine, 50));
  CHECK(0.2 == at(cosine, 100));
  CHECK(0.2 == at(cosine, 1000));
  CHECK(nn::cosine_decay(2, 3).at(0, 0, 3) == 0);
  const auto polynomial = nn::polynomial_decay(1.1, 10, 0.1, 2);
  CHECK(1.1 == at(polynomial, 0));
  CHECK(0.1 + 0.25 == at(polynomial, 5));
  CHECK(0.1 == at(polynomial, 11));
  const auto warm = nn::warm_up(steps, 4);
  CHECK(warm.at(0, 0, 0) == 0);
  CHECK(0.5 * 3 / 4 == at(warm, 3));
  CHECK(0.5 == at(warm, 4));
  CHECK(0.5 == at(warm, 13));
  CHECK(0.125 == at(warm, 14));
  CHECK(0.05 == at(nn::warm_up(0.1, 2), 1));
  CHECK(nn::warm_up([](auto epoch, auto) { return 1.0 / double(epoch); }, 2).at(4, 0, 9) == 0.25);
}

TEST_CASE("schedules check their arguments, and name the caller's line") {
  const double nan = std::nan("");
  CHECK_THROWS_WITH_AS(nn::exponential_decay(0.1, 0, 0.9), doctest::Contains("optimizers.cpp"), ValueError);
  CHECK_THROWS_AS(nn::exponential_decay(-0.1, 1, 0.9), ValueError);
  CHECK_THROWS_AS(nn::exponential_decay(0.1, 1, nan), ValueError);
  CHECK_THROWS_AS(nn::inverse_time_decay(nan, 1, 1), ValueError);
  CHECK_THROWS_AS(nn::inverse_time_decay(0.1, -1, 1), ValueError);
  CHECK_THROWS_AS(nn::inverse_time_decay_in_epoch(0.1, -1), ValueError);
  CHECK_THROWS_WITH_AS(nn::piecewise_constant({10}, {1}), doctest::Contains("one value more"), ValueError);
  CHECK_THROWS_WITH_AS(nn::piecewise_constant({10, 10}, {1, 2, 3}), doctest::Contains("increase"), ValueError);
  CHECK_THROWS_AS(nn::piecewise_constant({10}, {1, -1}), ValueError);
  CHECK_THROWS_AS(nn::cosine_decay(0.1, 10, -0.1), ValueError);
  CHECK_THROWS_AS(nn::polynomial_decay(0.1, 10, INFINITY), ValueError);
  CHECK_THROWS_AS(nn::warm_up(0.1, 0), ValueError);
}

// -------------------------------------------------------------------------------------------------------- clipping

TEST_CASE_TEMPLATE("clipping by value", T, float, double) {
  const T inf = std::numeric_limits<T>::infinity();
  Tensor<T> g{T(0.5), -3, 3, inf, -inf, std::numeric_limits<T>::quiet_NaN(), 0};
  const Tensor<T> kept = g;
  nn::clip_by_value(g, 1);
  CHECK(g(0) == T(0.5));
  CHECK(g(1) == -1);
  CHECK(g(2) == 1);
  CHECK(g(3) == 1);
  CHECK(g(4) == -1);
  CHECK(std::isnan(g(5)));
  CHECK(kept(1) == -3);
  for (double limit : {0.0, -1.0, std::nan(""), double(INFINITY)}) {
    CHECK_THROWS_WITH_AS(nn::clip_by_value(g, limit), doctest::Contains("optimizers.cpp"), ValueError);
  }
}

TEST_CASE("clipping by the norm of all") {
  std::tuple<Tensor<>, Tensor<float>> g{Tensor<>{3, 0}, Tensor<float>{0, 4}};
  CHECK(nn::global_norm(g) == 5);
  CHECK(nn::clip_by_global_norm(g, 5) == 5);
  CHECK(std::get<0>(g)(0) == 3);
  CHECK(nn::clip_by_global_norm(g, 1) == 5);
  CHECK(std::get<0>(g)(0) == about(0.6, 1e-15));
  CHECK(std::get<1>(g)(1) == about(0.8, 1e-7));
  Net net;
  CHECK(nn::clip_by_global_norm(net, 1) == about(std::sqrt(35.0), 1e-15));
  CHECK(nn::global_norm(net) == about(1, 1e-7));
  CHECK(nn::global_norm(full({10007}, 0.1)) == about(0.1 * std::sqrt(10007.0), 1e-14));
  CHECK(nn::global_norm(zeros({0})) == 0);
  CHECK_THROWS_AS(nn::clip_by_global_norm(net, 0), ValueError);
}

TEST_CASE("norms beyond the range of squares, and of what has none") {
  Tensor<> large{3e200, 4e200}, small{3e-200, 4e-200}, mixed{1e308, 1e308, 1e308, 1e308};
  CHECK(nn::global_norm(small) == about(5e-200, 1e-15));
  CHECK(nn::clip_by_global_norm(large, 1) == about(5e200, 1e-15));
  CHECK(large(1) == about(0.8, 1e-15));
  CHECK(std::isinf(nn::global_norm(mixed * 0.9)));
  const double inf = INFINITY;
  Tensor<> infinite{1, inf}, nan{1, std::nan(""), inf};
  CHECK(nn::clip_by_global_norm(infinite, 0.1) == inf);
  CHECK(infinite(0) == 1);
  CHECK(std::isnan(nn::clip_by_global_norm(nan, 0.1)));
  CHECK(nan(0) == 1);
}

TEST_CASE("a model clips the gradients of a step, penalties included") {
  const auto column = [](const Tensor<>& v) { return reshape(v, {2, 1}); };
  const Tensor<> x = reshape(Tensor<>{1, 2}, {1, 2}), y = reshape(Tensor<>{-10}, {1, 1}), w = column({3, 4});
  const auto after_a_step = [&](const nn::CompileOptions& options) {
    nn::Sequential<double> model({nn::Dense{.units = 1, .use_bias = false, .kernel_regularizer = nn::l2(5)}});
    model.compile(options);
    model.build({2});
    model.set_parameters({w});
    model.train_on_batch(x, y);
    return model.parameters()[0];
  };
  // The gradient: of the loss 2 * 21 * (1, 2), of the penalty 10 * (3, 4).
  const Tensor<> g = column({72, 124});
  const auto clipped_to = [&](const Tensor<>& wanted, const nn::CompileOptions& options) {
    return difference(after_a_step(options), w - wanted) < 1e-13;
  };
  const nn::SGD sgd{.learning_rate = 1};
  CHECK(clipped_to(g, {.optimizer = sgd, .loss = "mse"}));
  CHECK(clipped_to(column({72, 100}), {.optimizer = sgd, .loss = "mse", .clip_value = 100}));
  CHECK(clipped_to(g / sqrt(sum(square(g))), {.optimizer = sgd, .loss = "mse", .clip_global_norm = 1}));
  CHECK_THROWS_AS(after_a_step({.loss = "mse", .clip_value = 1, .clip_global_norm = 1}), ValueError);
  CHECK_THROWS_WITH_AS(after_a_step({.loss = "mse", .clip_value = -1}), doctest::Contains("clip_value"), ValueError);
  CHECK_THROWS_AS(after_a_step({.loss = "mse", .clip_global_norm = 0}), ValueError);
}

// ------------------------------------------------------------------------------------------------ whole trajectories

namespace {

// 784-32-10 on 1000 images, 100 batches of 32, mean cross-entropy.
struct Twin {
  nn::Npz reference{TAPEGRAD_REFERENCE_DIR "/optim_twin.npz"};
  Tensor<> X, y;
  Tensor<std::int64_t> batches = reference.read<std::int64_t>("batch_idx");

  Twin() {
    const nn::Npz images(TAPEGRAD_REFERENCE_DIR "/mnist1000.npz");
    X = astype<double>(images.read<std::int64_t>("X_u8")) / 255.0;
    y = one_hot<double>(images.read<std::int64_t>("y"), 10);
  }

  nn::Sequential<double> model(const nn::Optimizer& rule, nn::OutputDelta delta) const {
    nn::Sequential<double> made({nn::Dense{32, "relu"}, nn::Dense{10, "softmax"}});
    made.compile(
        {.optimizer = rule, .loss = "categorical_crossentropy", .metrics = {"accuracy"}, .output_delta = delta});
    made.build({784});
    made.set_parameters({reference.read<double>("W1_init"), reference.read<double>("b1_init"),
                         reference.read<double>("W2_init"), reference.read<double>("b2_init")});
    return made;
  }
  // W2, b1, b2 and, after a few steps, the rows of W1.
  double distance(const nn::Sequential<double>& model, const std::string& prefix) const {
    const auto p = model.parameters();
    double largest = std::max(difference(p[1], reference.read<double>(prefix + "b1")),
                              difference(p[2], reference.read<double>(prefix + "W2")));
    if (reference.contains(prefix + "b2"))
      largest = std::max(largest, difference(p[3], reference.read<double>(prefix + "b2")));
    if (reference.contains(prefix + "W1_rowsum")) {
      largest = std::max(largest, difference(sum(p[0], -1), reference.read<double>(prefix + "W1_rowsum")));
    }
    return largest;
  }
};

// [sum a, sum a^2, sum a[k] cos k], each relative to the sum of its absolute terms.
double checksum_distance(const Tensor<>& a, const Tensor<>& expected, std::int64_t step, std::int64_t parameter) {
  std::array<double, 3> sums{}, sizes{};
  for (std::int64_t k = 0; k < a.size(); ++k) {
    const double x = a.data()[k];
    const std::array<double, 3> terms{x, x * x, x * std::cos(static_cast<double>(k))};
    for (std::size_t i = 0; i < 3; ++i) {
      sums[i] += terms[i];
      sizes[i] += std::abs(terms[i]);
    }
  }
  double largest = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    largest = std::max(largest, std::abs(sums[i] - expected(step, parameter, i)) / std::max(sizes[i], 1e-3));
  }
  return largest;
}

}  // namespace

TEST_CASE("100 steps of every rule, against Keras' and PyTorch's") {
  using nn::EpsilonPlace;
  const Twin twin;
  const std::vector<NamedRule> rules{{"sgd", "sgd"},
                                     {"momentum", nn::SGD{.momentum = 0.9}},
                                     {"nesterov", nn::SGD{.momentum = 0.9, .nesterov = true}},
                                     {"adam_keras", "adam"},
                                     {"adam_torch", nn::Adam{.epsilon = 1e-8, .epsilon_place = EpsilonPlace::torch}},
                                     {"rmsprop_keras", "rmsprop"},
                                     {"rmsprop_torch", nn::RMSprop{.epsilon_place = EpsilonPlace::torch}},
                                     {"adagrad_keras", "adagrad"}};
  double largest = 0;
  for (const NamedRule& rule : rules) {
    const Tensor<> losses = twin.reference.read<double>(rule.name + "_loss"),
                   checksums = twin.reference.read<double>(rule.name + "_chk");
    for (const nn::OutputDelta delta : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp}) {
      CAPTURE(rule.name);
      CAPTURE(to_string(delta));
      nn::Sequential<double> model = twin.model(rule.optimizer, delta);
      double loss = 0, checksum = 0, weights = 0;
      for (std::int64_t step = 0; step < 100; ++step) {
        const Tensor<std::int64_t> rows = reshape(slice(twin.batches, 0, step, step + 1), {-1});
        const double seen = model.train_on_batch(take(twin.X, rows), take(twin.y, rows))["loss"];
        loss = std::max(loss, std::abs(seen - losses(step)));
        const auto p = model.parameters();
        for (std::size_t k = 0; k < 4; ++k) {
          checksum = std::max(checksum, checksum_distance(p[k], checksums, step, static_cast<std::int64_t>(k)));
        }
        if (step == 0 || step == 9) {
          weights = std::max(weights, twin.distance(model, rule.name + "_after" + std::to_string(step + 1) + "_"));
        }
      }
      weights = std::max(weights, twin.distance(model, rule.name + "_final_"));
      CHECK(loss <= 1e-12);
      CHECK(checksum <= 1e-12);
      CHECK(weights <= 1e-12);
      largest = std::max({largest, loss, weights});
      if (twin.reference.contains(rule.name + "_final_train_acc_loss")) {
        const Tensor<> last = twin.reference.read<double>(rule.name + "_final_train_acc_loss");
        const nn::Logs logs = model.evaluate(twin.X, twin.y);
        CHECK(logs["accuracy"] == about(last(0), 1e-15));
        CHECK(std::abs(logs["loss"] - last(1)) <= 1e-12);
      }

      nn::Sequential<double> whole = twin.model(rule.optimizer, delta);
      whole.fit(twin.X, twin.y, {.batches = twin.batches});
      CHECK(twin.distance(whole, rule.name + "_final_") == twin.distance(model, rule.name + "_final_"));
    }
  }
  MESSAGE("largest difference of a loss or weight " << largest);
}

TEST_CASE("initializers") {
  nn::Rng rng(1);
  CHECK(allclose(nn::Initializer("zeros").make<double>({2, 3}, rng), zeros({2, 3}), 0, 0));
  CHECK(nn::constant(0.5).make<float>({2}, rng)(1) == 0.5F);
  const Tensor<> w = nn::Initializer("glorot_uniform").make<double>({200, 100}, rng);
  const double limit = std::sqrt(6.0 / 300);
  CHECK(max(abs(w)).item() <= limit);
  CHECK(max(abs(w)).item() > 0.99 * limit);
  const Tensor<> n = nn::random_normal(0.01).make<double>({200, 100}, rng);
  CHECK(sqrt(mean(square(n))).item() == about(0.01, 0.03));
  nn::Rng first(7), second(7);
  const Tensor<> wide = nn::random_normal(1).make<double>({5}, first);
  CHECK(allclose(astype<float>(wide), nn::random_normal(1).make<float>({5}, second), 0, 0));
  CHECK_THROWS_AS(nn::Initializer("glorot"), ValueError);
  CHECK_THROWS_AS(nn::random_normal(-1), ValueError);
  const nn::Initializer wrong = [](const Shape&, nn::Rng&) { return zeros({1}); };
  CHECK_THROWS_AS(wrong.make<double>({2}, rng), ShapeError);
}
