// Notebooks 002, 003 and 004 against recorded trajectories, under every output delta and as a user's own training loop.
// The runs on all of MNIST are compared by examples/notebook_002 and notebook_003.
#include <doctest/doctest.h>

#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include "trajectory.hpp"

namespace {

using namespace tapegrad;
using trajectory::checksum_difference;
using trajectory::largest_difference;

nn::Npz reference(const std::string& name) { return nn::read_npz(TAPEGRAD_REFERENCE_DIR "/" + name); }

constexpr nn::OutputDelta every_delta[] = {nn::OutputDelta::closed_form, nn::OutputDelta::vjp,
                                           nn::OutputDelta::jacobian};

// ------------------------------------------------------------------- 784-128(relu)-10(softmax) on 1000 images of MNIST

struct Twin {
  nn::Npz file;
  std::uint64_t seed;
  double standard_deviation, loss_tolerance, weight_tolerance;
  nn::Npz mnist = reference("mnist1000.npz");
  Tensor<> x = mnist.read<double>("X_u8") / 255;
  Tensor<std::int64_t> labels = mnist.read<std::int64_t>("y");
  Tensor<> y = one_hot<double>(labels, 10);

  // As the notebook draws them, after np.random.seed.
  TensorList<double> initial() const {
    random::NumpyRandomState numpy(seed);
    const Tensor<> W1 = standard_deviation * numpy.randn({784, 128}), W2 = standard_deviation * numpy.randn({128, 10});
    CHECK(largest_difference(W1, file.read<double>("W1_0")) == 0);
    CHECK(largest_difference(W2, file.read<double>("W2_0")) == 0);
    return {W1, zeros({128}), W2, zeros({10})};
  }

  // Loss and accuracy before the update of an epoch.
  void check_epoch(std::int64_t epoch, const Tensor<>& a, double loss) const {
    CAPTURE(epoch);
    CHECK(std::abs(loss - file.read<double>("twin_loss_true")(epoch)) <= loss_tolerance);
    const Tensor<> of_label = sum(y * a, -1), largest = max(a, -1);
    CHECK(std::abs(mean(-log(of_label + 1e-8)).item() - file.read<double>("twin_loss_eps")(epoch)) <= loss_tolerance);
    CHECK(std::abs(mean(-log(largest)).item() - file.read<double>("twin_loss_pred")(epoch)) <= loss_tolerance);
    CHECK(nn::accuracy(a, labels) == file.read<double>("twin_acc")(epoch));
  }

  void check_parameters(const std::string& prefix, const TensorList<double>& p) const {
    CAPTURE(prefix);
    const char* names[] = {"W1", "b1", "W2", "b2"};
    for (std::size_t i = 0; i < p.size(); ++i) {
      CHECK(checksum_difference(p[i], file.read<double>("twin_chk_" + prefix + names[i])) <= weight_tolerance);
      const std::string whole = "twin_" + prefix + names[i];
      if (i > 0) CHECK(largest_difference(p[i], reshape(file.read<double>(whole), p[i].shape())) <= weight_tolerance);
    }
  }
  void check_end(const TensorList<double>& p) const {
    check_parameters("final_", p);
    CHECK(largest_difference(sum(p[0], 1), file.read<double>("twin_final_W1_rowsum")) <= 100 * weight_tolerance);
    CHECK(largest_difference(sum(p[0], 0), file.read<double>("twin_final_W1_colsum")) <= 100 * weight_tolerance);
  }
};

const Twin& notebook_002() {
  static const Twin twin{reference("seed2_train.npz"), 42, 0.01, 1e-13, 1e-14};
  return twin;
}
const Twin& notebook_003() {
  static const Twin twin{reference("seed3_train.npz"), 0, 1, 1e-12, 1e-13};
  return twin;
}

void train_as_a_model(const Twin& twin, nn::OutputDelta delta) {
  CAPTURE(to_string(delta));
  nn::Sequential<double> model({nn::Dense{128, "relu"}, nn::Dense{10, "softmax"}});
  model.compile({.optimizer = nn::SGD{.learning_rate = 0.01},
                 .loss = "sparse_categorical_crossentropy",
                 .metrics = {"accuracy"},
                 .output_delta = delta});
  model.build({784});
  model.set_parameters(twin.initial());
  for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
    const Tensor<> a = model.predict(twin.x);
    twin.check_epoch(epoch, a, model.train_on_batch(twin.x, twin.labels)["loss"]);
  }
  twin.check_end(model.parameters());
}

void train_in_an_own_loop(const Twin& twin) {
  auto logits = [&](const TensorList<double>& p) { return matmul(relu(matmul(twin.x, p[0]) + p[1]), p[2]) + p[3]; };
  auto loss = [&](const TensorList<double>& p) { return mean(-sum(twin.y * log_softmax(logits(p)), -1)); };
  TensorList<double> p = twin.initial();
  nn::Optimizer optimizer = nn::SGD{.learning_rate = 0.01};
  CHECK(largest_difference(slice(logits(p), 0, 0, 4), twin.file.read<double>("twin_Z2_first4_epoch0")) <=
        twin.loss_tolerance);
  for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
    const auto [value, gradient] = value_and_grad(loss)(p);
    twin.check_epoch(epoch, softmax(logits(p)), value.item());
    if (epoch == 0) twin.check_parameters("grad0_", gradient);
    optimizer.step(p, gradient);
  }
  twin.check_end(p);
}

TEST_CASE("notebook 002 on 1000 images") {
  for (const nn::OutputDelta delta : every_delta) train_as_a_model(notebook_002(), delta);
  train_in_an_own_loop(notebook_002());
}

