#pragma once
// Arrays in NumPy's .npy files.
//
//     Tensor<float> w = nn::read_npy<float>("w.npy");    // np.save("w.npy", w)
//     nn::write_npy("w.npy", w);                         // np.load("w.npy")

#include <string>

#include "../../autodiff/tensor.hpp"

namespace tapegrad::nn {

/// The array of a .npy file (format 1.0 to 3.0, either byte order, C or Fortran order), which may be gzipped. T is
/// float, double, std::int64_t or bool; element types that fit it exactly are converted: booleans into every T,
/// integers into std::int64_t and, where they have few enough bits, float and double, float32 into double. Values are
/// kept to the bit. Throws ValueError, naming the type to ask for, for others; Error, naming the byte, for a file that
/// is damaged, cut off or announces more than it holds, before memory is taken for it.
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
template <class T>
TAPEGRAD_EXPORT Tensor<T> read_npy(const std::string& path, Caller where = Caller::here());

/// Writes `x`, which np.load reads as float32, float64, int64 or bool. The file appears whole or not at all: it is
/// written under another name first, then renamed. Throws Error when it cannot be written.
template <class T>
TAPEGRAD_EXPORT void write_npy(const std::string& path, const Tensor<T>& x, Caller where = Caller::here());

}  // namespace tapegrad::nn
