#include "program.hpp"

#include "../core/few.hpp"

#include <algorithm>
#include <cstdint>

namespace tapegrad::detail {
namespace {

// The elements of an operand in the layout of the program's result, one block at a time.
class Spread {
 public:
  Spread(const Shape& from, const Shape& to) {
    std::int64_t stride = 1;
    for (std::int64_t back = 1; back <= to.rank(); ++back) {
      const std::int64_t size = to.from_end(back);
      const bool steps = back <= from.rank() && from.from_end(back) != 1;
      if (size != 1) {
        if (count_ > 0 && (groups_[count_ - 1].stride != 0) == steps)
          groups_[count_ - 1].size *= size;
        else
          groups_[count_++] = {size, steps ? stride : 0};
      }
      if (steps) stride *= size;
    }
    if (count_ == 0) groups_[count_++] = {1, 0};
  }

  /// Elements [at, at + n) of the result.
  template <class T>
  void copy(const T* from, std::int64_t at, std::int64_t n, T* to) const {
    const Group& inner = groups_[0];
    while (n > 0) {
      std::int64_t offset = 0, rest = at / inner.size;
      for (std::size_t g = 1; g < count_; ++g) {
        offset += rest % groups_[g].size * groups_[g].stride;
        rest /= groups_[g].size;
      }
      const std::int64_t begin = at % inner.size, run = std::min(n, inner.size - begin);
      if (inner.stride == 0)
        std::fill_n(to, run, from[offset]);
      else
        std::copy_n(from + offset + begin, run, to);
      at += run, to += run, n -= run;
    }
  }

 private:
  struct Group {
    std::int64_t size, stride;
  };
  std::array<Group, Shape::max_rank + 1> groups_{};  // innermost first
  std::size_t count_ = 0;
};

constexpr std::size_t cache_line = 64;

// Uninitialized elements from the pool, aligned to a cache line: vectors that cross two lines take twice as long.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::size_t size) : block_(size ? pool_allocate(size * sizeof(T) + cache_line) : nullptr) {}
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    if (block_) pool_deallocate(block_);
  }
  T* data() const {
    const std::size_t past = reinterpret_cast<std::uintptr_t>(block_) % cache_line;
    return reinterpret_cast<T*>(static_cast<std::byte*>(block_) + (past == 0 ? 0 : cache_line - past));
  }

 private:
  void* block_;
};

// Blocks are short, so that the processor fetches the next one while it computes: a long pass that only reads would
// wait for memory. Together they fit into the first-level cache.
constexpr std::size_t block_bytes = 3 * 1024, cache_bytes = 24 * 1024, least_block = 128;

}  // namespace

// Runs all steps over blocks of n elements.
template <Real T>
void Program::execute(const Code& code, std::span<const T* const> slots, std::int64_t n) const {
  const std::size_t first_constant = registers_ + operands_;
  for (const Step& step : code.steps) {
    kernels::Source<T> in[max_arity];
    for (std::size_t k = 0; k < step.arity; ++k) {
      const auto slot = static_cast<std::size_t>(step.in[k]);
      in[k] = {slots[slot], 0, slot < first_constant};
    }
    T* to = const_cast<T*>(slots[static_cast<std::size_t>(step.out)]);
    if (step.slope != no_node) {
      T* slope = const_cast<T*>(slots[static_cast<std::size_t>(step.slope)]);
      if constexpr (std::is_same_v<T, float>)
        step.pair_f32(n, in[0].data, to, slope);
      else
        step.pair_f64(n, in[0].data, to, slope);
      continue;
    }
    if constexpr (std::is_same_v<T, float>)
      step.kernel_f32(1, n, in, static_cast<T>(step.p), to);
    else
      step.kernel_f64(1, n, in, step.p, to);
  }
  for (const Copy& copy : code.copies) {
    const auto slot = static_cast<std::size_t>(copy.from);
    T* to = const_cast<T*>(slots[static_cast<std::size_t>(copy.result)]);
    if (slot < first_constant)
      std::copy_n(slots[slot], n, to);
    else
      std::fill_n(to, n, *slots[slot]);
  }
}

