// Turns a formula into a program: which kernels run, in which order, and in which registers.

#include <algorithm>
#include <map>
#include "program.hpp"

namespace tapegrad::detail {
namespace {

template <class List>
auto& at(List& v, int i) {
  return v[static_cast<std::size_t>(i)];
}

// The operation of a node if it is a sum, a difference or a product, where -x counts as x * -1; otherwise null.
const Operation* arithmetic(const Node& node) {
  if (is<ops::Negate>(node)) return &operation<ops::Multiply>;
  return is<ops::Add>(node) || is<ops::Subtract>(node) || is<ops::Multiply>(node) ? node.operation : nullptr;
}

// Marks the nodes that depend on a strong-zero product.
std::vector<char> after_strong_products(const Formula& formula) {
  std::vector<char> after;
  for (const Node& node : formula.nodes) {
    after.push_back(is<ops::Mul0>(node) ? 1 : 0);
    for (int operand : node.in) {
      if (operand != no_node && at(after, operand) != 0) after.back() = 1;
    }
  }
  return after;
}

// Whether a NaN in operand k may leave no trace in the value of this node.
bool loses_nan(const Node& node, std::size_t k) {
  return is<ops::Less>(node) || is<ops::LessEqual>(node) || is<ops::Equal>(node) || is<ops::Pow>(node) ||
         (is<ops::Select>(node) && k == 0);
}

template <class Inner>
const Operation& pair_around(const Operation& outer, bool second) {
  if (is<ops::Add>(outer)) return operation<ops::Pair<ops::Add, Inner, false>>;
  if (is<ops::Multiply>(outer)) return operation<ops::Pair<ops::Multiply, Inner, false>>;
  return second ? operation<ops::Pair<ops::Subtract, Inner, true>> : operation<ops::Pair<ops::Subtract, Inner, false>>;
}
const Operation& pair(const Operation& outer, const Operation& inner, bool second) {
  if (is<ops::Add>(inner)) return pair_around<ops::Add>(outer, second);
  if (is<ops::Multiply>(inner)) return pair_around<ops::Multiply>(outer, second);
  return pair_around<ops::Subtract>(outer, second);
}

}  // namespace

// Turns nodes into steps. Sums, differences and products are joined in pairs, and a register is reused after it has
// been read for the last time.
struct Program::Lowering {
  struct Instruction {
    const Operation* operation;
    std::array<int, max_arity> in;
    double p;
    int node;
    int slope = no_node;  // the node of the slope that is computed with it
  };

  /// With `plain`, strong-zero products become ordinary ones.
  Lowering(Program& p, const Formula& formula, bool plain)
      : program(p),
        nodes(formula.nodes),
        results(formula.results),
        uses(nodes.size()),
        inner(nodes.size(), no_node),
        joined(nodes.size()),
        slope_of(nodes.size(), no_node),
        last(nodes.size(), -1),
        slot(nodes.size(), -1) {
    for (Node& node : nodes) {
      if (plain && is<ops::Mul0>(node)) node.operation = &operation<ops::Multiply>;
    }
    // In a pair, -x is x * -1.
    minus_one = static_cast<int>(nodes.size());
    nodes.push_back({.kind = Node::Kind::constant, .p = -1});
    for (std::vector<int>* of_nodes : {&uses, &last, &slot}) of_nodes->push_back(-1);
    join_pairs();
    join_slopes();
    make_instructions();
    assign_registers();
  }

  /// Called after the program's registers have been counted.
  Code code() {
    assign_slots();
    return {steps(), copies()};
  }

  int node_count() const { return static_cast<int>(nodes.size()) - 1; }

