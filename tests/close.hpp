#pragma once
// How close a number must come.

#include <cmath>
#include <limits>
#include <ostream>

/// The step from 1 to the next number.
template <class T>
constexpr double eps = static_cast<double>(std::numeric_limits<T>::epsilon());

/// Equal to what differs from `value` by at most `relative` of it. (doctest::Approx adds 1 to that scale, so that small
/// numbers are all equal to it.)
struct About {
  double value, relative;
};
inline About about(double value, double relative) { return {value, relative}; }

inline bool operator==(double a, const About& b) {
  return a == b.value || std::abs(a - b.value) <= b.relative * std::abs(b.value);
}
inline std::ostream& operator<<(std::ostream& out, const About& b) {
  const auto precision = out.precision(17);
  out << b.value;
  out.precision(precision);
  return out << " but for " << b.relative << " of it";
}
