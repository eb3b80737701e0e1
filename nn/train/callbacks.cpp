#include "../callbacks.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string_view>

#include "../history.hpp"

namespace tapegrad::nn {
namespace {

[[noreturn]] void refuse(const Epoch& epoch, const std::string& what) {
  throw ValueError("fit" + to_string(epoch.where()) + ": " + what);
}

std::string names_of(const Logs& logs) {
  std::string names;
  for (const auto& [name, value] : logs) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

}  // namespace

namespace detail {

void Best::require(const Epoch& epoch, const char* callback, const std::string& monitor, const std::string& mode,
                   double min_delta, std::int64_t patience) {
  const auto refuse_option = [&](const std::string& what) {
    refuse(epoch, std::string(callback) + "{.monitor = \"" + monitor + "\"}: " + what);
  };
  if (!epoch.logs.find(monitor)) {
    const bool of_validation = monitor.starts_with("val_");
    refuse_option("the logs are " + names_of(epoch.logs) +
                  (of_validation ? "; those of val_ need validation_data or validation_split" : ""));
  }
  if (mode != "auto" && mode != "min" && mode != "max") {
    refuse_option("mode is \"" + mode + "\"; it is \"auto\", \"min\" or \"max\"");
  }
  if (mode == "auto" && !epoch.larger_is_better(monitor)) {
    refuse_option("whether more or less of it is better is not known; give mode = \"min\" or \"max\"");
  }
  if (std::isnan(min_delta)) refuse_option("min_delta is nan");
  if (patience < 0) refuse_option("patience is " + std::to_string(patience) + "; it is a number of epochs");
}

bool Best::improved(const Epoch& epoch, const std::string& monitor, const std::string& mode, double min_delta) {
  const double now = epoch.logs[monitor];
  const bool first = !value || std::isnan(*value);
  const bool larger = mode == "auto" ? epoch.larger_is_better(monitor).value() : mode == "max";
  const bool better = !std::isnan(now) && (first || (larger ? now - *value : *value - now) > std::abs(min_delta));
  if (better) value = now;
  waited = better ? 0 : waited + 1;
  return better;
}

}  // namespace detail

void EarlyStopping::begin(Epoch& epoch) const {
  detail::Best::require(epoch, "EarlyStopping", monitor, mode, min_delta, patience);
}

void EarlyStopping::operator()(Epoch& epoch) {
  if (best.improved(epoch, monitor, mode, min_delta)) {
    if (restore_best) epoch.restore_at_end();
  } else if (best.waited >= patience) {
    epoch.stop();
  }
}

namespace {

namespace fs = std::filesystem;

/// Throws Error if `path` cannot become a file.
void require_writable(const Epoch& epoch, const char* callback, const std::string& path) {
  const fs::path file(path), folder = file.has_parent_path() ? file.parent_path() : ".";
  const auto fail = [&](const std::string& reason) {
    throw Error("fit" + to_string(epoch.where()) + ": " + callback + ": cannot write " + path + ", " + reason);
  };
  std::error_code none;  // a path that cannot be examined counts as missing
  if (!fs::is_directory(folder, none)) fail("there is no folder " + folder.string());
  if (!file.has_filename()) fail("which names no file");
  if (fs::is_directory(file, none)) fail("which is a folder");
  if (access(folder.c_str(), W_OK) != 0 && access(path.c_str(), W_OK) != 0) fail("it may not be written to");
}

/// Makes the path of an epoch from a pattern with {name} and {name:format}.
class Pattern {
 public:
  Pattern(const Epoch& epoch, const std::string& pattern) : epoch_(epoch), text_(pattern) {
    for (std::size_t at = 0; at < text_.size();) {
      const char c = text_[at];
      const bool brace = c == '{' || c == '}';
      if (brace && at + 1 < text_.size() && text_[at + 1] == c) {
        path_ += c;
        at += 2;
      } else if (brace) {
        const std::size_t end = c == '{' ? text_.find('}', at) : std::string::npos;
        if (end == std::string::npos) {
          fail(std::string("a brace without its other half; one that stands for itself is {{ or }}"));
        }
        add(std::string_view(text_).substr(at + 1, end - at - 1));
        at = end + 1;
      } else {
        path_ += c;
        ++at;
      }
    }
  }

  const std::string& path() const { return path_; }
  /// The part of the path that does not depend on logs.
  std::string before_logs() const { return path_.substr(0, before_logs_); }

 private:
  void add(std::string_view field) {
    const auto names = [&](std::string_view name) {
      return field.starts_with(name) && (field.size() == name.size() || field[name.size()] == ':');
    };
    // A name may contain a colon itself; the longest name that fits is meant.
    const Logs::Entry* found = nullptr;
    for (const Logs::Entry& log : epoch_.logs) {
      if (names(log.first) && !(found && found->first.size() > log.first.size())) found = &log;
    }
    if (found) {
      before_logs_ = std::min(before_logs_, path_.size());
      format(field, found->first, found->second);
    } else if (names("epoch")) {
      format(field, "epoch", epoch_.index + 1);
    } else {
      fail("{" + std::string(field) + "}: the names are epoch, " + names_of(epoch_.logs) +
           "; a callback adds its own in its begin");
    }
  }
  template <class V>
  void format(std::string_view field, std::string_view name, V value) {
    try {
      const std::string format = std::string("{").append(field.substr(name.size())).append("}");
      path_ += fmt::vformat(format, fmt::make_format_args(value));
    } catch (const fmt::format_error& error) {
      fail("{" + std::string(field) + "}: " + error.what());
    }
  }
  [[noreturn]] void fail(const std::string& what) const {
    refuse(epoch_, "ModelCheckpoint{.path = \"" + text_ + "\"}: " + what);
  }

