// CSV files, saved histories and pictures.

#include <doctest/doctest.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

#include "../error_message.hpp"

using namespace tapegrad;
namespace fs = std::filesystem;

namespace {

/// A folder for this test alone.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("tapegrad_nn_files_" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
};

std::string write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
  return path;
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string refusal(const std::string& path) {
  try {
    nn::read_csv(path);
  } catch (const ValueError& error) {
    return error.what();
  }
  return "";
}

bool has_gnuplot() { return std::system("gnuplot --version >/dev/null 2>&1") == 0; }

}  // namespace

TEST_CASE("read_csv reads plain and gzip files") {
  const Folder folder;
  const std::string text = "1, -2.5e3,0\r\n\n 4,5 ,6.125\n";
  const Tensor<> expected{{1, -2500, 0}, {4, 5, 6.125}};
  CHECK(allclose(nn::read_csv(write(folder.file("a.csv"), text)), expected, 0, 0));
  gzFile file = gzopen(folder.file("a.csv.gz").c_str(), "wb");
  gzputs(file, text.c_str());
  gzclose(file);
  CHECK(allclose(nn::read_csv(folder.file("a.csv.gz")), expected, 0, 0));
  CHECK(nn::read_csv(write(folder.file("empty.csv"), "\n")).shape() == Shape{0, 0});
}

TEST_CASE("an archive of no arrays, and names that an archive does not take") {
  const Folder folder;
  const std::string path = folder.file("a.npz");
  nn::write_npz(path, {{"x", ones({2})}});
  nn::write_npz(path, {});
  CHECK(contents(path) == std::string("PK\5\6", 4) + std::string(18, '\0'));  // as np.savez(path) writes it
  CHECK(nn::read_npz(path).names().empty());
  nn::write_npz(path, {}, {.compress = true});
  CHECK(nn::read_npz(path).names().empty());

  const auto refused = [&](const std::string& name) {
    return message_of([&] { nn::write_npz(path, {{"x", ones({2})}, {nn::Name(name), ones({2})}}); });
  };
  for (const char* bad : {"caf\xe9", "\xff", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x9f\xbf",
                          "\xf0\x8f\xbf\xbf", "\x80"}) {
    const std::string message = refused(bad);
    CAPTURE(message);
    CHECK(contains(message, "write_npz at files.cpp:"));
    CHECK(contains(message, "is not UTF-8"));
  }
  CHECK(contains(refused("caf\xe9"), "\"caf\\xe9\" is not UTF-8 from byte 3"));
  CHECK(contains(refused(std::string(70000, 'n')), "has 70000 bytes"));
  CHECK(contains(refused("x"), "two arrays are named \"x\""));
  CHECK(nn::read_npz(path).names().empty());  // unchanged
  for (const char* good :
       {"caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf", "a b/c"}) {
    nn::write_npz(path, {{good, ones({2})}});
    CHECK(nn::read_npz(path).read<double>(good)(1) == 1);
  }
  CHECK(refused(std::string(0xffff - 4, 'n')).empty());
}

TEST_CASE("errors of files name the function that was called") {
  const Folder folder;
  const std::string none = folder.file("none.npz"), bad = write(folder.file("bad.npz"), "a,b\n1,x\n");
  nn::Sequential<double> model({nn::Dense{1}});
  const auto says = [](const char* function, const auto& call) {
    const std::string message = message_of(call);
    CAPTURE(message);
    CHECK(message.starts_with(std::string(function) + " at files.cpp:"));
  };
  for (const std::string& path : {none, bad}) {
    says("read_csv", [&] { nn::read_csv(path); });
    says("read_table", [&] { nn::read_table(path); });
    says("read_npz", [&] { nn::read_npz(path); });
    says("read_npy", [&] { nn::read_npy<double>(path); });
    says("read_idx", [&] { nn::read_idx<double>(path); });
    says("load", [&] { model.load(path); });
    says("load_mnist", [&] { nn::load_mnist<double>(path, 255); });
  }
  nn::write_npz(bad, {{"example", Tensor<float>{1.0F}}});
  says("load", [&] { model.load(bad); });
  says("load_mnist", [&] { nn::load_mnist<double>(bad, 255); });
  says("read_npz", [&] { nn::read_npz(bad).read<double>("x"); });
  model.build({2});
  says("save", [&] { model.save(folder.file("no/folder.npz")); });
  says("write_npz", [&] { nn::write_npz(folder.file("no/folder.npz"), {}); });
}

