# install_runtime_of(target): copies the OpenMP run time and the BLAS from PyPI, as the loader would find them for the
# target, into the package folder. A slim container has no libgomp, and the path of pip's build environment, where the
# BLAS lies, is gone after the build. A system BLAS stays where it is.

function(install_runtime_of target)
  install(CODE "
    file(GET_RUNTIME_DEPENDENCIES
      LIBRARIES $<TARGET_FILE:${target}>
      RESOLVED_DEPENDENCIES_VAR libraries
      DIRECTORIES ${CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES}
      PRE_INCLUDE_REGEXES \"(^|/)lib(gomp|i?omp|scipy_openblas)[0-9]*\\\\.(so|dylib)\"
      PRE_EXCLUDE_REGEXES \".*\")
    foreach(library IN LISTS libraries)
      get_filename_component(soname \${library} NAME)
      file(REAL_PATH \${library} file)
      file(INSTALL \${file} DESTINATION \${CMAKE_INSTALL_PREFIX}/gru_native RENAME \${soname})
    endforeach()")
endfunction()
