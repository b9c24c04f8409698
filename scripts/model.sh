#!/usr/bin/env bash
# Checks the SPIN models in model/: ./dev model. The cases are in model/cases.txt; everything made goes to build/model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

out=build/model

# The cases, one a line, without spaces around the bars; a case's number is its line here.
cases() { grep -E '^(holds|breaks|spare) ' model/cases.txt | sed 's/ *| */|/g'; }

# Statements of the model that no run reached, without ends of endless loops and lines marked `never`.
unreached() {  # unreached MODEL LOG
  local line statement
  sed -n 's/^\t.*\.pml:\([0-9]*\), state [0-9]*, \(.*\)/\1 \2/p' "$2" | while read -r line statement; do
    case "$statement" in *-end-*) continue ;; esac
    sed -n "${line}p" "model/$1.pml" | grep -qw never || printf 'line %s is not reached: %s\n' "$line" "$statement"
  done
}

# Builds and runs one verifier. Leaves its line of the table in `line`, and in `wrong` what is not as it should be.
run_case() {  # run_case NUMBER
  local kind model options property text ltl='' flags compile=(-w -O1) states fault dir=$out/$1
  IFS='|' read -r kind model options property text < <(cases | sed -n "${1}p")
  mkdir -p "$dir"
  read -ra flags <<<"$options"
  case "$property" in ltl\ *) ltl=${property#ltl } ;; esac
  # An attack is found soon, so compiling is what takes time; it is found soonest from this end.
  [ "$kind" != breaks ] || compile=(-w -O0 -DREVERSE -DT_REVERSE)

  # A process that waits for ever (-E) is no error: that is how a lost connection looks.
  (
    cd "$dir"
    spin -a "${flags[@]/#/-D}" "../../../model/$model.pml" >spin.log 2>&1
    compile+=(-DCOLLAPSE -DMEMLIM=1800 -o pan pan.c)
    if [ -n "$ltl" ]; then
      gcc -DNFAIR=3 "${compile[@]}" >>spin.log 2>&1
      ./pan -a -f -N "$ltl" -m100000 -w22 >pan.log 2>&1
    else
      gcc -DSAFETY "${compile[@]}" >>spin.log 2>&1
      ./pan -E -m100000 -w22 >pan.log 2>&1
    fi
  ) || printf 'the verifier failed\n' >>"$dir/wrong"

  states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$dir/pan.log" | head -1)
  states=$(printf '%.0f' "${states:-0}" | sed ':a; s/^\([0-9]*\)\([0-9]\{3\}\)/\1,\2/; ta; s/^,//')
  fault=$(sed -n 's/^pan:1: assertion violated \([a-z_0-9]*\).*/\1/p; s/^pan:1: acceptance cycle.*/ltl '"$ltl"'/p' "$dir/pan.log")
  if [ "$kind" = breaks ]; then
    [[ " ${property// or / | } " == *" ${fault:-nothing} "* ]] ||
      printf 'SPIN finds a violation of %s, not of %s\n' "${fault:-nothing}" "$property" >>"$dir/wrong"
    printf '  %-20s %-10s %s\n' "${fault:-nothing}" "$model" "$text" >"$dir/line"
    return 0
  fi
  grep -q 'errors: 0$' "$dir/pan.log" || printf 'SPIN finds a violation of %s\n' "${fault:-something}" >>"$dir/wrong"
  if grep -qE 'max search depth|Search not completed|out of memory|reached -DMEMLIM' "$dir/pan.log"; then
    printf 'the search is not complete\n' >>"$dir/wrong"
  fi
  [ "$kind" != holds ] || [ -n "$ltl" ] || unreached "$model" "$dir/pan.log" >>"$dir/wrong"
  printf '  %12s  %-10s %-48s %s\n' "$states" "$model" "$options" "$text" >"$dir/line"
}

quiet='' filter=.
while [ $# -gt 0 ]; do
  case "$1" in
    --case) run_case "$2" && exit ;;  # for the processes below
    --quiet) quiet=yes && shift ;;
    -*) die "unknown option $1; see ./dev model --help" ;;
    *) filter=$1 && shift ;;
  esac
done

rm -rf "${out:?}"
mkdir -p "$out"
sed -nE 's/^#(ifdef|ifndef|elif defined\() ?([A-Z_0-9]+).*/\2/p' model/*.pml | sort -u | while read -r switch; do
  cases | cut -d'|' -f3 | grep -w "$switch" >/dev/null || die "no case in model/cases.txt uses the switch $switch"
done
numbers=$(cases | grep -nE -- "$filter" | cut -d: -f1) || die "no case in model/cases.txt matches $filter"
xargs -P "$(nproc)" -n 1 scripts/model.sh --case <<<"$numbers"

table() {  # table KIND TITLE HEADINGS
  local number shown=''
  for number in $(cases | grep -nE "^$1\|" | cut -d: -f1); do
    [ -f "$out/$number/line" ] || continue
    [ -z "$quiet" ] || [ -s "$out/$number/wrong" ] || continue
    [ -n "$shown" ] || { step "$2" && printf '%s%s%s\n' "$dim" "$3" "$reset"; }
    shown=yes
    cat "$out/$number/line"
    [ ! -s "$out/$number/wrong" ] || sed "s|.*|$red    $out/$number: &$reset|" "$out/$number/wrong"
  done
}
table holds "Every state visited, every statement reached, no property fails" \
  "$(printf '  %12s  %-10s %-48s %s' states model options 'what holds')"
table breaks "One rule removed: SPIN finds what breaks" \
  "$(printf '  %-20s %-10s %s' violated model 'the rule (section of docs/protocol.md)')"
table spare "One rule removed: another one still holds" \
  "$(printf '  %12s  %-10s %-48s %s' states model options 'the rule (section), and the other')"

wrong=$(find "$out" -name wrong -size +0 | wc -l)
[ "$wrong" -eq 0 ] ||
  die "$wrong cases of the model are not as they should be; to see a run: cd $out/NUMBER && ./pan -r NAME.pml.trail"
step "${green}$(wc -l <<<"$numbers") cases of the model are as they should be (${SECONDS} s)${reset}"
