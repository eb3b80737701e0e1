#include "program.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "elementwise.hpp"
#include "ops/common.hpp"

namespace tapegrad {

// Names of the elementwise text that are spelled differently for symbolic numbers.
static Scalar power(const Scalar& x, double p) { return pow(x, p); }

namespace detail {
namespace {

using Tangent = std::optional<Scalar>;

template <class Op>
Tangent unary_tangent(std::span<const Tangent> dx, std::span<const Scalar> x, const Scalar& y, double p) {
  const Scalar& v = *dx[0];
  if constexpr (Passes<Op>) {
    if (Op::passes[0] == 0) return {};
    return Op::passes[0] > 0 ? v : -v;
  } else if constexpr (requires { Op::product(v, x[0], y, p); }) {
    return Op::product(v, x[0], y, p);
  } else {
    return Op::product(v, x[0], y);
  }
}

template <class Op>
Tangent binary_tangent(std::span<const Tangent> dx, std::span<const Scalar> x, const Scalar& y, double) {
  auto term = [&](std::size_t k) -> Tangent {
    if (!dx[k]) return {};
    const Scalar& v = *dx[k];
    if constexpr (Passes<Op>) {
      if (Op::passes[k] == 0) return {};
      return Op::passes[k] > 0 ? v : -v;
    } else {
      return k == 0 ? Op::product_a(v, x[0], x[1], y) : Op::product_b(v, x[0], x[1], y);
    }
  };
  const Tangent a = term(0), b = term(1);
  if (!a || !b) return a ? a : b;
  return *a + *b;
}

// The branch not taken has no part in the sum, so nothing of it comes through, be it infinite or NaN.
Tangent select_tangent(std::span<const Tangent> dx, std::span<const Scalar> x, const Scalar&, double) {
  if (!dx[1] && !dx[2]) return {};
  return select(ScalarAccess::mask(x[0]), dx[1].value_or(0), dx[2].value_or(0));
}

template <class Op>
constexpr Operation operation = [] {
  if constexpr (is_in<Op, ops::Unary>) {
    constexpr std::size_t i = index_in<Op, ops::Unary>;
    return Operation{1, [](const kernels::Kernels<float>& k) { return k.unary[i].value; },
                     [](const kernels::Kernels<double>& k) { return k.unary[i].value; }, unary_tangent<Op>};
  } else if constexpr (is_in<Op, ops::Binary>) {
    constexpr std::size_t i = index_in<Op, ops::Binary>;
    return Operation{2, [](const kernels::Kernels<float>& k) { return k.binary[i].value; },
                     [](const kernels::Kernels<double>& k) { return k.binary[i].value; }, binary_tangent<Op>};
  } else if constexpr (is_in<Op, ops::Comparisons>) {
    constexpr std::size_t i = index_in<Op, ops::Comparisons>;
    return Operation{2, [](const kernels::Kernels<float>& k) { return k.comparisons[i]; },
                     [](const kernels::Kernels<double>& k) { return k.comparisons[i]; }, binary_tangent<Op>};
  } else {
    constexpr std::size_t i = index_in<Op, ops::Ternary>;
    return Operation{3, [](const kernels::Kernels<float>& k) { return k.ternary[i]; },
                     [](const kernels::Kernels<double>& k) { return k.ternary[i]; },
                     std::is_same_v<Op, ops::Select> ? select_tangent : nullptr};
  }
}();

template <class Op>
bool is(const Operation& o) {
  return &o == &operation<Op>;
}
template <class Op>
bool is(const Node& node) {
  return node.operation == &operation<Op>;
}

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
  operation.kernel_f64(kernels::kernels<double>())(1, 1, sources, p, out);
  return out[0];
}

std::shared_ptr<Graph> graph_of(std::span<const Scalar> x) {
  for (const Scalar& number : x) {
    if (!is_constant(number)) return ScalarAccess::graph(number);
  }
  return nullptr;
}

Scalar apply(const Operation& operation, std::span<const Scalar> x, double p) {
  if (const auto graph = graph_of(x)) return graph->apply(operation, x, p);
  return fold(operation, x, p);
}
template <class Op>
Scalar apply(std::initializer_list<Scalar> x, double p = 0) {
  return apply(operation<Op>, std::span(x.begin(), x.size()), p);
}

bool is_whole_power_of_two(double c) {
  int exponent;
  return std::isnormal(c) && std::abs(std::frexp(c, &exponent)) == 0.5 && std::abs(exponent) < 120;
}

}  // namespace

// ------------------------------------------------------------------------------------------------ the graph

int Graph::add(const Node& node) {
  const Key key(node.kind, node.operation, node.in, std::bit_cast<std::uint64_t>(node.p));
  const auto [place, fresh] = known_.try_emplace(key, static_cast<int>(nodes_.size()));
  if (fresh) nodes_.push_back(node);
  return place->second;
}

int Graph::node_of(const Scalar& x) {
  if (is_constant(x)) return add({.kind = Node::Kind::constant, .p = constant_of(x)});
  if (ScalarAccess::graph(x).get() != this) {
    throw ValueError("elementwise: a symbolic number of one function is used in another. It means nothing outside of the "
                     "lambda that it was given to");
  }
  return ScalarAccess::node(x);
}

// What is written down differs from what was asked for by identities that hold to the last bit for every number, NaN and
// the signs of zeros included, and by the two that elementwise.hpp names.
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
  guarded_ = guarded_ || is<ops::Mul0>(o);
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
  } else if (is<ops::Multiply>(o)) {
    if (is_constant(a)) return b * a;
    if (is_constant(b, 1)) return a;
    if (is_constant(b, -1)) return -a;
    if (made_by(a, negate)) return is_constant(b) ? inside(a, 0) * -b : -(inside(a, 0) * b);
    if (made_by(b, negate)) return -(a * inside(b, 0));
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
  } else if (is<ops::Mul0>(o)) {
    if (is_constant(a) && std::isfinite(constant_of(a)) && constant_of(a) != 0) return b * a;
    if (is_constant(b) && std::isfinite(constant_of(b)) && constant_of(b) != 0) return a * b;
  } else if (is<ops::Square>(o)) {
    return a * a;
  } else if (is<ops::Reciprocal>(o)) {
    return 1 / a;
  } else if (is<ops::Pow>(o)) {
    if (p == 1) return a;
    if (p == 2) return a * a;
    if (p == 3) return a * (a * a);
    if (p == 4) return square(a * a);
    if (p == -1 || p == -2 || p == -3 || p == -4) return 1 / pow(a, -p);
  }

  Node node{.operation = &o, .p = p};
  for (std::size_t k = 0; k < x.size(); ++k) node.in[k] = node_of(x[k]);
  if (is<ops::Add>(o) || is<ops::Multiply>(o)) {
    // Constants second, else in the order that they were made.
    const bool constant_first = is_constant(a), constant_second = is_constant(b);
    if (constant_first || (!constant_second && node.in[0] > node.in[1])) std::swap(node.in[0], node.in[1]);
  }
  return scalar(add(node));
}

