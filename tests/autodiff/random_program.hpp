#pragma once
// Random programs over the public operations: how they are made, run, printed and shrunk.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <utility>
#include <vector>

namespace random_programs {

using namespace tapegrad;

inline constexpr double infinity = std::numeric_limits<double>::infinity();

template <Real T>
using Values = std::span<const Tensor<T>>;

/// What the chain of terms (path_terms.hpp) is to know of an operation. `straight`: without second derivatives.
enum class Kind { input, constant, elementwise, straight, curved, softmax, log_softmax, logsumexp };

/// One operation. `text` has a % for each operand.
template <Real T>
struct Node {
  std::string text;
  std::vector<std::size_t> operands;
  Kind kind;
  std::function<Tensor<T>(Values<T>)> apply;
  std::function<double(Values<T>)> to_corner;  // the distance to a corner or a jump; empty if there is none
};

/// Node 0 is the input, the last one the output.
template <Real T>
struct Program {
  Tensor<T> x;
  std::vector<Node<T>> nodes;
  bool rowwise = false;  // row b of the output depends on row b of the input alone
};

/// The values of all nodes.
template <Real T>
std::vector<Tensor<T>> run(const Program<T>& program, const Tensor<T>& x) {
  std::vector<Tensor<T>> values{x};
  std::vector<Tensor<T>> operands;
  for (std::size_t i = 1; i < program.nodes.size(); ++i) {
    const Node<T>& node = program.nodes[i];
    operands.clear();
    for (std::size_t k : node.operands) operands.push_back(values[k]);
    values.push_back(node.apply(operands));
  }
  return values;
}

template <Real T>
Node<T> constant_node(const Tensor<T>& value) {
  std::ostringstream text;
  text.precision(std::numeric_limits<T>::max_digits10);
  text << to_string(value.shape()) << ' ' << value;
  return {text.str(), {}, Kind::constant, [value](Values<T>) { return value; }, {}};
}

template <Real T>
std::string print(const Program<T>& program) {
  std::ostringstream out;
  out.precision(std::numeric_limits<T>::max_digits10);
  out << (std::is_same_v<T, float> ? "float\n" : "double\n") << "x0 = " << to_string(program.x.shape()) << ' '
      << program.x << '\n';
  const std::vector<Tensor<T>> values = run(program, program.x);
  for (std::size_t i = 1; i < program.nodes.size(); ++i) {
    out << 'x' << i << " = ";
    std::size_t k = 0;
    for (char c : program.nodes[i].text) {
      if (c == '%')
        out << 'x' << program.nodes[i].operands[k++];
      else
        out << c;
    }
    if (program.nodes[i].kind != Kind::constant) out << "    // " << to_string(values[i].shape()) << ' ' << values[i];
    out << '\n';
  }
  return out.str();
}

/// The program without the nodes that `output` does not need; `output` becomes the last node.
template <Real T>
Program<T> pruned(const Program<T>& program, std::size_t output) {
  std::vector<bool> needed(program.nodes.size());
  needed[0] = needed[output] = true;
  for (std::size_t i = output; i > 0; --i) {
    if (!needed[i]) continue;
    for (std::size_t k : program.nodes[i].operands) needed[k] = true;
  }
  Program<T> result{program.x, {}, program.rowwise};
  std::vector<std::size_t> place(program.nodes.size());
  for (std::size_t i = 0; i <= output; ++i) {
    if (!needed[i]) continue;
    place[i] = result.nodes.size();
    result.nodes.push_back(program.nodes[i]);
    for (std::size_t& k : result.nodes.back().operands) k = place[k];
  }
  return result;
}

/// Shrinks a program for which `fails` holds: first fewer nodes, then simpler numbers.
template <Real T, class Fails>
Program<T> shrunk(Program<T> program, Fails fails) {
  const auto accept = [&](const Program<T>& candidate) {
    if (!fails(candidate)) return false;
    program = candidate;
    return true;
  };
  const auto fewer = [&] {
    for (std::size_t output = 1; output + 1 < program.nodes.size(); ++output) {
      if (accept(pruned(program, output))) return true;
    }
    const std::vector<Tensor<T>> values = run(program, program.x);
    for (std::size_t i = program.nodes.size() - 1; i > 0; --i) {
      const Node<T>& node = program.nodes[i];
      if (node.kind == Kind::constant) continue;
      for (std::size_t by : node.operands) {
        if (values[by].shape() != values[i].shape() || i + 1 == program.nodes.size()) continue;
        Program<T> candidate = program;
        for (Node<T>& user : candidate.nodes) std::replace(user.operands.begin(), user.operands.end(), i, by);
        if (accept(pruned(candidate, candidate.nodes.size() - 1))) return true;
      }
      Program<T> candidate = program;
      candidate.nodes[i] = constant_node(values[i]);
      if (accept(pruned(candidate, candidate.nodes.size() - 1))) return true;
    }
    return false;
  };
  const auto plainer = [&](const Tensor<T>& x, auto with) {
    for (std::int64_t e = 0; e < x.size(); ++e) {
      for (const T plain : {T{1}, T{2}, T{-1}, T{0.5}}) {
        if (x.data()[e] == plain) break;
        Tensor<T> changed(x.shape(), x.elements_view());
        changed.mutable_data()[e] = plain;
        Program<T> candidate = program;
        with(candidate, changed);
        if (accept(candidate)) return true;
      }
    }
    return false;
  };
  const auto plainer_numbers = [&] {
    if (plainer(program.x, [](Program<T>& p, const Tensor<T>& x) { p.x = x; })) return true;
    for (std::size_t i = 1; i < program.nodes.size(); ++i) {
      if (program.nodes[i].kind != Kind::constant) continue;
      const Tensor<T> value = program.nodes[i].apply({});
      if (plainer(value, [i](Program<T>& p, const Tensor<T>& x) { p.nodes[i] = constant_node(x); })) return true;
    }
    return false;
  };
  for (int step = 0; step < 500 && (fewer() || plainer_numbers()); ++step) {
  }
  return program;
}

// ---------------------------------------------------------------------------------------------------- making one

/// A function of one number that a program may call.
template <Real T>
struct Unary {
  using Function = Tensor<T> (*)(const Tensor<T>&);
  Unary(const char* text, Function function, std::vector<double> at = {}, double steps = infinity)
      : name(text), f(function), corners(std::move(at)), steps_from(steps) {}
  const char* name;
  Function f;
  std::vector<double> corners;
  double steps_from;  // jumps here and at whole distances from here
};
template <Real T>
struct Binary {
  using Function = Tensor<T> (*)(const Tensor<T>&, const Tensor<T>&);
  Binary(const char* words, Function function, bool of_equal = false) : text(words), f(function), corner(of_equal) {}
  const char* text;
  Function f;
  bool corner;  // where the operands are equal, or 1 apart, or the second is 0
};

template <Real T>
const std::vector<Unary<T>>& unary_functions() {
  using X = Tensor<T>;
  static const auto swish = elementwise([](auto x) { return x / (1 + exp(-x)); });
  static const auto softplus_by_hand = elementwise([](auto x) { return log(1 + exp(x)); });
  static const auto x_log_x = elementwise([](auto x) { return where(x > 0, x * log(x), 0); });
  static const auto fourth = elementwise([](auto x) { return x * x * x * x; });
  static const auto clipped = elementwise([](auto x) { return where(x < 10, exp(x), x); });
  static const auto root = elementwise([](auto x) { return sqrt(1 + square(x)) - 1 / (2 + abs(x)); });
  static const std::vector<Unary<T>> all = {
      {"-%", [](const X& x) { return -x; }},
      {"exp(%)", [](const X& x) { return exp(x); }},
      {"expm1(%)", [](const X& x) { return expm1(x); }},
      {"exp2(%)", [](const X& x) { return exp2(x); }},
      {"log(%)", [](const X& x) { return log(x); }},
      {"log2(%)", [](const X& x) { return log2(x); }},
      {"log10(%)", [](const X& x) { return log10(x); }},
      {"log1p(%)", [](const X& x) { return log1p(x); }},
      {"tanh(%)", [](const X& x) { return tanh(x); }},
      {"sigmoid(%)", [](const X& x) { return sigmoid(x); }},
      {"softplus(%)", [](const X& x) { return softplus(x); }},
      {"softsign(%)", [](const X& x) { return softsign(x); }, {0}},
      {"relu(%)", [](const X& x) { return relu(x); }, {0}},
      {"leaky_relu(%)", [](const X& x) { return leaky_relu(x, 0.01); }, {0}},
      {"abs(%)", [](const X& x) { return abs(x); }, {0}},
      {"sign(%)", [](const X& x) { return sign(x); }, {0}},
      {"floor(%)", [](const X& x) { return floor(x); }, {}, 0},
      {"ceil(%)", [](const X& x) { return ceil(x); }, {}, 0},
      {"round(%)", [](const X& x) { return round(x); }, {}, 0.5},
      {"sqrt(%)", [](const X& x) { return sqrt(x); }},
      {"cbrt(%)", [](const X& x) { return cbrt(x); }},
      {"square(%)", [](const X& x) { return square(x); }},
      {"reciprocal(%)", [](const X& x) { return reciprocal(x); }},
      {"sin(%)", [](const X& x) { return sin(x); }},
      {"cos(%)", [](const X& x) { return cos(x); }},
      {"tan(%)", [](const X& x) { return tan(x); }},
      {"asin(%)", [](const X& x) { return asin(x); }},
      {"acos(%)", [](const X& x) { return acos(x); }},
      {"atan(%)", [](const X& x) { return atan(x); }},
      {"sinh(%)", [](const X& x) { return sinh(x); }},
      {"cosh(%)", [](const X& x) { return cosh(x); }},
      {"erf(%)", [](const X& x) { return erf(x); }},
      {"erfc(%)", [](const X& x) { return erfc(x); }},
      {"pow(%, -2)", [](const X& x) { return pow(x, -2); }},
      {"pow(%, -0.5)", [](const X& x) { return pow(x, -0.5); }},
      {"pow(%, 0)", [](const X& x) { return pow(x, 0); }},
      {"pow(%, 0.5)", [](const X& x) { return pow(x, 0.5); }},
      {"pow(%, 1)", [](const X& x) { return pow(x, 1); }},
      {"pow(%, 2)", [](const X& x) { return pow(x, 2); }},
      {"pow(%, 2.5)", [](const X& x) { return pow(x, 2.5); }},
      {"pow(%, 3)", [](const X& x) { return pow(x, 3); }},
      {"log_sigmoid(%)", [](const X& x) { return log_sigmoid(x); }},
      {"silu(%)", [](const X& x) { return silu(x); }},
      {"gelu(%)", [](const X& x) { return gelu(x); }},
      {"gelu_tanh(%)", [](const X& x) { return gelu_tanh(x); }},
      {"elu(%)", [](const X& x) { return elu(x); }, {0}},
      {"selu(%)", [](const X& x) { return selu(x); }, {0}},
      {"mish(%)", [](const X& x) { return mish(x); }},
      {"relu6(%)", [](const X& x) { return relu6(x); }, {0, 6}},
      {"hard_sigmoid(%)", [](const X& x) { return hard_sigmoid(x); }, {-3, 3}},
      {"hard_swish(%)", [](const X& x) { return hard_swish(x); }, {-3, 3}},
      {"hard_tanh(%)", [](const X& x) { return hard_tanh(x); }, {-1, 1}},
      {"elementwise(x / (1 + exp(-x)))(%)", [](const X& x) { return swish(x); }},
      {"elementwise(log(1 + exp(x)))(%)", [](const X& x) { return softplus_by_hand(x); }},
      {"elementwise(where(x > 0, x * log(x), 0))(%)", [](const X& x) { return x_log_x(x); }, {0}},
      {"elementwise(x * x * x * x)(%)", [](const X& x) { return fourth(x); }},
      {"elementwise(where(x < 10, exp(x), x))(%)", [](const X& x) { return clipped(x); }, {10}},
      {"elementwise(sqrt(1 + square(x)) - 1 / (2 + abs(x)))(%)", [](const X& x) { return root(x); }, {0}},
  };
  return all;
}

template <Real T>
const std::vector<Binary<T>>& binary_functions() {
  using X = Tensor<T>;
  static const auto beta_swish = elementwise([](auto x, auto beta) { return x * sigmoid(beta * x); });
  static const auto huber =
      elementwise([](auto a, auto y) { return where(abs(a - y) < 1, square(a - y) / 2, abs(a - y) - 0.5); });
  static const auto guarded = elementwise([](auto a, auto b) { return where(b == 0, a, a / b); });
  static const std::vector<Binary<T>> all = {
      {"% + %", [](const X& a, const X& b) { return a + b; }},
      {"% - %", [](const X& a, const X& b) { return a - b; }},
      {"% * %", [](const X& a, const X& b) { return a * b; }},
      {"% / %", [](const X& a, const X& b) { return a / b; }},
      {"maximum(%, %)", [](const X& a, const X& b) { return maximum(a, b); }, true},
      {"minimum(%, %)", [](const X& a, const X& b) { return minimum(a, b); }, true},
      {"mul0(%, %)", [](const X& a, const X& b) { return mul0(a, b); }},
      {"xlogy(%, %)", [](const X& a, const X& b) { return xlogy(a, b); }},
      {"elementwise(x * sigmoid(beta * x))(%, %)", [](const X& a, const X& b) { return beta_swish(a, b); }},
      {"elementwise(huber)(%, %)", [](const X& a, const X& b) { return huber(a, b); }, true},
      {"elementwise(where(b == 0, a, a / b))(%, %)", [](const X& a, const X& b) { return guarded(a, b); }, true},
  };
  return all;
}

/// The smallest distance between two elements.
template <Real T>
double closest(const Tensor<T>& x) {
  double distance = infinity;
  for (std::int64_t i = 0; i < x.size(); ++i) {
    for (std::int64_t j = 0; j < i; ++j) {
      distance = std::min(distance, std::abs(static_cast<double>(x.data()[i]) - x.data()[j]));
    }
  }
  return distance;
}

template <Real T>
class Builder {
 public:
  static constexpr std::int64_t most_elements = 8;
  static constexpr T huge = std::is_same_v<T, float> ? T(1e30) : T(1e200);

