// Derivatives of derivatives, and what holds around them: levels that do not mix, exceptions, handles and pullbacks
// after their scope, every kind of argument.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tuple>
#include <vector>

#include "../close.hpp"

namespace {

using namespace tapegrad;
using X = Tensor<>;
using doctest::Contains;

X vector_of(std::initializer_list<double> values) { return X(values); }
void check_close(const X& a, const X& b, double tolerance = 1e-10) {
  CAPTURE(a);
  CAPTURE(b);
  CHECK(allclose(a, b, tolerance, tolerance));
}

// The loss of a small softmax layer, used where any smooth function will do.
const X weights({{0.2, -0.5, 0.7}, {1.1, 0.3, -0.4}, {-0.6, 0.8, 0.1}, {0.5, -0.9, 0.4}});
X smooth(const X& x) { return sum(square(tanh(matmul(weights, x))) * exp(0.3 * matmul(weights, x))) + pow(sum(x), 3); }

TEST_SUITE("nesting") {
  TEST_CASE("second and third derivatives against closed forms") {
    // f(x) = sum x^3 exp(x): f' = (x^3 + 3x^2) e^x, f'' = (x^3 + 6x^2 + 6x) e^x, f''' = (x^3 + 9x^2 + 18x + 6) e^x
    auto f = [](const X& x) { return sum(x * square(x) * exp(x)); };
    const X x{-1.5, 0, 0.4, 2};
    const X first = grad(f)(x);
    check_close(first, (pow(x, 3) + 3 * square(x)) * exp(x));
    auto total_first = [&](const X& z) { return sum(grad(f)(z)); };
    check_close(grad(total_first)(x), (pow(x, 3) + 6 * square(x) + 6 * x) * exp(x));
    auto total_second = [&](const X& z) { return sum(grad(total_first)(z)); };
    check_close(grad(total_second)(x), (pow(x, 3) + 9 * square(x) + 18 * x + 6) * exp(x));
    auto element = [](const X& z) { return pow(z, 3) * exp(z); };
    check_close(elementwise_grad(elementwise_grad(element))(x), (pow(x, 3) + 6 * square(x) + 6 * x) * exp(x));
    check_close(elementwise_grad(elementwise_grad(elementwise_grad(element)))(x),
                (pow(x, 3) + 9 * square(x) + 18 * x + 6) * exp(x));
  }

  TEST_CASE("second and third derivatives of a composed scalar") {
    // f = sin-free composition: tanh(x^2): f' = 2x s, s = 1 - t^2; f'' = 2s - 8x^2 t s; f''' = -24 x t s - 16 x^3 s (1
    // - 3t^2)
    auto f = [](const X& x) { return tanh(square(x)); };
    for (double at : {-0.8, 0.3, 1.2}) {
      const double t = std::tanh(at * at), s = 1 - t * t;
      const X x(at);
      CHECK(grad(f)(x).item() == about(2 * at * s, 1e-12));
      CHECK(grad(grad(f))(x).item() == about(2 * s - 8 * at * at * t * s, 1e-11));
      const double third = -24 * at * t * s - 16 * at * at * at * s * (1 - 3 * t * t);
      CHECK(grad(grad(grad(f)))(x).item() == about(third, 1e-10));
      // The same by every mixture of modes.
      auto D = [](auto g) { return [g](const X& z) { return jvp(g, z, X(1.0)).second; }; };
      CHECK(D(D(D(f)))(x).item() == about(third, 1e-10));
      CHECK(grad(D(grad(f)))(x).item() == about(third, 1e-10));
      CHECK(D(grad(D(f)))(x).item() == about(third, 1e-10));
      CHECK(D(grad(grad(f)))(x).item() == about(third, 1e-10));
      CHECK(grad(grad(D(f)))(x).item() == about(third, 1e-10));
      CHECK(hessian(f)(x).item() == about(2 * s - 8 * at * at * t * s, 1e-11));
      CHECK(jacobian(hessian(f))(x).dense().item() == about(third, 1e-10));
    }
  }

  TEST_CASE("a power of ten levels") {
    // The n-th derivative of exp(2x) is 2^n exp(2x); each grad has its own level.
    std::function<X(const X&)> f = [](const X& x) { return exp(2 * x); };
    for (int n = 1; n <= 10; ++n) {
      f = [inner = f](const X& x) { return grad(inner)(x); };
      if (n <= 6 || n == 10) CHECK(f(X(0.25)).item() == about(std::pow(2, n) * std::exp(0.5), 1e-12));
    }
  }

  TEST_CASE("perturbation confusion: d/dx (x * d/dy (x + y))") {
    auto inner = [](const X& x) { return grad([&](const X& y) { return x + y; })(X(1.0)); };
    CHECK(grad([&](const X& x) { return x * inner(x); })(X(1.0)).item() == 1);
    auto inner_forward = [](const X& x) { return jvp([&](const X& y) { return x + y; }, X(1.0), X(1.0)).second; };
    CHECK(jvp([&](const X& x) { return x * inner_forward(x); }, X(1.0), X(1.0)).second.item() == 1);
    CHECK(grad([&](const X& x) { return x * inner_forward(x); })(X(1.0)).item() == 1);
    CHECK(jvp([&](const X& x) { return x * inner(x); }, X(1.0), X(1.0)).second.item() == 1);
  }

  TEST_CASE("perturbation confusion where the inner derivative depends on the outer variable") {
    // d/dx (x * d/dy (x y^2)|y=3) = d/dx (6 x^2) = 12 x
    auto f = [](const X& x) { return x * grad([&](const X& y) { return x * square(y); })(X(3.0)); };
    CHECK(grad(f)(X(2.0)).item() == 24);
    CHECK(jvp(f, X(2.0), X(1.0)).second.item() == 24);
    // The inner point is the outer variable: d/dx (x * d/dy (x y^2)|y=x) = d/dx (2 x^3) = 6 x^2
    auto g = [](const X& x) { return x * grad([&](const X& y) { return x * square(y); })(x); };
    CHECK(grad(g)(X(2.0)).item() == 24);
    CHECK(jvp(g, X(2.0), X(1.0)).second.item() == 24);
    // and of the same name: d/dx d/dx-of-inner (x * x)|x = 2
    auto h = [](const X& x) { return grad([](const X& z) { return z * z; })(x); };
    CHECK(grad(h)(X(2.0)).item() == 2);
  }

  TEST_CASE("three levels") {
    // f(x) = d/dy [ y * d/dz (x y z^2)|z=2 ]|y=3 = d/dy (4 x y^2)|3 = 24 x; df/dx = 24
    auto f = [](const X& x) {
      return grad([&](const X& y) { return y * grad([&](const X& z) { return x * y * square(z); })(X(2.0)); })(X(3.0));
    };
    CHECK(f(X(5.0)).item() == 120);
    CHECK(grad(f)(X(5.0)).item() == 24);
    CHECK(grad([&](const X& x) { return x * f(x); })(X(5.0)).item() == 240);
    // With z at y: d/dz (x y z^2)|z=y = 2 x y^2, y times it 2 x y^3, its derivative 6 x y^2 = 54 x.
    auto g = [](const X& x) {
      return grad([&](const X& y) { return y * grad([&](const X& z) { return x * y * square(z); })(y); })(X(3.0));
    };
    CHECK(grad(g)(X(5.0)).item() == 54);
    // Middle level forward.
    auto h = [](const X& x) {
      return jvp([&](const X& y) { return y * grad([&](const X& z) { return x * y * square(z); })(y); }, X(3.0), X(1.0))
          .second;
    };
    CHECK(grad(h)(X(5.0)).item() == 54);
    CHECK(jvp(h, X(5.0), X(1.0)).second.item() == 54);
  }

  TEST_CASE("values of an inner level are used in a sibling level") {
    // Two siblings at one depth: what the first returned is a constant to the second.
    auto f = [](const X& x) {
      const X a = grad([&](const X& y) { return x * square(y); })(x);                 // 2 x^2
      const X b = grad([&](const X& y) { return a * y * y * y; })(X(2.0));            // 12 a
      const X c = jvp([&](const X& y) { return a * b * y; }, X(1.0), X(1.0)).second;  // a b = 12 a^2 = 48 x^4
      return c;
    };
    CHECK(f(X(1.5)).item() == 48 * 5.0625);
    CHECK(grad(f)(X(1.5)).item() == 192 * 3.375);
    CHECK(grad(grad(f))(X(1.5)).item() == 576 * 2.25);
    // A sibling that ignores its own argument has derivative zero, also where it uses an earlier sibling's value.
    const X Z({{1, 2}, {3, 4}});
    auto g = [&](const X& x) {
      const X a = vjp([&](const X& y) { return y * x; }, Z).first;
      const X J = jacobian([&](const X&) { return a * 2; })(Z).dense();
      const X B = batch_jacobian([&](const X&) { return a * 2; })(Z).dense();
      const X d = jvp([&](const X&) { return a * 2; }, Z, Z).second;
      const X e = grad([&](const X&) { return sum(a); })(Z);
      return sum(J) + sum(B) + sum(d) + sum(e) + sum(a);
    };
    CHECK(grad(g)(X(2.0)).item() == 10);
  }

  TEST_CASE("hessian of the softmax loss is diag(s) - s s^T") {
    const X z{0.3, -1.2, 0.8, 2.1}, y{0, 0, 1, 0};
    auto loss = [&](const X& x) { return -sum(y * log_softmax(x)); };
    auto by_hand = [&](const X& x) {
      const X e = exp(x - max(x, -1, keep_dims));
      return -sum(y * log(e / sum(e)));
    };
    const X s = softmax(z), expected = eye(4) * s - reshape(s, {4, 1}) * s;
    check_close(hessian(loss)(z), expected, 1e-13);
    check_close(hessian(by_hand)(z), expected, 1e-13);
    check_close(jacobian(grad(loss), {.sweep = Sweep::forward})(z).dense(), expected, 1e-13);
    check_close(jacobian(grad(loss), {.sweep = Sweep::reverse})(z).dense(), expected, 1e-13);
    check_close(jacobian([&](const X& x) { return jacobian(loss)(x).dense(); })(z).dense(), expected, 1e-13);
    check_close(jacobian([](const X& x) { return softmax(x); })(z).dense(), expected, 1e-13);
  }

  TEST_CASE("hvp is H v, and H is symmetric") {
    const X x{0.4, -0.3, 0.9}, v{1, -2, 0.5};
    const X H = hessian(smooth)(x);
    check_close(H, transpose(H), 1e-12);
    check_close(hvp(smooth)(x, v), matmul(H, v), 1e-12);
    check_close(grad([&](const X& z) { return sum(grad(smooth)(z) * v); })(x), matmul(H, v), 1e-12);
    check_close(vjp(grad(smooth), x).second(v), matmul(H, v), 1e-12);
    check_close(jvp(grad(smooth), x, v).second, matmul(H, v), 1e-12);
    // grad of jvp: d/dx (f'(x) v) = H v
    check_close(grad([&](const X& z) { return jvp(smooth, z, v).second; })(x), matmul(H, v), 1e-12);
    // Third derivative tensor is symmetric in all axes.
    const X D = jacobian(hessian(smooth))(x).dense();
    REQUIRE(D.shape() == Shape{3, 3, 3});
    check_close(D, transpose(D, {1, 0, 2}), 1e-10);
    check_close(D, transpose(D, {0, 2, 1}), 1e-10);
    check_close(D, transpose(D, {2, 1, 0}), 1e-10);
    // hvp is differentiable: d/dx <v, H v> = D v v.
    check_close(grad([&](const X& z) { return sum(hvp(smooth)(z, v) * v); })(x), matmul(matmul(D, v), v), 1e-10);
    check_close(grad([&](const X& u) { return sum(hvp(smooth)(x, u) * u); })(v), 2 * matmul(H, v), 1e-10);
  }

  TEST_CASE("hessian of a function of a matrix") {
    const X A({{1, 2}, {0.5, -1}});
    // f = sum (A A): d2f/dA_ij dA_kl = [j = k] + [i = l]
    auto f = [](const X& M) { return sum(matmul(M, M)); };
    const X H = hessian(f)(A);
    REQUIRE(H.shape() == Shape{2, 2, 2, 2});
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j)
        for (int k = 0; k < 2; ++k)
          for (int l = 0; l < 2; ++l) CHECK(H(i, j, k, l) == (j == k) + (i == l));
  }

