// Bad input gives a clear exception that names the operation, the shapes, the caller's line and what to do.
#include <doctest/doctest.h>

#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <utility>
#include <vector>

#include "../error_message.hpp"

namespace {

using namespace tapegrad;
using X = Tensor<>;
using Labels = Tensor<std::int64_t>;
using Mask = Tensor<bool>;
using doctest::Contains;

// Runs `action`, which must throw an E whose message holds every one of `parts`.
template <class E, class F>
void check_refused(F action, const std::string& text, const std::vector<std::string>& parts) {
  CAPTURE(text);
  std::string message;
  bool refused = false;
  try {
    action();
  } catch (const E& error) {
    refused = true;
    message = error.what();
  } catch (const std::exception& error) {
    message = error.what();
  }
  CAPTURE(message);
  CHECK(refused);
  for (const std::string& part : parts) CHECK_MESSAGE(message.find(part) != std::string::npos, "missing: " << part);
}
// The macro stands on one line, which the message must name.
#define REFUSED(E, expression, ...)                                     \
  check_refused<E>([&] { static_cast<void>(expression); }, #expression, \
                   {std::string("errors.cpp:") + std::to_string(__LINE__) __VA_OPT__(, ) __VA_ARGS__})
// For calls whose line cannot be known.
#define REFUSED_SOMEWHERE(E, expression, ...) \
  check_refused<E>([&] { static_cast<void>(expression); }, #expression, {__VA_ARGS__})

const X a = ones({2, 3}), b = ones({4});
const X scalar(1.0), cube = ones({2, 3, 4}), nothing = zeros({0}), no_rows = zeros({0, 3}), no_columns = zeros({3, 0});

TEST_SUITE("errors") {
  TEST_CASE("axes that a shape does not have") {
    CHECK(a.shape()[1] == 3);
    CHECK(a.shape()[-1] == 3);
    CHECK(a.shape()[-2] == 2);
    CHECK(a.shape().back() == 3);
    CHECK(a.shape().from_end(2) == 2);
    REFUSED(ShapeError, a.shape()[2], "axis 2", "(2, 3)", "from -2 to 1");
    REFUSED(ShapeError, a.shape()[-3], "axis -3", "(2, 3)");
    REFUSED(ShapeError, a.shape().from_end(3), "axis -3", "(2, 3)");
    REFUSED(ShapeError, a.shape().from_end(0), "axis 0 from the end", "(2, 3)");
    REFUSED(ShapeError, scalar.shape().back(), "axis -1", "()", "a scalar has no axes");
    REFUSED(ShapeError, scalar.shape().front(), "axis 0", "a scalar has no axes");
    Shape s = a.shape();
    REFUSED(ShapeError, s[5] = 1, "axis 5");
  }

  TEST_CASE("new tensors of no possible shape") {
    REFUSED(ShapeError, zeros({2, -3}), "zeros", "(2, -3)", "must not be negative");
    REFUSED(ShapeError, ones<float>({-1}), "ones", "(-1)");
    REFUSED(ShapeError, full({-1}, 2.0), "full", "(-1)");
    REFUSED(ShapeError, eye(-2), "eye", "(-2, -2)");
    REFUSED(ShapeError, zeros({std::int64_t{1} << 40, std::int64_t{1} << 40}), "zeros", "does not fit in memory");
    REFUSED(ValueError, arange(0, 1, 0), "arange", "no finite number of steps");
    REFUSED(ValueError, arange(0, 1e18), "arange", "more steps than memory");
    random::Generator rng(1);
    REFUSED(ShapeError, rng.uniform<double>({-1}), "uniform", "(-1)");
    REFUSED(ShapeError, rng.normal<double>({-1}), "normal", "(-1)");
    REFUSED(ShapeError, rng.bernoulli<double>({-1}, 0.5), "bernoulli", "(-1)");
    REFUSED(ValueError, rng.below(0), "below");
    REFUSED(ValueError, rng.choice(2, 3), "choice", "3 of 2");
    REFUSED(ValueError, rng.permutation(-1), "permutation");
    nn::Rng draws(1);
    const nn::Dropout wrong{.rate = 1.5};
    CHECK_THROWS_WITH_AS(wrong(nn::Params<double>{}, a, nn::Mode{.training = true, .rng = &draws}),
                         Contains("Dropout at errors.cpp:"), ValueError);
  }

  TEST_CASE("shapes that do not broadcast") {
    X c = a;
    REFUSED(ShapeError, a + b, "add", "(2, 3)", "(4)", "-1");
    REFUSED(ShapeError, a - b, "subtract", "(2, 3)", "(4)");
    REFUSED(ShapeError, a * b, "multiply", "(2, 3)", "(4)");
    REFUSED(ShapeError, b / a, "divide", "(4)", "(2, 3)");
    REFUSED(ShapeError, a > b, "> at", "(2, 3) and (4)");
    REFUSED(ShapeError, a >= b, ">= at", "(2, 3) and (4)");
    REFUSED(ShapeError, c += b, "add", "(2, 3)", "(4)");
    REFUSED(ShapeError, c -= b, "subtract", "(2, 3)", "(4)");
    REFUSED(ShapeError, c *= b, "multiply", "(2, 3)", "(4)");
    REFUSED(ShapeError, c /= b, "divide", "(2, 3)", "(4)");
    REFUSED(ShapeError, a < b, "<", "(2, 3)", "(4)");
    REFUSED(ShapeError, a <= b, "<=", "(2, 3)", "(4)");
    REFUSED(ShapeError, a > b, "(2, 3)", "(4)");
    REFUSED(ShapeError, a >= b, "(2, 3)", "(4)");
    REFUSED(ShapeError, a == b, "==", "(2, 3)", "(4)");
    REFUSED(ShapeError, a != b, "!=", "(2, 3)", "(4)");
    REFUSED(ShapeError, maximum(a, b), "maximum", "(2, 3)", "(4)");
    REFUSED(ShapeError, minimum(a, b), "minimum", "(2, 3)", "(4)");
    REFUSED(ShapeError, mul0(a, b), "mul0", "(2, 3)", "(4)");
    REFUSED(ShapeError, where(a > 0, a, b), "where", "(2, 3)", "(4)");
    REFUSED(ShapeError, where(b > 0, a, 1), "where", "(2, 3)", "(4)");
    REFUSED(ShapeError, logical_and(a > 0, b > 0), "logical_and", "(2, 3)", "(4)");
    REFUSED(ShapeError, logical_or(a > 0, b > 0), "logical_or", "(2, 3)", "(4)");
    REFUSED(ShapeError, a > 0 && b > 0, "logical_and", "(2, 3)", "(4)");
    REFUSED(ShapeError, a > 0 || b > 0, "logical_or", "(2, 3)", "(4)");
    REFUSED(ShapeError, (Labels{1, 2} == Labels{1, 2, 3}), "==", "(2)", "(3)");
    REFUSED(ShapeError, (Labels{1, 2} < Labels{1, 2, 3}), "<", "(2)", "(3)");
    REFUSED(ShapeError, (Labels{1, 2} + Labels{1, 2, 3}), "add", "(2)", "(3)");
    REFUSED(ShapeError, (Labels{1, 2} - Labels{1, 2, 3}), "subtract", "(2)", "(3)");
    REFUSED(ShapeError, broadcast_to(a, {3, 3}), "broadcast_to", "(2, 3)", "(3, 3)");
    REFUSED(ShapeError, broadcast_to(a, {3}), "broadcast_to", "(2, 3)", "(3)");
    REFUSED(ShapeError, broadcast_to(a, {1, 3}), "broadcast_to", "(2, 3)", "(1, 3)");
    REFUSED(ShapeError, ones({2, 0}) + ones({2, 3}), "add", "(2, 0)", "(2, 3)");
    CHECK(allclose(c, a, 0, 0));  // the failed call changed nothing
    // The same on a tape, and in float.
    REFUSED(ShapeError, grad([](const X& z) { return sum(z + b); })(a), "add", "(2, 3)", "(4)");
    REFUSED(ShapeError, ones<float>({2}) * ones<float>({3}), "multiply", "(2)", "(3)");
  }

  TEST_CASE("shapes that do not fit each other") {
    REFUSED(ShapeError, matmul(a, a), "matmul", "(2, 3) x (2, 3)", "transpose");
    REFUSED(ShapeError, matmul(a, b), "matmul", "(2, 3) x (4)");
    REFUSED(ShapeError, matmul(b, a), "matmul", "(4) x (2, 3)");
    REFUSED(ShapeError, matmul(b, ones({5})), "matmul", "(4) x (5)");
    REFUSED(ShapeError, matmul(a, scalar), "matmul", "(2, 3) x ()", "*");
    REFUSED(ShapeError, matmul(scalar, scalar), "matmul", "() x ()");
    REFUSED(ShapeError, matmul(cube, ones({3, 4, 5})), "matmul", "(2, 3, 4) x (3, 4, 5)");
    REFUSED(ShapeError, matmul(cube, ones({2, 3, 5})), "matmul", "(2, 3, 4) x (2, 3, 5)");
    REFUSED(ShapeError, concatenate({a, b}, 0), "concatenate", "(2, 3)", "(4)");
    REFUSED(ShapeError, concatenate({a, ones({2, 4})}, 0), "concatenate", "(2, 3)", "(2, 4)");
    REFUSED(ShapeError, concatenate({a, ones({3, 3})}, 1), "concatenate", "(2, 3)", "(3, 3)");
    REFUSED(ShapeError, concatenate(std::vector<X>{}, 0), "concatenate");
    REFUSED(ShapeError, take_along(a, Labels{0, 1}), "take_along", "(2, 3)", "(2)");
    REFUSED(ShapeError, take_along(a, Labels({3, 1}, std::vector<std::int64_t>{0, 1, 2})), "take_along", "(2, 3)",
            "(3, 1)");
    REFUSED(ShapeError, take_along(scalar, Labels{0}), "take_along", "()");
    REFUSED(ShapeError, reshape(a, {4, 2}), "reshape", "(2, 3)", "(4, 2)", "6 elements");
    REFUSED(ShapeError, reshape(a, {4, -1}), "reshape", "(2, 3)", "(4, -1)");
    REFUSED(ShapeError, reshape(a, {-1, -1}), "reshape", "(2, 3)", "(-1, -1)");
    REFUSED(ShapeError, reshape(a, {-2, -3}), "reshape", "(2, 3)", "(-2, -3)");
    REFUSED(ShapeError, reshape(nothing, {0, -1}), "reshape", "(0)", "(0, -1)");
    REFUSED(ShapeError, reshape(a, {}), "reshape", "(2, 3)", "()");
    REFUSED(ShapeError, X({{1, 2}, {3, 4, 5}}), "Tensor", "2", "3");
    REFUSED(ShapeError, X({2, 2}, std::vector<double>{1, 2, 3}), "Tensor", "3 values", "(2, 2)");
    REFUSED(ShapeError, X({2, 2}, {1, 2, 3}), "Tensor", "3 values", "(2, 2), which holds 4");
    REFUSED(ShapeError, Labels({2}, {1, 2, 3}), "Tensor", "3 values", "(2)");
    REFUSED(ShapeError, zeros(-1), "zeros", "(-1)");
    REFUSED(ShapeError, ones<float>(-2), "ones", "(-2)");
    REFUSED(ShapeError, full(-3, 1), "full", "(-3)");
  }

  TEST_CASE("axes that do not exist") {
    for (int axis : {2, -3, 100}) {
      const std::string number = std::to_string(axis);
      REFUSED(ShapeError, sum(a, axis), "sum", number, "(2, 3)");
      REFUSED(ShapeError, sum(a, {0, axis}), "sum", number, "(2, 3)");
      REFUSED(ShapeError, prod(a, axis), "prod", number, "(2, 3)");
      REFUSED(ShapeError, mean(a, axis), "mean", number, "(2, 3)");
      REFUSED(ShapeError, max(a, axis), "max", number, "(2, 3)");
      REFUSED(ShapeError, min(a, axis), "min", number, "(2, 3)");
      REFUSED(ShapeError, argmax(a, axis), "argmax", number, "(2, 3)");
      REFUSED(ShapeError, cumsum(a, axis), "cumsum", number, "(2, 3)");
      REFUSED(ShapeError, softmax(a, axis), "softmax", number, "(2, 3)");
      REFUSED(ShapeError, log_softmax(a, axis), "log_softmax", number, "(2, 3)");
      REFUSED(ShapeError, logsumexp(a, axis), "logsumexp", number, "(2, 3)");
      REFUSED(ShapeError, logsumexp(a, axis, keep_dims), "logsumexp", number, "(2, 3)");
      REFUSED(ShapeError, slice(a, axis, 0, 1), "slice", number, "(2, 3)");
      REFUSED(ShapeError, take(a, Labels{0}, axis), "take", number, "(2, 3)");
      REFUSED(ShapeError, concatenate({a, a}, axis), "concatenate", number, "(2, 3)");
      REFUSED(ShapeError, transpose(a, {0, axis}), "transpose", number, "(2, 3)");
    }
    REFUSED(ShapeError, sum(a, {0, 0}), "sum", "twice");
    REFUSED(ShapeError, sum(a, {1, -1}), "sum", "twice");
    REFUSED(ShapeError, prod(a, {0, 0}), "prod", "twice");
    REFUSED(ShapeError, max(a, {1, 1}), "max", "twice");
    REFUSED(ShapeError, mean(a, {0, -2}), "mean", "twice");
    REFUSED(ShapeError, min(a, {0, 0}), "min", "twice");
    REFUSED(ShapeError, transpose(a, {0, 0}), "transpose", "(2, 3)", "once");
    REFUSED(ShapeError, transpose(a, {0}), "transpose", "(2, 3)");
    REFUSED(ShapeError, transpose(a, {0, 1, 0}), "transpose", "(2, 3)");
    REFUSED(ShapeError, transpose(b), "transpose", "(4)");
    REFUSED(ShapeError, transpose(cube), "transpose", "(2, 3, 4)", "matrix_transpose(x)", "transpose(x, {2, 1, 0})");
    REFUSED(ShapeError, transpose(ones({1, 2, 3, 4}) > 0), "transpose", "transpose(x, {3, 2, 1, 0})");
    REFUSED(ShapeError, matrix_transpose(b), "matrix_transpose", "(4)");
    REFUSED(ShapeError, matrix_transpose(scalar), "matrix_transpose", "()");
    REFUSED(ShapeError, matmul(cube, cube), "matmul", "(2, 3, 4) x (2, 3, 4)", "matrix_transpose(b)");
    // A scalar has no axes.
    REFUSED(ShapeError, sum(scalar, 0), "sum", "()");
    REFUSED(ShapeError, max(scalar, -1), "max", "()");
    REFUSED(ShapeError, argmax(scalar, -1), "argmax", "()");
    REFUSED(ShapeError, cumsum(scalar, -1), "cumsum", "()");
    REFUSED(ShapeError, softmax(scalar), "softmax", "()");
    REFUSED(ShapeError, log_softmax(scalar), "log_softmax", "()");
    REFUSED(ShapeError, logsumexp(scalar, -1), "logsumexp", "()");
    REFUSED(ShapeError, slice(scalar, 0, 0, 1), "slice", "()");
    REFUSED(ShapeError, take(scalar, Labels{0}), "take", "()");
    REFUSED(ShapeError, sort(scalar), "sort");
    REFUSED(ShapeError, transpose(scalar), "transpose", "()");
    REFUSED(ShapeError, concatenate({scalar, scalar}), "concatenate", "scalars", "stack");
  }

  TEST_CASE("no elements where there must be one") {
    REFUSED(ShapeError, max(nothing), "max", "(0)");
    REFUSED(ShapeError, min(nothing), "min", "(0)");
    REFUSED(ShapeError, mean(nothing), "mean", "(0)");
    REFUSED(ShapeError, max(nothing, keep_dims), "max", "(0)");
    REFUSED(ShapeError, min(nothing, keep_dims), "min", "(0)");
    REFUSED(ShapeError, mean(nothing, keep_dims), "mean", "(0)");
    REFUSED(ShapeError, max(no_rows, 0), "max", "(0, 3)");
    REFUSED(ShapeError, min(no_rows, 0), "min", "(0, 3)");
    REFUSED(ShapeError, mean(no_rows, 0), "mean", "(0, 3)");
    REFUSED(ShapeError, mean(no_rows, {0, 1}), "mean", "(0, 3)");
    REFUSED(ShapeError, argmax(nothing, -1), "argmax", "(0)");
    REFUSED(ShapeError, argmax(no_columns, -1), "argmax", "(3, 0)");
    REFUSED(ShapeError, softmax(nothing), "softmax", "(0)");
    REFUSED(ShapeError, softmax(no_columns), "softmax", "(3, 0)");
    REFUSED(ShapeError, log_softmax(no_columns), "log_softmax", "(3, 0)");
    REFUSED(ShapeError, logsumexp(no_columns, -1), "logsumexp", "(3, 0)");
    REFUSED(ShapeError, softmax(no_rows, 0), "softmax", "(0, 3)");
    REFUSED(ShapeError, nothing.item(), "item", "(0)");
    // Cases that are defined.
    CHECK(sum(nothing).item() == 0);
    CHECK(sum(no_rows, 0).shape() == Shape{3});
    CHECK(prod(nothing).item() == 1);
    CHECK(allclose(prod(no_rows, 0), ones({3}), 0, 0));
    CHECK(allclose(sum(no_rows, 0), zeros({3}), 0, 0));
    CHECK(max(no_rows, -1).shape() == Shape{0});
    CHECK(mean(no_rows, -1).shape() == Shape{0});
    CHECK(argmax(no_rows, -1).shape() == Shape{0});
    CHECK(softmax(no_rows).shape() == Shape{0, 3});
    CHECK(logsumexp(no_rows, -1).shape() == Shape{0});
    CHECK(matmul(zeros({2, 0}), zeros({0, 3})).shape() == Shape{2, 3});
    CHECK(allclose(matmul(zeros({2, 0}), zeros({0, 3})), zeros({2, 3}), 0, 0));
    CHECK(take(nothing, Labels(Shape{0}, {})).shape() == Shape{0});
    CHECK(sort(no_columns).shape() == Shape{3, 0});
  }

  TEST_CASE("labels and indices out of range") {
    REFUSED(ValueError, one_hot(Labels{0, 3}, 3), "one_hot", "3", "position 1");
    REFUSED(ValueError, one_hot(Labels{-1}, 3), "one_hot", "-1");
    REFUSED(ValueError, one_hot<float>(Labels{0}, 0), "one_hot");
    CHECK_THROWS_AS(one_hot(Labels{0}, -1), Error);
    REFUSED(ValueError, take(a, Labels{0, 2}), "take", "2", "position 1", "size 2");
    REFUSED(ValueError, take(a, Labels{-3}), "take", "-3", "size 2");
    REFUSED(ValueError, take(a, Labels{3}, -1), "take", "3", "size 3");
    REFUSED(ValueError, take(nothing, Labels{0}), "take", "size 0");
    REFUSED(ValueError, take_along(a, Labels({2, 1}, std::vector<std::int64_t>{0, 3})), "take_along", "3", "size 3");
    REFUSED(ValueError, take_along(a, Labels({2, 1}, std::vector<std::int64_t>{-4, 0})), "take_along", "-4", "size 3");
    REFUSED(ValueError, slice(a, 0, 0, 2, 0), "slice", "step 0");
    REFUSED(ValueError, slice(a, 0, 2, 0, -1), "slice", "step -1");
    REFUSED(ShapeError, a.item(), "item", "(2, 3)", "6");
    REFUSED(ShapeError, a(0), "(0)", "(2, 3)");
    REFUSED(ShapeError, a(0, 0, 0), "(0, 0, 0)", "(2, 3)");
    REFUSED(ShapeError, a(), "()", "(2, 3)");
    REFUSED(ShapeError, a(2, 0), "(2, 0)", "(2, 3)");
    REFUSED(ShapeError, a(0, -4), "(0, -4)", "(2, 3)");
    REFUSED(ShapeError, nothing(0), "(0)");
    REFUSED(ShapeError, a(0, 0, 0, 0, 0, 0, 0, 0, 0, 0), "(2, 3)");
    REFUSED(ShapeError, a[2], "x[i]", "index 2", "(2, 3)", "-2 to 1");
    REFUSED(ShapeError, a[-3], "x[i]", "index -3", "(2, 3)");
    REFUSED(ShapeError, a[0][3], "x[i]", "index 3", "(3)", "-3 to 2");
    REFUSED(ShapeError, nothing[0], "x[i]", "(0)", "empty");
    REFUSED(ShapeError, scalar[0], "x[i]", "()", "no axis");
    REFUSED(ShapeError, scalar.begin(), "begin", "a scalar", "use the tensor itself");
    REFUSED(
        ShapeError,
        [] {
          for (const X& element : scalar) element.item();
        }(),
        "begin", "a scalar");
    REFUSED(ShapeError, (Labels{1, 2}[2]), "x[i]", "index 2", "(2)");
    REFUSED(ShapeError, (a > 0)[2], "x[i]", "index 2", "(2, 3)");
    CHECK(a(-2, -3) == 1);
    CHECK(scalar() == 1);
  }

  TEST_CASE("a tensor without a value") {
    const X none;
    const Labels no_labels;
    CHECK(none.shape() == Shape{0});
    CHECK(none.data() == nullptr);
    REFUSED(ValueError, none + 1, "add", "no value");
    REFUSED(ValueError, 1 / none, "divide", "no value");
    REFUSED(ValueError, -none, "negate", "no value");
    REFUSED(ValueError, none[0], "x[i]", "no value");
    REFUSED(ValueError, none < 1, "no value");
    REFUSED(ValueError, none.begin(), "begin", "no value");
    REFUSED(ValueError, exp(none), "exp", "no value");
    REFUSED(ValueError, pow(none, 2), "pow", "no value");
    REFUSED(ValueError, maximum(none, a), "maximum", "no value");
    REFUSED(ValueError, mul0(a, none), "mul0", "no value");
    REFUSED(ValueError, where(a > 0, none, a), "where", "no value");
    REFUSED(ValueError, where(Mask(), a, a), "where", "no value");
    REFUSED(ValueError, logical_not(Mask()), "logical_not", "no value");
    REFUSED_SOMEWHERE(ValueError, !Mask(), "logical_not", "no value");
    REFUSED_SOMEWHERE(ValueError, Mask() && true, "logical_and", "no value");
    REFUSED(ValueError, no_labels + 1, "add", "no value");
    REFUSED(ValueError, 1 == no_labels, "==", "no value");
    REFUSED(ValueError, sum(none), "sum", "no value");
    REFUSED(ValueError, mean(none), "mean", "no value");
    REFUSED(ValueError, prod(none), "prod", "no value");
    REFUSED(ValueError, max(none), "max", "no value");
    REFUSED(ValueError, min(none), "min", "no value");
    REFUSED(ValueError, argmax(none, -1), "argmax", "no value");
    REFUSED(ValueError, cumsum(none, -1), "cumsum", "no value");
    REFUSED(ValueError, softmax(none), "softmax", "no value");
    REFUSED(ValueError, log_softmax(none), "log_softmax", "no value");
    REFUSED(ValueError, logsumexp(none, -1), "logsumexp", "no value");
    REFUSED(ValueError, matmul(none, a), "matmul", "no value");
    REFUSED(ValueError, matmul(a, none), "matmul", "no value");
    REFUSED(ValueError, reshape(none, {1}), "reshape", "no value");
    REFUSED(ValueError, transpose(none), "transpose", "no value");
    REFUSED(ValueError, matrix_transpose(none), "matrix_transpose", "no value");
    REFUSED(ValueError, broadcast_to(none, {2}), "broadcast_to", "no value");
    REFUSED(ValueError, slice(none, 0, 0, 1), "slice", "no value");
    REFUSED(ValueError, take(none, Labels{0}), "take", "no value");
    REFUSED(ValueError, take(a, no_labels), "take", "no value");
    REFUSED(ValueError, take_along(none, Labels{0}), "take_along", "no value");
    REFUSED(ValueError, take_along(a, no_labels), "take_along", "no value");
    REFUSED(ValueError, one_hot(no_labels, 3), "one_hot", "no value");
    REFUSED(ValueError, concatenate({a, none}), "concatenate", "no value");
    REFUSED(ValueError, sort(none), "sort", "no value");
    REFUSED(ValueError, astype<float>(none), "astype", "no value");
    CHECK_THROWS_AS(none.item(), Error);
    CHECK_THROWS_AS(none(0), Error);
    // The same errors come through the transforms.
    CHECK_THROWS_AS(grad([](const X& z) { return sum(square(z)); })(none), Error);
    CHECK_THROWS_AS(jvp([](const X& z) { return square(z); }, none, none), Error);
    CHECK_THROWS_AS(jacobian([](const X& z) { return square(z); })(none), Error);
    CHECK_THROWS_AS(batch_jacobian([](const X& z) { return square(z); })(none), Error);
    CHECK_THROWS_AS(grad([](const X&) { return X(); })(a), Error);
    CHECK_THROWS_AS(vjp([](const X& z) { return z; }, a).second(none), Error);
    // Nor has what a function returns.
    const auto forgets = [](const X&) { return X(); };
    REFUSED(ValueError, grad(forgets)(a), "grad", "without a value");
    REFUSED(ValueError, jacobian(forgets)(a), "jacobian", "without a value");
    REFUSED(ValueError, jvp(forgets, a, a), "jvp", "without a value");
    CHECK_THROWS_WITH_AS(vjp(forgets, a), Contains("without a value"), ValueError);
    // A moved-from tensor has no value either.
    X moved = ones({2});
    const X target = std::move(moved);
    REFUSED(ValueError, moved + target, "add", "no value");
  }

  TEST_CASE("the gradient of something that is not a scalar") {
    REFUSED(TapeError, grad([](const X& z) { return z; })(a), "(2, 3)", "jacobian", "vjp");
    REFUSED(TapeError, value_and_grad([](const X& z) { return z * 2; })(ones({1})), "(1)", "jacobian");
    REFUSED(TapeError, hessian([](const X& z) { return z * 2; })(ones({3})), "(3)", "jacobian");
    REFUSED(TapeError, hvp([](const X& z) { return z * 2; })(ones({3}), ones({3})), "(3)", "jacobian");
    REFUSED(TapeError, grad([](const X&) { return zeros({0}); })(a), "(0)", "jacobian");
  }

  TEST_CASE("cotangents, tangents and vectors of the wrong shape") {
    const auto pullback = vjp([](const X& z) { return sum(z, 0); }, a).second;
    REFUSED(ShapeError, pullback(ones({2})), "cotangent", "(2)", "(3)");
    REFUSED(ShapeError, pullback(scalar), "cotangent", "()", "(3)");
    REFUSED(ShapeError, pullback(ones({3, 1})), "cotangent", "(3, 1)", "(3)");
    auto f = [](const X& z) { return square(z); };
    REFUSED(ShapeError, jvp(f, a, b), "tangent", "(4)", "(2, 3)");
    REFUSED(ShapeError, jvp(f, a, scalar), "tangent", "()", "(2, 3)");
    REFUSED(ShapeError, hvp([](const X& z) { return sum(z); })(a, b), "tangent", "(4)", "(2, 3)");
    const auto J = jacobian([](const X& z) { return sum(z, 0); })(a);
    REFUSED(ShapeError, J.apply(ones({3})), "apply", "(3)", "(2, 3)");
    REFUSED(ShapeError, J.apply_transposed(a), "apply_transposed", "(2, 3)", "(3)");
    REFUSED(ShapeError, J * J, "product of Jacobians at", "(2, 3)", "(3)");
    const auto B = batch_jacobian([](const X& z) { return slice(z, 1, 0, 2); })(a);
    REFUSED(ShapeError, B.apply(ones({2, 2})), "(2, 2)", "(2, 3)");
    REFUSED(ShapeError, B.apply_transposed(a), "(2, 3)", "(2, 2)");
  }

  TEST_CASE("a custom rule names its operation and the line of its call") {
    auto f = custom<double>({.name = "halve",
                             .value = [](auto x) { return x[0] / 2; },
                             .pullback = [](std::size_t, auto& g, auto&, auto) { return sum(g); }});
    REFUSED(ValueError, f(X()), "halve", "no value");
    REFUSED(ShapeError, grad([&](const X& z) { return sum(f(z)); })(a), "halve", "pullback", "()", "(2, 3)");
    REFUSED(ValueError, custom<double>({.name = "empty"}), "\"empty\"", "no value");
    REFUSED(ValueError, custom<double>({.name = "half", .value = [](auto x) { return x[0]; }}), "\"half\"",
            "no pullback");
  }

  TEST_CASE("what is on a tape cannot be written") {
    REFUSED(TapeError, grad([](X z) { return z.mutable_data(), sum(z); })(a), "mutable_data");
    X shared = a, copy = shared;
    shared.mutable_data()[0] = 7;
    CHECK(copy(0, 0) == 1);
    CHECK(a(0, 0) == 1);
    CHECK(shared(0, 0) == 7);
    X view = reshape(copy, {3, 2});
    view.mutable_data()[0] = 8;
    CHECK(copy(0, 0) == 1);
  }

  TEST_CASE("sizes that cannot be") {
    CHECK_THROWS_WITH_AS(zeros({-1}), Contains("(-1)"), ShapeError);
    CHECK_THROWS_WITH_AS(zeros({2, -3}), Contains("(2, -3)"), ShapeError);
    CHECK_THROWS_AS(zeros({0, -3}), ShapeError);
    CHECK_THROWS_AS(ones<bool>({-1}), ShapeError);
    CHECK_THROWS_AS(eye(-1), ShapeError);
    CHECK_THROWS_AS(X({-1, -1}, std::vector<double>{1}), ShapeError);
    CHECK_THROWS_AS(broadcast_to(ones({1}), {-1}), ShapeError);
    CHECK_THROWS_AS(linspace(0, 1, -1), ValueError);
    CHECK_THROWS_AS(arange(0, 1, 0), ValueError);
    CHECK_THROWS_AS(arange(0, std::numeric_limits<double>::infinity()), ValueError);
    CHECK_THROWS_AS(arange(std::nan("")), ValueError);
    CHECK(arange(3, 1).size() == 0);
    CHECK_THROWS_AS(random::Generator(1).normal<double>({-1}), ShapeError);

    const std::int64_t huge = std::int64_t{1} << 40;
    CHECK_THROWS_WITH_AS(zeros({huge, huge}), Contains("memory"), ShapeError);
    CHECK_THROWS_AS(zeros({std::int64_t{1} << 62}), ShapeError);
    CHECK_THROWS_AS(zeros({std::int64_t{1} << 32, std::int64_t{1} << 32}), ShapeError);
    CHECK_THROWS_AS(zeros({3, std::int64_t{1} << 61}), ShapeError);
    CHECK_THROWS_AS(eye(std::int64_t{1} << 32), ShapeError);
    CHECK_THROWS_AS(broadcast_to(scalar, {huge, huge}), ShapeError);
    CHECK_THROWS_AS(X({std::int64_t{1} << 32, std::int64_t{1} << 32}, std::vector<double>{}), ShapeError);
    CHECK_THROWS_AS(reshape(a, {huge, huge, huge}), ShapeError);
    CHECK_THROWS_AS(zeros({huge, huge, 0}), ShapeError);
    CHECK(sum(zeros({huge, 0})).item() == 0);
  }

  TEST_CASE("too many axes") {
    const X eight = ones({1, 1, 1, 1, 1, 1, 1, 1});
    CHECK(sum(eight).item() == 1);
    REFUSED(ShapeError, Shape({1, 1, 1, 1, 1, 1, 1, 1, 1}), "8 axes");
    REFUSED(ShapeError, reshape(eight, {1, 1, 1, 1, 1, 1, 1, 1, 1}), "8 axes");
    REFUSED(ShapeError, sum(eight, {0, 1, 2, 3, 4, 5, 6, 7, 7}), "8 axes");
    const X most = zeros({1, 1, 1, 1, 1, 1, 1, 1});
    REFUSED(ShapeError, stack({most, most}), "stack", "as many axes as there can be");
    REFUSED(ShapeError, one_hot(zeros<std::int64_t>({1, 1, 1, 1, 1, 1, 1, 1}), 2), "8 axes");
    auto f = [](const X& z) { return square(z); };
    const X five = ones({1, 1, 1, 1, 1});
    REFUSED(ShapeError, jacobian(f)(five).dense(), "Jacobian::dense", "(1, 1, 1, 1, 1)", "8 axes");
    REFUSED(ShapeError, hessian([](const X& z) { return sum(square(z)); })(five), "(1, 1, 1, 1, 1)", "8 axes");
    CHECK_THROWS_AS(vjp(f, eight).second(ones({1, 1, 1, 1, 1, 1, 1, 1, 1})), ShapeError);
    REFUSED(ShapeError, take(eight, Labels({{0, 0}})), "8 axes");
    CHECK_THROWS_AS(sum(eight, {0, 1, 2, 3, 4, 5, 6, 7, 0}), ShapeError);
    // The tape is usable afterwards.
    CHECK(grad([](const X& z) { return sum(square(z)); })(scalar).item() == 2);
    CHECK(jacobian(f)(ones({1, 1, 1, 1})).dense().rank() == 8);
  }

  TEST_CASE("nesting deeper than 32 levels") {
    std::function<X(int, const X&)> nested = [&](int depth, const X& x) {
      if (depth == 0) return x;
      return grad([&](const X& y) { return y * stop_gradient(nested(depth - 1, stop_gradient(y))); })(x);
    };
    CHECK(nested(32, X(3.0)).item() == 3);
    CHECK_THROWS_WITH_AS(nested(33, X(3.0)), Contains("32"), TapeError);
    CHECK(nested(32, X(3.0)).item() == 3);
  }

  TEST_CASE("other values that cannot be") {
    random::Generator rng(1);
    CHECK_THROWS_AS(rng.below(0), ValueError);
    CHECK_THROWS_AS(rng.below(-5), ValueError);
    CHECK_THROWS_AS(rng.choice(3, 4), ValueError);
    CHECK_THROWS_AS(rng.choice(3, -1), ValueError);
    CHECK_THROWS_AS(rng.permutation(-1), ValueError);
    REFUSED(ValueError, set_num_threads(0), "set_num_threads", "0");
    REFUSED(ValueError, set_num_threads(-2), "set_num_threads", "-2");
    CHECK(num_threads() == 1);
    const auto corner = [](const X& z) { return relu(z); };
    REFUSED(CheckError, check_derivatives(corner, zeros({2})), "check_derivatives at", "derivative of order 1");
    REFUSED(CheckError, check_derivatives(CheckOptions{}, corner, zeros({2})), "check_derivatives at");
    REFUSED(CheckError, check_derivatives([](const Tensor<float>& z) { return relu(z); }, zeros<float>({2})),
            "order 1");
    REFUSED(CheckError, check_derivatives<double>([&](auto z) { return corner(z[0]); }, {zeros({2})}), "order 1");
  }
}

// ------------------------------------------------------------------------------------------------ rows that mix

struct RowFunction {
  std::string operation;  // the operation that mixes
  std::function<X(const X&)> f;
};

X columns(const X& z, std::int64_t n) { return slice(z, 1, 0, n); }

TEST_SUITE("errors") {
  TEST_CASE("training that meets a bad number, a bad label or a bad file") {
    const X inputs = ones({4, 2}), targets = ones({4, 1});
    X spoilt = inputs;
    spoilt.mutable_data()[5] = std::numeric_limits<double>::quiet_NaN();
    nn::Sequential<double> model({nn::Dense{1}});
    model.compile({.loss = "mse"});
    REFUSED(ValueError, model.fit(spoilt, targets), "the loss of epoch 1, step 1, is nan", "X holds nan in row 2",
            "sample_weight 0", "the model keeps the weights of before that step", "nn::OnNonfinite::stop or go_on");
    REFUSED(ValueError, model.fit(inputs, slice(spoilt, 1, 1, 2)), "y holds nan in row 2", "take such rows out");
    REFUSED(ValueError, model.fit(inputs, targets * 1e200), "X, y and the weights are finite", "scale X and y");
    model.set_parameters({full({2, 1}, -std::numeric_limits<double>::infinity()), zeros({1})});
    REFUSED(ValueError, model.fit(inputs, targets), "the weights hold -inf in \"kernel\" of layer 0 (Dense)",
            "lower the learning rate", "clip_global_norm", "before the first epoch they were not finite either");
    model.set_parameters({zeros({2, 1}), zeros({1})});

    nn::Sequential<double> mixing({nn::BatchNorm{}, nn::Dense{1}});
    mixing.compile({.loss = "mse"});
    REFUSED(ValueError, mixing.fit(spoilt, targets, {.sample_weight = X{1, 1, 0, 1}}), "X holds nan in row 2",
            "which does not count", "as BatchNorm does", "take such rows out");

    REFUSED(ValueError, model.fit(inputs, targets, {.validation_split = 0.99}), "validation_split is 0.99 of 4");
    REFUSED(ValueError, nn::train_test_split(inputs, targets, {.test_size = 0.99}), "test_size is 0.99 of 4 rows");
    const auto with = [](const nn::Callback& callback) { return nn::FitOptions{.callbacks = {callback}}; };
    REFUSED(ValueError, model.fit(inputs, targets, with(nn::ModelCheckpoint{.path = "{mse}"})), "ModelCheckpoint",
            "\"{mse}\"", "the names are epoch, loss", "in its begin");
    REFUSED(ValueError, model.fit(inputs, targets, with(nn::ModelCheckpoint{.path = "{loss:03d}"})), "{loss:03d}");
    REFUSED(ValueError, model.fit(inputs, targets, with(nn::ModelCheckpoint{.path = "{loss"})), "{{");
    REFUSED(Error, model.fit(inputs, targets, with(nn::ModelCheckpoint{.path = "none/{loss}"})), "ModelCheckpoint",
            "cannot write none/", "there is no folder none");
    REFUSED(Error, model.fit(inputs, targets, with(nn::CsvLogger{"none/log"})), "CsvLogger", "cannot write none/log",
            "there is no folder none");

    nn::Sequential<double> classes({nn::Dense{3, "softmax"}});
    classes.compile({.loss = "sparse_categorical_crossentropy"});
    REFUSED(ValueError, classes.fit(inputs, Labels{0, 1, 3, 2}), "row 2 of the targets", "label 3", "0..2");
    classes.compile({.loss = "sparse_categorical_crossentropy", .metrics = {"mse"}});
    REFUSED(ValueError, classes.fit(inputs, Labels{0, 1, 2, 2}), "row 0 of the targets", "mse", "one_hot");
  }

  TEST_CASE("batch_jacobian refuses rows that mix, whatever the sizes") {
    const std::vector<RowFunction> mixing = {
        {"sum", [](const X& z) { return exp(z) / sum(exp(z)); }},
        {"sum", [](const X& z) { return z - mean(z); }},
        {"sum", [](const X& z) { return z - mean(z, 0); }},
        {"sum",
         [](const X& z) {
           return z * sum(z, {0, 1}, keep_dims);
         }},
        {"sum", [](const X& z) { return z * sum(z, 0, keep_dims); }},
        {"sum", [](const X& z) { return z * sum(transpose(z), -1); }},
        {"max", [](const X& z) { return z - max(z); }},
        {"max", [](const X& z) { return z - max(z, 0); }},
        {"min", [](const X& z) { return z - min(z, {0}, keep_dims); }},
        {"cumsum", [](const X& z) { return cumsum(z, 0); }},
        {"softmax", [](const X& z) { return softmax(z, 0); }},
        {"log_softmax", [](const X& z) { return log_softmax(z, -2); }},
        {"logsumexp", [](const X& z) { return z - logsumexp(z, 0); }},
        {"reshape", [](const X& z) { return columns(z * sum(reshape(z, {-1}), -1), 2); }},
        {"reshape", [](const X& z) { return reshape(sort(reshape(z, {-1})), z.shape()); }},
        {"reshape",
         [](const X& z) {
           return reshape(softmax(reshape(z, {z.shape()[0] * 2, 2})), z.shape());
         }},
        {"reshape",
         [](const X& z) {
           return reshape(reshape(z, {z.shape()[0] * 2, 2}), z.shape());
         }},
        {"matmul", [](const X& z) { return matmul(matmul(z, transpose(z)), z); }},
        {"matmul",
         [](const X& z) {
           return matmul(ones({z.shape()[0], z.shape()[0]}), z);
         }},
        {"matmul", [](const X& z) { return z + matmul(ones({z.shape()[0]}), z); }},
        {"take_along", [](const X& z) { return transpose(sort(transpose(z))); }},
        {"take_along",
         [](const X& z) {
           return transpose(take_along(transpose(z), zeros<std::int64_t>({z.shape()[1], z.shape()[0]})));
         }},
        {"take", [](const X& z) { return take(z, zeros<std::int64_t>({z.shape()[0]})); }},
        {"slice", [](const X& z) { return z * slice(z, 0, 0, 1); }},
        {"concatenate",
         [](const X& z) {
           return slice(concatenate({z, z}, 0), 0, 0, z.shape()[0]);
         }},
        {"concatenate",
         [](const X& z) {
           return concatenate({ones({1, 4}), slice(z, 0, 0, z.shape()[0] - 1)}, 0);
         }},
        {"put_parts",
         [](const X& z) {
           const std::int64_t rows = z.shape()[0];
           Labels reversed = zeros<std::int64_t>({rows});
           for (std::int64_t i = 0; i < rows; ++i) reversed.mutable_data()[i] = rows - 1 - i;
           return grad([=](const X& v) { return sum(take(v, reversed) * z) + sum(slice(v, 0, 0, rows) * z); })(
               zeros(z.shape()));
         }},
        {"put_parts",
         [](const X& z) {
           const std::int64_t rows = z.shape()[0];
           const auto parts = [=](const X& v) {
             return sum(slice(v, 0, 0, rows) * z) + sum(slice(v, 0, 1, rows + 1) * z);
           };
           return slice(grad(parts)(zeros({rows + 1, 4})), 0, 0, rows);
         }},
        // Two batch axes meet.
        {"multiply",
         [](const X& z) {
           return sum(reshape(z, {z.shape()[0], 1, 4}) * z, 1);
         }},
        {"where",
         [](const X& z) {
           return sum(where(z > 0, reshape(z, {z.shape()[0], 1, 4}), z), 1);
         }},
    };
    for (const RowFunction& mix : mixing) {
      for (std::int64_t rows : {1, 4, 64}) {
        CAPTURE(mix.operation);
        CAPTURE(rows);
        const X Z = random::Generator(3).normal<double>({rows, 4});
        std::string message;
        try {
          static_cast<void>(batch_jacobian(mix.f)(Z));
        } catch (const RowMixingError& error) {
          message = error.what();
        }
        CAPTURE(message);
        CHECK_FALSE(message.empty());
        // A slice may come before the operation that is looked for.
        CHECK((message.find(mix.operation) == 0 || (mix.operation == "concatenate" && message.find("slice") == 0)));
        CHECK(message.find("errors.cpp:") != std::string::npos);
        CHECK_THROWS_AS(require_separate_rows(mix.f, Z), RowMixingError);
      }
    }
  }

  TEST_CASE("the result must be the batch") {
    for (std::int64_t rows : {1, 4, 64}) {
      const X Z = ones({rows, 4});
      CHECK_THROWS_AS(batch_jacobian([](const X& z) { return transpose(z); })(Z), RowMixingError);
      CHECK_THROWS_AS(batch_jacobian([](const X& z) { return z + transpose(z); })(ones({rows, rows})), RowMixingError);
      CHECK_THROWS_AS(batch_jacobian([](const X& z) { return sum(z, -1); })(Z), ShapeError);
      CHECK_THROWS_AS(batch_jacobian([](const X& z) { return sum(z); })(Z), Error);
    }
    auto f = [](const X& z) { return tanh(z); };
    REFUSED(ShapeError, batch_jacobian(f)(b), "batch_jacobian", "(4)", "jacobian(f)");
    REFUSED(ShapeError, batch_jacobian(f)(cube), "batch_jacobian", "(2, 3, 4)");
    REFUSED(ShapeError, batch_jacobian(f)(scalar), "batch_jacobian", "()");
    REFUSED(ShapeError, require_separate_rows(f, X(1.0)), "scalar");
  }

  TEST_CASE("rows that stay apart are not refused, whatever the sizes") {
    const X W = random::Generator(5).normal<double>({4, 4});
    const std::vector<RowFunction> apart = {
        {"softmax by hand",
         [](const X& z) {
           const X e = exp(z - max(z, -1, keep_dims));
           return e / sum(e, -1, keep_dims);
         }},
        {"mean and variance",
         [](const X& z) {
           const X c = z - mean(z, 1, keep_dims);
           return c / sqrt(mean(square(c), -1, keep_dims) + 1);
         }},
        {"a layer",
         [&](const X& z) { return tanh(matmul(z, W) + take(W, Labels(Shape{}, std::vector<std::int64_t>{0}))); }},
        {"weights of the batch's own", [&](const X& z) { return z * ones(z.shape()) + cumsum(ones(z.shape()), 0); }},
        {"transposed twice", [](const X& z) { return transpose(softmax(transpose(z), 0)); }},
        {"softmax over the axis that was the last", [](const X& z) { return transpose(softmax(transpose(z), -2)); }},
        {"a left product of a transpose", [&](const X& z) { return transpose(matmul(W, transpose(z))); }},
        {"split and joined",
         [](const X& z) {
           return concatenate({columns(z, 2), slice(z, 1, 2, 4, 1) * 3}, 1);
         }},
        {"reshaped within the row",
         [](const X& z) {
           return reshape(softmax(reshape(z, {z.shape()[0], 2, 2})), z.shape());
         }},
        {"a matrix for each row",
         [](const X& z) {
           const X M = reshape(z, {z.shape()[0], 2, 2});
           return reshape(matmul(M, M), z.shape());
         }},
        {"an outer product in each row",
         [](const X& z) {
           const X column = reshape(z, {z.shape()[0], 4, 1}), row = reshape(z, {z.shape()[0], 1, 4});
           return reshape(matmul(column, row), {z.shape()[0], 16});
         }},
        {"sorted", [](const X& z) { return sort(z); }},
        {"logsumexp",
         [](const X& z) {
           return z - logsumexp(z, -1, keep_dims) + reshape(logsumexp(z, -1), {z.shape()[0], 1});
         }},
        {"chosen columns",
         [](const X& z) {
           return take(z, Labels{3, 0, 3}, 1);
         }},
        {"one label per row",
         [](const X& z) {
           return take_along(z, zeros<std::int64_t>({z.shape()[0], 1}));
         }},
        {"where", [](const X& z) { return where(z > 0, z, exp(z) - 1); }},
        {"the adjoints of columns, put together",
         [](const X& z) {
           return grad([](const X& x) {
             const X t = transpose(x);
             return sum(t[0] * t[1] * sin(t[2]));
           })(z);
         }},
        {"a constant", [](const X& z) { return ones(z.shape()); }},
        {"an inner derivative",
         [](const X& z) { return jvp([](const X& x) { return softmax(x); }, z, ones(z.shape())).second; }},
        // A value that does not lead to the output mixes nothing.
        {"a mean to look at", [](const X& z) { return (mean(z) > 100).item() ? z : tanh(z); }},
        {"elementwise_grad", [](const X& z) { return elementwise_grad([](const X& x) { return tanh(x); })(z); }},
    };
    for (const RowFunction& function : apart) {
      CAPTURE(function.operation);
      for (std::int64_t rows : {1, 4, 64}) {
        CAPTURE(rows);
        const X Z = random::Generator(3).normal<double>({rows, 4});
        CHECK_NOTHROW(require_separate_rows(function.f, Z));
        X blocks;
        CHECK_NOTHROW(blocks = batch_jacobian(function.f)(Z).dense());
        if (!blocks.handle()) continue;
        // Block b is the derivative of row b by row b, and the function's whole Jacobian has nothing else.
        const X full = jacobian(function.f)(Z).dense();
        const std::int64_t m = full.shape()[1];
        bool same = blocks.shape() == Shape{rows, m, 4};
        for (std::int64_t i = 0; same && i < rows; ++i)
          for (std::int64_t j = 0; j < m; ++j)
            for (std::int64_t k = 0; k < rows; ++k)
              for (std::int64_t l = 0; l < 4; ++l)
                same = same && std::abs(full(i, j, k, l) - (i == k ? blocks(i, j, l) : 0)) < 1e-12;
        CHECK(same);
      }
    }
  }
}

}  // namespace

TEST_CASE("what a Named does not hold") {
  nn::Logs logs{{"loss", 1.0}, {"accuracy", 0.5}};
  for (const std::string& message :
       {message_of([&] { logs["val_loss"] = 2; }), message_of([&] { logs.at("val_loss"); }),
        message_of([&] { std::as_const(logs)[std::string("val_loss")]; })}) {
    CAPTURE(message);
    CHECK(contains(message, "Named[\"val_loss\"] at errors.cpp:"));
    CHECK(contains(message, "known: loss, accuracy"));
    CHECK(contains(message, "metrics are CompileOptions' .metrics"));
  }
  CHECK(contains(message_of([] { nn::Params<float>()["w"]; }), "there are none; add("));
  CHECK(logs[nn::Name("loss")] == 1);
}

TEST_CASE("the text of a name is kept once, however many lists hold it") {
  const std::string text = "a name that is longer than any string keeps in itself";
  const nn::Name name(text);
  nn::Params<double> p;
  p.add(text, Tensor<>(1.0));
  const nn::Params<double> copy = p;
  CHECK(copy.begin()->first == text);
  CHECK(copy.begin()->first.data() == name.data());
  CHECK(text.data() != name.data());
  CHECK(std::string(name.c_str()) == text);
  CHECK(std::string(nn::Name().c_str()).empty());
  CHECK("left." + nn::Name("kernel") == "left.kernel");
  CHECK(nn::Name("val_") + std::string("loss") == "val_loss");
  CHECK(copy.find(text)->item() == 1);
  CHECK(copy.find("another") == nullptr);
}

TEST_CASE("a loss or an activation that was written for the other number type") {
  const Tensor<float> a{{0.5F, 0.5F}}, y{{0.0F, 1.0F}};
  const nn::Loss of_double = [](const Tensor<>& p, const Tensor<>& t) { return sum(square(p - t), -1); };
  const std::string message = message_of([&] { of_double(a, y); });
  CAPTURE(message);
  CHECK(contains(message, "this loss at errors.cpp:"));
  CHECK(contains(message, "was written for Tensor<double>, but the values are of float"));
  const nn::Loss labels_of_double = [](const Tensor<>& p, const Tensor<std::int64_t>&) { return sum(p, -1); };
  CHECK(contains(message_of([&] { labels_of_double(a, Tensor<std::int64_t>{1}); }), "was written for Tensor<double>"));
}
