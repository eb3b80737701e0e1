// Notebook 003: 784-128(relu)-10(softmax) on MNIST, as a class written from scratch (200 epochs of full batch) and as
// Keras has it (200 epochs of batches of 32).

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

// ------------------------------------------------------------------------------------------------------------- scratch

struct Data {
  Tensor<> x_train, y_train, x_test, y_test;
};

// Rows of 784 numbers in [0, 1], and one-hot labels.
Data as_rows(const nn::Mnist<double>& mnist) {
  return {reshape(mnist.train.X, {-1, 784}) / 255, tg::one_hot(mnist.train.y, 10),
          reshape(mnist.test.X, {-1, 784}) / 255, tg::one_hot(mnist.test.y, 10)};
}

// Epochs 0 to 44, from a start without a seed.
constexpr double printed[] = {0.0122, 0.0161, 0.0184, 0.0219, 0.0239, 0.0248, 0.0264, 0.0271, 0.0274,
                              0.0277, 0.0284, 0.0289, 0.0299, 0.0303, 0.0301, 0.0310, 0.0314, 0.0311,
                              0.0313, 0.0312, 0.0317, 0.0314, 0.0318, 0.0321, 0.0319, 0.0316, 0.0317,
                              0.0318, 0.0321, 0.0319, 0.0320, 0.0323, 0.0328, 0.0329, 0.0328, 0.0328,
                              0.0326, 0.0324, 0.0327, 0.0326, 0.0326, 0.0324, 0.0320, 0.0315, 0.0314};

class NeuralNetwork {
 public:
  NeuralNetwork(std::int64_t input_size, std::int64_t hidden_size, std::int64_t output_size, double learning_rate,
                double standard_deviation)
      : optimizer_(nn::SGD{.learning_rate = learning_rate}) {
    tg::random::NumpyRandomState random(0);
    parameters_.W1 = random.randn({input_size, hidden_size}) * standard_deviation;
    parameters_.b1 = tg::zeros({hidden_size});
    parameters_.W2 = random.randn({hidden_size, output_size}) * standard_deviation;
    parameters_.b2 = tg::zeros({output_size});
  }

  // Z2; the network's output is its softmax.
  Tensor<> forward_propagation(const Tensor<>& X) const { return forward(X, parameters_); }

  Run train(const Tensor<>& X, const Tensor<>& y, std::int64_t epochs, nn::OutputDelta delta) {
    const auto m = static_cast<double>(X.shape()[0]);
    Run run;
    std::printf("epoch  its \"loss\"  notebook   cross-entropy  accuracy      time\n");
    for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
      run.seconds += seconds_of([&] {
        const auto [Z2, pullback] = tg::vjp([&](const Parameters& traced) { return forward(X, traced); }, parameters_);
        const Tensor<> A2 = softmax(Z2);
        run.loss_pred.push_back(-mean(log(max(A2, -1))).item());
        run.loss_true.push_back(mean(nn::categorical_crossentropy_from_logits(Z2, y)).item());
        run.loss_eps.push_back(-mean(log(sum(y * A2, -1) + 1e-8)).item());
        run.accuracy.push_back(nn::accuracy(A2, y));
        const Tensor<> dZ2 = nn::output_delta("softmax", "categorical_crossentropy", Z2, y, delta) / m;
        optimizer_.step(parameters_, pullback(dZ2));
      });
      if (epoch % 10 == 0 || epoch == epochs - 1) print_last(run);
    }
    run.W1 = parameters_.W1, run.b1 = parameters_.b1, run.W2 = parameters_.W2, run.b2 = parameters_.b2;
    return run;
  }

 private:
  struct Parameters {
    Tensor<> W1, b1, W2, b2;
    auto tensors() { return std::tie(W1, b1, W2, b2); }
  };

  static Tensor<> forward(const Tensor<>& X, const Parameters& p) {
    const Tensor<> A1 = relu(matmul(X, p.W1) + p.b1);
    return matmul(A1, p.W2) + p.b2;
  }

  static void print_last(const Run& run) {
    const std::size_t epoch = run.accuracy.size() - 1;
    std::printf("%5zu      %.4f  ", epoch, run.loss_pred.back());
    if (epoch < std::size(printed))
      std::printf("  %.4f  ", printed[epoch]);
    else
      std::printf("          ");
    std::printf("      %8.4f    %.4f  %6.1f s\n", run.loss_true.back(), run.accuracy.back(), run.seconds);
    std::fflush(stdout);
  }

  Parameters parameters_;
  nn::Optimizer optimizer_;
};

