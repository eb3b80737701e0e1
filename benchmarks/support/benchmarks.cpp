#include "benchmarks.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string_view>

namespace tapegrad::benchmarks {
namespace {

// Before the user's flags, which win.
constexpr const char* default_flags[] = {
    "--benchmark_enable_random_interleaving=true",
    "--benchmark_repetitions=9",
    "--benchmark_min_time=0.01",
};

bool own_format = true;  // not Google Benchmark's own on standard output

// One linear interpolation between order statistics, as NumPy's.
double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], at - static_cast<double>(below));
}

std::string with_unit(double ns) {
  constexpr std::pair<double, const char*> units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}};
  double value = ns;
  const char* unit = "ns";
  for (const auto& [size, name] : units) {
    if (ns < size) continue;
    value = ns / size;
    unit = name;
    break;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%8.*f %-2s", value < 10 ? 2 : value < 100 ? 1 : 0, value, unit);
  return text;
}

// Collects the repetitions, hands them on to a reporter of Google Benchmark where one is wanted, and prints the table.
class Reporter : public benchmark::BenchmarkReporter {
 public:
  explicit Reporter(std::unique_ptr<benchmark::BenchmarkReporter> inner) : inner_(std::move(inner)) {}

  bool ReportContext(const Context& context) override {
    if (inner_) return inner_->ReportContext(context);
    PrintBasicContext(&GetErrorStream(), context);
    return true;
  }

  void ReportRuns(const std::vector<Run>& runs) override {
    if (inner_) inner_->ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration || run.error_occurred) continue;
      // CPU time, of which other programs on the machine take nothing.
      times_[run.run_name.str()].push_back(1e9 * run.cpu_accumulated_time / static_cast<double>(run.iterations));
    }
  }

  void Finalize() override {
    if (inner_) inner_->Finalize();
  }

  // In the order of registration, one block per case.
  Medians print(const std::vector<std::string>& order, std::ostream& out) {
    Medians medians;
    for (auto& [name, times] : times_) {
      std::sort(times.begin(), times.end());
      medians.ns[name] = quantile(times, 0.5);
    }
    std::size_t width = 0;
    for (const auto& [name, times] : times_) {
      const std::size_t end_of_case = name.rfind('/');
      width = std::max({width, end_of_case, name.size() - end_of_case + 1});
    }
    const auto pad = [width](std::string text) { return text.append(width - text.size(), ' '); };
    std::string last_case, reference;
    char text[96];
    for (const std::string& name : order) {
      const auto found = times_.find(name);
      if (found == times_.end()) continue;
      const std::vector<double>& times = found->second;
      const std::string its_case = name.substr(0, name.rfind('/')), variant = name.substr(its_case.size() + 1);
      if (its_case != std::exchange(last_case, its_case)) {
        reference = times_.contains(its_case + "/hand") ? "hand" : variant;
        std::snprintf(text, sizeof text, "     median %9s   quartiles\n", ("/ " + reference).c_str());
        out << '\n' << pad(its_case) << text;
      }
      const double median = medians.ns[name];
      out << pad("  " + variant) << with_unit(median);
      std::snprintf(text, sizeof text, "%9.2f", *medians.ratio(name, its_case + "/" + reference));
      out << text;
      std::snprintf(text, sizeof text, "   -%.0f %% +%.0f %%\n", 100 * (1 - quantile(times, 0.25) / median),
                    100 * (quantile(times, 0.75) / median - 1));
      out << text;
    }
    out.flush();
    return medians;
  }

 private:
  std::unique_ptr<benchmark::BenchmarkReporter> inner_;
  std::map<std::string, std::vector<double>> times_;
};

std::vector<std::string>& registered() {
  static std::vector<std::string> names;
  return names;
}

}  // namespace

void Case::add(const std::string& variant, std::function<void(benchmark::State&)> body) {
  const std::string name = expected_->name + "/" + variant;
  if (std::count(name.begin(), name.end(), '/') != 3) {
    std::cerr << "benchmark " << name << ": a name is family/dtype/case/variant\n";
    std::exit(1);
  }
  registered().push_back(name);
  benchmark::RegisterBenchmark(name.c_str(), std::move(body));
}

// The expected values are computed for each variant again: a copy of one large Jacobian at a time is enough.
void Case::require_equal(const Expected& expected, const std::string& variant, const Visit& visit, double tolerance) {
  std::vector<double> wanted;
  expected.visit([&](const Elements& elements) {
    std::visit([&](auto span) { wanted.insert(wanted.end(), span.begin(), span.end()); }, elements);
  });
  double scale = 1;
  for (double w : wanted) scale = std::max(scale, std::abs(w));
  const std::string name = expected.name + "/" + variant;
  std::size_t i = 0;
  const auto compare = [&](double value) {
    if (i < wanted.size()) {
      const double error = std::abs(value - wanted[i]);
      if (!(error <= tolerance * scale)) {  // or NaN
        std::cerr << name << ": element " << i << " is " << value << " where the first variant gives " << wanted[i]
                  << "; the error " << error << " exceeds " << tolerance << " * " << scale << '\n';
        std::exit(1);
      }
    }
    ++i;
  };
  visit([&](const Elements& elements) {
    std::visit([&](auto span) { std::for_each(span.begin(), span.end(), compare); }, elements);
  });
  if (i == wanted.size()) return;
  std::cerr << name << ": " << i << " numbers where the first variant gives " << wanted.size() << '\n';
  std::exit(1);
}

std::optional<double> Medians::ratio(const std::string& numerator, const std::string& denominator) const {
  const auto above = ns.find(numerator), below = ns.find(denominator);
  if (above == ns.end() || below == ns.end()) return std::nullopt;
  return above->second / below->second;
}

std::ostream& report_stream() { return own_format ? std::cout : std::cerr; }

Medians run(int argc, char** argv) {
  std::vector<std::string> arguments{argv[0]};
  arguments.insert(arguments.end(), std::begin(default_flags), std::end(default_flags));
  arguments.insert(arguments.end(), argv + 1, argv + argc);

  // The table stands for the format "console"; others are printed as they are.
  std::unique_ptr<benchmark::BenchmarkReporter> inner;
  for (const std::string& argument : arguments) {
    if (argument == "--benchmark_format=json")
      inner = std::make_unique<benchmark::JSONReporter>();
    else if (argument.starts_with("--benchmark_format=") && !argument.ends_with("=console")) {
      std::cerr << argument << ": this program prints a table, or with --benchmark_format=json JSON\n";
      std::exit(1);
    }
  }
  own_format = !inner;

  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) std::exit(1);

  Reporter reporter(std::move(inner));
  benchmark::RunSpecifiedBenchmarks(&reporter);
  Medians medians = reporter.print(registered(), report_stream());
  benchmark::Shutdown();
  return medians;
}

}  // namespace tapegrad::benchmarks
