#!/usr/bin/env bash
# ./dev crash: builds the release and plays crash rounds; tests/crash has the programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

require_packages build
build_preset release vc_crash
exec build/release/tests/crash/vc_crash "$@"
