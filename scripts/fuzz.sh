#!/usr/bin/env bash
# Runs the fuzzers: first the corpus as it is, then new inputs for a bounded time. Two at a time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

seconds=30 names=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) seconds=${2:?--seconds needs a number} && shift 2 ;;
    -*) die "unknown option $1; see ./dev fuzz --help" ;;
    *) names+=("$1") && shift ;;
  esac
done

require_packages build test
build_preset fuzz
if [ ${#names[@]} -eq 0 ]; then
  for directory in fuzz/corpus/*/; do names+=("$(basename "$directory")"); done
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run_one() {  # run_one NAME: corpus, then new inputs; findings stay in fuzz/findings
  local name=$1
  local binary=build/fuzz/fuzz/fuzz_$name
  [ -x "$binary" ] || die "there is no fuzzer $name"
  mkdir -p "$work/$name" fuzz/findings
  {
    "$binary" -runs=0 "fuzz/corpus/$name" &&
      "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="fuzz/findings/$name-" \
        "$work/$name" "fuzz/corpus/$name"
  } >"$work/$name.log" 2>&1
}

step "Fuzzing ${names[*]} ($seconds s each)"
failed=0
for ((i = 0; i < ${#names[@]}; i += 2)); do
  pids=() batch=("${names[@]:i:2}")
  for name in "${batch[@]}"; do
    run_one "$name" &
    pids+=($!)
  done
  for k in "${!pids[@]}"; do
    if wait "${pids[k]}"; then
      printf '  %s: %s\n' "${batch[k]}" "$(grep -E '^Done' "$work/${batch[k]}.log" | tail -1 || true)"
    else
      failed=1
      printf '%s  %s failed:%s\n' "$red" "${batch[k]}" "$reset"
      tail -40 "$work/${batch[k]}.log"
    fi
  done
done
[ "$failed" -eq 0 ] || die "a fuzzer found something; its input is in fuzz/findings"
