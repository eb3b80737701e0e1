// Notebook 001's network, 64-64(sigmoid)-10(softmax) on the digits, against the recorded trajectories of
// tests/reference/seed1_train.npz, under every way of taking the output delta.
#include <doctest/doctest.h>

#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include "../close.hpp"
#include "trajectory.hpp"

namespace {

using namespace tapegrad;
using trajectory::checksum_difference;
using trajectory::largest_difference;

const nn::Npz& reference() {
  static const nn::Npz file(TAPEGRAD_REFERENCE_DIR "/seed1_train.npz");
  return file;
}

constexpr const char* names[] = {"W0", "b0", "W1", "b1"};

TensorList<double> recorded(const std::string& prefix) {
  TensorList<double> all;
  for (const char* name : names) all.push_back(reference().read<double>(prefix + name));
  return all;
}

TensorList<double> initial() {
  TensorList<double> all;
  for (const char* name : names) all.push_back(reference().read<double>(std::string(name) + "_init"));
  return all;
}

Tensor<> recorded_checksum(const Tensor<>& checksums, std::int64_t step, std::size_t parameter) {
  return take(take(checksums, Tensor<std::int64_t>(step)), Tensor<std::int64_t>(static_cast<std::int64_t>(parameter)));
}

Tensor<std::int64_t> batch_rows(std::int64_t step) {
  return reshape(slice(reference().read<std::int64_t>("batch_idx"), 0, step, step + 1), {-1});
}

struct Data {
  Tensor<> x, x_test;
  Tensor<> y = one_hot<double>(reference().read<std::int64_t>("y_train"), 10);
  Tensor<> y_test = one_hot<double>(reference().read<std::int64_t>("y_test"), 10);
  double eta, decay;