template <Real T>
void Program::run(std::span<const Array* const> operands, std::span<Array* const> results) const {
  Few<const T*, 8> from(operands.size());
  Few<T*, 8> to(results.size());
  Few<const Shape*, 8> shapes(operands.size());
  for (std::size_t k = 0; k < operands.size(); ++k) {
    from[k] = operands[k]->template as<T>();
    shapes[k] = &operands[k]->shape;
  }
  for (std::size_t r = 0; r < results.size(); ++r) to[r] = results[r]->template as<T>();
  if (observed()) [[unlikely]]
    return run_observed<T>(shapes, from, results[0]->shape, to);
  run_at<T>(shapes, from, results[0]->shape, to);
}

// The same as one command.
template <Real T>
void Program::run_observed(std::span<const Shape* const> shapes, std::span<const T* const> operands, const Shape& shape,
                           std::span<T* const> results) const {
  std::vector<Shape> kept;
  std::vector<Command::Operand> touched;
  for (std::size_t k = 0; k < operands.size(); ++k) {
    kept.push_back(*shapes[k]);
    touched.push_back(operand_of(In<T>{operands[k], reads(k) ? shapes[k]->count() : 0}));
  }
  for (T* result : results) touched.push_back(operand_of(Out<T>{result, shape.count()}));
  command_of("program", touched, [this, kept, shape, count = results.size()](void* const* data) {
    std::vector<const Shape*> of_operands;
    std::vector<const T*> from;
    std::vector<T*> to;
    for (const Shape& own : kept) {
      of_operands.push_back(&own);
      from.push_back(static_cast<const T*>(*data++));
    }
    for (std::size_t r = 0; r < count; ++r) to.push_back(static_cast<T*>(*data++));
    run_at<T>(of_operands, from, shape, to);
  });
}

template <Real T>
void Program::run_at(std::span<const Shape* const> shapes, std::span<const T* const> operands, const Shape& shape,
                     std::span<T* const> results) const {
  const std::int64_t count = shape.count();
  const std::vector<T>* constants;
  if constexpr (std::is_same_v<T, float>)
    constants = &constants_f32_;
  else
    constants = &constants_f64_;

  // Operands of the result's shape are read in place, all others through a block of their own.
  struct Repeated {
    const T* from;
    T* to;
    Spread spread;
  };
  std::size_t blocks = registers_ - results_, moving = results_;
  for (std::size_t k = 0; k < operands_; ++k) {
    if (reads(k)) ++(*shapes[k] == shape ? moving : blocks);
  }
  const std::size_t line = cache_line / sizeof(T), whole = block_bytes / sizeof(T),
                    part = cache_bytes / ((blocks + moving) * sizeof(T)) / line * line;
  const std::int64_t block = std::min(static_cast<std::int64_t>(std::clamp(part, least_block, whole)), count);
  // A vector may spill into the padding after a block.
  const std::size_t block_size = (static_cast<std::size_t>(block) + 2 * line - 1) / line * line;
  const Scratch<T> scratch(blocks * block_size);
  T* next = scratch.data();
  Few<const T*, 24> slots(registers_ + operands_ + constants->size());
  std::vector<Repeated, PoolAllocator<Repeated>> repeated;
  for (std::size_t r = results_; r < registers_; ++r, next += block_size) slots[r] = next;
  for (std::size_t k = 0; k < operands_; ++k) {
    if (!reads(k)) continue;
    const T* from = operands[k];
    slots[registers_ + k] = from;
    if (*shapes[k] == shape) continue;
    slots[registers_ + k] = next;
    if (shapes[k]->count() == 1)
      std::fill_n(next, block, *from);
    else
      repeated.push_back({from, next, Spread(*shapes[k], shape)});
    next += block_size;
  }
  for (std::size_t c = 0; c < constants->size(); ++c) slots[registers_ + operands_ + c] = &(*constants)[c];

  for (std::int64_t at = 0; at < count; at += block) {
    const std::int64_t n = std::min(block, count - at);
    for (const Repeated& r : repeated) r.spread.copy(r.from, at, n, r.to);
    for (std::size_t r = 0; r < results_; ++r) slots[r] = results[r] + at;
    execute<T>(code_, slots, n);
    for (std::size_t r : checked_) {
      if (!kernels::kernels<T>().any_nan(slots[r], n)) continue;
      execute<T>(strong_, slots, n);
      break;
    }
    for (std::size_t k = 0; k < operands_; ++k) {
      if (reads(k) && *shapes[k] == shape) slots[registers_ + k] += n;
    }
  }
}

template void Program::run<float>(std::span<const Array* const>, std::span<Array* const>) const;
template void Program::run<double>(std::span<const Array* const>, std::span<Array* const>) const;

}  // namespace tapegrad::detail
