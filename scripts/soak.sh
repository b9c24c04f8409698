#!/usr/bin/env bash
# ./dev soak: builds the release, soaks, and draws what was measured, also of a soak that found something.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

state=build/soak arguments=()
while [ $# -gt 0 ]; do
  if [ "$1" = --state ]; then
    state=${2:?--state needs a directory}
    shift 2
  else
    arguments+=("$1")
    shift
  fi
done

require_packages build soak
build_preset release vc_soak
status=0
build/release/tests/crash/vc_soak --state "$state" "${arguments[@]}" || status=$?
[ "$status" -ne 2 ] || exit 2
if scripts/soak-plot.py "$state/soak.csv" >"$state/soak.svg"; then
  step "$state/soak.csv and soak.svg have the figures"
fi
exit "$status"
