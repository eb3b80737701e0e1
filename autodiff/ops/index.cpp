// slice, x[i], take, take_along, concatenate, sort: choosing elements. Each choice is linear; its transpose puts the
// elements back into zeros, and is a primitive too.

#include <algorithm>
#include <numeric>

#include "../kernels/kernels.hpp"
#include "axes.hpp"
#include "broadcast.hpp"
#include "internal.hpp"
#include "operands.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {
namespace {

constexpr std::int8_t small(std::size_t axis) { return static_cast<std::int8_t>(axis); }

std::size_t axis_of(const Call& call) { return static_cast<std::size_t>(call.attributes().axes[0]); }

std::optional<BatchAxis> other_axes_rows(const Call& call, std::span<const BatchAxis> axes) {
  for (BatchAxis axis : axes) {
    if (axis == call.attributes().axes[0]) return std::nullopt;
  }
  return rows_agree(call, axes);
}

Shape with_size(const Shape& shape, std::size_t from_end, std::int64_t size) {
  Shape out = shape;
  out[shape.rank() - from_end] = size;
  return out;
}

// ------------------------------------------------------------------------------------------------ slice, embed

// Every `step`th element from `start` along an axis, and its transpose: the elements put there, zeros elsewhere.
template <class T>
Tensor<T> slice_along(const Tensor<T>& x, std::size_t from_end, std::int64_t start, std::int64_t step,
                      std::int64_t count, const Where& where);
template <class T>
Tensor<T> embed_along(const Tensor<T>& x, std::size_t from_end, std::int64_t start, std::int64_t step,
                      std::int64_t size, const Where& where);

// The start is the record's scalar, a step other than 1 its constant.
Attributes part_from(std::size_t from_end, std::int64_t start, const Tensor<std::int64_t>& step) {
  return {.scalar = static_cast<double>(start), .axes = {small(from_end)}, .constant = step.handle().array()};
}
std::int64_t start_of(const Call& call) { return static_cast<std::int64_t>(call.attributes().scalar); }
std::int64_t step_of(const Call& call) {
  const Array* step = call.attributes().constant;
  return step ? *step->as<std::int64_t>() : 1;
}
Tensor<std::int64_t> unless_one(std::int64_t step) {
  return step == 1 ? Tensor<std::int64_t>() : Tensor<std::int64_t>(step);
}

template <class T>
Handle slice_again(const Call& call, const Handle& v, std::int64_t count) {
  return slice_along(Tensor<T>(v), axis_of(call), start_of(call), step_of(call), count, call.where()).handle();
}
template <class T>
Handle embed_again(const Call& call, const Handle& v, std::int64_t size) {
  return embed_along(Tensor<T>(v), axis_of(call), start_of(call), step_of(call), size, call.where()).handle();
}

// body(a run of the whole, the same run of the part, their length), for the part from `start` on of a whole of `size`
// along an axis; `part` is the part's view.
template <class Body>
void for_each_run(const AxisView& part, std::int64_t size, std::int64_t start, std::int64_t step, Body body) {
  const std::int64_t runs = step == 1 ? 1 : part.count, length = part.inner * (step == 1 ? part.count : 1);
  for (std::int64_t o = 0; o < part.outer; ++o) {
    for (std::int64_t r = 0; r < runs; ++r) {
      body((o * size + start + r * step) * part.inner, (o * part.count + r) * part.inner, length);
    }
  }
}

// to += the part at its places; nothing else is touched.
template <class T>
void add_part(const Array& part, const Places& places, std::int64_t size, T* to) {
  const AxisView view = around(part.shape, part.shape.rank() - places.axis);
  const T* from = part.as<T>();
  if (!places.indices) {
    for_each_run(view, size, places.start, places.step, [&](std::int64_t at, std::int64_t of_part, std::int64_t n) {
      kernels::kernels<T>().add_to(to + at, from + of_part, n);
    });
    return;
  }
  for (std::int64_t o = 0; o < view.outer; ++o) {
    const std::int64_t* index = places.indices + o % places.index_rows * view.count;
    for (std::int64_t c = 0; c < view.count; ++c, from += view.inner) {
      T* at = to + (o * size + index[c]) * view.inner;
      for (std::int64_t i = 0; i < view.inner; ++i) at[i] += from[i];
    }
  }
}

template <class T>
bool accumulate_part(const Call& call, std::size_t, Handle& v, bool, Handle& sum) {
  const Shape& whole = call.operand_shape(0);
  if (!sum) sum = zeros<T>(seeded(v, call.output_shape(), whole)).handle();
  const Places places = call.primitive().places(call);
  add_part(*v.array(), places, whole.from_end(places.axis), elements<T>(sum.array()));
  return true;
}

// Where neighbours along the axis are a whole block, a part of it moves as one.
bool carry_part(Carry& carry, std::size_t axis, std::int64_t offset, std::int64_t step) {
  const bool whole = carry.call.operand_shape(carry.k).from_end(axis) == carry.in.m &&
                     carry.call.output_shape().from_end(axis) == carry.out.m;
  if (!whole || step != 1 || carry.out.m <= 1) return false;
  carry.add_moved(offset);
  return true;
}
bool slice_carry(Carry& carry) {
  return carry_part(carry, axis_of(carry.call), -start_of(carry.call), step_of(carry.call));
}
bool embed_carry(Carry& carry) {
  return carry_part(carry, axis_of(carry.call), start_of(carry.call), step_of(carry.call));
}

Places slice_places(const Call& call) {
  return {.axis = axis_of(call), .start = start_of(call), .step = step_of(call)};
}

template <class T>
constexpr Primitive slice_primitive{
    .name = "slice",
    .pullback = [](const Call& call, std::size_t,
                   const Handle& v) { return embed_again<T>(call, v, call.operand_shape(0).from_end(axis_of(call))); },
    .pushforward = [](const Call& call, std::size_t,
                      const Handle& v) { return slice_again<T>(call, v, call.output_shape().from_end(axis_of(call))); },
    .rows = other_axes_rows,
    .accumulate = accumulate_part<T>,
    .places = slice_places,
    .carry = slice_carry};

template <class T>
constexpr Primitive embed_primitive{
    .name = "embed",
    .pullback = [](const Call& call, std::size_t,
                   const Handle& v) { return slice_again<T>(call, v, call.operand_shape(0).from_end(axis_of(call))); },
    .pushforward = [](const Call& call, std::size_t,
                      const Handle& v) { return embed_again<T>(call, v, call.output_shape().from_end(axis_of(call))); },
    .rows = other_axes_rows,
    .carry = embed_carry};

template <class T>
Tensor<T> slice_along(const Tensor<T>& x, std::size_t from_end, std::int64_t start, std::int64_t step,
                      std::int64_t count, const Where& where) {
  const Array& in = value_of(x, "slice", where);
  Array* out = allocate_like<T>(with_size(in.shape, from_end, count));
  for_each_run(around(out->shape, in.shape.rank() - from_end), in.shape.from_end(from_end), start, step,
               [&](std::int64_t at, std::int64_t of_part, std::int64_t n) {
                 std::copy_n(in.as<T>() + at, n, elements<T>(out) + of_part);
               });
  if constexpr (Real<T>) {
    return Tensor<T>(
        record(slice_primitive<T>, out, {&x.handle()}, where, part_from(from_end, start, unless_one(step))));
  } else {
    return Tensor<T>(Handle(out));
  }
}

template <class T>
Tensor<T> embed_along(const Tensor<T>& x, std::size_t from_end, std::int64_t start, std::int64_t step,
                      std::int64_t size, const Where& where) {
  const Array& in = value_of(x, "embed", where);
  Array* out = allocate_like<T>(with_size(in.shape, from_end, size));
  std::fill_n(elements<T>(out), out->shape.count(), T{0});
  for_each_run(around(in.shape, in.shape.rank() - from_end), size, start, step,
               [&](std::int64_t at, std::int64_t of_part, std::int64_t n) {
                 std::copy_n(in.as<T>() + of_part, n, elements<T>(out) + at);
               });
  return Tensor<T>(record(embed_primitive<T>, out, {&x.handle()}, where, part_from(from_end, start, unless_one(step))));
}

// ------------------------------------------------------------------------------------------------ x[i]

// Element, row, ... `at` along an axis, which disappears. Its transpose is embed.
template <class T>
Tensor<T> subtensor_along(const Tensor<T>& x, std::size_t from_end, std::int64_t at, const Where& where);

std::int64_t index_of(const Call& call) { return static_cast<std::int64_t>(call.attributes().scalar); }

Places subtensor_places(const Call& call) { return {.axis = axis_of(call), .start = index_of(call)}; }

// accumulate_part in a few instructions. Axes before that of the index are the operand's or of seeds.
template <class T>
bool subtensor_accumulate(const Call& call, std::size_t, Handle& v, bool, Handle& sum) {
  const Shape& to = call.operand_shape(0);
  if (!sum) sum = zeros<T>(seeded(v, call.output_shape(), to)).handle();
  const std::size_t axis = to.rank() - axis_of(call);
  const std::int64_t inner = to.count(axis + 1, to.rank()), block = to[axis] * inner, size = v.shape().count();
  const T *in = v.array()->as<T>(), *end = in + size;
  T* out = elements<T>(sum.array()) + index_of(call) * inner;
  for (; in != end; in += inner, out += block) {
    for (std::int64_t i = 0; i < inner; ++i) out[i] += in[i];
  }
  return true;
}

// Counted from the end, the other axes stay where they are.
std::optional<BatchAxis> subtensor_rows(const Call& call, std::span<const BatchAxis> axes) {
  if (axes[0] == call.attributes().axes[0]) return std::nullopt;
  return axes[0];
}

bool subtensor_carry(Carry& carry) {
  const std::int64_t size = carry.out.m;
  const Shape& from = carry.call.operand_shape(0);
  if (size <= 1 || axis_of(carry.call) != from.rank() || carry.in.m != from.count()) return false;
  carry.add_moved(-index_of(carry.call) * size);
  return true;
}

template <class T>
constexpr Primitive subtensor_primitive{
    .name = "x[i]",
    .pullback =
        [](const Call& call, std::size_t, const Handle& v) {
          const std::size_t axis = axis_of(call);
          return embed_along(insert_axes(Tensor<T>(v), axis, 1), axis, index_of(call), 1,
                             call.operand_shape(0).from_end(axis), call.where())
              .handle();
        },
    .pushforward =
        [](const Call& call, std::size_t, const Handle& v) {
          return subtensor_along(Tensor<T>(v), axis_of(call), index_of(call), call.where()).handle();
        },
    .rows = subtensor_rows,
    .accumulate = subtensor_accumulate<T>,
    .places = subtensor_places,
    .carry = subtensor_carry};

template <class T>
Tensor<T> subtensor_along(const Tensor<T>& x, std::size_t from_end, std::int64_t at, const Where& where) {
  const Array& in = *x.handle().array();
  const std::size_t axis = in.shape.rank() - from_end;
  Shape rest = in.shape.prefix(axis);
  for (std::size_t i = axis + 1; i < in.shape.rank(); ++i) rest.push_back(in.shape[i]);
  Array* out = allocate_like<T>(rest);
  const std::int64_t inner = in.shape.count(axis + 1, in.shape.rank()), block = in.shape[axis] * inner;
  const T* from = in.as<T>() + at * inner;
  T* to = elements<T>(out);
  for (std::int64_t o = in.shape.count(0, axis); o > 0; --o, from += block) to = std::copy_n(from, inner, to);
  if constexpr (Real<T>) {
    return Tensor<T>(record(subtensor_primitive<T>, out, {&x.handle()}, where,
                            {.scalar = static_cast<double>(at), .axes = {small(from_end)}}));
  } else {
    return Tensor<T>(Handle(out));
  }
}

[[noreturn, gnu::cold]] void throw_no_subtensor(const Shape& shape, std::int64_t i, const Where& where) {
  const std::string begin =
      "x[i]" + to_string(where) + ": index " + std::to_string(i) + " of a tensor of shape " + to_string(shape);
  if (shape.rank() == 0) throw ShapeError(begin + ", which has no axis; use the tensor itself");
  if (shape[0] == 0) throw ShapeError(begin + ", whose first axis is empty");
  throw ShapeError(begin + "; indices along its first axis go from " + std::to_string(-shape[0]) + " to " +
                   std::to_string(shape[0] - 1));
}

}  // namespace

