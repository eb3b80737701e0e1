#pragma once
// Schedules of the learning rate.
//
//     nn::SGD{.learning_rate = 0.1};                                                     // constant
//     nn::SGD{.learning_rate = nn::exponential_decay(0.1, 1000, 0.9)};
//     nn::Adam{.learning_rate = nn::warm_up(nn::cosine_decay(1e-3, 10'000), 500)};
//     nn::SGD{.learning_rate = [](std::int64_t epoch, std::int64_t) { return epoch < 10 ? 0.1 : 0.01; }};
//     nn::SGD{.learning_rate = [](std::int64_t iteration) { return 0.1 / (1 + 1e-4 * double(iteration)); }};

#include <cstdint>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "../autodiff/error.hpp"

namespace tapegrad::nn {

/// A number; a function of (epoch, step), the step within its epoch; of (iteration), the step over the optimizer's
/// life; or of (epoch, step, iteration). All count from 0.
class TAPEGRAD_EXPORT LearningRate {
 public:
  using Function = std::function<double(std::int64_t epoch, std::int64_t step, std::int64_t iteration)>;

  LearningRate(double rate) : rate_(rate) {}
  template <class F>
  requires std::is_invocable_r_v<double, F&, std::int64_t, std::int64_t, std::int64_t> LearningRate(F schedule)
      : schedule_(std::move(schedule)) {
    require_schedule(static_cast<bool>(schedule_));
  }
  template <class F>
  requires std::is_invocable_r_v<double, F&, std::int64_t, std::int64_t> LearningRate(F schedule) {
    std::function<double(std::int64_t, std::int64_t)> f(std::move(schedule));
    require_schedule(static_cast<bool>(f));
    schedule_ = [f = std::move(f)](std::int64_t epoch, std::int64_t step, std::int64_t) { return f(epoch, step); };
  }
  template <class F>
  requires std::is_invocable_r_v<double, F&, std::int64_t> LearningRate(F schedule) {
    std::function<double(std::int64_t)> f(std::move(schedule));
    require_schedule(static_cast<bool>(f));
    schedule_ = [f = std::move(f)](std::int64_t, std::int64_t, std::int64_t iteration) { return f(iteration); };
  }

  /// Throws ValueError when the rate is negative or not finite.
  double at(std::int64_t epoch, std::int64_t step, std::int64_t iteration, const Caller& where = {}) const;
  /// The number; empty for a function.
  std::optional<double> constant() const { return schedule_ ? std::nullopt : std::optional(rate_); }

 private:
  /// Throws ValueError for an empty std::function.
  static void require_schedule(bool present);

  double rate_ = 0;
  Function schedule_;
};

// Those named for Keras are its formulas (keras.optimizers.schedules), i the iteration over the optimizer's life. They
// throw ValueError for an initial rate, end or factor that is negative or not finite, and for decay_steps < 1.

/// eta / (1 + decay * step), which starts again at every epoch, as in notebook 001.
TAPEGRAD_EXPORT LearningRate inverse_time_decay_in_epoch(double eta, double decay, Caller where = Caller::here());
/// initial / (1 + decay_rate * i / decay_steps), with a staircase floor(i / decay_steps); Keras' InverseTimeDecay.
TAPEGRAD_EXPORT LearningRate inverse_time_decay(double initial, std::int64_t decay_steps, double decay_rate,
                                                bool staircase = false, Caller where = Caller::here());
/// initial * decay_rate^(i / decay_steps), with a staircase floor(i / decay_steps), known as step decay; Keras'
/// ExponentialDecay.
TAPEGRAD_EXPORT LearningRate exponential_decay(double initial, std::int64_t decay_steps, double decay_rate,
                                               bool staircase = false, Caller where = Caller::here());
/// values[k] where k boundaries are below i: values[0] up to and including i = boundaries[0]; Keras'
/// PiecewiseConstantDecay. Throws ValueError unless boundaries increase and there is one value more.
TAPEGRAD_EXPORT LearningRate piecewise_constant(std::vector<std::int64_t> boundaries, std::vector<double> values,
                                                Caller where = Caller::here());
/// initial * (alpha + (1 - alpha) (1 + cos(pi s)) / 2), s = min(i / decay_steps, 1), which ends at alpha * initial;
/// Keras' CosineDecay. One period of Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5.
TAPEGRAD_EXPORT LearningRate cosine_decay(double initial, std::int64_t decay_steps, double alpha = 0,
                                          Caller where = Caller::here());
/// end + (initial - end) (1 - s)^power, s = min(i / decay_steps, 1); Keras' PolynomialDecay.
TAPEGRAD_EXPORT LearningRate polynomial_decay(double initial, std::int64_t decay_steps, double end = 1e-4,
                                              double power = 1, Caller where = Caller::here());
/// Rises in a straight line from 0 to the first rate of `schedule`, as i / iterations of it. Then follows the schedule,
/// which counts its iterations from the end of the warm-up, as Keras's CosineDecay does. Throws ValueError for
/// iterations < 1.
TAPEGRAD_EXPORT LearningRate warm_up(LearningRate schedule, std::int64_t iterations, Caller where = Caller::here());

}  // namespace tapegrad::nn
