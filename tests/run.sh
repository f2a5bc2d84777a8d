#!/usr/bin/env bash
# Runs every test, on Debian or Ubuntu. Installs what it needs where it may: as root, or with a sudo
# that asks for no password. What a missing tool leaves out, it says; with CI set that is a failure.
#
# The last line is the sum over all parts: `N passed, N failed`.

set -euo pipefail

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."
# shellcheck source=toolchain.sh
source ./toolchain.sh
unset CARGO_BUILD_TARGET # it would put the executables elsewhere

# Those whose names are not those of their commands are in is_there.
readonly PACKAGES=(buildah etcd-server nginx-light postgresql prometheus shellcheck sqlite3 valgrind varnish wrk)
readonly PARTS=(./check.sh tests/scripts.sh tests/browser.sh tests/interfaces.sh eval/hosts/test.sh) # commands
# The first two build for minutes, partly on one core. The others have time enough beside them: what
# they wait for may take 30 s.
readonly PARTS_AT_ONCE=(benches/counts.sh container/test.sh eval/bench/test.sh eval/deploy/test.sh)

report=$(mktemp)
outputs=$(mktemp -d)
running=() # process groups
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

main() {
  local part passed failed status=0
  set_up_tests
  for part in "${PARTS[@]}"; do
    printf '\n=== %s\n' "$part"
    "$part" 2>&1 </dev/null | tee -a -- "$report" || status=1
    [[ $part != ./check.sh ]] || use_its_executable
  done
  run_at_once "${PARTS_AT_ONCE[@]}" || status=1
  passed=$(sum passed)
  failed=$(sum failed)
  # A step that runs no tests, such as the lints, can fail too.
  ((status == 0 || failed > 0)) || failed=1
  printf '\n%s passed, %s failed\n' "$passed" "$failed"
  ((failed == 0))
}

# The one that `cargo test` has just built, unless the caller names another. The other parts would
# build one of their own, and its libraries: the tests add features to some. If this source cannot be
# built, an executable that is there is of another, and the parts are to fail.
use_its_executable() {
  [[ -z ${TOYSTORE_BIN-} ]] || return 0
  cargo test --quiet --workspace --features failpoints --locked --no-run >/dev/null 2>&1 || return 0
  TOYSTORE_BIN=$(readlink -f -- "${CARGO_TARGET_DIR:-target}")/debug/toystore
  if [[ -x $TOYSTORE_BIN ]]; then export TOYSTORE_BIN; else unset TOYSTORE_BIN; fi
}

run_at_once() { # PART…
  local part status=0
  set -m # a process group for each, which clean_up can end
  for part in "$@"; do
    "$part" >"$outputs/${part//\//-}" 2>&1 </dev/null &
    running+=($!)
  done
  set +m
  for part in "$@"; do
    printf '\n=== %s\n' "$part"
    wait "${running[0]}" || status=1
    running=("${running[@]:1}")
    tee -a -- "$report" <"$outputs/${part//\//-}"
  done
  return "$status"
}

clean_up() {
  local group looks
  # They do not hear of Ctrl-C.
  for group in "${running[@]}"; do
    kill -TERM -- "-$group" 2>/dev/null || continue
    wait "$group" || :
    # Those that it started may take longer to end.
    for ((looks = 0; looks < 300; looks++)); do
      kill -0 -- "-$group" 2>/dev/null || break
      sleep 0.1
    done
  done
  rm -rf -- "$report" "$outputs"
}

# Adds up what cargo (`test result: ok. 12 passed; 0 failed; …`) and the scripts report.
sum() { # passed | failed
  grep -E '^(test result: .*|[0-9]+ passed, [0-9]+ failed$)' -- "$report" |
    grep -oE "[0-9]+ $1" | awk '{ sum += $1 } END { print sum + 0 }'
}

set_up_tests() {
  set_up
  get_packages
  cargo fmt --version >/dev/null 2>&1 || get_component rustfmt
  cargo clippy --version >/dev/null 2>&1 || get_component clippy
  command -v cargo-deny >/dev/null || get_cargo_deny
}

get_packages() {
  local package missing=()
  PATH=$PATH:/usr/sbin # where a person's shell may not look
  for package in "${PACKAGES[@]}"; do
    is_there "$package" || missing+=("$package")
  done
  ((${#missing[@]} > 0)) || return 0
  if ! install_packages "${missing[@]}"; then
    printf 'left out: what needs %s; get it with: sudo apt-get install -y %s\n' \
      "${missing[*]}" "${missing[*]}"
  fi
}

is_there() { # PACKAGE
  case $1 in
    postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;; # not on the PATH
    etcd-server) command -v etcd >/dev/null ;;
    nginx-light) command -v nginx >/dev/null ;;
    varnish) command -v varnishd >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

get_component() { # COMPONENT
  command -v rustup >/dev/null && rustup component add "$1" </dev/null && return 0
  printf 'left out: what needs %s; get it with: rustup component add %s\n' "$1" "$1"
}

get_cargo_deny() {
  printf '=== setting up: cargo-deny\n'
  cargo install --quiet --locked cargo-deny </dev/null && return 0
  printf 'left out: what needs cargo-deny; get it with: cargo install --locked cargo-deny\n'
}

main
