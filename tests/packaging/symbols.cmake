# The files compiled for one instruction set must emit no weak symbols: of two equal ones the linker keeps either, and
# might hand AVX2 code to the baseline path.
string(REPLACE "|" ";" OBJECTS "${OBJECTS}")
if(NOT OBJECTS)
  message(FATAL_ERROR "no object files of autodiff/kernels/isa_*.cpp")
endif()

set(found "")
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND "${NM}" --defined-only --demangle "${object}"
    OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WwVvu] [^\n]*" weak "${symbols}")
  # The address of the exception handler, and the digits of pi in xsimd's sin, cos and tan: data, the same for every
  # instruction set.
  list(FILTER weak EXCLUDE REGEX " DW\\.ref\\.|_rem_pio2\\(.*\\)::(PIo2|two_over_pi|npio2_hw)$")
  foreach(symbol IN LISTS weak)
    string(APPEND found "\n  ${object}: ${symbol}")
  endforeach()
endforeach()
if(found)
  message(FATAL_ERROR "weak symbols in per-ISA files (give them internal linkage, or inline them always):${found}")
endif()
list(LENGTH OBJECTS count)
message(STATUS "no weak symbols in ${count} files")
