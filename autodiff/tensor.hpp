#pragma once
// Tensor<T>: a value, perhaps with a place on a tape.
//
//     Tensor<> x{1.0, 2.0, 3.0};                    // double by default
//     Tensor<> A({{1, 2}, {3, 4}});
//     Tensor<> B({2, 3}, {1, 2, 3, 4, 5, 6});       // shape, then elements
//     Tensor<> v(std::vector<double>(5, 0.5));
//     Tensor<float> w = zeros<float>({784, 128});
//     x(1);  A(1, 0);  sum(x).item();  x.shape();  std::cout << A;   // numbers
//     x[1];  A[1];  A[1][0];                                         // tensors, which stay on a tape

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <iterator>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/export.hpp"
#include "core/handle.hpp"
#include "error.hpp"
#include "shape.hpp"

namespace xt {
template <class D>
class xexpression;
}

namespace tapegrad {

/// The number types that can be differentiated.
template <class T>
concept Real = std::is_same_v<T, float> || std::is_same_v<T, double>;

template <class T = double>
class Tensor;
template <class T>
class Operand;

namespace detail {

template <class T>
inline constexpr bool is_element = Real<T> || std::is_same_v<T, std::int64_t> || std::is_same_v<T, bool>;

// No other ranges are accepted: xtensor containers are ranges too, and have a shape.
template <class S, class T>
concept SequenceOf =
    std::is_same_v<S, std::vector<T>> || std::is_same_v<S, std::span<T>> || std::is_same_v<S, std::span<const T>>;

/// A number of things: a whole number, not in braces.
template <class N>
concept Count = std::integral<N> && !std::same_as<N, bool>;

template <class A>
inline constexpr bool is_tensor = false;
template <class T>
inline constexpr bool is_tensor<Tensor<T>> = true;

/// A type that cannot be an index: a floating-point number or a truth value.
template <class A>
concept NoIndex = std::is_floating_point_v<std::remove_cvref_t<A>> || std::is_same_v < std::remove_cvref_t<A>,
bool > ;

}  // namespace detail

namespace ops TAPEGRAD_EXPORT {
struct Negate;
struct Add;
struct Subtract;
struct Multiply;
struct Divide;
}  // namespace TAPEGRAD_EXPORT

namespace detail {

struct Xtensor;  // the bridge, in xtensor.hpp
template <class B>
inline constexpr bool is_complete = requires {
  sizeof(B);
};

/// x[i].
template <class T>
TAPEGRAD_EXPORT Tensor<T> subtensor(const Tensor<T>& x, std::int64_t i, const Caller& where);

/// The number of x[i]. Throws ShapeError for a scalar.
template <class T>
TAPEGRAD_EXPORT std::int64_t subtensors(const Tensor<T>& x, const Caller& where);
template <class T>
class Subtensors;

template <class T>
struct Operators;

/// The elementwise primitives, given as blocks of rules/elementwise.hpp; p is a primitive's constant.
template <class Op, Real T>
TAPEGRAD_EXPORT Tensor<T> unary(const Tensor<T>& x, const Caller& where, double p = 0);
template <class Op, Real T>
TAPEGRAD_EXPORT Tensor<T> binary(const Tensor<T>& a, const Tensor<T>& b, const Caller& where);

enum class Comparison { less, greater, less_equal, greater_equal, equal, not_equal };
template <class T>
TAPEGRAD_EXPORT Tensor<bool> compare(Comparison comparison, const Operand<T>& a, const Operand<T>& b);
/// The sum and the difference of labels.
TAPEGRAD_EXPORT Tensor<std::int64_t> add(const Operand<std::int64_t>& a, const Operand<std::int64_t>& b);
TAPEGRAD_EXPORT Tensor<std::int64_t> subtract(const Operand<std::int64_t>& a, const Operand<std::int64_t>& b);
TAPEGRAD_EXPORT Tensor<bool> both(const Operand<bool>& a, const Operand<bool>& b);
TAPEGRAD_EXPORT Tensor<bool> either(const Operand<bool>& a, const Operand<bool>& b);
TAPEGRAD_EXPORT Tensor<bool> inverse(const Operand<bool>& a);

/// Tensor<bool>, named so that it need not be complete yet.
template <class T>
struct MaskOf {
  using type = Tensor<bool>;
};
template <class T>
using Mask = typename MaskOf<T>::type;

/// Comparisons of numbers and of labels. A NaN is unequal to everything.
template <class T>
struct Comparisons {
  friend Mask<T> operator<(const Operand<T>& a, const Operand<T>& b) { return compare(Comparison::less, a, b); }
  friend Mask<T> operator>(const Operand<T>& a, const Operand<T>& b) { return compare(Comparison::greater, a, b); }
  friend Mask<T> operator<=(const Operand<T>& a, const Operand<T>& b) { return compare(Comparison::less_equal, a, b); }
  friend Mask<T> operator>=(const Operand<T>& a, const Operand<T>& b) {
    return compare(Comparison::greater_equal, a, b);
  }
  friend Mask<T> operator==(const Operand<T>& a, const Operand<T>& b) { return compare(Comparison::equal, a, b); }
  friend Mask<T> operator!=(const Operand<T>& a, const Operand<T>& b) { return compare(Comparison::not_equal, a, b); }
};

/// Operators are found through their operands, take numbers on either side, broadcast as in NumPy, and know the line on
/// which they are written. They throw ShapeError, naming it, if the shapes do not fit, and ValueError for a tensor
/// without a value. Comparisons give masks.
template <class T>
struct Operators {
  static_assert(is_element<T>,
                "a Tensor holds float or double, std::int64_t for labels and indices, or bool for masks; for whole "
                "numbers take Tensor<std::int64_t>");
};
template <Real T>
struct Operators<T> : Comparisons<T> {
  friend Tensor<T> operator+(const Operand<T>& a, const Operand<T>& b) { return of<ops::Add>(a, b); }
  friend Tensor<T> operator-(const Operand<T>& a, const Operand<T>& b) { return of<ops::Subtract>(a, b); }
  friend Tensor<T> operator*(const Operand<T>& a, const Operand<T>& b) { return of<ops::Multiply>(a, b); }
  friend Tensor<T> operator/(const Operand<T>& a, const Operand<T>& b) { return of<ops::Divide>(a, b); }
  friend Tensor<T> operator-(const Operand<T>& a) { return unary<ops::Negate>(a.tensor(), a.where()); }
  friend Tensor<T> operator+(const Operand<T>& a) { return a.tensor(); }
  friend Tensor<T>& operator+=(Tensor<T>& a, const Operand<T>& b) { return a = of<ops::Add>({a, b.where()}, b); }
  friend Tensor<T>& operator-=(Tensor<T>& a, const Operand<T>& b) { return a = of<ops::Subtract>({a, b.where()}, b); }
  friend Tensor<T>& operator*=(Tensor<T>& a, const Operand<T>& b) { return a = of<ops::Multiply>({a, b.where()}, b); }
  friend Tensor<T>& operator/=(Tensor<T>& a, const Operand<T>& b) { return a = of<ops::Divide>({a, b.where()}, b); }

