// The structure that is found in functions of plain primitives is right: it equals a sweep, for every batch, and
// nested.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <vector>

namespace {

using namespace tapegrad;

using Function = std::function<Tensor<>(const Tensor<>&)>;

Tensor<> softmax_without_max(const Tensor<>& z) {
  const Tensor<> e = exp(z);
  return e / sum(e, -1, keep_dims);
}
Tensor<> softmax_with_max(const Tensor<>& z) { return softmax_without_max(z - max(z, -1, keep_dims)); }
Tensor<> softmax_with_stopped_max(const Tensor<>& z) {
  return softmax_without_max(z - stop_gradient(max(z, -1, keep_dims)));
}
Tensor<> log_softmax_by_hand(const Tensor<>& z) { return z - log(sum(exp(z), -1, keep_dims)); }
Tensor<> normalize(const Tensor<>& z) { return z / sqrt(sum(square(z), -1, keep_dims)); }
Tensor<> layer_normalization(const Tensor<>& z) {
  const Tensor<> centered = z - mean(z, -1, keep_dims);
  return centered / sqrt(mean(square(centered), -1, keep_dims) + 1e-5);
}
// A constant (5, 5), not symmetric.
Tensor<> matrix(std::int64_t rows = 5, std::int64_t cols = 5) {
  random::Generator rng(7);
  return rng.normal<double>({rows, cols});
}

struct Expected {
  const char* name;
  Function f;
  Structure structure;
  std::int64_t rank;  // at most
};

const std::vector<Expected>& expected() {
  const Structure diagonal = Structure::diagonal, low_rank = Structure::low_rank,
                  both = Structure::diagonal_plus_low_rank, dense = Structure::dense;
  static const std::vector<Expected> all{
      {"tanh", [](const Tensor<>& z) { return tanh(z); }, diagonal, 0},
      {"identity", [](const Tensor<>& z) { return z; }, diagonal, 0},
      {"elementwise", [](const Tensor<>& z) { return where(z > 0, z, 0.1 * z) * exp(-z) + pow(z, 2.0); }, diagonal, 0},
      {"elementwise(lambda)",
       [](const Tensor<>& z) { return elementwise([](auto x) { return x / (1 + exp(-x)); }, "swish")(z); }, diagonal,
       0},
      {"elementwise(lambda) of z and softmax(z)",
       [](const Tensor<>& z) {
         return elementwise([](auto x, auto s) { return x * s + tanh(s); })(z, softmax_without_max(z));
       },
       both, 1},
      {"broadcast weights", [](const Tensor<>& z) { return z * linspace(1, 2, 5) / 3.0; }, diagonal, 0},
      {"constant", [](const Tensor<>& z) { return stop_gradient(z); }, Structure::zero, 0},
      {"softmax without max", softmax_without_max, both, 1},
      {"softmax with stop_gradient(max)", softmax_with_stopped_max, both, 1},
      {"softmax with max", softmax_with_max, both, 2},
      {"softmax, the primitive", [](const Tensor<>& z) { return softmax(z); }, both, 1},
      {"log_softmax", log_softmax_by_hand, both, 1},
      {"log_softmax, the primitive", [](const Tensor<>& z) { return log_softmax(z); }, both, 1},
      {"logsumexp", [](const Tensor<>& z) { return z - logsumexp(z, -1, keep_dims); }, both, 1},
      {"softmin", [](const Tensor<>& z) { return softmax_without_max(-z); }, both, 1},
      {"z / |z|", normalize, both, 1},
      {"z softmax(z)", [](const Tensor<>& z) { return z * softmax_without_max(z); }, both, 1},
      {"layer normalization", layer_normalization, both, 2},
      {"tanh after softmax", [](const Tensor<>& z) { return tanh(3.0 * softmax_without_max(z)); }, both, 1},
      {"softmax of softmax", [](const Tensor<>& z) { return softmax_without_max(softmax_without_max(z)); }, both, 2},
      {"mean spread", [](const Tensor<>& z) { return mean(square(z), -1, keep_dims) * linspace(1, 2, 4); }, low_rank,
       1},
      {"sum", [](const Tensor<>& z) { return sum(z, -1, keep_dims); }, low_rank, 1},
      {"max", [](const Tensor<>& z) { return max(z * z, -1, keep_dims); }, low_rank, 1},
      {"one element", [](const Tensor<>& z) { return slice(z, -1, 2, 3) * linspace(1, 2, 3); }, low_rank, 1},
      {"halves exchanged",
       [](const Tensor<>& z) {
         return concatenate({slice(z, -1, 2, 5), tanh(slice(z, -1, 0, 2))}, -1);
       },
       diagonal, 0},
      {"twice",
       [](const Tensor<>& z) {
         return concatenate({tanh(z), z}, -1);
       },
       diagonal, 0},
      {"twice, summed",
       [](const Tensor<>& z) {
         const Tensor<> both = concatenate({exp(z), z, slice(z, -1, 1, 3)}, -1);
         return both / sum(both, -1, keep_dims);
       },
       both, 1},
      {"part of softmax", [](const Tensor<>& z) { return slice(softmax_without_max(z), -1, 1, 4); }, both, 1},
      {"linear", [](const Tensor<>& z) { return matmul(z, matrix(5, 3)); }, Structure::constant, 3},
      {"linear + bias", [](const Tensor<>& z) { return matmul(z, matrix(5, 3)) + linspace(0, 1, 3); },
       Structure::constant, 3},
      {"softmax of linear", [](const Tensor<>& z) { return softmax_without_max(matmul(tanh(z), matrix(5, 7))); }, dense,
       5},
      {"pullback of linear",
       [](const Tensor<>& z) {
         return vjp([](const Tensor<>& x) { return matmul(x, matrix(3, 5)); }, zeros({z.size() / 5, 3}))
             .second(reshape(z, {-1, 5}));
       },
       Structure::constant, 3},
      {"gradient of |A z|^2",
       [](const Tensor<>& z) {
         return grad([](const Tensor<>& x) { return sum(square(matmul(x, matrix(5, 7)))); })(z);
       },
       dense, 5},
      {"gradient of parts that overlap",
       [](const Tensor<>& z) {
         return grad([](const Tensor<>& x) {
           return sum(exp(slice(x, -1, 0, 4))) + sum(square(slice(x, -1, 1, 5))) + sum(x * x * x);
         })(z);
       },
       diagonal, 0},
      {"cumulative softmax", [](const Tensor<>& z) { return cumsum(softmax_without_max(z), -1); }, dense, 5},
      {"softmax of cumsum", [](const Tensor<>& z) { return softmax_with_max(cumsum(z, -1)); }, dense, 5},
      {"A z + tanh(z) z[0]", [](const Tensor<>& z) { return matmul(z, matrix()) + tanh(z) * slice(z, -1, 0, 1); },
       dense, 5},
      {"two layers", [](const Tensor<>& z) { return matmul(tanh(matmul(z, matrix(5, 9))), matrix(9, 6)); }, dense, 5},
      {"two layers, narrow", [](const Tensor<>& z) { return matmul(tanh(matmul(z, matrix(5, 9))), matrix(9, 2)); },
       dense, 5},
      {"sorted", [](const Tensor<>& z) { return softmax_with_max(sort(z)); }, dense, 5},
      {"reversed and taken twice",
       [](const Tensor<>& z) {
         return tanh(take(z, Tensor<std::int64_t>{4, 3, 2, 1, 0, 0}, -1));
       },
       dense, 5},
      {"quadratic form", [](const Tensor<>& z) { return z * sum(z * matmul(z, matrix()), -1, keep_dims); }, both, 3},
      {"every second", [](const Tensor<>& z) { return slice(exp(z), -1, 0, 5, 2); }, dense, 5},
  };
  return all;
}

Tensor<> point(const Shape& shape) {
  random::Generator rng(3);
  return rng.uniform<double>(shape, -1.5, 1.5);
}

// Compares everything that J can be asked for with a matrix.
void require_equal(const Jacobian<>& J, const Tensor<>& dense) {
  CHECK(allclose(J.dense(), dense, 1e-12, 1e-12));
  random::Generator rng(5);
  const Tensor<> v = rng.normal<double>(J.input_shape()), g = rng.normal<double>(J.output_shape());
  const Jacobian<> swept(dense, J.output_shape(), J.input_shape(), J.batched());
  CHECK(allclose(J.apply(v), swept.apply(v), 1e-12, 1e-12));
  CHECK(allclose(J.apply_transposed(g), swept.apply_transposed(g), 1e-12, 1e-12));
  if (J.output_shape() == J.input_shape()) CHECK(allclose(J.diagonal(), swept.diagonal(), 1e-12, 1e-12));
}

TEST_CASE("the structure of a function of one row is found, and equals a sweep") {
  for (const Expected& e : expected()) {
    CAPTURE(e.name);
    const Tensor<> z = point({5});
    const auto J = jacobian(e.f)(z);
    CAPTURE(J.explain());
    CHECK(J.structure() == e.structure);
    CHECK(J.rank() <= e.rank);
    require_equal(J, jacobian(e.f, {.sweep = Sweep::reverse})(z).dense());
    require_equal(J, jacobian(e.f, {.sweep = Sweep::forward})(z).dense());
  }
}

TEST_CASE("a matrix on the left of a column") {
  const Tensor<> z = point({5}), A = matrix(7, 5);
  const auto linear = [&](const Tensor<>& x) { return matmul(A, x); };
  const auto J = jacobian(linear)(z);
  CHECK(J.structure() == Structure::constant);
  require_equal(J, A);
  const auto gradient = grad([&](const Tensor<>& x) { return sum(exp(matmul(A, x))); });
  require_equal(jacobian(gradient)(z), jacobian(gradient, {.sweep = Sweep::reverse})(z).dense());
  const auto pulled = [&](const Tensor<>& g) { return vjp(linear, z).second(g); };
  require_equal(jacobian(pulled)(point({7})), transpose(A));
  CHECK(jacobian(pulled)(point({7})).structure() == Structure::constant);
}

TEST_CASE("the structure of a batch is found, and equals a sweep") {
  for (const Expected& e : expected()) {
    for (std::int64_t batch : {1, 7, 64}) {
      CAPTURE(e.name);
      CAPTURE(batch);
      const Tensor<> Z = point({batch, 5});
      const auto J = batch_jacobian(e.f)(Z);
      CAPTURE(J.explain());
      CHECK(J.structure() == e.structure);
      CHECK(J.rank() <= e.rank);
      require_equal(J, batch_jacobian(e.f, {.sweep = Sweep::reverse})(Z).dense());
    }
  }
}

TEST_CASE("structure can be differentiated again") {
  for (const Expected& e : expected()) {
    CAPTURE(e.name);
    // Every element of J, and of J^T g and J v, weighted without symmetry.
    const auto total = [&e](Sweep sweep) {
      return [&e, sweep](const Tensor<>& Z) {
        const auto J = Z.rank() == 1 ? jacobian(e.f, {.sweep = sweep})(Z) : batch_jacobian(e.f, {.sweep = sweep})(Z);
        random::Generator rng(9);
        const Tensor<> v = rng.normal<double>(J.input_shape()), g = rng.normal<double>(J.output_shape());
        Tensor<> all = sum(square(J.dense()) * rng.normal<double>(J.dense().shape())) +
                       sum(square(J.apply_transposed(g * tanh(sum(Z))))) + sum(square(J.apply(v * Z)));
        if (J.output_shape() == J.input_shape()) all = all + sum(J.diagonal() * v);
        return all;
      };
    };
    for (const Shape& shape : {Shape{5}, Shape{3, 5}}) {
      const Tensor<> Z = point(shape);
      CHECK(allclose(grad(total(Sweep::automatic))(Z), grad(total(Sweep::reverse))(Z), 1e-10, 1e-11));
      CHECK(allclose(hessian(total(Sweep::automatic))(Z), hessian(total(Sweep::reverse))(Z), 1e-9, 1e-10));
    }
  }
}

}  // namespace
