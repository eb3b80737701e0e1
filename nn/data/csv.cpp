#include "csv.hpp"

#include <zlib.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <string_view>
#include <vector>

namespace tapegrad::nn {
namespace {

std::string read_all(const std::string& path) {
  // gzopen reads a file that is not compressed as it is.
  std::unique_ptr<gzFile_s, decltype([](gzFile file) { gzclose(file); })> file(gzopen(path.c_str(), "rb"));
  if (!file) throw Error("cannot open " + path);
  std::string text;
  char block[1 << 14];
  int got = 0;
  while ((got = gzread(file.get(), block, sizeof block)) > 0) text.append(block, static_cast<std::size_t>(got));
  int code = Z_OK;
  const char* message = gzerror(file.get(), &code);
  if (got < 0 || code != Z_OK) throw Error("cannot read " + path + ": " + message);
  return text;
}

/// Cuts off what stands before `separator`, and the separator.
std::string_view cut(std::string_view& rest, char separator) {
  const std::size_t end = rest.find(separator);
  const std::string_view head = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return head;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

Tensor<double> read_csv(const std::string& path) {
  const std::string text = read_all(path);
  std::vector<double> values;
  std::int64_t rows = 0, columns = 0, line_number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = trimmed(cut(rest, '\n'));
    ++line_number;
    if (line.empty()) continue;
    const std::string place = path + ", line " + std::to_string(line_number);
    std::int64_t column = 0;
    for (bool more = true; more;) {
      more = line.find(',') != std::string_view::npos;
      const std::string_view field = trimmed(cut(line, ','));
      ++column;
      double value = 0;
      const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
      if (error != std::errc() || end != field.data() + field.size() || !std::isfinite(value)) {
        throw ValueError(place + ", column " + std::to_string(column) + ": \"" + std::string(field.substr(0, 40)) +
                         "\" is not a finite number");
      }
      values.push_back(value);
    }
    if (rows++ == 0) columns = column;
    if (column != columns) {
      throw ValueError(place + ": " + std::to_string(column) + " columns, but the first row has " +
                       std::to_string(columns));
    }
  }
  return Tensor<double>({rows, columns}, values);
}

}  // namespace tapegrad::nn
