// A training loop of your own: parameters in a struct, value_and_grad, an optimizer. No model, no layers.
#include <iostream>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

using namespace tapegrad;

struct Net {
  Tensor<> W1, b1, W2, b2;
  auto tensors() { return std::tie(W1, b1, W2, b2); }
  Tensor<> operator()(const Tensor<>& x) const { return matmul(tanh(matmul(x, W1) + b1), W2) + b2; }
};

int main() {
  random::Generator rng(1);
  Tensor<> X = rng.uniform<double>({1000, 1}, -3, 3), y = sin(X);
  Net net{rng.normal<double>({1, 32}), zeros({32}), 0.2 * rng.normal<double>({32, 1}), zeros({1})};
  auto loss = [](const Net& net, const Tensor<>& x, const Tensor<>& y) { return mean(square(net(x) - y)); };

  nn::Optimizer optimizer = nn::Adam{.learning_rate = nn::cosine_decay(0.01, 50 * 32)};
  for (std::uint64_t epoch = 0; epoch < 50; ++epoch) {
    double total = 0;
    for (auto [x, target] : nn::batches(X, y, 32, {.epoch = epoch})) {
      auto [value, gradient] = value_and_grad(loss)(net, x, target);
      nn::clip_by_global_norm(gradient, 1.0);
      optimizer.step(net, gradient);
      total += value.item();
    }
    if (epoch % 10 == 9) std::cout << "epoch " << epoch + 1 << ": " << total / 32 << '\n';
  }
}
