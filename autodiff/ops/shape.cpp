// reshape, transpose, broadcast_to, astype: the same elements in other places or of another type.

#include <algorithm>

#include "../kernels/kernels.hpp"
#include "broadcast.hpp"
#include "internal.hpp"
#include "operands.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {
namespace {

// ------------------------------------------------------------------------------------------------ reshape

// Inserted axes of size 1: the first of them, counted from the end of the result, and their number.
struct NewAxes {
  std::uint8_t first = 0, count = 0;
};

// The batch axis survives if the numbers of elements before and after it do. If several axes of size 1 qualify it is
// the first, unless the record says which axes are new.
std::optional<BatchAxis> reshape_rows(const Call& call, std::span<const BatchAxis> axes) {
  const auto [first_new, new_axes] = call.attributes<NewAxes>();
  if (new_axes != 0) return static_cast<BatchAxis>(axes[0] + (axes[0] > first_new - new_axes ? new_axes : 0));
  const Shape &in = call.operand_shape(0), &out = call.output_shape();
  const std::int64_t at = in.rank() - axes[0];
  const std::int64_t before = in.count(0, at), after = in.count(at + 1, in.rank());
  for (std::int64_t i = 0; i < out.rank(); ++i) {
    if (out[i] == in[at] && out.count(0, i) == before && out.count(i + 1, out.rank()) == after) {
      return static_cast<BatchAxis>(out.rank() - i);
    }
  }
  return std::nullopt;
}

template <class T>
Tensor<T> reshaped(const Tensor<T>& x, const Shape& shape, const Caller& where, NewAxes axes = {});

template <class T>
struct ReshapePrimitive {
  static constexpr const char* name = "reshape";
  static constexpr Reads reads{};
  using Attributes = NewAxes;

  static Handle pullback(const Call& call, std::size_t, const Handle& v) {
    return reshaped(Tensor<T>(v), seeded(v, call.output_shape(), call.operand_shape(0)), call.where()).handle();
  }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) {
    return reshaped(Tensor<T>(v), seeded(v, call.operand_shape(0), call.output_shape()), call.where()).handle();
  }
  static constexpr auto rows = reshape_rows;
  static constexpr auto carry = carry_diagonal;
};

template <class T>
Tensor<T> reshaped(const Tensor<T>& x, const Shape& shape, const Caller& where, NewAxes axes) {
  Handle value(view(x.handle().array(), shape));
  if constexpr (!Real<T>) return Tensor<T>(std::move(value));
  const Handle* const operands[] = {&x.handle()};
  return Tensor<T>(record(primitive<ReshapePrimitive<T>>, std::move(value), operands, axes, where));
}

// ------------------------------------------------------------------------------------------------ transpose

// order[i] is the axis of x that becomes axis i of the result, where the last axis is 0. Seed axes stay in front.
using Order = std::array<std::int8_t, Shape::max_rank>;

template <class T>
void copy_transposed(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  if constexpr (Real<T>) {
    kernels::kernels<T>().transpose(x, y, rows, cols);
    return;
  }
  constexpr std::int64_t tile = 16;  // reads and writes stay within a few cache lines
  for (std::int64_t i0 = 0; i0 < rows; i0 += tile) {
    for (std::int64_t j0 = 0; j0 < cols; j0 += tile) {
      for (std::int64_t i = i0; i < std::min(i0 + tile, rows); ++i) {
        for (std::int64_t j = j0; j < std::min(j0 + tile, cols); ++j) y[j * rows + i] = x[i * cols + j];
      }
    }
  }
}

// Whether the last two axes change places and the others stay.
bool are_matrices(const Order& order, std::size_t rank) {
  bool matrices = rank >= 2 && order[0] == 1 && order[1] == 0;
  for (std::size_t i = 2; i < rank; ++i) matrices = matrices && order[i] == static_cast<std::int8_t>(i);
  return matrices;
}
template <class T>
void copy_matrices(const Array& x, Array* y) {
  const std::int64_t rows = x.shape.from_end(2), cols = x.shape.from_end(1), size = rows * cols;
  command(
      "transpose",
      [=, count = x.shape.count()](const T* from, T* to) {
        for (std::int64_t at = 0; at < count; at += size) copy_transposed(from + at, to + at, rows, cols);
      },
      in_of<T>(x), out_of<T>(y));
}

