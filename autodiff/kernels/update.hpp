#pragma once
// One pass over a parameter w, its gradient g and what a rule of nn/optimizers.hpp keeps of the steps before, by the
// kernels for this CPU. Every array is the whole of a tensor's elements, n of them; they are others, but for those of
// one Changed, and for g, which may be w.from.

#include <cstdint>

#include "../core/export.hpp"

namespace tapegrad::detail {

/// Elements that change: those of before, and where the new ones go, the same place or another.
template <class T>
struct Changed {
  const T* from = nullptr;
  T* to = nullptr;
};

/// v <- momentum v - rate g, w <- w + v, or with nesterov w <- w + momentum v - rate g. Without v, which may be null,
/// w <- w - rate g.
template <class T>
struct MomentumUpdate {
  std::int64_t n;
  const T* g;
  Changed<T> w, v;
  T momentum, rate;
  bool nesterov;
};

/// m <- m + new_m (g - m), v <- v + new_v (g^2 - v), w <- w - (decay w + rate m / (sqrt(v) + epsilon)). Where g^2
/// overflows, sqrt(v / bias) with the sign of g, or 1 where v is 0, is in place of g.
template <class T>
struct AdamUpdate {
  std::int64_t n;
  const T* g;
  Changed<T> w, m, v;
  T decay, new_m, new_v, rate, epsilon, bias;
};

/// v <- old v + fresh g^2, w <- w - u with u = rate g / (sqrt(v + inside) + outside). With a: a <- old a + fresh g, and
/// max(v - a^2, 0) in place of v. With b: b <- momentum b + u, and b in place of u. Both may be null. Where g^2
/// overflows, sqrt(v) with the sign of g, or 1 where v is 0, is in place of g; a v that overflows is the largest
/// number.
template <class T>
struct RootUpdate {
  std::int64_t n;
  const T* g;
  Changed<T> w, v, a, b;
  T old, fresh, momentum, rate, inside, outside;
};

template <class T>
TAPEGRAD_EXPORT void run(const MomentumUpdate<T>& update);
template <class T>
TAPEGRAD_EXPORT void run(const AdamUpdate<T>& update);
template <class T>
TAPEGRAD_EXPORT void run(const RootUpdate<T>& update);

}  // namespace tapegrad::detail
