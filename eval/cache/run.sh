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
# More than is ever bought here: a toy that is sold out is not ordered, which would tell of stock.
readonly AMPLE_STOCK=1000000
# The second part is slow enough for every change to be seen.
readonly WATCHED_CAPACITY=6 WATCHED_PROBABILITY=0.2 WATCHED_RATE=4 WATCHED_SECONDS=30 LOOK_SECONDS=0.1
data=$repo/eval/cache/data

main() {
  if [[ ${1-} == draw ]]; then
    draw cache "$data"
    return
  fi
  local repetitions=${1:-5} iterations=${2:-400} repetition
  whole_numbers "$repetitions" "$iterations"
  build
  mkdir -p -- "$data"
  write_machine "$data/machine.json"
  printf 'repetition,seed,probability,capacity,toys,queries,hits,misses,errors,orders,invalidations\n' \
    >"$data/hit_ratio.csv"
  open_cluster "s/^initial_stock = .*/initial_stock = $AMPLE_STOCK/"
  for ((repetition = 1; repetition <= repetitions; repetition++)); do
    run_settings "$repetition" "$iterations"
  done
  open_cluster "s/^capacity = .*/capacity = $WATCHED_CAPACITY/"
  watch_items
  draw cache "$data"
}

run_settings() { # REPETITION ITERATIONS
  local capacity probability
  for capacity in "${CAPACITIES[@]}"; do
    for probability in "${PROBABILITIES[@]}"; do
      # A new process: its cache is empty, and its counters are at 0.
      sed -i "s/^capacity = .*/capacity = $capacity/" "$ROLES"
      restart frontend
      "$TOYSTORE_BIN" client -c "$CLIENTS" -n "$2" -p "$probability" --seed "$1" \
        --out "$work/out" --format csv </dev/null >"$work/latencies.csv"
      printf '%s,%s,%s,%s,%s,%s,%s\n' "$1" "$1" "$probability" "$capacity" \
        "$(grep -c '{ name = ' "$ROLES")" "$(counts <"$work/latencies.csv")" "$(invalidations)" |
        tee -a -- "$data/hit_ratio.csv" >&2
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

invalidations() {
  curl -s "http://$address:8080/cluster" | grep -o '"invalidations":[0-9]*' | cut -d : -f 2
}

# Asks the front-end what is in its cache, again and again while clients shop.
watch_items() {
  local client began
  printf 'time_s,place,toy_index,toy\n' >"$data/items.csv"
  printf 'time_s,capacity,probability,rate,entries,hits,misses,invalidations\n' >"$data/samples.csv"
  "$TOYSTORE_BIN" client -c "$CLIENTS" -d "$WATCHED_SECONDS" --rate "$WATCHED_RATE" \
    -p "$WATCHED_PROBABILITY" --seed 1 </dev/null >"$work/client.txt" &
  client=$!
  began=$EPOCHREALTIME
  while kill -0 "$client" 2>/dev/null; do
    curl -s "http://$address:8080/cluster" >"$work/cluster.json"
    look "$(awk -v now="$EPOCHREALTIME" -v began="$began" 'BEGIN { printf "%.3f", now - began }')"
    sleep "$LOOK_SECONDS"
  done
  wait "$client"
}

look() { # TIME
  sed -n 's/.*{ name = "\([^"]*\)", price.*/\1/p' "$ROLES" >"$work/toys"
  # The names are in quotes; none of roles.toml's has one in it.
  sed -n 's/.*"items":\[\([^]]*\)\].*/\1/p' "$work/cluster.json" | sed 's/","/"\n"/g' | tr -d '"' |
    awk -v time="$1" '
      NR == FNR { place[$0] = NR - 1; next }
      $0 != "" { printf "%s,%d,%d,%s\n", time, FNR, place[$0], $0 }
    ' "$work/toys" - >>"$data/items.csv"
  printf '%s,%s,%s,%s,%s,%s,%s,%s\n' "$1" "$WATCHED_CAPACITY" "$WATCHED_PROBABILITY" "$WATCHED_RATE" \
    "$(counter entries)" "$(counter hits)" "$(counter misses)" "$(counter invalidations)" \
    >>"$data/samples.csv"
}

counter() { # NAME
  grep -o "\"$1\":[0-9]*" "$work/cluster.json" | cut -d : -f 2
}

main "$@"
