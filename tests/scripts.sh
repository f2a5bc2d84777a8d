#!/usr/bin/env bash
# Tests run.sh: what it does before it hands over to the executable. (tests/store/verbs has the tests
# of the verbs.) A machine is a folder of commands that PATH leads to; cargo, apt-get and rustup are
# stand-ins that note how they were called.
#
# The last line is the sum: `N passed, N failed`.

set -euo pipefail

repo=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
work=$(cd -- "$(mktemp -d)" && pwd -P)
trap 'rm -rf -- "$work" "$work.log"' EXIT
unset ROLES NO_COLOR TOYSTORE_BIN TOYSTORE_RUN_SH CARGO_TARGET_DIR RUSTUP_TOOLCHAIN CARGO_BUILD_TARGET

# --- the tests ------------------------------------------------------------------------------------

help_lists_every_verb_and_builds_nothing() {
  machine
  local word
  for word in help -h --help; do
    expect 0 ./run.sh "$word"
    says './run.sh up' './run.sh down' './run.sh status' './run.sh start' './run.sh stop' \
      './run.sh kill' './run.sh demo' ROLES TOYSTORE_BIN CARGO_TARGET_DIR
  done
  [[ ! -e called ]]
}

an_unknown_verb_is_refused_with_those_that_there_are() {
  machine
  expect 2 ./run.sh begin
  says 'no verb begin; try up, down, status, start, stop, kill, link, demo'
  expect 2 ./run.sh ''
  expect 2 ./run.sh --config x
  [[ ! -e called ]] # nothing is built first
}

verbs_are_passed_on_with_their_arguments_and_exit_status() {
  machine with cargo cc
  local verb
  for verb in up down status 'start order-1' 'stop order-1' 'kill order-1' demo; do
    # shellcheck disable=SC2086 # a verb and its role are two words
    expect 7 env STATUS=7 ./run.sh $verb
    says "toystore: $verb" "ROLES=$PWD/roles.toml" "RUN_SH=$PWD/run.sh"
  done
  expect 0 ./run.sh
  says 'toystore: run,'
  expect 0 ./run.sh start 'a role' --config 'a file'
  says 'toystore: start a role --config a file,'
}

it_works_from_any_folder_and_through_a_link() {
  machine with cargo cc
  local here=$PWD
  mkdir -p "$work/other folder"
  ln -s ../machine/run.sh "$work/other folder/link"
  cd "$work/other folder"
  expect 0 ./link up
  says 'toystore: up,' "ROLES=$here/roles.toml"
  cd /
  expect 0 "$here/run.sh" up
  says "ROLES=$here/roles.toml" "RUN_SH=$here/run.sh"
  ROLES='' expect 0 "$work/other folder/link" up
  says "ROLES=$here/roles.toml"
  ROLES=my.toml expect 0 "$here/run.sh" up
  says 'ROLES=my.toml'
}

another_executable_is_used_as_it_is() {
  machine
  expect 1 env TOYSTORE_BIN=none ./run.sh up
  says 'TOYSTORE_BIN is none, which is no executable'
  expect 1 env TOYSTORE_BIN="$work" ./run.sh up
  store_executable "$work/mine"
  expect 0 env TOYSTORE_BIN="$work/mine" ./run.sh up
  says 'toystore: up,'
  cd "$work"
  expect 0 env TOYSTORE_BIN=mine machine/run.sh up
  [[ ! -e machine/called ]]
}

it_is_built_only_when_sources_changed() {
  machine with cargo cc
  expect_builds 1 ./run.sh up # nothing is built yet
  expect_builds 1 ./run.sh up
  touch -d '1 minute' src/lib.rs
  expect_builds 2 ./run.sh start catalog
  touch -d '-1 minute' src/lib.rs
  touch -- target/release/toystore
  expect_builds 2 ./run.sh
  touch -d '1 minute' Cargo.lock
  local verb
  for verb in down status stop kill; do expect_builds 2 ./run.sh "$verb"; done # they start nothing
  expect_builds 3 ./run.sh demo
  touch -d '-1 minute' Cargo.lock
  touch -d '1 minute' .cargo/config.toml
  expect_builds 4 ./run.sh up
  touch -d '-1 minute' .cargo/config.toml
  expect_builds 5 env CARGO_TARGET_DIR="$work/elsewhere" ./run.sh status
  [[ -x $work/elsewhere/release/toystore ]]
  cd "$work"
  expect_builds 6 env CARGO_TARGET_DIR=relative machine/run.sh status
  [[ -x $work/relative/release/toystore ]]
}