  void join_pairs() {
    for (const Node& node : nodes) {
      for (int operand : node.in) {
        if (operand != no_node) ++at(uses, operand);
      }
    }
    for (int result : results) at(uses, result) += 2;
    for (int i = 0; i < node_count(); ++i) {
      const Node& node = at(nodes, i);
      if (node.kind != Node::Kind::operation) continue;
      for (std::size_t k = 0; k < node.operation->arity; ++k) {
        const int operand = node.in[k];
        if (arithmetic(node) && at(uses, operand) == 1 && arithmetic(at(nodes, operand)) &&
            at(inner, operand) == no_node) {
          at(inner, i) = std::max(at(inner, i), operand);  // the younger one is more likely to be in a register
        }
      }
      if (at(inner, i) != no_node) at(joined, at(inner, i)) = 1;
    }
  }

  // A value and its slope come from one kernel, which runs at the first of the two.
  void join_slopes() {
    std::map<std::pair<int, const Operation*>, int> first;  // by operand and operation
    const auto join = [&](int value, int slope) {
      at(slope_of, std::min(value, slope)) = std::max(value, slope);
      at(joined, std::max(value, slope)) = 1;
    };
    for (int i = 0; i < node_count(); ++i) {
      const Node& node = at(nodes, i);
      if (node.kind != Node::Kind::operation || node.operation->arity != 1) continue;
      for (auto of_operand = first.lower_bound({node.in[0], nullptr});
           of_operand != first.end() && of_operand->first.first == node.in[0]; ++of_operand) {
        const Operation* other = of_operand->first.second;
        if (node.operation->slope == other) join(i, of_operand->second);
        if (other->slope == node.operation) join(of_operand->second, i);
      }
      first.try_emplace({node.in[0], node.operation}, i);
    }
  }

  std::array<int, 2> operands_of(const Node& node) const {
    return {node.in[0], is<ops::Negate>(node) ? minus_one : node.in[1]};
  }

