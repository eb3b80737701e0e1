// Notebook 004, "Numpy VS Tensorflow Neural Network": any number of layers, relu but for one last neuron with sigmoid,
// as functions, as nn::Sequential, and (its exercises) as an object and in a sweep over depth, width, epochs and rate.
// The notebook's data were never published; examples/data/two_classes.csv.gz has the same shape.

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <iostream>
#include <map>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

#include "notebook.hpp"

namespace tg = tapegrad;
namespace nn = tapegrad::nn;
using notebook::seconds_of;
using tg::Tensor;

namespace {

using Sizes = std::vector<std::int64_t>;

// As the notebook: examples are columns. X is (variables, examples), W (neurons, neurons of the layer before).
struct Data {
  Tensor<> train_x, train_y, test_x, test_y;
};

Data load(const std::string& path) {
  const Tensor<> columns = transpose(nn::read_csv(path));
  const Tensor<> x = slice(columns, 0, 0, -1), y = slice(columns, 0, -1, columns.shape()[0]);
  const std::int64_t examples = columns.shape()[1], train = examples * 8 / 10;
  return {slice(x, 1, 0, train), slice(y, 1, 0, train), slice(x, 1, train, examples), slice(y, 1, train, examples)};
}

// ------------------------------------------------------------------------------------------------------ as functions

using Parameters = std::map<std::string, Tensor<>>;  // W1, b1, W2, b2, ...

Parameters initialize_parameters(const Sizes& layers_dims, std::uint64_t seed) {
  tg::random::NumpyRandomState random(seed);
  Parameters parameters;
  for (std::size_t l = 1; l < layers_dims.size(); ++l) {
    parameters["W" + std::to_string(l)] = random.randn({layers_dims[l], layers_dims[l - 1]}) * 0.1;
    parameters["b" + std::to_string(l)] = tg::zeros({layers_dims[l], 1});
  }
  return parameters;
}

Tensor<> linear_forward(const Tensor<>& A, const Tensor<>& W, const Tensor<>& b) { return matmul(W, A) + b; }

// The logits of the last neuron; the notebook's AL is their sigmoid.
Tensor<> l_model_forward(const Tensor<>& X, const Parameters& parameters) {
  const std::size_t L = parameters.size() / 2;
  Tensor<> A = X;
  for (std::size_t l = 1; l < L; ++l) {
    A = relu(linear_forward(A, parameters.at("W" + std::to_string(l)), parameters.at("b" + std::to_string(l))));
  }
  return linear_forward(A, parameters.at("W" + std::to_string(L)), parameters.at("b" + std::to_string(L)));
}

// -mean(Y log AL + (1 - Y) log(1 - AL)) at AL = sigmoid(Z): finite for every finite Z, and with it its gradient.
Tensor<> compute_cost(const Tensor<>& Z, const Tensor<>& Y) { return mean(softplus(Z) - Y * Z); }

void update_parameters(Parameters& parameters, const Parameters& grads, double learning_rate) {
  for (auto& [name, value] : parameters) value = value - learning_rate * grads.at(name);
}

// L_model_backward and the functions below it are the tape's work. Gives the cost before each update.
std::vector<double> l_layer_model(const Data& data, Parameters& parameters, double learning_rate,
                                  std::int64_t num_iterations) {
  auto cost = [&](const Parameters& p) { return compute_cost(l_model_forward(data.train_x, p), data.train_y); };
  std::vector<double> costs;
  for (std::int64_t i = 0; i < num_iterations; ++i) {
    const auto [value, grads] = tg::value_and_grad(cost)(parameters);
    update_parameters(parameters, grads, learning_rate);
    costs.push_back(value.item());
  }
  return costs;
}

double accuracy(const Tensor<>& X, const Tensor<>& Y, const Parameters& parameters) {
  return nn::accuracy(transpose(sigmoid(l_model_forward(X, parameters))), transpose(Y));
}

// -------------------------------------------------------------------------------------------- as an object (exercise
// 2)

class Network {
 public:
  explicit Network(const Sizes& layers_dims, std::uint64_t seed) {
    tg::random::NumpyRandomState random(seed);
    for (std::size_t l = 1; l < layers_dims.size(); ++l) {
      layers_.push_back({random.randn({layers_dims[l], layers_dims[l - 1]}) * 0.1, tg::zeros({layers_dims[l], 1})});
    }
  }

