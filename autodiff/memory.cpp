#include "memory.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

#include "error.hpp"
#include "kernels/kernels.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define TAPEGRAD_POISONS_BLOCKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TAPEGRAD_POISONS_BLOCKS 1
#endif
#endif
#ifdef TAPEGRAD_POISONS_BLOCKS
#include <sanitizer/asan_interface.h>
#endif

namespace tapegrad {
namespace detail {
namespace {

// Under the address sanitizer a cached block, and what lies behind the requested bytes, is out of bounds.
void poison([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#ifdef TAPEGRAD_POISONS_BLOCKS
  ASAN_POISON_MEMORY_REGION(block, bytes);
#endif
}
void unpoison([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#ifdef TAPEGRAD_POISONS_BLOCKS
  ASAN_UNPOISON_MEMORY_REGION(block, bytes);
#endif
}

// Size classes: what fills malloc's chunks of 32, 64, ... 1024 bytes, of which it takes 8 itself; then four steps to
// each power of two, at cache lines.
constexpr std::size_t chunk = 32, chunk_header = 8, most_chunks = 32;
constexpr std::size_t first_power = 10, class_count = most_chunks + 1 + 4 * 53;

constexpr std::size_t class_of(std::size_t bytes) {
  const std::size_t chunks = (bytes + chunk_header + chunk - 1) / chunk;  // at least one, also for no bytes
  if (chunks <= most_chunks) return chunks;
  bytes = std::max(bytes, (std::size_t{1} << first_power) + 1);
  const auto power = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;  // 2^power < bytes <= 2^(power + 1)
  const std::size_t quarter = (bytes - 1 - (std::size_t{1} << power)) >> (power - 2);
  return most_chunks + 1 + 4 * (power - first_power) + quarter;
}
constexpr std::size_t class_bytes(std::size_t size_class) {
  if (size_class <= most_chunks) return size_class * chunk - chunk_header;
  const std::size_t step = size_class - most_chunks - 1, power = step / 4 + first_power;
  return (std::size_t{1} << power) + (step % 4 + 1) * (std::size_t{1} << (power - 2));
}
static_assert(class_bytes(class_of(216)) == 216 && class_bytes(class_of(217)) == 248);
static_assert(class_bytes(class_of(1016)) == 1016 && class_bytes(class_of(1017)) == 1280);
static_assert(class_bytes(class_of(2048)) == 2048 && class_bytes(class_of(2049)) == 2560);

// Free blocks of one thread, a list per size class. Trivial, so that it outlives every other thread-local object; the
// guard's destructor empties it and turns later frees into plain ones.
constexpr std::size_t least_staggered = 32 * 1024, stagger_bytes = 9 * 64;

struct Pool {
  struct Block {
    Block* next;
  };
  Block* free[class_count];
  std::size_t cached_bytes;
  std::size_t most_cached_bytes;  // 0 before the guard is made, and after it has gone
  bool closed;
  unsigned stagger;
};

thread_local constinit Pool pool{};

void empty_pool() {
  for (Pool::Block*& head : pool.free) {
    while (head) {
      Pool::Block* block = head;
      unpoison(block, sizeof(Pool::Block));
      head = block->next;
      std::free(block);
    }
  }
  pool.cached_bytes = 0;
}

struct PoolGuard {
  ~PoolGuard() {
    empty_pool();
    pool.most_cached_bytes = 0;
    pool.closed = true;
  }
};
thread_local PoolGuard guard;

[[gnu::noinline]] void* fresh_block(std::size_t size_class, std::size_t bytes) {
  const std::size_t all = class_bytes(size_class);
  void* block = size_class <= most_chunks ? std::malloc(all) : std::aligned_alloc(64, all);
  if (block) poison(static_cast<std::byte*>(block) + bytes, all - bytes);
  return block;
}

// Null when there is none.
inline void* take_cached(std::size_t size_class, std::size_t bytes) {
  Pool::Block* block = pool.free[size_class];
  if (!block) return nullptr;
  unpoison(block, sizeof(Pool::Block));
  pool.free[size_class] = block->next;
  pool.cached_bytes -= class_bytes(size_class);
  poison(block, sizeof(Pool::Block));
  unpoison(block, bytes);
  return block;
}

// Null when memory is out.
inline void* take(std::size_t size_class, std::size_t bytes) {
  void* block = take_cached(size_class, bytes);
  return block ? block : fresh_block(size_class, bytes);
}

// True when there is room for one more block, after the guard is made at first use, so that it is destroyed at thread
// exit.
bool make_room(std::size_t bytes) noexcept {
  if (!pool.closed && pool.most_cached_bytes == 0) {
    pool.most_cached_bytes = std::size_t{1} << 30;
    static_cast<void>(&guard);
  }
  return pool.cached_bytes + bytes <= pool.most_cached_bytes;
}

inline void keep(void* block, std::size_t size_class) noexcept {
  const std::size_t bytes = class_bytes(size_class);
  unpoison(block, sizeof(Pool::Block));
  auto* head = static_cast<Pool::Block*>(block);
  head->next = pool.free[size_class];
  pool.free[size_class] = head;
  pool.cached_bytes += bytes;
  poison(block, bytes);
}

[[gnu::noinline]] void keep_if_room(void* block, std::size_t size_class) noexcept {
  const std::size_t bytes = class_bytes(size_class);
  if (make_room(bytes)) return keep(block, size_class);
  unpoison(block, bytes);
  std::free(block);
}

inline void give_back(void* block, std::size_t size_class) noexcept {
  if (pool.cached_bytes + class_bytes(size_class) > pool.most_cached_bytes) return keep_if_room(block, size_class);
  keep(block, size_class);
}

[[noreturn, gnu::cold]] void throw_shape(const Shape& shape) {
  for (std::int64_t size : shape) {
    if (size < 0) throw ShapeError("a tensor of shape " + to_string(shape) + ": sizes must not be negative");
  }
  throw ShapeError("a tensor of shape " + to_string(shape) + " does not fit in memory");
}
[[noreturn, gnu::cold]] void throw_memory(const Shape& shape, std::size_t bytes) {
  throw Error("out of memory: a tensor of shape " + to_string(shape) + " needs " + std::to_string(bytes) + " bytes");
}

std::size_t bytes_of(Dtype dtype, const Shape& shape) {
  constexpr std::int64_t most = std::int64_t{1} << 61;
  auto bytes = static_cast<std::int64_t>(size_of(dtype));
  bool empty = false;
  for (std::int64_t size : shape) {
    if (size < 0) throw_shape(shape);
    if (size == 0)
      empty = true;
    else if (__builtin_mul_overflow(bytes, size, &bytes))
      bytes = most;
  }
  if (bytes >= most) throw_shape(shape);
  return empty ? 0 : static_cast<std::size_t>(bytes);
}

inline Array* place_array(void* block, std::size_t size_class, Dtype dtype, Array* owner, void* data,
                          const Shape& shape) {
  auto* array = new (block) Array;
  array->references.store(1, std::memory_order_relaxed);
  array->size_class = static_cast<std::uint16_t>(size_class);
  array->dtype = dtype;
  array->owner = owner;
  array->data = data;
  array->shape = shape;
  return array;
}

}  // namespace

namespace {

// Of any size; `allocate` has done the small ones.
[[gnu::noinline]] Array* allocate_any(Dtype dtype, const Shape& shape) {
  std::size_t bytes = bytes_of(dtype, shape) + sizeof(Array) + kernels::padding;
  std::size_t offset = sizeof(Array);
  if (bytes >= least_staggered) {
    // Large blocks begin at the same place of a page. Streams through several of them would meet in the same sets of
    // every cache, and a load would wait for the store with the same last bits of its address.
    offset += pool.stagger++ % 8 * stagger_bytes;
    bytes += 7 * stagger_bytes;
  }
  const std::size_t size_class = class_of(bytes);
  void* block = take(size_class, bytes);
  if (!block) throw_memory(shape, bytes);
  return place_array(block, size_class, dtype, nullptr, static_cast<std::byte*>(block) + offset, shape);
}

}  // namespace

Array* allocate(Dtype dtype, const Shape& shape) {
  constexpr std::int64_t small = most_chunks * chunk;
  auto elements = static_cast<std::int64_t>(size_of(dtype));
  for (std::int64_t size : shape) {
    if (size <= 0 || size > small || (elements *= size) > small) return allocate_any(dtype, shape);
  }
  const std::size_t all = static_cast<std::size_t>(elements) + sizeof(Array) + kernels::padding;
  const std::size_t size_class = (all + chunk_header + chunk - 1) / chunk;
  if (size_class > most_chunks) return allocate_any(dtype, shape);
  void* block = take_cached(size_class, all);
  if (!block) return allocate_any(dtype, shape);
  return place_array(block, size_class, dtype, nullptr, static_cast<std::byte*>(block) + sizeof(Array), shape);
}

Array* view(Array* array, const Shape& shape) {
  Array* owner = array->owner ? array->owner : array;
  constexpr std::size_t size_class = class_of(sizeof(Array));
  void* block = take(size_class, sizeof(Array));
  if (!block) throw_memory(shape, sizeof(Array));
  retain(owner);
  return place_array(block, size_class, array->dtype, owner, array->data, shape);
}

Object::~Object() = default;

Array* allocate_object(std::unique_ptr<Object> object) {
  Array* array = allocate(Dtype::object, Shape{});
  array->data = object.release();
  return array;
}

namespace {

[[gnu::noinline]] void destroy_with_what_it_holds(Array* array) {
  Array* owner = array->owner;
  if (array->dtype == Dtype::object) delete static_cast<Object*>(array->data);
  give_back(array, array->size_class);
  release(owner);
}

}  // namespace

void destroy(Array* array) {
  if (array->owner || array->dtype == Dtype::object) return destroy_with_what_it_holds(array);
  give_back(array, array->size_class);
}

void* pool_allocate(std::size_t bytes) {
  void* block = take(class_of(bytes), bytes);
  if (!block) throw std::bad_alloc();
  return block;
}
void pool_deallocate(void* block, std::size_t bytes) noexcept { give_back(block, class_of(bytes)); }

}  // namespace detail

void release_cached_memory() { detail::empty_pool(); }

}  // namespace tapegrad