  Builder(std::uint64_t seed, std::uint64_t index) : rng_(seed, index) {}

  /// With `tame` the numbers are ordinary ones, so that most derivatives are finite.
  Program<T> build() {
    for (;;) {
      tame_ = rng_.below(5) < 2;
      program_ = {};
      values_.clear();
      depends_.clear();
      program_.rowwise = rng_.below(4) == 0;
      static const std::vector<Shape> shapes = {{}, {1}, {3}, {4}, {5}, {2, 2}, {2, 3}, {3, 2}, {1, 3}, {2, 1, 2}};
      static const std::vector<Shape> batches = {{2, 2}, {2, 3}, {3, 2}, {2, 1}};
      program_.x = numbers(any(program_.rowwise ? batches : shapes));
      add({"x", {}, Kind::input, {}, {}}, program_.x);
      const std::int64_t operations = 1 + rng_.below(9);
      for (std::int64_t done = 0, tries = 0; done < operations && tries < 100; ++tries) {
        try {
          if (operation()) ++done;
        } catch (const ShapeError&) {
          // These operands do not fit this operation.
        }
      }
      if (depends_.back() && program_.nodes.size() > 1) return pruned(program_, program_.nodes.size() - 1);
    }
  }

 private:
  using X = Tensor<T>;

  template <class Container>
  const auto& any(const Container& c) {
    return c[static_cast<std::size_t>(rng_.below(static_cast<std::int64_t>(c.size())))];
  }
  bool chance(int percent) { return rng_.below(100) < percent; }

