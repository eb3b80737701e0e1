#include "metrics.hpp"

#include <algorithm>

#include "../autodiff/ops.hpp"
#include "losses.hpp"
#include "named.hpp"

namespace tapegrad::nn {
namespace {

[[noreturn]] void throw_shapes(const Shape& prediction, const Shape& target) {
  throw ShapeError("accuracy: the prediction is " + to_string(prediction) + " and the target " + to_string(target) +
                   "; it takes (batch, n) with batch > 0, and a target of the same shape or one label per row");
}

/// The class that a row of probabilities stands for; none, -1, when there is a NaN among them.
template <class T>
std::int64_t decide(const T* row, std::int64_t columns) {
  if (std::any_of(row, row + columns, [](T p) { return p != p; })) return -1;
  if (columns == 1) return *row > T(0.5) ? 1 : 0;
  return std::max_element(row, row + columns) - row;
}

template <class T, class TargetClass>
double fraction_right(const Tensor<T>& prediction, TargetClass target_class) {
  const std::int64_t rows = prediction.shape()[0], columns = prediction.shape()[1];
  std::int64_t right = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    if (decide(prediction.data() + i * columns, columns) == target_class(i)) ++right;
  }
  return static_cast<double>(right) / static_cast<double>(rows);
}

/// The mean of mse over the examples; of numbers only.
struct MeanSquare {
  template <Real T>
  double operator()(const Tensor<T>& prediction, const Tensor<T>& target) const {
    return static_cast<double>(mean(mse(prediction, target, Where{})).item());
  }
};

}  // namespace

template <Real T>
double Accuracy::operator()(const Tensor<T>& prediction, const Tensor<T>& target) const {
  const Shape& shape = prediction.shape();
  if (shape.rank() != 2 || !(shape == target.shape()) || shape.count() == 0) throw_shapes(shape, target.shape());
  return fraction_right(prediction, [&](std::int64_t i) { return decide(target.data() + i * shape[1], shape[1]); });
}

template <Real T>
double Accuracy::operator()(const Tensor<T>& prediction, const Tensor<std::int64_t>& labels) const {
  const Shape& shape = prediction.shape();
  if (shape.rank() != 2 || shape.count() == 0 || !(labels.shape() == shape.prefix(1))) {
    throw_shapes(shape, labels.shape());
  }
  const std::int64_t classes = std::max<std::int64_t>(shape[1], 2);
  for (std::int64_t label : labels.elements_view()) {
    if (label < 0 || label >= classes) {
      throw ValueError("accuracy: label " + std::to_string(label) + " is out of range 0.." +
                       std::to_string(classes - 1));
    }
  }
  return fraction_right(prediction, [&](std::int64_t i) { return labels.data()[i]; });
}

template double Accuracy::operator()(const Tensor<float>&, const Tensor<float>&) const;
template double Accuracy::operator()(const Tensor<double>&, const Tensor<double>&) const;
template double Accuracy::operator()(const Tensor<float>&, const Tensor<std::int64_t>&) const;
template double Accuracy::operator()(const Tensor<double>&, const Tensor<std::int64_t>&) const;

Metric::Metric(const char* name, Where where) : name_(name ? name : "") {
  if (name_ == Accuracy::name)
    function_ = decltype(function_)(accuracy);
  else if (name_ == MeanSquaredError::name)
    function_ = decltype(function_)(MeanSquare{});
  else
    detail::throw_unknown("metric", name_, {Accuracy::name, MeanSquaredError::name}, where);
}

template <Real T, class Y>
double Metric::operator()(const Tensor<T>& prediction, const Tensor<Y>& target) const {
  const auto& f = function_.get<Signature<T, Y>>();
  if (!f) {
    throw ValueError("the metric " + name_ + " does not take labels; one_hot(labels, classes) makes them numbers");
  }
  return f(prediction, target);
}
template TAPEGRAD_EXPORT double Metric::operator()(const Tensor<float>&, const Tensor<float>&) const;
template TAPEGRAD_EXPORT double Metric::operator()(const Tensor<double>&, const Tensor<double>&) const;
template TAPEGRAD_EXPORT double Metric::operator()(const Tensor<float>&, const Tensor<std::int64_t>&) const;
template TAPEGRAD_EXPORT double Metric::operator()(const Tensor<double>&, const Tensor<std::int64_t>&) const;

}  // namespace tapegrad::nn
