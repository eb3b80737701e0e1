#include "interrupt.hpp"

#include <signal.h>

#include <atomic>
#include <mutex>

namespace tapegrad::nn::detail {
namespace {

std::atomic<unsigned> arrivals{0};
static_assert(std::atomic<unsigned>::is_always_lock_free);  // a signal handler may touch nothing else

// The variables below are guarded by the mutex. The handler reads `previous` only while it is installed, and nobody
// writes it then.
std::mutex mutex;
int users = 0;
struct sigaction previous;

extern "C" void note_interrupt(int) {
  arrivals.fetch_add(1, std::memory_order_relaxed);
  sigaction(SIGINT, &previous, nullptr);
}

bool installed() {
  struct sigaction now;
  return sigaction(SIGINT, nullptr, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == note_interrupt;
}

}  // namespace

Interrupt::Interrupt() : before_(arrivals.load(std::memory_order_relaxed)) {
  const std::lock_guard lock(mutex);
  ++users;
  if (installed()) return;
  sigaction(SIGINT, nullptr, &previous);
  if (!(previous.sa_flags & SA_SIGINFO) && previous.sa_handler == SIG_IGN) return;
  struct sigaction ours {};
  ours.sa_handler = note_interrupt;
  ours.sa_flags = SA_RESTART;
  sigemptyset(&ours.sa_mask);
  sigaction(SIGINT, &ours, nullptr);
}

Interrupt::~Interrupt() {
  const std::lock_guard lock(mutex);
  if (--users == 0 && installed()) sigaction(SIGINT, &previous, nullptr);
}

bool Interrupt::arrived() const { return arrivals.load(std::memory_order_relaxed) != before_; }

}  // namespace tapegrad::nn::detail
