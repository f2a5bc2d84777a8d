#!/usr/bin/env bash
# Tests the tests: plants one bug after the other in a copy of the sources, and each must be found
# by the detector that it is listed with. The sources as they are must pass every detector.

set -euo pipefail
unset CDPATH

# A bug is a patch in this folder. A detector is a function `find_by_…` below.
readonly BUGS=(
  'ack-before-commit chaos'
  'no-key-check chaos'
  # What is old is so for a moment, unless an invalidation is lost. The random run seldom sees it.
  'invalidate-after-publish leases'
  'follower-skips-a-row chaos'
  'unconfirmed-404 chaos'
  # Rules on what a restored catalog waits for, which few seeds of the simulator need.
  'heard-too-early hearings'
  'relayed-is-heard hearings'
  'unknown-sessions hearings'
  # Rules of several catalogs: each has a test that provokes what it prevents.
  'keeps-unheard-term takeovers'
  'keeps-unreached-term takeovers'
  'rules-without-lease takeovers'
  # The same in PostgreSQL's statements, at real servers.
  'claims-any-beat databases'
  'unfenced-sessions databases'
  # Rules of the cores, left out one by one.
  'ack-before-disk simulator'
  'any-invalidation-counts simulator'
  'change-before-clear simulator'
  'forgotten-sessions simulator'
  'held-while-locked simulator'
  'kept-cache simulator'
  'leader-without-past simulator'
  'no-floor simulator'
  'overlong-lease simulator'
  'sells-before-its-store simulator'
  'sells-while-stopped simulator'
  'unawaited-followers simulator'
  'unrecorded-refusal simulator'
  'unwritten-rows-count simulator'
)

readonly SEEDS=(1 2) # of chaos: one after the other until the bug is found
readonly SECONDS_PER_SEED=120
# The test program that a detector needs.
declare -rA PROGRAM=([chaos]=chaos [leases]=chaos [hearings]=services [simulator]=simulator
  [takeovers]=simulator [databases]=store)

here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
repo=$(readlink -f -- "$here/../..")

usage() {
  cat <<'END'
Usage: tests/planted/run.sh [--out FILE] [--keep FOLDER] [BUG…]

  --out FILE     also writes the table there
  --keep FOLDER  builds in FOLDER and leaves there what was built and logged,
                 so that the next run is quicker; else a temporary folder
  --help         this
  BUG            only these, by name

Exits with 0 if every bug was found and nothing in the sources as they are, with
1 if not (a patch that does not apply any more counts as not found), with 2 for
a wrong option.
END
}

