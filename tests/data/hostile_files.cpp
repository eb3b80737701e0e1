// Damaged, lying and hostile data files: each one gives an Error that names it, or its contents. Nothing that a file
// merely claims costs memory, time or another file.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

namespace {

using namespace tapegrad;
namespace fs = std::filesystem;
using std::string;

/// A folder for this test alone.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("tapegrad_nn_hostile_files_" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  string file(const string& name) const { return (path / name).string(); }
};

string write(const string& path, const string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

string contents(const string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool has(const string& text, const string& part) { return text.find(part) != string::npos; }

string repeated(const string& text, int times) {
  string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

/// Little-endian.
string number(std::uint64_t value, int bytes) {
  string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i);
  return text;
}
string big_endian(std::uint32_t value) {
  const string text = number(value, 4);
  return {text.rbegin(), text.rend()};
}

/// window_bits: 15 + 16 for gzip, -15 for a bare stream.
string deflated(const string& bytes, int window_bits) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}
string gzip(const string& bytes) { return deflated(bytes, 15 + 16); }
/// `times` megabytes of one character, in as many members of about a kilobyte each.
string gzip_bomb(char c, int times) { return repeated(gzip(string(1 << 20, c)), times); }

// ------------------------------------------------------------------------------------------------ archives

struct Member {
  string name, packed;  // as they stand in the file
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
  int method = 0, flags = 0;
  std::optional<std::uint64_t> packed_size = {}, offset = {};
};

std::uint32_t crc_of(const string& bytes) {
  return static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}
Member stored(const string& name, const string& bytes) { return {name, bytes, bytes.size(), crc_of(bytes)}; }
Member packed(const string& name, const string& bytes) {
  return {name, deflated(bytes, -15), bytes.size(), crc_of(bytes), 8};
}

struct Ending {
  std::optional<std::uint64_t> entries = {}, bytes = {}, offset = {};
  string comment = {};
  bool zip64 = false;
};

/// A ZIP archive as APPNOTE 4.3 describes it, whether or not its numbers are true.
string zip(const std::vector<Member>& members, const Ending& ending = {}) {
  string file, directory;
  for (const Member& m : members) {
    const std::uint64_t offset = m.offset.value_or(file.size()), packed_size = m.packed_size.value_or(m.packed.size());
    const bool large = m.size > 0xfffffffe || packed_size > 0xfffffffe;
    auto size = [&](std::uint64_t n) { return number(large ? 0xffffffff : n, 4); };
    const string extra = large ? number(1, 2) + number(16, 2) + number(m.size, 8) + number(packed_size, 8) : "";
    const string common = number(20, 2) + number(static_cast<std::uint64_t>(m.flags), 2) +
                          number(static_cast<std::uint64_t>(m.method), 2) + number(0x210000, 4) + number(m.crc, 4) +
                          size(packed_size) + size(m.size) + number(m.name.size(), 2) + number(extra.size(), 2);
    file += "PK\3\4" + common + m.name + extra + m.packed;
    directory += "PK\1\2" + number(20, 2) + common + string(10, '\0') + number(offset, 4) + m.name + extra;
  }
  const std::uint64_t entries = ending.entries.value_or(members.size()), at = ending.offset.value_or(file.size()),
                      bytes = ending.bytes.value_or(directory.size());
  string end;
  if (ending.zip64) {
    end = "PK\6\6" + number(44, 8) + number(45, 2) + number(45, 2) + string(8, '\0') + number(entries, 8) +
          number(entries, 8) + number(bytes, 8) + number(at, 8);
    end += "PK\6\7" + string(4, '\0') + number(file.size() + directory.size(), 8) + number(1, 4);
  }
  auto field = [&](std::uint64_t n, int size) { return number(ending.zip64 ? ~std::uint64_t{0} : n, size); };
  end += "PK\5\6" + string(4, '\0') + field(entries, 2) + field(entries, 2) + field(bytes, 4) + field(at, 4) +
         number(ending.comment.size(), 2) + ending.comment;
  return file + directory + end;
}

string npy_with_header(const string& header, const string& elements, char version = 1) {
  return string("\x93NUMPY") + version + '\0' + number(header.size(), version == 1 ? 2 : 4) + header + elements;
}
string npy(const string& type, const string& shape, const string& elements) {
  return npy_with_header("{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }\n", elements);
}

// ------------------------------------------------------------------------------------------------- reading

struct Reader {
  string extension;
  std::function<Tensor<>(const string&)> read;
};
const Reader idx{".idx", [](const string& path) { return nn::read_idx<double>(path); }};
const Reader csv{".csv", [](const string& path) { return nn::read_csv(path); }};
const Reader npy_file{".npy", [](const string& path) { return nn::read_npy<double>(path); }};
const Reader npz{".npz", [](const string& path) { return nn::read_npz(path).read<double>("a"); }};

/// Limits the additional memory of this process. The sanitizers need memory of their own.
class MemoryLimit {
 public:
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  explicit MemoryLimit(rlim_t megabytes) {
    release_cached_memory();
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    REQUIRE(pages > 0);
    getrlimit(RLIMIT_AS, &before_);
    rlimit limit = before_;
    limit.rlim_cur = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (megabytes << 20);
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
  }
  ~MemoryLimit() { setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
#else
  explicit MemoryLimit(rlim_t) {}
#endif
};

struct Outcome {
  std::optional<Tensor<>> value;
  string error;
};

/// Checks the promises that hold for every file.
Outcome read(const Reader& reader, const string& path) {
  Outcome outcome;
  try {
    const MemoryLimit limit(64);
    outcome.value = reader.read(path);
  } catch (const Error& error) {
    outcome.error = error.what();
  } catch (const std::exception& error) {
    FAIL_CHECK("not an Error of tapegrad: " << error.what());
  }
  if (!outcome.value) {
    CAPTURE(outcome.error);
    CHECK(has(outcome.error, path));
    CHECK(has(outcome.error, " at hostile_files.cpp:"));
    CHECK_FALSE(has(outcome.error, "memory"));
    CHECK_FALSE(has(outcome.error, "alloc"));
    CHECK(outcome.error.find('\n') == string::npos);
    CHECK(outcome.error.size() < 600);
  }
  return outcome;
}

/// A file that must be refused with a message that has each of `parts`.
void check_refused(const Folder& folder, const Reader& reader, const string& name, const string& bytes,
                   std::initializer_list<const char*> parts) {
  CAPTURE(name);
  const Outcome outcome = read(reader, write(folder.file("refused" + reader.extension), bytes));
  CHECK_FALSE(outcome.value);
  for (const string part : parts) {
    CAPTURE(outcome.error);
    CAPTURE(part);
    CHECK(has(outcome.error, part));
  }
}

std::ptrdiff_t open_files() { return std::distance(fs::directory_iterator("/proc/self/fd"), {}); }

}  // namespace

TEST_SUITE("hostile files") {
  TEST_CASE("files cut off, with bytes changed, put in and left out") {
    const Folder folder;
    const Tensor<> x = round(64 * random::Generator(1).normal<double>({6, 5}));
    string pixels, table = "a,b,\"c\",d,e\r\n";
    for (std::int64_t i = 0; i < x.size(); ++i) {
      pixels += static_cast<char>(i % 7);
      table += std::to_string(x.data()[i]) + (i % 5 == 4 ? "\r\n" : ",");
    }
    const string images = string("\0\0\x08\x03", 4) + big_endian(2) + big_endian(3) + big_endian(5) + pixels;
    nn::write_npy(folder.file("x.npy"), x);
    const string array = contents(folder.file("x.npy"));
    nn::write_npz(folder.file("x.npz"), {{"a", x}, {"b", x}});
    const string archive = contents(folder.file("x.npz"));
    nn::write_npz(folder.file("x.npz"), {{"b", x}, {"a", x}}, {.compress = true});
    const string packed_archive = contents(folder.file("x.npz"));
    const struct {
      string name;
      const Reader& reader;
      string bytes;
      bool has_checksum;
    } kinds[] = {{"idx", idx, images, false},
                 {"idx.gz", idx, gzip(images), true},
                 {"csv", csv, table, false},
                 {"csv.gz", csv, gzip(table), true},
                 {"npy", npy_file, array, false},
                 {"npy.gz", npy_file, gzip(array), true},
                 {"npz", npz, archive, true},
                 {"npz deflated", npz, packed_archive, true},
                 {"numpy's npz", npz, zip({stored("a.npy", array), packed("b.npy", array)}), true}};
    int files = 0, refused = 0;
    random::Generator rng(2026);
    const std::ptrdiff_t open_before = open_files();
    for (const auto& kind : kinds) {
      CAPTURE(kind.name);
      const string path = folder.file("damaged" + kind.reader.extension);
      const Outcome whole = read(kind.reader, write(path, kind.bytes));
      REQUIRE(whole.value);
      auto below = [&](std::size_t n) { return static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(n))); };
      for (int i = 0; i < 80; ++i) {
        CAPTURE(i);
        string bytes = kind.bytes;
        const std::size_t at = below(bytes.size());
        const bool cut = i % 4 == 0;
        if (cut) {
          bytes.resize(at);
        } else if (i % 4 == 1) {
          bytes[at] = static_cast<char>(bytes[at] ^ 1 << below(8));
        } else if (i % 4 == 2) {
          for (std::size_t k = at; k < std::min(at + 4, bytes.size()); ++k) bytes[k] = i % 8 == 2 ? '\xff' : '\0';
        } else if (i % 8 == 3) {
          bytes.erase(at, 1 + below(4));
        } else {
          bytes.insert(at, 1 + below(4), static_cast<char>(below(256)));
        }
        const Outcome outcome = read(kind.reader, write(path, bytes));
        ++files;
        refused += !outcome.value;
        // A cut after a row of text cannot be noticed; any other must be.
        if (cut && kind.name != "csv") CHECK_FALSE(outcome.value);
        if (kind.has_checksum && outcome.value) CHECK(allclose(*outcome.value, *whole.value, 0, 0));
      }
    }
    CHECK(open_files() == open_before);
    CHECK(files >= 700);
    CHECK(refused > 400);
    MESSAGE(files << " damaged files, " << refused << " refused, the others read");
  }

  TEST_CASE("IDX: sizes that the file does not have") {
    const Folder folder;
    auto header = [](std::initializer_list<std::uint32_t> sizes) {
      string bytes{'\0', '\0', '\x08', static_cast<char>(sizes.size())};
      for (std::uint32_t size : sizes) bytes += big_endian(size);
      return bytes;
    };
    constexpr std::uint32_t huge = 0xffffffff;
    auto check = [&](const string& name, const string& bytes, std::initializer_list<const char*> parts) {
      check_refused(folder, idx, name, bytes, parts);
      check_refused(folder, idx, name + ", gzip", gzip(bytes), parts);
    };
    check("empty", "", {"byte 0", "the magic number"});
    check("two bytes", string(2, '\0'), {"the end, where the magic number"});
    check("text", "1,2,3\n4,5,6\n", {"byte 4", "no magic number"});
    check("type 10", string("\0\0\x0a\1", 4) + big_endian(1) + "x", {"no magic number"});
    check("255 axes", string("\0\0\x08\xff", 4) + repeated(big_endian(1), 255), {"no magic number", "8 axes"});
    check("9 axes", string("\0\0\x08\x09", 4) + repeated(big_endian(1), 9) + "x", {"8 axes"});
    check("no sizes", header({}).replace(3, 1, "\2"), {"the size of axis 0"});
    check("one byte missing", header({2, 2}) + "abc", {"byte 12"});
    check("one byte more", header({2, 2}) + "abcde", {"byte 16", "more data, where the end was expected"});
    check("4 GB", header({huge}) + "x", {"byte 8", "shape (4294967295)", "can follow"});
    check("an overflow", header({huge, huge, huge}) + "x", {"shape (4294967295, 4294967295, 4294967295)"});
    check("a product of 0 mod 2^64", header({1U << 31, 1U << 31, 4}) + "x", {"can follow"});
    check_refused(folder, idx, "a bomb behind", gzip(header({3}) + "abc") + gzip_bomb('\0', 1024), {"more data"});
    check("nothing, but much of it", header({huge, huge, huge, 0}), {"can follow"});
    CHECK(read(idx, write(folder.file("none.idx"), header({huge, 0}))).value->size() == 0);
  }

  TEST_CASE("NPY: headers that lie") {
    const Folder folder;
    auto check = [&](const string& name, const string& bytes, std::initializer_list<const char*> parts) {
      check_refused(folder, npy_file, name, bytes, parts);
      // The same array in an archive.
      check_refused(folder, npz, name + ", in an archive", zip({packed("a.npy", bytes)}), {"array a"});
    };
    const string one(8, '\0');
    check("empty", "", {"byte 0", "the start of a .npy array"});
    check("text", "hello, world; this is text\n", {"byte 8", "do not begin a .npy array"});
    check("version 9", npy_with_header("{}", "", 9), {"format 9"});
    check("header beyond the file", string("\x93NUMPY\1\0\xff\xff", 10) + "{",
          {"a header of 65535 bytes", "at most 1 can follow"});
    check("header of 4 GB", string("\x93NUMPY\2\0\xff\xff\xff\xff", 12), {"a header of 4294967295 bytes"});
    check("one element missing", npy("<f8", "(2,)", one), {"shape (2) of <f8", "at most 8 bytes can follow"});
    check("one byte more", npy("<f8", "(1,)", one + "x"), {"more data, where the end was expected"});
    check("overflow", npy("<f8", "(4294967296, 4294967296, 4294967296)", one), {"can follow"});
    check("overflow to 8 bytes", npy("<f8", "(2305843009213693953,)", one), {"can follow"});
    check("a size beyond 64 bits", npy("<f8", "(99999999999999999999,)", one), {"a size of 0 or more"});
    check("a negative size", npy("<f8", "(-1,)", one), {"a size of 0 or more"});
    check("two negative sizes", npy("<f8", "(-1, -1)", one), {"a size of 0 or more"});
    check("a fraction", npy("<f8", "(1.0,)", one), {"')' was expected"});
    check("no tuple", npy("<f8", "1", one), {"'(' was expected"});
    check("9 axes", npy("<f8", "(1, 1, 1, 1, 1, 1, 1, 1, 1)", one), {"8 axes"});
    check("nested", npy("<f8", string(9000, '('), one), {"a size of 0 or more"});
    check("nested records", npy_with_header("{'descr': " + string(9000, '['), one), {"one element type"});
    check("a long header", npy("<f8", string(20000, '('), one), {"at most 10000 can follow"});
    check("a record", npy_with_header("{'descr': [('x', '<f8')], 'fortran_order': False, 'shape': (1,)}", one),
          {"one element type"});
    check("no shape", npy_with_header("{'descr': '<f8', 'fortran_order': False}", one), {"then the end"});
    check("shape twice", npy_with_header("{'shape': (1,), 'shape': (1,)}", one), {"once each"});
    check("code", npy_with_header("{'descr': __import__('os').system('false')}", one), {"was expected"});
    check("an open string", npy_with_header("{'descr': '<f8", one), {"a closing quote"});
    check("more behind the header", npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': ()} 1", one),
          {"then the end"});
    check("zero bytes", npy_with_header(string(100, '\0'), one), {"'{' was expected"});
    check("objects", npy("|O", "(1,)", one), {"elements of type \"|O\" are not read"});
    check("control characters", npy("\x1b[31m\n", "(1,)", one), {"\"?[31m?\""});
    check("strings of 2 GB", npy("<U2147483647", "(1,)", one), {"are not read"});
    check("nothing, but much of it", npy("<f8", "(4611686018427387904, 8, 0)", ""), {"can follow"});
    CHECK(read(npy_file, write(folder.file("a.npy"), npy("<f8", "(1000000000, 0)", ""))).value->size() == 0);
  }

  TEST_CASE("NPZ: archives that lie") {
    const Folder folder;
    auto check = [&](const string& name, const string& bytes, std::initializer_list<const char*> parts) {
      check_refused(folder, npz, name, bytes, parts);
    };
    const string array = npy("<f8", "(1,)", string(8, '\1'));
    auto with = [](Member member, auto change) {
      change(member);
      return zip({member});
    };
    const Member s = stored("a.npy", array), p = packed("a.npy", array);
    REQUIRE(read(npz, write(folder.file("a.npz"), zip({s}))).value);
    REQUIRE(read(npz, write(folder.file("a.npz"), zip({p}))).value);

    check("empty", "", {"no whole ZIP archive"});
    check("text", "label,1x1\n", {"of 10 bytes", "no whole ZIP archive"});
    check("no members", zip({}), {"unknown array in", "\"a\"", "there are none"});
    check("another name", zip({stored("b.npy", array)}), {"known: b"});
    check("no array", zip({stored("a", array)}), {"unknown array"});
    check("twice", zip({s, p}), {"two members \"a.npy\""});
    check("a checksum", with(s, [](Member& m) { m.crc ^= 1; }), {"damaged"});
    check("a deflated checksum", with(p, [](Member& m) { m.crc ^= 1; }), {"damaged"});
    check("encrypted", with(s, [](Member& m) { m.flags = 1; }), {"array a"});
    check("bzip2", with(s, [](Member& m) { m.method = 12; }), {"method 12", "0 (stored) or 8 (deflated)"});
    check("no such method", with(s, [](Member& m) { m.method = 98; }), {"method 98"});
    check("stored, but smaller", with(s, [](Member& m) { m.size += 8; }), {"are announced, more than"});
    check("beyond the file", with(s, [](Member& m) { m.size = 1 << 20, m.packed_size = 1 << 20; }), {"can hold"});
    check("4 GB out of 100 bytes", with(p, [](Member& m) { m.size = 0xfffffffe; }),
          {"4294967294 bytes out of", "can hold"});
    check("100 GB", with(p, [](Member& m) { m.size = 100000000000; }), {"100000000000 bytes out of", "can hold"});
    check("100 GB in 100 GB", with(p, [](Member& m) { m.size = 100000000000, m.packed_size = m.size; }), {"can hold"});
    check("2^64 - 1 bytes", with(p, [](Member& m) { m.size = ~0ULL, m.packed_size = m.size; }), {});
    check("an offset beyond", with(s, [](Member& m) { m.offset = 1 << 20; }), {});
    check("an offset into it", with(s, [](Member& m) { m.offset = 7; }), {});
    check("no deflated data", with(s, [](Member& m) { m.method = 8; }), {"array a"});
    check("a directory elsewhere", zip({s}, {.offset = 3}), {"no whole ZIP archive"});
    check("a directory of 1 byte", zip({s}, {.bytes = 1}), {"no whole ZIP archive"});
    check("a directory of 4 GB", zip({s}, {.bytes = 0xfffffffe}), {"no whole ZIP archive"});
    check("65535 members", zip({s}, {.entries = 65535}), {"no whole ZIP archive"});
    check("2^20 members", zip({s}, {.entries = 1 << 20, .zip64 = true}), {"no whole ZIP archive"});
    check("2^40 members", zip({s}, {.entries = 1ULL << 40, .zip64 = true}), {"no whole ZIP archive"});
    check("2^58 members", zip({s}, {.entries = 1ULL << 58, .zip64 = true}), {"no whole ZIP archive"});
    check("2^64 - 1 members", zip({s}, {.entries = ~0ULL, .zip64 = true}), {"no whole ZIP archive"});
    check("2^63 bytes", zip({s}, {.bytes = 1ULL << 63, .zip64 = true}), {"no whole ZIP archive"});
    check("2^63 on", zip({s}, {.offset = 1ULL << 63, .zip64 = true}), {"no whole ZIP archive"});

    // A megabyte that inflates to a gigabyte: behind a small array, and announced as a small array.
    const string megabyte(1 << 20, '\0');
    z_stream stream{};
    REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) == Z_OK);
    auto block = [&](const string& bytes, int flush) {
      string out(4096, '\0');
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
      stream.avail_in = static_cast<uInt>(bytes.size());
      stream.next_out = reinterpret_cast<Bytef*>(out.data());
      stream.avail_out = static_cast<uInt>(out.size());
      deflate(&stream, flush);
      REQUIRE(stream.avail_in == 0);
      out.resize(out.size() - stream.avail_out);
      return out;
    };
    const string first = block(array, Z_FULL_FLUSH), zeros = block(megabyte, Z_FULL_FLUSH), last = block("", Z_FINISH);
    deflateEnd(&stream);
    const std::uint64_t gigabyte = array.size() + (1ULL << 30);
    Member bomb{"a.npy", first + repeated(zeros, 1024) + last, gigabyte, 0, 8};
    check("a bomb behind an array", zip({bomb}), {"more data, where the end was expected"});
    bomb.size = array.size();
    check("a bomb announced as an array", zip({bomb}), {"array a"});
    bomb.size = 0xfffffffe;
    check("a bomb announced as 4 GB", zip({bomb}), {"can hold"});

    // Members that share bytes are accepted if their contents are valid.
    Member shared = stored("b.npy", array);
    shared.offset = 0;
    CHECK(read(npz, write(folder.file("a.npz"), zip({s, shared}))).value);
    CHECK(read(npz, write(folder.file("a.npz"), zip({s}, {.comment = string(65535, 'x')}))).value);
    CHECK(read(npz, write(folder.file("a.npz"), zip({stored("../../etc/passwd", "x"), s}))).value);
  }

  TEST_CASE("CSV: text that is none, and gzip bombs") {
    const Folder folder;
    auto check = [&](const string& name, const string& bytes, std::initializer_list<const char*> parts) {
      check_refused(folder, csv, name, bytes, parts);
      check_refused(folder, csv, name + ", gzip", gzip(bytes), parts);
    };
    check("an open quote", "1,2\n3,\"4\n5,6\n", {"line 2", "a quote that begins here"});
    check("a quote of a megabyte", "1,\"" + string(1 << 20, 'x'), {"line 1", "a quote that begins here"});
    check("a field of a megabyte", "1,2\n" + string(1 << 20, '1'), {"line 2", "a field of more than 65536 bytes"});
    check("zero bytes", "1,2\n" + string(100, '\0'), {"line 2, column 1"});
    check("UTF-16",
          string("\xff\xfe\x31\0,\0\x32\0\n\0", 10) + string("3\0,\0"
                                                             "4\0",
                                                             6),
          {"line 1, column 1", "neither a number nor text"});
    check("control characters", "1,\x1b[31m\n", {"\"?[31m\""});
    check("many names", repeated("a,", 1100000), {"line 1", "more than 1000000 names"});
    check_refused(folder, csv, "a bomb of one field", gzip_bomb('1', 1024), {"a field of more than"});
    check_refused(folder, csv, "a bomb of one quote", gzip("1,\"") + gzip_bomb('x', 1024),
                  {"a quote that begins here"});
    check_refused(folder, csv, "a bomb of names", gzip_bomb(',', 1024), {"more than 1000000 names"});
    check_refused(folder, csv, "a bomb of zero bytes", gzip_bomb('\0', 1024), {"a field of more than"});
    CHECK(read(csv, write(folder.file("a.csv"), gzip_bomb('\n', 64))).value->size() == 0);
  }

  TEST_CASE("what is no file is said in a sentence, and never waited for") {
    const Folder folder;
    fs::create_directory(folder.file("folder"));
    REQUIRE(mkfifo(folder.file("pipe").c_str(), 0600) == 0);
    const string secret = write(folder.file("secret"), "1");
    fs::permissions(secret, fs::perms::none);
    const std::ptrdiff_t open_before = open_files();
    for (const Reader& reader : {idx, csv, npy_file, npz}) {
      CAPTURE(reader.extension);
      CHECK(has(read(reader, folder.file("missing")).error, "No such file or directory"));
      CHECK(has(read(reader, folder.file("folder")).error, "is a folder, not a file"));
      CHECK(has(read(reader, folder.file("pipe")).error, "is a pipe, not a file"));
      CHECK(has(read(reader, "/dev/zero").error, "is a device, not a file"));
      CHECK(has(read(reader, "").error, "No such file or directory"));
      if (geteuid() != 0) CHECK(has(read(reader, secret).error, "Permission denied"));
    }
    const Tensor<> x{1, 2};
    const std::function<void(const string&)> writers[] = {[&](const string& path) { nn::write_npy(path, x); },
                                                          [&](const string& path) {
                                                            nn::write_npz(path, {{"x", x}});
                                                          },
                                                          [&](const string& path) { nn::History().save_csv(path); }};
    for (const auto& writer : writers) {
      for (const string& path :
           {folder.file("folder"), folder.file("pipe"), folder.file("missing/x"), string("/dev/null"), string()}) {
        CAPTURE(path);
        string error;
        try {
          writer(path);
        } catch (const Error& e) {
          error = e.what();
        }
        CHECK(has(error, path));
        CHECK_FALSE(error.empty());
      }
    }
    CHECK(open_files() == open_before);
    CHECK(std::distance(fs::directory_iterator(folder.path), {}) == 3);
  }

  TEST_CASE("a file is replaced as a whole, through links and with its permissions, or left alone") {
    const Folder folder;
    const string path = write(folder.file("x.npy"), "before");
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    fs::create_symlink(path, folder.file("link.npy"));
    nn::write_npy(folder.file("link.npy"), Tensor<>{1, 2});
    CHECK(fs::is_symlink(folder.file("link.npy")));
    CHECK(nn::read_npy<double>(path)(1) == 2);
    CHECK(fs::status(path).permissions() == (fs::perms::owner_read | fs::perms::owner_write));
    // If the disk is full, the existing file stays.
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    rlimit limit = before;
    limit.rlim_cur = 4096;
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const Tensor<> large = random::Generator(1).normal<double>({1000});
    CHECK_THROWS_AS(nn::write_npy(path, large), Error);
    CHECK_THROWS_AS(nn::write_npz(path, {{"x", large}}), Error);
    CHECK_THROWS_AS(nn::write_npz(path, {{"x", large}}, {.compress = true}), Error);
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    CHECK(nn::read_npy<double>(path)(1) == 2);
    CHECK(std::distance(fs::directory_iterator(folder.path), {}) == 2);
    nn::write_npz(path, {{"x", large}});
    CHECK(nn::read_npz(path).names().size() == 1);
  }

  TEST_CASE("what stands in the way of a new file is never written through") {
    const Folder folder;
    const string path = folder.file("x.npy"), beside = path + ".tapegrad.tmp", other = folder.file("other");
    write(other, "precious");
    fs::create_hard_link(other, beside);
    nn::write_npy(path, Tensor<>{1, 2});
    CHECK(contents(other) == "precious");
    CHECK(nn::read_npy<double>(path)(1) == 2);
    fs::create_symlink(other, beside);
    nn::write_npy(path, Tensor<>{1, 3});
    CHECK(contents(other) == "precious");
    CHECK(nn::read_npy<double>(path)(1) == 3);
    write(beside, string(1000, 'x'));  // left by a process that was killed
    nn::write_npy(path, Tensor<>{1, 4});
    CHECK(nn::read_npy<double>(path)(1) == 4);
    // Links to a file that does not exist yet, one through the other, relative to their own folders.
    fs::create_symlink("second.npy", folder.file("first.npy"));
    fs::create_directory(folder.path / "inner");
    fs::create_symlink("inner/third.npy", folder.file("second.npy"));
    nn::write_npy(folder.file("first.npy"), Tensor<>{1, 5});
    CHECK(fs::is_symlink(folder.file("first.npy")));
    CHECK(fs::is_symlink(folder.file("second.npy")));
    CHECK(nn::read_npy<double>(folder.file("inner/third.npy"))(1) == 5);
    fs::create_symlink("round.npy", folder.file("round.npy"));
    const auto refusal = [&](const string& name) {
      string message;
      try {
        nn::write_npy(folder.file(name), Tensor<>{1, 2});
      } catch (const Error& error) {
        message = error.what();
      }
      return message;
    };
    CHECK(refusal("round.npy").find("links") != string::npos);
    CHECK(refusal(string(245, 'n')).find(".tapegrad.tmp") != string::npos);
  }
}
