#!/usr/bin/env bash
# ./dev bench --profile: records the control plane and the herd under load with perf, and draws where their CPU goes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

svg=${1:-docs/pictures/profile-intent.svg}
seconds=10     # of recording
frequency=499  # samples a second of CPU time; no divisor of the timers' frequencies

require_packages build profile
build_preset release vc_bench
mkdir -p build/bench "$(dirname "$svg")"
work=$(mktemp -d build/bench/profile.XXXXXX)
bench=
finish() {
  if [ -n "$bench" ]; then
    kill -INT "$bench" 2>/dev/null || true
    wait "$bench" || true
  fi
  rm -rf "$work"
}
trap finish EXIT

# Without the kernel's part the picture would lie: half of the time is spent there.
perf record -q -e cpu-clock:k -o "$work/probe" -- true 2>"$work/probe.err" ||
  die "perf may not look into the kernel here; as root, or after 'sysctl kernel.perf_event_paranoid=1': $(tail -n1 "$work/probe.err")"

step "Load"
build/release/bench/vc_bench --quick --only herd --seconds $((seconds + 3)) --directory build/bench \
  >"$work/table" 2>"$work/progress" &
bench=$!
for ((tries = 0; ; ++tries)); do
  grep -q "in flight" "$work/progress" && break
  kill -0 "$bench" 2>/dev/null || die "the load ended early: $(tail -n1 "$work/progress")"
  [ "$tries" -lt 600 ] || die "the load did not start within a minute"
  sleep 0.1
done
sleep 2
child() {  # child PROGRAM: the process of it that the bench has started
  local pid
  for pid in $(pgrep -P "$bench"); do
    if [ "$(basename "$(readlink "/proc/$pid/exe")")" = "$1" ]; then
      printf '%s\n' "$pid"
      return 0
    fi
  done
  die "the bench runs no $1"
}
control_plane=$(child vaultysclaw)
herd=$(child vc_bench_herd)

step "Recording $seconds s"
# The libraries of Debian have no frame pointers: stacks are copied and unwound afterwards.
perf record -q -e cpu-clock -F "$frequency" --call-graph dwarf,8192 -p "$control_plane,$herd" -o "$work/perf.data" \
  -- sleep "$seconds" 2>"$work/perf.err" || die "perf: $(tail -n1 "$work/perf.err")"
wait "$bench" || die "the load failed: $(tail -n1 "$work/progress")"
bench=

figure() {  # figure TITLE: its measured value in the bench's table
  sed -nE "s/^ *$1 +([0-9.]+).*/\1/p" "$work/table"
}
rate=$(figure 'intents per second, 64 in flight')
machine=$(sed -nE 's/^ *(.*), quick, .*/\1/p' "$work/table")
if [ -z "$rate" ] || [ -z "$machine" ]; then
  die "the bench's table has changed: $(cat "$work/table")"
fi

step "Drawing $svg"
perf script -i "$work/perf.data" --no-inline -F comm,pid,tid,event,ip,sym,dso 2>/dev/null |
  /usr/bin/python3 bench/profile.py --svg "$svg" \
    --process "Control plane" "$control_plane" "$(figure 'control plane CPU per intent')" \
    --process "Agents" "$herd" "$(figure 'agent CPU per intent')" \
    --about "50 agents, 64 intents in flight, $rate intents/s, everything sealed and durable; $machine"
