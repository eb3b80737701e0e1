#pragma once

#include <cstddef>

namespace tapegrad::detail {

/// Every buffer may be read, and every output written, up to so many bytes, one AVX2 vector, past its end.
inline constexpr std::size_t padding = 32;

}  // namespace tapegrad::detail
