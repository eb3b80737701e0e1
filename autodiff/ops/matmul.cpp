// Matrix products. One primitive, product(op(a), op(b)) with op(x) = x or its transpose, is closed under derivatives:
// for C = A B, dA = dC B^T and dB = A^T dC (Giles, Collected matrix derivative results, 2008). Those are products of a
// chain rule, and therefore strong-zero products; the product that a user asks for is an ordinary one.

#include <algorithm>

#include "../kernels/blas.hpp"
#include "broadcast.hpp"
#include "internal.hpp"
#include "operands.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {
namespace {

enum class Zeros : std::uint8_t { plain, strong };

template <class T>
Tensor<T> product(const Tensor<T>& a, bool transpose_a, const Tensor<T>& b, bool transpose_b, const Caller& where,
                  Zeros zeros);
template <class T>
Tensor<T> strong_product(const Tensor<T>& a, bool transpose_a, const Tensor<T>& b, bool transpose_b,
                         const Caller& where) {
  return product(a, transpose_a, b, transpose_b, where, Zeros::strong);
}

template <class T>
struct MatmulPrimitive {
  static constexpr const char* name = "matmul";
  struct Attributes {
    bool transpose_a, transpose_b;
    Zeros zeros;
  };
  static std::string describe(const Attributes& a) {
    return std::string(a.transpose_a ? "a transposed" : "") + (a.transpose_a && a.transpose_b ? ", " : "") +
           (a.transpose_b ? "b transposed" : "");
  }

  static void evaluate(const Attributes& attributes, Operands in, Results out) {
    const bool transpose_a = attributes.transpose_a, transpose_b = attributes.transpose_b;
    const auto gemm = [strong = attributes.zeros == Zeros::strong](auto... arguments) {
      strong ? kernels::strong_gemm(arguments...) : kernels::gemm(arguments...);
    };
    const Array &x = *in[0], &y = *in[1];
    const Shape &result = out[0]->shape, batch = result.prefix(result.rank() - 2),
                batch_a = x.shape.prefix(x.shape.rank() - 2), batch_b = y.shape.prefix(y.shape.rank() - 2);
    const std::int64_t m = result.from_end(2), n = result.from_end(1), k = x.shape.from_end(transpose_a ? 2 : 1);
    T* c = elements<T>(out[0]);
    if (n == 1 && batch_a.count() == 1 && batch_b.count() == batch.count()) {
      // One matrix times many columns: the columns are the rows of one matrix.
      gemm(false, !transpose_a, batch.count(), m, k, y.as<T>(), x.as<T>(), T{0}, c);
    } else if (!transpose_a && batch_b.count() == 1 && batch_a.count() == batch.count()) {
      // One matrix for the whole batch: the rows of the batch are one tall matrix.
      gemm(false, transpose_b, batch.count() * m, n, k, x.as<T>(), y.as<T>(), T{0}, c);
    } else if (batch.count() != 0) {
      const Shape rows = batch.concat({1}), rows_a = batch_a.concat({1}), rows_b = batch_b.concat({1});
      const Loops<2> loops(rows, {&rows_a, &rows_b});
      loops.for_each_block([&](const auto& offset, std::int64_t at) {
        for (std::int64_t i = 0; i < loops.rows(); ++i) {
          for (std::int64_t j = 0; j < loops.cols(); ++j) {
            const std::int64_t ia = offset[0] + i * loops.row_stride(0) + (loops.steps(0) ? j : 0);
            const std::int64_t ib = offset[1] + i * loops.row_stride(1) + (loops.steps(1) ? j : 0);
            gemm(transpose_a, transpose_b, m, n, k, x.as<T>() + ia * m * k, y.as<T>() + ib * k * n, T{0},
                 c + (at + i * loops.cols() + j) * m * n);
          }
        }
      });
    }
  }
  static Reads reads(const Attributes&, std::size_t k) { return {.operands = k == 0 ? 0b10U : 0b01U}; }
  static Handle pullback(const Call& call, std::size_t k, const Handle& v) {
    const auto [ta, tb, zeros] = call.attributes<Attributes>();
    Tensor<T> g(v);
    if (k == 0) {
      const Tensor<T> b = call.operand<T>(1);
      return (ta ? strong_product(b, tb, g, true, call.where()) : strong_product(g, false, b, !tb, call.where()))
          .handle();
    }
    Tensor<T> a = call.operand<T>(0);
    if (a.rank() > 2 && !ta && call.operand_shape(1).rank() == 2 && g.shape() == call.output_shape()) {
      // One b for the whole batch: its rows are one tall matrix, which spares a product for each member of the batch.
      const std::int64_t rows = a.shape().count(0, a.rank() - 1);
      a = reshape(a, {rows, a.shape().back()}, call.where());
      g = reshape(g, {rows, g.shape().back()}, call.where());
    }
    return (tb ? strong_product(g, true, a, ta, call.where()) : strong_product(a, !ta, g, false, call.where()))
        .handle();
  }

