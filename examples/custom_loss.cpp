// A loss of your own: the prediction comes first, one value per example; the error of the output layer follows.
#include <iostream>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

using namespace tapegrad;

int main() {
  auto focal = [](const auto& a, const auto& y) { return -sum(y * square(1 - a) * log(a), -1); };
  auto pinball = elementwise([](auto a, auto y) { return where(y > a, 0.9 * (y - a), 0.1 * (a - y)); });

  Tensor<> z({{2.0, 0.0, -1.0}}), y({{0.0, 1.0, 0.0}});
  std::cout << "delta of softmax and focal loss " << nn::output_delta("softmax", focal, z, y) << '\n';

  // The pinball loss makes a network predict the 90 % quantile of noisy data.
  random::Generator rng(1);
  Tensor<> X = rng.uniform<double>({2000, 1}, -1, 1), noisy = X + 0.5 * rng.normal<double>({2000, 1});
  nn::Sequential<double> model({nn::Dense{16, "tanh"}, nn::Dense{1}}, /*seed*/ 1);
  model.compile({.optimizer = nn::Adam{.learning_rate = 0.01}, .loss = pinball});
  model.fit(X, noisy, {.epochs = 30});
  Tensor<> below = where(noisy < model.predict(X), ones({2000, 1}), 0.0);
  std::cout << "below the prediction: " << mean(below) << '\n';
}
