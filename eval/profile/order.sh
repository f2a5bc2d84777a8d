#!/usr/bin/env bash
# Where the processor time of one order goes, by role and by cause, while 64 clients order. The
# kernel's accounts (/proc/PID/task) say how much each role and each of its threads uses, and how
# often a thread stops to wait; samples of what runs (perf, where it is allowed) say for what.
#
#   eval/profile/order.sh [ROUNDS [SECONDS]]      (5 rounds of 5 s each)
#   eval/profile/order.sh draw                    (only the tables)
#
# Leaves data/causes.csv, data/threads.csv, data/machine.json and data/summary.md.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"
# shellcheck source=eval/bench/systems.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../bench/systems.sh"

readonly CLIENTS=64
readonly SAMPLES_PER_S=1999 # of each core; no multiple of what a timer may tick at
# shellcheck disable=SC2034 # for cluster.sh
usage='eval/profile/order.sh [ROUNDS [SECONDS]], or draw, or --help'

main() {
  take_arguments 2 "$@"
  local rounds=${1:-5} seconds=${2:-5} round
  need_curl
  build
  build_load release
  write_machine "$results/machine.json"
  printf 'round,role,cause,us\n' >"$results/causes.csv"
  printf 'round,role,thread,user_us,system_us,waits\n' >"$results/threads.csv"
  for ((round = 1; round <= rounds; round++)); do
    open_cluster "s/^initial_stock = .*/initial_stock = $AMPLE_STOCK/"
    "$load" store "$CLIENTS" 1 "$address:8080" >/dev/null # what is done only once
    measure
    close_cluster
  done
  present
  cat -- "$results/summary.md"
  keep_results
}

present() {
  summarize >"$results/summary.md"
}

# Adds to threads.csv and causes.csv.
measure() {
  local role orders sampler=''
  accounts_of_threads >"$work/before"
  if perf record --event cpu-clock --output "$work/perf.data" -- true >/dev/null 2>&1; then
    perf record --quiet --event cpu-clock --freq "$SAMPLES_PER_S" --call-graph fp \
      --pid "$(cat -- "$work"/data/*.pid | paste -sd ,)" --output "$work/perf.data" \
      -- sleep "$seconds" >"$work/perf.log" 2>&1 &
    sampler=$!
  else
    say 'left out: the causes; perf is missing or may not sample; get it with: sudo apt-get install -y linux-perf'
  fi
  "$load" store "$CLIENTS" "$seconds" "$address:8080" >"$work/load.csv"
  [[ -z $sampler ]] || wait "$sampler" || fail "perf: $(cat -- "$work/perf.log")"
  accounts_of_threads >"$work/after"
  orders=$(cut -d , -f 1 -- "$work/load.csv")
  awk -F , -v round="$round" -v orders="$orders" '
    NR == FNR { before[$1 "," $2 "," $3] = $4 "," $5 "," $6; next }
    {
      split(before[$1 "," $2 "," $3], was, ",")
      key = $1 "," $3
      user[key] += $4 - was[1]; kernel[key] += $5 - was[2]; waits[key] += $6 - was[3]
    }
    END {
      for (key in user)
        printf "%d,%s,%.2f,%.2f,%.3f\n", round, key, user[key] / orders, kernel[key] / orders,
          waits[key] / orders
    }' "$work/before" "$work/after" | sort | tee -a -- "$results/threads.csv" >&2
  if [[ -n $sampler ]]; then
    perf script --input "$work/perf.data" --fields comm,pid,ip,sym 2>/dev/null | causes >"$work/shares"
  else
    : >"$work/shares"
  fi
  # The samples say for what; the accounts, how much in all.
  awk -F , -v round="$round" '
    FILENAME ~ /threads/ { if ($1 == round) used[$2] += $4 + $5; next }
    { role[NR] = $1; cause[NR] = $2; count[NR] = $3; sum[$1] += $3; last = NR }
    END {
      for (line = 1; line <= last; line++)
        if (line in role)
          printf "%d,%s,%s,%.2f\n", round, role[line], cause[line],
            used[role[line]] * count[line] / sum[role[line]]
    }' "$results/threads.csv" "$work/shares" | tee -a -- "$results/causes.csv" >&2
}

# A line for each thread of each role: microseconds in user mode and in the kernel, and how often it
# has stopped to wait.
accounts_of_threads() {
  local role task
  for role in catalog order-1 order-2 order-3 frontend; do
    for task in /proc/"$(pid_of "$role")"/task/*; do
      printf '%s,%s,' "$(role_of_order "$role")" "${task##*/}"
      # A name may end with a number, and have a sign in it that has a meaning in a table. The first
      # thread has the name of the executable.
      if [[ ${task##*/} == "$(pid_of "$role")" ]]; then
        printf 'main,'
      else
        sed 's/[0-9:]*$//; s/[,|]/ /g' "$task/comm" | tr '\n' ','
      fi
      sed 's/.*) //' "$task/stat" |
        awk -v hz="$(getconf CLK_TCK)" '{ printf "%.0f,%.0f,", $12 * 1e6 / hz, $13 * 1e6 / hz }'
      awk '/^voluntary/ { print $2 }' "$task/status"
    done
  done
}

# Which replica leads is no matter of its number.
role_of_order() { # ROLE
  case $1 in
    order-3) printf 'leader' ;;
    order-*) printf 'follower' ;;
    *) printf '%s' "$1" ;;
  esac
}

