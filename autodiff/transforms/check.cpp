#include "../check.hpp"

#include <cmath>
#include <limits>
#include <sstream>

#include "../jacobian.hpp"
#include "../random.hpp"

namespace tapegrad {
namespace {

template <Real T>
using List = std::vector<Tensor<T>>;

template <Real T>
double inner(const Tensor<T>& a, const Tensor<T>& b, double& scale) {
  const T *x = detail::elements_of(a), *y = detail::elements_of(b);
  double sum = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) {
    const double term = static_cast<double>(x[i]) * static_cast<double>(y[i]);
    sum += term;
    scale += std::abs(term);
  }
  return sum;
}

template <Real T>
class Checker {
 public:
  Checker(const CheckOptions& options, const Caller& where) : options_(options), where_(where), rng_(options.seed) {
    constexpr bool is_float = std::is_same_v<T, float>;
    if (options_.tolerance == 0) options_.tolerance = is_float ? 2e-4 : 1e-9;
    if (options_.step == 0) options_.step = is_float ? 1e-2 : 1e-4;
  }

  void check(const TensorFunction<T>& f, const List<T>& at, int order) {
    order_ = order;
    const Tensor<T> y = f(at);
    if (y.size() == 0) {
      check_empty(f, at);
      return;
    }
    const List<T> v = directions(at);
    const Tensor<T> u = direction(y.shape());
    auto on_list = [&f](const List<T>& x) { return f(x); };

    const Tensor<T> forward = jvp(on_list, at, v).second;
    require(forward.shape() == y.shape(),
            "the tangent has shape " + to_string(forward.shape()) + ", the value " + to_string(y.shape()));
    const Tensor<T> difference = central_difference(f, at, v);
    require_close(forward, difference, difference_tolerance(), "J v differs from a central difference");

    const auto [value, pullback] = vjp(on_list, at);
    require_close(value, y, 0, "the recorded value differs from the plain one");
    const List<T> adjoints = pullback(u);
    double scale = 1;
    const double left = inner(u, forward, scale);
    double right = 0;
    for (std::size_t k = 0; k < at.size(); ++k) {
      require(adjoints[k].shape() == at[k].shape(), "the adjoint of argument " + std::to_string(k) + " has shape " +
                                                        to_string(adjoints[k].shape()) + ", the argument " +
                                                        to_string(at[k].shape()));
      right += inner(adjoints[k], v[k], scale);
    }
    require(std::abs(left - right) <= options_.tolerance * scale,
            "<u, J v> = " + text(left) + " differs from <J^T u, v> = " + text(right));

    check_seeds(on_list, at, y.shape(), pullback);
    if (order > 1) check_again(f, at, y.shape(), order);
  }

 private:
  // Compares a sweep with seeds (2, 3) with six single sweeps, in both modes.
  template <class F, class P>
  void check_seeds(F& f, const List<T>& at, const Shape& shape, const P& pullback) {
    const Shape seeds{2, 3};
    const Tensor<T> u = direction(seeds.concat(shape));
    const List<T> together = pullback(u);
    for (std::int64_t s = 0; s < seeds.count(); ++s) {
      const List<T> one = pullback(seed(u, s, shape));
      for (std::size_t k = 0; k < at.size(); ++k) {
        require_close(seed(together[k], s, at[k].shape()), one[k], options_.tolerance,
                      "the adjoint with seed axes differs from that of one seed");
      }
    }
    List<T> v;
    for (const Tensor<T>& x : at) v.push_back(direction(seeds.concat(x.shape())));
    detail::Scope scope;
    const Tensor<T> y = f(detail::traced_in(scope, at));
    const detail::Recording recording = scope.close();
    detail::Handles tangents;
    for (const Tensor<T>& t : v) tangents.push_back(t.handle());
    const detail::Handle& output = y.handle();
    detail::Handle result;
    forward(recording, tangents, {&output, 1}, {&result, 1});
    if (!result) return;
    for (std::int64_t s = 0; s < seeds.count(); ++s) {
      List<T> one;
      for (std::size_t k = 0; k < at.size(); ++k) one.push_back(seed(v[k], s, at[k].shape()));
      require_close(seed(Tensor<T>(result), s, shape), jvp(f, at, one).second, options_.tolerance,
                    "the tangent with seed axes differs from that of one seed");
    }
  }

