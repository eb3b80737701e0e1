#pragma once
// Operations that only rules and sweeps use.

#include <span>

#include "../ops.hpp"
#include "../tape/primitive.hpp"

namespace tapegrad::detail {

/// sum += term, in place if nobody else holds the array. `sum` must not be empty.
void add_to_sum(Handle& sum, Handle term);
/// The same, but an empty sum becomes the first term.
inline void add_term(Handle& sum, Handle term) {
  if (sum)
    add_to_sum(sum, std::move(term));
  else
    sum = std::move(term);
}

// Axes are counted from the end; each is differentiable.

/// v with `axes` axes of size 1 inserted, the first of which is axis `from_end` of the result.
template <Real T>
Tensor<T> insert_axes(const Tensor<T>& v, std::size_t from_end, std::size_t axes);
/// The sum over the `axes` axes that begin at `from_end`.
template <Real T>
Tensor<T> sum_group(const Tensor<T>& x, std::size_t from_end, std::size_t axes, bool keep, const Caller& where);
/// The running sum along an axis; from its far end if `reverse`.
template <Real T>
Tensor<T> cumsum_along(const Tensor<T>& x, std::size_t from_end, bool reverse, const Caller& where);
/// The part of x at its places, with `count` elements along the axis: slice, take or take_along.
template <class T>
Tensor<T> part_of(const Tensor<T>& x, const Placed& placed, std::int64_t count, const Caller& where);
/// Its transpose: x at its places in zeros, with `size` elements along the axis, added where places meet.
template <Real T>
Tensor<T> put(const Tensor<T>& x, const Placed& placed, std::int64_t size, const Caller& where);
/// The same for many parts at once. `whole` is the shape including the parts' seed axes.
struct Part {
  Handle v;
  Placement at;
  Handle indices = {};
};
template <Real T>
Tensor<T> put_parts(std::span<const Part> parts, const Shape& whole, const Caller& where);
/// x with two axes exchanged.
template <class T>
Tensor<T> swap_axes(const Tensor<T>& x, std::size_t from_end, std::size_t other_from_end, const Caller& where);
/// The product a b of matrices or batches of them, by strong-zero products, since one of them is a Jacobian or a
/// tangent.
template <Real T>
Tensor<T> strong_matmul(const Tensor<T>& a, const Tensor<T>& b);
/// v summed over the axes that broadcasting added or repeated, to `shape`; both begin with the same `seeds` axes.
template <Real T>
Tensor<T> sum_to(const Tensor<T>& v, const Shape& shape, std::int64_t seeds, const Caller& where);

}  // namespace tapegrad::detail
