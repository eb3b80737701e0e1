# <build>/include/tapegrad: links to the source folders and the two umbrella headers, so that <tapegrad/nn/losses.hpp>
# means the same file in the build tree, under add_subdirectory and, as a real file, after installation.
set(tapegrad_include_dir "${PROJECT_BINARY_DIR}/include")

foreach(folder IN ITEMS autodiff nn)
  set(link "${tapegrad_include_dir}/tapegrad/${folder}")
  file(MAKE_DIRECTORY "${tapegrad_include_dir}/tapegrad")
  file(CREATE_LINK "${PROJECT_SOURCE_DIR}/${folder}" "${link}" SYMBOLIC)
  # CONFIGURE leaves the file alone when nothing changed, so that configuring again rebuilds nothing.
  file(CONFIGURE OUTPUT "${link}.hpp" CONTENT "#include \"${folder}/${folder}.hpp\"\n")
endforeach()
