#include "../regularizers.hpp"
#include "../core/errors.hpp"

#include <cmath>

#include "../../autodiff/ops.hpp"
#include "../named.hpp"

namespace tapegrad::nn {
namespace {

void require_factor(const char* name, double factor, const Caller& where) {
  if (std::isfinite(factor) && factor >= 0) return;
  throw ValueError(std::string(name) + to_string(where) + ": the factor is " + std::to_string(factor) +
                   "; it must be a number from 0 on");
}

}  // namespace

template <Real T>
Tensor<T> Regularizer::operator()(const Tensor<T>& w) const {
  const auto& f = function_.get<Signature<T>>();
  if (!f) detail::throw_not_written_for<T>("regularizer", "w");
  Tensor<T> penalty = f(w);
  if (penalty.rank() != 0) {
    throw ShapeError("a regularizer gave " + to_string(penalty.shape()) + " for a parameter of " +
                     to_string(w.shape()) + "; it gives one number: sum over all axes");
  }
  return penalty;
}
template TAPEGRAD_EXPORT Tensor<float> Regularizer::operator()(const Tensor<float>&) const;
template TAPEGRAD_EXPORT Tensor<double> Regularizer::operator()(const Tensor<double>&) const;

Regularizer l1(double factor, Caller where) {
  require_factor("l1", factor, where);
  return [factor](const auto& w) { return factor * sum(abs(w)); };
}
Regularizer l2(double factor, Caller where) {
  require_factor("l2", factor, where);
  return [factor](const auto& w) { return factor * sum(square(w)); };
}
Regularizer l1_l2(double l1, double l2, Caller where) {
  require_factor("l1_l2", l1, where);
  require_factor("l1_l2", l2, where);
  return [l1, l2](const auto& w) { return l1 * sum(abs(w)) + l2 * sum(square(w)); };
}

}  // namespace tapegrad::nn
