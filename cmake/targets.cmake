# How targets of this project are compiled.

# CMAKE_CXX_FLAGS is where the presets put sanitizers, and where a user would.
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=")
  set(tapegrad_sanitized TRUE)
else()
  set(tapegrad_sanitized FALSE)
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
  set(tapegrad_x86_64 TRUE)
else()
  set(tapegrad_x86_64 FALSE)
endif()

function(tapegrad_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wconversion $<$<BOOL:${TAPEGRAD_WARNINGS_AS_ERRORS}>:-Werror>)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()

# Files named *_baseline.cpp and *_v3.cpp hold the SIMD loops. They are optimized in every build type, since
# unoptimized SIMD code makes a debug build useless. Options of a source file come after all other flags, so that
# these win over a user's own. No -ffast-math: infinities, NaN and the order of sums matter here. A product and a sum
# are fused only where a kernel says so, else x*y - x*y might not be 0. Without exceptions, of which kernels throw none,
# g++ emits no weak reference to their personality routine. The sanitizer's checks of scopes make one function of a whole
# inlined call tree take minutes.
function(tapegrad_isa_sources)
  foreach(source IN LISTS ARGN)
    set(flags -O2 -fno-fast-math -fno-math-errno -fno-trapping-math -ffp-contract=off)
    if(source MATCHES "/isa_[a-z0-9_]+\\.cpp$")
      list(APPEND flags -fno-exceptions)
    endif()
    if(tapegrad_sanitized)
      list(APPEND flags -fno-sanitize-address-use-after-scope)
    endif()
    if(source MATCHES "_v3\\.cpp$")
      list(APPEND flags -march=x86-64-v3)
    endif()
    set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
endfunction()

# A library of this project: tapegrad_<name>, known to users as tapegrad::<name>.
function(tapegrad_library name)
  add_library(tapegrad_${name} ${ARGN})
  add_library(tapegrad::${name} ALIAS tapegrad_${name})
  tapegrad_settings(tapegrad_${name})
  target_include_directories(tapegrad_${name} PUBLIC
    "$<BUILD_INTERFACE:${tapegrad_include_dir}>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  set_target_properties(tapegrad_${name} PROPERTIES
    EXPORT_NAME ${name}
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON
    INSTALL_RPATH "$<IF:$<PLATFORM_ID:Darwin>,@loader_path,$ORIGIN>")
endfunction()

# Every .cpp in this folder is a program of its own, save those named for an instruction set.
function(tapegrad_programs prefix)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LIBRARIES;DEFINITIONS")
  file(GLOB programs CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  list(FILTER programs EXCLUDE REGEX "_(baseline|v3)\\.cpp$")
  foreach(source IN LISTS programs)
    cmake_path(GET source STEM name)
    set(target tapegrad_${prefix}_${name})
    add_executable(${target} "${source}")
    tapegrad_settings(${target})
    target_link_libraries(${target} PRIVATE ${arg_LIBRARIES})
    target_compile_definitions(${target} PRIVATE ${arg_DEFINITIONS})
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name})
  endforeach()
endfunction()
