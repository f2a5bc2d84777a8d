#!/usr/bin/env bash
# What clients notice when hosts die, are cut off and come back. Every role is on a host of its own: a
# network namespace with an address of its own (network.sh). Four clients shop through two
# front-ends meanwhile (shop.py), and judge.py compares what they were told with each other and with
# all databases. Needs root.
#
#   eval/hosts/run.sh [SHAPE [ROUNDS [OUT_SECONDS [UP_SECONDS]]]]     (3 rounds, 3 s out, 3 s up)
#   eval/hosts/run.sh [SHAPE] draw                                    (only the table)
#
# SHAPE is sqlite (one catalog), postgres (two catalogs, and three servers of PostgreSQL, which a
# script manages) or patroni (the same, managed by Patroni and etcd). The roles call each other by TLS,
# each host with a certificate of its own. With patroni, a round has one fault, and a second one, which
# takes half a minute, if there are several rounds.
#
# Leaves data/SHAPE/faults.jsonl, history.jsonl.gz, the databases, machine.json and summary.md.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=eval/hosts/network.sh
source "$here/network.sh"
# shellcheck source=eval/hosts/store.sh
source "$here/store.sh"

readonly QUIET_SECONDS=2 # before the first fault
usage='eval/hosts/run.sh [sqlite|postgres|patroni [ROUNDS [OUT_SECONDS [UP_SECONDS]]]], or draw, or --help'
shape=sqlite

main() {
  case ${1-} in
    sqlite | postgres | patroni) shape=$1 && shift ;;
  esac
  record=$record/$shape
  take_arguments 3 "$@"
  local rounds=${1:-3} out=${2:-3} up=${3:-3} round
  choose_shape
  need_all
  build
  write_machine "$results/machine.json"
  before_the_end=remove_network
  open_store
  say "hosts: the hosts are the namespaces $prefix-*"
  start_shopping
  sleep "$QUIET_SECONDS"
  for ((round = 1; round <= rounds; round++)); do go_wrong "$out" "$up"; done
  end_shopping
  copy_databases "$results"
  present
  keep_results
}

choose_shape() {
  # shellcheck disable=SC2034 # for store.sh
  tls=true
  [[ $shape != sqlite ]] || return 0
  # shellcheck source=eval/hosts/postgres.sh
  source "$here/postgres.sh"
  # shellcheck source=eval/hosts/patroni.sh
  [[ $shape != patroni ]] || source "$here/patroni.sh"
}

need_all() {
  ((EUID == 0)) || fail 'network namespaces need root; try it with sudo'
  need ip 'sudo apt-get install -y iproute2'
  need python3 'sudo apt-get install -y python3'
  need_sqlite3
  need_curl
  [[ $shape == sqlite ]] || find_postgres
  [[ $shape != patroni ]] || find_patroni
}

# A line in faults.jsonl says when, and at which front-ends or by which answer attempts may fail.
hurt() { # OUT_SECONDS UP_SECONDS sells|stands NAME KIND HOST…
  local from to unavailable=false host out=
  [[ $3 == sells ]] || unavailable=true
  for host in "${@:6}"; do
    [[ $host != frontend* ]] || out+=${out:+,}\"$(address_of "$host"):$PORT\"
  done
  from=$(uptime_seconds)
  take_out "${@:5}"
  sleep "$1"
  meanwhile "${@:6}"
  bring_back "${@:5}"
  to=$(uptime_seconds)
  printf '{"name":"%s","hosts":"%s","from":%s,"to":%s,"frontends":[%s],"unavailable":%s}\n' \
    "$4" "${*:6}" "$from" "$to" "$out" "$unavailable" | tee -a -- "$results/faults.jsonl" >&2
  kill -0 "$shopper" 2>/dev/null || broken 'the clients ended before their time'
  sleep "$2"
}

present() {
  local status=0
  [[ ! -e $results/history.jsonl.gz ]] || gzip -d -- "$results/history.jsonl.gz"
  summarize >"$results/summary.md" || status=$?
  cat -- "$results/summary.md"
  ((status == 0)) || broken 'something is wrong'
  gzip -n -- "$results/history.jsonl"
}

summarize() {
  cat <<TEXT
# Hosts that die, are cut off and come back: the store on $shape

Written by \`eval/hosts/run.sh\` from the files beside it; the machine is in \`machine.json\`. A request counts for the fault that
began last before it ended. Attempts that failed were made again by the client, under the same key; no request failed.

TEXT
  python3 "$here/judge.py" "$results" "$AMPLE_STOCK"
}

# What is in the evaluation is not of this experiment.
update_evaluation() { true; }

main "$@"
