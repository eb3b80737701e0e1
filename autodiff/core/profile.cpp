#include "../profile.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <map>
#include <ostream>
#include <sstream>
#include <tuple>

#include "command.hpp"
#include "memory.hpp"

namespace tapegrad {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string name_of(const detail::Site& site) {
  std::string name = *site.operation ? site.operation + to_string(site.where) : "no operation of its own";
  if (site.part == detail::Site::Part::adjoint) name += ", adjoint";
  if (site.part == detail::Site::Part::tangent) name += ", tangent";
  return name;
}

class Profiler final : public detail::Observer {
 public:
  void command(const detail::Command& command) override {
    const detail::Site site = detail::door.site ? *detail::door.site : detail::Site{};
    ProfileRow& row = rows_[{site.operation, site.where.file ? site.where.file : "", site.where.line, site.part}];
    if (row.calls == 0) row.operation = name_of(site);
    const Clock::time_point start = Clock::now();
    pass(command);
    row.seconds += seconds_since(start);
    ++row.calls;
    for (const detail::Command::Operand& operand : command.operands) {
      row.bytes += operand.access == detail::Command::Access::updates ? 2 * operand.bytes : operand.bytes;
    }
  }

  std::vector<ProfileRow> rows() const {
    std::vector<ProfileRow> all;
    for (const auto& [key, row] : rows_) all.push_back(row);
    std::ranges::stable_sort(all, std::greater(), &ProfileRow::seconds);
    return all;
  }

 private:
  using Key = std::tuple<std::string, std::string, int, detail::Site::Part>;
  std::map<Key, ProfileRow> rows_;
};

class MemoryWatch final : public detail::Observer {
 public:
  // The results of a command are allocated before it runs; its own scratch memory is gone after it has run.
  void command(const detail::Command& command) override {
    look();
    pass(command);
  }
  void look() { most_ = std::max(most_, detail::live_bytes()); }
  std::int64_t most() const { return most_ - before_; }

 private:
  std::int64_t before_ = detail::live_bytes(), most_ = before_;
};

}  // namespace

Profile profile(const std::function<void()>& f) {
  Profiler profiler;
  const Clock::time_point start = Clock::now();
  f();
  const double seconds = seconds_since(start);
  return {profiler.rows(), seconds};
}

std::int64_t peak_memory(const std::function<void()>& f) {
  MemoryWatch watch;
  f();
  watch.look();
  return watch.most();
}

std::ostream& operator<<(std::ostream& out, const Profile& profile) {
  std::ostringstream text;
  const auto line = [&](double seconds, const std::string& calls, const std::string& bytes, const std::string& name) {
    text << std::fixed << std::setprecision(3) << std::setw(12) << seconds * 1e3 << std::setw(7) << std::setprecision(1)
         << (profile.seconds > 0 ? 100 * seconds / profile.seconds : 0) << " %" << std::setw(12) << calls
         << std::setw(12) << bytes << "  " << name << '\n';
  };
  text << std::setw(12) << "ms" << std::setw(9) << "share" << std::setw(12) << "loops" << std::setw(12) << "MB"
       << "  operation\n";
  double rest = profile.seconds;
  for (const ProfileRow& row : profile.rows) {
    const auto tenths = std::llround(static_cast<double>(row.bytes) / 1e5);
    line(row.seconds, std::to_string(row.calls), std::to_string(tenths / 10) + '.' + std::to_string(tenths % 10),
         row.operation);
    rest -= row.seconds;
  }
  line(rest, "", "", "between the loops");
  return out << text.str();
}

}  // namespace tapegrad
