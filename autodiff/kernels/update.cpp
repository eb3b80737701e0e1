#include "update.hpp"

#include "kernels.hpp"

namespace tapegrad::detail {

template <class T>
void run(const MomentumUpdate<T>& update) {
  kernels::kernels<T>().momentum_update(update);
}
template <class T>
void run(const AdamUpdate<T>& update) {
  kernels::kernels<T>().adam_update(update);
}
template <class T>
void run(const RootUpdate<T>& update) {
  kernels::kernels<T>().root_update(update);
}

template void run(const MomentumUpdate<float>&);
template void run(const MomentumUpdate<double>&);
template void run(const AdamUpdate<float>&);
template void run(const AdamUpdate<double>&);
template void run(const RootUpdate<float>&);
template void run(const RootUpdate<double>&);

}  // namespace tapegrad::detail
