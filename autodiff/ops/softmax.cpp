// softmax, log_softmax, logsumexp along the last axis; another axis is exchanged with the last and back.
//
// s = softmax(x): J = diag(s) - s s^T (Bridle 1990). l = log_softmax(x): J = I - 1 s^T, not symmetric. lse: J = s^T.

#include "../kernels/kernels.hpp"
#include "common.hpp"

namespace tapegrad {
namespace detail {
namespace {

// The last axis is mixed; others keep their place, or move with `dropped`.
template <int dropped>
std::optional<BatchAxis> last_axis_rows(const Call& call, std::span<const BatchAxis> axes) {
  if (axes[0] == 1) return std::nullopt;
  const bool keep = call.attributes().axes[0] != 0;
  return static_cast<BatchAxis>(axes[0] - (keep ? 0 : dropped));
}

std::int64_t rows_of(const Shape& shape) { return shape.prefix(shape.rank() - 1).count(); }

// ------------------------------------------------------------------------------------------------ softmax

template <class T>
Handle softmax_product(const Call& call, std::size_t, const Handle& v) {
  if (v.traced() || call.traced()) {
    const Tensor<T> vt(v), y = call.output<T>();
    return (y * (vt - sum(vt * y, -1, keep_dims))).handle();
  }
  const Array& y = call.output_array();
  const std::int64_t cols = y.shape.back(), rows = rows_of(y.shape);
  const std::int64_t seeds = v.shape().prefix(v.shape().rank() - y.shape.rank()).count();
  Handle out(allocate_like<T>(v.shape()));
  kernels::kernels<T>().softmax_product(y.as<T>(), v.array()->as<T>(), elements<T>(out.array()), seeds, rows, cols);
  return out;
}
// J diag(d) = diag(y d) - y (y d)^T.
template <class T>
bool softmax_carry(const Carried& carried) {
  if (carried.call.operand_shape(0).back() != carried.in.m) return false;
  const Tensor<T> y = carried.call.output<T>();
  const Diagonal scaled{carried.diagonal.shift,
                        carried.unit() ? y.handle() : (y * Tensor<T>(carried.diagonal.entries)).handle()};
  carried.sum.add(scaled);
  carried.sum.add(RankOne{(-y).handle(), carried.with(scaled).row()});
  return true;
}
template <class T>
constexpr Primitive softmax_primitive{.name = "softmax",
                                      .pullback = softmax_product<T>,
                                      .pushforward = softmax_product<T>,
                                      .rows = last_axis_rows<0>,
                                      .carry = softmax_carry<T>};

template <class T>
Tensor<T> softmax_last(const Tensor<T>& x, const Where& where) {
  const Array& in = value_of(x, "softmax", where);
  Array* out = allocate_like<T>(in.shape);
  kernels::kernels<T>().softmax(in.as<T>(), elements<T>(out), rows_of(in.shape), in.shape.back());
  return Tensor<T>(record(softmax_primitive<T>, out, {&x.handle()}, where));
}

// ------------------------------------------------------------------------------------------------ log_softmax

template <class T>
Handle log_softmax_pullback(const Call& call, std::size_t, const Handle& v) {
  const Tensor<T> vt(v), y = call.output<T>();
  return (vt - exp(y) * sum(vt, -1, keep_dims)).handle();
}
template <class T>
Handle log_softmax_pushforward(const Call& call, std::size_t, const Handle& v) {
  const Tensor<T> vt(v), y = call.output<T>();
  return (vt - sum(exp(y) * vt, -1, keep_dims)).handle();
}
// J diag(d) = diag(d) - 1 (s d)^T.
template <class T>
bool log_softmax_carry(const Carried& carried) {
  if (carried.call.operand_shape(0).back() != carried.in.m) return false;
  const Tensor<T> s = exp(carried.call.output<T>());
  const Diagonal scaled{carried.diagonal.shift,
                        carried.unit() ? s.handle() : (s * Tensor<T>(carried.diagonal.entries)).handle()};
  carried.sum.add(carried.diagonal);
  carried.sum.add(RankOne{full<T>(s.shape(), T{-1}).handle(), carried.with(scaled).row()});
  return true;
}
template <class T>
constexpr Primitive log_softmax_primitive{.name = "log_softmax",
                                          .pullback = log_softmax_pullback<T>,
                                          .pushforward = log_softmax_pushforward<T>,
                                          .rows = last_axis_rows<0>,
                                          .carry = log_softmax_carry<T>};

template <class T>
Tensor<T> log_softmax_last(const Tensor<T>& x, const Where& where) {
  const Array& in = value_of(x, "log_softmax", where);
  Array* out = allocate_like<T>(in.shape);
  kernels::kernels<T>().log_softmax(in.as<T>(), elements<T>(out), rows_of(in.shape), in.shape.back());
  return Tensor<T>(record(log_softmax_primitive<T>, out, {&x.handle()}, where));
}

// ------------------------------------------------------------------------------------------------ logsumexp

template <class T>
Handle logsumexp_pullback(const Call& call, std::size_t, const Handle& v) {
  const bool keep = call.attributes().axes[0] != 0;
  const Tensor<T> vt(v);
  return ((keep ? vt : insert_axes(vt, 1, 1)) * softmax_last(call.operand<T>(0), call.where())).handle();
}
template <class T>
Handle logsumexp_pushforward(const Call& call, std::size_t, const Handle& v) {
  const bool keep = call.attributes().axes[0] != 0;
  return sum_group(Tensor<T>(v) * softmax_last(call.operand<T>(0), call.where()), 1, 1, keep, call.where()).handle();
}
template <class T>
constexpr Primitive logsumexp_primitive{"logsumexp", logsumexp_pullback<T>, logsumexp_pushforward<T>,
                                        last_axis_rows<1>};

template <class T>
Tensor<T> logsumexp_last(const Tensor<T>& x, bool keep, const Where& where) {
  const Array& in = value_of(x, "logsumexp", where);
  Shape shape = in.shape.prefix(in.shape.rank() - 1);
  if (keep) shape.push_back(1);
  Array* out = allocate_like<T>(shape);
  kernels::kernels<T>().logsumexp(in.as<T>(), elements<T>(out), shape.count(), in.shape.back());
  return Tensor<T>(
      record(logsumexp_primitive<T>, out, {&x.handle()}, where, {.axes = {static_cast<std::int8_t>(keep)}}));
}

// ------------------------------------------------------------------------------------------------ any axis

// along(x with `axis` last); then `axis` is put back.
template <class T, class Along>
Tensor<T> on_last_axis(const Tensor<T>& x, int axis, const char* name, const Where& where, Along along) {
  const Shape& shape = value_of(x, name, where).shape;
  const std::size_t at = normalise_axis(axis, shape.rank(), name, shape, where);
  if (shape[at] == 0) {
    throw ShapeError(std::string(name) + to_string(where) + ": the axis is empty in a tensor of shape " +
                     to_string(shape));
  }
  if (at + 1 == shape.rank()) return along(x);
  return swap_axes(along(swap_axes(x, shape.rank() - at, 1, where)), shape.rank() - at, 1, where);
}

}  // namespace

void list_softmax(std::vector<const Primitive*>& all) {
  all.insert(all.end(), {&softmax_primitive<double>, &log_softmax_primitive<double>, &logsumexp_primitive<double>});
}

}  // namespace detail

template <Real T>
Tensor<T> softmax(const Tensor<T>& x, int axis, Where where) {
  return detail::on_last_axis(x, axis, "softmax", where,
                              [&](const Tensor<T>& y) { return detail::softmax_last(y, where); });
}
template <Real T>
Tensor<T> log_softmax(const Tensor<T>& x, int axis, Where where) {
  return detail::on_last_axis(x, axis, "log_softmax", where,
                              [&](const Tensor<T>& y) { return detail::log_softmax_last(y, where); });
}
template <Real T>
Tensor<T> logsumexp(const Tensor<T>& x, int axis, KeepDims keep, Where where) {
  const std::size_t rank = x.rank();
  const bool last = axis == -1 || static_cast<std::size_t>(axis) + 1 == rank;
  const Tensor<T> y = detail::on_last_axis(x, axis, "logsumexp", where, [&](const Tensor<T>& z) {
    return detail::logsumexp_last(z, !last || keep == KeepDims::yes, where);
  });
  if (last || keep == KeepDims::yes) return y;
  const std::size_t at = detail::normalise_axis(axis, rank, "logsumexp", x.shape(), where);
  return reshape(y, x.shape().prefix(at).concat(x.shape().suffix(at + 1)), where);
}

template Tensor<float> softmax(const Tensor<float>&, int, Where);
template Tensor<double> softmax(const Tensor<double>&, int, Where);
template Tensor<float> log_softmax(const Tensor<float>&, int, Where);
template Tensor<double> log_softmax(const Tensor<double>&, int, Where);
template Tensor<float> logsumexp(const Tensor<float>&, int, KeepDims, Where);
template Tensor<double> logsumexp(const Tensor<double>&, int, KeepDims, Where);

}  // namespace tapegrad
