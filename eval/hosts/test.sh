#!/usr/bin/env bash
# Tests the store on hosts of its own (run.sh, one round of each kind of fault): on SQLite, on
# PostgreSQL, and on PostgreSQL with Patroni; and a round of eval/takeover. Also that the judge finds what is wrong, and that a run
# that is interrupted leaves nothing behind. Takes about four minutes. Needs root, or a sudo that asks
# for no password, and iproute2, python3, sqlite3 and curl; postgresql, etcd-server and python3-venv.
#
#   eval/hosts/test.sh [TEST…]
#
# What a missing tool leaves out, it says; with CI set that is a failure. The last line is the sum:
# `N passed, N failed`.

set -euo pipefail
unset CDPATH

here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
repo=$(readlink -f -- "$here/../..")
# shellcheck source=toolchain.sh
source "$repo/toolchain.sh"
# shellcheck source=tests/support/suite.sh
source "$repo/tests/support/suite.sh"
target=${CARGO_TARGET_DIR:-$repo/target}
work=$(cd -- "$(mktemp -d)" && pwd -P)
as_root=()
wanted=() # the tests, if not all
readonly TOOLS=(ip:iproute2 python3:python3 sqlite3:sqlite3 curl:curl)
readonly OPEN_SECONDS=90 # for a run to have its hosts, and to remove them
readonly OUT_SECONDS=3 UP_SECONDS=1 # of each fault

main() { # [TEST…]
  wanted=("$@")
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  check the_judge_finds_what_is_wrong
  if get_ready >"$work/set-up.log" 2>&1; then
    check an_interrupted_run_leaves_nothing_behind_and_disturbs_no_other
    check clients_see_no_error_and_no_stale_read_while_hosts_die_and_come_back
    if get_postgres >"$work/set-up.log" 2>&1; then
      check no_order_is_lost_while_catalogs_and_servers_of_postgresql_die_and_come_back
      check no_order_is_lost_when_patroni_replaces_a_server_that_was_killed
      check another_catalog_rules_when_one_is_killed_stopped_or_cut_off
    else
      leave_out 'hosts with PostgreSQL' "$(tail -n 1 -- "$work/set-up.log")"
    fi
  else
    leave_out 'hosts in network namespaces' "$(tail -n 1 -- "$work/set-up.log")"
  fi
  sum_up
}

# --- the tests ------------------------------------------------------------------------------------

the_judge_finds_what_is_wrong() { python3 "$here/judge_test.py"; }

# The first run is still there when the second has been interrupted, and is interrupted then.
an_interrupted_run_leaves_nothing_behind_and_disturbs_no_other() {
  local first second faults
  begin first
  begin second
  first=$(hosts_of first)
  second=$(hosts_of second)
  [[ $first != "$second" ]]
  interrupt second
  [[ -z $(names "$second") ]]
  [[ $(names "$first" | wc -l) == 8 ]]
  # A fault ends when its host is reached again, and clients shop meanwhile.
  faults=$(faults_in first)
  await_fault first "$((faults + 1))"
  interrupt first
  [[ -z $(names "$first") ]]
}

clients_see_no_error_and_no_stale_read_while_hosts_die_and_come_back() {
  run_hosts "$work/data" sqlite 1 "$OUT_SECONDS" "$UP_SECONDS"
  grep -q '^| leader loses power | 1 |' "$work/data/hosts/sqlite/summary.md"
}

no_order_is_lost_while_catalogs_and_servers_of_postgresql_die_and_come_back() {
  run_hosts "$work/data" postgres 1 "$OUT_SECONDS" "$UP_SECONDS"
  grep -q '^| primary crashes, a standby is promoted | 1 |' "$work/data/hosts/postgres/summary.md"
}

no_order_is_lost_when_patroni_replaces_a_server_that_was_killed() {
  run_hosts "$work/data" patroni 1 "$OUT_SECONDS" "$UP_SECONDS"
  grep -q "^| the primary's server is killed | 1 |" "$work/data/hosts/patroni/summary.md"
}

