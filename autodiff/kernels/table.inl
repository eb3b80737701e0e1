#pragma once

#include "elementwise.inl"
#include "gemm.inl"
#include "kernels.hpp"
#include "program.inl"
#include "reduce.inl"
#include "softmax.inl"
#include "structured.inl"
#include "transpose.inl"
#include "update.inl"
#include "where.inl"

namespace tapegrad::kernels {
namespace {

template <class T>
inline constexpr Kernels<T> table = {
    .unary = unary_kernels<T>.data(),
    .binary = binary_kernels<T>.data(),
    .comparisons = comparison_kernels<T>.data(),
    .ternary = ternary_kernels<T>.data(),
    .where = where<T>,
    .sum = sum<T>,
    .max = extreme<Largest, T>,
    .min = extreme<Smallest, T>,
    .find = find<T>,
    .spread = spread<T>,
    .cumsum = cumsum<T>,
    .softmax = softmax<T>,
    .log_softmax = log_softmax<T>,
    .logsumexp = logsumexp<T>,
    .softmax_product = softmax_product<T>,
    .log_softmax_product = log_softmax_product<T>,
    .gemm = gemm<T>,
    .gemv = gemv<T>,
    .transpose = transpose<T>,
    .structured_dense = structured_dense<T>,
    .structured_apply = structured_apply<T>,
    .all_finite = all_finite<T>,
    .any_nan = any_nan<T>,
    .add_to = add_to<T>,
    .momentum_update = momentum_update<T>,
    .adam_update = adam_update<T>,
    .root_update = root_update<T>,
};

}  // namespace
}  // namespace tapegrad::kernels
