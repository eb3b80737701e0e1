#pragma once
// What the programs of the notebooks share.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

namespace notebook {

using tapegrad::Tensor;

/// Of wall time.
double seconds_of(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Calls draw(path) and says so; without gnuplot it says that and goes on.
inline void picture(const std::string& path, const auto& draw) {
  try {
    draw(path);
    std::printf("Picture: %s\n", path.c_str());
  } catch (const tapegrad::Error& error) {
    std::printf("No picture: %s\n", error.what());
  }
}

/// Whether the training images, of 0..255, are those of MNIST: by the sum of their pixels. Says so where not.
inline bool is_mnist(const Tensor<>& images) {
  const bool is = sum(images).item() == 1567298545;
  if (!is) std::printf("These images are not MNIST: the notebook's figures do not apply.\n\n");
  return is;
}

// ------------------------------------------------------------------------------ what Keras prints, and what fit found

/// A line that a notebook shows.
struct KerasEpoch {
  double accuracy, loss, val_accuracy, val_loss;
};

/// A callback that prints each of the first ten epochs, and then every `every`th, beside the notebook's lines.
inline auto print_beside(std::vector<KerasEpoch> notebook, std::int64_t every = 10) {
  std::printf("epoch  accuracy  notebook    loss  notebook  val_accuracy  notebook  val_loss  notebook\n");
  return [notebook = std::move(notebook), every](const tapegrad::nn::Epoch& epoch) {
    const std::int64_t k = epoch.index + 1;
    if (k > 10 && k % every != 0) return;
    const bool known = static_cast<std::size_t>(k) <= notebook.size();
    auto value = [&](int width, double KerasEpoch::*member) {
      if (known)
        std::printf("%*.4f", width, notebook[static_cast<std::size_t>(k - 1)].*member);
      else
        std::printf("%*s", width, "");
    };
    std::printf("%5lld  %8.4f", static_cast<long long>(k), epoch.logs["accuracy"]);
    value(10, &KerasEpoch::accuracy);
    std::printf("%8.4f", epoch.logs["loss"]);
    value(10, &KerasEpoch::loss);
    std::printf("%14.4f", epoch.logs["val_accuracy"]);
    value(10, &KerasEpoch::val_accuracy);
    std::printf("%10.4f", epoch.logs["val_loss"]);
    if (known) value(10, &KerasEpoch::val_loss);
    std::printf("\n");
    std::fflush(stdout);
  };
}

/// The largest differences of val_accuracy and val_loss, epoch by epoch, from a recorded run of the same network in
/// PyTorch, (epochs, 6) with these in columns 2 and 3.
inline void compare_with_standin(const tapegrad::nn::History& history, const tapegrad::nn::Npz& file,
                                 const std::string& name) {
  const Tensor<> recorded = file.read<double>(name);
  double accuracy = 0, loss = 0;
  for (std::int64_t k = 0; k < recorded.shape()[0]; ++k) {
    const auto i = static_cast<std::size_t>(k);
    if (i >= history["val_loss"].size()) break;
    accuracy = std::max(accuracy, std::abs(history["val_accuracy"][i] - recorded(k, 2)));
    loss = std::max(loss, std::abs(history["val_loss"][i] - recorded(k, 3)));
  }
  std::printf("  from PyTorch's %s: val_accuracy %.4f, val_loss %.4f\n", name.c_str(), accuracy, loss);
}

// ----------------------------------------------------------------------------------- what NumPy found, recorded in
// full

inline double largest_difference(const std::vector<double>& a, const Tensor<>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b.data()[i]));
  return largest;
}

/// Of [sum w, sum w^2, sum w[k] cos k] from `recorded`, each relative to the sum of its absolute terms.
inline double checksum_difference(const Tensor<>& w, const Tensor<>& recorded) {
  std::array<double, 3> sums{}, sizes{};
  for (std::int64_t k = 0; k < w.size(); ++k) {
    const double x = w.data()[k], terms[3] = {x, x * x, x * std::cos(static_cast<double>(k))};
    for (std::size_t i = 0; i < 3; ++i) {
      sums[i] += terms[i];
      sizes[i] += std::abs(terms[i]);
    }
  }
  double largest = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    largest = std::max(largest, std::abs(sums[i] - recorded.data()[i]) / sizes[i]);
  }
  return largest;
}

/// One full-batch run of 784-128(relu)-10(softmax): before the update of each epoch, and at the end.
struct Run {
  std::vector<double> loss_true, loss_eps, loss_pred, accuracy;
  Tensor<> W1, b1, W2, b2;
  double seconds = 0, test_accuracy = 0, test_loss = 0;
};

/// Prints how far `run` is from the run of the notebook's own NumPy code on the same images. Of W1 the file keeps
/// checksums and the sums of rows and columns, of the others every element.
inline void compare_with_recorded(const Run& run, const tapegrad::nn::Npz& file) {
  auto recorded = [&](const std::string& name) { return file.read<double>("full_" + name); };
  const double loss = std::max({largest_difference(run.loss_true, recorded("loss_true")),
                                largest_difference(run.loss_eps, recorded("loss_eps")),
                                largest_difference(run.loss_pred, recorded("loss_pred"))});
  double weights = 0, checksums = 0;
  const std::pair<const char*, const Tensor<>*> parameters[] = {
      {"W1", &run.W1}, {"b1", &run.b1}, {"W2", &run.W2}, {"b2", &run.b2}};
  for (const auto& [name, value] : parameters) {
    checksums = std::max(checksums, checksum_difference(*value, recorded(std::string("chk_final_") + name)));
    if (value == &run.W1) continue;
    const Tensor<> expected = reshape(recorded(std::string("final_") + name), value->shape());
    weights = std::max(weights, max(abs(*value - expected)).item());
  }
  const Tensor<> size = abs(run.W1);
  checksums = std::max({checksums, max(abs(sum(run.W1, 1) - recorded("final_W1_rowsum")) / sum(size, 1)).item(),
                        max(abs(sum(run.W1, 0) - recorded("final_W1_colsum")) / sum(size, 0)).item()});
  std::printf(
      "  from the recorded NumPy run: loss %.1e, accuracy %.1e, weights %.1e, sums of weights %.1e,\n"
      "  test accuracy %.1e, test loss %.1e\n",
      loss, largest_difference(run.accuracy, recorded("acc")), weights, checksums,
      std::abs(run.test_accuracy - recorded("test_acc_loss")(0)),
      std::abs(run.test_loss - recorded("test_acc_loss")(1)));
  std::fflush(stdout);
}

}  // namespace notebook
