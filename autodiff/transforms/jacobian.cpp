#include "../jacobian.hpp"

#include <algorithm>
#include <optional>
#include <ostream>
#include "../ops/internal.hpp"
#include "linearization.hpp"

namespace tapegrad {

namespace detail {
namespace {

template <Real T>
std::shared_ptr<Linearization<T>> linearization(const Shape& out, const Shape& in, bool batched) {
  return std::allocate_shared<Linearization<T>>(PoolAllocator<Linearization<T>>{}, out, in, batched);
}

}  // namespace
}  // namespace detail

template <Real T>
Jacobian<T>::Jacobian(const Tensor<T>& dense, const Shape& output, const Shape& input, bool batched, Caller where) {
  if (!dense.handle()) throw ValueError("Jacobian" + to_string(where) + ": the matrix has no value");
  const bool rows = output.rank() == 2 && input.rank() == 2 && output[0] == input[0];
  if (batched && !rows) {
    throw ShapeError("Jacobian" + to_string(where) + ": blocks are those of (batch, n) -> (batch, m), not of " +
                     to_string(input) + " -> " + to_string(output));
  }
  const Shape full = batched ? Shape{output[0], output[1], input[1]} : output.concat(input);
  detail::require_same_shape("Jacobian", "the matrix", dense.shape(), full, where);
  at_ = detail::linearization<T>(output, input, batched);
  at_->matrix = dense;
}

template <Real T>
const Tensor<T>& Jacobian<T>::value(Caller where) const& {
  if (!at_->function) {
    throw ValueError("Jacobian::value" + to_string(where) +
                     ": a Jacobian that was composed, or made of a matrix, has no point");
  }
  return at_->function->value;
}

template <Real T>
Tensor<T> Jacobian<T>::apply(const Tensor<T>& v, Caller where) const {
  const detail::AtLine line(where);
  return at_->product(v, false, where);
}
template <Real T>
Tensor<T> Jacobian<T>::apply_transposed(const Tensor<T>& g, Caller where) const {
  const detail::AtLine line(where);
  return at_->product(g, true, where);
}

template <Real T>
Tensor<T> Jacobian<T>::dense(Caller where) const {
  if (!at_->batched && at_->out.rank() + at_->in.rank() > Shape::max_rank) {
    throw ShapeError("Jacobian::dense" + to_string(where) + ": the matrix of " + to_string(at_->in) + " -> " +
                     to_string(at_->out) + " would have more than 8 axes; differentiate a function of vectors, which " +
                     "reshapes them");
  }
  const detail::AtLine line(where);
  return at_->function || at_->structured ? at_->dense() : at_->matrix;
}

template <Real T>
Tensor<T> Jacobian<T>::diagonal(Caller where) const {
  const auto [batch, m, n] = at_->blocks();
  if (m != n) {
    throw ShapeError("Jacobian::diagonal" + to_string(where) + ": the blocks are (" + std::to_string(m) + ", " +
                     std::to_string(n) + "), not square. " + explain());
  }
  const detail::AtLine line(where);
  std::optional<detail::Structured> own;
  const detail::Structured* form = at_->structure(own);
  if (!form || form->terms.matrix()) {
    return reshape(slice(reshape(dense(where), {batch, m * n}), 1, 0, m * n, n + 1), input_shape());
  }
  Tensor<T> sum = zeros<T>({batch, n});
  for (const detail::Diagonal& term : form->terms.diagonals()) {
    if (term.shift == 0) sum = sum + detail::rows_of<T>(term.entries, form->blocks);
  }
  for (const detail::RankOne& term : form->terms.rank_ones()) {
    sum = sum + mul0(detail::rows_of<T>(term.left, form->blocks), detail::rows_of<T>(term.right, form->blocks));
  }
  return reshape(sum, input_shape());
}

template <Real T>
std::int64_t Jacobian<T>::rank() const {
  std::optional<detail::Structured> own;
  const detail::Structured* form = at_->structure(own);
  const std::int64_t most = std::min(at_->blocks().m, at_->blocks().n);
  if (!form || form->terms.matrix()) return most;
  return std::min(most, static_cast<std::int64_t>(form->terms.rank_ones().size()));
}

template <Real T>
const Shape& Jacobian<T>::output_shape() const& {
  return at_->out;
}
template <Real T>
const Shape& Jacobian<T>::input_shape() const& {
  return at_->in;
}
template <Real T>
bool Jacobian<T>::batched() const {
  return at_->batched;
}

template <Real T>
Jacobian<T> Jacobian<T>::composed(const Jacobian& outer, const Jacobian& inner, const Caller& where) {
  if (outer.input_shape() != inner.output_shape() || outer.batched() != inner.batched()) {
    throw ShapeError("product of Jacobians" + to_string(where) + ": the outer one takes " +
                     to_string(outer.input_shape()) + (outer.batched() ? " by rows" : "") + ", the inner one gives " +
                     to_string(inner.output_shape()) + (inner.batched() ? " by rows" : ""));
  }
  const detail::AtLine line(where);
  const auto [batch, m, inside] = outer.at_->blocks();
  const std::int64_t n = inner.at_->blocks().n;
  const auto by_matrices = [&outer, &inner, &where, batch = batch, m = m, inside = inside, n] {
    const Tensor<T> J = detail::strong_matmul(reshape(outer.dense(where), {batch, m, inside}),
                                              reshape(inner.dense(where), {batch, inside, n}));
    const Shape full = outer.batched() ? J.shape() : outer.output_shape().concat(inner.input_shape());
    return Jacobian(reshape(J, full), outer.output_shape(), inner.input_shape(), outer.batched());
  };
  std::optional<detail::Structured> own_outer, own_inner;
  const detail::Structured *a = outer.at_->structure(own_outer), *b = inner.at_->structure(own_inner);
  if (!a || !b || a->terms.matrix() || b->terms.matrix()) return by_matrices();
  Jacobian product;
  product.at_ = detail::linearization<T>(outer.output_shape(), inner.input_shape(), outer.batched());
  detail::Structured form{{}, {batch, m, n}};
  for (const detail::Diagonal& d : a->terms.diagonals()) {
    const Tensor<T> entries = detail::rows_of<T>(d.entries, a->blocks);
    const auto scaled = [&, rows = m](const detail::Handle& factor) {
      const Tensor<T> moved = detail::shifted(detail::rows_of<T>(factor, b->blocks), d.shift, rows);
      return reshape(mul0(entries, moved), outer.output_shape()).handle();
    };
    for (const detail::Diagonal& e : b->terms.diagonals()) {
      form.terms.add(detail::Diagonal{d.shift + e.shift, scaled(e.entries)});
    }
    for (const detail::RankOne& e : b->terms.rank_ones()) form.terms.add(detail::RankOne{scaled(e.left), e.right});
  }
  for (const detail::RankOne& d : a->terms.rank_ones()) {
    const Tensor<T> right = inner.apply_transposed(reshape(Tensor<T>(d.right), inner.output_shape()), where);
    form.terms.add(detail::RankOne{d.left, right.handle()});
  }
  if (!detail::few(form.terms, form.blocks)) return by_matrices();
  product.at_->structured = std::move(form);
  product.at_->searched([] {});
  return product;
}

template <Real T>
std::ostream& operator<<(std::ostream& out, const Jacobian<T>& J) {
  return out << J.explain() << '\n' << J.dense();
}

namespace detail {

template <Real T>
Jacobians<T> jacobians(Recording recording, std::span<const Tensor<T>> outputs, const JacobianOptions& options,
                       const Caller& where, const BatchAxes& axes) {
  Jacobians<T> all;
  const bool batched = !axes.empty();
  const std::size_t inputs = recording.inputs();
  all.reserve(outputs.size() * inputs);
  const auto add = [&](const std::shared_ptr<Recorded<T>>& function, const Tensor<T>& y) {
    require_value("jacobian", y.handle(), where);
    function->value = Tensor<T>(function->recording().lift(y.handle()));
    function->output = y;
    for (std::size_t i = 0; i < inputs; ++i) {
      const Array& x = function->recording().input(i);
      if (x.dtype != dtype_of<T>) {
        throw ValueError("jacobian" + to_string(where) +
                         ": an argument is of another number type than the result; use vjp across types");
      }
      auto at = linearization<T>(y.shape(), x.shape, batched);
      at->function = function;
      at->input = i;
      at->wanted = options.sweep;
      at->axes = axes;
      Jacobian<T> J;
      J.at_ = std::move(at);
      all.push_back(std::move(J));
    }
  };
  if (outputs.empty()) return all;
  const PoolAllocator<Recorded<T>> pool;
  const auto first = std::allocate_shared<Recorded<T>>(pool, std::move(recording));
  add(first, outputs.front());
  for (const Tensor<T>& y : outputs.subspan(1)) add(std::allocate_shared<Recorded<T>>(pool, first), y);
  return all;
}

template <Real T>
Tensor<T> matrix_of(const Jacobians<T>& all, std::size_t inputs, std::size_t row, std::size_t rows, std::size_t column,
                    std::size_t columns, const Caller& where) {
  if (rows * columns == 0) throw ValueError("hessian" + to_string(where) + ": an argument holds no tensors");
  TensorList<T> parts;
  for (std::size_t i = row; i < row + rows; ++i) {
    TensorList<T> of_row;
    for (std::size_t j = column; j < column + columns; ++j) {
      const Jacobian<T>& J = all[i * inputs + j];
      of_row.push_back(reshape(J.dense(where), {J.output_shape().count(), J.input_shape().count()}, where));
    }
    parts.push_back(concatenate(std::span<const Tensor<T>>(of_row), 1, where));
  }
  return concatenate(std::span<const Tensor<T>>(parts), 0, where);
}

template <Real T>
Jacobian<T> blocks_jacobian(Recording recording, const Tensor<T>& x, const Tensor<T>& y, const JacobianOptions& options,
                            const Caller& where) {
  if (y.rank() != 2) {
    throw ShapeError("batch_jacobian" + to_string(where) + ": the function took " + to_string(x.shape()) + " to " +
                     to_string(y.shape()) + ", not to (batch, m); reduce with keep_dims");
  }
  const BatchAxes axes = separate_rows(recording, y.handle(), x.shape(), where);
  if (y.shape()[0] != x.shape()[0]) {
    throw ShapeError("batch_jacobian" + to_string(where) + ": the function took a batch of shape " +
                     to_string(x.shape()) + " to " + to_string(y.shape()) + ", which is another batch");
  }
  return jacobians<T>(std::move(recording), {&y, 1}, options, where, axes).front();
}

template <Real T>
void require_batch(const Tensor<T>& x, const Caller& where) {
  if (x.rank() != 2) {
    throw ShapeError("batch_jacobian" + to_string(where) + ": the argument has shape " + to_string(x.shape()) +
                     ", not (batch, n); use jacobian(f) for one point");
  }
}

template <class T>
using JacobiansOf = Jacobians<T>(Recording, std::span<const Tensor<T>>, const JacobianOptions&, const Caller&,
                                 const BatchAxes&);
template JacobiansOf<float> jacobians;
template JacobiansOf<double> jacobians;
template <class T>
using MatrixOf = Tensor<T>(const Jacobians<T>&, std::size_t, std::size_t, std::size_t, std::size_t, std::size_t,
                           const Caller&);
template MatrixOf<float> matrix_of;
template MatrixOf<double> matrix_of;
template <class T>
using BlocksOf = Jacobian<T>(Recording, const Tensor<T>&, const Tensor<T>&, const JacobianOptions&, const Caller&);
template BlocksOf<float> blocks_jacobian;
template BlocksOf<double> blocks_jacobian;
template void require_batch(const Tensor<float>&, const Caller&);
template void require_batch(const Tensor<double>&, const Caller&);

}  // namespace detail

template class Jacobian<float>;
template class Jacobian<double>;
template std::ostream& operator<<(std::ostream&, const Jacobian<float>&);
template std::ostream& operator<<(std::ostream&, const Jacobian<double>&);

}  // namespace tapegrad
