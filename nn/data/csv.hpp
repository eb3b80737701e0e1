#pragma once
// Tables of numbers in text files.
//
//     Tensor<> digits = nn::read_csv("digits.csv.gz");
//     const nn::Table<float> table = nn::read_table<float>("mnist_train.csv");    // label,1x1,1x2,...
//     const auto [X, y] = nn::split_labels(table.values, nn::LabelColumn::first);
//     table.columns[1];                                                           // "1x1"

#include <optional>
#include <string>
#include <vector>

#include "../../autodiff/tensor.hpp"
#include "examples.hpp"

namespace tapegrad::nn {

/// Whether the first line names the columns; `automatic` means that it does if none of its fields is a number.
enum class CsvHeader { automatic, yes, no };

struct CsvOptions {
  CsvHeader header = CsvHeader::automatic;
  char separator = ',';
  std::optional<double> missing = {};  // what an empty field stands for; without it, one is refused
};

template <class T>
struct Table {
  Tensor<T> values;                  // (rows, columns)
  std::vector<std::string> columns;  // their names; empty without a header
};

namespace detail {

/// read_table, with the name of the calling function for messages.
template <Real T>
TAPEGRAD_EXPORT Table<T> read_table(const std::string& path, const CsvOptions& options, const char* caller,
                                    const Caller& where);

}  // namespace detail

/// The numbers of a comma-separated file, plain or gzip, by RFC 4180: fields may stand in quotes, which may then hold
/// separators, line ends and doubled quotes. A byte order mark, spaces and tabs round a field and blank lines are left
/// out. A number too small for T, which is float or double, becomes the nearest number, 0 or a denormal. Throws Error
/// when the file cannot be read; ValueError, naming line and column, for a field that is missing or no finite number of
/// type T, or a row of another length than the first.
template <Real T = double>
Table<T> read_table(const std::string& path, const CsvOptions& options = {}, Caller where = Caller::here()) {
  return detail::read_table<T>(path, options, "read_table", where);
}

/// The values of read_table.
template <Real T = double>
Tensor<T> read_csv(const std::string& path, const CsvOptions& options = {}, Caller where = Caller::here()) {
  return detail::read_table<T>(path, options, "read_csv", where).values;
}

enum class LabelColumn { first, last };

/// Splits a table (n, 1 + features) into features (n, features) and labels (n). Throws ShapeError unless there are at
/// least two columns, ValueError, naming the row, for a label that is not an integer.
template <Real T>
TAPEGRAD_EXPORT Examples<T> split_labels(const Tensor<T>& table, LabelColumn column = LabelColumn::last,
                                         Caller where = Caller::here());

}  // namespace tapegrad::nn
