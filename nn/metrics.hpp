#pragma once
// Metrics: numbers to read, not to differentiate; by name.
//
//     nn::accuracy(a, y);
//     model.compile({.loss = "mse", .metrics = {"mse", "accuracy"}});

#include <cstdint>
#include <string>

#include "../autodiff/tensor.hpp"
#include "overloads.hpp"

namespace tapegrad::nn {

/// "accuracy": the fraction of rows of (batch, n) whose largest element stands where the target's does; with one
/// column, whose probability is on the target's side of 0.5. Throws ShapeError when the shapes differ, or over no rows.
struct TAPEGRAD_EXPORT Accuracy {
  static constexpr const char* name = "accuracy";
  template <Real T>
  double operator()(const Tensor<T>& prediction, const Tensor<T>& target) const;
  /// Of labels (batch).
  template <Real T>
  double operator()(const Tensor<T>& prediction, const Tensor<std::int64_t>& labels) const;
};
inline constexpr Accuracy accuracy;

class TAPEGRAD_EXPORT Metric {
 public:
  template <Real T, class Y>
  using Signature = double(const Tensor<T>&, const Tensor<Y>&);

  /// "accuracy" or "mse". Throws ValueError for another name.
  Metric(const char* name, Where where = Where::here());
  Metric(const std::string& name, Where where = Where::here()) : Metric(name.c_str(), where) {}

  const std::string& name() const { return name_; }
  /// The mean over the examples. Y is T or std::int64_t. Throws ValueError when the metric does not take such targets.
  template <Real T, class Y>
  double operator()(const Tensor<T>& prediction, const Tensor<Y>& target) const;

 private:
  std::string name_;
  detail::Overloads<Signature<float, float>, Signature<double, double>, Signature<float, std::int64_t>,
                    Signature<double, std::int64_t>>
      function_;
};

}  // namespace tapegrad::nn
