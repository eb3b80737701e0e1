#pragma once

#include <cstddef>

namespace tapegrad::detail {

/// Every buffer may be read, and every output written, up to this many bytes past its end: one AVX2 vector.
inline constexpr std::size_t padding = 32;

}  // namespace tapegrad::detail
