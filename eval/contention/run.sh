#!/usr/bin/env bash
# Why queries take longer while others buy. One client only queries, without a cache, at a front-end
# of its own; at another front-end of the same store, four clients buy, or none. The kernel tells
# how long the threads of the first front-end were on a core, and how long they were ready to run
# and waited for one (/proc/PID/task/*/schedstat).
#
#   eval/contention/run.sh [REPETITIONS [SECONDS]]      (10 repetitions of 2 s each)
#   eval/contention/run.sh draw                         (only the table)
#
# Leaves data/contention.csv, data/machine.json and data/summary.md.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

readonly BUYERS=4
# The buyers begin a second before the queries and end after them.
readonly MARGIN_SECONDS=1
usage='eval/contention/run.sh [REPETITIONS [SECONDS]], or draw, or --help'

main() {
  take_arguments 2 "$@"
  local repetitions=${1:-10} seconds=${2:-2} repetition buyers
  build
  write_machine "$results/machine.json"
  # A second front-end, at the same address.
  open_cluster "s/^initial_stock = .*/initial_stock = $AMPLE_STOCK/" \
    's/^enabled = .*/enabled = false/' \
    's/^\(address = ".*\):8080"/&\n\n[[frontend]]\n\1:8082"/'
  buy 1 1
  query 1
  printf 'repetition,buyers,orders_per_s,queries,mean_ms,on_core_us,waiting_us\n' \
    >"$results/contention.csv"
  for ((repetition = 1; repetition <= repetitions; repetition++)); do
    for buyers in 0 "$BUYERS"; do
      measure "$repetition" "$buyers" "$seconds" | tee -a -- "$results/contention.csv" >&2
    done
  done
  present
  cat -- "$results/summary.md"
  keep_results
}

present() {
  summarize >"$results/summary.md"
}

# A line of contention.csv.
measure() { # REPETITION BUYERS SECONDS
  local before after orders=0
  if (($2 > 0)); then
    buy "$2" "$(($3 + 2 * MARGIN_SECONDS))" &
    sleep "$MARGIN_SECONDS"
  fi
  before=$(time_of_threads "$(pid_of frontend-2)")
  query "$3"
  after=$(time_of_threads "$(pid_of frontend-2)")
  if (($2 > 0)); then
    wait "$!"
    orders=$(column order 7 "$work/orders.csv")
  fi
  awk -v start="$1,$2,$orders" -v queries="$(column query 3 "$work/queries.csv")" \
    -v mean="$(column query 9 "$work/queries.csv")" -v used="$before $after" '
    BEGIN {
      split(used, ns, " ")
      printf "%s,%d,%s,%.2f,%.2f\n", start, queries, mean,
        (ns[3] - ns[1]) / queries / 1000, (ns[4] - ns[2]) / queries / 1000
    }'
}

buy() { # CLIENTS SECONDS
  shop "$address:8080" "$work/orders.csv" -c "$1" -d "$2" -p 1
}

query() { # SECONDS
  shop "$address:8082" "$work/queries.csv" -c 1 -d "$1" -p 0
}

shop() { # FRONTEND FILE ARGUMENT…
  "$TOYSTORE_BIN" client --frontend "$1" --seed 1 --format csv --fail-if 'errors>0' "${@:3}" \
    >"$2" </dev/null
}

# A figure of all clients.
column() { # TYPE COLUMN FILE
  awk -F , -v type="$1" -v column="$2" '$1 == "all" && $2 == type { print $column }' "$3"
}

# Nanoseconds on a core, and ready to run but waiting for one.
time_of_threads() { # PID
  cat -- "/proc/$1/task/"*/schedstat |
    awk '{ on += $1; waiting += $2 } END { printf "%.0f %.0f\n", on, waiting }'
}

# Medians over the repetitions, and how far they were apart.
summarize() {
  cat <<'TEXT'
# Queries beside orders

Written by `eval/contention/run.sh` from `contention.csv`; the machine is in `machine.json`. One client queries without a
cache at a front-end of its own; median over the repetitions [least, most].

| buyers | orders/s | a query, ms | its front-end on a core, µs | waiting for a core, µs |
|---|---|---|---|---|
TEXT
  local buyers
  for buyers in 0 "$BUYERS"; do
    printf '| %s | %s | %s | %s | %s |\n' "$buyers" "$(median_of "$buyers" 3 '%.0f')" \
      "$(median_of "$buyers" 5 '%.2f')" "$(median_of "$buyers" 6 '%.0f')" \
      "$(median_of "$buyers" 7 '%.0f')"
  done
}

median_of() { # BUYERS COLUMN FORMAT
  awk -F , -v buyers="$1" -v column="$2" '$2 == buyers { print $column }' "$results/contention.csv" |
    sort -g | awk -v f="$3" '
      { value[NR] = $1 }
      END {
        middle = (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2
        printf f " [" f ", " f "]", middle, value[1], value[NR]
      }'
}

main "$@"
