#include "file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace tapegrad::nn::detail {
namespace {

namespace fs = std::filesystem;

/// The descriptor of an open file, which it closes.
struct Descriptor {
  int number;
  explicit Descriptor(int n) : number(n) {}
  Descriptor(const Descriptor&) = delete;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  int release() { return std::exchange(number, -1); }
};

std::string kind_of(mode_t mode) {
  const bool pipe = S_ISFIFO(mode) || S_ISSOCK(mode);
  return std::string("is a ") + (S_ISDIR(mode) ? "folder" : pipe ? "pipe" : "device") + ", not a file";
}

class GzipInput : public Input {
 public:
  GzipInput(std::string place, std::uint64_t most, gzFile file) : Input(std::move(place), most), file_(file) {}

 private:
  std::size_t get(void* to, std::size_t bytes) override {
    const int got = gzread(file_.get(), to, static_cast<unsigned>(std::min<std::size_t>(bytes, 1 << 30)));
    // Only here does a truncated stream show: everything before the cut has been delivered.
    int code = Z_OK;
    const char* message = gzerror(file_.get(), &code);
    if (code == Z_ERRNO) fail(std::string("cannot be read: ") + std::strerror(errno));
    if (got < 0 || code != Z_OK) fail(std::string("the gzip data are damaged or cut off (") + message + ")");
    return static_cast<std::size_t>(got);
  }

  std::unique_ptr<gzFile_s, decltype([](gzFile file) { gzclose(file); })> file_;
};

}  // namespace

std::size_t utf8_prefix(std::string_view text) {
  constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};  // the first character that takes this many bytes
  std::size_t i = 0;
  while (i < text.size()) {
    const auto first = static_cast<unsigned char>(text[i]);
    const auto length = static_cast<std::size_t>(std::countl_one(first));  // 0 for a character of a single byte
    if (length == 1 || length > 4 || text.size() - i < length) return i;
    std::uint32_t character = first & (0x7f >> length);
    for (const char c : text.substr(i + 1, std::max<std::size_t>(length, 1) - 1)) {
      if ((c & '\xc0') != '\x80') return i;
      character = character << 6 | (c & '\x3f');
    }
    const bool surrogate = character >= 0xd800 && character < 0xe000;
    if (character < least[length] || surrogate || character > 0x10ffff) return i;
    i += std::max<std::size_t>(length, 1);
  }
  return i;
}

std::string printable(std::string_view text) {
  constexpr std::size_t most = 60;
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  std::string_view rest = text;
  while (!rest.empty() && out.size() < most) {
    // Does not split a character of several bytes.
    std::size_t good = 1;
    while (good <= 4 && good <= rest.size() && utf8_prefix(rest.substr(0, good)) != good) ++good;
    if (good > 4 || good > rest.size()) {
      const auto byte = static_cast<unsigned char>(rest[0]);
      out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      good = 1;
    } else if (static_cast<unsigned char>(rest[0]) < ' ' || rest[0] == '\x7f') {
      out += '?';
    } else {
      out += rest.substr(0, good);
    }
    rest.remove_prefix(good);
  }
  if (!rest.empty()) out += "...";
  return out;
}