  static Handle pushforward(const Call& call, std::size_t k, const Handle& v) {
    const auto [ta, tb, zeros] = call.attributes<Attributes>();
    const Tensor<T> t(v);
    return (k == 0 ? strong_product(t, ta, call.operand<T>(1), tb, call.where())
                   : strong_product(call.operand<T>(0), ta, t, tb, call.where()))
        .handle();
  }

  // The rows of op(a) and the columns of op(b) remain; the axis between them is summed over.
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    const auto [ta, tb, zeros] = call.attributes<Attributes>();
    BatchAxis common = 0;
    for (std::size_t k = 0; k < 2; ++k) {
      BatchAxis axis = axes[k];
      if (axis == 0) continue;
      if (axis <= 2) {
        if (k == 0 ? ta : tb) axis = static_cast<BatchAxis>(3 - axis);
        if (axis == (k == 0 ? 1 : 2)) return std::nullopt;
      }
      if (common != 0 && axis != common) return std::nullopt;
      common = axis;
    }
    return common;
  }

  // The same, without a copy or a sum of its own.
  static bool accumulate(const Call& call, std::size_t operand, Handle& v, bool, Handle& sum) {
    const Array &a = call.operand_array(0), &b = call.operand_array(1);
    const auto [ta, tb, zeros] = call.attributes<Attributes>();
    if (v.shape() != call.output_shape() || b.shape.rank() != 2 || (ta && a.shape.rank() != 2)) return false;
    const std::int64_t n = v.shape().back(), k = b.shape.from_end(tb ? 1 : 2),
                       m = v.shape().count(0, v.shape().rank() - 1);
    const T beta = sum ? T{1} : T{0};
    if (!sum) sum = Handle(allocate_like<T>(call.operand_shape(operand)));
    const T *x = a.as<T>(), *y = b.as<T>(), *g = v.array()->as<T>();
    T* out = elements<T>(sum.array());
    if (operand == 0 && !ta)
      kernels::strong_gemm(false, !tb, m, k, n, g, y, beta, out);
    else if (operand == 0)
      kernels::strong_gemm(tb, true, k, m, n, y, g, beta, out);
    else if (!tb)
      kernels::strong_gemm(!ta, false, k, n, m, x, g, beta, out);
    else
      kernels::strong_gemm(true, ta, n, k, m, g, x, beta, out);
    return true;
  }

  // A single row or column times the other operand, which is a matrix that all blocks share.
  static bool carry(Carry& carry) {
    const Call& call = carry.call;
    const Blocks &in = carry.in, &out = carry.out;
    const std::size_t k = carry.k, other = 1 - k;
    const Shape &own = call.operand_shape(k), &shape = call.operand_shape(other);
    const auto [ta, tb, zeros] = call.attributes<Attributes>();
    const bool row = k == 0 && !ta && own.back() == in.m, column = k == 1 && !tb && in.batch == 1 && own.back() == 1;
    if (own.rank() != 2 || shape.rank() != 2 || !(row || column) || in.m != in.n) return false;
    if (carry.diagonal().shift != 0) return false;
    const Tensor<T> matrix = call.operand<T>(other);
    const Tensor<T> columns = k == 0 ? (tb ? transpose(matrix) : matrix) : (ta ? matrix : transpose(matrix));
    return carry.add(Matrix{Matrix::Kind::columns,
                            {},
                            reshape(columns, {out.n, 1, out.m}).handle(),
                            carry.scale(),
                            !call.leads_to_input(other)});
  }
  static constexpr bool broadcasts = true;
};

