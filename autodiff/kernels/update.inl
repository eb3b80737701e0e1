#pragma once
// The passes of optimisers, in place. Sums and products in the order of the formulas in ../update.hpp, none fused, so
// that every instruction set gives the same bits.

#include "../update.hpp"
#include "simd.hpp"

namespace tapegrad::kernels {
namespace {

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
  const Batch<T> decay(u.decay), new_m(u.new_m), new_v(u.new_v), rate(u.rate), epsilon(u.epsilon);
  T *const w = u.w, *const m = u.m, *const v = u.v;
  const T* const g = u.g;
  for (std::int64_t i = 0, n = u.n; i < n; i += width<T>) {
    const Batch<T> gi = load(g + i), mi = load(m + i) + new_m * (gi - load(m + i)),
                   vi = load(v + i) + new_v * (gi * gi - load(v + i));
    store(m + i, mi);
    store(v + i, vi);
    // 1 - decay would round to 1 in float; beside the other term the decay counts.
    store(w + i, load(w + i) - (decay * load(w + i) + rate * mi / (xsimd::sqrt(vi) + epsilon)));
  }
}

template <class T>
[[gnu::flatten]] void root_update(const detail::RootUpdate<T>& u) {
  const Batch<T> old(u.old), fresh(u.fresh), momentum(u.momentum), rate(u.rate), inside(u.inside), outside(u.outside);
  T *const w = u.w, *const v = u.v, *const a = u.a, *const b = u.b;
  const T* const g = u.g;
  for (std::int64_t i = 0, n = u.n; i < n; i += width<T>) {
    const Batch<T> gi = load(g + i), vi = old * load(v + i) + fresh * (gi * gi);
    store(v + i, vi);
    Batch<T> variance = vi;
    if (a) {
      const Batch<T> ai = old * load(a + i) + fresh * gi;
      store(a + i, ai);
      // In this order a NaN stays.
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
