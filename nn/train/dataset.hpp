#pragma once
// The examples that a model is given, checked and of its own number type.

#include <string>

#include "../../autodiff/extend.hpp"
#include "../../autodiff/ops.hpp"
#include "../core/errors.hpp"
#include "../fit.hpp"

namespace tapegrad::nn::detail {

template <Real T, class Y>
struct Dataset {
  Tensor<T> x;
  Tensor<Y> y;
  Tensor<T> weights = {};  // one for each example, or none

  std::int64_t size() const { return x.shape()[0]; }
  /// Whether an example adds to the loss.
  bool counts(std::int64_t example) const { return !weights.handle() || weights.data()[example] != 0; }
  // Choosing examples computes nothing: debug_nans() has no say in rows that do not count.
  Dataset rows(std::int64_t first, std::int64_t last, const Where& where) const {
    const tapegrad::detail::Unwatched unwatched;
    return {slice(x, 0, first, last, 1, where), slice(y, 0, first, last, 1, where),
            weights.handle() ? slice(weights, 0, first, last, 1, where) : Tensor<T>()};
  }
  Dataset take(const Tensor<std::int64_t>& rows, const Where& where) const {
    const tapegrad::detail::Unwatched unwatched;
    return {tapegrad::take(x, rows, 0, where), tapegrad::take(y, rows, 0, where),
            weights.handle() ? tapegrad::take(weights, rows, 0, where) : Tensor<T>()};
  }
};

/// What an option holds, as a Tensor<Y>. Throws ValueError for labels in place of numbers and the reverse.
template <class Y, class Variant>
Tensor<Y> as(const Variant& option, const char* field, const char* caller, const Where& where) {
  return std::visit(
      [&]<class From>(const Tensor<From>& from) -> Tensor<Y> {
        if constexpr (Real<From>) require_plain(from.handle(), caller, where);
        if constexpr (std::is_same_v<From, Y>) {
          return from;
        } else if constexpr (Real<From> && Real<Y>) {
          return from.handle() ? astype<Y>(from) : Tensor<Y>();
        } else {
          throw ValueError(caller + to_string(where) + ": " + field + " holds " +
                           (Real<From> ? "numbers, but the model is trained on labels"
                                       : "labels, but the model is trained on numbers; one_hot makes them numbers"));
        }
      },
      option);
}

/// Rows of tensors one after the other, in a buffer that is allocated once.
template <class T>
class Gathered {
 public:
  explicit Gathered(std::int64_t rows) : rows_(rows) {}

  void append(const Tensor<T>& part, const Where& where) {
    if (!buffer_.handle()) buffer_ = zeros<T>(Shape{rows_}.concat(part.shape().suffix(1)));
    if (filled_ + part.size() > buffer_.size()) {
      throw ShapeError("the model's output is " + to_string(part.shape()) +
                       " for a batch of fewer rows; a layer keeps the batch as the first axis");
    }
    std::copy_n(part.data(where), part.size(), buffer_.mutable_data() + filled_);
    filled_ += part.size();
  }
  /// All of them; the next append is the first again.
  const Tensor<T>& finish() {
    filled_ = 0;
    return buffer_;
  }

 private:
  std::int64_t rows_, filled_ = 0;  // the latter in elements
  Tensor<T> buffer_;
};

}  // namespace tapegrad::nn::detail
