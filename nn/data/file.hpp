#pragma once
// How the library opens files: for reading, so that messages can name the place of every byte; and for writing, so that
// an existing file stays intact until all of the new one is on the disk.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "../../autodiff/error.hpp"

namespace tapegrad::nn::detail {

/// n deflated bytes expand to at most this many times n bytes (zlib's technical notes, "Maximum Compression Factor").
inline constexpr std::uint64_t most_expansion = 1032;

/// How many bytes at the start of a text are valid UTF-8: shortest encodings, and no surrogates.
std::size_t utf8_prefix(std::string_view text);

/// Text from a file made fit for a message: on one line, of limited length, and in UTF-8, with other bytes as \xff.
TAPEGRAD_EXPORT std::string printable(std::string_view text);

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

/// A file opened for reading, with its size. Every message begins with `caller`. Throws Error if it cannot be opened or
/// is not a regular file but a folder, a pipe or a device.
struct OpenedFile {
  OpenedFile(const std::string& path, const std::string& caller);
  std::unique_ptr<std::FILE, CloseFile> file;
  std::uint64_t size = 0;
};

/// A source of bytes, read in order.
class Input {
 public:
  /// Every message begins with `place`. The source has no more than `most` bytes.
  Input(std::string place, std::uint64_t most) : place_(std::move(place)), most_(most) {}
  Input(const Input&) = delete;
  virtual ~Input() = default;

  /// The beginning of messages: the caller and the file.
  const std::string& place() const { return place_; }
  /// The number of bytes read so far.
  std::uint64_t offset() const { return offset_; }
  /// The most bytes that can still come, whatever the file announces.
  std::uint64_t most_left() const { return offset_ < most_ ? most_ - offset_ : 0; }
  /// Reads up to `bytes` bytes; fewer only at the end.
  std::size_t read_some(void* to, std::size_t bytes);
  /// Reads exactly `bytes` bytes. Throws Error, naming `what` was to be read, if the file ends earlier.
  void read(void* to, std::size_t bytes, std::string_view what);
  /// Throws Error if there are more bytes. When this returns, every checksum has been verified.
  void expect_end(std::string_view after);
  /// Throws Error with the place, the offset and `problem`.
  [[noreturn]] void fail(std::string_view problem) const;

 private:
  /// Returns the number of bytes, and 0 at the end.
  virtual std::size_t get(void* to, std::size_t bytes) = 0;

  std::string place_;
  std::uint64_t most_, offset_ = 0;
};

/// A plain or a gzip file; offsets count uncompressed bytes.
TAPEGRAD_EXPORT std::unique_ptr<Input> open_input(const std::string& path, const std::string& caller);

/// A new file beside `path` that replaces it on commit(), and is removed if it is not committed: `path` is never half
/// written, whenever the process or the machine stops. Anything that a killed process left behind is overwritten by the
/// next one; processes that write to the same path at the same time wait for each other.
class TAPEGRAD_EXPORT Replacement {
 public:
  /// Throws Error if the file cannot be created.
  Replacement(const std::string& path, std::string caller);
  Replacement(const Replacement&) = delete;
  ~Replacement();

  /// Throws Error if the file cannot be written.
  void write(const void* from, std::size_t bytes);
  /// Throws Error if the file could not be written to the disk or renamed.
  void commit();
  /// Throws Error, which says that `path` cannot be written, and the reason.
  [[noreturn]] void fail(std::string_view reason) const;

 private:
  std::string path_, name_, caller_;
  int descriptor_ = -1;
};

}  // namespace tapegrad::nn::detail
