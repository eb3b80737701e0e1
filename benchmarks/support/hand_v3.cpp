// Compiled with -march=x86-64-v3 -O2: AVX2 and FMA.
#include "hand_table.inl"

namespace tapegrad::benchmarks {

constinit const Hand hand_v3 = table;

}  // namespace tapegrad::benchmarks
