// The kernels while somebody looks in: each is a command, which tells what it reads and what it writes and calls the
// kernel of the table for this CPU.

#include <vector>

#include "../core/command.hpp"
#include "../rules/elementwise.hpp"
#include "kernels.hpp"

namespace tapegrad::kernels {
namespace {

using detail::Command;
using detail::command;
using detail::command_of;
using detail::In;
using detail::InOut;
using detail::Out;

template <class T>
Command::Operand reads(const T* data, std::int64_t size) {
  return operand_of(In<T>{data, size});
}

// ------------------------------------------------------------------------------------------------ elementwise

template <class T>
Command::Operand reads(const Source<T>& source, std::int64_t rows, std::int64_t cols) {
  if (rows == 0 || cols == 0) return reads(source.data, 0);
  return reads(source.data, (rows - 1) * source.row + (source.steps ? cols : 1));
}

// A kernel of K sources.
template <std::size_t K, class T>
void elementwise(const char* name, ElementwiseKernel<T> kernel, std::int64_t rows, std::int64_t cols,
                 const Source<T>* in, T p, T* out) {
  struct Body {
    ElementwiseKernel<T> kernel;
    std::int64_t rows, cols;
    std::array<Source<T>, K> in;
    T p;
    void operator()(void* const* data) const {
      std::array<Source<T>, K> sources = in;
      for (std::size_t k = 0; k < K; ++k) sources[k].data = static_cast<const T*>(data[k]);
      kernel(rows, cols, sources.data(), p, static_cast<T*>(data[K]));
    }
  };
  Body body{kernel, rows, cols, {}, p};
  std::array<Command::Operand, K + 1> operands;
  for (std::size_t k = 0; k < K; ++k) {
    body.in[k] = in[k];
    operands[k] = reads(in[k], rows, cols);
  }
  operands[K] = operand_of(Out<T>{out, rows * cols});
  command_of(name, operands, body);
}

template <class Op, class T>
const UnaryKernels<T>& own() {
  return plain<T>().unary[detail::index_in<Op, ops::Unary>];
}
template <class Op, class T>
void unary_value(std::int64_t rows, std::int64_t cols, const Source<T>* in, T p, T* out) {
  elementwise<1>(Op::name, own<Op, T>().value, rows, cols, in, p, out);
}
template <class Op, class T>
void unary_product(std::int64_t rows, std::int64_t cols, const Source<T>* in, T p, T* out) {
  elementwise<3>(Op::name, own<Op, T>().product, rows, cols, in, p, out);
}
template <class T>
void both(const char* name, void (*kernel)(std::int64_t, const T*, T*, T*), std::int64_t n, const T* x, T* y,
          T* slope) {
  command(
      name, [n, kernel](const T* from, T* value, T* its_slope) { kernel(n, from, value, its_slope); }, In<T>{x, n},
      Out<T>{y, n}, Out<T>{slope, n});
}
template <class Op, class T>
void unary_both(std::int64_t n, const T* x, T* y, T* slope) {
  both(Op::name, own<Op, T>().both, n, x, y, slope);
}

template <class Op, class T>
void binary_value(std::int64_t rows, std::int64_t cols, const Source<T>* in, T p, T* out) {
  elementwise<2>(Op::name, plain<T>().binary[detail::index_in<Op, ops::Binary>].value, rows, cols, in, p, out);
}
template <class Op, std::size_t k, class T>
void binary_product(std::int64_t rows, std::int64_t cols, const Source<T>* in, T p, T* out) {
  elementwise<4>(Op::name, plain<T>().binary[detail::index_in<Op, ops::Binary>].product[k], rows, cols, in, p, out);
}

template <class T, class... Op>
constexpr std::array<UnaryKernels<T>, sizeof...(Op)> unary_table(const std::tuple<Op...>*) {
  return {UnaryKernels<T>{unary_value<Op, T>, unary_product<Op, T>, unary_both<Op, T>}...};
}
template <class T, class... Op>
constexpr std::array<BinaryKernels<T>, sizeof...(Op)> binary_table(const std::tuple<Op...>*) {
  return {BinaryKernels<T>{binary_value<Op, T>, {binary_product<Op, 0, T>, binary_product<Op, 1, T>}}...};
}
template <class T>
constexpr auto unary = unary_table<T>(static_cast<const ops::Unary*>(nullptr));
template <class T>
constexpr auto binary = binary_table<T>(static_cast<const ops::Binary*>(nullptr));

template <class T>
void where(std::int64_t rows, std::int64_t cols, const Source<bool>& mask, const Source<T>* in, T* out) {
  struct Body {
    std::int64_t rows, cols;
    Source<bool> mask;
    Source<T> a, b;
    void operator()(void* const* data) const {
      Source<bool> choice = mask;
      choice.data = static_cast<const bool*>(data[0]);
      Source<T> sources[] = {a, b};
      for (std::size_t k = 0; k < 2; ++k) sources[k].data = static_cast<const T*>(data[1 + k]);
      plain<T>().where(rows, cols, choice, sources, static_cast<T*>(data[3]));
    }
  };
  const Command::Operand operands[] = {reads(mask, rows, cols), reads(in[0], rows, cols), reads(in[1], rows, cols),
                                       operand_of(Out<T>{out, rows * cols})};
  command_of("where", operands, Body{rows, cols, mask, in[0], in[1]});
}

// ------------------------------------------------------------------------------------------------ reductions, rows

// From x (outer, count, inner) to y (outer, inner), or the way back.
template <class T, auto member>
void reduce(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner) {
  command(
      "reduce", [=](const T* from, T* to) { (plain<T>().*member)(from, to, outer, count, inner); },
      In<T>{x, outer * count * inner}, Out<T>{y, outer * inner});
}
template <class T>
void find(const T* x, const T* y, std::int64_t* position, std::int64_t outer, std::int64_t count, std::int64_t inner) {
  command(
      "find",
      [=](const T* in, const T* wanted, std::int64_t* to) { plain<T>().find(in, wanted, to, outer, count, inner); },
      In<T>{x, outer * count * inner}, In<T>{y, outer * inner}, Out<std::int64_t>{position, outer * inner});
}
template <class T>
void spread(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner, bool add) {
  const auto body = [=](const T* from, T* to) { plain<T>().spread(from, to, outer, count, inner, add); };
  const In<T> in{x, outer * inner};
  const std::int64_t size = outer * count * inner;
  if (add)
    command("spread and add", body, in, InOut<T>{y, size});
  else
    command("spread", body, in, Out<T>{y, size});
}
template <class T>
void cumsum(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner, bool reverse) {
  const std::int64_t size = outer * count * inner;
  command(
      "cumsum", [=](const T* from, T* to) { plain<T>().cumsum(from, to, outer, count, inner, reverse); },
      In<T>{x, size}, Out<T>{y, size});
}

template <class T>
void softmax(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  command(
      "softmax", [=](const T* from, T* to) { plain<T>().softmax(from, to, rows, cols); }, In<T>{x, rows * cols},
      Out<T>{y, rows * cols});
}
// p may be null.
template <class T, auto member>
void rows_keeping(const char* name, const T* x, T* y, std::int64_t size_of_y, T* p, std::int64_t rows,
                  std::int64_t cols) {
  command(
      name, [=](const T* from, T* to, T* kept) { (plain<T>().*member)(from, to, kept, rows, cols); },
      In<T>{x, rows * cols}, Out<T>{y, size_of_y}, Out<T>{p, p ? rows * cols : 0});
}
template <class T>
void log_softmax(const T* x, T* y, T* p, std::int64_t rows, std::int64_t cols) {
  rows_keeping<T, &Kernels<T>::log_softmax>("log_softmax", x, y, rows * cols, p, rows, cols);
}
template <class T>
void logsumexp(const T* x, T* y, T* p, std::int64_t rows, std::int64_t cols) {
  rows_keeping<T, &Kernels<T>::logsumexp>("logsumexp", x, y, rows, p, rows, cols);
}
template <class T, auto member>
void row_product(const T* p, const T* g, T* out, std::int64_t seeds, std::int64_t rows, std::int64_t cols) {
  command(
      "product of rows", [=](const T* own, const T* v, T* to) { (plain<T>().*member)(own, v, to, seeds, rows, cols); },
      In<T>{p, rows * cols}, In<T>{g, seeds * rows * cols}, Out<T>{out, seeds * rows * cols});
}

// ------------------------------------------------------------------------------------------------ matrices

template <class T, class Result, class Body>
void multiply(const char* name, const Body& body, In<T> a, In<T> b, T beta, Result* c, std::int64_t size) {
  if (beta == 0)
    command(name, body, a, b, Out<T>{c, size});
  else
    command(name, body, a, b, InOut<T>{c, size});
}
template <class T>
void gemm(bool transpose_a, std::int64_t m, std::int64_t n, std::int64_t k, const T* a, const T* b, T beta, T* c) {
  multiply<T>(
      "gemm", [=](const T* x, const T* y, T* out) { plain<T>().gemm(transpose_a, m, n, k, x, y, beta, out); },
      {a, m * k}, {b, k * n}, beta, c, m * n);
}
template <class T>
void gemv(std::int64_t rows, std::int64_t k, const T* a, const T* x, T beta, T* y) {
  multiply<T>(
      "gemv", [=](const T* matrix, const T* v, T* out) { plain<T>().gemv(rows, k, matrix, v, beta, out); },
      {a, rows * k}, {x, k}, beta, y, rows);
}
template <class T>
void transpose(const T* x, T* y, std::int64_t rows, std::int64_t cols) {
  command(
      "transpose", [=](const T* from, T* to) { plain<T>().transpose(from, to, rows, cols); }, In<T>{x, rows * cols},
      Out<T>{y, rows * cols});
}

// The factors of J as operands; and J again, of their addresses.
template <class T>
class Factors {
 public:
  explicit Factors(const StructuredMatrix<T>& J) : J_(J) {
    for (std::int64_t i = 0; i < J.outers; ++i) outer_[i] = J.outer[i];
    for (std::int64_t i = 0; i < J.bands; ++i) band_[i] = J.band[i];
  }
  std::vector<Command::Operand> operands() const {
    std::vector<Command::Operand> all;
    const std::int64_t rows = J_.batch * J_.m, cols = J_.batch * J_.n;
    for (std::int64_t i = 0; i < J_.outers; ++i) {
      all.push_back(reads(outer_[i].left, rows));
      all.push_back(reads(outer_[i].right, cols));
    }
    for (std::int64_t i = 0; i < J_.bands; ++i) all.push_back(reads(band_[i].entries, rows));
    if (J_.triangle != Triangle::none) {
      all.push_back(reads(J_.scale.left, rows));
      all.push_back(reads(J_.scale.right, cols));
    }
    return all;
  }
  // use(J of these addresses, those behind them).
  template <class Use>
  void with(void* const* data, Use use) const {
    const auto next = [&data] { return static_cast<const T*>(*data++); };
    Factors own = *this;
    for (std::int64_t i = 0; i < J_.outers; ++i) own.outer_[i] = {next(), next()};
    for (std::int64_t i = 0; i < J_.bands; ++i) own.band_[i].entries = next();
    if (J_.triangle != Triangle::none) own.J_.scale = {next(), next()};
    own.J_.outer = own.outer_;
    own.J_.band = own.band_;
    use(own.J_, data);
  }

