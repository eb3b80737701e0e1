// Every rewrite of autodiff/programs/simplify.cpp: both sides of the identity become the same node, and the numbers are
// those of the operations one by one.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/autodiff/programs/simplify.hpp>

namespace {

using namespace tapegrad;

/// Both sides of an identity as functions of a and b.
struct Sides {
  std::function<Scalar(const Scalar&a, const Scalar&b)> asked, written;
  /// The left side on tensors; empty if the identity is one of those that elementwise.hpp allows to differ.
  std::function<Tensor<>(const Tensor<>& a, const Tensor<>& b)> one_by_one = nullptr;
};

template <class F>
Sides exact(const F& asked, const std::function<Scalar(const Scalar&, const Scalar&)>& written) {
  return {asked, written, [asked](const Tensor<>& a, const Tensor<>& b) { return asked(a, b); }};
}

const double infinite = std::numeric_limits<double>::infinity();

/// mul0 with a number, for tensors too.
template <class V>
V strong(const V& a, double b) {
  return mul0(a, V(b));
}

const std::map<std::string, Sides>& sides() {
  static const std::map<std::string, Sides> all{
      {"-(-a) = a", exact([](auto a, auto) { return -(-a); }, [](auto a, auto) { return a; })},
      {"-(a * c) = a * -c", exact([](auto a, auto) { return -(a * 3); }, [](auto a, auto) { return a * -3; })},
      {"a + -b = a - b", exact([](auto a, auto b) { return a + -b; }, [](auto a, auto b) { return a - b; })},
      {"-a + b = b - a", exact([](auto a, auto b) { return -a + b; }, [](auto a, auto b) { return b - a; })},
      {"a - -b = a + b", exact([](auto a, auto b) { return a - -b; }, [](auto a, auto b) { return a + b; })},
      {"a - 0 = a", exact([](auto a, auto) { return a - 0; }, [](auto a, auto) { return a; })},
      {"c * a = a * c", exact([](auto a, auto) { return 3 * a; }, [](auto a, auto) { return a * 3; })},
      {"a * 1 = a", exact([](auto a, auto) { return a * 1; }, [](auto a, auto) { return a; })},
      {"a * -1 = -a", exact([](auto a, auto) { return a * -1; }, [](auto a, auto) { return -a; })},
      {"-a * c = a * -c", exact([](auto a, auto) { return -a * 3; }, [](auto a, auto) { return a * -3; })},
      {"-a * b = -(a * b)", exact([](auto a, auto b) { return -a * b; }, [](auto a, auto b) { return -(a * b); })},
      {"a * -b = -(a * b)", exact([](auto a, auto b) { return a * -b; }, [](auto a, auto b) { return -(a * b); })},
      {"(a * c) * d = a * (c * d)", {[](auto a, auto) { return a * 3 * 5; }, [](auto a, auto) { return a * 15; }}},
      {"mul0(c, a) = mul0(a, c)",
       {[](auto a, auto) { return mul0(Scalar(infinite), a); }, [](auto a, auto) { return strong(a, infinite); }}},
      {"mul0(a, 0) = 0", exact([](auto a, auto) { return strong(a, 0); }, [](auto, auto) { return 0; })},
      {"mul0(a, c) = a * c", {[](auto a, auto) { return strong(a, 3); }, [](auto a, auto) { return a * 3; }}},
      {"mul0(-a, c) = mul0(a, -c)",
       exact([](auto a, auto) { return strong(-a, infinite); }, [](auto a, auto) { return strong(a, -infinite); })},
      {"mul0(-a, b) = -mul0(a, b)",
       exact([](auto a, auto b) { return mul0(-a, b); }, [](auto a, auto b) { return -mul0(a, b); })},
      {"mul0(a, -b) = -mul0(a, b)",
       exact([](auto a, auto b) { return mul0(a, -b); }, [](auto a, auto b) { return -mul0(a, b); })},
      {"a / 2^c = a * 2^-c", exact([](auto a, auto) { return a / 4; }, [](auto a, auto) { return a * 0.25; })},
      {"a / (exp(b) + 1) = a * sigmoid(-b)",
       {[](auto a, auto b) { return a / (1 + exp(b)); }, [](auto a, auto b) { return a * sigmoid(-b); }}},
      {"-a / b = -(a / b)", exact([](auto a, auto b) { return -a / b; }, [](auto a, auto b) { return -(a / b); })},
      {"a / -b = -(a / b)", exact([](auto a, auto b) { return a / -b; }, [](auto a, auto b) { return -(a / b); })},
      {"log(a + 1) = log1p(a)", {[](auto a, auto) { return log(a + 1); }, [](auto a, auto) { return log1p(a); }}},
      {"log1p(exp(a)) = softplus(a)",
       {[](auto a, auto) { return log1p(exp(a)); }, [](auto a, auto) { return softplus(a); }}},
      {"tanh(softplus(a)) by one exp",
       {[](auto a, auto) { return tanh(softplus(a)); },
        [](auto a, auto) { return detail::unary<ops::TanhSoftplus>(a, {}); }}},
      {"square(a) = a * a", exact([](auto a, auto) { return square(a); }, [](auto a, auto) { return a * a; })},
      {"reciprocal(a) = 1 / a", exact([](auto a, auto) { return reciprocal(a); }, [](auto a, auto) { return 1 / a; })},
      {"pow(a, 1) = a", exact([](auto a, auto) { return pow(a, 1); }, [](auto a, auto) { return a; })},
      {"pow(a, 2) = a * a", exact([](auto a, auto) { return pow(a, 2); }, [](auto a, auto) { return a * a; })},
      {"pow(a, 3) = a * (a * a)",
       exact([](auto a, auto) { return pow(a, 3); }, [](auto a, auto) { return a * (a * a); })},
      {"pow(a, 4) = square(a * a)",
       exact([](auto a, auto) { return pow(a, 4); }, [](auto a, auto) { return square(a * a); })},
      {"pow(a, -1) = 1 / a", exact([](auto a, auto) { return pow(a, -1); }, [](auto a, auto) { return 1 / a; })},
  };
  return all;
}

/// Whether two symbolic numbers are the same constant or the same node.
bool same_node(const Scalar& x, const Scalar& y) {
  using detail::ScalarAccess;
  if (detail::is_constant(x) || detail::is_constant(y)) {
    return detail::is_constant(x) && detail::is_constant(y, detail::constant_of(x));
  }
  return ScalarAccess::graph(x) == ScalarAccess::graph(y) && ScalarAccess::node(x) == ScalarAccess::node(y);
}

TEST_SUITE("simplify") {
  TEST_CASE("each rewrite gives what its text says") {
    for (const detail::Rewrite& rewrite : detail::rewrites()) {
      const std::string text = rewrite.text;
      CAPTURE(text);
      const auto row = sides().find(rewrite.text);
      REQUIRE(row != sides().end());
      const auto graph = std::make_shared<detail::Graph>();
      const Scalar a = graph->operand(0), b = graph->operand(1);
      CHECK(same_node(row->second.asked(a, b), row->second.written(a, b)));
    }
    CHECK(sides().size() == detail::rewrites().size());
  }

  TEST_CASE("factors are not put together where float would overflow, and a zero of either sign is strong") {
    const Tensor<float> x{1e-30F, 0, 1e30F};
    const Tensor<float> large = elementwise([](auto a) { return a * 1e30 * 1e30; })(x);
    const Tensor<float> small = elementwise([](auto a) { return a * 1e-30 * 1e-30; })(x);
    CHECK(allclose(large, x * 1e30F * 1e30F, 1e-6, 0));
    CHECK(allclose(small, x * 1e-30F * 1e-30F, 1e-6, 0));
    for (const double zero : {0.0, -0.0}) {
      const auto f = elementwise([zero](auto a) { return sqrt(a) * zero; });
      const Tensor<> g = grad([&](const Tensor<>& z) { return sum(f(z)); })(Tensor<>{0, 1});
      CHECK(g(0) == 0);
      CHECK(g(1) == 0);
    }
  }

  TEST_CASE("an identity holds to the last bit for every number") {
    const double least = std::numeric_limits<double>::denorm_min(), nan = std::numeric_limits<double>::quiet_NaN();
    const std::array numbers{-0.0, 0.0, 1.0, -1.3, 0.7, 1e308, -1e-308, least, infinite, -infinite, nan};
    for (const auto& side : sides()) {
      const std::string& text = side.first;
      const Sides& row = side.second;
      if (!row.one_by_one) continue;
      const auto f = elementwise([&row](auto a, auto b) { return row.asked(a, b); });
      for (const double a : numbers) {
        for (const double b : numbers) {
          CAPTURE(text);
          CAPTURE(a);
          CAPTURE(b);
          const double x = f(Tensor<>(a), Tensor<>(b)).item(), y = row.one_by_one(Tensor<>(a), Tensor<>(b)).item();
          // A strong zero has no sign to keep.
          const bool same_sign = std::signbit(x) == std::signbit(y) || text.find("mul0") == 0;
          CHECK(((std::isnan(x) && std::isnan(y)) || (x == y && same_sign)));
        }
      }
    }
  }
}

}  // namespace
