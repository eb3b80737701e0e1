// Digits from a file: split, scaled, trained on, saved; then a program that only loads the model predicts new ones.
#include <iostream>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

using namespace tapegrad;

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "examples/data/digits.csv.gz";
  auto [X, labels] = nn::split_labels(nn::read_csv<float>(path));
  auto [X_train, X_new, y_train, y_new] = nn::train_test_split(X / 16, labels, {.test_size = 0.2, .seed = 1});
  auto layers = {nn::Layer<float>(nn::Dense{64, "relu"}), nn::Layer<float>(nn::Dense{10, "softmax"})};

  nn::Sequential<float> model(layers, /*seed*/ 1);
  model.compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy", .metrics = {"accuracy"}});
  model.fit(X_train, y_train, {.epochs = 20});
  model.save("digits.npz");

  nn::Sequential<float> loaded(layers);
  loaded.load("digits.npz");
  Tensor<std::int64_t> classes = loaded.predict_classes(X_new);
  std::cout << "predicted " << slice(classes, 0, 0, 10) << "\nare       " << slice(y_new, 0, 0, 10) << "\naccuracy  "
            << nn::accuracy(loaded.predict(X_new), y_new) << "\nrows: true, columns: predicted\n"
            << nn::confusion_matrix(loaded.predict(X_new), y_new) << '\n';
}
