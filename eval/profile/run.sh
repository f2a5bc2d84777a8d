#!/usr/bin/env bash
# Compares executables, such as those of two build profiles: their size, and the processor time that
# the store's five processes use for an order and for a query that is answered from the cache. The
# executables take turns, so that a machine that is busy at times is so for all of them. One client
# program, that of the first executable, shops at each.
#
#   eval/profile/run.sh [--rounds ROUNDS] [--clients CLIENTS] EXECUTABLE EXECUTABLE…
#
# 10 rounds of 5 clients, if nothing else is said.
#
# Prints a table of medians over the rounds, and leaves nothing.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

readonly ORDERS=5000 QUERIES=100000 # of all clients
clients=5
readonly ROLES_OF_A_STORE=(catalog order-1 order-2 order-3 frontend)
usage='eval/profile/run.sh [--rounds ROUNDS] [--clients CLIENTS] EXECUTABLE EXECUTABLE…, or --help'

main() {
  local rounds=10 round executable index
  case ${1-} in
    --help | -h) take_arguments 0 "$1" ;;
    --rounds)
      take_arguments 1 "${2-}"
      rounds=$2
      shift 2
      ;;
  esac
  if [[ ${1-} == --clients ]]; then
    take_arguments 1 "${2-}"
    clients=$2
    shift 2
  fi
  (($# >= 2)) || misused 'there is nothing to compare'
  executables=()
  for executable in "$@"; do
    TOYSTORE_BIN=$executable build
    executables+=("$(readlink -f -- "$executable")")
  done
  for ((round = 1; round <= rounds; round++)); do
    for ((index = 0; index < $#; index++)); do
      # The one that begins changes from round to round.
      measure "$(((index + round) % $#))" "$round"
    done
  done
  printf '| executable | bytes | an order, µs | a cached query, µs |\n|---|---|---|---|\n'
  for ((index = 0; index < $#; index++)); do
    printf '| %s | %s | %s | %s |\n' "${executables[index]}" \
      "$(stat -c %s -- "${executables[index]}")" \
      "$(median_of "$index" order)" "$(median_of "$index" query)"
  done
}

measure() { # INDEX ROUND
  export TOYSTORE_BIN=${executables[$1]}
  open_cluster "s/^initial_stock = .*/initial_stock = $AMPLE_STOCK/" \
    's|^enabled = .*|enabled = true|'
  shop 20 0.5 >/dev/null # what is done only once
  use "$1" order "$((ORDERS / clients))" 1
  use "$1" query "$((QUERIES / clients))" 0
  tail -n 2 -- "$work/used.csv" | sed "s|^$1|round $2: $TOYSTORE_BIN|" >&2
  close_cluster
}

# Adds a line to used.csv: the executable, the type of request, and microseconds of processor time
# of all roles for each. An order here is what a client does for it: a query, the order, and an order
# query in the final check.
use() { # INDEX TYPE ITERATIONS PROBABILITY
  local before after
  before=$(time_of_roles)
  shop "$3" "$4"
  after=$(time_of_roles)
  awk -v type="$1,$2" -v used="$after $before" -v requests="$((clients * $3))" '
    BEGIN { split(used, at, " "); printf "%s,%.2f\n", type, 1e6 * (at[1] - at[2]) / requests }
  ' >>"$work/used.csv"
}

shop() { # ITERATIONS PROBABILITY
  "${executables[0]}" client -c "$clients" -n "$1" -p "$2" --seed 1 --frontend "$address:8080" \
    --fail-if 'errors>0' --fail-if 'refusals>0' --format csv </dev/null >"$work/latencies.csv"
}

# User and system time of all roles so far, in seconds.
time_of_roles() {
  local role
  for role in "${ROLES_OF_A_STORE[@]}"; do processor_time_of "$(pid_of "$role")"; done |
    awk '{ sum += $1 + $2 } END { printf "%.2f\n", sum }'
}

# Median, and least to most.
median_of() { # INDEX TYPE
  grep "^$1,$2," -- "$work/used.csv" | cut -d , -f 3 | sort -g | awk '
    { value[NR] = $1 }
    END {
      middle = (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2
      printf "%.1f (%.1f to %.1f)", middle, value[1], value[NR]
    }'
}

main "$@"
