#pragma once
// What the benchmark programs share: registering the variants of a case, proving that they compute the same before they
// are timed, and a table of medians and ratios after the run.
//
//     bm::Case("delta/f64/n10_b1")
//         .variant("hand", 0, [=] { return by_hand(z, y); })             // the first one is what the others must equal
//         .variant("vjp", 1e-12, [=] { return by_tape(z, y); });
//     int main(int argc, char** argv) { bm::run(argc, argv); }
//
// The name of a benchmark has exactly four parts, family/dtype/case/variant. Every flag of Google Benchmark works;
// without flags the repetitions are interleaved at random, 9 of each.

#include <benchmark/benchmark.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tapegrad/autodiff/tensor.hpp"

namespace tapegrad::benchmarks {

/// Calls visit(span) for each array of a result: a tensor, a span, or a pair or array of such.
template <class T, class Visit>
void for_each_array(const Tensor<T>& x, Visit&& visit) {
  visit(x.elements_view());
}
template <class T, std::size_t extent, class Visit>
void for_each_array(const std::span<const T, extent>& x, Visit&& visit) {
  visit(x);
}
template <class A, class B, class Visit>
void for_each_array(const std::pair<A, B>& x, Visit&& visit) {
  for_each_array(x.first, visit);
  for_each_array(x.second, visit);
}

template <class R, std::size_t count, class Visit>
void for_each_array(const std::array<R, count>& x, Visit&& visit) {
  for (const R& each : x) for_each_array(each, visit);
}

/// The compiler must take `result` as read.
template <class R>
void keep(const R& result) {
  for_each_array(result, [](auto elements) { benchmark::DoNotOptimize(elements.data()); });
  benchmark::ClobberMemory();
}

/// The variants of one computation on one input.
class Case {
 public:
  /// `name`: family/dtype/case.
  explicit Case(std::string name) : expected_(std::make_shared<Expected>()) { expected_->name = std::move(name); }

  /// Registers name/variant: compute() is timed, from inputs in memory to a result in memory. No element of the result
  /// may differ from the first variant's by more than tolerance * max(1, largest of those); otherwise the program ends.
  template <class Compute>
  Case& variant(const std::string& variant, double tolerance, Compute compute) {
    return timed(variant, tolerance, compute, [compute](benchmark::State& state) {
      for ([[maybe_unused]] auto _ : state) {
        auto result = compute();
        keep(result);
      }
    });
  }

  /// The same where the loop over `state` is not simply compute().
  template <class Compute, class Loop>
  Case& timed(const std::string& variant, double tolerance, Compute compute, Loop loop) {
    const Visit visit = [compute](const Visitor& visitor) {
      const auto result = compute();
      for_each_array(result, [&](auto elements) { visitor(elements); });
    };
    if (!expected_->visit) expected_->visit = visit;
    add(variant,
        [expected = expected_, variant, tolerance, visit, loop, checked = false](benchmark::State& state) mutable {
          if (!std::exchange(checked, true)) require_equal(*expected, variant, visit, tolerance);
          loop(state);
        });
    return *this;
  }

 private:
  using Elements = std::variant<std::span<const double>, std::span<const float>>;
  using Visitor = std::function<void(Elements)>;
  using Visit = std::function<void(const Visitor&)>;  // computes, and shows each array of the result
  struct Expected {
    std::string name;
    Visit visit;
  };

  static void require_equal(const Expected& expected, const std::string& variant, const Visit& visit, double tolerance);
  void add(const std::string& variant, std::function<void(benchmark::State&)> body);

  std::shared_ptr<Expected> expected_;
};

/// Medians over the repetitions, in nanoseconds of CPU time, by full name.
struct Medians {
  std::map<std::string, double> ns;

  /// Nothing when one of the two was not run.
  std::optional<double> ratio(const std::string& numerator, const std::string& denominator) const;
};

/// Runs what is registered and prints the table. Flags of the command line win over the defaults of this project.
Medians run(int argc, char** argv);

/// Where the table goes: standard output, or the error stream where Google Benchmark's own format was asked for there.
std::ostream& report_stream();

}  // namespace tapegrad::benchmarks
