// concatenate: parts one behind the other along an axis.

#include "broadcast.hpp"
#include "internal.hpp"
#include "places.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {
namespace {

// The last operand, after the parts, says where each of them begins. It is kept with the record, because adding up the
// sizes again for each part would take quadratic time.
template <class T>
struct ConcatenatePrimitive {
  static constexpr const char* name = "concatenate";
  static constexpr Reads reads{};
  static constexpr bool differentiable = Real<T>;
  struct Attributes {
    std::uint8_t axis;  // from the end
  };
  static std::string describe(const Attributes& attributes) { return "axis " + std::to_string(-attributes.axis); }

  static void evaluate(const Attributes& attributes, Operands in, Results out) {
    const Placement first{.axis = attributes.axis};
    const std::int64_t size = out[0]->shape.from_end(attributes.axis);
    Placement at = first;
    for (const Array* part : in) {
      if (part->dtype != dtype_of<T>) break;  // where they begin
      if (part->shape.count() != 0) {
        command(
            name,
            [of = layout(part->shape, size, at, nullptr)](const T* from, T* to) {
              for_each_run(of, nullptr, [=](std::int64_t place, std::int64_t of_part, std::int64_t n) {
                std::copy_n(from + of_part, n, to + place);
              });
            },
            in_of<T>(*part), in_out_of<T>(out[0]));
      }
      at.start += part->shape.from_end(attributes.axis);
    }
  }
  static Placement placement(const Call& call, std::size_t k) {
    return {.start = call.operand_array(call.operand_count() - 1).template as<std::int64_t>()[k],
            .axis = call.attributes<Attributes>().axis};
  }
  static Handle pullback(const Call& call, std::size_t k, const Handle& v) {
    const Placement at = placement(call, k);
    return part_of(Tensor<T>(v), {at}, call.operand_shape(k).from_end(at.axis), call.where()).handle();
  }
  static Handle pushforward(const Call& call, std::size_t k, const Handle& v) {
    const Placement at = placement(call, k);
    return put(Tensor<T>(v), {at}, call.output_shape().from_end(at.axis), call.where()).handle();
  }
  // All tangents at once: one at a time, each would be put into zeros of the whole shape.
  static Handle pushforward_all(const Call& call, std::span<const Handle> tangents) {
    const Handle& given = *std::ranges::find_if(tangents, [](const Handle& t) { return static_cast<bool>(t); });
    const auto k = static_cast<std::size_t>(&given - tangents.data());
    PoolVector<Tensor<T>> parts;
    for (std::size_t i = 0; i + 1 < tangents.size(); ++i) {
      parts.push_back(tangents[i] ? Tensor<T>(tangents[i])
                                  : zeros<T>(seeded(given, call.operand_shape(k), call.operand_shape(i))));
    }
    const int axis = -call.attributes<Attributes>().axis;
    return concatenate(std::span<const Tensor<T>>(parts), axis, call.where()).handle();
  }
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    for (BatchAxis axis : axes) {
      if (axis == call.attributes<Attributes>().axis) return std::nullopt;
    }
    return rows_agree(call, axes);
  }
  static bool accumulate(const Call& call, std::size_t k, Handle& v, bool, Handle& sum) {
    const Placement at = placement(call, k);
    const Shape &own = call.operand_shape(k), whole = seeded(v, call.output_shape(), own);
    const bool add = static_cast<bool>(sum);
    if (!add) {
      sum = Handle(allocate_like<T>(whole));
      copy_part_out<T>(*v.array(), {at}, sum.array());
      return true;
    }
    if (whole.count() == 0) return true;
    command(
        "add a part",
        [of = layout(whole, v.shape().from_end(at.axis), at, nullptr)](const T* from, T* to) {
          for_each_run(of, nullptr, [=](std::int64_t place, std::int64_t of_part, std::int64_t n) {
            kernels::kernels<T>().add_to(to + of_part, from + place, n);
          });
        },
        in_of<T>(*v.array()), in_out_of<T>(sum.array()));
    return true;
  }
  static bool carry(Carry& carry) {
    const Placement at = placement(carry.call, carry.k);
    return carry_part(carry, at, at.start);
  }
};

}  // namespace

