#pragma once
// Functions with derivative rules of your own.
//
//     auto cube = custom<double>({.name = "cube",
//         .value = [](auto x) { return x[0] * x[0] * x[0]; },
//         .pullback = [](std::size_t, auto& g, auto&, auto x) { return g * 3 * square(x[0]); },
//         .pushforward = [](std::size_t, auto& v, auto&, auto x) { return v * 3 * square(x[0]); }});
//     Tensor<> y = cube(x);

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ops.hpp"

namespace tapegrad {

/// A user's own primitive. Its rules are written in tensor operations, so that they can be differentiated again.
template <Real T>
struct CustomRule {
  using Operands = std::span<const Tensor<T>>;

  std::string name = "custom";
  /// f(x...). It is called with plain values.
  std::function<Tensor<T>(Operands x)> value = {};
  /// J_k^T g. g has the shape of y = f(x...), and the result that of x[k].
  std::function<Tensor<T>(std::size_t k, const Tensor<T>& g, const Tensor<T>& y, Operands x)> pullback = {};
  /// In place of pullback, where the products share work: J_k^T g for every k, all of them tensors of the shape of
  /// x[k]. It may be called more than once in a sweep, for single seeds and for single operands.
  std::function<std::vector<Tensor<T>>(const Tensor<T>& g, const Tensor<T>& y, Operands x)> pullback_all = {};
  /// J_k v. v has the shape of x[k], and the result that of y. It is needed only for forward sweeps (jvp, hvp, some
  /// Jacobians).
  std::function<Tensor<T>(std::size_t k, const Tensor<T>& v, const Tensor<T>& y, Operands x)> pushforward = {};
  /// Whether the rules take any number of leading seed axes at once. If not, they are called once per seed.
  bool batched = false;
  /// Whether element b of the first axis of y depends only on element b of the first axis of each operand.
  bool separate_rows = false;
};

/// A function made by custom(); cheap to copy.
template <Real T>
class TAPEGRAD_EXPORT CustomFunction {
 public:
  explicit CustomFunction(CustomRule<T> rule, Caller where = Caller::here());
  /// Throws ValueError if the value is missing, or unless there is exactly one of the two pullbacks; ShapeError if a
  /// rule returns a wrong shape, or not as many adjoints as there are operands.
  Tensor<T> call(std::span<const Tensor<T>> x, Caller where) const;

  template <class... More>
  Tensor<T> operator()(const Operand<T>& x, const More&... more) const {
    const Tensor<T> operands[] = {x.tensor(), more...};
    return call(operands, x.where());
  }

 private:
  Tensor<T> rule_;  // holds the rule as an object of the pool, so that a tape can keep it alive
};

template <Real T>
CustomFunction<T> custom(CustomRule<T> rule, Caller where = Caller::here()) {
  return CustomFunction<T>(std::move(rule), where);
}

extern template class CustomFunction<float>;
extern template class CustomFunction<double>;

}  // namespace tapegrad
