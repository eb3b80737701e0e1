// softmax, log_softmax and logsumexp along the last axis; any other axis is exchanged with the last one and back.
//
// s = softmax(x): J = diag(s) - s s^T (Bridle 1990). l = log_softmax(x): J = I - 1 s^T, which is not symmetric; s is
// computed from x and not as exp(l), whose error grows with |l|. lse: J = s^T.

#include "softmax.hpp"

#include <limits>

#include "../kernels/kernels.hpp"
#include "axes.hpp"
#include "internal.hpp"
#include "operands.hpp"
#include "registry.hpp"

namespace tapegrad {
namespace detail {
namespace {

std::int64_t rows_of(const Shape& shape) { return shape.prefix(shape.rank() - 1).count(); }

// Applies a product of the kernels to v, which may have seed axes in front.
template <class T, class Product>
Handle by_rows(Product product, const Array& p, const Array& v) {
  const std::int64_t cols = p.shape.back(), rows = rows_of(p.shape);
  const std::int64_t seeds = v.shape.prefix(v.shape.rank() - p.shape.rank()).count();
  Handle out(allocate_as(v));
  product(p.as<T>(), v.as<T>(), elements<T>(out.array()), seeds, rows, cols);
  return out;
}

// v - v_k for the element k with p_k > 1/2, if there is one. The products below depend only on the differences v_j -
// <v, p>, which do not change when a constant is subtracted from v; with v_k = 0, 1 - p_k is never formed. An infinite
// v_k is not subtracted, because that would turn everything into NaN.
template <class T>
Tensor<T> from_largest(const Tensor<T>& v, const Tensor<T>& p) {
  const Tensor<T> own = sum(where(p > 0.5, v, 0.0), -1, keep_dims), numbers = stop_gradient(own);
  if (kernels::kernels<T>().all_finite(numbers.data(), own.size())) return v - own;
  return v - where(abs(numbers) < std::numeric_limits<T>::infinity(), own, 0.0);
}

// ------------------------------------------------------------------------------------------------ softmax

// The last axis is mixed; the others keep their places.
std::optional<BatchAxis> last_axis_rows(const Call&, std::span<const BatchAxis> axes) {
  if (axes[0] == 1) return std::nullopt;
  return axes[0];
}

template <class T>
struct SoftmaxPrimitive {
  static constexpr const char* name = "softmax";
  static constexpr Reads reads{.output = true};

  static void evaluate(const NoAttributes&, Operands x, Results y) {
    const Shape& shape = x[0]->shape;
    kernels::kernels<T>().softmax(x[0]->as<T>(), elements<T>(y[0]), rows_of(shape), shape.back());
  }
  static Handle product(const Call& call, std::size_t, const Handle& v) {
    if (v.traced() || call.traced()) {
      const Tensor<T> y = call.output<T>(), w = from_largest(Tensor<T>(v), y);
      return mul0(w - sum(mul0(w, y), -1, keep_dims), y).handle();
    }
    return by_rows<T>(kernels::kernels<T>().softmax_product, call.output_array(), *v.array());
  }
  static constexpr auto pullback = product, pushforward = product;
  static constexpr auto rows = last_axis_rows;
  // J diag(d) = diag(y d) - y (y d)^T.
  static bool carry(Carry& carry) {
    if (carry.call.operand_shape(0).back() != carry.in.m) return false;
    const Tensor<T> y = carry.call.output<T>();
    const Diagonal scaled{carry.diagonal().shift,
                          carry.unit() ? y.handle() : mul0(y, Tensor<T>(carry.diagonal().entries)).handle()};
    carry.add(scaled);
    carry.add(RankOne{(-y).handle(), carry.row(scaled)});
    return true;
  }
};

// ------------------------------------------------------------------------------------------------ log_softmax

// Room for p = softmax(x) beside the value, if derivatives will need it.
template <class T>
Handle kept_softmax(const Tensor<T>& x) {
  return Handle(x.handle().traced() ? allocate_like<T>(x.shape()) : nullptr);
}
template <class T>
T* elements_or_null(Results results, std::size_t i) {
  return i < results.size() && results[i] ? elements<T>(results[i]) : nullptr;
}
// The p that was kept; recorded as softmax(x) if it is to be differentiated again.
template <class T>
Tensor<T> softmax_of(const Call& call) {
  Tensor<T> p = call.operand<T>(1);
  if (!call.traced()) return p;
  const Tensor<T> x = call.operand<T>(0);
  const Handle* const operands[] = {&x.handle()};
  return Tensor<T>(record(primitive<SoftmaxPrimitive<T>>, Handle(p.handle()), operands, NoAttributes{}, call.where()));
}

template <class T>
struct LogSoftmaxPrimitive {
  static constexpr const char* name = "log_softmax";
  static constexpr Reads reads{.operands = 0b10};  // what was kept

