# nn stays thin: lines of code by part, without blank lines and comments, against a budget. A part is folders of nn/ and
# the public headers whose insides they hold.
cmake_minimum_required(VERSION 3.25)

# bound, name, folders and headers
set(parts
  "2387 functions layers losses optim layer layers activations initializers regularizers losses output_delta optimizers schedules clipping"
  "2000 training train fit callbacks history network sequential"
  "850 report report metrics plot compare_output_delta"
  "1300 data data"
  "190 shared core named nn")

file(GLOB_RECURSE left RELATIVE "${SOURCE_DIR}/nn" "${SOURCE_DIR}/nn/*.*pp")
foreach(part IN LISTS parts)
  separate_arguments(part)
  list(POP_FRONT part bound name)
  set(total 0)
  foreach(place IN LISTS part)
    set(files ${left})
    list(FILTER files INCLUDE REGEX "^${place}(/.*|\\.hpp)$")
    list(REMOVE_ITEM left ${files})
    foreach(file IN LISTS files)
      file(READ "${SOURCE_DIR}/nn/${file}" text)
      string(REGEX REPLACE "\n[ \t]*//[^\n]*" "" text "\n${text}")
      string(REGEX REPLACE "[^\n]+" "x" text "${text}")
      string(REPLACE "\n" "" text "${text}")
      string(LENGTH "${text}" lines)
      math(EXPR total "${total} + ${lines}")
    endforeach()
  endforeach()
  if(total GREATER bound)
    message(SEND_ERROR "${name} has ${total} lines of code, and ${bound} are allowed; make it simpler, as the rest is")
  else()
    message(STATUS "${name}: ${total} lines of code, at most ${bound}")
  endif()
endforeach()
if(left)
  message(SEND_ERROR "these belong to no part that tests/packaging/lines.cmake lists: ${left}")
endif()