template <class Op>
Scalar unary(const Scalar& x, const Where&, double p) {
  return apply<Op>({x}, p);
}
template <class Op>
Scalar binary(const Scalar& a, const Scalar& b) {
  return apply<Op>({a, b});
}

namespace {

template <class... Op>
constexpr auto unary_functions(const std::tuple<Op...>*) {
  return std::array{static_cast<Scalar (*)(const Scalar&, const Where&, double)>(&unary<Op>)...};
}
template <class... Op>
constexpr auto binary_functions(const std::tuple<Op...>*) {
  return std::array{static_cast<Scalar (*)(const Scalar&, const Scalar&)>(&binary<Op>)...};
}
// Makes the two functions above for every block of the lists.
[[gnu::used]] constexpr std::tuple functions(unary_functions(static_cast<const ops::Unary*>(nullptr)),
                                             binary_functions(static_cast<const ops::Binary*>(nullptr)),
                                             binary_functions(static_cast<const ops::Comparisons*>(nullptr)));

// ------------------------------------------------------------------------------------------------ lowering

// The sum, difference or product that a node is, -x as x * -1; null for anything else.
const Operation* arithmetic(const Node& node) {
  if (is<ops::Negate>(node)) return &operation<ops::Multiply>;
  return is<ops::Add>(node) || is<ops::Subtract>(node) || is<ops::Multiply>(node) ? node.operation : nullptr;
}
// Operand k of a node can be taken in by it.
bool takes_in(const Node& node, std::size_t k) {
  return arithmetic(node) != nullptr || (is<ops::Mul0>(node) && k == 1);
}

template <class Inner>
const Operation* pair_around(const Operation& outer, bool second) {
  if (is<ops::Add>(outer)) return &operation<ops::Pair<ops::Add, Inner, false>>;
  if (is<ops::Multiply>(outer)) return &operation<ops::Pair<ops::Multiply, Inner, false>>;
  if (is<ops::Mul0>(outer)) return &operation<ops::Pair<ops::Mul0, Inner, true>>;
  return second ? &operation<ops::Pair<ops::Subtract, Inner, true>> : &operation<ops::Pair<ops::Subtract, Inner, false>>;
}
const Operation& pair(const Operation& outer, const Operation& inner, bool second) {
  if (is<ops::Add>(inner)) return *pair_around<ops::Add>(outer, second);
  if (is<ops::Multiply>(inner)) return *pair_around<ops::Multiply>(outer, second);
  return *pair_around<ops::Subtract>(outer, second);
}

}  // namespace

