#pragma once
// Named lists of values, see <tapegrad/autodiff/named.hpp>, as nn calls them.

#include "../autodiff/named.hpp"

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
