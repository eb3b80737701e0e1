#pragma once
// The choice between two operands by a mask of bytes, without a branch.

#include "elementwise.inl"

namespace tapegrad::kernels {
namespace {

// One lane of all ones, or of zeros, for each byte that is true or false.
template <class T>
using Lanes = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

template <class T>
struct MaskRow {
  using Wide [[gnu::vector_size(sizeof(typename Batch<T>::register_type))]] = Lanes<T>;
  using Bytes [[gnu::vector_size(Batch<T>::size)]] = std::int8_t;

  const bool* row;
  bool steps;

  Wide operator()(std::int64_t j) const {
    Bytes bytes;
    std::memcpy(&bytes, row + j, sizeof bytes);
    return __builtin_convertvector(bytes, Wide) != 0;
  }
};

template <class T, class A, class B>
inline void where_row(std::int64_t cols, const MaskRow<T>& mask, const A& a, const B& b, T* out) {
  using Register = typename Batch<T>::register_type;
  using Wide = typename MaskRow<T>::Wide;
  each_vector<T>(cols, [&](std::int64_t j) {
    const Register x = a(j), y = b(j);
    const Wide m = mask(j);
    store(out + j, Batch<T>((Register)((m & (Wide)x) | (~m & (Wide)y))));
  });
}

template <class T, bool a_steps, bool b_steps>
inline void where_rows(std::int64_t rows, std::int64_t cols, const Source<bool>& mask, const Source<T>* in, T* out) {
  for (std::int64_t i = 0; i < rows; ++i, out += cols) {
    const MaskRow<T> m{mask.data + i * mask.row, mask.steps};
    const RowOf<T, a_steps> a(in[0].data + i * in[0].row);
    const RowOf<T, b_steps> b(in[1].data + i * in[1].row);
    if (mask.steps)
      where_row(cols, m, a, b, out);
    else if (*m.row)
      each_vector<T>(cols, [&](std::int64_t j) { store(out + j, a(j)); });
    else
      each_vector<T>(cols, [&](std::int64_t j) { store(out + j, b(j)); });
  }
}

template <class T>
[[gnu::flatten]] void where(std::int64_t rows, std::int64_t cols, const Source<bool>& mask, const Source<T>* in,
                            T* out) {
  if (in[0].steps && in[1].steps)
    where_rows<T, true, true>(rows, cols, mask, in, out);
  else if (in[0].steps)
    where_rows<T, true, false>(rows, cols, mask, in, out);
  else if (in[1].steps)
    where_rows<T, false, true>(rows, cols, mask, in, out);
  else
    where_rows<T, false, false>(rows, cols, mask, in, out);
}

}  // namespace
}  // namespace tapegrad::kernels
