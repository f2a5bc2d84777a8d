#!/usr/bin/env bash
# Tests run.sh on real processes, each test in a folder and at a loopback address of its own.
# TOYSTORE_BIN is the executable to test with; without it, run.sh builds one.
#
# The last line is the sum: `N passed, N failed`.

set -euo pipefail

repo=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
work=$(cd -- "$(mktemp -d)" && pwd -P)
trap clean_up EXIT
unset ROLES NO_COLOR

# --- the tests ------------------------------------------------------------------------------------

help_lists_every_verb() {
  expect 0 ./run.sh help
  local verb
  for verb in up down status start stop kill demo; do says "./run.sh $verb"; done
}

an_unknown_verb_or_role_is_refused_with_what_is_allowed() {
  cluster here
  expect 2 ./run.sh begin
  says 'no verb begin; try up, down, status, start, stop, kill, demo'
  expect 2 ./run.sh up now
  expect 2 ./run.sh kill order-7
  says 'no role is called order-7' 'catalog order-1 order-2 order-3 frontend'
  expect 2 ./run.sh start
  says 'start needs a role: catalog order-1'
  ROLES=$work/nowhere.toml expect 1 ./run.sh up
  says 'nowhere.toml' ROLES
}

up_starts_every_role_once_and_down_stops_all() {
  cluster here
  expect 1 ./run.sh status
  expect 0 ./run.sh up
  expect 0 ./run.sh status
  local before=$output
  [[ $(grep -c 'ready$' <<<"$before") == 5 ]]
  expect 0 ./run.sh up
  says 'order-2 runs already'
  expect 0 ./run.sh status
  [[ $output == "$before" ]]
  expect 0 ./run.sh down
  expect 1 ./run.sh status
  [[ $(grep -c ' down$' <<<"$output") == 5 ]]
  [[ -z $(compgen -G "$data/*.pid") ]]
  expect 0 ./run.sh down
  says 'catalog does not run'
}

a_killed_role_is_down_until_it_is_started() {
  cluster here
  expect 0 ./run.sh up
  local before
  before=$(pid_in order-2)
  expect 0 ./run.sh kill order-2
  expect 1 ./run.sh status
  matches 'order-2 .* down' 'order-3 .* ready'
  expect 0 ./run.sh kill order-2
  says 'order-2 does not run'
  expect 0 ./run.sh start order-2
  [[ $(pid_in order-2) != "$before" ]]
  expect 0 ./run.sh status
  expect 0 ./run.sh start order-2
  says 'order-2 runs already'
}

a_stopped_role_ends_in_order() {
  cluster here
  expect 0 ./run.sh up
  expect 0 ./run.sh stop frontend
  [[ ! -e $data/frontend.pid ]]
  tail -n 1 "$data/frontend.log" | grep 'ended in order'
  expect 0 ./run.sh stop frontend
  says 'frontend does not run'
}

a_role_that_does_not_end_is_killed() {
  cluster here
  expect 0 ./run.sh up
  kill -s STOP "$(pid_in order-1)"
  expect 1 ./run.sh status
  matches 'order-1 .* alive, not ready'
  expect 0 ./run.sh stop order-1
  says 'order-1' 'SIGKILL'
}

a_role_without_its_neighbours_is_started_and_said_not_to_be_ready() {
  cluster here
  expect 0 ./run.sh start order-1
  says 'order-1 is alive, but not ready yet'
  expect 0 ./run.sh up
  expect 0 ./run.sh status
}

a_role_that_somebody_else_started_is_left_alone() {
  cluster here
  "$binary" catalog --config "$ROLES" 2>/dev/null &
  local pid=$!
  eventually test -s "$data/catalog.pid"
  local verb
  for verb in stop kill; do
    expect 1 ./run.sh "$verb" catalog
    says "catalog runs (pid $pid), but was not started by run.sh; left alone"
  done
  expect 0 ./run.sh up
  says 'left alone'
  expect 0 ./run.sh status
  says '(not started by run.sh)'
  expect 1 ./run.sh down
  kill "$pid" # fails if it is gone
  wait "$pid"
}

