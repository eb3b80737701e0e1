#pragma once

#include "hand_delta.inl"
#include "hand_elementwise.inl"
#include "hand_jacobian.inl"
#include "hand_network.inl"

namespace tapegrad::benchmarks {
namespace {

inline constexpr Hand table = {
    .softmax_crossentropy = softmax_general<Crossentropy>,
    .softmax_mse = softmax_general<MeanSquaredError>,
    .softmax_crossentropy_closed = softmax_closed,
    .sigmoid_bce = sigmoid_general,
    .sigmoid_bce_closed = sigmoid_closed,
    .linear_mse = linear,
    .normalize = jacobian<Normalize>,
    .softmax = jacobian<Softmax<SimdExp>>,
    .xsoftmax = jacobian<XSoftmax<SimdExp>>,
    .layernorm = jacobian<LayerNorm>,
    .cumsoftmax = jacobian<CumSoftmax<SimdExp>>,
    .softmax_libm = jacobian<Softmax<LibraryExp>>,
    .xsoftmax_libm = jacobian<XSoftmax<LibraryExp>>,
    .cumsoftmax_libm = jacobian<CumSoftmax<LibraryExp>>,
    .mlp_jacobian = mlp_jacobian,
    .mlp_gradient = mlp_gradient,
    .logistic_scaled = logistic_scaled,
    .swish = elementwise_of<Swish>,
    .mish = elementwise_of<Mish>,
    .mish_by_formula = elementwise_of<MishByFormula>,
    .gelu = elementwise_of<Gelu>,
    .sigmoid = elementwise_of<Sigmoid>,
    .tanh = elementwise_of<Tanh>,
    .subtract = subtract,
    .multiply = multiply,
    .add = add,
};

}  // namespace
}  // namespace tapegrad::benchmarks
