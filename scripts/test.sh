#!/usr/bin/env bash
# Builds and runs the tests: ./dev test, asan and tsan.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

preset=release filter='' fuzz=yes fuzz_seconds=30
while [ $# -gt 0 ]; do
  case "$1" in
    --preset) preset=${2:?--preset needs a name} && shift 2 ;;
    --filter) filter=${2:?--filter needs a regular expression} fuzz=no && shift 2 ;;
    --no-fuzz) fuzz=no && shift ;;
    --fuzz-seconds) fuzz_seconds=${2:?--fuzz-seconds needs a number} && shift 2 ;;
    *) die "unknown option $1; see ./dev test --help" ;;
  esac
done

require_packages build test
if [ -z "$filter" ] || [[ openapi_test =~ $filter ]]; then npm_packages tests/openapi; fi
build_preset "$preset"

# A suite that cannot fail proves nothing: the canary fails on purpose, and the runner has to say so.
step "Canary: a failing test has to fail the run"
if ctest --preset "$preset" -C canary -R '^canary$' >/dev/null 2>&1; then
  die "the failing canary test was reported as passed: the test runner is broken"
fi

step "Tests ($preset)"
arguments=(--preset "$preset" --output-on-failure --no-tests=error)
[ -z "$filter" ] || arguments+=(-R "$filter")
ctest "${arguments[@]}"

if [ "$fuzz" = yes ]; then
  scripts/fuzz.sh --seconds "$fuzz_seconds"
fi
step "${green}Everything passed${reset}"