  Tensor<> predict(const Tensor<>& X) const { return sigmoid(forward(layers_, X)); }
  double accuracy(const Tensor<>& X, const Tensor<>& Y) const {
    return nn::accuracy(transpose(predict(X)), transpose(Y));
  }

  std::vector<double> train(const Tensor<>& X, const Tensor<>& Y, nn::Optimizer optimizer, std::int64_t iterations) {
    auto cost = [&](const Layers& layers) { return compute_cost(forward(layers, X), Y); };
    std::vector<double> costs;
    for (std::int64_t i = 0; i < iterations; ++i) {
      const auto [value, gradient] = tg::value_and_grad(cost)(layers_);
      optimizer.step(layers_, gradient);
      costs.push_back(value.item());
    }
    return costs;
  }

 private:
  struct Layer {
    Tensor<> W, b;
    auto tensors() { return std::tie(W, b); }
  };
  using Layers = std::vector<Layer>;

  static Tensor<> forward(const Layers& layers, Tensor<> A) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      A = linear_forward(l == 0 ? A : relu(A), layers[l].W, layers[l].b);
    }
    return A;
  }

  Layers layers_;
};

// ------------------------------------------------------------------------------------------------------------ as Keras

// The first layer Glorot uniform, the others with Keras's "random_normal".
nn::Sequential<double> keras_model(const Sizes& layers_dims, double learning_rate, std::uint64_t seed) {
  nn::Sequential<double> model({}, seed);
  for (std::size_t l = 1; l < layers_dims.size(); ++l) {
    model.add(nn::Dense{.units = layers_dims[l],
                        .activation = l + 1 < layers_dims.size() ? "relu" : "sigmoid",
                        .kernel_initializer = l == 1 ? nn::glorot_uniform() : nn::random_normal(0.05)});
  }
  model.compile(
      {.optimizer = nn::SGD{.learning_rate = learning_rate}, .loss = "binary_crossentropy", .metrics = {"accuracy"}});
  return model;
}

// Keras has examples as rows.
struct Rows {
  explicit Rows(const Data& data)
      : train_x(transpose(data.train_x)),
        train_y(transpose(data.train_y)),
        test_x(transpose(data.test_x)),
        test_y(transpose(data.test_y)) {}
  Tensor<> train_x, train_y, test_x, test_y;
};

std::vector<double> fit(nn::Sequential<double>& model, const Rows& data, std::int64_t epochs) {
  return model.fit(data.train_x, data.train_y,
                   {.epochs = epochs, .batch_size = data.train_x.shape()[0], .shuffle = false})["loss"];
}

// ----------------------------------------------------------------------------------------------- a sweep (exercise 1)

