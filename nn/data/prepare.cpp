#include "prepare.hpp"

#include <charconv>
#include <cmath>
#include <string_view>

namespace tapegrad::nn {
namespace detail {

void check_rows(const Shape& X, const Shape& y, const char* caller, const Caller& where) {
  if (X.empty() || y.empty() || X[0] != y[0]) {
    throw ShapeError(caller + to_string(where) + ": X has shape " + to_string(X) + " and y " + to_string(y) +
                     "; both need a row per example");
  }
}

std::string shortest(double number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

PartOfRows part_of(std::int64_t rows, double part) {
  char text[32];
  const char* const end = std::to_chars(text, text + sizeof text, part, std::chars_format::scientific).ptr;
  const std::string_view decimal(text, end), digits = decimal.substr(0, decimal.find('e'));
  std::int64_t zeros = 0;  // between the point and the first digit
  std::from_chars(text + digits.size() + 2, end, zeros);
  --zeros;
  // rows * 0.d, starting with the last digit: each step adds a digit times the rows and divides by 10.
  PartOfRows sum;
  const auto step = [&](std::int64_t digit) {
    const std::int64_t low = digit * (rows % 10) + sum.rows % 10;
    sum = {digit * (rows / 10) + sum.rows / 10 + low / 10, sum.rest || low % 10 != 0};
  };
  for (std::size_t i = digits.size(); i-- > 0;) {
    if (digits[i] != '.') step(digits[i] - '0');
  }
  for (; zeros > 0; --zeros) step(0);
  return sum;
}

std::int64_t test_rows(std::int64_t rows, double test_size, const Caller& where) {
  const auto refuse = [&] {
    throw ValueError("train_test_split" + to_string(where) + ": test_size is " + shortest(test_size) + " of " +
                     std::to_string(rows) + " rows; both parts need a row, and a size above 1 is a whole number");
  };
  const bool whole = test_size == std::trunc(test_size);
  if (!(test_size > 0 && test_size < static_cast<double>(rows)) || (test_size >= 1 && !whole)) refuse();
  if (test_size >= 1) return static_cast<std::int64_t>(test_size);
  const PartOfRows part = part_of(rows, test_size);
  const std::int64_t count = part.rows + (part.rest ? 1 : 0);
  if (count == rows) refuse();
  return count;
}

}  // namespace detail

template <Real T>
Standardizer<T>::Standardizer(const Tensor<T>& X, Caller where) {
  if (X.rank() == 0 || X.shape()[0] == 0) {
    throw ShapeError("Standardizer" + to_string(where) + ": no rows in a tensor of shape " + to_string(X.shape()));
  }
  mean_ = tapegrad::mean(X, 0);
  // Constant columns are found by their extremes: the mean of equal numbers can be off by rounding, and dividing by a
  // deviation of that size would blow the error up.
  const Tensor<bool> constant = max(X, 0) == min(X, 0);
  // Columns are divided by their largest magnitude, so that squares neither overflow nor vanish. The divisor may be
  // treated as a constant: the deviation, and therefore each of its derivatives, is the same for every divisor.
  const Tensor<T> centered = X - mean_;
  const Tensor<T> size = tapegrad::where(constant, T(1), max(abs(stop_gradient(centered)), 0));
  deviation_ = tapegrad::where(constant, T(1), size * sqrt(tapegrad::mean(square(centered / size), 0)));
}

template <Real T>
Tensor<T> Standardizer<T>::operator()(const Tensor<T>& X, Caller where) const {
  if (!X.shape().ends_with(mean_.shape()) || X.rank() != mean_.rank() + 1) {
    throw ShapeError("Standardizer" + to_string(where) + ": made from rows of shape " + to_string(mean_.shape()) +
                     ", applied to " + to_string(X.shape()));
  }
  return (X - mean_) / deviation_;
}

template class Standardizer<float>;
template class Standardizer<double>;

}  // namespace tapegrad::nn
