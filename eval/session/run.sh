#!/usr/bin/env bash
# A session with the store, as a person has it who tries it for the first time: the demo, cached
# queries, purchases, a leader that is killed while clients shop, one that hangs, a catalog that is
# away, the databases, and an empty store again. Every command is run as it is written, in a fresh
# clone of the last commit.
#
#   eval/session/run.sh          (about two minutes, when the store is built)
#
# Leaves data/session.txt, which README.md and docs/output.md quote (tests/documents.rs compares),
# and data/machine.json. The addresses of roles.toml must be free.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

usage='eval/session/run.sh [--help]'
store=$work/toystore
recording=  # while what is printed goes to the session's record
foreground= # the store that runs in terminal 1
expected=   # how the front-end has to answer a command's requests
expected_exit=0
export unexpected=$work/unexpected # where a request leaves a note that it was answered otherwise

main() {
  take_arguments 0 "$@"
  need_sqlite3
  need_curl
  build
  check_addresses
  git clone --quiet --depth 1 -- "file://$repo" "$store"
  mkdir -p -- "$store/target/release"
  # Newer than the clone's sources, and so not built again.
  cp -- "$TOYSTORE_BIN" "$store/target/release/toystore"
  write_machine "$results/machine.json"
  unset TOYSTORE_BIN CARGO_TARGET_DIR
  cd -- "$store"
  before_the_end=close_store
  # Not `session >FILE || …`: within a condition, bash would go on after a failure.
  exec 3>&1 4>&2 >"$results/session.txt" 2>&1
  recording=yes
  session
  recording=
  exec >&3 2>&4 3>&- 4>&-
  cat -- "$results/session.txt"
  keep_results
}

# Nothing may be ordered in a store that is not this one.
check_addresses() {
  local host port
  while read -r host port; do
    if (: <>"/dev/tcp/$host/$port") 2>/dev/null; then
      fail "$host:$port is taken; is there a store that runs?"
    fi
  done < <(sed -n 's/^address = "\(.*\):\([0-9]*\)".*/\1 \2/p' "$repo/roles.toml")
}

session() {
  store_url=http://127.0.0.1:8080
  terminal 1
  run ./run.sh demo
  run rm -rf data
  open_terminal_1
  {
    first_steps
    fail_over
    hang
    lose_catalog
    compare_databases
  } >"$work/other-terminals.txt" 2>&1
  close_terminal_1
  cat -- "$work/terminal-1.txt" "$work/other-terminals.txt"
  rm -- "$work/other-terminals.txt"
  start_over
}

terminal() { printf '\n(terminal %s)\n' "$1"; }

# The store in the foreground, and its logs.
open_terminal_1() {
  local tries
  printf '$ ./run.sh\n' >"$work/terminal-1.txt"
  # Bash has what it starts in the background ignore Ctrl-C.
  env --default-signal=INT ./run.sh </dev/null >>"$work/terminal-1.txt" 2>&1 3>&- 4>&- &
  foreground=$!
  for ((tries = 0; tries < 300; tries++)); do
    ! grep -q '^The store is open' "$work/terminal-1.txt" || return 0
    sleep 0.1
  done
  broken_off 'the store did not open'
}

close_terminal_1() {
  local status=0
  printf '(Ctrl-C)\n' >>"$work/terminal-1.txt"
  kill -INT "$foreground"
  wait "$foreground" || status=$?
  foreground=
  ((status == 0)) || broken_off "run.sh ended with status $status"
}

first_steps() {
  terminal 2
  run curl -si "$store_url/products/Yo-Yo"
  run "curl -si $store_url/products/Yo-Yo | grep -i x-cache"
  run "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":3}' $store_url/orders"
  run "curl -si $store_url/products/Yo-Yo | grep -ie x-cache -e data"
  run "curl $store_url/orders/0"
  echo
  run "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":1}' -H 'Idempotency-Key: a-present' $store_url/orders"
  run "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":1}' -H 'Idempotency-Key: a-present' $store_url/orders"
  run_refused 422 "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":2}' -H 'Idempotency-Key: a-present' $store_url/orders"
  run_refused 409 "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":500}' $store_url/orders"
  run_refused 400 "curl -d '{\"name\":\"Yo-Yo\"}' $store_url/orders"
  run_refused 404 "curl $store_url/products/Teapot"
  run ./run.sh status
}

# A leader that was killed, then one that hangs: its process is there, and does not answer.
hang() {
  terminal 2
  run "grep 'epoch 2\\|caught up from [0-9]* to [1-9]' data/*.log | sort -t [ -sk 2"
  echo
  # shellcheck disable=SC2016 # for the shell that runs it
  run 'kill -STOP "$(cat data/order-2.pid)"'
  run "time curl -d '{\"name\":\"Yo-Yo\",\"quantity\":1}' $store_url/orders"
  expected_exit=1
  run ./run.sh status
  expected_exit=0
  # shellcheck disable=SC2016
  run 'kill -CONT "$(cat data/order-2.pid)"'
  sleep 1
  run "curl -s $store_url/cluster | grep -o '\"id\":[^}]*'"
}

