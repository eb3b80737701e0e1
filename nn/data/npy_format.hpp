#pragma once
// One array in NumPy's format, wherever it is kept.

#include <bit>
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

/// What stands before the elements in a .npy file. Throws Error for a header that is none.
ElementLayout read_npy_header(Input& input);

inline constexpr bool little_endian = std::endian::native == std::endian::little;

/// The type of a Tensor<T> as NumPy writes it: one of a byte has no order.
template <class T>
inline constexpr const char* npy_type = sizeof(T) == 1                    ? "|b1"
                                        : std::is_same_v<T, std::int64_t> ? little_endian ? "<i8" : ">i8"
                                        : sizeof(T) == 4                  ? little_endian ? "<f4" : ">f4"
                                        : little_endian                   ? "<f8"
                                                                          : ">f8";
/// What stands before the elements of a tensor.
std::string npy_header(const char* type, const Shape& shape);

}  // namespace tapegrad::nn::detail
