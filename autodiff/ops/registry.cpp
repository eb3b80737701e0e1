#include "registry.hpp"

namespace tapegrad::detail {

std::vector<const Primitive*> primitives() {
  std::vector<const Primitive*> all;
  for (auto* list : {list_elementwise, list_reduce, list_softmax, list_shape, list_index, list_matmul}) list(all);
  return all;
}

}  // namespace tapegrad::detail
