#pragma once
// Tables of numbers in text files.

#include <string>

#include "../../autodiff/tensor.hpp"

namespace tapegrad::nn {

/// The numbers of a comma-separated file, plain or gzip, as (rows, columns); blank lines are left out. Throws Error
/// when the file cannot be read; ValueError, naming line and column, for a field that is no finite number or a row of
/// another length than the first.
TAPEGRAD_EXPORT Tensor<double> read_csv(const std::string& path);

}  // namespace tapegrad::nn
