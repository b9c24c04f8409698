# Run by ctest: cmake -DBUILD_DIR=... -DEXAMPLE=... -DWORK_DIR=... -DCXX=... -DGENERATOR=... -P InstallTest.cmake
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "failed (${code}): ${ARGN}\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
file(MAKE_DIRECTORY "${WORK_DIR}")
run("${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${WORK_DIR}/prefix" --component sdk)
# A copy outside of the tree: nothing of the repository may be needed.
file(COPY "${EXAMPLE}/" DESTINATION "${WORK_DIR}/example")
run("${CMAKE_COMMAND}" -S "${WORK_DIR}/example" -B "${WORK_DIR}/example-build" -G "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix")
run("${CMAKE_COMMAND}" --build "${WORK_DIR}/example-build")
# It starts and says what is wrong with its configuration: loader, library and exceptions across it work.
execute_process(COMMAND "${CMAKE_COMMAND}" -E env CONTROL_PLANE_WS_URL=nonsense "${WORK_DIR}/example-build/echo_agent"
  RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT code EQUAL 1 OR NOT output MATCHES "controlPlaneWsUrl")
  message(FATAL_ERROR "the installed example answered ${code}: ${output}")
endif()
