// Dense Jacobians, gradients and Hessians of functions written from primitives, as a user would write them.
//
// jacobian/f64/<function>_n<columns>_b<rows>: from z in memory to J, as a matrix for each row, and J^T g in memory.
//
//   hand        what an expert writes: a SIMD forward pass, J in one pass at the speed of memory, J^T g in closed form
//   hand_libm   the same with exp of the C library
//   structured  the Jacobian object, whose structure is found: dense() and apply_transposed(g)
//   sweep       structure not asked for: one reverse sweep of a whole identity
//   naive       a reverse sweep for each element of the output
//   adolc, ...  another library, where it is installed: softmax alone, see peers/
//
// At n1000_b64, where J takes 512 MB, sweep is left out: it would hold several such arrays at once.
//
// jacobian/f64/mlp_64_32_10: output by input of a network of 64-32(tanh)-10(softmax) for one example;
// gradient/f64/mlp_64_32_10: of its cross-entropy, with the loss, by its 2410 weights;
// hessian/f64/logistic_50_200: of mean(log(1 + exp(-y * X w))) with 50 parameters w and 200 points.
//
//   hand        SIMD loops and dsyrk; for the gradient of the logits a - y
//   tapegrad    with the softmax of the library, where there is one
//   primitives  with softmax from max, exp, sum and a division
//
//     build/release/benchmarks/jacobian [--benchmark_filter=softmax_n10_] [--benchmark_out=jacobian.json]

#include <memory>

#include "peers/peers.hpp"
#include "support/benchmarks.hpp"
#include "support/hand.hpp"
#include "tapegrad/autodiff.hpp"

namespace bm = tapegrad::benchmarks;
namespace tg = tapegrad;
using tg::Tensor;

