#include "jacobian.hpp"

#include <algorithm>
#include <ostream>

#include "kernels/kernels.hpp"
#include "ops/common.hpp"

namespace tapegrad {

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

// The terms, but for a matrix kept by its columns, as the kernels take them.
template <Real T>
class KernelTerms {
 public:
  explicit KernelTerms(const Structured& structured) {
    const auto& [terms, blocks] = structured;
    for (const RankOne& term : terms.rank_ones()) {
      outers_.push_back({elements(term.left), elements(term.right)});
    }
    for (const Diagonal& term : terms.diagonals()) bands_.push_back({term.shift, elements(term.entries)});
    matrix_ = {.batch = blocks.batch,
               .m = blocks.m,
               .n = blocks.n,
               .outer = outers_.data(),
               .outers = static_cast<std::int64_t>(outers_.size()),
               .band = bands_.data(),
               .bands = static_cast<std::int64_t>(bands_.size()),
               .triangle = kernels::Triangle::none,
               .scale = {}};
    if (!terms.matrix() || terms.matrix()->kind == Matrix::Kind::columns) return;
    const Matrix& triangle = *terms.matrix();
    matrix_.triangle = triangle.kind == Matrix::Kind::lower ? kernels::Triangle::lower : kernels::Triangle::upper;
    if (!triangle.left || !triangle.right) ones_ = ones<T>({blocks.batch, std::max(blocks.m, blocks.n)});
    matrix_.scale = {elements(triangle.left ? triangle.left : ones_.handle()),
                     elements(triangle.right ? triangle.right : ones_.handle())};
  }
  const kernels::StructuredMatrix<T>& operator*() const { return matrix_; }

 private:
  static const T* elements(const Handle& handle) { return handle.array()->template as<T>(); }

  Terms::List<kernels::OuterProduct<T>> outers_;
  Terms::List<kernels::Band<T>> bands_;
  Tensor<T> ones_;
  kernels::StructuredMatrix<T> matrix_;
};

bool has_columns(const Terms& terms) { return terms.matrix() && terms.matrix()->kind == Matrix::Kind::columns; }

bool traced(const Terms& terms) {
  const auto any = [](const auto& list, auto... member) {
    return std::any_of(list.begin(), list.end(), [=](const auto& term) { return ((term.*member).traced() || ...); });
  };
  const auto& matrix = terms.matrix();
  return any(terms.diagonals(), &Diagonal::entries) || any(terms.rank_ones(), &RankOne::left, &RankOne::right) ||
         (matrix && (matrix->left.traced() || matrix->columns.traced() || matrix->right.traced()));
}

template <Real T>
Tensor<T> rows_of(const Handle& factor, const Blocks& blocks) {
  return reshape(Tensor<T>(factor), {blocks.batch, factor.shape().count() / blocks.batch});
}

// The terms but the matrix, by tensor operations.
template <Real T>
Tensor<T> traced_dense(const Structured& structured) {
  const auto& [terms, blocks] = structured;
  const auto [batch, m, n] = blocks;
  Tensor<T> J = zeros<T>({batch, m, n});
  for (const RankOne& term : terms.rank_ones()) {
    J = J + reshape(Tensor<T>(term.left), {batch, m, 1}) * reshape(Tensor<T>(term.right), {batch, 1, n});
  }
  for (const Diagonal& term : terms.diagonals()) {
    Tensor<T> unit = zeros<T>({m, n});
    for (std::int64_t i = std::max<std::int64_t>(0, -term.shift); i < std::min(m, n - term.shift); ++i) {
      unit.mutable_data()[i * n + i + term.shift] = T{1};
    }
    J = J + reshape(Tensor<T>(term.entries), {batch, m, 1}) * unit;
  }
  return J;
}

template <Real T>
Tensor<T> traced_product(const Structured& structured, const Tensor<T>& v, bool transposed) {
  const auto& [terms, blocks] = structured;
  Tensor<T> y = zeros<T>({blocks.batch, transposed ? blocks.n : blocks.m});
  for (const Diagonal& term : terms.diagonals()) {
    const Tensor<T> entries = rows_of<T>(term.entries, blocks);
    y = y + (transposed ? shifted(entries * v, -term.shift, blocks.n) : entries * shifted(v, term.shift, blocks.m));
  }
  for (const RankOne& term : terms.rank_ones()) {
    const Tensor<T> left = rows_of<T>(term.left, blocks), right = rows_of<T>(term.right, blocks);
    const Tensor<T>&along = transposed ? left : right, &across = transposed ? right : left;
    y = y + across * sum(along * v, -1, keep_dims);
  }
  return terms.matrix() ? y + matrix_product(*terms.matrix(), blocks, v, transposed) : y;
}

}  // namespace
}  // namespace detail

