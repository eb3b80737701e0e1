#include "progress.hpp"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <string>

namespace tapegrad::nn::detail {

std::string readable(double value) {
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 0.01 && size < 1e6) || !std::isfinite(value);
  char text[32];
  std::snprintf(text, sizeof text, plain ? "%.4f" : "%.4e", value);
  return text;
}

Progress::Progress(int verbose, std::int64_t steps)
    : lines_(verbose > 0), bar_(lines_ && isatty(STDOUT_FILENO)), steps_(steps) {}

void Progress::draw(std::int64_t done) {
  const Clock::time_point now = Clock::now();
  if (now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  constexpr std::int64_t width = 30;
  const auto filled = static_cast<std::size_t>(done * width / steps_);
  const std::string bar = std::string(filled, '=') + std::string(width - filled, ' ');
  std::printf("\r%lld/%lld [%s]", static_cast<long long>(done), static_cast<long long>(steps_), bar.c_str());
  std::fflush(stdout);
}

void Progress::end_epoch(const Epoch& epoch) const {
  if (!lines_) return;
  if (bar_) std::printf("\r\033[K");
  const bool milliseconds = epoch.seconds < 1;
  std::printf("Epoch %lld/%lld - %.1f %s", static_cast<long long>(epoch.index + 1),
              static_cast<long long>(epoch.epochs), epoch.seconds * (milliseconds ? 1e3 : 1),
              milliseconds ? "ms" : "s");
  for (const auto& [name, value] : epoch.logs) std::printf(" - %s: %s", name.c_str(), readable(value).c_str());
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace tapegrad::nn::detail