  TEST_CASE("derivatives of a Jacobian, of J^T g and of J v") {
    const X z{0.2, -0.4, 1.3}, g{1, 2, -1};
    auto f = [](const X& x) { return softmax(x); };
    auto expected = [&] { return grad([&](const X& x) { return sum(vjp(f, x).second(g) * g); })(z); };
    check_close(grad([&](const X& x) { return sum(jacobian(f)(x).apply_transposed(g) * g); })(z), expected(), 1e-13);
    check_close(grad([&](const X& x) { return sum(jacobian(f)(x).apply(g) * g); })(z), expected(), 1e-13);
    check_close(grad([&](const X& x) { return sum(jvp(f, x, g).second * g); })(z), expected(), 1e-13);
    check_close(grad([&](const X& x) {
                  return sum(batch_jacobian(f)(reshape(x, {1, 3})).apply(reshape(g, {1, 3})) * g);
                })(z),
                expected(), 1e-13);
    for (Sweep sweep : {Sweep::forward, Sweep::reverse}) {
      const JacobianOptions options{.sweep = sweep};
      check_close(grad([&](const X& x) { return sum(matmul(jacobian(f, options)(x).dense(), g) * g); })(z), expected(),
                  1e-13);
    }
  }

  // The recorded adjoints of chosen elements depend on each other; adjoints that are not recorded come before, between
  // and after them.
  TEST_CASE("a sweep of which a part is recorded, at elements, slices and the whole of one tensor") {
    const X x{0.7, -1.2, 0.4};
    const auto f = [](const X& z, const X& a) {
      X total = sum(square(z)) + z[1] * z[2] + a * z[0] * z[1];
      total += sum(slice(z, 0, 0, 2) * slice(z, 0, 1, 3)) + a * square(z[2]) + sum(exp(z)) * z[0];
      return total + sum(a * take(z, {2, 0, 2}, 0)) + sum(take_along(z, Tensor<std::int64_t>{1, 1}));
    };
    // d/da of sum(w grad f) is sum(w d(grad f)/da), with w = 1, 2, 3.
    const X w{1, 2, 3};
    const X by_a = grad([&](const X& a) { return sum(w * grad([&](const X& z) { return f(z, a); })(x)); })(X(0.3));
    const double expected = x(1) + 2 * x(0) + 3 * 2 * x(2) + 1 + 3 * 2;
    check_close(by_a, X(expected), 1e-14);
    const auto of_z = [&](const X& z) { return f(z, X(0.3)); };
    const X recorded =
        jvp([&](const X& a) { return grad([&](const X& z) { return f(z, a); })(x); }, X(0.3), X(1.0)).first;
    check_close(recorded, grad(of_z)(x), 1e-15);
    check_close(hessian(of_z)(x), jacobian(grad(of_z))(x).dense(), 1e-14);
  }

