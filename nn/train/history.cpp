#include "../history.hpp"

#include <algorithm>
#include <limits>
#include <locale>
#include <sstream>
#include <string_view>

#include "../core/errors.hpp"
#include "../data/file.hpp"
#include "../plot.hpp"

namespace tapegrad::nn {

void History::reserve(const Logs& logs, std::int64_t epochs) {
  // The number of epochs is only what the user asked for, and not a size to trust.
  const auto rows = static_cast<std::size_t>(std::min<std::int64_t>(epochs, 4096));
  for (const auto& [name, value] : logs) {
    add(name, {});
    at(name).reserve(rows);
  }
}

void History::append(const Logs& logs) {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  const std::size_t rows = empty() ? 0 : begin()->second.size();
  for (const auto& [name, value] : logs) {
    if (!find(name)) add(name, std::vector<double>(rows, none));
  }
  for (auto& [name, column] : *this) {
    const double* log = logs.find(name);
    column.push_back(log ? *log : none);
  }
}

namespace detail {

std::string csv_header(const Logs& logs) {
  std::string line = "epoch";
  for (const auto& [name, value] : logs) {
    line += ',';
    if (name.find_first_of(",\"\r\n") == Name::npos) {
      line += name;
      continue;
    }
    line += '"';
    for (const char c : name) line += c == '"' ? std::string("\"\"") : std::string(1, c);
    line += '"';
  }
  return line;
}

std::optional<CsvHeader> read_csv_header(const std::string& text) {
  CsvHeader header{{""}};
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' && quoted && text.compare(i, 2, "\"\"") == 0) {
      header.names.back() += text[++i];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (quoted || (c != ',' && c != '\n' && c != '\r')) {
      header.names.back() += c;
    } else if (c == ',') {
      header.names.emplace_back();
    } else if (c == '\n') {
      header.end = i + 1;
      return header;
    }
  }
  return {};
}

std::string csv_line(std::int64_t epoch, const Logs& logs) {
  std::ostringstream line;
  line.imbue(std::locale::classic());
  line.precision(std::numeric_limits<double>::max_digits10);
  line << epoch;
  for (const auto& [name, value] : logs) line << ',' << value;
  return line.str();
}

}  // namespace detail

void History::save_csv(const std::string& path, Caller where) const {
  Logs logs;
  std::size_t rows = 0;
  for (const auto& [name, column] : *this) {
    logs.add(name, 0);
    rows = std::max(rows, column.size());
  }
  std::string text = detail::csv_header(logs) + '\n';
  for (std::size_t row = 0; row < rows; ++row) {
    auto log = logs.begin();
    for (const auto& [name, column] : *this) {
      (log++)->second = row < column.size() ? column[row] : std::numeric_limits<double>::quiet_NaN();
    }
    text += detail::csv_line(first_epoch + static_cast<std::int64_t>(row) + 1, logs) + '\n';
  }
  detail::Replacement file(path, "save_csv" + to_string(where));
  file.write(text.data(), text.size());
  file.commit();
}

void History::plot(const std::string& path, const std::string& title, Caller where) const {
  constexpr std::string_view validation = "val_";
  std::vector<Panel> panels;
  for (const auto& [name, column] : *this) {
    const std::string_view log = name;
    const bool of_validation = log.starts_with(validation);
    const std::string quantity(of_validation ? log.substr(validation.size()) : log);
    const auto same = [&](const Panel& panel) { return panel.title == quantity; };
    auto panel = std::find_if(panels.begin(), panels.end(), same);
    if (panel == panels.end()) panel = panels.insert(panels.end(), {quantity, {}});
    panel->curves.push_back({of_validation ? "validation" : "training", column});
  }
  for (Panel& panel : panels) {
    if (!title.empty()) panel.title = title + ": " + panel.title;
  }
  detail::in_place([&] { return "plot" + to_string(where) + ": "; },
                   [&] { plot_panels(panels, path, "epoch", first_epoch + 1); });
}

}  // namespace tapegrad::nn
