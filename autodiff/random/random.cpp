#include "../random.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include "../ops/operands.hpp"

namespace tapegrad::random {
namespace {

// Blocks of Philox4x32 with ten rounds for `lanes` consecutive counters: word w of block i is out[w][i].
template <int lanes>
void philox(std::uint64_t key, std::uint64_t counter, std::uint64_t stream, std::uint32_t (&out)[4][lanes]) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  std::uint32_t c0[lanes], c1[lanes], c2[lanes], c3[lanes];
  for (int i = 0; i < lanes; ++i) {
    const std::uint64_t own = counter + static_cast<std::uint64_t>(i);
    c0[i] = static_cast<std::uint32_t>(own);
    c1[i] = static_cast<std::uint32_t>(own >> 32);
    c2[i] = static_cast<std::uint32_t>(stream);
    c3[i] = static_cast<std::uint32_t>(stream >> 32);
  }
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < lanes; ++i) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53} * c0[i], p1 = std::uint64_t{0xCD9E8D57} * c2[i];
      c0[i] = static_cast<std::uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
      c1[i] = static_cast<std::uint32_t>(p1);
      c2[i] = static_cast<std::uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
      c3[i] = static_cast<std::uint32_t>(p0);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  for (int i = 0; i < lanes; ++i) {
    out[0][i] = c0[i];
    out[1][i] = c1[i];
    out[2][i] = c2[i];
    out[3][i] = c3[i];
  }
}

}  // namespace

std::uint64_t Generator::bits() {
  if (left_ == 0) {
    philox(seed_, counter_++, stream_, block_);
    left_ = 2;
  }
  --left_;
  const auto* pair = block_ + 2 * (1 - left_);
  return std::uint64_t{pair[0][0]} << 32 | pair[1][0];
}

double Generator::uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

double Generator::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  // 1 - u is in (0, 1], so that the logarithm is finite.
  const double radius = std::sqrt(-2 * std::log(1 - uniform())), angle = 2 * std::numbers::pi * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

std::int64_t Generator::below(std::int64_t n, Caller where) {
  if (n < 1) {
    throw ValueError("below" + to_string(where) + ": a random number below " + std::to_string(n) +
                     " does not exist; use 1 or more");
  }
  const auto bound = static_cast<std::uint64_t>(n);
  // Values beyond the last whole multiple of n would favor small numbers.
  const std::uint64_t limit = ~std::uint64_t{0} - (~std::uint64_t{0} % bound + 1) % bound;
  std::uint64_t x = bits();
  while (x > limit) x = bits();
  return static_cast<std::int64_t>(x % bound);
}

// A draw changes the generator, so its command cannot be run again on other data: the body refers to this generator.
template <Real T>
Tensor<T> Generator::uniform(const Shape& shape, double low, double high, Caller where) {
  return detail::made<T>(shape, "uniform", where, [this, low, high](T* out, std::int64_t size) {
    const T end = static_cast<T>(high), last = std::nextafter(end, static_cast<T>(low));
    for (std::int64_t i = 0; i < size; ++i) {
      const T x = static_cast<T>(low + (high - low) * uniform());
      out[i] = x == end ? last : x;  // rounding can reach the end
    }
  });
}

template <Real T>
Tensor<T> Generator::normal(const Shape& shape, double mean, double standard_deviation, Caller where) {
  return detail::made<T>(shape, "normal", where, [this, mean, standard_deviation](T* out, std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) out[i] = static_cast<T>(mean + standard_deviation * normal());
  });
}

template <Real T>
Tensor<T> Generator::bernoulli(const Shape& shape, double probability, double value, Caller where) {
  if (!(probability >= 0 && probability <= 1)) {
    throw ValueError("bernoulli" + to_string(where) + ": a probability of " + std::to_string(probability));
  }
  const auto bound = static_cast<std::uint64_t>(std::llround(probability * 0x1p32));
  if (bound > ~std::uint32_t{0}) return full<T>(shape, static_cast<T>(value), where);
  const auto below = static_cast<std::uint32_t>(bound);
  const T one = static_cast<T>(value);
  return detail::made<T>(shape, "bernoulli", where, [this, one, below](T* out, std::int64_t n) {
    constexpr std::int64_t lanes = 32;  // enough for the compiler to use vectors
    for (std::int64_t i = 0; i < n; counter_ += lanes) {
      std::uint32_t drawn[4][lanes];
      philox(seed_, counter_, stream_, drawn);
      for (const auto& words : drawn) {
        for (std::int64_t end = std::min(n, i + lanes), k = 0; i < end; ++i, ++k) {
          out[i] = words[k] < below ? one : T{0};
        }
      }
    }
  });
}

Tensor<std::int64_t> Generator::permutation(std::int64_t n, Caller where) {
  if (n < 0) throw ValueError("permutation" + to_string(where) + ": of " + std::to_string(n) + " numbers");
  return choice(n, n, where);
}

Tensor<std::int64_t> Generator::choice(std::int64_t n, std::int64_t k, Caller where) {
  if (k < 0 || k > n) {
    throw ValueError("choice" + to_string(where) + ": " + std::to_string(k) + " of " + std::to_string(n) +
                     " without repetition");
  }
  const auto all = detail::made<std::int64_t>({n}, "choice", where, [this, k](std::int64_t* out, std::int64_t size) {
    std::iota(out, out + size, std::int64_t{0});
    for (std::int64_t i = 0; i < k; ++i) std::swap(out[i], out[i + below(size - i)]);
  });
  return slice(all, 0, 0, k);
}

template Tensor<float> Generator::uniform(const Shape&, double, double, Caller);
template Tensor<double> Generator::uniform(const Shape&, double, double, Caller);
template Tensor<float> Generator::normal(const Shape&, double, double, Caller);
template Tensor<double> Generator::normal(const Shape&, double, double, Caller);
template Tensor<float> Generator::bernoulli(const Shape&, double, double, Caller);
template Tensor<double> Generator::bernoulli(const Shape&, double, double, Caller);

}  // namespace tapegrad::random