 private:
  template <class Op>
  static Tensor<T> of(const Operand<T>& a, const Operand<T>& b) {
    return binary<Op>(a.tensor(), b.tensor(), a.where());
  }
};
/// Labels. A sum that is too large wraps around, as in NumPy.
template <std::same_as<std::int64_t> T>
struct Operators<T> : Comparisons<T> {
  friend Tensor<T> operator+(const Operand<T>& a, const Operand<T>& b) { return add(a, b); }
  friend Tensor<T> operator-(const Operand<T>& a, const Operand<T>& b) { return subtract(a, b); }
};
/// Masks: the same as logical_and, logical_or and logical_not. Both sides are always computed.
template <std::same_as<bool> T>
struct Operators<T> {
  // Taken as they are, not as Operands: else the operators of the language, with conversions to bool, fit as well. So
  // the line is known only where the right side is a mask.
  friend Tensor<T> operator&&(const Tensor<T>& a, const Operand<T>& b) { return both({a, b.where()}, b); }
  friend Tensor<T> operator||(const Tensor<T>& a, const Operand<T>& b) { return either({a, b.where()}, b); }
  template <class U>
  requires std::is_arithmetic_v<U>
  friend Tensor<T> operator&&(const Tensor<T>& a, U b) { return both({a, Caller{}}, {b, "", 0}); }
  template <class U>
  requires std::is_arithmetic_v<U>
  friend Tensor<T> operator||(const Tensor<T>& a, U b) { return either({a, Caller{}}, {b, "", 0}); }
  template <class U>
  requires std::is_arithmetic_v<U>
  friend Tensor<T> operator&&(U a, const Tensor<T>& b) { return both({a, "", 0}, {b, Caller{}}); }
  template <class U>
  requires std::is_arithmetic_v<U>
  friend Tensor<T> operator||(U a, const Tensor<T>& b) { return either({a, "", 0}, {b, Caller{}}); }
  friend Tensor<T> operator!(const Tensor<T>& a) { return inverse({a, Caller{}}); }
};

}  // namespace detail

/// A contiguous row-major array of float, double, std::int64_t (labels, indices) or bool (masks), held by a cheap
/// handle: copies share the elements, which cannot change under another handle. Inside a differentiated function, a
/// tensor of float or double also has a place on the tape; without one it is a plain value. A number read from it there
/// would be a constant whose derivative is lost. Therefore, until the function returns, everything that reads numbers
/// on that thread throws TapeError; x[i] stays on the tape, stop_gradient(x) can be read on purpose, and printing is
/// allowed. Values outlive tapes: a handle kept from a function that has returned can be read, but throws if an
/// operation tries to record it.
template <class T>
class Tensor : public detail::Operators<T> {
 public:
  using value_type = T;

