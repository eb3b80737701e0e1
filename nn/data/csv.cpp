#include "csv.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <clocale>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <system_error>

#include "../../autodiff/extend.hpp"
#include "../../autodiff/ops.hpp"
#include "file.hpp"

namespace tapegrad::nn {
namespace {

constexpr std::size_t most_field_bytes = 1 << 16;

// Whether c occurs only in binary data. A quoted name may hold line ends.
bool is_control(char c) {
  return (static_cast<unsigned char>(c) < ' ' && c != '\t' && c != '\r' && c != '\n') || c == '\x7f';
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// Reads fields one after the other through a window on the file.
class FieldReader {
 public:
  enum class Ends { field, row, file };

  FieldReader(detail::Input& input, char separator) : input_(input), separator_(separator) {
    window_.resize(4 * most_field_bytes);
    fill();
    if (std::string_view(next_, static_cast<std::size_t>(end_ - next_)).starts_with("\xef\xbb\xbf")) next_ += 3;
  }

  /// The next field, trimmed and without its quotes. It is valid until the next call.
  std::string_view field() {
    if (static_cast<std::size_t>(end_ - next_) < most_field_bytes) fill();
    line_ = next_line_;
    const char* c = next_;
    while (c != end_ && is_blank(*c) && *c != separator_) ++c;
    if (c != end_ && *c == '"') return quoted(c);
    while (c != end_ && *c != separator_ && *c != '\n') ++c;
    return ended(next_, c);
  }
  /// What the last field ended.
  Ends ends() const { return ends_; }
  /// Where the last field began, as messages say it.
  std::string place() const { return input_.place() + ", line " + std::to_string(line_); }

 private:
  // Moves the unread part to the front and fills the rest of the window.
  void fill() {
    const auto left = static_cast<std::size_t>(end_ - next_);
    if (left > 0) std::memmove(window_.data(), next_, left);
    next_ = window_.data();
    end_ = next_ + left + input_.read_some(window_.data() + left, window_.size() - left);
  }

  std::string_view ended(const char* first, const char* last) {
    if (static_cast<std::size_t>(last - next_) >= most_field_bytes) {
      input_.fail("line " + std::to_string(line_) + " has a field of more than " + std::to_string(most_field_bytes) +
                  " bytes, which is no number");
    }
    ends_ = last == end_ ? Ends::file : *last == '\n' ? Ends::row : Ends::field;
    if (ends_ == Ends::row) ++next_line_;
    next_ = last + (last != end_);
    return trimmed({first, static_cast<std::size_t>(last - first)});
  }

  std::string_view quoted(const char* c) {
    unquoted_.clear();
    for (;;) {
      const char* closing = std::find(++c, end_, '"');
      if (closing == end_) refuse_quote();
      unquoted_.append(c, closing);
      c = closing + 1;
      if (c == end_ || *c != '"') break;
      unquoted_ += '"';
    }
    next_line_ += std::count(unquoted_.begin(), unquoted_.end(), '\n');
    while (c != end_ && is_blank(*c) && *c != separator_) ++c;
    if (c != end_ && *c != separator_ && *c != '\n') refuse_quote();
    ended(c, c);
    return unquoted_;
  }
  [[noreturn]] void refuse_quote() const {
    throw ValueError(place() + ": a quote that begins here does not end where its field does");
  }

  detail::Input& input_;
  char separator_;
  std::vector<char> window_;
  const char *next_ = window_.data(), *end_ = next_;
  std::string unquoted_;
  Ends ends_ = Ends::row;
  std::int64_t line_ = 1, next_line_ = 1;
};

enum class Parsed { number, not_finite, no_number };

/// The value of a number that from_chars reports as out of range for T: infinity if it is too large; the nearest
/// number, 0 or denormal, if it is too small.
template <Real T>
T out_of_range(const std::string& number) {
  // With a decimal point, whatever the user's locale.
  static const locale_t plain = newlocale(LC_ALL_MASK, "C", nullptr);
  if constexpr (std::is_same_v<T, float>)
    return strtof_l(number.c_str(), nullptr, plain);
  else
    return strtod_l(number.c_str(), nullptr, plain);
}

template <Real T>
Parsed parse(std::string_view text, T& value) {
  constexpr std::size_t exact_digits = 7;  // exact even in float
  if (!text.empty() && text.size() <= exact_digits) {
    std::uint32_t whole = 0;
    bool digits = true;
    for (char c : text) {
      const unsigned digit = static_cast<unsigned char>(c) - unsigned{'0'};
      digits &= digit < 10;
      whole = 10 * whole + digit;
    }
    if (digits) {
      value = static_cast<T>(whole);
      return Parsed::number;
    }
  }
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) {
    value = out_of_range<T>(std::string(text.data(), end));
    error = {};
  }
  if (text.empty() || end != text.data() + text.size() || error == std::errc::invalid_argument) {
    return Parsed::no_number;
  }
  return error == std::errc() && std::isfinite(value) ? Parsed::number : Parsed::not_finite;
}

constexpr std::size_t most_names = 1000000;

}  // namespace

template <Real T>
Table<T> detail::read_table(const std::string& path, const CsvOptions& options, const char* function,
                            const Caller& where) {
  const std::string caller = function + to_string(where);
  if (std::strchr("\"\r\n+-.", options.separator) || std::isalnum(static_cast<unsigned char>(options.separator))) {
    throw ValueError(caller + ": \"" + detail::printable({&options.separator, 1}) + "\" cannot separate numbers");
  }
  const std::unique_ptr<detail::Input> input = detail::open_input(path, caller);
  FieldReader reader(*input, options.separator);
  using Ends = FieldReader::Ends;

  std::vector<std::string> names;
  std::vector<T> values;
  std::int64_t rows = 0, columns = 0;
  CsvHeader header = options.header;
  do {
    std::int64_t column = 0;
    bool names_here = false;
    do {
      const std::string_view text = reader.field();
      if (column == 0 && text.empty() && reader.ends() != Ends::field) break;  // a blank line
      auto fail = [&](const std::string& problem) {
        throw ValueError(reader.place() + ", column " + std::to_string(column + 1) + ": " + problem);
      };
      T value{};
      Parsed parsed = parse(trimmed(text), value);
      if (column == 0) {
        names_here = header == CsvHeader::yes || (header == CsvHeader::automatic && parsed == Parsed::no_number);
      }
      if (names_here) {
        if (header == CsvHeader::automatic && parsed != Parsed::no_number) {
          fail("the number \"" + detail::printable(text) +
               "\" among names; CsvOptions::header says whether the first line names the columns");
        }
        if (std::any_of(text.begin(), text.end(), is_control)) {
          fail("\"" + detail::printable(text) + "\" is neither a number nor text");
        }
        if (names.size() == most_names) fail("more than " + std::to_string(most_names) + " names");
        names.emplace_back(text);
      } else {
        if (text.empty()) {
          if (!options.missing) {
            fail("\"\" is not a finite number, but missing; CsvOptions::missing can name one to stand for it");
          }
          value = static_cast<T>(*options.missing);
        } else if (parsed != Parsed::number) {
          fail("\"" + detail::printable(text) + "\" is not a finite number");
        }
        values.push_back(value);
      }
      ++column;
    } while (reader.ends() == Ends::field);
    if (column == 0) continue;
    if (columns == 0) columns = column;
    if (column != columns) {
      throw ValueError(reader.place() + ": " + std::to_string(column) + " columns, but the first row has " +
                       std::to_string(columns));
    }
    rows += !names_here;
    header = CsvHeader::no;
  } while (reader.ends() != Ends::file);
  return {Tensor<T>({rows, columns}, values), std::move(names)};
}

template <Real T>
Examples<T> split_labels(const Tensor<T>& table, LabelColumn column, Caller where) {
  const Shape& shape = table.shape();
  if (shape.rank() != 2 || shape[1] < 2) {
    throw ShapeError("split_labels" + to_string(where) + ": a table of shape " + to_string(shape) +
                     "; it holds a label and features in each row, (n, 1 + features)");
  }
  const std::int64_t label = column == LabelColumn::first ? 0 : shape[1] - 1;
  const auto read = [=, rows = shape[0], columns = shape[1]](const T* values, std::int64_t* out) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const T value = values[row * columns + label];
      // Beyond 2^53, not every integer is a double.
      if (!(std::abs(value) <= T(0x1p53)) || value != std::trunc(value)) {
        throw ValueError("split_labels" + to_string(where) + ": the label of row " + std::to_string(row) + " is " +
                         std::to_string(value) + ", no integer");
      }
      out[row] = static_cast<std::int64_t>(value);
    }
  };
  const auto y =
      tapegrad::detail::tensor_of<std::int64_t>({shape[0]}, "split_labels", where, read, stop_gradient(table));
  const std::int64_t first = column == LabelColumn::first ? 1 : 0;
  return {slice(table, 1, first, first + shape[1] - 1, 1, where), y};
}

template Table<float> detail::read_table(const std::string&, const CsvOptions&, const char*, const Caller&);
template Table<double> detail::read_table(const std::string&, const CsvOptions&, const char*, const Caller&);
template Examples<float> split_labels(const Tensor<float>&, LabelColumn, Caller);
template Examples<double> split_labels(const Tensor<double>&, LabelColumn, Caller);

}  // namespace tapegrad::nn
