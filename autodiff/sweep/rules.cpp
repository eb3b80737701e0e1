#include "rules.hpp"

#include "../ops.hpp"

namespace tapegrad::detail {

Handle apply(Handle (*rule)(const Call&, std::size_t, const Handle&), bool single_seed, const Call& call, std::size_t k,
             const Handle& v, std::int64_t own_rank, const Shape& result_shape) {
  const std::int64_t seeds = v.shape().rank() - own_rank;
  if (!single_seed || seeds == 0) return rule(call, k, v);
  return with_real(v.array()->dtype, [&]<class T>(T) {
    const Shape prefix = v.shape().prefix(seeds), own = v.shape().suffix(seeds);
    const std::int64_t count = prefix.count();
    if (count == 0) return zeros<T>(prefix.concat(result_shape)).handle();
    const Tensor<T> flat = reshape(Tensor<T>(v), Shape{count}.concat(own));
    std::vector<Tensor<T>> results;
    for (std::int64_t s = 0; s < count; ++s) {
      const Tensor<T> one = reshape(slice(flat, 0, s, s + 1), own);
      const Tensor<T> result(rule(call, k, one.handle()));
      results.push_back(reshape(result, Shape{1}.concat(result.shape())));
    }
    const Tensor<T> all = concatenate(results, 0);
    return reshape(all, prefix.concat(all.shape().suffix(1))).handle();
  });
}

}  // namespace tapegrad::detail
