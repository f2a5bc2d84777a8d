#!/usr/bin/env bash
# What several catalogs and TLS cost a store that uses neither: the commit that brought each, beside
# the commit before it, and this source built with TLS and without. The executables of a pair take
# turns (run.sh): processor time of an order and of a query that is answered from the cache.
#
#   eval/profile/costs.sh [ROUNDS]      (10)
#
# Builds six executables, which takes half an hour the first time; they stay in
# `target/costs`. Leaves data/costs.md.

set -euo pipefail
# shellcheck source=eval/cluster.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../cluster.sh"

# shellcheck disable=SC2034 # for cluster.sh
usage='eval/profile/costs.sh [ROUNDS], or --help'
# On SQLite, these commits added what a store does not use that has one catalog and no [tls].
readonly CATALOGS=21a1f38 TLS=fe40e55

main() {
  take_arguments 1 "$@"
  local rounds=${1:-10} built=${CARGO_TARGET_DIR:-$repo/target}/costs
  need_cargo
  mkdir -p -- "$built"
  build_commit "$CATALOGS~1" before-catalogs
  build_commit "$CATALOGS" with-catalogs
  build_commit "$TLS~1" before-tls
  build_commit "$TLS" with-tls
  build_here now
  build_here now-without-tls --no-default-features
  TOYSTORE_BIN=$built/now
  build
  write_machine "$results/costs.json"
  {
    printf '# What several catalogs and TLS cost a store that uses neither\n\n'
    printf 'Written by eval/profile/costs.sh; the machine is in costs.json. Medians of %s rounds.\n' \
      "$rounds"
    compare 'Several catalogs' before-catalogs with-catalogs
    compare 'TLS, its commit' before-tls with-tls
    compare 'TLS, as a feature' now-without-tls now
  } >"$results/costs.md"
  cat -- "$results/costs.md"
  keep_results
}

compare() { # TITLE EXECUTABLE EXECUTABLE
  printf '\n## %s\n\n' "$1"
  "$repo/eval/profile/run.sh" --rounds "$rounds" "$built/$2" "$built/$3" </dev/null |
    sed "s|$built/||"
}

build_commit() { # COMMIT NAME
  [[ ! -x $built/$2 ]] || return 0
  say "costs: builds $2 ($1)"
  rm -rf -- "$work/tree"
  mkdir -- "$work/tree"
  # The files are new: cargo goes by that, and would take one commit's product for the other's.
  git -C "$repo" archive "$1" | tar -xm -C "$work/tree"
  (cd -- "$work/tree" &&
    cargo build --release --quiet --locked --bin toystore --target-dir "$built/target")
  cp -- "$built/target/release/toystore" "$built/$2"
}

# Always anew: this source changes.
build_here() { # NAME [OPTION]…
  say "costs: builds $1"
  (cd -- "$repo" && cargo build --release --quiet --locked --bin toystore \
    --target-dir "$built/target" "${@:2}")
  cp -- "$built/target/release/toystore" "$built/$1"
}

# What is in the documents is not of this experiment.
update_documents() { true; }

main "$@"
