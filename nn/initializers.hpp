#pragma once
// Initial values of parameters.
//
//     nn::Dense{.units = 10, .kernel_initializer = "he_normal", .bias_initializer = "zeros"};
//     nn::Dense{.units = 10, .kernel_initializer = nn::random_normal(0.01)};
//     auto unit = [](const Shape& shape, nn::Rng& rng) { return rng.uniform<double>(shape); };
//     nn::Dense{.units = 10, .kernel_initializer = unit};

#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include "../autodiff/random.hpp"

namespace tapegrad::nn {

using Rng = random::Generator;

/// Draws numbers for a shape, in double, so that a seed gives a network of float the same initial values, rounded.
class TAPEGRAD_EXPORT Initializer {
 public:
  /// By Keras's name: "zeros", "ones"; "random_normal" (standard deviation 0.05), "random_uniform" (+-0.05),
  /// "truncated_normal" (0.05); "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform",
  /// "lecun_normal"; "orthogonal". Throws ValueError for another name.
  Initializer(const char* name, Caller where = Caller::here());
  Initializer(const std::string& name, Caller where = Caller::here()) : Initializer(name.c_str(), where) {}
  /// A function (const Shape&, Rng&) -> Tensor<double> of that shape.
  template <class F>
  requires std::is_invocable_r_v<Tensor<double>, F&, const Shape&, Rng&> Initializer(F f) : f_(std::move(f)) {}

  /// Throws ShapeError if the function gives another shape.
  template <Real T>
  Tensor<T> make(const Shape& shape, Rng& rng) const;

 private:
  std::function<Tensor<double>(const Shape&, Rng&)> f_;
};

TAPEGRAD_EXPORT Initializer constant(double value);
/// Normal with mean 0. Throws ValueError for a standard deviation that is negative or not finite.
TAPEGRAD_EXPORT Initializer random_normal(double standard_deviation, Caller where = Caller::here());
/// The same, but numbers beyond two standard deviations are drawn again, which leaves 0.8796 of the deviation.
TAPEGRAD_EXPORT Initializer truncated_normal(double standard_deviation, Caller where = Caller::here());
/// Throws ValueError unless low <= high, both finite.
TAPEGRAD_EXPORT Initializer random_uniform(double low, double high, Caller where = Caller::here());

// Of variance 1 / fan (LeCun et al., Efficient BackProp, 1998; for tanh and selu), 2 / fan (He et al., ICCV 2015; for
// relu) with fan = fan_in, or 1 / fan with the mean of fan_in and fan_out (Glorot and Bengio, AISTATS 2010, eq. 16; for
// tanh, sigmoid and softmax). The fans of a matrix (n, units) are its sizes, those of a vector are both its size, and
// axes in front of the last two multiply both, as in Keras. Uniform in +-sqrt(3 variance), or normal, truncated at two
// standard deviations and widened by 1 / 0.8796 so that the variance is kept.

TAPEGRAD_EXPORT Initializer glorot_uniform();
TAPEGRAD_EXPORT Initializer glorot_normal();
TAPEGRAD_EXPORT Initializer he_uniform();
TAPEGRAD_EXPORT Initializer he_normal();
TAPEGRAD_EXPORT Initializer lecun_uniform();
TAPEGRAD_EXPORT Initializer lecun_normal();

/// A matrix with orthonormal columns, or rows if it is wide, times `gain`, drawn uniformly (Saxe et al., ICLR 2014).
/// Throws ShapeError for any other rank.
TAPEGRAD_EXPORT Initializer orthogonal(double gain = 1);

}  // namespace tapegrad::nn
