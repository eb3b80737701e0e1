#pragma once
// Functions of a row: the dense Jacobian, written in one pass, and J^T g from its closed form.

#include "hand_common.inl"

namespace tapegrad::benchmarks {
namespace {

// A row of n elements: V vectors in loops without a counter, or, for V = 0, any number of them.
template <int V>
struct Row {
  std::int64_t n;

  template <class F>
  void each(F f) const {
    if constexpr (V > 0)
      unroll<V>([&](auto v) { f(v * W); });
    else
      for (std::int64_t i = 0; i < n; i += W) f(i);
  }

  template <class Term>
  Vector sum(Term term) const {
    if constexpr (V > 0) {
      const auto used = first_lanes<double>(n - (V - 1) * W);
      Vector total(0.0);
      unroll<V - 1>([&](auto v) { total += term(v * W); });
      return kernels::sum_across(total + xsimd::select(used, term((V - 1) * W), Vector(0.0)));
    } else {
      return kernels::sum_terms<double>(n, term);
    }
  }

  // J (n, n): row i is row_of(i), a function of the column, but for its element i, which is diagonal(i).
  template <class RowOf, class Diagonal>
  void matrix(double* J, RowOf row_of, Diagonal diagonal) const {
    for (std::int64_t i = 0; i < n; ++i, J += n) {
      const auto element = row_of(i);
      each([&](auto j) { store(J + j, element(j)); });
      J[i] = diagonal(i);
    }
  }
};

// e = exp(z - m) and its sum.
struct SimdExp {
  template <int V>
  static Vector sum(Row<V> row, const double* z, const Vector& m, double* e) {
    return row.sum([=](auto i) {
      const Vector x = kernels::exp(load(z + i) - m);
      store(e + i, x);
      return x;
    });
  }
};
struct LibraryExp {
  template <int V>
  static Vector sum(Row<V> row, const double* z, const Vector& m, double* e) {
    for (std::int64_t i = 0; i < row.n; ++i) e[i] = std::exp(z[i] - kernels::first(m));
    return row.sum([=](auto i) { return load(e + i); });
  }
};

template <class Exp, int V>
inline void softmax(Row<V> row, const double* z, double* s) {
  const Vector scale = Vector(1.0) / Exp::sum(row, z, largest(z, row.n), s);
  row.each([=](auto i) { store(s + i, load(s + i) * scale); });
}

// y = z / |z|, J = (I - y y^T) / |z|.
struct Normalize {
  template <int V>
  static void row(Row<V> row, const double* z, const double* g, double* J, double* out, double* y, double*) {
    const Vector inverse = Vector(1.0) / xsimd::sqrt(row.sum([=](auto i) { return load(z + i) * load(z + i); }));
    row.each([=](auto i) { store(y + i, load(z + i) * inverse); });
    const Vector dot = row.sum([=](auto i) { return load(y + i) * load(g + i); });
    row.each([=](auto i) { store(out + i, (load(g + i) - load(y + i) * dot) * inverse); });
    const double scale = kernels::first(inverse);
    row.matrix(
        J, [=](std::int64_t i) { return [y, left = Vector(-y[i] * scale)](auto j) { return left * load(y + j); }; },
        [=](std::int64_t i) { return (1 - y[i] * y[i]) * scale; });
  }
};

// s = softmax(z), J = diag(s) - s s^T.
template <class Exp>
struct Softmax {
  template <int V>
  static void row(Row<V> row, const double* z, const double* g, double* J, double* out, double* s, double*) {
    softmax<Exp>(row, z, s);
    const Vector dot = row.sum([=](auto i) { return load(s + i) * load(g + i); });
    row.each([=](auto i) { store(out + i, load(s + i) * (load(g + i) - dot)); });
    row.matrix(
        J, [=](std::int64_t i) { return [s, left = Vector(-s[i])](auto j) { return left * load(s + j); }; },
        [=](std::int64_t i) { return s[i] - s[i] * s[i]; });
  }
};

// y = z * s, J = diag(s + y) - y s^T.
template <class Exp>
struct XSoftmax {
  template <int V>
  static void row(Row<V> row, const double* z, const double* g, double* J, double* out, double* s, double* y) {
    softmax<Exp>(row, z, s);
    row.each([=](auto i) { store(y + i, load(z + i) * load(s + i)); });
    const Vector dot = row.sum([=](auto i) { return load(y + i) * load(g + i); });
    row.each([=](auto i) { store(out + i, (load(s + i) + load(y + i)) * load(g + i) - load(s + i) * dot); });
    row.matrix(
        J, [=](std::int64_t i) { return [s, left = Vector(-y[i])](auto j) { return left * load(s + j); }; },
        [=](std::int64_t i) { return s[i] + y[i] - y[i] * s[i]; });
  }
};

// x = (z - mean(z)) / d with d = sqrt(var(z) + 1e-5), J = (I - (1 1^T + x x^T) / n) / d.
struct LayerNorm {
  template <int V>
  static void row(Row<V> row, const double* z, const double* g, double* J, double* out, double* x, double*) {
    const double part = 1 / static_cast<double>(row.n);
    const Vector mean = row.sum([=](auto i) { return load(z + i); }) * Vector(part);
    const Vector variance = row.sum([=](auto i) {
      const Vector centered = load(z + i) - mean;
      store(x + i, centered);
      return centered * centered;
    }) * Vector(part);
    const Vector inverse = Vector(1.0) / xsimd::sqrt(variance + Vector(1e-5));
    row.each([=](auto i) { store(x + i, load(x + i) * inverse); });
    const Vector mean_g = row.sum([=](auto i) { return load(g + i); }) * Vector(part);
    const Vector mean_gx = row.sum([=](auto i) { return load(g + i) * load(x + i); }) * Vector(part);
    row.each([=](auto i) { store(out + i, (load(g + i) - mean_g - load(x + i) * mean_gx) * inverse); });
    const double scale = kernels::first(inverse);
    const Vector constant(-part * scale);
    row.matrix(
        J,
        [=](std::int64_t i) {
          return [=, left = Vector(-x[i] * part * scale)](auto j) { return xsimd::fma(left, load(x + j), constant); };
        },
        [=](std::int64_t i) { return (1 - part - x[i] * x[i] * part) * scale; });
  }
};

// c = cumsum(s), J_ij = s_j ([j <= i] - c_i).
template <class Exp>
struct CumSoftmax {
  template <int V>
  static void row(Row<V> row, const double* z, const double* g, double* J, double* out, double* s, double* c) {
    const std::int64_t n = row.n;
    softmax<Exp>(row, z, s);
    double running = 0;
    for (std::int64_t i = 0; i < n; ++i) c[i] = running += s[i];
    double later = -kernels::first(row.sum([=](auto i) { return load(c + i) * load(g + i); }));
    for (std::int64_t j = n - 1; j >= 0; --j) out[j] = s[j] * (later += g[j]);
    for (std::int64_t i = 0; i < n; ++i, J += n) {
      const Vector lower(1 - c[i]), upper(-c[i]);
      for (std::int64_t j = 0; j <= i; j += W) store(J + j, lower * load(s + j));
      for (std::int64_t j = i + 1; j < n; j += W) store(J + j, upper * load(s + j));
    }
  }
};

template <class Function>
[[gnu::flatten]] void jacobian(const double* z, const double* g, double* J, double* out, double* scratch,
                               std::int64_t rows, std::int64_t cols) {
  const auto each_row = [&](auto row) {
    double* second = scratch + cols + static_cast<std::int64_t>(Hand::padding);
    for (std::int64_t r = 0; r < rows; ++r, z += cols, g += cols, J += cols * cols, out += cols) {
      Function::row(row, z, g, J, out, scratch, second);
    }
  };
  switch ((cols + W - 1) / W) {
    case 3:
      return each_row(Row<3>{cols});
    case 5:
      return each_row(Row<5>{cols});
    default:
      return each_row(Row<0>{cols});
  }
}

}  // namespace
}  // namespace tapegrad::benchmarks
