// Comparisons, and what is made of their masks.

#include "../core/command.hpp"
#include "../ops.hpp"
#include "../tape/primitive.hpp"
#include "broadcast.hpp"
#include "operands.hpp"

namespace tapegrad {
namespace detail {
namespace {

// An operation without derivative, element by element of operands that broadcast.
template <class Op, class A, class B = A>
struct Elementwise {
  static constexpr const char* name = Op::name;

  static void evaluate(const NoAttributes&, Operands in, Results out) {
    const Array &x = *in[0], &y = *in[1];
    const Shape& shape = out[0]->shape;
    if (shape.count() == 0) return;
    command(
        name,
        [loops = Loops<2>(shape, {&x.shape, &y.shape})](const A* a, const B* b, bool* to) {
          loops.for_each_block([&](const auto& offset, std::int64_t at) {
            for (std::int64_t i = 0; i < loops.rows(); ++i) {
              const A* p = a + offset[0] + i * loops.row_stride(0);
              const B* q = b + offset[1] + i * loops.row_stride(1);
              bool* r = to + at + i * loops.cols();
              const std::int64_t sp = loops.steps(0), sq = loops.steps(1);
              for (std::int64_t j = 0; j < loops.cols(); ++j) r[j] = Op::value(p[j * sp], q[j * sq]);
            }
          });
        },
        in_of<A>(x), in_of<B>(y), out_of<bool>(out[0]));
  }
};

template <class Op, class T>
Tensor<bool> mask(const Tensor<T>& a, const Tensor<T>& b, const Where& where) {
  const Array &x = value_of(a, Op::name, where), &y = value_of(b, Op::name, where);
  Array* out = allocate_like<bool>(broadcast(x.shape, y.shape, Op::name, where));
  return Tensor<bool>(apply<Elementwise<Op, T>>({&a.handle(), &b.handle()}, out, where));
}

struct Less {
  static constexpr const char* name = "<";
  static bool value(auto x, auto y) { return x < y; }
};
struct Greater {
  static constexpr const char* name = ">";
  static bool value(auto x, auto y) { return x > y; }
};
struct LessEqual {
  static constexpr const char* name = "<=";
  static bool value(auto x, auto y) { return x <= y; }
};
struct GreaterEqual {
  static constexpr const char* name = ">=";
  static bool value(auto x, auto y) { return x >= y; }
};
struct Equal {
  static constexpr const char* name = "==";
  static bool value(auto x, auto y) { return x == y; }
};
struct NotEqual {
  static constexpr const char* name = "!=";
  static bool value(auto x, auto y) { return x != y; }
};
struct And {
  static constexpr const char* name = "logical_and";
  static bool value(bool x, bool y) { return x && y; }
};
struct Or {
  static constexpr const char* name = "logical_or";
  static bool value(bool x, bool y) { return x || y; }
};
struct Not {
  static constexpr const char* name = "logical_not";
  static bool value(bool x, bool) { return !x; }
};

}  // namespace

template <Real T>
Tensor<bool> compare(Comparison comparison, const Operand<T>& a, const Operand<T>& b) {
  switch (comparison) {
    case Comparison::less:
      return mask<Less>(a.tensor(), b.tensor(), a.where());
    case Comparison::greater:
      return mask<Greater>(a.tensor(), b.tensor(), a.where());
    case Comparison::less_equal:
      return mask<LessEqual>(a.tensor(), b.tensor(), a.where());
    case Comparison::greater_equal:
      return mask<GreaterEqual>(a.tensor(), b.tensor(), a.where());
    case Comparison::equal:
      return mask<Equal>(a.tensor(), b.tensor(), a.where());
    case Comparison::not_equal:
      break;
  }
  return mask<NotEqual>(a.tensor(), b.tensor(), a.where());
}
template Tensor<bool> compare(Comparison, const Operand<float>&, const Operand<float>&);
template Tensor<bool> compare(Comparison, const Operand<double>&, const Operand<double>&);

}  // namespace detail

Tensor<bool> logical_and(const Tensor<bool>& a, const Tensor<bool>& b, Where where) {
  return detail::mask<detail::And>(a, b, where);
}
Tensor<bool> logical_or(const Tensor<bool>& a, const Tensor<bool>& b, Where where) {
  return detail::mask<detail::Or>(a, b, where);
}
Tensor<bool> logical_not(const Tensor<bool>& a, Where where) { return detail::mask<detail::Not>(a, a, where); }

}  // namespace tapegrad
