#!/usr/bin/env bash
# Checks formatting, lints, tests, documentation, scripts and dependencies. Changes nothing but the
# build folder. Goes on after a step that fails, and fails if any did. A tool that is missing is
# named, and its step left out; with CI set that is a failure, too. Where the database of known
# vulnerabilities cannot be fetched, that step is left out, which is no failure.

set -euo pipefail

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

readonly FETCH_SECONDS=60 # for a database of some 20 MB
failed=()
left_out=()

main() {
  [[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
  local all=(--workspace --features failpoints --locked)
  step formatting 'cargo fmt' cargo fmt --all --check
  step lints 'cargo clippy' cargo clippy --all-targets "${all[@]}" -- -D warnings
  step tests cargo cargo test "${all[@]}" --no-fail-fast
  step fuzzing cargo cargo check --manifest-path fuzz/Cargo.toml --no-default-features --locked \
    --target-dir target
  step documentation cargo env RUSTDOCFLAGS='-D warnings' \
    cargo doc --workspace --no-deps --document-private-items --locked
  step scripts shellcheck check_scripts
  step licences 'cargo deny' cargo deny --locked check licenses bans sources
  step advisories 'cargo deny' check_advisories
  if ((${#failed[@]} > 0)); then
    printf '\ncheck.sh: failed: %s\n' "${failed[*]}"
    exit 1
  fi
  printf '\ncheck.sh: all is well%s\n' "${left_out[*]:+, but left out: ${left_out[*]}}"
}

step() { # NAME TOOL COMMAND…
  local name=$1 tool=$2
  shift 2
  printf '\n== %s: %s\n' "$name" "$*"
  # shellcheck disable=SC2086 # `cargo fmt` is two words
  if ! command $tool --version >/dev/null 2>&1; then
    printf 'left out: %s is missing; tests/run.sh gets it\n' "$tool"
    left_out+=("$name")
    [[ -z ${CI:-} ]] || failed+=("$name")
  elif ! "$@"; then
    failed+=("$name")
  fi
}

# deny.toml has the advisories that are known here, each with a reason.
check_advisories() {
  if ! timeout "$FETCH_SECONDS" cargo deny --locked fetch db >/dev/null 2>&1; then
    printf 'left out: the database of known vulnerabilities cannot be fetched\n'
    left_out+=(advisories)
    return 0
  fi
  cargo deny --locked --offline check advisories
}

check_scripts() {
  local scripts
  mapfile -t scripts < <(find . -name target -prune -o -name node_modules -prune -o \
    -type f -name '*.sh' -print)
  shellcheck "${scripts[@]}" .ci/run
}

main
