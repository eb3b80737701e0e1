#include "jacobian.hpp"

#include <algorithm>
#include <ostream>

#include "ops/common.hpp"

namespace tapegrad {

std::string to_string(Structure structure) {
  switch (structure) {
    case Structure::zero:
      return "zero";
    case Structure::diagonal:
      return "diagonal";
    case Structure::diagonal_plus_low_rank:
      return "diagonal plus low rank";
    case Structure::dense:
      break;
  }
  return "dense";
}

template <Real T>
Jacobian<T>::Jacobian(Tensor<T> dense, Shape output, Shape input, bool batched, Sweep used)
    : dense_(std::move(dense)), output_(output), input_(input), batched_(batched), used_(used) {}

template <Real T>
Tensor<T> Jacobian<T>::apply(const Tensor<T>& v, Where where) const {
  detail::require_same_shape("Jacobian::apply: v", v.shape(), input_, where);
  if (batched_) {
    const Tensor<T> column = reshape(v, {input_[0], input_[1], 1}, where);
    return reshape(matmul(dense_, column, where), output_, where);
  }
  const Tensor<T> matrix = reshape(dense_, {output_.count(), input_.count()}, where);
  return reshape(matmul(matrix, reshape(v, {input_.count()}, where), where), output_, where);
}

template <Real T>
Tensor<T> Jacobian<T>::apply_transposed(const Tensor<T>& g, Where where) const {
  detail::require_same_shape("Jacobian::apply_transposed: g", g.shape(), output_, where);
  if (batched_) {
    const Tensor<T> row = reshape(g, {output_[0], 1, output_[1]}, where);
    return reshape(matmul(row, dense_, where), input_, where);
  }
  const Tensor<T> matrix = reshape(dense_, {output_.count(), input_.count()}, where);
  return reshape(matmul(reshape(g, {output_.count()}, where), matrix, where), input_, where);
}

template <Real T>
std::int64_t Jacobian<T>::rank() const {
  if (batched_) return std::min(output_[1], input_[1]);
  return std::min(output_.count(), input_.count());
}

template <Real T>
std::string Jacobian<T>::explain() const {
  const std::string way =
      used_ == Sweep::forward ? "forward, one tangent per input" : "reverse, one adjoint per output";
  std::string text = "Jacobian of " + to_string(input_) + " -> " + to_string(output_) + ": dense";
  if (batched_) {
    text += ", " + std::to_string(dense_.shape()[0]) + " blocks (" + std::to_string(dense_.shape()[1]) + ", " +
            std::to_string(dense_.shape()[2]) + ") with seeds shared over the batch";
  }
  return text + "; swept " + way + ". apply and apply_transposed multiply by the matrix.";
}

template <Real T>
std::ostream& operator<<(std::ostream& out, const Jacobian<T>& J) {
  return out << J.explain() << '\n' << J.dense();
}

namespace detail {
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
Jacobian<T> dense_jacobian(const Recording& recording, const Tensor<T>& x, const Tensor<T>& y,
                           const JacobianOptions& options) {
  const Shape &in = x.shape(), &out = y.shape();
  const Shape full = out.concat(in);
  const Sweep sweep = choose(options.sweep, out.count(), in.count());
  const Handle output = y.handle();
  Handle result;
  if (sweep == Sweep::reverse) {
    const Handle seeds = identity_seeds<T>(out).handle();
    recording.reverse({&output, 1}, {&seeds, 1}, {&result, 1});
    return {result ? reshape(Tensor<T>(result), full) : zeros<T>(full), out, in, false, sweep};
  }
  const Handle seeds = identity_seeds<T>(in).handle();
  recording.forward({&seeds, 1}, {&output, 1}, {&result, 1});
  if (!result) return {zeros<T>(full), out, in, false, sweep};
  const Tensor<T> columns = reshape(Tensor<T>(result), {in.count(), out.count()});
  return {reshape(transpose(columns), full), out, in, false, sweep};
}

template <Real T>
Jacobian<T> dense_batch_jacobian(const Recording& recording, const Tensor<T>& x, const Tensor<T>& y,
                                 const JacobianOptions& options, const Where& where) {
  if (y.rank() != 2) {
    throw ShapeError("batch_jacobian" + to_string(where) + ": the function took " + to_string(x.shape()) + " to " +
                     to_string(y.shape()) + ", not to (batch, m)");
  }
  recording.require_separate_rows(y.handle(), x.shape(), where);
  const std::int64_t batch = x.shape()[0], n = x.shape()[1], m = y.shape()[1];
  const Sweep sweep = choose(options.sweep, m, n);
  const Handle output = y.handle();
  Handle result;
  // Row j of the identity, the same for every row of the batch.
  auto shared_seeds = [&](std::int64_t size) {
    return broadcast_to(reshape(eye<T>(size), {size, 1, size}), {size, batch, size}).handle();
  };
  if (sweep == Sweep::reverse) {
    const Handle seeds = shared_seeds(m);
    recording.reverse({&output, 1}, {&seeds, 1}, {&result, 1});
    if (result) return {transpose(Tensor<T>(result), {1, 0, 2}), y.shape(), x.shape(), true, sweep};
  } else {
    const Handle seeds = shared_seeds(n);
    recording.forward({&seeds, 1}, {&output, 1}, {&result, 1});
    if (result) return {transpose(Tensor<T>(result), {1, 2, 0}), y.shape(), x.shape(), true, sweep};
  }
  return {zeros<T>({batch, m, n}), y.shape(), x.shape(), true, sweep};
}

template <Real T>
void require_batch(const Tensor<T>& x, const Where& where) {
  if (x.rank() != 2) {
    throw ShapeError("batch_jacobian" + to_string(where) + ": the argument has shape " + to_string(x.shape()) +
                     ", not (batch, n); use jacobian(f) for one point");
  }
}

template Jacobian<float> dense_jacobian(const Recording&, const Tensor<float>&, const Tensor<float>&,
                                        const JacobianOptions&);
template Jacobian<double> dense_jacobian(const Recording&, const Tensor<double>&, const Tensor<double>&,
                                         const JacobianOptions&);
template Jacobian<float> dense_batch_jacobian(const Recording&, const Tensor<float>&, const Tensor<float>&,
                                              const JacobianOptions&, const Where&);
template Jacobian<double> dense_batch_jacobian(const Recording&, const Tensor<double>&, const Tensor<double>&,
                                               const JacobianOptions&, const Where&);
template void require_batch(const Tensor<float>&, const Where&);
template void require_batch(const Tensor<double>&, const Where&);

}  // namespace detail

template class Jacobian<float>;
template class Jacobian<double>;
template std::ostream& operator<<(std::ostream&, const Jacobian<float>&);
template std::ostream& operator<<(std::ostream&, const Jacobian<double>&);

}  // namespace tapegrad
