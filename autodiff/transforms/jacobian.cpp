#include "../jacobian.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <ostream>
#include "../ops/internal.hpp"
#include "../ops/operands.hpp"
#include "../structure/terms.hpp"
#include "../tape/nan_watch.hpp"

namespace tapegrad {

std::ostream& operator<<(std::ostream& out, Structure structure) { return out << to_string(structure); }

std::string to_string(Structure structure) {
  switch (structure) {
    case Structure::zero:
      return "zero";
    case Structure::diagonal:
      return "diagonal";
    case Structure::low_rank:
      return "low rank";
    case Structure::diagonal_plus_low_rank:
      return "diagonal plus low rank";
    case Structure::constant:
      return "constant";
    case Structure::dense:
      break;
  }
  return "dense";
}

namespace detail {
namespace {

using Table = std::vector<Handle, PoolAllocator<Handle>>;

Sweep choose(Sweep wanted, std::int64_t outputs, std::int64_t inputs) {
  if (wanted != Sweep::automatic) return wanted;
  return inputs < outputs ? Sweep::forward : Sweep::reverse;
}

// Done once, by whichever thread comes first; asking again costs a load.
class Once {
 public:
  bool done() const { return done_.load(std::memory_order_acquire); }
  template <class F>
  void operator()(F&& f) {
    if (done()) return;
    const std::lock_guard lock(mutex_);
    if (done()) return;
    f();
    done_.store(true, std::memory_order_release);
  }

 private:
  std::atomic<bool> done_{false};
  std::mutex mutex_;
};

}  // namespace

// A recorded function, which the Jacobians by its inputs share.
template <Real T>
struct Recorded {
  std::shared_ptr<const Recording> recording;  // which the outputs of one function share
  Tensor<T> output;                            // in its scope
  Tensor<T> value;                             // as the scope around it sees it
  // The adjoints of all inputs, behind one seed for each element of the output.
  Once swept;
  Table adjoints;
};

template <Real T>
struct Linearization {
  std::shared_ptr<Recorded<T>> function;  // none where it was made of terms or of a matrix
  std::size_t input = 0;
  Shape out, in;
  bool batched = false;
  BatchAxes axes = {};
  Sweep wanted = Sweep::automatic;

  // What is found is kept, but for what is recorded in a scope that may close before this one is used again.
  Once searched, formed;
  std::optional<Structured> structured;
  Tensor<T> matrix;

  Blocks blocks() const {
    if (batched) return {out[0], out[1], in[1]};
    return {1, out.count(), in.count()};
  }
  Shape full_shape() const { return batched ? Shape{out[0], out[1], in[1]} : out.concat(in); }

  std::optional<Structured> search(bool columns_allowed, Lost* lost = nullptr) const {
    // Sweeps know the lines that debug_nans() names.
    if (!function || wanted != Sweep::automatic || nan_watch()) return std::nullopt;
    return detail::structure<T>(*function->recording, function->output.handle(), input, axes, columns_allowed, lost);
  }

  // Null where there is no structure. `own` holds what is not kept.
  const Structured* structure(std::optional<Structured>& own) {
    if (function && !searched.done() && !function->recording->records_outside()) {
      own = search(false);
      return own ? &*own : nullptr;
    }
    searched([this] { structured = search(false); });
    return structured ? &*structured : nullptr;
  }