template <Real T>
Jacobian<T>::Jacobian(detail::Structured structured, Shape output, Shape input, bool batched)
    : structured_(std::move(structured)), output_(output), input_(input), batched_(batched) {}

template <Real T>
Jacobian<T>::Jacobian(Tensor<T> dense, Shape output, Shape input, bool batched, Sweep used)
    : dense_(std::move(dense)), output_(output), input_(input), batched_(batched), used_(used) {}

template <Real T>
detail::Blocks Jacobian<T>::blocks() const {
  if (batched_) return {output_[0], output_[1], input_[1]};
  return {1, output_.count(), input_.count()};
}

template <Real T>
Tensor<T> Jacobian<T>::applied(const Tensor<T>& v, bool transposed, const Where& where) const {
  const Shape &from = transposed ? output_ : input_, &to = transposed ? input_ : output_;
  detail::require_same_shape(transposed ? "Jacobian::apply_transposed: g" : "Jacobian::apply: v", v.shape(), from,
                             where);
  const auto [batch, m, n] = blocks();
  if (!structured_) {
    const Tensor<T> matrix = reshape(dense_, {batch, m, n}, where);
    const Tensor<T> y = transposed ? matmul(reshape(v, {batch, 1, m}, where), matrix, where)
                                   : matmul(matrix, reshape(v, {batch, n, 1}, where), where);
    return reshape(y, to, where);
  }
  const detail::Terms& terms = structured_->terms;
  if (v.traced() || detail::traced(terms) || detail::has_columns(terms)) {
    const Tensor<T> rows = reshape(v, {batch, transposed ? m : n}, where);
    return reshape(detail::traced_product(*structured_, rows, transposed), to, where);
  }
  const detail::KernelTerms<T> kernel_terms(*structured_);
  Tensor<T> y(detail::Handle(detail::allocate_like<T>(to)));
  kernels::kernels<T>().structured_apply(*kernel_terms, transposed, v.data(), y.mutable_data());
  return y;
}

template <Real T>
Tensor<T> Jacobian<T>::dense() const {
  if (!structured_) return dense_;
  const detail::Terms& terms = structured_->terms;
  const detail::Blocks blocks = structured_->blocks;
  const auto [batch, m, n] = blocks;
  const Shape full = batched_ ? Shape{batch, m, n} : output_.concat(input_);
  const bool by_tensors = detail::traced(terms);
  Tensor<T> J;
  if (by_tensors) {
    J = detail::traced_dense<T>(*structured_);
  } else {
    const detail::KernelTerms<T> kernel_terms(*structured_);
    J = Tensor<T>(detail::Handle(detail::allocate_like<T>({batch, m, n})));
    kernels::kernels<T>().structured_dense(*kernel_terms, J.mutable_data());
  }
  if (terms.matrix() && (by_tensors || detail::has_columns(terms))) {
    J = J + transpose(detail::columns_of<T>(*terms.matrix(), blocks, true), {1, 2, 0});
  }
  return reshape(J, full);
}

template <Real T>
Tensor<T> Jacobian<T>::diagonal(Where where) const {
  const auto [batch, m, n] = blocks();
  if (m != n) {
    throw ShapeError("Jacobian::diagonal" + to_string(where) + ": the blocks are (" + std::to_string(m) + ", " +
                     std::to_string(n) + "), not square. " + explain());
  }
  if (!structured_ || structured_->terms.matrix()) {
    return reshape(slice(reshape(dense(), {batch, m * n}), 1, 0, m * n, n + 1), input_);
  }
  Tensor<T> sum = zeros<T>({batch, n});
  for (const detail::Diagonal& term : structured_->terms.diagonals()) {
    if (term.shift == 0) sum = sum + detail::rows_of<T>(term.entries, structured_->blocks);
  }
  for (const detail::RankOne& term : structured_->terms.rank_ones()) {
    sum =
        sum + detail::rows_of<T>(term.left, structured_->blocks) * detail::rows_of<T>(term.right, structured_->blocks);
  }
  return reshape(sum, input_);
}

