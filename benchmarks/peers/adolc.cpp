// ADOL-C: the function is traced anew for every point, as one that branches must be, and its drivers sweep the trace.

#include <adolc/adolc.h>

#include "functions.hpp"
#include "peers.hpp"

namespace tapegrad::benchmarks {
namespace {

constexpr short tag = 1;

// f of `n` traced numbers to m.
template <class F>
void trace(const double* x, std::int64_t n, std::int64_t m, F f) {
  trace_on(tag);
  std::vector<adouble> ax(static_cast<std::size_t>(n)), ay(static_cast<std::size_t>(m));
  for (std::size_t i = 0; i < ax.size(); ++i) ax[i] <<= x[i];
  f(ax.data(), ay.data());
  double ignored;
  for (adouble& y : ay) y >>= ignored;
  trace_off();
}

std::vector<double*> rows_of(double* matrix, std::int64_t rows, std::int64_t cols) {
  std::vector<double*> all(static_cast<std::size_t>(rows));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = matrix + static_cast<std::int64_t>(i) * cols;
  return all;
}

void softmax_jacobian(const double* z, const double* g, double* J, double* out, double*, std::int64_t rows,
                      std::int64_t cols) {
  const int n = static_cast<int>(cols);
  for (std::int64_t r = 0; r < rows; ++r, z += cols, g += cols, J += cols * cols, out += cols) {
    trace(z, cols, cols, [&](const adouble* x, adouble* y) { softmax(x, y, cols); });
    jacobian(tag, n, n, z, rows_of(J, cols, cols).data());
    multiply_transposed(J, g, out, cols);
  }
}

void mlp_jacobian(const Mlp& net, const double* x, double* J) {
  trace(x, Mlp::inputs, Mlp::outputs,
        [&](const adouble* at, adouble* s) { mlp(net.W1, net.b1, net.W2, net.b2, at, s); });
  jacobian(tag, Mlp::outputs, Mlp::inputs, x, rows_of(J, Mlp::outputs, Mlp::inputs).data());
}

void mlp_gradient(const Mlp& net, const double* x, const double* y, double* loss, double* gradient_out) {
  const std::vector<double> weights = weights_of(net);
  trace(weights.data(), static_cast<std::int64_t>(weights.size()), 1, [&](const adouble* w, adouble* c) {
    *c = mlp_loss(w, x, y);
    *loss = c->value();
  });
  gradient(tag, static_cast<int>(weights.size()), weights.data(), gradient_out);
}

void logistic_hessian(const double* X, const double* y, const double* w, double* H, std::int64_t points,
                      std::int64_t parameters) {
  trace(w, parameters, 1, [&](const adouble* at, adouble* c) { *c = logistic_loss(X, y, at, points, parameters); });
  hessian(tag, static_cast<int>(parameters), const_cast<double*>(w), rows_of(H, parameters, parameters).data());
  for (std::int64_t i = 0; i < parameters; ++i) {
    for (std::int64_t j = i + 1; j < parameters; ++j) H[i * parameters + j] = H[j * parameters + i];
  }
}

}  // namespace

const Peer adolc = {"adolc", softmax_jacobian, mlp_jacobian, mlp_gradient, logistic_hessian};

}  // namespace tapegrad::benchmarks
