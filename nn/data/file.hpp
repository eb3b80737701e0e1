#pragma once
// How the library opens files: for reading, with the place of every byte known to messages, and for writing, so that
// what was there stays whole until all of the new is on the disk.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "../../autodiff/error.hpp"

namespace tapegrad::nn::detail {

/// A block of n deflated bytes expands to at most this many times n (zlib's technical notes, "Maximum Compression
/// Factor").
inline constexpr std::uint64_t most_expansion = 1032;

/// How many bytes at the start of a text are UTF-8: characters written as short as can be, no surrogates.
std::size_t utf8_prefix(std::string_view text);

/// What comes from a file in a message: on one line, not endless, and in UTF-8; other bytes as \xff.
TAPEGRAD_EXPORT std::string printable(std::string_view text);

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

/// A file with its size, opened for reading. `caller` begins every message. Throws Error for what cannot be opened or
/// is not a regular file: a folder, a pipe, a device.
struct OpenedFile {
  OpenedFile(const std::string& path, const std::string& caller);
  std::unique_ptr<std::FILE, CloseFile> file;
  std::uint64_t size = 0;
};

/// Bytes in order.
class Input {
 public:
  /// `place` begins every message; no more than `most` bytes can come.
  Input(std::string place, std::uint64_t most) : place_(std::move(place)), most_(most) {}
  Input(const Input&) = delete;
  virtual ~Input() = default;

  /// What messages begin with: the caller and the file.
  const std::string& place() const { return place_; }
  /// Bytes read.
  std::uint64_t offset() const { return offset_; }
  /// As many bytes as can still come at most, whatever is announced.
  std::uint64_t most_left() const { return offset_ < most_ ? most_ - offset_ : 0; }
  /// Up to `bytes` of them, fewer only at the end.
  std::size_t read_some(void* to, std::size_t bytes);
  /// All of them; throws Error, naming `what` was to be read, at an earlier end.
  void read(void* to, std::size_t bytes, std::string_view what);
  /// Throws Error when there are more. Every checksum has been compared once this returns.
  void expect_end(std::string_view after);
  /// Throws Error: place, offset, `problem`.
  [[noreturn]] void fail(std::string_view problem) const;

 private:
  /// 0 at the end.
  virtual std::size_t get(void* to, std::size_t bytes) = 0;

  std::string place_;
  std::uint64_t most_, offset_ = 0;
};

/// A plain or a gzip file; offsets count uncompressed bytes.
TAPEGRAD_EXPORT std::unique_ptr<Input> open_input(const std::string& path, const std::string& caller);

/// A new file beside `path` that takes its place on commit(), and goes when it was not committed: `path` is never half
/// written, whenever the process or the machine stops. What a killed process left of it is written over by the next;
/// others that write to the same path at the same time wait for each other.
class TAPEGRAD_EXPORT Replacement {
 public:
  /// Throws Error where no file can be made.
  Replacement(const std::string& path, std::string caller);
  Replacement(const Replacement&) = delete;
  ~Replacement();

  /// Throws Error when the file cannot be written.
  void write(const void* from, std::size_t bytes);
  /// Throws Error when the file could not be written to the disk or renamed.
  void commit();
  /// Throws Error: cannot write `path`, `reason`.
  [[noreturn]] void fail(std::string_view reason) const;

 private:
  std::string path_, name_, caller_;
  int descriptor_ = -1;
};

}  // namespace tapegrad::nn::detail
