#include "callbacks.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string_view>

#include "history.hpp"

namespace tapegrad::nn {
namespace {

[[noreturn]] void refuse(const Epoch& epoch, const std::string& what) {
  throw ValueError("fit" + to_string(epoch.where()) + ": " + what);
}

void require_patience(const Epoch& epoch, const char* callback, std::int64_t patience) {
  if (patience >= 0) return;
  refuse(epoch, std::string(callback) + ": patience is " + std::to_string(patience) + "; it is a number of epochs");
}

/// 1 where a larger value is better, -1 where a smaller one is, 0 where that is not known.
int direction_of(std::string_view log) {
  if (log.starts_with("val_")) log.remove_prefix(4);
  const auto ends_with_any = [&](auto... ends) { return (log.ends_with(ends) || ...); };
  if (ends_with_any("accuracy", "precision", "recall", "f1", "r2", "r2_score", "f1_score", "auc")) return 1;
  const bool smaller = ends_with_any("loss", "error", "crossentropy", "from_logits", "hinge", "divergence");
  return smaller ||
                 std::ranges::count(
                     std::initializer_list<std::string_view>{"mse", "mae", "rmse", "huber", "log_cosh", "poisson"}, log)
             ? -1
             : 0;
}

int direction_of(const std::string& monitor, const std::string& mode) {
  return mode == "auto" ? direction_of(monitor) : mode == "max" ? 1 : -1;
}

}  // namespace

namespace detail {

void Best::require(const Epoch& epoch, const char* callback, const std::string& monitor, const std::string& mode) {
  const auto refuse_option = [&](const std::string& what) {
    refuse(epoch, std::string(callback) + "{.monitor = \"" + monitor + "\"}: " + what);
  };
  if (std::ranges::none_of(epoch.logs, [&](const auto& log) { return log.first == std::string_view(monitor); })) {
    std::string known;
    for (const auto& [name, value] : epoch.logs) known += (known.empty() ? "" : ", ") + std::string(name);
    const bool of_validation = monitor.starts_with("val_");
    refuse_option("the logs are " + known +
                  (of_validation ? "; those of val_ need validation_data or validation_split" : ""));
  }
  if (mode != "auto" && mode != "min" && mode != "max") {
    refuse_option("mode is \"" + mode + "\"; it is \"auto\", \"min\" or \"max\"");
  }
  if (direction_of(monitor, mode) == 0) {
    refuse_option("whether more or less of it is better is not known; give mode = \"min\" or \"max\"");
  }
}

bool Best::improved(const Epoch& epoch, const std::string& monitor, const std::string& mode, double min_delta) {
  const double now = epoch.logs[monitor];
  const bool better =
      !std::isnan(now) && (!value || direction_of(monitor, mode) * (now - *value) > std::abs(min_delta));
  if (better) value = now;
  waited = better ? 0 : waited + 1;
  return better;
}

}  // namespace detail

void EarlyStopping::begin(Epoch& epoch) const {
  detail::Best::require(epoch, "EarlyStopping", monitor, mode);
  require_patience(epoch, "EarlyStopping", patience);
}

void EarlyStopping::operator()(Epoch& epoch) {
  if (best.improved(epoch, monitor, mode, min_delta)) {
    if (restore_best) epoch.restore_at_end();
  } else if (best.waited >= patience) {
    epoch.stop();
  }
}

void ModelCheckpoint::operator()(Epoch& epoch) {
  if (!best.value) best.value = initial_best;
  if (save_best_only && !best.improved(epoch, monitor, mode, 0)) return;
  std::string file = path;
  constexpr std::string_view place = "{epoch}";
  const std::string number = std::to_string(epoch.index + 1);
  for (std::size_t at = 0; (at = file.find(place, at)) != std::string::npos; at += number.size()) {
    file.replace(at, place.size(), number);
  }
  epoch.save(file);
}

void CsvLogger::operator()(Epoch& epoch) const {
  const std::string header = detail::csv_header(epoch.logs);
  const bool first = epoch.index == epoch.first;
  std::string present;
  if (first && append) {
    std::ifstream before(path);
    std::getline(before, present);
    if (!present.empty() && present != header) {
      refuse(epoch, "CsvLogger: " + path + " begins with \"" + present + "\", not with \"" + header +
                        "\"; give another path, or append = false");
    }
  }
  std::ofstream file(path, first && present.empty() ? std::ios::trunc : std::ios::app);
  if (first && present.empty()) file << header << '\n';
  file << detail::csv_line(epoch.index + 1, epoch.logs) << '\n';
  file.close();
  if (!file) throw Error("fit" + to_string(epoch.where()) + ": CsvLogger: cannot write " + path);
}

void LearningRateScheduler::begin(Epoch& epoch) const {
  if (!function) refuse(epoch, "LearningRateScheduler needs a function of (epoch, rate)");
  epoch.set_learning_rate(function(epoch.index, epoch.learning_rate()));
}

void ReduceLearningRateOnPlateau::begin(Epoch& epoch) const {
  const char* const name = "ReduceLearningRateOnPlateau";
  detail::Best::require(epoch, name, monitor, mode);
  require_patience(epoch, name, patience);
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
