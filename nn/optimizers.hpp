#pragma once
// Optimizers.
//
//     nn::Optimizer opt = nn::Adam{.learning_rate = nn::warm_up(1e-3, 100)};   // or "adam"
//     for (...) {
//       auto [loss, g] = value_and_grad(f)(params, x, y);
//       nn::clip_by_global_norm(g, 1);
//       opt.step(params, g);                          // params: anything that value_and_grad differentiates by
//     }
//
// Your own rule is any struct with a learning_rate and an update:
//
//     struct SignSGD {
//       nn::LearningRate learning_rate = 0.01;
//       template <class T>
//       void update(Tensor<T>& w, const Tensor<T>& g, double rate) const { w = w - rate * sign(g); }
//     };
//
// A rule that keeps tensors for each parameter from step to step defines their initial values, its slots:
//
//     struct Lion {
//       nn::LearningRate learning_rate = 1e-4;
//       template <class T>
//       nn::Params<T> slots(const Tensor<T>& w) const { return {{"m", zeros<T>(w.shape())}}; }
//       template <class T>
//       void update(Tensor<T>& w, const Tensor<T>& g, nn::Params<T>& slots, nn::Step step) const {
//         w = w - step.rate * sign(0.9 * slots["m"] + 0.1 * g);
//         slots["m"] = 0.99 * slots["m"] + 0.01 * g;
//       }
//     };

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "../autodiff/parameters.hpp"
#include "core/overloads.hpp"
#include "named.hpp"
#include "schedules.hpp"

namespace tapegrad::nn {

/// What a rule knows about the current step.
struct Step {
  double rate = 0;
  std::int64_t iteration = 1;  // over the optimizer's life, from 1
};

/// The place of the epsilon that keeps a divisor from being 0: as in Keras 3 or as in PyTorch.
enum class EpsilonPlace { keras, torch };

// Formulas in w (a parameter), g (its gradient), eta (the rate) and t (the iteration, from 1). Defaults are those of
// Keras 3. A fraction (momentum, beta, rho) must be in [0, 1), an epsilon positive, also when rounded to the
// parameters' type: steps throw ValueError otherwise.
//
// One element of a gradient whose square overflows would make v infinite and the weight NaN or fixed for ever. In the
// rules with a v it counts, with its sign and an infinite one too, as the root mean square of the gradients before it
// (Adam, AdamW: sqrt(v) without the bias; RMSprop, Adagrad: sqrt(v)), or as 1 where v is 0: the weight makes a step of
// the usual size, and the next one too. SGD follows it as far as it leads, and with an infinite one to an infinity;
// clip_by_value bounds it before. A NaN makes the weight NaN under every rule.

/// w <- w - eta g. With momentum m: v <- m v - eta g, w <- w + v; with nesterov w <- w + m v - eta g. Keras' SGD, which
/// for a constant rate is PyTorch's. Polyak 1964; Sutskever et al., ICML 2013. Slot "v", only with momentum.
struct TAPEGRAD_EXPORT SGD {
  LearningRate learning_rate = 0.01;
  double momentum = 0;
  bool nesterov = false;

  template <Real T>
  Params<T> slots(const Tensor<T>& w) const;
  template <Real T>
  void update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const;
};

/// m <- beta_1 m + (1 - beta_1) g, v <- beta_2 v + (1 - beta_2) g^2. Kingma and Ba, ICLR 2015. Slots "m" and "v".
/// keras: w <- w - eta c m / (sqrt(v) + epsilon), c = sqrt(1 - beta_2^t) / (1 - beta_1^t); epsilon is the paper's
///        eps-hat, outside the correction of bias.
/// torch: w <- w - eta m' / (sqrt(v') + epsilon) with the corrected m' = m / (1 - beta_1^t), v' = v / (1 - beta_2^t).
struct TAPEGRAD_EXPORT Adam {
  LearningRate learning_rate = 0.001;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  EpsilonPlace epsilon_place = EpsilonPlace::keras;

  template <Real T>
  Params<T> slots(const Tensor<T>& w) const;
  template <Real T>
  void update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const;
};

/// w <- w - eta weight_decay w, then Adam: the decay is not divided by sqrt(v), as that of a penalty would be.
/// Loshchilov and Hutter, ICLR 2019. It decays every parameter, biases too, as Keras and PyTorch do.
struct TAPEGRAD_EXPORT AdamW {
  LearningRate learning_rate = 0.001;
  double weight_decay = 0.004;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  EpsilonPlace epsilon_place = EpsilonPlace::keras;

