#include "graph.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tapegrad {
namespace detail {
namespace {

bool is_constant(const Scalar& x) { return !ScalarAccess::graph(x); }
double constant_of(const Scalar& x) { return ScalarAccess::constant(x); }
bool is_constant(const Scalar& x, double value) {
  return is_constant(x) && std::bit_cast<std::uint64_t>(constant_of(x)) == std::bit_cast<std::uint64_t>(value);
}

// One element through the operation's own kernel.
double fold(const Operation& operation, std::span<const Scalar> x, double p) {
  constexpr std::size_t padded = 1 + kernels::padding / sizeof(double);
  double in[max_arity][padded] = {}, out[padded];
  kernels::Source<double> sources[max_arity];
  for (std::size_t k = 0; k < operation.arity; ++k) {
    in[k][0] = constant_of(x[k]);
    sources[k] = {in[k], 0, true};
  }
  operation.kernel_f64(kernels::plain<double>())(1, 1, sources, p, out);
  return out[0];
}

std::shared_ptr<Graph> graph_of(std::span<const Scalar> x) {
  for (const Scalar& number : x) {
    if (!is_constant(number)) return ScalarAccess::graph(number);
  }
  return nullptr;
}

template <class Op>
Scalar write(std::initializer_list<Scalar> x, double p = 0) {
  return apply(operation<Op>, std::span(x.begin(), x.size()), p);
}

bool is_whole_power_of_two(double c) {
  int exponent;
  return std::isnormal(c) && std::abs(std::frexp(c, &exponent)) == 0.5 && std::abs(exponent) < 120;
}

}  // namespace

int Graph::add(const Node& node) {
  const Key key(node.kind, node.operation, node.in, std::bit_cast<std::uint64_t>(node.p));
  const auto [place, fresh] = known_.try_emplace(key, static_cast<int>(nodes_.size()));
  if (fresh) nodes_.push_back(node);
  return place->second;
}

int Graph::node_of(const Scalar& x) {
  if (is_constant(x)) return add({.kind = Node::Kind::constant, .p = constant_of(x)});
  if (ScalarAccess::graph(x).get() != this) {
    throw ValueError(
        "elementwise: a symbolic number of one function is used in another. It means nothing outside of the "
        "lambda that it was given to");
  }
  return ScalarAccess::node(x);
}

// What is written down differs from what was asked for by identities that hold to the last bit for every number, NaN
// and the signs of zeros included, and by those that elementwise.hpp names.
Scalar Graph::apply(const Operation& o, std::span<const Scalar> x, double p) {
  // Operand k of x, where x is an Op.
  auto inside = [&](const Scalar& number, std::size_t k) -> Scalar {
    const int node = nodes_[static_cast<std::size_t>(ScalarAccess::node(number))].in[k];
    const Node& inner = nodes_[static_cast<std::size_t>(node)];
    return inner.kind == Node::Kind::constant ? Scalar(inner.p) : scalar(node);
  };
  auto made_by = [&]<class Op>(const Scalar& number, const Op*) {
    return !is_constant(number) && ScalarAccess::graph(number).get() == this &&
           is<Op>(nodes_[static_cast<std::size_t>(ScalarAccess::node(number))]);
  };
  constexpr const ops::Negate* negate = nullptr;
  constexpr const ops::Multiply* multiply = nullptr;

  const Scalar& a = x[0];
  const Scalar& b = x[x.size() > 1 ? 1 : 0];
  if (is<ops::Negate>(o)) {
    if (made_by(a, negate)) return inside(a, 0);
    if (made_by(a, multiply) && is_constant(inside(a, 1))) return inside(a, 0) * -inside(a, 1);
  } else if (is<ops::Add>(o)) {
    if (made_by(b, negate)) return a - inside(b, 0);
    if (made_by(a, negate)) return b - inside(a, 0);
  } else if (is<ops::Subtract>(o)) {
    if (made_by(b, negate)) return a + inside(b, 0);
    if (is_constant(b, 0)) return a;
  } else if (is<ops::Multiply>(o) || is<ops::Mul0>(o)) {
    const bool strong = is<ops::Mul0>(o);
    const auto times = [strong](const Scalar& x, const Scalar& y) { return strong ? mul0(x, y) : x * y; };
    if (is_constant(a)) return times(b, a);
    if (strong && is_constant(b, 0)) return 0;
    if (strong && is_constant(b) && std::isfinite(constant_of(b))) return a * b;
    if (is_constant(b, 1)) return a;
    if (is_constant(b, -1)) return -a;
    if (made_by(a, negate)) return is_constant(b) ? times(inside(a, 0), -b) : -times(inside(a, 0), b);
    if (made_by(b, negate)) return -times(a, inside(b, 0));
    if (is_constant(b) && made_by(a, multiply) && is_constant(inside(a, 1))) {
      const double product = constant_of(inside(a, 1)) * constant_of(b);
      if (std::isnormal(product)) return inside(a, 0) * product;
    }
  } else if (is<ops::Divide>(o)) {
    if (is_constant(b) && is_whole_power_of_two(constant_of(b))) return a * (1 / constant_of(b));
    if (made_by(b, static_cast<const ops::Add*>(nullptr))) {
      const Scalar first = inside(b, 0), second = inside(b, 1);
      if (is_constant(second, 1) && made_by(first, static_cast<const ops::Exp*>(nullptr))) {
        return a * sigmoid(-inside(first, 0));
      }
    }
    if (made_by(a, negate)) return -(inside(a, 0) / b);
    if (made_by(b, negate)) return -(a / inside(b, 0));
  } else if (is<ops::Log>(o)) {
    if (made_by(a, static_cast<const ops::Add*>(nullptr)) && is_constant(inside(a, 1), 1)) return log1p(inside(a, 0));
  } else if (is<ops::Log1p>(o)) {
    if (made_by(a, static_cast<const ops::Exp*>(nullptr))) return softplus(inside(a, 0));
  } else if (is<ops::Tanh>(o)) {
    if (made_by(a, static_cast<const ops::Softplus*>(nullptr))) return unary<ops::TanhSoftplus>(inside(a, 0), {});
  } else if (is<ops::Square>(o)) {
    return a * a;
  } else if (is<ops::Reciprocal>(o)) {
    return 1 / a;
  } else if (is<ops::Pow>(o)) {
    if (p == 1) return a;
    if (p == 2) return a * a;
    if (p == 3) return a * (a * a);
    if (p == 4) return square(a * a);
    if (p == -1) return 1 / a;
  }

  Node node{.operation = &o, .p = p};
  for (std::size_t k = 0; k < x.size(); ++k) node.in[k] = node_of(x[k]);
  if (is<ops::Add>(o) || is<ops::Multiply>(o) || is<ops::Mul0>(o)) {
    // Constants second, else in the order that they were made.
    const bool constant_first = is_constant(a), constant_second = is_constant(b);
    if (constant_first || (!constant_second && node.in[0] > node.in[1])) std::swap(node.in[0], node.in[1]);
  }
  return scalar(add(node));
}

// The last use of a node first: what is needed is known before what it needs.
Formula Graph::formula(std::span<const Scalar> results) {
  std::vector<int> roots;
  for (const Scalar& result : results) roots.push_back(node_of(result));
  std::vector<int> number(nodes_.size(), no_node);
  for (int root : roots) number[static_cast<std::size_t>(root)] = 0;
  for (std::size_t i = nodes_.size(); i-- > 0;) {
    if (number[i] == no_node || nodes_[i].kind != Node::Kind::operation) continue;
    for (std::size_t k = 0; k < nodes_[i].operation->arity; ++k) number[static_cast<std::size_t>(nodes_[i].in[k])] = 0;
  }
  Formula formula;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (number[i] == no_node) continue;
    number[i] = static_cast<int>(formula.nodes.size());
    Node& node = formula.nodes.emplace_back(nodes_[i]);
    for (int& operand : node.in) {
      if (operand != no_node) operand = number[static_cast<std::size_t>(operand)];
    }
  }
  for (int root : roots) formula.results.push_back(number[static_cast<std::size_t>(root)]);
  return formula;
}

