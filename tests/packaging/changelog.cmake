# Every row of the table of names in CHANGELOG.md, in the section of the newest version, has its case in changelog.cpp,
# which is named by the row's first cell, in the same order.
cmake_minimum_required(VERSION 3.25)

# The matches of a pattern in a file, without the characters that would join or part the elements of a list, and without
# Markdown's marks.
function(matches file pattern result)
  file(READ "${SOURCE_DIR}/${file}" text)
  string(REGEX REPLACE "\n## 0\\.1\\.0.*" "" text "${text}")
  string(REPLACE ";" "," text "${text}")
  string(REPLACE "[" "<" text "${text}")
  string(REPLACE "]" ">" text "${text}")
  string(REPLACE "`" "" text "${text}")
  string(REPLACE "\\|" "/" text "${text}")
  string(REGEX MATCHALL "${pattern}" found "${text}")
  list(TRANSFORM found REPLACE "${pattern}" "\\1")
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

matches(CHANGELOG.md "\n[|] ([^|\n]+) [|] [^|\n]+ [|]" rows)
list(POP_FRONT rows heading)
matches(tests/packaging/changelog.cpp "\nTEST_CASE.\"([^\n]+)\". {" cases)

if(NOT heading STREQUAL "old" OR NOT rows)
  message(FATAL_ERROR "CHANGELOG.md has no table of old and new names")
endif()
foreach(row case IN ZIP_LISTS rows cases)
  if(NOT row STREQUAL case)
    message(SEND_ERROR "CHANGELOG.md has the row \"${row}\" where tests/packaging/changelog.cpp has the case \"${case}\"")
  endif()
endforeach()
list(LENGTH rows count)
message(STATUS "${count} rows, each with its case")
