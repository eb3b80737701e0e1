#pragma once
// Reads the reference numbers of the tests: .npz files that are plain ZIP, method "stored", with members .npy v1.0 in C
// order of <f8, <i8 or |u1, as tests/reference holds them. Anything else is an error, not a guess.

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <tapegrad/autodiff/ops.hpp>
#include <vector>

namespace npz {

using tapegrad::Shape;
using tapegrad::Tensor;

/// The arrays of one file, by name.
class File {
 public:
  /// A file in tests/reference. Throws std::runtime_error.
  explicit File(const std::string& name) : path_(std::string(TAPEGRAD_REFERENCE_DIR "/") + name) {
    std::ifstream in(path_, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
    if (!in || bytes_.empty()) fail("cannot be read");
    std::size_t at = 0;
    while (number<std::uint32_t>(at) == 0x04034b50) at = read_member(at);
    if (number<std::uint32_t>(at) != 0x02014b50) fail("has no directory behind its members");
  }

  bool contains(const std::string& name) const { return members_.count(name) != 0; }
  std::size_t size() const { return members_.size(); }

  /// A member of <f8.
  Tensor<double> real(const std::string& name) const {
    const Member& m = member(name, {"<f8"});
    std::vector<double> values(m.count);
    std::memcpy(values.data(), bytes_.data() + m.at, m.count * sizeof(double));
    return Tensor<double>(m.shape, std::span<const double>(values));
  }
  /// A member of <i8 or |u1.
  Tensor<std::int64_t> integers(const std::string& name) const {
    const Member& m = member(name, {"<i8", "|u1"});
    std::vector<std::int64_t> values(m.count);
    if (m.type == "<i8") {
      std::memcpy(values.data(), bytes_.data() + m.at, m.count * sizeof(std::int64_t));
    } else {
      for (std::size_t i = 0; i < m.count; ++i) values[i] = static_cast<unsigned char>(bytes_[m.at + i]);
    }
    return Tensor<std::int64_t>(m.shape, std::span<const std::int64_t>(values));
  }

 private:
  struct Member {
    std::string type;
    Shape shape;
    std::size_t count, at;
  };

  [[noreturn]] void fail(const std::string& what) const { throw std::runtime_error(path_ + " " + what); }

  const Member& member(const std::string& name, std::initializer_list<const char*> types) const {
    const auto found = members_.find(name);
    if (found == members_.end()) fail("has no member " + name);
    for (const char* type : types) {
      if (found->second.type == type) return found->second;
    }
    fail("holds " + name + " as " + found->second.type);
  }

  // Little-endian, as the machines that run the tests are.
  template <class N>
  N number(std::size_t at) const {
    N value;
    if (at + sizeof(N) > bytes_.size()) fail("is cut off");
    std::memcpy(&value, bytes_.data() + at, sizeof(N));
    return value;
  }
  std::string text(std::size_t at, std::size_t length) const {
    if (at + length > bytes_.size()) fail("is cut off");
    return {bytes_.data() + at, length};
  }

  // A local file header (APPNOTE 4.3.7) and its .npy; returns where the next begins.
  std::size_t read_member(std::size_t at) {
    const auto flags = number<std::uint16_t>(at + 6), method = number<std::uint16_t>(at + 8);
    const std::size_t packed = number<std::uint32_t>(at + 18), size = number<std::uint32_t>(at + 22);
    const std::size_t name_length = number<std::uint16_t>(at + 26), extra = number<std::uint16_t>(at + 28);
    const std::string file = text(at + 30, name_length);
    if (method != 0 || (flags & 8) != 0 || packed != size) fail("does not just store " + file);
    if (file.size() < 4 || file.substr(file.size() - 4) != ".npy") fail("has a member " + file);
    const std::size_t npy = at + 30 + name_length + extra;
    if (text(npy, 8) != std::string("\x93NUMPY\x01\x00", 8)) fail("has no .npy v1.0 in " + file);
    const std::size_t header_length = number<std::uint16_t>(npy + 8);
    const std::string header = text(npy + 10, header_length);

    Member m{field(header, "'descr': '", '\''), {}, 1, npy + 10 + header_length};
    if (field(header, "'fortran_order': ", ',') != "False") fail("has " + file + " in Fortran order");
    const std::string sizes = field(header, "'shape': (", ')');
    for (std::size_t i = 0; i < sizes.size();) {
      std::size_t used = 0;
      const std::int64_t extent = std::stoll(sizes.substr(i), &used);
      m.shape.push_back(extent);
      m.count *= static_cast<std::size_t>(extent);
      i = sizes.find_first_of("0123456789", i + used);
    }
    const std::size_t bytes = m.count * (m.type == "|u1" ? 1 : 8);
    if (10 + header_length + bytes != size) fail("holds too many or too few bytes of " + file);
    text(m.at, bytes);
    members_[file.substr(0, file.size() - 4)] = m;
    return npy + size;
  }
  std::string field(const std::string& header, const std::string& key, char end) const {
    const std::size_t at = header.find(key);
    const std::size_t stop = at == std::string::npos ? at : header.find(end, at + key.size());
    if (stop == std::string::npos) fail("has a header without " + key);
    return header.substr(at + key.size(), stop - at - key.size());
  }

  std::string path_, bytes_;
  std::map<std::string, Member> members_;
};

}  // namespace npz
