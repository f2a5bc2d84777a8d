#!/usr/bin/env bash
# What open web pages cost the store: processor time of the front-end and the catalog, and clients'
# latencies, with no page, one and a hundred. Rounds alternate, so that a machine that is busy at
# times is so for all.
#
#   eval/pages/run.sh [ROUNDS [SECONDS]]     (5 rounds of 10 s each)
#   eval/pages/run.sh draw                   (only the table)
#
# Leaves data/pages.csv, data/machine.json and data/summary.md. Needs node and npm, as
# tests/browser.sh does.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

# shellcheck disable=SC2034 # for cluster.sh
usage='eval/pages/run.sh [ROUNDS [SECONDS]], or draw, or --help'

main() {
  take_arguments 2 "$@"
  build
  write_machine "$results/machine.json"
  env "ROUNDS=${1:-5}" "SECONDS=${2:-10}" "RESULTS=$results/pages.csv" "TOYSTORE_BIN=$TOYSTORE_BIN" \
    "$repo/tests/browser.sh" cost >&2
  present
  cat -- "$results/summary.md"
  keep_results
}

present() {
  summarize >"$results/summary.md"
}

summarize() {
  cat <<'TEXT'
# The cost of open pages

Written by `eval/pages/run.sh` from `pages.csv`; the machine is in `machine.json`. Medians over the rounds (least to
most), while five clients make 200 iterations a second, p = 0.2. Of a hundred pages, 64 follow the events; the others ask
once a second.

| pages | front-end, ms of processor time per s | catalog, the same | query p50, ms | query p99, ms | purchase p50, ms | purchase p99, ms |
|---|---|---|---|---|---|---|
TEXT
  local pages column
  for pages in 0 1 100; do
    printf '| %s' "$pages"
    for column in 3 4 5 6 7 8; do
      printf ' | %s' "$(awk -F , -v pages="$pages" -v column="$column" \
        'NR > 1 && $2 == pages { print $column }' "$results/pages.csv" | spread)"
    done
    printf ' |\n'
  done
}

spread() {
  sort -g | awk '
    { value[NR] = $1 }
    END {
      middle = (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2
      printf "%.2f (%.2f to %.2f)", middle, value[1], value[NR]
    }'
}

main "$@"
