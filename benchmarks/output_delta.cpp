// The delta of an output layer, J_f(z)^T dC/da, in every way there is, from z in memory to delta in memory. The
// activations and losses are written from primitives, as a user would.
//
//   hand                what an expert writes: SIMD activation, dC/da, then J^T g of that one activation
//   hand_closed         SIMD activation, then the closed form
//   closed_form         a given: the closed form alone, a - y, as a SIMD loop
//   closed_form_tensor  the same as an operation of tensors
//   vjp                 the activation recorded, g = dC/da in tensors, one reverse sweep
//   jacobian_apply      the Jacobian object, applied to g
//   jacobian_structured  the same, once its structure has been asked for, which is then applied
//   jacobian_dense      the Jacobian as a matrix, then its product with g
//   finite_difference   central differences of the loss by z
//   notebook            as notebook 001 has it: dC/da by the tape too, then the whole matrix
//
// step/f32/<data>_b<batch>/<way>: a whole training step of a network of 784-128(relu)-10(softmax), or 64-64(relu)-10
// for the digits, with the cross-entropy and SGD, under each OutputDelta.
//
//     build/release/benchmarks/output_delta [--benchmark_filter=n10_] [--benchmark_out=delta.json]
//
// A pair of your own is one line in main; it is timed at n = 10 with 1 row and with 64:
//
//     add_pair("mine", softmax, [](const Tensor<>& a, const Tensor<>& y) { return sum(square(a - y) * a, -1); });

#include <cmath>
#include <memory>

#include "support/benchmarks.hpp"
#include "support/hand.hpp"
#include "tapegrad/autodiff.hpp"
#include "tapegrad/nn.hpp"

namespace bm = tapegrad::benchmarks;
namespace nn = tapegrad::nn;
namespace tg = tapegrad;
using tg::Tensor;

