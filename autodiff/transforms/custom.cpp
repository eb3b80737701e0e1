#include "../custom.hpp"
#include "../ops/operands.hpp"
#include "../tape/primitive.hpp"

namespace tapegrad {
namespace detail {
namespace {

template <Real T>
struct RuleObject : Object {
  explicit RuleObject(Rule<T> r) : rule(std::move(r)), primitive{} {}
  Rule<T> rule;
  Primitive primitive;
};

template <Real T>
const RuleObject<T>& rule_of(const Array* array) {
  return *static_cast<const RuleObject<T>*>(static_cast<const Object*>(array->data));
}

void require_rule_shape(const std::string& name, const char* rule, const Shape& given, std::size_t seeds,
                        const Shape& expected, const Where& where) {
  if (given.rank() == seeds + expected.rank() && given.suffix(seeds) == expected) return;
  throw ShapeError(name + to_string(where) + ": its " + rule + " gave shape " + to_string(given) + " where " +
                   to_string(expected) + (seeds ? ", behind the seed axes," : "") + " is needed");
}

template <Real T>
Handle apply_rule(const Call& call, std::size_t k, const Handle& v, bool forward) {
  const RuleObject<T>& object = rule_of<T>(call.attributes().constant);
  const auto& function = forward ? object.rule.pushforward : object.rule.pullback;
  std::vector<Tensor<T>, PoolAllocator<Tensor<T>>> operands;
  for (std::size_t i = 0; i < call.operand_count(); ++i) operands.push_back(call.operand<T>(i));
  const Tensor<T> result = function(k, Tensor<T>(v), call.output<T>(), operands);
  const Shape &from = forward ? call.operand_shape(k) : call.output_shape(),
              &to = forward ? call.output_shape() : call.operand_shape(k);
  require_rule_shape(object.rule.name, forward ? "pushforward" : "pullback", result.shape(),
                     v.shape().rank() - from.rank(), to, call.where());
  return result.handle();
}

template <Real T>
Handle custom_pullback(const Call& call, std::size_t k, const Handle& v) {
  return apply_rule<T>(call, k, v, false);
}
template <Real T>
Handle custom_pushforward(const Call& call, std::size_t k, const Handle& v) {
  return apply_rule<T>(call, k, v, true);
}

template <Real T>
std::optional<BatchAxis> custom_rows(const Call& call, std::span<const BatchAxis> axes) {
  if (!rule_of<T>(call.attributes().constant).rule.separate_rows) return std::nullopt;
  for (std::size_t k = 0; k < axes.size(); ++k) {
    if (axes[k] != 0 && static_cast<std::size_t>(axes[k]) != call.operand_shape(k).rank()) return std::nullopt;
  }
  return static_cast<BatchAxis>(call.output_shape().rank());
}

}  // namespace
}  // namespace detail

template <Real T>
CustomFunction<T>::CustomFunction(Rule<T> rule) {
  if (!rule.value || !rule.pullback) throw ValueError(rule.name + ": a rule needs a value and a pullback");
  auto object = std::make_unique<detail::RuleObject<T>>(std::move(rule));
  object->primitive = {.name = object->rule.name.c_str(),
                       .pullback = detail::custom_pullback<T>,
                       .pushforward = object->rule.pushforward ? detail::custom_pushforward<T> : nullptr,
                       .rows = detail::custom_rows<T>,
                       .single_seed = !object->rule.batched};
  rule_ = Tensor<T>(detail::Handle(detail::allocate_object(std::move(object))));
}

template <Real T>
Tensor<T> CustomFunction<T>::call(std::span<const Tensor<T>> x, Where where) const {
  using namespace detail;
  const RuleObject<T>& object = rule_of<T>(rule_.handle().array());
  std::vector<Tensor<T>, PoolAllocator<Tensor<T>>> plain;
  std::vector<const Handle*, PoolAllocator<const Handle*>> operands;
  for (const Tensor<T>& operand : x) {
    value_of(operand, object.primitive.name, where);
    plain.push_back(stop_gradient(operand));
    operands.push_back(&operand.handle());
  }
  const Tensor<T> y = object.rule.value(plain);
  if (!y.handle()) throw ValueError(object.rule.name + to_string(where) + ": the rule's value returned nothing");
  if (y.traced()) {
    throw TapeError(object.rule.name + to_string(where) +
                    ": the rule's value depends on a traced tensor that is not an operand; pass it as one");
  }
  // An own array, since the value may be one of the operands.
  Array* out = view(y.handle().array(), y.shape());
  return Tensor<T>(record(object.primitive, out, operands, where, {.constant = rule_.handle().array()}));
}

template class CustomFunction<float>;
template class CustomFunction<double>;

}  // namespace tapegrad
