#pragma once
// One array in NumPy's format, wherever it is kept.

#include <string>

#include "../../autodiff/tensor.hpp"
#include "file.hpp"

namespace tapegrad::nn::detail {

/// What a file says of the elements that follow.
struct ElementLayout {
  std::string type;  // as NumPy writes it, such as <f8
  bool fortran_order = false;
  Shape shape;
};

/// The elements, and the end of `input`. Throws Error, before memory is taken, where more are announced than can
/// follow; ValueError for types whose values a Tensor<T> cannot all hold.
template <class T>
Tensor<T> read_elements(Input& input, const ElementLayout& layout);

/// A whole .npy file. Throws as read_elements, and Error for a header that is none.
template <class T>
Tensor<T> read_npy_array(Input& input);

/// What stands before the elements of a tensor.
template <class T>
std::string npy_header(const Shape& shape);

}  // namespace tapegrad::nn::detail