TEST_CASE("read_csv names the place of what it refuses") {
  const Folder folder;
  const std::string path = folder.file("bad.csv");
  CHECK(refusal(write(path, "1,2\n3,x4\n")).find("bad.csv, line 2, column 2: \"x4\"") != std::string::npos);
  CHECK(refusal(write(path, "1,2\n\n3,4,5\n")).find("line 3: 3 columns, but the first row has 2") != std::string::npos);
  CHECK(refusal(write(path, "1,,2\n")).find("line 1, column 2: \"\"") != std::string::npos);
  CHECK(refusal(write(path, "1,2,\n")).find("column 3") != std::string::npos);
  CHECK(refusal(write(path, "1,nan\n")).find("column 2") != std::string::npos);
  CHECK(refusal(write(path, "1,1e999\n")).find("column 2") != std::string::npos);
  CHECK_THROWS_AS(nn::read_csv(folder.file("missing.csv")), Error);
  gzFile file = gzopen(folder.file("cut.csv.gz").c_str(), "wb");
  for (int i = 0; i < 1000; ++i) gzprintf(file, "%d,%d\n", i, i * 7919 % 1000);
  gzclose(file);
  fs::resize_file(folder.file("cut.csv.gz"), fs::file_size(folder.file("cut.csv.gz")) / 2);
  CHECK_THROWS_AS(nn::read_csv(folder.file("cut.csv.gz")), Error);
}

TEST_CASE("a history is saved as CSV, in full") {
  const Folder folder;
  nn::History h;
  const nn::Logs logs{{"loss", 1.0 / 3}, {"accuracy", 0.5}};
  h.reserve(logs, 2);
  h.append(logs);
  h.append({{"loss", 0.25}, {"accuracy", 1}});
  h.save_csv(folder.file("h.csv"));
  CHECK(contents(folder.file("h.csv")) == "epoch,loss,accuracy\n1,0.33333333333333331,0.5\n2,0.25,1\n");
  CHECK_THROWS_AS(h.save_csv(folder.file("no/such/folder.csv")), Error);
}

TEST_CASE("pictures") {
  const Folder folder;
  const Tensor<> J = jacobian([](const Tensor<>& z) { return softmax(z); })(Tensor<>{1, 2, 3}).dense();
  CHECK_THROWS_AS(nn::heat_map(J, folder.file("a.pdf")), ValueError);
  CHECK_THROWS_AS(nn::heat_map(Tensor<>{1, 2}, folder.file("a.svg")), ShapeError);
  CHECK_THROWS_AS(nn::plot_curves({}, folder.file("a.svg")), ValueError);
  CHECK_THROWS_AS(nn::plot_curves({{"a", {1}}}, folder.file("a\nb.svg")), ValueError);
  if (!has_gnuplot()) {
    CHECK_THROWS_AS(nn::heat_map(J, folder.file("a.svg")), Error);
    return;
  }
  nn::heat_map(J, folder.file("J.svg"), "it's df/dz_1 `touch x`");
  CHECK(contents(folder.file("J.svg")).find("</svg>") != std::string::npos);
  const auto blocks = batch_jacobian([](const Tensor<>& z) { return softmax(z); })(Tensor<>({{1, 2, 3}, {3, 2, 1}}));
  nn::heat_map(blocks, folder.file("block.svg"), "", 1);
  CHECK(contents(folder.file("block.svg")).find("diagonal plus low rank") != std::string::npos);
  CHECK_THROWS_AS(nn::heat_map(blocks, folder.file("block.svg"), "", 2), ValueError);
  nn::plot_curves({{"a_b's", {3, std::nan(""), 1}}, {"one", {2}}}, folder.file("curves.svg"), "title", "epoch");
  CHECK(contents(folder.file("curves.svg")).find("a_b's") != std::string::npos);
  nn::plot_curves({{"a", {3, 2, 1}}}, folder.file("curves.png"));
  CHECK(contents(folder.file("curves.png")).substr(1, 3) == "PNG");
  CHECK_THROWS_AS(nn::heat_map(J, folder.file("no/such/folder.svg")), Error);
}