namespace {

// -------------------------------------------------------------------------------------------- activations and losses

const auto softmax = [](const Tensor<>& z) {
  const Tensor<> e = exp(z - max(z, -1, tg::keep_dims));
  return e / sum(e, -1, tg::keep_dims);
};
const auto sigmoid = [](const Tensor<>& z) { return 1 / (1 + exp(-z)); };
const auto linear = [](const Tensor<>& z) { return z; };

const auto crossentropy = [](const Tensor<>& a, const Tensor<>& y) { return -sum(y * log(a), -1); };
const auto binary_crossentropy = [](const Tensor<>& a, const Tensor<>& y) {
  return -sum(y * log(a) + (1 - y) * log(1 - a), -1);
};
const auto mse = [](const Tensor<>& a, const Tensor<>& y) { return mean(square(a - y), -1); };

// dC/da by hand.
const auto crossentropy_slope = [](const Tensor<>& a, const Tensor<>& y) { return -y / a; };
const auto binary_crossentropy_slope = [](const Tensor<>& a, const Tensor<>& y) { return (a - y) / (a * (1 - a)); };
const auto mse_slope = [](const Tensor<>& a, const Tensor<>& y) {
  return (a - y) * (2.0 / static_cast<double>(y.shape().back()));
};

// ------------------------------------------------------------------------------------------------- the general ways

// jacobian(f)(z) of one row, batch_jacobian(f)(Z) of several.
template <class F>
auto jacobian_at(const F& f, const Tensor<>& z) {
  return z.rank() == 1 ? tg::jacobian(f)(z) : tg::batch_jacobian(f)(z);
}

// J^T g of a matrix, or of a batch of them.
Tensor<> transposed_times(const Tensor<>& J, const Tensor<>& g) {
  if (g.rank() == 1) return matmul(g, J);
  const std::int64_t rows = g.shape()[0], cols = g.shape()[1];
  return reshape(matmul(reshape(g, {rows, 1, cols}), J), {rows, J.shape()[2]});
}

// The rows of a batch do not mix, so that all of them are moved at once.
template <class F, class C>
Tensor<> finite_difference(const F& f, const C& loss, const Tensor<>& z, const Tensor<>& y) {
  constexpr double h = 6e-6;  // about the cube root of epsilon, where truncation and rounding balance
  const std::int64_t cols = z.shape().back(), rows = z.size() / cols;
  Tensor<> moved(z.shape(), z.elements_view()), delta = tg::zeros(z.shape());
  const auto loss_at = [&](std::int64_t j, double step) {
    for (std::int64_t i = 0; i < rows; ++i) moved.mutable_data()[i * cols + j] = z.data()[i * cols + j] + step;
    return loss(f(moved), y);
  };
  double* out = delta.mutable_data();
  for (std::int64_t j = 0; j < cols; ++j) {
    const Tensor<> above = loss_at(j, h), below = loss_at(j, -h);
    for (std::int64_t i = 0; i < rows; ++i) {
      moved.mutable_data()[i * cols + j] = z.data()[i * cols + j];
      out[i * cols + j] = (above.data()[i] - below.data()[i]) / (2 * h);
    }
  }
  return delta;
}

// ------------------------------------------------------------------------------------------------------------- pairs

struct Size {
  std::int64_t cols, rows;
};

// What is known of a pair by hand; each may be missing. Without `hand` the others must equal `vjp`, and there are no
// ratios.
struct Known {
  std::function<Tensor<>(const Tensor<>& a, const Tensor<>& y)> slope = {};  // dC/da; by the tape when missing
  bm::Hand::Delta hand = nullptr;
  bm::Hand::Delta hand_closed = nullptr;
  void (*closed_form)(const double* a, const double* y, double* delta, std::int64_t n) = nullptr;
  std::vector<Size> sizes = {{10, 1}, {10, 64}};
};

template <class F, class C>
void add_pair(const std::string& name, F f, C loss, const Known& known = {}) {
  for (const Size& size : known.sizes) {
    const std::int64_t cols = size.cols, rows = size.rows;
    const tg::Shape shape = rows == 1 ? tg::Shape{cols} : tg::Shape{rows, cols};
    tg::random::Generator rng(static_cast<std::uint64_t>(cols + rows));
    const Tensor<> z = rng.normal<double>(shape);
    // Rows of probabilities suit every loss here.
    const Tensor<> u = rng.uniform<double>(shape, 0.1, 1), y = u / sum(u, -1, tg::keep_dims), a = f(z);
    const auto slope = known.slope ? known.slope : [loss](const Tensor<>& p, const Tensor<>& t) {
      return tg::elementwise_grad(loss)(p, t);
    };
    bm::Case c("delta/f64/" + (name.empty() ? "" : name + "_") + "n" + std::to_string(cols) + "_b" +
               std::to_string(rows));

    // Inputs of their own for the hand-written ones, with room for what spills.
    struct Memory {
      std::vector<double> z, y, a, delta, scratch;
    };
    const auto memory = std::make_shared<Memory>();
    for (auto [to, from] : {std::pair(&memory->z, &z), {&memory->y, &y}, {&memory->a, &a}}) {
      *to = bm::padded(z.size());
      std::copy_n(from->data(), z.size(), to->begin());
    }
    memory->delta = bm::padded(z.size());
    memory->scratch = bm::padded(cols);
    const auto result = [memory, n = static_cast<std::size_t>(z.size())] {
      return std::span<const double>(memory->delta.data(), n);
    };
    const auto by_hand = [=, &m = *memory](bm::Hand::Delta function) {
      return [=, &m] {
        function(m.z.data(), m.y.data(), m.delta.data(), m.scratch.data(), rows, cols);
        return result();
      };
    };

    if (known.hand) c.variant("hand", 0, by_hand(known.hand));
    if (known.hand_closed) c.variant("hand_closed", 1e-12, by_hand(known.hand_closed));
    if (known.closed_form) {
      c.variant("closed_form", 1e-12, [=, function = known.closed_form, &m = *memory] {
        function(m.a.data(), m.y.data(), m.delta.data(), rows * cols);
        return result();
      });
      c.variant("closed_form_tensor", 1e-12, [=] { return a - y; });
    }
    c.variant("vjp", 1e-12, [=] {
      const auto [p, pullback] = tg::vjp(f, z);
      return pullback(slope(p, y));
    });
    c.variant("jacobian_apply", 1e-12, [=] {
      const auto J = jacobian_at(f, z);
      return J.apply_transposed(slope(J.value(), y));
    });
    c.variant("jacobian_structured", 1e-12, [=] {
      const auto J = jacobian_at(f, z);
      J.structure();
      return J.apply_transposed(slope(J.value(), y));
    });
    c.variant("jacobian_dense", 1e-12, [=] {
      const auto J = jacobian_at(f, z);
      return transposed_times(J.dense(), slope(J.value(), y));
    });
    c.variant("finite_difference", 1e-7, [=] { return finite_difference(f, loss, z, y); });
    c.variant("notebook", 1e-12, [=] {
      const Tensor<> g = tg::elementwise_grad(loss)(f(z), y);
      return transposed_times(jacobian_at(f, z).dense(), g);
    });
  }
}

// ------------------------------------------------------------------------------------------------------------ training

// A model of its own for each way, which goes on learning while it is timed. Equal: the parameters after 3 steps.
void add_step(const std::string& name, std::int64_t inputs, std::int64_t hidden, std::int64_t batch) {
  tg::random::Generator rng(5);
  const Tensor<float> x = rng.uniform<float>({batch, inputs}),
                      y = tg::one_hot<float>(tg::argmax(rng.normal<float>({batch, 10}), -1), 10);
  bm::Case c("step/f32/" + name + "_b" + std::to_string(batch));
  for (const auto way : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
    const auto make = [=] {
      nn::Sequential<float> model({nn::Dense{hidden, "relu"}, nn::Dense{10, "softmax"}}, /*seed*/ 1);
      model.compile(
          {.optimizer = nn::SGD{.learning_rate = 0.01}, .loss = "categorical_crossentropy", .output_delta = way});
      return model;
    };
    c.timed(
        nn::to_string(way), 1e-5,
        [=] {
          nn::Sequential<float> model = make();
          for (int i = 0; i < 3; ++i) model.train_on_batch(x, y);
          const tg::TensorList<float> w = model.parameters();
          return std::array{w.at(0), w.at(1), w.at(2), w.at(3)};
        },
        [=](benchmark::State& state) {
          nn::Sequential<float> model = make();
          model.train_on_batch(x, y);
          for ([[maybe_unused]] auto _ : state) model.train_on_batch(x, y);
        });
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bm::Hand& hand = bm::hand();
  add_pair("", softmax, crossentropy,
           {.slope = crossentropy_slope,
            .hand = hand.softmax_crossentropy,
            .hand_closed = hand.softmax_crossentropy_closed,
            .closed_form = hand.subtract,
            .sizes = {{10, 1}, {10, 64}, {100, 1}, {100, 64}, {1000, 1}, {1000, 64}}});
  add_pair("sigmoid_bce", sigmoid, binary_crossentropy,
           {.slope = binary_crossentropy_slope,
            .hand = hand.sigmoid_bce,
            .hand_closed = hand.sigmoid_bce_closed,
            .closed_form = hand.subtract});
  add_pair("linear_mse", linear, mse, {.slope = mse_slope, .hand = hand.linear_mse});
  add_pair("softmax_mse", softmax, mse, {.slope = mse_slope, .hand = hand.softmax_mse});

  add_step("mnist", 784, 128, 32);
  add_step("mnist", 784, 128, 128);
  add_step("digits", 64, 64, 10);

  const bm::Medians medians = bm::run(argc, argv);
  // The notebook's ratio, in both readings of "closed form": NumPy's a - y was an operation of arrays.
  for (const char* variant : {"jacobian_apply", "jacobian_dense", "notebook"}) {
    for (const char* closed : {"closed_form", "closed_form_tensor"}) {
      const std::string at = "delta/f64/n10_b1/";
      if (const auto ratio = medians.ratio(at + variant, at + closed)) {
        bm::report_stream() << "\nn = 10: " << variant << " / " << closed << " = " << std::lround(*ratio)
                            << " (in notebook 001: 1287)";
      }
    }
  }
  bm::report_stream() << '\n';
}
