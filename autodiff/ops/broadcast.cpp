#include "broadcast.hpp"

#include <string>

namespace tapegrad::detail {
namespace {

[[noreturn, gnu::cold]] void throw_no_broadcast(const Shape& a, const Shape& b, std::size_t back, const char* operation,
                                                const Caller& where) {
  throw ShapeError(std::string(operation) + to_string(where) + ": shapes " + to_string(a) + " and " + to_string(b) +
                   " do not broadcast: sizes " + std::to_string(a.from_end(back)) + " and " +
                   std::to_string(b.from_end(back)) + " of axis -" + std::to_string(back) + " differ and neither is 1");
}

}  // namespace

Shape broadcast(const Shape& a, const Shape& b, const char* operation, const Caller& where) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape out = longer;
  std::int64_t* size = out.end() - shorter.rank();
  for (std::int64_t i = 0; i < shorter.rank(); ++i, ++size) {
    const std::int64_t other = shorter.begin()[i];
    if (*size == other || other == 1) continue;
    if (*size != 1) throw_no_broadcast(a, b, static_cast<std::size_t>(shorter.rank() - i), operation, where);
    *size = other;
  }
  return out;
}

std::optional<AxisView> repeated(const Shape& own, const Shape& full) {
  const std::size_t rank = rank_of(full), added = rank - rank_of(own);
  std::size_t first = rank, end = rank;
  for (std::size_t i = 0; i < rank; ++i) {
    if (full[i] == 1 || (i >= added && own[i - added] == full[i])) continue;
    if (first == rank)
      first = i;
    else if (full.count(end, i) != 1)
      return std::nullopt;
    end = i + 1;
  }
  // In place: a view put together elsewhere and copied would wait for its own stores.
  const std::int64_t outer = full.count(0, first), count = full.count(first, end), inner = full.count(end, rank);
  return std::optional<AxisView>(std::in_place, AxisView{outer, count, inner});
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

}  // namespace tapegrad::detail
