# Compiles what the documents show: the first ```cpp block after "## Example" in README.md, a whole program, which is
# also run, and every ```cpp block of docs/api.md. There a block with #include or main is taken as it stands; any other
# is put into a function that sees the two umbrella headers and `using namespace tapegrad`.
# The programs find the library in its build tree, by find_package.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${WORK_DIR}")

# Cuts the next block off the front of `text` in the caller; `block` is empty when there is none.
function(next_block)
  set(block "")
  string(FIND "${text}" "\n```cpp\n" begin)
  if(NOT begin EQUAL -1)
    math(EXPR begin "${begin} + 8")
    string(SUBSTRING "${text}" ${begin} -1 text)
    string(FIND "${text}" "\n```" end)
    if(end EQUAL -1)
      message(FATAL_ERROR "a \`\`\`cpp block is not closed")
    endif()
    math(EXPR end "${end} + 1")
    string(SUBSTRING "${text}" 0 ${end} block)
    string(SUBSTRING "${text}" ${end} -1 text)
  endif()
  set(block "${block}" PARENT_SCOPE)
  set(text "${text}" PARENT_SCOPE)
endfunction()

file(READ "${SOURCE_DIR}/README.md" text)
string(FIND "${text}" "\n## Example" begin)
if(begin EQUAL -1)
  message(FATAL_ERROR "README.md has no heading \"## Example\"")
endif()
string(SUBSTRING "${text}" ${begin} -1 text)
next_block()
if(NOT block MATCHES "int main *\\(")
  message(FATAL_ERROR "README.md: the first \`\`\`cpp block after \"## Example\" is not a program with main")
endif()
file(WRITE "${WORK_DIR}/readme.cpp" "${block}")

file(WRITE "${WORK_DIR}/CMakeLists.txt" [[
cmake_minimum_required(VERSION 3.25)
project(readme LANGUAGES CXX)
find_package(tapegrad CONFIG REQUIRED)
link_libraries(tapegrad::nn)
add_compile_options(-Wall -Wextra -Werror)
add_executable(readme readme.cpp)
file(GLOB api api_*.cpp)
if(api)
  add_library(api OBJECT ${api})
endif()
]])

if(EXISTS "${SOURCE_DIR}/docs/api.md")
  file(READ "${SOURCE_DIR}/docs/api.md" text)
  set(text "\n${text}")
  set(number 0)
  next_block()
  while(NOT block STREQUAL "")
    math(EXPR number "${number} + 1")
    if(NOT block MATCHES "#include|int main *\\(")
      string(CONCAT block
        "#include <tapegrad/autodiff.hpp>\n#include <tapegrad/nn.hpp>\n#include <iostream>\n"
        "using namespace tapegrad;\n"
        "void block_${number}();\nvoid block_${number}() {\n${block}}\n")
    endif()
    file(WRITE "${WORK_DIR}/api_${number}.cpp" "${block}")
    next_block()
  endwhile()
endif()

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

run("${CMAKE_COMMAND}" -S "${WORK_DIR}" -B "${WORK_DIR}/build" -G "${GENERATOR}" "-Dtapegrad_DIR=${BUILD_DIR}"
  "-DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM}" "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}")
run("${CMAKE_COMMAND}" --build "${WORK_DIR}/build")
run("${WORK_DIR}/build/readme")