lose_catalog() {
  echo
  run ./run.sh kill catalog
  run "(sleep 2; ./run.sh start catalog) & time curl -d '{\"name\":\"Yo-Yo\",\"quantity\":1}' $store_url/orders; wait"
}

compare_databases() {
  echo
  # shellcheck disable=SC2016 # for the shell that runs it
  run 'for id in 1 2 3; do sqlite3 data/order-$id.db "SELECT count(*), sum(quantity), max(number) FROM orders"; done'
  cp -- "$work/said" "$work/counts"
  run "sqlite3 data/catalog.db 'SELECT count(*), sum(quantity), max(number) FROM journal'"
  agree "$work/counts" "$work/said"
  # shellcheck disable=SC2016
  run 'for id in 1 2 3; do sqlite3 data/order-$id.db "SELECT number, name, quantity FROM orders" | sha256sum; done'
  sqlite3 data/catalog.db 'SELECT number, name, quantity FROM journal ORDER BY number' |
    sha256sum >"$work/journal"
  agree "$work/said" "$work/journal"
}

# Without its data folder the store begins anew.
start_over() {
  terminal 1
  run rm -rf data
  run ./run.sh up
  run_refused 404 "curl $store_url/orders/0"
  run ./run.sh down
}

# All lines have to be the same, and there has to be something in them.
agree() { # FILE…
  local different
  different=$(sort -u -- "$@")
  [[ $different == *[0-9]* && $different != *$'\n'* ]] || broken_off 'the databases differ'
}

# Two terminals: what the client prints comes first, when it is done.
fail_over() {
  local status=0
  terminal 3
  printf '$ target/release/toystore client -c 5 -d 10s --rate 100 -p 0.5 --seed 7\n'
  target/release/toystore client -c 5 -d 10s --rate 100 -p 0.5 --seed 7 </dev/null \
    >"$work/client.txt" 2>&1 3>&- 4>&- &
  client=$!
  sleep 3
  {
    run ./run.sh kill order-3
    sleep 1
    run "curl -s $store_url/cluster | grep -o '\"id\":[^}]*'"
    sleep 1
    run ./run.sh start order-3
  } >"$work/meanwhile.txt" 2>&1
  wait "$client" || status=$?
  client=
  cat -- "$work/client.txt"
  ((status == 0)) || broken_off "the client failed (exit status $status)"
  printf '\n(terminal 2, meanwhile)\n'
  cat -- "$work/meanwhile.txt"
  rm -- "$work/meanwhile.txt"
}

# Prints a command as it would be typed, and its output. Its exit status, and that of all of its
# parts, has to be the expected one; and the store has to answer its requests with 200.
run() { # COMMAND…
  local status=0
  expected=${expected:-200}
  export expected
  printf '$ %s\n' "$*"
  export -f curl
  bash -eo pipefail -c "$*" </dev/null >"$work/said" 2>&1 3>&- 4>&- || status=$?
  cat -- "$work/said"
  # An answer of the store's ends without a line's end.
  [[ $* != *curl* || $* == *grep* || $* == *time* ]] || echo
  ((status == expected_exit)) || broken_off "that ended with exit status $status"
  [[ ! -e $unexpected ]] || broken_off "$(<"$unexpected")"
}

# The same for a command that is there for how it is refused.
run_refused() { # STATUS COMMAND…
  expected=$1
  run "${@:2}"
  expected=
}

# What `curl` is to the commands. A terminal shows no progress of a download to standard output; nor
# does this.
curl() {
  local answered
  { answered=$(command curl --no-progress-meter --write-out '%{stderr}%{http_code}' "$@" \
    2>&1 >&5); } 5>&1 || { printf '%s\n' "$answered" >&2 && return 1; }
  [[ $answered == "$expected" ]] ||
    printf 'it was answered with status %s instead of %s' "$answered" "$expected" >"$unexpected"
}

broken_off() { # WHY
  printf '(%s)\n' "$*"
  exit 1
}

# A session that broke off is printed, and is no record.
close_store() {
  if [[ -n $recording ]]; then
    exec >&3 2>&4
    cat -- "$results/session.txt" "$work"/{terminal-1,other-terminals,meanwhile}.txt >&2 2>/dev/null ||
      true
    say "$experiment: the session broke off"
  fi
  [[ ! -d $store/data ]] || "$store/run.sh" down </dev/null >/dev/null 2>&1 || true
  cd -- "$repo"
}

main "$@"
