# The rooms of the house, and that includes run one way: a file includes files of its own room and of rooms below it,
# never in a circle. nn and its rooms see the public headers of autodiff only. The folders' roots hold public headers
# and nothing else.
cmake_minimum_required(VERSION 3.25)

# From the ground up; a room is a folder, with the public headers whose insides it holds.
set(rooms
  "autodiff/core      error shape tensor named parameters xtensor profile"
  "autodiff/rules"
  "autodiff/kernels"
  "autodiff/tape      debug_nans"
  "autodiff/ops       ops"
  "autodiff/sweep"
  "autodiff/programs  elementwise"
  "autodiff/structure"
  "autodiff/random    random numpy_random"
  "autodiff/transforms transforms jacobian custom check dump"
  "autodiff           autodiff extend"
  "nn/core            named"
  "nn/data"
  "nn/layers          layer layers activations initializers regularizers"
  "nn/losses          losses output_delta"
  "nn/optim           optimizers schedules clipping"
  "nn/report          metrics plot compare_output_delta"
  "nn/train           fit callbacks history network sequential"
  "nn                 nn")

set(floor 0)
foreach(room IN LISTS rooms)
  separate_arguments(room)
  list(POP_FRONT room folder)
  string(REGEX MATCH "^[a-z]+" library "${folder}")
  foreach(header IN LISTS room)
    set("floor of ${library}/${header}.hpp" ${floor})
  endforeach()
  set("floor of ${folder}" ${floor})
  math(EXPR floor "${floor} + 1")
endforeach()

function(problem text)
  message(SEND_ERROR "${text}")
endfunction()

file(GLOB_RECURSE files RELATIVE "${SOURCE_DIR}" "${SOURCE_DIR}/autodiff/*.*pp" "${SOURCE_DIR}/autodiff/*.inl"
  "${SOURCE_DIR}/nn/*.*pp")
foreach(file IN LISTS files)
  cmake_path(GET file PARENT_PATH folder)
  if(folder MATCHES "/")
    set(key "floor of ${folder}")
  else()
    set(key "floor of ${file}")
  endif()
  if(NOT DEFINED "${key}")
    problem("${file} stands in no room: tests/packaging/includes.cmake lists them")
    continue()
  endif()
  set("floor of ${file}" ${${key}})
endforeach()

foreach(file IN LISTS files)
  cmake_path(GET file PARENT_PATH folder)
  file(STRINGS "${SOURCE_DIR}/${file}" lines REGEX "^#include \"")
  set("below ${file}" "")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "^#include \"(.*)\".*" "${folder}/\\1" target "${line}")
    cmake_path(NORMAL_PATH target)
    if(NOT DEFINED "floor of ${target}")
      problem("${file} includes ${target}, which is not there")
    elseif(${floor\ of\ ${target}} GREATER ${floor\ of\ ${file}})
      problem("${file} includes ${target}, which is above it")
    elseif(file MATCHES "^nn/" AND target MATCHES "^autodiff/.*/")
      problem("${file} includes ${target}, which is private to autodiff")
    endif()
    list(APPEND "below ${file}" "${target}")
  endforeach()
endforeach()

# Files go that include nothing which is left, or that nothing includes; what stays in the end goes round in a circle.
set(left ${files})
set(removed TRUE)
while(removed)
  set(removed FALSE)
  set(included "")
  foreach(file IN LISTS left)
    list(APPEND included ${below\ ${file}})
  endforeach()
  foreach(file IN LISTS left)
    set(waits FALSE)
    foreach(target IN LISTS "below ${file}")
      if(target IN_LIST left)
        set(waits TRUE)
        break()
      endif()
    endforeach()
    if(NOT waits OR NOT file IN_LIST included)
      list(REMOVE_ITEM left "${file}")
      set(removed TRUE)
    endif()
  endforeach()
endwhile()
if(left)
  problem("these include each other in a circle: ${left}")
endif()

list(LENGTH files count)
message(STATUS "${count} files on ${floor} floors")