std::string to_string(const Sizes& layers_dims) {
  std::string text;
  for (const std::int64_t size : layers_dims) text += (text.empty() ? "" : "-") + std::to_string(size);
  return text;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

void compare(const Data& data, const Rows& rows, const Sizes& layers_dims, std::int64_t epochs, double rate,
             std::uint64_t seed) {
  Parameters parameters = initialize_parameters(layers_dims, seed);
  tg::TensorList<double> same_start;
  for (std::size_t l = 1; l < layers_dims.size(); ++l) {
    same_start.push_back(transpose(parameters.at("W" + std::to_string(l))));
    same_start.push_back(tg::zeros({layers_dims[l]}));
  }
  std::vector<double> costs, same_costs, keras_costs;
  const double seconds = seconds_of([&] { costs = l_layer_model(data, parameters, rate, epochs); });

  nn::Sequential<double> same = keras_model(layers_dims, rate, seed);
  same.build({layers_dims[0]});
  same.set_parameters(same_start);
  const double same_seconds = seconds_of([&] { same_costs = fit(same, rows, epochs); });

  nn::Sequential<double> keras = keras_model(layers_dims, rate, seed);
  keras_costs = fit(keras, rows, epochs);
  std::printf("%-18s %6lld %5.2f  %8.5f %8.3f %7.3f s  %8.5f %8.3f %7.3f s  %10.1e\n", to_string(layers_dims).c_str(),
              static_cast<long long>(epochs), rate, costs.back(), accuracy(data.test_x, data.test_y, parameters),
              seconds, keras_costs.back(), keras.evaluate(rows.test_x, rows.test_y)["accuracy"], same_seconds,
              largest_difference(costs, same_costs));
  std::fflush(stdout);
}

void sweep(const Data& data, const Rows& rows, const Sizes& layers_dims, std::int64_t epochs, double rate,
           std::uint64_t seed) {
  std::printf(
      "\nThe functions beside nn::Sequential, which starts as in the Keras section; last, how far the costs of\n"
      "the two are apart when both start with the same weights\n"
      "%-18s %6s %5s  %8s %8s %9s  %8s %8s %9s  %10s\n",
      "layers", "epochs", "rate", "cost", "accuracy", "functions", "cost", "accuracy", "Sequential", "difference");
  const std::int64_t in = layers_dims.front();
  const Sizes networks[] = {{in, 1},       {in, 20, 1},     {in, 20, 5, 1},  {in, 20, 10, 5, 1}, {in, 20, 20, 10, 5, 1},
                            {in, 5, 5, 1}, {in, 64, 16, 1}, {in, 256, 64, 1}};
  for (const Sizes& network : networks) compare(data, rows, network, epochs, rate, seed);
  for (const std::int64_t e : {50, 500, 1000}) compare(data, rows, layers_dims, e, rate, seed);
  for (const double r : {0.01, 0.03, 0.3, 1.0}) compare(data, rows, layers_dims, epochs, r, seed);
}

// ------------------------------------------------------------------------------------------------- what it prints

// On its own data, every 10 iterations.
constexpr std::array<double, 25> notebook_costs = {0.696913, 0.691836, 0.686587, 0.676047, 0.650420, 0.590681, 0.493065,
                                                   0.405640, 0.345785, 0.302525, 0.269174, 0.242394, 0.220268, 0.201715,
                                                   0.186070, 0.172704, 0.161199, 0.151184, 0.142391, 0.134606, 0.127648,
                                                   0.121405, 0.115761, 0.110564, 0.105818};

// The notebook's own formula is 0 * log(0) where AL has rounded to 0 or 1, and its gradient divides by 1 - AL.
void show_saturation() {
  const Tensor<> Y{1.0, 1.0}, Z{4.0, 40.0};
  auto notebook_cost = [&](const Tensor<>& AL) { return -mean(log(AL) * Y + log(1 - AL) * (1 - Y)); };
  auto notebook_gradient = [&](const Tensor<>& AL) { return -(Y / AL - (1 - Y) / (1 - AL)) * AL * (1 - AL); };
  std::cout << "\nTwo examples with logits 4 and 40, y = 1\n"
            << "the notebook's cost  " << notebook_cost(sigmoid(Z)).item() << ", dZ " << notebook_gradient(sigmoid(Z))
            << "\nfrom the logits      " << compute_cost(Z, Y).item() << ", dZ "
            << tg::grad([&](const Tensor<>& z) { return compute_cost(z, Y) * 2; })(Z) << '\n';
}

}  // namespace

