#pragma once
// Ctrl-C while something is running that can end early.

namespace tapegrad::nn::detail {

/// While one lives, the first SIGINT is noted and nothing else; then the handler that was there before is back, so that
/// a second one does what it did. Several threads may have one each: each sees the same signal. Where SIGINT is
/// ignored, as in a job in the background, it stays so.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  ~Interrupt();

  /// Since this was made.
  bool arrived() const;

 private:
  unsigned before_;
};

}  // namespace tapegrad::nn::detail
