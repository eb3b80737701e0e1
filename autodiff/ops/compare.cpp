// Comparisons and the logic of masks; sums and differences of labels.

#include <functional>

#include "../core/command.hpp"
#include "../ops.hpp"
#include "../tape/primitive.hpp"
#include "broadcast.hpp"
#include "operands.hpp"

namespace tapegrad {
namespace detail {
namespace {

// An elementwise operation without a derivative; its operands broadcast.
template <class Op, class T>
struct Elementwise {
  static constexpr const char* name = Op::name;
  using Result = decltype(Op::value(T{}, T{}));

  static void evaluate(const NoAttributes&, Operands in, Results out) {
    const Array &x = *in[0], &y = *in[1];
    const Shape& shape = out[0]->shape;
    if (shape.count() == 0) return;
    command(
        name,
        [loops = Loops<2>(shape, {&x.shape, &y.shape})](const T* a, const T* b, Result* to) {
          loops.for_each_block([&](const auto& offset, std::int64_t at) {
            for (std::int64_t i = 0; i < loops.rows(); ++i) {
              const T* p = a + offset[0] + i * loops.row_stride(0);
              const T* q = b + offset[1] + i * loops.row_stride(1);
              Result* r = to + at + i * loops.cols();
              const std::int64_t sp = loops.steps(0), sq = loops.steps(1);
              for (std::int64_t j = 0; j < loops.cols(); ++j) r[j] = Op::value(p[j * sp], q[j * sq]);
            }
          });
        },
        in_of<T>(x), in_of<T>(y), out_of<Result>(out[0]));
  }
};

template <class Op, class T>
auto elementwise(const Tensor<T>& a, const Tensor<T>& b, const Caller& where) {
  using Result = typename Elementwise<Op, T>::Result;
  const Array &x = value_of(a, Op::name, where), &y = value_of(b, Op::name, where);
  Array* out = allocate_like<Result>(broadcast(x.shape, y.shape, Op::name, where));
  return Tensor<Result>(apply<Elementwise<Op, T>>({&a.handle(), &b.handle()}, out, where));
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
// Labels are added as unsigned numbers, for which overflow is defined.
template <class Op>
std::int64_t wrapped(std::int64_t x, std::int64_t y, Op op) {
  return static_cast<std::int64_t>(op(static_cast<std::uint64_t>(x), static_cast<std::uint64_t>(y)));
}
struct AddLabels {
  static constexpr const char* name = "add";
  static std::int64_t value(std::int64_t x, std::int64_t y) { return wrapped(x, y, std::plus()); }
};
struct SubtractLabels {
  static constexpr const char* name = "subtract";
  static std::int64_t value(std::int64_t x, std::int64_t y) { return wrapped(x, y, std::minus()); }
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

template <class T>
Tensor<bool> compare(Comparison comparison, const Operand<T>& a, const Operand<T>& b) {
  switch (comparison) {
    case Comparison::less:
      return elementwise<Less>(a.tensor(), b.tensor(), a.where());
    case Comparison::greater:
      return elementwise<Greater>(a.tensor(), b.tensor(), a.where());
    case Comparison::less_equal:
      return elementwise<LessEqual>(a.tensor(), b.tensor(), a.where());
    case Comparison::greater_equal:
      return elementwise<GreaterEqual>(a.tensor(), b.tensor(), a.where());
    case Comparison::equal:
      return elementwise<Equal>(a.tensor(), b.tensor(), a.where());
    case Comparison::not_equal:
      break;
  }
  return elementwise<NotEqual>(a.tensor(), b.tensor(), a.where());
}
template Tensor<bool> compare(Comparison, const Operand<float>&, const Operand<float>&);
template Tensor<bool> compare(Comparison, const Operand<double>&, const Operand<double>&);
template Tensor<bool> compare(Comparison, const Operand<std::int64_t>&, const Operand<std::int64_t>&);

Tensor<std::int64_t> add(const Operand<std::int64_t>& a, const Operand<std::int64_t>& b) {
  return elementwise<AddLabels>(a.tensor(), b.tensor(), a.where());
}
Tensor<std::int64_t> subtract(const Operand<std::int64_t>& a, const Operand<std::int64_t>& b) {
  return elementwise<SubtractLabels>(a.tensor(), b.tensor(), a.where());
}
Tensor<bool> both(const Operand<bool>& a, const Operand<bool>& b) {
  return logical_and(a.tensor(), b.tensor(), a.where());
}
Tensor<bool> either(const Operand<bool>& a, const Operand<bool>& b) {
  return logical_or(a.tensor(), b.tensor(), a.where());
}
Tensor<bool> inverse(const Operand<bool>& a) { return logical_not(a.tensor(), a.where()); }

}  // namespace detail

Tensor<bool> logical_and(const Tensor<bool>& a, const Tensor<bool>& b, Caller where) {
  return detail::elementwise<detail::And>(a, b, where);
}
Tensor<bool> logical_or(const Tensor<bool>& a, const Tensor<bool>& b, Caller where) {
  return detail::elementwise<detail::Or>(a, b, where);
}
Tensor<bool> logical_not(const Tensor<bool>& a, Caller where) { return detail::elementwise<detail::Not>(a, a, where); }

}  // namespace tapegrad
