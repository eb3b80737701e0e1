// cumsum: running results along an axis.

#include "../kernels/kernels.hpp"
#include "axes.hpp"
#include "internal.hpp"
#include "operands.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {
namespace {

template <class T>
struct CumsumPrimitive {
  static constexpr const char* name = "cumsum";
  static constexpr Reads reads{};
  struct Attributes {
    std::uint8_t axis;  // from the end
    bool reverse;
  };
  static std::string describe(const Attributes& a) {
    return "axis " + std::to_string(-a.axis) + (a.reverse ? ", from its end" : "");
  }

  static void evaluate(const Attributes& attributes, Operands x, Results y) {
    const Shape& shape = x[0]->shape;
    const AxisView view = around(shape, shape.rank() - attributes.axis);
    kernels::kernels<T>().cumsum(x[0]->as<T>(), elements<T>(y[0]), view.outer, view.count, view.inner,
                                 attributes.reverse);
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) { return again(call, v, true); }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) { return again(call, v, false); }
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    if (axes[0] == call.attributes<Attributes>().axis) return std::nullopt;
    return axes[0];
  }
  // Along a whole block the matrix is a triangle of ones.
  static bool carry(Carry& carry) {
    const Attributes& attributes = carry.call.attributes<Attributes>();
    const std::int64_t count = carry.call.operand_shape(0).from_end(attributes.axis);
    if (count != carry.in.m || count != carry.in.n || carry.diagonal().shift != 0) return false;
    const Matrix::Kind kind = attributes.reverse ? Matrix::Kind::upper : Matrix::Kind::lower;
    return carry.add(Matrix{kind, {}, {}, carry.scale()});
  }

 private:
  static Handle again(const Call& call, const Handle& v, bool transposed) {
    const Attributes& attributes = call.attributes<Attributes>();
    return cumsum_along(Tensor<T>(v), attributes.axis, attributes.reverse != transposed, call.where()).handle();
  }
};

}  // namespace

void list_scan(std::vector<const Primitive*>& all) { all.push_back(&primitive<CumsumPrimitive<double>>); }

template <Real T>
Tensor<T> cumsum_along(const Tensor<T>& x, std::size_t from_end, bool reverse, const Caller& where) {
  return Tensor<T>(apply<CumsumPrimitive<T>>({&x.handle()}, allocate_like<T>(value_of(x, "cumsum", where).shape), where,
                                             {static_cast<std::uint8_t>(from_end), reverse}));
}
template Tensor<float> cumsum_along(const Tensor<float>&, std::size_t, bool, const Caller&);
template Tensor<double> cumsum_along(const Tensor<double>&, std::size_t, bool, const Caller&);

}  // namespace detail

template <Real T>
Tensor<T> cumsum(const Tensor<T>& x, int axis, Caller where) {
  const Shape& shape = detail::value_of(x, "cumsum", where).shape;
  const std::int64_t at = detail::normalize_axis(axis, shape.rank(), "cumsum", shape, where);
  return detail::cumsum_along(x, static_cast<std::size_t>(shape.rank() - at), false, where);
}

template Tensor<float> cumsum(const Tensor<float>&, int, Caller);
template Tensor<double> cumsum(const Tensor<double>&, int, Caller);

}  // namespace tapegrad
