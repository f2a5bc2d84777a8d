#!/usr/bin/env bash
# Fuzzes every parser of outside input for so many seconds in all, and prints what each target did.
# What is found is printed, kept in fuzz/artifacts, and makes the exit status 1.
#
#   fuzz/run.sh [--seconds N] [TARGET…]
#
# Needs cargo-fuzz (`cargo install cargo-fuzz --locked`). No sanitizer is used, as the store has no
# unsafe code, so the stable toolchain will do.

set -euo pipefail

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."

seconds=300
targets=()
failed=0

main() {
  local target each
  parse_arguments "$@"
  [[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
  if ! command -v cargo-fuzz >/dev/null; then
    printf 'cargo-fuzz is missing; get it with: cargo install cargo-fuzz --locked\n' >&2
    exit 1
  fi
  ((${#targets[@]} > 0)) || targets=(bodies purchases words roles servers)
  each=$((seconds / ${#targets[@]}))
  printf '%-10s %8s %12s %10s %10s %8s\n' target seconds executions per-second edges corpus
  for target in "${targets[@]}"; do
    fuzz "$target" "$each"
  done
  ((failed == 0))
}

parse_arguments() {
  while (($# > 0)); do
    case $1 in
      --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
      -*) printf 'unknown: %s; see the head of fuzz/run.sh\n' "$1" >&2; exit 1 ;;
      *) targets+=("$1"); shift ;;
    esac
  done
}

fuzz() { # TARGET SECONDS
  local target=$1 log status=0 options
  log=$(mktemp)
  mkdir -p "fuzz/corpus/$target"
  options=(-max_total_time="$2" -timeout=60 -max_len=4096 -print_final_stats=1)
  [[ ! -f fuzz/words/$target.dict ]] || options+=("-dict=fuzz/words/$target.dict")
  cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" \
    -- "${options[@]}" >"$log" 2>&1 || status=$?
  report "$target" "$log"
  if ((status != 0)); then
    failed=1
    grep -E 'panicked|^error|ERROR|artifacts/' -A 2 -- "$log" || tail -n 20 -- "$log"
  fi
  rm -f -- "$log"
}

report() { # TARGET LOG
  local last executions edges corpus rate time
  executions=$(value 'stat::number_of_executed_units' "$2")
  rate=$(value 'stat::average_exec_per_sec' "$2")
  last=$(grep -E '^#[0-9]+.* cov: ' -- "$2" | tail -n 1 || true)
  edges=$(sed -nE 's/.* cov: ([0-9]+).*/\1/p' <<<"$last")
  corpus=$(sed -nE 's|.* corp: ([0-9]+)/.*|\1|p' <<<"$last")
  time=$(sed -nE 's/^Done [0-9]+ runs in ([0-9]+) second.*/\1/p' "$2")
  printf '%-10s %8s %12s %10s %10s %8s\n' "$1" "${time:--}" "${executions:--}" "${rate:--}" \
    "${edges:--}" "${corpus:--}"
}

value() { # NAME LOG
  sed -nE "s/^$1: *([0-9]+).*/\1/p" "$2"
}

main "$@"
