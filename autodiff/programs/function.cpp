#include "../elementwise.hpp"

#include <algorithm>
#include <mutex>

#include "../ops/broadcast.hpp"
#include "../ops/internal.hpp"
#include "../ops/operands.hpp"
#include "program.hpp"

namespace tapegrad::detail {
namespace {

// A user's function: immutable, and shared by handles and tapes. Programs for its derivatives are built on first use.
class Function : public Object {
 public:
  Function(std::string name, std::size_t operands, Formula formula);

  const char* name() const { return name_.c_str(); }
  std::size_t operands() const { return operands_; }
  const Program& program() const { return program_; }
  template <Real T>
  const Primitive& primitive() const {
    if constexpr (std::is_same_v<T, float>)
      return primitive_f32_;
    else
      return primitive_f64_;
  }
  /// The last node if the function is one primitive of its only operand, which has a kernel of its own; otherwise null.
  const Node* primitive_of_operand() const {
    const bool one = operands_ == 1 && formula_.nodes.size() == 2 && formula_.nodes[1].operation->arity == 1;
    return one ? &formula_.nodes[1] : nullptr;
  }
  /// Writes the function down again with other operands.
  Scalar replay(std::span<const Scalar> operands) const;

  /// The function of (v, y, x...) for v * df/dx_k, y = f(x...).
  struct Product {
    std::once_flag once;
    Handle function;
    bool saved;  // worth computing the slope together with the value
  };
  const Product& product(std::size_t k) const;

  /// The value, and the slopes by those operands of the set (bit k for operand k) for which saving them pays.
  const Program& with_slopes(unsigned operands) const;
  /// A program of (x, v) that gives the value and its derivative times v. The function must have one operand.
  const Program& with_tangent() const;

 private:
  // The nodes as numbers of the graph, with operands x. If y is given, it stands for the result.
  struct Replayed {
    std::vector<Scalar> values;
    std::vector<Tangent> tangents;
  };
  Replayed replay(std::span<const Scalar> x, const Scalar* y, std::size_t by) const;

  struct Saving {
    std::once_flag once;
    std::unique_ptr<Program> program;
  };

  std::string name_;
  std::size_t operands_;
  Formula formula_;
  Program program_;
  Primitive primitive_f32_, primitive_f64_;
  std::unique_ptr<Product[]> products_;
  std::unique_ptr<Saving[]> saving_;  // by set of operands
  mutable Saving tangent_;
};

const Function& function_of(const Array* array) {
  return *static_cast<const Function*>(static_cast<const Object*>(array->data));
}

using Arrays = Few<const Array*, 8>;

Shape common_shape(Arrays& operands, const char* name, const Caller& where) {
  Shape shape = operands[0]->shape;
  for (const Array* operand : operands) {
    if (operand->shape != shape) shape = broadcast(shape, operand->shape, name, where);
  }
  return shape;
}

// A call of a function. Its operands are followed by the function itself and by the saved slopes of the traced
// operands.
template <Real T>
struct FunctionPrimitive {
  static constexpr const char* name = "elementwise";  // replaced by the name of the function
  struct Attributes {
    const Array* function;
    unsigned saving;  // the operands for which slopes are saved if that pays; bit k for operand k
  };
  static const Function& function_of(const Call& call) {
    return detail::function_of(call.attributes<Attributes>().function);
  }

  static void evaluate(const Attributes& attributes, Operands in, Results out) {
    const Function& function = detail::function_of(attributes.function);
    const Program& program = out.size() > 1 ? function.with_slopes(attributes.saving) : function.program();
    program.run<T>(in.first(function.operands()), out);
  }

  // A sweep that is itself recorded runs the product as a function of x, through which it can be differentiated again.
  static Handle rule(const Call& call, std::size_t k, const Handle& v) {
    const Function::Product& product = function_of(call).product(k);
    if (v.traced() || call.traced()) {
      const std::size_t count = detail::function_of(product.function.array()).operands();
      Few<Tensor<T>, 8> x(count);
      x[0] = Tensor<T>(v);
      x[1] = call.output<T>();
      for (std::size_t i = 2; i < count; ++i) x[i] = call.operand<T>(i - 2);
      Few<const Tensor<T>*, 8> pointers(count);
      for (std::size_t i = 0; i < count; ++i) pointers[i] = &x[i];
      return run_function<T>(product.function, pointers, call.where()).handle();
    }
    const Array* slope = saved_slope(call, k);
    if (!slope) return run_product(call, k, v);
    return mul0(Tensor<T>(v), Tensor<T>(share(const_cast<Array*>(slope))), call.where()).handle();
  }
  static constexpr auto pullback = rule, pushforward = rule;
  static bool accumulate(const Call& call, std::size_t k, Handle& v, bool last, Handle& sum) {
    const Shape& shape = call.output_shape();
    if (v.shape() != shape || call.operand_shape(k) != shape) return false;
    const Array* slope = saved_slope(call, k);
    if (!slope) {
      add_term(sum, run_product(call, k, v));
      return true;
    }
    const kernels::Source<T> in[] = {{v.array()->template as<T>(), 0, true}, {slope->as<T>(), 0, true}};
    Handle term = array_for<T>(v, last);
    kernels::kernels<T>().binary[index_in<ops::Mul0, ops::Binary>].value(1, shape.count(), in, T{},
                                                                         elements<T>(term.array()));
    add_term(sum, std::move(term));
    return true;
  }
  static constexpr auto rows = rows_agree;
  static constexpr bool broadcasts = true;
  static constexpr auto carry = carry_diagonal;