// y[i, j, ...] = x[...] with the axes in another order; written in the order of y.
class Permutation {
 public:
  Permutation(const Shape& in, const Shape& out, const Order& order) : rank_(rank_of(in)), count_(out.count()) {
    std::array<std::int64_t, Shape::max_rank> in_stride{};
    std::int64_t product = 1;
    for (std::size_t i = 0; i < rank_; ++i) {
      in_stride[i] = product;
      product *= in.from_end(i + 1);
      size_[i] = out.from_end(i + 1);
    }
    for (std::size_t i = 0; i < rank_; ++i) stride_[i] = in_stride[static_cast<std::size_t>(order[i])];
    // If the last axis stays last, whole rows are copied.
    moving_ = order[0] == 0 ? 1 : 0;
  }

  template <class T>
  void copy(const T* x, T* y) const {
    const std::int64_t run = moving_ ? size_[0] : 1;
    std::array<std::int64_t, Shape::max_rank> index{};
    std::int64_t from = 0;
    for (std::int64_t at = 0; at < count_; at += run) {
      std::copy_n(x + from, run, y + at);
      for (std::size_t i = moving_; i < rank_; ++i) {
        from += stride_[i];
        if (++index[i] < size_[i]) break;
        from -= stride_[i] * size_[i];
        index[i] = 0;
      }
    }
  }

 private:
  std::size_t rank_, moving_;
  std::int64_t count_;
  std::array<std::int64_t, Shape::max_rank> stride_{}, size_{};  // innermost first
};

template <class T>
Tensor<T> permute(const Tensor<T>& x, Order order, std::size_t axes, const Caller& where);

Order inverse(const Order& order, std::size_t axes) {
  Order result{};
  for (std::size_t i = 0; i < axes; ++i) result[static_cast<std::size_t>(order[i])] = static_cast<std::int8_t>(i);
  return result;
}

template <class T>
struct TransposePrimitive {
  static constexpr const char* name = "transpose";
  static constexpr Reads reads{};
  static constexpr bool differentiable = Real<T>;
  using Attributes = Order;
  static std::string describe(const Order& order) {
    std::string text = "order from the end";
    for (std::int8_t axis : order) text.append(" ").append(std::to_string(-axis - 1));
    return text;
  }

  static void evaluate(const Order& order, Operands x, Results y) {
    if (y[0]->shape.count() == 0) return;
    if (are_matrices(order, rank_of(x[0]->shape))) return copy_matrices<T>(*x[0], y[0]);
    command(
        "permute",
        [moved = Permutation(x[0]->shape, y[0]->shape, order)](const T* from, T* to) { moved.copy(from, to); },
        in_of<T>(*x[0]), out_of<T>(y[0]));
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) {
    const std::size_t axes = rank_of(call.output_shape());
    return permute(Tensor<T>(v), inverse(call.attributes<Order>(), axes), axes, call.where()).handle();
  }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) {
    return permute(Tensor<T>(v), call.attributes<Order>(), rank_of(call.output_shape()), call.where()).handle();
  }
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    const Order back = inverse(call.attributes<Order>(), rank_of(call.output_shape()));
    return static_cast<BatchAxis>(back[static_cast<std::size_t>(axes[0] - 1)] + 1);
  }
};

template <class T>
Tensor<T> permute(const Tensor<T>& x, Order order, std::size_t axes, const Caller& where) {
  const Array& in = value_of(x, "transpose", where);
  const std::size_t rank = rank_of(in.shape);
  for (std::size_t i = axes; i < rank; ++i) order[i] = static_cast<std::int8_t>(i);
  Shape shape = in.shape;
  for (std::size_t i = 0; i < rank; ++i) {
    shape[rank - 1 - i] = in.shape[rank - 1 - static_cast<std::size_t>(order[i])];
  }
  return Tensor<T>(apply<TransposePrimitive<T>>({&x.handle()}, allocate_like<T>(shape), where, order));
}

// ------------------------------------------------------------------------------------------------ broadcast_to

template <class T>
struct BroadcastPrimitive {
  static constexpr const char* name = "broadcast_to";
  static constexpr Reads reads{};
  static constexpr bool differentiable = Real<T>;

  static void evaluate(const NoAttributes&, Operands x, Results y) {
    const Shape &from = x[0]->shape, &to = y[0]->shape;
    if (to.count() == 0) return;
    if constexpr (Real<T>) {
      if (const std::optional<AxisView> along = repeated(from, to)) {
        return kernels::kernels<T>().spread(x[0]->as<T>(), elements<T>(y[0]), along->outer, along->count, along->inner,
                                            false);
      }
    }
    command(
        name,
        [loops = Loops<1>(to, {&from})](const T* in, T* out) {
          loops.for_each_block([&](const auto& offset, std::int64_t at) {
            for (std::int64_t i = 0; i < loops.rows(); ++i) {
              const T* row = in + offset[0] + i * loops.row_stride(0);
              T* end = out + at + i * loops.cols();
              if (loops.steps(0))
                std::copy_n(row, loops.cols(), end);
              else
                std::fill_n(end, loops.cols(), *row);
            }
          });
        },
        in_of<T>(*x[0]), out_of<T>(y[0]));
  }
  // The sweep itself sums an adjoint down and spreads a tangent out.
  static Handle same(const Call&, std::size_t, const Handle& v) { return v; }
  static constexpr auto pullback = same, pushforward = same;
  // A repeated row is no longer one row.
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    const auto axis = static_cast<std::size_t>(axes[0]);
    if (call.operand_shape(0).from_end(axis) != call.output_shape().from_end(axis)) return std::nullopt;
    return axes[0];
  }
  static constexpr bool broadcasts = true;
  static constexpr auto carry = carry_diagonal;
};

