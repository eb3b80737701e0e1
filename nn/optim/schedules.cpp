#include "../schedules.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <sstream>
#include <string>

namespace tapegrad::nn {

// ------------------------------------------------------------------------------------------------- a rate

void LearningRate::require_schedule(bool present) {
  if (present) return;
  throw ValueError("a learning rate needs a number or a function of (epoch, step) or (iteration), not an empty one");
}

double LearningRate::at(std::int64_t epoch, std::int64_t step, std::int64_t iteration, const Caller& where) const {
  const double rate = schedule_ ? schedule_(epoch, step, iteration) : rate_;
  if (!std::isfinite(rate) || rate < 0) {
    throw ValueError("the learning rate" + to_string(where) + " is " + std::to_string(rate) + " in epoch " +
                     std::to_string(epoch) + ", step " + std::to_string(step) + ", iteration " +
                     std::to_string(iteration) + "; it must be finite and not negative");
  }
  return rate;
}

// --------------------------------------------------------------------------------------------- schedules

namespace {

[[noreturn]] void refuse(const char* schedule, const Caller& where, const std::string& what) {
  throw ValueError(schedule + to_string(where) + ": " + what);
}

struct Argument {
  const char* name;
  double value;
};

void require_not_negative(const char* schedule, const Caller& where, std::initializer_list<Argument> arguments) {
  for (const auto& [name, value] : arguments) {
    if (std::isfinite(value) && value >= 0) continue;
    std::ostringstream text;
    text << name << " is " << value << "; it must be finite and not negative";
    refuse(schedule, where, text.str());
  }
}

void require_positive(const char* schedule, const Caller& where, const char* name, std::int64_t value) {
  if (value < 1) refuse(schedule, where, name + (" is " + std::to_string(value)) + "; it must be at least 1");
}

/// i / decay_steps, rounded down for a staircase.
double periods(std::int64_t i, std::int64_t decay_steps, bool staircase) {
  return staircase ? static_cast<double>(i / decay_steps) : static_cast<double>(i) / static_cast<double>(decay_steps);
}

}  // namespace

LearningRate inverse_time_decay_in_epoch(double eta, double decay, Caller where) {
  require_not_negative("inverse_time_decay_in_epoch", where, {{"eta", eta}, {"decay", decay}});
  return [eta, decay](std::int64_t, std::int64_t step) { return eta / (1 + decay * static_cast<double>(step)); };
}

LearningRate inverse_time_decay(double initial, std::int64_t decay_steps, double decay_rate, bool staircase,
                                Caller where) {
  require_not_negative("inverse_time_decay", where, {{"initial", initial}, {"decay_rate", decay_rate}});
  require_positive("inverse_time_decay", where, "decay_steps", decay_steps);
  return [=](std::int64_t i) { return initial / (1 + decay_rate * periods(i, decay_steps, staircase)); };
}

LearningRate exponential_decay(double initial, std::int64_t decay_steps, double decay_rate, bool staircase,
                               Caller where) {
  require_not_negative("exponential_decay", where, {{"initial", initial}, {"decay_rate", decay_rate}});
  require_positive("exponential_decay", where, "decay_steps", decay_steps);
  return [=](std::int64_t i) { return initial * std::pow(decay_rate, periods(i, decay_steps, staircase)); };
}

LearningRate piecewise_constant(std::vector<std::int64_t> boundaries, std::vector<double> values, Caller where) {
  if (values.size() != boundaries.size() + 1) {
    refuse("piecewise_constant", where,
           std::to_string(boundaries.size()) + " boundaries need one value more, not " + std::to_string(values.size()));
  }
  if (std::adjacent_find(boundaries.begin(), boundaries.end(), std::greater_equal{}) != boundaries.end()) {
    refuse("piecewise_constant", where, "the boundaries must increase");
  }
  for (double value : values) require_not_negative("piecewise_constant", where, {{"a value", value}});
  return [boundaries = std::move(boundaries), values = std::move(values)](std::int64_t i) {
    const auto below = std::lower_bound(boundaries.begin(), boundaries.end(), i) - boundaries.begin();
    return values[static_cast<std::size_t>(below)];
  };
}

LearningRate cosine_decay(double initial, std::int64_t decay_steps, double alpha, Caller where) {
  require_not_negative("cosine_decay", where, {{"initial", initial}, {"alpha", alpha}});
  require_positive("cosine_decay", where, "decay_steps", decay_steps);
  return [=](std::int64_t i) {
    const double s = periods(std::min(i, decay_steps), decay_steps, false);
    return initial * (alpha + (1 - alpha) * 0.5 * (1 + std::cos(std::numbers::pi * s)));
  };
}

LearningRate polynomial_decay(double initial, std::int64_t decay_steps, double end, double power, Caller where) {
  require_not_negative("polynomial_decay", where, {{"initial", initial}, {"end", end}, {"power", power}});
  require_positive("polynomial_decay", where, "decay_steps", decay_steps);
  return [=](std::int64_t i) {
    return end + (initial - end) * std::pow(1 - periods(std::min(i, decay_steps), decay_steps, false), power);
  };
}

LearningRate warm_up(LearningRate schedule, std::int64_t iterations, Caller where) {
  require_positive("warm_up", where, "iterations", iterations);
  return [=, schedule = std::move(schedule)](std::int64_t epoch, std::int64_t step, std::int64_t i) {
    const double rate = schedule.at(epoch, step, std::max<std::int64_t>(i - iterations, 0));
    return i < iterations ? rate * periods(i, iterations, false) : rate;
  };
}

}  // namespace tapegrad::nn
