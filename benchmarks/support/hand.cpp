#include "hand.hpp"

#include <cstdlib>
#include <string_view>

namespace tapegrad::benchmarks {

// The library's rule, kernels/dispatch.cpp, which is private to it.
const Hand& hand() {
#ifdef TAPEGRAD_BASELINE_ONLY
  return hand_baseline;
#else
  static const bool v3 = [] {
    const char* wanted = std::getenv("TAPEGRAD_ISA");
    __builtin_cpu_init();
    return (wanted == nullptr || std::string_view(wanted) != "baseline") && __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  }();
  return v3 ? hand_v3 : hand_baseline;
#endif
}

}  // namespace tapegrad::benchmarks
