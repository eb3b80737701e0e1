#include "../tensor.hpp"

#include <algorithm>
#include <string>

namespace tapegrad {

template <class T>
Tensor<T>::Tensor(const Shape& shape, std::span<const T> values, Caller where) {
  if (shape.count() != static_cast<std::int64_t>(values.size())) {
    throw ShapeError("Tensor" + to_string(where) + ": " + std::to_string(values.size()) +
                     " values for a tensor of shape " + to_string(shape) + ", which holds " +
                     std::to_string(shape.count()));
  }
  handle_ = detail::Handle(detail::allocate(detail::dtype_of<T>, shape));
  std::copy(values.begin(), values.end(), elements());
}

template <class T>
Tensor<T>::Tensor(std::initializer_list<std::initializer_list<T>> rows, Caller where) {
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
T* Tensor<T>::mutable_data(Caller where) & {
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
T Tensor<T>::item(Caller where) const {
  if (size() != 1) {
    throw ShapeError("item" + to_string(where) + ": a tensor of shape " + to_string(shape()) + " holds " +
                     std::to_string(size()) + " elements, not one");
  }
  return *read("item", where);
}

template <class T>
T Tensor<T>::element(std::span<const std::int64_t> index, const Caller& where) const {
  std::int64_t at = 0;
  bool valid = std::ssize(index) == rank();
  for (std::size_t i = 0; valid && i < index.size(); ++i) {
    const std::int64_t size = shape()[i], j = index[i] < 0 ? index[i] + size : index[i];
    valid = j >= 0 && j < size;
    at = at * size + j;
  }
  if (!valid) {
    throw ShapeError("element " +
                     to_string(Shape(index.data(), index.data() + std::min(std::ssize(index), Shape::max_rank))) +
                     to_string(where) + " of a tensor of shape " + to_string(shape()) +
                     " does not exist; give an index in range for each axis");
  }
  return read("an element", where)[at];
}

template class Tensor<float>;
template class Tensor<double>;
template class Tensor<std::int64_t>;
template class Tensor<bool>;

}  // namespace tapegrad
