#pragma once
// The list of all primitives.

#include <vector>

#include "../tape/primitive.hpp"

namespace tapegrad::detail {

/// The primitives for double; the tests compare their table with this list.
TAPEGRAD_EXPORT std::vector<const Primitive*> primitives();

// Each file of operations lists its primitives.
void list_elementwise(std::vector<const Primitive*>& all);
void list_where(std::vector<const Primitive*>& all);
void list_reduce(std::vector<const Primitive*>& all);
void list_scan(std::vector<const Primitive*>& all);
void list_softmax(std::vector<const Primitive*>& all);
void list_shape(std::vector<const Primitive*>& all);
void list_index(std::vector<const Primitive*>& all);
void list_put(std::vector<const Primitive*>& all);
void list_concatenate(std::vector<const Primitive*>& all);
void list_matmul(std::vector<const Primitive*>& all);

}  // namespace tapegrad::detail
