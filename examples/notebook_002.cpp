// Notebook 002: 784-128(relu)-10(softmax) on MNIST, by NumPy (50 epochs of full batch) and by TensorFlow, then three
// experiments: 256 neurons, He's initial weights, RMSprop.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

#include "notebook.hpp"

namespace tg = tapegrad;
namespace nn = tapegrad::nn;
using notebook::Run;
using notebook::seconds_of;
using tg::Tensor;

namespace {

// -------------------------------------------------------------------------------------------------------------- part 1

struct Data {
  Tensor<> x_train, y_train, x_test, y_test;
};

// Rows of 784 numbers in [0, 1], and one-hot labels.
Data as_rows(const nn::Mnist<double>& mnist) {
  return {reshape(mnist.train.X, {-1, 784}) / 255, tg::one_hot(mnist.train.y, 10),
          reshape(mnist.test.X, {-1, 784}) / 255, tg::one_hot(mnist.test.y, 10)};
}

struct Network {
  Tensor<> W1, b1, W2, b2;
  auto tensors() { return std::tie(W1, b1, W2, b2); }
};

Network initialize_parameters(std::int64_t input_size, std::int64_t hidden_size, std::int64_t output_size) {
  tg::random::NumpyRandomState random(42);
  return {.W1 = random.randn({input_size, hidden_size}) * 0.01,
          .b1 = tg::zeros({hidden_size}),
          .W2 = random.randn({hidden_size, output_size}) * 0.01,
          .b2 = tg::zeros({output_size})};
}

// Z2; the network's output is its softmax.
Tensor<> forward_propagation(const Tensor<>& X, const Network& network) {
  const Tensor<> A1 = relu(matmul(X, network.W1) + network.b1);
  return matmul(A1, network.W2) + network.b2;
}

// The notebook's, with its 1e-8 against log(0), which makes every value too small by 1e-8 / p.
double cross_entropy_loss(const Tensor<>& y_true, const Tensor<>& y_pred) {
  return -mean(log(sum(y_true * y_pred, -1) + 1e-8)).item();
}

// What the notebook printed.
constexpr struct {
  std::int64_t epoch;
  double loss, accuracy;
} printed[] = {{0, 2.3031, 0.1248},  {10, 2.3020, 0.1492}, {20, 2.3009, 0.1858},
               {30, 2.2998, 0.2336}, {40, 2.2987, 0.2842}, {49, 2.2976, 0.3282}};

// Of the notebook's backward_propagation dZ2 is left: by closed form it is A2 - y, by vjp it comes from the loss.
Run train_nn(const Data& data, std::int64_t epochs, double learning_rate, nn::OutputDelta delta) {
  Network network = initialize_parameters(784, 128, 10);
  nn::Optimizer optimizer = nn::SGD{.learning_rate = learning_rate};
  const auto m = static_cast<double>(data.x_train.shape()[0]);
  Run run;
  const auto* line = std::begin(printed);
  std::printf("epoch    loss  notebook   accuracy  notebook\n");
  run.seconds = seconds_of([&] {
    for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
      const auto [Z2, pullback] =
          tg::vjp([&](const Network& traced) { return forward_propagation(data.x_train, traced); }, network);
      const Tensor<> A2 = softmax(Z2);
      run.loss_eps.push_back(cross_entropy_loss(data.y_train, A2));
      run.loss_true.push_back(mean(nn::categorical_crossentropy_from_logits(Z2, data.y_train)).item());
      run.loss_pred.push_back(-mean(log(max(A2, -1))).item());
      run.accuracy.push_back(nn::accuracy(A2, data.y_train));

      const Tensor<> dZ2 = nn::output_delta("softmax", "categorical_crossentropy", Z2, data.y_train, delta) / m;
      optimizer.step(network, pullback(dZ2));

      if (line == std::end(printed) || epoch != line->epoch) continue;
      std::printf("%5lld  %.4f    %.4f     %.4f    %.4f\n", static_cast<long long>(epoch), run.loss_eps.back(),
                  line->loss, run.accuracy.back(), line->accuracy);
      std::fflush(stdout);
      ++line;
    }
  });
  const Tensor<> test = forward_propagation(data.x_test, network);
  run.test_accuracy = nn::accuracy(test, data.y_test);
  run.test_loss = mean(nn::categorical_crossentropy_from_logits(test, data.y_test)).item();
  run.W1 = network.W1, run.b1 = network.b1, run.W2 = network.W2, run.b2 = network.b2;
  return run;
}

// -------------------------------------------------------------------------------------------------------- parts 2 and
// 3

// Images (n, 28, 28) of float in [0, 1], and labels.
struct Images {
  explicit Images(const nn::Mnist<double>& mnist)
      : x_train(tg::astype<float>(mnist.train.X) / 255),
        x_test(tg::astype<float>(mnist.test.X) / 255),
        y_train(mnist.train.y),
        y_test(mnist.test.y) {}
  Tensor<float> x_train, x_test;
  Tensor<std::int64_t> y_train, y_test;
};

struct Configuration {
  std::string name;
  std::int64_t epochs = 10, neurons = 128;
  nn::Initializer initializer = "glorot_uniform";
  nn::Optimizer optimizer = nn::Adam{};
  double dropout_rate = 0;
  std::string standin = {};
  std::vector<notebook::KerasEpoch> notebook = {};
};

nn::Sequential<float> build_tf_model(const Configuration& c, std::uint64_t seed) {
  nn::Sequential<float> model(
      {nn::Flatten{}, nn::Dense{.units = c.neurons, .activation = "relu", .kernel_initializer = c.initializer},
       nn::Dropout{c.dropout_rate}, nn::Dense{10, "softmax"}},
      seed);
  model.compile({.optimizer = c.optimizer, .loss = "sparse_categorical_crossentropy", .metrics = {"accuracy"}});
  return model;
}

