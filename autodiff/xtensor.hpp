#pragma once
// The bridge to xtensor: tensors take any expression and give a const view, without xtensor in the library's binary
// interface.
//
//     xt::xarray<double> a = {{1, 2}, {3, 4}};
//     Tensor<> x(a * 2);                       // copies
//     auto y = tanh(x);
//     xt::xarray<double> b = y.array() + 1;    // y.array() views y

#if !__has_include(<xtensor/xarray.hpp>)
#error "<tapegrad/autodiff/xtensor.hpp> needs xtensor: link the target tapegrad::xtensor"
#endif
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>

#include "tensor.hpp"

#if defined(__GNUC__) && !defined(__clang__)
namespace xt::detail {
// g++ 12 under -std=c++20 picks the fixed-rank container for dynamic shapes (it matches svector<..., 4> against the
// array-like template), so that xt::eval of an xarray expression and every immediate reducer write through null.
template <>
struct xtype_for_shape<xt::dynamic_shape<std::size_t>> {
  template <class T, layout_type L>
  using type = xarray<T, L>;
};
}  // namespace xt::detail
#endif

namespace tapegrad {
namespace detail {

struct Xtensor {
  template <class T>
  static auto view(const Tensor<T>& x, const T* elements) {
    const std::vector<std::size_t> shape(x.shape().begin(), x.shape().end());
    return xt::adapt(elements, static_cast<std::size_t>(x.size()), xt::no_ownership(), shape);
  }
  template <class T, class E>
  static Handle copy(const E& source) {
    Handle handle(allocate(dtype_of<T>, Shape(source.shape().begin(), source.shape().end())));
    T* out = handle.array()->template as<T>();
    constexpr auto row_major = xt::layout_type::row_major;
    for (auto it = source.template begin<row_major>(); it != source.template end<row_major>(); ++it) {
      *out++ = static_cast<T>(*it);
    }
    return handle;
  }
};

}  // namespace detail
}  // namespace tapegrad
