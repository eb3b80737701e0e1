// Models in .npz files.

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "../core/errors.hpp"
#include "../data/file.hpp"
#include "../data/npz.hpp"
#include "trainer.hpp"

namespace tapegrad::nn {
namespace {

/// The contents of a model's file, read in order. Anything that was not asked for must not be in it.
class Contents {
 public:
  Contents(const std::string& path, const Caller& where)
      : file_(detail::open_npz(path, "load", where)), caller_("load" + to_string(where) + ": " + path), where_(where) {
    std::error_code failed;
    bytes_ = std::filesystem::file_size(path, failed);
    if (failed) throw Error(caller_ + ": " + failed.message());
    left_.insert(file_.names().begin(), file_.names().end());
  }

  std::uint64_t bytes() const { return bytes_; }
  bool contains(const std::string& name) const { return file_.contains(name); }

  template <class T>
  Tensor<T> read(const std::string& name) {
    if (left_.erase(name) == 0) {
      throw ValueError(caller_ + " has no array \"" + name + "\", which the model needs" + cure);
    }
    constexpr const char* of_float = ": this model is of float, and a file of double goes into a Sequential<double>: ";
    const auto place = [this] { return std::is_same_v<T, float> ? caller_ + of_float : std::string(); };
    return detail::in_place(place, [&] { return file_.read<T>(name, where_); });
  }
  template <class T>
  Tensor<T> read(const std::string& name, const Shape& shape) {
    Tensor<T> array = read<T>(name);
    if (array.shape() == shape) return array;
    throw ShapeError(caller_ + ": \"" + name + "\" is " + to_string(array.shape()) + ", and " + to_string(shape) +
                     " in the model" + cure);
  }
  std::int64_t number(const std::string& name) { return read<std::int64_t>(name, {}).item(); }
  /// An array that holds a count.
  std::int64_t count(const std::string& name) {
    const std::int64_t n = number(name);
    if (n < 0) fail(": \"" + name + "\" is " + std::to_string(n));
    return n;
  }

  /// The unread names that begin with `prefix`.
  std::vector<std::string> names(const std::string& prefix) const {
    std::vector<std::string> found;
    std::ranges::copy_if(left_, std::back_inserter(found), [&](const auto& name) { return name.starts_with(prefix); });
    return found;
  }
  void ignore(const std::string& prefix) {
    for (const std::string& name : names(prefix)) left_.erase(name);
  }
  void require_nothing_left() const {
    if (left_.empty()) return;
    throw ValueError(caller_ + " holds \"" + detail::printable(*left_.begin()) + "\", which the model has not" + cure);
  }
  [[noreturn]] void fail(const std::string& what) const { throw ValueError(caller_ + what + cure); }

 private:
  static constexpr const char* cure =
      "; load it into a model with the layers and the optimizer of the one that was saved";

