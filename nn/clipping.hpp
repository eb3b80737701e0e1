#pragma once
// Clipping of gradients, in anything that holds tensors.
//
//     auto [loss, g] = value_and_grad(f)(params, x, y);
//     const double norm = nn::clip_by_global_norm(g, 1);      // what it was
//     opt.step(params, g);

#include <algorithm>
#include <cmath>

#include "../autodiff/parameters.hpp"

namespace tapegrad::nn {
namespace detail {

/// Throws ValueError unless the limit is positive and finite.
TAPEGRAD_EXPORT void require_limit(const char* operation, double limit, const Caller& where = {});
/// The sum of the squares of x / unit, in double.
template <Real T>
TAPEGRAD_EXPORT double sum_of_squares(const Tensor<T>& x, double unit, const Caller& where);
template <Real T>
TAPEGRAD_EXPORT double largest_magnitude(const Tensor<T>& x, const Caller& where);
template <Real T>
TAPEGRAD_EXPORT void clip(Tensor<T>& x, double limit, const Caller& where);
template <Real T>
TAPEGRAD_EXPORT void scale(Tensor<T>& x, double factor, const Caller& where);

}  // namespace detail

/// sqrt(sum x^2) over the elements of all tensors, summed in double and without overflow: it is inf only if an element
/// is infinite, and NaN if one is NaN. Throws TapeError for a traced tensor.
template <class P>
double global_norm(const P& tensors, Caller where = Caller::here()) {
  P all = tensors;
  tapegrad::detail::for_each_tensor(
      all, [&](const auto& x) { tapegrad::detail::require_readable(x.handle(), "global_norm", where); });
  const auto sum = [&](double unit) {
    double squares = 0;
    tapegrad::detail::for_each_tensor(all, [&](const auto& x) { squares += detail::sum_of_squares(x, unit, where); });
    return squares;
  };
  const double squares = sum(1);
  if (std::isnormal(squares) || std::isnan(squares)) return std::sqrt(squares);
  double unit = 0;
  tapegrad::detail::for_each_tensor(all,
                                    [&](const auto& x) { unit = std::max(unit, detail::largest_magnitude(x, where)); });
  return unit > 0 && std::isfinite(unit) ? unit * std::sqrt(sum(unit)) : unit;
}

/// Clips every element to [-limit, limit], including infinities; a NaN stays. Works in place if no other handle shares
/// the elements. Throws ValueError unless the limit is positive and finite, TapeError for a traced tensor.
template <class P>
void clip_by_value(P& gradients, double limit, Caller where = Caller::here()) {
  detail::require_limit("clip_by_value", limit, where);
  tapegrad::detail::for_each_tensor(gradients, [&](auto& x) { detail::clip(x, limit, where); });
}

/// Scales all tensors by limit / norm if their global norm exceeds the limit (Pascanu, Mikolov and Bengio, ICML 2013),
/// and returns the original norm. With an infinity or a NaN among them the gradients have no direction: they stay as
/// they are, and the returned norm is inf or NaN. Works in place if no other handle shares the elements. Throws
/// ValueError unless the limit is positive and finite, TapeError for a traced tensor.
template <class P>
double clip_by_global_norm(P& gradients, double limit, Caller where = Caller::here()) {
  detail::require_limit("clip_by_global_norm", limit, where);
  const double norm = global_norm(gradients, where);
  if (norm > limit && std::isfinite(norm)) {
    tapegrad::detail::for_each_tensor(gradients, [&](auto& x) { detail::scale(x, limit / norm, where); });
  }
  return norm;
}

}  // namespace tapegrad::nn
