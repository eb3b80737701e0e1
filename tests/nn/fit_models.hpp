#pragma once
// Shared by the tests of fit: a temporary folder, data with three classes, and models for them.

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

namespace fit_tests {

using namespace tapegrad;
namespace fs = std::filesystem;

constexpr double undefined = std::numeric_limits<double>::quiet_NaN(),
                 infinite = std::numeric_limits<double>::infinity();

struct Folder {
  fs::path path = fs::temp_directory_path() / ("tapegrad_nn_fit_" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
};

inline std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() && std::equal(a.data(), a.data() + a.size(), b.data());
}
template <class T>
bool same_bits(const TensorList<T>& a, const TensorList<T>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Tensor<T>& x, const Tensor<T>& y) { return same_bits(x, y); });
}

/// Two overlapping clouds, so that nothing is learned perfectly.
template <Real T>
struct Clouds {
  Tensor<T> X, y;
  Tensor<std::int64_t> labels;
  explicit Clouds(std::int64_t n = 60) {
    random::Generator rng(9);
    std::vector<std::int64_t> classes;
    for (std::int64_t i = 0; i < n; ++i) classes.push_back(rng.below(3));
    labels = Tensor<std::int64_t>({n}, classes);
    y = one_hot<T>(labels, 3);
    X = rng.normal<T>({n, 5}) + matmul(y, rng.normal<T>({3, 5}));
  }
};

template <Real T>
nn::Sequential<T> classifier(std::uint64_t seed = 3) {
  nn::Sequential<T> model({nn::Dense{7, "tanh"}, nn::Dense{3, "softmax"}}, seed);
  model.compile(
      {.optimizer = nn::SGD{.learning_rate = 0.1}, .loss = "categorical_crossentropy", .metrics = {"accuracy"}});
  return model;
}

/// A model that needs everything a file must hold: random numbers of layers, kept statistics, the optimizer's state and
/// its iterations.
template <Real T>
nn::Sequential<T> resumable(std::uint64_t seed = 3) {
  nn::Sequential<T> model({nn::Dense{7, "tanh"}, nn::BatchNorm{}, nn::Dropout{0.3},
                           nn::Residual{nn::Dense{7, "tanh"}, nn::Dropout{0.2}}, nn::Dense{3, "softmax"}},
                          seed);
  model.compile({.optimizer = nn::Adam{.learning_rate = nn::warm_up(0.01, 20)},
                 .loss = "categorical_crossentropy",
                 .metrics = {"accuracy"}});
  return model;
}

}  // namespace fit_tests
