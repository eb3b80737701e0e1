# Uses tapegrad as its users do: installed and found by CMake, installed and found by pkg-config, and as a
# subdirectory; static and shared. Each installed tree is moved before its first use, so it must not know where it was.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${WORK_DIR}")
set(consumer_dir "${SOURCE_DIR}/tests/packaging/consumer")

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

function(configure build_dir)
  run("${CMAKE_COMMAND}" -S "${consumer_dir}" -B "${build_dir}" -G "${GENERATOR}"
    "-DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM}" "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}" ${ARGN})
endfunction()

function(build_and_run build_dir)
  run("${CMAKE_COMMAND}" --build "${build_dir}")
  run("${build_dir}/consumer")
endfunction()

# Those of examples/ that need nothing but the library; each stays under 40 lines.
file(GLOB examples "${SOURCE_DIR}/examples/*.cpp")
list(FILTER examples EXCLUDE REGEX "/notebook_")
foreach(example IN LISTS examples)
  file(STRINGS "${example}" lines)
  list(LENGTH lines length)
  if(length GREATER_EQUAL 40)
    message(FATAL_ERROR "${example} has ${length} lines or more")
  endif()
endforeach()

function(use_installed kind)
  set(prefix "${WORK_DIR}/${kind}-moved")
  file(RENAME "${WORK_DIR}/${kind}" "${prefix}")

  configure("${WORK_DIR}/${kind}-cmake" "-DCMAKE_PREFIX_PATH=${prefix}" -DCMAKE_BUILD_TYPE=Release ${ARGN})
  build_and_run("${WORK_DIR}/${kind}-cmake")

  # Beside the program, every installed header: one that includes a file left behind fails here.
  file(GLOB_RECURSE headers RELATIVE "${prefix}/include" "${prefix}/include/tapegrad/*.hpp")
  set(includes "")
  foreach(header IN LISTS headers)
    string(APPEND includes "#include <${header}>\n")
  endforeach()
  file(WRITE "${WORK_DIR}/${kind}-headers.cpp" "${includes}")

  file(GLOB_RECURSE pc "${prefix}/tapegrad.pc")
  cmake_path(GET pc PARENT_PATH pc_dir)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -E env "PKG_CONFIG_PATH=${pc_dir}:$ENV{PKG_CONFIG_PATH}"
      "${PKG_CONFIG}" --cflags --libs tapegrad xtensor
    OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  separate_arguments(cxx_flags UNIX_COMMAND "${CXX_FLAGS}")
  cmake_path(GET pc_dir PARENT_PATH lib_dir)
  run("${CXX}" ${cxx_flags} -std=c++20 -Wall -Wextra -Werror
    "${consumer_dir}/main.cpp" "${WORK_DIR}/${kind}-headers.cpp"
    -o "${WORK_DIR}/${kind}-pkg-config" ${flags} "-Wl,-rpath,${lib_dir}")
  run("${WORK_DIR}/${kind}-pkg-config")
endfunction()

# The libraries at hand are of one kind, static or shared; the subdirectory's are of the other.
set(kinds static shared)
if(SHARED)
  list(REVERSE kinds)
  set(other_shared OFF)
else()
  set(other_shared ON)
endif()
list(GET kinds 0 kind)
list(GET kinds 1 other_kind)

run("${CMAKE_COMMAND}" --install "${BUILD_DIR}" --config "${CONFIG}" --prefix "${WORK_DIR}/${kind}")
use_installed(${kind} "-DEXAMPLES_DIR=${SOURCE_DIR}/examples")
foreach(example IN LISTS examples)
  cmake_path(GET example STEM name)
  execute_process(COMMAND "${WORK_DIR}/${kind}-cmake/${name}" "${SOURCE_DIR}/examples/data/digits.csv.gz"
    WORKING_DIRECTORY "${WORK_DIR}" COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endforeach()

# Debug without symbols: this asks whether it builds and links, and should not take long.
configure("${WORK_DIR}/subdirectory" "-DTAPEGRAD_SOURCE_DIR=${SOURCE_DIR}" -DBUILD_SHARED_LIBS=${other_shared}
  -DTAPEGRAD_INSTALL=ON -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0)
build_and_run("${WORK_DIR}/subdirectory")
run("${CMAKE_COMMAND}" --install "${WORK_DIR}/subdirectory" --prefix "${WORK_DIR}/${other_kind}")
use_installed(${other_kind})
