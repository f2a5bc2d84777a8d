#!/usr/bin/env bash
# What clients notice when order replicas crash or hang: while five clients shop, a replica is
# killed (SIGKILL) or stopped in its tracks (SIGSTOP), and brought back some seconds later; again
# and again, the leader every other time, else one of the followers.
#
#   eval/faults/run.sh [FAULTS [DOWN_SECONDS [UP_SECONDS]]]    (24 faults, 3 s down, 4 s up again)
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
  local faults=${1:-24} down=${2:-3} up=${3:-4} fault leader status=0
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
  hurt "$fault" killed "$leader" yes checking "$down"
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

# The results of an experiment that found something wrong are no record, but somebody has to look
# into them.
broken() { # HOW
  local kept
  kept=$(mktemp -d)
  close_cluster # lest a database change while it is copied
  cp -r -- "$results" "$work/client.txt" "$work/data" "$kept"
  fail "$1; see $kept"
}

# Two of one kind, one at the leader and one at a follower; then two of the other.
hurt_in_turn() { # FAULT DOWN_SECONDS
  local kind replica leader leads=yes
  leader=$(leader)
  replica=$leader
  if (($1 % 2 == 0)); then
    while [[ $replica == "$leader" ]]; do replica=$((RANDOM % 3 + 1)); done
  fi
  if ((($1 - 1) / 2 % 2 == 0)); then kind=killed; else kind=stopped; fi
  [[ $replica == "$leader" ]] || leads=no
  hurt "$1" "$kind" "$replica" "$leads" shopping "$2"
}

# Hurts a replica and brings it back; then there is a line more in faults.csv. (Not a job for a
# subshell, which would draw the same random numbers each time.)
hurt() { # FAULT killed|stopped REPLICA LEADS shopping|checking DOWN_SECONDS
  local from process
  process=$(pid_of "order-$3")
  from=$EPOCHREALTIME
  if [[ $2 == killed ]]; then
    kill -KILL "$process"
    sleep "$6"
    "$repo/run.sh" start "order-$3" </dev/null >"$work/start.log" 2>&1 || {
      cat -- "$work/start.log" >&2
      fail "order-$3 does not start again"
    }
  else
    printf '%s' "$process" >"$work/stopped"
    kill -STOP "$process"
    sleep "$6"
    kill -CONT "$process"
    rm -f -- "$work/stopped"
  fi
  printf '%s,%s,order-%s,%s,%s,%s,%s\n' "$1" "$2" "$3" "$4" "$from" "$EPOCHREALTIME" "$5" |
    tee -a -- "$results/faults.csv" >&2
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

# A stopped process would not hear that it shall end.
wake() {
  [[ ! -e $work/stopped ]] || kill -CONT "$(<"$work/stopped")" 2>/dev/null || true
}
before_the_end=wake

main "$@"
