// seed1_delta.npz: the delta of the output layer, J^T dC/da, of many activations written as compositions of primitives.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn/data/npz.hpp>
#include <vector>

namespace {

using namespace tapegrad;
using X = Tensor<>;

const nn::Npz& reference() {
  static const nn::Npz file(TAPEGRAD_REFERENCE_DIR "/seed1_delta.npz");
  return file;
}

// |value - expected| <= tolerance * max(1, |expected|), element by element.
void check_close(const X& value, const X& expected, double tolerance, const std::string& what) {
  CAPTURE(what);
  REQUIRE(value.shape() == expected.shape());
  double worst = 0;
  for (std::int64_t i = 0; i < value.size(); ++i) {
    const double error = std::abs(value.data()[i] - expected.data()[i]) / std::max(1.0, std::abs(expected.data()[i]));
    worst = error <= worst ? worst : error;  // keeps a NaN
  }
  CHECK(worst <= tolerance);
}

X row(const X& x, std::int64_t i) { return reshape(slice(x, 0, i, i + 1), x.shape().suffix(1)); }
double largest(const X& x) { return max(abs(x)).item(); }

// (..., n) -> (..., n), along the last axis.
struct Activation {
  std::string name;
  std::function<X(const X&)> f;
  double asymmetry = 0;  // |J g - J^T g| that README.md reports
};

X softmax_by_hand(const X& z) {
  const X e = exp(z - max(z, -1, keep_dims));
  return e / sum(e, -1, keep_dims);
}

// Martins & Astudillo, From softmax to sparsemax, 2016, algorithm 1.
X sparsemax(const X& z) {
  const X sorted = -sort(-z), k = arange(1, static_cast<double>(z.shape().back()) + 1);
  const Tensor<bool> support = 1 + k * sorted > cumsum(sorted, -1);
  const X size = sum(where(support, ones(z.shape()), 0), -1, keep_dims);
  return relu(z - (sum(where(support, sorted, 0), -1, keep_dims) - 1) / size);
}

X layer_normalization(const X& z) {
  const X centered = z - mean(z, -1, keep_dims);
  return centered / sqrt(mean(square(centered), -1, keep_dims) + 1e-5);
}

const std::vector<Activation>& activations() {
  static const std::vector<Activation> all = {
      {"sigmoid", [](const X& z) { return 1 / (1 + exp(-z)); }},
      {"sigmoid", [](const X& z) { return sigmoid(z); }},
      {"tanh", [](const X& z) { return tanh(z); }},
      {"relu", [](const X& z) { return maximum(z, 0); }},
      {"relu", [](const X& z) { return relu(z); }},
      {"leaky_relu", [](const X& z) { return leaky_relu(z, 0.01); }},
      {"leaky_relu", [](const X& z) { return where(z > 0, z, 0.01 * z); }},
      {"elu", [](const X& z) { return where(z > 0, z, exp(minimum(z, 0)) - 1); }},
      {"softplus", [](const X& z) { return relu(z) + log1p(exp(-abs(z))); }},
      {"gelu_erf", [](const X& z) { return 0.5 * z * (1 + erf(z / std::numbers::sqrt2)); }},
      {"gelu_tanh",
       [](const X& z) { return 0.5 * z * (1 + tanh(std::sqrt(2 / std::numbers::pi) * (z + 0.044715 * pow(z, 3)))); }},
      {"silu", [](const X& z) { return z * sigmoid(z); }},
      {"log_softmax", [](const X& z) { return log_softmax(z); }, 1.8},
      {"log_softmax", [](const X& z) { return z - logsumexp(z, -1, keep_dims); }, 1.8},
      {"log_softmax", [](const X& z) { return log(softmax_by_hand(z)); }, 1.8},
      {"softmin", [](const X& z) { return softmax(-z); }},
      {"normalise", [](const X& z) { return z / sqrt(sum(square(z), -1, keep_dims)); }},
      {"cum_softmax", [](const X& z) { return cumsum(softmax(z), -1); }, 0.42},
      {"nonsym",
       [](const X& z) {
         return matmul(z, transpose(reference().read<double>("nonsym_A"))) + tanh(z) * slice(z, -1, 0, 1);
       },
       240},
      {"sparsemax", sparsemax},
      {"layernorm", layer_normalization},
      {"softmax", [](const X& z) { return softmax(z); }},
      {"softmax", softmax_by_hand},
  };
  return all;
}

constexpr double exact = 1e-13;

TEST_SUITE("reference_delta") {
  TEST_CASE("each activation: value, Jacobian and J^T g, by every way") {
    const nn::Npz& file = reference();
    for (const Activation& activation : activations()) {
      const auto& f = activation.f;
      const std::string prefix = "act_" + activation.name + "_";
      auto stored = [&](const char* what) { return file.read<double>(prefix + what); };
      const X z = stored("z"), values = stored("f"), Js = stored("J"), g = stored("dCda"), JTg = stored("JT_dCda"),
              Jg = stored("J_dCda"), w = stored("w"), costs = stored("C"), differences = stored("fd_dCdz");
      auto cost = [&](const X& a) { return sum(w * (a + square(a) / 2 + pow(a, 3) / 10)); };
      const double size = activation.name == "nonsym" ? largest(differences) : 1;
      double asymmetry = 0;

      for (std::int64_t i = 0; i < z.shape()[0]; ++i) {
        const X zi = row(z, i), gi = row(g, i);
        const std::string at = activation.name + " at point " + std::to_string(i);
        check_close(f(zi), row(values, i), exact, at);
        for (Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
          const auto J = jacobian(f, {.sweep = sweep})(zi);
          check_close(J.dense(), row(Js, i), exact, "J of " + at);
          check_close(J.apply_transposed(gi), row(JTg, i), exact, "J^T g of " + at);
          check_close(J.apply(gi), row(Jg, i), exact, "J g of " + at);
          asymmetry = std::max(asymmetry, largest(J.apply(gi) - row(JTg, i)));
        }
        const auto [a, pullback] = vjp(f, zi);
        check_close(a, row(values, i), exact, "recorded value of " + at);
        check_close(pullback(gi), row(JTg, i), exact, "vjp of " + at);
        check_close(jvp(f, zi, gi).second, row(Jg, i), exact, "jvp of " + at);

        const auto [C, dCda] = value_and_grad(cost)(f(zi));
        check_close(C, X(costs(i)), exact, "cost of " + at);
        check_close(dCda, gi, exact, "dC/da of " + at);
        const X delta = grad([&](const X& x) { return cost(f(x)); })(zi);
        check_close(delta, row(JTg, i), exact, "dC/dz of " + at);
        check_close(delta / size, row(differences, i) / size, activation.name == "nonsym" ? 1e-8 : 1e-9,
                    "differences of " + at);
      }
      // J g in place of J^T g would be wrong by this much; the others have a symmetric J.
      CAPTURE(activation.name);
      if (activation.asymmetry > 0)
        CHECK(asymmetry > activation.asymmetry);
      else
        CHECK(asymmetry < 1e-12);

      for (Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
        const auto J = batch_jacobian(f, {.sweep = sweep})(z);
        check_close(J.dense(), Js, exact, "batched J of " + activation.name);
        check_close(J.apply_transposed(g), JTg, exact, "batched J^T g of " + activation.name);
        check_close(J.apply(g), Jg, exact, "batched J g of " + activation.name);
      }
      check_close(vjp(f, z).second(g), JTg, exact, "batched vjp of " + activation.name);
      // One point alone is a batch too.
      const X first = slice(z, 0, 0, 1);
      check_close(batch_jacobian(f)(first).dense(), slice(Js, 0, 0, 1), exact, "batch of one of " + activation.name);
    }
  }

  TEST_CASE("every activation of the file is tested") {
    std::size_t expected = 0;
    for (const char* name :
         {"sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu_erf", "gelu_tanh", "silu", "log_softmax",
          "softmin", "normalise", "cum_softmax", "nonsym", "sparsemax", "layernorm", "softmax"}) {
      CHECK(reference().contains(std::string("act_") + name + "_J"));
      CHECK(
          std::any_of(activations().begin(), activations().end(), [&](const Activation& a) { return a.name == name; }));
      expected += 9;
    }
    CHECK(reference().names().size() == expected + 24 + 12 + 1 + 6);  // softmax_n*, linear_*, nonsym_A, rect_*
  }

  TEST_CASE("the Jacobian demonstration of notebook 001") {
    auto f = [](const X& z) { return softmax(z); };
    for (const char* size : {"10", "3", "100"}) {
      auto stored = [&](const char* what) {
        return reference().read<double>(std::string("softmax_n") + size + "_" + what);
      };
      const X z = stored("z"), y = stored("y"), a = stored("a"), Js = stored("J"), dCda = stored("dCda"),
              delta = stored("delta_jac"), closed = stored("a_minus_y"), absdiff = stored("absdiff");
      check_close(f(z), a, exact, "softmax");
      auto C = [&](const X& p) { return -sum(y * log(p)); };
      check_close(grad(C)(a), dCda, exact, "dC/da");
      const auto J = batch_jacobian(f)(z);
      check_close(J.dense(), Js, exact, "J");
      const X by_jacobian = J.apply_transposed(dCda);
      check_close(by_jacobian, delta, exact, "delta by the Jacobian");
      check_close(vjp(f, z).second(dCda), delta, exact, "delta by vjp");
      check_close(by_jacobian, closed, exact, "delta against a - y");
      check_close(abs(by_jacobian - (a - y)), absdiff, 1e-15, "the difference that the notebook prints");
      check_close(grad([&](const X& x) { return C(f(x)); })(z), closed, exact, "dC/dz");
      check_close(grad([&](const X& x) { return -sum(y * log_softmax(x)); })(z), closed, exact, "dC/dz from logits");
      for (std::int64_t i = 0; i < z.shape()[0]; ++i) {
        check_close(jacobian(f)(row(z, i)).apply_transposed(row(dCda, i)), row(delta, i), exact, "one point");
      }
    }
  }

  TEST_CASE("the linear demonstration: mean_error and mse, by the Jacobian and by Hadamard") {
    auto stored = [](const char* what) { return reference().read<double>(std::string("linear_") + what); };
    const X z = stored("z"), y = stored("y"), a = stored("a");
    auto linear = [](const X& x) { return x; };
    const auto J = jacobian(linear)(z);
    check_close(linear(z), a, 0, "a");
    check_close(J.dense(), stored("J"), 0, "J");
    check_close(elementwise_grad(linear)(z), ones({10}), 0, "f'");

    auto mean_error = [&](const X& p) { return mean(y - p); };
    auto mse = [&](const X& p) { return mean(square(y - p)); };
    check_close(mean_error(a), stored("mean_error"), exact, "mean_error");
    check_close(mse(a), stored("mse"), exact, "mse");
    const X of_mean_error = grad(mean_error)(a), of_mse = grad(mse)(a);
    check_close(of_mean_error, stored("dmean_error_da"), exact, "dmean_error/da");
    check_close(of_mse, stored("dmse_da"), exact, "dmse/da");
    check_close(J.apply_transposed(of_mean_error), stored("delta_mean_error_jac"), exact, "delta of mean_error");
    check_close(J.apply_transposed(of_mse), stored("delta_mse_jac"), exact, "delta of mse");
    check_close(of_mean_error * elementwise_grad(linear)(z), stored("delta_mean_error_had"), exact, "by Hadamard");
    check_close(of_mse * elementwise_grad(linear)(z), stored("delta_mse_had"), exact, "by Hadamard");
    // Its gradient is -1/n whatever y is.
    check_close(grad([&](const X& p) { return mean(-y * 3 - p); })(a), of_mean_error, exact, "whatever y is");
  }

  TEST_CASE("a Jacobian that is not square") {
    auto stored = [](const char* what) { return reference().read<double>(std::string("rect_") + what); };
    const X z = stored("z"), B = stored("B"), w = stored("w");
    auto f = [&](const X& x) { return tanh(matmul(x, transpose(B))) + slice(x, -1, 0, 3) * slice(x, -1, 4, 5); };
    check_close(f(z), stored("f"), exact, "f");
    for (Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
      const auto J = jacobian(f, {.sweep = sweep})(z);
      check_close(J.dense(), stored("J"), exact, "J");
      check_close(J.apply_transposed(w), stored("JT_w"), exact, "J^T w");
      CHECK_THROWS_AS(J.apply(w), ShapeError);
      const auto blocks = batch_jacobian(f, {.sweep = sweep})(reshape(z, {1, 5}));
      check_close(blocks.dense(), reshape(stored("J"), {1, 3, 5}), exact, "batched J");
      check_close(blocks.apply_transposed(reshape(w, {1, 3})), reshape(stored("JT_w"), {1, 5}), exact, "batched J^T w");
    }
    check_close(vjp(f, z).second(w), stored("JT_w"), exact, "vjp");
  }
}

}  // namespace
