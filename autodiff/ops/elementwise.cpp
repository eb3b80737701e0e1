#include "elementwise.hpp"

#include "../kernels/kernels.hpp"
#include "common.hpp"

namespace tapegrad {

// Names of the elementwise text that are spelled differently for tensors. Found through their arguments, so not in an
// unnamed namespace.
template <Real T>
static Tensor<T> power(const Tensor<T>& x, T p) {
  return pow(x, static_cast<double>(p));
}
template <Real T>
static Tensor<T> select(const Tensor<bool>& mask, const Tensor<T>& a, const Tensor<T>& b) {
  return where(mask, a, b);
}

namespace detail {
namespace {

using kernels::Source;

template <std::size_t K, class T>
void run(kernels::ElementwiseKernel<T> kernel, T p, const Shape& out_shape, T* out,
         const std::array<const Array*, K>& in, unsigned full) {
  std::array<Source<T>, K> sources;
  bool same = true;
  for (const Array* array : in) same = same && array->shape == out_shape;
  if (same) {
    for (std::size_t k = 0; k < K; ++k) sources[k] = {in[k]->template as<T>(), 0, true};
    kernel(1, out_shape.count(), sources.data(), p, out);
    return;
  }
  if (out_shape.count() == 0) return;
  std::array<const Shape*, K> shapes;
  for (std::size_t k = 0; k < K; ++k) shapes[k] = &in[k]->shape;
  const Loops<K> loops(out_shape, shapes, full);
  loops.for_each_block([&](const auto& offset, std::int64_t at) {
    for (std::size_t k = 0; k < K; ++k) {
      sources[k] = {in[k]->template as<T>() + offset[k], loops.row_stride(k), loops.steps(k)};
    }
    kernel(loops.rows(), loops.cols(), sources.data(), p, out + at);
  });
}

// v with every repeated axis written out, where the loops need it.
template <class T>
Tensor<T> spread(const Handle& v, const Shape& output) {
  const std::size_t seeds = v.shape().rank() - output.rank();
  return broadcast_to(Tensor<T>(v), v.shape().prefix(seeds).concat(output));
}

template <class T>
Handle pass(int slope, const Handle& v) {
  if (slope == 0) return zeros<T>(v.shape()).handle();
  return slope > 0 ? v : (-Tensor<T>(v)).handle();
}

template <class Op, class T>
Handle unary_product(const Call& call, std::size_t, const Handle& v) {
  if constexpr (Passes<Op>) {
    return pass<T>(Op::passes[0], v);
  } else {
    const T p = static_cast<T>(call.attributes().scalar);
    if (v.traced() || call.traced()) {
      const Tensor<T> vt(v), x = call.operand<T>(0), y = call.output<T>();
      if constexpr (requires { Op::product(vt, x, y, p); })
        return Op::product(vt, x, y, p).handle();
      else
        return Op::product(vt, x, y).handle();
    }
    Handle out(allocate_like<T>(v.shape()));
    run<3, T>(kernels::kernels<T>().unary[index_in<Op, ops::Unary>].product, p, v.shape(), elements<T>(out.array()),
              {v.array(), &call.operand_array(0), &call.output_array()}, 0b101);
    return out;
  }
}

template <class Op, class T>
Handle binary_product(const Call& call, std::size_t k, const Handle& v) {
  if constexpr (Passes<Op>) {
    return pass<T>(Op::passes[k], v);
  } else {
    if (v.traced() || call.traced()) {
      const Tensor<T> vt(v), a = call.operand<T>(0), b = call.operand<T>(1), y = call.output<T>();
      return (k == 0 ? Op::product_a(vt, a, b, y) : Op::product_b(vt, a, b, y)).handle();
    }
    const Shape& shape = call.output_shape();
    Handle full;
    const Array* source = v.array();
    if (!v.shape().ends_with(shape)) {
      full = spread<T>(v, shape).handle();
      source = full.array();
    }
    Handle out(allocate_like<T>(source->shape));
    run<4, T>(kernels::kernels<T>().binary[index_in<Op, ops::Binary>].product[k], T{}, source->shape,
              elements<T>(out.array()), {source, &call.operand_array(0), &call.operand_array(1), &call.output_array()},
              0b1001);
    return out;
  }
}

template <class Op, class T>
constexpr Primitive unary_primitive{Op::name, unary_product<Op, T>, unary_product<Op, T>, rows_agree, true};
template <class Op, class T>
constexpr Primitive binary_primitive{Op::name, binary_product<Op, T>, binary_product<Op, T>, rows_agree, true};

template <class Out, class A, class B, class Body>
Tensor<Out> map(const Tensor<A>& a, const Tensor<B>& b, const char* name, const Where& where, Body body) {
  const Array &x = value_of(a, name, where), &y = value_of(b, name, where);
  Array* out = allocate_like<Out>(broadcast(x.shape, y.shape, name, where));
  if (out->shape.count() != 0) {
    const Loops<2> loops(out->shape, {&x.shape, &y.shape});
    loops.for_each_block([&](const auto& offset, std::int64_t at) {
      for (std::int64_t i = 0; i < loops.rows(); ++i) {
        const A* p = x.as<A>() + offset[0] + i * loops.row_stride(0);
        const B* q = y.as<B>() + offset[1] + i * loops.row_stride(1);
        Out* r = elements<Out>(out) + at + i * loops.cols();
        const std::int64_t sp = loops.steps(0), sq = loops.steps(1);
        for (std::int64_t j = 0; j < loops.cols(); ++j) r[j] = body(p[j * sp], q[j * sq]);
      }
    });
  }
  return Tensor<Out>(Handle(out));
}

}  // namespace

template <class Op, Real T>
Tensor<T> unary(const Tensor<T>& x, const Where& where, double p) {
  const Array& in = value_of(x, Op::name, where);
  Array* out = allocate_like<T>(in.shape);
  const Source<T> source{in.as<T>(), 0, true};
  kernels::kernels<T>().unary[index_in<Op, ops::Unary>].value(1, in.shape.count(), &source, static_cast<T>(p),
                                                              elements<T>(out));
  return Tensor<T>(record(unary_primitive<Op, T>, out, {&x.handle()}, where, {.scalar = p}));
}

template <class Op, Real T>
Tensor<T> binary(const Tensor<T>& a, const Tensor<T>& b, const Where& where) {
  const Array &x = value_of(a, Op::name, where), &y = value_of(b, Op::name, where);
  Array* out = allocate_like<T>(x.shape == y.shape ? x.shape : broadcast(x.shape, y.shape, Op::name, where));
  run<2, T>(kernels::kernels<T>().binary[index_in<Op, ops::Binary>].value, T{}, out->shape, elements<T>(out), {&x, &y},
            0);
  return Tensor<T>(record(binary_primitive<Op, T>, out, {&a.handle(), &b.handle()}, where));
}

namespace {

// Makes the two functions above, and their entries in the registry, for every block of the lists.
template <class T, class... Op>
constexpr auto unary_functions(const std::tuple<Op...>*) {
  return std::array{&unary<Op, T>...};
}
template <class T, class... Op>
constexpr auto binary_functions(const std::tuple<Op...>*) {
  return std::array{&binary<Op, T>...};
}
constexpr const ops::Unary* unary_list = nullptr;
constexpr const ops::Binary* binary_list = nullptr;
[[gnu::used]] constexpr std::tuple functions(unary_functions<float>(unary_list), unary_functions<double>(unary_list),
                                             binary_functions<float>(binary_list),
                                             binary_functions<double>(binary_list));

}  // namespace

template <Real T>
Tensor<bool> compare(Comparison comparison, const Operand<T>& a, const Operand<T>& b) {
  const Where& where = a.where();
  switch (comparison) {
    case Comparison::less:
      return map<bool>(a.tensor(), b.tensor(), "<", where, [](T x, T y) { return x < y; });
    case Comparison::less_equal:
      return map<bool>(a.tensor(), b.tensor(), "<=", where, [](T x, T y) { return x <= y; });
    case Comparison::equal:
      return map<bool>(a.tensor(), b.tensor(), "==", where, [](T x, T y) { return x == y; });
    case Comparison::not_equal:
      break;
  }
  return map<bool>(a.tensor(), b.tensor(), "!=", where, [](T x, T y) { return x != y; });
}

// ------------------------------------------------------------------------------------------------ where

namespace {

template <class T>
Handle where_product(const Call& call, std::size_t k, const Handle& v) {
  const Tensor<bool> mask(share(call.attributes().constant));
  const Tensor<T> vt(v);
  return (k == 0 ? where(mask, vt, 0.0) : where(mask, 0.0, vt)).handle();
}
template <class T>
constexpr Primitive where_primitive{"where", where_product<T>, where_product<T>, rows_agree, true};

}  // namespace

void list_elementwise(std::vector<const Primitive*>& all) {
  [&]<class... Op>(const std::tuple<Op...>*) { (all.push_back(&unary_primitive<Op, double>), ...); }(unary_list);
  [&]<class... Op>(const std::tuple<Op...>*) { (all.push_back(&binary_primitive<Op, double>), ...); }(binary_list);
  all.push_back(&where_primitive<double>);
}

template Tensor<bool> compare(Comparison, const Operand<float>&, const Operand<float>&);
template Tensor<bool> compare(Comparison, const Operand<double>&, const Operand<double>&);

}  // namespace detail

template <Real T>
Tensor<T> where(const Tensor<bool>& mask, const Tensor<T>& a, const std::type_identity_t<Operand<T>>& b) {
  using namespace detail;
  const Where& line = b.where();
  const Array &m = value_of(mask, "where", line), &x = value_of(a, "where", line),
              &y = value_of(b.tensor(), "where", line);
  const Shape shape = broadcast(m.shape, broadcast(x.shape, y.shape, "where", line), "where", line);
  Array* out = allocate_like<T>(shape);
  if (shape.count() != 0) {
    const Loops<3> loops(shape, {&m.shape, &x.shape, &y.shape});
    loops.for_each_block([&](const auto& offset, std::int64_t at) {
      const std::int64_t sm = loops.steps(0), sx = loops.steps(1), sy = loops.steps(2);
      for (std::int64_t i = 0; i < loops.rows(); ++i) {
        const bool* pm = m.as<bool>() + offset[0] + i * loops.row_stride(0);
        const T* px = x.as<T>() + offset[1] + i * loops.row_stride(1);
        const T* py = y.as<T>() + offset[2] + i * loops.row_stride(2);
        T* r = elements<T>(out) + at + i * loops.cols();
        for (std::int64_t j = 0; j < loops.cols(); ++j) r[j] = pm[j * sm] ? px[j * sx] : py[j * sy];
      }
    });
  }
  return Tensor<T>(
      record(where_primitive<T>, out, {&a.handle(), &b.handle()}, line, {.constant = mask.handle().array()}));
}

template Tensor<float> where(const Tensor<bool>&, const Tensor<float>&, const Operand<float>&);
template Tensor<double> where(const Tensor<bool>&, const Tensor<double>&, const Operand<double>&);

Tensor<bool> logical_and(const Tensor<bool>& a, const Tensor<bool>& b, Where where) {
  return detail::map<bool>(a, b, "logical_and", where, [](bool x, bool y) { return x && y; });
}
Tensor<bool> logical_or(const Tensor<bool>& a, const Tensor<bool>& b, Where where) {
  return detail::map<bool>(a, b, "logical_or", where, [](bool x, bool y) { return x || y; });
}
Tensor<bool> logical_not(const Tensor<bool>& a, Where where) {
  return detail::map<bool>(a, a, "logical_not", where, [](bool x, bool) { return !x; });
}

}  // namespace tapegrad
