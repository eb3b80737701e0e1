// What a tape keeps alive and what it releases, and what must not slip past it.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace tapegrad;
using X = Tensor<>;

// A temporary hands out values, or nothing at all.
template <class V>
concept GivesElements = requires {
  std::declval<V>().data();
};
template <class V>
concept GivesElementsForWriting = requires {
  std::declval<V>().mutable_data();
};
static_assert(GivesElements<X&> && GivesElements<const X&> && !GivesElements<X> && !GivesElements<const X>);
static_assert(GivesElementsForWriting<X&> && !GivesElementsForWriting<X>);
static_assert(std::is_same_v<decltype(std::declval<const X&>().shape()), const Shape&>);
static_assert(std::is_same_v<decltype(std::declval<X>().shape()), Shape>);
static_assert(std::is_same_v<decltype(std::declval<const Jacobian<>&>().value()), const X&>);
static_assert(std::is_same_v<decltype(std::declval<Jacobian<>>().value()), X>);
static_assert(std::is_same_v<decltype(std::declval<Jacobian<>>().output_shape()), Shape>);
static_assert(std::is_same_v<decltype(std::declval<Jacobian<>>().input_shape()), Shape>);
static_assert(std::is_same_v<decltype(std::declval<nn::Activation>().name()), std::string>);
static_assert(std::is_same_v<decltype(std::declval<nn::Loss>().name()), std::string>);
static_assert(std::is_same_v<decltype(std::declval<nn::Metric>().name()), std::string>);

TEST_SUITE("lifetimes") {
  TEST_CASE("the shape of a temporary outlives it") {
    const X a = ones({2, 3}), b = ones({3, 4});
    const Shape& s = matmul(a, b).shape();
    const X others = ones({5}), more = ones({7, 7});
    CHECK(s == Shape{2, 4});
    std::vector<std::int64_t> sizes;
    for (const std::int64_t n : matmul(a, b).shape()) {
      sizes.push_back(n);
      const X again = ones({9});
    }
    CHECK(sizes == std::vector<std::int64_t>{2, 4});
    const Shape& input = jacobian([](const X& z) { return sum(z, 0); })(a).input_shape();
    const X& value = jacobian([](const X& z) { return sum(z, 0); })(a).value();
    CHECK(input == Shape{2, 3});
    CHECK(allclose(value, X{2, 2, 2}, 0, 0));
  }

  TEST_CASE("more operands than 16 bits count") {
    auto f = [](const X& x) {
      std::vector<X> parts(70000, x * 1.0);
      return sum(concatenate(parts));
    };
    CHECK(grad(f)(X{2.0})(0) == 70000);
  }

  TEST_CASE("a pullback that is replaced, or dropped inside a deeper scope, leaves the outer derivative right") {
    const X big = ones({1000});
    auto f = [&](const X& x) {
      auto [y, pullback] = vjp([](const X& z) { return z * 2; }, big);
      for (int i = 0; i < 100; ++i) pullback = vjp([](const X& z) { return z * z; }, big).second;
      return sum(x * pullback(ones({1000})));
    };
    CHECK(grad(f)(X(3.0)).item() == 2000);

    auto g = [&](const X& x) {
      std::optional kept(vjp([](const X& z) { return z * 2; }, big).second);
      const std::vector<X> none;
      grad([&](const std::vector<X>&) {
        kept.reset();
        return X(1.0);
      })(none);
      return sum(x * x);
    };
    CHECK(grad(g)(X(3.0)).item() == 6);
  }

  TEST_CASE("a custom rule that hides a traced tensor is refused") {
    auto f = [](const X& w) {
      auto times_w = custom<double>({.value = [&](auto x) { return x[0] * w; },
                                     .pullback = [&](std::size_t, auto& v, auto&, auto) { return v * w; }});
      return sum(times_w(X{2.0, 3.0}));
    };
    CHECK_THROWS_AS(grad(f)(X{1.0, 1.0}), TapeError);
  }

  TEST_CASE("a custom rule over no elements") {
    auto half = custom<double>({.value = [](auto x) { return x[0] * 0.5; },
                                .pullback = [](std::size_t, auto& v, auto&, auto) { return v * 0.5; }});
    const X J = jacobian([&](const X& z) { return half(z); }, {.sweep = Sweep::reverse})(zeros({0})).dense();
    CHECK(J.shape() == Shape{0, 0});
  }

  TEST_CASE("moved from") {
    auto [y, pullback] = vjp([](const X& z) { return z * 2; }, X{1.0});
    auto other = std::move(pullback);
    CHECK(pullback(X{1.0})(0) == 2);
    nn::Optimizer sgd = nn::SGD{.learning_rate = 1};
    nn::Optimizer moved = std::move(sgd);
    X w{1.0};
    sgd.step(w, X{0.25});
    CHECK(w(0) == 0.75);
  }
}

