# What must not compile, with one sentence that says what to do, first and in few lines: lambdas of elementwise(), what is
# no axis, index or mask, and layers, losses and metrics that do not fit.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${WORK_DIR}")
separate_arguments(CXX_FLAGS UNIX_COMMAND "${CXX_FLAGS}")

set(most_lines 60)

# Fails unless the compiler refuses the code, its first error says `message`, and little else follows; where there is no
# message, unless it takes it.
function(expect_code header code message)
  file(WRITE "${WORK_DIR}/snippet.cpp" "#include <cmath>
#include <tapegrad/${header}.hpp>
using namespace tapegrad;
${code}
")
  execute_process(COMMAND "${CXX}" ${CXX_FLAGS} -std=c++20 -fsyntax-only -fno-diagnostics-color "-I${INCLUDE_DIR}"
    "${WORK_DIR}/snippet.cpp" RESULT_VARIABLE result ERROR_VARIABLE output)
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

expect("[](auto x) { return select(x > 0 && x < 1, x, 2 * std::exp(1.0)); }" "")
expect("[](auto x) { return 1; }" "")
expect("[](Scalar x) { return x; }" "")

expect("[](double x) { return x; }" "the lambda must be generic")
expect("[] { return 1.0; }" "the lambda must be generic")
expect("[](auto a, auto b, auto c, auto d, auto e) { return a; }" "give a lambda of 1 to 4 numbers")
expect("[](auto x) { if (x > 0) return x; return 0.1 * x; }" "write select(x > 0, a, b)")
expect("[](auto x) { return x > 0 ? x : 0.1 * x; }" "write select(x > 0, a, b)")
expect("[](auto x) { while (x) x = x - 1; return x; }" "Write select(x != 0, a, b)")
expect("[](auto x) { return std::max(x, x * x); }" "minimum or maximum")
expect("[](auto x) { return x > 0; }" "return a number: select(condition, 1, 0)")
expect("[](auto x) { }" "the lambda must return a number")
expect("[](auto x) { return \"x\"; }" "the lambda must return a number")
expect("[](auto x) { return std::exp(x); }" "exp(x) instead of std::exp(x)")
expect("[](auto x) { return declared(x); }" "Call the functions of tapegrad")
expect("[](auto x) { return tgamma(x); }" "Call the functions of tapegrad")
expect("[](auto x) { double y = x; return y; }" "becomes no double")
# The compiler's own words, which name the function.
expect("[](auto x) { return undeclared(x); }" "undeclared")
expect("[](auto x) { return std::max(x, 0.0); }" "max")

set(given "const Tensor<> x{1.0, 2.0}, A{{1, 2}, {3, 4}}; const Tensor<std::int64_t> i{0, 1}; const Tensor<bool> m = x > 0;
auto value()")
set(fine "sum(x,0)" "sum(x,{0,-1},keep_dims)" "max(x,0L)" "softmax(A,1U)" "take(x,1)" "take(A,i,std::size_t{1})"
  "concatenate({x,x},0)" "slice(x,0,1L,2)" "logical_not(true)" "logical_not(m)" "where(m,x,0.5)" "max(A,i.item())"
  "Tensor<>(1)" "Tensor<bool>(true)" "Tensor<std::int64_t>(3U)" "argmax(A)" "Tensor<bool>{true,false}")
foreach(call IN LISTS fine)
  expect_code(autodiff "${given} { return ${call}; }" "")
endforeach()
foreach(call "max(x, 0.0)" "min(x, 0.5F)" "max(x, x)" "sum(A, 0.5)" "sum(x, true)" "mean(A, true)" "softmax(A, 0.5)"
    "softmax(A, true)" "log_softmax(A, 1.0)" "logsumexp(A, 0.5, keep_dims)" "argmax(A, 1.0)" "cumsum(x, false)"
    "take(x, i, 0.5)" "concatenate({x, x}, 0.0)" "concatenate(std::vector<Tensor<>>{x, x}, true)")
  expect_code(autodiff "${given} { return ${call}; }" "maximum(a, b)")
endforeach()
foreach(call "take(x, 1.7)" "take(x, true)" "Tensor<std::int64_t>(0.5)" "one_hot(1.0, 3)")
  expect_code(autodiff "${given} { return ${call}; }" "labels and indices are whole numbers")
endforeach()
foreach(call "logical_not(\"text\")" "logical_not(3)" "logical_and(m, 0.5)" "where(1, x, A)" "where(\"text\", x, A)")
  expect_code(autodiff "${given} { return ${call}; }" "a mask holds truth values")
endforeach()
foreach(call "slice(x, 0.5, 0, 1)" "slice(x, 0, 0.5, 2)" "slice(x, 0, 0, 1.0)")
  expect_code(autodiff "${given} { return ${call}; }" "bounds of a slice are whole numbers")
endforeach()
foreach(type int unsigned char "long double")
  expect_code(autodiff "Tensor<${type}> value;" "a Tensor holds float or double")
endforeach()
expect_code(autodiff "const Tensor<> y = leaky_relu(Tensor<>{1.0, 2.0}, 0.1);" "")

# A layer with one more member.
function(expect_layer member message)
  expect_code(nn "struct Own {
  ${member}
  template <class T> Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x, nn::Mode) const { return x; }
};
nn::Sequential<double> model({Own{}});" "${message}")
endfunction()
expect_layer("" "")
expect_layer("static constexpr const char* name = \"own\"; nn::Activation activation = \"relu\";" "")
expect_layer("template <class T> nn::Params<T> init(const Shape&, nn::Rng&) const { return {}; }" "")
expect_layer("nn::Params<double> init(const Shape&, nn::Rng&) const { return {}; }" "")
expect_layer("template <class T> Tensor<T> penalty(const nn::Params<T>&) const { return ones<T>({}); }" "")
expect_layer("template <class T> nn::Params<T> init(const Shape&, nn::Rng&) { return {}; }" "the member init of a layer")
expect_layer("nn::Params<double> init(const Shape&, nn::Rng&) { return {}; }" "the member init of a layer")
expect_layer("template <class T> nn::Params<T> init(const Shape&) const { return {}; }" "the member init of a layer")
expect_layer("nn::Params<float> init(const Shape&, nn::Rng&) const { return {}; }" "the member init of a layer")
expect_layer("template <class T> Tensor<T> penalty(const nn::Params<T>&) { return ones<T>({}); }" "the member penalty")
expect_layer("template <class T> double penalty(const nn::Params<T>&) const { return 0; }" "the member penalty")
expect_layer("template <class T> Tensor<T> penalty() const { return ones<T>({}); }" "the member penalty")
expect_layer("template <class T> nn::Params<T> state(const Shape&) const { return {}; }" "the member state")
expect_layer("int name = 1;" "the member name")
expect_layer("template <class T> Tensor<T> logits(const nn::Params<T>&, const Tensor<T>& x, nn::Mode) const { return x; }"
  "the member logits")

set(layer "a layer for Tensor<T>, the model's number type, is called as")
expect_code(nn "struct Own {
  template <class T> Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x) const { return x; }
};
nn::Sequential<float> model({nn::Dense{3}, Own{}});" "${layer}")
expect_code(nn "struct Own {
  template <class T> Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x, nn::Mode) { return x; }
};
nn::Sequential<float> model({nn::Residual{Own{}}});" "${layer}")
expect_code(nn "nn::Sequential<float> model({[](const Tensor<double>& x) { return 2 * x; }});" "${layer}")
expect_code(nn "nn::Sequential<float> model({[](const auto& x) { return sum(x).item(); }});" "${layer}")
expect_code(nn "const nn::Dense layer{3, [](const auto& x) { return sum(x).item(); }};" "an activation is a function")
expect_code(nn "const nn::CompileOptions o{.loss = [](const auto& a) { return sum(a); }};" "a loss is a function of")
expect_code(nn "const nn::CompileOptions o{.loss = [](const Tensor<int>& a, const Tensor<double>& y) { return y; }};"
  "a Tensor holds float or double")
expect_code(nn "const nn::CompileOptions o{.metrics = {[](const auto& a, const auto& y) { return sum(a - y); }}};"
  "a metric of your own has a name")
expect_code(nn "const nn::Metric metric(\"worst\", [](const auto& a) { return sum(a); });" "a metric is a function of")
expect_code(nn "const nn::CompileOptions o{.loss = [](const Tensor<float>& a, const Tensor<float>& y) { return a - y; },
  .metrics = {\"mae\", nn::TopK{.k = 3}, {\"worst\", [](const auto& a, const auto& y) { return max(a - y).item(); }}}};" "")