  TEST_CASE("a VJP differentiated by its cotangent at zero") {
    const X x{0.25, 4, 2.25};
    struct Case {
      std::string name;
      X (*f)(const X&);
      X slope;
    };
    for (const Case& c :
         {Case{"sqrt", [](const X& z) { return sqrt(z); }, vector_of({1, 0.25, 1 / 3.0})},
          Case{"log", [](const X& z) { return log(z); }, 1 / x},
          Case{"divide", [](const X& z) { return 2 / z; }, -2 / square(x)},
          Case{"pow", [](const X& z) { return pow(z, 1.5); }, 1.5 * sqrt(x)},
          Case{"log1p", [](const X& z) { return log1p(z); }, 1 / (1 + x)},
          Case{"multiply", [](const X& z) { return z * z; }, 2 * x},
          Case{"mul0", [](const X& z) { return mul0(z, z); }, 2 * x},
          Case{"max and where", [](const X& z) { return where(z > 1, maximum(z, 3), z); }, vector_of({1, 1, 0})}}) {
      CAPTURE(c.name);
      const auto [y, pullback] = vjp(c.f, x);
      const auto& J_transposed = pullback;
      // J^T g is linear in g: its derivative at g = 0 is J, reverse over reverse and forward over reverse.
      check_close(grad([&](const X& g) { return sum(J_transposed(g)); })(zeros({3})), c.slope, 1e-13);
      check_close(jvp([&](const X& g) { return J_transposed(g); }, zeros({3}), ones({3})).second, c.slope, 1e-13);
      check_close(jacobian([&](const X& g) { return J_transposed(g); })(zeros({3})).dense(), eye(3) * c.slope, 1e-13);
      // J^T g with its own recording, differentiated by g and by x: the second is g f''(x) = 0.
      const auto [dx, dg] =
          grad<0, 1>([&](const X& z, const X& g) { return sum(vjp(c.f, z).second(g)); })(x, zeros({3}));
      check_close(dg, c.slope, 1e-13);
      check_close(dx, zeros({3}), 0);
      // Forward by the double-vjp trick.
      check_close(vjp(pullback, zeros({3})).second(ones({3})), c.slope, 1e-13);
    }
  }