a_source_that_changes_during_the_build_is_built_the_next_time() {
  machine with cargo cc
  expect_builds 1 env CHANGE="$PWD/src/lib.rs" ./run.sh up
  expect_builds 2 ./run.sh up
  expect_builds 2 ./run.sh up
}

a_build_that_fails_is_no_success() {
  machine with cargo cc
  expect 1 env CARGO_FAILS=1 ./run.sh up
  says 'the build failed'
}

a_missing_rust_or_compiler_is_said_with_the_command_to_type() {
  machine with failing-apt-get
  expect 1 ./run.sh up
  says "Rust $version or newer is missing; get it with: curl " https://sh.rustup.rs
  machine with cargo failing-apt-get
  expect 1 ./run.sh up
  says 'a C compiler is missing; get it with: sudo apt-get install -y build-essential'
  machine with old-cargo cc # no apt-get at all
  expect 1 ./run.sh up
  says "Rust $version or newer is missing; get it with: curl "
  machine with old-cargo cc failing-rustup
  expect 1 ./run.sh up
  says "Rust $version or newer is missing; get it with: rustup toolchain install stable"
}

a_fresh_machine_gets_what_a_build_needs() {
  machine with apt-get
  expect 0 ./run.sh up
  says 'installing: apt-get install -y rustup' 'rustup toolchain install stable' \
    'installing: apt-get install -y build-essential' 'building toystore' 'toystore: up,'
  grep -x 'rustup default stable' called
  grep -e --no-remove called
  expect_builds 1 ./run.sh up
}

an_old_rust_is_left_as_the_default_and_a_newer_one_is_used() {
  machine with old-cargo cc rustup
  touch default
  expect 0 ./run.sh up
  says 'rustup toolchain install stable' 'toystore: up,'
  ! grep -x 'rustup default stable' called || die 'it changed the default'
  grep 'toolchain install stable .*--no-self-update' called || die 'rustup may replace itself'
  touch -d '1 minute' src/lib.rs
  expect 0 ./run.sh up
  [[ $(grep -c 'toolchain install' called) == 1 ]] || die 'it installed it twice'
}

the_tests_set_up_the_same() {
  machine with failing-apt-get
  cp -r "$repo/tests/run.sh" tests.sh
  mkdir -p tests
  mv tests.sh tests/run.sh
  expect 1 tests/run.sh
  says "Rust $version or newer is missing; get it with: curl "
}

# --- how they are written -------------------------------------------------------------------------

# Makes a machine with the sources, run.sh and these commands, and goes there.
machine() { # [with COMMAND...]
  local tool
  version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repo/Cargo.toml")
  cd /
  rm -rf "$work/machine"
  mkdir -p "$work/machine/bin" "$work/machine/stand-ins"
  cd "$work/machine"
  export MACHINE=$PWD HOME=$PWD/home STAND_INS=$PWD/stand-ins
  cp -r "$repo"/{.cargo,src,Cargo.toml,Cargo.lock,run.sh,toolchain.sh,roles.toml} .
  mkdir -p eval tests
  cp -r "$repo/eval/links" eval/
  cp -r "$repo/tests/simulator" tests/
  write_stand_ins
  for tool in bash sh dirname env sed awk sort head stat find date touch mkdir cat cp mv \
    rm chmod grep ln readlink true mktemp; do
    ln -s "$(type -P "$tool")" bin/
  done
  for tool in "${@:2}"; do add "$tool"; done
}

add() { # COMMAND
  case $1 in
    cargo) cp stand-ins/cargo stand-ins/rustc bin/ && touch new ;;
    old-cargo) cp stand-ins/cargo stand-ins/rustc bin/ && touch old ;;
    failing-apt-get) printf '#!/bin/sh\nexit 100\n' >bin/apt-get && with_sudo ;;
    failing-rustup) printf '#!/bin/sh\nexit 1\n' >bin/rustup && chmod +x bin/rustup ;;
    apt-get) cp stand-ins/apt-get bin/ && with_sudo ;;
    rustup) cp stand-ins/rustup bin/ ;;
    cc) ln -s "$(type -P true)" bin/cc ;;
  esac
}

