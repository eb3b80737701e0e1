// slice, take, take_along, x[i]: choosing elements. Each choice is linear; its transpose puts the elements back into
// zeros (put.cpp).

#include <numeric>

#include "broadcast.hpp"
#include "internal.hpp"
#include "places.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {
namespace {

// ------------------------------------------------------------------------------------------------ slice, take,
// take_along

enum class Choice { slice, take, take_along };

// The indices, if there are any, are the second operand.
template <Choice choice, class T>
struct ChoosePrimitive {
  static constexpr const char* name = choice == Choice::slice  ? "slice"
                                      : choice == Choice::take ? "take"
                                                               : "take_along";
  static constexpr bool differentiable = Real<T>;
  using Attributes = Placement;
  static std::string describe(const Placement& at) {
    std::string text = "axis " + std::to_string(-at.axis);
    if (choice == Choice::slice) text += ", from " + std::to_string(at.start);
    if (at.step != 1) text += " by " + std::to_string(at.step);
    return text;
  }

  static void evaluate(const Placement& at, Operands in, Results out) {
    copy_part_out<T>(*in[0], {at, choice == Choice::slice ? nullptr : const_cast<Array*>(in[1])}, out[0]);
  }
  static Placed places(const Call& call) {
    return {call.attributes<Placement>(), choice == Choice::slice ? nullptr : call.operands(1).array};
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) {
    const Placed placed = places(call);
    return put(Tensor<T>(v), placed, call.operand_shape(0).from_end(placed.at.axis), call.where()).handle();
  }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) {
    const Placed placed = places(call);
    return part_of(Tensor<T>(v), placed, call.output_shape().from_end(placed.at.axis), call.where()).handle();
  }
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    if (axes[0] == call.attributes<Placement>().axis) return std::nullopt;
    return rows_agree(call, axes);
  }
  static bool accumulate(const Call& call, std::size_t, Handle& v, bool, Handle& sum) {
    if (!sum) sum = zeros<T>(seeded(v, call.output_shape(), call.operand_shape(0))).handle();
    add_part<T>(*v.array(), places(call), sum.array());
    return true;
  }
  static bool carry(Carry& carry) {
    if (choice != Choice::slice) return false;
    const Placement& at = carry.call.attributes<Placement>();
    return carry_part(carry, at, -at.start);
  }
};

template <class T, std::size_t n>
Tensor<T> chosen(Choice choice, const Handle* const (&operands)[n], const Placement& at, Array* out,
                 const Caller& where) {
  switch (choice) {
    case Choice::slice:
      return Tensor<T>(apply<ChoosePrimitive<Choice::slice, T>>(operands, out, where, at));
    case Choice::take:
      return Tensor<T>(apply<ChoosePrimitive<Choice::take, T>>(operands, out, where, at));
    case Choice::take_along:
      break;
  }
  return Tensor<T>(apply<ChoosePrimitive<Choice::take_along, T>>(operands, out, where, at));
}

}  // namespace

bool carry_part(Carry& carry, const Placement& at, std::int64_t offset) {
  const bool whole = carry.call.operand_shape(carry.k).from_end(at.axis) == carry.in.m &&
                     carry.call.output_shape().from_end(at.axis) == carry.out.m;
  if (!whole || at.step != 1 || carry.out.m <= 1) return false;
  carry.add_moved(offset);
  return true;
}

template <class T>
Tensor<T> part_of(const Tensor<T>& x, const Placed& placed, std::int64_t count, const Caller& where) {
  Array* out = allocate_like<T>(with_size(x.shape(), placed.at.axis, count));
  if (!placed.indices) return chosen<T>(Choice::slice, {&x.handle()}, placed.at, out, where);
  const Handle indices = share(placed.indices);
  const Choice choice = placed.at.along ? Choice::take_along : Choice::take;
  return chosen<T>(choice, {&x.handle(), &indices}, placed.at, out, where);
}

