#!/usr/bin/env bash
# Runs the toy store: builds the executable if its sources changed, then starts, stops and shows the
# roles of roles.toml. `./run.sh help` lists the verbs.
#
# Which process is a role is never guessed. A role holds a lock on its pid file while it lives, so
# a number that a crash left behind, or that another process has by now, counts for nothing. What
# this script starts also carries the path of its roles.toml in its environment, under
# TOYSTORE_STARTED_BY; a process without both, the lock and the mark, gets no signal from here.

# Every `return` names its status: in a trap, where `down` runs too, a bare one means the status
# from before the trap.

set -euo pipefail
unset CDPATH

readonly READY_SECONDS=30 # a role first opens and checks the databases that a crash left behind
readonly START_SECONDS=3  # for one role to be ready; healthy is enough
readonly STOP_SECONDS=15  # a role finishes what it has accepted within 12 s
readonly KILL_SECONDS=5
readonly POLL_SECONDS=0.05
readonly CHANGE_SECONDS=10 # a front-end finds another leader within its deadline for purchases
readonly LOG_LINES=15
readonly NOT_OURS='but was not started by run.sh; left alone'

repo=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
config=                    # the absolute path of roles.toml
binary=                    # the absolute path of toystore
roles=()                   # in start order
declare -A address_of=() pid_file_of=() log_of=()
declare -A log_start_of=() # how long a role's log was when this run.sh started the role
launched=                  # the process that this run.sh started last
followers=()               # the processes that show the logs
client=                    # the demo's

usage() {
  cat <<'TEXT'
Runs the toy store. It is built first if its sources changed.

  ./run.sh              start the store here and show its logs; Ctrl-C stops all
  ./run.sh up           start it in the background; return when every role is ready
  ./run.sh down         stop all that run.sh started
  ./run.sh status       a line per role; exit status 0 if every role is ready, else 1
  ./run.sh start ROLE   start one role and wait until it is healthy
  ./run.sh stop ROLE    end one role in order (SIGTERM)
  ./run.sh kill ROLE    let one role crash (SIGKILL)
  ./run.sh demo         up, five clients, a leader killed and brought back, their report, down
  ./run.sh help         this text

ROLE is catalog, order-1, frontend, …, as `./run.sh status` lists them. The environment:

  ROLES             the roles.toml to use, instead of the one beside run.sh
  TOYSTORE_BIN      the executable to use; then nothing is built
  CARGO_TARGET_DIR  where to build, instead of target beside run.sh
  NO_COLOR          if set, logs have no colours on a terminal
TEXT
}

main() {
  case $#:${1-} in
    0:) set -- foreground ;;
    1:help | 1:-h | 1:--help) usage && return 0 ;;
    1:up | 1:down | 1:status | 1:demo) ;;
    1:start | 1:stop | 1:kill | 2:start | 2:stop | 2:kill) ;;
    *:up | *:down | *:status | *:demo | *:help) fail "$1 takes no arguments; try ./run.sh help" 2 ;;
    *:start | *:stop | *:kill) fail "$1 takes one role; try ./run.sh status" 2 ;;
    *) fail "there is no verb $1; try up, down, status, start, stop, kill, demo or help" 2 ;;
  esac
  find_config
  find_binary "$1"
  read_roles
  case $1 in
    start) check_role "$@" && start_one "$2" ;;
    stop) check_role "$@" && stop_role "$2" ;;
    kill) check_role "$@" && kill_role "$2" ;;
    *) "$1" ;;
  esac
}

say() { printf '%s\n' "$@"; }

complain() { printf 'run.sh: %s\n' "$*" >&2; }

fail() { # MESSAGE [STATUS]
  complain "$1"
  exit "${2:-1}"
}

# --- the verbs ------------------------------------------------------------------------------------

foreground() {
  local role
  refuse_if_up
  trap end_foreground EXIT
  trap 'exit 0' INT TERM HUP PIPE # Ctrl-C is the normal way to end it
  for role in "${roles[@]}"; do
    start_ready "$role" || exit 1
  done
  invite
  follow_logs
}

# Stops all, also what another terminal has started again, then lets the logs run out.
end_foreground() {
  trap '' INT TERM HUP PIPE
  set +e # whatever fails, such as writing to a closed terminal, the roles must end
  down
  end_logs
}