  TEST_CASE("a VJP differentiated by its cotangent at zero where a slope is infinite") {
    // The slopes of sqrt and log at 0 are infinite: the derivative by g is infinite and must not become 0 or NaN.
    const X x{0, 4};
    const double inf = std::numeric_limits<double>::infinity();
    for (auto* f : {+[](const X& z) { return sqrt(z); }, +[](const X& z) { return log(z); }}) {
      const auto [y, pullback_] = vjp(f, x);
      const auto& pullback = pullback_;
      const X at_zero = pullback(zeros({2}));
      check_close(at_zero, zeros({2}), 0);
      const X slope = grad([&](const X& g) { return sum(pullback(g)); })(zeros({2}));
      CHECK(slope(0) == inf);
      CHECK(slope(1) == 0.25);
      // Nothing asks for the infinite element; only the finite one arrives.
      const X masked = grad([&](const X& g) { return sum(pullback(g) * vector_of({0, 1})); })(zeros({2}));
      check_close(masked, vector_of({0, 0.25}), 1e-15);
      // The derivative by x at g = 0 is 0 * inf, taken as 0.
      const X dx = grad([&](const X& z) { return sum(vjp(f, z).second(zeros({2}))); })(x);
      check_close(dx, zeros({2}), 0);
    }
  }