template <class T>
Tensor<T> subtensor(const Tensor<T>& x, std::int64_t i, const Where& where) {
  const Shape& shape = value_of(x, "x[i]", where).shape;
  const std::int64_t size = shape.rank() == 0 ? 0 : shape[0], at = i < 0 ? i + size : i;
  if (at < 0 || at >= size) throw_no_subtensor(shape, i, where);
  return subtensor_along(x, shape.rank(), at, where);
}

template Tensor<float> subtensor(const Tensor<float>&, std::int64_t, const Where&);
template Tensor<double> subtensor(const Tensor<double>&, std::int64_t, const Where&);
template Tensor<std::int64_t> subtensor(const Tensor<std::int64_t>&, std::int64_t, const Where&);
template Tensor<bool> subtensor(const Tensor<bool>&, std::int64_t, const Where&);

namespace {

// ------------------------------------------------------------------------------------------------ take, put

// Elements at the (flat, checked) indices along an axis, and its transpose, which adds where an index recurs.
template <class T>
Tensor<T> take_flat(const Tensor<T>& x, const Array& indices, std::size_t from_end, const Where& where);
template <class T>
Tensor<T> put_flat(const Tensor<T>& x, const Array& indices, std::size_t from_end, std::int64_t size,
                   const Where& where);

template <class T>
Handle take_again(const Call& call, std::size_t, const Handle& v) {
  return take_flat(Tensor<T>(v), *call.attributes().constant, axis_of(call), call.where()).handle();
}
template <class T>
Handle put_again(const Call& call, const Handle& v, const Shape& target) {
  return put_flat(Tensor<T>(v), *call.attributes().constant, axis_of(call), target.from_end(axis_of(call)),
                  call.where())
      .handle();
}
Places indexed_places(std::size_t from_end, const Array& indices) {
  return {.axis = from_end, .indices = indices.as<std::int64_t>()};
}
Places take_places(const Call& call) { return indexed_places(axis_of(call), *call.attributes().constant); }
template <class T>
constexpr Primitive take_primitive{
    .name = "take",
    .pullback = [](const Call& call, std::size_t,
                   const Handle& v) { return put_again<T>(call, v, call.operand_shape(0)); },
    .pushforward = take_again<T>,
    .rows = other_axes_rows,
    .accumulate = accumulate_part<T>,
    .places = take_places};
template <class T>
constexpr Primitive put_primitive{
    "put", take_again<T>,
    [](const Call& call, std::size_t, const Handle& v) { return put_again<T>(call, v, call.output_shape()); },
    other_axes_rows};

Attributes indexed(std::size_t from_end, const Array& indices) {
  return {.axes = {small(from_end)}, .constant = const_cast<Array*>(&indices)};
}

template <class T>
Tensor<T> take_flat(const Tensor<T>& x, const Array& indices, std::size_t from_end, const Where& where) {
  const Array& in = value_of(x, "take", where);
  const AxisView view = around(in.shape, in.shape.rank() - from_end);
  const std::int64_t count = indices.shape.count();
  Array* out = allocate_like<T>(with_size(in.shape, from_end, count));
  T* to = elements<T>(out);
  for (std::int64_t o = 0; o < view.outer; ++o) {
    for (std::int64_t c = 0; c < count; ++c) {
      to = std::copy_n(in.as<T>() + (o * view.count + indices.as<std::int64_t>()[c]) * view.inner, view.inner, to);
    }
  }
  if constexpr (Real<T>) {
    return Tensor<T>(record(take_primitive<T>, out, {&x.handle()}, where, indexed(from_end, indices)));
  } else {
    return Tensor<T>(Handle(out));
  }
}

template <class T>
Tensor<T> put_flat(const Tensor<T>& x, const Array& indices, std::size_t from_end, std::int64_t size,
                   const Where& where) {
  const Array& in = value_of(x, "put", where);
  Array* out = allocate_like<T>(with_size(in.shape, from_end, size));
  std::fill_n(elements<T>(out), out->shape.count(), T{0});
  add_part(in, indexed_places(from_end, indices), size, elements<T>(out));
  return Tensor<T>(record(put_primitive<T>, out, {&x.handle()}, where, indexed(from_end, indices)));
}

// ------------------------------------------------------------------------------------------------ take_along, put

// The same with an own row of indices for each row of the last axis.

template <class T>
Handle take_rows_again(const Call& call, std::size_t, const Handle& v) {
  return take_rows(Tensor<T>(v), *call.attributes().constant, call.where()).handle();
}
struct IndexRows {
  std::int64_t rows, own, count;  // rows of x, rows of indices, indices in a row
  IndexRows(const Shape& x, const Shape& indices)
      : rows(x.prefix(x.rank() - 1).count()), own(indices.prefix(indices.rank() - 1).count()), count(indices.back()) {}
};

Places row_places(const Array& indices) {
  const std::int64_t rows = indices.shape.prefix(indices.shape.rank() - 1).count();
  return {.axis = 1, .indices = indices.as<std::int64_t>(), .index_rows = rows};
}
Places take_along_places(const Call& call) { return row_places(*call.attributes().constant); }
template <class T>
constexpr Primitive take_along_primitive{.name = "take_along",
                                         .pullback =
                                             [](const Call& call, std::size_t, const Handle& v) {
                                               return put_rows(Tensor<T>(v), *call.attributes().constant,
                                                               call.operand_shape(0).back(), call.where())
                                                   .handle();
                                             },
                                         .pushforward = take_rows_again<T>,
                                         .rows = other_axes_rows,
                                         .accumulate = accumulate_part<T>,
                                         .places = take_along_places};
template <class T>
constexpr Primitive put_along_primitive{
    "put_along", take_rows_again<T>,
    [](const Call& call, std::size_t, const Handle& v) {
      return put_rows(Tensor<T>(v), *call.attributes().constant, call.output_shape().back(), call.where()).handle();
    },
    other_axes_rows};

}  // namespace

