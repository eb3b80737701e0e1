# What must not compile, with one sentence that says what to do, first and in few lines: lambdas of elementwise(), what is
# no axis, index or mask, and layers, losses and metrics that do not fit.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${WORK_DIR}")
separate_arguments(CXX_FLAGS UNIX_COMMAND "${CXX_FLAGS}")

set(most_lines 60)

# What the compiler says to the code, and whether that is an error.
function(compile header code)
  file(WRITE "${WORK_DIR}/snippet.cpp" "#include <cmath>
#include <tapegrad/${header}.hpp>
using namespace tapegrad;
${code}
")
  execute_process(COMMAND "${CXX}" ${CXX_FLAGS} -std=c++20 -fsyntax-only -fno-diagnostics-color "-I${INCLUDE_DIR}"
    "${WORK_DIR}/snippet.cpp" RESULT_VARIABLE result ERROR_VARIABLE output)
  set(result "${result}" PARENT_SCOPE)
  set(output "${output}" PARENT_SCOPE)
endfunction()

# Fails unless the compiler refuses the code, its first error says `message`, and little else follows; where there is no
# message, unless it takes it.
function(expect_code header code message)
  compile("${header}" "${code}")
  if(message STREQUAL "")
    if(NOT result EQUAL 0)
      message(SEND_ERROR "${code} was refused:\n${output}")
    endif()
    return()
  endif()
  if(result EQUAL 0)
    message(SEND_ERROR "${code} was accepted")
    return()
  endif()
  string(REGEX MATCH "error: [^\n]*" first "${output}")
  string(REGEX MATCHALL "\n" lines "${output}")
  list(LENGTH lines count)
  string(FIND "${first}" "${message}" place)
  if(place EQUAL -1)
    message(SEND_ERROR "${code}: the first error does not say \"${message}\":\n${output}")
  elseif(count GREATER most_lines)
    message(SEND_ERROR "${code}: ${count} lines of output:\n${output}")
  else()
    message(STATUS "${code}: ${count} lines, ${first}")
  endif()
endfunction()

function(expect lambda message)
  expect_code(autodiff "double declared(double);
const auto f = elementwise(${lambda});
const Tensor<> y = f(ones({3}));" "${message}")
endfunction()

expect("[](auto x) { return where(x > 0 && x < 1, x, 2 * std::exp(1.0)); }" "")
expect("[](auto x) { return 1; }" "")
expect("[](Scalar x) { return x; }" "")

expect("[](double x) { return x; }" "the lambda must be generic")
expect("[] { return 1.0; }" "the lambda must be generic")
expect("[](auto a, auto b, auto c, auto d, auto e) { return a; }" "give a lambda of 1 to 4 numbers")
expect("[](auto x) { if (x > 0) return x; return 0.1 * x; }" "write where(x > 0, a, b)")
expect("[](auto x) { return x > 0 ? x : 0.1 * x; }" "write where(x > 0, a, b)")
expect("[](auto x) { while (x) x = x - 1; return x; }" "Write where(x != 0, a, b)")
expect("[](auto x) { return std::max(x, x * x); }" "minimum or maximum")
expect("[](auto x) { return x > 0; }" "return a number: where(condition, 1, 0)")
expect("[](auto x) { }" "the lambda must return a number")
expect("[](auto x) { return \"x\"; }" "the lambda must return a number")
expect("[](auto x) { return std::exp(x); }" "exp(x) instead of std::exp(x)")
expect("[](auto x) { return declared(x); }" "Call the functions of tapegrad")
expect("[](auto x) { return tgamma(x); }" "Call the functions of tapegrad")
expect("[](auto x) { double y = x; return y; }" "becomes no double")
# The compiler's own words, which name the function.
expect("[](auto x) { return undeclared(x); }" "undeclared")
expect("[](auto x) { return std::max(x, 0.0); }" "max")

set(given "const Tensor<> x{1.0, 2.0}, A{{1, 2}, {3, 4}};
const Tensor<std::int64_t> i{0, 1};
const Tensor<bool> m = x > 0;
const Tensor<float> single{1, 2};
")
function(expect_call call message)
  expect_code(autodiff "${given}auto value() { return ${call}; }" "${message}")
endfunction()

expect_code(autodiff "${given}void f() {
  sum(x, 0), sum(x, {0, -1}, keep_dims), max(x, 0L), softmax(A, 1U), argmax(A, -1), take(x, 1), take(A, i, std::size_t{1});
  concatenate({x, x}, 0), concatenate(std::vector<Tensor<>>{x, x}, 0L), slice(x, 0, 1L, 2), cumsum(A, int(i.item()));
  logical_not(true), logical_not(m), m && m, m && true, true || m, !m, stack({x, x}, 1), x != x, where(m, x, 0.5), where(true, x, A), leaky_relu(x, 0.1), one_hot(1, 3);
  Tensor<>(1), Tensor<bool>(true), Tensor<std::int64_t>(3U), Tensor<bool>{true, false};
}" "")
foreach(call "max(x, 0.0)" "min(x, 0.5F)" "max(x, x)" "sum(A, 0.5)" "sum(x, true)" "softmax(A, 0.5)" "softmax(A, true)"
    "log_softmax(A, 1.0)" "logsumexp(A, 0.5, keep_dims)" "argmax(A, 1.0)" "cumsum(x, false)" "take(x, i, 0.5)"
    "concatenate({x, x}, 0.0)" "concatenate(std::vector<Tensor<>>{x, x}, true)")
  expect_call("${call}" "maximum(a, b)")
endforeach()
expect_call("max(x, 0.0)" "the larger of x and 0 is relu(x)")
expect_call("stack({x, x}, 0.0)" "an axis is a whole number")
foreach(call "x + single" "single - x" "x * i" "x / m" "x < single" "single > x" "i == x" "x != single" "x <= single"
    "x >= single")
  expect_call("${call}" "astype<float>(x) or astype<double>(x) converts one of them")
endforeach()
foreach(statement "if (x > 0) {}" "while (m) {}" "double s = double(sum(x))" "if (m && x > 0) {}" "bool b = !x")
  expect_code(autodiff "${given}void f() { ${statement}; }" "x.item() is the only element")
endforeach()
foreach(statement "y[0] = 1" "y[0] = x" "y[0][1] = x")
  expect_code(autodiff "${given}void f(Tensor<> y) { ${statement}; }" "elements are set by x.mutable_data()")
endforeach()
expect_call("jacobian([](const Tensor<>& t) { return t * t; })(x) * x" "J.apply(v)")
# Where a function cannot say more than the compiler does.
expect_code(autodiff "${given}void f(Tensor<> y) { y(0) = 1; }" "assign")
expect_code(autodiff "${given}double s = sum(x);" "conver")
foreach(call "take(x, 1.7)" "take(x, true)" "i == 1.5" "i + 0.5" "true < i")
  expect_call("${call}" "labels and indices are whole numbers")
endforeach()
foreach(call "logical_not(\"text\")" "logical_not(3)" "logical_and(m, 0.5)" "where(1, x, A)" "m && 1")
  expect_call("${call}" "a mask holds truth values")
endforeach()
foreach(call "slice(x, 0.5, 0, 1)" "slice(x, 0, 0, 1.0)")
  expect_call("${call}" "bounds of a slice are whole numbers")
endforeach()
foreach(call "x(true)" "A(0, true)" "x(0.5)" "A(0, 0.5)" "x[true]" "x[0.5]")
  expect_call("${call}" "no match for")
endforeach()
foreach(type int char)
  expect_code(autodiff "Tensor<${type}> value;" "a Tensor holds float or double")
endforeach()

set(loss "a loss is a function of")
set(layer "a layer for Tensor<T>, the model's number type, is called as")
expect_code(nn "nn::Sequential<float> model({nn::Dense{3}, [](const Tensor<double>& x) { return 2 * x; }});" "${layer}")
expect_code(nn "const nn::CompileOptions o{.loss = [](const auto& a) { return sum(a); }};" "${loss}")

# What fits, in one file; then what does not, with how often each message must come.
set(call_operator "template <class T>
  Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x, nn::Mode) const { return x; }")
set(fits 0)
set(code "")
foreach(member
    [[]]
    [[static constexpr const char* name = "own"; nn::Activation activation = "relu";]]
    [[template <class T> nn::Params<T> init(const Shape&, nn::Rng&) const { return {}; }]]
    [[nn::Params<double> init(const Shape&, nn::Rng&) const { return {}; }]]
    [[template <class T> Tensor<T> penalty(const nn::Params<T>&) const { return ones<T>({}); }]])
  math(EXPR fits "${fits} + 1")
  string(APPEND code "struct Fits${fits} { ${member}
  ${call_operator} };\nnn::Sequential<double> model${fits}({Fits${fits}{}});\n")
endforeach()
string(APPEND code [[
const nn::CompileOptions options{.loss = [](const Tensor<float>& a, const Tensor<float>& y) { return a - y; },
  .metrics = {"mae", nn::TopK{.k = 3}, {"worst", [](const auto& a, const auto& y) { return max(a - y).item(); }}}};
]])
expect_code(nn "${code}" "")

set(number 0)
set(code "")
macro(add_layer member)
  math(EXPR number "${number} + 1")
  string(APPEND code "struct Own${number} { ${member}
  ${call_operator} };\nnn::Sequential<double> model${number}({Own${number}{}});\n")
endmacro()
foreach(member
    [[template <class T> nn::Params<T> init(const Shape&, nn::Rng&) { return {}; }]]
    [[nn::Params<double> init(const Shape&, nn::Rng&) { return {}; }]]
    [[template <class T> nn::Params<T> init(const Shape&) const { return {}; }]]
    [[nn::Params<float> init(const Shape&, nn::Rng&) const { return {}; }]]
    [[template <class T> Tensor<T> penalty(const nn::Params<T>&) { return ones<T>({}); }]]
    [[template <class T> double penalty(const nn::Params<T>&) const { return 0; }]]
    [[template <class T> Tensor<T> penalty() const { return ones<T>({}); }]]
    [[template <class T> nn::Params<T> state(const Shape&) const { return {}; }]]
    [[int name = 1;]]
    [[template <class T> Tensor<T> logits(const nn::Params<T>&, const Tensor<T>& x, nn::Mode) const { return x; }]])
  add_layer("${member}")
endforeach()
string(APPEND code [[
struct WithoutMode {
  template <class T> Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x) const { return x; }
};
struct NotConst {
  template <class T> Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x, nn::Mode) { return x; }
};
nn::Sequential<float> without_mode({nn::Dense{3}, WithoutMode{}});
nn::Sequential<float> not_const({nn::Residual{NotConst{}}});
nn::Sequential<float> gives_a_number({[](const auto& x) { return sum(x).item(); }});
const nn::Dense activation{3, [](const auto& x) { return sum(x).item(); }};
const nn::CompileOptions unnamed{.metrics = {[](const auto& a, const auto& y) { return sum(a - y); }}};
const nn::Metric metric("worst", [](const auto& a) { return sum(a); });
]])
compile(nn "${code}")
foreach(expected "4,the member init of a layer" "3,the member penalty of a layer" "1,the member state of a layer"
    "1,the member name of a layer" "1,the member logits of a layer" "3,a layer for Tensor<T>, the model's number type"
    "1,an activation is a function of" "1,a metric of your own has a name"
    "1,a metric is a function of")
  string(REGEX MATCH "^([0-9]+),(.*)$" whole "${expected}")
  set(wanted "${CMAKE_MATCH_1}")
  set(sentence "${CMAKE_MATCH_2}")
  string(REGEX MATCHALL "error: [^\n]*${sentence}" found "${output}")
  list(LENGTH found count)
  if(NOT count EQUAL wanted)
    message(SEND_ERROR "\"${sentence}\" came ${count} times, not ${wanted}:\n${output}")
  endif()
endforeach()
