#include "npy.hpp"

#include <bit>
#include <charconv>
#include <cstring>
#include <vector>

#include "npy_format.hpp"

namespace tapegrad::nn {
namespace detail {
namespace {

constexpr char magic[] = "\x93NUMPY";
constexpr std::size_t magic_bytes = 6, alignment = 64;
// NumPy's own limit; a longer header holds a record of many fields.
constexpr std::uint32_t most_header_bytes = 10000;

/// A header is a Python dictionary of a string, a truth value and a tuple of integers.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const Input& input) : rest_(text), input_(input) {}

  ElementLayout parse() {
    ElementLayout header;
    bool seen[3] = {};
    expect('{');
    while (!take('}')) {
      const std::string key = string();
      const int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : -1;
      if (which < 0 || seen[which]) refuse("descr, fortran_order and shape, once each");
      seen[which] = true;
      expect(':');
      if (which == 0) header.type = type();
      if (which == 1) header.fortran_order = truth();
      if (which == 2) header.shape = shape();
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (!rest_.empty() || !seen[0] || !seen[1] || !seen[2]) refuse("descr, fortran_order and shape, then the end");
    return header;
  }

 private:
  [[noreturn]] void refuse(const std::string& expected) const {
    input_.fail("the header before this byte goes on \"" + printable(rest_) + "\", where " + expected +
                " was expected");
  }
  void skip_space() {
    const std::size_t first = rest_.find_first_not_of(" \t\n\r");
    rest_.remove_prefix(first == std::string_view::npos ? rest_.size() : first);
  }
  bool take(char c) { return take(std::string_view(&c, 1)); }
  void expect(char c) {
    if (!take(c)) refuse(std::string("'") + c + "'");
  }
  bool take(std::string_view word) {
    skip_space();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  std::string string() {
    const char quote = take('\'') ? '\'' : '"';
    if (quote == '"') expect('"');
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) refuse("a closing quote");
    std::string text(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return text;
  }
  std::string type() {
    skip_space();
    if (rest_.starts_with('[')) refuse("one element type, not a record of several fields,");
    return string();
  }
  bool truth() {
    if (take("True")) return true;
    if (!take("False")) refuse("True or False");
    return false;
  }
  Shape shape() {
    Shape sizes;
    expect('(');
    while (!take(')')) {
      skip_space();
      std::int64_t size = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc() || size < 0) refuse("a size of 0 or more");
      if (sizes.rank() == Shape::max_rank) refuse("a shape of at most 8 axes");
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      static_cast<void>(take('L'));  // Python 2 wrote it after a long integer
      sizes.push_back(size);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return sizes;
  }

  std::string_view rest_;
  const Input& input_;
};

}  // namespace

ElementLayout read_npy_header(Input& input) {
  unsigned char start[12];
  input.read(start, magic_bytes + 2, "the start of a .npy array");
  if (std::memcmp(start, magic, magic_bytes) != 0) input.fail("the 8 bytes before this one do not begin a .npy array");
  const int version = start[magic_bytes];
  if (version < 1 || version > 3) input.fail("format " + std::to_string(version) + ", where 1, 2 or 3 was expected");
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  input.read(start + magic_bytes + 2, length_bytes, "the length of the header");
  std::uint32_t length = 0;
  for (std::size_t i = length_bytes; i-- > 0;) length = length << 8 | start[magic_bytes + 2 + i];
  if (length > input.most_left() || length > most_header_bytes) {
    input.fail("a header of " + std::to_string(length) + " bytes is announced, where at most " +
               std::to_string(std::min<std::uint64_t>(input.most_left(), most_header_bytes)) + " can follow");
  }
  std::string text(length, ' ');
  input.read(text.data(), length, "the header");
  return HeaderParser(text, input).parse();
}

namespace {

/// Whether every value of S is a value of T.
template <class S, class T>
constexpr bool fits() {
  using Source = std::numeric_limits<S>;
  using Target = std::numeric_limits<T>;
  return Source::digits <= Target::digits && (Source::is_integer || !Target::is_integer);
}

/// The element type of a tensor that can hold every S.
template <class S>
constexpr const char* tensor_of() {
  if (fits<S, bool>()) return "Tensor<bool>";
  if (fits<S, std::int64_t>()) return "Tensor<std::int64_t>";
  return fits<S, float>() ? "Tensor<float>" : "Tensor<double>";
}

/// The element bytes of S, reversed if the file's byte order is not this machine's.
template <class S>
S element(const unsigned char* bytes, bool swapped) {
  unsigned char ordered[sizeof(S)];
  for (std::size_t i = 0; i < sizeof(S); ++i) ordered[i] = bytes[swapped ? sizeof(S) - 1 - i : i];
  S value;
  std::memcpy(&value, ordered, sizeof(S));
  return value;
}

/// The row-major positions of elements stored in Fortran order, where the first axis runs fastest.
class FortranOrder {
 public:
  explicit FortranOrder(const Shape& shape) : shape_(shape), index_(shape) {
    for (std::int64_t axis = 0; axis < shape.rank(); ++axis) index_[axis] = 0;
  }
  std::int64_t next() {
    const std::int64_t at = at_;
    for (std::int64_t axis = 0; axis < shape_.rank(); ++axis) {
      const std::int64_t stride = shape_.count(axis + 1, shape_.rank());
      at_ += stride;
      if (++index_[axis] < shape_[axis]) break;
      at_ -= stride * shape_[axis];
      index_[axis] = 0;
    }
    return at;
  }