template <class T>
Tensor<T> take_rows(const Tensor<T>& x, const Array& indices, const Where& where) {
  const Array& in = value_of(x, "take_along", where);
  const IndexRows n(in.shape, indices.shape);
  Array* out = allocate_like<T>(with_size(in.shape, 1, n.count));
  for (std::int64_t r = 0; r < n.rows; ++r) {
    const std::int64_t* index = indices.as<std::int64_t>() + (r % n.own) * n.count;
    for (std::int64_t j = 0; j < n.count; ++j) {
      elements<T>(out)[r * n.count + j] = in.as<T>()[r * in.shape.back() + index[j]];
    }
  }
  if constexpr (Real<T>) {
    return Tensor<T>(record(take_along_primitive<T>, out, {&x.handle()}, where, indexed(1, indices)));
  } else {
    return Tensor<T>(Handle(out));
  }
}

template <Real T>
Tensor<T> put_rows(const Tensor<T>& x, const Array& indices, std::int64_t size, const Where& where) {
  const Array& in = value_of(x, "put_along", where);
  Array* out = allocate_like<T>(with_size(in.shape, 1, size));
  std::fill_n(elements<T>(out), out->shape.count(), T{0});
  add_part(in, row_places(indices), size, elements<T>(out));
  return Tensor<T>(record(put_along_primitive<T>, out, {&x.handle()}, where, indexed(1, indices)));
}

