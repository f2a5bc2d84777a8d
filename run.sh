#!/usr/bin/env bash
# Runs the toy store. Builds it first if its sources changed, and installs what the build needs.
#
#   ./run.sh              start the store here and show its logs; Ctrl-C stops every role
#   ./run.sh up           start it in the background; return when every role is ready
#   ./run.sh up --lab     start it and stay; the web page can kill roles and cut links
#   ./run.sh down         stop every role that was started for this roles.toml
#   ./run.sh status       a line per role; the exit status is 0 if every role is ready, else 1
#   ./run.sh start ROLE   start one role and wait until it is healthy
#   ./run.sh stop ROLE    stop one role in order (SIGTERM)
#   ./run.sh kill ROLE    kill one role, as a crash would (SIGKILL)
#   ./run.sh link         list the links between roles of a store that `up --lab` runs;
#                         link FROM TO cut, hold, slow or mend changes one
#   ./run.sh demo         five clients shop; the leader is killed and started again
#   ./run.sh help         this text
#
# ROLE is catalog, order-1, frontend, ..., as `./run.sh status` lists them. The environment:
#
#   ROLES             the roles.toml to use, instead of the one beside run.sh
#   TOYSTORE_BIN      the executable to use; then nothing is built
#   CARGO_TARGET_DIR  where to build, instead of target beside run.sh
#   NO_COLOR          if set, the output has no colours on a terminal

set -euo pipefail
unset CDPATH
# shellcheck source=toolchain.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/toolchain.sh"

main() {
  local verb=${1-run}
  case $verb in
    help | -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$repo/run.sh" && return 0 ;;
    run | up | down | status | start | stop | kill | link | demo) ;;
    *) fail "there is no verb $verb; try up, down, status, start, stop, kill, link, demo or help" 2 ;;
  esac
  find_binary "$verb"
  export ROLES=${ROLES:-$repo/roles.toml} TOYSTORE_RUN_SH=$repo/run.sh
  exec "$binary" "$verb" "${@:2}"
}

# Only a verb that starts something needs the newest executable.
find_binary() { # VERB
  local target=${CARGO_TARGET_DIR:-$repo/target}
  binary=${TOYSTORE_BIN:-$target/release/toystore}
  [[ $binary == /* ]] || binary=$PWD/$binary
  if [[ -n ${TOYSTORE_BIN:-} ]]; then
    [[ -f $binary && -x $binary ]] || fail "TOYSTORE_BIN is $TOYSTORE_BIN, which is no executable"
  elif [[ ! -x $binary ]] || { [[ $1 == @(run|up|start|demo) ]] &&
    [[ -n $(sources_newer_than "@$(stat -c %.9Y -- "$binary")") ]]; }; then
    build "${binary%/release/toystore}"
  fi
}

sources_newer_than() { # TIME
  # The executable has the proxy of links and the simulator.
  find "$repo"/{.cargo,src,eval/links,tests/simulator,Cargo.{toml,lock}} -newermt "$1" -print -quit
}

build() { # TARGET
  local began
  set_up
  complain "building toystore, which takes some minutes the first time"
  began=$(date +@%s.%N)
  (cd -- "$repo" && cargo build --release --locked --target-dir "$1") ||
    fail "the build failed; the reason is above"
  [[ -x $binary ]] || fail "cargo did not build $binary; unset CARGO_BUILD_TARGET"
  # Cargo leaves the executable as it is when a change did not matter; its date says that this is
  # known. A source that changed during the build is built the next time.
  [[ -z $(sources_newer_than "$began") ]] || touch -d "$began" -- "$binary"
  [[ -n $(sources_newer_than "$began") ]] || touch -- "$binary"
}

main "$@"
