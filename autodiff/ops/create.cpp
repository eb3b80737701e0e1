// New tensors, and comparing whole ones.

#include <algorithm>
#include <cmath>
#include "../ops.hpp"
#include "operands.hpp"

namespace tapegrad {

namespace {

template <class T>
Tensor<T> filled(const Shape& shape, T value, const char* operation, const Where& where) {
  detail::Array* out = detail::allocate_result<T>(shape, operation, where);
  std::fill_n(detail::elements<T>(out), shape.count(), value);
  return Tensor<T>(detail::Handle(out));
}

}  // namespace

template <class T>
Tensor<T> full(const Shape& shape, std::type_identity_t<T> value, Where where) {
  return filled<T>(shape, value, "full", where);
}
template <class T>
Tensor<T> zeros(const Shape& shape, Where where) {
  return filled<T>(shape, T{0}, "zeros", where);
}
template <class T>
Tensor<T> ones(const Shape& shape, Where where) {
  return filled<T>(shape, T{1}, "ones", where);
}

template <class T>
Tensor<T> eye(std::int64_t n, Where where) {
  Tensor<T> result = filled<T>({n, n}, T{0}, "eye", where);
  for (std::int64_t i = 0; i < n; ++i) result.mutable_data()[i * n + i] = T{1};
  return result;
}

template <class T>
Tensor<T> arange(double start, double stop, double step, Where where) {
  const double count = std::ceil((stop - start) / step);
  if (!std::isfinite(count) || count > 1e15) {
    throw ValueError("arange" + to_string(where) + ": from " + std::to_string(start) + " to " + std::to_string(stop) +
                     " by " + std::to_string(step) + " has no finite number of steps");
  }
  const auto n = static_cast<std::int64_t>(std::max(count, 0.0));
  detail::Array* out = detail::allocate_result<T>({n}, "arange", where);
  for (std::int64_t i = 0; i < n; ++i) {
    detail::elements<T>(out)[i] = static_cast<T>(start + static_cast<double>(i) * step);
  }
  return Tensor<T>(detail::Handle(out));
}

template <Real T>
Tensor<T> linspace(double start, double stop, std::int64_t count, Where where) {
  if (!std::isfinite(start) || !std::isfinite(stop)) {
    throw ValueError("linspace" + to_string(where) + ": from " + std::to_string(start) + " to " + std::to_string(stop) +
                     "; the ends must be finite");
  }
  if (count < 0) throw ValueError("linspace" + to_string(where) + ": " + std::to_string(count) + " points");
  detail::Array* out = detail::allocate_result<T>({count}, "linspace", where);
  for (std::int64_t i = 0; i < count; ++i) {
    const double t = count == 1 ? 0 : static_cast<double>(i) / static_cast<double>(count - 1);
    detail::elements<T>(out)[i] = static_cast<T>(i + 1 == count && count > 1 ? stop : start + t * (stop - start));
  }
  return Tensor<T>(detail::Handle(out));
}

template <Real T>
Tensor<T> one_hot(const Tensor<std::int64_t>& labels, std::int64_t classes, Where where) {
  detail::value_of(labels, "one_hot", where);
  Tensor<T> result = filled<T>(labels.shape().concat({classes}), T{0}, "one_hot", where);
  T* out = result.mutable_data();
  for (std::int64_t i = 0; i < labels.size(); ++i) {
    const std::int64_t label = labels.data()[i];
    if (label < 0 || label >= classes) {
      throw ValueError("one_hot" + to_string(where) + ": label " + std::to_string(label) + " at position " +
                       std::to_string(i) + " is not one of the " + std::to_string(classes) + " classes 0 to " +
                       std::to_string(classes - 1));
    }
    out[i * classes + label] = T{1};
  }
  return result;
}

template <Real T>
bool allclose(const Tensor<T>& a, const Tensor<T>& b, double rtol, double atol) {
  if (a.shape() != b.shape()) return false;
  const T *of_a = detail::elements_of(a), *of_b = detail::elements_of(b);
  for (std::int64_t i = 0; i < a.size(); ++i) {
    const double x = of_a[i], y = of_b[i];
    if (x != y && !(std::isfinite(x) && std::isfinite(y) && std::abs(x - y) <= atol + rtol * std::abs(y))) return false;
  }
  return true;
}

namespace {

// Makes the functions above for every element type.
template <class T>
constexpr std::tuple functions(&full<T>, &zeros<T>, &ones<T>, &eye<T>,
                               static_cast<Tensor<T> (*)(double, double, double, Where)>(&arange<T>));
[[gnu::used]] constexpr auto of_float = functions<float>;
[[gnu::used]] constexpr auto of_double = functions<double>;
[[gnu::used]] constexpr auto of_int64 = functions<std::int64_t>;
[[gnu::used]] constexpr auto of_bool = functions<bool>;

}  // namespace

template Tensor<float> linspace(double, double, std::int64_t, Where);
template Tensor<double> linspace(double, double, std::int64_t, Where);
template Tensor<float> one_hot(const Tensor<std::int64_t>&, std::int64_t, Where);
template Tensor<double> one_hot(const Tensor<std::int64_t>&, std::int64_t, Where);
template bool allclose(const Tensor<float>&, const Tensor<float>&, double, double);
template bool allclose(const Tensor<double>&, const Tensor<double>&, double, double);

}  // namespace tapegrad