TEST_CASE("the name of a picture is a name, whatever is in it") {
  if (!has_gnuplot()) return;
  const Folder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path);
  for (const std::string name : {"|touch pwned;.svg", "a'; system('touch pwned'); '.svg", "$(touch pwned).svg",
                                 "`touch pwned`.svg", "~.svg", "a\\'b\".svg"}) {
    CAPTURE(name);
    nn::plot_curves({{"a", {1, 2}}}, name);
    CHECK(fs::exists(name));
  }
  CHECK_FALSE(fs::exists("pwned"));
  fs::current_path(before);
}

TEST_CASE("read_table: headers, quotes, separators, line ends") {
  const Folder folder;
  const std::string path = folder.file("a.csv");
  const Tensor<> expected{{1, 2}, {3, -4.5}};
  auto check = [&](const std::string& text, const std::vector<std::string>& columns,
                   const nn::CsvOptions& options = {}) {
    CAPTURE(text);
    const nn::Table<double> table = nn::read_table(write(path, text), options);
    CHECK(allclose(table.values, expected, 0, 0));
    CHECK(table.columns == columns);
  };
  check("1,2\n3,-4.5\n", {});
  check("1,2\r\n3,-4.5", {});
  check(
      "\xef\xbb\xbf"
      "1,2\n3,-4.5",
      {});
  check("\n1,2\n\n \t\n3,-4.5\n\n", {});
  check("a,b\n1,2\n3,-4.5\n", {"a", "b"});
  check(
      "\xef\xbb\xbf"
      "a,b\r\n1,2\r\n3,-4.5\r\n",
      {"a", "b"});
  check("\"a,\"\"b\"\"\nc\", d \n\"1\",+2\n \"3\" ,-4.5\n", {"a,\"b\"\nc", "d"});
  check(",b\n1,2\n3,-4.5\n", {"", "b"});
  check("7,8\n1,2\n3,-4.5\n", {"7", "8"}, {.header = nn::CsvHeader::yes});
  check("1;2\n3;-4.5\n", {}, {.separator = ';'});
  check("a\tb\n1\t 2\n3\t-4.5\n", {"a", "b"}, {.separator = '\t'});
  check("1,2\n,-4.5\n", {}, {.missing = 3});
  CHECK(nn::read_table(write(path, "a,b\n")).values.shape() == Shape{0, 2});
  CHECK(nn::read_csv(write(path, "a\n1\n")).shape() == Shape{1, 1});
  const Tensor<> edges = nn::read_csv(write(path, "9999999,99999999,16777217,0.1,1e-310,-0,00000001\n"));
  CHECK(allclose(edges, Tensor<>{{9999999, 99999999, 16777217, 0.1, 1e-310, 0, 1}}, 0, 0));
  CHECK(std::signbit(edges(0, 5)));
  CHECK(nn::read_csv<float>(write(path, "0.1,16777217,1e-40\n"))(0, 0) == 0.1F);

  CHECK(refusal(write(path, "a,1\n")).find("line 1, column 2: the number \"1\" among names") != std::string::npos);
  CHECK(refusal(write(path, "a,b\n1,2,3\n")).find("line 2: 3 columns, but the first row has 2") != std::string::npos);
  CHECK(refusal(write(path, "a,b\n1,\n")).find("line 2, column 2") != std::string::npos);
  CHECK(refusal(write(path, "\"a\nb\",c\n1,x\n")).find("line 3, column 2") != std::string::npos);
  CHECK(refusal(write(path, "1,2\n3,\"4\n")).find("line 2: a quote that begins here") != std::string::npos);
  CHECK(refusal(write(path, "1,2\n3,\"4\"5\n")).find("line 2: a quote that begins here") != std::string::npos);
  CHECK(refusal(write(path, "1,++2\n")).find("column 2") != std::string::npos);
  CHECK(refusal(write(path, "1,+-2\n")).find("column 2") != std::string::npos);
  CHECK(refusal(write(path, "nan,1\n")).find("column 1") != std::string::npos);
  CHECK_THROWS_AS(nn::read_csv(path, {.header = nn::CsvHeader::no}), ValueError);
  for (char separator : {'1', '"', '\n', '-', '.', 'e', '\0'}) {
    CHECK_THROWS_AS(nn::read_csv(path, {.separator = separator}), ValueError);
  }
  CHECK_THROWS_AS(nn::read_csv<float>(write(path, "1e39\n")), ValueError);
}