  T number() {
    if (!tame_) {
      switch (rng_.below(25)) {
        case 0:
        case 1:
          return T{0};
        case 2:
          return T{-0.0};
        case 3:
        case 4:
          return static_cast<T>(rng_.below(4) - 2);
        case 5:
          return huge;
        case 6:
          return -huge;
        case 7:
          return 1 / huge;
        case 8:
          return std::numeric_limits<T>::infinity();
        case 9:
          return chance(40) ? std::numeric_limits<T>::quiet_NaN() : -std::numeric_limits<T>::infinity();
        default:
          break;
      }
    }
    return static_cast<T>(chance(50) ? 0.2 + 2 * rng_.uniform() : 4 * rng_.uniform() - 2);
  }
  X numbers(const Shape& shape) {
    X x = zeros<T>(shape);
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const bool tie = i > 0 && !tame_ && chance(15);
      x.mutable_data()[i] = tie ? x.data()[rng_.below(i)] : number();
    }
    return x;
  }

  void add(Node<T> node, const X& value) {
    bool depends = node.kind == Kind::input;
    for (std::size_t k : node.operands) depends = depends || depends_[k];
    program_.nodes.push_back(std::move(node));
    values_.push_back(value);
    depends_.push_back(depends);
  }
  /// A value computed so far, preferably a late one that depends on the input.
  std::size_t value() {
    const auto n = static_cast<std::int64_t>(values_.size());
    std::size_t i = 0;
    for (int tries = 0; tries < 5; ++tries) {
      i = static_cast<std::size_t>(n - 1 - std::min(rng_.below(n), rng_.below(n)));
      if (depends_[i]) break;
    }
    return i;
  }
  std::size_t constant(const X& x) {
    add(constant_node(x), x);
    return values_.size() - 1;
  }
  /// A second operand beside `a`: another value, or a constant that broadcasts.
  std::size_t beside(std::size_t a) {
    if (chance(60)) return value();
    const Shape shape = values_[a].shape();
    const Shape last = shape.rank() > 0 ? shape.suffix(shape.rank() - 1) : shape;
    return constant(numbers(chance(40) ? Shape{} : chance(50) ? shape : last));
  }
  int axis_of(const Shape& shape) {
    if (program_.rowwise || shape.rank() == 0) return -1;
    return static_cast<int>(rng_.below(2 * shape.rank())) - static_cast<int>(shape.rank());
  }

