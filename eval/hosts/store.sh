# shellcheck shell=bash
# A store whose roles are on hosts of their own, which die, are cut off, and come back. Sourced, with
# network.sh, by run.sh. A host has the name of its role, and a folder in `$work` for its files.
# shellcheck disable=SC2154 # variables of cluster.sh and network.sh

readonly PORT=8080          # of every role: each has an address of its own
readonly READY_SECONDS=60   # for a role to be ready
readonly IN_STEP_SECONDS=60 # for the replicas to have all orders, after the last fault
frontends=(frontend frontend-2)
replicas=(order-1 order-2 order-3)
catalogs=(catalog)
databases=()         # hosts of PostgreSQL
readonly CLIENTS=4 SEED=1
shopper=             # the process of the clients; it ends with its host, if the run breaks off
database_password='' # of the catalogs, if it asks for one
tls=false            # between roles

open_store() {
  local host
  make_network
  for host in clients "${databases[@]}" "${catalogs[@]}" "${replicas[@]}" "${frontends[@]}"; do
    add_host "$host"
    mkdir -- "$work/$host"
  done
  secret=$(od -An -N 16 -t x1 /dev/urandom | tr -d ' \n')
  for host in "${catalogs[@]}" "${replicas[@]}" "${frontends[@]}"; do
    write_roles >"$work/$host/roles.toml"
  done
  [[ $tls == false ]] || hand_out_certificates
  open_database
  for host in "${catalogs[@]}" "${replicas[@]}" "${frontends[@]}"; do start_role "$host"; done
  for host in "${catalogs[@]}" "${replicas[@]}" "${frontends[@]}"; do await_role "$host"; done
}

# The file that ships, with the hosts' addresses. It is the same on all hosts.
write_roles() {
  sed -e "s|^# secret = .*|secret = \"$secret\"|" \
    -e "s|^initial_stock = .*|initial_stock = $AMPLE_STOCK|" \
    -e "s|127\.0\.0\.1:8080|$(address_of frontend):$PORT|" \
    -e "s|127\.0\.0\.1:8091|$(address_of order-1):$PORT|" \
    -e "s|127\.0\.0\.1:8092|$(address_of order-2):$PORT|" \
    -e "s|127\.0\.0\.1:8093|$(address_of order-3):$PORT|" \
    -e "/^\[catalog\]/i [[frontend]]\naddress = \"$(address_of frontend-2):$PORT\"\n" \
    "$repo/roles.toml" | write_catalogs
}

# Each host gets the authority's certificate, and its own with its key, as operators would do it.
hand_out_certificates() {
  local host address
  for host in "${catalogs[@]}" "${replicas[@]}" "${frontends[@]}"; do
    printf '\n[tls]\n' >>"$work/$host/roles.toml"
  done
  mkdir -- "$work/authority"
  cp -- "$work/$host/roles.toml" "$work/authority"
  "$TOYSTORE_BIN" certs --config "$work/authority/roles.toml" </dev/null >"$work/authority/log"
  for host in "${catalogs[@]}" "${replicas[@]}" "${frontends[@]}"; do
    address=$(address_of "$host")
    mkdir -- "$work/$host/tls"
    cp -- "$work/authority/tls/authority.pem" "$work/authority/tls/$address.pem" \
      "$work/authority/tls/$address.key" "$work/$host/tls"
  done
}

write_catalogs() { sed "s|127\.0\.0\.1:8081|$(address_of catalog):$PORT|"; }

open_database() { true; }

start_role() { # ROLE
  # shellcheck disable=SC2086 # `order --id 1` is three words
  PGPASSWORD=$database_password start_on "$1" "$work/$1/log" "$TOYSTORE_BIN" ${1/-/ --id } \
    --config "$work/$1/roles.toml"
}

await_role() { # ROLE
  on "$1" "$TOYSTORE_BIN" probe "$1" --wait "$READY_SECONDS" --config "$work/$1/roles.toml" \
    >"$work/probe.log" 2>&1 </dev/null || {
    cat -- "$work/probe.log" >&2
    tail -n 20 -- "$work/$1/log" >&2
    broken "$1 is not ready within $READY_SECONDS s"
  }
}

# What the first front-end that answers knows of the cluster.
get_cluster() {
  local frontend
  for frontend in "${frontends[@]}"; do
    ! on clients curl --fail --silent --max-time 2 "http://$(address_of "$frontend"):$PORT/cluster" ||
      return 0
  done
  return 1
}

