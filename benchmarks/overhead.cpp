// What recording and sweeping cost per operation: a chain x = x * a + b of 500 products and 500 sums on 10-vectors, a
// and b constant. Every time is that of one operation.
//
//   forward        record and compute, in an open scope; opening, closing and releasing are not timed
//   backward       one reverse sweep over the recorded chain, again and again
//   hand           the same loops without a tape, each into memory of its own, as a tape must keep them
//   hand_backward  the products of the reverse sweep alone
//
// Then a product of two scalars against x[i], both recorded, of ones; and a function written by elements, Rosenbrock's
// of 1,000 variables, value and gradient, every time that of one record.
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

// sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2, in 11 records each.
constexpr std::int64_t variables = 1000, records = 11 * (variables - 1);
Tensor<> rosenbrock(const Tensor<>& x) {
  Tensor<> total(0.0);
  for (std::int64_t i = 0; i + 1 < variables; ++i) {
    total += 100 * square(x[i + 1] - square(x[i])) + square(1 - x[i]);
  }
  return total;
}
std::pair<double, std::vector<double>> rosenbrock_by_hand(std::span<const double> x) {
  double value = 0;
  std::vector<double> gradient(x.size());
  for (std::size_t i = 0; i + 1 < x.size(); ++i) {
    const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
    value += 100 * a * a + b * b;
    gradient[i + 1] += 200 * a;
    gradient[i] -= 400 * a * x[i] + 2 * b;
  }
  return {value, gradient};
}

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

  const auto recorded = [&](Tensor<> x, auto op) {
    const auto f = [op](const Tensor<>& z) {
      Tensor<> y = sum(z);
      for (std::int64_t i = 0; i < ops; ++i) y = op(z, i);
      return y;
    };
    return std::pair([=] { return tg::vjp(f, x).first; },
                     [=](benchmark::State& state) {
                       auto timed = [&](const Tensor<>& z) {
                         state.ResumeTiming();
                         Tensor<> y = f(z);
                         state.PauseTiming();
                         return y;
                       };
                       while (state.KeepRunningBatch(ops)) {
                         state.PauseTiming();
                         bm::keep(tg::vjp(timed, x).first);
                         state.ResumeTiming();
                       }
                     });
  };
  const auto [product, time_product] = recorded(Tensor<>(1.0), [](const Tensor<>& z, std::int64_t) { return z * z; });
  const auto [element, time_element] =
      recorded(tg::ones({n}), [](const Tensor<>& z, std::int64_t i) { return z[i % n]; });
  bm::Case("overhead/f64/scalars")
      .timed("product", 0, product, time_product)
      .timed("element", 0, element, time_element);

  const Tensor<> at = tg::random::Generator(2).normal<double>({variables});
  const auto by_hand = [&] {
    auto [value, gradient] = rosenbrock_by_hand(at.elements_view());
    return std::pair(Tensor<>(value), Tensor<>({variables}, gradient));
  };
  const auto by_tape = [&] { return tg::value_and_grad(rosenbrock)(at); };
  const auto per_record = [](auto compute) {
    return [compute](benchmark::State& state) {
      while (state.KeepRunningBatch(records)) bm::keep(compute());
    };
  };
  bm::Case("overhead/f64/rosenbrock")
      .timed("hand", 0, by_hand, per_record(by_hand))
      .timed("gradient", 1e-12, by_tape, per_record(by_tape));
  bm::run(argc, argv);
}
