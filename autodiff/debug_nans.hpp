#pragma once
// A scope that stops at the first number that is not finite, and names the operation and the line it comes from.
//
//     auto watch = debug_nans();   // on this thread, until it is destroyed
//     grad(loss)(w);               // ValueError: log at model.cpp:12: the value is -inf at (3) of shape (10) ...
//
// In derivatives 0 * inf is 0 (see mul0), which is a convention and not always the limit: square(sqrt(x)) at 0 has
// slope 1 and gets 0. The scope can report where this happened:
//
//     auto watch = debug_nans({.absorbed = [](const std::string& text) { std::cerr << text << '\n'; }});

#include <functional>
#include <memory>
#include <string>

#include "core/export.hpp"

namespace tapegrad {

namespace detail {
class NanWatch;
}

struct DebugNansOptions {
  /// Called with operation, line and operand wherever an adjoint or tangent of 0 is multiplied by an infinite or NaN
  /// slope. Every rule is then computed twice.
  std::function<void(const std::string& message)> absorbed = {};
};

/// The result of debug_nans(). It watches this thread until it is destroyed, which must happen on the same thread. An
/// inner scope replaces those around it.
class TAPEGRAD_EXPORT DebugNans {
 public:
  [[nodiscard]] explicit DebugNans(DebugNansOptions options = {});
  DebugNans(const DebugNans&) = delete;
  DebugNans& operator=(const DebugNans&) = delete;
  ~DebugNans();

 private:
  std::unique_ptr<detail::NanWatch> watch_;
};

/// Until the end of the scope, every operation whose value has an infinite or NaN element throws ValueError with its
/// name and line; so does a reverse or forward sweep, at the first adjoint or tangent that has one.
[[nodiscard]] inline DebugNans debug_nans(DebugNansOptions options = {}) { return DebugNans(std::move(options)); }

}  // namespace tapegrad
