// reshape, transpose, broadcast_to, astype: the same elements, elsewhere or as another type.

#include <algorithm>

#include "../kernels/kernels.hpp"
#include "broadcast.hpp"
#include "internal.hpp"
#include "operands.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {

namespace {

[[noreturn, gnu::cold]] void throw_axis(int axis, int rank, const char* operation, const Shape& shape,
                                        const Where& where) {
  throw ShapeError(
      std::string(operation) + to_string(where) + ": axis " + std::to_string(axis) +
      " is out of range for a tensor of shape " + to_string(shape) +
      (rank == 0 ? ", which has no axes" : "; use " + std::to_string(-rank) + " to " + std::to_string(rank - 1)));
}

}  // namespace

std::size_t normalise_axis(int axis, std::size_t rank, const char* operation, const Shape& shape, const Where& where) {
  const int n = static_cast<int>(rank);
  if (axis < -n || axis >= n) throw_axis(axis, n, operation, shape, where);
  return static_cast<std::size_t>(axis < 0 ? axis + n : axis);
}

namespace {

[[noreturn, gnu::cold]] void throw_no_broadcast(const Shape& a, const Shape& b, std::size_t back, const char* operation,
                                                const Where& where) {
  throw ShapeError(std::string(operation) + to_string(where) + ": shapes " + to_string(a) + " and " + to_string(b) +
                   " do not broadcast: sizes " + std::to_string(a.from_end(back)) + " and " +
                   std::to_string(b.from_end(back)) + " of axis -" + std::to_string(back) + " differ and neither is 1");
}

}  // namespace

Shape broadcast(const Shape& a, const Shape& b, const char* operation, const Where& where) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape out = longer;
  for (std::size_t back = 1; back <= shorter.rank(); ++back) {
    std::int64_t& size = out[out.rank() - back];
    const std::int64_t other = shorter.from_end(back);
    if (size == other || other == 1) continue;
    if (size != 1) throw_no_broadcast(a, b, back, operation, where);
    size = other;
  }
  return out;
}

void throw_no_value(const char* operation, const Where& where) {
  throw ValueError(std::string(operation) + to_string(where) +
                   ": an operand has no value; it was default-constructed or moved from");
}

AxisView around(const Shape& shape, std::size_t first, std::size_t axes) {
  return {shape.count(0, first), shape.count(first, first + axes), shape.count(first + axes, shape.rank())};
}

std::optional<AxisView> repeated(const Shape& own, const Shape& full) {
  const std::size_t rank = full.rank(), added = rank - own.rank();
  std::size_t first = rank, end = rank;
  for (std::size_t i = 0; i < rank; ++i) {
    if (full[i] == 1 || (i >= added && own[i - added] == full[i])) continue;
    if (first == rank)
      first = i;
    else if (full.count(end, i) != 1)
      return std::nullopt;
    end = i + 1;
  }
  return around(full, first, end - first);
}

std::optional<BatchAxis> rows_agree(const Call&, std::span<const BatchAxis> axes) {
  BatchAxis common = 0;
  for (BatchAxis axis : axes) {
    if (axis == 0) continue;
    if (common != 0 && axis != common) return std::nullopt;
    common = axis;
  }
  return common;
}

