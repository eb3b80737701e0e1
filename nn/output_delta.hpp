#pragma once
// The error of the output layer, delta = J_f(z)^T dC/da, for any activation f and any loss C.
//
//     auto f = [](const auto& z) { return z / (1.0 + abs(z)); };                     // softsign
//     auto C = [](const auto& a, const auto& y) { return sum(square(a - y), -1); };
//     Tensor<> delta = nn::output_delta(f, C, z, y);                                  // one sweep of the tape
//     Tensor<> same = nn::output_delta(f, C, z, y, nn::OutputDelta::jacobian);        // the Jacobian of f, applied
//     nn::output_delta("softmax", "categorical_crossentropy", z, y, nn::OutputDelta::closed_form);   // a - y
//
// It is J^T g, and not J g. For a symmetric J (softmax) the two are equal, which hides the mistake.

#include <string>
#include <string_view>
#include <type_traits>

#include "../autodiff/jacobian.hpp"
#include "activations.hpp"
#include "losses.hpp"

namespace tapegrad::nn {

/// How delta is found: the closed form of a known pair of activation and loss; one reverse sweep over C(f(z), y); or
/// the Jacobian of f, as an object, applied to dC/da: J^T g without the matrix. `automatic` takes the closed form if
/// there is one, otherwise the sweep. The loss of a known pair is computed, and swept, as a function of z, so that the
/// closed form and the sweep keep their digits where probabilities f(z) underflow or round to 1, and the reported loss
/// is the same number in every way; dC/da, to which the Jacobian is applied, is a function of f(z) alone.
enum class OutputDelta { automatic, closed_form, vjp, jacobian };
/// "automatic", "closed_form", "vjp", "jacobian".
TAPEGRAD_EXPORT std::string to_string(OutputDelta way);

namespace detail {

/// What the last layer's logits z give: the prediction a = f(z), C(a, y) (per example, or a scalar), and the derivative
/// by z of the sum of C, times `scale` where C is per example. With weights (batch) the loss of each example is
/// multiplied by its own, and so is its row of delta; without any (a tensor without a value) none is. A row of weight 0
/// has loss and delta 0, whatever stands in it; its prediction is not to be used.
template <Real T>
struct OutputHead {
  Tensor<T> prediction = {}, loss = {}, delta = {};
};

/// For each row its own index, or for a row of weight 0 that of the first row that counts; no value if none does.
template <Real T>
TAPEGRAD_EXPORT Tensor<std::int64_t> stand_ins(const Tensor<T>& weights, const Caller& where);

/// Whether the loss has a closed form with the activation.
inline bool is_known_pair(const Activation& f, const Loss& c) { return f.name() == c.known_activation(); }
/// Throws ValueError, listing the known pairs.
[[noreturn]] TAPEGRAD_EXPORT void throw_no_closed_form(std::string_view activation, std::string_view loss);

/// The activation or loss with a name, or a built-in loss; any other function is passed through.
inline Activation activation_of(std::string_view name, const Caller& where) { return {std::string(name), where}; }
inline Loss loss_of(std::string_view name, const Caller& where) { return {std::string(name), where}; }
template <class F>
requires(!std::is_convertible_v<const F&, std::string_view>) const F& activation_of(const F& f, const Caller&) {
  return f;
}
template <class F>
requires(!std::is_convertible_v<const F&, std::string_view>) decltype(auto) loss_of(const F& f, const Caller&) {
  if constexpr (is_builtin<F>)
    return Loss(f);
  else
    return as_loss(f);
}

template <class F>
std::string_view name_of(const F& f) {
  if constexpr (std::is_same_v<F, Activation> || std::is_same_v<F, Loss>)
    return f.name();
  else
    return "custom";
}

template <class F>
bool may_mix_rows(const F& f) {
  if constexpr (requires { f.may_mix_rows(); })
    return f.may_mix_rows();
  else
    return false;
}

template <Real T>
Tensor<T> total(const Tensor<T>& x) {
  return x.rank() == 0 ? x : sum(x);
}

template <class F, class C, Real T, class Y>
Tensor<T> delta_by_sweep(const F& f, const C& c, const Tensor<T>& z, const Tensor<Y>& y) {
  return grad([&](const Tensor<T>& traced) { return total(c(f(traced), y)); })(z);
}

template <class F, class C, Real T, class Y>
Tensor<T> delta_by_jacobian(const F& f, const C& c, const Tensor<T>& z, const Tensor<Y>& y, bool mixes_rows) {
  const auto J = mixes_rows || z.rank() != 2 ? jacobian(f)(z) : batch_jacobian(f)(z);
  return J.apply_transposed(grad([&](const Tensor<T>& a) { return total(c(a, y)); })(J.value()));
}

/// Prediction, loss and delta in a training step, from one evaluation of f and C. Throws ShapeError unless there is a
/// weight for each loss of an example, ValueError for weights of a scalar loss.
template <Real T, class Y>
TAPEGRAD_EXPORT OutputHead<T> output_head(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y,
                                          OutputDelta way, double scale, const Tensor<T>& weights = {},
                                          const Caller& where = {});
/// The same without delta.
template <Real T, class Y>
TAPEGRAD_EXPORT OutputHead<T> output_loss(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y,
                                          const Tensor<T>& weights = {}, const Caller& where = {});

}  // namespace detail

/// J_f(z)^T dC/da at a = f(z), for z of (n) or (batch, n). `f` is a function of tensors or the name of an activation;
/// `C(a, y)` a function or the name of a loss, with a scalar result or one value per example, which are summed.
/// closed_form throws ValueError, listing the known pairs, unless both are built in and known together; jacobian throws
/// RowMixingError when f mixes the rows of a batch and was not declared to, by nn::mixes_rows(f).
template <class F, class C, Real T, class Y>
Tensor<T> output_delta(const F& f, const C& c, const Tensor<T>& z, const Tensor<Y>& y,
                       OutputDelta way = OutputDelta::automatic, Caller where = Caller::here()) {
  const auto& activation = detail::activation_of(f, where);
  const auto& loss = detail::loss_of(c, where);
  if constexpr (std::is_same_v<decltype(activation), const Activation&> &&
                std::is_same_v<decltype(loss), const Loss&>) {
    const bool known = detail::is_known_pair(activation, loss);
    if (known && (way == OutputDelta::automatic || way == OutputDelta::closed_form)) {
      return detail::output_head(activation, loss, z, y, OutputDelta::closed_form, 1, {}, where).delta;
    }
    if (known && way == OutputDelta::vjp) {
      return grad([&](const Tensor<T>& traced) { return detail::total(loss.from_logits(traced, y, where)); })(z);
    }
  }
  if (way == OutputDelta::closed_form) {
    detail::throw_no_closed_form(detail::name_of(activation), detail::name_of(loss));
  }
  const auto at_line = [&](const Tensor<T>& a, const Tensor<Y>& target) {
    return detail::WithLine<decltype((loss))>{loss}(a, target, where);
  };
  if (way == OutputDelta::jacobian) {
    return detail::delta_by_jacobian(activation, at_line, z, y, detail::may_mix_rows(activation));
  }
  return detail::delta_by_sweep(activation, at_line, z, y);
}

}  // namespace tapegrad::nn