void train_as_tensorflow(const Images& images, const std::string& reference, std::uint64_t seed,
                         const std::string& folder) {
  const Configuration configurations[] = {{.name = "TensorFlow",
                                           .epochs = 5,
                                           .standin = "adam128",
                                           .notebook = {{0.8798, 0.4317, 0.9593, 0.1375},
                                                        {0.9644, 0.1219, 0.9681, 0.1056},
                                                        {0.9765, 0.0813, 0.9747, 0.0818},
                                                        {0.9810, 0.0610, 0.9767, 0.0744},
                                                        {0.9861, 0.0462, 0.9771, 0.0757}}},
                                          {.name = "1. 256 neurons",
                                           .neurons = 256,
                                           .standin = "adam256",
                                           .notebook = {{0.8915, 0.3764, 0.9611, 0.1268},
                                                        {0.9701, 0.0987, 0.9757, 0.0767},
                                                        {0.9814, 0.0606, 0.9757, 0.0749},
                                                        {0.9868, 0.0419, 0.9788, 0.0684},
                                                        {0.9903, 0.0302, 0.9793, 0.0668},
                                                        {0.9935, 0.0214, 0.9794, 0.0739}}},
                                          {.name = "2. He normal", .initializer = "he_normal", .standin = "he128"},
                                          {.name = "3. RMSprop", .optimizer = nn::RMSprop{}, .standin = "rms128"},
                                          {.name = "Dropout of 0.2", .dropout_rate = 0.2}};

  std::string summary;
  std::vector<nn::Curve> curves;
  for (const Configuration& c : configurations) {
    std::printf("\n%s, %lld epochs of batches of 32\n", c.name.c_str(), static_cast<long long>(c.epochs));
    nn::Sequential<float> model = build_tf_model(c, seed);
    nn::History history;
    const double seconds = seconds_of([&] {
      history = model.fit(images.x_train, images.y_train,
                          {.epochs = c.epochs,
                           .batch_size = 32,
                           .validation_data = {{images.x_test, images.y_test}},
                           .seed = seed,
                           .callbacks = {notebook::print_beside(c.notebook)}});
    });
    if (!reference.empty() && !c.standin.empty()) {
      const nn::Npz standin = nn::read_npz(reference + "/seed2_tf_standin.npz");
      for (const char* run : {"_seed0", "_seed1"}) notebook::compare_with_standin(history, standin, c.standin + run);
    }
    char line[100];
    std::snprintf(line, sizeof line, "%-16s  %17.4f  %13.4f  %8.2f s\n", c.name.c_str(), history["accuracy"].back(),
                  history["val_accuracy"].back(), seconds / static_cast<double>(c.epochs));
    summary += line;
    curves.push_back({c.name, history["val_accuracy"]});
  }
  // The notebook calls the first column its final accuracies.
  std::printf("\n                  training accuracy  test accuracy  per epoch    notebook: 4 to 6 s per epoch\n%s",
              summary.c_str());
  std::printf("\n");
  notebook::picture(folder + "/notebook_002_tensorflow.svg", [&](const std::string& path) {
    nn::plot_curves(curves, path, "Accuracy on the test images", "epoch");
  });
}

}  // namespace

int main(int argc, char** argv) try {
  std::string mnist_folder, reference, folder = ".";
  std::int64_t epochs = 50;
  std::uint64_t seed = 0;
  CLI::App app(
      "Notebook 002: 784-128(relu)-10(softmax) on MNIST as the notebook's NumPy code has it and as its TensorFlow "
      "code,\n"
      "with its three experiments. Takes a few minutes and 1.5 GB of memory.");
  app.add_option("--mnist", mnist_folder, "folder with the four files of MNIST")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--epochs", epochs, "of the NumPy network")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--seed", seed, "of the TensorFlow networks; NumPy's is 42")->capture_default_str();
  app.add_option("--reference", reference, "tests/reference: prints how far the runs are from the recorded ones")
      ->check(CLI::ExistingDirectory);
  app.add_option("--output", folder, "folder for the pictures")->check(CLI::ExistingDirectory)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const nn::Mnist<double> mnist = nn::load_mnist<double>(mnist_folder);
  if (!notebook::is_mnist(mnist.train.X)) reference.clear();

  // Two threads pay for products of 60000 rows, not for those of 32.
  tg::set_num_threads(2);
  const Data data = as_rows(mnist);
  for (const nn::OutputDelta delta : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp}) {
    std::printf("As NumPy, %s\n", delta == nn::OutputDelta::vjp ? "dZ2 from the tape" : "dZ2 = A2 - y");
    const Run run = train_nn(data, epochs, 0.01, delta);
    std::printf("%.2f s per epoch; test accuracy %.4f, which the notebook never computed\n",
                run.seconds / static_cast<double>(epochs), run.test_accuracy);
    if (!reference.empty() && epochs == 50) {
      notebook::compare_with_recorded(run, nn::read_npz(reference + "/seed2_train.npz"));
    }
    std::printf("\n");
    if (delta == nn::OutputDelta::closed_form) continue;
    notebook::picture(folder + "/notebook_002_numpy.svg", [&](const std::string& path) {
      nn::plot_curves({{"loss", run.loss_true}, {"accuracy", run.accuracy}}, path, "784-128-10, full batch", "epoch");
    });
  }
  tg::set_num_threads(1);
  train_as_tensorflow(Images(mnist), reference, seed, folder);
} catch (const std::exception& error) {
  std::cerr << "notebook_002: " << error.what() << '\n';
  return 1;
}