# Counts samples by role and cause. A stack of the kernel tells which call it serves; of the program
# only the innermost function is known.
causes() {
  local pids='' role
  for role in catalog order-1 order-2 order-3 frontend; do
    pids+="$(pid_of "$role") $(role_of_order "$role") "
  done
  awk -v pids="$pids" '
    BEGIN {
      RS = ""; FS = "\n"
      count = split(pids, pid, " ")
      for (i = 1; i < count; i += 2) role[pid[i]] = pid[i + 1]
    }
    function cause(stack, inner, thread) {
      if (stack ~ /fsync|fdatasync|sync_file/) return "disk: sync"
      if (stack ~ /sys_p?(write|read)(64|v)?\n?.*(ext4|xfs|vfs_(write|read))|ext4_|generic_perform_write/ && stack !~ /sock_|tcp_/) return "disk: read and write"
      if (stack ~ /sock_|tcp_|inet_|sys_send|sys_recv|net_rx|skb/) return "sockets"
      if (stack ~ /futex|epoll|eventfd|schedule|try_to_wake|hrtimer|nanosleep/) return "wait and wake"
      if (stack ~ /entry_SYSCALL|do_syscall|asm_|__x64_sys/) return "kernel: the rest"
      if (inner ~ /[Ss]ha256|sha2/) return "hashes"
      if (inner ~ /serde|json/) return "JSON"
      if (inner ~ /malloc|free|realloc|calloc|_int_|alloc|^_?mi_/) return "memory"
      if (thread ~ /writer|reader/) return "SQLite"
      if (inner ~ /actix|awc|http|h1|Header/) return "HTTP"
      if (inner ~ /tokio|mio|futures/) return "tasks"
      if (inner ~ /toystore/) return "the store itself"
      return "program: the rest"
    }
    {
      line = $1
      where = match(line, /[0-9]+ *$/)
      id = substr(line, where) + 0
      thread = substr(line, 1, where - 1)
      stack = ""
      for (i = 2; i <= NF; i++) stack = stack $i "\n"
      if (id in role) counted[role[id] "," cause(stack, $2, thread)]++
    }
    END { for (key in counted) print key "," counted[key] }' | sort
}

# A table of causes by role, and one of threads; medians over the rounds.
summarize() {
  cat <<'TEXT'
# The processor time of one order

Written by `eval/profile/order.sh` from the files beside it; the machine is in `machine.json`. Microseconds for each order
while 64 clients order, median over the rounds. Two followers count together.

| cause | front-end | leader | catalog | followers | all |
|---|---|---|---|---|---|
TEXT
  awk -F , '
    function median(key, n, values, i, j, t) {
      n = split(sums[key], values, " ")
      for (i = 2; i <= n; i++)
        for (j = i; j > 1 && values[j - 1] + 0 > values[j] + 0; j--) {
          t = values[j]; values[j] = values[j - 1]; values[j - 1] = t
        }
      return n ? (values[int((n + 1) / 2)] + values[int(n / 2) + 1]) / 2 : 0
    }
    NR > 1 {
      us[$1 "," $2 "," $3] += $4; rounds[$1]; causes[$3]; total[$1 "," $2] += $4
      of_cause[$1 "," $3] += $4; all[$1] += $4
    }
    END {
      split("frontend leader catalog follower", roles, " ")
      for (round in rounds) {
        for (cause in causes) {
          for (i in roles)
            sums[roles[i] "," cause] = sums[roles[i] "," cause] " " us[round "," roles[i] "," cause] + 0
          sums["all," cause] = sums["all," cause] " " of_cause[round "," cause] + 0
        }
        for (i in roles) sums[roles[i]] = sums[roles[i]] " " total[round "," roles[i]] + 0
        sums["all"] = sums["all"] " " all[round]
      }
      for (cause in causes)
        printf "%09.2f| %s | %.1f | %.1f | %.1f | %.1f | %.1f |\n", median("all," cause), cause,
          median("frontend," cause), median("leader," cause), median("catalog," cause),
          median("follower," cause), median("all," cause) | "sort -r | sed \"s/^[0-9.]*|/|/\""
      close("sort -r | sed \"s/^[0-9.]*|/|/\"")
      printf "| all | %.1f | %.1f | %.1f | %.1f | %.1f |\n", median("frontend"), median("leader"),
        median("catalog"), median("follower"), median("all")
    }' "$results/causes.csv"
  printf '\n| role | thread | in user mode | in the kernel | waits |\n|---|---|---|---|---|\n'
  awk -F , 'NR > 1 {
      key = $2 " | " $3; user[key] += $4; kernel[key] += $5; waits[key] += $6
      if ($1 > rounds) rounds = $1
    }
    END {
      for (key in user)
        if (user[key] + kernel[key] >= 0.5 * rounds)
          printf "| %s | %.1f | %.1f | %.2f |\n", key, user[key] / rounds, kernel[key] / rounds,
            waits[key] / rounds
    }' "$results/threads.csv" | sort
  printf '\n| profile at commit | on | cores busy before |\n|---|---|---|\n'
  # shellcheck disable=SC2016 # the quotes are of Markdown
  printf '| `%s` | %s | %s |\n' "$(of_machine commit)" "$(of_machine date)" \
    "$(of_machine cores_busy_before)"
}

of_machine() { # KEY
  sed -n "s/.*\"$1\": \"*\([^\",]*\).*/\1/p" "$results/machine.json"
}

main "$@"
