// debug_nans(): the scope that stops at the first number that is not finite.
#include <doctest/doctest.h>

#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include <string>
#include <thread>
#include <vector>

#include "../error_message.hpp"

using namespace tapegrad;

namespace {

using X = Tensor<double>;
constexpr auto masked_exp = [](const auto& x) { return sum(where(x < 10, exp(x), x)); };

// "FILE:LINE" of the line after the call.
std::string next_line(int line = __builtin_LINE()) { return "debug_nans.cpp:" + std::to_string(line + 1); }

}  // namespace

TEST_CASE("debug_nans: a value that is not finite, recorded or not") {
  const auto watch = debug_nans();
  std::string line = next_line();
  std::string text = message_of([] { log(X({2, 2}, std::vector<double>{1, 1, 0, 1})); });
  CHECK(contains(text, "log at " + line + ": the value is -inf at (1, 0) of shape (2, 2)"));
  line = next_line();
  const auto f = [](const X& x) { return sum(sqrt(x - 2)); };
  text = message_of([&] { grad(f)(X{3, 1}); });
  CHECK(contains(text, "sqrt at " + line + ": the value is nan at (1) of shape (2)"));
  CHECK_NOTHROW(grad(f)(X{3, 4}));
  const auto negative = elementwise([](auto x) { return 2 * log(x); }, "twice_log");
  text = message_of([&] { negative(Tensor<float>{1, -1}); });
  CHECK(contains(text, "twice_log"));
}

TEST_CASE("debug_nans: an adjoint or a tangent that is not finite") {
  const auto watch = debug_nans();
  const std::string line = next_line();
  const auto f = [](const X& x) { return sum(sqrt(x)); };
  const X x{4, 0};
  std::string text = message_of([&] { grad(f)(x); });
  CHECK(contains(text, "sqrt at " + line + ": the adjoint of its operand 0 is inf at (1) of shape (2)"));
  text = message_of([&] { jvp(f, x, X{1, 1}); });
  CHECK(contains(text, "sqrt at " + line + ": the derivative by its operand 0 is inf at (1) of shape (2)"));
  // While it is watched a Jacobian is swept, because its structure knows no lines.
  const std::string here = next_line();
  const auto J = jacobian([](const X& z) { return sqrt(z); })(X{4, 0, 1});
  for (const std::string& of : {message_of([&] { J.dense(); }), message_of([&] { J.diagonal(); }), message_of([&] {
                                  J.apply({1, 1, 1});
                                })})
    CHECK(contains(of, "sqrt at " + here + ": the "));
}

TEST_CASE("debug_nans: a slope that nothing asks for is no fault, and is reported where that is wanted") {
  const X x{4, 0};
  const auto f = [](const X& z) { return sum(where(z > 1, sqrt(z), z)); };
  {
    const auto watch = debug_nans();
    CHECK(grad(f)(x)(1) == 1);
    CHECK(hessian(f)(x)(1, 1) == 0);
  }
  std::vector<std::string> reports;
  const auto watch = debug_nans({.absorbed = [&](const std::string& text) { reports.push_back(text); }});
  CHECK(grad(f)(x)(1) == 1);
  REQUIRE(reports.size() == 1);
  CHECK(contains(reports[0], "sqrt at debug_nans.cpp:"));
  CHECK(contains(reports[0], "0 with a slope by its operand 0 that is infinite or NaN was taken as 0"));
  reports.clear();
  grad(f)(X{4, 0.5});
  CHECK(reports.empty());
  // In forward sweeps the tangent is 0.
  jvp([](const X& z) { return sqrt(square(z)); }, X{0.0}, X{1.0});
  REQUIRE(reports.size() == 1);
  CHECK(contains(reports[0], "sqrt"));
}

TEST_CASE("debug_nans: targets of weight 0 may be anything") {
  const auto watch = debug_nans();
  const X inputs = random::Generator(2).normal<double>({6, 2}), weights{1, 1, 0, 1, 1, 1};
  X targets = ones({6, 1});
  targets.mutable_data()[2] = std::numeric_limits<double>::quiet_NaN();
  nn::Sequential<double> model({nn::Dense{1}});
  model.compile({.loss = "mse"});
  CHECK_NOTHROW(model.fit(inputs, targets, {.epochs = 2, .batch_size = 2, .sample_weight = weights}));
  CHECK_NOTHROW(model.evaluate(inputs, targets, {.batch_size = 2, .sample_weight = weights}));
}

TEST_CASE("debug_nans: ends with its scope, and is this thread's alone") {
  const auto bad = [] { return log(X{-1}); };
  {
    const auto outer = debug_nans();
    {
      const auto inner = debug_nans();
      CHECK_THROWS_AS(bad(), ValueError);
    }
    CHECK_THROWS_AS(bad(), ValueError);
    bool quiet = false;
    std::thread([&] {
      bad();
      quiet = true;
    }).join();
    CHECK(quiet);
    // An exception thrown by a rule leaves the scope as it was.
    CHECK_THROWS_AS(grad([](const X& z) { return sum(sqrt(z)); })(X{0}), ValueError);
    CHECK_THROWS_AS(bad(), ValueError);
  }
  CHECK_NOTHROW(bad());
  CHECK_NOTHROW(grad(masked_exp)(X{1000, 1}));
}
