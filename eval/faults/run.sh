#!/usr/bin/env bash
# What clients notice when order replicas crash or hang: while five clients shop, replicas are
# killed (SIGKILL) or stopped (SIGSTOP), and brought back some seconds later, again and again. A round has
# five faults: the leader and a follower are killed, the leader and a follower are stopped, and all
# replicas but replica 1 are killed at once. Only then does replica 1 lead, as the highest id that
# responds is chosen; it is the leader that the next round begins with.
#
#   eval/faults/run.sh [FAULTS [DOWN_SECONDS [UP_SECONDS]]]    (30 faults, 3 s down, 4 s up again)
#   eval/faults/run.sh draw                                    (only the figure and the table)
#
# Leaves data/series.csv, latencies.csv, statuses.csv, orders.csv and report.json of the clients, data/faults.csv,
# data/databases.csv, data/machine.json, data/summary.md, and a figure in docs/figures.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

readonly CLIENTS=5 RATE=100 PROBABILITY=0.5 INTERVAL=100ms SEED=1
readonly QUIET_SECONDS=4 # before the first fault, and after the last one
readonly IN_STEP_SECONDS=30
readonly LEADER_SECONDS=10 # for the front-end to find one
usage='eval/faults/run.sh [FAULTS [DOWN_SECONDS [UP_SECONDS]]], or draw, or --help'

main() {
  take_arguments 3 "$@"
  local faults=${1:-30} down=${2:-3} up=${3:-4} fault leader status=0
  need_sqlite3
  need_curl
  build
  build_plots
  write_machine "$results/machine.json"
  open_cluster 's|^enabled = .*|enabled = true|'
  "$TOYSTORE_BIN" client -c "$CLIENTS" -d 1h --rate "$RATE" -p "$PROBABILITY" --seed "$SEED" \
    --interval "$INTERVAL" --out "$work/out" </dev/null >"$work/client.txt" 2>&1 &
  client=$!
  sleep "$QUIET_SECONDS"
  printf 'fault,kind,replica,leader,from_unix_s,to_unix_s,clients\n' >"$results/faults.csv"
  RANDOM=$SEED
  for ((fault = 1; fault <= faults; fault++)); do
    hurt_in_turn "$fault" "$down"
    sleep "$up"
  done
  sleep "$QUIET_SECONDS"
  # The first Ctrl-C ends the shopping; the orders are checked all the same.
  leader=$(leader)
  kill -INT "$client" 2>/dev/null || {
    cat -- "$work/client.txt" >&2
    fail 'the clients ended before their time'
  }
  hurt "$fault" killed "$leader" checking "$down" "$leader"
  wait "$client" || status=$?
  client=
  sed -n '/^orders:/p; /^final check/,$p' "$work/client.txt" >&2
  cp -- "$work"/out/*.{csv,json} "$results"
  rm -f -- "$results/histograms.csv"
  compare_databases >"$results/databases.csv"
  cat -- "$results/databases.csv" >&2
  present
  ((status == 0)) || broken "the clients' final check failed (exit status $status)"
  (($(databases <"$results/databases.csv") == 1)) || broken 'the databases differ'
  keep_results
}

present() { build_plots && draw; }

# The results of an experiment that found something wrong are no record; they are kept to be
# examined.
broken() { # HOW
  local kept
  kept=$(mktemp -d)
  close_cluster # lest a database change while it is copied
  cp -r -- "$results" "$work/client.txt" "$work/data" "$kept"
  fail "$1; see $kept"
}

# The next fault of a round. In every other round, replicas are stopped before they are killed, so
# that replica 1 is hurt in either way while it leads.
hurt_in_turn() { # FAULT DOWN_SECONDS
  local kind=killed replica leader round=$((($1 - 1) / 5)) place=$((($1 - 1) % 5))
  leader=$(leader)
  if ((place == 4)); then
    hurt "$1" killed "$leader" shopping "$2" 2 3
    return
  fi
  (((place / 2 + round) % 2 == 0)) || kind=stopped
  replica=$leader
  if ((place % 2 == 1)); then
    while [[ $replica == "$leader" ]]; do replica=$((RANDOM % 3 + 1)); done
  fi
  hurt "$1" "$kind" "$leader" shopping "$2" "$replica"
}

# Hurts replicas and brings them back; then there is a line more for each in faults.csv. (Not a job
# for a subshell, which would draw the same random numbers each time.)
hurt() { # FAULT killed|stopped LEADER shopping|checking DOWN_SECONDS REPLICA…
  local fault=$1 kind=$2 leader=$3 clients=$4 down=$5 from to replica leads pids=()
  shift 5
  for replica in "$@"; do pids+=("$(pid_of "order-$replica")"); done
  from=$EPOCHREALTIME
  if [[ $kind == killed ]]; then
    kill -KILL "${pids[@]}"
    sleep "$down"
    for replica in "$@"; do bring_back "order-$replica"; done
  else
    printf '%s\n' "${pids[@]}" >"$work/stopped"
    kill -STOP "${pids[@]}"
    sleep "$down"
    kill -CONT "${pids[@]}"
    rm -f -- "$work/stopped"
  fi
  to=$EPOCHREALTIME
  for replica in "$@"; do
    leads=no
    [[ $replica != "$leader" ]] || leads=yes
    printf '%s,%s,order-%s,%s,%s,%s,%s\n' \
      "$fault" "$kind" "$replica" "$leads" "$from" "$to" "$clients"
  done | tee -a -- "$results/faults.csv" >&2
}

bring_back() { # ROLE
  "$repo/run.sh" start "$1" </dev/null >"$work/start.log" 2>&1 || {
    cat -- "$work/start.log" >&2
    fail "$1 does not start again"
  }
}

# Prints the id of the replica that leads, as the front-end knows it. For moments there may be none.
leader() {
  local deadline=$((SECONDS + LEADER_SECONDS)) cluster
  while ((SECONDS < deadline)); do
    cluster=$(get_cluster 2>/dev/null) || cluster=
    if [[ $cluster =~ \"leader\":\ *([0-9]+) ]]; then
      printf '%s\n' "${BASH_REMATCH[1]}"
      return
    fi
    sleep 0.1
  done
  fail "no replica leads within $LEADER_SECONDS s; the front-end says: ${cluster:-nothing}"
}

# Whether all replicas, and the catalog's journal, end up with the same orders.
compare_databases() {
  local deadline=$((SECONDS + IN_STEP_SECONDS))
  while ((SECONDS < deadline && $(digests | databases) != 1)); do
    sleep 0.5
  done
  printf 'database,orders,sha256\n'
  digests
}

# How many different ones there are.
databases() {
  grep -v '^database,' | cut -d , -f 2,3 | sort -u | wc -l
}

digests() {
  local role
  for role in order-1 order-2 order-3; do digest "$role" orders; done
  digest catalog journal
}

digest() { # ROLE TABLE
  printf '%s,%s,%s\n' "$1" "$(query "$1" "SELECT count(*) FROM $2")" \
    "$(query "$1" "SELECT number, name, quantity FROM $2 ORDER BY number" | sha256sum | cut -d ' ' -f 1)"
}

query() { # ROLE SQL
  sqlite3 -readonly "$work/data/$1.db" "$2"
}

# A stopped process would not notice a SIGTERM.
wake() {
  [[ ! -e $work/stopped ]] || xargs kill -CONT <"$work/stopped" 2>/dev/null || true
}
before_the_end=wake

main "$@"
