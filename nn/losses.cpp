#include "losses.hpp"

#include <limits>

#include "../autodiff/ops.hpp"
#include "named.hpp"

namespace tapegrad::nn {

void detail::require_same_shapes(const char* loss, const Shape& prediction, const Shape& target, const Where& line) {
  if (prediction == target) return;
  throw ShapeError(std::string(loss) + to_string(line) + ": the prediction is " + to_string(prediction) +
                   " and the target " + to_string(target) + "; they must have the same shape");
}

namespace {

template <class Loss, Real T>
void require_same_shape(const Loss&, const Tensor<T>& a, const Tensor<T>& y, const Where& line) {
  detail::require_same_shapes(Loss::name, a.shape(), y.shape(), line);
}

/// log p for p >= 0, finite at 0; see the note in the header.
template <Real T>
Tensor<T> finite_log(const Tensor<T>& p, const Where& line) {
  return log(maximum(p, {static_cast<double>(std::numeric_limits<T>::min())}), line);
}

/// log(1 + e^z). On each side of 0 the branch is the function itself, so every derivative is right at 0 too.
template <Real T>
Tensor<T> softplus(const Tensor<T>& z, const Where& line) {
  const Tensor<bool> positive = z > 0.0;
  return where(positive, z, 0.0) + log1p(exp(where(positive, -z, z), line), line);
}

/// x[..., labels[...]].
template <class Loss, Real T>
Tensor<T> pick(const Loss&, const Tensor<T>& x, const Tensor<std::int64_t>& labels, const Where& line) {
  const Shape& shape = x.shape();
  if (shape.rank() == 0 || !(labels.shape() == shape.prefix(shape.rank() - 1))) {
    throw ShapeError(std::string(Loss::name) + to_string(line) + ": the prediction is " + to_string(shape) +
                     " and the labels are " + to_string(labels.shape()) +
                     "; there must be one label per row. Targets in one-hot form go with categorical_crossentropy.");
  }
  for (std::int64_t label : labels.elements_view()) {
    if (label < 0 || label >= shape.back()) {
      throw ValueError(std::string(Loss::name) + to_string(line) + ": label " + std::to_string(label) +
                       " is out of range 0.." + std::to_string(shape.back() - 1));
    }
  }
  const Tensor<std::int64_t> column = reshape(labels, labels.shape().concat({1}), line);
  return reshape(take_along(x, column, line), labels.shape(), line);
}

}  // namespace

template <Real T>
Tensor<T> MeanSquaredError::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  return mean(square(a - y, line), -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> MeanError::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  return mean(y - a, -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> CategoricalCrossentropy::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  return -sum(y * finite_log(a, line), -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> CategoricalCrossentropyFromLogits::operator()(const Tensor<T>& z, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, z, y, line);
  return -sum(y * log_softmax(z, -1, line), -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> SparseCategoricalCrossentropy::operator()(const Tensor<T>& a, const Tensor<std::int64_t>& labels,
                                                    Where line) const {
  return -finite_log(pick(*this, a, labels, line), line);
}

template <Real T>
Tensor<T> SparseCategoricalCrossentropyFromLogits::operator()(const Tensor<T>& z, const Tensor<std::int64_t>& labels,
                                                              Where line) const {
  return -pick(*this, log_softmax(z, -1, line), labels, line);
}

template <Real T>
Tensor<T> BinaryCrossentropy::operator()(const Tensor<T>& a, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, a, y, line);
  return -mean(y * finite_log(a, line) + (1.0 - y) * finite_log(1.0 - a, line), -1, KeepDims::no, line);
}

template <Real T>
Tensor<T> BinaryCrossentropyFromLogits::operator()(const Tensor<T>& z, const Tensor<T>& y, Where line) const {
  require_same_shape(*this, z, y, line);
  return mean(softplus(z, line) - y * z, -1, KeepDims::no, line);
}

template Tensor<float> MeanSquaredError::operator()(const Tensor<float>&, const Tensor<float>&, Where) const;
template Tensor<double> MeanSquaredError::operator()(const Tensor<double>&, const Tensor<double>&, Where) const;
template Tensor<float> MeanError::operator()(const Tensor<float>&, const Tensor<float>&, Where) const;
template Tensor<double> MeanError::operator()(const Tensor<double>&, const Tensor<double>&, Where) const;
template Tensor<float> CategoricalCrossentropy::operator()(const Tensor<float>&, const Tensor<float>&, Where) const;
template Tensor<double> CategoricalCrossentropy::operator()(const Tensor<double>&, const Tensor<double>&, Where) const;
template Tensor<float> CategoricalCrossentropyFromLogits::operator()(const Tensor<float>&, const Tensor<float>&,
                                                                     Where) const;
template Tensor<double> CategoricalCrossentropyFromLogits::operator()(const Tensor<double>&, const Tensor<double>&,
                                                                      Where) const;
template Tensor<float> BinaryCrossentropy::operator()(const Tensor<float>&, const Tensor<float>&, Where) const;
template Tensor<double> BinaryCrossentropy::operator()(const Tensor<double>&, const Tensor<double>&, Where) const;
template Tensor<float> BinaryCrossentropyFromLogits::operator()(const Tensor<float>&, const Tensor<float>&,
                                                                Where) const;
template Tensor<double> BinaryCrossentropyFromLogits::operator()(const Tensor<double>&, const Tensor<double>&,
                                                                 Where) const;
template Tensor<float> SparseCategoricalCrossentropy::operator()(const Tensor<float>&, const Tensor<std::int64_t>&,
                                                                 Where) const;
template Tensor<double> SparseCategoricalCrossentropy::operator()(const Tensor<double>&, const Tensor<std::int64_t>&,
                                                                  Where) const;
template Tensor<float> SparseCategoricalCrossentropyFromLogits::operator()(const Tensor<float>&,
                                                                           const Tensor<std::int64_t>&, Where) const;
template Tensor<double> SparseCategoricalCrossentropyFromLogits::operator()(const Tensor<double>&,
                                                                            const Tensor<std::int64_t>&, Where) const;

// ------------------------------------------------------------------------------------------------- by name

namespace {

/// A built-in loss as a Loss calls it: the user's line is not known there.
template <class Builtin>
struct WithoutLine {
  static constexpr const char* name = Builtin::name;
  using Tag = detail::BuiltinLoss;
  template <Real T, class Y>
  requires std::is_invocable_v < Builtin, const Tensor<T>
  &, const Tensor<Y>& > Tensor<T> operator()(const Tensor<T>& prediction, const Tensor<Y>& target) const {
    return Builtin{}(prediction, target, Where{});
  }
};

template <class... Builtin>
std::vector<Loss> make_losses() {
  return {Loss(WithoutLine<Builtin>{})...};
}

const std::vector<Loss>& known_losses() {
  static const std::vector<Loss> known =
      make_losses<MeanSquaredError, MeanError, CategoricalCrossentropy, CategoricalCrossentropyFromLogits,
                  SparseCategoricalCrossentropy, SparseCategoricalCrossentropyFromLogits, BinaryCrossentropy,
                  BinaryCrossentropyFromLogits>();
  return known;
}

template <class T>
const char* type_name() {
  if constexpr (std::is_same_v<T, float>)
    return "Tensor<float>";
  else if constexpr (std::is_same_v<T, double>)
    return "Tensor<double>";
  else
    return "Tensor<std::int64_t>";
}

}  // namespace

Loss::Loss(const char* name, Where where) {
  if (!name) name = "";
  detail::PoolVector<std::string_view> names;
  for (const Loss& known : known_losses()) {
    if (known.name() == name) {
      *this = known;
      return;
    }
    names.push_back(known.name());
  }
  detail::throw_unknown("loss", name, names, where);
}

template <Real T, class Y>
Tensor<T> Loss::operator()(const Tensor<T>& prediction, const Tensor<Y>& target) const {
  const auto& f = [this]() -> const auto& {
    if constexpr (std::is_same_v<Y, std::int64_t>)
      return of_labels_.get<Signature<T, Y>>();
    else
      return of_numbers_.get<Signature<T, Y>>();
  }
  ();
  if (!f) {
    if (name_.empty()) throw ValueError("no loss is set");
    throw ValueError("the loss " + name_ + " does not take a prediction of " + type_name<T>() + " with a target of " +
                     type_name<Y>() +
                     (std::is_same_v<Y, std::int64_t>
                          ? ": labels go with the sparse losses, or become numbers by one_hot(labels, classes)"
                          : ": the sparse losses take labels, Tensor<std::int64_t>"));
  }
  return f(prediction, target);
}

template TAPEGRAD_EXPORT Tensor<float> Loss::operator()(const Tensor<float>&, const Tensor<float>&) const;
template TAPEGRAD_EXPORT Tensor<double> Loss::operator()(const Tensor<double>&, const Tensor<double>&) const;
template TAPEGRAD_EXPORT Tensor<float> Loss::operator()(const Tensor<float>&, const Tensor<std::int64_t>&) const;
template TAPEGRAD_EXPORT Tensor<double> Loss::operator()(const Tensor<double>&, const Tensor<std::int64_t>&) const;

}  // namespace tapegrad::nn
