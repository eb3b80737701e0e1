#include <ostream>
#include <string>

#include "../tensor.hpp"

namespace tapegrad {
namespace {

// Beyond this many elements only the ends of each axis are printed, as in NumPy.
constexpr std::int64_t most_printed = 1000, edge = 3;

template <class T>
void print(std::ostream& out, const T* data, const Shape& shape, std::int64_t axis) {
  const bool shorten = shape.count() > most_printed;
  if (axis == shape.rank()) {
    if constexpr (std::is_same_v<T, bool>)
      out << (*data ? "true" : "false");
    else
      out << *data;
    return;
  }
  const std::int64_t block = shape.suffix(axis + 1).count();
  out << '[';
  for (std::int64_t i = 0; i < shape[axis]; ++i) {
    if (i > 0) {
      out << (axis + 1 == shape.rank() ? ", " : ",\n");
      if (axis + 1 < shape.rank()) out << std::string(static_cast<std::size_t>(axis) + 1, ' ');
    }
    if (shorten && shape[axis] > 2 * edge && i == edge) {
      out << "...";
      i = shape[axis] - edge - 1;
      continue;
    }
    print(out, data + i * block, shape, axis + 1);
  }
  out << ']';
}

}  // namespace

template <class T>
std::ostream& operator<<(std::ostream& out, const Tensor<T>& x) {
  print(out, detail::elements_of(x), x.shape(), 0);
  return out;
}

template std::ostream& operator<<(std::ostream&, const Tensor<float>&);
template std::ostream& operator<<(std::ostream&, const Tensor<double>&);
template std::ostream& operator<<(std::ostream&, const Tensor<std::int64_t>&);
template std::ostream& operator<<(std::ostream&, const Tensor<bool>&);

}  // namespace tapegrad