  static void evaluate(const NoAttributes&, Operands x, Results y) {
    const Shape& shape = x[0]->shape;
    kernels::kernels<T>().log_softmax(x[0]->as<T>(), elements<T>(y[0]), elements_or_null<T>(y, 1), rows_of(shape),
                                      shape.back());
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) {
    return log_softmax_product(softmax_of<T>(call), Tensor<T>(v)).handle();
  }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) {
    const Tensor<T> p = softmax_of<T>(call), w = from_largest(Tensor<T>(v), p);
    return (w - sum(mul0(w, p), -1, keep_dims)).handle();
  }
  static constexpr auto rows = last_axis_rows;
  // J diag(d) = diag(d) - 1 (s d)^T.
  static bool carry(Carry& carry) {
    if (carry.call.operand_shape(0).back() != carry.in.m) return false;
    const Tensor<T> s = softmax_of<T>(carry.call);
    const Diagonal scaled{carry.diagonal().shift,
                          carry.unit() ? s.handle() : mul0(s, Tensor<T>(carry.diagonal().entries)).handle()};
    carry.add(carry.diagonal());
    carry.add(RankOne{full<T>(s.shape(), T{-1}).handle(), carry.row(scaled)});
    return true;
  }
};

// ------------------------------------------------------------------------------------------------ logsumexp

template <class T>
struct LogsumexpPrimitive {
  static constexpr const char* name = "logsumexp";
  static constexpr Reads reads{.operands = 0b10};  // what was kept
  struct Attributes {
    bool keep;  // the last axis, with size 1
  };
  static std::string describe(const Attributes& attributes) { return attributes.keep ? "kept" : ""; }

  static void evaluate(const Attributes&, Operands x, Results y) {
    const Shape& shape = x[0]->shape;
    kernels::kernels<T>().logsumexp(x[0]->as<T>(), elements<T>(y[0]), elements_or_null<T>(y, 1), rows_of(shape),
                                    shape.back());
  }
  static Handle pullback(const Call& call, std::size_t, const Handle& v) {
    const Tensor<T> vt(v);
    return mul0(call.attributes<Attributes>().keep ? vt : insert_axes(vt, 1, 1), softmax_of<T>(call)).handle();
  }
  static Handle pushforward(const Call& call, std::size_t, const Handle& v) {
    return sum_group(mul0(Tensor<T>(v), softmax_of<T>(call)), 1, 1, call.attributes<Attributes>().keep, call.where())
        .handle();
  }
  static std::optional<BatchAxis> rows(const Call& call, std::span<const BatchAxis> axes) {
    if (axes[0] == 1) return std::nullopt;
    return static_cast<BatchAxis>(axes[0] - !call.attributes<Attributes>().keep);
  }
};

// ------------------------------------------------------------------------------------------------ any axis

// along(x with `axis` last), with `axis` moved back afterwards.
template <class T, class Along>
Tensor<T> on_last_axis(const Tensor<T>& x, int axis, const char* name, const Caller& where, Along along) {
  const Shape& shape = value_of(x, name, where).shape;
  const std::int64_t at = normalize_axis(axis, shape.rank(), name, shape, where);
  if (shape[at] == 0) {
    throw ShapeError(std::string(name) + to_string(where) + ": the axis is empty in a tensor of shape " +
                     to_string(shape));
  }
  if (at + 1 == shape.rank()) return along(x);
  const auto from_end = static_cast<std::size_t>(shape.rank() - at);
  return swap_axes(along(swap_axes(x, from_end, 1, where)), from_end, 1, where);
}

}  // namespace

template <Real T>
Tensor<T> log_softmax_product(const Tensor<T>& p, const Tensor<T>& v) {
  if (!p.handle().traced() && !v.handle().traced()) {
    return Tensor<T>(by_rows<T>(kernels::kernels<T>().log_softmax_product, *p.handle().array(), *v.handle().array()));
  }
  // The same as the kernel does.
  const Tensor<bool> above = p > 0.5;
  auto total = [](const Tensor<T>& x) { return sum(x, -1, keep_dims); };
  const Tensor<T> rest = total(where(above, 0.0, p)), others = total(where(above, 0.0, v));
  return where(above, mul0(v, rest) - mul0(others, p), v - mul0(others + total(where(above, v, 0.0)), p));
}
template Tensor<float> log_softmax_product(const Tensor<float>&, const Tensor<float>&);
template Tensor<double> log_softmax_product(const Tensor<double>&, const Tensor<double>&);

void list_softmax(std::vector<const Primitive*>& all) {
  all.insert(all.end(), {&primitive<SoftmaxPrimitive<double>>, &primitive<LogSoftmaxPrimitive<double>>,
                         &primitive<LogsumexpPrimitive<double>>});
}

}  // namespace detail

