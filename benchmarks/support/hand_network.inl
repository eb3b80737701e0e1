#pragma once
// A network of 64-32(tanh)-10(softmax) for one example: its Jacobian by the input, and the gradient of the
// cross-entropy by its weights; and the weights of the Hessian of a logistic loss.

#include "hand_common.inl"

namespace tapegrad::benchmarks {
namespace {

constexpr std::int64_t inputs = Mlp::inputs, hidden = Mlp::hidden, outputs = Mlp::outputs;
// Vectors of a hidden row, and of an output row with what spills.
constexpr int hidden_vectors = static_cast<int>(hidden / W), output_vectors = static_cast<int>((outputs + W - 1) / W);
constexpr std::int64_t output_stride = output_vectors * W;

// h, s and what was seen on the way.
struct Activity {
  Vector h[hidden_vectors];
  Vector s[output_vectors];  // 0 beyond the outputs
  double logits[output_stride];
  double log_total;  // log sum exp(logits)
};

inline Vector tanh_of(const Vector& x) { return Vector(1.0) - Vector(2.0) / (Vector(1.0) + kernels::exp(x + x)); }

inline Activity forward(const Mlp& net, const double* x) {
  Activity at;
  unroll<hidden_vectors>([&](auto v) { at.h[v] = load(net.b1 + v * W); });
  for (std::int64_t k = 0; k < inputs; ++k) {
    const Vector xk(x[k]);
    unroll<hidden_vectors>([&](auto v) { at.h[v] = xsimd::fma(xk, load(net.W1 + k * hidden + v * W), at.h[v]); });
  }
  double h[hidden];
  unroll<hidden_vectors>([&](auto v) {
    at.h[v] = tanh_of(at.h[v]);
    store(h + v * W, at.h[v]);
  });
  Vector z[output_vectors];
  unroll<output_vectors>([&](auto v) { z[v] = load(net.b2 + v * W); });
  for (std::int64_t k = 0; k < hidden; ++k) {
    const Vector hk(h[k]);
    unroll<output_vectors>([&](auto v) { z[v] = xsimd::fma(hk, load(net.W2 + k * outputs + v * W), z[v]); });
  }
  unroll<output_vectors>([&](auto v) { store(at.logits + v * W, z[v]); });
  const auto used = first_lanes<double>(outputs - (output_vectors - 1) * W);
  z[output_vectors - 1] = xsimd::select(used, z[output_vectors - 1], Vector(-kernels::infinity<double>));
  Vector m = z[0];
  unroll<output_vectors - 1>([&](auto v) { m = xsimd::max(m, z[v + 1]); });
  m = kernels::max_across(m);
  Vector total(0.0);
  unroll<output_vectors>([&](auto v) { total += at.s[v] = kernels::exp(z[v] - m); });
  total = kernels::sum_across(total);
  unroll<output_vectors>([&](auto v) { at.s[v] = at.s[v] / total; });
  at.log_total = kernels::first(m) + std::log(kernels::first(total));
  return at;
}

// J^T = W1 G, where row j of G is (1 - h_j^2) s (W2_j - <W2_j, s>); four of its rows at a time, and then turned.
[[gnu::flatten]] void mlp_jacobian(const Mlp& net, const double* x, double* J) {
  const Activity at = forward(net, x);
  double slope[hidden], G[hidden * output_stride];
  unroll<hidden_vectors>([&](auto v) { store(slope + v * W, xsimd::fnma(at.h[v], at.h[v], Vector(1.0))); });
  for (std::int64_t j = 0; j < hidden; ++j) {
    const double* row = net.W2 + j * outputs;
    Vector dot(0.0);
    unroll<output_vectors>([&](auto v) { dot = xsimd::fma(load(row + v * W), at.s[v], dot); });
    dot = kernels::sum_across(dot);
    const Vector d(slope[j]);
    unroll<output_vectors>(
        [&](auto v) { store(G + j * output_stride + v * W, d * at.s[v] * (load(row + v * W) - dot)); });
  }
  constexpr int tile = 4;
  for (std::int64_t k = 0; k < inputs; k += tile) {
    Vector sum[tile][output_vectors];
    unroll<tile>([&](auto t) { unroll<output_vectors>([&](auto v) { sum[t][v] = Vector(0.0); }); });
    for (std::int64_t j = 0; j < hidden; ++j) {
      const double* row = G + j * output_stride;
      unroll<tile>([&](auto t) {
        const Vector w(net.W1[(k + t) * hidden + j]);
        unroll<output_vectors>([&](auto v) { sum[t][v] = xsimd::fma(w, load(row + v * W), sum[t][v]); });
      });
    }
    double columns[tile][output_stride];
    unroll<tile>([&](auto t) { unroll<output_vectors>([&](auto v) { store(columns[t] + v * W, sum[t][v]); }); });
    for (std::int64_t i = 0; i < outputs; ++i) {
      unroll<tile>([&](auto t) { J[i * inputs + k + t] = columns[t][i]; });
    }
  }
}

// gradient: by W1, b1, W2, b2. The loss is -sum y log s.
[[gnu::flatten]] void mlp_gradient(const Mlp& net, const double* x, const double* y, double* loss, double* gradient) {
  const Activity at = forward(net, x);
  double *dW1 = gradient, *db1 = dW1 + inputs * hidden, *dW2 = db1 + hidden, *db2 = dW2 + hidden * outputs;
  double total_y = 0, y_logits = 0;
  for (std::int64_t i = 0; i < outputs; ++i) {
    total_y += y[i];
    y_logits += y[i] * at.logits[i];
  }
  *loss = total_y * at.log_total - y_logits;

  const auto used = first_lanes<double>(outputs - (output_vectors - 1) * W);
  Vector delta[output_vectors];
  unroll<output_vectors>([&](auto v) { delta[v] = xsimd::fms(at.s[v], Vector(total_y), load(y + v * W)); });
  delta[output_vectors - 1] = xsimd::select(used, delta[output_vectors - 1], Vector(0.0));

  double h[hidden], back[hidden];
  unroll<hidden_vectors>([&](auto v) { store(h + v * W, at.h[v]); });
  for (std::int64_t j = 0; j < hidden; ++j) {
    const Vector hj(h[j]);
    Vector dot(0.0);
    unroll<output_vectors>([&](auto v) {
      dot = xsimd::fma(load(net.W2 + j * outputs + v * W), delta[v], dot);
      store(dW2 + j * outputs + v * W, hj * delta[v]);
    });
    back[j] = kernels::first(kernels::sum_across(dot));
  }
  unroll<output_vectors>([&](auto v) { store(db2 + v * W, delta[v]); });
  Vector d1[hidden_vectors];
  unroll<hidden_vectors>([&](auto v) {
    d1[v] = load(back + v * W) * xsimd::fnma(at.h[v], at.h[v], Vector(1.0));
    store(db1 + v * W, d1[v]);
  });
  for (std::int64_t k = 0; k < inputs; ++k) {
    const Vector xk(x[k]);
    unroll<hidden_vectors>([&](auto v) { store(dW1 + k * hidden + v * W, xk * d1[v]); });
  }
}

// scaled (points, parameters): row i of X times sqrt(p (1 - p) / points) with p = 1 / (1 + exp(y_i <x_i, w>)).
[[gnu::flatten]] void logistic_scaled(const double* X, const double* y, const double* w, double* scaled,
                                      std::int64_t points, std::int64_t parameters) {
  const Vector part(1 / static_cast<double>(points));
  for (std::int64_t i = 0; i < points; ++i) {
    const double *row = X + i * parameters,
                 margin = y[i] * kernels::first(kernels::sum_terms<double>(
                                     parameters, [=](std::int64_t j) { return load(row + j) * load(w + j); }));
    const Vector p = Vector(1.0) / (Vector(1.0) + kernels::exp(Vector(margin)));
    const Vector factor = xsimd::sqrt(p * (Vector(1.0) - p) * part);
    for (std::int64_t j = 0; j < parameters; j += W) store(scaled + i * parameters + j, load(row + j) * factor);
  }
}

}  // namespace
}  // namespace tapegrad::benchmarks
