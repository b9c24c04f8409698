# The test bench_smoke: a tiny run prints one flat object in which every figure is there and is a number.
execute_process(COMMAND "${BENCH}" --smoke --json --directory "${DIRECTORY}" OUTPUT_VARIABLE printed
                RESULT_VARIABLE status TIMEOUT 240)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "vc_bench ended with ${status}")
endif()
foreach(key sign_us verify_us fsync_ms cp_cpu_us_per_intent agent_cpu_us_per_intent cp_cpu_us_per_handshake
            intents_per_s latency_p50_ms latency_p99_ms agent_rss_mib agent_threads agent_start_ms cp_idle_rss_mib
            cp_rss_kib_per_agent agents_connected)
  string(JSON type ERROR_VARIABLE missing TYPE "${printed}" ${key})
  if(NOT type STREQUAL "NUMBER")
    message(FATAL_ERROR "${key} is no number (${type} ${missing}) in:\n${printed}")
  endif()
endforeach()
string(JSON members LENGTH "${printed}")
math(EXPR last "${members} - 1")
foreach(index RANGE ${last})
  string(JSON key MEMBER "${printed}" ${index})
  string(JSON type TYPE "${printed}" "${key}")
  if(type STREQUAL "OBJECT" OR type STREQUAL "ARRAY")
    message(FATAL_ERROR "the object is not flat: ${key}")
  endif()
endforeach()
