#include "../optimizers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "../../autodiff/extend.hpp"
#include "../../autodiff/ops.hpp"
#include "../core/errors.hpp"

namespace tapegrad::nn {

// -------------------------------------------------------------------------------------------------- options

namespace {

using tapegrad::detail::AdamUpdate, tapegrad::detail::Changed, tapegrad::detail::MomentumUpdate,
    tapegrad::detail::RootUpdate;

[[noreturn]] void refuse(const char* rule, const char* option, double value, const char* demand) {
  std::ostringstream text;
  text << rule << ": " << option << " is " << value << "; it must be " << demand;
  throw ValueError(text.str());
}

void require_fraction(const char* rule, const char* option, double value) {
  if (!(value >= 0 && value < 1)) refuse(rule, option, value, "at least 0 and below 1");
}

void require_not_negative(const char* rule, const char* option, double value) {
  if (!(std::isfinite(value) && value >= 0)) refuse(rule, option, value, "finite and not negative");
}

/// With epsilon = 0, a gradient that was always 0 would give 0/0.
template <Real T>
void require_epsilon(const char* rule, double value) {
  if (!(std::isfinite(value) && value >= static_cast<double>(std::numeric_limits<T>::min()))) {
    refuse(rule, "epsilon", value, "finite and positive in the parameters' type");
  }
}

/// A tensor whose elements are all to be overwritten: in place, or in fresh memory if another handle shares them,
/// without copying them first.
template <class T>
class Renewed {
 public:
  explicit Renewed(Tensor<T>& tensor) {
    if (tensor.handle() && !tensor.traced() && !tapegrad::detail::unique(tensor.handle().array())) {
      before_ = tensor;
      tensor = Tensor<T>(
          tapegrad::detail::Handle(tapegrad::detail::allocate(tapegrad::detail::dtype_of<T>, before_.shape())));
    }
    to_ = tensor.mutable_data(Caller{});
  }
  Renewed(Params<T>& slots, std::string_view name) : Renewed(slots.at(name)) {}

  operator Changed<T>() const { return {before_.handle() ? before_.data() : to_, to_}; }

