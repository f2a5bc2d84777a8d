#!/usr/bin/env bash
# The latency that five clients see, with the cache and without it, at several probabilities p of an
# order after a query.
#
#   eval/sweep/run.sh loopback|links [REPETITIONS [ITERATIONS]]   (10 of 200; on loopback, of 2000)
#   eval/sweep/run.sh --frontend HOST:PORT --label NETWORK [REPETITIONS [ITERATIONS]]
#   eval/sweep/run.sh draw                                        (only the figures and the table)
#
# `loopback` runs all processes on this machine, a few microseconds apart. `links` adds a delay of
# 500 µs to each way of each link, also of that between clients and front-end, which is about what
# two machines in one region have; it is a proxy's delay, not a network's: no loss, no jitter, no
# limit of bandwidth. The proxy itself adds a tenth of a millisecond or so to a round trip.
#
# `--frontend` measures a store that runs elsewhere; eval/deploy calls it with NETWORK = aws. The
# command in the environment's SWEEP_SET_CACHE, given on or off, sets that store's cache and has it
# start with empty databases.
#
# A repetition is ten runs, one for each p with the cache and without it, all with the same seed, on
# a fresh cluster each, in an order that alternates. Leaves data/NETWORK/sweep.csv and machine.json,
# data/summary.md, and figures in docs/figures.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

readonly CLIENTS=5
readonly PROBABILITIES=(0 0.2 0.4 0.6 0.8)
readonly DELAY_US=500
# Of each client. On loopback, shorter runs would be over within milliseconds.
readonly ITERATIONS=200 LOOPBACK_ITERATIONS=2000
usage='eval/sweep/run.sh loopback|links|--frontend HOST:PORT --label NETWORK'
usage+=' [REPETITIONS [ITERATIONS]], or draw, or --help'
frontend= # the store elsewhere

main() {
  case ${1-} in
    draw | --help | -h)
      (($# == 1)) || misused "$1 stands alone"
      take_arguments 2 "$1"
      ;;
    loopback | links) measure "$@" ;;
    --frontend) measure_elsewhere "$@" ;;
    *) misused "'${1-}' is no network" ;;
  esac
}

present() { build_plots && draw; }

measure_elsewhere() { # --frontend HOST:PORT --label NETWORK [REPETITIONS [ITERATIONS]]
  [[ $# -ge 4 && $3 == --label ]] || misused '--frontend and --label belong together'
  [[ $4 =~ ^[a-z0-9-]+$ && $4 != loopback && $4 != links ]] ||
    misused "the network there cannot be called '$4'"
  [[ -n ${SWEEP_SET_CACHE:-} ]] || fail 'SWEEP_SET_CACHE names no command that sets the cache'
  frontend=$2
  measure "${@:4}"
}

measure() { # NETWORK [REPETITIONS [ITERATIONS]]
  take_arguments 2 "${@:2}"
  local network=$1 repetitions=${2:-10} iterations=${3:-$ITERATIONS} repetition probability
  local cache caches
  [[ $network != loopback ]] || iterations=${3:-$LOOPBACK_ITERATIONS}
  build
  build_plots
  [[ $network != links ]] || build_links
  mkdir -- "$results/$network"
  write_machine "$results/$network/machine.json"
  for ((repetition = 1; repetition <= repetitions; repetition++)); do
    for probability in "${PROBABILITIES[@]}"; do
      # Whatever the machine does meanwhile, it does to both.
      caches=(true false)
      ((repetition % 2 == 0)) || caches=(false true)
      for cache in "${caches[@]}"; do
        run_once "$network" "$repetition" "$iterations" "$probability" "$cache"
      done
    done
  done
  take_other_networks
  present
  keep_results
}

# Summary and figures are of all networks that were measured.
take_other_networks() {
  local folder
  for folder in "$record"/*/; do
    [[ ! -d $folder || -e $results/$(basename -- "$folder") ]] || cp -r -- "$folder" "$results"
  done
}

run_once() { # NETWORK REPETITION ITERATIONS PROBABILITY CACHE
  local file=$results/$1/sweep.csv target settings
  settings=("s/^enabled = .*/enabled = $5/" "s/^initial_stock = .*/initial_stock = $AMPLE_STOCK/")
  if [[ -n $frontend ]]; then
    set_cache_elsewhere "$5"
    target=(--frontend "$frontend")
  else
    case $1 in
      loopback) open_cluster "${settings[@]}" ;;
      links) open_distant_cluster "$DELAY_US" "${settings[@]}" ;;
    esac
    target=(--frontend "$address:8080")
  fi
  # The first client's time includes what is done only once: connections, pages, the choice of a leader.
  "$TOYSTORE_BIN" client -c "$CLIENTS" -n 20 -p 0.1 --seed 0 "${target[@]}" \
    --format csv </dev/null >/dev/null
  "$TOYSTORE_BIN" client -c "$CLIENTS" -n "$3" -p "$4" --seed "$2" "${target[@]}" \
    --format csv --fail-if 'errors>0' --fail-if 'refusals>0' \
    </dev/null >"$work/latencies.csv"
  awk -v prefix="$2,$2,$4,$5" -v header="$([[ -e $file ]] || printf yes)" '
    NR == 1 { if (header) print "repetition,seed,probability,cache," $0; next }
    { print prefix "," $0 }
  ' "$work/latencies.csv" >"$work/rows.csv"
  cat -- "$work/rows.csv" >>"$file"
  say "$1: repetition $2, p = $4, cache $5: $(awk -F , '$1 == "all" && $2 == "query" {
    print $3 " queries, mean " $9 " ms" }' "$work/latencies.csv")"
}

set_cache_elsewhere() { # true | false
  local setting=off
  [[ $1 != true ]] || setting=on
  # The command's words may be quoted.
  eval "$SWEEP_SET_CACHE $setting" </dev/null >&2 || fail "cannot turn the cache there $setting"
}

main "$@"
