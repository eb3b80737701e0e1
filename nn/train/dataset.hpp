#pragma once
// The examples that a model is given, checked and converted to its number type.

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

  std::int64_t size() const { return y.shape()[0]; }
  /// The examples that count: those with neither weight 0 nor the ignored label.
  PoolVector<std::int64_t> rows_that_count(std::optional<std::int64_t> ignored_label, const Caller& where) const {
    const auto counts = [ignored_label](std::int64_t i, const Y* target, const T* weight) {
      return (!weight || weight[i] != 0) && !is_ignored(target[i], ignored_label);
    };
    return tapegrad::detail::indices_where("rows that count", where, size(), counts, y, weights);
  }
  // Choosing examples computes nothing, so that debug_nans() does not object to rows that do not count.
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

/// The tensor in an option, as a Tensor<Y>. Throws ValueError for labels instead of numbers, and the reverse.
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

/// Collects the rows of tensors in a buffer that is allocated once.
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
    tapegrad::detail::copy_into("predictions", where, part, buffer_, filled_);
    filled_ += part.size();
  }
  /// All rows so far. The next append starts from the beginning again.
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
  const auto check = [caller, where](T weight, std::int64_t) {
    if (std::isfinite(weight) && weight >= 0) return;
    throw ValueError(caller + to_string(where) + ": sample_weight holds " + std::to_string(weight) +
                     "; weights are finite and not negative");
  };
  tapegrad::detail::visit("sample_weight", where, check, data.weights);
  return data;
}

/// The examples to train on, and those to evaluate after each epoch.
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

/// For each label the row of its first example that counts, in the order of the labels. If there are many labels, only
/// the smallest and the largest are kept: if any label is out of range, they are.
template <Real T>
std::vector<std::int64_t> rows_of_labels(const Dataset<T, std::int64_t>& data,
                                         const std::optional<std::int64_t>& ignored_label, const Caller& where) {
  const auto find = [counted = data.rows_that_count(ignored_label, where)](const std::int64_t* labels) {
    constexpr std::size_t most = 512;
    std::array<bool, 1024> seen{};
    std::map<std::int64_t, std::int64_t> first;
    for (const std::int64_t i : counted) {
      const bool small = labels[i] >= 0 && labels[i] < std::ssize(seen);
      if (!small || !std::exchange(seen[static_cast<std::size_t>(labels[i])], true)) first.emplace(labels[i], i);
    }
    std::vector<std::int64_t> rows;
    for (const auto& [label, row] : first) rows.push_back(row);
    if (rows.size() > most) rows.erase(rows.begin() + most / 2, rows.end() - most / 2);
    return rows;
  };
  return tapegrad::detail::result_of("labels", where, find, data.y);
}

inline std::string printed(double nonfinite) { return std::isnan(nonfinite) ? "nan" : nonfinite > 0 ? "inf" : "-inf"; }

/// The first number that is not finite, as text; empty if all are finite.
template <Real T>
std::string nonfinite_in(const tapegrad::detail::In<T>& values, const Caller& where) {
  const auto find = [n = values.size](const T* begin) {
    const T* found = std::find_if(begin, begin + n, [](T value) { return !std::isfinite(value); });
    return found == begin + n ? "" : printed(static_cast<double>(*found));
  };
  return tapegrad::detail::result_of("finite", where, find, values);
}

/// "nan in row 3", for the first number that is not finite in the rows of `values` that count; `rows` are the user's
/// numbers of them. Empty if all are finite.
template <Real T, class Y, Real V>
std::string nonfinite_row(const Tensor<V>& values, const Dataset<T, Y>& batch, const Tensor<std::int64_t>& rows,
                          const std::optional<std::int64_t>& ignored_label, const Caller& where) {
  const std::int64_t width = values.size() / batch.size();
  for (const std::int64_t i : batch.rows_that_count(ignored_label, where)) {
    const std::string found = nonfinite_in<V>({values.data() + i * width, width}, where);
    if (!found.empty()) return found + " in row " + std::to_string(rows(i));
  }
  return "";
}

}  // namespace tapegrad::nn::detail
