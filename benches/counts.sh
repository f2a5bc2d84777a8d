#!/usr/bin/env bash
# Counts the instructions that each case of benches/src/lib.rs takes, and compares them with those in
# counts.csv: unlike times, they hardly differ from run to run and from machine to machine. Fails if
# a case takes more than before, by more than a twentieth.
#
#   benches/counts.sh             compare
#   benches/counts.sh --update    write counts.csv anew
#
# A case is run twice, a few times and many times; the difference is what the many more have taken,
# without the start. Needs valgrind. The last line is `N passed, N failed`.

set -euo pipefail

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."

readonly FEW=10 MANY=60 VERY_MANY=10010
readonly CHEAP=2000 # instructions
readonly CHEAP_RUNS=3
readonly TOLERANCE=5 # percent: hashes with random keys, and threads that wait for each other
readonly RECORD=benches/counts.csv
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

main() {
  local name line passed=0 failed=0
  [[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
  command -v valgrind >/dev/null || {
    printf 'left out: the counts of instructions; valgrind is missing; tests/run.sh gets it\n'
    [[ -z ${CI:-} ]] || { printf '0 passed, 1 failed\n' && exit 1; }
    exit 0
  }
  # As the store itself is built.
  cargo build --release --locked --quiet --package benches
  program=${CARGO_TARGET_DIR:-target}/release/benches
  printf 'case,instructions\n' >"$work/counts.csv"
  while IFS= read -r name; do
    printf '%s,%s\n' "$name" "$(instructions_of "$name")" | tee -a -- "$work/counts.csv" >&2
  done < <("$program" list)
  if [[ ${1-} == --update ]]; then
    mv -- "$work/counts.csv" "$RECORD"
    printf 'written: %s, with %s\n' "$RECORD" "$(rustc --version)"
    exit 0
  fi
  while IFS= read -r line; do
    # A name may have a comma in it.
    if compare "${line%,*}" "${line##*,}"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  done < <(tail -n +2 -- "$work/counts.csv")
  printf '%s passed, %s failed\n' "$passed" "$failed"
  ((failed == 0))
}

# For each time that the case is run. What differs from run to run at the start, such as how often a
# table with random hashes grows, would show in a cheap case, so that is run more often. In a few
# runs such a table keeps an entry in a full group, and is then tidied again and again: of a cheap
# case, the least of some runs counts.
instructions_of() { # NAME
  local few many each least run
  few=$(count "$1" "$FEW")
  many=$(count "$1" "$MANY")
  least=$(((many - few) / (MANY - FEW)))
  if ((least < CHEAP)); then
    for ((run = 1; run <= CHEAP_RUNS; run++)); do
      few=$(count "$1" "$FEW")
      many=$(count "$1" "$VERY_MANY")
      each=$(((many - few) / (VERY_MANY - FEW)))
      ((run > 1 && each >= least)) || least=$each
    done
  fi
  printf '%s' "$least"
}

count() { # NAME TIMES
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" \
    >"$work/valgrind.log" 2>&1 || {
    cat -- "$work/valgrind.log" >&2
    return 1
  }
  sed -n 's/.*Collected *: *\([0-9]*\).*/\1/p' -- "$work/valgrind.log"
}

compare() { # NAME COUNT
  local before
  before=$(awk -v name="$1," 'index($0, name) == 1 { print substr($0, length(name) + 1) }' "$RECORD")
  if [[ -z $before ]]; then
    printf '%s: not in %s; record it with benches/counts.sh --update\n' "$1" "$RECORD"
    return 1
  fi
  if (($2 * 100 > before * (100 + TOLERANCE))); then
    printf '%s: %s instructions, %s%% of the %s recorded\n' "$1" "$2" "$(($2 * 100 / before))" \
      "$before"
    return 1
  fi
  (($2 * 100 >= before * (100 - TOLERANCE))) ||
    printf '%s: %s instructions, only %s%% of the %s recorded; benches/counts.sh --update keeps that\n' \
      "$1" "$2" "$(($2 * 100 / before))" "$before"
}

main "$@"
