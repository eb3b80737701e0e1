#pragma once
// What debug_nans() sees: the values that operations record, and what rules give in sweeps.

#include <atomic>
#include <utility>

#include "../debug_nans.hpp"
#include "../tensor.hpp"

namespace tapegrad::detail {

struct NanWatch {
  DebugNansOptions options;
  NanWatch* outer;
  bool in_rule = false;  // where a slope may be infinite, since nothing may ask for it
};

/// Scopes of debug_nans that are open on any thread.
TAPEGRAD_EXPORT extern constinit std::atomic<int> nan_watches;
/// The innermost of this thread, or null.
TAPEGRAD_EXPORT NanWatch* nan_watch();
inline bool watched() { return nan_watches.load(std::memory_order_relaxed) != 0 && nan_watch() != nullptr; }

bool all_finite(const Array& array);
/// Throws ValueError where `array` has an element that is not finite: `what` of an operation.
void require_finite(const Array& array, const char* operation, const std::string& what, const Where& where);
/// The same for the value of an operation, unless a rule has called it.
void watch_value(const Array& array, const char* operation, const Where& where);
/// 1 where v is 0, 0 elsewhere; empty where nothing is.
Handle zeros_of(const Handle& v);

/// While it lives no value of this thread is watched.
class Unwatched {
 public:
  Unwatched() : watch_(watched() ? nan_watch() : nullptr) {
    if (watch_) before_ = std::exchange(watch_->in_rule, true);
  }
  Unwatched(const Unwatched&) = delete;
  ~Unwatched() {
    if (watch_) watch_->in_rule = before_;
  }

 private:
  NanWatch* watch_;
  bool before_ = false;
};

}  // namespace tapegrad::detail
