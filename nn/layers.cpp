#include "layers.hpp"

#include "../autodiff/ops.hpp"

namespace tapegrad::nn {

template <class T>
Params<T> Dense::init(const Shape& in, Rng& rng) const {
  if (units < 1) throw ValueError("Dense needs at least one unit, not " + std::to_string(units));
  if (in.rank() != 1) {
    throw ShapeError("Dense takes vectors, but an example is " + to_string(in) + "; put a Flatten before it");
  }
  Params<T> p{{"kernel", kernel_initializer.make<T>({in.back(), units}, rng)}};
  if (use_bias) p.add("bias", bias_initializer.make<T>({units}, rng));
  return p;
}

template <class T>
Tensor<T> Dense::logits(const Params<T>& p, const Tensor<T>& x, Mode) const {
  const Tensor<T> z = matmul(x, p.at("kernel"), Where{});
  return use_bias ? z + p.at("bias") : z;
}

template <class T>
Tensor<T> Flatten::operator()(const Params<T>&, const Tensor<T>& x, Mode) const {
  std::int64_t n = 1;
  for (std::size_t axis = 1; axis < x.rank(); ++axis) n *= x.shape()[axis];
  return reshape(x, {x.shape().front(), n}, Where{});
}

template Params<float> Dense::init(const Shape&, Rng&) const;
template Params<double> Dense::init(const Shape&, Rng&) const;
template Tensor<float> Dense::logits(const Params<float>&, const Tensor<float>&, Mode) const;
template Tensor<double> Dense::logits(const Params<double>&, const Tensor<double>&, Mode) const;
template Tensor<float> Flatten::operator()(const Params<float>&, const Tensor<float>&, Mode) const;
template Tensor<double> Flatten::operator()(const Params<double>&, const Tensor<double>&, Mode) const;

}  // namespace tapegrad::nn