int main(int argc, char** argv) try {
  Sizes layers_dims = {100, 20, 5, 1};
  std::int64_t epochs = 250;
  double learning_rate = 0.1;
  std::uint64_t seed = 0;
  bool with_sweep = false;
  std::string path = TAPEGRAD_DATA_DIR "/two_classes.csv.gz", folder = ".";
  CLI::App app(
      "Notebook 004: a network of any number of relu layers and one sigmoid neuron, as functions, as an object and as\n"
      "nn::Sequential, on 1000 examples of two classes. Takes a second; with --sweep, half a minute.");
  app.add_option("--layers", layers_dims, "neurons of each layer, from the input to the output, which has one")
      ->capture_default_str();
  app.add_option("--epochs", epochs, "iterations, each over all training examples")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--learning-rate", learning_rate)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--seed", seed, "of NumPy's generator for the functions, of the library's for the model")
      ->capture_default_str();
  app.add_flag("--sweep", with_sweep, "compare the functions with nn::Sequential over depth, width, epochs and rate");
  app.add_option("--data", path, "table of features and a label 0 or 1")
      ->check(CLI::ExistingFile)
      ->capture_default_str();
  app.add_option("--output", folder, "folder for the picture")->check(CLI::ExistingDirectory)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const Data data = load(path);
  const Rows rows(data);
  if (layers_dims.size() < 2 || layers_dims.front() != data.train_x.shape()[0] || layers_dims.back() != 1) {
    throw tg::ValueError("--layers goes from the " + std::to_string(data.train_x.shape()[0]) +
                         " features of the data to one neuron: --layers 100 20 5 1");
  }

  Parameters parameters = initialize_parameters(layers_dims, seed);
  std::vector<double> costs;
  const double seconds = seconds_of([&] { costs = l_layer_model(data, parameters, learning_rate, epochs); });
  std::printf("%s, rate %g, on stand-in data; the notebook's data are lost\n", to_string(layers_dims).c_str(),
              learning_rate);
  const bool as_notebook = layers_dims == Sizes{100, 20, 5, 1} && learning_rate == 0.1 && epochs == 250;
  std::printf("iteration        cost%s\n", as_notebook ? "    notebook" : "");
  for (std::size_t i = 0; i<costs.size(); i += costs.size()> 500 ? 100 : 10) {
    std::printf("%9zu  %10.6f", i, costs[i]);
    if (as_notebook && i / 10 < notebook_costs.size()) std::printf("  %10.6f", notebook_costs[i / 10]);
    std::printf("\n");
  }
  std::printf("test accuracy %8.3f  %10.3f   (%.3f s)\n", accuracy(data.test_x, data.test_y, parameters), 0.968,
              seconds);

  Network network(layers_dims, seed);
  const std::vector<double> object_costs =
      network.train(data.train_x, data.train_y, nn::SGD{.learning_rate = learning_rate}, epochs);
  std::printf("\nAs an object: test accuracy %.3f, costs differ by %.1e\n", network.accuracy(data.test_x, data.test_y),
              largest_difference(costs, object_costs));
  show_saturation();

  // The notebook's SGD(learning_rate==learning_rate) is SGD(True), a rate of 1.
  std::printf("\nAs Keras                            cost   test accuracy   notebook      time\n");
  std::vector<nn::Curve> curves = {{"functions, rate 0.1", costs}};
  struct Rate {
    const char* name;
    double rate;
    const char* notebook;
  };
  for (const Rate& r :
       {Rate{"rate 1, as the notebook had it", 1.0, "0.983"}, Rate{"rate 0.1, as it meant", 0.1, "-"}}) {
    nn::Sequential<double> model = keras_model(layers_dims, r.rate, seed);
    std::vector<double> losses;
    const double time = seconds_of([&] { losses = fit(model, rows, epochs); });
    std::printf("%-30s %9.6f   %13.3f   %8s   %5.3f s\n", r.name, losses.back(),
                model.evaluate(rows.test_x, rows.test_y)["accuracy"], r.notebook, time);
    curves.push_back({std::string("Keras, ") + r.name, losses});
  }
  if (with_sweep) sweep(data, rows, layers_dims, epochs, learning_rate, seed);

  std::printf("\n");
  notebook::picture(folder + "/notebook_004_cost.svg", [&](const std::string& path) {
    nn::plot_curves(curves, path, "Cost of " + to_string(layers_dims), "iteration");
  });
} catch (const std::exception& error) {
  std::cerr << "notebook_004: " << error.what() << '\n';
  return 1;
}
