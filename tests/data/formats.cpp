// Data: NPY, NPZ and IDX files, parts and batches. Text files are in files.cpp, damaged ones in
// hostile_files.cpp.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

#include "../error_message.hpp"

namespace {

using namespace tapegrad;
namespace fs = std::filesystem;

const std::string reference = TAPEGRAD_REFERENCE_DIR "/";

/// A folder for this test alone.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("tapegrad_nn_data_" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
};

std::string write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

std::string write_gzip(const std::string& path, const std::string& bytes) {
  const gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  return path;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The message of the error that f() throws.
template <class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A .npy file as NumPy writes it.
std::string npy(const std::string& type, const std::string& shape, const std::string& elements, bool fortran = false,
                char version = 1) {
  std::string header =
      "{'descr': '" + type + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }";
  const std::size_t start = version == 1 ? 10 : 12;
  header.append(63 - (start + header.size()) % 64, ' ');
  header += '\n';
  std::string length{static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  if (version > 1) length += std::string(2, '\0');
  return std::string("\x93NUMPY") + version + '\0' + length + header + elements;
}

template <class V>
std::string bytes_of(const std::vector<V>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(V)};
}
template <class V>
std::string reversed_bytes_of(std::vector<V> values) {
  for (V& value : values) {
    auto* bytes = reinterpret_cast<unsigned char*>(&value);
    std::reverse(bytes, bytes + sizeof(V));
  }
  return bytes_of(values);
}

template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

template <Real T>
Tensor<T> awkward() {
  using Limits = std::numeric_limits<T>;
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const T nan = std::bit_cast<T>(static_cast<Bits>(std::bit_cast<Bits>(Limits::quiet_NaN()) | 0x1234));
  return {T(0.1), T(-0.0), Limits::infinity(), -Limits::infinity(), nan, -nan, Limits::denorm_min(), Limits::max()};
}

}  // namespace