template <Real T>
Tensor<T> softmax(const Tensor<T>& x, int axis, Caller where) {
  return detail::on_last_axis(x, axis, "softmax", where, [&](const Tensor<T>& y) {
    using namespace detail;
    return Tensor<T>(apply<SoftmaxPrimitive<T>>({&y.handle()}, allocate_like<T>(y.shape()), where));
  });
}
template <Real T>
Tensor<T> log_softmax(const Tensor<T>& x, int axis, Caller where) {
  return detail::on_last_axis(x, axis, "log_softmax", where, [&](const Tensor<T>& y) {
    using namespace detail;
    return Tensor<T>(
        apply_keeping<LogSoftmaxPrimitive<T>>(y.handle(), allocate_like<T>(y.shape()), kept_softmax(y), where));
  });
}
template <Real T>
Tensor<T> logsumexp(const Tensor<T>& x, int axis, KeepDims keep, Caller where) {
  const std::int64_t rank = x.rank();
  const bool last = axis == -1 || axis + 1 == rank;
  Tensor<T> y = detail::on_last_axis(x, axis, "logsumexp", where, [&](const Tensor<T>& z) {
    using namespace detail;
    const bool kept = !last || keep == KeepDims::yes;
    Shape shape = z.shape().prefix(z.rank() - 1);
    if (kept) shape.push_back(1);
    return Tensor<T>(
        apply_keeping<LogsumexpPrimitive<T>>(z.handle(), allocate_like<T>(shape), kept_softmax(z), where, {kept}));
  });
  if (last || keep == KeepDims::yes) return y;
  const std::int64_t at = detail::normalize_axis(axis, rank, "logsumexp", x.shape(), where);
  return reshape(y, x.shape().prefix(at).concat(x.shape().suffix(at + 1)), where);
}

template <Real T>
Tensor<T> entropy(const Tensor<T>& p, int axis, KeepDims keep, Caller where) {
  const Shape& shape = detail::value_of(p, "entropy", where).shape;
  detail::normalize_axis(axis, shape.rank(), "entropy", shape, where);
  return 0.0 - sum(xlogy(p, {p, where}), axis, keep, where);  // not -0
}

template Tensor<float> softmax(const Tensor<float>&, int, Caller);
template Tensor<double> softmax(const Tensor<double>&, int, Caller);
template Tensor<float> log_softmax(const Tensor<float>&, int, Caller);
template Tensor<double> log_softmax(const Tensor<double>&, int, Caller);
template Tensor<float> logsumexp(const Tensor<float>&, int, KeepDims, Caller);
template Tensor<double> logsumexp(const Tensor<double>&, int, KeepDims, Caller);
template Tensor<float> entropy(const Tensor<float>&, int, KeepDims, Caller);
template Tensor<double> entropy(const Tensor<double>&, int, KeepDims, Caller);

}  // namespace tapegrad
