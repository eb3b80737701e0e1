#include "../custom.hpp"

#include <algorithm>
#include "../ops/operands.hpp"
#include "../tape/primitive.hpp"

namespace tapegrad {
namespace detail {
namespace {

template <Real T>
struct RuleObject : Object {
  explicit RuleObject(CustomRule<T> r) : rule(std::move(r)), primitive{} {}
  CustomRule<T> rule;
  Primitive primitive;
};

template <Real T>
const RuleObject<T>& rule_of(const Array* array) {
  return *static_cast<const RuleObject<T>*>(static_cast<const Object*>(array->data));
}

void require_rule_shape(const std::string& name, const char* rule, const Shape& given, std::int64_t seeds,
                        const Shape& expected, const Caller& where) {
  if (given.rank() == seeds + expected.rank() && given.suffix(seeds) == expected) return;
  throw ShapeError(name + to_string(where) + ": its " + rule + " gave shape " + to_string(given) + " where " +
                   to_string(expected) + (seeds ? ", behind the seed axes," : "") + " is needed");
}

// A call of a user's rule. Its operands are followed by the rule itself.
template <Real T>
struct RulePrimitive {
  static constexpr const char* name = "a rule";  // replaced by the name of the rule
  struct Attributes {
    const Array* rule;
  };
  static const CustomRule<T>& rule_of(const Call& call) {
    return detail::rule_of<T>(call.attributes<Attributes>().rule).rule;
  }

  static void evaluate(const Attributes& attributes, Operands in, Results out) {
    PoolVector<Tensor<T>> x;
    for (const Array* operand : in.first(in.size() - 1)) x.emplace_back(share(const_cast<Array*>(operand)));
    const Tensor<T> y = detail::rule_of<T>(attributes.rule).rule.value(x);
    std::copy_n(y.data(), y.size(), elements<T>(out[0]));
  }
  static Handle pullback(const Call& call, std::size_t k, const Handle& v) {
    return rule_of(call).pullback ? apply(call, k, v, false) : all(call, v)[k].handle();
  }
  static void pullback_all(const Call& call, const Handle& v, std::span<Handle> adjoints) {
    const std::vector<Tensor<T>> found = all(call, v);
    for (std::size_t k = 0; k < found.size(); ++k) adjoints[k] = found[k].handle();
  }
  static Handle pushforward(const Call& call, std::size_t k, const Handle& v) { return apply(call, k, v, true); }
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    if (!rule_of(call).separate_rows) return std::nullopt;
    for (std::size_t k = 0; k < axes.size(); ++k) {
      if (axes[k] != 0 && axes[k] != call.operand_shape(k).rank()) return std::nullopt;
    }
    return static_cast<BatchAxis>(call.output_shape().rank());
  }

 private:
  static PoolVector<Tensor<T>> operands_of(const Call& call) {
    PoolVector<Tensor<T>> operands;
    for (std::size_t i = 0; i + 1 < call.operand_count(); ++i) operands.push_back(call.operand<T>(i));
    return operands;
  }
  static std::vector<Tensor<T>> all(const Call& call, const Handle& v) {
    const CustomRule<T>& rule = rule_of(call);
    const PoolVector<Tensor<T>> operands = operands_of(call);
    std::vector<Tensor<T>> found = rule.pullback_all(Tensor<T>(v), call.output<T>(), operands);
    if (found.size() != operands.size()) {
      throw ShapeError(rule.name + to_string(call.where()) + ": its pullback_all gave " + std::to_string(found.size()) +
                       " adjoints for " + std::to_string(operands.size()) + " operands");
    }
    const std::int64_t seeds = v.shape().rank() - call.output_shape().rank();
    for (std::size_t k = 0; k < found.size(); ++k) {
      require_rule_shape(rule.name, "pullback_all", found[k].shape(), seeds, call.operand_shape(k), call.where());
    }
    return found;
  }
  static Handle apply(const Call& call, std::size_t k, const Handle& v, bool forward) {
    const CustomRule<T>& rule = rule_of(call);
    const auto& function = forward ? rule.pushforward : rule.pullback;
    const Tensor<T> result = function(k, Tensor<T>(v), call.output<T>(), operands_of(call));
    const Shape &from = forward ? call.operand_shape(k) : call.output_shape(),
                &to = forward ? call.output_shape() : call.operand_shape(k);
    require_rule_shape(rule.name, forward ? "pushforward" : "pullback", result.shape(), v.shape().rank() - from.rank(),
                       to, call.where());
    return result.handle();
  }
};

}  // namespace
}  // namespace detail

template <Real T>
CustomFunction<T>::CustomFunction(CustomRule<T> rule, Caller where) {
  const auto refuse = [&](const char* why) {
    throw ValueError("custom" + to_string(where) + ": the rule \"" + rule.name + "\" " + why);
  };
  if (!rule.value) refuse("has no value");
  if (!rule.pullback && !rule.pullback_all) refuse("has no pullback, and no pullback_all");
  if (rule.pullback && rule.pullback_all) refuse("has a pullback and a pullback_all; one of them is enough");
  auto object = std::make_unique<detail::RuleObject<T>>(std::move(rule));
  object->primitive = detail::primitive<detail::RulePrimitive<T>>;
  object->primitive.name = object->rule.name.c_str();
  object->primitive.single_seed = !object->rule.batched;
  if (!object->rule.pullback_all) object->primitive.pullback_all = nullptr;
  if (!object->rule.pushforward) object->primitive.pushforward = nullptr;
  rule_ = Tensor<T>(detail::Handle(detail::allocate_object(std::move(object))));
}

template <Real T>
Tensor<T> CustomFunction<T>::call(std::span<const Tensor<T>> x, Caller where) const {
  using namespace detail;
  const RuleObject<T>& object = rule_of<T>(rule_.handle().array());
  PoolVector<Tensor<T>> plain;
  PoolVector<const Handle*> operands;
  for (const Tensor<T>& operand : x) {
    value_of(operand, object.primitive.name, where);
    plain.push_back(stop_gradient(operand));
    operands.push_back(&operand.handle());
  }
  operands.push_back(&rule_.handle());
  const Tensor<T> y = object.rule.value(plain);
  if (!y.handle()) throw ValueError(object.rule.name + to_string(where) + ": the rule's value returned nothing");
  if (y.traced()) {
    throw TapeError(object.rule.name + to_string(where) +
                    ": the rule's value depends on a traced tensor that is not an operand; pass it as one");
  }
  // An array of its own, because the value may be one of the operands.
  Handle value(view(y.handle().array(), y.shape()));
  const typename RulePrimitive<T>::Attributes attributes{rule_.handle().array()};
  return Tensor<T>(record(object.primitive, std::move(value), operands, attributes, where));
}

template class CustomFunction<float>;
template class CustomFunction<double>;

}  // namespace tapegrad