  template <Real T>
  Params<T> slots(const Tensor<T>& w) const;
  template <Real T>
  void update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const;
};

/// v <- rho v + (1 - rho) g^2; u = eta g / sqrt(v + epsilon) (keras) or eta g / (sqrt(v) + epsilon) (torch);
/// w <- w - u. Centered: v less a^2 in place of v, a <- rho a + (1 - rho) g; its rounding below 0 counts as 0. With
/// momentum m: b <- m b + u, w <- w - b, Keras' form, which for a constant rate is PyTorch's. Tieleman and Hinton 2012;
/// centered: Graves 2013, eq. 38-40. Slots "v", with momentum "b", centered "a".
struct TAPEGRAD_EXPORT RMSprop {
  LearningRate learning_rate = 0.001;
  double rho = 0.9;
  double momentum = 0;
  double epsilon = 1e-7;
  bool centered = false;
  EpsilonPlace epsilon_place = EpsilonPlace::keras;

  template <Real T>
  Params<T> slots(const Tensor<T>& w) const;
  template <Real T>
  void update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const;
};

/// v <- v + g^2, w <- w - eta g / sqrt(v + epsilon) (keras) or eta g / (sqrt(v) + epsilon) (torch). Duchi, Hazan and
/// Singer, JMLR 2011. Slot "v", the accumulator; PyTorch starts it at 0. It ends at the largest number, not at inf.
struct TAPEGRAD_EXPORT Adagrad {
  LearningRate learning_rate = 0.001;
  double initial_accumulator_value = 0.1;
  double epsilon = 1e-7;
  EpsilonPlace epsilon_place = EpsilonPlace::keras;

  template <Real T>
  Params<T> slots(const Tensor<T>& w) const;
  template <Real T>
  void update(Tensor<T>& w, const Tensor<T>& gradient, Params<T>& slots, const Step& step) const;
};

namespace detail {

template <class Rule, class T>
concept UpdatesByGradient = requires(const Rule& rule, Tensor<T>& w, const Tensor<T>& g) {
  rule.update(w, g, 0.1);
};
template <class Rule, class T>
concept UpdatesWithSlots = requires(const Rule& rule, Tensor<T>& w, const Tensor<T>& g, Params<T>& slots) {
  slots = rule.slots(g);
  rule.update(w, g, slots, Step{});
};
template <class Rule, class T>
concept UpdateRule = (UpdatesByGradient<Rule, T> || UpdatesWithSlots<Rule, T>)&&requires(const Rule& rule) {
  LearningRate(rule.learning_rate);
};

}  // namespace detail

/// A rule of update with its state: what it keeps for each parameter, and how many steps it has made. Copies are
/// independent.
class TAPEGRAD_EXPORT Optimizer {
 public:
  /// A rule has a learning_rate and, for float and double, update(w, gradient, rate), or update(w, gradient, slots,
  /// step) and slots(w).
  template <class Rule>
  requires(detail::UpdateRule<Rule, float>&& detail::UpdateRule<Rule, double>) Optimizer(Rule rule)
      : rate_(rule.learning_rate),
        make_slots_([rule]<Real T, class R = Rule>(const Tensor<T>& w)->Params<T> {
          if constexpr (detail::UpdatesWithSlots<R, T>)
            return static_cast<const R&>(rule).slots(w);
          else
            return {};
        }),
        update_([rule]<Real T, class R = Rule>(Tensor<T> & w, const Tensor<T>& g, [[maybe_unused]] Params<T>& slots,
                                               const Step& step) {
          if constexpr (detail::UpdatesWithSlots<R, T>)
            static_cast<const R&>(rule).update(w, g, slots, step);
          else
            static_cast<const R&>(rule).update(w, g, step.rate);
        }) {}
  /// "sgd", "adam", "adamw", "rmsprop" or "adagrad", with its defaults. Throws ValueError for another name.
  Optimizer(const char* name, Caller where = Caller::here());
  Optimizer(const std::string& name, Caller where = Caller::here()) : Optimizer(name.c_str(), where) {}
  // Moving copies, so that an optimizer always has its rule.
  Optimizer(const Optimizer&) = default;
  Optimizer& operator=(const Optimizer&) = default;

