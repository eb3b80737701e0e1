#include "tensor.hpp"

#include <algorithm>
#include <ostream>
#include <string>

namespace tapegrad {

[[gnu::cold]] void detail::throw_no_axis(const Shape& shape, std::int64_t axis, const Where& where, bool from_end) {
  const std::string begin = "axis " + std::to_string(axis) + (from_end ? " from the end" : "") + to_string(where) +
                            " of shape " + to_string(shape);
  if (shape.rank() == 0) throw ShapeError(begin + ": a scalar has no axes");
  const auto rank = static_cast<std::int64_t>(shape.rank());
  throw ShapeError(begin + ": its axes go from " + std::to_string(-rank) + " to " + std::to_string(rank - 1));
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << to_string(shape); }

template <class T>
Tensor<T>::Tensor(const Shape& shape, std::span<const T> values, Where where) {
  if (shape.count() != static_cast<std::int64_t>(values.size())) {
    throw ShapeError("Tensor" + to_string(where) + ": " + std::to_string(values.size()) +
                     " values for a tensor of shape " + to_string(shape));
  }
  handle_ = detail::Handle(detail::allocate(detail::dtype_of<T>, shape));
  std::copy(values.begin(), values.end(), elements());
}

template <class T>
Tensor<T>::Tensor(std::initializer_list<std::initializer_list<T>> rows, Where where) {
  const std::size_t cols = rows.size() ? rows.begin()->size() : 0;
  for (const auto& row : rows) {
    if (row.size() != cols) {
      throw ShapeError("Tensor" + to_string(where) + ": rows of " + std::to_string(cols) + " and of " +
                       std::to_string(row.size()) + " values in one matrix");
    }
  }
  handle_ = detail::Handle(
      detail::allocate(detail::dtype_of<T>, {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(cols)}));
  T* out = elements();
  for (const auto& row : rows) out = std::copy(row.begin(), row.end(), out);
}

template <class T>
T* Tensor<T>::mutable_data(Where where) & {
  if (traced()) {
    throw TapeError("mutable_data" + to_string(where) +
                    ": the tensor is on a tape, where its value cannot change; compute a new one");
  }
  if (!handle_) return nullptr;
  if (!detail::unique(handle_.array())) {
    detail::Handle own(detail::allocate(detail::dtype_of<T>, shape()));
    std::copy_n(data(), size(), own.array()->template as<T>());
    handle_ = std::move(own);
  }
  return elements();
}

template <class T>
T Tensor<T>::item(Where where) const {
  if (size() != 1) {
    throw ShapeError("item" + to_string(where) + ": a tensor of shape " + to_string(shape()) + " holds " +
                     std::to_string(size()) + " elements, not one");
  }
  return *read("item", where);
}

template <class T>
T Tensor<T>::element(std::span<const std::int64_t> index, const Where& where) const {
  std::int64_t at = 0;
  bool valid = index.size() == rank();
  for (std::size_t i = 0; valid && i < rank(); ++i) {
    const std::int64_t size = shape()[i], j = index[i] < 0 ? index[i] + size : index[i];
    valid = j >= 0 && j < size;
    at = at * size + j;
  }
  if (!valid) {
    throw ShapeError("element " +
                     to_string(Shape(index.data(), index.data() + std::min(index.size(), Shape::max_rank))) +
                     to_string(where) + " of a tensor of shape " + to_string(shape()) +
                     " does not exist; give an index in range for each axis");
  }
  return read("an element", where)[at];
}

namespace {

// Beyond this many elements only the ends of each axis are printed, as NumPy does.
constexpr std::int64_t most_printed = 1000, edge = 3;

template <class T>
void print(std::ostream& out, const T* data, const Shape& shape, std::size_t axis) {
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
      if (axis + 1 < shape.rank()) out << std::string(axis + 1, ' ');
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

template class Tensor<float>;
template class Tensor<double>;
template class Tensor<std::int64_t>;
template class Tensor<bool>;
template std::ostream& operator<<(std::ostream&, const Tensor<float>&);
template std::ostream& operator<<(std::ostream&, const Tensor<double>&);
template std::ostream& operator<<(std::ostream&, const Tensor<std::int64_t>&);
template std::ostream& operator<<(std::ostream&, const Tensor<bool>&);

}  // namespace tapegrad
