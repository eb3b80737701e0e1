#pragma once
// Full Jacobians and Hessians.
//
//     auto f = [](const Tensor<>& z) { return softmax(z); };
//     auto J = jacobian(f)(z);             // J.dense(): output shape, then input shape: dense()(i, j) = df_i / dz_j
//     Tensor<> delta = J.apply_transposed(g);   // J^T g, not J g: they differ where J is not symmetric
//     auto B = batch_jacobian(f)(Z);       // (batch, n) -> (batch, m): blocks (batch, m, n)

#include <iosfwd>
#include <string>

#include "transforms.hpp"

namespace tapegrad {

/// What is known of a Jacobian's form.
enum class Structure { zero, diagonal, diagonal_plus_low_rank, dense };
/// "diagonal plus low rank", ...
TAPEGRAD_EXPORT std::string to_string(Structure structure);

/// Which way a dense Jacobian is swept; `automatic` takes the one with fewer seeds.
enum class Sweep { automatic, forward, reverse };

struct JacobianOptions {
  Sweep sweep = Sweep::automatic;
};

/// The derivative of one tensor by another at a point: a linear map, with its matrix on demand. Traced when the point is
/// on a tape, so that it can be differentiated again.
template <Real T>
class TAPEGRAD_EXPORT Jacobian {
 public:
  /// Of the elements dense (output..., input...), or, when `batched`, blocks (batch, m, n).
  Jacobian(Tensor<T> dense, Shape output, Shape input, bool batched, Sweep used);

  /// J v: v and the result have the shapes of input and output. Throws ShapeError.
  Tensor<T> apply(const Tensor<T>& v, Where where = Where::here()) const;
  /// J^T g: g and the result have the shapes of output and input. Throws ShapeError.
  Tensor<T> apply_transposed(const Tensor<T>& g, Where where = Where::here()) const;
  /// Output shape then input shape, or (batch, m, n).
  const Tensor<T>& dense() const { return dense_; }

  Structure structure() const { return Structure::dense; }
  /// An upper bound of the rank, of each block when batched.
  std::int64_t rank() const;
  const Shape& output_shape() const { return output_; }
  const Shape& input_shape() const { return input_; }
  bool batched() const { return batched_; }
  /// In words: the shapes, the form that was found and how it was computed.
  std::string explain() const;

 private:
  Tensor<T> dense_;
  Shape output_, input_;
  bool batched_;
  Sweep used_;
};

template <Real T>
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, const Jacobian<T>& J);

extern template class Jacobian<float>;
extern template class Jacobian<double>;

namespace detail {

/// Sweeps a recorded function for its whole Jacobian.
template <Real T>
TAPEGRAD_EXPORT Jacobian<T> dense_jacobian(const Recording& recording, const Tensor<T>& x, const Tensor<T>& y,
                                           const JacobianOptions& options);
template <Real T>
TAPEGRAD_EXPORT Jacobian<T> dense_batch_jacobian(const Recording& recording, const Tensor<T>& x, const Tensor<T>& y,
                                                 const JacobianOptions& options, const Where& where);
template <Real T>
TAPEGRAD_EXPORT void require_batch(const Tensor<T>& x, const Where& where);

}  // namespace detail

/// The Jacobian of f, a tensor of a tensor, by its argument number I.
template <std::size_t I = 0, class F>
auto jacobian(F f, JacobianOptions options = {}) {
  return [f = std::move(f), options]<class... Args>(const Args&... args) {
    const std::tuple<const Args&...> arguments(args...);
    detail::Scope scope;
    auto y = detail::call_traced<detail::Indices<I>>(scope, f, arguments, std::index_sequence_for<Args...>{});
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(y)>,
                                 std::remove_cvref_t<std::tuple_element_t<I, std::tuple<Args...>>>>,
                  "jacobian needs a function that gives a tensor of its argument's own type; use vjp across types");
    const detail::Recording recording = scope.close();
    return detail::dense_jacobian(recording, std::get<I>(arguments), y, options);
  };
}

/// The Jacobians of a function that takes each row of (batch, n) to a row of (batch, m) by itself, for all rows with the
/// seeds of one. That rows do not mix is proved from what was recorded; throws RowMixingError naming the operation and
/// line that mixes them.
template <class F>
auto batch_jacobian(F f, JacobianOptions options = {}, Where where = Where::here()) {
  return [f = std::move(f), options, where]<Real T>(const Tensor<T>& x) {
    detail::require_batch(x, where);
    detail::Scope scope(where);
    Tensor<T> y = f(Tensor<T>(scope.trace(x.handle())));
    const detail::Recording recording = scope.close();
    return detail::dense_batch_jacobian(recording, x, y, options, where);
  };
}

/// Throws RowMixingError, as batch_jacobian does, unless f takes each x[b] of x (batch, ...) to element b of its result by
/// itself.
template <class F, Real T>
void require_separate_rows(F&& f, const Tensor<T>& x, Where where = Where::here()) {
  if (x.rank() == 0) throw ShapeError("require_separate_rows" + to_string(where) + ": a scalar has no rows");
  detail::Scope scope(where);
  const Tensor<T> y = f(Tensor<T>(scope.trace(x.handle())));
  scope.close().require_separate_rows(y.handle(), x.shape(), where);
}

/// Second derivatives of a function with a scalar result: (input..., input...).
template <class F>
auto hessian(F f, Where where = Where::here()) {
  return [f = std::move(f), where]<Real T>(const Tensor<T>& x) {
    return Tensor<T>(jacobian(grad(f, where))(x).dense());
  };
}

}  // namespace tapegrad