main() {
  local out='' keep='' bug detector names=() chosen=() failed=0
  while (($# > 0)); do
    case $1 in
      --help | -h) usage && return ;;
      --out) out=$(absolute "$@") ;;
      --keep) keep=$(absolute "$@") ;;
      -*) wrong "no option $1" ;;
      *) is_known "$1" || wrong "no bug is called $1" ;;
    esac
    [[ $1 == -* ]] && shift 2 && continue
    names+=("$1")
    shift
  done
  [[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
  set_up "$keep"
  [[ -z $out ]] || exec > >(tee -- "$out")
  printf '%-26s %-9s %-9s %-7s %s\n' bug detector found after by
  for bug in "${BUGS[@]}"; do
    if ((${#names[@]} == 0)) || [[ " ${names[*]} " == *" ${bug% *} "* ]]; then
      chosen+=("$bug")
    fi
  done
  # Every detector must find nothing in the sources as they are.
  for detector in "${!PROGRAM[@]}"; do
    [[ "${chosen[*]} " != *" $detector "* ]] || try none "$detector" || failed=1
  done
  for bug in "${chosen[@]}"; do
    # shellcheck disable=SC2086 # a name and a detector
    try $bug || failed=1
  done
  return "$failed"
}

# Plants a bug, or none, and has its detector look for it. Prints a line of the table.
try() { # BUG DETECTOR
  local bug=$1 detector=$2 log=$work/$1.log began by
  copy_sources
  if [[ $bug != none ]] && ! patch_sources "$bug" >"$log" 2>&1; then
    row "$bug" "$detector" no 0 'the patch does not apply'
    return 1
  fi
  if ! (cd -- "$work/tree" && cargo test --features failpoints --locked --test "${PROGRAM[$detector]}" --no-run) \
    >"$log" 2>&1 </dev/null; then
    row "$bug" "$detector" no 0 'it does not build'
    return 1
  fi
  local status=0
  began=$SECONDS
  by=$(cd -- "$work/tree" && "find_by_$detector" "$log") || status=$?
  case $status in
    0) row "$bug" "$detector" yes $((SECONDS - began)) "$by" && [[ $bug != none ]] ;;
    1) row "$bug" "$detector" no $((SECONDS - began)) '' && [[ $bug == none ]] ;;
    *) row "$bug" "$detector" no $((SECONDS - began)) "$by" && return 1 ;;
  esac
}

# --- detectors, in the patched tree. They say what they find. Exit status: 0 if they found something,
# --- 1 if there was nothing to be found, 2 if they did not work

find_by_chaos() { # LOG
  local seed
  for seed in "${SEEDS[@]}"; do
    if ! tests/chaos/run.sh --seconds "$SECONDS_PER_SEED" --seed "$seed" --log "$1" \
      >/dev/null 2>&1 </dev/null; then
      grep -m 1 '^VIOLATION' -- "$1" | cut -c 11-170 && return 0
      printf 'chaos failed, and not by a violation: %s' "$(tail -n 1 -- "$1")"
      return 2
    fi
  done
  return 1
}

# The chaos test in which invalidations are lost, and its neighbours.
find_by_leases() { # LOG
  local test=(cargo test --features failpoints --locked --test chaos -- leases::reads)
  if "${test[@]}" >"$1" 2>&1 </dev/null; then
    return 1
  fi
  grep -m 1 '^what clients saw' -- "$1" | cut -c 1-160 && return 0
  printf 'the tests failed, and not by what clients saw: %s' "$(tail -n 1 -- "$1")"
  return 2
}

# The catalog alone, and what it is told of the replicas.
find_by_hearings() { # LOG
  find_by_tests "$1" services hearings
}

# Two catalogs in the simulator, of which one is paused, killed or cut off.
find_by_takeovers() { # LOG
  find_by_tests "$1" simulator takeover_tests
}

# What PostgreSQL's servers, and another catalog, may do to a term.
find_by_databases() { # LOG
  # Without servers, tests that say that they leave something out would seem to find nothing.
  CI=true find_by_tests "$1" store databases::faults::a_catalog_whose_term_is_over
}

find_by_tests() { # LOG PROGRAM TESTS
  local test=(cargo test --features failpoints --locked --test "$2" -- "$3")
  if "${test[@]}" >"$1" 2>&1 </dev/null; then
    return 1
  fi
  grep -m 1 -A 1 -E "^thread .${3%%::*}.* panicked" -- "$1" | tail -n 1 | cut -c 1-160 && return 0
  printf 'the tests failed, and not by a check: %s' "$(tail -n 1 -- "$1")"
  return 2
}

# As many seeds as a normal test run has.
find_by_simulator() { # LOG
  if cargo test --features failpoints --locked --test simulator -- --nocapture no_seed \
    >"$1" 2>&1 </dev/null; then
    return 1
  fi
  grep -m 1 -oE '^seed [0-9]+ fails: .*' -- "$1" | cut -c 1-160 && return 0
  printf 'the simulator failed, and not by a seed: %s' "$(tail -n 1 -- "$1")"
  return 2
}

# -------------------------------------------------------------------------------------------------

set_up() { # FOLDER, or nothing
  if [[ -n $1 ]]; then
    work=$1
    mkdir -p -- "$work"
  else
    work=$(mktemp -d)
    trap 'rm -rf -- "$work"' EXIT
  fi
  # All patched trees are built in one place, so that only what is patched is built anew.
  export CARGO_TARGET_DIR=$work/target
}

# The sources as they are, changes that are not committed included. They are as new as the copy is:
# cargo goes by that, and would take a patched file's product for the original's.
copy_sources() {
  rm -rf -- "$work/tree"
  mkdir -- "$work/tree"
  (cd -- "$repo" && git ls-files -z --cached --others --exclude-standard |
    xargs -0 cp --parents -t "$work/tree" --)
}

patch_sources() { # BUG
  (cd -- "$work/tree" && GIT_CEILING_DIRECTORIES=$work git apply -- "$here/$1.patch")
}

row() { # BUG DETECTOR FOUND SECONDS BY
  printf '%-26s %-9s %-9s %-7s %s\n' "$1" "$2" "$3" "$4 s" "$5"
}

is_known() { # NAME
  [[ " ${BUGS[*]% *} " == *" $1 "* ]]
}

absolute() { # OPTION PATH
  [[ -n ${2:-} ]] || wrong "$1 needs a path"
  realpath -m -- "$2"
}

wrong() { # MESSAGE
  printf 'tests/planted/run.sh: %s; try --help\n' "$1" >&2
  exit 2
}

main "$@"