template Tensor<float> take_rows(const Tensor<float>&, const Array&, const Where&);
template Tensor<double> take_rows(const Tensor<double>&, const Array&, const Where&);
template Tensor<float> put_rows(const Tensor<float>&, const Array&, std::int64_t, const Where&);
template Tensor<double> put_rows(const Tensor<double>&, const Array&, std::int64_t, const Where&);

namespace {

// ------------------------------------------------------------------------------------------------ put_parts

// The record's constant: where each part's numbers end, then these: axis, start, step, rows of indices, the indices.
constexpr std::int64_t places_head = 4;
Places places_of(const Call& call, std::size_t k) {
  const std::int64_t* ends = call.attributes().constant->as<std::int64_t>();
  const std::int64_t begin = k == 0 ? static_cast<std::int64_t>(call.operand_count()) : ends[k - 1];
  const std::int64_t *n = ends + begin, *indices = ends[k] > begin + places_head ? n + places_head : nullptr;
  return {static_cast<std::size_t>(n[0]), n[1], n[2], indices, n[3]};
}
std::int64_t index_count(const Part& part) {
  const Places& p = part.places;
  return p.indices ? p.index_rows * part.v.shape().from_end(p.axis) : 0;
}
Tensor<std::int64_t> all_places(std::span<const Part> parts) {
  std::int64_t end = static_cast<std::int64_t>(parts.size()), size = end;
  for (const Part& part : parts) size += places_head + index_count(part);
  Tensor<std::int64_t> all(Handle(allocate_like<std::int64_t>({size})));
  std::int64_t *ends = all.mutable_data(), *n = ends + end;
  for (const Part& part : parts) {
    const Places& p = part.places;
    *ends++ = end += places_head + index_count(part);
    n = std::ranges::copy(std::array{static_cast<std::int64_t>(p.axis), p.start, p.step, p.index_rows}, n).out;
    if (p.indices) n = std::copy_n(p.indices, index_count(part), n);
  }
  return all;
}

template <class T>
Handle put_parts_pullback(const Call& call, std::size_t k, const Handle& v) {
  const Places p = places_of(call, k);
  const Tensor<T> whole(v);
  const std::int64_t count = call.operand_shape(k).from_end(p.axis);
  if (!p.indices) return slice_along(whole, p.axis, p.start, p.step, count, call.where()).handle();
  Tensor<std::int64_t> indices(Handle(allocate_like<std::int64_t>({p.index_rows, count})));
  std::copy_n(p.indices, p.index_rows * count, indices.mutable_data());
  const Array& all = *indices.handle().array();
  return (p.index_rows == 1 ? take_flat(whole, all, p.axis, call.where()) : take_rows(whole, all, call.where()))
      .handle();
}
template <class T>
Handle put_parts_pushforward(const Call& call, std::span<const Handle> tangents) {
  std::vector<Part, PoolAllocator<Part>> parts;
  Shape whole;
  for (std::size_t k = 0; k < tangents.size(); ++k) {
    if (!tangents[k]) continue;
    whole = seeded(tangents[k], call.operand_shape(k), call.output_shape());
    parts.push_back({tangents[k], places_of(call, k)});
  }
  return put_parts<T>(parts, whole, call.where()).handle();
}
std::optional<BatchAxis> put_parts_rows(const Call& call, std::span<const BatchAxis> axes) {
  for (std::size_t k = 0; k < axes.size(); ++k) {
    const Places p = places_of(call, k);
    const bool moves = p.indices || call.operand_shape(k).from_end(p.axis) != call.output_shape().from_end(p.axis);
    if (moves && axes[k] == static_cast<BatchAxis>(p.axis)) return std::nullopt;
  }
  return rows_agree(call, axes);
}
bool put_parts_carry(Carry& carry) {
  const Places p = places_of(carry.call, carry.k);
  return !p.indices && carry_part(carry, p.axis, p.start, p.step);
}

template <class T>
constexpr Primitive put_parts_primitive{
    .name = "put_parts",
    .pullback = put_parts_pullback<T>,
    .pushforward =
        [](const Call& call, std::size_t k, const Handle& v) {
          const Part part{v, places_of(call, k)};
          return put_parts<T>({&part, 1}, seeded(v, call.operand_shape(k), call.output_shape()), call.where()).handle();
        },
    .rows = put_parts_rows,
    .pushforward_all = put_parts_pushforward<T>,
    .carry = put_parts_carry};

}  // namespace

