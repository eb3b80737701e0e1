// sum, max, cumsum: along a group of adjacent axes, counted from the end. Other sets of axes are reduced group by
// group.

#include <algorithm>
#include <bit>

#include "../kernels/kernels.hpp"
#include "axes.hpp"
#include "internal.hpp"
#include "operands.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {
namespace {

// How a reduction's attributes are kept: the first axis of the group from the end, the number of axes, and whether they
// stay with size 1.
struct Group {
  std::size_t from_end, axes;
  bool keep;

  explicit Group(const Attributes& attributes)
      : from_end(static_cast<std::size_t>(attributes.axes[0])),
        axes(static_cast<std::size_t>(attributes.axes[1])),
        keep(attributes.axes[2] != 0) {}
  Group(std::size_t first_from_end, std::size_t count, bool keep_axes)
      : from_end(first_from_end), axes(count), keep(keep_axes) {}

  Attributes attributes() const {
    return {.axes = {static_cast<std::int8_t>(from_end), static_cast<std::int8_t>(axes), keep}};
  }
  std::size_t first(const Shape& shape) const { return shape.rank() - from_end; }
  Shape reduced(const Shape& shape) const {
    if (!keep) return shape.prefix(first(shape)).concat(shape.suffix(first(shape) + axes));
    Shape out = shape;
    for (std::size_t i = 0; i < axes; ++i) out[first(shape) + i] = 1;
    return out;
  }
};

std::optional<BatchAxis> reduce_rows(const Call& call, std::span<const BatchAxis> axes) {
  const Group group(call.attributes());
  const auto axis = static_cast<std::size_t>(axes[0]);
  if (axis <= group.from_end && axis > group.from_end - group.axes) return std::nullopt;
  if (group.keep || axis <= group.from_end - group.axes) return axes[0];
  return static_cast<BatchAxis>(axis - group.axes);
}

// v of the reduced shape, with its axes of size 1 back and repeated to the operand's.
template <class T>
Tensor<T> expand(const Call& call, const Tensor<T>& v, const Group& group) {
  const Tensor<T> w = group.keep ? v : insert_axes(v, group.from_end, group.axes);
  return broadcast_to(w, seeded(v.handle(), call.output_shape(), call.operand_shape(0)));
}

// ------------------------------------------------------------------------------------------------ sum

template <class T>
Handle sum_pullback(const Call& call, std::size_t, const Handle& v) {
  return expand(call, Tensor<T>(v), Group(call.attributes())).handle();
}
template <class T>
Handle sum_pushforward(const Call& call, std::size_t, const Handle& v) {
  const Group group(call.attributes());
  return sum_group(Tensor<T>(v), group.from_end, group.axes, group.keep, call.where()).handle();
}
// The sum of a whole block: J is the row of column sums.
bool sum_carry(Carry& carry) {
  if (carry.out.m != 1) return false;
  carry.add(RankOne{carry.ones(carry.call.output_shape()), carry.row(carry.diagonal())});
  return true;
}
// Adds to what is there, instead of writing v out for every element first.
template <class T>
bool sum_accumulate(const Call& call, std::size_t, Handle& v, bool, Handle& sum) {
  const Group group(call.attributes());
  const Shape &from = call.output_shape(), &to = call.operand_shape(0);
  AxisView view = around(to, group.first(to), group.axes);
  view.outer *= v.shape().count(0, v.shape().rank() - from.rank());
  const bool add = static_cast<bool>(sum);
  if (!add) sum = Handle(allocate_like<T>(seeded(v, from, to)));
  kernels::kernels<T>().spread(v.array()->as<T>(), elements<T>(sum.array()), view.outer, view.count, view.inner, add);
  return true;
}
template <class T>
constexpr Primitive sum_primitive{.name = "sum",
                                  .pullback = sum_pullback<T>,
                                  .pushforward = sum_pushforward<T>,
                                  .rows = reduce_rows,
                                  .accumulate = sum_accumulate<T>,
                                  .carry = sum_carry};

// ------------------------------------------------------------------------------------------------ max, min

// Where the derivative goes: the positions in x of the first element of each group that equals y, or of the first NaN.
template <class T>
Tensor<std::int64_t> positions_of(const Array& x, const Array& y, const Group& group) {
  const AxisView view = around(x.shape, group.first(x.shape), group.axes);
  Array* positions = allocate_like<std::int64_t>({view.outer * view.inner});
  kernels::kernels<T>().find(x.as<T>(), y.as<T>(), positions->as<std::int64_t>(), view.outer, view.count, view.inner);
  return Tensor<std::int64_t>(Handle(positions));
}
template <class T>
Tensor<std::int64_t> positions_of(const Call& call) {
  return positions_of<T>(call.operand_array(0), call.output_array(), Group(call.attributes()));
}

// A rule that records must leave the other axes apart, for they may hold a batch: along the last axis alone by indices
// of its rows, else by a mask.
template <class T>
Tensor<std::int64_t> indices_of_rows(const Call& call) {
  const Shape& shape = call.operand_shape(0);
  Tensor<std::int64_t> indices = positions_of<T>(call);
  std::int64_t* index = indices.mutable_data();
  for (std::int64_t i = 0; i < indices.size(); ++i) index[i] %= shape.back();
  return reshape(indices, shape.prefix(shape.rank() - 1).concat({1}));
}
template <class T>
Tensor<bool> mask_of(const Call& call) {
  Tensor<bool> mask = full<bool>(call.operand_shape(0), false);
  bool* out = mask.mutable_data();
  const Tensor<std::int64_t> positions = positions_of<T>(call);
  for (std::int64_t position : positions.elements_view()) out[position] = true;
  return mask;
}
bool along_rows(const Group& group) { return group.from_end == 1 && group.axes == 1; }

template <class T>
bool extreme_accumulate(const Call& call, std::size_t, Handle& v, bool, Handle& sum) {
  const Shape &from = call.output_shape(), &to = call.operand_shape(0);
  const std::int64_t seeds = v.shape().count(0, v.shape().rank() - from.rank()), size = to.count();
  if (!sum) sum = zeros<T>(seeded(v, from, to)).handle();
  const Tensor<std::int64_t> positions = positions_of<T>(call);
  T* out = elements<T>(sum.array());
  const T* in = v.array()->as<T>();
  for (std::int64_t s = 0; s < seeds; ++s, out += size) {
    for (std::int64_t position : positions.elements_view()) out[position] += *in++;
  }
  return true;
}
template <class T>
Handle extreme_pullback(const Call& call, std::size_t k, const Handle& v) {
  const Group group(call.attributes());
  if (!v.traced()) {
    Handle given = v, sum;
    extreme_accumulate<T>(call, k, given, false, sum);
    return sum;
  }
  if (!along_rows(group)) return where(mask_of<T>(call), expand(call, Tensor<T>(v), group), 0.0).handle();
  const Tensor<T> rows = group.keep ? Tensor<T>(v) : insert_axes(Tensor<T>(v), 1, 1);
  const Tensor<std::int64_t> indices = indices_of_rows<T>(call);
  return put_rows(rows, *indices.handle().array(), call.operand_shape(0).back(), call.where()).handle();
}
template <class T>
Handle extreme_pushforward(const Call& call, std::size_t, const Handle& v) {
  const Group group(call.attributes());
  const Shape& shape = call.operand_shape(0);
  if (!v.traced()) {
    const std::int64_t seeds = v.shape().count(0, v.shape().rank() - shape.rank());
    Handle out(allocate_like<T>(seeded(v, shape, call.output_shape())));
    const Tensor<std::int64_t> positions = positions_of<T>(call);
    const T* in = v.array()->as<T>();
    T* to = elements<T>(out.array());
    for (std::int64_t s = 0; s < seeds; ++s, in += shape.count()) {
      for (std::int64_t position : positions.elements_view()) *to++ = in[position];
    }
    return out;
  }
  if (!along_rows(group)) {
    return sum_group(where(mask_of<T>(call), Tensor<T>(v), 0.0), group.from_end, group.axes, group.keep, call.where())
        .handle();
  }
  const Tensor<T> chosen = take_rows(Tensor<T>(v), *indices_of_rows<T>(call).handle().array(), call.where());
  return (group.keep ? chosen : reshape(chosen, seeded(v, shape, call.output_shape()))).handle();
}

enum class Extreme { largest, smallest };
template <Extreme which, class T>
constexpr Primitive extreme_primitive{.name = which == Extreme::largest ? "max" : "min",
                                      .pullback = extreme_pullback<T>,
                                      .pushforward = extreme_pushforward<T>,
                                      .rows = reduce_rows,
                                      .accumulate = extreme_accumulate<T>};

template <Extreme which, class T>
Tensor<T> extreme_group(const Tensor<T>& x, std::size_t from_end, std::size_t axes, bool keep, const Where& where) {
  const Primitive& primitive = extreme_primitive<which, T>;
  const Array& in = value_of(x, primitive.name, where);
  const Group group(from_end, axes, keep);
  const AxisView view = around(in.shape, group.first(in.shape), axes);
  Array* out = allocate_like<T>(group.reduced(in.shape));
  if (view.outer * view.inner > 0) {
    const auto& table = kernels::kernels<T>();
    (which == Extreme::largest ? table.max : table.min)(in.as<T>(), elements<T>(out), view.outer, view.count,
                                                        view.inner);
  }
  return Tensor<T>(record(primitive, out, {&x.handle()}, where, group.attributes()));
}

// ------------------------------------------------------------------------------------------------ cumsum

std::optional<BatchAxis> along_axis_rows(const Call& call, std::span<const BatchAxis> axes) {
  if (axes[0] == call.attributes().axes[0]) return std::nullopt;
  return axes[0];
}

template <class T>
Handle cumsum_product(const Call& call, const Handle& v, bool transposed) {
  const Attributes& attributes = call.attributes();
  return cumsum_along(Tensor<T>(v), static_cast<std::size_t>(attributes.axes[0]),
                      (attributes.axes[1] != 0) != transposed, call.where())
      .handle();
}
// Along a whole block: a triangle of ones.
template <class T>
bool cumsum_carry(Carry& carry) {
  const Attributes& attributes = carry.call.attributes();
  const std::int64_t count = carry.call.operand_shape(0).from_end(static_cast<std::size_t>(attributes.axes[0]));
  if (count != carry.in.m || count != carry.in.n || carry.diagonal().shift != 0) return false;
  const Matrix::Kind kind = attributes.axes[1] != 0 ? Matrix::Kind::upper : Matrix::Kind::lower;
  return carry.add(Matrix{kind, {}, {}, carry.scale()});
}
template <class T>
constexpr Primitive cumsum_primitive{
    .name = "cumsum",
    .pullback = [](const Call& call, std::size_t, const Handle& v) { return cumsum_product<T>(call, v, true); },
    .pushforward = [](const Call& call, std::size_t, const Handle& v) { return cumsum_product<T>(call, v, false); },
    .rows = along_axis_rows,
    .carry = cumsum_carry<T>};

}  // namespace

