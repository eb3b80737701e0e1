# Installation, and the package that find_package(tapegrad CONFIG) reads, both installed and in the build tree.
if(NOT TAPEGRAD_INSTALL)
  return()
endif()
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/tapegrad")
set(components autodiff data nn)
if(TARGET tapegrad_xtensor)
  list(APPEND components xtensor)
endif()
foreach(name IN LISTS components)
  install(TARGETS tapegrad_${name} EXPORT tapegrad-${name})
  install(EXPORT tapegrad-${name} NAMESPACE tapegrad:: FILE tapegrad-${name}-targets.cmake DESTINATION "${package_dir}")
  export(EXPORT tapegrad-${name} NAMESPACE tapegrad:: FILE "${PROJECT_BINARY_DIR}/tapegrad-${name}-targets.cmake")
endforeach()
install(FILES "${tapegrad_include_dir}/tapegrad/autodiff.hpp" "${tapegrad_include_dir}/tapegrad/nn.hpp"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/tapegrad")

# Without the headers that only the library's own sources include.
foreach(folder IN ITEMS autodiff nn)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/${folder}" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/tapegrad"
    FILES_MATCHING PATTERN "*.hpp"
    REGEX "/autodiff/core/padding\\.hpp$" EXCLUDE
    REGEX "/autodiff/kernels/(blas|kernels|simd)\\.hpp$" EXCLUDE
    REGEX "/autodiff/ops/(axes|broadcast|internal|operands|places|registry)\\.hpp$" EXCLUDE
    REGEX "/autodiff/(programs|random|structure|transforms)$" EXCLUDE
    REGEX "/autodiff/(sweep/rules|tape/carry|tape/primitive)\\.hpp$" EXCLUDE
    REGEX "/nn/(layers|losses|optim|report)$" EXCLUDE
    REGEX "/nn/train/(dataset|interrupt|progress|sampler)\\.hpp$" EXCLUDE
    REGEX "/nn/(core/errors|data/file|data/npy_format)\\.hpp$" EXCLUDE)
endforeach()
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

# Before 1.0 a minor version may break what the one before it promised.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tapegrad-config-version.cmake" COMPATIBILITY SameMinorVersion)
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/tapegrad-config.cmake.in"
  "${PROJECT_BINARY_DIR}/tapegrad-config.cmake"
  INSTALL_DESTINATION "${package_dir}"
  NO_SET_AND_CHECK_MACRO)
foreach(name IN ITEMS OpenBLAS LibZip)
  configure_file("${PROJECT_SOURCE_DIR}/cmake/Find${name}.cmake" "${PROJECT_BINARY_DIR}/Find${name}.cmake" COPYONLY)
endforeach()
install(FILES
  "${PROJECT_BINARY_DIR}/tapegrad-config.cmake"
  "${PROJECT_BINARY_DIR}/tapegrad-config-version.cmake"
  "${PROJECT_BINARY_DIR}/FindOpenBLAS.cmake"
  "${PROJECT_BINARY_DIR}/FindLibZip.cmake"
  DESTINATION "${package_dir}")

# A static library's dependencies are wanted by every program that links it, so there they are not private.
set(pc_requires "")
set(pc_requires_private "")
if(BUILD_SHARED_LIBS)
  set(pc_requires_private "openblas zlib libzip")
else()
  set(pc_requires "openblas zlib libzip")
endif()
set(pc_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH pc_prefix "/prefix/${pc_dir}" "/prefix")
configure_file("${PROJECT_SOURCE_DIR}/cmake/tapegrad.pc.in" "${PROJECT_BINARY_DIR}/tapegrad.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/tapegrad.pc" DESTINATION "${pc_dir}")
