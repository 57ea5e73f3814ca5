# The target gru_native_blas: csrc/engine/blas.cpp, which alone sees the CBLAS that GRU_NATIVE_BLAS names.

add_library(gru_native_blas OBJECT csrc/engine/blas.cpp)
target_include_directories(gru_native_blas PRIVATE csrc)
target_link_libraries(gru_native_blas PRIVATE gru_native_options gru_native_warnings)
set_target_properties(gru_native_blas PROPERTIES POSITION_INDEPENDENT_CODE ON)

if(GRU_NATIVE_BLAS STREQUAL "scipy-openblas")
  if(NOT CMAKE_CROSSCOMPILING) # or else OpenBLAS_DIR names the copy for the target
    find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c "import scipy_openblas32 as b; print(b.get_lib_dir(), end='')"
      OUTPUT_VARIABLE lib_dir COMMAND_ERROR_IS_FATAL ANY)
    set(OpenBLAS_DIR ${lib_dir}/cmake/openblas)
  endif()
  find_package(OpenBLAS CONFIG REQUIRED)
  target_link_libraries(gru_native_blas PRIVATE OpenBLAS::OpenBLAS)
  install(FILES ${CMAKE_CURRENT_LIST_DIR}/LICENSE-openblas.txt DESTINATION gru_native)
  target_compile_definitions(gru_native_blas PRIVATE GRU_BLAS_PREFIX=scipy_ GRU_BLAS_IS_OPENBLAS=1)
elseif(GRU_NATIVE_BLAS STREQUAL "system")
  find_package(BLAS REQUIRED)
  find_path(CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas cblas REQUIRED)
  target_link_libraries(gru_native_blas PRIVATE BLAS::BLAS)
  target_include_directories(gru_native_blas SYSTEM PRIVATE ${CBLAS_INCLUDE_DIR})
  include(CheckCXXSymbolExists)
  set(CMAKE_REQUIRED_INCLUDES ${CBLAS_INCLUDE_DIR})
  set(CMAKE_REQUIRED_LIBRARIES BLAS::BLAS)
  check_cxx_symbol_exists(openblas_set_num_threads cblas.h GRU_NATIVE_BLAS_IS_OPENBLAS)
  target_compile_definitions(gru_native_blas PRIVATE
    GRU_BLAS_PREFIX= GRU_BLAS_IS_OPENBLAS=$<BOOL:${GRU_NATIVE_BLAS_IS_OPENBLAS}>)
elseif(NOT GRU_NATIVE_BLAS STREQUAL "none")
  message(FATAL_ERROR "GRU_NATIVE_BLAS: expected none, scipy-openblas or system, got ${GRU_NATIVE_BLAS}")
endif()
