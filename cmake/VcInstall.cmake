# The SDK as other projects see it: libvaultysclaw.so with the agent library and everything below it inside, the public
# headers, and a package file for find_package(VaultysClaw).
include_guard(GLOBAL)
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Only what is marked VC_API is visible: the static libraries are compiled with hidden visibility.
file(WRITE "${CMAKE_BINARY_DIR}/generated/vaultysclaw_so.cpp.in"
     "// The shared library has no code of its own: it is made of the static ones.\n")
configure_file("${CMAKE_BINARY_DIR}/generated/vaultysclaw_so.cpp.in" "${CMAKE_BINARY_DIR}/generated/vaultysclaw_so.cpp" COPYONLY)
add_library(vaultysclaw_sdk SHARED "${CMAKE_BINARY_DIR}/generated/vaultysclaw_so.cpp")
add_library(VaultysClaw::VaultysClaw ALIAS vaultysclaw_sdk)
# All of vc_agent, even what nothing inside refers to; of the libraries below, what it needs.
target_link_libraries(vaultysclaw_sdk PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,vc_agent>")
target_include_directories(vaultysclaw_sdk INTERFACE
  "$<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/libs/agent/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_compile_features(vaultysclaw_sdk INTERFACE cxx_std_20)
target_link_libraries(vaultysclaw_sdk INTERFACE nlohmann_json::nlohmann_json)
target_link_options(vaultysclaw_sdk PRIVATE
  "LINKER:--version-script=${CMAKE_SOURCE_DIR}/cmake/vaultysclaw.map"
  "$<$<STREQUAL:${VC_SANITIZE},>:LINKER:--no-undefined>")
set_target_properties(vaultysclaw_sdk PROPERTIES
  OUTPUT_NAME vaultysclaw
  EXPORT_NAME VaultysClaw
  VERSION "${PROJECT_VERSION}"
  SOVERSION "${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}"
  LINK_DEPENDS "${CMAKE_SOURCE_DIR}/cmake/vaultysclaw.map")

# Programs find libraries beside their own directory, so that an installed tree can be moved.
set(CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")

install(TARGETS vaultysclaw_sdk EXPORT VaultysClawTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT sdk)
install(DIRECTORY "${CMAKE_SOURCE_DIR}/libs/agent/include/vaultysclaw" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  COMPONENT sdk FILES_MATCHING PATTERN "*.hpp")
install(EXPORT VaultysClawTargets NAMESPACE VaultysClaw::
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/VaultysClaw" COMPONENT sdk)
configure_package_config_file("${CMAKE_SOURCE_DIR}/cmake/VaultysClawConfig.cmake.in"
  "${CMAKE_BINARY_DIR}/generated/VaultysClawConfig.cmake"
  INSTALL_DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/VaultysClaw")
write_basic_package_version_file("${CMAKE_BINARY_DIR}/generated/VaultysClawConfigVersion.cmake"
  VERSION "${PROJECT_VERSION}" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/generated/VaultysClawConfig.cmake"
              "${CMAKE_BINARY_DIR}/generated/VaultysClawConfigVersion.cmake"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/VaultysClaw" COMPONENT sdk)

if(VC_BUILD_TESTS AND NOT VC_SANITIZE)
  # Installs into a fresh directory, then builds an example against it, as a user's project does.
  add_test(NAME install_and_find_package
    COMMAND "${CMAKE_COMMAND}" "-DBUILD_DIR=${CMAKE_BINARY_DIR}" "-DEXAMPLE=${CMAKE_SOURCE_DIR}/examples/echo"
            "-DWORK_DIR=${CMAKE_BINARY_DIR}/install_test" "-DCXX=${CMAKE_CXX_COMPILER}" "-DGENERATOR=${CMAKE_GENERATOR}"
            -P "${CMAKE_SOURCE_DIR}/cmake/InstallTest.cmake")
  set_tests_properties(install_and_find_package PROPERTIES TIMEOUT 300)
endif()
