#!/usr/bin/env bash
# Runs the toy store. Builds it first if its sources changed, and installs what the build needs.
#
#   ./run.sh              start the store here and show its logs; Ctrl-C stops every role
#   ./run.sh up           start it in the background; return when every role is ready
#   ./run.sh down         stop every role that was started for this roles.toml
#   ./run.sh status       a line per role; the exit status is 0 if every role is ready, else 1
#   ./run.sh start ROLE   start one role and wait until it is healthy
#   ./run.sh stop ROLE    stop one role in order (SIGTERM)
#   ./run.sh kill ROLE    kill one role, as a crash would (SIGKILL)
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
repo=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")

main() {
  local verb=${1-run}
  case $verb in
    help | -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$repo/run.sh" && return 0 ;;
    run | up | down | status | start | stop | kill | demo) ;;
    *) fail "there is no verb $verb; try up, down, status, start, stop, kill, demo or help" 2 ;;
  esac
  find_binary "$verb"
  export ROLES=${ROLES:-$repo/roles.toml} TOYSTORE_RUN_SH=$repo/run.sh
  exec "$binary" "$verb" "${@:2}"
}

complain() { printf 'run.sh: %s\n' "$*" >&2; }

fail() { # MESSAGE [STATUS]
  complain "$1"
  exit "${2:-1}"
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
  find "$repo/src" "$repo/Cargo.toml" "$repo/Cargo.lock" -newermt "$1" -print -quit
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

# --- what a build needs (tests/run.sh uses this, too) ---------------------------------------------

set_up() {
  local version
  [[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
  version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repo/Cargo.toml")
  has_rust "$version" || get_rust "$version" ||
    fail "Rust $version or newer is missing; get it with: $(rust_command)"
  command -v cc >/dev/null || { install_packages build-essential && command -v cc >/dev/null; } ||
    fail 'a C compiler is missing; get it with: sudo apt-get install -y build-essential'
}

has_rust() { # VERSION
  local found
  found=$({ cargo --version && rustc --version; } 2>/dev/null | awk 'NR == 2 { print $2 }') &&
    [[ -n $found && $(printf '%s\n' "$1" "$found" | sort -V | head -n 1) == "$1" ]]
}

# Leaves rustup itself and a person's default toolchain alone: `stable` is for this build, unless
# there is no default.
get_rust() { # VERSION
  command -v rustup >/dev/null || install_packages rustup ca-certificates || return 1
  RUSTUP_TOOLCHAIN=stable has_rust "$1" || {
    complain "installing Rust's stable toolchain: rustup toolchain install stable"
    rustup toolchain install stable --profile minimal --no-self-update >&2 || return 1
  }
  rustup default >/dev/null 2>&1 || rustup default stable >&2 || return 1
  export RUSTUP_TOOLCHAIN=stable
  has_rust "$1"
}

rust_command() {
  if command -v rustup >/dev/null; then
    printf 'rustup toolchain install stable && rustup default stable'
  else
    printf "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  fi
}

# Installs Debian packages, as root or with a sudo that asks for no password. Removes none.
install_packages() { # PACKAGE...
  local as_root=()
  ((EUID == 0)) || as_root=(sudo -n)
  command -v apt-get >/dev/null && { ((EUID == 0)) || sudo -n true 2>/dev/null; } || return 1
  complain "installing: apt-get install -y $*"
  "${as_root[@]}" apt-get update -q </dev/null >&2 || true
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-remove --no-install-recommends "$@" </dev/null >&2
}

[[ ${BASH_SOURCE[0]} != "$0" ]] || main "$@"
