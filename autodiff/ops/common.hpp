#pragma once
// What the operations share: checked operands, broadcasting, and the internal operations that rules and sweeps use.

#include <array>
#include <string>

#include "../ops.hpp"
#include "../primitive.hpp"

namespace tapegrad::detail {

[[noreturn, gnu::cold]] void throw_no_value(const char* operation, const Where& where);

/// The array of an operand. Throws ValueError for a tensor that was never given a value.
template <class T>
const Array& value_of(const Tensor<T>& x, const char* operation, const Where& where) {
  if (!x.handle()) throw_no_value(operation, where);
  return *x.handle().array();
}

template <class T>
Array* allocate_like(const Shape& shape) {
  return allocate(dtype_of<T>, shape);
}
/// The same for an operation that was given the shape: its errors name it and the user's line.
template <class T>
Array* allocate_result(const Shape& shape, const char* operation, const Where& where) {
  try {
    return allocate_like<T>(shape);
  } catch (const ShapeError& error) {
    throw ShapeError(operation + to_string(where) + ": " + error.what());
  } catch (const Error& error) {
    throw Error(operation + to_string(where) + ": " + error.what());
  }
}
/// An array for the terms that v becomes: v's own after its last use, where nobody else needs it.
template <class T>
Handle array_for(Handle& v, bool last) {
  if (last && unique(v.array())) return std::move(v);
  return Handle(allocate_like<T>(v.shape()));
}
template <class T>
T* elements(Array* array) {
  return array->template as<T>();
}

/// The place of a block of ops/elementwise.hpp in one of its lists; the list's length where it is none of it.
template <class Op, class List>
inline constexpr std::size_t index_in = 0;
template <class Op, class... All>
inline constexpr std::size_t index_in<Op, std::tuple<All...>> = [] {
  std::size_t i = 0;
  static_cast<void>(((std::is_same_v<Op, All> || (++i, false)) || ...));
  return i;
}();
template <class Op, class List>
inline constexpr bool is_in = index_in<Op, List> < std::tuple_size_v<List>;

template <class Op>
concept Passes = requires {
  Op::passes;
};

/// Axis -rank..rank-1 as 0..rank-1.
std::size_t normalise_axis(int axis, std::size_t rank, const char* operation, const Shape& shape, const Where& where);

/// The common shape of two operands, aligned at the last axis.
Shape broadcast(const Shape& a, const Shape& b, const char* operation, const Where& where);

/// Sizes around one axis: x is (outer, count, inner).
struct AxisView {
  std::int64_t outer = 1, count = 1, inner = 1;
};
/// Around the `axes` axes that begin at `first`.
AxisView around(const Shape& shape, std::size_t first, std::size_t axes = 1);

/// Loops over a broadcast result, with adjacent axes merged where every source steps through them or repeats over them
/// alike. The two innermost loops are rows and columns; `outer` counts the rest.
template <std::size_t K>
class Loops {
 public:
  /// `full`: the last axis must step in this source (bit k for source k).
  Loops(const Shape& out, const std::array<const Shape*, K>& sources, unsigned full = 0) {
    std::array<std::int64_t, K> stride;
    stride.fill(1);
    const auto add_group = [&](std::int64_t size, unsigned steps) {
      Group& group = groups_[count_++];
      group.size = size;
      group.steps = steps;
      for (std::size_t k = 0; k < K; ++k) group.strides[k] = (steps >> k & 1U) != 0 ? stride[k] : 0;
    };
    constexpr unsigned all = (1U << K) - 1;
    for (std::size_t back = 1; back <= out.rank(); ++back) {
      const std::int64_t size = out.from_end(back);
      if (size == 1) continue;
      unsigned steps = 0;
      for (std::size_t k = 0; k < K; ++k) {
        if (sources[k]->rank() >= back && sources[k]->from_end(back) != 1) steps |= 1U << k;
      }
      if (count_ > 0 && groups_[count_ - 1].steps == steps) {
        groups_[count_ - 1].size *= size;
      } else {
        if (count_ == 0 && (steps & full) != full) add_group(1, all);
        add_group(size, steps);
      }
      for (std::size_t k = 0; k < K; ++k) {
        if ((steps >> k & 1U) != 0) stride[k] *= size;
      }
    }
    while (count_ < 2) add_group(1, all);
  }

  std::int64_t cols() const { return groups_[0].size; }
  std::int64_t rows() const { return groups_[1].size; }
  bool steps(std::size_t k) const { return (groups_[0].steps >> k & 1U) != 0 || groups_[0].size == 1; }
  std::int64_t row_stride(std::size_t k) const { return groups_[1].strides[k]; }

