#!/usr/bin/env bash
# Tests what a running store tells other programs, with those programs: /openapi.json with a
# validator and with Schemathesis, which makes requests of all kinds from it and compares every
# answer with it; /metrics with Prometheus, its rules and the questions of the dashboard.
#
# What a missing tool leaves out, it says; with CI set that is a failure. The last line is the sum:
# `N passed, N failed`.

set -euo pipefail

repo=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
here=$repo/tests/interfaces
target=${CARGO_TARGET_DIR:-$repo/target}
tools=$target/interface-tools # made once; in a folder that git ignores
toystore=${TOYSTORE_BIN:-$target/debug/toystore}
work=$(cd -- "$(mktemp -d)" && pwd -P)
ports=() # front-end, catalog, three replicas, Prometheus
prometheus=
unset CDPATH ROLES
# shellcheck source=tests/support/suite.sh
source "$repo/tests/support/suite.sh"

main() {
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  [[ -n ${TOYSTORE_BIN:-} ]] ||
    (cd -- "$repo" && cargo build --quiet --features failpoints --locked)
  mapfile -t ports < <(free_ports 6)
  write_roles
  "$toystore" up --config "$work/roles.toml"
  run a_purchase_says_where_its_time_went
  if set_up_python "$tools" "$here/requirements.txt" >"$work/set-up.log" 2>&1; then
    run the_document_is_valid_openapi
    run every_answer_is_in_the_document
  else
    leave_out "the document" "$(tail -n 1 -- "$work/set-up.log")"
  fi
  if command -v prometheus promtool >"$work/set-up.log"; then
    run the_rules_and_the_configuration_are_valid
    run the_rules_say_what_their_tests_expect
    watch
  else
    leave_out "metrics" "prometheus is missing; get it with: apt-get install prometheus"
  fi
  sum_up
}

# --- the tests ------------------------------------------------------------------------------------

the_document_is_valid_openapi() {
  curl -fsS "http://127.0.0.1:${ports[0]}/openapi.json" >"$work/openapi.json"
  grep -q '"openapi":"3\.1\.' "$work/openapi.json"
  "$tools/bin/openapi-spec-validator" "$work/openapi.json"
}

a_purchase_says_where_its_time_went() {
  local part answer
  answer=$(curl -fsS -D - -d '{"name":"Tux","quantity":1}' "http://127.0.0.1:${ports[0]}/orders")
  printf '%s\n' "$answer"
  for part in leader catalog fsync followers; do
    grep -i '^server-timing:' <<<"$answer" | grep -Eq "\b$part;dur=[0-9]+\.[0-9]{3}"
  done
}

# The stream of events does not end, so that nothing would be compared with it.
every_answer_is_in_the_document() {
  cd -- "$work" # where it keeps what it found
  "$tools/bin/st" --config-file "$here/schemathesis.toml" run \
    "http://127.0.0.1:${ports[0]}/openapi.json" \
    --seed 1 --max-examples 25 --max-time 60 --workers 2 --request-timeout 15 --no-color \
    --exclude-operation-id follow \
    --exclude-checks ignored_auth,use_after_free,ensure_resource_availability
}

the_rules_and_the_configuration_are_valid() {
  promtool check rules "$repo/eval/observe/alerts.yml"
  promtool check config "$repo/eval/observe/prometheus.yml"
}

the_rules_say_what_their_tests_expect() {
  cd -- "$repo/eval/observe"
  promtool test rules alerts_test.yml
}

# Has Prometheus watch the store, by the files that are in eval/observe, but more often and sooner.
watch() {
  local status=0 place line
  mkdir -p -- "$work/prometheus"
  sed -E 's/^( +for): .*/\1: 1s/' "$repo/eval/observe/alerts.yml" >"$work/alerts.yml"
  sed -E 's/_interval: 5s/_interval: 500ms/' "$repo/eval/observe/prometheus.yml" \
    >"$work/prometheus.yml"
  for place in 8080:0 8081:1 8091:2 8092:3 8093:4; do
    sed -i "s/127\.0\.0\.1:${place%:*}\"/127.0.0.1:${ports[${place#*:}]}\"/" "$work/prometheus.yml"
  done
  prometheus --config.file "$work/prometheus.yml" --storage.tsdb.path "$work/prometheus" \
    --web.listen-address "127.0.0.1:${ports[5]}" --log.level warn >"$work/prometheus.log" 2>&1 &
  prometheus=$!
  DASHBOARD=$repo/eval/observe/dashboard.json RULES=$repo/eval/observe/alerts.yml \
    python3 "$here/scraped.py" "http://127.0.0.1:${ports[5]}" "$toystore" "$work/roles.toml" \
    "127.0.0.1:${ports[0]}" >"$work/watch.log" 2>&1 </dev/null || status=$?
  cat -- "$work/watch.log"
  while read -r line; do
    case $line in
      ok*) passed=$((passed + 1)) ;;
      FAILED*) failed=$((failed + 1)) ;;
    esac
  done <"$work/watch.log"
  if ((status != 0)); then
    cat -- "$work/prometheus.log"
    grep -q ^FAILED "$work/watch.log" || failed=$((failed + 1))
  fi
}

# --- how they are run -----------------------------------------------------------------------------

# The roles.toml that ships, on free ports.
write_roles() {
  local place
  cp -- "$repo/roles.toml" "$work/roles.toml"
  for place in 8080:0 8081:1 8091:2 8092:3 8093:4; do
    sed -i "s/127\.0\.0\.1:${place%:*}\"/127.0.0.1:${ports[${place#*:}]}\"/" "$work/roles.toml"
  done
}

clean_up() {
  [[ -z $prometheus ]] || kill "$prometheus" 2>/dev/null || true
  [[ ! -e $work/roles.toml ]] || "$toystore" down --config "$work/roles.toml" >/dev/null 2>&1 || true
  wait
  rm -rf -- "$work"
}

main