[[noreturn]] void throw_inner(const Shape& a, bool ta, const Shape& b, bool tb, const Caller& where) {
  const bool fits = !ta && !tb && a.from_end(1) == b.from_end(1);
  throw ShapeError("matmul" + to_string(where) + ": inner sizes differ, " + to_string(a) + " x " + to_string(b) +
                   (!fits          ? ""
                    : b.rank() > 2 ? ". Did you mean matmul(a, matrix_transpose(b))?"
                                   : ". Did you mean matmul(a, transpose(b))?"));
}

template <class T>
Tensor<T> product(const Tensor<T>& a, bool transpose_a, const Tensor<T>& b, bool transpose_b, const Caller& where,
                  Zeros zeros) {
  const Array &x = value_of(a, "matmul", where), &y = value_of(b, "matmul", where);
  const std::int64_t m = x.shape.from_end(transpose_a ? 1 : 2), k = x.shape.from_end(transpose_a ? 2 : 1),
                     n = y.shape.from_end(transpose_b ? 2 : 1);
  if (k != y.shape.from_end(transpose_b ? 1 : 2)) throw_inner(x.shape, transpose_a, y.shape, transpose_b, where);
  const Shape batch_a = x.shape.prefix(x.shape.rank() - 2), batch_b = y.shape.prefix(y.shape.rank() - 2);
  for (std::int64_t back = 1; back <= std::min(batch_a.rank(), batch_b.rank()); ++back) {
    const std::int64_t size_a = batch_a.from_end(back), size_b = batch_b.from_end(back);
    if (size_a != size_b && size_a != 1 && size_b != 1) {
      throw ShapeError("matmul" + to_string(where) + ": the batches of " + to_string(x.shape) + " x " +
                       to_string(y.shape) + " do not broadcast: sizes " + std::to_string(size_a) + " and " +
                       std::to_string(size_b) + " of axis -" + std::to_string(back + 2));
    }
  }
  const Shape batch = batch_a == batch_b ? batch_a : broadcast(batch_a, batch_b, "matmul", where);
  Array* out = allocate_like<T>(batch.concat({m, n}));
  return Tensor<T>(
      apply<MatmulPrimitive<T>>({&a.handle(), &b.handle()}, out, where, {transpose_a, transpose_b, zeros}));
}

}  // namespace

template <Real T>
Tensor<T> strong_matmul(const Tensor<T>& a, const Tensor<T>& b) {
  return strong_product(a, false, b, false, {});
}
template Tensor<float> strong_matmul(const Tensor<float>&, const Tensor<float>&);
template Tensor<double> strong_matmul(const Tensor<double>&, const Tensor<double>&);

void list_matmul(std::vector<const Primitive*>& all) { all.insert(all.end(), {&primitive<MatmulPrimitive<double>>}); }

}  // namespace detail

template <Real T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, Caller where) {
  const Shape &x = detail::value_of(a, "matmul", where).shape, &y = detail::value_of(b, "matmul", where).shape;
  if (x.rank() == 0 || y.rank() == 0) {
    throw ShapeError("matmul" + to_string(where) + ": shapes " + to_string(x) + " x " + to_string(y) +
                     "; a scalar is multiplied with *");
  }
  if (x.rank() >= 2 && y.rank() >= 2) return detail::product(a, false, b, false, where, detail::Zeros::plain);
  // A vector counts as a row on the left and as a column on the right; the added axis is removed again.
  if (x.back() != y.from_end(y.rank() == 1 ? 1 : 2)) detail::throw_inner(x, false, y, false, where);
  const Tensor<T> row = x.rank() == 1 ? reshape(a, {1, x[0]}, where) : a;
  const Tensor<T> column = y.rank() == 1 ? reshape(b, {y[0], 1}, where) : b;
  const Tensor<T> c = detail::product(row, false, column, false, where, detail::Zeros::plain);
  Shape shape = c.shape().prefix(c.rank() - 2);
  if (x.rank() > 1) shape.push_back(c.shape().from_end(2));
  if (y.rank() > 1) shape.push_back(c.shape().from_end(1));
  return reshape(c, shape, where);
}

template Tensor<float> matmul(const Tensor<float>&, const Tensor<float>&, Caller);
template Tensor<double> matmul(const Tensor<double>&, const Tensor<double>&, Caller);

void set_num_threads(int count, Caller where) {
  if (count < 1) {
    throw ValueError("set_num_threads" + to_string(where) + ": " + std::to_string(count) + " threads; use 1 or more");
  }
  kernels::set_blas_threads(count);
}
int num_threads() { return kernels::blas_threads(); }

}  // namespace tapegrad
