// Sacado: Jacobians forward, 16 directions at a time; gradients reverse; the Hessian forward over reverse.

// Else Sacado wants the headers of Kokkos, Teuchos and MPI.
#define TRILINOS_NO_CONFIG_H
#include <Sacado.hpp>

#include "functions.hpp"
#include "peers.hpp"

namespace tapegrad::benchmarks {
namespace {

constexpr std::int64_t width = 16;
using Forward = Sacado::Fad::SFad<double, width>;

// Calls visit(first column, outputs) for each 16 columns of the Jacobian of f.
template <class F, class Visit>
void each_directions(const double* x, std::int64_t n, std::int64_t m, F f, Visit visit) {
  std::vector<Forward> ax(static_cast<std::size_t>(n)), ay(static_cast<std::size_t>(m));
  for (std::int64_t first = 0; first < n; first += width) {
    for (std::int64_t i = 0; i < n; ++i) {
      ax[static_cast<std::size_t>(i)] = Forward(x[i]);
      if (i >= first && i < first + width)
        ax[static_cast<std::size_t>(i)].fastAccessDx(static_cast<int>(i - first)) = 1;
    }
    f(ax.data(), ay.data());
    visit(first, ay);
  }
}

template <class F>
void jacobian(const double* x, std::int64_t n, std::int64_t m, F f, double* J) {
  each_directions(x, n, m, f, [=](std::int64_t first, const std::vector<Forward>& y) {
    for (std::int64_t i = 0; i < m; ++i) {
      const double* row = y[static_cast<std::size_t>(i)].dx();
      std::copy_n(row, std::min(width, n - first), J + i * n + first);
    }
  });
}

void softmax_jacobian(const double* z, const double* g, double* J, double* out, double*, std::int64_t rows,
                      std::int64_t cols) {
  for (std::int64_t r = 0; r < rows; ++r, z += cols, g += cols, J += cols * cols, out += cols) {
    jacobian(
        z, cols, cols, [=](const Forward* x, Forward* y) { softmax(x, y, cols); }, J);
    multiply_transposed(J, g, out, cols);
  }
}

void mlp_jacobian(const Mlp& net, const double* x, double* J) {
  jacobian(
      x, Mlp::inputs, Mlp::outputs, [&](const Forward* at, Forward* s) { mlp(net.W1, net.b1, net.W2, net.b2, at, s); },
      J);
}

void mlp_gradient(const Mlp& net, const double* x, const double* y, double* loss, double* gradient) {
  using Reverse = Sacado::Rad::ADvar<double>;
  const std::vector<double> weights = weights_of(net);
  std::vector<Reverse> at(weights.begin(), weights.end());
  const Reverse c = mlp_loss(at.data(), x, y);
  Reverse::Gradcomp();
  *loss = c.val();
  for (std::size_t i = 0; i < at.size(); ++i) gradient[i] = at[i].adj();
}

void logistic_hessian(const double* X, const double* y, const double* w, double* H, std::int64_t points,
                      std::int64_t parameters) {
  using Reverse = Sacado::Rad::ADvar<Forward>;
  for (std::int64_t first = 0; first < parameters; first += width) {
    std::vector<Reverse> at(static_cast<std::size_t>(parameters));
    for (std::int64_t i = 0; i < parameters; ++i) {
      Forward wi(w[i]);
      if (i >= first && i < first + width) wi.fastAccessDx(static_cast<int>(i - first)) = 1;
      at[static_cast<std::size_t>(i)] = wi;
    }
    const Reverse c = logistic_loss(X, y, at.data(), points, parameters);
    Reverse::Gradcomp();
    for (std::int64_t i = 0; i < parameters; ++i) {
      const Forward& adjoint = at[static_cast<std::size_t>(i)].adj();
      std::copy_n(adjoint.dx(), std::min(width, parameters - first), H + i * parameters + first);
    }
  }
}

}  // namespace

const Peer sacado = {"sacado", softmax_jacobian, mlp_jacobian, mlp_gradient, logistic_hessian};

}  // namespace tapegrad::benchmarks
