#include "peers.hpp"

namespace tapegrad::benchmarks {

std::span<const Peer* const> peers() {
  static constexpr const Peer* built[] = {TAPEGRAD_PEERS nullptr};
  return {built, std::size(built) - 1};
}

}  // namespace tapegrad::benchmarks
