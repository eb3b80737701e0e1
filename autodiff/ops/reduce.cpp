// Reductions along a group of adjacent axes, counted from the end. Other sets of axes are reduced group by group.

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

// The axes of a reduction: the first of the group, counted from the end, their number, and whether they stay with size
// 1.
struct Group {
  std::uint8_t from_end, axes;
  bool keep;

  Group(std::size_t first_from_end, std::size_t count, bool keep_axes)
      : from_end(static_cast<std::uint8_t>(first_from_end)), axes(static_cast<std::uint8_t>(count)), keep(keep_axes) {}

  std::size_t first(const Shape& shape) const { return rank_of(shape) - from_end; }
  /// The group's axes within the operand's shape.
  AxisView view(const Shape& shape) const { return around(shape, first(shape), axes); }
  Shape reduced(const Shape& shape) const {
    if (!keep) return shape.without(first(shape), axes);
    Shape out = shape;
    for (std::size_t i = 0; i < axes; ++i) out[first(shape) + i] = 1;
    return out;
  }
};

// What all reductions share.
struct Reduction {
  using Attributes = Group;
  static const Group& group_of(const Call& call) { return call.attributes<Group>(); }
  static std::string describe(const Group& group) {
    return "axes " + std::to_string(-group.from_end) + " to " + std::to_string(group.axes - group.from_end - 1) +
           (group.keep ? ", kept" : "");
  }
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    const Group& group = group_of(call);
    const int axis = axes[0], below = group.from_end - group.axes;
    if (axis <= group.from_end && axis > below) return std::nullopt;
    if (group.keep || axis <= below) return axes[0];
    return static_cast<BatchAxis>(axis - group.axes);
  }
};

// v, of the reduced shape, with its axes of size 1 restored and repeated to the operand's shape.
template <class T>
Tensor<T> expand(const Call& call, const Tensor<T>& v, const Group& group) {
  const Tensor<T> w = group.keep ? v : insert_axes(v, group.from_end, group.axes);
  return broadcast_to(w, seeded(v.handle(), call.output_shape(), call.operand_shape(0)));
}

// ------------------------------------------------------------------------------------------------ sum

template <class T>
struct SumPrimitive : Reduction {
  static constexpr const char* name = "sum";
  static constexpr Reads reads{};

  static void evaluate(const Group& group, Operands x, Results y) {
    const AxisView view = group.view(x[0]->shape);
    kernels::kernels<T>().sum(x[0]->as<T>(), elements<T>(y[0]), view.outer, view.count, view.inner);
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) {
    return expand(call, Tensor<T>(v), group_of(call)).handle();
  }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) {
    const Group& group = group_of(call);
    return sum_group(Tensor<T>(v), group.from_end, group.axes, group.keep, call.where()).handle();
  }
  // Adds v to the sum directly, without first writing it out for every element.
  static bool accumulate(const Call& call, std::size_t, Handle& v, bool, Handle& sum) {
    const Shape &from = call.output_shape(), &to = call.operand_shape(0);
    AxisView view = group_of(call).view(to);
    view.outer *= v.shape().count(0, v.shape().rank() - from.rank());
    const bool add = static_cast<bool>(sum);
    if (!add) sum = Handle(allocate_like<T>(seeded(v, from, to)));
    kernels::kernels<T>().spread(v.array()->as<T>(), elements<T>(sum.array()), view.outer, view.count, view.inner, add);
    return true;
  }
  // The sum of a whole block: J becomes the row of its column sums.
  static bool carry(Carry& carry) {
    if (carry.out.m != 1) return false;
    carry.add(RankOne{carry.ones(carry.call.output_shape()), carry.row(carry.diagonal())});
    return true;
  }
};

// ------------------------------------------------------------------------------------------------ max, min