up() {
  local role
  for role in "${roles[@]}"; do
    if ! start_ready "$role"; then
      complain "what runs goes on; $(this_command) down stops it"
      return 1
    fi
  done
  say "the store is open at http://${address_of[frontend]}/; $(this_command) down closes it"
}

# How to call this script from here for the same cluster.
this_command() {
  local run=$repo/run.sh settings=
  [[ $repo != "$(pwd -P)" ]] || run=./run.sh
  [[ $config == "$repo/roles.toml" ]] || printf -v settings 'ROLES=%q ' "$config"
  printf '%s%q' "$settings" "$run"
}

down() {
  local index status=0
  for ((index = ${#roles[@]} - 1; index >= 0; index--)); do
    stop_role "${roles[index]}" || status=1
  done
  return "$status"
}

status() {
  local role pid state status=0
  for role in "${roles[@]}"; do
    if ! pid=$(pid_of "$role"); then
      pid=-
      state=down
    elif probe "$role" 0 >/dev/null; then
      state=ready
    else
      state='alive, not ready'
    fi
    [[ $state == ready ]] || status=1
    [[ $pid == - ]] || is_ours "$pid" || state+=' (not started by run.sh)'
    printf '%-12s %-22s %-8s %s\n' "$role" "${address_of[$role]}" "$pid" "$state"
  done
  return "$status"
}

# Healthy is enough: a role whose neighbours are down has started well and cannot be ready.
start_one() { # ROLE
  local status=0 problem
  start_role "$1" "$START_SECONDS" || status=$?
  if ((status == 2)) && is_healthy "$1"; then
    say "$1 is alive, but not ready yet: $problem"
  elif ((status != 0)); then
    show_failure "$1" "$problem"
    return 1
  fi
}

stop_role() { # ROLE
  local pid
  pid=$(own_pid_of "$1") || return "$(($? - 1))"
  kill -s TERM "$pid" 2>/dev/null || true
  if ! await_gone "$pid" "$STOP_SECONDS"; then
    complain "$1 (pid $pid) has not ended within $STOP_SECONDS s; it gets SIGKILL"
    kill_role "$1"
  else
    say "$1 has stopped"
  fi
}

kill_role() { # ROLE
  local pid
  pid=$(own_pid_of "$1") || return "$(($? - 1))"
  kill -s KILL "$pid" 2>/dev/null || true
  if ! await_gone "$pid" "$KILL_SECONDS"; then
    complain "$1 (pid $pid) outlives SIGKILL; the kernel holds it, so look at its disk"
    return 1
  fi
  say "$1 (pid $pid) is killed"
}

demo() {
  local first orders status=0
  refuse_if_up
  trap end_demo EXIT
  trap 'exit 1' INT TERM HUP
  up || exit 1
  await_other '' leader || fail "no leader within $CHANGE_SECONDS s; look into the logs"
  first=$(leader)
  orders=$(last_orders)
  say "" "Five clients shop, and the leader crashes meanwhile."
  "$binary" client -c 5 -d 10s --rate 100 -p 0.5 --config "$config" </dev/null &
  client=$!
  change_leader "$first" "$orders" || status=1
  wait "$client" || status=$?
  client=
  compare_databases || status=$((status > 0 ? status : 1))
  exit "$status"
}

end_demo() {
  trap '' INT TERM HUP
  set +e
  # Asked kindly, it would first check its orders, at a store that closes.
  [[ -z $client ]] || kill -s KILL "$client" 2>/dev/null
  say ""
  down
}

# --- what is to be run ----------------------------------------------------------------------------

find_config() {
  config=${ROLES:-$repo/roles.toml}
  [[ -f $config && -r $config ]] || fail "cannot read $config; let ROLES name a roles.toml"
  config=$(cd -P -- "$(dirname -- "$config")" && pwd)/$(basename -- "$config")
}

# Only verbs that start something care whether the executable is the newest.
find_binary() { # VERB
  local target
  if [[ -n ${TOYSTORE_BIN:-} ]]; then
    binary=$(absolute "$TOYSTORE_BIN")
    [[ -x $binary ]] || fail "TOYSTORE_BIN is $TOYSTORE_BIN, which cannot be executed"
    return 0
  fi
  target=$(absolute "${CARGO_TARGET_DIR:-$repo/target}")
  binary=$target/release/toystore
  case $1 in
    down | status | stop | kill) [[ -x $binary ]] || build "$target" ;;
    *) is_up_to_date || build "$target" ;;
  esac
}

absolute() { # PATH
  if [[ $1 == /* ]]; then printf '%s\n' "$1"; else printf '%s\n' "$PWD/$1"; fi
}

is_up_to_date() {
  [[ -x $binary && -z $(sources_newer_than "@$(stat -c %.9Y -- "$binary")") ]]
}

sources_newer_than() { # TIME
  find "$repo/src" "$repo/Cargo.toml" "$repo/Cargo.lock" -newermt "$1" -print -quit
}

build() { # TARGET
  local began hint
  [[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
  hint='the Rust installer, https://rustup.rs'
  command -v cargo >/dev/null || fail "cargo is missing; get it with: $hint"
  hint='sudo apt-get install -y build-essential'
  command -v cc >/dev/null || fail "a C compiler is missing; get it with: $hint"
  complain "building toystore, which takes some minutes the first time"
  began=$(date +@%s.%N)
  (cd "$repo" && cargo build --release --locked --target-dir "$1") ||
    fail "the build failed; see above, and try: rustup update stable"
  [[ -x $binary ]] || fail "cargo did not build $binary; unset CARGO_BUILD_TARGET"
  # Cargo leaves the executable as it is when a change did not matter: its date says that this is
  # known. What changed during the build may be in it or not, and is built the next time.
  if [[ -z $(sources_newer_than "$began") ]]; then
    touch -- "$binary"
  else
    touch -d "$began" -- "$binary"
  fi
}

read_roles() {
  local table role address pid_file log
  table=$("$binary" roles --config "$config") || exit 1 # it has said what is wrong
  while IFS=$'\t' read -r role address pid_file log; do
    roles+=("$role")
    address_of[$role]=$address
    pid_file_of[$role]=$pid_file
    log_of[$role]=$log
  done <<<"$table"
}

check_role() { # VERB [ROLE]
  [[ -n ${2-} ]] || fail "$1 needs a role: ${roles[*]}" 2
  [[ -n ${address_of[$2]-} ]] || fail "no role is called $2; $config has ${roles[*]}" 2
}

refuse_if_up() {
  local role pid
  for role in "${roles[@]}"; do
    ! pid=$(pid_of "$role") || fail "$role runs already (pid $pid); stop all with ./run.sh down"
  done
}

# --- which process is which -----------------------------------------------------------------------

# Prints the pid of the process that is ROLE. Fails if the role is down.
pid_of() { # ROLE
  local pid
  { read -r pid <"${pid_file_of[$1]}"; } 2>/dev/null || return 1
  [[ $pid =~ ^[1-9][0-9]*$ ]] && holds_lock "$pid" "${pid_file_of[$1]}" && printf '%s\n' "$pid"
}

# Asks the kernel instead of trying to lock: trying would be in the way of a role that just starts.
holds_lock() { # PID FILE
  local fd
  [[ -r /proc/$1/fd ]] || { is_locked_by_stranger "$1" "$2" && return 0; }
  for fd in "/proc/$1/fd"/*; do
    [[ $fd -ef $2 ]] && grep -qs '^lock:.*FLOCK' "/proc/$1/fdinfo/${fd##*/}" && return 0
  done
  return 1
}

# Another user's process does not show its files. It is no role that just starts here.
is_locked_by_stranger() { # PID FILE
  local status=0
  [[ -d /proc/$1 ]] || return 1
  flock --nonblock --shared --conflict-exit-code 9 "$2" true 2>/dev/null || status=$?
  ((status == 9))
}

is_ours() { # PID
  grep -qszxF "TOYSTORE_STARTED_BY=$config" "/proc/$1/environ"
}

# Prints the pid of ROLE's process if it may be signalled. Else it says why not, and fails with 1 if
# the role is down, 2 if it is not ours.
own_pid_of() { # ROLE
  local pid
  pid=$(pid_of "$1") || { say "$1 does not run" >&2 && return 1; }
  is_ours "$pid" || { complain "$1 runs (pid $pid), $NOT_OURS" && return 2; }
  printf '%s\n' "$pid"
}

# A process has gone when all its threads have, and with them its files, lock and port. Whoever
# should collect its exit status may leave a zombie.
await_gone() { # PID SECONDS
  local deadline=$((SECONDS + $2)) threads
  while [[ -d /proc/$1 ]]; do
    threads=("/proc/$1/task"/*)
    ((${#threads[@]} > 1)) || ! grep -qs '^State:[[:space:]]*Z' "/proc/$1/status" || return 0
    ((SECONDS < deadline)) || return 1
    sleep "$POLL_SECONDS"
  done
}

# --- starting -------------------------------------------------------------------------------------

start_ready() { # ROLE
  local problem
  start_role "$1" "$READY_SECONDS" && return 0
  show_failure "$1" "$problem"
  return 1
}

# Returns 0 once ROLE is ready. Returns 1 if it has ended, 2 if it lives and is not ready within
# SECONDS; then `problem` says what is wrong.
start_role() { # ROLE SECONDS
  local pid note=
  if pid=$(pid_of "$1"); then
    is_ours "$pid" || note=", $NOT_OURS"
    say "$1 runs already (pid $pid)$note"
    await_ready "$1" "$2"
  else
    launch "$1"
    await_place "$1" "$2" || return "$?"
    await_ready "$1" "$2" || return "$?"
    say "$1 is ready at ${address_of[$1]}"
  fi
}

# A session of its own keeps the terminal's Ctrl-C away from the role.
launch() { # ROLE
  local arguments log=${log_of[$1]}
  case $1 in
    order-*) arguments=(order --id "${1#order-}") ;;
    frontend-*) arguments=(frontend --id "${1#frontend-}") ;;
    *) arguments=("$1") ;;
  esac
  mkdir -p -- "$(dirname -- "$log")"
  log_start_of[$1]=$(stat -c %s -- "$log" 2>/dev/null || echo 0)
  TOYSTORE_STARTED_BY=$config setsid "$binary" "${arguments[@]}" --config "$config" \
    </dev/null >>"$log" 2>&1 &
  launched=$!
  disown "$launched" # so that bash does not tell how it ended
}

# Waits until the launched process is ROLE. It listens before that, so that whoever answers at its
# address from then on is no other process.
await_place() { # ROLE SECONDS
  local deadline=$((SECONDS + $2))
  until [[ $(pid_of "$1") == "$launched" ]]; do
    problem='it has ended'
    kill -0 "$launched" 2>/dev/null || return 1
    problem="it has no pid file after $2 s"
    ((SECONDS < deadline)) || return 2
    sleep "$POLL_SECONDS"
  done
}

await_ready() { # ROLE SECONDS
  local deadline=$((SECONDS + $2))
  until problem=$(probe "$1" 1); do
    pid_of "$1" >/dev/null || break
    ((SECONDS < deadline)) || return 2
    sleep "$POLL_SECONDS"
  done
  pid_of "$1" >/dev/null || { problem='it has ended' && return 1; }
}

probe() { # ROLE SECONDS
  "$binary" probe "$1" --config "$config" --wait "$2" 2>&1
}

is_healthy() { # ROLE
  [[ $(get "$1" /healthz) == HTTP/1.?' 200 '* ]]
}

# Prints ROLE's answer to GET PATH, on a machine that may have no curl.
get() ( # ROLE PATH
  address=${address_of[$1]}
  host=${address%:*}
  host=${host#[}
  exec 3<>"/dev/tcp/${host%]}/${address##*:}" || exit 1
  printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" "$address" >&3
  timeout 2 cat <&3
) 2>/dev/null

show_failure() { # ROLE PROBLEM
  local log=${log_of[$1]}
  complain "$1 is not ready: $2"
  complain "the last lines of $log:"
  tail -c "+$((${log_start_of[$1]-0} + 1))" -- "$log" | tail -n "$LOG_LINES" | sed 's/^/  /' >&2
}

# --- the foreground -------------------------------------------------------------------------------

invite() {
  local address=${address_of[frontend]} here program=$binary settings=
  here=$(pwd -P)
  program=${program#"$here/"}
  [[ $config == "$here/roles.toml" ]] || printf -v settings ' --config %q' "$config"
  printf -v program %q "$program"
  cat <<TEXT

The store is open at http://$address/ and Ctrl-C closes it. Try, in another terminal:

  curl http://$address/products
  curl -d '{"name":"Tux","quantity":1}' http://$address/orders
  $program client -c 5 -n 200 -p 0.5$settings
  $(this_command) kill $(replicas | tail -n 1)

TEXT
}

# Shows the logs until a signal comes. Each `tail` ends with the keeper, having shown the rest; the
# keeper ends when its pipe is closed, which the kernel does however run.sh ends.
follow_logs() {
  local role prefix keeper_pid width=0 number=0
  coproc keeper { trap '' INT && exec cat >/dev/null; }
  # shellcheck disable=SC2154 # coproc sets it
  keeper_pid=$keeper_PID
  for role in "${roles[@]}"; do
    ((${#role} <= width)) || width=${#role}
  done
  for role in "${roles[@]}"; do
    printf -v prefix '%-*s | ' "$width" "$role"
    if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
      prefix=$'\e['"$((31 + number++ % 6))m$prefix"$'\e[0m'
    fi
    follow_log "$role" "$prefix" "$keeper_pid" &
    followers+=("$!")
  done
  wait "$keeper_pid"
}

# Ctrl-C is not for the log: how the roles end is to be seen.
follow_log() { # ROLE PREFIX KEEPER
  trap '' INT
  tail -s 0.1 --pid="$3" -c "+$((log_start_of[$1] + 1))" -F -- "${log_of[$1]}" \
    2>/dev/null | sed -u "s/^/$2/"
}

end_logs() {
  local pipe=${keeper[1]-}
  [[ -n $pipe ]] || return 0
  exec {pipe}>&-
  wait "${followers[@]}"
}

# --- the demo -------------------------------------------------------------------------------------

# Once purchases are under way, kills the leader, waits for another one, and brings the first back.
change_leader() { # LEADER ORDERS
  if ! await_other "$2" last_orders; then
    complain "no purchase within $CHANGE_SECONDS s; is the store sold out? it restocks by itself"
    return 1
  fi
  kill_role "$1"
  if ! await_other "$1" leader; then
    complain "no other leader within $CHANGE_SECONDS s"
    return 1
  fi
  say "$(leader) leads now"
  start_one "$1"
}

# Prints which replica leads, as the front-end knows it, or nothing.
leader() {
  if [[ $(get frontend /cluster) =~ \"leader\":\ *([0-9]+) ]]; then
    printf 'order-%s\n' "${BASH_REMATCH[1]}"
  fi
}

# Prints the number of each replica's last order, as the front-end knows it.
last_orders() {
  get frontend /cluster | grep -o '"last_order": *[0-9]*' || true
}

await_other() { # VALUE FUNCTION
  local deadline=$((SECONDS + CHANGE_SECONDS)) now
  until now=$("$2") && [[ -n $now && $now != "$1" ]]; do
    ((SECONDS < deadline)) || return 1
    sleep "$POLL_SECONDS"
  done
}

# A replica that was away may still be catching up when the clients are done.
compare_databases() {
  local deadline=$((SECONDS + CHANGE_SECONDS)) role
  if ! command -v sqlite3 >/dev/null; then
    say "" "The replicas' databases are not compared: get sqlite3 with" \
      "  sudo apt-get install -y sqlite3"
    return 0
  fi
  until databases_are_equal; do
    if ((SECONDS >= deadline)); then
      complain "the replicas' databases differ; compare their tables called orders"
      return 1
    fi
    sleep "$POLL_SECONDS"
  done
  say "" "All replicas have the same orders:"
  for role in $(replicas); do
    say "  $role: $(orders_of "$role" | wc -l) orders, checksum $(checksum_of "$role")"
  done
}

databases_are_equal() {
  local role checksum first=
  for role in $(replicas); do
    checksum=$(checksum_of "$role") || return 1
    [[ $checksum == "${first:=$checksum}" ]] || return 1
  done
}

checksum_of() { # ROLE
  orders_of "$1" | cksum | cut -d ' ' -f 1
}

orders_of() { # ROLE
  sqlite3 -readonly "${pid_file_of[$1]%.pid}.db" \
    'SELECT number, name, quantity FROM orders ORDER BY number'
}

replicas() {
  printf '%s\n' "${roles[@]}" | grep '^order-'
}

main "$@"