another_catalog_rules_when_one_is_killed_stopped_or_cut_off() {
  "${as_root[@]}" env TOYSTORE_BIN="${TOYSTORE_BIN:-$target/debug/toystore}" \
    EVAL_RESULTS="$work/data" "$repo/eval/takeover/run.sh" 1
  grep -q '^| cut off from all | 1 |' "$work/data/takeover/summary.md"
  grep -q '^| cut off from the front-ends | 1 |' "$work/data/takeover/summary.md"
}

# --- how they are written -------------------------------------------------------------------------

# Runs a test, if it is wanted.
check() { # TEST
  ((${#wanted[@]} == 0)) || [[ " ${wanted[*]} " == *" $1 "* ]] || return 0
  run "$1"
  interrupt_all
}

clean_up() {
  interrupt_all
  rm -rf -- "$work"
}

# What a test that failed, or was interrupted, has left.
interrupt_all() {
  local file
  for file in "$work"/*.group; do
    [[ ! -e $file ]] || interrupt "$(basename -- "$file" .group)" >/dev/null 2>&1 || true
  done
}

# The last line says what is missing.
get_ready() {
  local tool
  if ((EUID != 0)); then
    sudo -n true || { echo 'network namespaces need root; try it with sudo' && return 1; }
    as_root=(sudo -n)
  fi
  for tool in "${TOOLS[@]}"; do
    command -v "${tool%%:*}" || install_packages "${tool##*:}" || {
      echo "${tool%%:*} is missing; get it with: sudo apt-get install -y ${tool##*:}"
      return 1
    }
  done
  "${as_root[@]}" ip netns add "toystore-test-$$" ||
    { echo 'network namespaces cannot be made here' && return 1; }
  "${as_root[@]}" ip netns delete "toystore-test-$$"
  [[ -n ${TOYSTORE_BIN:-} ]] || (cd -- "$repo" && cargo build --quiet --features failpoints --locked)
}

# The same for the tests with PostgreSQL.
get_postgres() {
  local missing=()
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  command -v etcd >/dev/null || missing+=(etcd-server)
  /usr/bin/python3 -c 'import ensurepip' || missing+=(python3-venv)
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}" || {
    echo "${missing[*]} is missing; get it with: sudo apt-get install -y ${missing[*]}"
    return 1
  }
}

run_hosts() { # RESULTS [ARGUMENT]…
  "${as_root[@]}" env TOYSTORE_BIN="${TOYSTORE_BIN:-$target/debug/toystore}" EVAL_RESULTS="$1" \
    "$here/run.sh" "${@:2}"
}

# Starts a run in a process group of its own, and waits until clients shop.
begin() { # NAME
  set -m
  run_hosts "$work/$1" sqlite >"$work/$1.log" 2>&1 &
  set +m
  echo $! >"$work/$1.group"
  await_fault "$1" 1
}

await_fault() { # NAME NUMBER
  local deadline=$((SECONDS + OPEN_SECONDS))
  while (($(faults_in "$1") < $2)); do
    if ((SECONDS >= deadline)) || ! "${as_root[@]}" kill -0 "$(<"$work/$1.group")"; then
      cat -- "$work/$1.log"
      return 1
    fi
    sleep 0.1
  done
}

faults_in() { sed -n "/^{\"name\"/p" "$work/$1.log" 2>/dev/null | wc -l; } # NAME

# Does to a run what Ctrl-C does, and waits for its end.
interrupt() { # NAME
  local group deadline=$((SECONDS + OPEN_SECONDS))
  group=$(<"$work/$1.group")
  rm -- "$work/$1.group"
  "${as_root[@]}" kill -INT -- "-$group"
  while "${as_root[@]}" kill -0 -- "-$group" 2>/dev/null; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
  cat -- "$work/$1.log"
}

hosts_of() { sed -n 's/^hosts: the hosts are the namespaces \(.*\)-\*$/\1/p' "$work/$1.log"; } # NAME

names() { "${as_root[@]}" ip netns list | grep -o "^$1-[^ ]*" || true; } # PREFIX

main "$@"
