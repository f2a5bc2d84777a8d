#!/usr/bin/env bash
# A session with the store, as somebody has it who tries it for the first time: cached queries,
# purchases, a leader that is killed while clients shop, a catalog that is away, the databases.
# Every command is run as it is written, in a fresh clone of the last commit.
#
#   eval/session/run.sh          (about a minute, when the store is built)
#
# Leaves data/session.txt, which docs/output.md quotes (tests/documents.rs holds it to that), and
# data/machine.json. The addresses of roles.toml must be free.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

data=$repo/eval/session/data
store=$work/toystore

main() {
  build
  need sqlite3 'sudo apt-get install -y sqlite3'
  need curl 'sudo apt-get install -y curl'
  git clone --quiet --depth 1 -- "file://$repo" "$store"
  mkdir -p -- "$store/target/release" "$data"
  # Newer than the clone's sources, and so not built again.
  cp -- "$TOYSTORE_BIN" "$store/target/release/toystore"
  unset TOYSTORE_BIN CARGO_TARGET_DIR
  cd -- "$store"
  trap down_and_end EXIT
  write_machine "$data/machine.json"
  session >"$work/session.txt" 2>&1 || { cat -- "$work/session.txt" >&2 && fail 'the session broke off'; }
  mv -- "$work/session.txt" "$data/session.txt"
  cat -- "$data/session.txt"
}

session() {
  local store_url=http://127.0.0.1:8080
  run ./run.sh up
  echo
  run curl -si "$store_url/products/Yo-Yo"
  run "curl -si $store_url/products/Yo-Yo | grep -i x-cache"
  run "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":3}' $store_url/orders"
  run "curl -si $store_url/products/Yo-Yo | grep -ie x-cache -e data"
  run "curl $store_url/orders/0"
  echo
  run "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":1}' -H 'Idempotency-Key: a-present' $store_url/orders"
  run "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":1}' -H 'Idempotency-Key: a-present' $store_url/orders"
  run "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":2}' -H 'Idempotency-Key: a-present' $store_url/orders"
  run "curl -d '{\"name\":\"Yo-Yo\",\"quantity\":500}' $store_url/orders"
  run "curl -d '{\"name\":\"Yo-Yo\"}' $store_url/orders"
  run "curl $store_url/products/Teapot"
  echo
  fail_over
  echo
  run "grep 'epoch 2\\|in step with [1-9]' data/*.log | sort -t [ -sk 2"
  echo
  run ./run.sh kill catalog
  run "(sleep 2; ./run.sh start catalog) & time curl -d '{\"name\":\"Yo-Yo\",\"quantity\":1}' $store_url/orders; wait"
  run ./run.sh status
  echo
  # shellcheck disable=SC2016 # for the shell that runs it
  run 'for id in 1 2 3; do sqlite3 data/order-$id.db "SELECT count(*), sum(quantity), max(number) FROM orders"; done'
  run "sqlite3 data/catalog.db 'SELECT count(*), sum(quantity), max(number) FROM journal'"
  # shellcheck disable=SC2016
  run 'for id in 1 2 3; do sqlite3 data/order-$id.db "SELECT number, name, quantity FROM orders" | sha256sum; done'
  echo
  run ./run.sh down
}

# Two terminals: the client's output comes when it is done.
fail_over() {
  local client
  printf '$ target/release/toystore client -c 5 -d 10s --rate 100 -p 0.5 --seed 7\n'
  target/release/toystore client -c 5 -d 10s --rate 100 -p 0.5 --seed 7 </dev/null >"$work/client.txt" 2>&1 &
  client=$!
  sleep 3
  {
    run ./run.sh kill order-3
    sleep 1
    run "curl -s http://127.0.0.1:8080/cluster | grep -o '\"id\":[^}]*'"
    sleep 1
    run ./run.sh start order-3
  } >"$work/meanwhile.txt" 2>&1
  wait "$client"
  cat -- "$work/client.txt"
  printf '\n(meanwhile, in another terminal)\n'
  cat -- "$work/meanwhile.txt"
}

# Prints a command as it would be typed, and what comes of it.
run() { # COMMAND…
  printf '$ %s\n' "$*"
  # A terminal shows no progress of a download to standard output; nor should this.
  curl() { command curl --no-progress-meter "$@"; }
  export -f curl
  # A command may be there for how it fails.
  bash -c "$*" </dev/null || true
  # An answer of the store's ends without a line's end.
  [[ $* != *curl* || $* == *grep* || $* == *wait ]] || echo
}

down_and_end() {
  "$store/run.sh" down </dev/null >/dev/null 2>&1
  cd -- "$repo"
  end_experiment
}

main "$@"