# Prints the host of the replica that leads, when there is one, and not the one that is out.
leader() { # [OUT]
  local deadline=$((SECONDS + READY_SECONDS)) cluster
  while ((SECONDS < deadline)); do
    cluster=$(get_cluster 2>/dev/null) || cluster=
    if [[ $cluster =~ \"leader\":\ *([0-9]+) && order-${BASH_REMATCH[1]} != "${1-}" ]]; then
      printf 'order-%s\n' "${BASH_REMATCH[1]}"
      return
    fi
    sleep 0.1
  done
  broken "no replica leads within $READY_SECONDS s; the front-end says: ${cluster:-nothing}"
}

followers() { printf '%s\n' "${replicas[@]}" | grep -vx -- "$1"; } # LEADER

# --- the clients ----------------------------------------------------------------------------------

# Their history goes to `$results`.
start_shopping() {
  local toys
  toys=$(sed -n 's/^ *{ name = "\([^"]*\)".*/\1/p' "$repo/roles.toml" | paste -sd ,)
  ip netns exec "$prefix-clients" python3 "$repo/eval/hosts/shop.py" "$results/history.jsonl" \
    "$CLIENTS" "$SEED" "$toys" "$(address_of frontend):$PORT" "$(address_of frontend-2):$PORT" \
    </dev/null >"$work/clients/log" 2>&1 &
  shopper=$!
}

uptime_seconds() { cut -d ' ' -f 1 /proc/uptime; }

# The clients fetch each of their orders once more, and end.
end_shopping() {
  local status=0
  kill -TERM "$shopper"
  wait "$shopper" || status=$?
  ((status == 0)) || broken "the clients failed (exit status $status)"
}

# What an experiment that found something wrong leaves is no record, but has to be looked into.
broken() { # HOW
  local kept
  kept=$(mktemp -d)
  remove_network # lest a database change while it is copied
  cp -r -- "$work/." "$kept"
  fail "$1; see $kept"
}

# --- what goes wrong ------------------------------------------------------------------------------

take_out() { # crash | power | cut HOST…
  local host
  for host in "${@:2}"; do
    [[ $1 == crash ]] || unplug "$host"
    [[ $1 == cut ]] || kill_all_on "$host"
  done
  for host in "${@:2}"; do ! is_reached "$host" || broken "$host is reached, though it is out"; done
}

bring_back() { # crash | power | cut HOST…
  local host
  for host in "${@:2}"; do
    plug "$host"
    [[ $1 == cut ]] || start_host "$host"
  done
  for host in "${@:2}"; do await_host "$host"; done
}

start_host() { start_role "$1"; } # HOST

await_host() { # HOST
  await_role "$1"
  is_reached "$1" || broken "$1 is not reached, though it is back"
}

# Whether clients could connect to the role, or server, on a host.
is_reached() { # HOST
  on clients timeout 1 bash -c ": <>/dev/tcp/$(address_of "$1")/$(port_on "$1")" 2>/dev/null
}

port_on() { echo "$PORT"; } # HOST

# A round of faults, one after the other.
go_wrong() { # OUT_SECONDS UP_SECONDS
  local leader followers
  leader=$(leader)
  hurt "$@" sells 'leader loses power' power "$leader"
  leader=$(leader)
  hurt "$@" sells 'leader is cut off' cut "$leader"
  leader=$(leader)
  hurt "$@" sells 'follower crashes' crash "$(followers "$leader" | head -n 1)"
  mapfile -t followers < <(followers "$(leader)")
  hurt "$@" sells 'both followers are cut off' cut "${followers[@]}"
  hurt "$@" sells 'front-end loses power' power frontend
  hurt "$@" sells 'front-end is cut off' cut frontend-2
  hurt "$@" sells 'front-end crashes' crash frontend
  lose_catalog "$@"
}

# On SQLite there is one catalog: while it is away nothing is sold, and what is not in a cache under
# a lease cannot be read.
lose_catalog() { # OUT_SECONDS UP_SECONDS
  hurt "$@" stands 'catalog crashes' crash catalog
  hurt "$@" stands 'catalog loses power' power catalog
  hurt "$@" stands 'catalog is cut off' cut catalog
}

# What has to be so while hosts are out.
meanwhile() { # HOST…
  [[ $1 != order-* ]] || leader "$1" >/dev/null
}

# --- what the databases have ----------------------------------------------------------------------

# Copies the orders of every database, and the stock, to a folder, when the replicas are in step.
copy_databases() { # FOLDER
  local deadline=$((SECONDS + IN_STEP_SECONDS)) replica
  while true; do
    copy_journal "$1"
    for replica in "${replicas[@]}"; do
      query "$replica" 'SELECT number, name, quantity FROM orders ORDER BY number' \
        >"$1/$replica.orders"
    done
    if (($(sha256sum -- "$1"/*.orders | cut -d ' ' -f 1 | sort -u | wc -l) == 1)) ||
      ((SECONDS >= deadline)); then
      return
    fi
    sleep 0.5
  done
}

copy_journal() { # FOLDER
  query catalog 'SELECT number, name, quantity FROM journal ORDER BY number' >"$1/journal.orders"
  query catalog 'SELECT name, quantity FROM products' >"$1/stock"
}

query() { sqlite3 -readonly "$work/$1/data/$1.db" "$2"; } # ROLE SQL
