#include "hand_table.inl"

namespace tapegrad::benchmarks {

constinit const Hand hand_baseline = table;

}  // namespace tapegrad::benchmarks
