#pragma once
// How far parameters are from recorded ones.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <tapegrad/autodiff.hpp>

namespace trajectory {

using tapegrad::Tensor;
using tapegrad::TensorList;

inline double largest_difference(const Tensor<>& a, const Tensor<>& b) {
  REQUIRE(a.shape() == b.shape());
  return max(abs(a - b)).item();
}
inline double largest_difference(const TensorList<double>& a, const TensorList<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, largest_difference(a[i], b[i]));
  return largest;
}

/// The distance of [sum a, sum a^2, sum a[k] cos k] from `expected`, each relative to the sum of its absolute terms.
inline double checksum_difference(const Tensor<>& a, const Tensor<>& expected) {
  std::array<double, 3> sums{}, sizes{};
  for (std::int64_t k = 0; k < a.size(); ++k) {
    const double x = a.data()[k], terms[3] = {x, x * x, x * std::cos(static_cast<double>(k))};
    for (std::size_t i = 0; i < 3; ++i) {
      sums[i] += terms[i];
      sizes[i] += std::abs(terms[i]);
    }
  }
  double largest = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const double difference = std::abs(sums[i] - expected.data()[i]);
    if (difference > 0) largest = std::max(largest, difference / sizes[i]);
  }
  return largest;
}

}  // namespace trajectory
