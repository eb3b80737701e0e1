#pragma once
// Sums that do not drift: blocks of a few hundred terms, whose sums meet in a tree.

#include "simd.hpp"

namespace tapegrad::kernels {
namespace {

// Adds a stream of blocks, each of up to `vectors` vectors, through a tree with 32 branches: level k holds the sum of
// the last (blocks / 32^k) % 32 groups of 32^k blocks. A term passes through at most 32 additions per level, so the
// error grows with the logarithm of the number of blocks.
template <class T, int vectors>
class Cascade {
 public:
  static constexpr std::int64_t branches = 32;

  explicit Cascade(int used) : used_(used) {}

  void add(const Batch<T>* block) {
    accumulate(0, blocks_ % branches == 0, block);
    std::int64_t groups = ++blocks_;
    for (int k = 0; groups % branches == 0 && k + 1 < levels; ++k) {
      groups /= branches;
      accumulate(k + 1, groups % branches == 1, level_[k]);
    }
  }

  Batch<T> total(int j) const {
    Batch<T> sum = zero<T>();
    std::int64_t groups = blocks_;
    for (int k = 0; groups > 0; ++k, groups /= branches) {
      if (groups % branches != 0) sum += level_[k][j];
    }
    return sum;
  }

 private:
  static constexpr int levels = 7;  // 32^7 blocks are more than any memory holds

  void accumulate(int k, bool fresh, const Batch<T>* block) {
    if (fresh) {
      for (int j = 0; j < used_; ++j) level_[k][j] = block[j];
    } else {
      for (int j = 0; j < used_; ++j) level_[k][j] += block[j];
    }
  }

  int used_;
  std::int64_t blocks_ = 0;
  Batch<T> level_[levels][vectors];
};

// The sum of term(i), a vector, over i = 0, W, 2W, ... < n, where lanes from n on do not count: four accumulators.
template <class T, class Term>
inline Batch<T> sum_block(std::int64_t begin, std::int64_t end, Term term) {
  constexpr std::int64_t W = width<T>;
  Batch<T> s0 = zero<T>(), s1 = s0, s2 = s0, s3 = s0;
  std::int64_t i = begin;
  for (; i + 4 * W <= end; i += 4 * W) {
    s0 += term(i);
    s1 += term(i + W);
    s2 += term(i + 2 * W);
    s3 += term(i + 3 * W);
  }
  for (; i + W <= end; i += W) s0 += term(i);
  if (i < end) s1 += xsimd::select(first_lanes<T>(end - i), term(i), zero<T>());
  return (s0 + s1) + (s2 + s3);
}

// The same over a row of any length, in as many lanes as there are. term is called in ascending order.
template <class T, class Term>
inline Batch<T> sum_lanes(std::int64_t n, Term term) {
  constexpr std::int64_t block = 64 * width<T>;
  if (n <= block) return sum_block<T>(0, n, term);
  Cascade<T, 1> cascade(1);
  for (std::int64_t i = 0; i < n; i += block) {
    const Batch<T> sum = sum_block<T>(i, std::min(i + block, n), term);
    cascade.add(&sum);
  }
  return cascade.total(0);
}

// The sum is in every lane.
template <class T, class Term>
inline Batch<T> sum_terms(std::int64_t n, Term term) {
  return sum_across(sum_lanes<T>(n, term));
}

}  // namespace
}  // namespace tapegrad::kernels