  TEST_CASE("an exception in a nested transform leaves the outer one usable") {
    auto f = [](const X& x) {
      X y = square(x);
      try {
        grad([&](const X& z) -> X {
          const X w = z * x;
          static_cast<void>(grad([&](const X& u) -> X {
            static_cast<void>(u * w);
            throw std::runtime_error("inner");
          })(z));
          return w;
        })(x);
      } catch (const std::runtime_error&) {
      }
      try {
        static_cast<void>(grad([&](const X& z) { return z * vector_of({1, 2}); })(x));  // not a scalar
      } catch (const TapeError&) {
      }
      try {
        static_cast<void>(jacobian([&](const X& z) { return matmul(z * ones({2, 3}), ones({2, 3})); })(x));
      } catch (const ShapeError&) {
      }
      return y * x;
    };
    CHECK(grad(f)(X(2.0)).item() == 12);
    CHECK(grad(grad(f))(X(2.0)).item() == 12);
    CHECK(jvp(f, X(2.0), X(1.0)).second.item() == 12);
    CHECK_THROWS_AS(grad([](const X&) -> X { throw std::out_of_range("f"); })(X(1.0)), std::out_of_range);
    CHECK(grad(f)(X(3.0)).item() == 27);
  }

  TEST_CASE("a handle after its scope can be read, and throws when an operation would record it") {
    X kept;
    const X x{1, 2};
    static_cast<void>(grad([&](const X& z) {
      kept = square(z);
      return sum(kept);
    })(x));
    CHECK(kept(1) == 4);
    CHECK(kept.shape() == Shape{2});
    CHECK(allclose(kept, vector_of({1, 4}), 0, 0));
    CHECK_THROWS_WITH_AS(static_cast<void>(kept + 1), Contains("stop_gradient"), TapeError);
    CHECK_THROWS_WITH_AS(static_cast<void>(exp(kept)), Contains("nesting.cpp"), TapeError);
    CHECK_THROWS_AS(static_cast<void>(reshape(kept, {2, 1})), TapeError);
    CHECK_THROWS_AS(static_cast<void>(grad([](const X& z) { return sum(z); })(kept)), TapeError);
    CHECK_THROWS_AS(static_cast<void>(grad([&](const X& z) { return sum(z * kept); })(x)), TapeError);
    CHECK_THROWS_AS(static_cast<void>(jvp([&](const X& z) { return z * kept; }, x, x)), TapeError);
    CHECK_THROWS_AS(kept.mutable_data(), TapeError);
    check_close(stop_gradient(kept) + 1, vector_of({2, 5}), 0);
    check_close(grad([&](const X& z) { return sum(z * stop_gradient(kept)); })(x), vector_of({1, 4}), 0);
    // A comparison records nothing.
    CHECK((kept > 2)(1));
  }

  TEST_CASE("a handle of an inner scope is stale in the outer one, unless it was returned") {
    auto f = [](const X& x) {
      X kept;
      const X returned = vjp(
                             [&](const X& y) {
                               kept = y * x;
                               return y * y * x;
                             },
                             x)
                             .first;
      CHECK_THROWS_AS(static_cast<void>(kept * 2), TapeError);
      CHECK(kept.item() == 4);
      return returned * stop_gradient(kept);
    };
    CHECK(grad(f)(X(2.0)).item() == 3 * 4 * 4);
  }

  TEST_CASE("a pullback can be used many times, after the function and its arguments are gone") {
    std::optional<Pullback<X, X, X>> kept;
    {
      const X W({{1, 2}, {3, 4}}), x{0.5, -1};
      auto f = std::make_unique<std::function<X(const X&, const X&)>>(
          [](const X& A, const X& v) { return matmul(A, tanh(v)); });
      kept = vjp(*f, W, x).second;
    }
    release_cached_memory();
    for (int i = 0; i < 3; ++i) {
      static_cast<void>(grad([](const X& z) { return sum(exp(z)); })(ones({100})));  // uses the pool and the tapes
      const auto [dW, dx] = (*kept)(vector_of({1, 10}));
      const double t0 = std::tanh(0.5), t1 = std::tanh(-1.0);
      check_close(dW, X({{t0, t1}, {10 * t0, 10 * t1}}), 1e-14);
      check_close(dx, vector_of({31 * (1 - t0 * t0), 42 * (1 - t1 * t1)}), 1e-14);
    }
    const Pullback<X, X, X> copy = *kept;
    kept.reset();
    CHECK(std::get<1>(copy(vector_of({0, 0})))(0) == 0);
    CHECK_THROWS_WITH_AS(copy(vector_of({1, 2, 3})), Contains("(3)"), ShapeError);
    CHECK_THROWS_AS(copy(X(1.0)), ShapeError);
  }

