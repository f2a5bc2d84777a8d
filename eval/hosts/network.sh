# shellcheck shell=bash
# Hosts that are network namespaces, with addresses of their own, at one switch. Sourced, as root.
#
#   10.A.B.1 clients ──┐            the switch is a bridge in a namespace of its own, so that
#   10.A.B.2 frontend ─┤ switch     nothing is added to this machine's network
#   10.A.B.3 catalog ──┘ …
#
# A host is *cut off* when its port at the switch is down: its processes go on, and what is sent to
# it or from it is lost. It *crashes* when its processes are killed: the kernel closes their
# connections and refuses new ones. When it *loses power* it is cut off first, and then its
# processes are killed: others hear nothing of it.

hosts=()                # in the order in which they were made
prefix=                 # of the names of the namespaces, with which no other run begins
network=                # the first three numbers of the addresses
declare -A place_of=()  # the last number of a host's address
declare -A started_on=() # the processes that this shell started on a host

# Draws a name that is not taken; the namespace of the switch takes it.
make_network() {
  until [[ -n $prefix ]]; do
    prefix=toystore-$(od -An -N 3 -t x1 /dev/urandom | tr -d ' \n')
    [[ ! -e /run/netns/$prefix-switch ]] || prefix=
  done
  network=10.$((RANDOM % 200 + 20)).$((RANDOM % 250 + 1))
  ip netns add "$prefix-switch"
  ip -n "$prefix-switch" link add switch type bridge stp_state 0 forward_delay 0
  ip -n "$prefix-switch" link set switch up
}

add_host() { # HOST
  local name=$prefix-$1 place=$((${#hosts[@]} + 1))
  ip netns add "$name"
  hosts+=("$1")
  place_of[$1]=$place
  # The name of an interface has 15 characters at most.
  ip -n "$prefix-switch" link add "port$place" type veth peer name net netns "$name"
  ip -n "$prefix-switch" link set "port$place" master switch up
  ip -n "$name" link set lo up
  ip -n "$name" link set net up
  ip -n "$name" address add "$network.$place/24" dev net
}

address_of() { printf '%s.%s' "$network" "${place_of[$1]}"; } # HOST

# Runs a command on a host.
on() { ip netns exec "$prefix-$1" "${@:2}"; } # HOST COMMAND…

# The same in the background. What it prints goes to the end of LOG.
start_on() { # HOST LOG COMMAND…
  # Not by `on`, whose shell would be the process that is noted.
  ip netns exec "$prefix-$1" "${@:3}" </dev/null >>"$2" 2>&1 &
  started_on[$1]="${started_on[$1]-} $!"
}

unplug() { ip -n "$prefix-switch" link set "port${place_of[$1]}" down; } # HOST

plug() { ip -n "$prefix-switch" link set "port${place_of[$1]}" up; } # HOST

# Kills all processes of a host at once. (Bash would print a line for each on standard error.)
kill_all_on() { # HOST
  local pids=() pid
  {
    while mapfile -t pids < <(ip netns pids "$prefix-$1") && ((${#pids[@]} > 0)); do
      kill -KILL "${pids[@]}" || true
      sleep 0.01
    done
    # Also one that was about to enter the namespace. It is this shell's child, so its number is not
    # another process's until `wait` has returned.
    for pid in ${started_on[$1]-}; do
      kill -KILL "$pid" || true
      wait "$pid" || true
    done
  } 2>/dev/null
  started_on[$1]=
}

remove_network() {
  local host
  [[ -n $prefix ]] || return 0
  for host in "${hosts[@]}"; do
    kill_all_on "$host"
    ip netns delete "$prefix-$host" || true
  done
  ip netns delete "$prefix-switch" 2>/dev/null || true
  prefix='' hosts=()
}
