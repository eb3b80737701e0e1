#pragma once
// Full Jacobians and Hessians, and what is known about their form.
//
//     auto f = [](const Tensor<>& z) { auto e = exp(z); return e / sum(e, -1, keep_dims); };   // softmax, by hand
//     auto J = jacobian(f)(z);
//     J.structure() == Structure::diagonal_plus_low_rank;  J.rank() == 1;        // found, not told
//     Tensor<> delta = J.apply_transposed(g);   // J^T g, in O(n); not J g: they differ where J is not symmetric
//     J.dense();                                // output shape, then input shape: (i, j) = df_i / dz_j
//     auto B = batch_jacobian(f)(Z);            // (batch, n) -> (batch, m): blocks (batch, m, n)
//     jacobian(g)(y) * J;                       // the chain rule
//
// A Jacobian is the recorded function together with its point: J v and J^T g are sweeps, at the cost of jvp and vjp.
// Its form is found when structure() or dense() asks for it (structure/terms.hpp says how); from then on products use
// it. Only dense() forms the matrix.

#include <iosfwd>
#include <memory>
#include <span>
#include <string>

#include "transforms.hpp"

namespace tapegrad {

/// What is known about the form of a Jacobian, or of each block if it has several. It follows from the operations and
/// never from the numbers. `diagonal` is a sum of diagonals: the main one or, after concatenate and slice, others.
/// `constant` is the matrix of one product with a constant matrix, which all blocks share.
enum class Structure { zero, diagonal, low_rank, diagonal_plus_low_rank, constant, dense };
/// "diagonal plus low rank", ...
TAPEGRAD_EXPORT std::string to_string(Structure structure);
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, Structure structure);

/// How a Jacobian is found: `automatic` carries structure through the records and sweeps only if there is none, in the
/// direction with fewer seeds; the others always sweep.
enum class Sweep { automatic, forward, reverse };

struct JacobianOptions {
  Sweep sweep = Sweep::automatic;
};

template <Real T = double>
class Jacobian;

namespace detail {

template <Real T>
struct Linearization;
template <Real T>
using Jacobians = std::vector<Jacobian<T>, PoolAllocator<Jacobian<T>>>;

/// The Jacobians of y by every input of the recording; with `axes`, which describe its only input, block by block.
/// Throws ValueError if the type of an input differs from that of y.
template <Real T>
TAPEGRAD_EXPORT Jacobians<T> jacobians(Recording recording, std::span<const Tensor<T>> outputs,
                                       const JacobianOptions& options, const Caller& where, const BatchAxes& axes = {});

/// A Jacobian in a product, with the line of it.
template <Real T>
struct Factor {
  Factor(const Jacobian<T>& jacobian, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : J(jacobian), where{file, line} {}
  const Jacobian<T>& J;
  Caller where;
};

}  // namespace detail

/// The derivative of one tensor by another at a point: a linear map, with its form and its matrix on demand. It is
/// traced if the point is on a tape, so that it can be differentiated again. Copies share what has been found. It keeps
/// the records of its function, as a pullback does: if they were made inside another differentiated function, it throws
/// TapeError after that function has returned.
template <Real T>
class TAPEGRAD_EXPORT Jacobian {
 public:
  /// The Jacobian with the elements dense (output..., input...) or, if `batched`, the blocks (batch, m, n). Throws
  /// ShapeError.
  Jacobian(const Tensor<T>& dense, const Shape& output, const Shape& input, bool batched = false,
           Caller where = Caller::here());

  // Moving copies, so that a Jacobian is never empty.
  Jacobian(const Jacobian&) = default;
  Jacobian& operator=(const Jacobian&) = default;

  /// f at the point. Throws ValueError if there is none: for a product of Jacobians, or a Jacobian made from a matrix.
  const Tensor<T>& value(Caller where = Caller::here()) const&;
  Tensor<T> value(Caller where = Caller::here()) const&& { return static_cast<const Jacobian&>(*this).value(where); }
  /// J v. v has the shape of the input, and the result that of the output. Throws ShapeError.
  Tensor<T> apply(const Tensor<T>& v, Caller where = Caller::here()) const;
  /// J^T g. g has the shape of the output, and the result that of the input. Throws ShapeError.
  Tensor<T> apply_transposed(const Tensor<T>& g, Caller where = Caller::here()) const;
  /// The matrix, with the output's axes followed by the input's, or (batch, m, n). If there is structure, each call
  /// writes it anew, and each element is accurate to a few ulp of the largest term of its row. Throws ShapeError for
  /// more than 8 axes.
  Tensor<T> dense(Caller where = Caller::here()) const;
  /// The elements J(i, i), in the shape of the input. Throws ShapeError, which describes J, if the blocks are not
  /// square.
  Tensor<T> diagonal(Caller where = Caller::here()) const;