  Tensor<T> dense() {
    const bool keep = !function || function->recording->records_outside();
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

  const Tensor<T>& kept_sweep() {
    formed([this] { matrix = swept(); });
    return matrix;
  }

  // So few, of a matrix that can hardly be a diagonal and a few terms, that to look for structure costs more.
  bool few_seeds() const {
    const auto [batch, m, n] = blocks();
    const std::int64_t fewer = std::min(m, n);
    return wanted == Sweep::automatic && (fewer <= 2 || (fewer <= 16 && std::max(m, n) >= 4 * fewer));
  }

  Sweep sweep() const { return choose(wanted, blocks().m, blocks().n); }

  Tensor<T> swept() const { return sweep() == Sweep::forward ? swept_forward() : swept_reverse(); }

  Tensor<T> swept_forward() const {
    const std::int64_t n = blocks().n;
    Table seeds(function->recording->inputs());
    seeds[input] = (batched ? shared_seeds(n) : identity_seeds(in)).handle();
    Handle result;
    forward(*function->recording, seeds, {&function->output.handle(), 1}, {&result, 1});
    if (!result) return zeros<T>(full_shape());
    if (batched) return transpose(Tensor<T>(result), {1, 2, 0});
    return reshape(transpose(reshape(Tensor<T>(result), {n, out.count()})), full_shape());
  }

  Tensor<T> swept_reverse() const {
    Handle adjoint;
    if (function->recording->records_outside()) {
      function->swept([this] { function->adjoints = all_adjoints(); });
      adjoint = function->adjoints[input];
    } else {
      adjoint = std::move(all_adjoints()[input]);
    }
    if (!adjoint) return zeros<T>(full_shape());
    return batched ? transpose(Tensor<T>(adjoint), {1, 0, 2}) : reshape(Tensor<T>(adjoint), full_shape());
  }

  Table all_adjoints() const {
    Table adjoints(function->recording->inputs());
    const Handle seeds = (batched ? shared_seeds(out[1]) : identity_seeds(out)).handle();
    reverse(*function->recording, {&function->output.handle(), 1}, {&seeds, 1}, adjoints);
    return adjoints;
  }

  // The identity over `shape`, as seeds: shape + shape.
  static Tensor<T> identity_seeds(const Shape& shape) {
    return reshape(eye<T>(shape.count()), Shape{shape.count()}.concat(shape));
  }
  // Row j of the identity, the same for every row of the batch.
  Tensor<T> shared_seeds(std::int64_t size) const {
    return broadcast_to(reshape(eye<T>(size), {size, 1, size}), {size, out[0], size});
  }

  // J v or J^T v.
  Tensor<T> product(const Tensor<T>& v, bool transposed, const Caller& where) {
    require_same_shape(transposed ? "Jacobian::apply_transposed" : "Jacobian::apply", transposed ? "g" : "v", v.shape(),
                       transposed ? out : in, where);
    if (function) function->recording->require_open(where);
    if (searched.done() && structured) {
      return structured_product(*structured, v, transposed, transposed ? in : out, where);
    }
    return function ? swept_product(v, transposed, where) : matrix_product(v, transposed, where);
  }

  Tensor<T> swept_product(const Tensor<T>& v, bool transposed, const Caller& where) const {
    Table of_inputs(function->recording->inputs());
    Handle result;
    const Handle &output = function->output.handle(), &direction = v.handle();
    if (transposed) {
      reverse(*function->recording, {&output, 1}, {&direction, 1}, of_inputs, where);
      result = std::move(of_inputs[input]);
    } else {
      of_inputs[input] = direction;
      forward(*function->recording, of_inputs, {&output, 1}, {&result, 1}, where);
    }
    return result ? Tensor<T>(result) : zeros<T>(transposed ? in : out);
  }

  Tensor<T> matrix_product(const Tensor<T>& v, bool transposed, const Caller& where) const {
    const auto [batch, m, n] = blocks();
    const Tensor<T> J = reshape(matrix, {batch, m, n}, where);
    const Tensor<T> y = transposed ? strong_matmul(reshape(v, {batch, 1, m}, where), J)
                                   : strong_matmul(J, reshape(v, {batch, n, 1}, where));
    return reshape(y, transposed ? in : out, where);
  }
};

namespace {

template <Real T>
std::shared_ptr<Linearization<T>> linearization(const Shape& out, const Shape& in, bool batched) {
  auto made = std::allocate_shared<Linearization<T>>(PoolAllocator<Linearization<T>>{});
  made->out = out;
  made->in = in;
  made->batched = batched;
  return made;
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
const Tensor<T>& Jacobian<T>::value() const& {
  if (!at_->function)
    throw ValueError("Jacobian::value: a Jacobian that was composed, or made of a matrix, has no point");
  return at_->function->value;
}

template <Real T>
Tensor<T> Jacobian<T>::apply(const Tensor<T>& v, Caller where) const {
  return at_->product(v, false, where);
}
template <Real T>
Tensor<T> Jacobian<T>::apply_transposed(const Tensor<T>& g, Caller where) const {
  return at_->product(g, true, where);
}

template <Real T>
Tensor<T> Jacobian<T>::dense() const {
  return at_->function || at_->structured ? at_->dense() : at_->matrix;
}

template <Real T>
Tensor<T> Jacobian<T>::diagonal(Caller where) const {
  const auto [batch, m, n] = at_->blocks();
  if (m != n) {
    throw ShapeError("Jacobian::diagonal" + to_string(where) + ": the blocks are (" + std::to_string(m) + ", " +
                     std::to_string(n) + "), not square. " + explain());
  }
  std::optional<detail::Structured> own;
  const detail::Structured* form = at_->structure(own);
  if (!form || form->terms.matrix()) {
    return reshape(slice(reshape(dense(), {batch, m * n}), 1, 0, m * n, n + 1), input_shape());
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

namespace detail {
namespace {

Structure form_of(const Structured* form) {
  if (!form) return Structure::dense;
  const Terms& terms = form->terms;
  if (terms.zero()) return Structure::zero;
  if (const Matrix* matrix = terms.matrix()) {
    const bool alone = terms.diagonals().empty() && terms.rank_ones().empty();
    return alone && matrix->constant && !matrix->left && !matrix->right ? Structure::constant : Structure::dense;
  }
  if (terms.rank_ones().empty()) return Structure::diagonal;
  return terms.diagonals().empty() ? Structure::low_rank : Structure::diagonal_plus_low_rank;
}

}  // namespace
}  // namespace detail

template <Real T>
Structure Jacobian<T>::structure() const {
  std::optional<detail::Structured> own;
  return detail::form_of(at_->structure(own));
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
std::string Jacobian<T>::explain() const {
  std::optional<detail::Structured> own;
  const detail::Structured* form = at_->structure(own);
  const auto [batch, m, n] = at_->blocks();
  const Structure found = detail::form_of(form);
  const std::string block = "(" + std::to_string(m) + ", " + std::to_string(n) + ")";
  std::string text = "Jacobian of " + to_string(input_shape()) + " -> " + to_string(output_shape()) + ": " +
                     (batched() ? std::to_string(batch) + " blocks " + block : "a matrix " + block) + ", " +
                     to_string(found);
  if (!form && !at_->function) return text + "; given as a matrix, which products use.";
  if (!form) {
    detail::Lost lost;
    at_->search(false, &lost);
    const std::string ended = lost.operation
                                  ? std::string(" Structure ended at ") + lost.operation + to_string(lost.where) + '.'
                                  : std::string();
    return text + ": no structure was found. Products are sweeps; dense() sweeps " +
           (at_->sweep() == Sweep::forward ? "forward, one tangent per input" : "in reverse, one adjoint per output") +
           (batched() ? ", shared over the batch." : ".") +
           (!batched() && input_shape().rank() == 2
                ? " If the rows do not mix, batch_jacobian finds the structure of each."
                : "") +
           ended;
  }
  const detail::Terms& terms = form->terms;
  if (!terms.rank_ones().empty()) text += " (rank " + std::to_string(rank()) + ")";
  if (const detail::Matrix* matrix = terms.matrix(); matrix && found == Structure::dense) {
    text += terms.diagonals().empty() ? ": " : ": a diagonal and ";
    text += matrix->kind != detail::Matrix::Kind::columns ? "a triangle of ones"
            : matrix->constant                            ? "a constant matrix"
                                                          : "a matrix";
    if (matrix->left || matrix->right) text += ", its rows or columns scaled";
  }
  return text + "; found in " + (at_->function ? "the recorded operations" : "the structure of two Jacobians") +
         ". Products use that form, dense() writes the elements.";
}

template <Real T>
Jacobian<T> Jacobian<T>::composed(const Jacobian& outer, const Jacobian& inner, const Caller& where) {
  if (outer.input_shape() != inner.output_shape() || outer.batched() != inner.batched()) {
    throw ShapeError("product of Jacobians" + to_string(where) + ": the outer one takes " +
                     to_string(outer.input_shape()) + (outer.batched() ? " by rows" : "") + ", the inner one gives " +
                     to_string(inner.output_shape()) + (inner.batched() ? " by rows" : ""));
  }
  const auto [batch, m, inside] = outer.at_->blocks();
  const std::int64_t n = inner.at_->blocks().n;
  const auto by_matrices = [&outer, &inner, batch = batch, m = m, inside = inside, n] {
    const Tensor<T> J =
        detail::strong_matmul(reshape(outer.dense(), {batch, m, inside}), reshape(inner.dense(), {batch, inside, n}));
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
    const Tensor<T> right = inner.apply_transposed(reshape(Tensor<T>(d.right), inner.output_shape()));
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
                       const Caller& where, BatchAxes axes) {
  Jacobians<T> all;
  const bool batched = !axes.empty();
  const std::size_t inputs = recording.inputs();
  all.reserve(outputs.size() * inputs);
  const auto shared = std::allocate_shared<const Recording>(PoolAllocator<Recording>{}, std::move(recording));
  for (const Tensor<T>& y : outputs) {
    auto function = std::allocate_shared<Recorded<T>>(PoolAllocator<Recorded<T>>{});
    function->value = Tensor<T>(shared->lift(y.handle()));
    function->output = y;
    function->recording = shared;
    for (std::size_t i = 0; i < inputs; ++i) {
      const Array& x = shared->input(i);
      if (x.dtype != dtype_of<T>) {
        throw ValueError("jacobian" + to_string(where) +
                         ": an argument is of another number type than the result; use vjp across types");
      }
      auto at = linearization<T>(y.shape(), x.shape, batched);
      at->function = function;
      at->input = i;
      at->wanted = options.sweep;
      at->axes = std::move(axes);
      Jacobian<T> J;
      J.at_ = std::move(at);
      all.push_back(std::move(J));
    }
  }
  return all;
}

template <Real T>
Tensor<T> matrix_of(const Jacobians<T>& all, std::size_t inputs, std::size_t row, std::size_t rows, std::size_t column,
                    std::size_t columns, const Caller& where) {
  TensorList<T> parts;
  for (std::size_t i = row; i < row + rows; ++i) {
    TensorList<T> of_row;
    for (std::size_t j = column; j < column + columns; ++j) {
      const Jacobian<T>& J = all[i * inputs + j];
      of_row.push_back(reshape(J.dense(), {J.output_shape().count(), J.input_shape().count()}, where));
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
  BatchAxes axes = separate_rows(recording, y.handle(), x.shape(), where);
  if (y.shape()[0] != x.shape()[0]) {
    throw ShapeError("batch_jacobian" + to_string(where) + ": the function took a batch of shape " +
                     to_string(x.shape()) + " to " + to_string(y.shape()) + ", which is another batch");
  }
  return jacobians<T>(std::move(recording), {&y, 1}, options, where, std::move(axes)).front();
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
                                 BatchAxes);
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
