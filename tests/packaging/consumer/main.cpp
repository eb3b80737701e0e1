// A user's program: it needs the engine, the nn layer and xtensor, and fails unless the numbers are right.
#include <tapegrad/autodiff.hpp>
#include <tapegrad/autodiff/xtensor.hpp>
#include <tapegrad/nn.hpp>

#include <iostream>
#include <xtensor/xarray.hpp>

namespace tg = tapegrad;

int main() {
  const xt::xarray<double> values{1.0, 2.0, 3.0};
  const tg::Tensor<double> x(values);
  auto f = [](const tg::Tensor<double>& v) { return tg::sum(v * v * v); };
  const tg::Tensor<double> g = tg::grad(f)(x);
  std::cout << "gradient " << g << '\n';
  if (!tg::allclose(g, 3.0 * x * x, 0, 0)) {
    std::cerr << "the gradient of sum(x^3) is not 3 x^2\n";
    return 1;
  }

  tg::nn::Sequential<float> model({tg::nn::Dense{4, "sigmoid"}, tg::nn::Dense{2, "softmax"}}, 1);
  const tg::Tensor<float> p = model.predict(tg::ones<float>({3, 5}));
  std::cout << "prediction " << p << '\n';
  if (!tg::allclose(tg::sum(p, -1), tg::ones<float>({3}), 1e-6, 0)) {
    std::cerr << "rows of a softmax do not add up to 1\n";
    return 1;
  }
}