namespace {

// ------------------------------------------------------------------------------------------------ x[i]

// The element, row, ... at index `at` along an axis, which disappears.
template <class T>
struct SubtensorPrimitive {
  static constexpr const char* name = "x[i]";
  static constexpr Reads reads{};
  static constexpr bool differentiable = Real<T>;
  struct Attributes {
    std::int64_t at;
    std::uint8_t axis;  // from the end
  };
  static std::string describe(const Attributes& a) {
    return std::to_string(a.at) + " of axis " + std::to_string(-a.axis);
  }

  static void evaluate(const Attributes& attributes, Operands x, Results y) {
    command(
        name,
        [block = Block(x[0]->shape, attributes)](const T* from, T* to) {
          from += block.offset;
          for (std::int64_t o = block.outer; o > 0; --o, from += block.size) to = std::copy_n(from, block.inner, to);
        },
        in_of<T>(*x[0]), out_of<T>(y[0]));
  }
  static Placed places(const Call& call) {
    const Attributes& attributes = call.attributes<Attributes>();
    return {{.start = attributes.at, .axis = attributes.axis}};
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) {
    const Placed placed = places(call);
    const std::size_t axis = placed.at.axis;
    return put(insert_axes(Tensor<T>(v), axis, 1), placed, call.operand_shape(0).from_end(axis), call.where()).handle();
  }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) {
    return subtensor_along(Tensor<T>(v), call.attributes<Attributes>(), call.where()).handle();
  }
  // Counted from the end, the other axes keep their numbers.
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    if (axes[0] == call.attributes<Attributes>().axis) return std::nullopt;
    return axes[0];
  }
  // Does what add_part does in a few instructions. The axes before the index's own belong to the operand or to seeds.
  static bool accumulate(const Call& call, std::size_t, Handle& v, bool, Handle& sum) {
    const Shape& to = call.operand_shape(0);
    if (!sum) sum = zeros<T>(seeded(v, call.output_shape(), to)).handle();
    command(
        "add at places",
        [block = Block(to, call.attributes<Attributes>()), size = v.shape().count()](const T* in, T* out) {
          out += block.offset;
          for (const T* end = in + size; in != end; in += block.inner, out += block.size) {
            for (std::int64_t i = 0; i < block.inner; ++i) out[i] += in[i];
          }
        },
        in_of<T>(*v.array()), in_out_of<T>(sum.array()));
    return true;
  }
  static bool carry(Carry& carry) {
    const Attributes& attributes = carry.call.attributes<Attributes>();
    const std::int64_t size = carry.out.m;
    const Shape& from = carry.call.operand_shape(0);
    if (size <= 1 || attributes.axis != from.rank() || carry.in.m != from.count()) return false;
    carry.add_moved(-attributes.at * size);
    return true;
  }

  static Tensor<T> subtensor_along(const Tensor<T>& x, const Attributes& attributes, const Caller& where) {
    const Shape& shape = x.shape();
    Array* out = allocate_like<T>(shape.without(shape.rank() - attributes.axis));
    return Tensor<T>(apply<SubtensorPrimitive>({&x.handle()}, out, where, attributes));
  }

 private:
  // The chosen elements are `inner` elements at `offset` in each block of `size`.
  struct Block {
    std::int64_t outer, inner, size, offset;
    Block(const Shape& shape, const Attributes& attributes) {
      const std::size_t axis = rank_of(shape) - attributes.axis;
      outer = shape.count(0, axis);
      inner = shape.count(axis + 1, shape.rank());
      size = shape.begin()[axis] * inner;
      offset = attributes.at * inner;
    }
  };
};

[[noreturn, gnu::cold]] void throw_no_subtensor(const Shape& shape, std::int64_t i, const Caller& where) {
  const std::string begin =
      "x[i]" + to_string(where) + ": index " + std::to_string(i) + " of a tensor of shape " + to_string(shape);
  if (shape.rank() == 0) throw ShapeError(begin + ", which has no axis; use the tensor itself");
  if (shape[0] == 0) throw ShapeError(begin + ", whose first axis is empty");
  throw ShapeError(begin + "; indices along its first axis go from " + std::to_string(-shape[0]) + " to " +
                   std::to_string(shape[0] - 1));
}

}  // namespace