  using Apply = std::function<X(Values<T>)>;
  using Corner = std::function<double(Values<T>)>;
  /// Adds the operation unless its value is too large or, in most cases, of no interest.
  bool put(const std::string& text, std::vector<std::size_t> operands, Kind kind, Apply apply, Corner corner = {}) {
    std::vector<X> at;
    for (std::size_t k : operands) at.push_back(values_[k]);
    const X y = apply(at);
    if (y.size() > most_elements || y.size() == 0 || y.rank() > 4) return false;
    if (program_.rowwise && (y.rank() != 2 || y.shape()[0] != program_.x.shape()[0])) return false;
    bool finite = false;
    for (T v : y.elements_view()) finite = finite || std::isfinite(v);
    if (!finite && chance(tame_ ? 95 : 70)) return false;
    add({text, std::move(operands), kind, std::move(apply), std::move(corner)}, y);
    return true;
  }

  bool operation() {
    const std::int64_t kind = rng_.below(100);
    if (kind < 30) return unary();
    if (kind < 34) return by_number();
    if (kind < 58) return binary();
    if (kind < 65) return choice();
    if (kind < 77) return reduction();
    if (kind < 84) return matrices();
    if (kind < 98) return places();
    return own();
  }

  bool unary() {
    const Unary<T>& function = any(unary_functions<T>());
    const auto corner = [&function](Values<T> v) {
      double distance = infinity;
      for (const T x : v[0].elements_view()) {
        for (double c : function.corners) distance = std::min(distance, std::abs(x - c));
        if (function.steps_from == infinity) continue;
        const double from = x - function.steps_from;
        distance = std::min(distance, std::abs(from - std::round(from)));
      }
      return distance;
    };
    return put(
        function.name, {value()}, Kind::elementwise, [f = function.f](Values<T> v) { return f(v[0]); }, corner);
  }