template <Real T>
Tensor<T> put_parts(std::span<const Part> parts, const Shape& whole, const Where& where) {
  std::vector<const Handle*, PoolAllocator<const Handle*>> operands;
  for (const Part& part : parts) operands.push_back(&part.v);
  const bool traced = std::ranges::any_of(parts, [](const Part& part) { return part.v.traced(); });
  const Tensor<std::int64_t> places = traced ? all_places(parts) : Tensor<std::int64_t>();
  Array* out = allocate_like<T>(whole);
  std::fill_n(elements<T>(out), whole.count(), T{0});
  for (const Part& part : parts) {
    add_part(*part.v.array(), part.places, whole.from_end(part.places.axis), elements<T>(out));
  }
  return Tensor<T>(record(put_parts_primitive<T>, out, operands, where, {.constant = places.handle().array()}));
}
template Tensor<float> put_parts(std::span<const Part>, const Shape&, const Where&);
template Tensor<double> put_parts(std::span<const Part>, const Shape&, const Where&);

namespace {

// ------------------------------------------------------------------------------------------------ concatenate

// Where each part begins, and the end: kept with the record, since to add them up for each part again would be
// quadratic.
std::int64_t offset_of(const Call& call, std::size_t k) { return call.attributes().constant->as<std::int64_t>()[k]; }
bool concatenate_carry(Carry& carry) {
  return carry_part(carry, axis_of(carry.call), offset_of(carry.call, carry.k), 1);
}

template <class T>
bool concatenate_accumulate(const Call& call, std::size_t k, Handle& v, bool, Handle& sum) {
  const std::size_t axis = axis_of(call);
  const Shape &own = call.operand_shape(k), whole = seeded(v, call.output_shape(), own);
  const bool add = static_cast<bool>(sum);
  if (!add) sum = Handle(allocate_like<T>(whole));
  const T* from = v.array()->as<T>();
  T* to = elements<T>(sum.array());
  for_each_run(around(whole, whole.rank() - axis), v.shape().from_end(axis), offset_of(call, k), 1,
               [&](std::int64_t at, std::int64_t of_part, std::int64_t n) {
                 if (add)
                   kernels::kernels<T>().add_to(to + of_part, from + at, n);
                 else
                   std::copy_n(from + at, n, to + of_part);
               });
  return true;
}

// All tangents at once: each alone would be embedded in zeros of the whole.
template <class T>
Handle concatenate_pushforward(const Call& call, std::span<const Handle> tangents) {
  const Handle& given = *std::ranges::find_if(tangents, [](const Handle& t) { return static_cast<bool>(t); });
  const auto k = static_cast<std::size_t>(&given - tangents.data());
  std::vector<Tensor<T>, PoolAllocator<Tensor<T>>> parts;
  for (std::size_t i = 0; i < tangents.size(); ++i) {
    parts.push_back(tangents[i] ? Tensor<T>(tangents[i])
                                : zeros<T>(seeded(given, call.operand_shape(k), call.operand_shape(i))));
  }
  return concatenate(std::span<const Tensor<T>>(parts), -static_cast<int>(axis_of(call)), call.where()).handle();
}

template <class T>
constexpr Primitive concatenate_primitive{
    .name = "concatenate",
    .pullback =
        [](const Call& call, std::size_t k, const Handle& v) {
          return slice_along(Tensor<T>(v), axis_of(call), offset_of(call, k), 1,
                             call.operand_shape(k).from_end(axis_of(call)), call.where())
              .handle();
        },
    .pushforward =
        [](const Call& call, std::size_t k, const Handle& v) {
          return embed_along(Tensor<T>(v), axis_of(call), offset_of(call, k), 1,
                             call.output_shape().from_end(axis_of(call)), call.where())
              .handle();
        },
    .rows = other_axes_rows,
    .pushforward_all = concatenate_pushforward<T>,
    .accumulate = concatenate_accumulate<T>,
    .carry = concatenate_carry};

// ------------------------------------------------------------------------------------------------ indices

// Indices -size..size-1 as 0..size-1.
Tensor<std::int64_t> normalised(const Tensor<std::int64_t>& indices, std::int64_t size, const char* name,
                                const Where& where) {
  value_of(indices, name, where);
  Tensor<std::int64_t> result = indices;
  for (std::int64_t i = 0; i < indices.size(); ++i) {
    const std::int64_t index = indices.data()[i];
    if (index < -size || index >= size) {
      throw ValueError(std::string(name) + to_string(where) + ": index " + std::to_string(index) + " at position " +
                       std::to_string(i) + " is out of range for an axis of size " + std::to_string(size));
    }
    if (index < 0) result.mutable_data()[i] = index + size;
  }
  return result;
}

}  // namespace

