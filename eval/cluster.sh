# shellcheck shell=bash
# What every experiment needs: an executable, a cluster of its own, and a record of the machine.
# Sourced, after `set -euo pipefail`. The cluster's files are in `$work`, which goes at the end.
#
# An experiment collects what it measures in `$results`. Only when all went well does keep_results
# put it in place of the record that was there; one that fails or is interrupted changes nothing.
#
# TOYSTORE_BIN  the executable to measure; without it, one is built
# EVAL_RESULTS  a folder for trials: data go to EVAL_RESULTS/EXPERIMENT and figures to
#               EVAL_RESULTS/figures, instead of eval/EXPERIMENT/data and docs/figures

unset CDPATH ROLES
repo=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
experiment=$(basename -- "$(dirname -- "$(readlink -f -- "$0")")")
record=$repo/eval/$experiment/data
figures=$repo/docs/figures
if [[ -n ${EVAL_RESULTS:-} ]]; then
  record=$(readlink -m -- "$EVAL_RESULTS")/$experiment
  figures=$(readlink -m -- "$EVAL_RESULTS")/figures
fi
[[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
work=$(cd -- "$(mktemp -d)" && pwd -P)
results=$work/results
mkdir -- "$results"
usage=           # an experiment's own, in one line
before_the_end=: # what an experiment has to do before its cluster is closed
before_up=:      # what it has to do when `$ROLES` is written, before the roles are started
client=          # the process that shops meanwhile, if there is one; it ends before the cluster does
address= # of all roles, on ports as in roles.toml
declare -A port_of=([frontend]=8080 [catalog]=8081 [order-1]=8091 [order-2]=8092 [order-3]=8093)
# More than an experiment buys: a toy that is sold out is not ordered, which would tell of the stock.
# shellcheck disable=SC2034 # for those that source this
readonly AMPLE_STOCK=1000000
readonly START_SECONDS=30 # for a role or the proxy to be ready
processes=() # of a cluster with slow links: the proxy, then the roles
trap end_experiment EXIT
trap 'exit 130' INT TERM HUP

end_experiment() {
  local status=$?
  trap '' INT TERM HUP
  end_client
  "$before_the_end" || true
  close_cluster >&2 || true
  rm -rf -- "$work"
  exit "$status"
}

end_client() {
  [[ -n $client ]] || return 0
  kill -TERM "$client" 2>/dev/null || true
  wait "$client" 2>/dev/null || true
  client=
}

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "$experiment: $*"
  exit 1
}

misused() { # WHY
  say "$experiment: $1; usage: $usage"
  exit 2
}

# What all experiments answer alike: --help, draw, and what is not up to MOST whole numbers. One
# without numbers has nothing to draw either.
take_arguments() { # MOST [ARGUMENT]…
  local most=$1 number
  shift
  case $#:$most:${1-} in
    1:*:--help | 1:*:-h)
      sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    1:0:*) ;;
    1:*:draw)
      redraw
      exit 0
      ;;
  esac
  (($# <= most)) || misused "there is no room for '${*:most + 1}'"
  for number in "$@"; do
    [[ $number =~ ^[1-9][0-9]{0,5}$ ]] || misused "'$number' is not a whole number from 1 on"
  done
}

need() { # COMMAND HINT
  command -v "$1" >/dev/null || fail "$1 is missing; get it with: $2"
}

need_curl() { need curl 'sudo apt-get install -y curl'; }

need_sqlite3() { need sqlite3 'sudo apt-get install -y sqlite3'; }

need_cargo() { need cargo 'the Rust installer, https://rustup.rs'; }

build() {
  if [[ -z ${TOYSTORE_BIN:-} ]]; then
    need_cargo
    (cd -- "$repo" && cargo build --release --locked --quiet)
    TOYSTORE_BIN=${CARGO_TARGET_DIR:-$repo/target}/release/toystore
  fi
  [[ -f $TOYSTORE_BIN && -x $TOYSTORE_BIN ]] ||
    fail "TOYSTORE_BIN is $TOYSTORE_BIN, which cannot be executed"
  TOYSTORE_BIN=$(readlink -f -- "$TOYSTORE_BIN")
  export TOYSTORE_BIN
}

# Builds the proxy that makes links slow.
build_links() {
  need_cargo
  (cd -- "$repo" && cargo build --release --quiet --locked --package links)
}

# Starts a fresh cluster, with roles.toml as it ships but for its address and what EXPRESSIONs (of
# sed) change.
open_cluster() { # [EXPRESSION…]
  local expression expressions=()
  close_cluster
  rm -rf -- "$work/data"
  address=127.$((RANDOM % 200 + 20)).$((RANDOM % 254 + 1)).$((RANDOM % 254 + 1))
  for expression in "s/127\.0\.0\.1/$address/" "$@"; do expressions+=(-e "$expression"); done
  export ROLES=$work/roles.toml
  sed "${expressions[@]}" "$repo/roles.toml" >"$ROLES"
  "$before_up"
  "$repo/run.sh" up </dev/null >"$work/up.log" 2>&1 || {
    cat -- "$work/up.log" >&2
    fail 'the cluster does not start'
  }
}

# The same, but all that goes from a role to another, or from a client to the front-end, arrives
# DELAY microseconds later, each way. Every role listens at an address of its own that only the
# proxy uses; the others' roles.toml has the proxy's. Needs build_links.
open_distant_cluster() { # DELAY [EXPRESSION…]
  local delay=$1 near role port expression expressions=() links=()
  shift
  close_cluster
  rm -rf -- "$work/data"
  address=127.$((RANDOM % 200 + 20)).$((RANDOM % 254 + 1)).1
  near=${address%.1}.2
  for expression in "s/127\.0\.0\.1/$address/" "$@"; do expressions+=(-e "$expression"); done
  sed "${expressions[@]}" "$repo/roles.toml" >"$work/roles.toml"
  for port in "${port_of[@]}"; do links+=("$address:$port=$near:$port"); done
  # The proxy ends with its input, which ends with this script, however that ends.
  rm -f -- "$work/alive"
  mkfifo -- "$work/alive"
  exec 9<>"$work/alive"
  "${CARGO_TARGET_DIR:-$repo/target}/release/links" "$delay" "${links[@]}" \
    <"$work/alive" >"$work/links.log" 2>&1 9>&- &
  processes=($!)
  await_links
  mkdir -p -- "$work/data"
  for role in catalog order-1 order-2 order-3 frontend; do
    sed "s/$address:${port_of[$role]}/$near:${port_of[$role]}/" "$work/roles.toml" >"$work/$role.toml"
    # shellcheck disable=SC2086 # `order --id 1` is three words
    "$TOYSTORE_BIN" ${role/order-/order --id } --config "$work/$role.toml" \
      </dev/null >"$work/data/$role.log" 2>&1 9>&- &
    processes+=($!)
  done
  local index=0
  for role in catalog order-1 order-2 order-3 frontend; do
    index=$((index + 1))
    await_distant "$role" "${processes[index]}"
  done
}

await_links() {
  local deadline=$((SECONDS + START_SECONDS))
  until grep -qsx ready "$work/links.log"; do
    if ! kill -0 "${processes[0]}" 2>/dev/null || ((SECONDS >= deadline)); then
      cat -- "$work/links.log" >&2
      fail 'the proxy does not start'
    fi
    sleep 0.05
  done
}

await_distant() { # ROLE PID
  local deadline=$((SECONDS + START_SECONDS)) said
  until said=$("$TOYSTORE_BIN" probe "$1" --wait 1 --config "$work/$1.toml" </dev/null 2>&1); do
    if ! kill -0 "$2" 2>/dev/null || ((SECONDS >= deadline)); then
      cat -- "$work/data/$1.log" "$work/links.log" >&2
      fail "$1 does not start${said:+: $said}"
    fi
  done
}

close_distant_cluster() {
  local index
  for ((index = ${#processes[@]} - 1; index > 0; index--)); do
    kill -TERM "${processes[index]}" 2>/dev/null || true
    wait "${processes[index]}" || true
  done
  exec 9>&-
  wait "${processes[0]}" || true
  processes=()
}

close_cluster() {
  ((${#processes[@]} == 0)) || close_distant_cluster
  [[ -n ${ROLES:-} ]] || return 0
  "$repo/run.sh" down </dev/null >"$work/down.log" 2>&1 || cat -- "$work/down.log" >&2
  unset ROLES
}

# Ends a role in order and starts it again, with roles.toml as it is now.
restart() { # ROLE
  { "$repo/run.sh" stop "$1" && "$repo/run.sh" start "$1"; } </dev/null >"$work/restart.log" 2>&1 || {
    cat -- "$work/restart.log" >&2
    fail "$1 does not start again"
  }
  "$TOYSTORE_BIN" probe "$1" --wait 30 --config "$ROLES" </dev/null >&2 || fail "$1 is not ready"
}

# What the front-end knows of the cluster, as JSON.
get_cluster() {
  curl --fail --silent --show-error --max-time 2 "http://$address:8080/cluster"
}

pid_of() { # ROLE
  cat -- "$work/data/$1.pid"
}

# User and system time that a process has used so far, in seconds.
processor_time_of() { # PID
  # Of the fields after the name in parentheses, which may hold spaces.
  sed 's/.*) //' "/proc/$1/stat" |
    awk -v hz="$(getconf CLK_TCK)" '{ printf "%.2f %.2f\n", $12 / hz, $13 / hz }'
}

# The program that draws. Built first, it cannot fail when all is measured.
build_plots() {
  need_cargo
  (cd -- "$repo" && cargo build --quiet --locked --package plots)
}

# Draws the figures of what is in `$results`, and writes its summary.md. Needs build_plots.
draw() {
  mkdir -p -- "$work/figures"
  (cd -- "$repo" &&
    "${CARGO_TARGET_DIR:-$repo/target}/debug/plots" "$experiment" "$results" "$work/figures")
}

# Writes the summary and draws the figures anew, from the data that were kept. An experiment's
# `present` knows how.
redraw() {
  [[ -d $record ]] || fail "there are no data in $record"
  cp -r -- "$record/." "$results"
  present
  keep_results
}

# Puts results and figures where they belong. To be called last, when all went well.
keep_results() {
  trap '' INT TERM HUP # what is half new would be worse than either
  put "$results" "$record"
  [[ ! -d $work/figures ]] || put "$work/figures" "$figures"
  [[ -n ${EVAL_RESULTS:-} ]] || update_documents
  say "$experiment: the results are in $record"
}

# Documents quote tables of the summaries.
update_documents() {
  build_plots
  update_document evaluation cache contention faults hostile overhead sweep
  update_document performance bench profile
}

update_document() { # NAME EXPERIMENT…
  [[ ! -f $repo/docs/$1.md ]] || "${CARGO_TARGET_DIR:-$repo/target}/debug/plots" document \
    "$repo/docs/$1.md" "$repo/eval" "${@:2}"
}

# Puts all files of a folder into another one. They are copied as a whole first, as that may fail.
put() { # FROM TO
  local staged file files
  mkdir -p -- "$2"
  staged=$(mktemp -d -- "$2/.new.XXXXXX")
  cp -r -- "$1/." "$staged" || {
    rm -rf -- "$staged"
    fail "cannot write to $2"
  }
  mapfile -t files < <(cd -- "$staged" && find . -type f)
  for file in "${files[@]}"; do
    mkdir -p -- "$(dirname -- "$2/$file")"
    mv -f -- "$staged/$file" "$2/$file"
  done
  rm -rf -- "$staged"
}

# What the figures were measured on, as JSON. Needs build.
# What a measurement was made of and on, and how busy others kept the machine just before it.
write_machine() { # FILE
  local commit changes changed=false busy
  busy=$(cores_busy)
  commit=$(git -C "$repo" rev-parse --short=10 HEAD 2>/dev/null || printf unknown)
  changes=$(git -C "$repo" status --porcelain -- .cargo src Cargo.toml Cargo.lock roles.toml run.sh \
    eval ':(exclude,glob)eval/*/data/**' 2>/dev/null) || changes=unknown
  [[ -z $changes ]] || changed=true
  cat >"$1" <<JSON
{
  "commit": "$commit",
  "changed_since_commit": $changed,
  "executable_sha256": "$(sha256sum -- "$TOYSTORE_BIN" | cut -c 1-16)",
  "date": "$(date -u +%Y-%m-%d)",
  "processor": "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)",
  "cores": $(nproc),
  "memory_gib": $(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo),
  "kernel": "$(uname -sr)",
  "cores_busy_before": $busy,
  "load_average_before": $(cut -d ' ' -f 1 /proc/loadavg)
}
JSON
}

# How many cores all programs use, over two seconds. (A load average has the measurements before in
# it, too.)
cores_busy() {
  { head -n 1 /proc/stat && sleep 2 && head -n 1 /proc/stat; } | awk -v cores="$(nproc)" '
    { all = 0; for (i = 2; i <= 9; i++) all += $i; idle = $5 + $6 }
    NR == 1 { all_before = all; idle_before = idle }
    END { printf "%.2f", cores * (1 - (idle - idle_before) / (all - all_before)) }'
}