a_number_that_a_crash_left_behind_is_not_signalled() {
  cluster here
  mkdir "$data"
  TOYSTORE_STARTED_BY=$ROLES sleep 60 &
  local pid=$!
  echo "$pid" >"$data/catalog.pid"
  expect 0 ./run.sh kill catalog
  says 'catalog does not run'
  expect 0 ./run.sh down
  expect 0 ./run.sh start catalog
  expect 0 ./run.sh stop catalog
  kill "$pid" # fails if it is gone
}

it_works_from_any_folder_and_through_a_link() {
  cluster 'a folder'
  cd "$work/a folder"
  ROLES=roles.toml expect 0 "$repo/run.sh" up
  cd /
  ROLES=${work#/}/'a folder/../a folder/roles.toml' expect 0 "$repo/run.sh" status
  expect 0 "$repo/run.sh" down

  cluster copy
  copy_of_the_sources
  ln -s copy/run.sh "$work/link"
  cd /
  ROLES='' PATH=$work/copy/bin:$PATH expect 0 "$work/link" start catalog
  says "catalog is ready at $address"
}

two_clusters_run_side_by_side() {
  cluster one
  expect 0 ./run.sh up
  local one=$ROLES
  cluster two
  expect 0 ./run.sh up
  expect 0 ./run.sh down
  ROLES=$one expect 0 ./run.sh status
}

the_foreground_shows_all_logs_and_ends_with_ctrl_c() {
  cluster here
  start_foreground
  local before
  before=$(grep -c '^order-3  | ' "$work/here/foreground")
  ((before > 0))
  expect 1 ./run.sh
  says 'catalog runs already'
  expect 0 ./run.sh kill order-3
  expect 0 ./run.sh start order-3
  eventually logs_more_than "$before" order-3
  # The terminal sends Ctrl-C to all of the session: roles are in sessions of their own.
  [[ $(processes_of_session "$foreground") != */"$(pid_in catalog)"/* ]]
  end_foreground INT
  grep '^catalog  | .*ended in order' "$work/here/foreground"
}

the_foreground_ends_with_sigterm_and_with_its_terminal() {
  cluster here
  local signal
  for signal in TERM HUP; do
    start_foreground
    end_foreground "$signal"
  done
}

a_role_that_cannot_start_is_named_and_its_log_shown() {
  cluster one
  expect 0 ./run.sh up
  local taken=$address
  cluster two
  sed -i "s/^address = .*:8092.*/address = \"$taken:8080\"/" "$ROLES"
  expect 1 ./run.sh up
  says 'order-2 is not ready' "$taken:8080" 'stop what listens there'
  expect 1 ./run.sh status
  matches 'order-1 .* ready' 'order-2 .* down'
  expect 0 ./run.sh down
  expect 1 ./run.sh
  says 'order-2 is not ready'
  expect 1 ./run.sh status
  matches 'catalog .* down'
  expect 1 ./run.sh start order-2
}

it_is_built_only_when_sources_changed() {
  cluster copy
  copy_of_the_sources
  expect_builds 1 # nothing is built yet
  expect_builds 1
  touch -d '1 minute' src/lib.rs
  expect_builds 2
  touch -d '-1 minute' src/lib.rs
  touch -- target/release/toystore
  expect_builds 2
  touch -d '1 minute' Cargo.lock
  expect 0 ./run.sh stop catalog # what only stops does not build
  [[ $(wc -l <built) == 2 ]]
  expect 0 env CARGO_TARGET_DIR="$work/elsewhere" PATH="$PWD/bin:$PATH" ./run.sh start catalog
  [[ -x $work/elsewhere/release/toystore ]]
}

what_a_build_lacks_is_said_with_where_to_get_it() {
  cluster copy
  copy_of_the_sources
  local tool
  rm bin/*
  for tool in bash readlink dirname basename env; do ln -s "$(command -v "$tool")" bin/; done
  expect 1 env HOME=/nonexistent PATH="$PWD/bin" ./run.sh up
  says 'cargo is missing' 'rustup'
  ln -s /bin/true bin/cargo
  expect 1 env HOME=/nonexistent PATH="$PWD/bin" ./run.sh up
  says 'C compiler is missing' 'build-essential'
}

the_demo_changes_the_leader_and_leaves_nothing_running() {
  cluster here
  expect 0 ./run.sh demo
  matches 'order-3 .*is killed' 'order-2 leads now' 'order-3 is ready'
  if [[ -n ${CI:-} ]] || command -v sqlite3 >/dev/null; then
    says 'All replicas have the same orders'
  fi
  expect 1 ./run.sh status
  [[ $(grep -c ' down$' <<<"$output") == 5 ]]
  expect 0 ./run.sh up
  expect 1 ./run.sh demo
  says 'runs already'
}

a_demo_that_is_ended_early_leaves_nothing_running() {
  local demo status=0
  cluster here
  ./run.sh demo </dev/null >"$work/demo.log" 2>&1 &
  demo=$!
  eventually grep -q 'Five clients shop' "$work/demo.log"
  eventually is_shopping
  kill -TERM "$demo"
  wait "$demo" || status=$?
  [[ $status == 1 ]] || die "the demo ended with $status"
  ! is_shopping || die 'the client goes on'
  ! grep 'final check' "$work/demo.log" || die 'the client asked a store that was closing'
  expect 1 ./run.sh status
  [[ $(grep -c ' down$' <<<"$output") == 5 ]]
}

# --- how they are written -------------------------------------------------------------------------

# Makes a cluster in a folder NAME, with its own address, and lets ROLES, data and address tell it.
cluster() { # NAME
  address=127.$((RANDOM % 200 + 20)).$((RANDOM % 254 + 1)).$((RANDOM % 254 + 1))
  mkdir -p "$work/$1"
  export ROLES=$work/$1/roles.toml
  data=$work/$1/data
  sed "s/127\.0\.0\.1/$address/" "$repo/roles.toml" >"$ROLES"
}

# Runs COMMAND, keeps what it prints in `output`, and fails unless it exits with STATUS.
expect() { # STATUS COMMAND…
  local wanted=$1 status=0
  shift
  output=$("$@" 2>&1 </dev/null) || status=$?
  printf '$ %s\n%s\n' "$*" "$output"
  [[ $status == "$wanted" ]] || die "exit status $status instead of $wanted"
}

says() { # TEXT…
  local text
  for text in "$@"; do [[ $output == *"$text"* ]] || die "does not say: $text"; done
}

matches() { # REGULAR-EXPRESSION…
  local expression
  for expression in "$@"; do
    grep -qE "$expression" <<<"$output" || die "no line matches: $expression"
  done
}

# Whether a client of this cluster runs.
is_shopping() {
  local words
  for words in /proc/[0-9]*/cmdline; do
    words=$(tr '\0' ' ' 2>/dev/null <"$words") || continue
    [[ $words != *' client '*" --config $ROLES "* ]] || return 0
  done
  return 1
}

eventually() { # COMMAND…
  local deadline=$((SECONDS + 20))
  until "$@"; do
    ((SECONDS < deadline)) || die "still not so after 20 s: $*"
    sleep 0.05
  done
}

die() {
  printf 'FAILED in line %s: %s\n' "${BASH_LINENO[1]}" "$1"
  exit 1
}

pid_in() { # ROLE
  cat "$data/$1.pid"
}

logs_more_than() { # COUNT ROLE
  (($(grep -c "^$2 *| " "$work/here/foreground") > $1))
}

# A session of its own, so that whatever it leaves running can be told; Ctrl-C not ignored, as bash
# does to what it starts in the background.
start_foreground() {
  setsid env --default-signal=INT,HUP ./run.sh >"$work/here/foreground" 2>&1 </dev/null &
  foreground=$!
  eventually logs_more_than 0 frontend
  eventually logs_more_than 0 order-3
}

end_foreground() { # SIGNAL
  local status=0
  kill -s "$1" -- "-$foreground"
  wait "$foreground" || status=$?
  cat "$work/here/foreground"
  [[ $status == 0 ]] || die "exit status $status after SIG$1"
  [[ -z $(processes_of_session "$foreground") ]] || die "it leaves processes behind"
  expect 1 ./run.sh status
  [[ $(grep -c ' down$' <<<"$output") == 5 ]]
}

processes_of_session() { # ID
  local stat fields
  for stat in /proc/[0-9]*/stat; do
    { fields=$(<"$stat"); } 2>/dev/null || continue
    read -r -a fields <<<"${fields##*) }"
    [[ ${fields[3]} != "$1" || ${fields[0]} == Z ]] || printf '%s\n' "$stat"
  done
}

# Adds to the cluster `copy` the sources, run.sh and, in bin, a cargo that only notes that it was
# called.
copy_of_the_sources() {
  mkdir "$work/copy/bin"
  cd "$work/copy"
  cp -r "$repo"/{src,Cargo.toml,Cargo.lock,run.sh} .
  cat >bin/cargo <<'TEXT'
#!/bin/sh
# Called as: cargo build --release --locked --target-dir FOLDER
echo "$*" >>"$COPY/built"
mkdir -p "$5/release"
rm -f "$5/release/toystore"
cp "$BUILT" "$5/release/toystore"
TEXT
  chmod +x bin/cargo
  export COPY=$PWD BUILT=$binary
  unset TOYSTORE_BIN CARGO_TARGET_DIR
}

expect_builds() { # COUNT
  expect 0 env PATH="$PWD/bin:$PATH" ./run.sh start catalog
  [[ $(wc -l <built) == "$1" ]] || die "$(wc -l <built) builds instead of $1"
}

# --- running them ---------------------------------------------------------------------------------

main() { # [TEST…]
  local test passed=0 failed=0 status
  find_binary
  for test in $(tests "$@"); do
    set +e # here, so that `set -e` counts within
    run_test "$test" >"$work.log" 2>&1
    status=$?
    set -e
    if ((status == 0)); then
      printf 'ok      %s\n' "${test//_/ }"
      passed=$((passed + 1))
    else
      printf 'FAILED  %s\n' "${test//_/ }"
      sed 's/^/    /' -- "$work.log"
      failed=$((failed + 1))
    fi
    close_clusters
  done
  printf '%s passed, %s failed\n' "$passed" "$failed"
  ((failed == 0))
}

# All functions above the second heading, in their order, or those that are named.
tests() { # [TEST…]
  if (($# > 0)); then
    printf '%s\n' "$@"
  else
    sed -n '/^# --- how/q; s/^\([a-z_]*\)() {$/\1/p' "$repo/tests/scripts.sh"
  fi
}

run_test() ( # TEST
  set -e
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
  cd "$repo"
  "$1"
)

find_binary() {
  if [[ -z ${TOYSTORE_BIN:-} ]]; then
    cluster build
    "$repo/run.sh" start catalog
    "$repo/run.sh" stop catalog
    TOYSTORE_BIN=${CARGO_TARGET_DIR:-$repo/target}/release/toystore
  fi
  binary=$(readlink -f -- "$TOYSTORE_BIN")
  export TOYSTORE_BIN=$binary
}

close_clusters() {
  local roles
  for roles in "$work"/*/roles.toml; do
    [[ ! -f $roles ]] || ROLES=$roles "$repo/run.sh" down >/dev/null 2>&1 || true
  done
  find "$work" -mindepth 1 -delete
}

clean_up() {
  close_clusters
  rm -rf -- "$work" "$work.log"
}

main "$@"
