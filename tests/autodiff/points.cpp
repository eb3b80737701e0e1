// Every elementwise function and its first two derivatives against mpmath, at the points where formulas lose digits:
// near zeros, poles and saturation, at the ends of the exponent's range, at subnormal and at huge numbers. The table is
// made by reference/points.py.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

namespace {

using namespace tapegrad;

// A function of the table, on tensors and as a program of elementwise(). A program of a single primitive would be the
// primitive itself.
template <Real T>
struct Pair {
  std::function<Tensor<T>(const Tensor<T>&)> of_tensors, as_program;
};
template <Real T, class F>
Pair<T> both(F f) {
  return {[f](const Tensor<T>& x) { return f(x); }, elementwise([f](auto x) { return f(x) + 0.0; })};
}

// What stands between the parentheses of "pow(0.5)", "divide(x, 3)" or "divide(3, x)".
struct Argument {
  explicit Argument(const std::string& name) {
    const std::size_t open = name.find('(');
    function = name.substr(0, open);
    if (open == std::string::npos) return;
    const std::string inside = name.substr(open + 1, name.size() - open - 2);
    first = inside.starts_with("x, ");
    number = std::stod(first ? inside.substr(3) : inside);
  }
  std::string function;
  double number = 0;
  bool first = false;  // x is the first operand
};

template <Real T>
Pair<T> function_of(const std::string& name) {
  const Argument argument(name);
  const double p = argument.number;
  Pair<T> found;
  const auto is = [&](const char* other) { return argument.function == other; };
  [&]<class... Op>(const std::tuple<Op...>*) {
    ((is(Op::name) && (found = both<T>([p](const auto& x) { return detail::unary<Op>(x, Caller::here(), p); }), true)),
     ...);
  }(static_cast<const ops::Unary*>(nullptr));
  [&]<class... Op>(const std::tuple<Op...>*) {
    ((is(Op::name) && (found = both<T>([p, first = argument.first](const auto& x) {
                         using V = std::decay_t<decltype(x)>;
                         const V b(p);
                         if constexpr (std::is_same_v<V, Scalar>)
                           return first ? detail::binary<Op>(x, b) : detail::binary<Op>(b, x);
                         else
                           return first ? detail::binary<Op>(x, b, Caller::here())
                                        : detail::binary<Op>(b, x, Caller::here());
                       }),
                       true)),
     ...);
  }(static_cast<const ops::Binary*>(nullptr));
  if (is("log_sigmoid")) found = both<T>([](const auto& x) { return log_sigmoid(x); });
  if (is("silu")) found = both<T>([](const auto& x) { return silu(x); });
  if (is("gelu")) found = both<T>([](const auto& x) { return gelu(x); });
  if (is("gelu_tanh")) found = both<T>([](const auto& x) { return gelu_tanh(x); });
  if (is("elu")) found = both<T>([p](const auto& x) { return elu(x, p); });
  if (is("selu")) found = both<T>([](const auto& x) { return selu(x); });
  if (is("mish")) found = both<T>([](const auto& x) { return mish(x); });
  if (is("relu6")) found = both<T>([](const auto& x) { return relu6(x); });
  if (is("hard_sigmoid")) found = both<T>([](const auto& x) { return hard_sigmoid(x); });
  if (is("hard_swish")) found = both<T>([](const auto& x) { return hard_swish(x); });
  if (is("hard_tanh")) found = both<T>([](const auto& x) { return hard_tanh(x); });
  return found;
}

// The largest |ours - exact| / bound over the points.
struct Worst {
  double ratio = 0, x = 0, ours = 0, exact = 0;
};

template <Real T>
struct Checker {
  using Limits = std::numeric_limits<T>;
  const double* x;

