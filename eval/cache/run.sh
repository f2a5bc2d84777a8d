#!/usr/bin/env bash
# What the front-end's cache brings: its hit ratio by capacity and by the probability p of an order
# after a query, and which items are in it over time.
#
#   eval/cache/run.sh [REPETITIONS [ITERATIONS]]      (5 repetitions of 400 iterations per client)
#   eval/cache/run.sh draw                            (only the figures and the table)
#
# Leaves data/hit_ratio.csv, data/items.csv, data/samples.csv, data/machine.json, data/summary.md,
# and two figures in docs/figures. All settings of one repetition have the same seed; they take
# turns within it.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

readonly CLIENTS=5
readonly CAPACITIES=(0 1 2 4 6 8 10 12 14 16)
readonly PROBABILITIES=(0 0.2 0.4 0.6 0.8)
# The second part is slow enough for every change to be seen.
readonly WATCHED_CAPACITY=6 WATCHED_PROBABILITY=0.2 WATCHED_RATE=4 WATCHED_SECONDS=30
readonly LOOK_US=100000
usage='eval/cache/run.sh [REPETITIONS [ITERATIONS]], or draw, or --help'

main() {
  take_arguments 2 "$@"
  local repetitions=${1:-5} iterations=${2:-400} repetition
  need_curl
  build
  build_plots
  write_machine "$results/machine.json"
  printf 'repetition,seed,probability,capacity,toys,queries,hits,misses,errors,orders,invalidations\n' \
    >"$results/hit_ratio.csv"
  open_cluster "s/^initial_stock = .*/initial_stock = $AMPLE_STOCK/"
  for ((repetition = 1; repetition <= repetitions; repetition++)); do
    run_settings "$repetition" "$iterations"
  done
  open_cluster "s/^capacity = .*/capacity = $WATCHED_CAPACITY/"
  watch_items
  present
  keep_results
}

present() { build_plots && draw; }

run_settings() { # REPETITION ITERATIONS
  local capacity probability toys counts invalidations
  toys=$(grep -c '{ name = ' "$ROLES")
  for capacity in "${CAPACITIES[@]}"; do
    for probability in "${PROBABILITIES[@]}"; do
      # A new process: its cache is empty, and its counters are at 0.
      sed -i "s/^capacity = .*/capacity = $capacity/" "$ROLES"
      restart frontend
      "$TOYSTORE_BIN" client -c "$CLIENTS" -n "$2" -p "$probability" --seed "$1" \
        --out "$work/out" --format csv </dev/null >"$work/latencies.csv"
      counts=$(counts <"$work/latencies.csv")
      invalidations=$(get_cluster | counter invalidations)
      printf '%s,%s,%s,%s,%s,%s,%s\n' "$1" "$1" "$probability" "$capacity" "$toys" "$counts" \
        "$invalidations" | tee -a -- "$results/hit_ratio.csv" >&2
    done
  done
}

# queries,hits,misses,errors,orders of all clients
counts() {
  awk -F , '
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
    $1 == "all" { count[$2] = $column["count"]; errors += $column["errors"] }
    END {
      printf "%d,%d,%d,%d,%d",
        count["query"], count["query_hit"], count["query_miss"], errors, count["order"]
    }'
}

# Asks the front-end what is in its cache while clients shop, at each tenth of a second: a look
# takes a part of one. One that takes longer leaves out what is past.
watch_items() {
  local began next status=0
  printf 'time_s,place,toy_index,toy\n' >"$results/items.csv"
  printf 'time_s,capacity,probability,rate,entries,hits,misses,invalidations\n' \
    >"$results/samples.csv"
  "$TOYSTORE_BIN" client -c "$CLIENTS" -d "$WATCHED_SECONDS" --rate "$WATCHED_RATE" \
    -p "$WATCHED_PROBABILITY" --seed 1 </dev/null >"$work/client.txt" 2>&1 &
  client=$!
  began=$(now_us)
  next=$began
  while kill -0 "$client" 2>/dev/null; do
    look "$began"
    while ((next <= $(now_us))); do next=$((next + LOOK_US)); done
    sleep_us $((next - $(now_us)))
  done
  wait "$client" || status=$?
  client=
  ((status == 0)) || {
    cat -- "$work/client.txt" >&2
    fail "the clients failed (exit status $status)"
  }
}

now_us() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }

sleep_us() { # DURATION
  (($1 <= 0)) || sleep "$(awk -v us="$1" 'BEGIN { printf "%.6f", us / 1e6 }')"
}

look() { # SINCE
  local time
  get_cluster >"$work/cluster.json"
  time=$(awk -v us=$(($(now_us) - $1)) 'BEGIN { printf "%.3f", us / 1e6 }')
  sed -n 's/.*{ name = "\([^"]*\)", price.*/\1/p' "$ROLES" >"$work/toys"
  # The names are in quotes; none of roles.toml's has one in it.
  sed -n 's/.*"items":\[\([^]]*\)\].*/\1/p' "$work/cluster.json" | sed 's/","/"\n"/g' | tr -d '"' |
    awk -v time="$time" '
      NR == FNR { place[$0] = NR - 1; next }
      $0 != "" { printf "%s,%d,%d,%s\n", time, FNR, place[$0], $0 }
    ' "$work/toys" - >>"$results/items.csv"
  printf '%s,%s,%s,%s' "$time" "$WATCHED_CAPACITY" "$WATCHED_PROBABILITY" "$WATCHED_RATE" \
    >"$work/sample"
  local name value
  for name in entries hits misses invalidations; do
    value=$(counter "$name" <"$work/cluster.json")
    printf ',%s' "$value" >>"$work/sample"
  done
  printf '\n' >>"$work/sample"
  cat -- "$work/sample" >>"$results/samples.csv"
}

counter() { # NAME
  grep -o "\"$1\":[0-9]*" | cut -d : -f 2
}

main "$@"