  TEST_CASE("a pullback takes seed axes") {
    const X x{0.3, 0.9};
    const auto [y, pullback] = vjp([](const X& z) { return softmax(z); }, x);
    const X J = jacobian([](const X& z) { return softmax(z); })(x).dense();
    check_close(pullback(eye(2)), J, 1e-15);
    CHECK(pullback(zeros({4, 3, 2})).shape() == Shape{4, 3, 2});
    CHECK(pullback(zeros({0, 2})).shape() == Shape{0, 2});
  }

  TEST_CASE("a pullback of the outside, used inside another function, is differentiable in its cotangent") {
    const X x{1, 2, 3};
    const auto [y, pullback_] = vjp([](const X& z) { return square(z); }, x);
    const auto& pullback = pullback_;
    auto f = [&](const X& g) { return sum(square(pullback(square(g)))); };  // 4 x^2 g^4
    check_close(grad(f)(ones({3})), 16 * square(x), 1e-13);
    check_close(hessian(f)(ones({3})), eye(3) * (48 * square(x)), 1e-13);
  }

  TEST_CASE("a pullback made inside a function") {
    // It is used in the scope in which it was made, one level down, and by reference from two levels down.
    auto f = [](const X& x) {
      const auto [y, pullback_] = vjp([](const X& z) { return z * z * z; }, x);
      const auto& pullback = pullback_;
      const X inside = grad([&](const X& g) { return pullback(g) * x; })(X(1.0));  // 3 x^3
      return y + pullback(x) + inside;                                             // x^3 + 3 x^3 + 3 x^3
    };
    CHECK(f(X(2.0)).item() == 56);
    CHECK(grad(f)(X(2.0)).item() == 84);
    CHECK(grad(grad(f))(X(2.0)).item() == 84);
    CHECK(jvp(f, X(2.0), X(1.0)).second.item() == 84);
    // After its scope has closed it throws, also when the outer function did not lead to its point.
    std::optional<Pullback<X, X>> kept;
    static_cast<void>(grad([&](const X& x) {
      kept = vjp([](const X& z) { return square(z); }, x).second;
      return x;
    })(X(2.0)));
    CHECK_THROWS_AS((*kept)(X(1.0)), TapeError);
    CHECK_THROWS_AS(grad([&](const X& z) { return (*kept)(z); })(X(1.0)), TapeError);
    kept.reset();
    CHECK(grad(f)(X(2.0)).item() == 84);
  }

  TEST_CASE("a pullback in which nothing leads outside is dropped while the outer function goes on") {
    auto f = [](const X& x) {
      X total = x * 0;
      for (int i = 1; i <= 100; ++i) {
        const auto [y, pullback] = vjp([](const X& z) { return exp(z); }, X(static_cast<double>(i) / 100));
        total = total + x * pullback(X(1.0));
      }
      return total;
    };
    double expected = 0;
    for (int i = 1; i <= 100; ++i) expected += std::exp(i / 100.0);
    CHECK(grad(f)(X(3.0)).item() == about(expected, 1e-13));
  }

  TEST_CASE("arguments: vector, array, map, tuple, pair, struct, list, and nests of them") {
    const X a{1, 2}, b{3, -1};
    auto loss = [](const X& p, const X& q) { return sum(square(p) * q); };
    const X da = 2 * a * b, db = square(a);

    const std::vector<X> by_vector =
        grad([&](const std::vector<X>& p) { return loss(p[0], p[1]); })(std::vector<X>{a, b});
    check_close(by_vector[0], da, 0);
    check_close(by_vector[1], db, 0);
    const std::array<X, 2> by_array =
        grad([&](const std::array<X, 2>& p) { return loss(p[0], p[1]); })(std::array<X, 2>{a, b});
    check_close(by_array[1], db, 0);
    using Map = std::map<std::string, X>;
    const Map by_map = grad([&](const Map& p) { return loss(p.at("W"), p.at("b")); })(Map{{"W", a}, {"b", b}});
    check_close(by_map.at("W"), da, 0);
    check_close(by_map.at("b"), db, 0);
    const auto [ta, tb] =
        grad([&](const std::tuple<X, X>& p) { return loss(std::get<0>(p), std::get<1>(p)); })(std::tuple(a, b));
    check_close(ta, da, 0);
    check_close(tb, db, 0);
    const auto by_list = grad([&](const TensorList<double>& p) { return loss(p[0], p[1]); })(TensorList<double>{a, b});
    static_assert(std::is_same_v<decltype(by_list), const TensorList<double>>);
    check_close(by_list[0], da, 0);

    struct Layer {
      X W, b;
      int units = 7;
      auto tensors() { return std::tie(W, b); }
    };
    struct Net {
      Layer one;
      std::vector<Layer> more;
      auto tensors() { return std::tie(one, more); }
    };
    const Net net{{a, b, 1}, {{b, a, 2}, {a, a, 3}}};
    const auto [value, g] = value_and_grad([&](const Net& n) {
      X total = loss(n.one.W, n.one.b);
      for (const Layer& layer : n.more) total = total + loss(layer.W, layer.b);
      return total;
    })(net);
    static_assert(std::is_same_v<std::remove_const_t<decltype(g)>, Net>);
    CHECK(value.item() == loss(a, b).item() + loss(b, a).item() + loss(a, a).item());
    check_close(g.one.W, da, 0);
    check_close(g.one.b, db, 0);
    check_close(g.more[0].W, 2 * b * a, 0);
    check_close(g.more[1].W + g.more[1].b, 3 * square(a), 0);
    CHECK(g.more[1].units == 3);
    check_close(net.one.W, a, 0);
    CHECK_FALSE(g.one.W.traced());
    // The same through vjp and jvp.
    auto of_layer = [&](const Layer& l) { return l.W * l.b; };
    const Layer point{a, b, 0}, direction{ones({2}), zeros({2}), 0};
    check_close(vjp(of_layer, point).second(ones({2})).b, a, 0);
    check_close(jvp(of_layer, point, direction).second, b, 0);
    CHECK(grad([](const std::vector<X>&) { return X(1.0); })(std::vector<X>{}).empty());
    CHECK_THROWS_AS(jvp([](const std::vector<X>& p) { return p[0]; }, std::vector<X>{a, b}, std::vector<X>{a}),
                    ShapeError);
    CHECK_THROWS_AS(jvp([](const X& p) { return p; }, a, X{1, 2, 3}), ShapeError);
  }

