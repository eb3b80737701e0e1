// Notebook 001, "Building a neural network": the output delta as J^T dC/da for any activation and loss, what that costs
// beside the closed form a - y, a 64-64-10 network trained on the digits with the delta taken in each way, and the
// 64-512-512-10 network of its Keras section.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include "notebook.hpp"

namespace tg = tapegrad;
namespace nn = tapegrad::nn;
using notebook::seconds_of;
using tg::Tensor;

namespace {

// As the notebook writes them; the activation of a batch works along the last axis, so that each row is its own.
const auto softmax = [](const Tensor<>& z) {
  const Tensor<> e = exp(z - max(z, -1, tg::keep_dims));
  return e / sum(e, -1, tg::keep_dims);
};
const auto cross_entropy = [](const Tensor<>& a, const Tensor<>& y) { return -sum(y * log(a)); };
const auto linear = [](const Tensor<>& z) { return z; };
// The notebook calls this MSE; its gradient is -1/n whatever y is.
const auto mean_error = [](const Tensor<>& a, const Tensor<>& y) { return mean(y - a); };

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Tensor<> jacobian_delta(const Tensor<>& z, const Tensor<>& a, const Tensor<>& y) {
  return tg::jacobian(softmax)(z).apply_transposed(tg::grad(cross_entropy)(a, y));
}

void demonstrate_delta(tg::random::Generator& rng) {
  const Tensor<> z = rng.uniform<double>({10}), a = softmax(z);
  const Tensor<> y = tg::one_hot(Tensor<std::int64_t>(3), 10);
  std::cout << "Softmax and cross-entropy: |J^T dC/da - (a - y)|\n" << abs(jacobian_delta(z, a, y) - (a - y)) << "\n\n";

  const Tensor<> v = rng.normal<double>({10});
  const Tensor<> g = tg::grad(mean_error)(v, rng.normal<double>({10}));
  std::cout << "Linear output and mean error: J^T dC/da, then f'(z) * dC/da\n"
            << tg::jacobian(linear)(v).apply_transposed(g) << '\n'
            << tg::elementwise_grad(linear)(v) * g << "\n\n";

  // The notebook multiplies by J. Softmax's is symmetric and hides that; log-softmax's is not.
  const auto J = tg::jacobian([](const Tensor<>& t) { return log_softmax(t); })(z);
  std::cout << "It is J^T g, not J g: for log-softmax they differ by up to "
            << max(abs(J.apply_transposed(v) - J.apply(v))).item() << "\n\n";
}

// The notebook's speed_test: the mean of 50 ratios of single calls, and the ratio of many calls to many.
void speed_test(tg::random::Generator& rng) {
  const Tensor<> y = tg::one_hot(Tensor<std::int64_t>(3), 10);
  Tensor<> numerical, analytical;
  double sum_of_ratios = 0;
  for (int i = 0; i < 50; ++i) {
    const Tensor<> z = rng.uniform<double>({10}), a = softmax(z);
    const double general = seconds_of([&] { numerical = jacobian_delta(z, a, y); });
    const double closed = seconds_of([&] { analytical = a - y; });
    sum_of_ratios += general / closed;
  }
  const Tensor<> z = rng.uniform<double>({10}), a = softmax(z);
  constexpr int calls = 2000;
  std::vector<double> ratios;
  double general = 0, closed = 0;
  for (int i = 0; i < 9; ++i) {
    general = seconds_of([&] {
      for (int k = 0; k < calls; ++k) numerical = jacobian_delta(z, a, y);
    });
    closed = seconds_of([&] {
      for (int k = 0; k < calls; ++k) analytical = a - y;
    });
    ratios.push_back(general / closed);
  }
  std::printf("Time of J^T dC/da over that of a - y, n = 10       notebook 1287 (Python autograd)\n");
  std::printf("  call by call, mean of 50                         %8.1f\n", sum_of_ratios / 50);
  std::printf("  in bulk, median of 9 x %d calls                %8.1f   (%.2f us / %.3f us)\n\n", calls, median(ratios),
              1e6 * general / calls, 1e6 * closed / calls);
}

struct Data {
  Tensor<> x_train, y_train, x_test, y_test;
};

// The rows in random order, the first 80 % for training; the last column is the label.
Data load(const std::string& path, tg::random::Generator& rng) {
  const Tensor<> table = nn::read_csv(path);
  const std::int64_t rows = table.shape()[0], train = rows * 8 / 10;
  const auto [x, labels] = nn::split_labels(take(table, rng.permutation(rows)));
  const Tensor<> y = tg::one_hot(labels, 10);
  return {slice(x, 0, 0, train), slice(y, 0, 0, train), slice(x, 0, train, rows), slice(y, 0, train, rows)};
}

struct Run {
  std::vector<double> accuracy;  // of the last batch of each epoch, as the notebook prints it
  std::vector<double> loss;      // mean over each epoch
  double seconds = 0, test_accuracy = 0;
  tg::TensorList<double> parameters;
};

Run train(const Data& data, const Tensor<std::int64_t>& batches, std::int64_t epochs, nn::OutputDelta delta,
          std::uint64_t seed, bool print) {
  nn::Sequential<double> model({nn::Dense{.units = 64,
                                          .activation = "sigmoid",
                                          .kernel_initializer = nn::random_normal(0.01),
                                          .bias_initializer = nn::random_normal(0.01)},
                                nn::Dense{.units = 10,
                                          .activation = "softmax",
                                          .kernel_initializer = nn::random_normal(0.01),
                                          .bias_initializer = nn::random_normal(0.01)}},
                               seed);
  model.compile({.optimizer = nn::SGD{.learning_rate = nn::inverse_time_decay_in_epoch(0.01, 0.01)},
                 .loss = "categorical_crossentropy",
                 .metrics = {"accuracy"},
                 .reduction = nn::Reduction::sum,
                 .output_delta = delta});
  Run run;
  const std::int64_t steps = batches.shape()[0] / epochs;
  auto last_batch_accuracy = [&](nn::Epoch& epoch) {
    const std::int64_t last = (epoch.index + 1) * steps - 1;
    const Tensor<std::int64_t> rows = reshape(slice(batches, 0, last, last + 1), {-1});
    run.accuracy.push_back(model.evaluate(take(data.x_train, rows), take(data.y_train, rows))["accuracy"]);
    if (print) {
      std::printf("accuracy is %.1f at epoch %lld\n", run.accuracy.back(), static_cast<long long>(epoch.index + 1));
    }
  };
  run.seconds = seconds_of([&] {
    run.loss = model.fit(data.x_train, data.y_train,
                         {.epochs = epochs, .batches = batches, .callbacks = {last_batch_accuracy}})["loss"];
  });
  run.test_accuracy = model.evaluate(data.x_test, data.y_test)["accuracy"];
  run.parameters = model.parameters();
  return run;
}

double largest_difference(const tg::TensorList<double>& a, const tg::TensorList<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, max(abs(a[i] - b[i])).item());
  return largest;
}