template <Real T>
Tensor<T> cumsum_along(const Tensor<T>& x, std::size_t from_end, bool reverse, const Where& where) {
  const Array& in = value_of(x, "cumsum", where);
  const AxisView view = around(in.shape, in.shape.rank() - from_end);
  Array* out = allocate_like<T>(in.shape);
  kernels::kernels<T>().cumsum(in.as<T>(), elements<T>(out), view.outer, view.count, view.inner, reverse);
  return Tensor<T>(
      record(cumsum_primitive<T>, out, {&x.handle()}, where, {.axes = {static_cast<std::int8_t>(from_end), reverse}}));
}

namespace {

// ------------------------------------------------------------------------------------------------ any axes

// Which axes of a shape are meant: bit i for axis i.
unsigned marked(const Shape& shape, const Axes& axes, const char* name, const Where& where) {
  if (axes.all()) return (1U << shape.rank()) - 1;
  unsigned marks = 0;
  for (int axis : axes) {
    const unsigned mark = 1U << normalise_axis(axis, shape.rank(), name, shape, where);
    if ((marks & mark) != 0) {
      throw ShapeError(std::string(name) + to_string(where) + ": axis " + std::to_string(axis) + " is given twice");
    }
    marks |= mark;
  }
  return marks;
}

bool is_marked(unsigned marks, std::size_t axis) { return (marks >> axis & 1U) != 0; }

// Number of elements that one element of the result is made of; not 0.
std::int64_t reduced_count(const Shape& shape, unsigned marks, const char* name, const Where& where) {
  std::int64_t count = 1;
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    if (is_marked(marks, i)) count *= shape[i];
  }
  if (count == 0) {
    throw ShapeError(std::string(name) + to_string(where) + ": no elements to reduce in a tensor of shape " +
                     to_string(shape));
  }
  return count;
}

