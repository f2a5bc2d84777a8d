# shellcheck shell=bash
# What every experiment needs: an executable, a cluster of its own, and a record of the machine.
# Sourced, after `set -euo pipefail`. The cluster's files are in `$work`, which goes at the end.
#
# TOYSTORE_BIN is the executable to measure; without it, one is built.

unset CDPATH ROLES
repo=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
[[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
work=$(cd -- "$(mktemp -d)" && pwd -P)
before_the_end=: # what an experiment has to do before its cluster is closed
address= # of all roles, on ports as in roles.toml
declare -A port_of=([frontend]=8080 [catalog]=8081 [order-1]=8091 [order-2]=8092 [order-3]=8093)
processes=() # of a cluster with slow links: the proxy, then the roles
trap end_experiment EXIT
trap 'exit 130' INT TERM HUP

end_experiment() {
  local status=$?
  trap '' INT TERM HUP
  "$before_the_end"
  close_cluster >&2 || true
  rm -rf -- "$work"
  exit "$status"
}

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "$(basename -- "$(dirname -- "$0")"): $*"
  exit 1
}

whole_numbers() { # NUMBER…
  local number
  for number in "$@"; do
    [[ $number =~ ^[1-9][0-9]{0,5}$ ]] || fail "'$number' is not a whole number from 1 on"
  done
}

need() { # COMMAND HINT
  command -v "$1" >/dev/null || fail "$1 is missing; get it with: $2"
}

build() {
  if [[ -z ${TOYSTORE_BIN:-} ]]; then
    need cargo 'the Rust installer, https://rustup.rs'
    (cd -- "$repo" && cargo build --release --locked --quiet)
    TOYSTORE_BIN=${CARGO_TARGET_DIR:-$repo/target}/release/toystore
  fi
  TOYSTORE_BIN=$(readlink -f -- "$TOYSTORE_BIN")
  export TOYSTORE_BIN
}

# Builds the proxy that makes links slow.
build_links() {
  need cargo 'the Rust installer, https://rustup.rs'
  (cd -- "$repo/eval/links" &&
    cargo build --release --quiet --locked --target-dir "${CARGO_TARGET_DIR:-$repo/target}/links")
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
  "${CARGO_TARGET_DIR:-$repo/target}/links/release/links" "$delay" "${links[@]}" \
    <"$work/alive" >"$work/links.log" 2>&1 9>&- &
  processes=($!)
  mkdir -p -- "$work/data"
  for role in catalog order-1 order-2 order-3 frontend; do
    sed "s/$address:${port_of[$role]}/$near:${port_of[$role]}/" "$work/roles.toml" >"$work/$role.toml"
    # shellcheck disable=SC2086 # `order --id 1` is three words
    "$TOYSTORE_BIN" ${role/order-/order --id } --config "$work/$role.toml" \
      </dev/null >"$work/data/$role.log" 2>&1 9>&- &
    processes+=($!)
  done
  for role in catalog order-1 order-2 order-3 frontend; do
    "$TOYSTORE_BIN" probe "$role" --wait 30 --config "$work/$role.toml" >&2 </dev/null ||
      fail "$role is not ready"
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

pid_of() { # ROLE
  cat -- "$work/data/$1.pid"
}

# User and system time that a process has used so far, in seconds.
processor_time_of() { # PID
  # Of the fields after the name in parentheses, which may hold spaces.
  sed 's/.*) //' "/proc/$1/stat" |
    awk -v hz="$(getconf CLK_TCK)" '{ printf "%.2f %.2f\n", $12 / hz, $13 / hz }'
}

# Draws an experiment's figures into docs/figures and writes its summary.md.
draw() { # EXPERIMENT DATA
  need cargo 'the Rust installer, https://rustup.rs'
  mkdir -p -- "$repo/docs/figures"
  (cd -- "$repo/eval/plots" &&
    cargo run --quiet --locked --target-dir "${CARGO_TARGET_DIR:-$repo/target}/plots" -- \
      "$1" "$2" "$repo/docs/figures")
}

# What the figures were measured on, as JSON.
write_machine() { # FILE
  local commit changed=false
  commit=$(git -C "$repo" rev-parse --short=10 HEAD 2>/dev/null || printf unknown)
  git -C "$repo" diff --quiet HEAD -- src Cargo.toml Cargo.lock roles.toml 2>/dev/null || changed=true
  cat >"$1" <<JSON
{
  "commit": "$commit",
  "changed_since_commit": $changed,
  "date": "$(date -u +%Y-%m-%d)",
  "processor": "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)",
  "cores": $(nproc),
  "memory_gib": $(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo),
  "kernel": "$(uname -sr)",
  "load_average_before": $(cut -d ' ' -f 1 /proc/loadavg)
}
JSON
}