namespace {

// ------------------------------------------------------------------------------------------------ reshape

// The batch axis stays one where the elements before and after it do. Of several of size 1 that is the first, unless
// the record says which axes are new.
std::optional<BatchAxis> reshape_rows(const Call& call, std::span<const BatchAxis> axes) {
  const int first_new = call.attributes().axes[0], new_axes = call.attributes().axes[1];
  if (new_axes != 0) return static_cast<BatchAxis>(axes[0] + (axes[0] > first_new - new_axes ? new_axes : 0));
  const Shape &in = call.operand_shape(0), &out = call.output_shape();
  const std::size_t at = in.rank() - static_cast<std::size_t>(axes[0]);
  const std::int64_t before = in.count(0, at), after = in.count(at + 1, in.rank());
  for (std::size_t i = 0; i < out.rank(); ++i) {
    if (out[i] == in[at] && out.count(0, i) == before && out.count(i + 1, out.rank()) == after) {
      return static_cast<BatchAxis>(out.rank() - i);
    }
  }
  return std::nullopt;
}

template <class T>
Tensor<T> reshaped(const Tensor<T>& x, const Shape& shape, const Where& where,
                   const Attributes& attributes = no_attributes);

template <class T>
constexpr Primitive reshape_primitive{
    .name = "reshape",
    .pullback =
        [](const Call& call, std::size_t, const Handle& v) {
          return reshaped(Tensor<T>(v), seeded(v, call.output_shape(), call.operand_shape(0)), call.where()).handle();
        },
    .pushforward =
        [](const Call& call, std::size_t, const Handle& v) {
          return reshaped(Tensor<T>(v), seeded(v, call.operand_shape(0), call.output_shape()), call.where()).handle();
        },
    .rows = reshape_rows,
    .carry = carry_diagonal};

template <class T>
Tensor<T> reshaped(const Tensor<T>& x, const Shape& shape, const Where& where, const Attributes& attributes) {
  Array* out = view(x.handle().array(), shape);
  if constexpr (Real<T>)
    return Tensor<T>(record(reshape_primitive<T>, out, {&x.handle()}, where, attributes));
  else
    return Tensor<T>(Handle(out));
}

// ------------------------------------------------------------------------------------------------ transpose

// order[i]: the axis of x, counted from the end less one, that becomes axis i of the result, counted likewise. Seed
// axes stay in front.
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

template <class T>
void copy_permuted(const T* x, T* y, const Shape& in, const Shape& out, const Order& order) {
  const std::size_t rank = in.rank();
  bool matrices = rank >= 2 && order[0] == 1 && order[1] == 0;
  for (std::size_t i = 2; i < rank; ++i) matrices = matrices && order[i] == static_cast<std::int8_t>(i);
  if (matrices) {
    const std::int64_t rows = in.from_end(2), cols = in.from_end(1), batch = in.prefix(rank - 2).count();
    for (std::int64_t b = 0; b < batch; ++b) copy_transposed(x + b * rows * cols, y + b * rows * cols, rows, cols);
    return;
  }
  std::array<std::int64_t, Shape::max_rank> in_stride{}, stride{}, index{};
  std::int64_t product = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    in_stride[i] = product;
    product *= in.from_end(i + 1);
  }
  for (std::size_t i = 0; i < rank; ++i) stride[i] = in_stride[static_cast<std::size_t>(order[i])];
  // Where the last axis stays last, its rows are copied whole.
  const std::size_t moving = order[0] == 0 ? 1 : 0;
  const std::int64_t count = out.count(), run = moving ? out.from_end(1) : 1;
  std::int64_t from = 0;
  for (std::int64_t at = 0; at < count; at += run) {
    std::copy_n(x + from, run, y + at);
    for (std::size_t i = moving; i < rank; ++i) {
      from += stride[i];
      if (++index[i] < out.from_end(i + 1)) break;
      from -= stride[i] * out.from_end(i + 1);
      index[i] = 0;
    }
  }
}

template <class T>
Tensor<T> permute(const Tensor<T>& x, Order order, std::size_t axes, const Where& where);

Order inverse(const Order& order, std::size_t axes) {
  Order result{};
  for (std::size_t i = 0; i < axes; ++i) result[static_cast<std::size_t>(order[i])] = static_cast<std::int8_t>(i);
  return result;
}

template <class T>
constexpr Primitive transpose_primitive{
    "transpose",
    [](const Call& call, std::size_t, const Handle& v) {
      const std::size_t axes = call.output_shape().rank();
      return permute(Tensor<T>(v), inverse(call.attributes().axes, axes), axes, call.where()).handle();
    },
    [](const Call& call, std::size_t, const Handle& v) {
      return permute(Tensor<T>(v), call.attributes().axes, call.output_shape().rank(), call.where()).handle();
    },
    [](const Call& call, std::span<const BatchAxis> axes) -> std::optional<BatchAxis> {
      const Order back = inverse(call.attributes().axes, call.output_shape().rank());
      return static_cast<BatchAxis>(back[static_cast<std::size_t>(axes[0] - 1)] + 1);
    }};