TEST_SUITE("data formats") {
  TEST_CASE("npy: what is written is read, to the bit") {
    const Folder folder;
    const std::string path = folder.file("a.npy");
    auto round_trip = [&]<class T>(const Tensor<T>& x) {
      nn::write_npy(path, x);
      return same_bits(nn::read_npy<T>(path), x);
    };
    CHECK(round_trip(awkward<double>()));
    CHECK(round_trip(awkward<float>()));
    CHECK(round_trip(reshape(awkward<double>(), {2, 1, 4})));
    CHECK(round_trip(Tensor<std::int64_t>{std::numeric_limits<std::int64_t>::min(), 0, 7}));
    CHECK(round_trip(Tensor<bool>{true, false, true}));
    CHECK(round_trip(Tensor<>(1.5)));
    CHECK(round_trip(zeros<double>({3, 0, 2})));
    CHECK(round_trip(ones<float>({1, 2, 1, 2, 1, 2, 1, 2})));
    CHECK(round_trip(random::Generator(1).normal<double>({301, 71})));
    nn::write_npy(path, Tensor<float>({{1, 2, 3}, {4, 5, 6}}));
    CHECK(contents(path) == npy("<f4", "(2, 3)", bytes_of<float>({1, 2, 3, 4, 5, 6})));
    nn::write_npy(path, Tensor<std::int64_t>{3});
    CHECK(contents(path) == npy("<i8", "(1,)", bytes_of<std::int64_t>({3})));
    nn::write_npy(path, Tensor<bool>(true));
    CHECK(contents(path) == npy("|b1", "()", "\x01"));
  }

  TEST_CASE("npy: element types, byte orders, versions and orders of axes that NumPy writes") {
    const Folder folder;
    auto file = [&](const std::string& bytes) { return write(folder.file("a.npy"), bytes); };
    auto check_all = [&]<class V>(const std::string& kind, const std::vector<V>& values, const auto& expected) {
      using T = typename std::decay_t<decltype(expected)>::value_type;
      CAPTURE(kind);
      const std::string little = (sizeof(V) == 1 ? "|" : "<") + kind;
      CHECK(same_bits(nn::read_npy<T>(file(npy(little, "(3,)", bytes_of(values)))), expected));
      CHECK(same_bits(nn::read_npy<T>(file(npy(">" + kind, "(3,)", reversed_bytes_of(values)))), expected));
      for (char version : {'\1', '\2', '\3'}) {
        CHECK(same_bits(nn::read_npy<T>(file(npy(little, "(3,)", bytes_of(values), false, version))), expected));
      }
    };
    using I = Tensor<std::int64_t>;
    using B = Tensor<bool>;
    check_all("u1", std::vector<std::uint8_t>{0, 1, 255}, I{0, 1, 255});
    check_all("u1", std::vector<std::uint8_t>{0, 1, 255}, Tensor<float>{0, 1, 255});
    check_all("i1", std::vector<std::int8_t>{-128, 1, 127}, I{-128, 1, 127});
    check_all("u2", std::vector<std::uint16_t>{0, 1, 65535}, Tensor<float>{0, 1, 65535});
    check_all("i2", std::vector<std::int16_t>{-32768, 1, 3}, I{-32768, 1, 3});
    check_all("u4", std::vector<std::uint32_t>{0, 1, 4294967295U}, Tensor<>{0, 1, 4294967295.0});
    check_all("i4", std::vector<std::int32_t>{-2147483647, 1, 2}, Tensor<>{-2147483647, 1, 2});
    check_all("i8", std::vector<std::int64_t>{-5, 1LL << 62, 2}, I{-5, 1LL << 62, 2});
    check_all("f4", std::vector<float>{0.1F, 1, -2}, Tensor<float>{0.1F, 1, -2});
    check_all("f4", std::vector<float>{0.1F, 1, -2}, Tensor<>{double{0.1F}, 1, -2});
    check_all("f8", std::vector<double>{0.1, 1, -2}, Tensor<>{0.1, 1, -2});
    check_all("b1", std::vector<std::uint8_t>{0, 1, 2}, B{false, true, true});
    check_all("b1", std::vector<std::uint8_t>{0, 1, 2}, I{0, 1, 1});

    const I rows({2, 3}, std::vector<std::int64_t>{1, 2, 3, 4, 5, 6});
    CHECK(same_bits(
        nn::read_npy<std::int64_t>(file(npy("<i8", "(2, 3)", bytes_of<std::int64_t>({1, 4, 2, 5, 3, 6}), true))),
        rows));
    const Tensor<> cube = nn::read_npy<double>(
        file(npy("<f8", "(2, 3, 2)", bytes_of<double>({0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11}), true)));
    CHECK(same_bits(cube, reshape(arange<double>(12), {2, 3, 2})));
    CHECK(nn::read_npy<double>(file(npy("<f8", "( 2L ,)", std::string(16, '\0')))).shape() == Shape{2});
  }

  TEST_CASE("npy: what would lose something or is none of ours is refused with a sentence") {
    const Folder folder;
    auto file = [&](const std::string& bytes) { return write(folder.file("a.npy"), bytes); };
    auto f8 = [&] { nn::read_npy<float>(file(npy("<f8", "(1,)", std::string(8, '\0')))); };
    CHECK(has(refusal(f8), "elements <f8 can lose digits in a Tensor<float>; read a Tensor<double> and convert"));
    CHECK(has(refusal(f8), "read_npy at formats.cpp:"));
    auto i8 = [&] { nn::read_npy<double>(file(npy("<i8", "(1,)", std::string(8, '\0')))); };
    CHECK(has(refusal(i8), "read a Tensor<std::int64_t>"));
    CHECK_THROWS_AS(nn::read_npy<std::int64_t>(file(npy("<f4", "(1,)", std::string(4, '\0')))), ValueError);
    CHECK_THROWS_AS(nn::read_npy<bool>(file(npy("|u1", "(1,)", "\x01"))), ValueError);
    CHECK_THROWS_AS(nn::read_npy<float>(file(npy("<i4", "(1,)", std::string(4, '\0')))), ValueError);
    for (const std::string type : {"|O", "<U5", "<c16", "<M8[ns]", "<f2", "<u8", "<f16", "", "f", "<"}) {
      CAPTURE(type);
      CHECK_THROWS_AS(nn::read_npy<double>(file(npy(type, "(1,)", std::string(16, '\0')))), ValueError);
    }
  }

  TEST_CASE("npz: what is written is read, to the bit, stored and deflated") {
    const Folder folder;
    const Tensor<> W = random::Generator(3).normal<double>({70, 30});
    const Tensor<bool> mask{true, false};
    for (bool compress : {false, true}) {
      const std::string path = folder.file("m.npz"), again = folder.file("again.npz");
      const nn::Named<nn::AnyTensor> arrays{{"W", W},
                                            {"0/gamma", awkward<float>()},
                                            {"labels", Tensor<std::int64_t>{3, 1}},
                                            {"mask", mask},
                                            {"none", zeros<double>({0})}};
      nn::write_npz(path, arrays, {.compress = compress});
      nn::write_npz(again, arrays, {.compress = compress});
      CHECK(contents(path) == contents(again));
      const nn::Npz file = nn::read_npz(path);
      CHECK(file.names() == std::vector<std::string>{"W", "0/gamma", "labels", "mask", "none"});
      static_assert(!std::is_reference_v<decltype(nn::read_npz("").names())>);
      CHECK(same_bits(file.read<double>("W"), W));
      CHECK(same_bits(file.read<float>("0/gamma"), awkward<float>()));
      CHECK(same_bits(file.read<std::int64_t>("labels"), Tensor<std::int64_t>{3, 1}));
      CHECK(same_bits(file.read<bool>("mask"), mask));
      CHECK(file.read<double>("none").shape() == Shape{0});
      CHECK(file.contains("W"));
      CHECK_FALSE(file.contains("V"));
      CHECK(has(refusal([&] { file.read<double>("V"); }), "m.npz: \"V\""));
      CHECK(has(refusal([&] { file.read<double>("V"); }), "known: W, 0/gamma, labels, mask, none"));
    }
    CHECK_THROWS_AS(nn::write_npz(folder.file("m.npz"), {{"a", mask}, {"a", mask}}), ValueError);
    CHECK_THROWS_AS(nn::write_npz(folder.file("m.npz"), {{"", mask}}), ValueError);
    CHECK_THROWS_AS(nn::write_npz(folder.file("m.npz"), {{nn::Name("a\0b", 3), mask}}), ValueError);
    CHECK(nn::read_npz(folder.file("m.npz")).contains("W"));  // unchanged
    CHECK(std::distance(fs::directory_iterator(folder.path), {}) == 2);
  }

  TEST_CASE("idx: plain and gzip, every element type") {
    const Folder folder;
    using I = Tensor<std::int64_t>;
    auto idx = [](char type, const std::vector<int>& sizes, const std::string& elements) {
      std::string bytes{'\0', '\0', type, static_cast<char>(sizes.size())};
      for (int size : sizes) bytes += reversed_bytes_of<std::int32_t>({size});
      return bytes + elements;
    };
    auto file = [&](const std::string& bytes) { return write(folder.file("a.idx"), bytes); };
    const I expected({3, 1}, std::vector<std::int64_t>{1, 2, 100});
    const std::string bytes = idx(8, {3, 1}, "\x01\x02\x64");
    CHECK(same_bits(nn::read_idx<std::int64_t>(file(bytes)), expected));
    CHECK(same_bits(nn::read_idx<std::int64_t>(write_gzip(folder.file("a.idx.gz"), bytes)), expected));
    CHECK(same_bits(nn::read_idx<std::int64_t>(file(idx(9, {3, 1}, "\x01\x02\x64"))), expected));
    const std::string shorts = reversed_bytes_of<std::int16_t>({1, 2, 100});
    CHECK(same_bits(nn::read_idx<std::int64_t>(file(idx(11, {3, 1}, shorts))), expected));
    const std::string ints = reversed_bytes_of<std::int32_t>({1, 2, 100});
    CHECK(same_bits(nn::read_idx<std::int64_t>(file(idx(12, {3, 1}, ints))), expected));
    const std::string floats = reversed_bytes_of<float>({0.1F, 2}), doubles = reversed_bytes_of<double>({0.1, 2});
    CHECK(same_bits(nn::read_idx<float>(file(idx(13, {2}, floats))), Tensor<float>{0.1F, 2}));
    CHECK(same_bits(nn::read_idx<double>(file(idx(14, {2}, doubles))), Tensor<>{0.1, 2}));
    CHECK_THROWS_AS(nn::read_idx<float>(file(idx(14, {2}, doubles))), ValueError);
    CHECK(nn::read_idx<double>(file(idx(8, {}, "\x07"))).item() == 7);
    CHECK(nn::read_idx<double>(file(idx(8, {0, 28}, ""))).shape() == Shape{0, 28});
  }

  TEST_CASE("load_mnist: four IDX files, or mnist.npz") {
    const Folder folder;
    const std::string missing = refusal([&] { nn::load_mnist<float>(folder.path.string()); });
    CHECK(has(missing, "load_mnist at formats.cpp:"));
    CHECK(has(missing, "mnist.npz"));
    CHECK(has(missing, "train-images-idx3-ubyte[.gz]"));
    auto idx = [](const std::string& start, const std::string& elements) {
      return std::string("\0\0\x08", 3) + start + elements;
    };
    const std::string three = std::string("\0\0\0\x03", 4), two = std::string("\0\0\0\x02", 4);
    write(folder.file("train-images-idx3-ubyte"), idx("\x03" + three + two + two, "abcdefghijkl"));
    write(folder.file("train-labels-idx1-ubyte"), idx("\x01" + three, "\x01\x02\x03"));
    write_gzip(folder.file("t10k-images-idx3-ubyte.gz"), idx("\x03" + two + two + two, "\xff\x33zzzzzz"));
    write_gzip(folder.file("t10k-labels-idx1-ubyte.gz"), idx("\x01" + two, "\x04\x05"));
    const auto [train, test] = nn::load_mnist<double>(folder.path.string(), 255);
    CHECK(train.X.shape() == Shape{3, 2, 2});
    CHECK(train.X(0, 0, 0) == 'a' / 255.0);
    CHECK(train.y(2) == 3);
    CHECK(test.X(0, 0, 0) == 1);
    CHECK(test.X(0, 0, 1) == 0.2);
    CHECK(test.y(1) == 5);

    write(folder.file("train-labels-idx1-ubyte"), idx("\x01" + two, "\x01\x02"));
    CHECK_THROWS_AS(nn::load_mnist<float>(folder.path.string()), ShapeError);
    fs::remove(folder.file("train-labels-idx1-ubyte"));
    CHECK(has(refusal([&] { nn::load_mnist<float>(folder.path.string()); }), "train-labels-idx1-ubyte[.gz]"));

    nn::write_npz(folder.file("mnist.npz"),
                  {{"x_test", test.X}, {"x_train", train.X}, {"y_test", test.y}, {"y_train", train.y}},
                  {.compress = true});
    CHECK(same_bits(nn::load_mnist<double>(folder.path.string()).train.X, train.X));
    CHECK(same_bits(nn::load_mnist<double>(folder.file("mnist.npz")).test.y, test.y));
  }

  TEST_CASE("a part of the rows is that of the decimal that was written") {
    const auto tested = [](std::int64_t rows, double size) {
      const Tensor<> X = zeros({rows, 1});
      return nn::train_test_split(X, X, {.test_size = size, .shuffle = false}).X_test.shape()[0];
    };
    CHECK(tested(100, 0.07) == 7);  // 0.07 * 100 is 7.000000000000001
    CHECK(tested(5, 0.8) == 4);
    CHECK(tested(3, 1.0 / 3) == 1);
    CHECK(tested(3, 0.33334) == 2);
    CHECK(tested(7, 1e-300) == 1);
    CHECK(tested(10, static_cast<double>(0.1F)) == 2);  // 0.10000000149011612
    for (std::int64_t rows = 2; rows <= 1000; rows += rows < 120 ? 1 : 97) {
      for (std::int64_t thousandths = 1; thousandths < 1000; thousandths += rows < 120 ? 1 : 7) {
        const std::int64_t expected = (rows * thousandths + 999) / 1000;
        if (expected == rows) continue;
        const double written = std::stod("0." + std::to_string(1000 + thousandths).substr(1));
        if (tested(rows, written) != expected) FAIL_CHECK(rows << " rows, " << written);
      }
    }
    CHECK(nn::detail::part_of(std::numeric_limits<std::int64_t>::max(), 0.75).rows ==
          std::numeric_limits<std::int64_t>::max() / 4 * 3 + 2);
    CHECK(nn::detail::part_of(1'000'000'000'000'000'000, 0.123456789012345678).rows == 123456789012345680);
    CHECK_FALSE(nn::detail::part_of(1'000'000'000'000'000'000, 0.123456789012345678).rest);
    for (const double size : {0.999, 1e-320, 0.07}) {
      const std::string message = message_of([&] {
        nn::train_test_split(zeros({1, 1}), zeros({1, 1}), {.test_size = size});
      });
      CHECK(contains(message, "test_size is " + nn::detail::shortest(size) + " of 1 rows"));
    }
  }

  TEST_CASE("train_test_split keeps every row once, and X beside y") {
    const Tensor<> X = reshape(arange<double>(20), {10, 2});
    const Tensor<std::int64_t> y = arange<std::int64_t>(10);
    const auto s = nn::train_test_split(X, y, {.test_size = 0.25, .seed = 3});
    CHECK(s.X_train.shape() == Shape{7, 2});
    CHECK(s.y_test.shape() == Shape{3});
    std::vector<int> seen(10);
    auto look = [&](const Tensor<>& x, const Tensor<std::int64_t>& labels) {
      for (std::int64_t i = 0; i < labels.size(); ++i) {
        ++seen[static_cast<std::size_t>(labels(i))];
        CHECK(x(i, 0) == 2 * static_cast<double>(labels(i)));
      }
    };
    look(s.X_train, s.y_train);
    look(s.X_test, s.y_test);
    CHECK(seen == std::vector<int>(10, 1));
    const auto again = nn::train_test_split(X, y, {.test_size = 0.25, .seed = 3});
    CHECK(same_bits(again.y_train, s.y_train));
    CHECK_FALSE(same_bits(nn::train_test_split(X, y, {.test_size = 0.25, .seed = 4}).y_train, s.y_train));
    const auto last = nn::train_test_split(X, y, {.test_size = 2, .shuffle = false});
    CHECK(same_bits(last.y_test, Tensor<std::int64_t>{8, 9}));
    for (double size : {0.0, -1.0, 10.0, 2.5, 0.95, std::numeric_limits<double>::quiet_NaN()}) {
      CAPTURE(size);
      CHECK_THROWS_AS(nn::train_test_split(X, y, {.test_size = size}), ValueError);
    }
    CHECK_THROWS_AS(nn::train_test_split(X, arange<std::int64_t>(9)), ShapeError);
    CHECK_THROWS_AS(nn::train_test_split(Tensor<>(1.0), y), ShapeError);
  }

  TEST_CASE_TEMPLATE("Standardizer", T, float, double) {
    const Tensor<T> X({{1, T(0.1), 5}, {3, T(0.1), 5}, {5, T(0.1), 11}});
    const nn::Standardizer standardize(X);
    const Tensor<T> Z = standardize(X);
    const T eps = std::numeric_limits<T>::epsilon();
    CHECK(max(abs(mean(Z, 0))).item() < 4 * eps);
    CHECK(allclose(mean(square(Z), 0), Tensor<T>{1, 0, 1}, 0, 4 * eps));
    CHECK(standardize.deviation()(1) == 1);
    CHECK(allclose(standardize(Tensor<T>({{3, 1, 7}})), Tensor<T>({{0, T(0.9), 0}}), 0, 4 * eps));
    CHECK_THROWS_AS(standardize(Tensor<T>({{1, 2}, {3, 4}})), ShapeError);
    CHECK_THROWS_AS(standardize(Tensor<T>{1, 2, 3}), ShapeError);
    CHECK_THROWS_AS(nn::Standardizer(zeros<T>({0, 3})), ShapeError);
    const Tensor<T> constant = full<T>({1000, 2}, T(0.1));
    CHECK(max(abs(nn::Standardizer(constant)(constant))).item() < eps);
    // Deviations whose squares are no numbers of the type: +-1 all the same.
    using Limits = std::numeric_limits<T>;
    for (const T large :
         {Limits::min(), std::sqrt(Limits::min()) / 8, std::sqrt(Limits::max()) * 8, Limits::max() / 4}) {
      CAPTURE(large);
      const Tensor<T> far = reshape(Tensor<T>{0, large}, {2, 1});
      CHECK(allclose(nn::Standardizer(far)(far), reshape(Tensor<T>{-1, 1}, {2, 1}), 0, 4 * eps));
    }
  }

  TEST_CASE("batches: every row once, the same for a seed and an epoch") {
    const Tensor<> X = arange<double>(10);
    const Tensor<std::int64_t> y = arange<std::int64_t>(10);
    auto rows = [&](const nn::BatchOptions& options) {
      std::vector<std::int64_t> all;
      for (const auto& [x, labels] : nn::batches(X, y, 4, options)) {
        CHECK(labels.size() == (all.size() < 8 ? 4 : 2));
        for (std::int64_t i = 0; i < labels.size(); ++i) {
          CHECK(x(i) == static_cast<double>(labels(i)));
          all.push_back(labels(i));
        }
      }
      return all;
    };
    const auto plain = rows({.shuffle = false}), first = rows({.seed = 1}), second = rows({.seed = 1, .epoch = 1});
    CHECK(plain == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    CHECK(std::is_permutation(first.begin(), first.end(), plain.begin()));
    CHECK(first == rows({.seed = 1}));
    CHECK(first != second);
    CHECK(first != rows({.seed = 2}));
    CHECK(nn::batches(X, y, 4).size() == 3);
    CHECK(nn::batches(X, y, 5).size() == 2);
    CHECK(nn::batches(zeros<double>({0, 2}), zeros<std::int64_t>({0}), 5).size() == 0);
    CHECK_THROWS_AS(nn::batches(X, y, 0), ValueError);
    CHECK_THROWS_AS(nn::batches(X, arange<std::int64_t>(9), 2), ShapeError);
  }

  TEST_CASE("the parts of a split, the order of an epoch and initial values are draws of their own") {
    const Tensor<std::int64_t> y = arange<std::int64_t>(40);
    const auto parts = nn::train_test_split(y, y, {.test_size = 8, .seed = 6});
    const Tensor<std::int64_t> split = concatenate({parts.y_train, parts.y_test}, 0);
    const auto batches = nn::batches(y, y, 40, {.seed = 6});
    const Tensor<std::int64_t> order = (*batches.begin()).y, drawn = random::Generator(6).permutation(40);
    CHECK_FALSE(same_bits(split, order));
    CHECK_FALSE(same_bits(split, drawn));
    CHECK_FALSE(same_bits(order, drawn));
    // fit uses the same order: a hand-written loop sees the rows as fit does.
    const Tensor<> x = reshape(astype<double>(y), {40, 1});
    nn::Sequential<double> whole({nn::Dense{1}}), own({nn::Dense{1}});
    for (auto* model : {&whole, &own}) model->compile({.optimizer = nn::SGD{.learning_rate = 1e-4}, .loss = "mse"});
    whole.fit(x, x, {.epochs = 1, .batch_size = 4, .seed = 6});
    for (const auto& [X, Y] : nn::batches(x, x, 4, {.seed = 6})) own.train_on_batch(X, Y);
    CHECK(same_bits(whole.parameters()[0], own.parameters()[0]));
  }

  TEST_CASE("npz: names that a file gives are on one line in messages") {
    const Folder folder;
    const std::string path = folder.file("a.npz");
    nn::write_npz(path, {{"two\nlines", Tensor<>{1, 2}}});
    const nn::Npz archive = nn::read_npz(path);
    CHECK(has(refusal([&] { archive.read<double>("other"); }), "two?lines"));
    CHECK(has(refusal([&] { archive.read<float>("two\nlines"); }), "two?lines"));
    CHECK(has(refusal([&] { nn::write_npz(path, {{nn::Name("a\0b", 3), Tensor<>{1, 2}}}); }), "a?b"));
  }

  TEST_CASE_TEMPLATE("uniform numbers stay below the upper end, rounding included", T, float, double) {
    const T one = 1, step = std::numeric_limits<T>::epsilon();
    random::Generator rng(1);
    CHECK(max(rng.uniform<T>({100}, one, one + 2 * step)).item() == one + step);
    CHECK(min(rng.uniform<T>({100}, -one, -one - 2 * step)).item() == -one - step);
    CHECK(min(rng.uniform<T>({100}, one, one)).item() == one);
  }

  TEST_CASE("npz: archives written by NumPy") {
    const nn::Npz train = nn::read_npz(reference + "seed2_train.npz");
    CHECK(train.read<double>("W1_0").shape() == Shape{784, 128});
    CHECK(train.read<double>("W1_0")(0, 0) == 0.01 * 0.4967141530112327);
    const nn::Npz images = nn::read_npz(reference + "mnist1000.npz");
    const Tensor<float> X = images.read<float>("X_u8");
    CHECK(X.shape() == Shape{1000, 784});
    CHECK(max(X).item() == 255);
  }
}
