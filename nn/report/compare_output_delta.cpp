#include "../compare_output_delta.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <ostream>
#include <sstream>

#include "../../autodiff/ops.hpp"

namespace tapegrad::nn {
namespace {

std::string readable_time(double seconds) {
  const char* unit = " s";
  if (seconds < 1e-6)
    seconds *= 1e9, unit = " ns";
  else if (seconds < 1e-3)
    seconds *= 1e6, unit = " us";
  else if (seconds < 1)
    seconds *= 1e3, unit = " ms";
  std::ostringstream out;
  out << std::setprecision(3) << seconds << unit;
  return out.str();
}

double seconds_of(const std::function<void()>& call, int times) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < times; ++i) call();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const DeltaReport& report) {
  double one = 0;
  for (const DeltaReport::Row& row : report.rows) {
    if (row.way == "closed_form") one = row.seconds;
  }
  std::ostringstream table;
  table << std::left << std::setw(22) << "way" << std::right << std::setw(16) << "max |difference|" << std::setw(16)
        << "time per call" << std::setw(8) << "ratio" << '\n';
  for (const DeltaReport::Row& row : report.rows) {
    table << std::left << std::setw(22) << row.way << std::right << std::defaultfloat << std::setw(16)
          << std::setprecision(2) << row.max_difference << std::setw(16) << readable_time(row.seconds) << std::setw(8)
          << std::fixed << row.seconds / one << '\n';
  }
  return out << table.str();
}

namespace detail {

std::vector<double> time_interleaved(std::span<const std::function<void()>> calls, int repetitions, double seconds) {
  std::vector<int> times;
  for (const std::function<void()>& call : calls) {
    int n = 1;
    double taken = seconds_of(call, n);
    while (taken < seconds / 4 && n < (1 << 24)) taken = seconds_of(call, n *= 2);
    times.push_back(std::max(1, static_cast<int>(n * std::min(4.0, seconds / std::max(taken, 1e-9)))));
  }
  std::vector<std::vector<double>> samples(calls.size());
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    for (std::size_t i = 0; i < calls.size(); ++i) samples[i].push_back(seconds_of(calls[i], times[i]) / times[i]);
  }
  std::vector<double> medians;
  for (std::vector<double>& sample : samples) {
    std::nth_element(sample.begin(), sample.begin() + repetitions / 2, sample.end());
    medians.push_back(sample[static_cast<std::size_t>(repetitions) / 2]);
  }
  return medians;
}

template <Real T>
double max_difference(const char* what, const Tensor<T>& a, const Tensor<T>& b) {
  if (!(a.shape() == b.shape())) {
    throw ShapeError(std::string("compare_output_delta: ") + what + " gives delta as " + to_string(a.shape()) +
                     ", but the closed form as " + to_string(b.shape()));
  }
  if (a.size() == 0) return 0;
  return static_cast<double>(max(abs(stop_gradient(a) - stop_gradient(b))).item());
}

template double max_difference(const char*, const Tensor<float>&, const Tensor<float>&);
template double max_difference(const char*, const Tensor<double>&, const Tensor<double>&);

}  // namespace detail
}  // namespace tapegrad::nn
