#!/usr/bin/env bash
# How fast the store is, beside what others use for the same work, on the same machine. A row each:
#
#   cached      a query that the front-end answers from its cache, at 5, 64 and 256 connections,
#               beside a bare handler of actix-web, nginx with proxy_cache, and Varnish
#   uncached    the same without the cache, beside nginx with proxy_pass
#   orders      orders of 64 and 256 clients, beside etcd (puts, and transactions that take the stock)
#               and PostgreSQL with two synchronous standbys
#   few         the same of 5 clients: how long one takes
#   engines     orders of 5 and 64 clients at the store on SQLite, on SQLite with TLS between roles,
#               and on PostgreSQL with one of two standbys, and with both
#   beside      queries while 64 clients order, and alone: the store, and a bare handler
#   flood       orders of 5 clients while 1,000 connections ask one role for its metrics, and alone
#   killed      how long nothing is sold when the leader is killed, beside etcd
#   stopped     the same when it is stopped (SIGSTOP); and whether 1,000 clients make a leader
#               look stopped
#   start       how long each role takes to start with many orders, from memory and from the disk
#   opening     how long until the first order, if all roles are started at once or in turn
#   catch-up    how long an empty replica takes to fetch many orders
#   replicas    an order with 20 replicas and with 3; the processor time of an idle store
#
#   eval/bench/run.sh [--quick] [--rounds N] [--seconds S] [--orders N] [--replicas N] ROW…
#   eval/bench/run.sh all                 (every row; 5 rounds, 5 s, 10,000,000 orders, 20 replicas)
#   eval/bench/run.sh draw                (only the tables)
#
# All systems of a row take turns in each round, so that a machine that is busy at times is so for
# all. --quick takes some seconds for a row, shows that everything works, and keeps no figures.
# nginx, varnish, etcd-server, postgresql and wrk are Debian's; what is missing is installed where
# that is allowed. Leaves data/ROW/*.csv with its machine.json, and data/summary.md.

set -euo pipefail
quick=false
for argument in "$@"; do [[ $argument != --quick ]] || quick=true; done
scratch=
# What is quick is no record.
if [[ $quick == true && -z ${EVAL_RESULTS:-} ]]; then
  scratch=$(mktemp -d)
  export EVAL_RESULTS=$scratch
fi
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"
# shellcheck source=eval/bench/systems.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/systems.sh"
# shellcheck source=eval/bench/rows.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/rows.sh"

readonly ROWS=(cached uncached orders few engines beside flood killed stopped start opening catch-up replicas)
usage='eval/bench/run.sh [--quick] [--rounds N] [--seconds S] [--orders N] [--replicas N] ROW…|all|draw'
rounds=5 seconds=5 orders=10000000 replicas=20

main() {
  local rows=() row profile=release
  while (($# > 0)); do
    case $1 in
      --help | -h) take_arguments 0 "$1" ;;
      --quick) rounds=1 seconds=1 orders=20000 replicas=5 profile=dev ;;
      --rounds | --seconds | --orders | --replicas)
        [[ ${2-} =~ ^[1-9][0-9]{0,8}$ ]] || misused "${2-} is not a whole number from 1 on"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
      all) rows=("${ROWS[@]}") ;;
      draw)
        redraw
        exit 0
        ;;
      *)
        [[ " ${ROWS[*]} " == *" $1 "* ]] || misused "there is no row $1"
        rows+=("$1")
        ;;
    esac
    shift
  done
  ((${#rows[@]} > 0)) || misused 'no row is named'
  need_curl
  build
  build_load "$profile"
  build_plots
  [[ ! -d $record ]] || cp -r -- "$record/." "$results"
  for row in "${rows[@]}"; do
    say "$row: $rounds rounds"
    mkdir -p -- "$results/$row"
    write_machine "$results/$row/machine.json"
    "row_${row//-/_}" "$results/$row"
    close_cluster
    end_peers
  done
  present
  cat -- "$results/summary.md"
  keep_results
}

end_all() {
  end_peers
  [[ -z $scratch ]] || rm -rf -- "$scratch"
}

present() {
  build_plots
  draw
}

# shellcheck disable=SC2034 # for cluster.sh
before_the_end=end_all
main "$@"