Run train_from_scratch(const Data& data, std::int64_t epochs, double standard_deviation, const std::string& reference) {
  Run run;
  for (const nn::OutputDelta delta : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp}) {
    std::printf("From scratch, %s\n", delta == nn::OutputDelta::vjp ? "dZ2 from the tape" : "dZ2 = A2 - y");
    NeuralNetwork model(784, 128, 10, 0.01, standard_deviation);
    run = model.train(data.x_train, data.y_train, epochs, delta);
    const Tensor<> test = model.forward_propagation(data.x_test);
    run.test_accuracy = nn::accuracy(test, data.y_test);
    run.test_loss = mean(nn::categorical_crossentropy_from_logits(test, data.y_test)).item();
    std::printf("%.2f s per epoch; test accuracy %.4f, where the notebook's line lacks an import\n",
                run.seconds / static_cast<double>(epochs), run.test_accuracy);
    if (!reference.empty() && epochs == 200 && standard_deviation == 1) {
      notebook::compare_with_recorded(run, nn::read_npz(reference + "/seed3_train.npz"));
    }
    std::printf("\n");
  }
  return run;
}

// --------------------------------------------------------------------------------------------------------------- Keras

nn::History train_as_keras(const Data& data, std::int64_t epochs, std::uint64_t seed, const std::string& reference) {
  const auto x_train = tg::astype<float>(data.x_train), y_train = tg::astype<float>(data.y_train);
  const auto x_test = tg::astype<float>(data.x_test), y_test = tg::astype<float>(data.y_test);

  nn::Sequential<float> model({nn::Flatten{}, nn::Dense{128, "relu"}, nn::Dense{10, "softmax"}}, seed);
  model.compile(
      {.optimizer = nn::SGD{.learning_rate = 0.01}, .loss = "categorical_crossentropy", .metrics = {"accuracy"}});
  std::printf("Keras, batches of 32, the last fifth for validation\n");
  auto print = notebook::print_beside({{0.7022, 1.1323, 0.8997, 0.3760},
                                       {0.8947, 0.3846, 0.9154, 0.3077},
                                       {0.9125, 0.3162, 0.9230, 0.2760},
                                       {0.9213, 0.2862, 0.9293, 0.2545},
                                       {0.9285, 0.2598, 0.9335, 0.2373},
                                       {0.9338, 0.2433, 0.9395, 0.2238}},
                                      20);
  nn::History history;
  const double seconds = seconds_of([&] {
    history =
        model.fit(x_train, y_train,
                  {.epochs = epochs, .batch_size = 32, .validation_split = 0.2, .seed = seed, .callbacks = {print}});
  });
  const nn::Logs test = model.evaluate(x_test, y_test);
  std::printf("%.2f s per epoch, notebook about 1.3 s; test loss %.4f, test accuracy %.4f\n",
              seconds / static_cast<double>(epochs), test["loss"], test["accuracy"]);
  if (!reference.empty()) {
    notebook::compare_with_standin(history, nn::read_npz(reference + "/seed3_keras_standin.npz"), "keras_seed0");
  }
  return history;
}

std::vector<double> relative_to_first(std::vector<double> values) {
  const double first = values.front();
  for (double& value : values) value /= first;
  return values;
}

}  // namespace

int main(int argc, char** argv) try {
  std::string mnist_folder, reference, folder = ".";
  std::int64_t epochs = 200;
  double standard_deviation = 1;
  std::uint64_t seed = 0;
  CLI::App app(
      "Notebook 003: 784-128(relu)-10(softmax) on MNIST as the notebook's class has it and as its Keras code. Takes\n"
      "about ten minutes and 1.5 GB of memory.");
  app.add_option("--mnist", mnist_folder, "folder with the four files of MNIST")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--epochs", epochs, "of each network")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--std", standard_deviation, "of the scratch network's initial weights; sqrt(2 / 784) = 0.05 suits")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", seed, "of the Keras network; NumPy's is 0")->capture_default_str();
  app.add_option("--reference", reference, "tests/reference: prints how far the runs are from the recorded ones")
      ->check(CLI::ExistingDirectory);
  app.add_option("--output", folder, "folder for the pictures")->check(CLI::ExistingDirectory)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const nn::Mnist<double> mnist = nn::load_mnist<double>(mnist_folder);
  if (!notebook::is_mnist(mnist.train.X)) reference.clear();
  const Data data = as_rows(mnist);
  // Two threads pay for products of 60000 rows, not for those of 32.
  tg::set_num_threads(2);
  const Run scratch = train_from_scratch(data, epochs, standard_deviation, reference);
  tg::set_num_threads(1);
  const nn::History keras = train_as_keras(data, epochs, seed, reference);
  std::printf("\n");
  notebook::picture(folder + "/notebook_003_loss.svg", [&](const std::string& path) {
    nn::plot_curves(
        {{"its loss", relative_to_first(scratch.loss_pred)}, {"cross-entropy", relative_to_first(scratch.loss_true)}},
        path, "From scratch, relative to the first epoch", "epoch");
  });
  notebook::picture(folder + "/notebook_003_accuracy.svg", [&](const std::string& path) {
    nn::plot_curves({{"from scratch", scratch.accuracy},
                     {"Keras", keras["accuracy"]},
                     {"Keras, validation", keras["val_accuracy"]}},
                    path, "Accuracy", "epoch");
  });
} catch (const std::exception& error) {
  std::cerr << "notebook_003: " << error.what() << '\n';
  return 1;
}
