#!/usr/bin/env bash
# Runs every test and keeps what is printed as tests/output/suite.txt, with the commit and the
# machine, and without the names of this machine's folders. Refuses where files differ from the
# commit, as the record would then be of no commit at all.

set -euo pipefail

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."

readonly OUT=tests/output/suite.txt

main() {
  local status=0 began=$SECONDS
  local new=$OUT.new changes
  changes=$(git status --porcelain)
  if [[ -n $changes ]]; then
    printf 'tests/record.sh: commit these first, or remove them:\n%s\n' "$changes" >&2
    exit 1
  fi
  trap 'rm -f -- "$OUT.new"' EXIT
  {
    printf 'commit %s of %s\n' "$(git rev-parse --short HEAD)" "$(git log -1 --format=%cs)"
    printf '%s, %s processors, %s\n' "$(uname -sm)" "$(nproc)" "$(rustc --version)"
    CI=true tests/run.sh 2>&1 </dev/null || status=$?
    printf '%s s, exit status %s\n' "$((SECONDS - began))" "$status"
  } | anonymous | tee -- "$new"
  mv -- "$new" "$OUT"
  grep -q 'exit status 0$' -- "$OUT"
}

# Replaces the names of this machine's folders, and leaves out the progress of the build.
anonymous() {
  sed -u -E \
    -e "s#$PWD/?#./#g" \
    -e "s#${HOME:-/nowhere}/?#~/#g" \
    -e "s#${TMPDIR:-/tmp}/[A-Za-z0-9._-]+#TEMP#g" \
    -e '/^ *(Compiling|Downloading|Downloaded|Checking|Blocking|Updating|Locking|Adding) /d' \
    -e '/^(Get|Hit|Ign|Fetched|Reading|Building|Selecting|Preparing|Unpacking|Setting up|Processing)/d'
}

main