template <Real T>
Structure Jacobian<T>::structure() const {
  if (!structured_) return Structure::dense;
  const detail::Terms& terms = structured_->terms;
  if (terms.zero()) return Structure::zero;
  if (const auto& matrix = terms.matrix()) {
    const bool alone = terms.diagonals().empty() && terms.rank_ones().empty();
    return alone && matrix->constant && !matrix->left && !matrix->right ? Structure::constant : Structure::dense;
  }
  if (terms.rank_ones().empty()) return Structure::diagonal;
  return terms.diagonals().empty() ? Structure::low_rank : Structure::diagonal_plus_low_rank;
}

template <Real T>
std::int64_t Jacobian<T>::rank() const {
  const Structure form = structure();
  if (form == Structure::constant || form == Structure::dense) return std::min(blocks().m, blocks().n);
  return static_cast<std::int64_t>(structured_->terms.rank_ones().size());
}

template <Real T>
std::string Jacobian<T>::explain() const {
  const auto [batch, m, n] = blocks();
  std::string text = "Jacobian of " + to_string(input_) + " -> " + to_string(output_) + ": ";
  const std::string block = "(" + std::to_string(m) + ", " + std::to_string(n) + ")";
  text += batched_ ? std::to_string(batch) + " blocks " + block : "a matrix " + block;
  text += ", " + to_string(structure());
  if (!structured_) {
    return text + "; swept " +
           (used_ == Sweep::forward ? "forward, one tangent per input" : "in reverse, one adjoint per output") +
           (batched_ ? ", shared over the batch" : "") + ". apply and apply_transposed multiply by the matrix.";
  }
  const detail::Terms& terms = structured_->terms;
  if (!terms.rank_ones().empty()) text += " (rank " + std::to_string(terms.rank_ones().size()) + ")";
  if (const auto& matrix = terms.matrix(); matrix && structure() == Structure::dense) {
    text += ": the sum of ";
    if (!terms.diagonals().empty()) text += "a diagonal, ";
    text += matrix->kind != detail::Matrix::Kind::columns ? "a triangle of ones with its rows and columns scaled"
            : matrix->columns.shape()[1] == 1 && batched_
                ? "a matrix shared over the batch, its rows and columns scaled"
                : "a matrix";
  }
  return text +
         "; found in the recorded operations. apply and apply_transposed use that form, dense() writes the elements.";
}

template <Real T>
Jacobian<T> Jacobian<T>::composed(const Jacobian& outer, const Jacobian& inner) {
  if (outer.input_ != inner.output_ || outer.batched_ != inner.batched_) {
    throw ShapeError("the product of two Jacobians: the outer one takes " + to_string(outer.input_) +
                     (outer.batched_ ? " by rows" : "") + ", the inner one gives " + to_string(inner.output_) +
                     (inner.batched_ ? " by rows" : ""));
  }
  const auto [batch, m, inside] = outer.blocks();
  const std::int64_t n = inner.blocks().n;
  const auto simple = [](const Jacobian& J) { return J.structured_ && !J.structured_->terms.matrix(); };
  if (!simple(outer) || !simple(inner)) {
    const Tensor<T> J = matmul(reshape(outer.dense(), {batch, m, inside}), reshape(inner.dense(), {batch, inside, n}));
    const Shape full = outer.batched_ ? J.shape() : outer.output_.concat(inner.input_);
    return {reshape(J, full), outer.output_, inner.input_, outer.batched_, Sweep::automatic};
  }
  const detail::Terms &a = outer.structured_->terms, &b = inner.structured_->terms;
  detail::Structured product{{}, {batch, m, n}};
  for (const detail::Diagonal& d : a.diagonals()) {
    const Tensor<T> entries = detail::rows_of<T>(d.entries, outer.structured_->blocks);
    const auto scaled = [&](const detail::Handle& factor) {
      const Tensor<T> rows = detail::rows_of<T>(factor, inner.structured_->blocks);
      return reshape(entries * detail::shifted(rows, d.shift, m), outer.output_).handle();
    };
    for (const detail::Diagonal& e : b.diagonals()) {
      product.terms.add(detail::Diagonal{d.shift + e.shift, scaled(e.entries)});
    }
    for (const detail::RankOne& e : b.rank_ones()) product.terms.add(detail::RankOne{scaled(e.left), e.right});
  }
  for (const detail::RankOne& d : a.rank_ones()) {
    const Tensor<T> right = inner.apply_transposed(reshape(Tensor<T>(d.right), inner.output_));
    product.terms.add(detail::RankOne{d.left, right.handle()});
  }
  return {std::move(product), outer.output_, inner.input_, outer.batched_};
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

template <Real T>
Tensor<T> swept_forward(const Recording& recording, std::size_t input, const Shape& in, const Tensor<T>& y) {
  std::vector<Handle, PoolAllocator<Handle>> seeds(recording.inputs());
  seeds[input] = identity_seeds<T>(in).handle();
  Handle result;
  recording.forward(seeds, {&y.handle(), 1}, {&result, 1});
  const Shape full = y.shape().concat(in);
  if (!result) return zeros<T>(full);
  return reshape(transpose(reshape(Tensor<T>(result), {in.count(), y.size()})), full);
}

}  // namespace