  explicit Data(const std::string& run) {
    const Tensor<> options = reference().read<double>(run + "_eta_init_decay_scale");
    eta = options(0);
    decay = options(1);
    x = reference().read<double>("X_train") / options(2);
    x_test = reference().read<double>("X_test") / options(2);
  }
};

template <class Activation, class Loss>
nn::Sequential<double> model_of(Activation activation, Loss loss, nn::LearningRate rate, nn::OutputDelta delta) {
  nn::Sequential<double> model({nn::Dense{64, "sigmoid"}, nn::Dense{10, activation}});
  model.compile({.optimizer = nn::SGD{.learning_rate = rate},
                 .loss = loss,
                 .metrics = {"accuracy"},
                 .reduction = nn::Reduction::sum,
                 .output_delta = delta});
  model.build({64});
  model.set_parameters(initial());
  return model;
}

// 200 steps one by one: loss before each, checksums and weights after.
void follow_200_steps(nn::Sequential<double>& model, const Data& data, const std::string& run, std::int64_t& step,
                      double tolerance, bool loss_is_cross_entropy = true) {
  const Tensor<> losses = reference().read<double>(run + "_loss_mean_200"),
                 checksums = reference().read<double>(run + "_chk_200");
  for (step = 0; step < 200; ++step) {
    const Tensor<std::int64_t> rows = batch_rows(step);
    const double loss = model.train_on_batch(take(data.x, rows), take(data.y, rows))["loss"];
    if (loss_is_cross_entropy) CHECK(std::abs(loss - losses(step)) <= tolerance);
    const TensorList<double> weights = model.parameters();
    for (std::size_t p = 0; p < weights.size(); ++p) {
      CHECK(checksum_difference(weights[p], recorded_checksum(checksums, step, p)) <= tolerance);
    }
    const std::string after = run + "_step" + std::to_string(step + 1) + "_";
    if (reference().contains(after + "W0")) CHECK(largest_difference(weights, recorded(after)) <= tolerance);
  }
}

void follow_5000_steps(nn::Sequential<double>& model, const Data& data, const std::string& run, double tolerance) {
  const Tensor<> batch_accuracy = reference().read<double>(run + "_epoch_batch_acc");
  const Tensor<> accuracy = reference().read<double>(run + "_epoch_train_test_acc");
  model.fit(data.x, data.y,
            {.epochs = 100,
             .batches = reference().read<std::int64_t>("batch_idx"),
             .callbacks = {[&](nn::Epoch& e) {
               const Tensor<std::int64_t> rows = batch_rows(50 * e.index + 49);
               CHECK(model.evaluate(take(data.x, rows), take(data.y, rows))["accuracy"] == batch_accuracy(e.index));
               CHECK(model.evaluate(data.x, data.y)["accuracy"] == about(accuracy(e.index, 0), 1e-15));
               CHECK(model.evaluate(data.x_test, data.y_test)["accuracy"] == about(accuracy(e.index, 1), 1e-15));
             }}});
  const double difference = largest_difference(model.parameters(), recorded(run + "_final_"));
  CHECK(difference <= tolerance);
  MESSAGE(run << " after 5000 steps: weights differ by " << difference);
}

TEST_CASE("notebook 001's corrected runs, under every output delta") {
  for (const std::string run : {"ref", "scaled"}) {
    const Data data(run);
    for (const nn::OutputDelta delta :
         {nn::OutputDelta::jacobian, nn::OutputDelta::vjp, nn::OutputDelta::closed_form}) {
      CAPTURE(run);
      CAPTURE(to_string(delta));
      std::int64_t step = 0;
      auto rate = [&](std::int64_t, std::int64_t) {
        return data.eta / (1 + data.decay * static_cast<double>(step % 50));
      };
      auto stepwise = model_of("softmax", "categorical_crossentropy", rate, delta);
      CHECK(stepwise.output_delta_used() == delta);
      follow_200_steps(stepwise, data, run, step, 1e-13);

      auto whole =
          model_of("softmax", "categorical_crossentropy", nn::inverse_time_decay_in_epoch(data.eta, data.decay), delta);
      follow_5000_steps(whole, data, run, 1e-12);
      CHECK(std::abs(whole.evaluate(data.x_test, data.y_test)["loss"] -
                     reference().read<double>(run + "_final_test_loss").item()) <= 1e-12);
    }
  }
}

// The notebook's quirk: the loss of each example runs over the targets of the whole batch.
TEST_CASE("notebook 001 with the whole batch's y for each example, as a user's own loss") {
  const Data data("rowyb");
  auto softmax_by_hand = [](const auto& z) {
    auto e = exp(z - max(z, -1, keep_dims));
    return e / sum(e, -1, keep_dims);
  };
  auto whole_batch_loss = [](const auto& a, const auto& y) { return -sum(sum(y, 0, keep_dims) * log(a), -1); };
  std::int64_t step = 0;
  auto rate = [&](std::int64_t, std::int64_t) { return data.eta / (1 + data.decay * static_cast<double>(step % 50)); };
  auto stepwise = model_of(softmax_by_hand, whole_batch_loss, rate, nn::OutputDelta::vjp);
  follow_200_steps(stepwise, data, "rowyb", step, 1e-12, false);
  auto whole = model_of(softmax_by_hand, whole_batch_loss, nn::inverse_time_decay_in_epoch(data.eta, data.decay),
                        nn::OutputDelta::jacobian);
  follow_5000_steps(whole, data, "rowyb", 1e-11);
}

// To the letter: softmax over the whole batch forward, the Jacobian of one row's softmax backward, the targets of the
// whole batch for each example. That delta is the derivative of nothing, so it is put together by hand from the tape.
TEST_CASE("notebook 001 to the letter, as a user's own training loop") {
  const Data data("lit");
  auto softmax_of_all = [](const Tensor<>& z) { return exp(z) / sum(exp(z)); };
  auto C = [](const Tensor<>& a, const Tensor<>& y) { return -sum(y * log(a), 1); };
  auto logits = [](const TensorList<double>& p, const Tensor<>& x) {
    return matmul(sigmoid(matmul(x, p[0]) + p[1]), p[2]) + p[3];
  };
  TensorList<double> params = initial();
  const Tensor<> losses = reference().read<double>("lit_notebook_loss_mean_200"),
                 checksums = reference().read<double>("lit_chk_200");
  std::int64_t step = 0;
  nn::Optimizer optimizer = nn::SGD{.learning_rate = [&](std::int64_t, std::int64_t) {
    return data.eta / (1 + data.decay * static_cast<double>(step % 50));
  }};
  auto delta_of = [&](const Tensor<>& z, const Tensor<>& a, const Tensor<>& y) {
    std::vector<Tensor<>> rows;
    for (std::int64_t i = 0; i < z.shape()[0]; ++i) {
      const Tensor<> zi = reshape(slice(z, 0, i, i + 1), {-1}), ai = reshape(slice(a, 0, i, i + 1), {-1});
      const Tensor<> g = elementwise_grad([&](const Tensor<>& t) { return C(t, y); })(ai);
      rows.push_back(reshape(jacobian(softmax_of_all)(zi).apply_transposed(g), {1, -1}));
    }
    return concatenate(rows, 0);
  };
  for (step = 0; step < 5000; ++step) {
    const Tensor<std::int64_t> rows = batch_rows(step);
    const Tensor<> x = take(data.x, rows), y = take(data.y, rows);
    const auto [z, pullback] = vjp([&](const TensorList<double>& p) { return logits(p, x); }, params);
    const Tensor<> a = softmax_of_all(z), delta = delta_of(z, a, y);
    if (step == 0) {
      CHECK(allclose(a, reference().read<double>("lit_step0_A1"), 0, 1e-15));
      CHECK(allclose(delta, reference().read<double>("lit_step0_delta1"), 0, 1e-12));
    }
    optimizer.step(params, pullback(delta));
    if (step < 200) {
      CHECK(std::abs(mean(C(a, y)).item() - losses(step)) <= 1e-12);
      for (std::size_t p = 0; p < 4; ++p) {
        CHECK(checksum_difference(params[p], recorded_checksum(checksums, step, p)) <= 1e-12);
      }
    }
    const std::string after = "lit_step" + std::to_string(step + 1) + "_";
    if (reference().contains(after + "W0")) CHECK(largest_difference(params, recorded(after)) <= 1e-12);
  }
  CHECK(largest_difference(params, recorded("lit_final_")) <= 1e-11);
}

}  // namespace