// Where the derivative goes: the positions in x of the first element of each group that equals y, or of the first NaN.
template <class T>
Handle positions_of(const Array& x, const Array& y, const Group& group) {
  const AxisView view = group.view(x.shape);
  Handle positions(allocate_like<std::int64_t>({view.outer * view.inner}));
  kernels::kernels<T>().find(x.as<T>(), y.as<T>(), elements<std::int64_t>(positions.array()), view.outer, view.count,
                             view.inner);
  return positions;
}
template <class T>
Handle positions_of(const Call& call) {
  return positions_of<T>(call.operand_array(0), call.output_array(), call.attributes<Group>());
}

// positions / inner % count.
void make_indices(Array* positions, std::int64_t inner, std::int64_t count) {
  command(
      "indices",
      [=, n = positions->shape.count()](std::int64_t* at) {
        for (std::int64_t i = 0; i < n; ++i) at[i] = at[i] / inner % count;
      },
      in_out_of<std::int64_t>(positions));
}

// A rule that records must keep the other axes separate, because they may hold a batch. Along the last axis alone it
// uses indices within the rows, otherwise a mask.
template <class T>
Handle indices_of_rows(const Call& call) {
  const Shape& shape = call.operand_shape(0);
  const Handle indices = positions_of<T>(call);
  make_indices(indices.array(), 1, shape.back());
  return Handle(view(indices.array(), shape.prefix(shape.rank() - 1).concat({1})));
}
template <class T>
Tensor<bool> mask_of(const Call& call) {
  Handle mask(allocate_like<bool>(call.operand_shape(0)));
  fill(mask.array(), false);
  const Handle positions = positions_of<T>(call);
  command(
      "mark",
      [n = positions.shape().count()](const std::int64_t* at, bool* out) {
        for (std::int64_t i = 0; i < n; ++i) out[at[i]] = true;
      },
      in_of<std::int64_t>(*positions.array()), in_out_of<bool>(mask.array()));
  return Tensor<bool>(std::move(mask));
}
bool along_rows(const Group& group) { return group.from_end == 1 && group.axes == 1; }

template <class T>
bool extreme_accumulate(const Call& call, std::size_t, Handle& v, bool, Handle& sum) {
  const Shape &from = call.output_shape(), &to = call.operand_shape(0);
  const std::int64_t seeds = v.shape().count(0, v.shape().rank() - from.rank());
  if (!sum) sum = zeros<T>(seeded(v, from, to)).handle();
  const Handle positions = positions_of<T>(call);
  command(
      "add at places",
      [seeds, size = to.count(), n = positions.shape().count()](const T* in, const std::int64_t* at, T* out) {
        for (std::int64_t s = 0; s < seeds; ++s, out += size) {
          for (std::int64_t i = 0; i < n; ++i) out[at[i]] += *in++;
        }
      },
      in_of<T>(*v.array()), in_of<std::int64_t>(*positions.array()), in_out_of<T>(sum.array()));
  return true;
}
template <class T>
Handle extreme_pullback(const Call& call, std::size_t k, const Handle& v) {
  const Group& group = call.attributes<Group>();
  if (!v.traced()) {
    Handle given = v, sum;
    extreme_accumulate<T>(call, k, given, false, sum);
    return sum;
  }
  if (!along_rows(group)) return where(mask_of<T>(call), expand(call, Tensor<T>(v), group), 0.0).handle();
  const Tensor<T> rows = group.keep ? Tensor<T>(v) : insert_axes(Tensor<T>(v), 1, 1);
  const Handle indices = indices_of_rows<T>(call);
  return put(rows, {{.along = true}, indices.array()}, call.operand_shape(0).back(), call.where()).handle();
}
template <class T>
Handle extreme_pushforward(const Call& call, std::size_t, const Handle& v) {
  const Group& group = call.attributes<Group>();
  const Shape& shape = call.operand_shape(0);
  if (!v.traced()) {
    Handle out(allocate_like<T>(seeded(v, shape, call.output_shape())));
    const Handle positions = positions_of<T>(call);
    command(
        "choose",
        [seeds = v.shape().count(0, v.shape().rank() - shape.rank()), size = shape.count(),
         n = positions.shape().count()](const T* in, const std::int64_t* at, T* to) {
          for (std::int64_t s = 0; s < seeds; ++s, in += size) {
            for (std::int64_t i = 0; i < n; ++i) *to++ = in[at[i]];
          }
        },
        in_of<T>(*v.array()), in_of<std::int64_t>(*positions.array()), out_of<T>(out.array()));
    return out;
  }
  if (!along_rows(group)) {
    return sum_group(where(mask_of<T>(call), Tensor<T>(v), 0.0), group.from_end, group.axes, group.keep, call.where())
        .handle();
  }
  const Handle indices = indices_of_rows<T>(call);
  const Tensor<T> chosen = part_of(Tensor<T>(v), {{.along = true}, indices.array()}, 1, call.where());
  return (group.keep ? chosen : reshape(chosen, seeded(v, shape, call.output_shape()))).handle();
}

