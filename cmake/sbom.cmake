# What the package has in it of other projects, as CycloneDX, where PEP 770 looks for it.

set(components)

function(add_component name version license url)
  string(CONCAT component "{\"type\": \"library\", \"bom-ref\": \"${name}\", \"name\": \"${name}\", "
    "\"version\": \"${version}\", \"licenses\": [{\"expression\": \"${license}\"}], "
    "\"externalReferences\": [{\"type\": \"website\", \"url\": \"${url}\"}]}")
  set(components ${components} ${component} PARENT_SCOPE)
endfunction()

set(gcc_license "GPL-3.0-or-later WITH GCC-exception-3.1")
if(APPLE)
  add_component(libomp "${OpenMP_CXX_VERSION}" "Apache-2.0 WITH LLVM-exception" https://openmp.llvm.org)
else()
  add_component(libgomp "${CMAKE_CXX_COMPILER_VERSION}" "${gcc_license}" https://gcc.gnu.org)
  add_component(libstdc++ "${CMAKE_CXX_COMPILER_VERSION}" "${gcc_license}" https://gcc.gnu.org)
endif()
if(GRU_NATIVE_BLAS STREQUAL "scipy-openblas")
  add_component(openblas "${OpenBLAS_VERSION}" "BSD-3-Clause" https://www.openblas.net)
  add_component(libgfortran "" "${gcc_license}" https://gcc.gnu.org)
endif()
add_component(pybind11 "${pybind11_VERSION}" "BSD-3-Clause" https://github.com/pybind/pybind11)
execute_process(COMMAND ${Python_EXECUTABLE} -c "import Cython; print(Cython.__version__, end='')"
  OUTPUT_VARIABLE cython_version COMMAND_ERROR_IS_FATAL ANY)
add_component(cython "${cython_version}" "Apache-2.0" https://cython.org)

list(JOIN components ",\n    " components)
configure_file(${CMAKE_CURRENT_LIST_DIR}/sbom.cdx.json.in gru_native.cdx.json @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/gru_native.cdx.json DESTINATION ${SKBUILD_METADATA_DIR}/sboms)
