#!/usr/bin/env bash
# Tests that every row of run.sh can be measured: runs each in its shortest form, some three minutes
# together, and keeps no figures. Built with the features of the other tests, so that nothing is
# built twice.

set -euo pipefail

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.."
[[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
readonly TESTS=(--workspace --features failpoints --locked)
cargo test --quiet "${TESTS[@]}" --no-run # the store's executable, too
exec cargo test "${TESTS[@]}" --test bench -- --ignored --nocapture
