#include "memory.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <utility>

#include "../error.hpp"
#include "padding.hpp"

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
static_assert(class_count <= 256);  // a byte of every array
static_assert(class_bytes(class_of(2048)) == 2048 && class_bytes(class_of(2049)) == 2560);

constexpr std::size_t cache_line = 64;
constexpr std::size_t least_staggered = 32 * 1024, stagger_bytes = 9 * 64;

// What a thread keeps of its own, and what others may have sent back to it before it next looks.
constexpr std::size_t most_kept_bytes = std::size_t{1} << 30;

struct Block {
  Block* next;
  std::size_t size_class;  // set on the way home only
};

// Where blocks go that another thread than their own frees: a stack, which its thread takes whole. Null when no thread
// lives there, and what comes back is freed. Trivial and static, so that a block may come home at any time.
struct alignas(64) Home {
  std::atomic<Block*> returned;
  std::atomic<std::size_t> returned_bytes;
};
constexpr std::uint16_t most_homes = 4096, no_home = 0;
constinit Home homes[most_homes];
constinit Block bottom{};  // of every stack

// A thread's own free blocks, a list per size class. Trivial, so that it outlives every other thread-local object; the
// guard's destructor empties it and turns later frees into plain ones.
struct Pool {
  Block* free[class_count];
  std::size_t kept_bytes;
  std::size_t system_bytes;      // of the blocks that this thread has taken from the system, freed or not
  std::size_t most_kept_bytes;   // 0 before the guard is made, and after it has gone
  std::size_t kept_since_order;  // blocks that came since the lists were last looked at
  std::uint16_t home;
  bool closed;
  unsigned stagger;
};

thread_local constinit Pool pool{};

// A block of any thread's.
void free_to_system(void* block, std::size_t size_class) noexcept {
  unpoison(block, class_bytes(size_class));
  std::free(block);
}
// One that this thread has taken from the system.
void free_block(void* block, std::size_t size_class) noexcept {
  pool.system_bytes -= class_bytes(size_class);
  free_to_system(block, size_class);
}

// body(block, size_class) for all that has come back; `left` is what the stack is from now on.
template <class Body>
void take_returned(Block* left, Body body) {
  Home& home = homes[pool.home];
  Block* block = home.returned.exchange(left, std::memory_order_acq_rel);
  std::size_t bytes = 0;
  while (block != &bottom) {
    const Block own = *block;
    bytes += class_bytes(own.size_class);
    body(block, own.size_class);
    block = own.next;
  }
  home.returned_bytes.fetch_sub(bytes, std::memory_order_relaxed);
}

// `left` as above.
void empty_pool(Block* left) {
  if (pool.home != no_home) take_returned(left, free_block);
  for (std::size_t size_class = 0; size_class < class_count; ++size_class) {
    while (Block* block = pool.free[size_class]) {
      unpoison(block, sizeof(Block));
      pool.free[size_class] = block->next;
      free_block(block, size_class);
    }
  }
  pool.kept_bytes = 0;
}

struct PoolGuard {
  ~PoolGuard() {
    empty_pool(nullptr);
    pool.home = no_home;
    pool.most_kept_bytes = 0;
    pool.closed = true;
  }
};
thread_local PoolGuard guard;

// A home that nobody lives in; no_home when there is none.
std::uint16_t move_in() {
  for (std::uint16_t i = no_home + 1; i < most_homes; ++i) {
    Block* nobody = nullptr;
    if (homes[i].returned.compare_exchange_strong(nobody, &bottom, std::memory_order_acq_rel)) return i;
  }
  return no_home;
}

// At a thread's first use of its pool, whose guard is made, so that it is destroyed at thread exit. Without a home it
// keeps nothing.
void open_pool() noexcept {
  if (pool.closed || pool.most_kept_bytes != 0) return;
  pool.home = move_in();
  pool.closed = pool.home == no_home;
  if (pool.closed) return;
  pool.most_kept_bytes = most_kept_bytes;
  static_cast<void>(&guard);
}

// Null when there is none.
inline void* take_kept(std::size_t size_class, std::size_t bytes) {
  Block* block = pool.free[size_class];
  if (!block) return nullptr;
  unpoison(block, sizeof(Block));
  pool.free[size_class] = block->next;
  pool.kept_bytes -= class_bytes(size_class);
  poison(block, sizeof(Block));
  unpoison(block, bytes);
  return block;
}

inline void keep(void* place, std::size_t size_class) noexcept {
  const std::size_t bytes = class_bytes(size_class);
  unpoison(place, sizeof(Block));
  auto* block = static_cast<Block*>(place);
  block->next = pool.free[size_class];
  pool.free[size_class] = block;
  pool.kept_bytes += bytes;
  ++pool.kept_since_order;
  poison(place, bytes);
}

Block* next_of(Block* block) {
  unpoison(block, sizeof(Block));
  Block* next = block->next;
  poison(block, sizeof(Block));
  return next;
}

