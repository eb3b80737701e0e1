// An activation of your own: one line, no derivative; its Jacobian, and a network that trains with it.
#include <iostream>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

using namespace tapegrad;

int main() {
  // A scalar formula becomes a SIMD kernel; a function of tensors works on rows (batch, n).
  auto swish = elementwise([](auto x) { return x / (1 + exp(-x)); }, "swish");
  auto tempered = [](const auto& z) { return softmax(z / 0.5, -1); };

  Tensor<> z{0.5, -1.0, 2.0};
  std::cout << jacobian(swish)(z).explain() << '\n' << jacobian(tempered)(z) << '\n';

  random::Generator rng(1);
  Tensor<float> X = rng.normal<float>({512, 2});
  Tensor<std::int64_t> inside =
      argmax(concatenate({full<float>({512, 1}, 1.0f), sum(square(X), -1, keep_dims)}, -1), -1);
  nn::Sequential<float> model({nn::Dense{32, swish}, nn::Dense{2, tempered}}, /*seed*/ 1);
  model.compile({.optimizer = nn::Adam{.learning_rate = 0.01},
                 .loss = "sparse_categorical_crossentropy",
                 .metrics = {"accuracy"}});
  nn::History h = model.fit(X, inside, {.epochs = 20});
  std::cout << "in or out of the unit circle: " << h["accuracy"].back() << " right\n";
}
