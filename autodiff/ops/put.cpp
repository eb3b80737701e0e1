// The transposes of slice, take, take_along and x[i]: parts at their places in zeros, added where places meet.

#include "broadcast.hpp"
#include "internal.hpp"
#include "places.hpp"
#include "registry.hpp"

namespace tapegrad::detail {
namespace {

std::optional<BatchAxis> put_rows(const Call& call, std::size_t k, const Placed& placed, BatchAxis axis) {
  const bool moves =
      placed.indices || call.operand_shape(k).from_end(placed.at.axis) != call.output_shape().from_end(placed.at.axis);
  if (moves && axis == placed.at.axis) return std::nullopt;
  return axis;
}

// ------------------------------------------------------------------------------------------------ one part

// The indices, if there are any, are the second operand.
template <class T>
struct PutPrimitive {
  static constexpr const char* name = "put";
  static constexpr Reads reads{.operands = 0b10};  // indices
  using Attributes = Placement;

  static void evaluate(const Placement& at, Operands in, Results out) {
    fill<T>(out[0], T{0});
    add_part<T>(*in[0], {at, in.size() > 1 ? const_cast<Array*>(in[1]) : nullptr}, out[0]);
  }
  static Placed placed(const Call& call) {
    return {call.attributes<Placement>(), call.operand_count() > 1 ? call.operands(1).array : nullptr};
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) {
    const Placed p = placed(call);
    return part_of(Tensor<T>(v), p, call.operand_shape(0).from_end(p.at.axis), call.where()).handle();
  }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) {
    const Placed p = placed(call);
    return put(Tensor<T>(v), p, call.output_shape().from_end(p.at.axis), call.where()).handle();
  }
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    return put_rows(call, 0, placed(call), axes[0]);
  }
  static bool carry(Carry& carry) {
    const Placed p = placed(carry.call);
    return !p.indices && carry_part(carry, p.at, p.at.start);
  }
};

// ------------------------------------------------------------------------------------------------ many parts

// The operands are the parts, arrays of indices, and a table of the places, which refers to the indices by operand
// number.
struct TableEntry {
  Placement at;
  std::int64_t indices;  // the number of the operand, or none
};
constexpr std::int64_t none = -1;
static_assert(sizeof(TableEntry) % sizeof(std::int64_t) == 0);

std::span<const TableEntry> table_of(const Array& table) {
  return {static_cast<const TableEntry*>(table.data),
          static_cast<std::size_t>(table.shape.count()) * sizeof(std::int64_t) / sizeof(TableEntry)};
}

template <class T>
struct PutPartsPrimitive {
  static constexpr const char* name = "put_parts";

  static void evaluate(const NoAttributes&, Operands in, Results out) {
    fill<T>(out[0], T{0});
    const std::span<const TableEntry> table = table_of(*in.back());
    for (std::size_t k = 0; k < table.size(); ++k) {
      const TableEntry& entry = table[k];
      Array* indices =
          entry.indices == none ? nullptr : const_cast<Array*>(in[static_cast<std::size_t>(entry.indices)]);
      add_part<T>(*in[k], {entry.at, indices}, out[0]);
    }
  }
  static Placed placed(const Call& call, std::size_t k) {
    const TableEntry& entry = table_of(call.operand_array(call.operand_count() - 1))[k];
    return {entry.at, entry.indices == none ? nullptr : call.operands(static_cast<std::size_t>(entry.indices)).array};
  }
  static Handle pullback(const Call& call, std::size_t k, const Handle& v) {
    const Placed p = placed(call, k);
    return part_of(Tensor<T>(v), p, call.operand_shape(k).from_end(p.at.axis), call.where()).handle();
  }
  static Handle pushforward(const Call& call, std::size_t k, const Handle& v) {
    const Placed p = placed(call, k);
    return put(Tensor<T>(v), p, call.output_shape().from_end(p.at.axis), call.where()).handle();
  }
  static Handle pushforward_all(const Call& call, std::span<const Handle> tangents) {
    PoolVector<Part> given;
    Shape whole;
    for (std::size_t k = 0; k < tangents.size(); ++k) {
      if (!tangents[k]) continue;
      const Placed p = placed(call, k);
      whole = seeded(tangents[k], call.operand_shape(k), call.output_shape());
      given.push_back({tangents[k], p.at, share(p.indices)});
    }
    return put_parts<T>(given, whole, call.where()).handle();
  }
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    for (std::size_t k = 0; k < axes.size(); ++k) {
      if (axes[k] != 0 && !put_rows(call, k, placed(call, k), axes[k])) return std::nullopt;
    }
    return rows_agree(call, axes);
  }
  static bool carry(Carry& carry) {
    const Placed p = placed(carry.call, carry.k);
    return !p.indices && carry_part(carry, p.at, p.at.start);
  }
};

}  // namespace

void list_put(std::vector<const Primitive*>& all) {
  all.insert(all.end(), {&primitive<PutPrimitive<double>>, &primitive<PutPartsPrimitive<double>>});
}

template <Real T>
Tensor<T> put(const Tensor<T>& x, const Placed& placed, std::int64_t size, const Caller& where) {
  Array* out = allocate_like<T>(with_size(x.shape(), placed.at.axis, size));
  if (!placed.indices) return Tensor<T>(apply<PutPrimitive<T>>({&x.handle()}, out, where, placed.at));
  const Handle indices = share(placed.indices);
  return Tensor<T>(apply<PutPrimitive<T>>({&x.handle(), &indices}, out, where, placed.at));
}
template Tensor<float> put(const Tensor<float>&, const Placed&, std::int64_t, const Caller&);
template Tensor<double> put(const Tensor<double>&, const Placed&, std::int64_t, const Caller&);

template <Real T>
Tensor<T> put_parts(std::span<const Part> parts, const Shape& whole, const Caller& where) {
  const Handle table(
      allocate(Dtype::i64, {static_cast<std::int64_t>(parts.size() * sizeof(TableEntry) / sizeof(std::int64_t))}));
  PoolVector<const Handle*> operands;
  for (const Part& part : parts) operands.push_back(&part.v);
  auto* entry = static_cast<TableEntry*>(table.array()->data);
  for (const Part& part : parts) {
    *entry++ = {part.at, part.indices ? static_cast<std::int64_t>(operands.size()) : none};
    if (part.indices) operands.push_back(&part.indices);
  }
  operands.push_back(&table);
  return Tensor<T>(
      apply_all<PutPartsPrimitive<T>>(primitive<PutPartsPrimitive<T>>, operands, {}, allocate_like<T>(whole), where));
}
template Tensor<float> put_parts(std::span<const Part>, const Shape&, const Caller&);
template Tensor<double> put_parts(std::span<const Part>, const Shape&, const Caller&);

}  // namespace tapegrad::detail