  /// A tensor without a value: its shape is (0), and operations on it throw ValueError.
  Tensor() = default;
  /// A scalar, of shape ().
  template <class U>
  requires std::is_arithmetic_v<U> Tensor(U value) : handle_(detail::allocate(detail::dtype_of<T>, Shape{})) {
    static_assert(
        !std::is_same_v<T, std::int64_t> || !detail::NoIndex<U>,
        "labels and indices are whole numbers: take(x, 1), not take(x, 1.7); astype<std::int64_t> makes them of "
        "a tensor");
    static_assert(!std::is_same_v<T, bool> || std::is_same_v<U, bool>,
                  "a mask holds truth values, such as those of a comparison: x > 0");
    *elements() = static_cast<T>(value);
  }
  template <class U>
  requires(std::is_same_v<T, bool>&& std::is_pointer_v<U>) Tensor(U) {
    static_assert(detail::never<U>, "a mask holds truth values, such as those of a comparison: x > 0");
  }
  /// A vector of the given elements.
  Tensor(std::initializer_list<T> values)
      : Tensor(Shape{static_cast<std::int64_t>(values.size())}, std::span<const T>(values.begin(), values.size())) {}
  /// A matrix from its rows. A single column needs reshape, because {{1}, {2}} could also be a vector. Throws
  /// ShapeError if the lengths differ.
  Tensor(std::initializer_list<std::initializer_list<T>> rows, Caller where = Caller::here());
  /// A copy of `values`, row-major. Throws ShapeError if their number does not fit the shape, as does the next
  /// constructor.
  Tensor(const Shape& shape, std::span<const T> values, Caller where = Caller::here());
  /// The shape, then the elements, row-major: Tensor<>({2, 3}, {1, 2, 3, 4, 5, 6}). The parentheses matter: the braces
  /// of Tensor<>{{2, 3}, {1, 2}} hold the rows of a matrix.
  Tensor(const Shape& shape, std::initializer_list<T> values, Caller where = Caller::here())
      : Tensor(shape, std::span<const T>(values.begin(), values.size()), where) {}
  /// A vector with a copy of the elements of a std::vector or std::span.
  template <class Sequence>
  requires detail::SequenceOf<Sequence, T>
  explicit Tensor(const Sequence& values, Caller where = Caller::here());
  /// A copy of the value of an xtensor expression. Needs <tapegrad/autodiff/xtensor.hpp>.
  template <class E, class Bridge = detail::Xtensor>
  explicit Tensor(const xt::xexpression<E>& expression) {
    static_assert(detail::is_complete<Bridge>,
                  "a Tensor of an xtensor expression needs #include <tapegrad/autodiff/xtensor.hpp>");
    handle_ = Bridge::template copy<T>(expression.derived_cast());
  }
  /// Makes a tensor from a handle; for use inside the library.
  explicit Tensor(detail::Handle handle) : handle_(std::move(handle)) {}
  Tensor(const Tensor&) = default;
  Tensor(Tensor&&) noexcept = default;
  // Temporaries cannot be assigned to: x[i] = y would change nothing.
  Tensor& operator=(const Tensor&) & = default;
  Tensor& operator=(Tensor&&) & noexcept = default;
  /// Not to temporaries: x[i] = y does not compile, as it would change nothing.
  template <class U>
  Tensor& operator=(const U&) && {
    static_assert(detail::never<U>,
                  "x[i] = y would change a temporary: elements are set by x.mutable_data()[i] = y, or chosen by "
                  "where(mask, y, x)");
    return *this;
  }
  ~Tensor() = default;

