#pragma once
// The passes of optimisers, in place. Sums and products in the order of the formulas in ../update.hpp, none fused, so
// that every instruction set gives the same bits.

#include "../update.hpp"
#include "simd.hpp"

namespace tapegrad::kernels {
namespace {

/// g, or where its square overflows scale * sqrt(v) with its sign, 1 where v is 0: the gradient is then as large as
/// those that v is of. A NaN stays.
template <class T>
Batch<T> bounded(const Batch<T>& g, const Batch<T>& v, const Batch<T>& scale) {
  const auto huge = g * g == Batch<T>(infinity<T>);
  if (!xsimd::any(huge)) [[likely]] return g;
  // sqrt rounds the root of the largest number down, so that its square is finite.
  const Batch<T> largest = xsimd::sqrt(Batch<T>(std::numeric_limits<T>::max()));
  const Batch<T> usual = xsimd::select(v > zero<T>(), xsimd::min(scale * xsimd::sqrt(v), largest), Batch<T>(T(1)));
  return xsimd::select(huge, xsimd::copysign(usual, g), g);
}

template <class T>
[[gnu::flatten]] void momentum_update(const detail::MomentumUpdate<T>& u) {
  const Batch<T> momentum(u.momentum), rate(u.rate);
  T *const w = u.w, *const v = u.v;
  const T* const g = u.g;
  const auto velocity = [=](std::int64_t i) {
    const Batch<T> vi = momentum * load(v + i) - rate * load(g + i);
    store(v + i, vi);
    return vi;
  };
  if (!v) {
    each_vector<T>(u.n, [=](std::int64_t i) { store(w + i, load(w + i) - rate * load(g + i)); });
  } else if (u.nesterov) {
    each_vector<T>(u.n, [=](std::int64_t i) {
      store(w + i, load(w + i) + (momentum * velocity(i) - rate * load(g + i)));
    });
  } else {
    each_vector<T>(u.n, [=](std::int64_t i) { store(w + i, load(w + i) + velocity(i)); });
  }
}

template <class T>
[[gnu::flatten]] void adam_update(const detail::AdamUpdate<T>& u) {
  const Batch<T> decay(u.decay), new_m(u.new_m), new_v(u.new_v), rate(u.rate), epsilon(u.epsilon),
      unbias(u.unbias);
  T *const w = u.w, *const m = u.m, *const v = u.v;
  const T* const g = u.g;
  for (std::int64_t i = 0, n = u.n; i < n; i += width<T>) {
    const Batch<T> gi = bounded<T>(load(g + i), load(v + i), unbias), mi = load(m + i) + new_m * (gi - load(m + i)),
                   vi = load(v + i) + new_v * (gi * gi - load(v + i));
    store(m + i, mi);
    store(v + i, vi);
    // 1 - decay would round to 1 in float; beside the other term the decay counts.
    store(w + i, load(w + i) - (decay * load(w + i) + rate * mi / (xsimd::sqrt(vi) + epsilon)));
  }
}

template <class T>
[[gnu::flatten]] void root_update(const detail::RootUpdate<T>& u) {
  const Batch<T> old(u.old), fresh(u.fresh), momentum(u.momentum), rate(u.rate), inside(u.inside), outside(u.outside),
      most(std::numeric_limits<T>::max());
  T *const w = u.w, *const v = u.v, *const a = u.a, *const b = u.b;
  const T* const g = u.g;
  for (std::int64_t i = 0, n = u.n; i < n; i += width<T>) {
    const Batch<T> gi = bounded<T>(load(g + i), load(v + i), Batch<T>(T(1)));
    const Batch<T> vi = xsimd::min(most, old * load(v + i) + fresh * (gi * gi));  // in this order a NaN stays
    store(v + i, vi);
    Batch<T> variance = vi;
    if (a) {
      const Batch<T> ai = old * load(a + i) + fresh * gi;
      store(a + i, ai);
      variance = xsimd::max(zero<T>(), vi - ai * ai);
    }
    Batch<T> step = rate * gi / (xsimd::sqrt(variance + inside) + outside);
    if (b) {
      step = momentum * load(b + i) + step;
      store(b + i, step);
    }
    store(w + i, load(w + i) - step);
  }
}

}  // namespace
}  // namespace tapegrad::kernels
