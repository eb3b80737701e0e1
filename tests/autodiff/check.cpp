// The checker refuses wrong rules and accepts right ones. Also what else custom() promises.
#include <doctest/doctest.h>

#include <string>
#include <tapegrad/autodiff.hpp>
#include <vector>

namespace {

using namespace tapegrad;
using X = Tensor<>;
using Operands = std::span<const X>;
using doctest::Contains;

const X x{0.3, -0.7, 1.1};
const X A({{0.5, -1, 0.25}, {1, 0.75, -0.5}}), B({{1, -0.5}, {0.3, 2}, {-1, 0.7}});

CustomRule<double> cube_rule() {
  return {.name = "cube",
          .value = [](Operands at) { return at[0] * at[0] * at[0]; },
          .pullback = [](std::size_t, const X& g, const X&, Operands at) { return g * 3 * square(at[0]); },
          .pushforward = [](std::size_t, const X& v, const X&, Operands at) { return v * 3 * square(at[0]); }};
}

// c(i, j) = sum_k a(i, k) b(k, j)
CustomRule<double> product_rule() {
  return {.name = "product",
          .value = [](Operands at) { return matmul(at[0], at[1]); },
          .pullback = [](std::size_t k, const X& g, const X&,
                         Operands at) { return k == 0 ? matmul(g, transpose(at[1])) : matmul(transpose(at[0]), g); },
          .pushforward = [](std::size_t k, const X& v, const X&,
                            Operands at) { return k == 0 ? matmul(v, at[1]) : matmul(at[0], v); }};
}

// y(i, j) = x(i, j) + b(j)
CustomRule<double> bias_rule() {
  return {.name = "bias",
          .value = [](Operands at) { return at[0] + at[1]; },
          .pullback = [](std::size_t k, const X& g, const X&, Operands) { return k == 0 ? g : sum(g, 0); },
          .pushforward = [](std::size_t k, const X& v, const X& y,
                            Operands) { return k == 0 ? v : broadcast_to(v, y.shape()); }};
}

// y = x / sum(x)
CustomRule<double> normalize_rule() {
  return {
      .name = "normalize",
      .value = [](Operands at) { return at[0] / sum(at[0]); },
      .pullback = [](std::size_t, const X& g, const X& y, Operands at) { return (g - sum(g * y)) / sum(at[0]); },
      .pushforward = [](std::size_t, const X& v, const X& y, Operands at) { return (v - y * sum(v)) / sum(at[0]); }};
}

void check(const CustomRule<double>& rule, std::vector<X> at, CheckOptions options = {}) {
  const CustomFunction<double> f = custom(rule);
  check_derivatives<double>([&](Operands operands) { return f.call(operands, Caller::here()); }, std::move(at),
                            options);
}

// `rule` with the results of both of its rules replaced.
template <class Change>
CustomRule<double> changed(CustomRule<double> rule, Change change) {
  for (auto* one : {&rule.pullback, &rule.pushforward}) {
    *one = [was = *one, change](std::size_t k, const X& g, const X& y, Operands at) {
      return change(was(k, g, y, at), k, g, at);
    };
  }
  return rule;
}

TEST_SUITE("check") {
  TEST_CASE("right rules are accepted, to order 3") {
    const CheckOptions third{.order = 3};
    check(cube_rule(), {x}, third);
    check(cube_rule(), {X(0.5)}, third);
    check(cube_rule(), {zeros({0, 3})}, third);
    check(product_rule(), {A, B}, third);
    check(bias_rule(), {A, x}, third);
    check(normalize_rule(), {X{0.3, 0.7, 1.1}}, third);
    CustomRule<double> batched = cube_rule();
    batched.batched = true;
    check(batched, {x}, third);
    check_derivatives([](const X& a, const X& b) { return matmul(tanh(a), b); }, A, B);
    check_derivatives(
        {.order = 1}, [](const Tensor<float>& a) { return sum(exp(a)); }, Tensor<float>{0.5F, 1});
  }

  TEST_CASE("a wrong sign") {
    auto negated = [](const X& result, std::size_t, const X&, Operands) { return -result; };
    CHECK_THROWS_WITH_AS(check(changed(cube_rule(), negated), {x}), Contains("central difference"), CheckError);
  }
  TEST_CASE("a wrong factor") {
    auto scaled = [](const X& result, std::size_t, const X&, Operands) { return result * (1 + 1e-6); };
    CHECK_THROWS_WITH_AS(check(changed(cube_rule(), scaled), {x}), Contains("central difference"), CheckError);
  }
  TEST_CASE("a missing sum") {
    CustomRule<double> rule = normalize_rule();
    rule.pullback = [](std::size_t, const X& g, const X& y, Operands at) { return (g - g * y) / sum(at[0]); };
    CHECK_THROWS_WITH_AS(check(rule, {X{0.3, 0.7, 1.1}}), Contains("<J^T u, v>"), CheckError);
  }
  TEST_CASE("a transposed operand") {
    CustomRule<double> rule = product_rule();
    rule.pullback = [](std::size_t k, const X& g, const X&, Operands at) {
      return k == 0 ? matmul(g, at[1]) : matmul(transpose(at[0]), g);
    };
    const X square_a({{0.5, -1}, {2, 0.25}}), square_b({{1, 3}, {-0.5, 2}});
    CHECK_THROWS_WITH_AS(check(rule, {square_a, square_b}), Contains("<J^T u, v>"), CheckError);
  }
  TEST_CASE("the wrong operand") {
    const CustomRule<double> multiply{
        .name = "multiply",
        .value = [](Operands at) { return at[0] * at[1]; },
        .pullback = [](std::size_t k, const X& g, const X&, Operands at) { return g * at[k]; },
        .pushforward = [](std::size_t k, const X& v, const X&, Operands at) { return v * at[k]; }};
    CHECK_THROWS_WITH_AS(check(multiply, {x, X{1, 2, 3}}), Contains("central difference"), CheckError);
  }
  TEST_CASE("a forgotten broadcast") {
    // Returns one row of the adjoint instead of the sum of all rows: the right shape with the wrong value.
    CustomRule<double> rule = bias_rule();
    rule.pullback = [](std::size_t k, const X& g, const X&, Operands) {
      return k == 0 ? g : reshape(slice(g, 0, 0, 1), {g.shape()[1]});
    };
    CHECK_THROWS_WITH_AS(check(rule, {A, x}), Contains("<J^T u, v>"), CheckError);
    // Hands the adjoint of the whole output to the bias.
    rule.pullback = [](std::size_t, const X& g, const X&, Operands) { return g; };
    CHECK_THROWS_WITH_AS(check(rule, {A, x}), Contains("(3)"), ShapeError);
  }
  TEST_CASE("a wrong second derivative") {
    // The value is right, but its slope is a constant for the next derivative.
    auto frozen = [](const X&, std::size_t, const X& g, Operands at) { return g * stop_gradient(3 * square(at[0])); };
    const CustomRule<double> rule = changed(cube_rule(), frozen);
    CHECK_NOTHROW(check(rule, {x}, {.order = 1}));
    CHECK_THROWS_WITH_AS(check(rule, {x}, {.order = 2}), Contains("order 2"), CheckError);
  }
  TEST_CASE("a wrong third derivative") {
    auto frozen = [](const X&, std::size_t, const X& g, Operands at) {
      return g * 3 * at[0] * (2 * at[0] - stop_gradient(at[0]));  // 3x^2, with slope 9x
    };
    CHECK_THROWS_AS(check(changed(cube_rule(), frozen), {x}, {.order = 2}), CheckError);
    auto later = [](const X&, std::size_t, const X& g, Operands at) {
      const X c = stop_gradient(at[0]);
      return g * 3 * (c * c + 2 * c * (at[0] - c));  // 3x^2 with slope 6x, whose own slope is lost
    };
    CHECK_NOTHROW(check(changed(cube_rule(), later), {x}, {.order = 2}));
    CHECK_THROWS_WITH_AS(check(changed(cube_rule(), later), {x}, {.order = 3}), Contains("order 3"), CheckError);
  }
  TEST_CASE("a jvp that disagrees with its vjp") {
    SUBCASE("the pullback is wrong") {
      CustomRule<double> rule = cube_rule();
      rule.pullback = [](std::size_t, const X& g, const X&, Operands at) { return g * 2 * square(at[0]); };
      CHECK_THROWS_WITH_AS(check(rule, {x}), Contains("<J^T u, v>"), CheckError);
    }
    SUBCASE("the pushforward is wrong") {
      CustomRule<double> rule = cube_rule();
      rule.pushforward = [](std::size_t, const X& v, const X&, Operands at) { return v * 2 * square(at[0]); };
      CHECK_THROWS_WITH_AS(check(rule, {x}), Contains("central difference"), CheckError);
    }
    SUBCASE("J in place of its transpose") {
      CustomRule<double> rule = normalize_rule();
      rule.pullback = rule.pushforward;
      CHECK_THROWS_WITH_AS(check(rule, {X{0.3, 0.7, 1.1}}), Contains("<J^T u, v>"), CheckError);
    }
  }
  TEST_CASE("a rule said to be batched that is wrong with seed axes") {
    SUBCASE("the pullback") {
      CustomRule<double> rule = normalize_rule();  // sum(g * y) without an axis sums over the seeds too
      rule.batched = true;
      CHECK_THROWS_WITH_AS(check(rule, {X{0.3, 0.7, 1.1}}), Contains("seed"), CheckError);
    }
    SUBCASE("the pushforward alone") {
      CustomRule<double> rule = normalize_rule();
      rule.batched = true;
      rule.pullback = [](std::size_t, const X& g, const X& y, Operands at) {
        return (g - sum(g * y, -1, keep_dims)) / sum(at[0]);
      };
      CHECK_THROWS_WITH_AS(check(rule, {X{0.3, 0.7, 1.1}}), Contains("tangent with seed axes"), CheckError);
      rule.pushforward = [](std::size_t, const X& v, const X& y, Operands at) {
        return (v - y * sum(v, -1, keep_dims)) / sum(at[0]);
      };
      CHECK_NOTHROW(check(rule, {X{0.3, 0.7, 1.1}}));
    }
  }
  TEST_CASE("a rule of the wrong shape") {
    CustomRule<double> rule = cube_rule();
    rule.pullback = [](std::size_t, const X& g, const X&, Operands at) { return sum(g * 3 * square(at[0])); };
    CHECK_THROWS_WITH_AS(check(rule, {x}), Contains("its pullback gave shape () where (3)"), ShapeError);
    rule = cube_rule();
    rule.pushforward = [](std::size_t, const X& v, const X&, Operands) { return reshape(v, {1, 3}); };
    CHECK_THROWS_WITH_AS(check(rule, {x}), Contains("its pushforward gave shape (1, 3) where (3)"), ShapeError);
  }
  TEST_CASE("a derivative that is not finite") {
    auto lost = [](const X& result, std::size_t, const X&, Operands) { return result + std::nan(""); };
    CHECK_THROWS_AS(check(changed(cube_rule(), lost), {x}), CheckError);
    CustomRule<double> rule = cube_rule();
    rule.pullback = [](std::size_t, const X& g, const X&, Operands) { return g + std::nan(""); };
    CHECK_THROWS_AS(check(rule, {x}), CheckError);
  }
  TEST_CASE("a dependence that the tape does not see") {
    // The value is correct, but nothing is recorded: every derivative is zero.
    CHECK_THROWS_AS(check_derivatives([](const X& z) { return square(stop_gradient(z)); }, x), CheckError);
    CHECK_THROWS_AS(check_derivatives([](const X& z) { return z * stop_gradient(z); }, x), CheckError);
  }
  TEST_CASE("an operation hidden in the value of a rule is not differentiated twice") {
    CHECK(allclose(grad([f = custom(cube_rule())](const X& z) { return sum(f(z)); })(x), 3 * square(x), 1e-14, 0));
  }

  TEST_CASE("in float") {
    using F = Tensor<float>;
    auto rule = [](double factor) {
      return custom<float>(
          {.name = "square",
           .value = [](std::span<const F> at) { return at[0] * at[0]; },
           .pullback = [=](std::size_t, const F& g, const F&, std::span<const F> at) { return g * factor * at[0]; },
           .pushforward = [=](std::size_t, const F& v, const F&,
                              std::span<const F> at) { return v * factor * at[0]; }});
    };
    const F at{0.5F, -1.5F};
    CHECK_NOTHROW(check_derivatives(rule(2), at));
    CHECK_THROWS_AS(check_derivatives(rule(-2), at), CheckError);
    CHECK_THROWS_AS(check_derivatives(rule(2.05), at), CheckError);
  }
}

TEST_SUITE("custom") {
  TEST_CASE("the example of custom.hpp") {
    auto cube =
        custom<double>({.name = "cube",
                        .value = [](auto at) { return at[0] * at[0] * at[0]; },
                        .pullback = [](std::size_t, auto& g, auto&, auto at) { return g * 3 * square(at[0]); },
                        .pushforward = [](std::size_t, auto& v, auto&, auto at) { return v * 3 * square(at[0]); }});
    CHECK(allclose(cube(x), x * x * x, 1e-15, 0));
    check_derivatives({.order = 3}, cube, x);
    CHECK(allclose(hessian([&](const X& z) { return sum(cube(z)); })(X{2, -1}), X({{12, 0}, {0, -6}}), 1e-14, 0));
  }
  TEST_CASE("a rule may be written in more than one operation, and used twice in one function") {
    auto product = custom(product_rule());
    check_derivatives([&](const X& a, const X& b) { return product(product(a, b), a); }, A, B);
  }
  TEST_CASE("one pullback for all operands is called once in a sweep, and can be differentiated again") {
    int calls = 0;
    CustomRule<double> rule = product_rule();
    rule.pullback = nullptr;
    rule.pullback_all = [&calls](const X& g, const X&, Operands at) {
      ++calls;
      return std::vector<X>{matmul(g, matrix_transpose(at[1])), matmul(matrix_transpose(at[0]), g)};
    };
    const auto f = [&](const X& a, const X& b) { return sum(square(custom(rule)(a, b))); };
    const auto [da, db] = grad<0, 1>(f)(A, B);
    CHECK(calls == 1);
    CHECK(allclose(da, 2 * matmul(matmul(A, B), transpose(B)), 1e-14, 0));
    CHECK(allclose(db, 2 * matmul(transpose(A), matmul(A, B)), 1e-14, 0));
    for (const bool batched : {false, true}) {
      rule.batched = batched;
      check_derivatives({.order = 3}, f, A, B);
      const auto product = custom(rule), plain = custom(product_rule());
      const auto j = [&](const auto& g) { return jacobian(g, {.sweep = Sweep::reverse})(B).dense(); };
      CHECK(allclose(j([&](const X& z) { return product(A, z); }), j([&](const X& z) { return plain(A, z); }), 0, 0));
    }

    // Beside chosen elements, whose adjoints wait for each other in a sweep that is recorded.
    calls = 0;
    const auto with_elements = [&](const X& a, const X& b) {
      return sum(square(custom(rule)(a, b))) * a[0][1] + sum(slice(b, 0, 1, 3)) * a[1][2];
    };
    check_derivatives({.order = 2}, with_elements, A, B);
    calls = 0;
    grad([&](const X& a) { return sum(grad(with_elements)(a, B)); })(A);
    CHECK(calls == 2);

    rule.pullback_all = [](const X& g, const X&, Operands) { return std::vector<X>{g}; };
    CHECK_THROWS_WITH_AS(grad(f)(A, B), Contains("1 adjoints for 2 operands"), ShapeError);
    rule.pullback = product_rule().pullback;
    CHECK_THROWS_WITH_AS(custom(rule), Contains("one of them"), ValueError);
  }
  TEST_CASE("without a pushforward reverse sweeps work, and forward sweeps say what is missing") {
    CustomRule<double> rule = cube_rule();
    rule.pushforward = nullptr;
    auto cube = custom(rule);
    CHECK(allclose(grad([&](const X& z) { return sum(cube(z)); })(x), 3 * square(x), 1e-14, 0));
    CHECK(jacobian(cube, {.sweep = Sweep::reverse})(x).dense().shape() == Shape{3, 3});
    CHECK_THROWS_WITH_AS(jvp(cube, x, x), Contains("cube"), ValueError);
    CHECK_THROWS_WITH_AS(jvp(cube, x, x), Contains("pushforward"), ValueError);
  }
  TEST_CASE("a rule without value or pullback is refused") {
    CustomRule<double> rule;
    CHECK_THROWS_AS(custom(rule), ValueError);
    rule.value = cube_rule().value;
    CHECK_THROWS_AS(custom(rule), ValueError);
    rule.pullback = cube_rule().pullback;
    CHECK_NOTHROW(custom(rule));
  }
  TEST_CASE("the value of a rule is called with plain tensors, and an identity is an own record") {
    bool traced = false;
    auto same = custom<double>({.name = "same",
                                .value =
                                    [&](Operands at) {
                                      traced = traced || at[0].traced();
                                      return at[0];
                                    },
                                .pullback = [](std::size_t, const X& g, const X&, Operands) { return g * 5; }});
    CHECK(allclose(grad([&](const X& z) { return sum(same(z) * z); })(x), 6 * x, 1e-14, 0));
    CHECK_FALSE(traced);
  }
  TEST_CASE("rows are separate only where the rule says so") {
    const X Z({{1, 2}, {3, 4}, {5, 6}});
    CHECK_THROWS_WITH_AS(batch_jacobian(custom(cube_rule()))(Z), Contains("cube"), RowMixingError);
    CustomRule<double> rule = cube_rule();
    rule.separate_rows = true;
    const X blocks = batch_jacobian(custom(rule))(Z).dense();
    CHECK(blocks(2, 1, 1) == 3 * 36);
    CHECK(blocks(2, 0, 1) == 0);
  }
  TEST_CASE("a rule outlives the function object that the tape saw") {
    X g;
    {
      auto [y, pullback] = vjp([](const X& z) { return custom(cube_rule())(z); }, x);
      g = pullback(ones({3}));
    }
    CHECK(allclose(g, 3 * square(x), 1e-14, 0));
  }
  TEST_CASE("an exception in a rule leaves the tape usable") {
    CustomRule<double> rule = cube_rule();
    rule.pullback = [](std::size_t, const X&, const X&, Operands) -> X { throw std::runtime_error("not today"); };
    auto f = [&](const X& z) { return sum(custom(rule)(z)); };
    CHECK_THROWS_WITH(grad(f)(x), "not today");
    CHECK(allclose(grad([](const X& z) { return sum(square(z)); })(x), 2 * x, 1e-15, 0));
  }
}

}  // namespace