  bool by_number() {
    const T c = number();
    std::ostringstream text;
    text.precision(std::numeric_limits<T>::max_digits10);
    text << c;
    const std::string n = text.str();
    const auto near = [c](Values<T> v) { return std::abs(closest(concatenate({reshape(v[0], {-1}), X{c}}))); };
    const double d = static_cast<double>(c);
    switch (rng_.below(7)) {
      case 0:
        return put("% + " + n, {value()}, Kind::elementwise, [d](Values<T> v) { return v[0] + d; });
      case 1:
        return put(n + " - %", {value()}, Kind::elementwise, [d](Values<T> v) { return d - v[0]; });
      case 2:
        return put("% * " + n, {value()}, Kind::elementwise, [d](Values<T> v) { return v[0] * d; });
      case 3:
        return put("% / " + n, {value()}, Kind::elementwise, [d](Values<T> v) { return v[0] / d; });
      case 4:
        return put(n + " / %", {value()}, Kind::elementwise, [d](Values<T> v) { return d / v[0]; });
      case 5:
        return put(
            "maximum(%, " + n + ")", {value()}, Kind::elementwise, [d](Values<T> v) { return maximum(v[0], d); }, near);
      default:
        return put(
            "where(% < 10, exp(%), %)", repeated(value(), 3), Kind::elementwise,
            [](Values<T> v) { return where(v[0] < 10, exp(v[1]), v[2]); },
            [](Values<T> v) {
              return closest(concatenate({reshape(v[0], {-1}), X{10}}));
            });
    }
  }