 private:
  Shape shape_, index_;
  std::int64_t at_ = 0;
};

// In a file a truth value can be any byte; in memory it is 0 or 1.
struct Truth {
  unsigned char byte;
  explicit operator bool() const { return byte != 0; }
};
template <class S>
using ValueOf = std::conditional_t<std::is_same_v<S, Truth>, bool, S>;

template <class S, class T>
void read_converted(Input& input, const ElementLayout& layout, bool swapped, T* out, std::int64_t count) {
  const bool in_order = !layout.fortran_order || layout.shape.rank() < 2;
  constexpr std::string_view what = "the elements";
  if (std::is_same_v<S, T> && in_order && !swapped) {
    input.read(out, static_cast<std::size_t>(count) * sizeof(T), what);
    return;
  }
  constexpr std::int64_t most = 4096;
  unsigned char block[most * sizeof(S)];
  FortranOrder order(layout.shape);
  for (std::int64_t first = 0; first < count; first += most) {
    const std::int64_t n = std::min(most, count - first);
    input.read(block, static_cast<std::size_t>(n) * sizeof(S), what);
    for (std::int64_t i = 0; i < n; ++i) {
      const S value = element<S>(block + static_cast<std::size_t>(i) * sizeof(S), swapped);
      out[in_order ? first + i : order.next()] = static_cast<T>(static_cast<ValueOf<S>>(value));
    }
  }
}

template <class S, class T>
Tensor<T> read_array(Input& input, const ElementLayout& layout, bool swapped) {
  using Values = ValueOf<S>;
  if constexpr (!fits<Values, T>()) {
    throw ValueError(input.place() + ": elements " + layout.type + " can lose digits in a " + tensor_of<T>() +
                     "; read a " + tensor_of<Values>() + " and convert it with astype");
  } else {
    const std::int64_t count = layout.shape.count();
    const auto most = static_cast<std::int64_t>(std::min<std::uint64_t>(input.most_left(), std::int64_t{1} << 61));
    // Even without elements, a shape may be one that no tensor can have.
    Shape others = layout.shape;
    for (std::int64_t axis = 0; axis < others.rank(); ++axis) others[axis] = std::max<std::int64_t>(others[axis], 1);
    constexpr std::int64_t most_elements = std::int64_t{1} << 57;
    if (count > most / static_cast<std::int64_t>(sizeof(S)) || others.count() > most_elements) {
      input.fail("shape " + to_string(layout.shape) + " of " + layout.type + " is announced, where at most " +
                 std::to_string(most) + " bytes can follow");
    }
    Tensor<T> result(tapegrad::detail::Handle(tapegrad::detail::allocate(tapegrad::detail::dtype_of<T>, layout.shape)));
    read_converted<S>(input, layout, swapped, result.mutable_data(), count);
    input.expect_end("the elements");
    return result;
  }
}

}  // namespace

template <class T>
Tensor<T> read_elements(Input& input, const ElementLayout& layout) {
  const std::string_view type = layout.type;
  const bool swapped = type.starts_with(little_endian ? '>' : '<');
  const std::string_view kind = type.substr(type.find_first_not_of("<>=|") == 1 ? 1 : 0);
  if (kind == "b1" || kind == "?") return read_array<Truth, T>(input, layout, swapped);
  if (kind == "u1") return read_array<std::uint8_t, T>(input, layout, swapped);
  if (kind == "u2") return read_array<std::uint16_t, T>(input, layout, swapped);
  if (kind == "u4") return read_array<std::uint32_t, T>(input, layout, swapped);
  if (kind == "i1") return read_array<std::int8_t, T>(input, layout, swapped);
  if (kind == "i2") return read_array<std::int16_t, T>(input, layout, swapped);
  if (kind == "i4") return read_array<std::int32_t, T>(input, layout, swapped);
  if (kind == "i8") return read_array<std::int64_t, T>(input, layout, swapped);
  if (kind == "f4") return read_array<float, T>(input, layout, swapped);
  if (kind == "f8") return read_array<double, T>(input, layout, swapped);
  throw ValueError(input.place() + ": elements of type \"" + printable(type) +
                   "\" are not read; convert them in NumPy, by astype(np.float64) or astype(np.int64)");
}

std::string npy_header(const char* type, const Shape& shape) {
  std::string text = "{'descr': '" + std::string(type) + "', 'fortran_order': False, 'shape': (";
  for (std::int64_t size : shape) text += std::to_string(size) + (shape.rank() == 1 ? "," : ", ");
  if (shape.rank() > 1) text.resize(text.size() - 2);
  text += "), }";
  const std::size_t start = magic_bytes + 4;
  text.append(alignment - (start + text.size()) % alignment - 1, ' ');
  text += '\n';
  return std::string(magic) + '\x01' + '\0' + static_cast<char>(text.size() & 0xff) +
         static_cast<char>(text.size() >> 8) + text;
}

}  // namespace detail

template <class T>
Tensor<T> read_npy(const std::string& path, Caller where) {
  const std::unique_ptr<detail::Input> input = detail::open_input(path, "read_npy" + to_string(where));
  return detail::read_elements<T>(*input, detail::read_npy_header(*input));
}

template <class T>
void write_npy(const std::string& path, const Tensor<T>& x, Caller where) {
  detail::Replacement replacement(path, "write_npy" + to_string(where));
  const std::string header = detail::npy_header(detail::npy_type<T>, x.shape());
  replacement.write(header.data(), header.size());
  replacement.write(tapegrad::detail::elements_of(x), static_cast<std::size_t>(x.size()) * sizeof(T));
  replacement.commit();
}

template Tensor<float> read_npy(const std::string&, Caller);
template Tensor<double> read_npy(const std::string&, Caller);
template Tensor<std::int64_t> read_npy(const std::string&, Caller);
template Tensor<bool> read_npy(const std::string&, Caller);
template void write_npy(const std::string&, const Tensor<float>&, Caller);
template void write_npy(const std::string&, const Tensor<double>&, Caller);
template void write_npy(const std::string&, const Tensor<std::int64_t>&, Caller);
template void write_npy(const std::string&, const Tensor<bool>&, Caller);
template Tensor<float> detail::read_elements(Input&, const ElementLayout&);
template Tensor<double> detail::read_elements(Input&, const ElementLayout&);
template Tensor<std::int64_t> detail::read_elements(Input&, const ElementLayout&);
template Tensor<bool> detail::read_elements(Input&, const ElementLayout&);

}  // namespace tapegrad::nn