 private:
  // The saved slope by operand k, or null.
  static const Array* saved_slope(const Call& call, std::size_t k) {
    const Function& function = function_of(call);
    std::size_t slope = function.operands() + 1;
    if (!function.product(k).saved || call.operand_count() == slope) return nullptr;
    for (std::size_t i = 0; i < k; ++i) slope += call.operands(i).record != no_record && function.product(i).saved;
    return &call.operand_array(slope);
  }

  // v * df/dx_k, computed from the record's operands, in the common shape of v and the operands.
  static Handle run_product(const Call& call, std::size_t k, const Handle& v) {
    const Function& product = detail::function_of(function_of(call).product(k).function.array());
    Arrays x(product.operands());
    x[0] = v.array();
    x[1] = &call.output_array();
    for (std::size_t i = 2; i < product.operands(); ++i) x[i] = &call.operand_array(i - 2);
    Handle out(allocate_like<T>(common_shape(x, product.name(), call.where())));
    Array* const result[] = {out.array()};
    product.program().run<T>(x, result);
    return out;
  }
};

template <Real T>
Primitive function_primitive(const std::string& name) {
  Primitive made = primitive<FunctionPrimitive<T>>;
  made.name = name.c_str();
  return made;
}

Function::Function(std::string name, std::size_t operands, Formula formula)
    : name_(std::move(name)),
      operands_(operands),
      formula_(std::move(formula)),
      program_(operands, formula_),
      primitive_f32_(function_primitive<float>(name_)),
      primitive_f64_(function_primitive<double>(name_)),
      products_(std::make_unique<Product[]>(operands)),
      saving_(operands <= most_operands ? std::make_unique<Saving[]>(std::size_t{1} << operands) : nullptr) {}

// With the tangent 1 for x_k, the rules of the primitives give the slope as the tangent of the result.
Function::Replayed Function::replay(std::span<const Scalar> x, const Scalar* y, std::size_t by) const {
  Replayed all;
  std::vector<Scalar> in;
  std::vector<Tangent> tangents;
  for (const Node& node : formula_.nodes) {
    Tangent tangent;
    if (node.kind == Node::Kind::operand) {
      const auto operand = static_cast<std::size_t>(node.p);
      all.values.push_back(x[operand]);
      if (operand == by) tangent = 1;
    } else if (node.kind == Node::Kind::constant) {
      all.values.push_back(node.p);
    } else {
      in.clear(), tangents.clear();
      for (std::size_t k = 0; k < node.operation->arity; ++k) {
        in.push_back(all.values[static_cast<std::size_t>(node.in[k])]);
        tangents.push_back(all.tangents[static_cast<std::size_t>(node.in[k])]);
      }
      const bool last = all.values.size() + 1 == formula_.nodes.size();
      if (last && y)
        all.values.push_back(*y);
      else
        all.values.push_back(apply(*node.operation, in, node.p));
      if (std::any_of(tangents.begin(), tangents.end(), [](const Tangent& t) { return t.has_value(); })) {
        tangent = node.operation->tangent(tangents, in, all.values.back(), node.p);
      }
    }
    all.tangents.push_back(std::move(tangent));
  }
  return all;
}

Scalar Function::replay(std::span<const Scalar> operands) const {
  return replay(operands, nullptr, operands_).values.back();
}

Handle make_function(const std::string& name, std::size_t operands, Formula formula) {
  return Handle(allocate_object(std::make_unique<Function>(name, operands, std::move(formula))));
}

const Function::Product& Function::product(std::size_t k) const {
  Product& product = products_[k];
  std::call_once(product.once, [&] {
    const auto graph = std::make_shared<Graph>();
    const Scalar v = graph->operand(0), y = graph->operand(1);
    std::vector<Scalar> x;
    for (std::size_t i = 0; i < operands_; ++i) x.push_back(graph->operand(2 + i));
    const Scalar result[] = {mul0(v, replay(x, &y, k).tangents.back().value_or(0))};
    product.function = make_function(name_, 2 + operands_, graph->formula(result));
    product.saved = operands_ <= most_operands && !function_of(product.function.array()).program().light();
  });
  return product;
}

const Program& Function::with_slopes(unsigned operands) const {
  Saving& saving = saving_[operands];
  std::call_once(saving.once, [&] {
    const auto graph = std::make_shared<Graph>();
    std::vector<Scalar> x, results;
    for (std::size_t i = 0; i < operands_; ++i) x.push_back(graph->operand(i));
    results.push_back(replay(x, nullptr, operands_).values.back());
    for (std::size_t k = 0; k < operands_; ++k) {
      if ((operands >> k & 1U) != 0 && product(k).saved)
        results.push_back(replay(x, nullptr, k).tangents.back().value_or(0));
    }
    saving.program = std::make_unique<Program>(operands_, graph->formula(results));
  });
  return *saving.program;
}

const Program& Function::with_tangent() const {
  std::call_once(tangent_.once, [&] {
    const auto graph = std::make_shared<Graph>();
    const Scalar x = graph->operand(0), v = graph->operand(1);
    const Replayed all = replay({&x, 1}, nullptr, 0);
    const Scalar results[] = {all.values.back(), mul0(v, all.tangents.back().value_or(0))};
    tangent_.program = std::make_unique<Program>(2, graph->formula(results));
  });
  return *tangent_.program;
}

}  // namespace

FunctionBuilder::FunctionBuilder(std::string name) : name_(std::move(name)), graph_(std::make_shared<Graph>()) {}

Scalar FunctionBuilder::operand(std::size_t k) { return graph_->operand(k); }

Handle FunctionBuilder::finish(std::size_t operands, const Scalar& result) {
  return make_function(name_, operands, graph_->formula({&result, 1}));
}

template <Real T>
Tensor<T> run_function(const Handle& handle, std::span<const Tensor<T>* const> operands, const Caller& where) {
  const Function& function = function_of(handle.array());
  if (const Node* node = function.primitive_of_operand()) {
    if constexpr (std::is_same_v<T, float>)
      return node->operation->of_f32(*operands[0], where, node->p);
    else
      return node->operation->of_f64(*operands[0], where, node->p);
  }
  const std::size_t n = operands.size();
  Arrays arrays(n);
  // An operand that the function does not depend on is a constant to the tape.
  Few<Handle, 8> constants(n);
  Few<const Handle*, 16> handles(n + 1);
  unsigned traced = 0;  // a set of operands
  for (std::size_t k = 0; k < n; ++k) {
    arrays[k] = &value_of(*operands[k], function.name(), where);
    handles[k] = &operands[k]->handle();
    if (!handles[k]->traced()) continue;
    if (function.program().reads(k))
      traced |= n <= most_operands ? 1U << k : 0;
    else
      handles[k] = &(constants[k] = share(handles[k]->array()));
  }
  handles[n] = &handle;
  const Shape shape = common_shape(arrays, function.name(), where);
  std::array<Handle, most_operands> slopes;
  std::size_t saved = 0;
  for (std::size_t k = 0; k < n && n <= most_operands; ++k) {
    if ((traced >> k & 1U) != 0 && function.product(k).saved) slopes[saved++] = Handle(allocate_like<T>(shape));
  }
  return Tensor<T>(apply_all<FunctionPrimitive<T>>(function.primitive<T>(), handles, {slopes.data(), saved},
                                                   allocate_like<T>(shape), where, {handle.array(), traced}));
}

template <Real T>
std::pair<Tensor<T>, Tensor<T>> run_with_tangent(const Handle& handle, const Tensor<T>& x, const Tensor<T>& v,
                                                 const Caller& where) {
  const Function& function = function_of(handle.array());
  const Array* const operands[] = {&value_of(x, function.name(), where), &value_of(v, function.name(), where)};
  if (v.shape() != x.shape()) {
    throw ShapeError("a tangent" + to_string(where) + " has shape " + to_string(v.shape()) + " where " +
                     to_string(x.shape()) + " is needed");
  }
  Tensor<T> y(Handle(allocate_like<T>(x.shape()))), tangent(Handle(allocate_like<T>(x.shape())));
  Array* const results[] = {y.handle().array(), tangent.handle().array()};
  function.with_tangent().template run<T>(operands, results);
  return {std::move(y), std::move(tangent)};
}

template std::pair<Tensor<float>, Tensor<float>> run_with_tangent(const Handle&, const Tensor<float>&,
                                                                  const Tensor<float>&, const Caller&);
template std::pair<Tensor<double>, Tensor<double>> run_with_tangent(const Handle&, const Tensor<double>&,
                                                                    const Tensor<double>&, const Caller&);
template Tensor<float> run_function(const Handle&, std::span<const Tensor<float>* const>, const Caller&);
template Tensor<double> run_function(const Handle&, std::span<const Tensor<double>* const>, const Caller&);

Scalar inline_function(const Handle& handle, std::span<const Scalar* const> operands) {
  std::vector<Scalar> values;
  for (const Scalar* operand : operands) values.push_back(*operand);
  return function_of(handle.array()).replay(values);
}

}  // namespace tapegrad::detail
