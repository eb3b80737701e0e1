// Every row of the table of primitives: every rule against differences, its twin of the other mode, seed axes and its
// own derivatives, over the shapes at the edge. A primitive without a row fails the last test.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/autodiff/ops/registry.hpp>
#include <utility>
#include <vector>

#include "primitive_table.hpp"

namespace {

using namespace tapegrad;
using namespace primitive_table;

template <Real T>
void check_table() {
  random::Generator rng(7);
  for (const Row<T>& row : table<T>()) {
    for (const Shapes& shapes : row.cases) {
      std::vector<Tensor<T>> at;
      std::string label = row.primitive + (row.what.empty() ? "" : " " + row.what) + " of";
      for (std::size_t k = 0; k < shapes.size(); ++k) {
        at.push_back(row.sample(shapes[k], k, rng));
        label += ' ';
        label += to_string(shapes[k]);
      }
      CAPTURE(label);
      CHECK_NOTHROW(check_derivatives<T>(row.function, at, row.options));
    }
  }
}

double max_of(const Tensor<>& x) {
  double most = 0;
  for (const double v : x.elements_view()) most = std::max(most, v);
  return most;
}

TEST_SUITE("primitives") {
  TEST_CASE("every row of the table, in double") { check_table<double>(); }
  TEST_CASE("every row of the table, in float") { check_table<float>(); }

  // A rule that is swept with seed axes is recorded with them, its axes no longer the first: so are its derivatives.
  TEST_CASE("derivatives of a sweep with seeds, of both modes") {
    random::Generator rng(11);
    for (const Row<double>& row : table<double>()) {
      for (const Shapes& shapes : row.cases) {
        std::vector<Tensor<>> at;
        for (std::size_t k = 0; k < shapes.size(); ++k) at.push_back(row.sample(shapes[k], k, rng));
        const Shape of = row.function(at).shape();
        for (std::size_t k = 0; k < at.size(); ++k) {
          if (of.rank() + at[k].rank() > 6 || of.count() * at[k].size() > 100) continue;
          const auto f = [&](const Tensor<>& x) {
            std::vector<Tensor<>> all = at;
            all[k] = x;
            return row.function(all);
          };
          const Tensor<> weights = rng.uniform<double>(of.concat(at[k].shape()), -1, 1);
          const auto through = [&](Sweep outer, Sweep inner) {
            return jacobian(
                       [&](const Tensor<>& x) {
                         return sum(jacobian([&](const Tensor<>& z) { return f(z * z); }, {.sweep = inner})(x).dense() *
                                    weights);
                       },
                       {.sweep = outer})(at[k])
                .dense();
          };
          const Tensor<> expected = through(Sweep::forward, Sweep::reverse);
          const std::pair<Sweep, Sweep> others[] = {
              {Sweep::reverse, Sweep::forward}, {Sweep::reverse, Sweep::reverse}, {Sweep::forward, Sweep::forward}};
          for (const std::pair<Sweep, Sweep>& sweeps : others) {
            const Sweep outer = sweeps.first, inner = sweeps.second;
            CAPTURE(row.primitive);
            CAPTURE(row.what);
            CAPTURE(shapes[k]);
            CAPTURE(static_cast<int>(outer));
            CAPTURE(static_cast<int>(inner));
            // astype goes through float.
            CHECK(max_of(abs(through(outer, inner) - expected)) <= (row.primitive == "astype" ? 1e-6 : 1e-11));
          }
        }
      }
    }
  }

  TEST_CASE("the registry equals the table") {
    std::set<std::string> registered, tested;
    for (const detail::Primitive* primitive : detail::primitives()) registered.insert(primitive->name);
    for (const Row<double>& row : table<double>()) tested.insert(row.primitive);
    tested.erase("");
    for (const std::string& name : registered) {
      CHECK_MESSAGE(tested.contains(name), "the primitive " << name << " has no row in the table");
    }
    for (const std::string& name : tested) {
      CHECK_MESSAGE(registered.contains(name), "the table has rows of " << name << ", which is not registered");
    }
    CHECK(registered.size() == detail::primitives().size());
  }

  TEST_CASE_TEMPLATE("a rule of prod gives the same bits where it is recorded", T, float, double) {
    random::Generator rng(5);
    for (const Shape& shape : {Shape{1}, Shape{2}, Shape{7}, Shape{8}, Shape{3, 2, 5}, Shape{2, 13, 3}}) {
      const Tensor<T> x = rng.uniform<T>(shape, -2, 2);
      for (const Axes& axes : {Axes{}, Axes{0}, Axes{-1}}) {
        const auto slope = grad([&](const Tensor<T>& z) { return sum(prod(z, axes)); });
        CHECK(allclose(jvp(slope, x, ones<T>(shape)).first, slope(x), 0, 0));
      }
    }
  }

  TEST_CASE("what a rule of prod records keeps the rows of a batch apart") {
    random::Generator rng(6);
    for (const Shape& row : {Shape{3}, Shape{4}, Shape{7}}) {
      const Tensor<> x = rng.uniform<double>(Shape{2}.concat(row), -2, 2);
      const auto slope = grad([&](const Tensor<>& z) { return sum(prod(z, -1)); });
      const Tensor<> blocks = batch_jacobian(slope)(x).dense();
      for (int i = 0; i < 2; ++i) {
        const Tensor<> H = hessian([](const Tensor<>& z) { return prod(z); })(x[i]);
        CHECK(allclose(reshape(blocks[i], H.shape()), H, 1e-14, 0));
      }
    }
  }

  TEST_CASE("stop_gradient is a constant for every derivative") {
    auto f = [](const Tensor<>& x) { return sum(square(x) * stop_gradient(square(x))); };
    const Tensor<> x{1.5, -2};
    CHECK(allclose(grad(f)(x), Tensor<>{2 * std::pow(1.5, 3), -16}, 1e-14, 0));
    CHECK(allclose(jvp(f, x, Tensor<>{1, 1}).second, Tensor<>(2 * std::pow(1.5, 3) - 16), 1e-14, 0));
    CHECK(allclose(hessian(f)(x), Tensor<>({{4.5, 0}, {0, 8}}), 1e-14, 0));
    CHECK_FALSE(stop_gradient(x).traced());
  }

  // The table can only convert there and back, where a wrong sign would cancel.
  TEST_CASE_TEMPLATE("astype passes adjoints and tangents on, converted", T, float, double) {
    using Other = std::conditional_t<std::is_same_v<T, float>, double, float>;
    const Tensor<T> x({{1.5, -2, 0.25}, {3, 0, -1}}), v({{1, 2, 3}, {-4, 5, 0.5}});
    auto convert = [](const Tensor<T>& z) { return astype<Other>(z); };
    const auto [y, pullback] = vjp(convert, x);
    CHECK(allclose(y, astype<Other>(x), 0, 0));
    CHECK(allclose(pullback(astype<Other>(v)), v, 0, 0));
    CHECK(allclose(pullback(broadcast_to(astype<Other>(v), {2, 2, 3})), broadcast_to(v, {2, 2, 3}), 0, 0));
    CHECK(allclose(jvp(convert, x, v).second, astype<Other>(v), 0, 0));
    // Its derivatives: (x, g) -> J^T g is linear in g and does not depend on x.
    const auto again =
        vjp([&](const Tensor<T>& z, const Tensor<Other>& g) { return vjp(convert, z).second(g); }, x, astype<Other>(v));
    const auto [dx, dg] = again.second(v);
    CHECK(allclose(dx, zeros<T>({2, 3}), 0, 0));
    CHECK(allclose(dg, astype<Other>(v), 0, 0));
  }

  TEST_CASE("mixed number types meet in astype") {
    // d/dx sum(float(x)^2 * w) and d/dw of the same, each in its own type.
    auto f = [](const Tensor<>& x, const Tensor<float>& w) {
      return sum(astype<double>(square(astype<float>(x)) * w));
    };
    const Tensor<> x{1, -2, 3};
    const Tensor<float> w{0.5F, 4, -1};
    const auto [dx, dw] = grad<0, 1>(f)(x, w);
    static_assert(std::is_same_v<std::remove_const_t<decltype(dx)>, Tensor<double>>);
    static_assert(std::is_same_v<std::remove_const_t<decltype(dw)>, Tensor<float>>);
    CHECK(allclose(dx, Tensor<>{1, -16, -6}, 0, 0));
    CHECK(allclose(dw, Tensor<float>{1, 4, 9}, 0, 0));
  }
}

}  // namespace
