# The public headers: each compiles alone, and neither umbrella brings in the headers of other libraries, which a user
# would pay for in every file.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${WORK_DIR}")
separate_arguments(CXX_FLAGS UNIX_COMMAND "${CXX_FLAGS}")

# The compiler's answer to a file that includes nothing but the header.
function(compile header)
  file(WRITE "${WORK_DIR}/alone.cpp" "#include <tapegrad/${header}>\n")
  execute_process(COMMAND "${CXX}" ${CXX_FLAGS} -std=c++20 -Wall -Wextra -Werror ${ARGN} "-I${INCLUDE_DIR}"
    "${WORK_DIR}/alone.cpp" RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  if(NOT result EQUAL 0)
    message(SEND_ERROR "<tapegrad/${header}> does not compile alone:\n${errors}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

foreach(umbrella IN ITEMS autodiff nn)
  compile(${umbrella}.hpp -M)
  if(output MATCHES "[^ ]*/(xtensor|xtl|xsimd|gnuplot|zip|fmt)[/.][^ ]*")
    message(SEND_ERROR "<tapegrad/${umbrella}.hpp> includes ${CMAKE_MATCH_0}")
  endif()
endforeach()

file(GLOB headers RELATIVE "${SOURCE_DIR}"
  "${SOURCE_DIR}/autodiff/*.hpp" "${SOURCE_DIR}/nn/*.hpp" "${SOURCE_DIR}/nn/data/*.hpp")
foreach(header IN LISTS headers)
  compile(${header} -fsyntax-only)
endforeach()