// Reduces each run of adjacent axes with `reduce`, the last first.
template <class T, class Reduce>
Tensor<T> by_groups(const Tensor<T>& x, unsigned marks, KeepDims keep, const Where& where, Reduce reduce) {
  if (marks == 0) return x;
  const std::size_t rank = x.rank();
  const auto begin = static_cast<std::size_t>(std::countr_zero(marks));
  const auto count = static_cast<std::size_t>(std::bit_width(marks)) - begin;
  if (marks >> begin == (1U << count) - 1) return reduce(x, rank - begin, count, keep == KeepDims::yes);
  Tensor<T> result = x;
  for (std::size_t end = rank; end > 0;) {
    if (!is_marked(marks, end - 1)) {
      --end;
      continue;
    }
    std::size_t first = end - 1;
    while (first > 0 && is_marked(marks, first - 1)) --first;
    // Reduced axes stay until the end, so that positions from the end do.
    result = reduce(result, rank - first, end - first, true);
    end = first;
  }
  if (keep == KeepDims::yes) return result;
  Shape out;
  for (std::size_t i = 0; i < rank; ++i) {
    if (!is_marked(marks, i)) out.push_back(x.shape()[i]);
  }
  return reshape(result, out, where);
}

}  // namespace

void list_reduce(std::vector<const Primitive*>& all) {
  all.insert(all.end(), {&sum_primitive<double>, &extreme_primitive<Extreme::largest, double>,
                         &extreme_primitive<Extreme::smallest, double>, &cumsum_primitive<double>});
}