template <class T>
Tensor<T> subtensor(const Tensor<T>& x, std::int64_t i, const Caller& where) {
  const Shape& shape = value_of(x, "x[i]", where).shape;
  const std::int64_t size = shape.rank() == 0 ? 0 : shape[0], at = i < 0 ? i + size : i;
  if (at < 0 || at >= size) throw_no_subtensor(shape, i, where);
  return SubtensorPrimitive<T>::subtensor_along(x, {at, static_cast<std::uint8_t>(shape.rank())}, where);
}
template <class T>
std::int64_t subtensors(const Tensor<T>& x, const Caller& where) {
  const Shape& shape = value_of(x, "begin", where).shape;
  if (shape.rank() == 0) {
    throw ShapeError("begin" + to_string(where) + ": a scalar has no elements to go through; use the tensor itself");
  }
  return shape[0];
}

namespace {

// ------------------------------------------------------------------------------------------------ indices

// Maps indices -size..size-1 to 0..size-1.
struct CheckedIndices {
  static constexpr const char* name = "indices";
  struct Attributes {
    std::int64_t size;
    const char* caller;
    Caller where;
  };

  static void evaluate(const Attributes& attributes, Operands in, Results out) {
    command(
        name,
        [attributes, count = in[0]->shape.count()](const std::int64_t* indices, std::int64_t* to) {
          const std::int64_t size = attributes.size;
          for (std::int64_t i = 0; i < count; ++i) {
            if (indices[i] < -size || indices[i] >= size) throw_out_of_range(attributes, i, indices[i]);
            to[i] = indices[i] < 0 ? indices[i] + size : indices[i];
          }
        },
        in_of<std::int64_t>(*in[0]), out_of<std::int64_t>(out[0]));
  }

 private:
  [[noreturn, gnu::cold]] static void throw_out_of_range(const Attributes& attributes, std::int64_t i,
                                                         std::int64_t index) {
    throw ValueError(std::string(attributes.caller) + to_string(attributes.where) + ": index " + std::to_string(index) +
                     " at position " + std::to_string(i) + " is out of range for an axis of size " +
                     std::to_string(attributes.size));
  }
};

Handle checked_indices(const Tensor<std::int64_t>& indices, const Shape& shape, std::int64_t size, const char* caller,
                       const Caller& where) {
  return apply<CheckedIndices>({&indices.handle()}, allocate_like<std::int64_t>(shape), where, {size, caller, where});
}

// ------------------------------------------------------------------------------------------------ sort

// The positions that sort each row, with NaN last and ties in order of position. The order is that of std::stable_sort,
// which would allocate from the heap.
template <class T>
struct ArgsortPrimitive {
  static constexpr const char* name = "sort";

  static void evaluate(const NoAttributes&, Operands x, Results order) {
    const Shape& shape = x[0]->shape;
    if (shape.count() == 0) return;
    command(
        name,
        [cols = shape.back(), count = shape.count()](const T* from, std::int64_t* to) {
          for (const T *row = from, *end = from + count; row != end; row += cols, to += cols) {
            std::iota(to, to + cols, std::int64_t{0});
            std::sort(to, to + cols, [row](std::int64_t i, std::int64_t j) {
              const bool i_is_number = row[i] == row[i], j_is_number = row[j] == row[j];
              if (i_is_number && j_is_number && row[i] != row[j]) return row[i] < row[j];
              return i_is_number != j_is_number ? i_is_number : i < j;
            });
          }
        },
        in_of<T>(*x[0]), out_of<std::int64_t>(order[0]));
  }
};

}  // namespace

void list_index(std::vector<const Primitive*>& all) {
  all.insert(all.end(),
             {&primitive<ChoosePrimitive<Choice::slice, double>>, &primitive<ChoosePrimitive<Choice::take, double>>,
              &primitive<ChoosePrimitive<Choice::take_along, double>>, &primitive<SubtensorPrimitive<double>>});
}

}  // namespace detail