enum class Extreme { largest, smallest };
template <Extreme which, class T>
struct ExtremePrimitive : Reduction {
  static constexpr const char* name = which == Extreme::largest ? "max" : "min";
  static constexpr Reads reads{.operands = 0b1, .output = true};

  static void evaluate(const Group& group, Operands x, Results y) {
    const AxisView view = group.view(x[0]->shape);
    if (view.outer * view.inner == 0) return;
    const auto& table = kernels::kernels<T>();
    (which == Extreme::largest ? table.max : table.min)(x[0]->as<T>(), elements<T>(y[0]), view.outer, view.count,
                                                        view.inner);
  }
  static constexpr auto pullback = extreme_pullback<T>;
  static constexpr auto pushforward = extreme_pushforward<T>;
  static constexpr auto accumulate = extreme_accumulate<T>;
};

template <Extreme which, class T>
Tensor<T> extreme_group(const Tensor<T>& x, std::size_t from_end, std::size_t axes, bool keep, const Caller& where) {
  using P = ExtremePrimitive<which, T>;
  const Group group(from_end, axes, keep);
  return Tensor<T>(
      apply<P>({&x.handle()}, allocate_like<T>(group.reduced(value_of(x, P::name, where).shape)), where, group));
}

// ------------------------------------------------------------------------------------------------ prod

// `rows` of m numbers times each other by halves, an odd one as it is: half as many.
template <class T>
void pair_rows(const T* x, T* out, std::int64_t rows, std::int64_t m) {
  const std::int64_t first = (rows + 1) / 2 * m, second = rows / 2 * m;
  for (std::int64_t i = 0; i < second; ++i) out[i] = x[i] * x[first + i];
  for (std::int64_t i = second; i < first; ++i) out[i] = x[i];
}

// For each of the rows the product of the others: what its partner is, times the product of the other pairs. No number
// is divided by, so zeros need no care. The pairs and what is made of them take `work` of others_size.
std::int64_t others_size(std::int64_t rows, std::int64_t m) {
  const std::int64_t pairs = (rows + 1) / 2;
  return rows <= 1 ? 0 : 2 * pairs * m + others_size(pairs, m);
}
template <class T>
void others(const T* x, T* out, T* work, std::int64_t rows, std::int64_t m) {
  if (rows <= 1) {
    std::fill_n(out, rows * m, T{1});
    return;
  }
  const std::int64_t first = (rows + 1) / 2 * m, second = rows / 2 * m;
  T* rest = work + first;
  pair_rows(x, work, rows, m);
  others(work, rest, rest + first, first / m, m);
  for (std::int64_t i = 0; i < second; ++i) {
    out[i] = rest[i] * x[first + i];
    out[first + i] = rest[i] * x[i];
  }
  std::copy(rest + second, rest + first, out + second);
}

