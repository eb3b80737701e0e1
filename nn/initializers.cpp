#include "initializers.hpp"

#include <cmath>

#include "named.hpp"

namespace tapegrad::nn {

Initializer::Initializer(const char* name, Where where) {
  const std::string_view given = name;
  if (given == "zeros")
    *this = constant(0);
  else if (given == "ones")
    *this = constant(1);
  else if (given == "glorot_uniform")
    *this = glorot_uniform();
  else
    detail::throw_unknown("initializer", given, {"zeros", "ones", "glorot_uniform"}, where);
}

template <Real T>
Tensor<T> Initializer::make(const Shape& shape, Rng& rng) const {
  const Tensor<double> values = f_(shape, rng);
  if (!(values.shape() == shape)) {
    throw ShapeError("an initializer was asked for " + to_string(shape) + " and gave " + to_string(values.shape()));
  }
  if constexpr (std::is_same_v<T, double>)
    return values;
  else
    return astype<T>(values);
}
template TAPEGRAD_EXPORT Tensor<float> Initializer::make(const Shape&, Rng&) const;
template TAPEGRAD_EXPORT Tensor<double> Initializer::make(const Shape&, Rng&) const;

Initializer constant(double value) {
  return [value](const Shape& shape, Rng&) { return full<double>(shape, value); };
}

Initializer normal(double standard_deviation, Where where) {
  if (!std::isfinite(standard_deviation) || standard_deviation < 0) {
    throw ValueError("normal" + to_string(where) + ": the standard deviation is " + std::to_string(standard_deviation));
  }
  return
      [standard_deviation](const Shape& shape, Rng& rng) { return rng.normal<double>(shape, 0, standard_deviation); };
}

Initializer glorot_uniform() {
  return [](const Shape& shape, Rng& rng) {
    const double fans = shape.empty() ? 2 : static_cast<double>(shape.front() + shape.back());
    const double limit = std::sqrt(6 / fans);
    return rng.uniform<double>(shape, -limit, limit);
  };
}

}  // namespace tapegrad::nn