void list_index(std::vector<const Primitive*>& all) {
  all.insert(all.end(), {&slice_primitive<double>, &embed_primitive<double>, &subtensor_primitive<double>,
                         &take_primitive<double>, &put_primitive<double>, &take_along_primitive<double>,
                         &put_along_primitive<double>, &put_parts_primitive<double>, &concatenate_primitive<double>});
}

}  // namespace detail

template <class T>
Tensor<T> slice(const Tensor<T>& x, int axis, std::int64_t start, std::int64_t stop, std::int64_t step, Where where) {
  const Shape& shape = detail::value_of(x, "slice", where).shape;
  const std::size_t at = detail::normalise_axis(axis, shape.rank(), "slice", shape, where);
  if (step < 1) throw ValueError("slice" + to_string(where) + ": step " + std::to_string(step) + "; use 1 or more");
  const std::int64_t size = shape[at];
  auto bound = [&](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + size : i, 0, size); };
  const std::int64_t from = bound(start), length = std::max<std::int64_t>(bound(stop) - from, 0);
  const std::int64_t count = length / step + (length % step != 0);
  return detail::slice_along(x, shape.rank() - at, from, step, count, where);
}

template <class T>
Tensor<T> take(const Tensor<T>& x, const Tensor<std::int64_t>& indices, int axis, Where where) {
  const Shape& shape = detail::value_of(x, "take", where).shape;
  const std::size_t at = detail::normalise_axis(axis, shape.rank(), "take", shape, where);
  const Tensor<std::int64_t> checked = detail::normalised(indices, shape[at], "take", where);
  const Tensor<T> y = detail::take_flat(x, *checked.handle().array(), shape.rank() - at, where);
  if (indices.rank() == 1) return y;
  return reshape(y, shape.prefix(at).concat(indices.shape()).concat(shape.suffix(at + 1)), where);
}