# A test that is not run as root has a sudo that asks for no password.
with_sudo() {
  # shellcheck disable=SC2016 # for the stand-in
  printf '#!/bin/sh\nshift\nexec "$@"\n' >bin/sudo
  chmod +x bin/*
}

# `new`, `old` and `stable` in the machine's folder tell which toolchains there are; `default`,
# whether rustup has a default.
write_stand_ins() {
  store_executable stand-ins/toystore
  cat >stand-ins/cargo <<'TEXT'
#!/bin/sh
# Called as: cargo build --release --locked --target-dir FOLDER
cd "$MACHINE"
if [ "$1" = --version ]; then exec rustc --version; fi
echo "cargo $*" >>called
[ -z "${CARGO_FAILS-}" ] || exit 1
mkdir -p "$5/release"
rm -f "$5/release/toystore"
cp "$STAND_INS/toystore" "$5/release/toystore"
[ -z "${CHANGE-}" ] || touch "$CHANGE"
TEXT
  cat >stand-ins/rustc <<TEXT
#!/bin/sh
cd "\$MACHINE"
if [ "\${RUSTUP_TOOLCHAIN-}" = stable ]; then
  [ -e stable ] && echo 'rustc 1.999.0 (a stand-in)'
elif [ -e new ]; then
  echo 'rustc $version.0 (a stand-in)'
elif [ -e old ]; then
  echo 'rustc 1.9.0 (a stand-in)'
else
  exit 1
fi
TEXT
  cat >stand-ins/apt-get <<'TEXT'
#!/bin/sh
cd "$MACHINE"
echo "apt-get $*" >>called
case "$*" in
  *install*rustup*) cp stand-ins/rustup stand-ins/cargo stand-ins/rustc bin/ ;;
  *install*build-essential*) ln -s "$(readlink bin/true)" bin/cc ;;
esac
TEXT
  cat >stand-ins/rustup <<'TEXT'
#!/bin/sh
cd "$MACHINE"
echo "rustup $*" >>called
case "$*" in
  'toolchain install stable'*) touch stable ;;
  'default stable') touch default ;;
  default) [ -e default ] ;;
esac
TEXT
  chmod +x stand-ins/*
}

# An executable that prints its arguments and what run.sh tells it.
store_executable() { # PATH
  cat >"$1" <<'TEXT'
#!/bin/sh
echo "toystore: $*, ROLES=$ROLES, RUN_SH=$TOYSTORE_RUN_SH"
exit "${STATUS:-0}"
TEXT
  chmod +x "$1"
}

# Runs COMMAND on the machine, keeps what it prints in `output`, and fails unless it exits with
# STATUS.
expect() { # STATUS COMMAND...
  local wanted=$1 status=0 tools=$PATH
  shift
  PATH=$MACHINE/bin
  output=$("$@" 2>&1 </dev/null) || status=$?
  PATH=$tools
  printf '$ %s\n%s\n' "$*" "$output"
  [[ $status == "$wanted" ]] || die "exit status $status instead of $wanted"
}

expect_builds() { # COUNT COMMAND...
  local count
  expect 0 "${@:2}"
  count=$(grep -c '^cargo build' "$MACHINE/called")
  [[ $count == "$1" ]] || die "$count builds instead of $1"
}

says() { # TEXT...
  local text
  for text in "$@"; do [[ $output == *"$text"* ]] || die "does not say: $text"; done
}

die() {
  printf 'FAILED in line %s: %s\n' "${BASH_LINENO[1]}" "$1"
  exit 1
}

# --- running them ---------------------------------------------------------------------------------

main() { # [TEST...]
  local test passed=0 failed=0 status
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
    find "$work" -mindepth 1 -delete
  done
  printf '%s passed, %s failed\n' "$passed" "$failed"
  ((failed == 0))
}

# All functions above the second heading, in their order, or those that are named.
tests() { # [TEST...]
  if (($# > 0)); then
    printf '%s\n' "$@"
  else
    sed -n '/^# --- how/q; s/^\([a-z_]*\)() {$/\1/p' "$repo/tests/scripts.sh"
  fi
}

run_test() ( # TEST
  set -e
  cd "$repo"
  "$1"
)

main "$@"
