#pragma once
// Shape: the sizes of a tensor's axes, kept inline.

#include <array>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <limits>
#include <string>
#include <type_traits>

#include "core/export.hpp"
#include "error.hpp"

namespace tapegrad {

class Shape;

namespace detail {

/// An index, with the line on which it is written.
struct At {
  template <class I>
  requires(std::is_integral_v<I> && !std::is_same_v<I, bool>) constexpr At(I i, const char* file = __builtin_FILE(),
                                                                           int line = __builtin_LINE())
      : value(static_cast<std::int64_t>(i)), where{file, line} {}
  std::int64_t value;
  Caller where;
};

[[noreturn]] TAPEGRAD_EXPORT void throw_no_axis(const Shape& shape, std::int64_t axis, const Caller& where,
                                                bool from_end = false);
[[noreturn]] TAPEGRAD_EXPORT void throw_too_many_axes(const Caller& where);

}  // namespace detail

// Sizes beyond the rank are not set and never read, which g++ does not see everywhere.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

/// The sizes of the axes of a tensor, outermost first. There are at most `max_rank` axes; a scalar has none.
///
///     Shape s{32, 10};
///     s.rank() == 2;  s[0] == 32;  s[-1] == 10;  s.back() == 10;  s.count() == 320;
class Shape {
 public:
  static constexpr std::int64_t max_rank = 8;

  // Sizes beyond the rank are never read, and are set only where the language requires it.
  constexpr Shape() {
    if (std::is_constant_evaluated()) sizes_ = {};
  }
  constexpr Shape(std::initializer_list<std::int64_t> sizes, Caller where = Caller::here()) : Shape() {
    for (std::int64_t size : sizes) push_back(size, where);
  }
  /// Makes a shape from any range of integers. Throws ShapeError for more than max_rank axes.
  template <class Iterator>
  constexpr Shape(Iterator first, Iterator last, Caller where = Caller::here()) : Shape() {
    for (; first != last; ++first) push_back(static_cast<std::int64_t>(*first), where);
  }
  constexpr Shape(const Shape& other) : Shape() { *this = other; }
  // Copies axis by axis: wide loads would wait for the narrow stores of a shape that has just been put together.
  constexpr Shape& operator=(const Shape& other) {
    rank_ = other.rank_;
    if (rank_ > 0) sizes_[0] = other.sizes_[0];
    if (rank_ > 1) sizes_[1] = other.sizes_[1];
    for (std::size_t i = 2; i < rank_; ++i) sizes_[i] = other.sizes_[i];
    return *this;
  }

  constexpr std::int64_t rank() const { return rank_; }
  constexpr bool empty() const { return rank_ == 0; }
  /// The number of elements: the product of the sizes, 1 for a scalar, and the largest integer if the product
  /// overflows.
  constexpr std::int64_t count() const { return count(0, rank_); }
  /// The same for the axes from `first` up to but not including `last`.
  constexpr std::int64_t count(std::integral auto first, std::integral auto last) const {
    std::int64_t n = 1;
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      if (__builtin_mul_overflow(n, sizes_[i], &n)) n = std::numeric_limits<std::int64_t>::max();
    }
    return n;
  }

  /// The size of an axis; negative axes count from the end. Like the other functions, throws ShapeError if there is no
  /// such axis.
  constexpr std::int64_t operator[](detail::At axis) const { return sizes_[place(axis.value, axis.where)]; }
  constexpr std::int64_t& operator[](detail::At axis) { return sizes_[place(axis.value, axis.where)]; }
  constexpr std::int64_t front(Caller where = Caller::here()) const { return sizes_[place(0, where)]; }
  constexpr std::int64_t back(Caller where = Caller::here()) const { return sizes_[place(-1, where)]; }
  /// Size of the axis counted from the end: from_end(1) is the last.
  constexpr std::int64_t from_end(std::integral auto axis, Caller where = Caller::here()) const {
    const auto k = static_cast<std::int64_t>(axis);
    if (k < 1 || k > rank_) [[unlikely]]
      detail::throw_no_axis(*this, k < 1 ? k : -k, where, k < 1);
    return end()[-k];
  }
  constexpr const std::int64_t* begin() const { return sizes_.data(); }
  constexpr const std::int64_t* end() const { return sizes_.data() + rank_; }
  constexpr std::int64_t* begin() { return sizes_.data(); }
  constexpr std::int64_t* end() { return sizes_.data() + rank_; }

  constexpr void push_back(std::int64_t size, Caller where = Caller::here()) {
    if (rank_ == max_rank) [[unlikely]]
      detail::throw_too_many_axes(where);
    sizes_[rank_++] = size;
  }
  /// The first `n` axes, and all but the first `n`.
  constexpr Shape prefix(std::integral auto n) const { return Shape(begin(), begin() + n); }
  constexpr Shape suffix(std::integral auto n) const { return Shape(begin() + n, end()); }
  /// The shape without `n` axes from axis `first` on.
  constexpr Shape without(std::integral auto first, std::integral auto n) const {
    const auto begin = static_cast<std::size_t>(first), end = begin + static_cast<std::size_t>(n);
    Shape s;
    for (std::size_t i = 0; i < begin; ++i) s.sizes_[s.rank_++] = sizes_[i];
    for (std::size_t i = end; i < rank_; ++i) s.sizes_[s.rank_++] = sizes_[i];
    return s;
  }
  constexpr Shape without(std::integral auto first) const { return without(first, 1); }
  /// The axes of this shape, then those of `tail`.
  constexpr Shape concat(const Shape& tail, Caller where = Caller::here()) const {
    Shape s = *this;
    for (std::int64_t size : tail) s.push_back(size, where);
    return s;
  }

  /// Whether the last axes are those of `tail`.
  constexpr bool ends_with(const Shape& tail) const {
    if (tail.rank_ > rank_) return false;
    for (std::size_t i = 0, first = rank_ - tail.rank_; i < tail.rank_; ++i) {
      if (sizes_[first + i] != tail.sizes_[i]) return false;
    }
    return true;
  }

  friend constexpr bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (std::size_t i = 0; i < a.rank_; ++i) {
      if (a.sizes_[i] != b.sizes_[i]) return false;
    }
    return true;
  }

 private:
  constexpr std::size_t place(std::int64_t axis, const Caller& where) const {
    const auto at = static_cast<std::uint64_t>(axis < 0 ? axis + rank_ : axis);
    if (at >= rank_) [[unlikely]]
      detail::throw_no_axis(*this, axis, where);
    return at;
  }

  // The members are in this order so that an array need not have room for sizes beyond the rank.
  std::uint8_t rank_ = 0;
  std::array<std::int64_t, max_rank> sizes_;
};

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// "(32, 10)"; "()" for a scalar.
TAPEGRAD_EXPORT std::string to_string(const Shape& shape);
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, const Shape& shape);

}  // namespace tapegrad