// From nodes to steps: what is not needed is dropped, sums, differences and products join in pairs, and registers are
// handed on when read for the last time.
struct Program::Lowering {
  explicit Lowering(Program& p) : program(p), nodes(p.nodes_), uses(nodes.size()), inner(nodes.size(), no_node),
                                  last(nodes.size(), -1), slot(nodes.size(), -1),
                                  result(static_cast<int>(nodes.size()) - 1) {}

  void run() {
    count_uses();
    join_pairs();
    make_instructions();
    assign_slots();
  }

  const Node& at(int node) const { return nodes[static_cast<std::size_t>(node)]; }
  template <class E>
  static E& at(std::vector<E>& v, int i) { return v[static_cast<std::size_t>(i)]; }

  void count_uses() {
    // Operands come before what is made of them.
    at(uses, result) = 1;
    for (int i = result; i >= 0; --i) {
      if (at(uses, i) == 0 || at(i).kind != Node::Kind::operation) continue;
      for (std::size_t k = 0; k < at(i).operation->arity; ++k) ++at(uses, at(i).in[k]);
    }
  }

  void join_pairs() {
    std::vector<bool> joined(nodes.size());
    for (int i = 0; i <= result; ++i) {
      if (at(uses, i) == 0 || at(i).kind != Node::Kind::operation) continue;
      for (std::size_t k = 0; k < at(i).operation->arity; ++k) {
        const int operand = at(i).in[k];
        if (takes_in(at(i), k) && at(uses, operand) == 1 && arithmetic(at(operand)) && at(inner, operand) == no_node) {
          at(inner, i) = std::max(at(inner, i), operand);
        }
      }
      if (at(inner, i) != no_node) joined[static_cast<std::size_t>(at(inner, i))] = true;
    }
    for (int i = 0; i <= result; ++i) {
      if (joined[static_cast<std::size_t>(i)]) at(uses, i) = 0;
    }
  }

  struct Instruction {
    const Operation* operation;
    std::array<int, max_arity> in;
    double p;
    int node;
  };

  // The two operands of an arithmetic node.
  std::array<int, 2> operands_of(const Node& node) {
    return {node.in[0], is<ops::Negate>(node) ? minus_one() : node.in[1]};
  }
  int minus_one() {
    if (minus_one_ == no_node) {
      minus_one_ = static_cast<int>(nodes.size());
      nodes.push_back({.kind = Node::Kind::constant, .p = -1});
      uses.push_back(1), inner.push_back(no_node), last.push_back(-1), slot.push_back(-1);
    }
    return minus_one_;
  }

  void make_instructions() {
    for (int i = 0; i <= result; ++i) {
      const Node node = at(i);
      if (at(uses, i) == 0 || node.kind != Node::Kind::operation) continue;
      Instruction instruction{node.operation, node.in, node.p, i};
      if (const int joined = at(inner, i); joined != no_node) {
        const std::array<int, 2> outer_in = operands_of(node), in = operands_of(at(joined));
        const bool second = outer_in[1] == joined;
        instruction.operation = &pair(is<ops::Negate>(node) ? operation<ops::Multiply> : *node.operation, *arithmetic(at(joined)), second);
        instruction.in = {in[0], in[1], outer_in[second ? 0 : 1]};
      }
      instructions.push_back(instruction);
    }
    for (std::size_t s = 0; s < instructions.size(); ++s) {
      for (int operand : instructions[s].in) {
        if (operand != no_node) at(last, operand) = static_cast<int>(s);
      }
    }
  }

