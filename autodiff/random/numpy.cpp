#include "../numpy_random.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>
#include <string>
#include "../ops/operands.hpp"

namespace tapegrad::random {
namespace {

void require_shape(const char* function, const Shape& shape, const Caller& where) {
  if (std::all_of(shape.begin(), shape.end(), [](std::int64_t size) { return size >= 0; })) return;
  throw ValueError(function + to_string(where) + ": the shape is " + to_string(shape) + "; sizes are not negative");
}

template <class T, class Draw>
Tensor<T> drawn(const char* function, const Shape& shape, const Caller& where, Draw draw) {
  require_shape(function, shape, where);
  return detail::made<T>(shape, function, where, [draw](T* out, std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) out[i] = draw();
  });
}

}  // namespace

NumpyRandomState::NumpyRandomState(std::uint64_t seed, Caller where) {
  if (seed > std::numeric_limits<std::uint32_t>::max()) {
    throw ValueError("NumpyRandomState" + to_string(where) + ": NumPy takes seeds of 0..2^32-1, not " +
                     std::to_string(seed));
  }
  auto word = static_cast<std::uint32_t>(seed);
  for (std::uint32_t i = 0; i < words; ++i) {
    state_[i] = word;
    word = 1812433253U * (word ^ word >> 30) + i + 1;
  }
}

std::uint32_t NumpyRandomState::bits() {
  if (used_ == words) {
    constexpr int shift = 397;
    for (int i = 0; i < words; ++i) {
      const std::uint32_t joined = (state_[i] & 0x80000000U) | (state_[(i + 1) % words] & 0x7fffffffU);
      state_[i] = state_[(i + shift) % words] ^ joined >> 1 ^ ((joined & 1) != 0 ? 0x9908b0dfU : 0);
    }
    used_ = 0;
  }
  std::uint32_t y = state_[used_++];
  y ^= y >> 11;
  y ^= y << 7 & 0x9d2c5680U;
  y ^= y << 15 & 0xefc60000U;
  return y ^ y >> 18;
}

double NumpyRandomState::random() {
  const std::uint32_t high = bits() >> 5, low = bits() >> 6;
  return (high * 0x1p26 + low) * 0x1p-53;
}

double NumpyRandomState::gauss() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  double x = 0, y = 0, square = 0;
  do {
    x = 2 * random() - 1;
    y = 2 * random() - 1;
    square = x * x + y * y;
  } while (square >= 1 || square == 0);
  const double factor = std::sqrt(-2 * std::log(square) / square);
  spare_ = factor * x;
  has_spare_ = true;
  return factor * y;
}

// Uniform in 0..most: draws as many low bits as `most` has, and draws again while they exceed it.
std::uint64_t NumpyRandomState::up_to(std::uint64_t most) {
  if (most == 0) return 0;
  const std::uint64_t mask = ~std::uint64_t{0} >> std::countl_zero(most);
  std::uint64_t value = 0;
  do {
    value = bits();
    if (most > std::numeric_limits<std::uint32_t>::max()) value = value << 32 | bits();
    value &= mask;
  } while (value > most);
  return value;
}

Tensor<double> NumpyRandomState::rand(const Shape& shape, Caller where) {
  return drawn<double>("rand", shape, where, [&] { return random(); });
}

Tensor<double> NumpyRandomState::randn(const Shape& shape, Caller where) {
  return drawn<double>("randn", shape, where, [&] { return gauss(); });
}

Tensor<double> NumpyRandomState::uniform(double low, double high, const Shape& shape, Caller where) {
  const double range = high - low;
  if (!std::isfinite(range)) {
    std::ostringstream message;
    message << "uniform" << to_string(where) << ": high - low is " << range << " for low = " << low
            << " and high = " << high << "; NumPy takes bounds whose difference is finite";
    throw ValueError(message.str());
  }
  return drawn<double>("uniform", shape, where, [&] { return low + range * random(); });
}

Tensor<double> NumpyRandomState::normal(double mean, double standard_deviation, const Shape& shape, Caller where) {
  if (!std::isnan(standard_deviation) && std::signbit(standard_deviation)) {
    std::ostringstream message;
    message << "normal" << to_string(where) << ": the standard deviation is " << standard_deviation
            << "; it is not negative";
    throw ValueError(message.str());
  }
  return drawn<double>("normal", shape, where, [&] { return mean + standard_deviation * gauss(); });
}

Tensor<std::int64_t> NumpyRandomState::randint(std::int64_t low, std::int64_t high, const Shape& shape, Caller where) {
  if (low >= high) {
    throw ValueError("randint" + to_string(where) + ": no integer from " + std::to_string(low) + " is below " +
                     std::to_string(high));
  }
  const auto first = static_cast<std::uint64_t>(low), most = static_cast<std::uint64_t>(high) - first - 1;
  return drawn<std::int64_t>("randint", shape, where, [&] { return static_cast<std::int64_t>(first + up_to(most)); });
}

Tensor<std::int64_t> NumpyRandomState::choice(std::int64_t n, const Shape& shape, bool replace, Caller where) {
  require_shape("choice", shape, where);
  const std::int64_t count = shape.count();
  if (n < (replace ? std::int64_t{count > 0} : count)) {
    throw ValueError("choice" + to_string(where) + ": " + std::to_string(count) + " of " + std::to_string(n) +
                     (replace ? "" : " without repetition"));
  }
  if (count == 0 && replace) return Tensor<std::int64_t>(shape, {}, where);
  if (replace) return randint(0, n, shape, where);
  return reshape(slice(permutation(n, where), 0, 0, count, 1, where), shape, where);
}

Tensor<std::int64_t> NumpyRandomState::permutation(std::int64_t n, Caller where) {
  if (n < 0) throw ValueError("permutation" + to_string(where) + " of " + std::to_string(n) + " numbers");
  return detail::made<std::int64_t>({n}, "permutation", where, [this](std::int64_t* out, std::int64_t size) {
    std::iota(out, out + size, std::int64_t{0});
    for (std::int64_t i = size - 1; i > 0; --i) std::swap(out[i], out[up_to(static_cast<std::uint64_t>(i))]);
  });
}

std::int64_t NumpyRandomState::rows_of(const Shape& shape, const Caller& where) {
  if (shape.empty()) throw ShapeError("permutation" + to_string(where) + ": a scalar has no rows");
  return shape[0];
}

}  // namespace tapegrad::random