// The same along an axis, to the same bits, in operations that are recorded.
template <class T>
Tensor<T> others(const Tensor<T>& x, int axis, const Caller& where) {
  const std::int64_t count = x.shape().from_end(-axis), pairs = (count + 1) / 2;
  if (count <= 1) return ones<T>(x.shape());
  const Tensor<T> a = slice(x, axis, 0, pairs, 1, where), half = slice(x, axis, pairs, count, 1, where);
  const Tensor<T> one = ones<T>(slice(half, axis, 0, count % 2, 1, where).shape());
  const Tensor<T> b = concatenate({half, one}, axis, where), rest = others(a * b, axis, where);
  return concatenate({rest * b, slice(rest * a, axis, 0, count / 2, 1, where)}, axis, where);
}
template <class T>
Tensor<T> others(const Call& call, const Group& group) {
  const Tensor<T> x = call.operand<T>(0);
  const Shape& shape = x.shape();
  const AxisView view = group.view(shape);
  if (x.traced()) {
    const std::size_t first = group.first(shape), below = group.from_end - group.axes;
    const Shape one_axis = shape.prefix(first).concat({view.count}).concat(shape.suffix(first + group.axes));
    const int axis = -static_cast<int>(below) - 1;
    return reshape(others(reshape(x, one_axis, call.where()), axis, call.where()), shape, call.where());
  }
  Handle out(allocate_like<T>(shape));
  const Handle work(allocate_like<T>({others_size(view.count, view.inner)}));
  command(
      "products of others",
      [view](const T* in, T* to, T* at_work) {
        const std::int64_t size = view.count * view.inner;
        for (std::int64_t i = 0; i < view.outer; ++i)
          others(in + i * size, to + i * size, at_work, view.count, view.inner);
      },
      in_of<T>(*x.handle().array()), out_of<T>(out.array()), in_out_of<T>(work.array()));
  return Tensor<T>(std::move(out));
}

template <class T>
struct ProdPrimitive : Reduction {
  static constexpr const char* name = "prod";
  static constexpr Reads reads{.operands = 0b1};

  static void evaluate(const Group& group, Operands x, Results y) {
    const AxisView view = group.view(x[0]->shape);
    if (view.count == 0) return fill(y[0], T{1});
    const Handle work(allocate_like<T>({(view.count + 1) / 2 * view.inner}));
    command(
        "prod",
        [view](const T* in, T* out, T* at_work) {
          for (std::int64_t i = 0; i < view.outer; ++i, in += view.count * view.inner, out += view.inner) {
            pair_rows(in, at_work, view.count, view.inner);
            for (std::int64_t rows = (view.count + 1) / 2; rows > 1; rows = (rows + 1) / 2)
              pair_rows(at_work, at_work, rows, view.inner);
            std::copy_n(at_work, view.inner, out);
          }
        },
        in_of<T>(*x[0]), out_of<T>(y[0]), in_out_of<T>(work.array()));
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) {
    const Group& group = group_of(call);
    const Tensor<T> w = group.keep ? Tensor<T>(v) : insert_axes(Tensor<T>(v), group.from_end, group.axes);
    return mul0(w, others<T>(call, group), call.where()).handle();
  }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) {
    const Group& group = group_of(call);
    const Tensor<T> terms = mul0(Tensor<T>(v), others<T>(call, group), call.where());
    return sum_group(terms, group.from_end, group.axes, group.keep, call.where()).handle();
  }
};

// ------------------------------------------------------------------------------------------------ any axes

// The axes of a shape that are meant, as a set: bit i for axis i.
unsigned marked(const Shape& shape, const Axes& axes, const char* name, const Caller& where) {
  if (axes.all()) return (1U << shape.rank()) - 1;
  unsigned marks = 0;
  for (int axis : axes) {
    const unsigned mark = 1U << normalize_axis(axis, shape.rank(), name, shape, where);
    if ((marks & mark) != 0) {
      throw ShapeError(std::string(name) + to_string(where) + ": axis " + std::to_string(axis) + " is given twice");
    }
    marks |= mark;
  }
  return marks;
}

