#!/usr/bin/env bash
# Tests the web page in a real browser against real processes. Installs what it needs where it may:
# the browser as root or with a sudo that asks for no password, two packages for Node.js into the
# folder target/browser. With a word, runs the tests whose names have it; with
# `figures`, draws the page anew for the documents; with `cost`, measures what open pages cost.
#
# The last line is the sum: `N passed, N failed`. Without a browser that is none of either, or a
# failure where CI is set.

set -euo pipefail

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."
# shellcheck source=toolchain.sh
source ./toolchain.sh

readonly NEEDED=(chromium nodejs npm)
export BROWSER_PACKAGES=$PWD/target/browser

main() {
  set_up
  get_programs || leave_out "${NEEDED[*]}; get them with: sudo apt-get install -y ${NEEDED[*]}"
  get_modules || leave_out "the packages in tests/browser/package.json, which npm could not get"
  TOYSTORE=${TOYSTORE_BIN:-}
  if [[ -z $TOYSTORE ]]; then
    cargo build --quiet --features failpoints --locked
    TOYSTORE=${CARGO_TARGET_DIR:-target}/debug/toystore
  fi
  TOYSTORE=$(readlink -f -- "$TOYSTORE")
  export TOYSTORE
  case ${1:-} in
    figures) node tests/browser/screenshots.mjs ;;
    cost) node tests/browser/cost.mjs ;;
    *) node tests/browser/main.mjs "$@" ;;
  esac
}

get_programs() {
  local program missing=()
  for program in chromium node npm; do
    command -v "$program" >/dev/null || missing+=("${program/%node/nodejs}")
  done
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# The versions are exact, and no list of where they come from is kept.
get_modules() {
  mkdir -p -- "$BROWSER_PACKAGES"
  if ! cmp -s tests/browser/package.json "$BROWSER_PACKAGES/package.json" ||
    [[ ! -d $BROWSER_PACKAGES/node_modules/playwright-core || ! -d $BROWSER_PACKAGES/node_modules/axe-core ]]; then
    cp -- tests/browser/package.json "$BROWSER_PACKAGES/"
    npm install --prefix "$BROWSER_PACKAGES" --no-package-lock --no-audit --no-fund --silent </dev/null
  fi
}

leave_out() { # WHAT
  printf 'left out: the tests of the web page need %s\n' "$1"
  if [[ -n ${CI:-} ]]; then
    printf '0 passed, 1 failed\n'
    exit 1
  fi
  printf '0 passed, 0 failed\n'
  exit 0
}

main "$@"
