// Training that stops when the validation no longer improves, and keeps the best parameters.
#include <iostream>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

using namespace tapegrad;

int main() {
  random::Generator rng(1);
  Tensor<float> X = rng.normal<float>({300, 10}), y = sum(X, -1, keep_dims) + rng.normal<float>({300, 1});
  nn::Sequential<float> model({nn::Dense{64, "relu"}, nn::Dropout{0.2}, nn::Dense{1}}, /*seed*/ 1);
  model.compile({.optimizer = "adam", .loss = "mse", .metrics = {"mae"}});
  nn::History h = model.fit(
      X, y,
      {.epochs = 500,
       .validation_split = 0.2,
       .callbacks = {nn::EarlyStopping{.monitor = "val_loss", .patience = 20, .restore_best = true}, [](nn::Epoch& e) {
                       if (e.logs["val_loss"] < 0.5) e.stop();
                     }}});
  std::cout << h["val_loss"].size() << " epochs of 500; mean squared error " << h["val_loss"].back() << " at the end, "
            << model.evaluate(slice(X, 0, 240, 300), slice(y, 0, 240, 300))["loss"] << " kept\n";
  h.save_csv("early_stopping.csv");
}