  // (x..., u) -> J(x)^T u for each argument, and (x, v) -> J(x) v, checked one order lower.
  void check_again(const TensorFunction<T>& f, const List<T>& at, const Shape& shape, int order) {
    const std::size_t n = at.size();
    auto first = [n](std::span<const Tensor<T>> all) {
      return List<T>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n));
    };
    auto on_list = [&f](const List<T>& x) { return f(x); };
    List<T> with_u = at;
    with_u.push_back(direction(shape));
    for (std::size_t k = 0; k < n; ++k) {
      check([&, k](std::span<const Tensor<T>> all) { return vjp(on_list, first(all)).second(all[n])[k]; }, with_u,
            order - 1);
    }
    List<T> with_v = at;
    for (const Tensor<T>& v : directions(at)) with_v.push_back(v);
    check(
        [&](std::span<const Tensor<T>> all) {
          return jvp(on_list, first(all), List<T>(all.begin() + static_cast<std::ptrdiff_t>(n), all.end())).second;
        },
        with_v, order - 1);
    order_ = order;
  }

  void check_empty(const TensorFunction<T>& f, const List<T>& at) {
    auto on_list = [&f](const List<T>& x) { return f(x); };
    const auto [y, pullback] = vjp(on_list, at);
    const List<T> adjoints = pullback(y);
    for (std::size_t k = 0; k < at.size(); ++k) {
      require_close(adjoints[k], zeros<T>(at[k].shape()), 0, "the adjoint of an empty result is not zero");
    }
    require(jvp(on_list, at, at).second.shape() == y.shape(), "the tangent of an empty result has another shape");
  }

  Tensor<T> central_difference(const TensorFunction<T>& f, const List<T>& at, const List<T>& v) {
    // Fourth order: (8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12h (Abramowitz & Stegun 25.3.6).
    auto moved = [&](double h) {
      List<T> x;
      for (std::size_t k = 0; k < at.size(); ++k) x.push_back(at[k] + v[k] * h);
      return f(x);
    };
    const double h = options_.step;
    return ((moved(h) - moved(-h)) * 8 - (moved(2 * h) - moved(-2 * h))) / (12 * h);
  }

  double difference_tolerance() const {
    const double rounding = std::numeric_limits<T>::epsilon() / options_.step;
    return std::max(options_.tolerance, 200 * rounding + 10 * std::pow(options_.step, 4));
  }

  Tensor<T> direction(const Shape& shape) { return rng_.normal<T>(shape); }
  List<T> directions(const List<T>& at) {
    List<T> v;
    for (const Tensor<T>& x : at) v.push_back(direction(x.shape()));
    return v;
  }
  static Tensor<T> seed(const Tensor<T>& all, std::int64_t s, const Shape& shape) {
    return reshape(slice(reshape(all, Shape{6}.concat(shape)), 0, s, s + 1), shape);
  }

  void require_close(const Tensor<T>& a, const Tensor<T>& b, double tolerance, const std::string& what) {
    require(a.shape() == b.shape(), what + ": shapes " + to_string(a.shape()) + " and " + to_string(b.shape()));
    const T *of_a = detail::elements_of(a), *of_b = detail::elements_of(b);
    double scale = 1;
    for (std::int64_t i = 0; i < b.size(); ++i) {
      const double size = std::abs(static_cast<double>(of_b[i]));
      if (std::isfinite(size)) scale = std::max(scale, size);
    }
    for (std::int64_t i = 0; i < a.size(); ++i) {
      const double x = of_a[i], y = of_b[i];
      if (x != y && !(std::abs(x - y) <= tolerance * scale)) {
        require(false, what + ": element " + std::to_string(i) + " is " + text(x) + ", not " + text(y) +
                           " (allowed: " + text(tolerance * scale) + ")");
      }
    }
  }

  void require(bool holds, const std::string& what) const {
    if (!holds)
      throw CheckError("check_derivatives" + to_string(where_) + ", derivative of order " +
                       std::to_string(options_.order - order_ + 1) + ": " + what);
  }

  static std::string text(double x) {
    std::ostringstream out;
    out.precision(12);
    out << x;
    return out.str();
  }

  CheckOptions options_;
  Caller where_;
  random::Generator rng_;
  int order_ = 1;
};

}  // namespace

template <Real T>
void check_derivatives(const TensorFunction<T>& f, std::vector<Tensor<T>> at, const CheckOptions& options,
                       Caller where) {
  Checker<T>(options, where).check(f, at, options.order);
}

template void check_derivatives(const TensorFunction<float>&, std::vector<Tensor<float>>, const CheckOptions&, Caller);
template void check_derivatives(const TensorFunction<double>&, std::vector<Tensor<double>>, const CheckOptions&,
                                Caller);

}  // namespace tapegrad
