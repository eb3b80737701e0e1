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

/// The cost of one operation on one line of the user's: of its value, of its adjoint in reverse sweeps, or of its
/// tangent in forward sweeps.
struct ProfileRow {
  std::string operation;   // with its line
  double seconds = 0;      // in its loops
  std::int64_t calls = 0;  // of loops
  std::int64_t bytes = 0;  // read and written by them
};

struct Profile {
  std::vector<ProfileRow> rows;  // the slowest first
  double seconds = 0;            // in total; what no row accounts for is bookkeeping and the function's own code
};

/// Runs f and times every loop over numbers that it starts on this thread. Profiling itself takes a fraction of a
/// microsecond for each loop, which is not counted in any row. If f throws, nothing is returned.
TAPEGRAD_EXPORT Profile profile(const std::function<void()>& f);

/// The most bytes that this thread's tensors have held at once while f ran, beyond what they held before.
/// Memory that is kept for reuse does not count.
TAPEGRAD_EXPORT std::int64_t peak_memory(const std::function<void()>& f);

/// As a table.
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, const Profile& profile);

}  // namespace tapegrad