template <Real T>
Tensor<T> sum_group(const Tensor<T>& x, std::size_t from_end, std::size_t axes, bool keep, const Where& where) {
  const Array& in = value_of(x, "sum", where);
  const Group group(from_end, axes, keep);
  const AxisView view = around(in.shape, group.first(in.shape), axes);
  Array* out = allocate_like<T>(group.reduced(in.shape));
  kernels::kernels<T>().sum(in.as<T>(), elements<T>(out), view.outer, view.count, view.inner);
  return Tensor<T>(record(sum_primitive<T>, out, {&x.handle()}, where, group.attributes()));
}

template <Real T>
Tensor<T> sum_to(const Tensor<T>& v, const Shape& shape, std::size_t seeds, const Where& where) {
  if (v.shape() == shape) return v;
  // Axes that broadcasting put between the seed axes and the operand's own.
  const std::size_t added = v.rank() - shape.rank();
  Tensor<T> result = v;
  if (added > 0) result = sum_group(result, v.rank() - seeds, added, false, where);
  for (std::size_t back = 1; back <= shape.rank() - seeds; ++back) {
    if (shape.from_end(back) == 1 && result.shape().from_end(back) != 1) {
      std::size_t first = back;
      while (first < shape.rank() - seeds && shape.from_end(first + 1) == 1 &&
             result.shape().from_end(first + 1) != 1) {
        ++first;
      }
      result = sum_group(result, first, first - back + 1, true, where);
      back = first;
    }
  }
  return result;
}

template Tensor<float> sum_group(const Tensor<float>&, std::size_t, std::size_t, bool, const Where&);
template Tensor<double> sum_group(const Tensor<double>&, std::size_t, std::size_t, bool, const Where&);
template Tensor<float> cumsum_along(const Tensor<float>&, std::size_t, bool, const Where&);
template Tensor<double> cumsum_along(const Tensor<double>&, std::size_t, bool, const Where&);
template Tensor<float> sum_to(const Tensor<float>&, const Shape&, std::size_t, const Where&);
template Tensor<double> sum_to(const Tensor<double>&, const Shape&, std::size_t, const Where&);

}  // namespace detail

