#include "../plot.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <locale>
#include <memory>
#include <sstream>

namespace tapegrad::nn {
namespace {

using File = std::unique_ptr<std::FILE, decltype([](std::FILE* file) { std::fclose(file); })>;

File temporary_file() {
  File file(std::tmpfile());
  if (!file) throw Error(std::string("cannot make a temporary file: ") + std::strerror(errno));
  return file;
}

/// A gnuplot string: nothing is special between single quotes, and a quote is written twice.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (char c : text) {
    if (static_cast<unsigned char>(c) < ' ') throw ValueError("a file name or title holds a control character");
    out += c;
    if (c == '\'') out += c;
  }
  return out + "'";
}

/// The beginning of a script: the terminal, sized for this many diagrams side by side, and the output.
std::ostringstream begin_script(const std::string& path, std::size_t panels = 1) {
  std::ostringstream script;
  script.imbue(std::locale::classic());
  script.precision(9);
  if (path.ends_with(".svg"))
    script << "set terminal svg size " << 800 * panels << ",500 background 'white'\n";
  else if (path.ends_with(".png"))
    script << "set terminal pngcairo size " << 800 * panels << ",500\n";
  else
    throw ValueError("a picture is .svg or .png, not " + path);
  // gnuplot would take a leading '|' as a command, and '~' as a home directory.
  script << "set output " << quoted(path.front() == '/' ? path : "./" + path) << '\n';
  return script;
}

void put_title(std::ostream& script, const std::string& title) {
  if (!title.empty()) script << "set title " << quoted(title) << " noenhanced\n";
}

void put(std::ostream& out, double value) {
  if (std::isfinite(value))
    out << value;
  else
    out << "NaN";
}

/// No shell is involved: the script is gnuplot's standard input.
void run_gnuplot(const std::string& script, const std::string& path) {
  const File input = temporary_file(), errors = temporary_file();
  if (std::fwrite(script.data(), 1, script.size(), input.get()) != script.size() || std::fflush(input.get()) != 0) {
    throw Error("cannot write a temporary file");
  }
  std::rewind(input.get());

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(input.get()), 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, fileno(errors.get()), 2);
  char name[] = "gnuplot";
  char* arguments[] = {name, nullptr};
  pid_t process = 0;
  const int failed = posix_spawnp(&process, name, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed == ENOENT) {
    throw Error("cannot draw " + path + ": gnuplot was not found; on Debian, apt-get install gnuplot-nox");
  }
  if (failed) throw Error("cannot draw " + path + ": gnuplot does not start: " + std::strerror(failed));

  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  std::rewind(errors.get());
  std::string message(1000, '\0');
  message.resize(std::fread(message.data(), 1, message.size(), errors.get()));
  throw Error("cannot draw " + path + ": gnuplot says: " + message);
}

}  // namespace

void plot_panels(const std::vector<Panel>& panels, const std::string& path, const std::string& x_label,
                 std::int64_t first) {
  std::ostringstream script = begin_script(path, std::max<std::size_t>(panels.size(), 1));
  if (panels.empty()) throw ValueError("there is nothing to draw in " + path);
  if (!x_label.empty()) script << "set xlabel " << quoted(x_label) << " noenhanced\n";
  script << "set grid\n";
  std::size_t block = 0;
  for (const Panel& panel : panels) {
    if (panel.curves.empty()) throw ValueError("there is no curve to draw in " + path);
    for (const Curve& curve : panel.curves) {
      script << "$curve" << block++ << " << EOD\n";
      for (std::size_t k = 0; k < curve.values.size(); ++k) {
        script << first + static_cast<std::int64_t>(k) << ' ';
        put(script, curve.values[k]);
        script << '\n';
      }
      script << "EOD\n";
    }
  }
  if (panels.size() > 1) script << "set multiplot layout 1," << panels.size() << '\n';
  block = 0;
  for (const Panel& panel : panels) {
    put_title(script, panel.title);
    const char* separator = "plot ";
    for (const Curve& curve : panel.curves) {
      script << separator << "$curve" << block++ << " using 1:2 with lines linewidth 2 title " << quoted(curve.name)
             << " noenhanced";
      separator = ", ";
    }
    script << '\n';
  }
  run_gnuplot(script.str(), path);
}

void plot_curves(const std::vector<Curve>& curves, const std::string& path, const std::string& title,
                 const std::string& x_label, std::int64_t first) {
  plot_panels({{title, curves}}, path, x_label, first);
}

template <Real T>
void heat_map(const Tensor<T>& matrix, const std::string& path, const std::string& title) {
  if (matrix.rank() != 2 || matrix.size() == 0) {
    throw ShapeError("heat_map draws a matrix, not " + to_string(matrix.shape()));
  }
  const Tensor<T> values = stop_gradient(matrix);
  std::ostringstream script = begin_script(path);
  put_title(script, title);
  const std::int64_t rows = matrix.shape()[0], columns = matrix.shape()[1];
  script << "set xrange [-0.5:" << static_cast<double>(columns) - 0.5 << "]\n"
         << "set yrange [" << static_cast<double>(rows) - 0.5 << ":-0.5]\n"
         << "set size ratio -1\n"
         // White is 0, so that the sign of an element can be seen.
         << "set palette defined (-1 '#2166ac', 0 '#ffffff', 1 '#b2182b')\n";
  double largest = 0;
  for (T element : values.elements_view()) {
    if (std::isfinite(element)) largest = std::max(largest, std::abs(static_cast<double>(element)));
  }
  if (largest == 0) largest = 1;
  script << "set cbrange [" << -largest << ':' << largest << "]\n"
         << "$matrix << EOD\n";
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      put(script, static_cast<double>(values.data()[i * columns + j]));
      script << ' ';
    }
    script << '\n';
  }
  script << "EOD\nplot $matrix matrix with image pixels notitle\n";
  run_gnuplot(script.str(), path);
}
template <Real T>
void heat_map(const Jacobian<T>& J, const std::string& path, const std::string& title, std::int64_t block) {
  const Shape &out = J.output_shape(), &in = J.input_shape();
  const std::int64_t blocks = J.batched() ? out[0] : 1;
  if (out.count() == 0 || in.count() == 0) {
    throw ShapeError("heat_map: the Jacobian of " + to_string(in) + " -> " + to_string(out) + " is empty");
  }
  if (block < 0 || block >= blocks) {
    throw ValueError("heat_map: block " + std::to_string(block) + " of a Jacobian with " + std::to_string(blocks) +
                     " blocks");
  }
  const Tensor<T> matrices = reshape(J.dense(), {blocks, out.count() / blocks, in.count() / blocks});
  const Shape matrix = matrices.shape().suffix(1);
  heat_map(reshape(slice(matrices, 0, block, block + 1), matrix), path,
           title.empty() ? "Jacobian, " + to_string(J.structure()) : title);
}

template void heat_map(const Tensor<float>&, const std::string&, const std::string&);
template void heat_map(const Tensor<double>&, const std::string&, const std::string&);
template void heat_map(const Jacobian<float>&, const std::string&, const std::string&, std::int64_t);
template void heat_map(const Jacobian<double>&, const std::string&, const std::string&, std::int64_t);

}  // namespace tapegrad::nn