Scalar apply(const Operation& operation, std::span<const Scalar> x, double p) {
  if (const auto graph = graph_of(x)) return graph->apply(operation, x, p);
  return fold(operation, x, p);
}

template <class Op>
Scalar unary(const Scalar& x, const Caller&, double p) {
  return write<Op>({x}, p);
}
template <class Op>
Scalar binary(const Scalar& a, const Scalar& b) {
  return write<Op>({a, b});
}

namespace {

template <class... Op>
constexpr auto unary_functions(const std::tuple<Op...>*) {
  return std::array{static_cast<Scalar (*)(const Scalar&, const Caller&, double)>(&unary<Op>)...};
}
template <class... Op>
constexpr auto binary_functions(const std::tuple<Op...>*) {
  return std::array{static_cast<Scalar (*)(const Scalar&, const Scalar&)>(&binary<Op>)...};
}
// Makes the two functions above for every block of the lists.
[[gnu::used]] constexpr std::tuple functions(unary_functions(static_cast<const ops::Unary*>(nullptr)),
                                             binary_functions(static_cast<const ops::Binary*>(nullptr)),
                                             binary_functions(static_cast<const ops::Comparisons*>(nullptr)));

}  // namespace
}  // namespace detail

Scalar where(const ScalarMask& condition, const Scalar& a, const Scalar& b) {
  const Scalar& one_or_zero = detail::ScalarAccess::number(condition);
  if (detail::is_constant(one_or_zero)) return detail::constant_of(one_or_zero) != 0 ? a : b;
  return detail::write<ops::Select>({one_or_zero, a, b});
}

}  // namespace tapegrad
