#pragma once
// A single array in NumPy's format, in whatever container.

#include <bit>
#include <string>

#include "../../autodiff/tensor.hpp"
#include "file.hpp"

namespace tapegrad::nn::detail {

/// The description of the elements that follow in a file.
struct ElementLayout {
  std::string type;  // as NumPy writes it, such as <f8
  bool fortran_order = false;
  Shape shape;
};

/// Reads the elements up to the end of `input`. Throws Error, before memory is allocated, if more are announced than
/// can follow; ValueError for types that a Tensor<T> cannot hold exactly.
template <class T>
Tensor<T> read_elements(Input& input, const ElementLayout& layout);

/// Reads what precedes the elements in a .npy file. Throws Error for an invalid header.
ElementLayout read_npy_header(Input& input);

inline constexpr bool little_endian = std::endian::native == std::endian::little;

/// The type of a Tensor<T> as NumPy writes it. A type of one byte has no byte order.
template <class T>
inline constexpr const char* npy_type = sizeof(T) == 1                    ? "|b1"
                                        : std::is_same_v<T, std::int64_t> ? little_endian ? "<i8" : ">i8"
                                        : sizeof(T) == 4                  ? little_endian ? "<f4" : ">f4"
                                        : little_endian                   ? "<f8"
                                                                          : ">f8";
/// What precedes the elements of a tensor in a .npy file.
std::string npy_header(const char* type, const Shape& shape);

}  // namespace tapegrad::nn::detail
