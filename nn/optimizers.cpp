#include "optimizers.hpp"

#include <cmath>
#include <string>

namespace tapegrad::nn {
namespace {

/// In place, so that w need not pass through another buffer; a plain function, which compilers vectorise well.
template <class T>
void subtract_scaled(T* __restrict w, const T* __restrict gradient, std::int64_t n, T rate) {
  for (std::int64_t i = 0; i < n; ++i) w[i] -= rate * gradient[i];
}

}  // namespace

void LearningRate::require_schedule() const {
  if (!schedule_) throw ValueError("a learning rate needs a number or a function of (epoch, step), not an empty one");
}

double LearningRate::at(std::int64_t epoch, std::int64_t step) const {
  const double rate = schedule_ ? schedule_(epoch, step) : rate_;
  if (!std::isfinite(rate) || rate < 0) {
    throw ValueError("the learning rate is " + std::to_string(rate) + " in epoch " + std::to_string(epoch) + ", step " +
                     std::to_string(step) + "; it must be finite and not negative");
  }
  return rate;
}

LearningRate inverse_time_decay(double eta, double decay) {
  return [eta, decay](std::int64_t, std::int64_t step) { return eta / (1 + decay * static_cast<double>(step)); };
}

template <Real T>
void SGD::update(Tensor<T>& w, const Tensor<T>& gradient, double rate) const {
  subtract_scaled(w.mutable_data(Where{}), gradient.data(), w.size(), static_cast<T>(rate));
}
template void SGD::update(Tensor<float>&, const Tensor<float>&, double) const;
template void SGD::update(Tensor<double>&, const Tensor<double>&, double) const;

void Optimizer::check_count(std::size_t params, std::size_t gradients, const Where& where) {
  if (params == gradients) return;
  throw ShapeError("step" + to_string(where) + ": " + std::to_string(params) + " parameters, but " +
                   std::to_string(gradients) + " gradients");
}

void Optimizer::check(std::size_t k, std::size_t count, const Shape& w, const Shape& gradient, const Where& where) {
  if (k >= count || w == gradient) return;
  throw ShapeError("step" + to_string(where) + ": parameter " + std::to_string(k) + " is " + to_string(w) +
                   ", but its gradient " + to_string(gradient));
}

}  // namespace tapegrad::nn