// A user's own loss that happens to have the name of one of the library's.
struct HundredfoldError {
  [[maybe_unused]] static constexpr const char* name = "mse";
  template <class T>
  Tensor<T> operator()(const Tensor<T>& a, const Tensor<T>& y) const {
    return 100 * mean(square(a - y), -1);
  }
};

TEST_SUITE("lifetimes") {
  TEST_CASE("an own loss keeps its formula, whatever its name") {
    const X z({{1, 2}}), y({{0, 0}});
    const X expected({{100, 200}});
    CHECK(allclose(nn::output_delta("linear", HundredfoldError{}, z, y), expected, 0, 0));
    CHECK(allclose(nn::output_delta("linear", HundredfoldError{}, z, y, nn::OutputDelta::vjp), expected, 0, 0));
    CHECK_THROWS_AS(nn::output_delta("linear", HundredfoldError{}, z, y, nn::OutputDelta::closed_form), ValueError);
  }

  TEST_CASE("training is not differentiated, and says so") {
    const X data({{1, 2}, {3, 4}});
    auto train = [&](const X& x) {
      nn::Sequential<double> model({nn::Dense{1}});
      model.compile({.loss = "mse"});
      model.fit(data * x, reshape(X{1, 0}, {2, 1}));
      return x;
    };
    CHECK_THROWS_AS(grad(train)(X(2.0)), TapeError);
    nn::Sequential<double> model({nn::Dense{1}});
    model.build({2});
    auto set = [&](const X& k) {
      TensorList<double> parameters = model.parameters();
      parameters[0] = k;
      model.set_parameters(parameters);
      return sum(model.predict(data));
    };
    CHECK_THROWS_AS(grad(set)(model.parameters()[0]), TapeError);
    CHECK_THROWS_AS(model.build({2}), ValueError);
    CHECK_THROWS_AS(model.add(nn::Dense{1}), ValueError);
    CHECK_THROWS_AS(model.predict(ones({2, 3})), ShapeError);
  }

  TEST_CASE("a layer that mixes rows is refused") {
    struct Center {
      Tensor<double> operator()(const nn::Params<double>&, const Tensor<double>& x, nn::Mode) const {
        return x - mean(x, 0, keep_dims);
      }
    };
    nn::Sequential<double> model({Center{}, nn::Dense{1}});
    CHECK_THROWS_AS(model.predict(ones({4, 3})), RowMixingError);
  }

  TEST_CASE("a diverged prediction is right for no class, and labels are checked") {
    const X prediction = full({2, 3}, std::nan(""));
    CHECK(nn::accuracy(prediction, Tensor<std::int64_t>{0, 0}) == 0);
    CHECK_THROWS_AS(nn::accuracy(ones({2, 3}), Tensor<std::int64_t>{0, 3}), ValueError);
    CHECK_THROWS_AS(nn::LearningRate(std::function<double(std::int64_t, std::int64_t)>{}), ValueError);
  }
}

}  // namespace
