// libtorch: a Jacobian is the gradient of the sum of y_ii, y the outputs for as many copies of the input as there are
// outputs: one batched sweep, where its own jacobian() would take one sweep for each row.

#include <torch/torch.h>

#include "peers.hpp"

namespace tapegrad::benchmarks {
namespace {

torch::Tensor view(const double* data, torch::IntArrayRef shape) {
  return torch::from_blob(const_cast<double*>(data), shape, torch::kDouble);
}

void copy(const torch::Tensor& from, double* to) {
  const torch::Tensor contiguous = from.contiguous();
  std::copy_n(contiguous.data_ptr<double>(), contiguous.numel(), to);
}

torch::Tensor softmax(const torch::Tensor& z) {
  const torch::Tensor e = torch::exp(z - z.amax(-1, true));
  return e / e.sum(-1, true);
}

torch::Tensor gradient_of(const torch::Tensor& scalar, const torch::Tensor& at, bool again = false) {
  return torch::autograd::grad({scalar}, {at}, {}, again, again)[0];
}

// x (rows, n), f of (..., n) to (..., m): (rows, m, n).
template <class F>
torch::Tensor jacobian_of(const F& f, const torch::Tensor& x, std::int64_t m) {
  const torch::Tensor copies =
      x.unsqueeze(1).expand({x.size(0), m, x.size(1)}).clone(torch::MemoryFormat::Contiguous).requires_grad_();
  return gradient_of((f(copies) * torch::eye(m, torch::kDouble)).sum(), copies);
}

void softmax_jacobian(const double* z, const double* g, double* J, double* out, double*, std::int64_t rows,
                      std::int64_t cols) {
  const std::int64_t at_once = std::max(std::int64_t{1}, (std::int64_t{1} << 22) / (cols * cols));  // bounds the memory
  for (std::int64_t r = 0; r < rows; r += at_once) {
    const std::int64_t count = std::min(at_once, rows - r);
    const torch::Tensor blocks = jacobian_of(softmax, view(z + r * cols, {count, cols}), cols);
    copy(blocks, J + r * cols * cols);
    copy(view(g + r * cols, {count, 1, cols}).matmul(blocks), out + r * cols);
  }
}

torch::Tensor mlp(const std::array<torch::Tensor, 4>& w, const torch::Tensor& x) {
  return softmax(torch::matmul(torch::tanh(torch::matmul(x, w[0]) + w[1]), w[2]) + w[3]);
}

std::array<torch::Tensor, 4> weights_of(const Mlp& net) {
  return {view(net.W1, {Mlp::inputs, Mlp::hidden}), view(net.b1, {Mlp::hidden}),
          view(net.W2, {Mlp::hidden, Mlp::outputs}), view(net.b2, {Mlp::outputs})};
}

void mlp_jacobian(const Mlp& net, const double* x, double* J) {
  const auto w = weights_of(net);
  copy(jacobian_of([&](const torch::Tensor& at) { return mlp(w, at); }, view(x, {1, Mlp::inputs}), Mlp::outputs), J);
}

void mlp_gradient(const Mlp& net, const double* x, const double* y, double* loss, double* gradient) {
  auto w = weights_of(net);
  for (torch::Tensor& each : w) each.requires_grad_();
  const torch::Tensor c = -(view(y, {Mlp::outputs}) * torch::log(mlp(w, view(x, {Mlp::inputs})))).sum();
  *loss = c.item<double>();
  for (const torch::Tensor& each : torch::autograd::grad({c}, {w.begin(), w.end()})) {
    copy(each, gradient);
    gradient += each.numel();
  }
}

void logistic_hessian(const double* X, const double* y, const double* w, double* H, std::int64_t points,
                      std::int64_t parameters) {
  const torch::Tensor data = view(X, {points, parameters}), labels = view(y, {points});
  const auto slope = [&](const torch::Tensor& at) {
    const torch::Tensor margins = torch::matmul(at, data.t());
    return gradient_of(torch::log(1 + torch::exp(-labels * margins)).mean(-1).sum(), at, true);
  };
  copy(jacobian_of(slope, view(w, {1, parameters}), parameters), H);
}

}  // namespace

const Peer libtorch = [] {
  torch::set_num_threads(1);
  return Peer{"libtorch", softmax_jacobian, mlp_jacobian, mlp_gradient, logistic_hessian};
}();

}  // namespace tapegrad::benchmarks
