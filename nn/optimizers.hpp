#pragma once
// Optimisers and schedules of the learning rate.
//
//     nn::Optimizer opt = nn::SGD{.learning_rate = nn::inverse_time_decay(0.1, 0.01)};
//     for (...) {
//       auto [loss, g] = value_and_grad(f)(params, x, y);
//       opt.step(params, g);                          // params: anything that value_and_grad differentiates by
//     }

#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "../autodiff/parameters.hpp"

namespace tapegrad::nn {

/// A number, or a function of (epoch, step), both counted from 0, the step within its epoch.
class TAPEGRAD_EXPORT LearningRate {
 public:
  LearningRate(double rate) : rate_(rate) {}
  template <class F>
  requires std::is_invocable_r_v<double, F&, std::int64_t, std::int64_t> LearningRate(F schedule)
      : schedule_(std::move(schedule)) {
    require_schedule();
  }

  /// Throws ValueError when the rate is negative or not finite.
  double at(std::int64_t epoch, std::int64_t step) const;

 private:
  /// Throws ValueError for an empty std::function.
  void require_schedule() const;

  double rate_ = 0;
  std::function<double(std::int64_t, std::int64_t)> schedule_;
};

/// eta / (1 + decay * step), which starts again at every epoch, as in notebook 001.
TAPEGRAD_EXPORT LearningRate inverse_time_decay(double eta, double decay);

/// w <- w - learning_rate * gradient.
struct TAPEGRAD_EXPORT SGD {
  LearningRate learning_rate = 0.01;

  template <Real T>
  void update(Tensor<T>& w, const Tensor<T>& gradient, double rate) const;
};

/// A rule of update, and how far it has come: it counts the steps since the last begin_epoch.
class TAPEGRAD_EXPORT Optimizer {
 public:
  /// A rule has a learning_rate and update(w, gradient, rate) for Tensor<float> and Tensor<double>.
  template <class Rule>
  requires requires(const Rule& rule, Tensor<float>& w, Tensor<double>& v) {
    rule.learning_rate.at(0, 0);
    rule.update(w, std::as_const(w), 0.1);
    rule.update(v, std::as_const(v), 0.1);
  }
  Optimizer(Rule rule) : rule_(std::make_shared<const Holder<Rule>>(std::move(rule))) {}
  // Copied where it would be moved, so that none is ever without its rule.
  Optimizer(const Optimizer&) = default;
  Optimizer& operator=(const Optimizer&) = default;

  /// Updates every tensor of `params`; in place where no other handle shares its elements. `gradients` holds tensors of
  /// the same shapes in the same order. Throws ShapeError when it does not, ValueError for a learning rate that is
  /// negative or not finite; then nothing has changed.
  template <class P>
  void step(P& params, const std::type_identity_t<P>& gradients, Where where = Where::here()) {
    P given = gradients;
    Handles slopes;
    tapegrad::detail::for_each_tensor(given, [&](const auto& g) { slopes.push_back(g.handle()); });
    std::size_t k = 0;
    tapegrad::detail::for_each_tensor(params, [&](const auto& w) {
      check(k, slopes.size(), w.shape(), k < slopes.size() ? slopes[k].shape() : Shape{}, where);
      ++k;
    });
    check_count(k, slopes.size(), where);
    const double rate = learning_rate();
    k = 0;
    tapegrad::detail::for_each_tensor(
        params, [&]<class T>(Tensor<T>& w) { rule_->update(w, Tensor<T>(std::move(slopes[k++])), rate); });
    ++step_;
  }

  /// The next step is the first of this epoch.
  void begin_epoch(std::int64_t epoch) { epoch_ = epoch, step_ = 0; }
  /// The rate of the next step.
  double learning_rate() const { return rule_->rate().at(epoch_, step_); }

 private:
  using Handles = std::vector<tapegrad::detail::Handle, tapegrad::detail::PoolAllocator<tapegrad::detail::Handle>>;

  struct Interface {
    virtual ~Interface() = default;
    virtual const LearningRate& rate() const = 0;
    virtual void update(Tensor<float>& w, const Tensor<float>& gradient, double rate) const = 0;
    virtual void update(Tensor<double>& w, const Tensor<double>& gradient, double rate) const = 0;
  };
  template <class Rule>
  struct Holder final : Interface {
    explicit Holder(Rule r) : rule(std::move(r)) {}
    const LearningRate& rate() const override { return rule.learning_rate; }
    void update(Tensor<float>& w, const Tensor<float>& g, double rate) const override { rule.update(w, g, rate); }
    void update(Tensor<double>& w, const Tensor<double>& g, double rate) const override { rule.update(w, g, rate); }
    Rule rule;
  };

  static void check(std::size_t k, std::size_t count, const Shape& w, const Shape& gradient, const Where& where);
  static void check_count(std::size_t params, std::size_t gradients, const Where& where);

  std::shared_ptr<const Interface> rule_;
  std::int64_t epoch_ = 0, step_ = 0;
};

}  // namespace tapegrad::nn
