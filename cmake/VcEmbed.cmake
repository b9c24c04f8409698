# Texts that stand in the program itself.
#
#   vc_embed(<target> <source> FUNCTION <namespace::function> FILES <file>...)
#
# Generates <source> in the build directory and adds it to the target: a function that returns the files' contents, in
# order, as std::vector<std::string_view>. A header of ours declares it.
include_guard(GLOBAL)

function(vc_embed target source)
  cmake_parse_arguments(ARG "" "FUNCTION" "FILES" ${ARGN})
  set(files)
  foreach(file IN LISTS ARG_FILES)
    list(APPEND files "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  endforeach()
  set(output "${CMAKE_CURRENT_BINARY_DIR}/embedded/${source}")
  list(JOIN files "|" joined)  # a list would not survive the command line
  add_custom_command(OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${output}" "-DFUNCTION=${ARG_FUNCTION}" "-DFILES=${joined}"
            -P "${CMAKE_SOURCE_DIR}/cmake/EmbedTexts.cmake"
    DEPENDS ${files} "${CMAKE_SOURCE_DIR}/cmake/EmbedTexts.cmake"
    VERBATIM)
  target_sources(${target} PRIVATE "${output}")
endfunction()
