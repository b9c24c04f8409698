#!/usr/bin/env bash
# Static checks: ./dev check. Prints every finding, then fails if there was one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

findings=$(mktemp)  # a file, for most findings are made at the end of a pipe, in a process of its own
trap 'rm -f "$findings"' EXIT
finding() { printf '%s  %s%s\n' "$red" "$*" "$reset" | tee -a "$findings"; }
# report TEXT: every line of standard input is a finding.
report() {
  local line
  while IFS= read -r line; do finding "$1: $line"; done
}

step "Format"
sources | xargs -0 clang-format-19 --dry-run -Werror >/dev/null 2>&1 || finding "not formatted; run ./dev fmt"

step "Layers and purity"
# Links upward or sideways are refused when CMake configures; what it cannot see is an include without a link.
cmake --preset release >/dev/null || finding "the build does not configure (layers?)"
pure=$(grep -lE 'vc_library\(.*\bPURE\b' libs/*/CMakeLists.txt | xargs -n1 dirname)
effects='#include *[<"](boost/|asio|sys/|unistd\.h|fcntl\.h|netinet|arpa/|thread>|mutex>|condition_variable>|fstream>|iostream>|cstdio>|curl/|sqlite3)'
for library in $pure; do
  grep -nE "$effects" -r "$library/include" "$library/src" | report "I/O in a pure library" || true
  grep -nE 'system_clock::now|steady_clock::now|std::random_device|getenv\(' -r "$library/include" "$library/src" |
    report "an effect outside the ports" || true
done
heavy='#include *[<"](boost/|asio|openssl/|sodium|sqlite3|simdjson|curl/|usrsctp|nice/|glib)'
grep -nE "$heavy" -r libs/*/include | report "third-party header in an interface of ours" || true
grep -nE '#include *"(base|net|protocol|identity|store|webrtc|policy|agent|control|cli)/' -r libs/agent/include/vaultysclaw |
  report "internal header in the public API" || true
grep -nE 'co_await .*\[[^]]*= *std::move' -r libs apps --include='*.cpp' --include='*.hpp' |
  report "move-capturing lambda inside co_await (g++ 12 frees it twice)" || true

step "Sizes"
git ls-files -z --cached --others --exclude-standard '*.cpp' '*.hpp' '*.sh' '*.cmake' dev |
  xargs -0 wc -l | awk '$2 != "total" && $1 > 800 { print $2 " has " $1 " lines" }' | report "split it" || true

step "Words"
git ls-files -z --cached --others --exclude-standard '*.cpp' '*.hpp' '*.sh' '*.cmake' dev |
  xargs -0 grep -nE '\b(TODO|FIXME|XXX)\b' | grep -v '^scripts/check.sh' | report "unfinished" || true

step "Protocol model"
scripts/model.sh --quiet || finding "the protocol model"

step "Shell scripts"
shellcheck -x dev scripts/*.sh .ci/run || finding "shellcheck"

step "Tests named in documents"
grep -oE "[\`][A-Z][A-Za-z0-9]*\.[A-Z][A-Za-z0-9]*[\`]" docs/security.md | tr -d "\`" | sort -u | while IFS=. read -r suite name; do
  git grep -qE "^TEST(_F|_P)?\($suite, $name\)" -- '*_test.cpp' || printf '%s.%s\n' "$suite" "$name"
done | report "docs/security.md names a test that does not exist" || true

step "Links"
for file in *.md docs/*.md; do
  grep -oE '\]\([^)# ]+' "$file" | sed 's/^](//' | { grep -v '^https\?:' || true; } | while IFS= read -r link; do
    [ -e "$(dirname "$file")/$link" ] || printf '%s -> %s\n' "$file" "$link"
  done
done | report "dead link" || true

if [ -s "$findings" ]; then
  die "$(wc -l <"$findings") finding(s)"
fi
step "${green}Nothing found${reset}"