  Npz file_;
  std::string caller_;
  std::uint64_t bytes_;
  Caller where_;
  std::set<std::string> left_;
};

const std::string optimizer = "optimizer.";
std::string of_layer(std::size_t layer, const Name& name) { return std::to_string(layer) + "." + std::string(name); }

/// Text as an array of its bytes. In Python: bytes(file["layers"].tolist()).decode().
Tensor<std::int64_t> bytes_of(const std::string& text) {
  std::vector<std::int64_t> bytes;
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return {{static_cast<std::int64_t>(bytes.size())}, bytes};
}
std::string text_of(const Tensor<std::int64_t>& bytes) {
  const auto view = bytes.elements_view();
  return {view.begin(), view.end()};
}

/// The descriptions of all layers, in order.
template <Real T>
std::vector<std::string> descriptions(const std::vector<Layer<T>>& layers) {
  std::vector<std::string> all;
  for (const Layer<T>& layer : layers) {
    all.push_back(layer.description());
    std::ranges::replace(all.back(), '\n', ' ');  // '\n' separates them in the file
  }
  return all;
}
std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

void require_same_layers(const Contents& file, const std::vector<std::string>& saved,
                         const std::vector<std::string>& own) {
  for (std::size_t i = 0; i < std::max(saved.size(), own.size()); ++i) {
    if (i < std::min(saved.size(), own.size()) && saved[i] == own[i]) continue;
    const auto named = [i](const std::vector<std::string>& all) {
      return i < all.size() ? '"' + detail::printable(all[i]) + '"' : std::string("missing");
    };
    file.fail(" is of another model: its layer " + std::to_string(i) + " is " + named(saved) + ", and in this one " +
              named(own));
  }
}

}  // namespace

template <Real T>
void Trainer<T>::save(const Network<T>& network, const std::string& path, const Caller& where) const {
  network.require_built("save", where);
  Named<AnyTensor> arrays;
  for (std::size_t i = 0; i < network.layers_.size(); ++i) {
    for (const Params<T>* tensors : {&network.parameters_[i], &network.states_[i]}) {
      for (const auto& [name, tensor] : *tensors) arrays.add(of_layer(i, name), tensor);
    }
  }
  std::string layers;
  for (const std::string& layer : descriptions(network.layers_)) layers += layer + '\n';
  arrays.add("layers", bytes_of(layers));
  const std::vector<std::int64_t> example(network.example_.begin(), network.example_.end());
  arrays.add("example", Tensor<std::int64_t>({static_cast<std::int64_t>(example.size())}, example));
  arrays.add("seed", Tensor<std::int64_t>(static_cast<std::int64_t>(network.seed_)));
  arrays.add("steps", Tensor<std::int64_t>(steps_));
  arrays.add("epochs_trained", Tensor<std::int64_t>(epochs_trained_));
  if (compiled()) {
    for (const auto& [name, tensor] : options_.optimizer.template state<T>()) {
      arrays.add(optimizer + std::string(name), tensor);
    }
    arrays.add(optimizer + "iterations", Tensor<std::int64_t>(options_.optimizer.iterations()));
    if (const auto rate = options_.optimizer.fixed_learning_rate()) {
      arrays.add(optimizer + "learning_rate", Tensor<double>(*rate));
    }
  }
  detail::write_npz(path, arrays, {}, "save", where);
}

template <Real T>
void Trainer<T>::load(Network<T>& network, const std::string& path, const Caller& where) {
  Contents file(path, where);
  Network<T> loaded = network;
  Trainer trainer = *this;
  if (file.contains("layers")) {  // files written by 0.1 lack it
    require_same_layers(file, lines(text_of(file.template read<std::int64_t>("layers"))),
                        descriptions(network.layers_));
  }
  const Tensor<std::int64_t> sizes = file.template read<std::int64_t>("example");
  if (sizes.rank() != 1 || sizes.size() > Shape::max_rank) file.fail(": \"example\" is no shape");
  const Shape example(sizes.data(), sizes.data() + sizes.size());
  if (std::ranges::any_of(example, [](std::int64_t size) { return size < 0; })) {
    file.fail(": \"example\" is " + to_string(example));
  }
  // Memory is allocated for examples of this shape before the arrays show whether it is the right one.
  constexpr std::uint64_t always_taken = 1 << 16;
  if (loaded.parameters_.empty()) {
    if (static_cast<std::uint64_t>(example.count()) > std::max(file.bytes(), always_taken)) {
      file.fail(": \"example\" is " + to_string(example) + ", much for a file of " + std::to_string(file.bytes()) +
                " bytes; when it is right, call build with it before load");
    }
    loaded.make(example, "load", where);
  }
  if (!(loaded.example_ == example)) {
    file.fail(" is of a model for examples of shape " + to_string(example) + ", and this one was built for " +
              to_string(loaded.example_));
  }
  for (std::size_t i = 0; i < loaded.layers_.size(); ++i) {
    for (Params<T>* tensors : {&loaded.parameters_[i], &loaded.states_[i]}) {
      for (auto& [name, tensor] : *tensors) {
        tensor = file.template read<T>(of_layer(i, name), tensor.shape());
      }
    }
  }
  loaded.seed_ = static_cast<std::uint64_t>(file.number("seed"));
  trainer.steps_ = file.count("steps");
  trainer.epochs_trained_ = file.count("epochs_trained");
  std::int64_t iterations = 0;
  std::optional<LearningRate> rate;
  Params<T> state;
  if (compiled() && !file.names(optimizer).empty()) {
    iterations = file.count(optimizer + "iterations");
    if (const std::string name = optimizer + "learning_rate"; file.contains(name)) {
      rate = file.template read<double>(name, {}).item();
    }
    for (const std::string& name : file.names(optimizer)) {
      state.add(name.substr(optimizer.size()), file.template read<T>(name));
    }
  }
  file.ignore(optimizer);
  try {
    trainer.options_.optimizer.set_learning_rate(rate, where);
    trainer.options_.optimizer.set_state(loaded.parameters_, state, iterations, where);
  } catch (const Error& error) {
    file.fail(": \"" + optimizer + "*\": " + error.what());
  }
  file.require_nothing_left();
  network = std::move(loaded);
  *this = std::move(trainer);
}

template void Trainer<float>::save(const Network<float>&, const std::string&, const Caller&) const;
template void Trainer<double>::save(const Network<double>&, const std::string&, const Caller&) const;
template void Trainer<float>::load(Network<float>&, const std::string&, const Caller&);
template void Trainer<double>::load(Network<double>&, const std::string&, const Caller&);

}  // namespace tapegrad::nn
