#pragma once
// The report of a training: a column for each loss and metric, a row for each epoch.
//
//     nn::History h = model.fit(X, y, {.epochs = 100});
//     h["loss"].back();  h.save_csv("h.csv");  h.plot("h.svg");

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "named.hpp"

namespace tapegrad::nn {

/// h[name] throws ValueError, listing the columns, for any other name.
class TAPEGRAD_EXPORT History : public Named<std::vector<double>> {
 public:
  std::int64_t first_epoch = 0;  // of row 0
  /// Whether Ctrl-C ended training; an epoch that it cut short is not in the history.
  bool interrupted = false;
  /// The message that fit would have thrown, if training ended at a loss that was not finite (OnNonfinite::stop); empty
  /// otherwise.
  std::string nonfinite = {};

  /// Makes columns with room for `epochs` rows, up to a few thousand, so that adding rows allocates nothing.
  void reserve(const Logs& logs, std::int64_t epochs);
  /// A row. A log without a column gets one; what is not known of a row is NaN.
  void append(const Logs& logs);

  /// "epoch", from 1, and the columns, numbers in full, NaN as nan (which read_csv takes for a missing value and
  /// refuses); names in quotes where they need them. The file appears whole or not at all. Throws Error when it cannot
  /// be written.
  void save_csv(const std::string& path, Caller where = Caller::here()) const;
  /// A picture with a panel for each quantity, that of the validation beside that of the training; SVG or PNG by the
  /// name of the file, see plot_curves.
  void plot(const std::string& path, const std::string& title = "", Caller where = Caller::here()) const;
};

namespace detail {

/// The lines of a table of epochs, as RFC 4180 has them but for the end of the line, which is not in them.
std::string csv_header(const Logs& logs);
/// The names of a header, and where the line after it begins; nothing when the text ends before the header does.
struct CsvHeader {
  std::vector<std::string> names;
  std::size_t end = 0;
};
std::optional<CsvHeader> read_csv_header(const std::string& text);
std::string csv_line(std::int64_t epoch, const Logs& logs);

}  // namespace detail

}  // namespace tapegrad::nn
