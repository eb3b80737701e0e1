#pragma once
// The part of softmax that closed forms of losses need.

#include "../tensor.hpp"

namespace tapegrad::detail {

/// J^T v = v - p sum(v) of log_softmax, whose exponential is p, along the last axis; v may have more axes in front. It
/// keeps its digits where an element of p has rounded to 1, and a v of 0 gives 0 whatever p is.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> log_softmax_product(const Tensor<T>& p, const Tensor<T>& v);

}  // namespace tapegrad::detail