  /// body(offsets of the sources, offset of the result), in ascending order of the result.
  template <class Body>
  void for_each_block(Body&& body) const {
    std::array<std::int64_t, K> offset{};
    if (count_ == 2) return body(offset, std::int64_t{0});
    std::array<std::int64_t, Shape::max_rank + 2> index{};
    const std::int64_t block = rows() * cols();
    for (std::int64_t out = 0;; out += block) {
      body(offset, out);
      std::size_t g = 2;
      for (; g < count_; ++g) {
        const Group& group = groups_[g];
        for (std::size_t k = 0; k < K; ++k) offset[k] += group.strides[k];
        if (++index[g] < group.size) break;
        for (std::size_t k = 0; k < K; ++k) offset[k] -= group.strides[k] * group.size;
        index[g] = 0;
      }
      if (g >= count_) return;
    }
  }

 private:
  struct Group {
    std::int64_t size;
    unsigned steps;
    std::array<std::int64_t, K> strides;
  };
  std::array<Group, Shape::max_rank + 2> groups_;  // innermost first; the first count_ are set
  std::size_t count_ = 0;
};

/// sum += term, in place where nobody else sees it; the first term is the sum.
void add_term(Handle& sum, Handle term);

/// The one run of adjacent axes along which `full` repeats a value of shape `own`; nothing where there are several.
std::optional<AxisView> repeated(const Shape& own, const Shape& full);

/// The seed axes that v has in front of a value of shape `own`, then `other`.
inline Shape seeded(const Handle& v, const Shape& own, const Shape& other) {
  return v.shape().prefix(v.shape().rank() - own.rank()).concat(other);
}

/// Rows of a primitive whose operands broadcast: the operands' batch axes must agree.
std::optional<BatchAxis> rows_agree(const Call& call, std::span<const BatchAxis> axes);

// Each file of operations lists its primitives.
void list_elementwise(std::vector<const Primitive*>& all);
void list_reduce(std::vector<const Primitive*>& all);
void list_softmax(std::vector<const Primitive*>& all);
void list_shape(std::vector<const Primitive*>& all);
void list_index(std::vector<const Primitive*>& all);
void list_matmul(std::vector<const Primitive*>& all);

/// f(float{}) or f(double{}).
template <class F>
decltype(auto) with_real(Dtype dtype, F&& f) {
  if (dtype == Dtype::f32) return f(float{});
  return f(double{});
}

/// v summed down to the operand's shape behind v's seed axes.
Handle sum_down(Handle v, std::size_t seeds, const Shape& operand, const Where& where);
/// The tangent of the output from that of operand k, behind the same seed axes: J_k v, spread to the output's shape.
Handle pushed(const Call& call, std::size_t k, const Handle& tangent);

// Operations that only rules and sweeps use. Axes are counted from the end; each is differentiable.

/// v with axes of size 1 put in, `axes` of them so that the first of them is axis `from_end` of the result.
template <Real T>
Tensor<T> insert_axes(const Tensor<T>& v, std::size_t from_end, std::size_t axes);
/// Sum of the `axes` axes that begin at `from_end`.
template <Real T>
Tensor<T> sum_group(const Tensor<T>& x, std::size_t from_end, std::size_t axes, bool keep, const Where& where);
/// Running sum along an axis, from its far end when `reverse`.
template <Real T>
Tensor<T> cumsum_along(const Tensor<T>& x, std::size_t from_end, bool reverse, const Where& where);
/// The elements of each row at its own row of (checked) indices, as take_along has it; and its transpose, which adds
/// them at their places in rows of `size` zeros. The rows of indices repeat over seeds.
template <class T>
Tensor<T> take_rows(const Tensor<T>& x, const Array& indices, const Where& where);
template <Real T>
Tensor<T> put_rows(const Tensor<T>& x, const Array& indices, std::int64_t size, const Where& where);
/// Parts at their places in a whole of zeros, added where they meet. `whole` is the shape with the parts' seed axes.
struct Part {
  Handle v;
  Places places;
};
template <Real T>
Tensor<T> put_parts(std::span<const Part> parts, const Shape& whole, const Where& where);
/// x with two axes exchanged.
template <class T>
Tensor<T> swap_axes(const Tensor<T>& x, std::size_t from_end, std::size_t other_from_end, const Where& where);
/// a b of matrices and batches of them, by strong-zero products: one of them is a Jacobian or a tangent.
template <Real T>
Tensor<T> strong_matmul(const Tensor<T>& a, const Tensor<T>& b);
/// v summed over the axes that broadcasting added or repeated, to `shape`; both begin with the same `seeds` axes.
template <Real T>
Tensor<T> sum_to(const Tensor<T>& v, const Shape& shape, std::size_t seeds, const Where& where);

}  // namespace tapegrad::detail
