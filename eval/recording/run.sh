#!/usr/bin/env bash
# What recording events costs: processor time per cached query and per order, of all roles, with
# and without it. Each repetition runs both, one after the other, in an order that changes; the
# difference is taken within a repetition, so that a machine that is busy at times is so for both.
#
#   eval/recording/run.sh [REPETITIONS [SECONDS]]     (10 repetitions of 3 s each)
#   eval/recording/run.sh draw                        (only the table)
#
# Leaves data/recording.csv, data/machine.json and data/summary.md.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

readonly CLIENTS=5
readonly EVENTS=8192 # as roles.toml ships
# shellcheck disable=SC2034 # for cluster.sh
usage='eval/recording/run.sh [REPETITIONS [SECONDS]], or draw, or --help'

main() {
  take_arguments 2 "$@"
  local repetitions=${1:-10} seconds=${2:-3} repetition events order
  build
  write_machine "$results/machine.json"
  printf 'repetition,events,kind,requests,processor_s\n' >"$results/recording.csv"
  for ((repetition = 1; repetition <= repetitions; repetition++)); do
    order=("$EVENTS" 0)
    ((repetition % 2)) || order=(0 "$EVENTS")
    for events in "${order[@]}"; do
      open_cluster "s|^events = .*|events = $events|" \
        "s|^initial_stock = .*|initial_stock = $AMPLE_STOCK|"
      # Every toy is in the cache, and every process has done everything once.
      shop 1 0.5 >/dev/null
      measure "$repetition" "$events" query 0 "$seconds"
      measure "$repetition" "$events" order 1 "$seconds"
    done
  done | tee -a -- "$results/recording.csv" >&2
  present
  cat -- "$results/summary.md"
  keep_results
}

present() {
  summarize >"$results/summary.md"
}

# A line of recording.csv.
measure() { # REPETITION EVENTS KIND P SECONDS
  local before after requests
  before=$(used)
  requests=$(shop "$5" "$4" "$3")
  after=$(used)
  awk -v start="$1,$2,$3,$requests" -v before="$before" -v after="$after" \
    'BEGIN { printf "%s,%.2f\n", start, after - before }'
}

# The processor time that all roles have used so far, in seconds.
used() {
  local role
  for role in "${!port_of[@]}"; do processor_time_of "$(pid_of "$role")"; done |
    awk '{ sum += $1 + $2 } END { printf "%.2f", sum }'
}

# Shops for so many seconds, buying with this probability; prints how many requests of a kind were
# answered.
shop() { # SECONDS P [KIND]
  "$TOYSTORE_BIN" client -c "$CLIENTS" -d "$1" -p "$2" --format csv --fail-if 'errors>0' \
    >"$work/client.csv" </dev/null
  awk -F , -v kind="${3:-query}" '$1 == "all" && $2 == kind { print $3 }' "$work/client.csv"
}

summarize() {
  cat <<'TEXT'
# Processor time of recording

Written by `eval/recording/run.sh` from `recording.csv`; the machine is in `machine.json`. Microseconds of processor time
of all roles per request, median over the repetitions (least to most). An order comes with a query. The difference is
taken within each repetition.

| kind | recorded | not recorded | difference | requests, recorded | not recorded |
|---|---|---|---|---|---|
TEXT
  local kind
  for kind in query order; do
    printf '| %s | %s | %s | %s | %s | %s |\n' "$kind" \
      "$(per_request "$kind" "$EVENTS" | spread '%.1f')" "$(per_request "$kind" 0 | spread '%.1f')" \
      "$(paste <(per_request "$kind" "$EVENTS") <(per_request "$kind" 0) |
        awk '{ print $1 - $2 }' | spread '%+.1f')" \
      "$(requests_of "$kind" "$EVENTS" | spread '%.0f')" "$(requests_of "$kind" 0 | spread '%.0f')"
  done
}

# In the order of the repetitions.
per_request() { # KIND EVENTS
  awk -F , -v kind="$1" -v events="$2" '$3 == kind && $2 == events { print 1e6 * $5 / $4 }' \
    "$results/recording.csv"
}

requests_of() { # KIND EVENTS
  awk -F , -v kind="$1" -v events="$2" '$3 == kind && $2 == events { print $4 }' \
    "$results/recording.csv"
}

spread() { # FORMAT
  sort -g | awk -v f="$1" '
    { value[NR] = $1 }
    END {
      middle = (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2
      printf f " (" f " to " f ")", middle, value[1], value[NR]
    }'
}

main "$@"