namespace {

// ---------------------------------------------------------------------------------------------------------- functions

const auto normalize = [](const Tensor<>& z) { return z / sqrt(sum(square(z), -1, tg::keep_dims)); };
const auto softmax = [](const Tensor<>& z) {
  const Tensor<> e = exp(z - max(z, -1, tg::keep_dims));
  return e / sum(e, -1, tg::keep_dims);
};
const auto xsoftmax = [](const Tensor<>& z) { return z * softmax(z); };
const auto layernorm = [](const Tensor<>& z) {
  const Tensor<> centered = z - mean(z, -1, tg::keep_dims);
  return centered / sqrt(mean(square(centered), -1, tg::keep_dims) + 1e-5);
};
const auto cumsoftmax = [](const Tensor<>& z) { return cumsum(softmax(z), -1); };

// -------------------------------------------------------------------------------------------------- functions of a row

// jacobian(f)(z) of one row, batch_jacobian(f)(Z) of several.
template <class F>
auto matrix_and_product(const F& f, const Tensor<>& z, const Tensor<>& g, tg::JacobianOptions options) {
  const auto J = z.rank() == 1 ? tg::jacobian(f, options)(z) : tg::batch_jacobian(f, options)(z);
  return std::pair(Tensor<>(J.dense()), J.apply_transposed(g));
}

// J one row at a time, of all blocks at once, then its product with g.
template <class F>
auto row_by_row(const F& f, const Tensor<>& z, const Tensor<>& g) {
  const std::int64_t cols = z.shape().back(), rows = z.size() / cols;
  const auto [y, pullback] = tg::vjp(f, z);
  Tensor<> J = tg::zeros({rows, cols, cols}), seed = tg::zeros(z.shape());
  for (std::int64_t i = 0; i < cols; ++i) {
    for (std::int64_t r = 0; r < rows; ++r) seed.mutable_data()[r * cols + i] = 1;
    const Tensor<> row = pullback(seed);
    for (std::int64_t r = 0; r < rows; ++r) {
      std::copy_n(row.data() + r * cols, cols, J.mutable_data() + (r * cols + i) * cols);
      seed.mutable_data()[r * cols + i] = 0;
    }
  }
  Tensor<> product = matmul(reshape(g, {rows, 1, cols}), J);
  return std::pair(std::move(J), std::move(product));
}

// J by hand is the largest array here: one for all cases, of which one runs at a time.
std::vector<double>& matrix_memory(std::int64_t n) {
  static std::vector<double> memory;
  if (const auto size = static_cast<std::size_t>(n) + bm::Hand::padding; memory.size() < size) memory.resize(size);
  return memory;
}

template <class F>
void add_function(const std::string& name, const F& f, bm::Hand::Jacobian hand, bm::Hand::Jacobian hand_libm) {
  for (const auto& [cols, rows] :
       {std::pair<std::int64_t, std::int64_t>{10, 1}, {10, 64}, {100, 1}, {100, 64}, {1000, 1}, {1000, 64}}) {
    const tg::Shape shape = rows == 1 ? tg::Shape{cols} : tg::Shape{rows, cols};
    tg::random::Generator rng(static_cast<std::uint64_t>(cols + rows));
    const Tensor<> z = rng.normal<double>(shape), g = rng.normal<double>(shape);

    struct Memory {
      std::vector<double> z, g, product, scratch;
    };
    const auto memory = std::make_shared<Memory>(
        Memory{bm::padded_copy(z.elements_view()), bm::padded_copy(g.elements_view()), bm::padded(z.size()),
               bm::padded(2 * cols + static_cast<std::int64_t>(bm::Hand::padding))});
    const auto by_hand = [=, cols = cols, rows = rows](bm::Hand::Jacobian function) {
      return [=, n = rows * cols] {
        Memory& m = *memory;
        std::vector<double>& J = matrix_memory(n * cols);
        function(m.z.data(), m.g.data(), J.data(), m.product.data(), m.scratch.data(), rows, cols);
        return std::pair(std::span<const double>(J.data(), static_cast<std::size_t>(n * cols)),
                         bm::unpadded(m.product));
      };
    };
    bm::Case c("jacobian/f64/" + name + "_n" + std::to_string(cols) + "_b" + std::to_string(rows));
    c.variant("hand", 0, by_hand(hand));
    if (hand_libm) c.variant("hand_libm", 1e-12, by_hand(hand_libm));
    c.variant("structured", 1e-12, [=] { return matrix_and_product(f, z, g, {}); });
    const bool huge = z.size() * cols * 8 > std::int64_t{1} << 28;
    if (!huge) {
      c.variant("sweep", 1e-12, [=] { return matrix_and_product(f, z, g, {.sweep = tg::Sweep::reverse}); });
    }
    c.variant("naive", 1e-12, [=] { return row_by_row(f, z, g); });
    for (const bm::Peer* peer : bm::peers()) {
      if (name == "softmax" && peer->softmax) c.variant(peer->name, 1e-12, by_hand(peer->softmax));
    }
  }
}

// ------------------------------------------------------------------------------------------------------------ networks

using Weights = std::array<Tensor<>, 4>;  // W1, b1, W2, b2

template <class Softmax>
auto network(const Softmax& of) {
  return [of](const Weights& w, const Tensor<>& x) { return of(matmul(tanh(matmul(x, w[0]) + w[1]), w[2]) + w[3]); };
}
template <class Softmax>
auto network_loss(const Softmax& of) {
  return [f = network(of)](const Weights& w, const Tensor<>& x, const Tensor<>& y) { return -sum(y * log(f(w, x))); };
}
const auto library_softmax = [](const Tensor<>& z) { return tg::softmax(z); };

void add_network() {
  using bm::Mlp;
  tg::random::Generator rng(3);
  const Weights w = {rng.normal<double>({Mlp::inputs, Mlp::hidden}, 0, 0.125), rng.normal<double>({Mlp::hidden}),
                     rng.normal<double>({Mlp::hidden, Mlp::outputs}, 0, 0.2), rng.normal<double>({Mlp::outputs})};
  const Tensor<> x = rng.normal<double>({Mlp::inputs}), y = tg::one_hot(Tensor<std::int64_t>(3), Mlp::outputs);

  struct Memory {
    std::array<std::vector<double>, 4> weights;
    std::vector<double> x, y, J, gradient;
    double loss;
    Mlp net() const { return {weights[0].data(), weights[1].data(), weights[2].data(), weights[3].data()}; }
  };
  constexpr std::int64_t weights = (Mlp::inputs + 1) * Mlp::hidden + (Mlp::hidden + 1) * Mlp::outputs;
  const auto copy = [](const Tensor<>& t) { return bm::padded_copy(t.elements_view()); };
  const auto memory = std::make_shared<Memory>(Memory{{copy(w[0]), copy(w[1]), copy(w[2]), copy(w[3])},
                                                      copy(x),
                                                      copy(y),
                                                      bm::padded(Mlp::outputs * Mlp::inputs),
                                                      bm::padded(weights),
                                                      0});
  const auto jacobian_of = [=](const auto& f) { return [=] { return Tensor<>(tg::jacobian<1>(f)(w, x).dense()); }; };
  const auto jacobian_by = [=](auto function) {
    return [=] {
      function(memory->net(), memory->x.data(), memory->J.data());
      return bm::unpadded(memory->J);
    };
  };
  bm::Case jacobian("jacobian/f64/mlp_64_32_10");
  jacobian.variant("hand", 0, jacobian_by(bm::hand().mlp_jacobian))
      .variant("tapegrad", 1e-12, jacobian_of(network(library_softmax)))
      .variant("primitives", 1e-12, jacobian_of(network(softmax)));
  for (const bm::Peer* peer : bm::peers()) {
    if (peer->mlp_jacobian) jacobian.variant(peer->name, 1e-12, jacobian_by(peer->mlp_jacobian));
  }

  const auto gradient_of = [=](const auto& loss) { return [=] { return tg::value_and_grad(loss)(w, x, y); }; };
  const auto gradient_by = [=](auto function) {
    return [=] {
      Memory& m = *memory;
      function(m.net(), m.x.data(), m.y.data(), &m.loss, m.gradient.data());
      return std::pair(std::span<const double>(&m.loss, 1), bm::unpadded(m.gradient));
    };
  };
  bm::Case gradient("gradient/f64/mlp_64_32_10");
  gradient.variant("hand", 0, gradient_by(bm::hand().mlp_gradient))
      .variant("tapegrad", 1e-12, gradient_of(network_loss(library_softmax)))
      .variant("primitives", 1e-12, gradient_of(network_loss(softmax)));
  for (const bm::Peer* peer : bm::peers()) {
    if (peer->mlp_gradient) gradient.variant(peer->name, 1e-12, gradient_by(peer->mlp_gradient));
  }
}

// ------------------------------------------------------------------------------------------------------------ logistic

void add_logistic() {
  constexpr std::int64_t parameters = 50, points = 200;
  tg::random::Generator rng(4);
  const Tensor<> X = rng.normal<double>({points, parameters}), w = rng.normal<double>({parameters}, 0, 0.2);
  Tensor<> y = tg::ones({points});
  for (std::int64_t i = 0; i < points; i += 2) y.mutable_data()[i] = -1;
  const auto loss = [=](const Tensor<>& at) { return mean(log(1 + exp(-y * matmul(X, at)))); };

  struct Memory {
    std::vector<double> X, y, w, H, scaled;
  };
  const auto memory = std::make_shared<Memory>(
      Memory{bm::padded_copy(X.elements_view()), bm::padded_copy(y.elements_view()), bm::padded_copy(w.elements_view()),
             bm::padded(parameters * parameters), bm::padded(points * parameters)});
  const auto hessian_by = [=](auto function) {
    return [=] {
      Memory& m = *memory;
      function(m.X.data(), m.y.data(), m.w.data(), m.H.data(), points, parameters);
      return bm::unpadded(m.H);
    };
  };
  bm::Case c("hessian/f64/logistic_50_200");
  c.variant("hand", 0,
            hessian_by([memory](auto... arguments) { bm::logistic_hessian(memory->scaled.data(), arguments...); }))
      .variant("tapegrad", 1e-12, [=] { return tg::hessian(loss)(w); });
  for (const bm::Peer* peer : bm::peers()) {
    if (peer->logistic_hessian) c.variant(peer->name, 1e-12, hessian_by(peer->logistic_hessian));
  }
}

}  // namespace

int main(int argc, char** argv) {
  tg::set_num_threads(1);  // also of the BLAS that is called by hand
  const bm::Hand& hand = bm::hand();
  add_function("softmax", softmax, hand.softmax, hand.softmax_libm);
  add_function("normalize", normalize, hand.normalize, nullptr);
  add_function("xsoftmax", xsoftmax, hand.xsoftmax, hand.xsoftmax_libm);
  add_function("layernorm", layernorm, hand.layernorm, nullptr);
  add_function("cumsoftmax", cumsoftmax, hand.cumsoftmax, hand.cumsoftmax_libm);
  add_network();
  add_logistic();
  bm::run(argc, argv);
}
