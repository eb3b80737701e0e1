#include "../initializers.hpp"
#include "../core/errors.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "../../autodiff/extend.hpp"
#include "../named.hpp"

namespace tapegrad::nn {
namespace {

const Named<Initializer>& known_initializers() {
  static const Named<Initializer> known{
      {"zeros", constant(0)},
      {"ones", constant(1)},
      {"random_normal", random_normal(0.05)},
      {"random_uniform", random_uniform(-0.05, 0.05)},
      {"truncated_normal", truncated_normal(0.05)},
      {"glorot_uniform", glorot_uniform()},
      {"glorot_normal", glorot_normal()},
      {"he_uniform", he_uniform()},
      {"he_normal", he_normal()},
      {"lecun_uniform", lecun_uniform()},
      {"lecun_normal", lecun_normal()},
      {"orthogonal", orthogonal()},
  };
  return known;
}

void require_deviation(const char* name, double standard_deviation, const Caller& where) {
  if (std::isfinite(standard_deviation) && standard_deviation >= 0) return;
  throw ValueError(name + to_string(where) + ": the standard deviation is " + std::to_string(standard_deviation));
}

Tensor<double> draw_truncated(const Shape& shape, double standard_deviation, Rng& rng) {
  const auto draw = [&rng, standard_deviation, n = shape.count()](double* values) {
    std::generate_n(values, n, [&] {
      double x = rng.normal();
      while (std::abs(x) > 2) x = rng.normal();
      return x * standard_deviation;
    });
  };
  return tapegrad::detail::tensor_of<double>(shape, "truncated_normal", Caller{}, draw);
}

struct Fans {
  double in = 1, out = 1;
};

Fans fans_of(const Shape& shape) {
  if (shape.rank() < 2) {
    const double n = shape.empty() ? 1 : static_cast<double>(shape.front());
    return {n, n};
  }
  const Shape matrix = shape.suffix(shape.rank() - 2);
  const auto rest = static_cast<double>(shape.prefix(shape.rank() - 2).count());
  return {rest * static_cast<double>(matrix[0]), rest * static_cast<double>(matrix[1])};
}

/// The variance is scale / fan, where fan is (in + out) / 2 or in.
enum class Fan { in, mean };
enum class Distribution { uniform, normal };

Initializer scaled(double scale, Fan fan, Distribution distribution) {
  return [=](const Shape& shape, Rng& rng) {
    const Fans fans = fans_of(shape);
    const double size = fan == Fan::in ? fans.in : (fans.in + fans.out) / 2;
    if (distribution == Distribution::uniform) {
      const double limit = std::sqrt(3 * scale / size);
      return rng.uniform<double>(shape, -limit, limit);
    }
    // The standard deviation of the normal distribution truncated at +-2.
    constexpr double truncated_deviation = 0.87962566103423978;
    return draw_truncated(shape, std::sqrt(scale / size) / truncated_deviation, rng);
  };
}

/// Makes the rows of (count, size) orthonormal by the Gram-Schmidt process, applied twice because of rounding.
void orthonormalize(double* rows, std::int64_t count, std::int64_t size) {
  for (std::int64_t i = 0; i < count; ++i) {
    double* v = rows + i * size;
    for (int pass = 0; pass < 2; ++pass) {
      for (const double* u = rows; u != v; u += size) {
        const double along = std::inner_product(u, u + size, v, 0.0);
        std::transform(v, v + size, u, v, [=](double x, double y) { return x - along * y; });
      }
      const double length = std::sqrt(std::inner_product(v, v + size, v, 0.0));
      std::transform(v, v + size, v, [=](double x) { return x / length; });
    }
  }
}

}  // namespace

Initializer::Initializer(const char* name, Caller where)
    : Initializer(detail::by_name("initializer", name, known_initializers(), where)) {}

template <Real T>
Tensor<T> Initializer::make(const Shape& shape, Rng& rng) const {
  Tensor<double> values = f_(shape, rng);
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

Initializer random_normal(double standard_deviation, Caller where) {
  require_deviation("random_normal", standard_deviation, where);
  return
      [standard_deviation](const Shape& shape, Rng& rng) { return rng.normal<double>(shape, 0, standard_deviation); };
}

Initializer truncated_normal(double standard_deviation, Caller where) {
  require_deviation("truncated_normal", standard_deviation, where);
  return [standard_deviation](const Shape& shape, Rng& rng) { return draw_truncated(shape, standard_deviation, rng); };
}

Initializer random_uniform(double low, double high, Caller where) {
  if (!std::isfinite(low) || !std::isfinite(high) || low > high) {
    throw ValueError("random_uniform" + to_string(where) + ": from " + std::to_string(low) + " to " +
                     std::to_string(high) + " there is no interval");
  }
  return [low, high](const Shape& shape, Rng& rng) { return rng.uniform<double>(shape, low, high); };
}

Initializer glorot_uniform() { return scaled(1, Fan::mean, Distribution::uniform); }
Initializer glorot_normal() { return scaled(1, Fan::mean, Distribution::normal); }
Initializer he_uniform() { return scaled(2, Fan::in, Distribution::uniform); }
Initializer he_normal() { return scaled(2, Fan::in, Distribution::normal); }
Initializer lecun_uniform() { return scaled(1, Fan::in, Distribution::uniform); }
Initializer lecun_normal() { return scaled(1, Fan::in, Distribution::normal); }

Initializer orthogonal(double gain) {
  return [gain](const Shape& shape, Rng& rng) {
    if (shape.rank() != 2) throw ShapeError("orthogonal makes matrices, not " + to_string(shape));
    const std::int64_t count = std::min(shape[0], shape[1]), size = std::max(shape[0], shape[1]);
    Tensor<double> rows = rng.normal<double>({count, size});
    const auto make = [count, size](double* all) { orthonormalize(all, count, size); };
    tapegrad::detail::loop("orthogonal", Caller{}, make, tapegrad::detail::updated(rows, Caller{}));
    return (shape[0] == count ? rows : transpose(rows, Caller{})) * gain;
  };
}

}  // namespace tapegrad::nn