template <Real T>
Tensor<T> sum(const Tensor<T>& x, Axes axes, KeepDims keep, Where where) {
  const unsigned marks = detail::marked(detail::value_of(x, "sum", where).shape, axes, "sum", where);
  return detail::by_groups(x, marks, keep, where,
                           [&](const Tensor<T>& y, std::size_t from_end, std::size_t count, bool kept) {
                             return detail::sum_group(y, from_end, count, kept, where);
                           });
}

template <Real T>
Tensor<T> mean(const Tensor<T>& x, Axes axes, KeepDims keep, Where where) {
  const Shape& shape = detail::value_of(x, "mean", where).shape;
  const unsigned marks = detail::marked(shape, axes, "mean", where);
  const std::int64_t n = detail::reduced_count(shape, marks, "mean", where);
  return detail::binary<ops::Divide>(sum(x, axes, keep, where), Tensor<T>(n), where);
}

namespace detail {
namespace {

template <Extreme which, class T>
Tensor<T> extreme(const Tensor<T>& x, const Axes& axes, KeepDims keep, const Where& where) {
  const char* name = extreme_primitive<which, T>.name;
  const Shape& shape = value_of(x, name, where).shape;
  const unsigned marks = marked(shape, axes, name, where);
  reduced_count(shape, marks, name, where);
  return by_groups(x, marks, keep, where, [&](const Tensor<T>& y, std::size_t from_end, std::size_t count, bool kept) {
    return extreme_group<which>(y, from_end, count, kept, where);
  });
}

}  // namespace
}  // namespace detail

template <Real T>
Tensor<T> max(const Tensor<T>& x, Axes axes, KeepDims keep, Where where) {
  return detail::extreme<detail::Extreme::largest>(x, axes, keep, where);
}

template <Real T>
Tensor<T> min(const Tensor<T>& x, Axes axes, KeepDims keep, Where where) {
  return detail::extreme<detail::Extreme::smallest>(x, axes, keep, where);
}

template <Real T>
Tensor<std::int64_t> argmax(const Tensor<T>& x, int axis, Where where) {
  using namespace detail;
  const Array& in = value_of(x, "argmax", where);
  const std::size_t at = normalise_axis(axis, in.shape.rank(), "argmax", in.shape, where);
  reduced_count(in.shape, 1U << at, "argmax", where);
  const Tensor<T> largest = extreme_group<Extreme::largest>(stop_gradient(x), in.shape.rank() - at, 1, false, where);
  Tensor<std::int64_t> result = positions_of<T>(in, *largest.handle().array(), Group(in.shape.rank() - at, 1, false));
  const AxisView view = around(in.shape, at);
  std::int64_t* index = result.mutable_data();
  for (std::int64_t i = 0; i < result.size(); ++i) index[i] = index[i] / view.inner % view.count;
  return reshape(result, in.shape.prefix(at).concat(in.shape.suffix(at + 1)));
}

template <Real T>
Tensor<T> cumsum(const Tensor<T>& x, int axis, Where where) {
  const Shape& shape = detail::value_of(x, "cumsum", where).shape;
  const std::size_t at = detail::normalise_axis(axis, shape.rank(), "cumsum", shape, where);
  return detail::cumsum_along(x, shape.rank() - at, false, where);
}

template Tensor<float> sum(const Tensor<float>&, Axes, KeepDims, Where);
template Tensor<double> sum(const Tensor<double>&, Axes, KeepDims, Where);
template Tensor<float> mean(const Tensor<float>&, Axes, KeepDims, Where);
template Tensor<double> mean(const Tensor<double>&, Axes, KeepDims, Where);
template Tensor<float> max(const Tensor<float>&, Axes, KeepDims, Where);
template Tensor<double> max(const Tensor<double>&, Axes, KeepDims, Where);
template Tensor<float> min(const Tensor<float>&, Axes, KeepDims, Where);
template Tensor<double> min(const Tensor<double>&, Axes, KeepDims, Where);
template Tensor<std::int64_t> argmax(const Tensor<float>&, int, Where);
template Tensor<std::int64_t> argmax(const Tensor<double>&, int, Where);
template Tensor<float> cumsum(const Tensor<float>&, int, Where);
template Tensor<double> cumsum(const Tensor<double>&, int, Where);

}  // namespace tapegrad
