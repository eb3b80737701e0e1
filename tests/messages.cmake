# Lambdas that elementwise() must refuse, with one sentence that says what to do, first and in few lines.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${WORK_DIR}")
separate_arguments(CXX_FLAGS UNIX_COMMAND "${CXX_FLAGS}")

set(most_lines 60)

# Fails unless the compiler refuses the lambda, its first error says `message`, and little else follows.
function(expect lambda message)
  file(WRITE "${WORK_DIR}/snippet.cpp" "#include <cmath>
#include <tapegrad/autodiff.hpp>
using namespace tapegrad;
double declared(double);
const auto f = elementwise(${lambda});
const Tensor<> y = f(ones({3}));
")
  execute_process(COMMAND "${CXX}" ${CXX_FLAGS} -std=c++20 -fsyntax-only -fno-diagnostics-color "-I${INCLUDE_DIR}"
    "${WORK_DIR}/snippet.cpp" RESULT_VARIABLE result ERROR_VARIABLE output)
  if(message STREQUAL "")
    if(NOT result EQUAL 0)
      message(SEND_ERROR "${lambda} was refused:\n${output}")
    endif()
    return()
  endif()
  if(result EQUAL 0)
    message(SEND_ERROR "${lambda} was accepted")
    return()
  endif()
  string(REGEX MATCH "error: [^\n]*" first "${output}")
  string(REGEX MATCHALL "\n" lines "${output}")
  list(LENGTH lines count)
  string(FIND "${first}" "${message}" place)
  if(place EQUAL -1)
    message(SEND_ERROR "${lambda}: the first error does not say \"${message}\":\n${output}")
  elseif(count GREATER most_lines)
    message(SEND_ERROR "${lambda}: ${count} lines of output:\n${output}")
  else()
    message(STATUS "${lambda}: ${count} lines, ${first}")
  endif()
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
