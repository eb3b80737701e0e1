# libzip as the target LibZip::LibZip. Installed beside the package config, since a static tapegrad asks its users to find
# libzip again. libzip's own package config is not used: Debian 12's asks for command-line tools of another package.
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(PC_LibZip QUIET libzip)
endif()

find_path(LibZip_INCLUDE_DIR zip.h HINTS ${PC_LibZip_INCLUDE_DIRS})
find_library(LibZip_LIBRARY zip HINTS ${PC_LibZip_LIBRARY_DIRS})
mark_as_advanced(LibZip_INCLUDE_DIR LibZip_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibZip
  REQUIRED_VARS LibZip_LIBRARY LibZip_INCLUDE_DIR
  VERSION_VAR PC_LibZip_VERSION)

if(LibZip_FOUND AND NOT TARGET LibZip::LibZip)
  add_library(LibZip::LibZip UNKNOWN IMPORTED)
  set_target_properties(LibZip::LibZip PROPERTIES
    IMPORTED_LOCATION "${LibZip_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${LibZip_INCLUDE_DIR}")
endif()
