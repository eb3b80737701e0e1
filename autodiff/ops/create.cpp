// New tensors, and comparing whole ones.

#include <algorithm>
#include <cmath>
#include "../ops.hpp"
#include "../tape/primitive.hpp"
#include "operands.hpp"

namespace tapegrad {

namespace {

template <class T>
Tensor<T> filled(const Shape& shape, T value, const char* operation, const Caller& where) {
  return detail::made<T>(shape, operation, where, [value](T* to, std::int64_t size) { std::fill_n(to, size, value); });
}

}  // namespace

template <class T>
Tensor<T> full(const Shape& shape, std::type_identity_t<T> value, Caller where) {
  return filled<T>(shape, value, "full", where);
}
template <class T>
Tensor<T> zeros(const Shape& shape, Caller where) {
  return filled<T>(shape, T{0}, "zeros", where);
}
template <class T>
Tensor<T> ones(const Shape& shape, Caller where) {
  return filled<T>(shape, T{1}, "ones", where);
}

template <class T>
Tensor<T> eye(std::int64_t n, Caller where) {
  return detail::made<T>({n, n}, "eye", where, [n](T* to, std::int64_t size) {
    std::fill_n(to, size, T{0});
    for (std::int64_t i = 0; i < n; ++i) to[i * n + i] = T{1};
  });
}

template <class T>
Tensor<T> arange(double start, double stop, double step, Caller where) {
  const double count = std::ceil((stop - start) / step);
  if (!std::isfinite(count) || count > 1e15) {
    throw ValueError(
        "arange" + to_string(where) + ": from " + std::to_string(start) + " to " + std::to_string(stop) + " by " +
        std::to_string(step) +
        (std::isfinite(count) ? " has more steps than memory could hold" : " has no finite number of steps"));
  }
  return detail::made<T>({static_cast<std::int64_t>(std::max(count, 0.0))}, "arange", where,
                         [start, step](T* to, std::int64_t size) {
                           for (std::int64_t i = 0; i < size; ++i) {
                             to[i] = static_cast<T>(start + static_cast<double>(i) * step);
                           }
                         });
}

template <Real T>
Tensor<T> linspace(double start, double stop, std::int64_t count, Caller where) {
  if (!std::isfinite(start) || !std::isfinite(stop)) {
    throw ValueError("linspace" + to_string(where) + ": from " + std::to_string(start) + " to " + std::to_string(stop) +
                     "; the ends must be finite");
  }
  if (count < 0)
    throw ValueError("linspace" + to_string(where) + ": " + std::to_string(count) +
                     " points; none is the least number");
  return detail::made<T>({count}, "linspace", where, [start, stop](T* to, std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) {
      const double t = size == 1 ? 0 : static_cast<double>(i) / static_cast<double>(size - 1);
      to[i] = static_cast<T>(i + 1 == size && size > 1 ? stop : start + t * (stop - start));
    }
  });
}

namespace detail {
namespace {

template <class T>
struct OneHotPrimitive {
  static constexpr const char* name = "one_hot";
  struct Attributes {
    std::int64_t classes;
    Caller where;
  };

  static void evaluate(const Attributes& attributes, Operands labels, Results out) {
    command(
        name,
        [attributes, n = labels[0]->shape.count()](const std::int64_t* label, T* to) {
          std::fill_n(to, n * attributes.classes, T{0});
          for (std::int64_t i = 0; i < n; ++i, to += attributes.classes) {
            if (label[i] < 0 || label[i] >= attributes.classes) throw_no_class(attributes, i, label[i]);
            to[label[i]] = T{1};
          }
        },
        in_of<std::int64_t>(*labels[0]), out_of<T>(out[0]));
  }

 private:
  [[noreturn, gnu::cold]] static void throw_no_class(const Attributes& attributes, std::int64_t i, std::int64_t label) {
    throw ValueError("one_hot" + to_string(attributes.where) + ": label " + std::to_string(label) + " at position " +
                     std::to_string(i) + " is not one of the " + std::to_string(attributes.classes) + " classes 0 to " +
                     std::to_string(attributes.classes - 1));
  }
};

}  // namespace
}  // namespace detail

template <Real T>
Tensor<T> one_hot(const Tensor<std::int64_t>& labels, std::int64_t classes, Caller where) {
  using namespace detail;
  const Shape shape = value_of(labels, "one_hot", where).shape.concat({classes}, where);
  return Tensor<T>(apply<OneHotPrimitive<T>>({&labels.handle()}, allocate_result<T>(shape, "one_hot", where), where,
                                             {classes, where}));
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
constexpr std::tuple functions(static_cast<Tensor<T> (*)(const Shape&, T, Caller)>(&full<T>),
                               static_cast<Tensor<T> (*)(const Shape&, Caller)>(&zeros<T>),
                               static_cast<Tensor<T> (*)(const Shape&, Caller)>(&ones<T>), &eye<T>,
                               static_cast<Tensor<T> (*)(double, double, double, Caller)>(&arange<T>));
[[gnu::used]] constexpr auto of_float = functions<float>;
[[gnu::used]] constexpr auto of_double = functions<double>;
[[gnu::used]] constexpr auto of_int64 = functions<std::int64_t>;
[[gnu::used]] constexpr auto of_bool = functions<bool>;

}  // namespace

template Tensor<float> linspace(double, double, std::int64_t, Caller);
template Tensor<double> linspace(double, double, std::int64_t, Caller);
template Tensor<float> one_hot(const Tensor<std::int64_t>&, std::int64_t, Caller);
template Tensor<double> one_hot(const Tensor<std::int64_t>&, std::int64_t, Caller);
template bool allclose(const Tensor<float>&, const Tensor<float>&, double, double);
template bool allclose(const Tensor<double>&, const Tensor<double>&, double, double);

}  // namespace tapegrad
