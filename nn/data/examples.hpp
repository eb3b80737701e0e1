#pragma once
// Examples and their labels.

#include "../../autodiff/tensor.hpp"

namespace tapegrad::nn {

/// Row i of X belongs to label i of y.
template <class T>
struct Examples {
  Tensor<T> X;             // (n, ...)
  Tensor<std::int64_t> y;  // (n)
};

}  // namespace tapegrad::nn