  void assign_slots() {
    std::vector<int> free{0};
    std::vector<std::pair<std::size_t, int>> results;  // of steps and registers
    for (std::size_t s = 0; s < instructions.size(); ++s) {
      const Instruction& instruction = instructions[s];
      for (std::size_t k = 0; k < instruction.operation->arity; ++k) {
        const int operand = instruction.in[k];
        if (at(operand).kind == Node::Kind::operation && at(last, operand) == static_cast<int>(s)) {
          free.push_back(at(slot, operand));
          at(last, operand) = -1;  // once, though it be both operands
        }
      }
      int out = 0;
      if (instruction.node != result) {
        if (free.empty()) free.push_back(program.registers_++);
        const auto lowest = std::min_element(free.begin(), free.end());
        out = *lowest;
        free.erase(lowest);
      }
      at(slot, instruction.node) = out;
    }
    program.used_.resize(program.operands_);
    for (int i = 0; i < static_cast<int>(nodes.size()); ++i) {
      if (at(uses, i) == 0 && i != minus_one_) continue;
      if (at(i).kind == Node::Kind::operand) {
        const auto k = static_cast<std::size_t>(at(i).p);
        at(slot, i) = program.registers_ + static_cast<int>(k);
        program.used_[k] = true;
      } else if (at(i).kind == Node::Kind::constant) {
        at(slot, i) = program.registers_ + static_cast<int>(program.operands_ + program.constants_f64_.size());
        program.constants_f64_.push_back(at(i).p);
        program.constants_f32_.push_back(static_cast<float>(at(i).p));
      }
    }
    program.result_slot_ = at(slot, result);
    for (const Instruction& instruction : instructions) {
      const Operation& o = *instruction.operation;
      Step step{o.kernel_f32(kernels::kernels<float>()), o.kernel_f64(kernels::kernels<double>()), instruction.p, {},
                o.arity, at(slot, instruction.node)};
      for (std::size_t k = 0; k < o.arity; ++k) step.in[k] = at(slot, instruction.in[k]);
      program.steps_.push_back(step);
    }
  }

  Program& program;
  std::vector<Node> nodes;
  std::vector<int> uses, inner, last, slot;
  const int result;
  std::vector<Instruction> instructions;
  int minus_one_ = no_node;
};

// ------------------------------------------------------------------------------------------------ running

namespace {

const Program& program_of(const Array* array) {
  return *static_cast<const Program*>(static_cast<const Object*>(array->data));
}

// `most` elements on the stack, more from the pool.
template <class E, std::size_t most>
class Few {
 public:
  explicit Few(std::size_t size) : size_(size), many_(size > most ? size : 0) {}
  E* begin() { return size_ > most ? many_.data() : few_.data(); }
  E* end() { return begin() + size_; }
  E& operator[](std::size_t i) { return begin()[i]; }

