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

/// " at train.cpp:41", without the folder; empty for an unknown place.
TAPEGRAD_EXPORT std::string to_string(const Caller& where);

/// The base of every exception that tapegrad throws, except std::bad_alloc when memory for bookkeeping runs out.
class TAPEGRAD_EXPORT Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Shapes that do not fit the operation or each other, or an axis out of range.
class TAPEGRAD_EXPORT ShapeError : public Error {
 public:
  using Error::Error;
};

/// A handle used where its tape is not available, after its scope has closed or on another thread; or the gradient of a
/// function whose result is not a scalar.
class TAPEGRAD_EXPORT TapeError : public Error {
 public:
  using Error::Error;
};

/// A value that the operation does not accept: labels out of range, an unknown name, a learning rate that is not
/// finite.
class TAPEGRAD_EXPORT ValueError : public Error {
 public:
  using Error::Error;
};

/// A function mixes the rows of a batch where each row must be treated separately.
class TAPEGRAD_EXPORT RowMixingError : public Error {
 public:
  using Error::Error;
};

/// The checker refuses a derivative.
class TAPEGRAD_EXPORT CheckError : public Error {
 public:
  using Error::Error;
};

namespace detail {

/// False for every T, but only once T is known, so that a static_assert in a template can give a readable error.
template <class T>
inline constexpr bool never = false;

}  // namespace detail
}  // namespace tapegrad
