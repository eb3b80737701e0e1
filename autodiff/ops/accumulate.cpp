#include "../kernels/kernels.hpp"
#include "internal.hpp"

namespace tapegrad::detail {

void add_to_sum(Handle& sum, Handle term) {
  with_real(sum.array()->dtype, [&]<class T>(T) {
    if (!sum.traced() && !term.traced() && unique(sum.array())) {
      kernels::kernels<T>().add_to(sum.array()->as<T>(), term.array()->as<T>(), sum.shape().count());
    } else {
      sum = (Tensor<T>(std::move(sum)) + Tensor<T>(std::move(term))).handle();
    }
  });
}

}  // namespace tapegrad::detail
