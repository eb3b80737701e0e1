#include "../output_delta.hpp"

#include <algorithm>

#include "../../autodiff/extend.hpp"
#include "../../autodiff/ops.hpp"
#include "../core/errors.hpp"

namespace tapegrad::nn {

std::string to_string(OutputDelta way) {
  constexpr const char* names[] = {"automatic", "closed_form", "vjp", "jacobian"};
  return names[static_cast<int>(way)];
}

namespace detail {
namespace {

/// The losses of the examples, multiplied by their weights if there are any.
template <Real T>
Tensor<T> weighted(const Tensor<T>& losses, const Tensor<T>& weights, const Caller& where) {
  if (!weights.handle()) return losses;
  if (losses.rank() == 0) {
    throw ValueError("a loss that gives a scalar cannot be weighted by example" + to_string(where) +
                     "; let it give one value per example, as in sum(square(a - y), -1)");
  }
  if (!(weights.shape() == losses.shape())) {
    throw ShapeError("weights" + to_string(where) + ": there are losses " + to_string(losses.shape()) +
                     " and weights " + to_string(weights.shape()) + "; an example has one weight");
  }
  return mul0(weights, losses, where);
}

/// head(z, y) with each row of weight 0 replaced by the first row that counts, so that no rule sees its numbers and no
/// check its label. If no row counts, everything is 0.
template <Real T, class Y, class Head>
OutputHead<T> of_rows_that_count(const Tensor<T>& z, const Tensor<Y>& y, const Tensor<T>& weights, const Caller& where,
                                 const Head& head) {
  if (!weights.handle() || z.rank() == 0 || y.rank() == 0 || !(weights.shape() == z.shape().prefix(1))) {
    return head(z, y);
  }
  const auto all = [n = weights.size()](const T* weight) { return std::find(weight, weight + n, T{0}) == weight + n; };
  if (tapegrad::detail::result_of("weights", where, all, weights)) return head(z, y);
  const Tensor<std::int64_t> rows = stand_ins(weights, where);
  if (!rows.handle()) return {zeros<T>(z.shape()), zeros<T>(weights.shape()), zeros<T>(z.shape())};
  return head(take(z, rows, 0, where), take(y, rows, 0, where));
}

}  // namespace

template <Real T>
Tensor<std::int64_t> stand_ins(const Tensor<T>& weights, const Caller& where) {
  const auto choose = [n = weights.size()](const T* weight, std::int64_t* row) {
    const T* first = std::find_if(weight, weight + n, [](T each) { return each != 0; });
    for (std::int64_t i = 0; i < n; ++i) row[i] = weight[i] != 0 ? i : first - weight;
  };
  const auto rows = tapegrad::detail::tensor_of<std::int64_t>(weights.shape(), "weights", where, choose, weights);
  return rows.size() > 0 && rows(0) < rows.size() ? rows : Tensor<std::int64_t>();
}
template Tensor<std::int64_t> stand_ins(const Tensor<float>&, const Caller&);
template Tensor<std::int64_t> stand_ins(const Tensor<double>&, const Caller&);

void throw_no_closed_form(std::string_view activation, std::string_view loss) {
  std::string known;
  for (const auto& [name, each] : known_losses()) {
    if (each.known_activation().empty() || std::string_view(name) != each.name()) continue;
    known += (known.empty() ? " " : ", ") + each.known_activation() + " + " + each.name();
  }
  throw ValueError("there is no closed form of delta for activation \"" + std::string(activation) + "\" with loss \"" +
                   std::string(loss) + "\"; known:" + known +
                   ". OutputDelta::vjp and OutputDelta::jacobian serve any pair.");
}

template <Real T, class Y>
OutputHead<T> output_loss(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y,
                          const Tensor<T>& weights, const Caller& where) {
  return of_rows_that_count(z, y, weights, where, [&](const Tensor<T>& x, const Tensor<Y>& target) {
    OutputHead<T> head{.prediction = f(x)};
    head.loss = weighted(is_known_pair(f, c) ? c.from_logits(x, target, where) : c(head.prediction, target, where),
                         weights, where);
    return head;
  });
}

namespace {

template <Real T, class Y>
OutputHead<T> closed_form_head(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y, double scale,
                               const Tensor<T>& weights, const Caller& where) {
  if (!is_known_pair(f, c)) throw_no_closed_form(f.name(), c.name());
  OutputHead<T> head{.prediction = f(z), .loss = weighted(c.from_logits(z, y, where), weights, where)};
  head.delta = c.slope(z, head.prediction, y, scale, where);
  if (weights.handle()) {
    head.delta = mul0(reshape(weights, weights.shape().concat({1}), where), head.delta, where);
  }
  return head;
}

template <Real T, class Y>
OutputHead<T> swept_head(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y, OutputDelta way,
                         double scale, const Tensor<T>& weights, const Caller& where) {
  const bool known = is_known_pair(f, c);
  OutputHead<T> head;
  const auto activation = [&](const Tensor<T>& traced) {
    Tensor<T> a = f(traced);
    head.prediction = stop_gradient(a);
    return a;
  };
  const auto keep = [&](const Tensor<T>& losses) {
    const Tensor<T> value = weighted(losses, weights, where);
    head.loss = stop_gradient(value);
    // A scalar is taken as it is, because the loss has reduced it itself.
    return value.rank() == 0 || scale == 1 ? value : value * scale;
  };
  const auto loss = [&](const Tensor<T>& a, const Tensor<Y>& target) { return keep(c(a, target, where)); };
  if (way == OutputDelta::vjp && known) {
    activation(z);
    head.delta = grad([&](const Tensor<T>& traced) { return total(keep(c.from_logits(traced, y, where))); })(z);
  } else if (way == OutputDelta::vjp) {
    head.delta = delta_by_sweep(activation, loss, z, y);
  } else {
    try {
      head.delta = delta_by_jacobian(activation, loss, z, y, f.may_mix_rows());
    } catch (const RowMixingError& error) {
      throw_rows_mixed(error.what());
    }
    if (known) head.loss = weighted(c.from_logits(z, y, where), weights, where);
  }
  return head;
}

}  // namespace

template <Real T, class Y>
OutputHead<T> output_head(const Activation& f, const Loss& c, const Tensor<T>& z, const Tensor<Y>& y, OutputDelta way,
                          double scale, const Tensor<T>& weights, const Caller& where) {
  return of_rows_that_count(z, y, weights, where, [&](const Tensor<T>& x, const Tensor<Y>& target) {
    return way == OutputDelta::closed_form ? closed_form_head(f, c, x, target, scale, weights, where)
                                           : swept_head(f, c, x, target, way, scale, weights, where);
  });
}

template <class T, class Y>
using OutputLoss = OutputHead<T>(const Activation&, const Loss&, const Tensor<T>&, const Tensor<Y>&, const Tensor<T>&,
                                 const Caller&);
template OutputLoss<float, float> output_loss;
template OutputLoss<double, double> output_loss;
template OutputLoss<float, std::int64_t> output_loss;
template OutputLoss<double, std::int64_t> output_loss;

template <class T, class Y>
using StepOf = OutputHead<T>(const Activation&, const Loss&, const Tensor<T>&, const Tensor<Y>&, OutputDelta, double,
                             const Tensor<T>&, const Caller&);
template StepOf<float, float> output_head;
template StepOf<double, double> output_head;
template StepOf<float, std::int64_t> output_head;
template StepOf<double, std::int64_t> output_head;

}  // namespace detail
}  // namespace tapegrad::nn
