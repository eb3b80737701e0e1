#pragma once
// What one can differentiate with respect to: a tensor, or anything that holds tensors.
//
//     std::vector<Tensor<>> params;   std::array<Tensor<>, 2> wb;   std::map<std::string, Tensor<>> named;
//     std::tuple<Tensor<>, Tensor<float>> mixed;   TensorList<float> list;
//     struct Net { Tensor<> W, b; auto tensors() { return std::tie(W, b); } };

#include <concepts>
#include <cstddef>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "tensor.hpp"

namespace tapegrad {

/// A vector of tensors whose own storage comes from the pool: copying it in every step makes no heap allocation.
template <Real T>
using TensorList = std::vector<Tensor<T>, detail::PoolAllocator<Tensor<T>>>;

namespace detail {

template <class P>
inline constexpr bool is_real_tensor = false;
template <Real T>
inline constexpr bool is_real_tensor<Tensor<T>> = true;

template <class P>
concept HasTensors = requires(P& p) {
  p.tensors();
};
template <class P>
concept TupleLike = requires {
  std::tuple_size<P>::value;
};
template <class P>
concept Range = requires(P& p) {
  p.begin();
  p.end();
}
&&!is_tensor<std::remove_cv_t<P>>;

/// Calls visit(tensor) for each tensor of float or double that `p` holds, in a fixed order. What holds none does not
/// compile, unless it may be there beside them.
enum class Others { refused, skipped };
template <Others others = Others::refused, class P, class Visit>
void for_each_tensor(P& p, Visit&& visit) {
  using Plain = std::remove_cv_t<P>;
  if constexpr (is_real_tensor<Plain>) {
    visit(p);
  } else if constexpr (HasTensors<P>) {
    std::apply([&](auto&... tensor) { (for_each_tensor<others>(tensor, visit), ...); }, p.tensors());
  } else if constexpr (Range<P>) {
    for (auto& element : p) for_each_tensor<others>(element, visit);
  } else if constexpr (requires(P & pair) {
                         pair.first;
                         pair.second;
                       }) {
    // Of a map's element the first is a name.
    if constexpr (!std::is_convertible_v<decltype(p.first), std::string_view>) {
      for_each_tensor<Others::skipped>(p.first, visit);
    }
    for_each_tensor<others>(p.second, visit);
  } else if constexpr (TupleLike<Plain>) {
    std::apply([&](auto&... element) { (for_each_tensor<others>(element, visit), ...); }, p);
  } else {
    static_assert(others == Others::skipped || is_real_tensor<Plain>,
                  "tapegrad differentiates with respect to a Tensor<float> or Tensor<double>, a vector, array, map or "
                  "tuple of them, or a struct with a member function tensors() that returns std::tie of its tensors");
  }
}

/// How many these are.
template <class P>
std::size_t tensors_in(const P& p) {
  std::size_t count = 0;
  if constexpr (is_real_tensor<P>) {
    count = 1;
  } else {
    P copy = p;
    for_each_tensor(copy, [&count](const auto&) { ++count; });
  }
  return count;
}

/// Whether a and b hold as many tensors under the same keys.
template <class P>
bool same_keys(P& a, P& b) {
  const auto each = []<class Tuple>(Tuple&& x, Tuple&& y) {
    return [&]<std::size_t... i>(std::index_sequence<i...>) {
      return (same_keys(std::get<i>(x), std::get<i>(y)) && ...);
    }
    (std::make_index_sequence<std::tuple_size_v<std::remove_cvref_t<Tuple>>>{});
  };
  if constexpr (HasTensors<P>) {
    return each(a.tensors(), b.tensors());
  } else if constexpr (Range<P> && !std::is_convertible_v<P&, std::string_view>) {
    auto other = b.begin();
    for (auto& element : a) {
      if (other == b.end() || !same_keys(element, *other)) return false;
      ++other;
    }
    return other == b.end();
  } else if constexpr (requires(P & pair) {
                         pair.first;
                         pair.second;
                       }) {
    return same_keys(a.first, b.first) && same_keys(a.second, b.second);
  } else if constexpr (TupleLike<std::remove_cv_t<P>>) {
    return each(a, b);
  } else if constexpr (!is_real_tensor<std::remove_cv_t<P>> && std::equality_comparable<P>) {
    return a == b;
  } else {
    return true;
  }
}

}  // namespace detail
}  // namespace tapegrad
