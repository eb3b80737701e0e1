#pragma once
// What the loops written by hand share. As in the library's kernels, everything has internal linkage.

#include "../../autodiff/kernels/exp.inl"
#include "../../autodiff/kernels/sum.inl"
#include "hand.hpp"

namespace tapegrad::benchmarks {
namespace {

using kernels::Batch;
using kernels::first_lanes;
using kernels::load;
using kernels::store;
using kernels::unroll;
using kernels::width;
using Vector = Batch<double>;

constexpr std::int64_t W = width<double>;

Vector largest(const double* x, std::int64_t n) {
  const Vector lowest(-kernels::infinity<double>);
  Vector m0 = lowest, m1 = lowest, m2 = lowest, m3 = lowest;
  std::int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    m0 = xsimd::max(m0, load(x + i));
    m1 = xsimd::max(m1, load(x + i + W));
    m2 = xsimd::max(m2, load(x + i + 2 * W));
    m3 = xsimd::max(m3, load(x + i + 3 * W));
  }
  for (; i + W <= n; i += W) m0 = xsimd::max(m0, load(x + i));
  if (i < n) m1 = xsimd::max(m1, xsimd::select(first_lanes<double>(n - i), load(x + i), lowest));
  return kernels::max_across(xsimd::max(xsimd::max(m0, m1), xsimd::max(m2, m3)));
}

}  // namespace
}  // namespace tapegrad::benchmarks
