#pragma once
// Loops over contiguous memory, compiled once for baseline x86-64 and once for x86-64-v3 and chosen at run time.
// Kernels know no tape and no tensor.
//
// Padding: every buffer may be read, and every output written, up to `padding` bytes, one AVX2 vector, past its end. A
// loop therefore needs no scalar tail: its last vector spills into the padding, or into the next row, which is written
// afterwards. Where lanes are combined (sums, maxima) the spilled lanes are masked.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../core/command.hpp"
#include "../core/padding.hpp"
#include "update.hpp"

namespace tapegrad::kernels {

using detail::padding;

/// An operand of an elementwise loop over rows and columns: element (i, j) is data[i * row + j], or data[i * row] for
/// every j when it does not step.
template <class T>
struct Source {
  const T* data;
  std::int64_t row;
  bool steps;
};

/// out (rows, cols) from its sources; p is the primitive's constant. At least one source steps; of a product, y
/// always does, and of a unary one v.
template <class T>
using ElementwiseKernel = void (*)(std::int64_t rows, std::int64_t cols, const Source<T>* in, T p, T* out);

template <class T>
struct UnaryKernels {
  ElementwiseKernel<T> value;    // of x
  ElementwiseKernel<T> product;  // of v, x, y; null for a block with `Slope`
  // The value and, kept apart from it, the slope; null for a block without.
  void (*both)(std::int64_t n, const T* x, T* y, T* slope) = nullptr;
};
template <class T>
struct BinaryKernels {
  ElementwiseKernel<T> value;       // of a, b
  ElementwiseKernel<T> product[2];  // of v, a, b, y
};

// left right^T of a block; and entries on a diagonal `shift` columns to the right.
template <class T>
struct OuterProduct {
  const T* left;
  const T* right;
};
template <class T>
struct Band {
  std::int64_t shift;
  const T* entries;
};
enum class Triangle { none, lower, upper };

// A StructuredMatrix has at most so many outer products, and so many bands.
inline constexpr std::int64_t most_terms = 16;

// Products with a factor of a matrix below are strong-zero ones, see ops/elementwise.hpp.
// `batch` blocks (m, n): outer products, bands, and a triangle of ones with its rows and columns scaled. Every factor
// holds one row of m, or of n, for each block. With a triangle m = n.
template <class T>
struct StructuredMatrix {
  std::int64_t batch, m, n;
  const OuterProduct<T>* outer;
  std::int64_t outers;
  const Band<T>* band;
  std::int64_t bands;
  Triangle triangle;
  OuterProduct<T> scale;  // of the triangle
};

template <class T>
struct Kernels {
  // In the order of ops::Unary and ops::Binary; null where a primitive's product is v itself.
  const UnaryKernels<T>* unary;
  const BinaryKernels<T>* binary;
  // In the order of ops::Comparisons and ops::Ternary; one row.
  const ElementwiseKernel<T>* comparisons;
  const ElementwiseKernel<T>* ternary;
  // in[0] where the mask is true, in[1] elsewhere; whatever steps.
  void (*where)(std::int64_t rows, std::int64_t cols, const Source<bool>& mask, const Source<T>* in, T* out);

  // Reductions of x (outer, count, inner) to y (outer, inner). Sums are pairwise over blocks, so the error grows with
  // log(count), not count. max and min are NaN where any element is; count >= 1.
  void (*sum)(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner);
  void (*max)(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner);
  void (*min)(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner);
  // The position in x of the first element of each group that equals y, or is NaN where y is; there is one.
  void (*find)(const T* x, const T* y, std::int64_t* position, std::int64_t outer, std::int64_t count,
               std::int64_t inner);
  // The way back: y (outer, count, inner) = x (outer, inner) for every `count`, or y += x.
  void (*spread)(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner, bool add);
  // Running sum along the middle axis; from the far end when `reverse`.
  void (*cumsum)(const T* x, T* y, std::int64_t outer, std::int64_t count, std::int64_t inner, bool reverse);

  // Rows of x (rows, cols), shifted by their maximum: finite for every finite input. In a row of -inf softmax is 0, its
  // logarithm -inf. A row with NaN or +inf gives NaN, but logsumexp of +inf.
  void (*softmax)(const T* x, T* y, std::int64_t rows, std::int64_t cols);
  // p, where it is not null, becomes softmax(x), within the last digits; y of logsumexp is (rows).
  void (*log_softmax)(const T* x, T* y, T* p, std::int64_t rows, std::int64_t cols);
  void (*logsumexp)(const T* x, T* y, T* p, std::int64_t rows, std::int64_t cols);
  // Products for each row, p = softmax(x): out = p * (g - <g, p>), which is J^T g = J g of softmax, and out = g - p
  // sum(g), J^T g of log_softmax. g and out (seeds, rows, cols), p (rows, cols).
  void (*softmax_product)(const T* p, const T* g, T* out, std::int64_t seeds, std::int64_t rows, std::int64_t cols);
  void (*log_softmax_product)(const T* p, const T* g, T* out, std::int64_t seeds, std::int64_t rows, std::int64_t cols);

  // c (m, n) = op(a) b + beta c, row-major, op(a) (m, k), b (k, n); for sizes that stay in the cache. c may not spill,
  // and is not read for beta = 0.
  void (*gemm)(bool transpose_a, std::int64_t m, std::int64_t n, std::int64_t k, const T* a, const T* b, T beta, T* c);
  // The same for y (rows) = a x + beta y, a (rows, k).
  void (*gemv)(std::int64_t rows, std::int64_t k, const T* a, const T* x, T beta, T* y);

  void (*transpose)(const T* x, T* y, std::int64_t rows, std::int64_t cols);  // y (cols, rows), without spill

  // out (batch, m, n); and out (batch, m) = J v, v (batch, n), or out (batch, n) = J^T v, v (batch, m).
  void (*structured_dense)(const StructuredMatrix<T>& J, T* out);
  void (*structured_apply)(const StructuredMatrix<T>& J, bool transposed, const T* v, T* out);
  bool (*all_finite)(const T* x, std::int64_t n);
  bool (*any_nan)(const T* x, std::int64_t n);

  void (*add_to)(T* y, const T* x, std::int64_t n);  // y += x

  void (*momentum_update)(const detail::MomentumUpdate<T>& update);
  void (*adam_update)(const detail::AdamUpdate<T>& update);
  void (*root_update)(const detail::RootUpdate<T>& update);
};

// The table for this CPU, or the one that TAPEGRAD_ISA=baseline forces.
template <class T>
const Kernels<T>& plain();
// Of the same kernels, each a command: for a thread in which somebody looks.
template <class T>
const Kernels<T>& observed_kernels();
// One of the two, kept for the thread where it is the first.
template <class T>
const Kernels<T>& choose();

template <class T>
const Kernels<T>& kernels() {
  const void* table = detail::door.kernels[std::is_same_v<T, float> ? 0 : 1];
  return table ? *static_cast<const Kernels<T>*>(table) : choose<T>();
}

// "x86-64-v3" or "baseline".
const char* isa();

// Per-ISA tables, one translation unit each.
extern const Kernels<float> baseline_f32;
extern const Kernels<double> baseline_f64;
extern const Kernels<float> v3_f32;
extern const Kernels<double> v3_f64;

}  // namespace tapegrad::kernels
