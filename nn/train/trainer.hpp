#pragma once
// How a network is trained: an optimizer, a loss and metrics, the step, the loop over epochs.

#include <cstdint>
#include <string>

#include "../history.hpp"
#include "../network.hpp"

namespace tapegrad::nn {

/// The targets of a model of Tensor<T>: numbers of the same type, or labels.
template <class Y, class T>
concept TargetOf = std::is_same_v<Y, T> || std::is_same_v<Y, std::int64_t>;

namespace detail {

template <Real T, class Y>
struct Dataset;
template <Real T>
struct BatchResult;

}  // namespace detail

/// The training of one network, and its progress. The network is passed to each call, because a Sequential, which
/// consists of both, can be copied. The functions are those of Sequential, whose comments say what they do. A network
/// that is not built yet is built from the data, unless it is const.
template <Real T>
class TAPEGRAD_EXPORT Trainer {
 public:
  void compile(const Network<T>& network, const CompileOptions& options, const Caller& where);
  OutputDelta output_delta_used(const Network<T>& network, const Caller& where) const {
    return output_delta_of(network, options_, where);
  }
  std::int64_t epochs_trained() const { return epochs_trained_; }

  /// The classes that the network's outputs stand for, as in predict_classes.
  Tensor<std::int64_t> classes_of(const Tensor<T>& outputs, const Caller& where) const;
  template <TargetOf<T> Y>
  Logs evaluate(const Network<T>& network, const Tensor<T>& x, const Tensor<Y>& y, const EvaluateOptions& options,
                const Caller& where) const;
  template <TargetOf<T> Y>
  Logs train_on_batch(Network<T>& network, const Tensor<T>& x, const Tensor<Y>& y, const Caller& where);
  template <TargetOf<T> Y>
  History fit(Network<T>& network, const Tensor<T>& x, const Tensor<Y>& y, const FitOptions& options,
              const Caller& where);

  void save(const Network<T>& network, const std::string& path, const Caller& where) const;
  void load(Network<T>& network, const std::string& path, const Caller& where);

 private:
  using Parameters = typename Network<T>::Parameters;

  bool compiled() const { return !options_.loss.name().empty(); }
  void require_compiled(const char* caller, const Caller& where) const;
  void require_no_fit(const char* caller, const Caller& where) const;
  OutputDelta output_delta_of(const Network<T>& network, const CompileOptions& options, const Caller& where) const;
  Logs empty_logs() const;
  /// Runs a batch outside of training.
  template <class Y>
  detail::BatchResult<T> evaluate_batch(const Network<T>& network, const detail::Dataset<T, Y>& batch,
                                        const char* caller, const Caller& where) const;
  template <class Y>
  Logs evaluate(const Network<T>& network, const detail::Dataset<T, Y>& data, std::int64_t batch_size,
                const char* caller, const Caller& where) const;
  /// Throws what the loss and the metrics throw about these targets, before an epoch is spent on them. `row` is the
  /// user's number of the first row.
  template <class Y>
  void require_targets(const Network<T>& network, const detail::Dataset<T, Y>& data, std::int64_t row,
                       const char* caller, const Caller& where) const;
  /// The loss and the gradients of a batch, and the states after it. Changes nothing.
  template <class Y>
  detail::BatchResult<T> gradients_of(const Network<T>& network, const detail::Dataset<T, Y>& batch, const char* caller,
                                      const Caller& where) const;
  /// Clips the gradients and makes one step of the optimizer with them.
  void step(Network<T>& network, detail::BatchResult<T>& result, const Caller& where);

  struct InFit;

  CompileOptions options_;
  std::int64_t steps_ = 0, epochs_trained_ = 0;
  /// Whether a fit of this object is running, which is not part of its value.
  struct Running {
    bool now = false;
    Running() = default;
    Running(const Running&) {}
    Running& operator=(const Running&) { return *this; }
  } fitting_;
};

}  // namespace tapegrad::nn