  Structure structure() const;
  /// An upper bound of the rank, apart from diagonals: the number of rank-one terms, or min(m, n) if that is less or
  /// there is a matrix.
  std::int64_t rank() const;
  const Shape& output_shape() const&;
  Shape output_shape() const&& { return static_cast<const Jacobian&>(*this).output_shape(); }
  const Shape& input_shape() const&;
  Shape input_shape() const&& { return static_cast<const Jacobian&>(*this).input_shape(); }
  bool batched() const;
  /// A description: the shapes, the form that was found, and what it means for apply and dense; if no form was found,
  /// the operation and line at which the structure ended.
  std::string explain() const;

  /// The chain rule: the Jacobian of outer(inner(x)). Diagonal and low-rank forms are preserved. Throws ShapeError
  /// unless the shapes in between agree and either both have blocks or neither has.
  friend Jacobian operator*(const detail::Factor<T>& outer, const detail::Factor<T>& inner) {
    return composed(outer.J, inner.J, outer.where);
  }

 private:
  template <Real U>
  friend detail::Jacobians<U> detail::jacobians(detail::Recording, std::span<const Tensor<U>>, const JacobianOptions&,
                                                const Caller&, const detail::BatchAxes&);
  Jacobian() = default;
  static Jacobian composed(const Jacobian& outer, const Jacobian& inner, const Caller& where);

  std::shared_ptr<detail::Linearization<T>> at_;
};

template <Real T>
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, const Jacobian<T>& J);

/// Does not compile, and says why.
template <Real T, class U>
auto operator*(const Jacobian<T>&, const Tensor<U>& v) {
  static_assert(detail::never<U>,
                "the product of a Jacobian with a tensor is J.apply(v), that of J^T J.apply_transposed(g)");
  return v;
}

extern template class Jacobian<float>;
extern template class Jacobian<double>;

namespace detail {

template <Real T>
TAPEGRAD_EXPORT Jacobian<T> blocks_jacobian(Recording recording, const Tensor<T>& x, const Tensor<T>& y,
                                            const JacobianOptions& options, const Caller& where);
template <Real T>
TAPEGRAD_EXPORT void require_batch(const Tensor<T>& x, const Caller& where);

template <std::size_t... I, class F, class... Args>
auto jacobian_of(F& f, const JacobianOptions& options, const Caller& where, const Args&... args) {
  const std::tuple<const Args&...> arguments(args...);
  Scope scope(where);
  std::array<std::size_t, sizeof...(Args)> first{};
  auto y = call_traced<Indices<I...>>(scope, f, arguments, std::index_sequence_for<Args...>{}, &first);
  using Y = std::remove_cvref_t<decltype(y)>;
  static_assert(is_real_tensor<Y>, "jacobian needs a function that gives a Tensor<float> or Tensor<double>");
  using Value = typename Y::value_type;
  const auto all = jacobians<Value>(scope.close(), {&y, 1}, options, where);
  const auto of = [&]<class P>(std::size_t begin, const P& argument) {
    if constexpr (is_real_tensor<P>) {
      static_assert(std::is_same_v<P, Y>,
                    "jacobian needs a function that gives a tensor of its argument's own type; use vjp across types");
      return all[begin];
    } else {
      const auto from = all.begin() + static_cast<std::ptrdiff_t>(begin);
      return Jacobians<Value>(from, from + static_cast<std::ptrdiff_t>(tensors_in(argument)));
    }
  };
  return one_or_tuple(std::tuple(of(first[I], std::get<I>(arguments))...));
}

/// One matrix (m, n) of rows of Jacobians, each flattened to a matrix: those of the outputs from `row` on, `rows` of
/// them, by the inputs from `column` on.
template <Real T>
TAPEGRAD_EXPORT Tensor<T> matrix_of(const Jacobians<T>& all, std::size_t inputs, std::size_t row, std::size_t rows,
                                    std::size_t column, std::size_t columns, const Caller& where);

/// The block of a Hessian by arguments a and b, whose tensors' Jacobians begin at this row and column of all.
template <Real T, class A, class B>
Tensor<T> hessian_block(const Jacobians<T>& all, std::size_t inputs, std::size_t row, const A& a, std::size_t column,
                        const B& b, const Caller& where) {
  if constexpr (is_real_tensor<A> && is_real_tensor<B>) {
    return all[row * inputs + column].dense(where);
  } else {
    const Tensor<T> matrix = matrix_of(all, inputs, row, tensors_in(a), column, tensors_in(b), where);
    const auto shape = [&matrix]<class P>(const P& p, int axis) {
      if constexpr (is_real_tensor<P>)
        return p.shape();
      else
        return Shape{matrix.shape()[axis]};
    };
    return reshape(matrix, shape(a, 0).concat(shape(b, 1)), where);
  }
}

/// The Jacobians of the gradients by each other's arguments. Gradients share a recording, so what is swept for one
/// block of a row is there for the others.
template <std::size_t... I, class F, class... Args>
auto hessian_of(F& f, const Caller& where, const Args&... args) {
  const std::tuple<const Args&...> arguments(args...);
  const auto derive = [&](const auto&... traced) { return value_and_gradients<I...>("hessian", f, where, traced...); };
  Scope scope(where);
  std::array<std::size_t, sizeof...(Args)> first{};
  auto [value, gradients] =
      call_traced<Indices<I...>>(scope, derive, arguments, std::index_sequence_for<Args...>{}, &first);
  using T = typename std::remove_cvref_t<decltype(loss_of(value))>::value_type;
  TensorList<T> outputs;
  for_each_tensor(gradients, [&outputs]<class U>(const Tensor<U>& g) {
    static_assert(std::is_same_v<decltype(outputs), TensorList<U>>, "hessian needs tensors of the result's type");
    outputs.push_back(g);
  });
  const Jacobians<T> all = jacobians<T>(scope.close(), outputs, {}, where);
  std::size_t next = 0;
  const auto row_of = [&](const auto& a) {
    const std::size_t row = std::exchange(next, next + tensors_in(a));
    return one_or_tuple(
        std::tuple(hessian_block(all, outputs.size(), row, a, first[I], std::get<I>(arguments), where)...));
  };
  return one_or_tuple(std::tuple{row_of(std::get<I>(arguments))...});  // from left to right
}

}  // namespace detail

