#pragma once
// Broadcasting: the shape of a result, and loops over it.

#include <array>
#include <optional>
#include <span>

#include "../tape/recording.hpp"
#include "axes.hpp"

namespace tapegrad::detail {

/// The common shape of two operands, aligned at the last axis.
Shape broadcast(const Shape& a, const Shape& b, const char* operation, const Caller& where);

/// Loops over a broadcast result. Adjacent axes are merged where each source either steps through all of them or
/// repeats over all of them. The two innermost loops are rows and columns; `outer` counts the rest.
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
    for (std::int64_t back = 1; back <= out.rank(); ++back) {
      const auto from_end = [back](const Shape& shape) { return shape.end()[-back]; };
      const std::int64_t size = from_end(out);
      if (size == 1) continue;
      unsigned steps = 0;
      for (std::size_t k = 0; k < K; ++k) {
        if (sources[k]->rank() >= back && from_end(*sources[k]) != 1) steps |= 1U << k;
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

/// The single run of adjacent axes along which `full` repeats a value of shape `own`; nothing if there are several.
std::optional<AxisView> repeated(const Shape& own, const Shape& full);

/// The `rows` rule of a primitive whose operands broadcast: their batch axes must agree.
std::optional<BatchAxis> rows_agree(const Call& call, std::span<const BatchAxis> axes);

}  // namespace tapegrad::detail
