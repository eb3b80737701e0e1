#include "idx.hpp"

#include <algorithm>
#include <filesystem>

#include "npy_format.hpp"
#include "npz.hpp"

namespace tapegrad::nn {
namespace {

namespace fs = std::filesystem;

/// The element type that the third byte of the magic number stands for; null for an unknown one.
const char* element_type(unsigned char code) {
  constexpr const char* types[] = {"|u1", "|i1", nullptr, ">i2", ">i4", ">f4", ">f8"};
  return code >= 0x08 && code <= 0x0e ? types[code - 0x08] : nullptr;
}

template <class T>
Tensor<T> read_idx_file(const std::string& path, const std::string& caller) {
  const std::unique_ptr<detail::Input> input = detail::open_input(path, caller);
  unsigned char word[4];
  input->read(word, sizeof word, "the magic number of an IDX file");
  detail::ElementLayout layout;
  const char* type = element_type(word[2]);
  const std::size_t rank = word[3];
  if (word[0] != 0 || word[1] != 0 || !type || rank > Shape::max_rank) {
    input->fail("the 4 bytes before this one are no magic number of an IDX file of at most 8 axes");
  }
  layout.type = type;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    input->read(word, sizeof word, "the size of axis " + std::to_string(axis));
    layout.shape.push_back(std::int64_t{word[0]} << 24 | word[1] << 16 | word[2] << 8 | word[3]);
  }
  return detail::read_elements<T>(*input, layout);
}

template <Real T>
Tensor<T> divided(Tensor<T> x, double divisor) {
  T* values = x.mutable_data();
  if (divisor != 1) std::for_each_n(values, x.size(), [&](T& value) { value /= static_cast<T>(divisor); });
  return x;
}

template <Real T>
Examples<T> together(Tensor<T> images, Tensor<std::int64_t> labels, double divisor, const std::string& caller) {
  if (images.rank() != 3 || labels.shape() != Shape{images.shape()[0]}) {
    throw ShapeError(caller + ": images of shape " + to_string(images.shape()) + " with labels of shape " +
                     to_string(labels.shape()) + ", where (n, rows, columns) and (n) were expected");
  }
  return {divided(std::move(images), divisor), std::move(labels)};
}

}  // namespace

template <class T>
Tensor<T> read_idx(const std::string& path, Caller where) {
  return read_idx_file<T>(path, "read_idx" + to_string(where));
}

template <Real T>
Mnist<T> load_mnist(const std::string& path, double divisor, Caller where) {
  const std::string caller = "load_mnist" + to_string(where);
  const fs::path folder(path);
  std::error_code none;
  for (const fs::path& file : {folder, folder / "mnist.npz"}) {
    if (file.extension() != ".npz" || !fs::exists(file, none)) continue;
    const Npz archive = detail::open_npz(file.string(), "load_mnist", where);
    auto read = [&](const std::string& part) {
      return together<T>(archive.read<T>("x_" + part, where), archive.read<std::int64_t>("y_" + part, where), divisor,
                         caller + ": " + file.string());
    };
    return {read("train"), read("test")};
  }
  auto find = [&](const std::string& part, const std::string& kind) {
    const std::string name = part + '-' + kind + "-ubyte";
    for (const std::string& file : {name, name + ".gz"}) {
      if (fs::exists(folder / file, none)) return (folder / file).string();
    }
    throw Error(caller + ": " + path + " holds neither mnist.npz nor " + name +
                "[.gz]; wanted are {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz, or mnist.npz");
  };
  const std::string train_images = find("train", "images-idx3"), train_labels = find("train", "labels-idx1"),
                    test_images = find("t10k", "images-idx3"), test_labels = find("t10k", "labels-idx1");
  auto read = [&](const std::string& images, const std::string& labels) {
    return together<T>(read_idx_file<T>(images, caller), read_idx_file<std::int64_t>(labels, caller), divisor,
                       caller + ": " + path);
  };
  return {read(train_images, train_labels), read(test_images, test_labels)};
}

template Tensor<float> read_idx(const std::string&, Caller);
template Tensor<double> read_idx(const std::string&, Caller);
template Tensor<std::int64_t> read_idx(const std::string&, Caller);
template Mnist<float> load_mnist(const std::string&, double, Caller);
template Mnist<double> load_mnist(const std::string&, double, Caller);

}  // namespace tapegrad::nn
