#!/usr/bin/env bash
# What open web pages cost the store: processor time per request, of the front-end and of all roles,
# and clients' latencies, with no page, one and a hundred. A round has each once, in an order that
# changes, and differences are taken within a round, so that a machine that is busy at times is so
# for all.
#
#   eval/pages/run.sh [ROUNDS [SECONDS]]     (9 rounds of 10 s for each: six minutes)
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
  env "PAGES_ROUNDS=${1:-9}" "PAGES_LENGTH=${2:-10}" "RESULTS=$results/pages.csv" "TOYSTORE_BIN=$TOYSTORE_BIN" \
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
most), while five clients make 200 iterations a second, p = 0.2. Processor time is in microseconds per request, queries,
purchases and order queries alike; the difference to a store without pages is taken within each round. Of a hundred pages,
64 follow the events; the others ask once a second.

| pages | front-end | all roles | all roles, more than without pages | query p50, ms | query p99, ms | purchase p50, ms | purchase p99, ms |
|---|---|---|---|---|---|---|---|
TEXT
  local pages
  for pages in 0 1 100; do
    printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "$pages" "$(column "$pages" 4)" "$(column "$pages" 5)" \
      "$(more_than_without "$pages")" "$(column "$pages" 6)" "$(column "$pages" 7)" "$(column "$pages" 8)" "$(column "$pages" 9)"
  done
}

column() { # PAGES COLUMN
  awk -F , -v pages="$1" -v column="$2" 'NR > 1 && $2 == pages { print $column }' "$results/pages.csv" | spread
}

more_than_without() { # PAGES
  awk -F , -v pages="$1" '
    NR > 1 { all[$1, $2] = $5; rounds[$1] }
    END { for (round in rounds) print all[round, pages] - all[round, 0] }' "$results/pages.csv" | spread
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
