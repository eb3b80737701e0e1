#pragma once
// Where time and memory go.
//
//     std::cout << profile([&] { model.fit(X, y); });
//
//              ms    share       loops          MB  operation
//         512.114   61.3 %        4700       902.4  matmul at layers.cpp:61
//         201.720   24.1 %        4700       451.2  matmul at layers.cpp:61, adjoint
//
//     peak_memory([&] { grad(loss)(w); });   // bytes

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "core/export.hpp"

namespace tapegrad {

/// What one operation on one line of the user's has cost: its value, its adjoint in reverse sweeps, or its tangent in
/// forward ones.
struct ProfileRow {
  std::string operation;   // with its line
  double seconds = 0;      // in its loops
  std::int64_t calls = 0;  // of loops
  std::int64_t bytes = 0;  // read and written by them
};

struct Profile {
  std::vector<ProfileRow> rows;  // the slowest first
  double seconds = 0;            // in all: what no row has is bookkeeping, and the function's own
};

/// Runs f and times every loop over numbers that it starts on this thread. Looking takes time too, a fraction of a
/// microsecond for each loop, which no row has. f may throw; nothing is returned then.
TAPEGRAD_EXPORT Profile profile(const std::function<void()>& f);

/// The most bytes that this thread's tensors and tapes have held at once while f ran, beyond what they held before.
/// Memory that is kept for reuse does not count.
TAPEGRAD_EXPORT std::int64_t peak_memory(const std::function<void()>& f);

/// As a table.
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, const Profile& profile);

}  // namespace tapegrad
