#include "../clipping.hpp"

#include <sstream>

#include "../../autodiff/extend.hpp"

namespace tapegrad::nn::detail {

void require_limit(const char* operation, double limit, const Caller& where) {
  if (std::isfinite(limit) && limit > 0) return;
  std::ostringstream text;
  text << operation << to_string(where) << ": the limit is " << limit << "; it must be finite and positive";
  throw ValueError(text.str());
}

template <Real T>
double sum_of_squares(const Tensor<T>& x, double unit, const Caller& where) {
  const auto add = [n = x.size(), factor = 1 / unit](const T* values) {
    // Independent sums, which compilers keep in vectors.
    constexpr std::int64_t lanes = 8;
    double sums[lanes] = {};
    const std::int64_t whole = n - n % lanes;
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
  };
  return tapegrad::detail::result_of("global_norm", where, add, x);
}

template <Real T>
double largest_magnitude(const Tensor<T>& x, const Caller& where) {
  const auto find = [n = x.size()](const T* values) {
    double largest = 0;
    for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, static_cast<double>(std::abs(values[i])));
    return largest;
  };
  return tapegrad::detail::result_of("global_norm", where, find, x);
}

template <Real T>
void clip(Tensor<T>& x, double limit, const Caller& where) {
  // With the comparisons in this order a NaN stays.
  const auto cut = [high = static_cast<T>(limit)](T v) { return v > high ? high : v < -high ? -high : v; };
  tapegrad::detail::change("clip_by_value", where, cut, x);
}

template <Real T>
void scale(Tensor<T>& x, double factor, const Caller& where) {
  const auto multiply = [factor](T v) { return static_cast<T>(factor * static_cast<double>(v)); };
  tapegrad::detail::change("clip_by_global_norm", where, multiply, x);
}

template double sum_of_squares(const Tensor<float>&, double, const Caller&);
template double sum_of_squares(const Tensor<double>&, double, const Caller&);
template double largest_magnitude(const Tensor<float>&, const Caller&);
template double largest_magnitude(const Tensor<double>&, const Caller&);
template void clip(Tensor<float>&, double, const Caller&);
template void clip(Tensor<double>&, double, const Caller&);
template void scale(Tensor<float>&, double, const Caller&);
template void scale(Tensor<double>&, double, const Caller&);

}  // namespace tapegrad::nn::detail
