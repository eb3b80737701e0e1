// Elementwise functions of floats, written once as a lambda: a call of it on tensors is one pass over memory for each
// primitive.
//
// elementwise/f32/<function>_<size>: from x in memory to f(x) in memory;
// elementwise/f32/<function>_grad_<size>: from x and v in memory to f(x) and v * f'(x) in memory.
//
//   hand          one fused SIMD loop, chosen at run time for the CPU
//   hand_formula  mish alone: the loop that computes tanh, log and exp one after the other, where hand needs only exp
//   lambda        elementwise(the lambda); with the derivative by jvp
//   ..._vjp       with the derivative by vjp, which learns v only once the value is there
//   primitives    the lambda applied to tensors
//   builtin       the function of that name in the library
//
// This file is compiled like a user's, without -march: only what the library and support/hand_* choose at run time uses
// the CPU's vectors.
//
//     build/release/benchmarks/elementwise [--benchmark_filter=swish] [--benchmark_out=elementwise.json]

#include <memory>

#include "support/benchmarks.hpp"
#include "support/hand.hpp"
#include "tapegrad/autodiff.hpp"

namespace bm = tapegrad::benchmarks;
namespace tg = tapegrad;
using Floats = tg::Tensor<float>;

namespace {

const auto swish = [](auto x) { return x / (1 + exp(-x)); };
const auto mish = [](auto x) { return x * tanh(log1p(exp(x))); };
const auto gelu = [](auto x) { return 0.5 * x * (1 + erf(0.70710678118654752 * x)); };
const auto sigmoid = [](auto x) { return 1 / (1 + exp(-x)); };
const auto hyperbolic_tangent = [](auto x) { return tanh(x); };

constexpr double tolerance = 2e-6;

template <class F>
auto value_of(const F& f, const Floats& x) {
  return [=] { return Floats(f(x)); };
}

template <class F>
auto value_and_product_of(const F& f, const Floats& x, const Floats& v) {
  return [=] { return tg::jvp(f, x, v); };
}
template <class F>
auto value_and_pullback_of(const F& f, const Floats& x, const Floats& v) {
  return [=] {
    auto [y, pullback] = tg::vjp(f, x);
    return std::pair(std::move(y), pullback(v));
  };
}

using HandWay = std::pair<std::string, bm::Hand::Elementwise>;

// The other ways: pairs of a name and a function of tensors.
template <class... Way>
void add_function(const std::string& name, const std::vector<HandWay>& by_hand, const Way&... way) {
  for (const auto& [size, n] : {std::pair<std::string, std::int64_t>{"1e3", 1000}, {"1e6", 1000000}}) {
    tg::random::Generator rng(6);
    const Floats x = rng.normal<float>({n}, 0, 3), v = rng.normal<float>({n});
    struct Memory {
      std::vector<float> x, v, y, product;
    };
    const auto memory =
        std::make_shared<Memory>(Memory{bm::padded_copy(x.elements_view()), bm::padded_copy(v.elements_view()),
                                        bm::padded<float>(n), bm::padded<float>(n)});
    bm::Case value("elementwise/f32/" + name + "_" + size);
    for (const auto& [hand_name, hand] : by_hand) {
      value.variant(hand_name, tolerance, [=, n = n, of = hand.value] {
        of(memory->x.data(), memory->y.data(), n);
        return bm::unpadded(memory->y);
      });
    }
    (value.variant(way.first, tolerance, value_of(way.second, x)), ...);

    bm::Case both("elementwise/f32/" + name + "_grad_" + size);
    for (const auto& [hand_name, hand] : by_hand) {
      both.variant(hand_name, tolerance, [=, n = n, of = hand.value_and_product] {
        Memory& m = *memory;
        of(m.x.data(), m.v.data(), m.y.data(), m.product.data(), n);
        return std::pair(bm::unpadded(m.y), bm::unpadded(m.product));
      });
    }
    (both.variant(way.first, tolerance, value_and_product_of(way.second, x, v)), ...);
    (both.variant(way.first + "_vjp", tolerance, value_and_pullback_of(way.second, x, v)), ...);
  }
}

template <class F>
auto lambda(const F& f) {
  return std::pair(std::string("lambda"), tg::elementwise(f));
}
template <class F>
auto primitives(const F& f) {
  return std::pair(std::string("primitives"), f);
}
template <class F>
auto builtin(const F& f) {
  return std::pair(std::string("builtin"), f);
}

}  // namespace

int main(int argc, char** argv) {
  const bm::Hand& hand = bm::hand();
  add_function("swish", {{"hand", hand.swish}}, lambda(swish), primitives(swish));
  add_function("mish", {{"hand", hand.mish}, {"hand_formula", hand.mish_by_formula}}, lambda(mish), primitives(mish));
  add_function("gelu", {{"hand", hand.gelu}}, lambda(gelu), primitives(gelu));
  add_function("sigmoid", {{"hand", hand.sigmoid}}, lambda(sigmoid), primitives(sigmoid),
               builtin([](const Floats& x) { return tg::sigmoid(x); }));
  add_function("tanh", {{"hand", hand.tanh}}, lambda(hyperbolic_tangent), builtin(hyperbolic_tangent));
  bm::run(argc, argv);
}
