// Compiled without -march: for every x86-64, or any other CPU.
#include "table.inl"

namespace tapegrad::kernels {

constinit const Kernels<float> baseline_f32 = table<float>;
constinit const Kernels<double> baseline_f64 = table<double>;

}  // namespace tapegrad::kernels
