#pragma once

#include <array>
#include <span>

#include "memory.hpp"

namespace tapegrad::detail {

/// Up to `most` elements on the stack; more come from the pool.
template <class E, std::size_t most>
class Few {
 public:
  explicit Few(std::size_t size) : size_(size), many_(size > most ? size : 0) {}
  E* begin() { return size_ > most ? many_.data() : few_.data(); }
  E* end() { return begin() + size_; }
  E& operator[](std::size_t i) { return begin()[i]; }
  operator std::span<const E>() { return {begin(), size_}; }
  operator std::span<E>() { return {begin(), size_}; }

 private:
  std::size_t size_;
  std::array<E, most> few_;
  PoolVector<E> many_;
};

}  // namespace tapegrad::detail
