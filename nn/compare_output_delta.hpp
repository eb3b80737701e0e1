#pragma once
// For a user's own pair of activation and loss: is the closed form right, and what does each way cost?
//
//     std::cout << nn::compare_output_delta(
//         f, C, z, y, [](const auto& z, const auto& a, const auto& y) { return a - y; });
//
//     way                   max |difference|   time per call   ratio
//     closed_form, a given          0              41 ns        0.31
//     closed_form                   0             132 ns        1.00
//     vjp                       2.2e-16           620 ns        4.70
//     jacobian                  1.1e-16           910 ns        6.89

#include <functional>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "output_delta.hpp"

namespace tapegrad::nn {

/// The result of compare_output_delta, which prints as a table.
struct DeltaReport {
  struct Row {
    std::string way;
    double max_difference = 0;  // compared with the closed form
    double seconds = 0;         // per call
  };
  /// "closed_form, a given" (the formula alone), "closed_form" (f(z), then the formula), "vjp", "jacobian".
  std::vector<Row> rows;
};
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, const DeltaReport& report);

namespace detail {

/// The seconds per call for each function: the median of interleaved repetitions that take about `seconds` each.
TAPEGRAD_EXPORT std::vector<double> time_interleaved(std::span<const std::function<void()>> calls, int repetitions,
                                                     double seconds);
/// Throws ShapeError, naming `what`, when the shapes differ.
template <Real T>
TAPEGRAD_EXPORT double max_difference(const char* what, const Tensor<T>& a, const Tensor<T>& b);

}  // namespace detail

/// Compares J_f(z)^T dC/da by closed_form(z, a, y), by a sweep of the tape and by the Jacobian; arguments as for
/// output_delta. Takes about 50 ms.
template <class F, class C, Real T, class Y, class ClosedForm>
DeltaReport compare_output_delta(const F& f, const C& c, const Tensor<T>& z, const Tensor<Y>& y,
                                 const ClosedForm& closed_form, Caller where = Caller::here()) {
  const auto& activation = detail::activation_of(f, where);
  const auto& loss = detail::loss_of(c, where);
  const Tensor<T> a = activation(z);
  const Tensor<T> expected = closed_form(z, a, y);
  Tensor<T> result;
  const std::function<void()> calls[] = {
      [&] { result = closed_form(z, a, y); },
      [&] {
        const Tensor<T> computed = activation(z);
        result = closed_form(z, computed, y);
      },
      [&] { result = output_delta(activation, loss, z, y, OutputDelta::vjp, where); },
      [&] { result = output_delta(activation, loss, z, y, OutputDelta::jacobian, where); },
  };
  DeltaReport report{{{"closed_form, a given"}, {"closed_form"}, {"vjp"}, {"jacobian"}}};
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    calls[i]();
    report.rows[i].max_difference = detail::max_difference(report.rows[i].way.c_str(), result, expected);
  }
  const std::vector<double> seconds = detail::time_interleaved(calls, 21, 500e-6);
  for (std::size_t i = 0; i < report.rows.size(); ++i) report.rows[i].seconds = seconds[i];
  return report;
}

}  // namespace tapegrad::nn