template <class T>
Tensor<T> permute(const Tensor<T>& x, Order order, std::size_t axes, const Where& where) {
  const Array& in = value_of(x, "transpose", where);
  const std::size_t rank = in.shape.rank();
  for (std::size_t i = axes; i < rank; ++i) order[i] = static_cast<std::int8_t>(i);
  Shape shape = in.shape;
  for (std::size_t i = 0; i < rank; ++i) {
    shape[rank - 1 - i] = in.shape[rank - 1 - static_cast<std::size_t>(order[i])];
  }
  Array* out = allocate_like<T>(shape);
  if (shape.count() > 0) copy_permuted(in.as<T>(), elements<T>(out), in.shape, shape, order);
  if constexpr (Real<T>) {
    return Tensor<T>(record(transpose_primitive<T>, out, {&x.handle()}, where, {.axes = order}));
  } else {
    return Tensor<T>(Handle(out));
  }
}

// ------------------------------------------------------------------------------------------------ broadcast_to

// The sweep sums an adjoint down, and spreads a tangent out.
Handle same(const Call&, std::size_t, const Handle& v) { return v; }

// Rows that are repeated are no longer one row each.
std::optional<BatchAxis> broadcast_rows(const Call& call, std::span<const BatchAxis> axes) {
  const auto axis = static_cast<std::size_t>(axes[0]);
  if (call.operand_shape(0).from_end(axis) != call.output_shape().from_end(axis)) return std::nullopt;
  return axes[0];
}

constexpr Primitive broadcast_primitive{.name = "broadcast_to",
                                        .pullback = same,
                                        .pushforward = same,
                                        .rows = broadcast_rows,
                                        .broadcasts = true,
                                        .carry = carry_diagonal};

// ------------------------------------------------------------------------------------------------ astype

template <class To, class From>
Handle converted(const Handle& v) {
  return astype<To>(Tensor<From>(v)).handle();
}
template <class To, class From>
constexpr Primitive astype_primitive{
    "astype", [](const Call&, std::size_t, const Handle& v) { return converted<From, To>(v); },
    [](const Call&, std::size_t, const Handle& v) { return converted<To, From>(v); }, rows_agree};

}  // namespace

void list_shape(std::vector<const Primitive*>& all) {
  all.insert(all.end(), {&reshape_primitive<double>, &transpose_primitive<double>, &broadcast_primitive,
                         &astype_primitive<float, double>});
}

template <Real T>
Tensor<T> insert_axes(const Tensor<T>& v, std::size_t from_end, std::size_t axes) {
  const std::size_t at = v.rank() + axes - from_end;
  Shape shape = v.shape().prefix(at);
  for (std::size_t i = 0; i < axes; ++i) shape.push_back(1);
  return reshaped(v, shape.concat(v.shape().suffix(at)), {},
                  {.axes = {static_cast<std::int8_t>(from_end), static_cast<std::int8_t>(axes)}});
}

template <class T>
Tensor<T> swap_axes(const Tensor<T>& x, std::size_t from_end, std::size_t other_from_end, const Where& where) {
  Order order{};
  for (std::size_t i = 0; i < x.rank(); ++i) order[i] = static_cast<std::int8_t>(i);
  std::swap(order[from_end - 1], order[other_from_end - 1]);
  return permute(x, order, x.rank(), where);
}

template Tensor<float> insert_axes(const Tensor<float>&, std::size_t, std::size_t);
template Tensor<double> insert_axes(const Tensor<double>&, std::size_t, std::size_t);
template Tensor<float> swap_axes(const Tensor<float>&, std::size_t, std::size_t, const Where&);
template Tensor<double> swap_axes(const Tensor<double>&, std::size_t, std::size_t, const Where&);

}  // namespace detail

