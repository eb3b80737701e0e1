#pragma once
// The exceptions of the library. Every message names the operation, the shapes, the caller's line and what to do.

#include <stdexcept>
#include <string>

#include "core/export.hpp"

namespace tapegrad {

/// A place in the user's source. As a default argument, `Caller where = Caller::here()`, it is the line of the call.
struct Caller {
  const char* file = "";
  int line = 0;
  static constexpr Caller here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// " at train.cpp:41", the folder left out; empty for an unknown place.
TAPEGRAD_EXPORT std::string to_string(const Caller& where);

/// Base of every exception that tapegrad throws, save std::bad_alloc where no block of bookkeeping can be had.
class TAPEGRAD_EXPORT Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Shapes that do not fit the operation, or each other; an axis out of range.
class TAPEGRAD_EXPORT ShapeError : public Error {
 public:
  using Error::Error;
};

/// A handle used where its tape cannot be: after its scope closed, or on another thread; a gradient of a non-scalar.
class TAPEGRAD_EXPORT TapeError : public Error {
 public:
  using Error::Error;
};

/// A value that the operation cannot take: labels out of range, an unknown name, a learning rate that is not finite.
class TAPEGRAD_EXPORT ValueError : public Error {
 public:
  using Error::Error;
};

/// A function that mixes the rows of a batch where each row must stand for itself.
class TAPEGRAD_EXPORT RowMixingError : public Error {
 public:
  using Error::Error;
};

/// A derivative that the checker refuses.
class TAPEGRAD_EXPORT CheckError : public Error {
 public:
  using Error::Error;
};

namespace detail {

/// False for every T, but only once T is known: what a static_assert of a template needs, to be an error in words.
template <class T>
inline constexpr bool never = false;

}  // namespace detail
}  // namespace tapegrad