OpenedFile::OpenedFile(const std::string& path, const std::string& caller) {
  // Does not wait for somebody to write to a pipe.
  Descriptor descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (descriptor.number < 0 || fstat(descriptor.number, &status) != 0) {
    throw Error(caller + ": cannot open " + path + ": " + std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) throw Error(caller + ": " + path + " " + kind_of(status.st_mode));
  size = static_cast<std::uint64_t>(status.st_size);
  file.reset(fdopen(descriptor.number, "rb"));
  if (!file) throw Error(caller + ": cannot open " + path + ": " + std::strerror(errno));
  descriptor.release();
}

std::size_t Input::read_some(void* to, std::size_t bytes) {
  std::size_t got = 0;
  while (got < bytes) {
    const std::size_t more = get(static_cast<char*>(to) + got, bytes - got);
    if (more == 0) break;
    got += more;
    offset_ += more;
  }
  return got;
}

void Input::read(void* to, std::size_t bytes, std::string_view what) {
  const std::uint64_t first = offset_;
  if (read_some(to, bytes) == bytes) return;
  fail("the end, where " + std::string(what) + " of " + std::to_string(bytes) + " bytes from byte " +
       std::to_string(first) + " was expected");
}

void Input::expect_end(std::string_view after) {
  char extra;
  if (read_some(&extra, 1) == 1) {
    --offset_;
    fail("more data, where the end was expected after " + std::string(after));
  }
}

void Input::fail(std::string_view problem) const {
  throw Error(place_ + ", byte " + std::to_string(offset_) + ": " + std::string(problem));
}

std::unique_ptr<Input> open_input(const std::string& path, const std::string& caller) {
  const OpenedFile opened(path, caller);
  Descriptor descriptor(dup(fileno(opened.file.get())));
  gzFile file = descriptor.number < 0 ? nullptr : gzdopen(descriptor.number, "rb");
  if (!file) throw Error(caller + ": cannot open " + path + ": " + std::strerror(errno));
  descriptor.release();
  gzbuffer(file, 1 << 17);
  const bool plain = gzdirect(file) != 0;
  return std::make_unique<GzipInput>(caller + ": " + path, plain ? opened.size : opened.size * most_expansion, file);
}

Replacement::Replacement(const std::string& path, std::string caller) : path_(path), caller_(std::move(caller)) {
  // Follows links, so that they stay, to a file that need not exist.
  std::error_code none;
  for (int links = 0; fs::is_symlink(path_, none); ++links) {
    if (links == 40) fail("it is one of links without an end");
    path_ = (fs::path(path_).parent_path() / fs::read_symlink(path_, none)).string();
  }
  struct stat status {};
  const bool exists = stat(path_.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode)) throw Error(caller_ + ": " + path + " " + kind_of(status.st_mode));
  const std::string name = path_ + ".tapegrad.tmp";
  for (;;) {
    constexpr int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    Descriptor file(open(name.c_str(), flags | O_CREAT | O_EXCL, 0666));
    const bool is_new = file.number >= 0;
    if (!is_new) {
      if (errno != EEXIST) fail(name + ": " + std::strerror(errno));
      file.number = open(name.c_str(), flags);
    }
    if (file.number < 0) {
      const int reason = errno;
      // It has gone in the meantime, or it was in the way.
      if (reason == ENOENT || ((reason == ELOOP || reason == EACCES) && unlink(name.c_str()) == 0)) continue;
      fail(name + ": " + std::strerror(reason));
    }
    // The previous holder of the lock may have renamed or removed the file. File systems without locks are used without
    // one.
    while (flock(file.number, LOCK_EX) != 0 && errno == EINTR) {
    }
    struct stat locked {
    }, named{};
    if (fstat(file.number, &locked) != 0) fail(std::strerror(errno));
    if (!S_ISREG(locked.st_mode)) fail(name + " " + kind_of(locked.st_mode));
    if (lstat(name.c_str(), &named) != 0 || named.st_ino != locked.st_ino || named.st_dev != locked.st_dev) continue;
    // An existing file may be a link to something valuable, or belong to somebody who keeps it open.
    if (!is_new && (locked.st_nlink > 1 || locked.st_uid != geteuid())) {
      if (unlink(name.c_str()) != 0) fail(name + ": " + std::strerror(errno));
      continue;
    }
    if (ftruncate(file.number, 0) != 0) fail(std::strerror(errno));
    if (exists) static_cast<void>(fchmod(file.number, status.st_mode & 07777));
    name_ = name;
    descriptor_ = file.release();
    return;
  }
}

Replacement::~Replacement() {
  if (!name_.empty()) unlink(name_.c_str());
  if (descriptor_ >= 0) close(descriptor_);
}

void Replacement::write(const void* from, std::size_t bytes) {
  const char* next = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, next, bytes);
    if (written < 0 && errno != EINTR) fail(std::strerror(errno));
    if (written <= 0) continue;
    next += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

void Replacement::commit() {
  if (fsync(descriptor_) != 0 || std::rename(name_.c_str(), path_.c_str()) != 0) fail(std::strerror(errno));
  name_.clear();
  // The new name reaches the disk with the folder. Some file systems do not support syncing a folder; the file is
  // complete anyway.
  const std::string folder = fs::path(path_).parent_path().string();
  const Descriptor parent(open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.number >= 0) fsync(parent.number);
}

void Replacement::fail(std::string_view reason) const {
  throw Error(caller_ + ": cannot write " + path_ + ": " + std::string(reason));
}

}  // namespace tapegrad::nn::detail
