#!/usr/bin/env bash
# ./dev demo: a control plane and an agent as two processes on loopback, and everything that happens between them.
# shellcheck disable=SC2317  # functions are called through wait_for and trap
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

once=no
case "${1:-}" in
  --once) once=yes ;;
  "") ;;
  *) die "unknown option $1; see ./dev demo --help" ;;
esac

vaultysclaw=$PWD/build/release/apps/vaultysclaw/vaultysclaw
echo_agent=$PWD/build/release/examples/echo/echo_agent
data=$PWD/.demo
rm -rf "$data"
mkdir -m 700 "$data"

pids=()
finish() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap finish EXIT
trap 'exit 130' INT TERM

# wait_for SECONDS WHAT COMMAND...: tries until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || {
      tail -n 20 "$data"/*.log >&2 || true
      die "waited in vain for $what; the logs are in $data"
    }
    sleep 0.1
  done
}
port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
show() { printf '%s$ vaultysclaw %s%s\n' "$dim" "$*" "$reset"; }
say() { printf '  %s\n' "$*"; }

step "Starting the control plane (SQLite, loopback)"
http=3000 ws=8080
if ! port_is_free $http || ! port_is_free $ws; then
  say "ports 3000 and 8080 are taken here; using free ones"
  http=0 ws=0
fi
"$vaultysclaw" control-plane --data "$data/control-plane" --http-port $http --ws-port $ws \
  --ready-file "$data/ready.json" >"$data/control-plane.log" 2>&1 &
pids+=($!)
wait_for 30 "the control plane" test -s "$data/ready.json"
ready_value() { sed -nE "s/.*\"$1\": *\"?([^\",}]*)\"?.*/\1/p" "$data/ready.json"; }
http=$(ready_value httpPort) ws=$(ready_value wsPort)
export VAULTYSCLAW_URL=http://127.0.0.1:$http VAULTYSCLAW_TOKEN_FILE=$data/control-plane/api.token
say "$(ready_value did)"
say "REST on $VAULTYSCLAW_URL, agents on ws://127.0.0.1:$ws"

step "Starting the echo agent, a process of its own"
CONTROL_PLANE_URL=$VAULTYSCLAW_URL CONTROL_PLANE_WS_URL=ws://127.0.0.1:$ws VAULTYS_ID_PATH=$data/echo.id \
  "$echo_agent" >"$data/echo.log" 2>&1 &
pids+=($!)
pending() { "$vaultysclaw" registrations list --status pending --json | grep -q '"did"'; }
wait_for 30 "the agent's registration" pending
show registrations list
"$vaultysclaw" registrations list

step "Approving it"
show registrations approve echo-agent
"$vaultysclaw" registrations approve echo-agent
connected() { "$vaultysclaw" agents --json | grep -q '"status": *"connected"'; }
wait_for 30 "the agent's connection" connected
show agents
"$vaultysclaw" agents

step "One signed intent"
show run echo-agent text_generation "'{\"prompt\": \"hello\"}'"
"$vaultysclaw" run echo-agent text_generation '{"prompt": "hello"}'

step "One streamed chat"
show chat echo-agent '"Hello from the demo"'
"$vaultysclaw" chat echo-agent "Hello from the demo"

step "What the agent saw"
sed 's/^/  /' "$data/echo.log"

if [ "$once" = yes ]; then
  step "${green}Done${reset}"
  exit 0
fi

step "Running. Try, in another terminal:"
cat <<EOF
  export VAULTYSCLAW_URL=$VAULTYSCLAW_URL VAULTYSCLAW_TOKEN_FILE=$VAULTYSCLAW_TOKEN_FILE PATH="$(dirname "$vaultysclaw"):\$PATH"
  vaultysclaw chat echo-agent                 # a conversation in the terminal
  vaultysclaw run echo-agent text_generation '{"any": ["json"]}'
  vaultysclaw run echo-agent mail_send        # not granted: refused by the agent
  vaultysclaw intents                         # what was asked, with its signature verified again
  vaultysclaw audit
  curl -s $VAULTYSCLAW_URL/health
  curl -s -H "Authorization: Bearer \$(cat "\$VAULTYSCLAW_TOKEN_FILE")" $VAULTYSCLAW_URL/api/agents
Logs: $data/*.log. Press Ctrl-C to end.
EOF
wait -n "${pids[@]}" || true
die "a process ended by itself; see $data/*.log"