  /// Updates every tensor of `params`; in place where no other handle shares its elements. `gradients` holds tensors of
  /// the same shapes in the same order. Throws ShapeError when it does not, or when the optimizer keeps slots for
  /// parameters of other shapes or types; ValueError for a learning rate that is negative or not finite; TapeError for
  /// a traced tensor. Then nothing has changed.
  template <class P>
  void step(P& params, const std::type_identity_t<P>& gradients, Caller where = Caller::here()) {
    P given = gradients;
    Handles slopes = handles(given);
    const Step now = begin_step(handles(params), slopes, where);
    std::size_t k = 0;
    tapegrad::detail::for_each_tensor(params, [&]<class T>(Tensor<T>& w) {
      update_.template get<Update<T>>()(w, Tensor<T>(std::move(slopes[k])), std::get<Params<T>>(now_.kept[k].slots),
                                        now);
      ++k;
    });
    ++step_;
    ++now_.iterations;
  }

  /// The next step is the first of this epoch.
  void begin_epoch(std::int64_t epoch) { epoch_ = epoch, step_ = 0; }
  /// The rate of the next step.
  double learning_rate() const { return rate().at(epoch_, step_, now_.iterations); }
  /// Replaces the rule's own rate by a number or a schedule; std::nullopt restores it. Throws ValueError if the next
  /// rate is negative or not finite.
  void set_learning_rate(std::optional<LearningRate> rate, Caller where = Caller::here());
  /// The number that replaces the rule's own rate, if there is one.
  std::optional<double> fixed_learning_rate() const { return set_rate_ ? set_rate_->constant() : std::nullopt; }
  /// The steps made so far.
  std::int64_t iterations() const { return now_.iterations; }

  /// The slots of the parameters that are Tensor<T>: "0.m", "0.v", "1.m", ..., by the parameter's number. Empty before
  /// the first step. Together with iterations() this is everything a rule depends on.
  template <Real T>
  Params<T> state() const;
  /// Continues where an optimizer with this rule left off that gave state() and iterations() for such parameters; for
  /// parameters of both types it is called for each. Schedules by (epoch, step) continue at the next begin_epoch. An
  /// empty state after 0 iterations is that of a fresh optimizer. Throws ValueError when a slot is missing or not
  /// known or iterations are negative, ShapeError when one has another shape, TapeError for a traced tensor; then
  /// nothing has changed.
  template <class P, Real T>
  void set_state(const P& params, const Params<T>& state, std::int64_t iterations, Caller where = Caller::here()) {
    P given = params;
    set_slots(handles(given), state, iterations, where);
  }

 private:
  /// What is kept for one parameter.
  struct Kept {
    Shape shape;  // of the parameter
    std::variant<Params<float>, Params<double>> slots;
  };
  using AllKept = detail::PoolVector<Kept>;

 public:
  /// What steps change.
  class Moment {
    friend Optimizer;
    AllKept kept;  // of each parameter, in order, from the first step on
    std::int64_t iterations = 0;
  };
  /// The present state. It costs nothing; the next step writes into fresh slots.
  const Moment& moment() const { return now_; }
  void go_back(const Moment& moment) { now_ = moment; }

 private:
  using Handles = detail::PoolVector<tapegrad::detail::Handle>;

  template <class T>
  using MakeSlots = Params<T>(const Tensor<T>& w);
  template <class T>
  using Update = void(Tensor<T>& w, const Tensor<T>& g, Params<T>& slots, const Step& step);

  template <class P>
  static Handles handles(P& params) {
    Handles all;
    tapegrad::detail::for_each_tensor(params, [&](const auto& tensor) { all.push_back(tensor.handle()); });
    return all;
  }
  /// Refuses tensors that do not fit, and makes the slots if there are none yet.
  Step begin_step(const Handles& params, const Handles& gradients, const Caller& where);
  /// Whether the slots fit these parameters.
  bool fits(const Handles& params) const;
  AllKept fresh_slots(const Handles& params) const;
  template <Real T>
  void set_slots(const Handles& params, const Params<T>& state, std::int64_t iterations, const Caller& where);

  const LearningRate& rate() const { return set_rate_ ? *set_rate_ : rate_; }

  LearningRate rate_;                     // the rule's own
  std::optional<LearningRate> set_rate_;  // that is in its place
  detail::Overloads<MakeSlots<float>, MakeSlots<double>> make_slots_;
  detail::Overloads<Update<float>, Update<double>> update_;
  Moment now_;
  std::int64_t epoch_ = 0, step_ = 0;
};

}  // namespace tapegrad::nn
