# The target gru_native_blas: CBLAS behind csrc/blas.h.

add_library(gru_native_blas INTERFACE)

if(GRU_NATIVE_BLAS STREQUAL "scipy-openblas")
  if(NOT CMAKE_CROSSCOMPILING) # or else OpenBLAS_DIR names the copy for the target
    find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c "import scipy_openblas32 as b; print(b.get_lib_dir(), end='')"
      OUTPUT_VARIABLE lib_dir COMMAND_ERROR_IS_FATAL ANY)
    set(OpenBLAS_DIR ${lib_dir}/cmake/openblas)
  endif()
  find_package(OpenBLAS CONFIG REQUIRED)
  target_link_libraries(gru_native_blas INTERFACE OpenBLAS::OpenBLAS)
  target_compile_definitions(gru_native_blas INTERFACE GRU_BLAS_PREFIX=scipy_ GRU_BLAS_IS_OPENBLAS=1)
elseif(GRU_NATIVE_BLAS STREQUAL "system")
  find_package(BLAS REQUIRED)
  find_path(CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas cblas REQUIRED)
  target_link_libraries(gru_native_blas INTERFACE BLAS::BLAS)
  target_include_directories(gru_native_blas SYSTEM INTERFACE ${CBLAS_INCLUDE_DIR})
  include(CheckCXXSymbolExists)
  set(CMAKE_REQUIRED_INCLUDES ${CBLAS_INCLUDE_DIR})
  set(CMAKE_REQUIRED_LIBRARIES BLAS::BLAS)
  check_cxx_symbol_exists(openblas_set_num_threads cblas.h GRU_NATIVE_BLAS_IS_OPENBLAS)
  target_compile_definitions(gru_native_blas INTERFACE
    GRU_BLAS_PREFIX= GRU_BLAS_IS_OPENBLAS=$<BOOL:${GRU_NATIVE_BLAS_IS_OPENBLAS}>)
else()
  message(FATAL_ERROR "GRU_NATIVE_BLAS: expected scipy-openblas or system, got ${GRU_NATIVE_BLAS}")
endif()
