#pragma once
// The passes of optimizers, in place. Sums and products in the order of the formulas in ../update.hpp, none fused, so
// that every instruction set gives the same bits.

#include "simd.hpp"
#include "update.hpp"

namespace tapegrad::kernels {
namespace {

/// g, or where its square overflows sqrt(v / bias) with its sign, 1 where v is 0: the gradient is then as large as
/// those that v is of. A NaN stays.
template <class T>
Batch<T> bounded(const Batch<T>& g, const Batch<T>& v, T bias) {
  const auto huge = g * g == Batch<T>(infinity<T>);
  if (!xsimd::any(huge)) [[likely]]
    return g;
  // sqrt rounds the root of the largest number down, so that its square is finite.
  const Batch<T> largest = xsimd::sqrt(Batch<T>(std::numeric_limits<T>::max()));
  const Batch<T> usual = xsimd::min(xsimd::sqrt(v) / xsimd::sqrt(Batch<T>(bias)), largest);
  return xsimd::select(huge, xsimd::copysign(xsimd::select(v > zero<T>(), usual, Batch<T>(T(1))), g), g);
}

template <class T>
[[gnu::flatten]] void momentum_update(const detail::MomentumUpdate<T>& u) {
  const Batch<T> momentum(u.momentum), rate(u.rate);
  const detail::Changed<T> w = u.w, v = u.v;
  const T* const g = u.g;
  const auto velocity = [=](std::int64_t i) {
    const Batch<T> vi = momentum * load(v.from + i) - rate * load(g + i);
    store(v.to + i, vi);
    return vi;
  };
  if (!v.to) {
    each_vector<T>(u.n, [=](std::int64_t i) { store(w.to + i, load(w.from + i) - rate * load(g + i)); });
  } else if (u.nesterov) {
    each_vector<T>(u.n, [=](std::int64_t i) {
      store(w.to + i, load(w.from + i) + (momentum * velocity(i) - rate * load(g + i)));
    });
  } else {
    each_vector<T>(u.n, [=](std::int64_t i) { store(w.to + i, load(w.from + i) + velocity(i)); });
  }
}

template <class T>
[[gnu::flatten]] void adam_update(const detail::AdamUpdate<T>& u) {
  const Batch<T> decay(u.decay), new_m(u.new_m), new_v(u.new_v), rate(u.rate), epsilon(u.epsilon);
  const detail::Changed<T> w = u.w, m = u.m, v = u.v;
  const T* const g = u.g;
  const T bias = u.bias;
  for (std::int64_t i = 0, n = u.n; i < n; i += width<T>) {
    const Batch<T> wi = load(w.from + i), last_m = load(m.from + i), last_v = load(v.from + i);
    const Batch<T> gi = bounded<T>(load(g + i), last_v, bias), mi = last_m + new_m * (gi - last_m),
                   vi = last_v + new_v * (gi * gi - last_v);
    store(m.to + i, mi);
    store(v.to + i, vi);
    // 1 - decay would round to 1 in float; beside the other term the decay counts.
    store(w.to + i, wi - (decay * wi + rate * mi / (xsimd::sqrt(vi) + epsilon)));
  }
}

template <class T>
[[gnu::flatten]] void root_update(const detail::RootUpdate<T>& u) {
  const Batch<T> old(u.old), fresh(u.fresh), momentum(u.momentum), rate(u.rate), inside(u.inside), outside(u.outside),
      most(std::numeric_limits<T>::max());
  const detail::Changed<T> w = u.w, v = u.v, a = u.a, b = u.b;
  const T* const g = u.g;
  for (std::int64_t i = 0, n = u.n; i < n; i += width<T>) {
    const Batch<T> wi = load(w.from + i), last_v = load(v.from + i), gi = bounded<T>(load(g + i), last_v, T(1));
    // In this order, here and below, a NaN stays.
    const Batch<T> vi = xsimd::min(most, old * last_v + fresh * (gi * gi));
    store(v.to + i, vi);
    Batch<T> variance = vi;
    if (a.to) {
      const Batch<T> ai = old * load(a.from + i) + fresh * gi;
      store(a.to + i, ai);
      variance = xsimd::max(zero<T>(), vi - ai * ai);
    }
    Batch<T> step = rate * gi / (xsimd::sqrt(variance + inside) + outside);
    if (b.to) {
      step = momentum * load(b.from + i) + step;
      store(b.to + i, step);
    }
    store(w.to + i, wi - step);
  }
}

}  // namespace
}  // namespace tapegrad::kernels
