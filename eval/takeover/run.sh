#!/usr/bin/env bash
# How long nothing is sold when the catalog that rules fails: two catalogs on PostgreSQL with two
# standbys, every role and server on a host of its own (a network namespace, as in eval/hosts). In
# each round the catalog that rules is killed, stopped (SIGSTOP) and cut off: from all others, from
# the database's servers, from the front-ends; one after the other, while four clients shop. Needs
# root.
#
#   eval/takeover/run.sh [ROUNDS]     (20)
#   eval/takeover/run.sh draw         (only the table)
#
# Leaves data/faults.jsonl, rulers.jsonl, history.jsonl.gz, the databases, machine.json and
# summary.md, and prints that: the time to the next ruler and to the next purchase.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"
# shellcheck source=eval/hosts/network.sh
source "$repo/eval/hosts/network.sh"
# shellcheck source=eval/hosts/store.sh
source "$repo/eval/hosts/store.sh"
# shellcheck source=eval/hosts/postgres.sh
source "$repo/eval/hosts/postgres.sh"

readonly QUIET_SECONDS=1 # before each fault, with everything in step
readonly OUT_SECONDS=2   # after another catalog rules
usage='eval/takeover/run.sh [ROUNDS], or draw, or --help'
watcher=

main() {
  take_arguments 1 "$@"
  local rounds=${1:-20} round kind catalog catalogs_watched=()
  ((EUID == 0)) || fail 'network namespaces need root; try it with sudo'
  need ip 'sudo apt-get install -y iproute2'
  need python3 'sudo apt-get install -y python3'
  need_sqlite3
  need_curl
  find_postgres
  build
  write_machine "$results/machine.json"
  before_the_end=remove_network
  open_store
  for catalog in "${catalogs[@]}"; do
    catalogs_watched+=("$catalog=$(address_of "$catalog"):$PORT")
  done
  ip netns exec "$prefix-clients" python3 "$repo/eval/takeover/takeover.py" watch \
    "$results/rulers.jsonl" "${catalogs_watched[@]}" </dev/null >"$work/watch.log" 2>&1 &
  watcher=$!
  start_shopping
  sleep "$QUIET_SECONDS"
  for ((round = 1; round <= rounds; round++)); do
    for kind in killed stopped cut no-database no-front-ends; do fail_ruler "$round" "$kind"; done
  done
  end_shopping
  kill -TERM "$watcher"
  wait "$watcher" || broken "the watcher failed: $(cat -- "$work/watch.log")"
  copy_databases "$results"
  present
  keep_results
}

# A line in faults.jsonl says when the catalog was gone, and when it was back.
fail_ruler() { # ROUND KIND
  local ruler from at to targets
  await_health
  sleep "$QUIET_SECONDS"
  ruler=$(active_catalog)
  case $2 in
    killed | stopped) mapfile -t targets < <(ip netns pids "$prefix-$ruler") ;;
    cut) targets=("$prefix-switch" "port${place_of[$ruler]}") ;;
    no-database) mapfile -t targets < <(places "$ruler" "${databases[@]}") ;;
    no-front-ends) mapfile -t targets < <(places "$ruler" "${frontends[@]}") ;;
  esac
  from=$(uptime_seconds)
  at=$(python3 "$repo/eval/takeover/takeover.py" strike "$2" "${targets[@]}")
  active_catalog "$ruler" >/dev/null
  sleep "$OUT_SECONDS"
  case $2 in
    killed)
      kill_all_on "$ruler"
      start_role "$ruler"
      ;;
    stopped) kill -CONT "${targets[@]}" ;;
    cut) plug "$ruler" ;;
    *) reach_again "${targets[@]}" ;;
  esac
  await_role "$ruler"
  to=$(uptime_seconds)
  printf '{"name":"%s","round":%s,"hosts":"%s","from":%s,"at":%s,"to":%s,"frontends":[],"unavailable":false}\n' \
    "$2" "$1" "$ruler" "$from" "$at" "$to" | tee -a -- "$results/faults.jsonl" >&2
  kill -0 "$shopper" 2>/dev/null || broken 'the clients ended before their time'
  kill -0 "$watcher" 2>/dev/null || broken "the watcher ended: $(cat -- "$work/watch.log")"
}

places() { # HOST…
  local host
  for host in "$@"; do printf '%s=%s\n' "$prefix-$host" "$(address_of "$host")"; done
}

# Ends what `strike` did to the first host and the others.
reach_again() { # NAMESPACE=ADDRESS NAMESPACE=ADDRESS…
  local other
  for other in "${@:2}"; do
    ip -n "${1%=*}" neighbour delete "${other#*=}" dev net
    ip -n "${other%=*}" neighbour delete "${1#*=}" dev net
  done
}

# Both catalogs are ready, and all replicas in step.
await_health() {
  local deadline=$((SECONDS + READY_SECONDS)) cluster
  while true; do
    cluster=$(get_cluster 2>/dev/null) || cluster=
    if [[ $cluster == *'"state":"active"'* && $cluster == *'"state":"standby"'* &&
      $cluster != *'"state":"down"'* && $cluster != *'"state":"syncing"'* ]]; then
      return
    fi
    ((SECONDS < deadline)) || broken "the store does not come to rest: $cluster"
    sleep 0.1
  done
}

present() {
  local status=0
  [[ ! -e $results/history.jsonl.gz ]] || gzip -d -- "$results/history.jsonl.gz"
  python3 "$repo/eval/takeover/takeover.py" table "$results" "$AMPLE_STOCK" \
    >"$results/summary.md" || status=$?
  cat -- "$results/summary.md"
  ((status == 0)) || broken 'something is wrong'
  gzip -n -- "$results/history.jsonl"
}

# What is in the documents is not of this experiment.
update_documents() { true; }

main "$@"