  TEST_CASE("float and double in one function") {
    using Params = std::tuple<Tensor<float>, X>;
    auto f = [](const Params& p) { return sum(astype<double>(square(std::get<0>(p))) * std::get<1>(p)); };
    const Params at{Tensor<float>{1, 2}, X{10, 20}};
    const auto [df, dd] = grad(f)(at);
    static_assert(std::is_same_v<std::remove_const_t<decltype(df)>, Tensor<float>>);
    CHECK(allclose(df, Tensor<float>{20, 80}, 0, 0));
    check_close(dd, vector_of({1, 4}), 0);
    // Loss in float of parameters in double, twice differentiated.
    auto g = [](const X& x) { return astype<double>(sum(pow(astype<float>(x), 3))); };
    check_close(hessian(g)(vector_of({1, -2})), X({{6, 0}, {0, -12}}), 1e-6);
    auto in_float = [](const X& x) { return sum(astype<float>(x) * 2); };
    check_close(grad(in_float)(vector_of({1, 5})), vector_of({2, 2}), 0);
    const auto [y, pullback] = vjp([](const X& x) { return astype<float>(x); }, vector_of({1, 2}));
    static_assert(std::is_same_v<std::remove_const_t<decltype(y)>, Tensor<float>>);
    check_close(pullback(Tensor<float>{3, 4}), vector_of({3, 4}), 0);
  }

  TEST_CASE("choosing arguments") {
    auto f = [](const X& a, const X& b, const X& c) { return sum(a * b * square(c)); };
    const X a(2.0), b(3.0), c(5.0);
    CHECK(grad(f)(a, b, c).item() == 75);
    CHECK(grad<1>(f)(a, b, c).item() == 50);
    const auto [da, dc] = grad<0, 2>(f)(a, b, c);
    CHECK(da.item() == 75);
    CHECK(dc.item() == 60);
    const auto [dc2, da2] = grad<2, 0>(f)(a, b, c);
    CHECK(dc2.item() == 60);
    CHECK(da2.item() == 75);
    const auto [value, gradients] = value_and_grad<0, 1, 2>(f)(a, b, c);
    CHECK(value.item() == 150);
    CHECK(std::get<1>(gradients).item() == 50);
    CHECK(jacobian<1>(f)(a, b, c).dense().item() == 50);
    // Arguments that are not differentiated may be anything, and are not traced.
    auto g = [](const X& x, const Tensor<std::int64_t>& labels, int power, const X& other) {
      CHECK_FALSE(other.traced());
      return sum(pow(take(x, labels), power) * other);
    };
    check_close(grad(g)(vector_of({1, 2, 3}), Tensor<std::int64_t>{2, 2}, 2, vector_of({1, 10})), vector_of({0, 0, 66}),
                0);
  }