  static std::vector<std::size_t> repeated(std::size_t i, std::size_t n) { return std::vector<std::size_t>(n, i); }

  bool binary() {
    const bool plain = chance(60);
    const auto& all = binary_functions<T>();
    const Binary<T>& function = plain ? all[static_cast<std::size_t>(rng_.below(4))] : any(all);
    std::size_t a = value(), b = beside(a);
    if (chance(50)) std::swap(a, b);
    Corner corner;
    if (function.corner) {
      corner = [](Values<T> v) {
        const X distance = abs(v[0] - v[1]);
        return std::min<double>({min(distance).item(), min(abs(distance - 1)).item(), min(abs(v[1])).item()});
      };
    }
    return put(
        function.text, {a, b}, Kind::elementwise, [f = function.f](Values<T> v) { return f(v[0], v[1]); }, corner);
  }

  bool choice() {
    const std::size_t a = value(), b = beside(a);
    if (chance(40)) {
      X bits = zeros<T>(values_[a].shape());
      for (std::int64_t i = 0; i < bits.size(); ++i) bits.mutable_data()[i] = static_cast<T>(rng_.below(2));
      const Tensor<bool> mask = bits > 0.5;
      std::ostringstream text;
      text << "where(" << to_string(mask.shape()) << ' ' << mask << ", %, %)";
      return put(text.str(), {a, b}, Kind::elementwise, [mask](Values<T> v) { return where(mask, v[0], v[1]); });
    }
    const std::size_t c = value(), d = beside(c);
    return put(
        "where(% > %, %, %)", {c, d, a, b}, Kind::elementwise,
        [](Values<T> v) { return where(v[0] > v[1], v[2], v[3]); },
        [](Values<T> v) { return static_cast<double>(min(abs(v[0] - v[1])).item()); });
  }