TEST_CASE("read_table: a file longer than what is read at a time") {
  const Folder folder;
  std::string text = "label,\"a\nb\"\n";
  for (int i = 0; i < 100000; ++i) text += std::to_string(i % 10) + ",\"" + std::to_string(i) + ".5\"\n";
  const auto [X, y] = nn::split_labels(nn::read_csv(write(folder.file("a.csv"), text)), nn::LabelColumn::first);
  CHECK(X.shape() == Shape{100000, 1});
  CHECK(allclose(X, reshape(arange<double>(100000), {100000, 1}) + 0.5, 0, 0));
  CHECK(y(99999) == 9);
  text += std::string(70000, '1') + ",2\n";
  CHECK_THROWS_AS(nn::read_csv(write(folder.file("a.csv"), text)), Error);
}

TEST_CASE_TEMPLATE("read_csv: numbers too small for the type are read as the nearest, too large ones refused", T, float,
                   double) {
  const Folder folder;
  const std::string path = folder.file("a.csv");
  using Limits = std::numeric_limits<T>;
  write(path, "1e-50,-1e-400,0." + std::string(500, '0') + "1,1e-40,-1e-310\n");
  const Tensor<T> x = nn::read_csv<T>(path);
  CHECK(allclose(x, Tensor<T>({{T(1e-50), T(-0.0), T(0.0), T(1e-40), T(-1e-310)}}), 0, 0));
  CHECK(std::signbit(x(0, 1)));
  write(path, "0," + std::to_string(Limits::max()) + "\n");
  CHECK(nn::read_csv<T>(path)(0, 1) == Limits::max());
  for (const char* large : {"1e400", "-1e400", "1e-", "1e-400x"}) {
    CAPTURE(large);
    write(path, std::string("0,") + large + "\n");
    CHECK_THROWS_AS(nn::read_csv<T>(path), ValueError);
  }
  write(path, "0,1" + std::string(500, '0') + "e-1\n");
  CHECK_THROWS_AS(nn::read_csv<T>(path), ValueError);
}

TEST_CASE("read_csv: blanks inside the quotes of a number are as blanks round it") {
  const Folder folder;
  const nn::Table<double> table = nn::read_table(write(folder.file("a.csv"), "\" 1\",2\n"));
  CHECK(table.columns.empty());
  CHECK(allclose(table.values, Tensor<>{{1, 2}}, 0, 0));
}

TEST_CASE("split_labels") {
  const Tensor<> table{{1, 2, 3}, {4, 5, 6}};
  const auto last = nn::split_labels(table);
  CHECK(allclose(last.X, Tensor<>{{1, 2}, {4, 5}}, 0, 0));
  CHECK(last.y(1) == 6);
  const auto first = nn::split_labels(table, nn::LabelColumn::first);
  CHECK(allclose(first.X, Tensor<>{{2, 3}, {5, 6}}, 0, 0));
  CHECK(first.y(1) == 4);
  CHECK_THROWS_AS(nn::split_labels(table / 2), ValueError);
  CHECK_THROWS_AS(nn::split_labels(reshape(table, {6, 1})), ShapeError);
  const double inf = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(nn::split_labels(Tensor<>({{1.0, inf}, {2.0, 1.0}})), ValueError);
}