 private:
  std::size_t size_;
  std::array<E, most> few_;
  std::vector<E, PoolAllocator<E>> many_;
};
using Arrays = Few<const Array*, 8>;

Shape common_shape(Arrays& operands, const char* name, const Where& where) {
  Shape shape = operands[0]->shape;
  for (const Array* operand : operands) {
    if (operand->shape != shape) shape = broadcast(shape, operand->shape, name, where);
  }
  return shape;
}

// The product's operands are v, the output and the operands.
template <Real T>
Handle program_rule(const Call& call, std::size_t k, const Handle& v) {
  const Handle& handle = program_of(call.attributes().constant).product(k);
  const std::size_t count = 2 + call.operand_count();
  if (v.traced() || call.traced()) {
    Few<Tensor<T>, 8> operands(count);
    operands[0] = Tensor<T>(v);
    operands[1] = call.output<T>();
    for (std::size_t i = 2; i < count; ++i) operands[i] = call.operand<T>(i - 2);
    Few<const Tensor<T>*, 8> pointers(count);
    for (std::size_t i = 0; i < count; ++i) pointers[i] = &operands[i];
    return run_program<T>(handle, {pointers.begin(), count}, call.where()).handle();
  }
  const Program& program = program_of(handle.array());
  Arrays operands(count);
  operands[0] = v.array();
  operands[1] = &call.output_array();
  for (std::size_t i = 2; i < count; ++i) operands[i] = &call.operand_array(i - 2);
  Handle out(allocate_like<T>(common_shape(operands, program.name().c_str(), call.where())));
  program.run<T>({operands.begin(), count}, *out.array());
  return out;
}

// The elements of an operand as the program's result lays them out, a block at a time.
class Spread {
 public:
  Spread(const Shape& from, const Shape& to) {
    std::int64_t stride = 1;
    for (std::size_t back = 1; back <= to.rank(); ++back) {
      const std::int64_t size = to.from_end(back);
      const bool steps = back <= from.rank() && from.from_end(back) != 1;
      if (size != 1) {
        if (count_ > 0 && (groups_[count_ - 1].stride != 0) == steps) groups_[count_ - 1].size *= size;
        else groups_[count_++] = {size, steps ? stride : 0};
      }
      if (steps) stride *= size;
    }
    if (count_ == 0) groups_[count_++] = {1, 0};
  }

  /// Elements [at, at + n) of the result.
  template <class T>
  void copy(const T* from, std::int64_t at, std::int64_t n, T* to) const {
    const Group& inner = groups_[0];
    while (n > 0) {
      std::int64_t offset = 0, rest = at / inner.size;
      for (std::size_t g = 1; g < count_; ++g) {
        offset += rest % groups_[g].size * groups_[g].stride;
        rest /= groups_[g].size;
      }
      const std::int64_t begin = at % inner.size, run = std::min(n, inner.size - begin);
      if (inner.stride == 0) std::fill_n(to, run, from[offset]);
      else std::copy_n(from + offset + begin, run, to);
      at += run, to += run, n -= run;
    }
  }

 private:
  struct Group {
    std::int64_t size, stride;
  };
  std::array<Group, Shape::max_rank + 1> groups_{};  // innermost first
  std::size_t count_ = 0;
};

constexpr std::size_t cache_line = 64;

// Elements of the pool, unset, from the beginning of a cache line: vectors across two of them take twice as long.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::size_t size)
      : bytes_(size * sizeof(T) + cache_line), block_(size ? pool_allocate(bytes_) : nullptr) {}
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    if (block_) pool_deallocate(block_, bytes_);
  }
  T* data() const {
    const auto address = reinterpret_cast<std::uintptr_t>(block_);
    return reinterpret_cast<T*>((address + cache_line - 1) & ~(cache_line - 1));
  }

 private:
  std::size_t bytes_;
  void* block_;
};

// What a block may take of the first-level cache, of which it leaves room for what streams through.
constexpr std::size_t block_bytes = 24 * 1024;
constexpr std::int64_t least_block = 128;

}  // namespace

Program::Program(std::string name, std::size_t operands, std::vector<Node> nodes)
    : name_(std::move(name)),
      operands_(operands),
      nodes_(std::move(nodes)),
      primitive_f32_{name_.c_str(), program_rule<float>, program_rule<float>, rows_agree, true},
      primitive_f64_{name_.c_str(), program_rule<double>, program_rule<double>, rows_agree, true},
      products_(std::make_unique<Product[]>(operands)) {
  Lowering(*this).run();
}

template <Real T>
const Primitive& Program::primitive() const {
  if constexpr (std::is_same_v<T, float>) return primitive_f32_;
  else return primitive_f64_;
}