  // Where the exact number is subnormal 0 will do, where it overflows nothing but infinity. The factors that
  // derivatives multiply an exponential by do not bring back what it has lost.
  Worst worst(const Tensor<T>& ours, const double* exact, auto bound) const {
    Worst w;
    for (std::int64_t i = 0; i < ours.size(); ++i) {
      const double y = static_cast<double>(ours.data()[i]), e = exact[i], most = static_cast<double>(Limits::max());
      double allowed = bound(i), error = std::abs(y - e);
      const double factor = 4 * std::pow(1 + std::min(std::abs(x[i]), 1000.0), 2);
      const double lost = static_cast<double>(Limits::min()) * factor;
      if (std::abs(e) < lost) allowed = std::max(allowed, lost);
      if (std::isinf(y) && (y > 0) == (e > 0) && std::abs(e) * (1 + 8 * double{Limits::epsilon()}) > most) error = 0;
      if (std::abs(e) > most && std::abs(y) > most * (1 - 8 * double{Limits::epsilon()})) error = 0;
      const double ratio = error == 0 ? 0 : std::isnan(error) ? INFINITY : error / allowed;
      if (ratio > w.ratio) w = {ratio, x[i], y, e};
    }
    return w;
  }
};

void check(const Worst& w, const std::string& name, const std::string& what) {
  CAPTURE(name);
  CAPTURE(what);
  CAPTURE(w.x);
  CAPTURE(w.ours);
  CAPTURE(w.exact);
  CHECK(w.ratio <= 1);
}

// As ops.hpp has it; of tanh_softplus_slope, what ops/elementwise.hpp says of all numbers, as much as these ask for.
double most_ulp(const std::string& name) {
  const std::map<std::string, double> others{
      {"sin", 3}, {"cos", 3}, {"tan", 3}, {"gelu", 5}, {"tanh_softplus_slope", 7}};
  const auto found = others.find(name);
  return found == others.end() ? 4 : found->second;
}

TEST_SUITE("points") {
  const nn::Npz& table() {
    static const nn::Npz file(TAPEGRAD_REFERENCE_DIR "/points.npz");
    return file;
  }

  TEST_CASE_TEMPLATE("values and derivatives keep their digits", T, float, double) {
    constexpr double eps = std::numeric_limits<T>::epsilon();
    const std::string suffix = std::is_same_v<T, float> ? ".f32" : ".f64";
    for (const std::string& key : table().names()) {
      if (!key.ends_with(suffix)) continue;
      const std::string name = key.substr(0, key.size() - suffix.size());
      const Tensor<double> rows = table().template read<double>(key);
      const std::int64_t n = rows.shape()[1];
      const double *x = rows.data(), *f = x + n, *d1 = f + n, *xd2 = d1 + n, *d2 = xd2 + n, *xd3 = d2 + n;
      const Tensor<T> at = astype<T>(reshape(slice(rows, 0, 0, 1), {n}));
      const Pair<T> functions = function_of<T>(name);
      REQUIRE(functions.of_tensors);
      const Checker<T> checker{x};
      const Tensor<T> value = functions.of_tensors(at);
      const auto finite = [&](auto bound) {
        return [=](std::int64_t i) { return std::isfinite(value.data()[i]) ? bound(i) : INFINITY; };
      };
      const auto in_ulp = [&](const double* exact, std::int64_t i) {
        return std::ldexp(eps, std::max(std::ilogb(exact[i]), std::numeric_limits<T>::min_exponent - 1));
      };
      for (const auto& way : {functions.of_tensors, functions.as_program}) {
        const auto slope = [&](const Tensor<T>& t) { return grad([&](const Tensor<T>& u) { return sum(way(u)); })(t); };
        const double ulp = most_ulp(name);
        const bool by_condition = name == "gelu_tanh";
        check(checker.worst(
                  way(at), f,
                  [&](auto i) { return ulp * in_ulp(f, i) + (by_condition ? ulp * eps * std::abs(x[i] * d1[i]) : 0); }),
              name, "value");
        const auto first = finite([=](auto i) { return 16 * eps * (std::abs(d1[i]) + xd2[i]); });
        check(checker.worst(slope(at), d1, first), name, "first derivative");
        check(checker.worst(jvp(way, at, ones<T>({n})).second, d1, first), name, "first derivative, forward");
        const Tensor<T> second = grad([&](const Tensor<T>& t) { return sum(slope(t)); })(at);
        const double tolerance = std::is_same_v<T, float> ? 1e-5 : 1e-13;
        check(checker.worst(second, d2, finite([=](auto i) { return tolerance * (std::abs(d2[i]) + xd3[i]); })), name,
              "second derivative");
      }
    }
  }

  TEST_CASE("every elementwise primitive has points") {
    std::set<std::string> with_points;
    for (const std::string& key : table().names()) {
      with_points.insert(Argument(key.substr(0, key.size() - std::string(".f32").size())).function);
    }
    const auto check_all = [&]<class... Op>(const std::tuple<Op...>*) {
      for (const char* name : {Op::name...}) {
        CAPTURE(name);
        CHECK(with_points.count(name) == 1);
      }
    };
    check_all(static_cast<const ops::Unary*>(nullptr));
    check_all(static_cast<const ops::Binary*>(nullptr));
  }
}

}  // namespace
