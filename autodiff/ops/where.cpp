// where(mask, a, b). The mask is an operand, but nothing is differentiated by it.

#include "../kernels/kernels.hpp"
#include "broadcast.hpp"
#include "internal.hpp"
#include "operands.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {
namespace {

using kernels::Source;

// out = where(mask, a, b); the operands broadcast to its shape.
template <class T>
void choose(const Array& mask, const Array& a, const Array& b, Array* out) {
  const Shape& shape = out->shape;
  if (shape.count() == 0) return;
  const Loops<3> loops(shape, {&mask.shape, &a.shape, &b.shape});
  loops.for_each_block([&](const auto& offset, std::int64_t at) {
    const Source<bool> choice{mask.as<bool>() + offset[0], loops.row_stride(0), loops.steps(0)};
    const Source<T> sources[] = {{a.as<T>() + offset[1], loops.row_stride(1), loops.steps(1)},
                                 {b.as<T>() + offset[2], loops.row_stride(2), loops.steps(2)}};
    kernels::kernels<T>().where(loops.rows(), loops.cols(), choice, sources, elements<T>(out) + at);
  });
}

template <class T>
struct WherePrimitive {
  static constexpr const char* name = "where";
  static constexpr Reads reads{.operands = 0b1};

  static void evaluate(const NoAttributes&, Operands in, Results out) { choose<T>(*in[0], *in[1], *in[2], out[0]); }
  static Handle product(const Call& call, std::size_t k, const Handle& v) {
    const Tensor<bool> mask = call.operand<bool>(0);
    const Tensor<T> vt(v);
    return (k == 1 ? where(mask, vt, 0.0) : where(mask, 0.0, vt)).handle();
  }
  static constexpr auto pullback = product, pushforward = product;
  static bool accumulate(const Call& call, std::size_t k, Handle& v, bool last, Handle& sum) {
    const Shape& shape = call.output_shape();
    const Array& mask = call.operand_array(0);
    if (v.shape() != shape || call.operand_shape(k) != shape || mask.shape != shape) return false;
    const Tensor<T> zero(T{0});
    const Array &from = *v.array(), &none = *zero.handle().array();
    Handle term(last && unique(v.array()) ? share(v.array()) : Handle(allocate_like<T>(shape)));
    choose<T>(mask, k == 1 ? from : none, k == 1 ? none : from, term.array());
    if (term.array() == v.array()) v = {};
    add_term(sum, std::move(term));
    return true;
  }
  static constexpr auto rows = rows_agree;
  static constexpr bool broadcasts = true;
  static constexpr auto carry = carry_diagonal;
};

}  // namespace

void list_where(std::vector<const Primitive*>& all) { all.push_back(&primitive<WherePrimitive<double>>); }

}  // namespace detail

template <Real T>
Tensor<T> where(const Tensor<bool>& mask, const Tensor<T>& a, const std::type_identity_t<Operand<T>>& b) {
  using namespace detail;
  const Caller& line = b.where();
  const Array &m = value_of(mask, "where", line), &x = value_of(a, "where", line),
              &y = value_of(b.tensor(), "where", line);
  Array* out = allocate_like<T>(broadcast(m.shape, broadcast(x.shape, y.shape, "where", line), "where", line));
  return Tensor<T>(apply<WherePrimitive<T>>({&mask.handle(), &a.handle(), &b.handle()}, out, line));
}

template Tensor<float> where(const Tensor<bool>&, const Tensor<float>&, const Operand<float>&);
template Tensor<double> where(const Tensor<bool>&, const Tensor<double>&, const Operand<double>&);

}  // namespace tapegrad
