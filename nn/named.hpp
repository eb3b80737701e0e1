#pragma once
// Named lists of values, see <tapegrad/autodiff/named.hpp>, as nn calls them.

#include "../autodiff/named.hpp"

template <>
inline constexpr const char* tapegrad::detail::cure_for_missing<double> =
    "metrics are CompileOptions' .metrics, and val_... comes with .validation_data or .validation_split";

namespace tapegrad::nn {

namespace detail {
using tapegrad::detail::PoolVector;
}

using tapegrad::Name;
using tapegrad::Named;
using tapegrad::Params;

/// The loss and the metrics of a batch or an epoch.
using Logs = Named<double>;

}  // namespace tapegrad::nn
