#!/usr/bin/env bash
# ./dev bench: builds the release and measures it; bench/ has the programs, docs/performance.md what they found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

if [ "${1:-}" = --profile ]; then
  shift
  exec scripts/profile.sh "$@"
fi

# Standard output is for the figures alone.
require_packages build >&2
build_preset release vc_bench >&2
mkdir -p build/bench
exec build/release/bench/vc_bench --directory build/bench "$@"
