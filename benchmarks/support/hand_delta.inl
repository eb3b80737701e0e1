#pragma once
// Output deltas, and sums and products of arrays.

#include "hand_common.inl"

namespace tapegrad::benchmarks {
namespace {

// dC/da.
struct Crossentropy {
  explicit Crossentropy(std::int64_t) {}
  Vector operator()(const Vector& a, const Vector& y) const { return -y / a; }
};
struct MeanSquaredError {
  explicit MeanSquaredError(std::int64_t cols) : factor(2.0 / static_cast<double>(cols)) {}
  Vector operator()(const Vector& a, const Vector& y) const { return (a - y) * factor; }
  Vector factor;
};
struct BinaryCrossentropy {
  explicit BinaryCrossentropy(std::int64_t) {}
  Vector operator()(const Vector& a, const Vector& y) const { return (a - y) / (a * (Vector(1.0) - a)); }
};

// A row of V vectors, kept in registers from z to delta.
template <int V, class Finish>
inline void softmax_narrow(const double* z, const double* y, double* delta, std::int64_t rows, std::int64_t cols,
                           Finish finish) {
  const auto used = first_lanes<double>(cols - (V - 1) * W);
  for (std::int64_t r = 0; r < rows; ++r, z += cols, y += cols, delta += cols) {
    Vector a[V];
    for (int v = 0; v < V; ++v) a[v] = load(z + v * W);
    a[V - 1] = xsimd::select(used, a[V - 1], Vector(-kernels::infinity<double>));
    Vector m = a[0];
    for (int v = 1; v < V; ++v) m = xsimd::max(m, a[v]);
    m = kernels::max_across(m);
    Vector sum(0.0);
    for (int v = 0; v < V; ++v) sum += a[v] = kernels::exp(a[v] - m);
    const Vector scale = Vector(1.0) / kernels::sum_across(sum);
    for (int v = 0; v < V; ++v) a[v] = a[v] * scale;
    finish(a, y, delta, used);
  }
}

template <class Slope>
struct GeneralNarrow {
  Slope slope;
  template <int V, class Mask>
  void operator()(const Vector (&a)[V], const double* y, double* delta, const Mask& used) const {
    Vector g[V];
    for (int v = 0; v < V; ++v) g[v] = slope(a[v], load(y + v * W));
    Vector dot = xsimd::select(used, a[V - 1] * g[V - 1], Vector(0.0));
    for (int v = 0; v + 1 < V; ++v) dot = xsimd::fma(a[v], g[v], dot);
    dot = kernels::sum_across(dot);
    for (int v = 0; v < V; ++v) store(delta + v * W, a[v] * (g[v] - dot));
  }
};

struct ClosedNarrow {
  template <int V, class Mask>
  void operator()(const Vector (&a)[V], const double* y, double* delta, const Mask&) const {
    for (int v = 0; v < V; ++v) store(delta + v * W, a[v] - load(y + v * W));
  }
};

// A longer row: exp into `delta`, and 1 / sum.
inline Vector softmax_unscaled(const double* z, double* delta, std::int64_t cols) {
  const Vector m = largest(z, cols);
  return Vector(1.0) / kernels::sum_terms<double>(cols, [=](std::int64_t i) {
           const Vector e = kernels::exp(load(z + i) - m);
           store(delta + i, e);
           return e;
         });
}

template <class Finish>
inline bool softmax_narrow_of(const double* z, const double* y, double* delta, std::int64_t rows, std::int64_t cols,
                              Finish finish) {
  switch ((cols + W - 1) / W) {
    case 1:
      softmax_narrow<1>(z, y, delta, rows, cols, finish);
      return true;
    case 2:
      softmax_narrow<2>(z, y, delta, rows, cols, finish);
      return true;
    case 3:
      softmax_narrow<3>(z, y, delta, rows, cols, finish);
      return true;
    case 4:
      softmax_narrow<4>(z, y, delta, rows, cols, finish);
      return true;
    default:
      return false;
  }
}

template <class Slope>
[[gnu::flatten]] void softmax_general(const double* z, const double* y, double* delta, double* scratch,
                                      std::int64_t rows, std::int64_t cols) {
  const Slope slope(cols);
  if (softmax_narrow_of(z, y, delta, rows, cols, GeneralNarrow<Slope>{slope})) return;
  for (std::int64_t r = 0; r < rows; ++r, z += cols, y += cols, delta += cols) {
    const Vector scale = softmax_unscaled(z, delta, cols);
    const Vector dot = kernels::sum_terms<double>(cols, [=](std::int64_t i) {
      const Vector a = load(delta + i) * scale, g = slope(a, load(y + i));
      store(delta + i, a);
      store(scratch + i, g);
      return a * g;
    });
    for (std::int64_t i = 0; i < cols; i += W) store(delta + i, load(delta + i) * (load(scratch + i) - dot));
  }
}

[[gnu::flatten]] void softmax_closed(const double* z, const double* y, double* delta, double*, std::int64_t rows,
                                     std::int64_t cols) {
  if (softmax_narrow_of(z, y, delta, rows, cols, ClosedNarrow{})) return;
  for (std::int64_t r = 0; r < rows; ++r, z += cols, y += cols, delta += cols) {
    const Vector scale = softmax_unscaled(z, delta, cols);
    for (std::int64_t i = 0; i < cols; i += W) store(delta + i, load(delta + i) * scale - load(y + i));
  }
}

inline Vector sigmoid(const Vector& z) { return Vector(1.0) / (Vector(1.0) + kernels::exp(-z)); }

template <class Of>
inline void elementwise(std::int64_t n, Of of) {
  for (std::int64_t i = 0; i < n; i += W) of(i);
}

[[gnu::flatten]] void sigmoid_general(const double* z, const double* y, double* delta, double*, std::int64_t rows,
                                      std::int64_t cols) {
  const BinaryCrossentropy slope(cols);
  elementwise(rows * cols, [=](std::int64_t i) {
    const Vector a = sigmoid(load(z + i));
    store(delta + i, slope(a, load(y + i)) * (a * (Vector(1.0) - a)));
  });
}

[[gnu::flatten]] void sigmoid_closed(const double* z, const double* y, double* delta, double*, std::int64_t rows,
                                     std::int64_t cols) {
  elementwise(rows * cols, [=](std::int64_t i) { store(delta + i, sigmoid(load(z + i)) - load(y + i)); });
}

[[gnu::flatten]] void linear(const double* z, const double* y, double* delta, double*, std::int64_t rows,
                             std::int64_t cols) {
  const MeanSquaredError slope(cols);
  elementwise(rows * cols, [=](std::int64_t i) { store(delta + i, slope(load(z + i), load(y + i))); });
}

[[gnu::flatten]] void subtract(const double* a, const double* b, double* out, std::int64_t n) {
  elementwise(n, [=](std::int64_t i) { store(out + i, load(a + i) - load(b + i)); });
}
[[gnu::flatten]] void multiply(const double* a, const double* b, double* out, std::int64_t n) {
  elementwise(n, [=](std::int64_t i) { store(out + i, load(a + i) * load(b + i)); });
}
[[gnu::flatten]] void add(const double* a, const double* b, double* out, std::int64_t n) {
  elementwise(n, [=](std::int64_t i) { store(out + i, load(a + i) + load(b + i)); });
}

}  // namespace
}  // namespace tapegrad::benchmarks
