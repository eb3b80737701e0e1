#include "history.hpp"

#include <algorithm>
#include <limits>
#include <locale>
#include <sstream>
#include <string_view>

#include "data/file.hpp"
#include "plot.hpp"

namespace tapegrad::nn {

void History::reserve(const Logs& logs, std::int64_t epochs) {
  for (const auto& [name, value] : logs) {
    add(name, {});
    at(name).reserve(static_cast<std::size_t>(epochs));
  }
}

void History::append(const Logs& logs) {
  for (const auto& [name, value] : logs) at(name).push_back(value);
}

void History::save_csv(const std::string& path, Where where) const {
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text.precision(std::numeric_limits<double>::max_digits10);
  text << "epoch";
  for (const auto& [name, column] : *this) text << ',' << name;
  text << '\n';
  const std::size_t rows = empty() ? 0 : begin()->second.size();
  for (std::size_t row = 0; row < rows; ++row) {
    text << first_epoch + static_cast<std::int64_t>(row) + 1;
    for (const auto& [name, column] : *this) text << ',' << column[row];
    text << '\n';
  }
  detail::Replacement file(path, "save_csv" + to_string(where));
  file.write(text.view().data(), text.view().size());
  file.commit();
}

void History::plot(const std::string& path, const std::string& title) const {
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
  plot_panels(panels, path, "epoch", first_epoch + 1);
}

}  // namespace tapegrad::nn
