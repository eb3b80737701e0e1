// A layer of your own: parameters and a function. Here x -> gamma x + beta, with its penalty.
#include <iostream>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

using namespace tapegrad;

struct Affine {
  static constexpr const char* name = "Affine";
  template <class T>
  nn::Params<T> init(const Shape& in, nn::Rng&) const {
    return {{"gamma", ones<T>({in.back()})}, {"beta", zeros<T>({in.back()})}};
  }
  template <class T>
  Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x, nn::Mode) const {
    return x * p["gamma"] + p["beta"];
  }
  template <class T>
  Tensor<T> penalty(const nn::Params<T>& p) const {
    return 1e-3 * sum(square(p["gamma"]));
  }
};

int main() {
  random::Generator rng(1);
  Tensor<float> X = rng.normal<float>({256, 3}), y = sum(sin(X), -1, keep_dims);
  auto with_squares = [](const auto& x) { return concatenate({x, square(x)}, -1); };  // a function is a layer too
  nn::Sequential<float> model({with_squares, Affine{}, nn::Dense{16, "tanh"}, nn::Dense{1}}, /*seed*/ 1);
  model.compile({.optimizer = "adam", .loss = "mse"});
  nn::History h = model.fit(X, y, {.epochs = 30});
  model.summary();
  std::cout << "loss " << h["loss"].front() << " -> " << h["loss"].back() << '\n';
}
