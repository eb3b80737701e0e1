# Every comparison in tests/ says how close: no doctest::Approx, which has a default, and allowing for a size of 1
# compares no small numbers (tests/close.hpp has about(value, relative)), and both tolerances for allclose. A line that
# is right without them ends in "// the default tolerance".
cmake_minimum_required(VERSION 3.25)

set(character "'(\\\\.|[^'\\\\\n])'")
set(text "\"(\\\\.|[^\"\\\\\n])*\"")
set(inside "[^][(){}]*")

file(GLOB_RECURSE files RELATIVE "${SOURCE_DIR}" "${SOURCE_DIR}/tests/*.?pp")
foreach(file IN LISTS files)
  file(READ "${SOURCE_DIR}/${file}" code)
  string(REGEX REPLACE "[^\n]*// the default tolerance" "" code "${code}")
  string(REGEX REPLACE "${character}|${text}" "_" code "${code}")
  string(REGEX REPLACE "//[^\n]*" "" code "${code}")
  if(code MATCHES "[^\n]*[^A-Za-z_]Approx[^A-Za-z_][^\n]*")
    message(SEND_ERROR "${file} compares by doctest::Approx: ${CMAKE_MATCH_0}")
  endif()
  # From the inside out, every pair of brackets becomes a name, and a call of allclose shows its arguments.
  set(before "")
  while(NOT code STREQUAL before)
    set(before "${code}")
    string(REGEX MATCHALL "allclose\\(${inside}\\)" calls "${code}")
    foreach(call IN LISTS calls)
      if(NOT call MATCHES ",.*,.*,")
        message(SEND_ERROR "${file} leaves a tolerance open: ${call}")
      endif()
    endforeach()
    string(REGEX REPLACE "\\(${inside}\\)|\\[${inside}\\]|{${inside}}" "_" code "${code}")
  endwhile()
endforeach()

list(LENGTH files count)
message(STATUS "${count} files")