template <class T>
Tensor<T> take_along(const Tensor<T>& x, const Tensor<std::int64_t>& indices, Where where) {
  const Shape &shape = detail::value_of(x, "take_along", where).shape,
              &wanted = detail::value_of(indices, "take_along", where).shape;
  if (shape.rank() == 0 || wanted.rank() != shape.rank() ||
      wanted.prefix(shape.rank() - 1) != shape.prefix(shape.rank() - 1)) {
    throw ShapeError("take_along" + to_string(where) + ": indices of shape " + to_string(wanted) +
                     " for a tensor of shape " + to_string(shape) + "; all axes but the last must agree");
  }
  const Tensor<std::int64_t> checked = detail::normalised(indices, shape.back(), "take_along", where);
  return detail::take_rows(x, *checked.handle().array(), where);
}

template <class T>
Tensor<T> concatenate(std::span<const Tensor<T>> parts, int axis, Where where) {
  using namespace detail;
  if (parts.empty()) throw ShapeError("concatenate" + to_string(where) + ": no tensors to put together");
  const Shape& first = value_of(parts[0], "concatenate", where).shape;
  const std::size_t at = normalise_axis(axis, first.rank(), "concatenate", first, where);
  const std::size_t from_end = first.rank() - at;
  std::int64_t total = 0;
  for (const Tensor<T>& part : parts) {
    const Shape& shape = value_of(part, "concatenate", where).shape;
    if (shape.rank() != first.rank() || with_size(shape, from_end, 1) != with_size(first, from_end, 1)) {
      throw ShapeError("concatenate" + to_string(where) + ": shapes " + to_string(first) + " and " + to_string(shape) +
                       " differ off axis " + std::to_string(axis));
    }
    total += shape[at];
  }
  Array* out = allocate_like<T>(with_size(first, from_end, total));
  const AxisView view = around(out->shape, at);
  T* to = elements<T>(out);
  for (std::int64_t o = 0; o < view.outer; ++o) {
    for (const Tensor<T>& part : parts) {
      const std::int64_t block = part.shape()[at] * view.inner;
      to = std::copy_n(elements_of(part) + o * block, block, to);
    }
  }
  if constexpr (Real<T>) {
    std::vector<const Handle*, PoolAllocator<const Handle*>> operands;
    for (const Tensor<T>& part : parts) operands.push_back(&part.handle());
    Tensor<std::int64_t> offsets(Handle(allocate_like<std::int64_t>({static_cast<std::int64_t>(parts.size())})));
    std::int64_t* offset = offsets.mutable_data();
    std::int64_t begin = 0;
    for (const Tensor<T>& part : parts) *offset++ = std::exchange(begin, begin + part.shape()[at]);
    return Tensor<T>(
        record(concatenate_primitive<T>, out, operands, where, indexed(from_end, *offsets.handle().array())));
  } else {
    return Tensor<T>(Handle(out));
  }
}

