#pragma once
// What fit prints if it is asked to.

#include <chrono>
#include <cstdint>
#include <string>

#include "../fit.hpp"

namespace tapegrad::nn::detail {

/// A number in an epoch's line: 0.6931, 1.0000e-12.
TAPEGRAD_EXPORT std::string readable(double value);

/// Prints one line per epoch on standard output and, on a terminal, a progress bar while the epoch runs.
class Progress {
 public:
  Progress(int verbose, std::int64_t steps);

  void begin_epoch() { start_ = drawn_ = Clock::now(); }
  void step(std::int64_t done) {
    if (bar_) draw(done);
  }
  /// The time since begin_epoch.
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  void end_epoch(const Epoch& epoch) const;

 private:
  using Clock = std::chrono::steady_clock;
  void draw(std::int64_t done);

  bool lines_, bar_;
  std::int64_t steps_;
  Clock::time_point start_, drawn_;
};

}  // namespace tapegrad::nn::detail