constexpr std::size_t page_bytes = 4096, few_pages = 8, sample = 128;

// Whether most of the blocks that a list gives next are in none of the pages that the eight before them were in. What
// several loops have freed by turns is not: each goes through its own pages in order.
bool is_scattered(Block* block) {
  std::uintptr_t recent[few_pages] = {};
  std::size_t misses = 0;
  for (std::size_t seen = 0; seen < sample; ++seen, block = next_of(block)) {
    if (!block) return false;
    const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(block) / page_bytes;
    if (std::find(recent, recent + few_pages, page) == recent + few_pages) recent[misses++ % few_pages] = page;
  }
  return misses > sample / 2;
}

// Sorts by address the first `most` blocks of a list; behind them nothing has changed since it was last sorted.
void sort_list(Block*& list, std::size_t most) {
  const std::unique_ptr<Block*[]> blocks(new (std::nothrow) Block*[most]);
  if (!blocks) return;
  std::size_t n = 0;
  Block* rest = list;
  for (; rest && n < most; rest = next_of(rest)) blocks[n++] = rest;
  std::sort(blocks.get(), blocks.get() + n, std::greater<>());
  list = rest;
  for (std::size_t i = 0; i < n; ++i) {
    unpoison(blocks[i], sizeof(Block));
    blocks[i]->next = list;
    list = blocks[i];
    poison(blocks[i], sizeof(Block));
  }
}

bool has_room(std::size_t size_class) { return pool.kept_bytes + class_bytes(size_class) <= pool.most_kept_bytes; }

void keep_or_free(void* block, std::size_t size_class) noexcept {
  if (has_room(size_class))
    keep(block, size_class);
  else
    free_block(block, size_class);
}

// Null when memory is out.
[[gnu::noinline]] void* take_returned_or_fresh(std::size_t size_class, std::size_t bytes) {
  open_pool();
  if (pool.home != no_home && homes[pool.home].returned.load(std::memory_order_relaxed) != &bottom) {
    take_returned(&bottom, keep_or_free);
    if (void* block = take_kept(size_class, bytes)) return block;
  }
  const std::size_t all = class_bytes(size_class);
  void* block = size_class <= most_chunks ? std::malloc(all) : std::aligned_alloc(64, all);
  if (block) {
    pool.system_bytes += all;
    poison(static_cast<std::byte*>(block) + bytes, all - bytes);
  }
  return block;
}

// Null when memory is out.
inline void* take(std::size_t size_class, std::size_t bytes) {
  void* block = take_kept(size_class, bytes);
  return block ? block : take_returned_or_fresh(size_class, bytes);
}

// Pushes a block of another thread; false where nobody lives there, or too much waits already.
bool push(Home& home, Block* block, std::size_t bytes) noexcept {
  if (home.returned_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes <= most_kept_bytes) {
    Block* top = home.returned.load(std::memory_order_relaxed);
    while (top) {
      block->next = top;
      if (home.returned.compare_exchange_weak(top, block, std::memory_order_release, std::memory_order_relaxed)) {
        return true;
      }
    }
  }
  home.returned_bytes.fetch_sub(bytes, std::memory_order_relaxed);
  return false;
}

[[gnu::noinline]] void send_home(void* place, std::uint16_t home, std::size_t size_class) noexcept {
  if (home == pool.home) return keep_or_free(place, size_class);
  const std::size_t bytes = class_bytes(size_class);
  unpoison(place, sizeof(Block));
  auto* block = new (place) Block{nullptr, size_class};
  poison(block + 1, bytes - sizeof(Block));
  if (!push(homes[home], block, bytes)) free_to_system(block, size_class);
}

inline void give_back(void* block, std::uint16_t home, std::size_t size_class) noexcept {
  if (home != pool.home || !has_room(size_class)) return send_home(block, home, size_class);
  keep(block, size_class);
}

// Of an array of that rank, a multiple of what malloc aligns to.
constexpr std::size_t header_bytes(std::int64_t rank) {
  constexpr std::size_t alignment = alignof(std::max_align_t), of_few = 48;
  if (rank <= 2) return of_few;
  return (sizeof(Array) - static_cast<std::size_t>(Shape::max_rank - rank) * sizeof(std::int64_t) + alignment - 1) /
         alignment * alignment;
}
static_assert(sizeof(Array) == 96 && header_bytes(3) == 64 && header_bytes(Shape::max_rank) == 96);

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

// A vector's last lanes compute with what stands behind the elements. Left there, addresses and small whole numbers
// would be subnormal numbers, which take a hundred times as long.
inline void clear_padding(void* data, std::size_t bytes) {
  std::memset(static_cast<std::byte*>(data) + bytes, 0, padding);
}

