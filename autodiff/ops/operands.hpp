#pragma once
// The arrays of an operation: checked operands and results.

#include <algorithm>

#include "../core/command.hpp"
#include "../tensor.hpp"

namespace tapegrad::detail {

[[noreturn, gnu::cold]] void throw_no_value(const char* operation, const Caller& where);

/// The array of an operand. Throws ValueError for a tensor that was never given a value.
template <class T>
const Array& value_of(const Tensor<T>& x, const char* operation, const Caller& where) {
  if (!x.handle()) throw_no_value(operation, where);
  return *x.handle().array();
}

template <class T>
Array* allocate_like(const Shape& shape) {
  return allocate(dtype_of<T>, shape);
}
/// The same for an operation whose caller gave the shape: errors name the operation and the user's line.
template <class T>
Array* allocate_result(const Shape& shape, const char* operation, const Caller& where) {
  try {
    return allocate_like<T>(shape);
  } catch (const ShapeError& error) {
    throw ShapeError(operation + to_string(where) + ": " + error.what());
  } catch (const Error& error) {
    throw Error(operation + to_string(where) + ": " + error.what());
  }
}
/// An array for the terms that v becomes: v's own after its last use, where nobody else needs it.
template <class T>
Handle array_for(Handle& v, bool last) {
  if (last && unique(v.array())) return std::move(v);
  return Handle(allocate_as(*v.array()));
}
template <class T>
T* elements(Array* array) {
  return array->template as<T>();
}
/// All elements of an array as an operand of a command. They are counted only while an observer watches.
template <class Access>
struct AllOf {
  decltype(Access::data) data;
  const Array* array;
};
template <class T>
AllOf<In<T>> in_of(const Array& array) {
  return {array.as<T>(), &array};
}
template <class T>
AllOf<Out<T>> out_of(Array* array) {
  return {array->as<T>(), array};
}
template <class T>
AllOf<InOut<T>> in_out_of(Array* array) {
  return {array->as<T>(), array};
}
Command::Operand operand_of(const Array* array, Command::Access access);
template <class T>
Command::Operand operand_of(const AllOf<In<T>>& all) {
  return operand_of(all.array, Command::Access::reads);
}
template <class T>
Command::Operand operand_of(const AllOf<Out<T>>& all) {
  return operand_of(all.array, Command::Access::writes);
}
template <class T>
Command::Operand operand_of(const AllOf<InOut<T>>& all) {
  return operand_of(all.array, Command::Access::updates);
}

template <class T>
void fill(Array* array, T value) {
  command(
      "fill", [n = array->shape.count(), value](T* to) { std::fill_n(to, n, value); }, out_of<T>(array));
}

/// A new tensor of an operation without operands: body(elements, number of elements) sets them.
template <class T, class Body>
Tensor<T> made(const Shape& shape, const char* operation, const Caller& where, const Body& body) {
  Handle out(allocate_result<T>(shape, operation, where));
  const AtSite site(operation, where);
  command(
      operation, [body, n = shape.count()](T* to) { body(to, n); }, out_of<T>(out.array()));
  return Tensor<T>(std::move(out));
}

}  // namespace tapegrad::detail