  TEST_CASE("unused, returned and constant") {
    const X x{1, 2, 3};
    check_close(grad([](const X&) { return X(4.0); })(x), zeros({3}), 0);
    check_close(grad<1>([](const X& a, const X&) { return sum(a); })(x, x), zeros({3}), 0);
    const auto [da, db] = grad<0, 1>([](const X&, const X& b) { return sum(b); })(x, x);
    check_close(da, zeros({3}), 0);
    check_close(db, ones({3}), 0);
    CHECK(grad([](const X& z) { return z; })(X(3.0)).item() == 1);
    CHECK(grad(grad([](const X& z) { return z; }))(X(3.0)).item() == 0);
    check_close(grad([](const X& z) { return sum(stop_gradient(z)); })(x), zeros({3}), 0);

    const auto [y, pullback] = vjp([](const X& z) { return z; }, x);
    check_close(y, x, 0);
    check_close(pullback(vector_of({4, 5, 6})), vector_of({4, 5, 6}), 0);
    const auto [same, dsame] = jvp([](const X& z) { return z; }, x, vector_of({4, 5, 6}));
    check_close(dsame, vector_of({4, 5, 6}), 0);
    const auto [constant, dconstant] = jvp([](const X&) { return X({{1, 2}}); }, x, x);
    check_close(constant, X({{1, 2}}), 0);
    check_close(dconstant, zeros({1, 2}), 0);
    check_close(vjp([](const X&) { return X({{1, 2}}); }, x).second(X({{1, 1}})), zeros({3}), 0);
    check_close(jacobian([](const X& z) { return z; })(x).dense(), eye(3), 0);
    CHECK(jacobian([](const X&) { return X({{1, 2}}); })(x).dense().shape() == Shape{1, 2, 3});
    check_close(batch_jacobian([](const X& Z) { return Z; })(X({{1, 2}, {3, 4}})).dense(),
                broadcast_to(eye(2), {2, 2, 2}), 0);
    check_close(batch_jacobian([](const X&) { return X({{1, 2, 3}}); })(X({{1, 2}})).dense(), zeros({1, 3, 2}), 0);
    check_close(hessian([](const X& z) { return sum(z); })(x), zeros({3, 3}), 0);
    check_close(hvp([](const X& z) { return sum(z); })(x, x), zeros({3}), 0);
    check_close(elementwise_grad([](const X&) { return X(1.0); })(x), zeros({3}), 0);
    // The results are plain tensors, and the arguments are untouched.
    CHECK_FALSE(y.traced());
    CHECK_FALSE(dsame.traced());
    // An outer value returned from an inner function is constant there, and itself outside.
    auto f = [](const X& a) {
      return vjp([&](const X&) { return a * 3; }, a).first * grad([&](const X&) { return a; })(a);
    };
    CHECK(grad(f)(X(2.0)).item() == 0);
    auto g = [](const X& a) { return vjp([&](const X&) { return a; }, a).first * a; };
    CHECK(grad(g)(X(2.0)).item() == 4);
  }

  TEST_CASE("the same tensor given for two arguments is two arguments") {
    const X x(3.0);
    const auto [a, b] = grad<0, 1>([](const X& u, const X& v) { return u * v * v; })(x, x);
    CHECK(a.item() == 9);
    CHECK(b.item() == 18);
  }

  TEST_CASE("elementwise_grad acts element by element and takes further arguments") {
    const X x{0.5, 1, 2};
    check_close(elementwise_grad([](const X& z) { return log(z); })(x), 1 / x, 1e-15);
    check_close(elementwise_grad([](const X& z, const X& a) { return pow(z, 2) * a; })(x, vector_of({1, 2, 3})),
                vector_of({1, 4, 12}), 1e-15);
    CHECK(elementwise_grad([](const X& z) { return exp(z); })(zeros({2, 0, 3})).shape() == Shape{2, 0, 3});
  }

  TEST_CASE("empty tensors have empty gradients") {
    const X nothing = zeros({0, 3});
    CHECK(grad([](const X& z) { return sum(square(z)); })(nothing).shape() == Shape{0, 3});
    CHECK(jacobian([](const X& z) { return square(z); })(nothing).dense().shape() == Shape{0, 3, 0, 3});
    CHECK(jacobian([](const X& z) { return sum(z, 0); })(nothing).dense().shape() == Shape{3, 0, 3});
    CHECK(batch_jacobian([](const X& z) { return softmax(z); })(nothing).dense().shape() == Shape{0, 3, 3});
    CHECK(hessian([](const X& z) { return sum(square(z)); })(nothing).shape() == Shape{0, 3, 0, 3});
  }

  TEST_CASE("a loop with branches on values, and in place operators") {
    auto f = [](const X& x) {
      X y = x;
      while ((y < 100).item()) y *= x;
      y += 1;
      y -= x;
      y /= 2;
      return y;
    };
    // x = 3: y = 3^5 = 243, (y + 1 - x) / 2
    const auto [value, slope] = value_and_grad(f)(X(3.0));
    CHECK(value.item() == 120.5);
    CHECK(slope.item() == (5 * 81 - 1) / 2.0);
  }
}

}  // namespace