  bool reduction() {
    const std::size_t a = value();
    const Shape shape = values_[a].shape();
    const int axis = axis_of(shape);
    const std::string of_axis = "(%, " + std::to_string(axis);
    const std::int64_t which = rng_.below(10);
    const auto corner = [](Values<T> v) { return closest(v[0]); };
    if (which >= 5 && shape.rank() == 0) return false;
    switch (which) {
      case 5:
        return put("cumsum" + of_axis + ")", {a}, Kind::straight, [axis](Values<T> v) { return cumsum(v[0], axis); });
      case 6:
        return put("softmax" + of_axis + ")", {a}, Kind::softmax, [axis](Values<T> v) { return softmax(v[0], axis); });
      case 7:
        return put("log_softmax" + of_axis + ")", {a}, Kind::log_softmax,
                   [axis](Values<T> v) { return log_softmax(v[0], axis); });
      case 8:
        return put("logsumexp" + of_axis + ", keep_dims)", {a}, Kind::logsumexp,
                   [axis](Values<T> v) { return logsumexp(v[0], axis, keep_dims); });
      case 9:
        return put(
            "sort(%)", {a}, Kind::straight, [](Values<T> v) { return sort(v[0]); }, corner);
      default:
        break;
    }
    const bool all = shape.rank() == 0 || (!program_.rowwise && chance(30));
    const Axes axes = all ? Axes{} : Axes{axis};
    const KeepDims keep = program_.rowwise || chance(50) ? KeepDims::yes : KeepDims::no;
    const std::string text = (all ? std::string("(%, {}") : of_axis) + (keep == KeepDims::yes ? ", keep_dims)" : ")");
    if (which == 1) return put("prod" + text, {a}, Kind::curved, [=](Values<T> v) { return prod(v[0], axes, keep); });
    if (which == 0) return put("sum" + text, {a}, Kind::straight, [=](Values<T> v) { return sum(v[0], axes, keep); });
    if (which == 2) return put("mean" + text, {a}, Kind::straight, [=](Values<T> v) { return mean(v[0], axes, keep); });
    if (which == 3)
      return put(
          "max" + text, {a}, Kind::straight, [=](Values<T> v) { return max(v[0], axes, keep); }, corner);
    return put(
        "min" + text, {a}, Kind::straight, [=](Values<T> v) { return min(v[0], axes, keep); }, corner);
  }

  bool matrices() {
    const std::size_t a = value();
    const Shape shape = values_[a].shape();
    if (shape.rank() == 0) return false;
    const auto product = [](Values<T> v) { return matmul(v[0], v[1]); };
    if (program_.rowwise || chance(40))
      return put("matmul(%, %)", {a, constant(numbers({shape.back(), 1 + rng_.below(3)}))}, Kind::curved, product);
    if (shape.rank() > 1 && chance(30)) {
      return put("matmul(%, matrix_transpose(%))", {a, a}, Kind::curved,
                 [](Values<T> v) { return matmul(v[0], matrix_transpose(v[1])); });
    }
    if (chance(30)) {
      const std::int64_t inner = shape.rank() > 1 ? shape.from_end(2) : shape.back();
      return put("matmul(%, %)", {constant(numbers({1 + rng_.below(3), inner})), a}, Kind::curved, product);
    }
    return put("matmul(%, %)", {a, value()}, Kind::curved, product);
  }

