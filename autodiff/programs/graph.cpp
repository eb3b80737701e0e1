#include "graph.hpp"

#include "simplify.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tapegrad {
namespace detail {
namespace {

// Computes one element with the operation's own kernel.
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

const Node* Graph::node_behind(const Scalar& x) const {
  const bool own = !is_constant(x) && ScalarAccess::graph(x).get() == this;
  return own ? &nodes_[static_cast<std::size_t>(ScalarAccess::node(x))] : nullptr;
}

Scalar Graph::operand_behind(const Scalar& x, std::size_t k) {
  const int operand = node_behind(x)->in[k];
  const Node& node = nodes_[static_cast<std::size_t>(operand)];
  return node.kind == Node::Kind::constant ? Scalar(node.p) : scalar(operand);
}

Scalar Graph::apply(const Operation& o, std::span<const Scalar> x, double p) {
  const Scalar &a = x[0], &b = x[x.size() > 1 ? 1 : 0];
  for (const Rewrite& rewrite : rewrites()) {
    if (rewrite.operation != &o) continue;
    if (const std::optional<Scalar> simpler = rewrite.result({*this, o, a, b, p})) return *simpler;
  }

  Node node{.operation = &o, .p = p};
  for (std::size_t k = 0; k < x.size(); ++k) node.in[k] = node_of(x[k]);
  if (is<ops::Add>(o) || is<ops::Multiply>(o) || is<ops::Mul0>(o)) {
    // Constants come second; other operands stand in the order in which they were created.
    const bool constant_first = is_constant(a), constant_second = is_constant(b);
    if (constant_first || (!constant_second && node.in[0] > node.in[1])) std::swap(node.in[0], node.in[1]);
  }
  return scalar(add(node));
}

// From the last node to the first, so that a node is known to be needed before its operands are visited.
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
