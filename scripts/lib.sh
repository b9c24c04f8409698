# Shared by ./dev and the scripts beside this file; sourced from the repository's root.
# shellcheck shell=bash

# Colours only on a terminal that wants them.
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' cyan=$'\e[36m' reset=$'\e[0m'
else
  bold='' dim='' green='' red='' cyan='' reset=''
fi
export bold dim green red cyan reset

step() { printf '%s==>%s %s%s%s\n' "$cyan" "$reset" "$bold" "$*" "$reset"; }
die() {
  printf '%serror:%s %s\n' "$red" "$reset" "$*" >&2
  exit 1
}

# Package names of the sections given.
packages_of() {
  awk -v wanted=" $* " '/^\[/ { gsub(/[][]/, ""); section = $0; next }
    /^[^#[:space:]]/ && index(wanted, " " section " ") { print $1 }' scripts/packages.txt
}

missing_packages() {
  local name
  command -v dpkg-query >/dev/null || return 0  # not Debian: CMake names what it cannot find
  for name in $(packages_of "$@"); do
    dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null | grep -q '^installed$' || printf '%s\n' "$name"
  done
}

install_packages() {
  local missing as_root=()
  missing=$(missing_packages "$@")
  if [ -z "$missing" ]; then
    return 0
  fi
  command -v apt-get >/dev/null || die "these packages are missing, and this is not Debian: ${missing//$'\n'/ }"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "install these as root, then try again: apt-get install ${missing//$'\n'/ }"
    as_root=(sudo)
  fi
  step "Installing ${missing//$'\n'/ }"
  "${as_root[@]}" apt-get update -q
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -q --no-install-recommends $missing
}

require_packages() {
  [ -z "$(missing_packages "$@")" ] || install_packages "$@"
}

# npm_packages DIRECTORY: installs what its package-lock.json names, unless it is there. Debian's Node is installed only
# when there is none: other packages of Node bring npm along and refuse to stand beside Debian's.
npm_packages() {
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then install_packages node; fi
  [ "$1/package-lock.json" -nt "$1/node_modules/.package-lock.json" ] || return 0
  step "Installing the packages of $1"
  npm ci --prefix "$1" --silent
}

# build_preset PRESET [TARGET...]
build_preset() {
  local preset=$1 targets=() target
  shift
  for target in "$@"; do targets+=(--target "$target"); done
  if [ ! -f "build/$preset/build.ninja" ]; then
    step "Configuring ($preset)"
    cmake --preset "$preset" >"/tmp/vc-configure.$$" 2>&1 || {
      cat "/tmp/vc-configure.$$" >&2
      rm -f "/tmp/vc-configure.$$"
      die "configuring failed"
    }
    rm -f "/tmp/vc-configure.$$"
  fi
  step "Building ($preset)"
  cmake --build --preset "$preset" "${targets[@]}"
}

# Every C++ source of ours, NUL-separated.
sources() { git ls-files -z --cached --others --exclude-standard '*.cpp' '*.hpp'; }
