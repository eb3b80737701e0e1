#pragma once
// Initial values of parameters.
//
//     nn::Dense{.units = 10, .kernel_initializer = nn::normal(0.01), .bias_initializer = "zeros"};
//     auto unit = [](const Shape& shape, nn::Rng& rng) { return rng.uniform<double>(shape); };
//     nn::Dense{.units = 10, .kernel_initializer = unit};

#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include "../autodiff/random.hpp"

namespace tapegrad::nn {

using Rng = random::Generator;

/// Numbers for a shape, drawn in double, so that a seed gives a network of float the same start, rounded.
class TAPEGRAD_EXPORT Initializer {
 public:
  /// "zeros", "ones" or "glorot_uniform". Throws ValueError for another name.
  Initializer(const char* name, Where where = Where::here());
  Initializer(const std::string& name, Where where = Where::here()) : Initializer(name.c_str(), where) {}
  /// A function (const Shape&, Rng&) -> Tensor<double> of that shape.
  template <class F>
  requires std::is_invocable_r_v<Tensor<double>, F&, const Shape&, Rng&> Initializer(F f) : f_(std::move(f)) {}

  /// Throws ShapeError when the function gives another shape.
  template <Real T>
  Tensor<T> make(const Shape& shape, Rng& rng) const;

 private:
  std::function<Tensor<double>(const Shape&, Rng&)> f_;
};

TAPEGRAD_EXPORT Initializer constant(double value);
/// Normal with mean 0. Throws ValueError for a standard deviation that is negative or not finite.
TAPEGRAD_EXPORT Initializer normal(double standard_deviation, Where where = Where::here());
/// Uniform in +-sqrt(6 / (fan_in + fan_out)), the two sizes of a matrix (Glorot and Bengio, AISTATS 2010, eq. 16).
TAPEGRAD_EXPORT Initializer glorot_uniform();

}  // namespace tapegrad::nn
