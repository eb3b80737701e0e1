#pragma once
// The examples that a model is given, checked and of its own number type.

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "../../autodiff/extend.hpp"
#include "../../autodiff/ops.hpp"
#include "../core/errors.hpp"
#include "../data/prepare.hpp"
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
  Dataset rows(std::int64_t first, std::int64_t last, const Caller& where) const {
    const tapegrad::detail::Unwatched unwatched;
    return {slice(x, 0, first, last, 1, where), slice(y, 0, first, last, 1, where),
            weights.handle() ? slice(weights, 0, first, last, 1, where) : Tensor<T>()};
  }
  Dataset take(const Tensor<std::int64_t>& rows, const Caller& where) const {
    const tapegrad::detail::Unwatched unwatched;
    return {tapegrad::take(x, rows, 0, where), tapegrad::take(y, rows, 0, where),
            weights.handle() ? tapegrad::take(weights, rows, 0, where) : Tensor<T>()};
  }
};

/// What an option holds, as a Tensor<Y>. Throws ValueError for labels in place of numbers and the reverse.
template <class Y, class Variant>
Tensor<Y> as(const Variant& option, const char* field, const char* caller, const Caller& where) {
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

  void append(const Tensor<T>& part, const Caller& where) {
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

template <Real T, class Y>
Dataset<T, Y> dataset(const Tensor<T>& x, const Tensor<Y>& y, const RealTensor& sample_weight, const char* caller,
                      const Caller& where) {
  require_plain(x.handle(), caller, where);
  if constexpr (Real<Y>) require_plain(y.handle(), caller, where);
  Dataset<T, Y> data{x, y, as<T>(sample_weight, "sample_weight", caller, where)};
  if (x.rank() == 0 || y.rank() == 0 || x.shape()[0] != y.shape()[0]) {
    throw ShapeError(caller + to_string(where) + ": X is " + to_string(x.shape()) + " and y " + to_string(y.shape()) +
                     "; they must have the same number of rows");
  }
  if (data.size() == 0) throw ShapeError(caller + to_string(where) + ": there are no examples");
  if (!data.weights.handle()) return data;
  if (!(data.weights.shape() == Shape{data.size()})) {
    throw ShapeError(caller + to_string(where) + ": sample_weight is " + to_string(data.weights.shape()) +
                     ", not one number for each of the " + std::to_string(data.size()) + " examples");
  }
  for (const T weight : data.weights.elements_view()) {
    if (std::isfinite(weight) && weight >= 0) continue;
    throw ValueError(caller + to_string(where) + ": sample_weight holds " + std::to_string(weight) +
                     "; weights are finite and not negative");
  }
  return data;
}

/// What is trained on, and what is evaluated after each epoch.
template <Real T, class Y>
std::pair<Dataset<T, Y>, std::optional<Dataset<T, Y>>> split(const Dataset<T, Y>& all, const FitOptions& options,
                                                             const Caller& where) {
  const double part = options.validation_split;
  if (options.validation_data) {
    if (part != 0) {
      throw ValueError("fit" + to_string(where) + ": give validation_data or validation_split, not both");
    }
    const char* caller = "fit, validation_data";
    const ValidationData& given = *options.validation_data;
    return {all, dataset(as<T>(given.x, "x", caller, where), as<Y>(given.y, "y", caller, where), given.sample_weight,
                         caller, where)};
  }
  if (part == 0) return {all, std::nullopt};
  const bool between = part > 0 && part < 1;
  const PartOfRows validation = between ? part_of(all.size(), part) : PartOfRows{};
  const std::int64_t training = all.size() - validation.rows - (validation.rest ? 1 : 0);
  if (!between || training == 0) {
    throw ValueError("fit" + to_string(where) + ": validation_split is " + shortest(part) + " of " +
                     std::to_string(all.size()) +
                     " examples; it is a part between 0 and 1 that leaves some for each of training and validation");
  }
  return {all.rows(0, training, where), all.rows(training, all.size(), where)};
}

/// The rows of each label's first example that counts, in the order of the labels; of many labels those of the smallest
/// and the largest, which are out of range where any is.
template <Real T>
std::vector<std::int64_t> rows_of_labels(const Dataset<T, std::int64_t>& data,
                                         const std::optional<std::int64_t>& ignored_label) {
  constexpr std::size_t most = 512;
  std::array<bool, 1024> seen{};
  std::map<std::int64_t, std::int64_t> first;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const std::int64_t label = data.y.data()[i];
    const bool small = label >= 0 && label < std::ssize(seen);
    if ((small && seen[static_cast<std::size_t>(label)]) || !data.counts(i) || label == ignored_label) continue;
    if (small) seen[static_cast<std::size_t>(label)] = true;
    first.emplace(label, i);
  }
  std::vector<std::int64_t> rows;
  for (const auto& [label, row] : first) rows.push_back(row);
  if (rows.size() > most) rows.erase(rows.begin() + most / 2, rows.end() - most / 2);
  return rows;
}

inline std::string printed(double nonfinite) { return std::isnan(nonfinite) ? "nan" : nonfinite > 0 ? "inf" : "-inf"; }

template <Real T>
const T* find_nonfinite(const T* begin, const T* end) {
  return std::find_if(begin, end, [](T value) { return !std::isfinite(value); });
}

/// "nan in row 3", of the first number in the rows of `values` that count, which are `rows` of the user's; empty where
/// all are finite.
template <Real T, class Y, Real V>
std::string nonfinite_row(const Tensor<V>& values, const Dataset<T, Y>& batch, const Tensor<std::int64_t>& rows,
                          const std::optional<std::int64_t>& ignored_label) {
  const std::int64_t width = values.size() / batch.size();
  for (std::int64_t i = 0; i < batch.size(); ++i) {
    const V *begin = values.data() + i * width, *end = begin + width, *found = find_nonfinite(begin, end);
    if (found == end || !batch.counts(i) || is_ignored(batch.y.data()[i], ignored_label)) continue;
    return printed(static_cast<double>(*found)) + " in row " + std::to_string(rows.data()[i]);
  }
  return "";
}

}  // namespace tapegrad::nn::detail