  const Epoch& epoch_;
  const std::string& text_;
  std::string path_;
  std::size_t before_logs_ = std::string::npos;
};

}  // namespace

void ModelCheckpoint::begun(Epoch& epoch) const {
  if (epoch.index != epoch.first) return;
  const Pattern pattern(epoch, path);
  std::string known = pattern.before_logs();
  // If a folder is named after a log, it is not known yet whether it will exist.
  if (known.size() < pattern.path().size()) known = known.substr(0, known.rfind('/') + 1) + "x";
  require_writable(epoch, "ModelCheckpoint", known);
}

void ModelCheckpoint::operator()(Epoch& epoch) {
  if (!best.value) best.value = initial_best;
  if (save_best_only && !best.improved(epoch, monitor, mode, 0)) return;
  epoch.save(Pattern(epoch, path).path());
}

void CsvLogger::begun(Epoch& epoch) {
  if (epoch.index != epoch.first) return;
  require_writable(epoch, "CsvLogger", path);
  columns.clear();
  whole.reset();
  for (const auto& [name, value] : epoch.logs) columns.emplace_back(name);
  if (!append || !fs::is_regular_file(path)) return;
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}}, expected = detail::csv_header(epoch.logs);
  const std::optional<detail::CsvHeader> header = detail::read_csv_header(text);
  // If the header was cut off, the part that is there must agree; its own callbacks may have added to it.
  const bool begins_so = header ? header->names.front() == "epoch"
                                : expected.starts_with(text) || text.starts_with(expected + ",") || text == expected;
  const auto in_header = [&](const std::string& name) {
    return !header || std::ranges::count(header->names, name) > 0;
  };
  if (!begins_so || !std::ranges::all_of(columns, in_header)) {
    refuse(epoch, "CsvLogger: " + path + " begins with \"" + text.substr(0, header ? header->end - 1 : text.size()) +
                      "\", not with \"" + expected + "\"; give another path, or append = false");
  }
  if (!header) return;
  columns.assign(header->names.begin() + 1, header->names.end());
  whole = text.rfind('\n') + 1;
}

void CsvLogger::ended(Epoch& epoch) {
  const bool first = epoch.index == epoch.first;
  const auto known = [&](const Name& name) { return std::ranges::count(columns, std::string_view(name)) > 0; };
  for (const auto& [name, value] : epoch.logs) {
    if (known(name)) continue;
    if (first && !whole) {
      columns.emplace_back(name);
      continue;
    }
    refuse(epoch,
           "CsvLogger: the log \"" + std::string(name) + "\" has no column in " + path +
               (first ? ", which has a header already; give another path, or append = false"
                      : ", whose columns were fixed after the first epoch; a callback that adds it later adds it "
                        "in its begin, too, which is called before that"));
  }
  Logs row;
  for (const std::string& name : columns) {
    const double* log = epoch.logs.find(name);
    row.add(name, log ? *log : std::numeric_limits<double>::quiet_NaN());
  }
  std::error_code failed;
  if (first && whole && fs::file_size(path, failed) > *whole) fs::resize_file(path, *whole, failed);
  std::ofstream file(path, first && !whole ? std::ios::trunc : std::ios::app);
  if (first && !whole) file << detail::csv_header(row) << '\n';
  file << detail::csv_line(epoch.index + 1, row) << '\n';
  file.close();
  if (failed || !file) throw Error("fit" + to_string(epoch.where()) + ": CsvLogger: cannot write " + path);
}

void LearningRateScheduler::begin(Epoch& epoch) const {
  if (!function) refuse(epoch, "LearningRateScheduler needs a function of (epoch, rate)");
  epoch.set_learning_rate(function(epoch.trained, epoch.learning_rate()));
}

void ReduceLearningRateOnPlateau::begin(Epoch& epoch) const {
  const char* const name = "ReduceLearningRateOnPlateau";
  detail::Best::require(epoch, name, monitor, mode, min_delta, patience);
  if (!(factor > 0 && factor < 1)) {
    refuse(epoch, std::string(name) + ": factor is " + std::to_string(factor) + "; it is between 0 and 1");
  }
}

void ReduceLearningRateOnPlateau::operator()(Epoch& epoch) {
  if (best.improved(epoch, monitor, mode, min_delta) || best.waited < patience) return;
  best.waited = 0;
  epoch.set_learning_rate(std::min(epoch.learning_rate(), std::max(epoch.learning_rate() * factor, minimum)));
}

}  // namespace tapegrad::nn