inline Array* place_array(void* block, std::size_t size_class, Dtype dtype, Array* owner, void* data,
                          const Shape& shape) {
  auto* array = new (block) Array;
  array->references.store(1, std::memory_order_relaxed);
  array->home = pool.home;
  array->size_class = static_cast<std::uint8_t>(size_class);
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
  const std::size_t elements = bytes_of(dtype, shape);
  std::size_t offset = header_bytes(shape.rank());
  std::size_t bytes = elements + offset + padding;
  if (class_of(bytes) > most_chunks) {
    // From the beginning of a cache line: a vector in two of them takes twice as long.
    offset = (offset + cache_line - 1) / cache_line * cache_line;
    bytes = elements + offset + padding;
  }
  if (bytes >= least_staggered) {
    // Large blocks begin at the same place of a page. Streams through several of them would meet in the same sets of
    // every cache, and a load would wait for the store with the same last bits of its address.
    offset += pool.stagger++ % 8 * stagger_bytes;
    bytes += 7 * stagger_bytes;
  }
  const std::size_t size_class = class_of(bytes);
  void* block = take(size_class, bytes);
  if (!block) throw_memory(shape, bytes);
  void* data = static_cast<std::byte*>(block) + offset;
  clear_padding(data, elements);
  return place_array(block, size_class, dtype, nullptr, data, shape);
}

}  // namespace

Array* allocate(Dtype dtype, const Shape& shape) {
  constexpr std::int64_t small = most_chunks * chunk;
  auto elements = static_cast<std::int64_t>(size_of(dtype));
  for (std::int64_t size : shape) {
    if (size <= 0 || size > small || (elements *= size) > small) return allocate_any(dtype, shape);
  }
  const std::size_t header = header_bytes(shape.rank()), all = static_cast<std::size_t>(elements) + header + padding;
  const std::size_t size_class = (all + chunk_header + chunk - 1) / chunk;
  if (size_class > most_chunks) return allocate_any(dtype, shape);
  void* block = take_kept(size_class, all);
  if (!block) return allocate_any(dtype, shape);
  void* data = static_cast<std::byte*>(block) + header;
  clear_padding(data, static_cast<std::size_t>(elements));
  return place_array(block, size_class, dtype, nullptr, data, shape);
}

Array* allocate_as(const Array& like) {
  static constexpr std::uint8_t bytes_of_element[] = {sizeof(float), sizeof(double), sizeof(std::int64_t), sizeof(bool),
                                                      0};
  static_assert(static_cast<int>(Dtype::object) == 4);
  if (like.owner || like.size_class > most_chunks) return allocate(like.dtype, like.shape);
  std::size_t elements = bytes_of_element[static_cast<std::size_t>(like.dtype)];
  for (std::int64_t size : like.shape) elements *= static_cast<std::size_t>(size);
  const auto offset =
      static_cast<std::size_t>(static_cast<const std::byte*>(like.data) - reinterpret_cast<const std::byte*>(&like));
  void* block = take_kept(like.size_class, elements + offset + padding);
  if (!block) return allocate(like.dtype, like.shape);
  void* data = static_cast<std::byte*>(block) + offset;
  clear_padding(data, elements);
  return place_array(block, like.size_class, like.dtype, nullptr, data, like.shape);
}

Array* view(Array* array, const Shape& shape) {
  Array* owner = array->owner ? array->owner : array;
  const std::size_t bytes = header_bytes(shape.rank()), size_class = class_of(bytes);
  void* block = take(size_class, bytes);
  if (!block) throw_memory(shape, bytes);
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
  give_back(array, array->home, array->size_class);
  release(owner);
}

}  // namespace

void destroy(Array* array) {
  if (array->owner || array->dtype == Dtype::object) return destroy_with_what_it_holds(array);
  give_back(array, array->home, array->size_class);
}

namespace {

// In front of a raw block; as large as malloc aligns.
struct alignas(std::max_align_t) RawHeader {
  std::uint16_t home, size_class;
};

}  // namespace

void* pool_allocate(std::size_t bytes) {
  const std::size_t all = bytes + sizeof(RawHeader), size_class = class_of(all);
  void* block = take(size_class, all);
  if (!block) throw std::bad_alloc();
  return new (block) RawHeader{pool.home, static_cast<std::uint16_t>(size_class)} + 1;
}
std::int64_t live_bytes() {
  const std::size_t returned = homes[pool.home].returned_bytes.load(std::memory_order_relaxed);
  return static_cast<std::int64_t>(pool.system_bytes - pool.kept_bytes - returned);
}

void pool_deallocate(void* block) noexcept {
  RawHeader* header = static_cast<RawHeader*>(block) - 1;
  give_back(header, header->home, header->size_class);
}

void order_free_blocks() {
  constexpr std::size_t enough = 4096;  // for a look at the lists to cost nothing
  if (pool.kept_since_order < enough) return;
  const std::size_t changed = std::exchange(pool.kept_since_order, 0);
  for (std::size_t size_class = 1; size_class <= most_chunks; ++size_class) {
    if (is_scattered(pool.free[size_class])) sort_list(pool.free[size_class], changed);
  }
}

}  // namespace detail

void release_cached_memory() { detail::empty_pool(&detail::bottom); }

}  // namespace tapegrad