TEST_CASE("notebook 003 on 1000 images") {
  for (const nn::OutputDelta delta : every_delta) train_as_a_model(notebook_003(), delta);
  train_in_an_own_loop(notebook_003());
}

// ------------------------------------------------------------------------------------------ 100-20-5-1 of notebook 004

const nn::Npz& notebook_004() {
  static const nn::Npz file = reference("seed4_train.npz");
  return file;
}

// The notebook has examples as columns and W as (out, in).
TensorList<double> transposed(const std::string& prefix, const std::string& suffix, bool with_biases = true) {
  const nn::Npz& file = notebook_004();
  TensorList<double> all;
  for (const std::string layer : {"1", "2", "3"}) {
    const Tensor<> W = file.read<double>(prefix + "W" + layer + suffix);
    all.push_back(transpose(W));
    all.push_back(with_biases ? reshape(file.read<double>(prefix + "b" + layer + suffix), {-1})
                              : zeros({W.shape()[0]}));
  }
  return all;
}

struct TwoClasses {
  Tensor<> x = notebook_004().read<double>("X_train"), x_test = notebook_004().read<double>("X_test");
  Tensor<> y = reshape(astype<double>(notebook_004().read<std::int64_t>("y_train")), {-1, 1});
  Tensor<> y_test = reshape(astype<double>(notebook_004().read<std::int64_t>("y_test")), {-1, 1});
};

nn::Sequential<double> model_004(double rate, nn::OutputDelta delta, const TensorList<double>& initial) {
  nn::Sequential<double> model({nn::Dense{20, "relu"}, nn::Dense{5, "relu"}, nn::Dense{1, "sigmoid"}});
  model.compile({.optimizer = nn::SGD{.learning_rate = rate},
                 .loss = "binary_crossentropy",
                 .metrics = {"accuracy"},
                 .output_delta = delta});
  model.build({100});
  model.set_parameters(initial);
  return model;
}

void check_weights_after(std::int64_t iterations, const TensorList<double>& p) {
  if (iterations == 10) CHECK(largest_difference(p, transposed("", "_after10")) <= 1e-13);
  if (iterations == 100) CHECK(largest_difference(p, transposed("", "_after100")) <= 1e-13);
  if (iterations == 250) CHECK(largest_difference(p, transposed("", "_final")) <= 1e-13);
}

TEST_CASE("notebook 004's network, under every output delta") {
  const TwoClasses data;
  const Tensor<> costs = notebook_004().read<double>("cost");
  for (const nn::OutputDelta delta : every_delta) {
    CAPTURE(to_string(delta));
    nn::Sequential<double> model = model_004(0.1, delta, transposed("", "_init"));
    CHECK(largest_difference(reshape(model.predict(data.x), {1, 800}), notebook_004().read<double>("AL_iter0")) <=
          1e-13);
    for (std::int64_t i = 0; i < 250; ++i) {
      CHECK(std::abs(model.train_on_batch(data.x, data.y)["loss"] - costs(i)) <= 1e-13);
      check_weights_after(i + 1, model.parameters());
    }
    const Tensor<> a = reshape(model.predict(data.x_test), {1, 200});
    CHECK(largest_difference(a, notebook_004().read<double>("AL_test_final")) <= 1e-13);
    CHECK(model.evaluate(data.x_test, data.y_test)["accuracy"] == 0.970);
    CHECK(model.evaluate(data.x, data.y)["accuracy"] == notebook_004().read<double>("train_test_acc")(0));
  }
}

TEST_CASE("notebook 004's functions, as a user's own training loop") {
  const TwoClasses data;
  auto cost = [&](const TensorList<double>& p) {
    Tensor<> a = data.x;
    for (std::size_t l = 0; l + 2 < p.size(); l += 2) a = relu(matmul(a, p[l]) + p[l + 1]);
    a = sigmoid(matmul(a, p[4]) + p[5]);
    return -mean(data.y * log(a) + (1 - data.y) * log(1 - a));
  };
  TensorList<double> p = transposed("", "_init");
  nn::Optimizer optimizer = nn::SGD{.learning_rate = 0.1};
  const Tensor<> costs = notebook_004().read<double>("cost");
  for (std::int64_t i = 0; i < 250; ++i) {
    const auto [value, gradient] = value_and_grad(cost)(p);
    CHECK(std::abs(value.item() - costs(i)) <= 1e-13);
    if (i == 0) CHECK(largest_difference(gradient, transposed("d", "_iter0")) <= 1e-13);
    optimizer.step(p, gradient);
    check_weights_after(i + 1, p);
  }
}

// learning_rate==learning_rate gave 1; 0.1 was meant. Only the first of three initial states is recorded.
TEST_CASE("notebook 004's Keras network, with the rate it had and the one that was meant") {
  struct Run {
    const char* name;
    double rate, tolerance;
  };
  const TwoClasses data;
  for (const Run& run : {Run{"keras_lr1", 1.0, 1e-8}, Run{"keras_lr01", 0.1, 1e-13}}) {
    const std::string name = run.name;
    CAPTURE(name);
    const Tensor<> costs = take(notebook_004().read<double>(name + "_cost"), Tensor<std::int64_t>(0));
    for (const nn::OutputDelta delta : every_delta) {
      CAPTURE(to_string(delta));
      nn::Sequential<double> model = model_004(run.rate, delta, transposed("keras_seed0_", "_init", false));
      double largest = 0;
      for (std::int64_t i = 0; i < 250; ++i) {
        largest = std::max(largest, std::abs(model.train_on_batch(data.x, data.y)["loss"] - costs(i)));
      }
      CHECK(largest <= run.tolerance);
      CHECK(model.evaluate(data.x_test, data.y_test)["accuracy"] == notebook_004().read<double>(name + "_test_acc")(0));
    }
  }
}

}  // namespace