 private:
  StructuredMatrix<T> J_;
  OuterProduct<T> outer_[most_terms];
  Band<T> band_[most_terms];
};

template <class T>
void structured_dense(const StructuredMatrix<T>& J, T* out) {
  const Factors<T> factors(J);
  std::vector<Command::Operand> operands = factors.operands();
  operands.push_back(operand_of(Out<T>{out, J.batch * J.m * J.n}));
  command_of("dense", operands, [factors](void* const* data) {
    factors.with(data, [](const StructuredMatrix<T>& own, void* const* rest) {
      plain<T>().structured_dense(own, static_cast<T*>(rest[0]));
    });
  });
}
template <class T>
void structured_apply(const StructuredMatrix<T>& J, bool transposed, const T* v, T* out) {
  const Factors<T> factors(J);
  std::vector<Command::Operand> operands = factors.operands();
  operands.push_back(reads(v, J.batch * (transposed ? J.m : J.n)));
  operands.push_back(operand_of(Out<T>{out, J.batch * (transposed ? J.n : J.m)}));
  command_of("apply", operands, [factors, transposed](void* const* data) {
    factors.with(data, [transposed](const StructuredMatrix<T>& own, void* const* rest) {
      plain<T>().structured_apply(own, transposed, static_cast<const T*>(rest[0]), static_cast<T*>(rest[1]));
    });
  });
}

// ------------------------------------------------------------------------------------------------ questions, sums,
// updates

// What asks and gives no numbers is no command.
template <class T>
bool all_finite(const T* x, std::int64_t n) {
  return plain<T>().all_finite(x, n);
}
template <class T>
bool any_nan(const T* x, std::int64_t n) {
  return plain<T>().any_nan(x, n);
}

template <class T>
void add_to(T* y, const T* x, std::int64_t n) {
  command(
      "add", [n](T* to, const T* from) { plain<T>().add_to(to, from, n); }, InOut<T>{y, n}, In<T>{x, n});
}

// What a rule of an optimizer reads and writes: g, then from where and to where each of the others goes.
template <auto member, class Update, class T>
void update(const char* name, const Update& given, std::initializer_list<detail::Changed<T> Update::*> changed) {
  struct Body {
    Update update;
    std::array<detail::Changed<T> Update::*, 4> changed;
    std::size_t count;
    void operator()(void* const* data) const {
      Update own = update;
      own.g = static_cast<const T*>(*data++);
      for (std::size_t i = 0; i < count; ++i) {
        detail::Changed<T>& c = own.*changed[i];
        c.from = static_cast<const T*>(*data++);
        c.to = static_cast<T*>(*data++);
      }
      (plain<T>().*member)(own);
    }
  };
  Body body{given, {}, 0};
  std::vector<Command::Operand> operands{reads(given.g, given.n)};
  for (const auto c : changed) {
    body.changed[body.count++] = c;
    const std::int64_t n = (given.*c).to ? given.n : 0;
    operands.push_back(reads((given.*c).from, n));
    operands.push_back(operand_of(Out<T>{(given.*c).to, n}));
  }
  command_of(name, operands, body);
}
template <class T>
void momentum_update(const detail::MomentumUpdate<T>& given) {
  using U = detail::MomentumUpdate<T>;
  update<&Kernels<T>::momentum_update, U, T>("momentum", given, {&U::w, &U::v});
}
template <class T>
void adam_update(const detail::AdamUpdate<T>& given) {
  using U = detail::AdamUpdate<T>;
  update<&Kernels<T>::adam_update, U, T>("adam", given, {&U::w, &U::m, &U::v});
}
template <class T>
void root_update(const detail::RootUpdate<T>& given) {
  using U = detail::RootUpdate<T>;
  update<&Kernels<T>::root_update, U, T>("root", given, {&U::w, &U::v, &U::a, &U::b});
}

template <class T>
constexpr Kernels<T> table = {
    .unary = unary<T>.data(),
    .binary = binary<T>.data(),
    // Only programs use these, which are commands as a whole.
    .comparisons = nullptr,
    .ternary = nullptr,
    .where = where<T>,
    .sum = reduce<T, &Kernels<T>::sum>,
    .max = reduce<T, &Kernels<T>::max>,
    .min = reduce<T, &Kernels<T>::min>,
    .find = find<T>,
    .spread = spread<T>,
    .cumsum = cumsum<T>,
    .softmax = softmax<T>,
    .log_softmax = log_softmax<T>,
    .logsumexp = logsumexp<T>,
    .softmax_product = row_product<T, &Kernels<T>::softmax_product>,
    .log_softmax_product = row_product<T, &Kernels<T>::log_softmax_product>,
    .gemm = gemm<T>,
    .gemv = gemv<T>,
    .transpose = transpose<T>,
    .structured_dense = structured_dense<T>,
    .structured_apply = structured_apply<T>,
    .all_finite = all_finite<T>,
    .any_nan = any_nan<T>,
    .add_to = add_to<T>,
    .momentum_update = momentum_update<T>,
    .adam_update = adam_update<T>,
    .root_update = root_update<T>,
};

}  // namespace

template <class T>
const Kernels<T>& observed_kernels() {
  return table<T>;
}
template const Kernels<float>& observed_kernels();
template const Kernels<double>& observed_kernels();

}  // namespace tapegrad::kernels
