#!/usr/bin/env bash
# What the client costs: processor time per request of the client and of wrk, each beside that of
# the front-end which answers them from its cache. Both take turns, so that a machine that is busy
# at times is so for both.
#
#   eval/overhead/run.sh [REPETITIONS [SECONDS]]      (10 repetitions of 3 s each)
#   eval/overhead/run.sh draw                         (only the table)
#
# Leaves data/overhead.csv, data/machine.json and data/summary.md.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

readonly CLIENTS=5
usage='eval/overhead/run.sh [REPETITIONS [SECONDS]], or draw, or --help'

main() {
  take_arguments 2 "$@"
  local repetitions=${1:-10} seconds=${2:-3} repetition tool tools=(client wrk)
  build
  command -v wrk >/dev/null || {
    tools=(client)
    say 'left out: wrk is missing; get it with: sudo apt-get install -y wrk'
  }
  write_machine "$results/machine.json"
  open_cluster 's|^enabled = .*|enabled = true|'
  # Every toy is in the cache, and every process has done everything once.
  for tool in "${tools[@]}"; do "run_$tool" 1 >/dev/null; done
  printf '%s' 'repetition,tool,requests,seconds,tool_user_s,tool_system_s,' \
    $'frontend_user_s,frontend_system_s\n' >"$results/overhead.csv"
  for ((repetition = 1; repetition <= repetitions; repetition++)); do
    for tool in "${tools[@]}"; do
      measure "$tool" "$repetition" "$seconds" | tee -a -- "$results/overhead.csv" >&2
    done
  done
  present
  cat -- "$results/summary.md"
  keep_results
}

present() {
  summarize >"$results/summary.md"
}

# A line of overhead.csv.
measure() { # TOOL REPETITION SECONDS
  local frontend before after TIMEFORMAT='%R %U %S'
  frontend=$(pid_of frontend)
  before=$(processor_time_of "$frontend")
  # What the tool complains of is not its time.
  { time "run_$1" "$3" >"$work/requests" 2>&8; } 8>&2 2>"$work/time"
  after=$(processor_time_of "$frontend")
  awk -v tool="$1" -v repetition="$2" -v requests="$(cat -- "$work/requests")" \
    -v used="$(cat -- "$work/time")" -v before="$before" -v after="$after" '
    BEGIN {
      split(used, t, " "); split(before, b, " "); split(after, a, " ")
      printf "%d,%s,%d,%.3f,%.3f,%.3f,%.2f,%.2f\n",
        repetition, tool, requests, t[1], t[2], t[3], a[1] - b[1], a[2] - b[2]
    }'
}

# Each runs for so many seconds and prints how many requests were answered. The time that counts is
# that of the tool, so it is the only process in here that works.
run_client() { # SECONDS
  "$TOYSTORE_BIN" client -c "$CLIENTS" -d "$1" -p 0 --format csv --fail-if 'errors>0' \
    --fail-if 'hit_ratio<0.99' >"$work/client.csv" </dev/null
  awk -F , '$1 == "all" && $2 == "query" { print $3 }' "$work/client.csv"
}

run_wrk() { # SECONDS
  wrk -t 1 -c "$CLIENTS" -d "$1s" "http://$address:8080/products/Tux" >"$work/wrk.txt" </dev/null
  if grep -E 'Non-2xx|Socket errors' "$work/wrk.txt" >&2; then return 1; fi
  awk '/requests in/ { print $1 }' "$work/wrk.txt"
}

# Medians over the repetitions, and how far they were apart.
# shellcheck disable=SC2016 # the expressions are awk's
summarize() {
  cat <<'TEXT'
# Processor time per request

Written by `eval/overhead/run.sh` from `overhead.csv`; the machine is in `machine.json`. Microseconds of processor time
per cached query, median over the repetitions (least to most).

| tool | the tool, in user mode | the tool, in all | the front-end meanwhile | the tool's share of the front-end's | requests/s |
|---|---|---|---|---|---|
TEXT
  local tool tools
  # In the order in which they took turns.
  mapfile -t tools < <(awk -F , 'NR > 1 && !seen[$2]++ { print $2 }' "$results/overhead.csv")
  ((${#tools[@]} > 0)) || fail 'overhead.csv has no rows'
  for tool in "${tools[@]}"; do
    printf '| %s | %s | %s | %s | %s | %s |\n' "$tool" \
      "$(median_of "$tool" '1e6 * $5 / $3' '%.1f')" \
      "$(median_of "$tool" '1e6 * ($5 + $6) / $3' '%.1f')" \
      "$(median_of "$tool" '1e6 * ($7 + $8) / $3' '%.1f')" \
      "$(median_of "$tool" '($5 + $6) / ($7 + $8)' '%.2f')" \
      "$(median_of "$tool" '$3 / $4' '%.0f')"
  done
}

median_of() { # TOOL EXPRESSION FORMAT
  awk -F , -v tool="$1" '$2 == tool { print '"$2"' }' "$results/overhead.csv" | sort -g | awk -v f="$3" '
    { value[NR] = $1 }
    END {
      middle = (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2
      printf f " (" f " to " f ")", middle, value[1], value[NR]
    }'
}

main "$@"
