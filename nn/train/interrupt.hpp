#pragma once
// Handles Ctrl-C while something is running that can end early.

namespace tapegrad::nn::detail {

/// While one lives, the first SIGINT is only noted. The previous handler is then restored, so that a second SIGINT does
/// what it would have done before. Several threads may have one each, and all of them see the same signal. If SIGINT is
/// ignored, as in a background job, it stays ignored.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  ~Interrupt();

  /// Whether SIGINT has arrived since this object was created.
  bool arrived() const;

 private:
  unsigned before_;
};

}  // namespace tapegrad::nn::detail