// The notebook's last section: the same data, unscaled, in float as Keras has it.
void train_as_keras(const Data& data, std::uint64_t seed, const std::string& folder) {
  const auto x_train = tg::astype<float>(data.x_train), y_train = tg::astype<float>(data.y_train);
  const auto x_test = tg::astype<float>(data.x_test), y_test = tg::astype<float>(data.y_test);

  nn::Sequential<float> model({}, seed);
  model.add(nn::Dense{.units = 512, .activation = "sigmoid"});
  model.add(nn::Dense{.units = 512, .activation = "sigmoid"});
  model.add(nn::Dense{.units = 10, .activation = "softmax"});
  model.compile({.optimizer = nn::SGD{}, .loss = "categorical_crossentropy", .metrics = {"accuracy"}});

  constexpr double losses[] = {2.3282, 2.1682, 2.0375, 1.9216, 1.7836, 1.6607, 1.5556};
  constexpr double accuracies[] = {0.1364, 0.3009, 0.5451, 0.6396, 0.7560, 0.8047, 0.8556};
  auto print = [&](const nn::Epoch& epoch) {
    const auto k = static_cast<std::size_t>(epoch.index);
    if (k < std::size(losses)) {
      std::printf("%5zu  %7.4f    %7.4f    %8.4f    %8.4f\n", k + 1, epoch.logs["loss"], losses[k],
                  epoch.logs["accuracy"], accuracies[k]);
    } else if ((k + 1) % 50 == 0) {
      std::printf("%5zu  %7.4f               %8.4f\n", k + 1, epoch.logs["loss"], epoch.logs["accuracy"]);
    }
    std::fflush(stdout);
  };
  std::printf(
      "Keras's 64-512-512-10, 400 epochs of batches of 32\nepoch     loss   notebook    accuracy    notebook\n");
  nn::History history;
  const double seconds = seconds_of([&] {
    history = model.fit(x_train, y_train, {.epochs = 400, .batch_size = 32, .seed = seed, .callbacks = {print}});
  });
  std::printf("test accuracy %.4f, notebook 0.9667; %.1f s, notebook 39.4 s\n",
              model.evaluate(x_test, y_test)["accuracy"], seconds);
  notebook::picture(folder + "/notebook_001_keras.svg",
                    [&](const std::string& path) { history.plot(path, "Digits, 64-512-512-10"); });
}