// ------------------------------------------------------------------------------------------------ astype

template <class To, class From>
struct AstypePrimitive {
  static constexpr const char* name = "astype";
  static constexpr Reads reads{};
  static constexpr bool differentiable = Real<To> && Real<From>;
  struct Attributes {
    Caller where;
  };

  static void evaluate(const Attributes& attributes, Operands x, Results y) {
    command(
        name,
        [where = attributes.where, n = x[0]->shape.count()](const From* from, To* to) {
          static_cast<void>(where);
          for (std::int64_t i = 0; i < n; ++i) {
            if constexpr (Real<From> && std::is_same_v<To, std::int64_t>) {
              // Outside this range the conversion is undefined.
              if (!(from[i] >= From(-0x1p63) && from[i] < From(0x1p63))) throw_no_integer(from[i], where);
            }
            to[i] = static_cast<To>(from[i]);
          }
        },
        in_of<From>(*x[0]), out_of<To>(y[0]));
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) { return converted<From, To>(call, v); }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) { return converted<To, From>(call, v); }
  static constexpr auto rows = rows_agree;

 private:
  template <class A, class B>
  static Handle converted(const Call& call, const Handle& v) {
    return astype<A>(Tensor<B>(v), call.where()).handle();
  }
  [[noreturn, gnu::cold]] static void throw_no_integer(From value, const Caller& where) {
    throw ValueError("astype" + to_string(where) + ": " + std::to_string(value) + " is no 64-bit integer");
  }
};

}  // namespace

void list_shape(std::vector<const Primitive*>& all) {
  all.insert(all.end(), {&primitive<ReshapePrimitive<double>>, &primitive<TransposePrimitive<double>>,
                         &primitive<BroadcastPrimitive<double>>, &primitive<AstypePrimitive<float, double>>});
}

template <Real T>
Tensor<T> insert_axes(const Tensor<T>& v, std::size_t from_end, std::size_t axes) {
  const std::size_t at = rank_of(v.shape()) + axes - from_end;
  Shape shape = v.shape().prefix(at);
  for (std::size_t i = 0; i < axes; ++i) shape.push_back(1);
  return reshaped(v, shape.concat(v.shape().suffix(at)), {},
                  {static_cast<std::uint8_t>(from_end), static_cast<std::uint8_t>(axes)});
}

template <class T>
Tensor<T> swap_axes(const Tensor<T>& x, std::size_t from_end, std::size_t other_from_end, const Caller& where) {
  Order order{};
  for (std::size_t i = 0; i < rank_of(x.shape()); ++i) order[i] = static_cast<std::int8_t>(i);
  std::swap(order[from_end - 1], order[other_from_end - 1]);
  return permute(x, order, rank_of(x.shape()), where);
}

template Tensor<float> insert_axes(const Tensor<float>&, std::size_t, std::size_t);
template Tensor<double> insert_axes(const Tensor<double>&, std::size_t, std::size_t);
template Tensor<float> swap_axes(const Tensor<float>&, std::size_t, std::size_t, const Caller&);
template Tensor<double> swap_axes(const Tensor<double>&, std::size_t, std::size_t, const Caller&);

}  // namespace detail

template <class T>
Tensor<T> reshape(const Tensor<T>& x, const Shape& shape, Caller where) {
  const Shape& from = detail::value_of(x, "reshape", where).shape;
  Shape to = shape;
  std::int64_t open = to.rank();
  std::int64_t known = 1;
  bool valid = true;
  for (std::int64_t i = 0; i < to.rank(); ++i) {
    if (to[i] == -1 && open == to.rank())
      open = i;
    else if (to[i] < 0 || __builtin_mul_overflow(known, to[i], &known))
      valid = false;
  }
  if (valid && open < to.rank()) {
    valid = known != 0 && from.count() % known == 0;
    if (valid) to[open] = from.count() / known;
  } else {
    valid = valid && known == from.count();
  }
  if (!valid) {
    throw ShapeError("reshape" + to_string(where) + ": " + std::to_string(from.count()) + " elements of shape " +
                     to_string(from) + " do not fit shape " + to_string(shape) +
                     "; sizes must not be negative, but for one -1");
  }
  return detail::reshaped(x, to, where);
}