template <class T>
Tensor<T> slice(const Tensor<T>& x, int axis, std::int64_t start, std::int64_t stop, std::int64_t step, Caller where) {
  const Shape& shape = detail::value_of(x, "slice", where).shape;
  const std::int64_t at = detail::normalize_axis(axis, shape.rank(), "slice", shape, where);
  if (step < 1) throw ValueError("slice" + to_string(where) + ": step " + std::to_string(step) + "; use 1 or more");
  const std::int64_t size = shape[at];
  auto bound = [&](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + size : i, 0, size); };
  const std::int64_t from = bound(start), length = std::max<std::int64_t>(bound(stop) - from, 0);
  const std::int64_t count = length / step + (length % step != 0);
  if (count <= 1) step = 1;
  if (step > std::numeric_limits<std::int32_t>::max()) {
    throw ValueError("slice" + to_string(where) + ": step " + std::to_string(step) +
                     " is beyond 2^31 - 1; use take with the indices");
  }
  const detail::Placement placement{from, static_cast<std::int32_t>(step),
                                    static_cast<std::uint8_t>(shape.rank() - at)};
  return detail::part_of(x, {placement}, count, where);
}

template <class T>
Tensor<T> take(const Tensor<T>& x, const Tensor<std::int64_t>& indices, int axis, Caller where) {
  using namespace detail;
  const Shape& shape = value_of(x, "take", where).shape;
  const std::int64_t at = normalize_axis(axis, shape.rank(), "take", shape, where);
  const std::int64_t count = value_of(indices, "take", where).shape.count();
  const Handle checked = checked_indices(indices, {count}, shape[at], "take", where);
  const Placement placement{.axis = static_cast<std::uint8_t>(shape.rank() - at)};
  Tensor<T> y = part_of(x, {placement, checked.array()}, count, where);
  if (indices.rank() == 1) return y;
  return reshape(y, shape.prefix(at).concat(indices.shape(), where).concat(shape.suffix(at + 1), where), where);
}

template <class T>
Tensor<T> take_along(const Tensor<T>& x, const Tensor<std::int64_t>& indices, Caller where) {
  using namespace detail;
  const Shape &shape = value_of(x, "take_along", where).shape, &wanted = value_of(indices, "take_along", where).shape;
  if (shape.rank() == 0 || wanted.rank() != shape.rank() ||
      wanted.prefix(shape.rank() - 1) != shape.prefix(shape.rank() - 1)) {
    throw ShapeError("take_along" + to_string(where) + ": indices of shape " + to_string(wanted) +
                     " for a tensor of shape " + to_string(shape) + "; all axes but the last must agree");
  }
  const Handle checked = checked_indices(indices, wanted, shape.back(), "take_along", where);
  return part_of(x, {{.along = true}, checked.array()}, wanted.back(), where);
}

// Sorting is take_along with the sorting indices.
template <Real T>
Tensor<T> sort(const Tensor<T>& x, Caller where) {
  using namespace detail;
  const Shape& shape = value_of(x, "sort", where).shape;
  if (shape.rank() == 0) throw ShapeError("sort" + to_string(where) + ": a scalar has no axis to sort along");
  const Handle order = apply<ArgsortPrimitive<T>>({&x.handle()}, allocate_like<std::int64_t>(shape), where);
  return part_of(x, {{.along = true}, order.array()}, shape.back(), where);
}

namespace {

// Makes the functions above for every element type.
template <class T>
constexpr std::tuple functions(&slice<T>, &take<T>, &take_along<T>, &detail::subtensor<T>, &detail::subtensors<T>,
                               &detail::part_of<T>);
[[gnu::used]] constexpr auto of_float = functions<float>;
[[gnu::used]] constexpr auto of_double = functions<double>;
[[gnu::used]] constexpr auto of_int64 = functions<std::int64_t>;
[[gnu::used]] constexpr auto of_bool = functions<bool>;

}  // namespace

template Tensor<float> sort(const Tensor<float>&, Caller);
template Tensor<double> sort(const Tensor<double>&, Caller);

}  // namespace tapegrad