  void make_instructions() {
    for (int i = 0; i < node_count(); ++i) {
      const Node& node = at(nodes, i);
      if (at(joined, i) != 0 || node.kind != Node::Kind::operation) continue;
      Instruction instruction{node.operation, node.in, node.p, i};
      if (const int other = at(slope_of, i); other != no_node) {
        const bool value_first = node.operation->slope == at(nodes, other).operation;
        instruction.operation = value_first ? node.operation : at(nodes, other).operation;
        instruction.node = value_first ? i : other;
        instruction.slope = value_first ? other : i;
      }
      if (const int other = at(inner, i); other != no_node) {
        const std::array<int, 2> outer_in = operands_of(node), in = operands_of(at(nodes, other));
        const Operation& outer = is<ops::Negate>(node) ? operation<ops::Multiply> : *node.operation;
        const bool second = outer_in[1] == other;
        instruction.operation = &pair(outer, *arithmetic(at(nodes, other)), second);
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

  void assign_registers() {
    constexpr int never = -1;
    std::size_t registers = results.size();
    std::vector<int> ready(results.size(), never);  // the step that makes a result; until then its block is a register
    std::vector<int> owner(nodes.size(), no_node);  // the result that a node is
    for (std::size_t r = 0; r < results.size(); ++r) {
      if (at(nodes, results[r]).kind != Node::Kind::operation || at(owner, results[r]) != no_node) continue;
      at(owner, results[r]) = static_cast<int>(r);
      for (std::size_t s = 0; s < instructions.size(); ++s) {
        if (instructions[s].node == results[r] || instructions[s].slope == results[r]) ready[r] = static_cast<int>(s);
      }
    }
    std::vector<int> free;
    for (std::size_t r = 0; r < results.size(); ++r) free.push_back(static_cast<int>(r));
    for (int s = 0; s < static_cast<int>(instructions.size()); ++s) {
      const Instruction& instruction = at(instructions, s);
      for (std::size_t k = 0; k < instruction.operation->arity; ++k) {
        const int operand = instruction.in[k];
        if (at(nodes, operand).kind != Node::Kind::operation || at(last, operand) != s) continue;
        if (at(owner, operand) == no_node) free.push_back(at(slot, operand));
        at(last, operand) = never;  // only once, even if it is read twice
      }
      for (int node : {instruction.node, instruction.slope}) {
        if (node == no_node) continue;
        int& out = at(slot, node) = at(owner, node);
        if (out != no_node) continue;
        auto place = std::find_if(free.begin(), free.end(), [&](int r) {
          return r >= static_cast<int>(results.size()) || at(last, node) <= at(ready, r);
        });
        if (place == free.end()) place = free.insert(free.end(), static_cast<int>(registers++));
        out = *place;
        free.erase(place);
      }
    }
    program.registers_ = std::max(program.registers_, registers);
  }

  void assign_slots() {
    std::size_t constants = 0;
    for (int i = 0; i <= node_count(); ++i) {
      const Node& node = at(nodes, i);
      if (node.kind == Node::Kind::operand)
        at(slot, i) = static_cast<int>(program.registers_ + static_cast<std::size_t>(node.p));
      else if (node.kind == Node::Kind::constant)
        at(slot, i) = static_cast<int>(program.registers_ + program.operands_ + constants++);
    }
  }

  std::vector<Copy> copies() const {
    std::vector<Copy> all;
    for (std::size_t r = 0; r < results.size(); ++r) {
      const int from = at(slot, results[r]);
      if (from != static_cast<int>(r)) all.push_back({from, static_cast<int>(r)});
    }
    return all;
  }

  std::vector<Step> steps() const {
    std::vector<Step> all;
    for (const Instruction& instruction : instructions) {
      const Operation& o = *instruction.operation;
      Step step{o.kernel_f32(kernels::plain<float>()),
                o.kernel_f64(kernels::plain<double>()),
                instruction.p,
                {},
                o.arity,
                at(slot, instruction.node)};
      for (std::size_t k = 0; k < o.arity; ++k) step.in[k] = at(slot, instruction.in[k]);
      if (instruction.slope != no_node) {
        step.slope = at(slot, instruction.slope);
        step.pair_f32 = o.pair_f32(kernels::plain<float>());
        step.pair_f64 = o.pair_f64(kernels::plain<double>());
      }
      all.push_back(step);
    }
    return all;
  }

  bool light() const {
    constexpr std::size_t most_light = 3;
    return instructions.size() <= most_light &&
           std::none_of(instructions.begin(), instructions.end(), [](const Instruction& instruction) {
             return instruction.operation->arity == 1 || is<ops::Divide>(*instruction.operation);
           });
  }

  Program& program;
  std::vector<Node> nodes;
  std::vector<int> results, uses, inner, joined, slope_of, last, slot;
  std::vector<Instruction> instructions;
  int minus_one;
};

Program::Program(std::size_t operands, const Formula& formula)
    : operands_(operands), results_(formula.results.size()), reads_(operands) {
  const std::vector<char> after = after_strong_products(formula);
  bool plain = true;
  for (const Node& node : formula.nodes) {
    for (std::size_t k = 0; k < max_arity; ++k) {
      if (node.in[k] != no_node && at(after, node.in[k]) != 0 && loses_nan(node, k)) plain = false;
    }
    if (node.kind == Node::Kind::operand) reads_[static_cast<std::size_t>(node.p)] = 1;
    if (node.kind != Node::Kind::constant) continue;
    constants_f64_.push_back(node.p);
  }
  constants_f64_.push_back(-1);  // used by Lowering
  for (double constant : constants_f64_) constants_f32_.push_back(static_cast<float>(constant));
  for (std::size_t r = 0; plain && r < results_; ++r) {
    if (at(after, formula.results[r]) != 0) checked_.push_back(r);
  }
  Lowering lowering(*this, formula, plain);
  light_ = lowering.light();
  if (checked_.empty()) {
    code_ = lowering.code();
  } else {
    Lowering strong(*this, formula, false);
    code_ = lowering.code();
    strong_ = strong.code();
  }
}

}  // namespace tapegrad::detail
