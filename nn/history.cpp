#include "history.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>

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

void History::save_csv(const std::string& path) const {
  detail::Replacement replacement(path, "save_csv");
  std::ofstream file(replacement.name());
  file.imbue(std::locale::classic());
  file.precision(std::numeric_limits<double>::max_digits10);
  file << "epoch";
  for (const auto& [name, column] : *this) file << ',' << name;
  file << '\n';
  const std::size_t rows = empty() ? 0 : begin()->second.size();
  for (std::size_t row = 0; row < rows; ++row) {
    file << row + 1;
    for (const auto& [name, column] : *this) file << ',' << column[row];
    file << '\n';
  }
  file.close();
  if (!file) replacement.fail(std::strerror(errno));
  replacement.commit();
}

void History::plot(const std::string& path, const std::string& title) const {
  std::vector<Curve> curves;
  for (const auto& [name, column] : *this) curves.push_back({std::string(name), column});
  plot_curves(curves, path, title, "epoch");
}

}  // namespace tapegrad::nn