  bool places() {
    const std::size_t a = value();
    const Shape shape = values_[a].shape();
    const int axis = axis_of(shape);
    const std::size_t own =
        shape.rank() == 0 ? 0 : static_cast<std::size_t>(axis < 0 ? axis + static_cast<int>(shape.rank()) : axis);
    const auto of = [](auto... numbers) {
      std::ostringstream text;
      ((text << ", " << numbers), ...);
      return text.str() + ")";
    };
    if (shape.rank() == 0) {
      const Shape to = any(std::vector<Shape>{{1}, {1, 1}, {3}, {2, 2}});
      if (to.count() == 1)
        return put("reshape(%, " + to_string(to) + ")", {a}, Kind::straight,
                   [to](Values<T> v) { return reshape(v[0], to); });
      return put("broadcast_to(%, " + to_string(to) + ")", {a}, Kind::straight,
                 [to](Values<T> v) { return broadcast_to(v[0], to); });
    }
    const std::int64_t n = shape[own];
    switch (rng_.below(program_.rowwise ? 4 : 10)) {
      case 0: {
        const std::int64_t start = rng_.below(n), stop = start + 1 + rng_.below(n), step = 1 + rng_.below(2);
        return put("slice(%" + of(axis, start, stop, step), {a}, Kind::straight,
                   [=](Values<T> v) { return slice(v[0], axis, start, stop, step); });
      }
      case 1: {
        std::vector<std::int64_t> indices(static_cast<std::size_t>(1 + rng_.below(3)));
        for (std::int64_t& i : indices) i = rng_.below(2 * n) - n;
        const Tensor<std::int64_t> at({static_cast<std::int64_t>(indices.size())}, indices);
        return put("take(%" + of(at, axis), {a}, Kind::straight, [=](Values<T> v) { return take(v[0], at, axis); });
      }
      case 2: {
        const std::size_t b = chance(50) ? a : beside(a);
        return put("concatenate({%, %}" + of(axis), {a, b}, Kind::straight, [axis](Values<T> v) {
          return concatenate({v[0], v[1]}, axis);
        });
      }
      case 3: {
        Shape rows = shape;
        rows[rows.rank() - 1] = 1 + rng_.below(3);
        Tensor<std::int64_t> at = zeros<std::int64_t>(rows);
        for (std::int64_t i = 0; i < at.size(); ++i) at.mutable_data()[i] = rng_.below(shape.back());
        return put("take_along(%" + of(at), {a}, Kind::straight, [at](Values<T> v) { return take_along(v[0], at); });
      }
      case 4: {
        const std::int64_t i = rng_.below(2 * shape[0]) - shape[0];
        return put("%[" + std::to_string(i) + "]", {a}, Kind::straight, [i](Values<T> v) { return v[0][i]; });
      }
      case 5: {
        if (shape.rank() < 2) return false;
        return put("matrix_transpose(%)", {a}, Kind::straight, [](Values<T> v) { return matrix_transpose(v[0]); });
      }
      case 6: {
        if (shape.rank() != 3) return false;
        return put("transpose(%, {2, 0, 1})", {a}, Kind::straight, [](Values<T> v) {
          return transpose(v[0], {2, 0, 1});
        });
      }
      case 7: {
        const std::int64_t count = shape.count(), front = 1 + rng_.below(count);
        if (count % front != 0) return false;
        const Shape to = chance(40) ? Shape{count} : Shape{front, count / front};
        return put("reshape(%, " + to_string(to) + ")", {a}, Kind::straight,
                   [to](Values<T> v) { return reshape(v[0], to); });
      }
      case 8: {
        Shape to = shape;
        if (to[0] == 1)
          to[0] = 2;
        else
          to = Shape{2}.concat(shape);
        return put("broadcast_to(%, " + to_string(to) + ")", {a}, Kind::straight,
                   [to](Values<T> v) { return broadcast_to(v[0], to); });
      }
      default:
        return put(
            "stop_gradient(%)", {a}, Kind::straight, [](Values<T> v) { return stop_gradient(v[0]); },
            [](Values<T>) { return 0.0; });
    }
  }

  bool own() {
    static const auto cube =
        custom<T>({.name = "cube",
                   .value = [](auto x) { return x[0] * x[0] * x[0]; },
                   .pullback = [](std::size_t, auto& g, auto&, auto x) { return mul0(g, 3 * square(x[0])); },
                   .pushforward = [](std::size_t, auto& v, auto&, auto x) { return mul0(v, 3 * square(x[0])); },
                   .batched = true,
                   .separate_rows = true});
    static const auto product =
        custom<T>({.name = "product",
                   .value = [](auto x) { return x[0] * x[1]; },
                   .pullback = [](std::size_t k, auto& g, auto&, auto x) { return mul0(g, x[1 - k]); },
                   .pushforward = [](std::size_t k, auto& v, auto&, auto x) { return mul0(v, x[1 - k]); },
                   .separate_rows = true});
    const std::size_t a = value();
    if (chance(50)) return put("custom cube(%)", {a}, Kind::elementwise, [](Values<T> v) { return cube(v[0]); });
    const std::size_t b = value();
    if (values_[a].shape() != values_[b].shape()) return false;
    return put("custom product(%, %)", {a, b}, Kind::elementwise, [](Values<T> v) { return product(v[0], v[1]); });
  }

  random::Generator rng_;
  Program<T> program_;
  std::vector<X> values_;
  std::vector<bool> depends_;
  bool tame_ = false;
};

}  // namespace random_programs