template <class T>
Tensor<T> reshape(const Tensor<T>& x, const Shape& shape, Where where) {
  const Shape& from = detail::value_of(x, "reshape", where).shape;
  Shape to = shape;
  std::size_t open = to.rank();
  std::int64_t known = 1;
  bool valid = true;
  for (std::size_t i = 0; i < to.rank(); ++i) {
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

template <class T>
Tensor<T> transpose(const Tensor<T>& x, Where where) {
  const Shape& shape = detail::value_of(x, "transpose", where).shape;
  if (shape.rank() < 2) {
    throw ShapeError("transpose" + to_string(where) + ": a tensor of shape " + to_string(shape) +
                     " has no two axes to exchange");
  }
  return detail::swap_axes(x, 1, 2, where);
}

template <class T>
Tensor<T> transpose(const Tensor<T>& x, std::initializer_list<int> axes, Where where) {
  const Shape& shape = detail::value_of(x, "transpose", where).shape;
  const std::size_t rank = shape.rank();
  detail::Order order{};
  std::array<bool, Shape::max_rank> used{};
  std::size_t i = 0;
  for (int axis : axes) {
    const std::size_t a = detail::normalise_axis(axis, rank, "transpose", shape, where);
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
Tensor<T> broadcast_to(const Tensor<T>& x, const Shape& shape, Where where) {
  using namespace detail;
  const Array& in = value_of(x, "broadcast_to", where);
  if (in.shape == shape) return x;
  if (in.shape.rank() > shape.rank() || broadcast(in.shape, shape, "broadcast_to", where) != shape) {
    throw ShapeError("broadcast_to" + to_string(where) + ": shape " + to_string(in.shape) + " does not broadcast to " +
                     to_string(shape));
  }
  Array* out = allocate_like<T>(shape);
  const std::optional<AxisView> along = Real<T> ? repeated(in.shape, shape) : std::nullopt;
  if (along) {
    if constexpr (Real<T>) {
      kernels::kernels<T>().spread(in.as<T>(), elements<T>(out), along->outer, along->count, along->inner, false);
    }
  } else if (shape.count() != 0) {
    const Loops<1> loops(shape, {&in.shape});
    loops.for_each_block([&](const auto& offset, std::int64_t at) {
      for (std::int64_t i = 0; i < loops.rows(); ++i) {
        const T* from = in.as<T>() + offset[0] + i * loops.row_stride(0);
        T* to = elements<T>(out) + at + i * loops.cols();
        if (loops.steps(0))
          std::copy_n(from, loops.cols(), to);
        else
          std::fill_n(to, loops.cols(), *from);
      }
    });
  }
  if constexpr (Real<T>)
    return Tensor<T>(record(broadcast_primitive, out, {&x.handle()}, where));
  else
    return Tensor<T>(Handle(out));
}

template <class To, class T>
Tensor<To> astype(const Tensor<T>& x, Where where) {
  using namespace detail;
  if constexpr (std::is_same_v<To, T>) {
    return x;
  } else {
    const Array& in = value_of(x, "astype", where);
    Array* out = allocate_like<To>(in.shape);
    if constexpr (Real<T> && std::is_same_v<To, std::int64_t>) {
      // Beyond these a conversion is undefined.
      for (T value : std::span(in.as<T>(), static_cast<std::size_t>(in.shape.count()))) {
        if (value >= T(-0x1p63) && value < T(0x1p63)) continue;
        destroy(out);
        throw ValueError("astype" + to_string(where) + ": " + std::to_string(value) + " is no 64-bit integer");
      }
    }
    std::transform(in.as<T>(), in.as<T>() + in.shape.count(), elements<To>(out),
                   [](T value) { return static_cast<To>(value); });
    if constexpr (Real<To> && Real<T>) {
      return Tensor<To>(record(astype_primitive<To, T>, out, {&x.handle()}, where));
    } else {
      return Tensor<To>(Handle(out));
    }
  }
}

namespace {

// Makes the functions above for every element type.
template <class T>
constexpr std::tuple functions(
    &reshape<T>, static_cast<Tensor<T> (*)(const Tensor<T>&, Where)>(&transpose<T>),
    static_cast<Tensor<T> (*)(const Tensor<T>&, std::initializer_list<int>, Where)>(&transpose<T>), &broadcast_to<T>,
    &astype<float, T>, &astype<double, T>, &astype<std::int64_t, T>, &astype<bool, T>);
[[gnu::used]] constexpr auto of_float = functions<float>;
[[gnu::used]] constexpr auto of_double = functions<double>;
[[gnu::used]] constexpr auto of_int64 = functions<std::int64_t>;
[[gnu::used]] constexpr auto of_bool = functions<bool>;

}  // namespace
}  // namespace tapegrad
