#!/usr/bin/env bash
# Random faults over real processes, for as long as one likes: the store with a proxy on each link,
# seeded clients, and a checker that compares all they saw with the databases.
#
# The seed draws the faults and the clients' choices, but not the timing of the operating system: a
# seed that has found something is likely, not certain, to find it again.

set -euo pipefail
unset CDPATH

readonly PROGRESS='^(seed |VIOLATION| *[0-9]+ s: round )'

here=$PWD
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.."

usage() {
  cat <<'END'
Usage: tests/chaos/run.sh [--seconds N] [--seed S] [--engine E] [--out FILE]
                         [--log FILE]

  --seconds N  how long to run (60); the last round is played to its end
  --seed S     which faults and which clients; drawn and printed if not given
  --engine E   sqlite, or postgres: two catalogs, and a database on three
               servers, which fail, too (root)
  --out FILE   adds the run's record to FILE, as a line of JSON, and writes
               the table of all its runs beside it, as FILE with .md for
               its ending
  --log FILE   writes everything there, the roles' logs of a run that fails
               included, and only the progress to the terminal
  --help       this

Exits with 0 if nothing was found, 2 for a wrong option, and something else if
a violation was found or there is nothing to run.
END
}

main() {
  local seconds=60 seed='' out='' log=''
  while (($# > 0)); do
    case $1 in
      --help | -h) usage && return ;;
      --seconds) seconds=$(number "$@") ;;
      --seed) seed=$(number "$@") ;;
      --engine)
        [[ ${2:-} == sqlite || ${2:-} == postgres ]] || wrong '--engine needs sqlite or postgres'
        export CHAOS_ENGINE=$2
        ;;
      --out) out=$(file "$@") ;;
      --log) log=$(file "$@") ;;
      *) wrong "no option $1" ;;
    esac
    shift 2
  done
  seed=${seed:-$((RANDOM * 32768 + RANDOM))}
  [[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
  printf 'seed %s, %s s\n' "$seed" "$seconds"
  export CHAOS_SEED=$seed CHAOS_SECONDS=$seconds CHAOS_COMMIT
  CHAOS_COMMIT=$(commit)
  [[ -z $out ]] || export CHAOS_OUT=$out
  local test=(cargo test --features failpoints --locked --quiet --test chaos)
  "${test[@]}" --no-run </dev/null
  test+=(-- --ignored --exact random::random_faults --nocapture)
  if [[ -n $log ]]; then
    "${test[@]}" 2>&1 | tee -- "$log" | { grep --line-buffered -E "$PROGRESS" || true; }
  else
    "${test[@]}"
  fi
}

number() { # OPTION VALUE
  [[ ${2:-} =~ ^[0-9]+$ ]] || wrong "$1 needs a number"
  printf '%s' "$2"
}

# The absolute path of a file that is meant from where this script was started.
file() { # OPTION VALUE
  [[ -n ${2:-} ]] || wrong "$1 needs a file"
  cd -- "$here"
  mkdir -p -- "$(dirname -- "$2")"
  realpath -- "$2"
}

# The commit that changed the product last; `+` for changes that are not committed.
commit() {
  local product=(.cargo src Cargo.toml Cargo.lock) commit
  commit=$(git log -1 --format=%h -- "${product[@]}" 2>/dev/null) || commit=unknown
  [[ -z $(git status --porcelain -- "${product[@]}" 2>/dev/null) ]] || commit+=+
  printf '%s' "$commit"
}

wrong() { # MESSAGE
  printf 'tests/chaos/run.sh: %s; try --help\n' "$1" >&2
  exit 2
}

main "$@"
