#pragma once
// Parts of a whole along an axis: moved out of it, put into it, and added to it.

#include <algorithm>

#include "../kernels/kernels.hpp"
#include "../tape/primitive.hpp"
#include "axes.hpp"
#include "operands.hpp"

namespace tapegrad::detail {

inline Shape with_size(const Shape& shape, std::size_t from_end, std::int64_t size) {
  Shape out = shape;
  out[rank_of(shape) - from_end] = size;
  return out;
}

inline AllOf<In<std::int64_t>> indices_of(const Placed& placed) {
  return {placed.indices ? placed.indices->as<std::int64_t>() : nullptr, placed.indices};
}

/// What a command has to know of places: the sizes of the part, and the layout of the whole.
struct Layout {
  AxisView part;
  std::int64_t size;  // the size of the whole along the axis
  Placement at;
  std::int64_t index_rows;  // the axes before this one use them in turn
};
inline Layout layout(const Shape& part, std::int64_t size, const Placement& at, const Array* indices) {
  return {around(part, part.rank() - at.axis), size, at, indices ? indices->shape.count() / part.from_end(at.axis) : 1};
}

/// Calls body(a run of the whole, the same run of the part, their length).
template <class Body>
void for_each_run(const Layout& layout, const std::int64_t* indices, Body body) {
  const AxisView& part = layout.part;
  const bool whole = !indices && layout.at.step == 1;
  const std::int64_t runs = whole ? 1 : part.count, length = part.inner * (whole ? part.count : 1);
  for (std::int64_t o = 0; o < part.outer; ++o) {
    const std::int64_t* row = indices ? indices + o % layout.index_rows * part.count : nullptr;
    for (std::int64_t r = 0; r < runs; ++r) {
      const std::int64_t place = row ? row[r] : layout.at.start + r * layout.at.step;
      body((o * layout.size + place) * part.inner, (o * part.count + r) * part.inner, length);
    }
  }
}

/// A part that is a whole block moves as one: the diagonal is shifted by `offset`.
bool carry_part(Carry& carry, const Placement& at, std::int64_t offset);

/// `part` becomes the elements of `whole` at their places.
template <class T>
void copy_part_out(const Array& whole, const Placed& placed, Array* part) {
  if (part->shape.count() == 0) return;
  const auto body = [of = layout(part->shape, whole.shape.from_end(placed.at.axis), placed.at, placed.indices)](
                        const T* from, const std::int64_t* indices, T* to) {
    for_each_run(of, indices, [=](std::int64_t at, std::int64_t of_part, std::int64_t n) {
      std::copy_n(from + at, n, to + of_part);
    });
  };
  command("copy out", body, in_of<T>(whole), indices_of(placed), out_of<T>(part));
}

/// whole += part at its places; nothing else is touched.
template <class T>
void add_part(const Array& part, const Placed& placed, Array* whole) {
  if (part.shape.count() == 0) return;
  const auto body = [of = layout(part.shape, whole->shape.from_end(placed.at.axis), placed.at, placed.indices)](
                        const T* from, const std::int64_t* indices, T* to) {
    for_each_run(of, indices, [=](std::int64_t at, std::int64_t of_part, std::int64_t n) {
      constexpr std::int64_t few = 8;
      if (n > few) return kernels::kernels<T>().add_to(to + at, from + of_part, n);
      for (std::int64_t i = 0; i < n; ++i) to[at + i] += from[of_part + i];
    });
  };
  command("add at places", body, in_of<T>(part), indices_of(placed), in_out_of<T>(whole));
}

}  // namespace tapegrad::detail