  const Shape& shape() const& { return handle_.shape(); }
  Shape shape() const&& { return handle_.shape(); }
  std::int64_t rank() const { return shape().rank(); }
  /// Number of elements.
  std::int64_t size() const { return shape().count(); }
  /// The row-major elements, which live no longer than the tensor; null if there are none.
  const T* data(Caller where = Caller::here()) const& { return read("data", where); }
  const T* data(Caller where = Caller::here()) const&& = delete;
  /// The elements as a span, which lives no longer than the tensor.
  std::span<const T> elements_view(Caller where = Caller::here()) const& {
    return {read("elements_view", where), static_cast<std::size_t>(size())};
  }
  std::span<const T> elements_view(Caller where = Caller::here()) const&& = delete;
  /// The elements for writing; they are copied first if another handle shares them. Throws TapeError for a traced
  /// tensor, because a value on a tape cannot change.
  T* mutable_data(Caller where = Caller::here()) &;
  T* mutable_data(Caller where = Caller::here()) && = delete;

  /// The only element. Throws ShapeError unless there is exactly one.
  T item(Caller where = Caller::here()) const;
  /// Not to numbers or conditions: if (x > 0) and static_cast<double>(x) do not compile, and say why.
  template <class U>
  requires std::is_arithmetic_v<U>
  explicit operator U() const {
    static_assert(detail::never<U>,
                  "a tensor is no number and a mask no condition: x.item() is the only element, x(i) one of several; "
                  "where(mask, a, b) decides for each");
    return U();
  }
  /// One element, given one index per axis; negative indices count from the end. Throws ShapeError if an index is out
  /// of range.
  template <class... Rest>
  requires(std::is_convertible_v<Rest, detail::At>&&...) T operator()(detail::At first, Rest... rest) const {
    const std::int64_t at[] = {first.value, detail::At(rest).value...};
    return element(at, first.where);
  }
  T operator()(Caller where = Caller::here()) const { return element({}, where); }
  /// The entry along the first axis, which disappears: an element of a vector, or a row of a matrix; x[i][j] is an
  /// element of a matrix. Negative indices count from the end. Throws ShapeError if the index is out of range, and for
  /// a scalar.
  Tensor operator[](detail::At i) const { return detail::subtensor(*this, i.value, i.where); }

  /// Iterators over x[0], x[1], ...: `for (Tensor<> element : x)` visits the elements of a vector, the rows of a
  /// matrix, ..., each of which stays on the tape. Throws ShapeError for a scalar.
  detail::Subtensors<T> begin(Caller where = Caller::here()) const {
    detail::subtensors(*this, where);
    return {*this, 0, where};
  }
  detail::Subtensors<T> end(Caller where = Caller::here()) const {
    return {*this, detail::subtensors(*this, where), where};
  }

  /// A const xtensor view of the elements, without a copy; it lives no longer than the tensor, so it is deleted on
  /// rvalues. Needs <tapegrad/autodiff/xtensor.hpp>.
  template <class Bridge = detail::Xtensor>
  auto array(Caller where = Caller::here()) const& {
    static_assert(detail::is_complete<Bridge>, "array() needs #include <tapegrad/autodiff/xtensor.hpp>");
    return Bridge::view(*this, read("array", where));
  }
  template <class Bridge = detail::Xtensor>
  auto array(Caller where = Caller::here()) const&& = delete;

  const detail::Handle& handle() const& { return handle_; }
  detail::Handle handle() && { return std::move(handle_); }
  /// Whether operations on this tensor are recorded.
  bool traced() const { return handle_.traced(); }

 private:
  T* elements() { return handle_.array()->template as<T>(); }
  // The caller is passed by value, so that for a plain tensor nothing but the test is done.
  const T* read(const char* operation, Caller where) const {
    if constexpr (Real<T>) {
      if (traced()) [[unlikely]]
        detail::require_readable(handle_, operation, where);
    }
    return handle_ ? handle_.array()->template as<T>() : nullptr;
  }
  TAPEGRAD_EXPORT T element(std::span<const std::int64_t> index, const Caller& where) const;