bool is_marked(unsigned marks, std::size_t axis) { return (marks >> axis & 1U) != 0; }

// The number of elements behind each element of the result; never 0.
std::int64_t reduced_count(const Shape& shape, unsigned marks, const char* name, const Caller& where) {
  std::int64_t count = 1;
  for (std::size_t i = 0; i < rank_of(shape); ++i) {
    if (is_marked(marks, i)) count *= shape[i];
  }
  if (count == 0) {
    throw ShapeError(std::string(name) + to_string(where) + ": no elements to reduce in a tensor of shape " +
                     to_string(shape));
  }
  return count;
}

// Reduces each run of adjacent axes with `reduce`, the last run first.
template <class T, class Reduce>
Tensor<T> by_groups(const Tensor<T>& x, unsigned marks, KeepDims keep, const Caller& where, Reduce reduce) {
  if (marks == 0) return x;
  const std::size_t rank = rank_of(x.shape());
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
    // Reduced axes are kept until the end, so that positions from the end stay valid.
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
  all.insert(all.end(), {&primitive<SumPrimitive<double>>, &primitive<ProdPrimitive<double>>,
                         &primitive<ExtremePrimitive<Extreme::largest, double>>,
                         &primitive<ExtremePrimitive<Extreme::smallest, double>>});
}

template <Real T>
Tensor<T> sum_group(const Tensor<T>& x, std::size_t from_end, std::size_t axes, bool keep, const Caller& where) {
  const Group group(from_end, axes, keep);
  return Tensor<T>(apply<SumPrimitive<T>>(
      {&x.handle()}, allocate_like<T>(group.reduced(value_of(x, "sum", where).shape)), where, group));
}

template <Real T>
Tensor<T> sum_to(const Tensor<T>& v, const Shape& shape, std::int64_t seeds, const Caller& where) {
  if (v.shape() == shape) return v;
  // The axes that broadcasting added between the seed axes and the operand's own.
  const std::int64_t added = v.rank() - shape.rank();
  Tensor<T> result = v;
  if (added > 0)
    result = sum_group(result, rank_of(v.shape()) - static_cast<std::size_t>(seeds), static_cast<std::size_t>(added),
                       false, where);
  for (std::int64_t back = 1; back <= shape.rank() - seeds; ++back) {
    if (shape.from_end(back) == 1 && result.shape().from_end(back) != 1) {
      std::int64_t first = back;
      while (first < shape.rank() - seeds && shape.from_end(first + 1) == 1 &&
             result.shape().from_end(first + 1) != 1) {
        ++first;
      }
      result =
          sum_group(result, static_cast<std::size_t>(first), static_cast<std::size_t>(first - back + 1), true, where);
      back = first;
    }
  }
  return result;
}

template Tensor<float> sum_group(const Tensor<float>&, std::size_t, std::size_t, bool, const Caller&);
template Tensor<double> sum_group(const Tensor<double>&, std::size_t, std::size_t, bool, const Caller&);
template Tensor<float> sum_to(const Tensor<float>&, const Shape&, std::int64_t, const Caller&);
template Tensor<double> sum_to(const Tensor<double>&, const Shape&, std::int64_t, const Caller&);

}  // namespace detail

template <Real T>
Tensor<T> sum(const Tensor<T>& x, Axes axes, KeepDims keep, Caller where) {
  const unsigned marks = detail::marked(detail::value_of(x, "sum", where).shape, axes, "sum", where);
  return detail::by_groups(x, marks, keep, where,
                           [&](const Tensor<T>& y, std::size_t from_end, std::size_t count, bool kept) {
                             return detail::sum_group(y, from_end, count, kept, where);
                           });
}