void list_concatenate(std::vector<const Primitive*>& all) { all.push_back(&primitive<ConcatenatePrimitive<double>>); }

}  // namespace detail

template <class T>
Tensor<T> concatenate(std::span<const Tensor<T>> parts, int axis, Caller where) {
  using namespace detail;
  if (parts.empty()) throw ShapeError("concatenate" + to_string(where) + ": no tensors to put together");
  const Shape& first = value_of(parts[0], "concatenate", where).shape;
  if (first.rank() == 0) {
    throw ShapeError("concatenate" + to_string(where) + ": scalars have no axis to be joined along; stack makes one");
  }
  const std::int64_t at = normalize_axis(axis, first.rank(), "concatenate", first, where);
  const auto from_end = static_cast<std::size_t>(first.rank() - at);
  const Handle begins(allocate(Dtype::i64, {static_cast<std::int64_t>(parts.size())}));
  auto* begin = elements<std::int64_t>(begins.array());
  PoolVector<const Handle*> operands;
  std::int64_t total = 0;
  for (const Tensor<T>& part : parts) {
    const Shape& shape = value_of(part, "concatenate", where).shape;
    if (shape.rank() != first.rank() || with_size(shape, from_end, 1) != with_size(first, from_end, 1)) {
      throw ShapeError("concatenate" + to_string(where) + ": shapes " + to_string(first) + " and " + to_string(shape) +
                       " differ off axis " + std::to_string(axis));
    }
    *begin++ = std::exchange(total, total + shape[at]);
    operands.push_back(&part.handle());
  }
  if constexpr (Real<T>) operands.push_back(&begins);
  using P = ConcatenatePrimitive<T>;
  return Tensor<T>(apply_all<P>(primitive<P>, operands, {}, allocate_like<T>(with_size(first, from_end, total)), where,
                                {static_cast<std::uint8_t>(from_end)}));
}

template <class T>
Tensor<T> stack(std::span<const Tensor<T>> parts, int axis, Caller where) {
  using namespace detail;
  if (parts.empty()) throw ShapeError("stack" + to_string(where) + ": no tensors to put together");
  const Shape& first = value_of(parts[0], "stack", where).shape;
  const std::int64_t at = normalize_axis(axis, first.rank() + 1, "stack", first, where);
  if (first.rank() == Shape::max_rank) {
    throw ShapeError("stack" + to_string(where) + ": tensors of shape " + to_string(first) +
                     " have as many axes as there can be");
  }
  const Shape with_axis = first.prefix(at).concat({1}).concat(first.suffix(at));
  PoolVector<Tensor<T>> layers;
  for (const Tensor<T>& part : parts) {
    if (value_of(part, "stack", where).shape != first) {
      throw ShapeError("stack" + to_string(where) + ": shapes " + to_string(first) + " and " + to_string(part.shape()) +
                       " differ; tensors along an axis that they have are put together by concatenate");
    }
    layers.push_back(reshape(part, with_axis, where));
  }
  return concatenate(std::span<const Tensor<T>>(layers), static_cast<int>(at), where);
}

namespace {

template <class T>
using OfParts = Tensor<T> (*)(std::span<const Tensor<T>>, int, Caller);
[[gnu::used]] constexpr std::tuple functions(OfParts<float>(&stack<float>), OfParts<double>(&stack<double>),
                                             OfParts<std::int64_t>(&stack<std::int64_t>), OfParts<bool>(&stack<bool>),
                                             OfParts<float>(&concatenate<float>), OfParts<double>(&concatenate<double>),
                                             OfParts<std::int64_t>(&concatenate<std::int64_t>),
                                             OfParts<bool>(&concatenate<bool>));

}  // namespace
}  // namespace tapegrad