void draw(const Run& run, const std::string& folder) {
  notebook::picture(folder + "/notebook_001_training.svg", [&](const std::string& path) {
    nn::plot_curves({{"loss, mean of the epoch", run.loss}, {"accuracy of its last batch", run.accuracy}}, path,
                    "Digits, 64-64-10", "epoch");
  });
  notebook::picture(folder + "/notebook_001_jacobian.svg", [&](const std::string& path) {
    nn::heat_map(tg::jacobian(softmax)(tg::linspace<double>(-2, 2, 10)), path, "Jacobian of softmax");
  });
}

}  // namespace

int main(int argc, char** argv) try {
  std::int64_t epochs = 100;
  std::uint64_t seed = 0;
  bool keras = false;
  std::string digits = TAPEGRAD_DATA_DIR "/digits.csv.gz", folder = ".";
  CLI::App app(
      "Notebook 001: the output delta as J^T dC/da, its cost beside a - y, and a 64-64(sigmoid)-10(softmax) network\n"
      "trained on the digits under each way of taking it. Takes a few seconds, with --keras half a minute more.");
  app.add_option("--epochs", epochs, "epochs of 50 batches of 10")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--seed", seed, "of weights, batches and the split")->capture_default_str();
  app.add_flag("--keras", keras, "train the Keras section's 64-512-512-10 network too");
  app.add_option("--digits", digits, "table of 64 features and a label")
      ->check(CLI::ExistingFile)
      ->capture_default_str();
  app.add_option("--output", folder, "folder for the pictures")->check(CLI::ExistingDirectory)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  tg::random::Generator rng(seed);
  demonstrate_delta(rng);
  speed_test(rng);

  const Data data = load(digits, rng);
  constexpr std::int64_t steps = 50, batch = 10;
  std::vector<Tensor<std::int64_t>> rows;
  for (std::int64_t k = 0; k < epochs * steps; ++k) {
    rows.push_back(reshape(rng.choice(data.x_train.shape()[0], batch), {1, batch}));
  }
  const Tensor<std::int64_t> batches = concatenate(rows, 0);

  std::cout << "Training with delta = J^T dC/da from the tape\n";
  struct Way {
    const char* name;
    nn::OutputDelta delta;
    std::vector<double> seconds = {};
    Run run = {};
  };
  Way ways[] = {{"jacobian     J, then J^T dC/da", nn::OutputDelta::jacobian},
                {"vjp          one sweep of the tape", nn::OutputDelta::vjp},
                {"closed form  a - y", nn::OutputDelta::closed_form}};
  // The same training several times in turn, so that the times can be compared.
  constexpr std::size_t repetitions = 5;
  for (std::size_t i = 0; i < repetitions; ++i) {
    for (Way& way : ways) {
      way.run = train(data, batches, epochs, way.delta, seed, i == 0 && &way == ways);
      way.seconds.push_back(way.run.seconds);
    }
  }
  std::printf("\n%lld epochs of 50 batches of 10       time   per step   test accuracy   |weights - those of a - y|\n",
              static_cast<long long>(epochs));
  for (Way& way : ways) {
    const double seconds = median(way.seconds);
    std::printf("%-34s %5.2f s  %5.1f us   %13.4f   %.1e\n", way.name, seconds,
                1e6 * seconds / static_cast<double>(epochs * steps), way.run.test_accuracy,
                largest_difference(way.run.parameters, ways[2].run.parameters));
  }
  std::printf("%-34s %5.0f s  %5.0f us   %13.4f\n\n", "notebook     Python autograd", 287.3, 287.3e6 / 5000, 0.9417);
  if (keras) train_as_keras(data, seed, folder);
  draw(ways[0].run, folder);
} catch (const std::exception& error) {
  std::cerr << "notebook_001: " << error.what() << '\n';
  return 1;
}