template <Real T>
void Program::run(std::span<const Array* const> operands, Array& result) const {
  const Shape& shape = result.shape;
  const std::int64_t count = shape.count();
  T* out = result.as<T>();
  const auto registers = static_cast<std::size_t>(registers_);
  const std::vector<T>* constants;
  if constexpr (std::is_same_v<T, float>) constants = &constants_f32_;
  else constants = &constants_f64_;

  // Operands of the result's shape are read in place, others through a block of their own.
  struct Repeated {
    const T* from;
    T* to;
    Spread spread;
  };
  std::size_t blocks = registers - 1, moving = 1;
  for (std::size_t k = 0; k < operands_; ++k) {
    if (!used_[k]) continue;
    if (operands[k]->shape == shape) ++moving;
    else ++blocks;
  }
  std::int64_t block = static_cast<std::int64_t>(block_bytes / ((blocks + moving) * sizeof(T))) & ~std::int64_t{63};
  block = std::min(std::max(block, least_block), count);
  static_assert(kernels::padding <= cache_line);
  const std::size_t line = cache_line / sizeof(T), block_size = (static_cast<std::size_t>(block) + 2 * line - 1) / line * line;
  const Scratch<T> scratch(blocks * block_size);
  T* next = scratch.data();
  Few<const T*, 24> slots(registers + operands_ + constants->size());
  std::vector<Repeated, PoolAllocator<Repeated>> repeated;
  for (std::size_t r = 1; r < registers; ++r, next += block_size) slots[r] = next;
  for (std::size_t k = 0; k < operands_; ++k) {
    if (!used_[k]) continue;
    if (operands[k]->shape == shape) {
      slots[registers + k] = operands[k]->template as<T>();
    } else {
      slots[registers + k] = next;
      if (operands[k]->shape.count() == 1) std::fill_n(next, block, *operands[k]->template as<T>());
      else repeated.push_back({operands[k]->template as<T>(), next, Spread(operands[k]->shape, shape)});
      next += block_size;
    }
  }
  for (std::size_t c = 0; c < constants->size(); ++c) slots[registers + operands_ + c] = &(*constants)[c];

  for (std::int64_t at = 0; at < count; at += block) {
    const std::int64_t n = std::min(block, count - at);
    for (const Repeated& r : repeated) r.spread.copy(r.from, at, n, r.to);
    slots[0] = out + at;
    for (const Step& step : steps_) {
      kernels::Source<T> in[max_arity];
      for (std::size_t k = 0; k < step.arity; ++k) {
        const auto slot = static_cast<std::size_t>(step.in[k]);
        in[k] = {slots[slot], 0, slot < registers + operands_};
      }
      T* to = const_cast<T*>(slots[static_cast<std::size_t>(step.out)]);
      if constexpr (std::is_same_v<T, float>) step.kernel_f32(1, n, in, static_cast<T>(step.p), to);
      else step.kernel_f64(1, n, in, step.p, to);
    }
    if (steps_.empty()) {
      const auto slot = static_cast<std::size_t>(result_slot_);
      if (slot < registers + operands_) std::copy_n(slots[slot], n, out + at);
      else std::fill_n(out + at, n, *slots[slot]);
    }
    for (std::size_t k = 0; k < operands_; ++k) {
      if (used_[k] && operands[k]->shape == shape) slots[registers + k] += n;
    }
  }
}

Scalar Program::replay(std::span<const Scalar> operands) const {
  std::vector<Scalar> values;
  for (const Node& node : nodes_) {
    switch (node.kind) {
      case Node::Kind::operand: values.push_back(operands[static_cast<std::size_t>(node.p)]); break;
      case Node::Kind::constant: values.push_back(node.p); break;
      case Node::Kind::operation: {
        std::vector<Scalar> in;
        for (std::size_t k = 0; k < node.operation->arity; ++k) in.push_back(values[static_cast<std::size_t>(node.in[k])]);
        values.push_back(apply(*node.operation, in, node.p));
      }
    }
  }
  return values.back();
}

namespace {

// The program of what `result` needs.
Handle make_program(std::string name, std::size_t operands, Graph& graph, const Scalar& result) {
  const int root = graph.node_of(result);
  std::vector<Node> nodes(graph.nodes().begin(), graph.nodes().begin() + root + 1);
  std::vector<int> number(nodes.size(), no_node);
  number.back() = 0;
  for (std::size_t i = nodes.size(); i-- > 0;) {
    if (number[i] == no_node || nodes[i].kind != Node::Kind::operation) continue;
    for (std::size_t k = 0; k < nodes[i].operation->arity; ++k) number[static_cast<std::size_t>(nodes[i].in[k])] = 0;
  }
  std::vector<Node> needed;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (number[i] == no_node) continue;
    for (int& operand : nodes[i].in) {
      if (operand != no_node) operand = number[static_cast<std::size_t>(operand)];
    }
    number[i] = static_cast<int>(needed.size());
    needed.push_back(nodes[i]);
  }
  return Handle(allocate_object(std::make_unique<Program>(std::move(name), operands, std::move(needed))));
}

}  // namespace

