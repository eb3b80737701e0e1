// The elementwise primitives: each block of rules/elementwise.hpp, and the kernels made of it, as an operation.

#include "../rules/reads.hpp"

#include <algorithm>

#include "../kernels/kernels.hpp"
#include "broadcast.hpp"
#include "internal.hpp"
#include "operands.hpp"
#include "registry.hpp"

namespace tapegrad {

// The rules' text calls this name, which is spelled differently for tensors. It is found through its arguments, and so
// cannot be in an unnamed namespace.
template <Real T>
static Tensor<T> power(const Tensor<T>& x, T p) {
  return pow(x, static_cast<double>(p));
}

namespace detail {
namespace {

using kernels::Source;

bool is_column_of(const Shape& shape, const Shape& whole) {
  const std::int64_t last = whole.rank() - 1;
  if (shape.rank() != whole.rank() || shape.back() != 1) return false;
  for (std::int64_t i = 0; i < last; ++i) {
    if (shape[i] != whole[i]) return false;
  }
  return true;
}

template <std::size_t K, class T>
[[gnu::noinline]] void run(kernels::ElementwiseKernel<T> kernel, T p, const Shape& out_shape, T* out,
                           const std::array<const Array*, K>& in, unsigned full) {
  std::array<Source<T>, K> sources;
  // Usually every source is either whole, one number for each row, or a single number.
  const std::int64_t cols = out_shape.empty() ? 1 : out_shape.back();
  const std::int64_t rows = out_shape.empty() ? 1 : out_shape.count(0, out_shape.rank() - 1);
  bool whole = true, simple = true;
  for (std::size_t k = 0; k < K; ++k) {
    const Shape& shape = in[k]->shape;
    const T* data = in[k]->template as<T>();
    if (shape == out_shape) {
      sources[k] = {data, cols, true};
    } else {
      whole = false;
      const bool one = shape.count() == 1;
      sources[k] = {data, one ? 0 : 1, false};
      simple = simple && (one || is_column_of(shape, out_shape)) && (full >> k & 1U) == 0;
    }
  }
  if (rows * cols == 0) return;
  if (whole) return kernel(1, rows * cols, sources.data(), p, out);
  if (simple) return kernel(rows, cols, sources.data(), p, out);
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

template <class T>
Handle pass(int slope, const Handle& v) {
  if (slope == 0) return zeros<T>(v.shape()).handle();
  return slope > 0 ? v : (-Tensor<T>(v)).handle();
}

// A block that computes its slope together with its value; the record keeps the slope as a second operand.
template <class Op>
concept KeepsSlope = requires {
  typename Op::Slope;
};
template <class Op>
concept TakesConstant = requires(double x) {
  Op::value(x, x);
};
struct Constant {
  double p;
};

// Of a formula in n operands and the output.
template <unsigned n>
Reads as_reads(ops::Read all) {
  return {.operands = all.arguments & ((1U << n) - 1), .output = (all.arguments >> n & 1U) != 0};
}

// What the functions that serve all blocks have to know of one of a single operand.
struct UnaryBlock {
  std::uint32_t index;  // of its kernels
  bool keeps_slope, takes_constant;
};
template <class Op>
constexpr UnaryBlock unary_block{index_in<Op, ops::Unary>, KeepsSlope<Op>, TakesConstant<Op>};

template <class T>
[[gnu::always_inline]] inline void compute(UnaryBlock block, T p, const Array& x, Array* out, Array* slope) {
  const kernels::UnaryKernels<T>& kernel = kernels::kernels<T>().unary[block.index];
  if (slope) return kernel.both(x.shape.count(), x.as<T>(), elements<T>(out), elements<T>(slope));
  const Source<T> source{x.as<T>(), 0, true};
  kernel.value(1, x.shape.count(), &source, p, elements<T>(out));
}

template <class T>
[[gnu::always_inline]] inline void compute(std::size_t index, const Array& a, const Array& b, bool same_shape,
                                           Array* out) {
  const auto kernel = kernels::kernels<T>().binary[index].value;
  if (same_shape) {
    const Source<T> sources[] = {{a.as<T>(), 0, true}, {b.as<T>(), 0, true}};
    kernel(1, a.shape.count(), sources, T{}, elements<T>(out));
  } else {
    run<2, T>(kernel, T{}, out->shape, elements<T>(out), {&a, &b}, 0);
  }
}

// The slope too, where there is room for it.
template <class T>
[[gnu::noinline]] void evaluate_unary(UnaryBlock block, T p, Operands in, Results out) {
  compute<T>(block, p, *in[0], out[0], out.size() > 1 ? out[1] : nullptr);
}
template <class T>
[[gnu::noinline]] void evaluate_binary(std::size_t index, Operands in, Results out) {
  compute<T>(index, *in[0], *in[1], in[0]->shape == in[1]->shape, out[0]);
}

template <class T>
[[gnu::noinline]] Handle unary_product(UnaryBlock block, T p, const Call& call, const Handle& v) {
  if (block.keeps_slope) return mul0(Tensor<T>(v), call.operand<T>(1), call.where()).handle();
  Handle out(allocate_as(*v.array()));
  const auto kernel = kernels::kernels<T>().unary[block.index].product;
  const Array &x = call.operand_array(0), &y = call.output_array();
  if (v.shape() == y.shape) {
    const Source<T> in[] = {{v.array()->as<T>(), 0, true}, {x.as<T>(), 0, true}, {y.as<T>(), 0, true}};
    kernel(1, y.shape.count(), in, p, elements<T>(out.array()));
  } else {
    run<3, T>(kernel, p, v.shape(), elements<T>(out.array()), {v.array(), &x, &y}, 0b101);
  }
  return out;
}

template <class T>
[[gnu::noinline]] Handle binary_product(std::size_t index, const Call& call, std::size_t k, const Handle& v) {
  // v may repeat, behind its seed axes, as an operand does.
  const Shape& own = call.output_shape();
  Handle out(v.shape() == own || v.shape().ends_with(own) ? allocate_as(*v.array())
                                                          : allocate_like<T>(seeded(v, own, own)));
  run<4, T>(kernels::kernels<T>().binary[index].product[k], T{}, out.shape(), elements<T>(out.array()),
            {v.array(), &call.operand_array(0), &call.operand_array(1), &call.output_array()}, 0b1000);
  return out;
}

// sum += sign v, or sum += sign (v summed along `view`). A sum that stays empty is 0.
template <class T>
bool accumulate_pass(int sign, Handle& v, bool last, Handle& sum, const Shape& own) {
  if (sign == 0) return true;
  const auto& subtract = kernels::kernels<T>().binary[index_in<ops::Subtract, ops::Binary>].value;
  const auto& negate = kernels::kernels<T>().unary[index_in<ops::Negate, ops::Unary>].value;
  const Source<T> from{v.array()->template as<T>(), 0, true};
  const std::int64_t count = own.count();
  Handle term;
  if (v.shape() != own) {
    const std::optional<AxisView> view = repeated(own, v.shape());
    if (!view) return false;
    term = Handle(allocate_like<T>(own));
    T* out = elements<T>(term.array());
    kernels::kernels<T>().sum(from.data, out, view->outer, view->count, view->inner);
    if (sign < 0) {
      const Source<T> summed{out, 0, true};
      negate(1, count, &summed, T{}, out);
    }
  } else if (sign > 0) {
    term = last ? std::move(v) : v;
  } else if (sum) {
    T* out = elements<T>(sum.array());
    const Source<T> both[] = {{out, 0, true}, from};
    subtract(1, count, both, T{}, out);
    return true;
  } else {
    term = array_for<T>(v, last);
    negate(1, count, &from, T{}, elements<T>(term.array()));
  }
  add_term(sum, std::move(term));
  return true;
}

template <class T>
[[gnu::noinline]] bool accumulate_unary(UnaryBlock block, T p, const Call& call, Handle& v, bool last, Handle& sum) {
  const Array &x = call.operand_array(0), &y = call.output_array();
  if (v.shape() != y.shape) return false;
  const T* from = v.array()->template as<T>();
  Handle term = array_for<T>(v, last);
  T* out = elements<T>(term.array());
  if (block.keeps_slope) {
    const Source<T> in[] = {{from, 0, true}, {call.operand_array(1).template as<T>(), 0, true}};
    kernels::kernels<T>().binary[index_in<ops::Mul0, ops::Binary>].value(1, y.shape.count(), in, p, out);
  } else {
    const Source<T> in[] = {{from, 0, true}, {x.as<T>(), 0, true}, {y.as<T>(), 0, true}};
    kernels::kernels<T>().unary[block.index].product(1, y.shape.count(), in, p, out);
  }
  add_term(sum, std::move(term));
  return true;
}

// J_k^T v for an operand that repeats along the last axes, summed a few rows at a time, so that the products stay in
// the cache. The other operand does not repeat.
template <class T>
void sum_products(kernels::ElementwiseKernel<T> product, std::size_t k, const AxisView& view, const T* v,
                  const std::array<const T*, 2>& operands, const T* y, T* out) {
  constexpr std::int64_t block = 1024;
  const std::int64_t most = std::clamp<std::int64_t>(block / view.count, 1, view.outer);
  alignas(kernels::padding) std::array<T, block + kernels::padding / sizeof(T)> few;
  const Handle many(view.count > block ? allocate_like<T>({view.count}) : nullptr);
  T* products = many ? elements<T>(many.array()) : few.data();
  for (std::int64_t row = 0; row < view.outer; row += most) {
    const std::int64_t rows = std::min(most, view.outer - row), at = row * view.count;
    std::array<Source<T>, 4> in = {{{v + at, view.count, true}, {}, {}, {y + at, view.count, true}}};
    in[1 + k] = {operands[k] + row, 1, false};
    in[2 - k] = {operands[1 - k] + at, view.count, true};
    product(rows, view.count, in.data(), T{}, products);
    kernels::kernels<T>().sum(products, out + row, rows, view.count, 1);
  }
}

template <class T>
[[gnu::noinline]] bool accumulate_binary(std::size_t index, const Call& call, std::size_t k, Handle& v, bool last,
                                         Handle& sum) {
  const Array &a = call.operand_array(0), &b = call.operand_array(1), &y = call.output_array();
  const Shape &shape = y.shape, &own = call.operand_shape(k);
  if (v.shape() != shape) return false;
  const auto kernel = kernels::kernels<T>().binary[index].product[k];
  const bool same = a.shape == shape && b.shape == shape;
  Handle term;
  if (own == shape) {
    // What a row spills would meet the next one, unread as yet.
    const bool whole_vectors =
        !shape.empty() && static_cast<std::size_t>(shape.back()) * sizeof(T) % kernels::padding == 0;
    const T* from = v.array()->template as<T>();
    term = array_for<T>(v, last && (same || whole_vectors));
    T* out = elements<T>(term.array());
    if (same) {
      const Source<T> in[] = {{from, 0, true}, {a.as<T>(), 0, true}, {b.as<T>(), 0, true}, {y.as<T>(), 0, true}};
      kernel(1, shape.count(), in, T{}, out);
    } else if (shape.count() != 0) {
      const Loops<2> loops(shape, {&a.shape, &b.shape});
      loops.for_each_block([&](const auto& offset, std::int64_t at) {
        const Source<T> in[] = {{from + at, loops.cols(), true},
                                {a.as<T>() + offset[0], loops.row_stride(0), loops.steps(0)},
                                {b.as<T>() + offset[1], loops.row_stride(1), loops.steps(1)},
                                {y.as<T>() + at, loops.cols(), true}};
        kernel(loops.rows(), loops.cols(), in, T{}, out + at);
      });
    }
  } else {
    const std::optional<AxisView> view = repeated(own, shape);
    if (!view || view->inner != 1 || call.operand_shape(1 - k) != shape || shape.count() == 0) return false;
    term = Handle(allocate_like<T>(own));
    sum_products<T>(kernel, k, *view, v.array()->template as<T>(), {a.as<T>(), b.as<T>()}, y.as<T>(),
                    elements<T>(term.array()));
  }
  add_term(sum, std::move(term));
  return true;
}

template <class Op, class T>
struct UnaryPrimitive {
  static constexpr const char* name = Op::name;
  using Attributes = std::conditional_t<TakesConstant<Op>, Constant, NoAttributes>;
  static T constant(const Attributes& attributes) {
    if constexpr (TakesConstant<Op>) return static_cast<T>(attributes.p);
    return {};
  }
  static std::string describe(const Attributes& attributes) {
    if constexpr (TakesConstant<Op>) return std::to_string(attributes.p);
    return {};
  }
  static void evaluate(const Attributes& attributes, Operands in, Results out) {
    evaluate_unary<T>(unary_block<Op>, constant(attributes), in, out);
  }
  static Handle product(const Call& call, std::size_t, const Handle& v) {
    if constexpr (Passes<Op>) {
      return pass<T>(Op::passes[0], v);
    } else {
      const T p = constant(attributes_of<UnaryPrimitive>(call));
      if (!v.traced() && !call.traced()) return unary_product<T>(unary_block<Op>, p, call, v);
      return ops::product<Op>(Tensor<T>(v), call.operand<T>(0), call.output<T>(), p).handle();
    }
  }
  static constexpr auto pullback = product, pushforward = product;
  static Reads reads(const Attributes& attributes, std::size_t) {
    if constexpr (Passes<Op>) {
      return {};
    } else if constexpr (KeepsSlope<Op>) {
      return {.operands = 0b10};
    } else {
      using R = ops::Read;
      return as_reads<1>(ops::product<Op>(R(0), R::argument(0), R::argument(1), constant(attributes)));
    }
  }
  static bool accumulate(const Call& call, std::size_t, Handle& v, bool last, Handle& sum) {
    if constexpr (Passes<Op>)
      return v.shape() == call.output_shape() && accumulate_pass<T>(Op::passes[0], v, last, sum, call.operand_shape(0));
    else
      return accumulate_unary<T>(unary_block<Op>, constant(attributes_of<UnaryPrimitive>(call)), call, v, last, sum);
  }
  static constexpr auto rows = rows_agree;
  static constexpr bool broadcasts = true;
  static constexpr auto carry = carry_diagonal;
};

template <class Op, class T>
struct BinaryPrimitive {
  static constexpr const char* name = Op::name;
  static constexpr std::size_t index = index_in<Op, ops::Binary>;

  static void evaluate(const NoAttributes&, Operands in, Results out) { evaluate_binary<T>(index, in, out); }
  static Handle product(const Call& call, std::size_t k, const Handle& v) {
    if constexpr (Passes<Op>) {
      return pass<T>(Op::passes[k], v);
    } else {
      if (!v.traced() && !call.traced()) return binary_product<T>(index, call, k, v);
      const Tensor<T> vt(v), a = call.operand<T>(0), b = call.operand<T>(1), y = call.output<T>();
      return (k == 0 ? ops::product<Op, 0>(vt, a, b, y) : ops::product<Op, 1>(vt, a, b, y)).handle();
    }
  }
  static constexpr auto pullback = product, pushforward = product;
  static Reads reads(const NoAttributes&, std::size_t k) {
    if constexpr (Passes<Op>) {
      return {};
    } else {
      using R = ops::Read;
      const R a = R::argument(0), b = R::argument(1), y = R::argument(2);
      return as_reads<2>(k == 0 ? ops::product<Op, 0>(R(0), a, b, y) : ops::product<Op, 1>(R(0), a, b, y));
    }
  }
  static bool accumulate(const Call& call, std::size_t k, Handle& v, bool last, Handle& sum) {
    if constexpr (Passes<Op>)
      return v.shape() == call.output_shape() && accumulate_pass<T>(Op::passes[k], v, last, sum, call.operand_shape(k));
    else
      return accumulate_binary<T>(index, call, k, v, last, sum);
  }
  static constexpr auto rows = rows_agree;
  static constexpr bool broadcasts = true;
  static constexpr auto carry = carry_diagonal;
};

// Looked at, a call goes by the functions above, which makes the way of all others shorter.
template <class T>
[[gnu::noinline]] Tensor<T> call_unary(const Primitive& as, UnaryBlock block, const Tensor<T>& x, const Caller& where,
                                       double p) {
  const Array& in = value_of(x, as.name, where);
  Handle value(allocate_as(in));
  const Handle slope(block.keeps_slope && x.handle().traced() ? allocate_as(in) : nullptr);
  if (observed()) [[unlikely]] {
    const AtSite site(as.name, where);
    const Array* const operands[] = {&in};
    Array* const results[] = {value.array(), slope.array()};
    evaluate_unary<T>(block, static_cast<T>(p), operands, results);
  } else {
    compute<T>(block, static_cast<T>(p), in, value.array(), slope.array());
  }
  const Handle* const all[] = {&x.handle(), &slope};
  if (block.takes_constant) return Tensor<T>(record(as, std::move(value), std::span(all, 1), Constant{p}, where));
  return Tensor<T>(record(as, std::move(value), std::span(all, slope ? 2 : 1), NoAttributes{}, where));
}

template <class T>
[[gnu::noinline]] Tensor<T> call_binary(const Primitive& as, std::size_t index, const Tensor<T>& a, const Tensor<T>& b,
                                        const Caller& where) {
  const Array &x = value_of(a, as.name, where), &y = value_of(b, as.name, where);
  const bool same_shape = x.shape == y.shape;
  Handle value(same_shape ? allocate_as(x) : allocate_like<T>(broadcast(x.shape, y.shape, as.name, where)));
  if (observed()) [[unlikely]] {
    const AtSite site(as.name, where);
    const Array* const operands[] = {&x, &y};
    Array* const results[] = {value.array()};
    evaluate_binary<T>(index, operands, results);
  } else {
    compute<T>(index, x, y, same_shape, value.array());
  }
  const Handle* const all[] = {&a.handle(), &b.handle()};
  return Tensor<T>(record(as, std::move(value), all, NoAttributes{}, where));
}

}  // namespace

template <class Op, Real T>
Tensor<T> unary(const Tensor<T>& x, const Caller& where, double p) {
  return call_unary(primitive<UnaryPrimitive<Op, T>>, unary_block<Op>, x, where, p);
}

template <class Op, Real T>
Tensor<T> binary(const Tensor<T>& a, const Tensor<T>& b, const Caller& where) {
  return call_binary(primitive<BinaryPrimitive<Op, T>>, index_in<Op, ops::Binary>, a, b, where);
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

void list_elementwise(std::vector<const Primitive*>& all) {
  [&]<class... Op>(const std::tuple<Op...>*) {
    (all.push_back(&primitive<UnaryPrimitive<Op, double>>), ...);
  }(unary_list);
  [&]<class... Op>(const std::tuple<Op...>*) {
    (all.push_back(&primitive<BinaryPrimitive<Op, double>>), ...);
  }(binary_list);
}

}  // namespace detail
}  // namespace tapegrad
