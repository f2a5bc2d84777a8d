#!/usr/bin/env bash
# Runs the simulator for longer than the tests do, or one seed again.

set -euo pipefail

usage() {
  cat <<'END'
usage: tests/simulator/run.sh [--seed S] [--seeds N | --seconds N]

  --seed S     the first seed (default 1)
  --seeds N    so many seeds (default 4000)
  --seconds N  as many seeds as that time allows, one at a time per processor

What happens in a seed: toystore trace --simulate SEED.

What was reached, and how often, is printed at the end. A seed that breaks an invariant ends the
run: its trace is written to a file that is named, and its last lines are printed. The same seed
fails again, exactly. The code is optimized.
END
}

fail() {
  printf 'run.sh: %s\n\n' "$1" >&2
  usage >&2
  exit 2
}

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.."
[[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin

while (($# > 0)); do
  case $1 in
    -h | --help)
      usage
      exit
      ;;
    --seed | --seeds | --seconds)
      [[ ${2:-} =~ ^[0-9]{1,18}$ ]] || fail "$1 takes a whole number"
      option=${1#--}
      export "SIMULATOR_${option^^}=$2"
      shift 2
      ;;
    *) fail "there is no option $1" ;;
  esac
done
[[ -z ${SIMULATOR_SEEDS:-} || -z ${SIMULATOR_SECONDS:-} ]] ||
  fail '--seeds and --seconds exclude one another'

exec cargo test --quiet --release --locked --test simulator -- --nocapture no_seed
