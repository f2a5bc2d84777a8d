#!/usr/bin/env bash
# Tests the deployment without an AWS account: deploy.sh against a server that stands for AWS
# (moto, its validation on), the units with systemd's own checkers. With --instance also the rest,
# on a Debian that is made and booted in a container: user data, build, start, use; that takes five
# minutes or more and needs root. With --three, on three of them, with PostgreSQL and Patroni.
#
#   ./test.sh [--instance] [--three] [TEST…]
#
# What a missing tool leaves out, it says; with CI set that is a failure. The last line is the sum:
# `N passed, N failed`.

# shellcheck disable=SC2034 # the parts use some of the variables
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
repo=$(readlink -f -- "$here/../..")
tools=${CARGO_TARGET_DIR:-$repo/target}/deploy-tools # made once; in a folder that git ignores
work=$(cd -- "$(mktemp -d)" && pwd -P)
parts=()                                            # files of tests
wanted=()                                           # the tests, if not all
servers=()                                          # the processes that stand for AWS
within=()                                           # the command that runs others in its network

# shellcheck source=tests/support/suite.sh
source "$repo/tests/support/suite.sh"
# shellcheck source=/dev/null # checked on their own
for part in cloud units instance three; do source "$here/test/$part.sh"; done

main() { # [--instance] [--three] [TEST…]
  local part test
  trap clean_up EXIT
  trap 'exit 130' INT TERM
  parts=(cloud units)
  while [[ ${1-} == --@(instance|three) ]]; do parts+=("${1#--}") && shift; done
  wanted=("$@")
  folder=$work
  for part in "${parts[@]}"; do
    if "set_up_$part" >"$work/set-up.log" 2>&1; then
      for test in $(tests_of "$part"); do run "$test"; done
    else
      leave_out "$part" "$(tail -n 1 -- "$work/set-up.log")"
    fi
    "tear_down_$part"
  done
  sum_up
}

# All functions above the second heading of a part, in their order, or the wanted ones of them.
tests_of() { # PART
  local test
  while read -r test; do
    ((${#wanted[@]} == 0)) || [[ " ${wanted[*]} " == *" $test "* ]] || continue
    printf '%s\n' "$test"
  done < <(sed -n '/^# --- how/q; s/^\([a-z0-9_]*\)() {$/\1/p' "$here/test/$1.sh")
}

clean_up() {
  local part
  for part in "${parts[@]}"; do "tear_down_$part"; done
  rm -rf -- "$work"
}

# --- what the tests are written with --------------------------------------------------------------

# Runs COMMAND, keeps what it prints in `output`, and fails unless it exits with STATUS.
expect() { # STATUS COMMAND…
  local status=0
  output=$("${@:2}" 2>&1) || status=$?
  printf '$ %s\n%s\n' "${*:2}" "$output"
  [[ $status == "$1" ]] || die "exit status $status instead of $1"
}

says() { # TEXT…
  local text
  for text in "$@"; do [[ $output == *"$text"* ]] || die "does not say: $text"; done
}

says_nothing_of() { # TEXT…
  local text
  for text in "$@"; do [[ $output != *"$text"* ]] || die "says: $text"; done
}

is() { # FOUND EXPECTED
  [[ $1 == "$2" ]] || die "$1, instead of $2"
}

# Shown below the test's line.
note() { printf 'note: %s\n' "$*"; }

die() {
  printf 'FAILED in line %s: %s\n' "${BASH_LINENO[1]}" "$1"
  exit 1
}

main "$@"