namespace {

template <class T>
Tensor<T> swap_last_two(const Tensor<T>& x, const char* name, const Caller& where) {
  const Shape& shape = detail::value_of(x, name, where).shape;
  if (shape.rank() < 2) {
    throw ShapeError(name + to_string(where) + ": a tensor of shape " + to_string(shape) +
                     " has no two axes to exchange; reshape makes a row or a column of a vector");
  }
  return detail::swap_axes(x, 1, 2, where);
}

// All axes of a shape in reverse order, as a user would write them.
std::string reversed_axes(const Shape& shape) {
  std::string text = "{";
  for (std::int64_t axis = shape.rank(); axis-- > 0;) text += std::to_string(axis) + (axis > 0 ? ", " : "}");
  return text;
}

}  // namespace

template <class T>
Tensor<T> transpose(const Tensor<T>& x, Caller where) {
  const Shape& shape = detail::value_of(x, "transpose", where).shape;
  if (shape.rank() > 2) {
    throw ShapeError(
        "transpose" + to_string(where) + ": a tensor of shape " + to_string(shape) +
        " is no matrix; exchange its last two axes by matrix_transpose(x), or name all axes: transpose(x, " +
        reversed_axes(shape) + ") reverses them");
  }
  return swap_last_two(x, "transpose", where);
}

template <class T>
Tensor<T> matrix_transpose(const Tensor<T>& x, Caller where) {
  return swap_last_two(x, "matrix_transpose", where);
}

template <class T>
Tensor<T> transpose(const Tensor<T>& x, std::initializer_list<int> axes, Caller where) {
  const Shape& shape = detail::value_of(x, "transpose", where).shape;
  const std::size_t rank = detail::rank_of(shape);
  detail::Order order{};
  std::array<bool, Shape::max_rank> used{};
  std::size_t i = 0;
  for (int axis : axes) {
    const auto a = static_cast<std::size_t>(detail::normalize_axis(axis, shape.rank(), "transpose", shape, where));
    if (used[a] || i == rank) break;
    used[a] = true;
    order[rank - 1 - i++] = static_cast<std::int8_t>(rank - 1 - a);
  }
  if (i != rank || axes.size() != rank) {
    throw ShapeError("transpose" + to_string(where) + ": each of the " + std::to_string(rank) +
                     " axes of a tensor of shape " + to_string(shape) + " must be named once");
  }
  return detail::permute(x, order, rank, where);
}

template <class T>
Tensor<T> broadcast_to(const Tensor<T>& x, const Shape& shape, Caller where) {
  using namespace detail;
  const Array& in = value_of(x, "broadcast_to", where);
  if (in.shape == shape) return x;
  if (in.shape.rank() > shape.rank() || broadcast(in.shape, shape, "broadcast_to", where) != shape) {
    throw ShapeError("broadcast_to" + to_string(where) + ": shape " + to_string(in.shape) + " does not broadcast to " +
                     to_string(shape));
  }
  return Tensor<T>(apply<BroadcastPrimitive<T>>({&x.handle()}, allocate_like<T>(shape), where));
}

template <class To, class T>
Tensor<To> astype(const Tensor<T>& x, Caller where) {
  using namespace detail;
  if constexpr (std::is_same_v<To, T>) {
    return x;
  } else {
    Array* out = allocate_like<To>(value_of(x, "astype", where).shape);
    return Tensor<To>(apply<AstypePrimitive<To, T>>({&x.handle()}, out, where, {where}));
  }
}

namespace {

// Makes the functions above for every element type.
template <class T>
constexpr std::tuple functions(
    &reshape<T>, static_cast<Tensor<T> (*)(const Tensor<T>&, Caller)>(&transpose<T>),
    static_cast<Tensor<T> (*)(const Tensor<T>&, std::initializer_list<int>, Caller)>(&transpose<T>),
    &matrix_transpose<T>, &broadcast_to<T>, &astype<float, T>, &astype<double, T>, &astype<std::int64_t, T>,
    &astype<bool, T>);
[[gnu::used]] constexpr auto of_float = functions<float>;
[[gnu::used]] constexpr auto of_double = functions<double>;
[[gnu::used]] constexpr auto of_int64 = functions<std::int64_t>;
[[gnu::used]] constexpr auto of_bool = functions<bool>;

}  // namespace
}  // namespace tapegrad
