// Compiled with -march=x86-64-v3 -O2: AVX2 and FMA.
#include "table.inl"

namespace tapegrad::kernels {

constinit const Kernels<float> v3_f32 = table<float>;
constinit const Kernels<double> v3_f64 = table<double>;

}  // namespace tapegrad::kernels
