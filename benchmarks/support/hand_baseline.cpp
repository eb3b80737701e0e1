#include "hand.inl"

namespace tapegrad::benchmarks {

constinit const Hand hand_baseline = table;

}  // namespace tapegrad::benchmarks
