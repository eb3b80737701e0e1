#include "registry.hpp"

namespace tapegrad::detail {

std::vector<const Primitive*> primitives() {
  std::vector<const Primitive*> all;
  for (auto* list : {list_elementwise, list_where, list_reduce, list_scan, list_softmax, list_shape, list_index,
                     list_put, list_concatenate, list_matmul})
    list(all);
  return all;
}

}  // namespace tapegrad::detail