// With the tangent 1 for x_k the tangent of the result is the slope, by the rules of the primitives. Where one of them
// guards against an infinite slope, so does the product.
Handle Program::make_product(std::size_t k) const {
  const auto graph = std::make_shared<Graph>();
  const Scalar v = graph->operand(0), y = graph->operand(1);
  std::vector<Scalar> values;
  std::vector<Tangent> tangents;
  for (const Node& node : nodes_) {
    std::vector<Scalar> x;
    std::vector<Tangent> dx;
    if (node.kind == Node::Kind::operand) {
      const auto operand = static_cast<std::size_t>(node.p);
      values.push_back(graph->operand(2 + operand));
      tangents.push_back(operand == k ? Tangent(1) : Tangent());
    } else if (node.kind == Node::Kind::constant) {
      values.push_back(node.p);
      tangents.emplace_back();
    } else {
      for (std::size_t j = 0; j < node.operation->arity; ++j) {
        x.push_back(values[static_cast<std::size_t>(node.in[j])]);
        dx.push_back(tangents[static_cast<std::size_t>(node.in[j])]);
      }
      // Written with the output where the rule of the last operation can.
      values.push_back(&node == &nodes_.back() ? y : apply(*node.operation, x, node.p));
      const bool moves = std::any_of(dx.begin(), dx.end(), [](const Tangent& t) { return t.has_value(); });
      tangents.push_back(moves ? node.operation->tangent(dx, x, values.back(), node.p) : Tangent());
    }
  }
  const Scalar slope = tangents.back().value_or(0);
  return make_program(name_, 2 + operands_, *graph, graph->guarded() ? mul0(v, slope) : v * slope);
}

const Handle& Program::product(std::size_t k) const {
  Product& product = products_[k];
  std::call_once(product.once, [&] { product.program = make_product(k); });
  return product.program;
}

ProgramBuilder::ProgramBuilder(std::string name) : name_(std::move(name)), graph_(std::make_shared<Graph>()) {}

Scalar ProgramBuilder::operand(std::size_t k) { return graph_->operand(k); }

Handle ProgramBuilder::finish(std::size_t operands, const Scalar& result) {
  return make_program(name_, operands, *graph_, result);
}

template <Real T>
Tensor<T> run_program(const Handle& handle, std::span<const Tensor<T>* const> operands, const Where& where) {
  const Program& program = program_of(handle.array());
  const char* name = program.name().c_str();
  Arrays arrays(operands.size());
  // What the program does not read is a constant to the tape.
  Few<Handle, 8> plain(operands.size());
  Few<const Handle*, 8> handles(operands.size());
  for (std::size_t k = 0; k < operands.size(); ++k) {
    arrays[k] = &value_of(*operands[k], name, where);
    handles[k] = &operands[k]->handle();
    if (!program.reads(k) && handles[k]->traced()) handles[k] = &(plain[k] = share(handles[k]->array()));
  }
  Array* out = allocate_like<T>(common_shape(arrays, name, where));
  program.run<T>({arrays.begin(), operands.size()}, *out);
  return Tensor<T>(record(program.primitive<T>(), out, {handles.begin(), operands.size()}, where,
                          {.constant = handle.array()}));
}

template Tensor<float> run_program(const Handle&, std::span<const Tensor<float>* const>, const Where&);
template Tensor<double> run_program(const Handle&, std::span<const Tensor<double>* const>, const Where&);

Scalar inline_program(const Handle& handle, std::span<const Scalar* const> operands) {
  std::vector<Scalar> values;
  for (const Scalar* operand : operands) values.push_back(*operand);
  return program_of(handle.array()).replay(values);
}

}  // namespace detail

Scalar select(const ScalarMask& condition, const Scalar& a, const Scalar& b) {
  const Scalar& one_or_zero = detail::ScalarAccess::number(condition);
  if (detail::is_constant(one_or_zero)) return detail::constant_of(one_or_zero) != 0 ? a : b;
  return detail::apply<ops::Select>({one_or_zero, a, b});
}

}  // namespace tapegrad
