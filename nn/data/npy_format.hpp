#pragma once
// One array in NumPy's format, wherever it is kept.

#include <string>

#include "../../autodiff/tensor.hpp"
#include "file.hpp"

namespace tapegrad::nn::detail {

/// Everything up to the end of `input`. Throws Error for what is no whole array, ValueError for elements that a
/// Tensor<T> cannot hold without loss.
template <class T>
Tensor<T> read_npy_array(Input& input);

/// What stands before the elements of a tensor.
template <class T>
std::string npy_header(const Shape& shape);

}  // namespace tapegrad::nn::detail
