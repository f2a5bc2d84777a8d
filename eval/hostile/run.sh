#!/usr/bin/env bash
# What honest clients notice while hostile ones do all they can: slow heads, bodies that do not end,
# answers that are not read, connections that are only kept, what is not HTTP, purchases from pages
# of other sites, calls between roles without the secret (mix.py). Ten honest clients shop meanwhile,
# and the memory of every role is noted every ten seconds.
#
#   eval/hostile/run.sh [SECONDS [CONNECTIONS]]      (3600 s, 2000 hostile connections)
#   eval/hostile/run.sh draw                         (only the table)
#
# Leaves data/latencies.csv, data/statuses.csv, data/series.csv, data/memory.csv, data/hostile.csv,
# data/machine.json and data/summary.md.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

readonly ROLES_OF_STORE=(frontend catalog order-1 order-2 order-3)
readonly RATE=50 # iterations per second of all honest clients
readonly EVERY=10 # seconds between two looks at the memory
usage='eval/hostile/run.sh [SECONDS [CONNECTIONS]], or draw, or --help'
hostile='' watcher=''

main() {
  take_arguments 2 "$@"
  local seconds=${1:-3600} connections=${2:-2000}
  need python3 'sudo apt-get install -y python3'
  need_curl
  build
  write_machine "$results/machine.json"
  open_cluster "s/^initial_stock = .*/initial_stock = $AMPLE_STOCK/" \
    "s/^# secret = .*/secret = \"$(od -An -N 16 -t x1 /dev/urandom | tr -d ' \n')\"/"
  before_the_end=end_others
  watch >"$results/memory.csv" &
  watcher=$!
  python3 "$(dirname -- "$0")/mix.py" "$address" "$seconds" "$connections" \
    "$results/hostile.csv" </dev/null &
  hostile=$!
  shop "$seconds"
  wait "$hostile" || fail 'the hostile clients failed'
  hostile=''
  end_others
  present
  cat -- "$results/summary.md"
  keep_results
}

present() {
  summarize >"$results/summary.md"
}

end_others() {
  local process
  for process in $hostile $watcher; do
    kill -TERM "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  hostile='' watcher=''
}

# Ten honest clients, who check every order in the end.
shop() { # SECONDS
  "$TOYSTORE_BIN" client --frontend "$address:8080" -c 10 -d "$1s" --rate "$RATE" -p 0.2 --seed 1 \
    --interval 10s --out "$work/honest" --format text </dev/null >"$work/honest.txt" &
  client=$!
  wait "$client" || {
    cat -- "$work/honest.txt" >&2
    fail 'honest clients found something wrong'
  }
  client=
  local name
  for name in latencies statuses series; do cp -- "$work/honest/$name.csv" "$results"; done
}

# The memory and the open files of every role, over time.
watch() {
  local start=$SECONDS role pid
  printf 'time_s,role,rss_kib,open_files\n'
  while true; do
    for role in "${ROLES_OF_STORE[@]}"; do
      pid=$(pid_of "$role")
      printf '%s,%s,%s,%s\n' "$((SECONDS - start))" "$role" \
        "$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")" \
        "$(find "/proc/$pid/fd" -mindepth 1 -maxdepth 1 | wc -l)"
    done
    sleep "$EVERY"
  done
}

summarize() {
  local role
  cat <<'TEXT'
# Honest clients beside hostile ones

Written by `eval/hostile/run.sh` from the files beside it; the machine is in `machine.json`.

| honest requests | count | errors | p50, ms | p99, ms | longest, ms |
|---|---|---|---|---|---|
TEXT
  awk -F , '$1 == "all" && $17 == "open" {
    printf "| %s | %d | %d | %.1f | %.1f | %.0f |\n", $2, $3, $4, $10, $12, $14
  }' "$results/latencies.csv"
  awk -F , '$4 == "shopping" && $5 == "query" && $15 != "" { print $15 }' "$results/series.csv" |
    sort -g | awk -v load="$(sed -n 's/.*"load_average_before": //p' "$results/machine.json")" '
      { p99[NR] = $1 }
      END {
        printf "\nOf the queries in each ten seconds, the p99 was %.0f ms (median; from %.0f to %.0f). The load average of",
          p99[int((NR + 1) / 2)], p99[1], p99[NR]
        printf " the machine\nbefore the run was %s; where that is more than its cores, others made clients wait.\n", load
      }'
  cat <<'TEXT'

| role | memory after 1 min, MiB | most | at the end | open files at most |
|---|---|---|---|---|
TEXT
  for role in "${ROLES_OF_STORE[@]}"; do
    awk -F , -v role="$role" '
      $2 == role {
        if ($1 <= 60 || !early) early = $3
        if ($3 > most) most = $3
        if ($4 > files) files = $4
        last = $3
      }
      END {
        printf "| %s | %.1f | %.1f | %.1f | %d |\n", role, early / 1024, most / 1024, last / 1024, files
      }' "$results/memory.csv"
  done
  cat <<'TEXT'

| hostile clients | what they saw |
|---|---|
TEXT
  awk -F , 'NR > 1 {
    if (!($1 in seen)) order[++kinds] = $1
    seen[$1] = seen[$1] (seen[$1] ? ", " : "") $2 ": " $3
  }
  END { for (kind = 1; kind <= kinds; kind++) printf "| %s | %s |\n", order[kind], seen[order[kind]] }' \
    "$results/hostile.csv"
}

main "$@"
