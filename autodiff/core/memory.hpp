#pragma once
// Storage of tensors: reference-counted arrays out of a per-thread pool of blocks. A block that another thread frees
// goes home, to the pool that it came from. A thread keeps at most 1 GiB that is free, and at most as much again that
// others have sent back since it last needed a block; a block whose thread has ended is freed at once.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "../shape.hpp"
#include "export.hpp"

namespace tapegrad {

/// Gives the blocks that this thread's pool holds back to the system. Never needed for correctness.
TAPEGRAD_EXPORT void release_cached_memory();

namespace detail {

enum class Dtype : std::uint8_t { f32, f64, i64, boolean, object };

template <class T>
inline constexpr Dtype dtype_of = [] {
  if constexpr (std::is_same_v<T, float>)
    return Dtype::f32;
  else if constexpr (std::is_same_v<T, double>)
    return Dtype::f64;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return Dtype::i64;
  else {
    static_assert(std::is_same_v<T, bool>, "a tensor holds float, double, std::int64_t or bool");
    return Dtype::boolean;
  }
}();

/// f(float{}) or f(double{}): dtype is f32 or f64.
template <class F>
decltype(auto) with_real(Dtype dtype, F&& f) {
  if (dtype == Dtype::f32) return f(float{});
  return f(double{});
}

/// Bytes of an element.
constexpr std::size_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return sizeof(float);
    case Dtype::f64:
      return sizeof(double);
    case Dtype::i64:
      return sizeof(std::int64_t);
    case Dtype::boolean:
      return sizeof(bool);
    case Dtype::object:
      break;
  }
  return 0;
}

/// Header of one block; the elements follow it, unless the array is another view of its owner's elements. Its block
/// ends with the last size of the shape: what a Shape has beyond is neither read nor written. So a small tensor touches
/// two cache lines less.
struct Array {
  std::atomic<std::uint32_t> references;
  std::uint16_t home;  // of the thread that allocated it
  std::uint8_t size_class;
  Dtype dtype;
  Array* owner;
  void* data;
  Shape shape;  // last

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

/// What an array of Dtype::object holds: destroyed with it.
struct TAPEGRAD_EXPORT Object {
  virtual ~Object();
};

/// A fresh array with one reference, its elements unset, with `padding` bytes behind them.
/// Throws Error when memory is out, ShapeError for a negative size or more than 2^61 bytes.
TAPEGRAD_EXPORT Array* allocate(Dtype dtype, const Shape& shape);
/// The same with the shape and the dtype of `like`, which most results have: nothing of the size is found again.
TAPEGRAD_EXPORT Array* allocate_as(const Array& like);
/// Another shape over the same elements.
TAPEGRAD_EXPORT Array* view(Array* array, const Shape& shape);
TAPEGRAD_EXPORT void destroy(Array* array);
/// An array that owns `object`.
TAPEGRAD_EXPORT Array* allocate_object(std::unique_ptr<Object> object);

/// Bytes of the blocks that this thread has taken and nobody has given back.
std::int64_t live_bytes();

/// Sorts this thread's lists of free small blocks by address where they have become scattered: blocks that follow each
/// other in time then follow each other in memory. Called where a tape begins, which takes many.
void order_free_blocks();

/// Raw blocks of the pool, for containers that come and go in every step.
TAPEGRAD_EXPORT void* pool_allocate(std::size_t bytes);
TAPEGRAD_EXPORT void pool_deallocate(void* block) noexcept;

template <class E>
struct PoolAllocator {
  using value_type = E;
  PoolAllocator() = default;
  template <class U>
  PoolAllocator(const PoolAllocator<U>&) {}
  E* allocate(std::size_t n) { return static_cast<E*>(pool_allocate(n * sizeof(E))); }
  void deallocate(E* block, std::size_t) noexcept { pool_deallocate(block); }
  friend bool operator==(const PoolAllocator&, const PoolAllocator&) { return true; }
};
template <class E>
using PoolVector = std::vector<E, PoolAllocator<E>>;

inline void retain(Array* array) {
  if (array) array->references.fetch_add(1, std::memory_order_relaxed);
}
inline void release(Array* array) {
  // The last owner needs no read-modify-write: nobody else can raise the count.
  if (array && (array->references.load(std::memory_order_acquire) == 1 ||
                array->references.fetch_sub(1, std::memory_order_acq_rel) == 1)) {
    destroy(array);
  }
}
/// True when nobody else can see the elements, so that they may be written.
inline bool unique(const Array* array) {
  return array->references.load(std::memory_order_acquire) == 1 &&
         (!array->owner || array->owner->references.load(std::memory_order_acquire) == 1);
}

}  // namespace detail
}  // namespace tapegrad
