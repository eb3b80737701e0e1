#pragma once
// What debug_nans() sees: the values that operations make, and what rules give in sweeps.

#include <string>
#include <utility>

#include "../core/command.hpp"
#include "../core/handle.hpp"
#include "../debug_nans.hpp"

namespace tapegrad::detail {

class NanWatch final : public Observer {
 public:
  explicit NanWatch(DebugNansOptions o) : options(std::move(o)) {}
  /// Throws where an element is not finite, unless a rule has called the operation. An inner watch takes the place of
  /// those around it.
  void value(const Site& site, const Array& array) override;

  DebugNansOptions options;
  bool in_rule = false;  // where a slope may be infinite, since nothing may ask for it
};

/// The innermost of this thread; null where nobody watches.
TAPEGRAD_EXPORT NanWatch* find_nan_watch();
inline NanWatch* nan_watch() { return observed() ? find_nan_watch() : nullptr; }

bool all_finite(const Array& array);
/// Throws ValueError where `array` has an element that is not finite: `what` of an operation.
void require_finite(const Array& array, const char* operation, const std::string& what, const Caller& where);
/// 1 where v is 0, 0 elsewhere; empty where nothing is.
Handle zeros_of(const Handle& v);

/// While it lives no value of this thread is watched.
class Unwatched {
 public:
  Unwatched() : watch_(nan_watch()) {
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