 private:
  Tensor<T> before_;
  T* to_;
};

}  // namespace

// ---------------------------------------------------------------------------------------------------- rules

template <Real T>
Params<T> SGD::slots(const Tensor<T>& w) const {
  require_fraction("SGD", "momentum", momentum);
  if (nesterov && momentum == 0) refuse("SGD with nesterov", "momentum", momentum, "positive");
  if (momentum == 0) return {};
  return {{"v", zeros<T>(w.shape())}};
}

template <Real T>
void SGD::update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const {
  run(MomentumUpdate<T>{.n = w.size(),
                        .g = gradient.data(),
                        .w = Renewed(w),
                        .v = momentum != 0 ? Renewed(slots, "v") : Changed<T>{},
                        .momentum = static_cast<T>(momentum),
                        .rate = static_cast<T>(step.rate),
                        .nesterov = nesterov});
}

namespace {

template <Real T, class Rule>
Params<T> adam_slots(const char* name, const Rule& rule, const Tensor<T>& w) {
  require_fraction(name, "beta_1", rule.beta_1);
  require_fraction(name, "beta_2", rule.beta_2);
  require_epsilon<T>(name, rule.epsilon);
  return {{"m", zeros<T>(w.shape())}, {"v", zeros<T>(w.shape())}};
}

template <Real T, class Rule>
void adam_update(const Rule& rule, Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step,
                 double decay) {
  const auto t = static_cast<double>(step.iteration);
  const double power_2 = std::pow(rule.beta_2, t), root_2 = std::sqrt(1 - power_2);
  const double correction_1 = 1 - std::pow(rule.beta_1, t);
  // sqrt(v') + epsilon = (sqrt(v) + epsilon root_2) / root_2.
  const double epsilon = rule.epsilon_place == EpsilonPlace::torch ? rule.epsilon * root_2 : rule.epsilon;
  run(AdamUpdate<T>{.n = w.size(),
                    .g = gradient.data(),
                    .w = Renewed(w),
                    .m = Renewed(slots, "m"),
                    .v = Renewed(slots, "v"),
                    .decay = static_cast<T>(decay),
                    .new_m = static_cast<T>(1 - rule.beta_1),
                    .new_v = static_cast<T>(1 - rule.beta_2),
                    .rate = static_cast<T>(step.rate * root_2 / correction_1),
                    .epsilon = static_cast<T>(epsilon),
                    .bias = static_cast<T>(t > 1 && power_2 > 0 ? 1 - power_2 / rule.beta_2 : 1)});
}

}  // namespace

template <Real T>
Params<T> Adam::slots(const Tensor<T>& w) const {
  return adam_slots("Adam", *this, w);
}

template <Real T>
void Adam::update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const {
  adam_update(*this, w, gradient, slots, step, 0);
}

template <Real T>
Params<T> AdamW::slots(const Tensor<T>& w) const {
  require_not_negative("AdamW", "weight_decay", weight_decay);
  return adam_slots("AdamW", *this, w);
}

template <Real T>
void AdamW::update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const {
  adam_update(*this, w, gradient, slots, step, step.rate * weight_decay);
}

template <Real T>
Params<T> RMSprop::slots(const Tensor<T>& w) const {
  require_fraction("RMSprop", "rho", rho);
  require_fraction("RMSprop", "momentum", momentum);
  require_epsilon<T>("RMSprop", epsilon);
  Params<T> made{{"v", zeros<T>(w.shape())}};
  if (momentum != 0) made.add("b", zeros<T>(w.shape()));
  if (centered) made.add("a", zeros<T>(w.shape()));
  return made;
}

template <Real T>
void RMSprop::update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const {
  const bool keras = epsilon_place == EpsilonPlace::keras;
  const T e = static_cast<T>(epsilon), decay = static_cast<T>(rho);
  run(RootUpdate<T>{.n = w.size(),
                    .g = gradient.data(),
                    .w = Renewed(w),
                    .v = Renewed(slots, "v"),
                    .a = centered ? Renewed(slots, "a") : Changed<T>{},
                    .b = momentum != 0 ? Renewed(slots, "b") : Changed<T>{},
                    .old = decay,
                    .fresh = 1 - decay,
                    .momentum = static_cast<T>(momentum),
                    .rate = static_cast<T>(step.rate),
                    .inside = keras ? e : 0,
                    .outside = keras ? 0 : e});
}

template <Real T>
Params<T> Adagrad::slots(const Tensor<T>& w) const {
  require_not_negative("Adagrad", "initial_accumulator_value", initial_accumulator_value);
  require_epsilon<T>("Adagrad", epsilon);
  return {{"v", full<T>(w.shape(), static_cast<T>(initial_accumulator_value))}};
}

template <Real T>
void Adagrad::update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const {
  const bool keras = epsilon_place == EpsilonPlace::keras;
  const T e = static_cast<T>(epsilon);
  run(RootUpdate<T>{.n = w.size(),
                    .g = gradient.data(),
                    .w = Renewed(w),
                    .v = Renewed(slots, "v"),
                    .a = {},
                    .b = {},
                    .old = 1,
                    .fresh = 1,
                    .momentum = 0,
                    .rate = static_cast<T>(step.rate),
                    .inside = keras ? e : 0,
                    .outside = keras ? 0 : e});
}

template Params<float> SGD::slots(const Tensor<float>&) const;
template Params<double> SGD::slots(const Tensor<double>&) const;
template void SGD::update(Tensor<float>&, const Tensor<float>&, Params<float>&, const Step&) const;
template void SGD::update(Tensor<double>&, const Tensor<double>&, Params<double>&, const Step&) const;
template Params<float> Adam::slots(const Tensor<float>&) const;
template Params<double> Adam::slots(const Tensor<double>&) const;
template void Adam::update(Tensor<float>&, const Tensor<float>&, Params<float>&, const Step&) const;
template void Adam::update(Tensor<double>&, const Tensor<double>&, Params<double>&, const Step&) const;
template Params<float> AdamW::slots(const Tensor<float>&) const;
template Params<double> AdamW::slots(const Tensor<double>&) const;
template void AdamW::update(Tensor<float>&, const Tensor<float>&, Params<float>&, const Step&) const;
template void AdamW::update(Tensor<double>&, const Tensor<double>&, Params<double>&, const Step&) const;
template Params<float> RMSprop::slots(const Tensor<float>&) const;
template Params<double> RMSprop::slots(const Tensor<double>&) const;
template void RMSprop::update(Tensor<float>&, const Tensor<float>&, Params<float>&, const Step&) const;
template void RMSprop::update(Tensor<double>&, const Tensor<double>&, Params<double>&, const Step&) const;
template Params<float> Adagrad::slots(const Tensor<float>&) const;
template Params<double> Adagrad::slots(const Tensor<double>&) const;
template void Adagrad::update(Tensor<float>&, const Tensor<float>&, Params<float>&, const Step&) const;
template void Adagrad::update(Tensor<double>&, const Tensor<double>&, Params<double>&, const Step&) const;

// ----------------------------------------------------------------------------------------------- an optimizer

namespace {

const Named<Optimizer>& known_optimizers() {
  static const Named<Optimizer> known{
      {"sgd", SGD{}}, {"adam", Adam{}}, {"adamw", AdamW{}}, {"rmsprop", RMSprop{}}, {"adagrad", Adagrad{}}};
  return known;
}

}  // namespace

Optimizer::Optimizer(const char* name, Caller where)
    : Optimizer(detail::by_name("optimizer", name, known_optimizers(), where)) {}

void Optimizer::set_learning_rate(std::optional<LearningRate> rate, Caller where) {
  if (rate) rate->at(epoch_, step_, now_.iterations, where);
  set_rate_ = std::move(rate);
}

namespace {

bool is_float(const tapegrad::detail::Handle& tensor) { return tensor.array()->dtype == tapegrad::detail::Dtype::f32; }

std::string slot_name(std::size_t parameter, std::string_view slot) {
  return std::to_string(parameter) + "." + std::string(slot);
}

}  // namespace

bool Optimizer::fits(const Handles& params) const {
  return std::equal(
      params.begin(), params.end(), now_.kept.begin(), now_.kept.end(), [](const auto& w, const Kept& kept) {
        return w && w.shape() == kept.shape && is_float(w) == std::holds_alternative<Params<float>>(kept.slots);
      });
}

Optimizer::AllKept Optimizer::fresh_slots(const Handles& params) const {
  AllKept made;
  for (const tapegrad::detail::Handle& w : params) {
    if (!w) {
      throw ValueError("parameter " + std::to_string(made.size()) + " has no value");
    }
    Kept& kept = made.emplace_back(Kept{w.shape(), {}});
    if (is_float(w))
      kept.slots = make_slots_.get<MakeSlots<float>>()(Tensor<float>(w));
    else
      kept.slots = make_slots_.get<MakeSlots<double>>()(Tensor<double>(w));
  }
  return made;
}

Step Optimizer::begin_step(const Handles& params, const Handles& gradients, const Caller& where) {
  if (params.size() != gradients.size()) {
    throw ShapeError("step" + to_string(where) + ": " + std::to_string(params.size()) + " parameters, but " +
                     std::to_string(gradients.size()) + " gradients");
  }
  for (std::size_t k = 0; k < params.size(); ++k) {
    detail::require_plain(params[k], "step", where);
    detail::require_plain(gradients[k], "step", where);
    if (params[k].shape() == gradients[k].shape()) continue;
    throw ShapeError("step" + to_string(where) + ": parameter " + std::to_string(k) + " is " +
                     to_string(params[k].shape()) + ", but its gradient " + to_string(gradients[k].shape()));
  }
  const Step now{rate().at(epoch_, step_, now_.iterations, where), now_.iterations + 1};
  if (fits(params)) return now;
  const auto keeps = [](const Kept& kept) {
    return std::visit([](const auto& slots) { return !slots.empty(); }, kept.slots);
  };
  if (std::any_of(now_.kept.begin(), now_.kept.end(), keeps)) {
    throw ShapeError("step" + to_string(where) + ": the optimizer keeps state for " + std::to_string(now_.kept.size()) +
                     " parameters, of other shapes or types than these " + std::to_string(params.size()) +
                     "; use one optimizer for each set of parameters");
  }
  now_.kept = detail::in_place([&] { return "step" + to_string(where) + ": "; }, [&] { return fresh_slots(params); });
  return now;
}

template <Real T>
Params<T> Optimizer::state() const {
  Params<T> all;
  for (std::size_t k = 0; k < now_.kept.size(); ++k) {
    const auto* slots = std::get_if<Params<T>>(&now_.kept[k].slots);
    if (!slots) continue;
    for (const auto& [name, tensor] : *slots) all.add(slot_name(k, name), tensor);
  }
  return all;
}

template <Real T>
void Optimizer::set_slots(const Handles& params, const Params<T>& state, std::int64_t iterations, const Caller& where) {
  const std::string operation = "set_state" + to_string(where);
  if (iterations < 0) throw ValueError(operation + ": " + std::to_string(iterations) + " iterations");
  AllKept made;
  if (!state.empty() || iterations > 0) {
    // A second call, for slots of the other type, does not touch those of the first.
    made = detail::in_place(
        [&] { return operation + ": "; },
        [&] { return iterations == now_.iterations && fits(params) ? now_.kept : fresh_slots(params); });
    std::size_t taken = 0;
    for (std::size_t k = 0; k < made.size(); ++k) {
      auto* slots = std::get_if<Params<T>>(&made[k].slots);
      if (!slots) continue;
      for (auto& [name, slot] : *slots) {
        const std::string wanted = slot_name(k, name);
        const Tensor<T>* given = state.find(wanted);
        if (!given) {
          throw ValueError(operation + ": the state has no " + wanted + "; is it that of another rule or model?");
        }
        detail::require_plain(given->handle(), "set_state", where);
        if (!(given->shape() == slot.shape())) {
          throw ShapeError(operation + ": " + wanted + " is " + to_string(given->shape()) +
                           ", but the parameter needs " + to_string(slot.shape()));
        }
        slot = *given;
        ++taken;
      }
    }
    if (taken != state.size()) {
      throw ValueError(operation + ": the state holds " + std::to_string(state.size()) + " tensors, but the " +
                       std::to_string(params.size()) + " parameters have " + std::to_string(taken) +
                       " slots; is it that of another rule or model?");
    }
  }
  now_.kept = std::move(made);
  now_.iterations = iterations;
}

template Params<float> Optimizer::state() const;
template Params<double> Optimizer::state() const;
template void Optimizer::set_slots(const Handles&, const Params<float>&, std::int64_t, const Caller&);
template void Optimizer::set_slots(const Handles&, const Params<double>&, std::int64_t, const Caller&);

}  // namespace tapegrad::nn
