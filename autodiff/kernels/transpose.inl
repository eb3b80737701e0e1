#pragma once
// Matrices with rows and columns exchanged, by square tiles of one vector a side.

#include "simd.hpp"

namespace tapegrad::kernels {
namespace {

// The lanes of a and b with bit `distance` of the lane's number exchanged for which of the two it is.
template <std::size_t distance, bool second, class T, std::size_t... i>
inline Batch<T> interleave(const Batch<T>& a, const Batch<T>& b, std::index_sequence<i...>) {
  using Register = typename Batch<T>::register_type;
  const Register p = a, q = b;
  constexpr auto lane = [](std::size_t l) {
    const bool high = (l & distance) != 0;
    const std::size_t from = second ? (high ? l : l + distance) : (high ? l - distance : l);
    return static_cast<int>(from + (high ? sizeof...(i) : 0));
  };
  return Batch<T>(__builtin_shufflevector(p, q, lane(i)...));
}

// Each step exchanges one bit of the row's number with the same bit of the lane's.
template <std::size_t distance, class T>
inline void transpose_tile(Batch<T>* rows) {
  constexpr std::size_t W = Batch<T>::size;
  if constexpr (distance < W) {
    unroll<static_cast<int>(W)>([&](auto i) {
      constexpr auto r = static_cast<std::size_t>(i());
      if constexpr ((r & distance) == 0) {
        constexpr auto lanes = std::make_index_sequence<W>{};
        const Batch<T> a = rows[r], b = rows[r + distance];
        rows[r] = interleave<distance, false>(a, b, lanes);
        rows[r + distance] = interleave<distance, true>(a, b, lanes);
      }
    });
    transpose_tile<2 * distance>(rows);
  }
}

template <class T>
[[gnu::flatten]] void transpose(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t W = width<T>;
  std::int64_t i = 0;
  for (; i + W <= rows; i += W) {
    std::int64_t j = 0;
    for (; j + W <= cols; j += W) {
      Batch<T> tile[static_cast<std::size_t>(W)];
      unroll<static_cast<int>(W)>([&](auto r) { tile[r] = load(x + (i + r) * cols + j); });
      transpose_tile<1>(tile);
      unroll<static_cast<int>(W)>([&](auto r) { store(y + (j + r) * rows + i, tile[r]); });
    }
    for (; j < cols; ++j) {
      for (std::int64_t r = i; r < i + W; ++r) y[j * rows + r] = x[r * cols + j];
    }
  }
  for (; i < rows; ++i) {
    for (std::int64_t j = 0; j < cols; ++j) y[j * rows + i] = x[i * cols + j];
  }
}

}  // namespace
}  // namespace tapegrad::kernels
