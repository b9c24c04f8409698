#!/usr/bin/env bash
# run.sh PROGRAM: ours (peerjs_peer) and the original PeerJS talk to each other. Ends with 77 when Node or its packages
# are not there.
set -euo pipefail
program=$(realpath "${1:?usage: run.sh PROGRAM}")
cd "$(dirname "${BASH_SOURCE[0]}")"
if ! command -v node >/dev/null || [ ! -d node_modules/@roamhq/wrtc ]; then
  echo "skipped: needs Node, and npm install in $PWD"
  exit 77
fi

logs=$(mktemp -d)
pids=()
# shellcheck disable=SC2317,SC2329  # called by the trap
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$logs"
}
trap finish EXIT

# background NAME COMMAND...: starts it, and waits for its first line.
background() {
  local name=$1
  shift
  mkfifo "$logs/$name"
  "$@" >"$logs/$name" 2>&1 &
  pids+=($!)
  exec {out}<"$logs/$name"
  read -r -t 30 -u "$out" first || { echo "$name does not start" >&2 && exit 1; }
}

for kind in original ours; do
  if [ "$kind" = original ]; then
    background "server-$kind" node server.mjs
  else
    background "server-$kind" "$program" server
  fi
  port=${first#port }
  background "echo-js-$kind" node echo.mjs "$port" "js-$kind"
  background "echo-ours-$kind" "$program" echo "$port" "ours-$kind"
  echo "over the server that is $kind: ours to the original"
  timeout 120 "$program" dial "$port" "dial-ours-$kind" "js-$kind"
  echo "over the server that is $kind: the original to ours"
  timeout 120 node dial.mjs "$port" "dial-js-$kind" "ours-$kind"
done