template <Real T>
Jacobians<T> jacobians(const Recording& recording, std::size_t first, const TensorList<T>& x, const Tensor<T>& y,
                       const JacobianOptions& options) {
  Jacobians<T> all;
  all.reserve(x.size());
  std::vector<Handle, PoolAllocator<Handle>> adjoints;  // of one reverse sweep for all that need one
  for (std::size_t i = 0; i < x.size(); ++i) {
    const Shape &in = x[i].shape(), &out = y.shape();
    if (options.sweep == Sweep::automatic) {
      if (auto structured = recording.structure<T>(y.handle(), first + i, {})) {
        all.emplace_back(std::move(*structured), out, in, false);
        continue;
      }
    }
    const Sweep sweep = choose(options.sweep, out.count(), in.count());
    const Shape full = out.concat(in);
    if (sweep == Sweep::forward) {
      all.emplace_back(swept_forward(recording, first + i, in, y), out, in, false, sweep);
      continue;
    }
    if (adjoints.empty()) {
      adjoints.resize(recording.inputs());
      const Handle seeds = identity_seeds<T>(out).handle();
      recording.reverse({&y.handle(), 1}, {&seeds, 1}, adjoints);
    }
    const Handle& adjoint = adjoints[first + i];
    all.emplace_back(adjoint ? reshape(Tensor<T>(adjoint), full) : zeros<T>(full), out, in, false, sweep);
  }
  return all;
}

template <Real T>
Jacobian<T> blocks_jacobian(const Recording& recording, const Tensor<T>& x, const Tensor<T>& y,
                            const JacobianOptions& options, const Where& where) {
  if (y.rank() != 2) {
    throw ShapeError("batch_jacobian" + to_string(where) + ": the function took " + to_string(x.shape()) + " to " +
                     to_string(y.shape()) + ", not to (batch, m)");
  }
  const BatchAxes axes = recording.require_separate_rows(y.handle(), x.shape(), where);
  if (options.sweep == Sweep::automatic) {
    if (auto structured = recording.structure<T>(y.handle(), 0, axes)) {
      return {std::move(*structured), y.shape(), x.shape(), true};
    }
  }
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

template <class T>
using JacobiansOf = Jacobians<T>(const Recording&, std::size_t, const TensorList<T>&, const Tensor<T>&,
                                 const JacobianOptions&);
template JacobiansOf<float> jacobians;
template JacobiansOf<double> jacobians;
template <class T>
using BlocksOf = Jacobian<T>(const Recording&, const Tensor<T>&, const Tensor<T>&, const JacobianOptions&,
                             const Where&);
template BlocksOf<float> blocks_jacobian;
template BlocksOf<double> blocks_jacobian;
template void require_batch(const Tensor<float>&, const Where&);
template void require_batch(const Tensor<double>&, const Where&);

}  // namespace detail

template class Jacobian<float>;
template class Jacobian<double>;
template std::ostream& operator<<(std::ostream&, const Jacobian<float>&);
template std::ostream& operator<<(std::ostream&, const Jacobian<double>&);

}  // namespace tapegrad
