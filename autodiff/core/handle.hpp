#pragma once
// Tensors regardless of their element type: an array, and its place on a tape.

#include <cstdint>
#include <utility>

#include "../error.hpp"
#include "memory.hpp"

namespace tapegrad::detail {

inline constexpr std::uint32_t no_record = ~std::uint32_t{0};

/// Where a traced value stands: its record, the scope it was recorded in, and the levels of the nested scopes whose
/// arguments it depends on, one bit each. Scope 0 means that it is not traced.
struct Place {
  std::uint64_t scope = 0;
  // The levels above the complement of the record, so that nowhere is all zeros: what is written in one piece need not
  // be waited for when it is read in one right away.
  std::uint64_t at = 0;

  static constexpr Place make(std::uint64_t scope, std::uint32_t record, std::uint32_t levels) {
    return {scope, std::uint64_t{levels} << 32 | (no_record ^ record)};
  }
  std::uint32_t record() const { return no_record ^ static_cast<std::uint32_t>(at); }
  std::uint32_t levels() const { return static_cast<std::uint32_t>(at >> 32); }
};

inline constexpr Shape no_shape{0};

/// A tensor of any element type: an array and a place.
class Handle {
 public:
  Handle() = default;
  /// Takes over one reference.
  explicit Handle(Array* adopted, Place place = {}) : array_(adopted), place_(place) {}
  Handle(const Handle& other) : array_(other.array_), place_(other.place_) { retain(array_); }
  Handle(Handle&& other) noexcept : array_(std::exchange(other.array_, nullptr)), place_(other.place_) {
    other.place_.scope = 0;
  }
  Handle& operator=(Handle other) noexcept {
    std::swap(array_, other.array_);
    place_ = other.place_;
    return *this;
  }
  ~Handle() { release(array_); }

  /// The same array at another place.
  Handle at(Place place) && { return Handle(std::exchange(array_, nullptr), place); }

  Array* array() const { return array_; }
  const Place& place() const { return place_; }
  bool traced() const { return place_.scope != 0; }
  explicit operator bool() const { return array_ != nullptr; }
  /// (0) for a tensor without a value.
  const Shape& shape() const { return array_ ? array_->shape : no_shape; }

 private:
  Array* array_ = nullptr;
  Place place_;
};

/// Another handle on the same array.
inline Handle share(Array* array, Place place = {}) {
  retain(array);
  return Handle(array, place);
}

/// Throws TapeError, naming the operation, while the scope that `x` was recorded in is open on this thread: a number
/// read from it would be a constant there.
TAPEGRAD_EXPORT void require_readable(const Handle& x, const char* operation, Caller where);

}  // namespace tapegrad::detail
