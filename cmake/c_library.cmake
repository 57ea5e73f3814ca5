# What `cmake --install` gives to programs in C and other languages: the headers, the library, shared and static, a
# package for CMake's find_package and one for pkg-config.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

file(STRINGS ${PROJECT_SOURCE_DIR}/include/gru_native.h abi REGEX "^#define GN_ABI_VERSION")
string(REGEX MATCH "[0-9]+$" abi ${abi})
set_target_properties(gru_native PROPERTIES VERSION ${abi} SOVERSION ${abi})
install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS gru_native EXPORT gru_native INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# Beside the static library a program links the run times of OpenMP and C++, by their names.
set(beside ${OpenMP_CXX_LIB_NAMES} ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
list(FILTER beside INCLUDE REGEX "omp|^pthread$|c\\+\\+|^m$")
list(REMOVE_DUPLICATES beside)

if(GRU_NATIVE_BLAS STREQUAL "none") # whose libraries a static one would need, too
  add_library(gru_native_static STATIC $<TARGET_OBJECTS:gru_native_core> $<TARGET_OBJECTS:gru_native_blas>)
  set_target_properties(gru_native_static PROPERTIES OUTPUT_NAME gru_native)
  target_link_libraries(gru_native_static INTERFACE ${beside})
  install(TARGETS gru_native_static EXPORT gru_native INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/gru_native)
install(EXPORT gru_native NAMESPACE gru_native:: FILE gru_native-targets.cmake DESTINATION ${package})
file(WRITE ${PROJECT_BINARY_DIR}/gru_native-config.cmake
  "include(\${CMAKE_CURRENT_LIST_DIR}/gru_native-targets.cmake)\n")
write_basic_package_version_file(${PROJECT_BINARY_DIR}/gru_native-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/gru_native-config.cmake ${PROJECT_BINARY_DIR}/gru_native-config-version.cmake
  DESTINATION ${package})

# The folders are found from that of the file: what is installed may be moved.
file(RELATIVE_PATH include_from_lib ${CMAKE_INSTALL_FULL_LIBDIR} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
list(TRANSFORM beside PREPEND "-l" OUTPUT_VARIABLE libs_private)
list(JOIN libs_private " " libs_private)
configure_file(${CMAKE_CURRENT_LIST_DIR}/gru_native.pc.in gru_native.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/gru_native.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
