#include "../clipping.hpp"

#include <sstream>

namespace tapegrad::nn::detail {

void require_limit(const char* operation, double limit, const Caller& where) {
  if (std::isfinite(limit) && limit > 0) return;
  std::ostringstream text;
  text << operation << to_string(where) << ": the limit is " << limit << "; it must be finite and positive";
  throw ValueError(text.str());
}

template <Real T>
double sum_of_squares(const Tensor<T>& x, double unit) {
  // Sums that do not wait for each other, and that compilers keep in vectors.
  constexpr std::int64_t lanes = 8;
  double sums[lanes] = {};
  const T* values = x.data();
  const std::int64_t n = x.size(), whole = n - n % lanes;
  const double factor = 1 / unit;
  for (std::int64_t i = 0; i < whole; i += lanes) {
    for (std::int64_t j = 0; j < lanes; ++j) {
      const double v = static_cast<double>(values[i + j]) * factor;
      sums[j] += v * v;
    }
  }
  for (std::int64_t i = whole; i < n; ++i) {
    const double v = static_cast<double>(values[i]) * factor;
    sums[i - whole] += v * v;
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

template <Real T>
double largest_magnitude(const Tensor<T>& x) {
  double largest = 0;
  for (T value : x.elements_view()) largest = std::max(largest, static_cast<double>(std::abs(value)));
  return largest;
}

template <Real T>
void clip(Tensor<T>& x, double limit, const Caller& where) {
  const T high = static_cast<T>(limit);
  T* values = x.mutable_data(where);
  // In this order of the comparisons a NaN stays.
  for (std::int64_t i = 0, n = x.size(); i < n; ++i) {
    values[i] = values[i] > high ? high : values[i] < -high ? -high : values[i];
  }
}

template <Real T>
void scale(Tensor<T>& x, double factor, const Caller& where) {
  T* values = x.mutable_data(where);
  for (std::int64_t i = 0, n = x.size(); i < n; ++i) {
    values[i] = static_cast<T>(factor * static_cast<double>(values[i]));
  }
}

template double sum_of_squares(const Tensor<float>&, double);
template double sum_of_squares(const Tensor<double>&, double);
template double largest_magnitude(const Tensor<float>&);
template double largest_magnitude(const Tensor<double>&);
template void clip(Tensor<float>&, double, const Caller&);
template void clip(Tensor<double>&, double, const Caller&);
template void scale(Tensor<float>&, double, const Caller&);
template void scale(Tensor<double>&, double, const Caller&);

}  // namespace tapegrad::nn::detail
