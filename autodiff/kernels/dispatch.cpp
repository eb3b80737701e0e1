// Chooses the table of kernels, at a thread's first call.

#include <cstdlib>
#include <string>
#include <string_view>
#include <type_traits>

#include "../error.hpp"
#include "kernels.hpp"

namespace tapegrad::kernels {
namespace {

#ifdef TAPEGRAD_BASELINE_ONLY
bool cpu_has_v3() { return false; }
#else
// Clang 14 knows neither "x86-64-v3" nor its lesser members f16c, lzcnt and movbe, which came with BMI2 or before.
bool cpu_has_v3() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
}
#endif

bool choose_v3() {
  const char* variable = std::getenv("TAPEGRAD_ISA");
  const std::string_view wanted = variable != nullptr ? variable : "";
  if (wanted.empty()) return cpu_has_v3();
  if (wanted == "baseline") return false;
  if (wanted != "x86-64-v3") {
    throw ValueError("TAPEGRAD_ISA=" + std::string(wanted) +
                     ": unknown. Use baseline or x86-64-v3, or leave it empty to take the best this CPU has.");
  }
  if (!cpu_has_v3()) {
    throw ValueError(
        "TAPEGRAD_ISA=x86-64-v3: this CPU or this build of tapegrad lacks it. Use baseline, or leave it empty.");
  }
  return true;
}

// In a function: right also when another file's static initialization asks first.
bool use_v3() {
  static const bool v3 = choose_v3();
  return v3;
}

}  // namespace

template <class T>
const Kernels<T>& plain() {
  // A wrong TAPEGRAD_ISA throws in every build.
  const bool v3 = use_v3();
#ifndef TAPEGRAD_BASELINE_ONLY
  if (v3) {
    if constexpr (std::is_same_v<T, float>)
      return v3_f32;
    else
      return v3_f64;
  }
#else
  static_cast<void>(v3);
#endif
  if constexpr (std::is_same_v<T, float>)
    return baseline_f32;
  else
    return baseline_f64;
}

template <class T>
const Kernels<T>& choose() {
  if (detail::observed()) return observed_kernels<T>();
  const Kernels<T>& table = plain<T>();
  detail::door.kernels[std::is_same_v<T, float> ? 0 : 1] = &table;
  return table;
}

template const Kernels<float>& plain<float>();
template const Kernels<double>& plain<double>();
template const Kernels<float>& choose<float>();
template const Kernels<double>& choose<double>();

const char* isa() { return use_v3() ? "x86-64-v3" : "baseline"; }

}  // namespace tapegrad::kernels
