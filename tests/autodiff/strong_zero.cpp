// In every chain rule 0 absorbs: what a result does not depend on, because it was not selected or because its slope is
// 0, may be infinite or NaN, and so may its slopes. Every primitive, in every way of taking a derivative.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/autodiff/ops/registry.hpp>
#include <tuple>
#include <utility>
#include <vector>

#include "../close.hpp"
#include "primitive_table.hpp"

namespace {

using namespace tapegrad;
using namespace primitive_table;

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

template <Real T>
std::vector<T> specials() {
  constexpr double huge = std::is_same_v<T, float> ? 1e30 : 1e200, large = std::is_same_v<T, float> ? 100 : 1000;
  std::vector<T> all;
  for (double x : {0.0, -0.0, inf, -inf, nan, huge, -huge, large, -large}) all.push_back(static_cast<T>(x));
  return all;
}

// The functions' types are erased, so that the ways are compiled once for each number type.
template <Real T>
using Function = std::function<Tensor<T>(const Tensor<T>&)>;

std::string text(double x) {
  std::ostringstream out;
  out << x;
  return out.str();
}

/// A matrix of derivatives, and the way in which it was computed.
template <Real T>
using Ways = std::vector<std::pair<std::string, Tensor<T>>>;

template <Real T>
std::vector<Tensor<T>> unit_vectors(const Shape& shape) {
  std::vector<Tensor<T>> units;
  for (std::int64_t i = 0; i < shape.count(); ++i) {
    Tensor<T> e = zeros<T>(shape);
    e.mutable_data()[i] = 1;
    units.push_back(e);
  }
  return units;
}
template <Real T>
Tensor<T> all_units(const Shape& shape) {
  return reshape(eye<T>(shape.count()), Shape{shape.count()}.concat(shape));
}
template <Real T>
Tensor<T> rows(const std::vector<Tensor<T>>& of) {
  std::vector<Tensor<T>> flat;
  for (const Tensor<T>& x : of) flat.push_back(reshape(x, {1, x.size()}));
  return concatenate(flat, 0);
}

/// The Jacobian of f at x, (outputs, inputs).
template <Real T>
Ways<T> jacobians(const Function<T>& f, const Tensor<T>& x) {
  using X = Tensor<T>;
  Ways<T> ways;
  const auto [y, pullback] = vjp(f, x);
  const Shape matrix{y.size(), x.size()};
  const std::vector<X> e_x = unit_vectors<T>(x.shape()), e_y = unit_vectors<T>(y.shape());
  const auto by_rows = [&](auto one) {
    std::vector<X> of;
    for (const X& e : e_y) of.push_back(one(e));
    return rows(of);
  };
  const auto by_columns = [&](auto one) {
    std::vector<X> of;
    for (const X& e : e_x) of.push_back(one(e));
    return transpose(rows(of));
  };
  ways.emplace_back("reverse", reshape(pullback(all_units<T>(y.shape())), matrix));
  ways.emplace_back("reverse, one by one", by_rows([&, &back = pullback](const X& e) { return back(e); }));
  ways.emplace_back("forward", by_columns([&](const X& e) { return jvp(f, x, e).second; }));
  for (const Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
    const std::string name = "jacobian " + std::to_string(static_cast<int>(sweep));
    const auto J = jacobian(f, {.sweep = sweep})(x);
    for (const char* known : {"", ", structure known"}) {
      ways.emplace_back(name + ", apply" + known, by_columns([&](const X& e) { return J.apply(e); }));
      ways.emplace_back(name + ", apply_transposed" + known,
                        by_rows([&](const X& e) { return J.apply_transposed(e); }));
      J.structure();
    }
    ways.emplace_back(name + ", dense", reshape(J.dense(), matrix));
  }
  return ways;
}

/// The Hessian of h at x, (inputs, inputs).
template <Real T>
Ways<T> hessians(const Function<T>& h, const Tensor<T>& x) {
  using X = Tensor<T>;
  Ways<T> ways;
  const Shape matrix{x.size(), x.size()};
  const std::vector<X> units = unit_vectors<T>(x.shape());
  const auto by_columns = [&](auto one) {
    std::vector<X> of;
    for (const X& e : units) of.push_back(one(e));
    return transpose(rows(of));
  };
  ways.emplace_back("hessian", reshape(hessian(h)(x), matrix));
  ways.emplace_back("reverse over reverse", reshape(vjp(grad(h), x).second(all_units<T>(x.shape())), matrix));
  ways.emplace_back("forward over reverse", by_columns([&](const X& e) { return hvp(h)(x, e); }));
  const auto slope = [&](const X& e) { return [&h, e](const X& z) { return jvp(h, z, e).second; }; };
  ways.emplace_back("reverse over forward", by_columns([&](const X& e) { return grad(slope(e))(x); }));
  ways.emplace_back("forward over forward", by_columns([&](const X& e) {
                      std::vector<X> column;
                      for (const X& d : units) column.push_back(jvp(slope(e), x, d).second);
                      return reshape(rows(column), {x.size()});
                    }));
  ways.emplace_back("gradient through apply", by_columns([&](const X& e) {
                      return grad([&](const X& z) { return jacobian(h)(z).apply(e); })(x);
                    }));
  ways.emplace_back("gradient through apply_transposed", by_columns([&](const X& e) {
                      return grad([&](const X& z) { return sum(jacobian(h)(z).apply_transposed(X(1.0)) * e); })(x);
                    }));
  ways.emplace_back("gradient through dense", by_columns([&](const X& e) {
                      return grad([&](const X& z) { return sum(jacobian(h)(z).dense() * e); })(x);
                    }));
  return ways;
}

/// Blocks of a function of rows, as the rows of the whole Jacobian.
template <Real T>
Ways<T> blocks(const Function<T>& f, const Tensor<T>& x) {
  Ways<T> ways;
  for (const Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
    const auto J = batch_jacobian(f, {.sweep = sweep})(x);
    ways.emplace_back("batch_jacobian " + std::to_string(static_cast<int>(sweep)), J.dense());
  }
  return ways;
}

template <Real T>
bool same(const Tensor<T>& a, const Tensor<T>& b) {
  if (a.shape() != b.shape()) return false;
  constexpr double tolerance = std::is_same_v<T, float> ? 2e-4 : 1e-12;
  for (std::int64_t i = 0; i < a.size(); ++i) {
    const double u = a.data()[i], v = b.data()[i];
    if (std::isnan(u) && std::isnan(v)) continue;
    if (u != v && !(std::abs(u - v) <= tolerance * std::max(1.0, std::abs(v)))) return false;
  }
  return true;
}

/// Every way gives `expected`.
template <Real T>
void check(const Ways<T>& ways, const Tensor<T>& expected, const std::string& label) {
  for (const auto& [way, got] : ways) {
    if (same(got, expected)) continue;
    FAIL_CHECK(label << ", " << way << ": " << got << ", expected " << expected);
  }
}

/// The elements of f that change when element i of x becomes special while the others stay `ordinary`.
template <Real T>
Tensor<bool> touched(const Function<T>& f, const Tensor<T>& ordinary, const Tensor<T>& special, std::int64_t i) {
  const Tensor<T> a = f(ordinary), b = f(special);
  const Tensor<T> J = vjp(f, ordinary).second(all_units<T>(a.shape()));
  Tensor<bool> mask = zeros<bool>(a.shape());
  for (std::int64_t e = 0; e < a.size(); ++e)
    mask.mutable_data()[e] = J.data()[e * ordinary.size() + i] != 0 || !(a.data()[e] == b.data()[e]);
  return mask;
}

template <Real T>
Tensor<T> with(const Tensor<T>& x, std::int64_t i, T value) {
  Tensor<T> copy(x.shape(), x.elements_view());
  copy.mutable_data()[i] = value;
  return copy;
}

// ------------------------------------------------------------------------------------------------ every primitive

struct Points {
  int all = 0, of_rows = 0;
};

/// Puts special numbers into each operand of a row of the table, where nothing of them is selected, and takes the
/// derivatives by each operand: they are those at ordinary numbers.
template <Real T>
Points check_row(const Row<T>& row, random::Generator& rng) {
  using X = Tensor<T>;
  Points points;
  int cases = 0;
  for (const Shapes& shapes : row.cases) {
    bool small = cases < 2;
    for (const Shape& s : shapes) small = small && s.count() > 0 && s.count() <= 9;
    if (!small) continue;
    std::vector<X> at;
    for (std::size_t k = 0; k < shapes.size(); ++k) at.push_back(row.sample(shapes[k], k, rng));
    const X y = row.function(at);
    if (y.size() == 0 || y.size() > 12) continue;
    ++cases;
    const X g = rng.uniform<T>(y.shape(), 0.5, 1.5);
    for (std::size_t k = 0; k < at.size(); ++k) {
      const auto by = [&](std::vector<X> operands, std::size_t operand) {
        return [&row, operands = std::move(operands), operand](const X& x) {
          std::vector<X> all = operands;
          all[operand] = x;
          return row.function(all);
        };
      };
      const std::int64_t i = rng.below(at[k].size());
      for (const T special : specials<T>()) {
        const X changed = with(at[k], i, special);
        const Tensor<bool> mask = touched<T>(by(at, k), at[k], changed, i), open = logical_not(mask);
        std::vector<X> special_at = at;
        special_at[k] = changed;
        for (std::size_t l = 0; l < at.size(); ++l) {
          ++points.all;
          const std::string label = row.primitive + " " + row.what + " with " + text(special) + " in operand " +
                                    std::to_string(k) + ", by operand " + std::to_string(l);
          const bool itself = at[l].shape() == y.shape(), first = rng.below(2) == 0;
          const auto guarded = [&, f = by(special_at, l)](const X& x) {
            const X value = f(x), other = itself ? x : zeros<T>(value.shape());
            return first ? where(open, value, other) : where(mask, other, value);
          };
          const auto ordinary = [&, f = by(at, l)](const X& x) {
            const X value = f(x);
            return where(open, value, itself ? x : zeros<T>(value.shape()));
          };
          const X J = reshape(vjp(ordinary, at[l]).second(all_units<T>(y.shape())), {y.size(), at[l].size()});
          check(jacobians<T>(guarded, special_at[l]), J, label);
          const X H = rows<T>([&] {
            std::vector<X> of;
            for (const X& e : unit_vectors<T>(at[l].shape()))
              of.push_back(hvp([&](const X& x) { return sum(ordinary(x) * g); })(at[l], e));
            return of;
          }());
          check(hessians<T>([&](const X& x) { return sum(guarded(x) * g); }, special_at[l]), transpose(H), label);
          if (at[l].rank() == 2 && y.rank() == 2 && at[l].shape()[0] == y.shape()[0] && l == k) {
            try {
              const X expected = batch_jacobian(ordinary)(at[l]).dense();
              check(blocks<T>(guarded, special_at[l]), expected, label);
              ++points.of_rows;
            } catch (const RowMixingError&) {
            }
          }
        }
      }
    }
  }
  return points;
}

// ------------------------------------------------------------------------------------------- elementwise primitives

/// An elementwise primitive as a function of one operand, with the other one fixed.
template <Real T>
struct Formula {
  std::string name;
  Function<T> plain;
  std::function<Scalar(const Scalar&)> symbolic;
  T ordinary;  // where the function and its slopes are
};

template <class Op, Real T>
void add_unary(std::vector<Formula<T>>& all) {
  const std::string name = Op::name;
  const bool steps = name == "floor" || name == "ceil" || name == "round";
  std::vector<double> constants{0};
  if (name == "pow") constants = {-2, -0.5, 0, 0.5, 1, 2, 2.5, 3};
  if (name == "leaky_relu") constants = {0.3};
  for (double p : constants) {
    all.push_back({name + (p != 0 ? " " + std::to_string(p) : ""),
                   [p](const Tensor<T>& x) { return detail::unary<Op>(x, Caller{}, p); },
                   [p](const Scalar& x) { return detail::unary<Op>(x, Caller{}, p); }, steps ? T(0.3) : T(0.6)});
  }
}
template <class Op, Real T>
void add_binary(std::vector<Formula<T>>& all) {
  const std::string name = Op::name;
  constexpr T other = T(0.9);
  all.push_back({name + " by a", [](const Tensor<T>& x) { return detail::binary<Op>(x, Tensor<T>(other), Caller{}); },
                 [](const Scalar& x) { return detail::binary<Op>(x, Scalar(other)); }, T(0.6)});
  all.push_back({name + " by b", [](const Tensor<T>& x) { return detail::binary<Op>(Tensor<T>(other), x, Caller{}); },
                 [](const Scalar& x) { return detail::binary<Op>(Scalar(other), x); }, T(0.6)});
}
template <Real T>
std::vector<Formula<T>> formulas() {
  std::vector<Formula<T>> all;
  // Called by address: inlined, all of them would be one function that takes minutes to compile.
  const auto unary = [&]<class... Op>(std::tuple<Op...>*) {
    for (const auto add : {&add_unary<Op, T>...}) add(all);
  };
  unary(static_cast<ops::Unary*>(nullptr));
  const auto binary = [&]<class... Op>(std::tuple<Op...>*) {
    for (const auto add : {&add_binary<Op, T>...}) add(all);
  };
  binary(static_cast<ops::Binary*>(nullptr));
  return all;
}

/// As a program that selects one element of three, more elements than a SIMD vector has.
template <Real T>
void check_programs() {
  using X = Tensor<T>;
  const Shape shape{19};
  const X every = ones<T>(shape);
  for (const Formula<T>& formula : formulas<T>()) {
    const auto& symbolic = formula.symbolic;
    const auto first_form = elementwise([&](auto x, auto bit) { return where(bit > 0.5, symbolic(x), x); });
    const auto second_form = elementwise([&](auto x, auto bit) { return where(bit < 0.5, x, symbolic(x)); });
    for (const T special : specials<T>()) {
      X x = full<T>(shape, special), bit = zeros<T>(shape), ordinary = full<T>(shape, formula.ordinary);
      for (std::int64_t i = 0; i < shape[0]; i += 3) {
        bit.mutable_data()[i] = 1;
        x.mutable_data()[i] = ordinary.mutable_data()[i] = formula.ordinary + T(0.01) * static_cast<T>(i);
      }
      const Tensor<bool> chosen = bit > 0.5;
      const Function<T> plain = formula.plain, slope = elementwise_grad(plain);
      const X first = where(chosen, slope(ordinary), 1.0);
      const X second = where(chosen, elementwise_grad(slope)(ordinary), 0.0);
      for (const auto* program : {&first_form, &second_form}) {
        const std::string label =
            formula.name + (program == &first_form ? " as a program at " : " as the other program at ") + text(special);
        const Function<T> f = [&](const X&z) { return (*program)(z, bit); }, of_slope = elementwise_grad(f);
        const Function<T> h = [&](const X& z) { return sum(f(z)); };
        const Function<T> tangent = [&](const X& z) { return jvp(f, z, every).second; };
        const auto J = jacobian(f)(x);
        const Ways<T> of_first{{"reverse", of_slope(x)},   {"forward", tangent(x)},
                               {"apply", J.apply(every)},  {"apply_transposed", J.apply_transposed(every)},
                               {"diagonal", J.diagonal()}, {"dense", sum(J.dense(), -1)}};
        CHECK(J.structure() == Structure::diagonal);
        check(of_first, first, label);
        const Ways<T> of_second{{"hessian", sum(hessian(h)(x), -1)},
                                {"forward over reverse", hvp(h)(x, every)},
                                {"reverse over reverse", elementwise_grad(of_slope)(x)},
                                {"forward over forward", jvp(tangent, x, every).second}};
        check(of_second, second, label);
      }
    }
  }
}

/// If a special number is selected, all ways give the same result, be it NaN or infinity.
template <Real T>
void check_selected() {
  using X = Tensor<T>;
  for (const Formula<T>& formula : formulas<T>()) {
    for (const T special : specials<T>()) {
      const X x{formula.ordinary, special};
      const std::string label = formula.name + " at " + text(special);
      const Ways<T> first = jacobians<T>(formula.plain, x);
      check(first, first[0].second, label);
      const Ways<T> second = hessians<T>([&](const X& z) { return sum(formula.plain(z)); }, x);
      check(second, second[0].second, label);
    }
  }
}

// ------------------------------------------------------------------------------------------------- by their names

using X = Tensor<>;

X row_of(const X& x) { return reshape(x, {1, x.size()}); }

void check_everywhere(const char* name, const Function<double>& f, const X& x, const X& J) {
  check(jacobians(f, x), reshape(J, {J.size() / x.size(), x.size()}), name);
}
void check_gradient(const char* name, const Function<double>& h, const X& x, const X& gradient, const X& H) {
  check_everywhere(name, h, x, gradient);
  check(hessians(h, x), H, name);
}

TEST_SUITE("strong zero") {
  TEST_CASE("every primitive, with numbers that are not selected") {
    random::Generator rng(3);
    std::set<std::string> seen;
    int of_rows = 0;
    for (const Row<double>& row : table<double>()) {
      // A product with another 0 does not show which of its elements it depends on.
      if (row.sample == Sampler<double>{with_zeros<double>}) continue;
      const Points points = check_row(row, rng);
      if (points.all > 0) seen.insert(row.primitive);
      of_rows += points.of_rows;
    }
    CHECK(of_rows > 100);
    for (const detail::Primitive* primitive : detail::primitives())
      CHECK_MESSAGE(seen.contains(primitive->name), primitive->name << " has no case that is small enough");
  }
  TEST_CASE("every elementwise primitive as a program, in double") { check_programs<double>(); }
  TEST_CASE("every elementwise primitive as a program, in float") { check_programs<float>(); }
  TEST_CASE("every elementwise primitive at a selected special number") {
    check_selected<double>();
    check_selected<float>();
  }

  TEST_CASE("a product gives each element that of the others, where there are zeros") {
    const auto product = [](const X& z) { return prod(z); };
    check_gradient("prod, one zero", product, X{0, 2, 3}, X{6, 0, 0}, X({{0, 3, 2}, {3, 0, 0}, {2, 0, 0}}));
    check_gradient("prod, two zeros", product, X{0, 0, 3}, X{0, 0, 0}, X({{0, 3, 0}, {3, 0, 0}, {0, 0, 0}}));
    check_gradient("prod, all zeros", product, zeros(3), zeros(3), zeros({3, 3}));
    const auto first = [](const X& z) { return sum(where(Tensor<bool>{true, false}, prod(z, -1), 0.0)); };
    check_everywhere("prod, of a row that is not selected", first, X({{2, 3}, {inf, nan}}), X{3, 2, 0, 0});
  }

  TEST_CASE("a branch that is not taken") {
    const X x{1000, 1}, slope = reshape(X{1, 0, 0, std::exp(1.0)}, {2, 2});
    check_everywhere(
        "exp", [](const X& z) { return where(z < 10, exp(z), z); }, x, slope);
    const auto program = elementwise([](auto z) { return where(z < 10, exp(z), z); });
    check_everywhere(
        "exp in a program", [&](const X& z) { return program(z); }, x, slope);
    const auto x_log_x = [](const X& z) { return where(z > 0, z * log(z), 0.0); };
    check_everywhere("x log x", x_log_x, X{0, 1}, reshape(X{0, 0, 0, 1}, {2, 2}));
    check_gradient(
        "x log x", [&](const X& z) { return sum(x_log_x(z)); }, X{0, 2}, X{0, 1 + std::log(2.0)},
        X({{0, 0}, {0, 0.5}}));
    check_gradient(
        "log1p(exp(x))", [](const X& z) { return sum(where(z < 20, log(1 + exp(z)), z)); }, X{0, 1000}, X{0.5, 1},
        X({{0.25, 0}, {0, 0}}));
  }

  TEST_CASE("exp is diagonal, whatever its numbers") {
    const auto J = jacobian([](const X& z) { return exp(z); })(X{1000, 1});
    CHECK(J.structure() == Structure::diagonal);
    CHECK(same(J.dense(), X({{inf, 0}, {0, std::exp(1.0)}})));
    check_everywhere(
        "exp", [](const X& z) { return exp(z); }, X{1000, 1}, X({{inf, 0}, {0, std::exp(1.0)}}));
  }

  TEST_CASE("the norm and the deviation of nothing") {
    check_everywhere(
        "norm", [](const X& z) { return sqrt(sum(square(z))); }, X{0, 0}, X{0, 0});
    check_everywhere(
        "deviation", [](const X& z) { return sqrt(mean(square(z - mean(z)))); }, X{3, 3, 3}, X{0, 0, 0});
    const auto rows_of = [](const X& z) { return sqrt(sum(square(z), -1, keep_dims)); };
    check(blocks<double>(rows_of, X({{0, 0}, {3, 4}})), reshape(X{0, 0, 0.6, 0.8}, {2, 1, 2}), "norms of rows");
    check_everywhere(
        "square of a root", [](const X& z) { return square(sqrt(z)); }, X(0.0), X(0.0));
  }

  TEST_CASE("a product of matrices of which a row is not selected") {
    const X w({{1, 2}, {3, 4}});
    const auto f = [&](const X& a) { return where(reshape(X{1, 0}, {2, 1}) > 0.5, matmul(a, w), 0.0); };
    const X a({{1, 2}, {inf, nan}});
    check_everywhere("by the left", f, a, X({{1, 3, 0, 0}, {2, 4, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}));
    check_everywhere(
        "by the right",
        [&](const X& b) {
          return where(reshape(X{1, 0}, {2, 1}) > 0.5, matmul(a, b), 0.0);
        },
        w, X({{1, 0, 2, 0}, {0, 1, 0, 2}, {0, 0, 0, 0}, {0, 0, 0, 0}}));
    // One operand is 0 where the other is infinite, and both are selected.
    const auto product = [](const X& b) { return matmul(row_of({0, 1}), b); };
    check_everywhere("a zero", product, reshape(X{inf, 2}, {2, 1}), row_of({0, 1}));
    // Tangent and cotangent of 0 against the infinity of a fixed operand.
    const auto by_infinity = [](const X& v) { return matmul(v, X({{inf, 1}, {2, 3}})); };
    CHECK(same(jvp(by_infinity, X{1, 1}, X{0, 1}).second, X{2, 3}));
    CHECK(same(vjp(by_infinity, X{1, 1}).second(X{0, 1}), X{1, 3}));
  }

  TEST_CASE("slopes that overflow") {
    // 4 x^3 is infinite, and so is 12 x^2.
    check_gradient(
        "x x x x", [](const X& z) { return sum(where(z < 10, z * z * z * z, z)); }, X{1e200, 1}, X{1, 4},
        X({{0, 0}, {0, 12}}));
    const auto fourth = elementwise([](auto x) { return where(x < 10, x * x * x * x, x); });
    check_gradient(
        "x x x x in a program", [&](const X& z) { return sum(fourth(z)); }, X{1e200, 1}, X{1, 4}, X({{0, 0}, {0, 12}}));
    for (const auto& f :
         std::vector<X (*)(const X&)>{[](const X& z) { return exp2(z); }, [](const X& z) { return expm1(z); },
                                      [](const X& z) { return sinh(z); }, [](const X& z) { return cosh(z); }}) {
      const double slope = elementwise_grad(f)(X{0.5}).item();
      const double curvature = elementwise_grad(elementwise_grad(f))(X{0.5}).item();
      check_gradient(
          "overflow", [&](const X& z) { return sum(where(z < 10, f(z), z)); }, X{2000, 0.5}, X{1, slope},
          X({{0, 0}, {0, curvature}}));
    }
  }

  TEST_CASE("second derivatives where the cotangent is 0") {
    // d/dg (g f'(x)) is f'(x), which a cotangent of 0 does not absorb.
    const auto of_cotangent = [](double g) {
      return grad([](const X& c) { return vjp([](const X& z) { return exp(z); }, X(0.5)).second(c); })(X(g)).item();
    };
    CHECK(of_cotangent(0) == about(std::exp(0.5), 1e-14));
    CHECK(of_cotangent(1) == about(std::exp(0.5), 1e-14));
    // (x - 1) exp(x) at 1: the cotangent of exp is 0, its derivative is not.
    check_gradient(
        "(x - 1) exp(x)", [](const X& z) { return (z - 1) * exp(z); }, X(1.0), X(std::exp(1.0)),
        row_of({2 * std::exp(1.0)}));
    check_gradient(
        "mul0", [](const X& z) { return mul0(z - 1, square(z)); }, X(1.0), X(1.0), row_of({4}));
    check_gradient(
        "mul0 of zeros", [](const X& z) { return mul0(z, square(z)); }, X(0.0), X(0.0), row_of({0}));
  }

  TEST_CASE("an infinite tangent of the likeliest class") {
    // dl = v - <p, v>: finite - (-inf) for the other class, inf - inf for its own.
    const auto tangent = [](const auto& f) { return jvp(f, X{1, 0}, X{-inf, 0}).second; };
    CHECK(same(tangent([](const X& z) { return log_softmax(z); }), X{nan, inf}));
    CHECK(same(tangent([](const X& z) { return softmax(z); }), X{nan, inf}));
  }

  TEST_CASE("an infinite cotangent of log_softmax, plain and recorded") {
    const auto pulled = [](const X& g) {
      return vjp([](const X& z) { return log_softmax(z); }, X{0, 800, 1}).second(g);
    };
    const X infinite{0, inf, 0};
    CHECK(same(pulled(infinite), vjp(pulled, infinite).first));
    CHECK(same(pulled(infinite), zeros({3})));
  }

  TEST_CASE("values are those of IEEE") {
    CHECK(std::isnan((X(0.0) * X(inf)).item()));
    CHECK(std::isnan(matmul(X{0, 1}, X{inf, 1}).item()));
    CHECK(std::isnan(elementwise([](auto x) { return x * (1 / x); })(X(0.0)).item()));
    CHECK(std::isnan(jacobian([](const X& z) { return z * X{inf, 2}; })(X{0, 1}).value()(0)));
  }

  TEST_CASE("a slope that is NaN comes through to what asks for it") {
    const auto f = [](const X& z) { return z * X{nan, 2}; };
    check_everywhere("a factor of NaN", f, X{1, 1}, X({{nan, 0}, {0, 2}}));
    CHECK(same(grad([&](const X& z) { return sum(f(z) * X{0, 1}); })(X{1, 1}), X{0, 2}));
  }
}

}  // namespace