template <Real T>
Tensor<T> prod(const Tensor<T>& x, Axes axes, KeepDims keep, Caller where) {
  using namespace detail;
  const unsigned marks = marked(value_of(x, "prod", where).shape, axes, "prod", where);
  return by_groups(x, marks, keep, where, [&](const Tensor<T>& y, std::size_t from_end, std::size_t count, bool kept) {
    const Group group(from_end, count, kept);
    return Tensor<T>(apply<ProdPrimitive<T>>({&y.handle()}, allocate_like<T>(group.reduced(y.shape())), where, group));
  });
}
template Tensor<float> prod(const Tensor<float>&, Axes, KeepDims, Caller);
template Tensor<double> prod(const Tensor<double>&, Axes, KeepDims, Caller);

template <Real T>
Tensor<T> mean(const Tensor<T>& x, Axes axes, KeepDims keep, Caller where) {
  const Shape& shape = detail::value_of(x, "mean", where).shape;
  const unsigned marks = detail::marked(shape, axes, "mean", where);
  const std::int64_t n = detail::reduced_count(shape, marks, "mean", where);
  return detail::binary<ops::Divide>(sum(x, axes, keep, where), Tensor<T>(n), where);
}

namespace detail {
namespace {

template <Extreme which, class T>
Tensor<T> extreme(const Tensor<T>& x, const Axes& axes, KeepDims keep, const Caller& where) {
  const char* name = ExtremePrimitive<which, T>::name;
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
Tensor<T> max(const Tensor<T>& x, Axes axes, KeepDims keep, Caller where) {
  return detail::extreme<detail::Extreme::largest>(x, axes, keep, where);
}

template <Real T>
Tensor<T> min(const Tensor<T>& x, Axes axes, KeepDims keep, Caller where) {
  return detail::extreme<detail::Extreme::smallest>(x, axes, keep, where);
}

namespace detail {
namespace {

template <class T>
struct ArgmaxPrimitive {
  static constexpr const char* name = "argmax";
  using Attributes = Group;

  static void evaluate(const Group& group, Operands x, Results y) {
    const Handle largest(allocate_like<T>(y[0]->shape));
    Array* const results[] = {largest.array()};
    ExtremePrimitive<Extreme::largest, T>::evaluate(group, x, results);
    const AxisView view = group.view(x[0]->shape);
    kernels::kernels<T>().find(x[0]->as<T>(), largest.array()->template as<T>(), elements<std::int64_t>(y[0]),
                               view.outer, view.count, view.inner);
    make_indices(y[0], view.inner, view.count);
  }
};

}  // namespace
}  // namespace detail

template <Real T>
Tensor<std::int64_t> argmax(const Tensor<T>& x, int axis, Caller where) {
  using namespace detail;
  const Shape& shape = value_of(x, "argmax", where).shape;
  const std::int64_t at = normalize_axis(axis, shape.rank(), "argmax", shape, where);
  reduced_count(shape, 1U << at, "argmax", where);
  const Group group(static_cast<std::size_t>(shape.rank() - at), 1, false);
  return Tensor<std::int64_t>(
      apply<ArgmaxPrimitive<T>>({&x.handle()}, allocate_like<std::int64_t>(group.reduced(shape)), where, group));
}

template Tensor<float> sum(const Tensor<float>&, Axes, KeepDims, Caller);
template Tensor<double> sum(const Tensor<double>&, Axes, KeepDims, Caller);
template Tensor<float> mean(const Tensor<float>&, Axes, KeepDims, Caller);
template Tensor<double> mean(const Tensor<double>&, Axes, KeepDims, Caller);
template Tensor<float> max(const Tensor<float>&, Axes, KeepDims, Caller);
template Tensor<double> max(const Tensor<double>&, Axes, KeepDims, Caller);
template Tensor<float> min(const Tensor<float>&, Axes, KeepDims, Caller);
template Tensor<double> min(const Tensor<double>&, Axes, KeepDims, Caller);
template Tensor<std::int64_t> argmax(const Tensor<float>&, int, Caller);
template Tensor<std::int64_t> argmax(const Tensor<double>&, int, Caller);

}  // namespace tapegrad
