#include "random.hpp"

#include <cmath>
#include <numbers>

#include "ops/common.hpp"

namespace tapegrad::random {
namespace {

// One block of Philox4x32 with ten rounds.
void philox(std::uint64_t key, std::uint64_t counter, std::uint64_t stream, std::uint32_t (&out)[4]) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  std::uint32_t c[4] = {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                        static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * c[0], p1 = std::uint64_t{0xCD9E8D57} * c[2];
    const auto high0 = static_cast<std::uint32_t>(p0 >> 32), high1 = static_cast<std::uint32_t>(p1 >> 32);
    const std::uint32_t next[4] = {high1 ^ c[1] ^ k0, static_cast<std::uint32_t>(p1), high0 ^ c[3] ^ k1,
                                   static_cast<std::uint32_t>(p0)};
    for (int i = 0; i < 4; ++i) c[i] = next[i];
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  for (int i = 0; i < 4; ++i) out[i] = c[i];
}

}  // namespace

std::uint64_t Generator::bits() {
  if (left_ == 0) {
    philox(seed_, counter_++, stream_, block_);
    left_ = 2;
  }
  --left_;
  const std::uint32_t* pair = block_ + 2 * (1 - left_);
  return std::uint64_t{pair[0]} << 32 | pair[1];
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

std::int64_t Generator::below(std::int64_t n) {
  if (n < 1) throw ValueError("a random number below " + std::to_string(n) + " does not exist; use 1 or more");
  const auto bound = static_cast<std::uint64_t>(n);
  // Bits beyond the last whole multiple of n would favour small numbers.
  const std::uint64_t limit = ~std::uint64_t{0} - (~std::uint64_t{0} % bound + 1) % bound;
  std::uint64_t x = bits();
  while (x > limit) x = bits();
  return static_cast<std::int64_t>(x % bound);
}

template <Real T>
Tensor<T> Generator::uniform(const Shape& shape, double low, double high) {
  Tensor<T> result(detail::Handle(detail::allocate_like<T>(shape)));
  T* out = result.mutable_data();
  for (std::int64_t i = 0; i < shape.count(); ++i) out[i] = static_cast<T>(low + (high - low) * uniform());
  return result;
}

template <Real T>
Tensor<T> Generator::normal(const Shape& shape, double mean, double standard_deviation) {
  Tensor<T> result(detail::Handle(detail::allocate_like<T>(shape)));
  T* out = result.mutable_data();
  for (std::int64_t i = 0; i < shape.count(); ++i) out[i] = static_cast<T>(mean + standard_deviation * normal());
  return result;
}

Tensor<std::int64_t> Generator::permutation(std::int64_t n) { return choice(n, n); }

Tensor<std::int64_t> Generator::choice(std::int64_t n, std::int64_t k) {
  if (k < 0 || k > n) {
    throw ValueError("choice: " + std::to_string(k) + " of " + std::to_string(n) + " without repetition");
  }
  Tensor<std::int64_t> all = arange<std::int64_t>(static_cast<double>(n));
  std::int64_t* out = all.mutable_data();
  for (std::int64_t i = 0; i < k; ++i) std::swap(out[i], out[i + below(n - i)]);
  return slice(all, 0, 0, k);
}

template Tensor<float> Generator::uniform(const Shape&, double, double);
template Tensor<double> Generator::uniform(const Shape&, double, double);
template Tensor<float> Generator::normal(const Shape&, double, double);
template Tensor<double> Generator::normal(const Shape&, double, double);

}  // namespace tapegrad::random
