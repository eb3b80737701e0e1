#include "linearization.hpp"

#include <algorithm>
#include "../ops/internal.hpp"
#include "../ops/operands.hpp"
#include "../tape/nan_watch.hpp"

namespace tapegrad::detail {
namespace {

Sweep choose(Sweep wanted, std::int64_t outputs, std::int64_t inputs) {
  if (wanted != Sweep::automatic) return wanted;
  return inputs < outputs ? Sweep::forward : Sweep::reverse;
}

// The identity over `shape`, as seeds: shape + shape.
template <Real T>
Tensor<T> identity_seeds(const Shape& shape) {
  return reshape(eye<T>(shape.count()), Shape{shape.count()}.concat(shape));
}

}  // namespace

template <Real T>
std::optional<Structured> Linearization<T>::search(bool columns_allowed, Lost* lost) const {
  // Only sweeps know the lines that debug_nans() reports.
  if (!function || wanted != Sweep::automatic || nan_watch()) return std::nullopt;
  return detail::structure<T>(function->recording(), function->output.handle(), input, axes, columns_allowed, lost);
}

template <Real T>
const Structured* Linearization<T>::structure(std::optional<Structured>& own) {
  if (function && !searched.done() && !function->recording().records_outside()) {
    own = search(false);
    return own ? &*own : nullptr;
  }
  searched([this] { structured = search(false); });
  return structured ? &*structured : nullptr;
}

template <Real T>
Tensor<T> Linearization<T>::dense() {
  const bool keep = !function || function->recording().records_outside();
  std::optional<Structured> own;
  if (function && !searched.done() && few_seeds()) return keep ? kept_sweep() : swept();
  if (keep) {
    searched([this] {
      structured = search(true);
      if (structured && structured->by_columns) {
        formed([this] { matrix = written<T>(*structured, full_shape()); });
        structured.reset();
      }
    });
  } else if (!searched.done()) {
    own = search(true);
  }
  if (own) return written<T>(*own, full_shape());
  if (searched.done() && structured) return written<T>(*structured, full_shape());
  if (formed.done()) return matrix;
  return keep ? kept_sweep() : swept();
}

template <Real T>
const Tensor<T>& Linearization<T>::kept_sweep() {
  formed([this] { matrix = swept(); });
  return matrix;
}

template <Real T>
bool Linearization<T>::few_seeds() const {
  const auto [batch, m, n] = blocks();
  const std::int64_t fewer = std::min(m, n);
  return wanted == Sweep::automatic && (fewer <= 2 || (fewer <= 16 && std::max(m, n) >= 4 * fewer));
}

template <Real T>
Sweep Linearization<T>::sweep() const {
  return choose(wanted, blocks().m, blocks().n);
}

template <Real T>
Tensor<T> Linearization<T>::swept() const {
  return sweep() == Sweep::forward ? swept_forward() : swept_reverse();
}

template <Real T>
Tensor<T> Linearization<T>::swept_forward() const {
  const std::int64_t n = blocks().n;
  Table seeds(function->recording().inputs());
  seeds[input] = (batched ? shared_seeds(n) : identity_seeds<T>(in)).handle();
  Handle result;
  forward(function->recording(), seeds, {&function->output.handle(), 1}, {&result, 1});
  if (!result) return zeros<T>(full_shape());
  if (batched) return transpose(Tensor<T>(std::move(result)), {1, 2, 0});
  return reshape(transpose(reshape(Tensor<T>(std::move(result)), {n, out.count()})), full_shape());
}

template <Real T>
Tensor<T> Linearization<T>::swept_reverse() const {
  Handle adjoint;
  if (function->recording().records_outside()) {
    function->swept([this] { function->adjoints = all_adjoints(); });
    adjoint = function->adjoints[input];
  } else {
    adjoint = std::move(all_adjoints()[input]);
  }
  if (!adjoint) return zeros<T>(full_shape());
  return batched ? transpose(Tensor<T>(std::move(adjoint)), {1, 0, 2})
                 : reshape(Tensor<T>(std::move(adjoint)), full_shape());
}

template <Real T>
Table Linearization<T>::all_adjoints() const {
  Table adjoints(function->recording().inputs());
  const Handle seeds = (batched ? shared_seeds(out[1]) : identity_seeds<T>(out)).handle();
  reverse(function->recording(), {&function->output.handle(), 1}, {&seeds, 1}, adjoints);
  return adjoints;
}

template <Real T>
Tensor<T> Linearization<T>::shared_seeds(std::int64_t size) const {
  return broadcast_to(reshape(eye<T>(size), {size, 1, size}), {size, out[0], size});
}

template <Real T>
Tensor<T> Linearization<T>::product(const Tensor<T>& v, bool transposed, const Caller& where) {
  require_same_shape(transposed ? "Jacobian::apply_transposed" : "Jacobian::apply", transposed ? "g" : "v", v.shape(),
                     transposed ? out : in, where);
  if (function) function->recording().require_open(where);
  if (searched.done() && structured) {
    return structured_product(*structured, v, transposed, transposed ? in : out, where);
  }
  return function ? swept_product(v, transposed, where) : matrix_product(v, transposed, where);
}

template <Real T>
Tensor<T> Linearization<T>::swept_product(const Tensor<T>& v, bool transposed, const Caller& where) const {
  Few<Handle, 2> of_inputs(function->recording().inputs());
  Handle result;
  const Handle &output = function->output.handle(), &direction = v.handle();
  if (transposed) {
    reverse(function->recording(), {&output, 1}, {&direction, 1}, of_inputs, where);
    result = std::move(of_inputs[input]);
  } else {
    of_inputs[input] = direction;
    forward(function->recording(), of_inputs, {&output, 1}, {&result, 1}, where);
  }
  return result ? Tensor<T>(std::move(result)) : zeros<T>(transposed ? in : out);
}

template <Real T>
Tensor<T> Linearization<T>::matrix_product(const Tensor<T>& v, bool transposed, const Caller& where) const {
  const auto [batch, m, n] = blocks();
  const Tensor<T> J = reshape(matrix, {batch, m, n}, where);
  const Tensor<T> y = transposed ? strong_matmul(reshape(v, {batch, 1, m}, where), J)
                                 : strong_matmul(J, reshape(v, {batch, n, 1}, where));
  return reshape(y, transposed ? in : out, where);
}

template struct Linearization<float>;
template struct Linearization<double>;

}  // namespace tapegrad::detail
