#pragma once
// Checks the derivatives of a function against each other and against finite differences, for your own rules as for the
// library's.
//
//     check_derivatives([](const Tensor<>& a, const Tensor<>& b) { return matmul(tanh(a), b); }, a, b);

#include <functional>
#include <span>
#include <vector>

#include "transforms.hpp"

namespace tapegrad {

struct CheckOptions {
  /// The order up to which derivatives are checked: 1 checks the rules, 2 also the rules' derivatives, ...
  int order = 2;
  /// The largest |difference| allowed, relative to max(1, size of the terms); 0 chooses it by number type and order.
  double tolerance = 0;
  /// Half the step of the central difference, relative to max(1, |x|); 0 chooses it by number type.
  double step = 0;
  std::uint64_t seed = 1;
};

template <Real T>
using TensorFunction = std::function<Tensor<T>(std::span<const Tensor<T>>)>;

/// Checks, in random directions u and v at the point `at`, which must be away from corners of f: J v equals a central
/// difference of f; <u, J v> equals <J^T u, v>; a cotangent with two seed axes gives what its slices give one by one,
/// and so does a tangent; and, up to the given order, the same for (x, u) -> J(x)^T u. Throws CheckError, which says
/// which equation failed and by how much.
template <Real T>
TAPEGRAD_EXPORT void check_derivatives(const TensorFunction<T>& f, std::vector<Tensor<T>> at,
                                       const CheckOptions& options = {}, Caller where = Caller::here());

namespace detail {

template <class F, class T, class... More>
concept OfTensors =
    (std::is_same_v<Tensor<T>, More> && ...) && std::is_invocable_v<F&, const Tensor<T>&, const More&...>;

/// The same for a function of one or several tensors, with the options first.
template <class F, Real T, class... More>
void check_each(const CheckOptions& options, F& f, const Operand<T>& x, const More&... more) {
  check_derivatives<T>(
      [&f](std::span<const Tensor<T>> at) {
        return [&]<std::size_t... I>(std::index_sequence<I...>) { return Tensor<T>(f(at[I]...)); }
        (std::make_index_sequence<1 + sizeof...(More)>{});
      },
      {x.tensor(), more...}, options, x.where());
}

}  // namespace detail

/// The same of a function of one or several tensors of float or of double; options first.
template <class F, class... More>
requires detail::OfTensors<F, double, More...>
void check_derivatives(const CheckOptions& options, F&& f, const Operand<double>& x, const More&... more) {
  detail::check_each(options, f, x, more...);
}
template <class F, class... More>
requires detail::OfTensors<F, float, More...>
void check_derivatives(const CheckOptions& options, F&& f, const Operand<float>& x, const More&... more) {
  detail::check_each(options, f, x, more...);
}
template <class F, class... More>
requires detail::OfTensors<F, double, More...>
void check_derivatives(F&& f, const Operand<double>& x, const More&... more) { detail::check_each({}, f, x, more...); }
template <class F, class... More>
requires detail::OfTensors<F, float, More...>
void check_derivatives(F&& f, const Operand<float>& x, const More&... more) { detail::check_each({}, f, x, more...); }

}  // namespace tapegrad