/// The Jacobian of a function whose result is a tensor. The template arguments are the numbers of the arguments to
/// differentiate by, by default the first; several give a tuple in their order. For an argument that holds several
/// tensors (see parameters.hpp) it is a vector of Jacobians, in the order of the tensors. Throws ValueError unless all
/// tensors have the type of the result.
template <std::size_t... I, class F>
auto jacobian(F f, JacobianOptions options = {}, Caller where = Caller::here()) {
  return [f = std::move(f), options, where](const auto&... args) {
    if constexpr (sizeof...(I) == 0)
      return detail::jacobian_of<0>(f, options, where, args...);
    else
      return detail::jacobian_of<I...>(f, options, where, args...);
  };
}

/// The Jacobians of a function that maps each row of (batch, n) separately to a row of (batch, m), for all rows at the
/// cost of one. That rows do not mix is proved from the record; throws RowMixingError, naming the operation and line
/// that mixes them.
template <class F>
auto batch_jacobian(F f, JacobianOptions options = {}, Caller where = Caller::here()) {
  return [f = std::move(f), options, where]<Real T>(const Tensor<T>& x) {
    detail::require_batch(x, where);
    detail::Scope scope(where);
    Tensor<T> y = f(Tensor<T>(scope.trace(x.handle())));
    return detail::blocks_jacobian(scope.close(), x, y, options, where);
  };
}

/// Throws RowMixingError, as batch_jacobian does, unless f maps each x[b] of x (batch, ...) separately to element b of
/// its result.
template <class F, Real T>
void require_separate_rows(F&& f, const Tensor<T>& x, Caller where = Caller::here()) {
  if (x.rank() == 0) throw ShapeError("require_separate_rows" + to_string(where) + ": a scalar has no rows");
  detail::Scope scope(where);
  const Tensor<T> y = f(Tensor<T>(scope.trace(x.handle())));
  detail::separate_rows(scope.close(), y.handle(), x.shape(), where);
}

/// Second derivatives of a function with a scalar result, the Jacobian of its gradient: (input..., input...). Template
/// arguments are the numbers of the arguments to differentiate, by default the first; of several it is a tuple of
/// tuples, of which std::get<1>(std::get<0>(H)) is d^2 f / da db, (a..., b...), where the first two are a and b. An
/// argument that holds several tensors (parameters.hpp lists which) counts as the vector of all their n elements, in
/// order: its own second derivatives are a matrix (n, n). All tensors are of the result's type. Throws TapeError when
/// the result is not a scalar, ShapeError for more than 8 axes.
template <std::size_t... I, class F>
auto hessian(F f, Caller where = Caller::here()) {
  return [f = std::move(f), where](const auto&... args) {
    if constexpr (sizeof...(I) == 0)
      return detail::hessian_of<0>(f, where, args...);
    else
      return detail::hessian_of<I...>(f, where, args...);
  };
}

}  // namespace tapegrad