// Sorting is a take_along with the indices that sort.
template <Real T>
Tensor<T> sort(const Tensor<T>& x, Where where) {
  const detail::Array& in = detail::value_of(x, "sort", where);
  const Shape& shape = in.shape;
  if (shape.rank() == 0) throw ShapeError("sort" + to_string(where) + ": a scalar has no axis to sort along");
  Tensor<std::int64_t> order(detail::Handle(detail::allocate_like<std::int64_t>(shape)));
  const std::int64_t cols = shape.back(), rows = shape.prefix(shape.rank() - 1).count();
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* row = in.as<T>() + r * cols;
    std::int64_t* index = order.mutable_data() + r * cols;
    std::iota(index, index + cols, std::int64_t{0});
    // Ties by position: as stable as std::stable_sort, which would take memory from the heap.
    std::sort(index, index + cols, [row](std::int64_t i, std::int64_t j) {
      const bool i_is_number = row[i] == row[i], j_is_number = row[j] == row[j];
      if (i_is_number && j_is_number && row[i] != row[j]) return row[i] < row[j];
      return i_is_number != j_is_number ? i_is_number : i < j;
    });
  }
  return detail::take_rows(x, *order.handle().array(), where);
}

namespace {

// Makes the functions above for every element type.
template <class T>
constexpr std::tuple functions(&slice<T>, &take<T>, &take_along<T>,
                               static_cast<Tensor<T> (*)(std::span<const Tensor<T>>, int, Where)>(&concatenate<T>));
[[gnu::used]] constexpr auto of_float = functions<float>;
[[gnu::used]] constexpr auto of_double = functions<double>;
[[gnu::used]] constexpr auto of_int64 = functions<std::int64_t>;
[[gnu::used]] constexpr auto of_bool = functions<bool>;

}  // namespace

template Tensor<float> sort(const Tensor<float>&, Where);
template Tensor<double> sort(const Tensor<double>&, Where);

}  // namespace tapegrad
