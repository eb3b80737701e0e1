#pragma once
// From examples to what a network trains on: parts, standardized columns, batches. See also one_hot.
//
//     auto [X_train, X_test, y_train, y_test] = nn::train_test_split(X, y, {.test_size = 0.2, .seed = 1});
//     const nn::Standardizer standardize(X_train);
//     X_train = standardize(X_train);  X_test = standardize(X_test);
//     for (std::uint64_t epoch = 0; epoch < 5; ++epoch) {
//       for (const auto& [x, y] : nn::batches(X_train, y_train, 32, {.seed = 1, .epoch = epoch})) step(x, y);
//     }

#include <string>

#include "../../autodiff/random.hpp"

namespace tapegrad::nn {

struct SplitOptions {
  /// Below 1, the fraction of the rows, rounded up; otherwise their number. The fraction is taken as the shortest
  /// decimal that reads back as this double: 0.07 of 100 rows are 7. scikit-learn rounds the binary product, which
  /// gives 8.
  double test_size = 0.25;
  bool shuffle = true;  // without it, the last rows are the test set
  std::uint64_t seed = 0;
};

/// The result of train_test_split, in scikit-learn's order.
template <class T, class U>
struct Split {
  Tensor<T> X_train, X_test;
  Tensor<U> y_train, y_test;
};

namespace detail {
/// Streams of a seed, separate for each use, so that no two uses draw the same numbers; initial values use stream 0. An
/// epoch uses order_stream + epoch, both in fit and in batches().
inline constexpr std::uint64_t order_stream = std::uint64_t{1} << 62, split_stream = std::uint64_t{2} << 62;

/// Throws ShapeError unless both have the same number of rows.
TAPEGRAD_EXPORT void check_rows(const Shape& X, const Shape& y, const char* caller, const Caller& where);

/// The shortest decimal that reads back as this number.
TAPEGRAD_EXPORT std::string shortest(double number);
/// A part of the rows: the number of whole rows, and whether a fraction of a row is left over.
struct PartOfRows {
  std::int64_t rows = 0;
  bool rest = false;
};
/// rows times the shortest decimal that reads back as `part`, exactly; part in (0, 1), rows not negative.
TAPEGRAD_EXPORT PartOfRows part_of(std::int64_t rows, double part);
/// Throws ValueError unless both parts have rows.
TAPEGRAD_EXPORT std::int64_t test_rows(std::int64_t rows, double test_size, const Caller& where);
}  // namespace detail

/// Rows of X and y, taken together, for training and testing. Throws ShapeError when X and y have different numbers of
/// rows; ValueError unless both parts have rows.
template <class T, class U>
Split<T, U> train_test_split(const Tensor<T>& X, const Tensor<U>& y, const SplitOptions& options = {},
                             Caller where = Caller::here()) {
  detail::check_rows(X.shape(), y.shape(), "train_test_split", where);
  const std::int64_t rows = X.shape()[0], train = rows - detail::test_rows(rows, options.test_size, where);
  Tensor<std::int64_t> order;
  if (options.shuffle) order = random::Generator(options.seed, detail::split_stream).permutation(rows);
  auto part = [&]<class V>(const Tensor<V>& from, std::int64_t first, std::int64_t last) {
    if (!options.shuffle) return slice(from, 0, first, last, 1, where);
    return take(from, slice(order, 0, first, last, 1, where), 0, where);
  };
  return {part(X, 0, train), part(X, train, rows), part(y, 0, train), part(y, train, rows)};
}

/// Shifts and scales each column to mean 0 and standard deviation 1 over the rows that it was made from. A column that
/// is constant there is only shifted.
template <Real T>
class Standardizer {
 public:
  /// Throws ShapeError for a scalar or no rows.
  explicit Standardizer(const Tensor<T>& X, Caller where = Caller::here());

  /// (X - mean) / deviation. Throws ShapeError for other columns.
  Tensor<T> operator()(const Tensor<T>& X, Caller where = Caller::here()) const;

  const Tensor<T>& mean() const { return mean_; }
  /// The standard deviation of these rows, with division by n; 1 for a constant column.
  const Tensor<T>& deviation() const { return deviation_; }

 private:
  Tensor<T> mean_, deviation_;
};
extern template class TAPEGRAD_EXPORT Standardizer<float>;
extern template class TAPEGRAD_EXPORT Standardizer<double>;

struct BatchOptions {
  bool shuffle = true;
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;  // the order is that of (seed, epoch)
};

/// Pairs of `batch_size` rows each; the last pair has the rest.
template <class T, class U>
class Batches {
 public:
  struct Batch {
    Tensor<T> x;
    Tensor<U> y;
  };
  struct Iterator {
    const Batches* batches;
    std::int64_t first;
    Batch operator*() const { return batches->at(first); }
    Iterator& operator++() { return first += batches->batch_size_, *this; }
    friend bool operator==(const Iterator& a, const Iterator& b) { return a.first == b.first; }
  };

  Batches(Tensor<T> X, Tensor<U> y, std::int64_t batch_size, const BatchOptions& options, Caller where)
      : X_(std::move(X)), y_(std::move(y)), batch_size_(batch_size), where_(where) {
    detail::check_rows(X_.shape(), y_.shape(), "batches", where);
    if (batch_size < 1) {
      throw ValueError("batches" + to_string(where) + ": batch_size is " + std::to_string(batch_size));
    }
    if (options.shuffle) {
      order_ = random::Generator(options.seed, detail::order_stream + options.epoch).permutation(X_.shape()[0]);
    }
  }

  /// Number of batches.
  std::int64_t size() const { return (X_.shape()[0] + batch_size_ - 1) / batch_size_; }
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size() * batch_size_}; }

 private:
  Batch at(std::int64_t first) const {
    const std::int64_t last = first + batch_size_;
    if (!order_.handle()) return {slice(X_, 0, first, last, 1, where_), slice(y_, 0, first, last, 1, where_)};
    const Tensor<std::int64_t> rows = slice(order_, 0, first, last, 1, where_);
    return {take(X_, rows, 0, where_), take(y_, rows, 0, where_)};
  }

  Tensor<T> X_;
  Tensor<U> y_;
  std::int64_t batch_size_;
  Caller where_;
  Tensor<std::int64_t> order_;
};

/// One pass over the rows of X and y, for your own training loop. Throws ShapeError when X and y have different numbers
/// of rows; ValueError for a batch size below 1.
template <class T, class U>
Batches<T, U> batches(const Tensor<T>& X, const Tensor<U>& y, std::int64_t batch_size, const BatchOptions& options = {},
                      Caller where = Caller::here()) {
  return {X, y, batch_size, options, where};
}

}  // namespace tapegrad::nn
