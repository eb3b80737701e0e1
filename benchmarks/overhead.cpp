// What recording and sweeping cost per operation: a chain x = x * a + b of 500 products and 500 sums on 10-vectors, a
// and b constant. Every time is that of one operation.
//
//   forward        record and compute, in an open scope; opening, closing and releasing are not timed
//   backward       one reverse sweep over the recorded chain, again and again
//   hand           the same loops without a tape, each into memory of its own, as a tape must keep them
//   hand_backward  the products of the reverse sweep alone
//
//     build/release/benchmarks/overhead [--benchmark_out=overhead.json]

#include <array>

#include "support/benchmarks.hpp"
#include "support/hand.hpp"
#include "tapegrad/autodiff.hpp"

namespace bm = tapegrad::benchmarks;
namespace tg = tapegrad;
using tg::Tensor;

namespace {

constexpr std::int64_t n = 10, links = 500, ops = 2 * links;

// x * a and + b; near 1 and 0, so that nothing over- or underflows.
struct Inputs {
  Tensor<> x, a, b, g;
};

Inputs make_inputs() {
  tg::random::Generator rng(1);
  return {.x = rng.normal<double>({n}),
          .a = rng.uniform<double>({n}, 0.999, 1.001),
          .b = rng.normal<double>({n}, 0, 1e-3),
          .g = rng.normal<double>({n})};
}

// Each result of the chain in a row of its own, a multiple of 32 bytes apart.
constexpr std::int64_t stride = 12;

}  // namespace

int main(int argc, char** argv) {
  const Inputs in = make_inputs();
  const bm::Hand& hand = bm::hand();

  auto chain = [&](const Tensor<>& x) {
    Tensor<> y = x;
    for (std::int64_t i = 0; i < links; ++i) y = y * in.a + in.b;
    return y;
  };

  std::vector<double> buffer = bm::padded((ops + 1) * stride);
  const auto chain_by_hand = [&]() -> std::span<const double> {
    const double *a = in.a.data(), *b = in.b.data();
    double* y = buffer.data();
    std::copy_n(in.x.data(), n, y);
    for (std::int64_t i = 0; i < links; ++i, y += 2 * stride) {
      hand.multiply(y, a, y + stride, n);
      hand.add(y + stride, b, y + 2 * stride, n);
    }
    return {y, static_cast<std::size_t>(n)};
  };
  const auto gradient_by_hand = [&]() -> std::span<const double> {
    const double* a = in.a.data();
    double* g = buffer.data();
    std::copy_n(in.g.data(), n, g);
    for (std::int64_t i = 0; i < links; ++i) hand.multiply(g, a, g, n);
    return {g, static_cast<std::size_t>(n)};
  };
  // An iteration is an operation, so that the time per iteration is that of one.
  const auto per_op = [](auto compute) {
    return [compute](benchmark::State& state) {
      while (state.KeepRunningBatch(ops)) bm::keep(compute());
    };
  };

  bm::Case("overhead/f64/n10")
      .timed("hand", 0, chain_by_hand, per_op(chain_by_hand))
      .timed(
          "forward", 1e-12, [&] { return tg::vjp(chain, in.x).first; },
          [&](benchmark::State& state) {
            // Stopping the clock is seen by the chain as less than 1 ns per operation.
            auto timed_chain = [&](const Tensor<>& x) {
              state.ResumeTiming();
              Tensor<> y = chain(x);
              state.PauseTiming();
              return y;
            };
            while (state.KeepRunningBatch(ops)) {
              state.PauseTiming();
              bm::keep(tg::vjp(timed_chain, in.x).first);
              state.ResumeTiming();
            }
          });
  bm::Case("overhead/f64/n10")
      .timed("hand_backward", 0, gradient_by_hand, per_op(gradient_by_hand))
      .timed(
          "backward", 1e-12, [&] { return tg::vjp(chain, in.x).second(in.g); },
          [&](benchmark::State& state) {
            const auto [y, pullback] = tg::vjp(chain, in.x);
            while (state.KeepRunningBatch(ops)) bm::keep(pullback(in.g));
          });
  bm::run(argc, argv);
}