  detail::Handle handle_;
};

template <class T>
template <class Sequence>
requires detail::SequenceOf<Sequence, T> Tensor<T>::Tensor(const Sequence& values, Caller where) {
  const Shape shape{static_cast<std::int64_t>(values.size())};
  if constexpr (std::is_same_v<Sequence, std::vector<bool>>) {
    handle_ = detail::Handle(detail::allocate(detail::dtype_of<T>, shape));
    std::copy(values.begin(), values.end(), elements());
  } else {
    *this = Tensor(shape, std::span<const T>(values), where);
  }
}

namespace detail {

/// The iterator over x[0], x[1], .... It holds the tensor, so that one can iterate over a temporary.
template <class T>
class Subtensors {
 public:
  using value_type = Tensor<T>;
  using reference = Tensor<T>;
  using pointer = void;
  using difference_type = std::ptrdiff_t;
  using iterator_category = std::input_iterator_tag;

  Subtensors() = default;
  Subtensors(Tensor<T> x, std::int64_t i, const Caller& where) : x_(std::move(x)), i_(i), where_(where) {}

  Tensor<T> operator*() const { return subtensor(x_, i_, where_); }
  Subtensors& operator++() {
    ++i_;
    return *this;
  }
  Subtensors operator++(int) {
    Subtensors before = *this;
    ++i_;
    return before;
  }
  bool operator==(const Subtensors& other) const { return i_ == other.i_; }

 private:
  Tensor<T> x_;
  std::int64_t i_ = 0;
  Caller where_;
};

/// The elements, even if the tensor is on a tape: for uses that are not part of a computation.
template <class T>
const T* elements_of(const Tensor<T>& x) {
  return x.handle() ? x.handle().array()->template as<T>() : nullptr;
}

}  // namespace detail

/// A tensor or a number where an operation takes either, with the line of the call.
template <class T>
class Operand {
 public:
  Operand(const Tensor<T>& tensor, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : tensor_(tensor), where_{file, line} {}
  Operand(const Tensor<T>& tensor, const Caller& where) : tensor_(tensor), where_(where) {}
  Operand(double number, const char* file = __builtin_FILE(), int line = __builtin_LINE()) requires Real<T>
      : number_(static_cast<T>(number)), tensor_(number_), where_{file, line} {}
  /// A label or a truth value. Any other number does not compile, and the message says so.
  template <class U>
  requires(!Real<T> && std::is_arithmetic_v<U>)
      Operand(U number, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : number_(number), tensor_(number_), where_{file, line} {}
  Operand(const Operand&) = delete;

  const Tensor<T>& tensor() const { return tensor_; }
  const detail::Handle& handle() const { return tensor_.handle(); }
  const Caller& where() const { return where_; }

 private:
  Tensor<T> number_;
  const Tensor<T>& tensor_;
  Caller where_;
};

namespace detail {

template <class A, class B>
auto refuse_mixed(const Tensor<A>& a, const Tensor<B>&) {
  static_assert(
      never<A>,
      "two number types are never mixed silently: astype<float>(x) or astype<double>(x) converts one of them");
  return a;
}

template <class A, class B>
concept Mixed = !std::is_same_v<A, B>;

}  // namespace detail

// Of two number types: these do not compile, and say why.
template <class A, detail::Mixed<A> B>
auto operator+(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}
template <class A, detail::Mixed<A> B>
auto operator-(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}
template <class A, detail::Mixed<A> B>
auto operator*(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}
template <class A, detail::Mixed<A> B>
auto operator/(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}
template <class A, detail::Mixed<A> B>
auto operator<(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}
template <class A, detail::Mixed<A> B>
auto operator>(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}
template <class A, detail::Mixed<A> B>
auto operator<=(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}
template <class A, detail::Mixed<A> B>
auto operator>=(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}
template <class A, detail::Mixed<A> B>
auto operator==(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}
template <class A, detail::Mixed<A> B>
auto operator!=(const Tensor<A>& a, const Tensor<B>& b) {
  return detail::refuse_mixed(a, b);
}

/// Writes the elements in nested brackets; for more than 1000 elements, only the ends of each axis.
template <class T>
TAPEGRAD_EXPORT std::ostream& operator<<(std::ostream& out, const Tensor<T>& x);

extern template class TAPEGRAD_EXPORT Tensor<float>;
extern template class TAPEGRAD_EXPORT Tensor<double>;
extern template class TAPEGRAD_EXPORT Tensor<std::int64_t>;
extern template class TAPEGRAD_EXPORT Tensor<bool>;

}  // namespace tapegrad
