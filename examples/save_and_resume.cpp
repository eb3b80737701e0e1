// Training in two goes with a file between them gives the numbers of training in one, to the bit.
#include <iostream>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

using namespace tapegrad;

nn::Sequential<float> make_model() {
  nn::Sequential<float> model({nn::Dense{32, "relu"}, nn::BatchNorm{}, nn::Dropout{0.1}, nn::Dense{1}}, /*seed*/ 1);
  model.compile({.optimizer = nn::Adam{.learning_rate = 0.01}, .loss = "mse"});
  return model;
}

int main() {
  random::Generator rng(1);
  Tensor<float> X = rng.normal<float>({256, 4}), y = sum(sin(X), -1, keep_dims);

  nn::Sequential<float> whole = make_model();
  whole.fit(X, y, {.epochs = 20});

  nn::Sequential<float> first = make_model();
  first.fit(X, y, {.epochs = 12, .callbacks = {nn::ModelCheckpoint{.path = "model.npz"}}});
  nn::Sequential<float> second = make_model();
  second.load("model.npz");
  second.fit(X, y, {.epochs = 8});

  Tensor<float> difference = max(abs(whole.predict(X) - second.predict(X)));
  std::cout << "largest difference " << difference << '\n';
  return difference.item() == 0 ? 0 : 1;
}
