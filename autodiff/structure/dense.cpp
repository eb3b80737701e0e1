// Terms as a matrix: written out, and multiplied by vectors. The kernels do it, or tensor operations where the result
// may be differentiated.

#include <algorithm>

#include "../kernels/kernels.hpp"
#include "../ops/internal.hpp"
#include "../ops/operands.hpp"
#include "terms.hpp"

namespace tapegrad::detail {

template <Real T>
Tensor<T> rows_of(const Handle& factor, const Blocks& blocks) {
  return reshape(Tensor<T>(factor), {blocks.batch, factor.shape().count() / blocks.batch});
}

namespace {

// The terms in the form that the kernels take, except for a matrix that is kept by its columns.
template <Real T>
class KernelTerms {
 public:
  explicit KernelTerms(const Structured& structured) {
    const Terms& terms = structured.terms;
    const Blocks& blocks = structured.blocks;
    std::int64_t outers = 0, bands = 0;
    for (const RankOne& term : terms.rank_ones()) outers_[outers++] = {elements(term.left), elements(term.right)};
    for (const Diagonal& term : terms.diagonals()) bands_[bands++] = {term.shift, elements(term.entries)};
    matrix_ = {.batch = blocks.batch,
               .m = blocks.m,
               .n = blocks.n,
               .outer = outers_,
               .outers = outers,
               .band = bands_,
               .bands = bands,
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

  kernels::OuterProduct<T> outers_[most_terms];
  kernels::Band<T> bands_[most_terms];
  Tensor<T> ones_;
  kernels::StructuredMatrix<T> matrix_;
};

bool has_columns(const Terms& terms) { return terms.matrix() && terms.matrix()->kind == Matrix::Kind::columns; }

bool traced(const Terms& terms) {
  const auto any = [](const auto& list, auto... member) {
    return std::any_of(list.begin(), list.end(), [=](const auto& term) { return ((term.*member).traced() || ...); });
  };
  const Matrix* matrix = terms.matrix();
  return any(terms.diagonals(), &Diagonal::entries) || any(terms.rank_ones(), &RankOne::left, &RankOne::right) ||
         (matrix && (matrix->left.traced() || matrix->columns.traced() || matrix->right.traced()));
}

// All terms except the matrix, by tensor operations.
template <Real T>
Tensor<T> traced_dense(const Structured& structured) {
  const Terms& terms = structured.terms;
  const Blocks& blocks = structured.blocks;
  const auto [batch, m, n] = blocks;
  Tensor<T> J = zeros<T>({batch, m, n});
  for (const RankOne& term : terms.rank_ones()) {
    J = J + mul0(reshape(Tensor<T>(term.left), {batch, m, 1}), reshape(Tensor<T>(term.right), {batch, 1, n}));
  }
  for (const Diagonal& term : terms.diagonals()) {
    const auto unit =
        made<T>({m, n}, "jacobian", {}, [rows = m, cols = n, shift = term.shift](T* out, std::int64_t size) {
          std::fill_n(out, size, T{0});
          for (std::int64_t i = std::max<std::int64_t>(0, -shift); i < std::min(rows, cols - shift); ++i) {
            out[i * cols + i + shift] = T{1};
          }
        });
    J = J + mul0(reshape(Tensor<T>(term.entries), {batch, m, 1}), unit);
  }
  return J;
}

template <Real T>
Tensor<T> traced_product(const Structured& structured, const Tensor<T>& v, bool transposed) {
  const Terms& terms = structured.terms;
  const Blocks& blocks = structured.blocks;
  Tensor<T> y = zeros<T>({blocks.batch, transposed ? blocks.n : blocks.m});
  for (const Diagonal& term : terms.diagonals()) {
    const Tensor<T> entries = rows_of<T>(term.entries, blocks);
    y = y + (transposed ? shifted(mul0(entries, v), -term.shift, blocks.n)
                        : mul0(entries, shifted(v, term.shift, blocks.m)));
  }
  for (const RankOne& term : terms.rank_ones()) {
    const Tensor<T> left = rows_of<T>(term.left, blocks), right = rows_of<T>(term.right, blocks);
    const Tensor<T>&along = transposed ? left : right, &across = transposed ? right : left;
    y = y + mul0(across, sum(mul0(along, v), -1, keep_dims));
  }
  return terms.matrix() ? y + matrix_product(*terms.matrix(), blocks, v, transposed) : y;
}

}  // namespace

template <Real T>
Tensor<T> written(const Structured& form, const Shape& shape) {
  const Terms& terms = form.terms;
  const Blocks& blocks = form.blocks;
  const bool by_tensors = traced(terms);
  Tensor<T> matrix;
  if (terms.matrix() && (by_tensors || has_columns(terms))) {
    matrix = reshape(transpose(columns_of<T>(*terms.matrix(), blocks, true), {1, 2, 0}), shape);
    if (terms.diagonals().empty() && terms.rank_ones().empty()) return matrix;
  }
  Tensor<T> J;
  if (by_tensors) {
    J = reshape(traced_dense<T>(form), shape);
  } else {
    const AtSite site("jacobian", {});
    const KernelTerms<T> kernel_terms(form);
    Array* out = allocate_like<T>(shape);
    kernels::kernels<T>().structured_dense(*kernel_terms, elements<T>(out));
    J = Tensor<T>(Handle(out));
    if (observed()) door.observer->value({"jacobian"}, *out);
  }
  return matrix.handle() ? J + matrix : J;
}

template <Real T>
Tensor<T> structured_product(const Structured& form, const Tensor<T>& v, bool transposed, const Shape& result,
                             const Caller& where) {
  if (v.traced() || traced(form.terms) || has_columns(form.terms)) {
    const auto [batch, m, n] = form.blocks;
    const Tensor<T> rows = reshape(v, {batch, transposed ? m : n}, where);
    return reshape(traced_product(form, rows, transposed), result, where);
  }
  const AtSite site("jacobian", where);
  const KernelTerms<T> terms(form);
  Array* out = allocate_like<T>(result);
  kernels::kernels<T>().structured_apply(*terms, transposed, v.data(), elements<T>(out));
  Tensor<T> product{Handle(out)};
  if (observed()) door.observer->value({"jacobian", where}, *out);
  return product;
}

template Tensor<float> rows_of(const Handle&, const Blocks&);
template Tensor<double> rows_of(const Handle&, const Blocks&);
template Tensor<float> written(const Structured&, const Shape&);
template Tensor<double> written(const Structured&, const Shape&);
template Tensor<float> structured_product(const Structured&, const Tensor<float>&, bool, const Shape&, const Caller&);
template Tensor<double> structured_product(const Structured&, const Tensor<double>&, bool, const Shape&, const Caller&);

}  // namespace tapegrad::detail
