# shellcheck shell=bash
# PostgreSQL on hosts of its own, as the catalogs' database: a primary and two standbys, one of which
# has to have a change before the primary acknowledges it. Sourced, with network.sh and store.sh, by
# run.sh. Here the script is the manager: it promotes a standby when the primary's host is out, and
# makes a server that comes back a standby of the one that rules.
# shellcheck disable=SC2034,SC2154 # variables of cluster.sh, network.sh and store.sh

readonly PG_PORT=5432
readonly STALE_SECONDS=1 # that an old primary is there beside the new one
readonly PG_SECONDS=60 # for a server to start, to be promoted, or to have caught up
databases=(database-1 database-2 database-3)
catalogs=(catalog-1 catalog-2)
primary=database-1 # the host whose server takes changes, as this script made it
pg=                # the folder of PostgreSQL's programs

find_postgres() {
  local found
  found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
  [[ -x $found ]] || fail 'PostgreSQL is missing; get it with: sudo apt-get install -y postgresql'
  need psql 'sudo apt-get install -y postgresql-client'
  pg=$(dirname -- "$found")
}

open_database() {
  local host
  chmod 711 -- "$work" # PostgreSQL refuses to run as root
  for host in "${databases[@]}"; do
    chown postgres: -- "$work/$host"
    chmod 700 -- "$work/$host"
  done
  as_postgres "$primary" "$pg/initdb" --pgdata=data --auth=trust --encoding=UTF8 --locale=C \
    --data-checksums --no-sync --username=postgres
  printf 'host all,replication all %s.0/24 trust\n' "$network" >>"$work/$primary/data/pg_hba.conf"
  settings >>"$work/$primary/data/postgresql.conf"
  start_server "$primary"
  # There is no standby yet to wait for.
  ask_server "$primary" postgres 'SET synchronous_commit = local' \
    'CREATE ROLE toystore LOGIN' 'GRANT pg_read_all_stats TO toystore' \
    'CREATE DATABASE toystore OWNER toystore' >/dev/null
  for host in "${databases[@]}"; do
    [[ $host == "$primary" ]] || make_standby "$host"
  done
  await_standbys 2
  make_tables
}

make_tables() {
  PGPASSWORD=$database_password on "${catalogs[0]}" "$TOYSTORE_BIN" catalog --migrate \
    --config "$work/${catalogs[0]}/roles.toml" </dev/null >&2
}

# The same on every server: what a promoted one does not have would not hold from then on.
settings() {
  cat <<TEXT
listen_addresses = '*'
port = $PG_PORT
include_if_exists = 'own.conf'
synchronous_standby_names = 'ANY 1 ("database-1", "database-2", "database-3")'
wal_log_hints = on
shared_buffers = 32MB
max_connections = 60
hot_standby = on
wal_receiver_timeout = 2s
wal_sender_timeout = 2s
tcp_user_timeout = 1000
tcp_keepalives_idle = 1
tcp_keepalives_interval = 1
tcp_keepalives_count = 2
TEXT
}

# Runs a command of PostgreSQL's as its user, in the host's folder.
as_postgres() { # HOST COMMAND…
  (cd -- "$work/$1" && on "$1" runuser -u postgres -- "${@:2}") >>"$work/$1.log" 2>&1 </dev/null || {
    tail -n 20 -- "$work/$1.log" >&2
    broken "$1: $2 failed"
  }
}

start_server() { # HOST
  # Each server's own name and socket, which a copy of its folder must not take along.
  printf "cluster_name = '%s'\nunix_socket_directories = '%s'\n" "$1" "$work/$1" \
    >"$work/$1/data/own.conf"
  start_on "$1" "$work/$1.log" runuser -u postgres -- "$pg/postgres" -D "$work/$1/data"
  await_server "$1" 'SELECT 1'
}

await_server() { # HOST SQL, which prints something when it is so
  local deadline=$((SECONDS + PG_SECONDS))
  until [[ -n $(ask_server "$1" postgres "$2" 2>/dev/null) ]]; do
    ((SECONDS < deadline)) || {
      tail -n 20 -- "$work/$1.log" >&2
      broken "$1: not so within $PG_SECONDS s: $2"
    }
    sleep 0.1
  done
}

# Asks a server over its own socket, whatever its network.
ask_server() { # HOST DATABASE SQL…
  local sql options=()
  for sql in "${@:3}"; do options+=(-c "$sql"); done
  psql --host="$work/$1" --port="$PG_PORT" --username=postgres --dbname="$2" --no-psqlrc --quiet \
    --tuples-only --no-align --set=ON_ERROR_STOP=1 "${options[@]}" </dev/null
}

# A new copy of the primary that follows it. What was there before is given up.
make_standby() { # HOST
  # Nor are its sockets: a server that was killed has left their locks, and may still be a zombie.
  rm -rf -- "$work/$1/data" "$work/$1"/.s.PGSQL.*
  as_postgres "$1" "$pg/pg_basebackup" --host="$(address_of "$primary")" --port="$PG_PORT" \
    --username=postgres --pgdata=data --checkpoint=fast --wal-method=stream --write-recovery-conf
  start_server "$1"
}

await_standbys() { # HOW-MANY
  await_server "$primary" "SELECT 1 FROM pg_stat_replication
    WHERE sync_state = 'quorum' AND state = 'streaming' HAVING count(*) >= $1"
}

# What a manager does when the primary is gone: of the standbys, the one that has most becomes the
# primary, and the others follow it. It has all that was acknowledged, as one of two standbys had to
# have it, and both are asked.
promote_a_standby() {
  local host best='' most='' has where
  for host in "${databases[@]}"; do
    [[ $host != "$primary" ]] || continue
    # No more from the old primary, or what it has would not be what it had when it was asked.
    ask_server "$host" postgres "ALTER SYSTEM SET primary_conninfo = ''" \
      'SELECT pg_reload_conf()' >/dev/null
    await_server "$host" "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"
    has=$(ask_server "$host" postgres \
      "SELECT lpad(('x' || lpad(split_part(l, '/', 1), 8, '0'))::bit(32)::bigint::text, 12, '0')
         || lpad(('x' || lpad(split_part(l, '/', 2), 8, '0'))::bit(32)::bigint::text, 12, '0')
       FROM (SELECT coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text AS l) AS s")
    [[ $has > $most ]] || continue
    best=$host most=$has
  done
  ask_server "$best" postgres "SELECT pg_promote(true, $PG_SECONDS)" >/dev/null
  primary=$best
  for host in "${databases[@]}"; do
    [[ $host != "$primary" && -e $work/$host/data/standby.signal ]] || continue
    where="host=$(address_of "$primary") port=$PG_PORT user=postgres"
    ask_server "$host" postgres "ALTER SYSTEM SET primary_conninfo = '$where'" \
      'SELECT pg_reload_conf()' >/dev/null
  done
}

# --- what is other than on SQLite -----------------------------------------------------------------

port_on() { # HOST
  if [[ $1 == database-* ]]; then echo "$PG_PORT"; else echo "$PORT"; fi
}

start_host() { # HOST
  if [[ $1 == database-* ]]; then start_database "$1"; else start_role "$1"; fi
}

# A server that has crashed is not trusted to have what the primary has: it starts with a copy.
start_database() { make_standby "$1"; } # HOST

await_host() { # HOST
  if [[ $1 != database-* ]]; then
    await_role "$1"
  elif is_stale "$1"; then
    sleep "$STALE_SECONDS"
    kill_all_on "$1"
    make_standby "$1"
  fi
  [[ $1 != database-* ]] || await_standbys 2
  is_reached "$1" || broken "$1 is not reached, though it is back"
}

# Whether a server that was cut off still takes itself for the primary. Catalogs have to leave it.
is_stale() { # HOST
  [[ $1 != "$primary" && $(ask_server "$1" postgres 'SELECT pg_is_in_recovery()') == f ]]
}

go_wrong() { # OUT_SECONDS UP_SECONDS
  local active leader standbys
  active=$(active_catalog)
  hurt "$@" sells 'active catalog crashes' crash "$active"
  active=$(active_catalog)
  hurt "$@" sells 'active catalog loses power' power "$active"
  active=$(active_catalog)
  hurt "$@" sells 'active catalog is cut off' cut "$active"
  hurt "$@" sells 'catalog that stands by crashes' crash "$(other_catalog "$(active_catalog)")"
  leader=$(leader)
  hurt "$@" sells 'leader and active catalog lose power' power "$leader" "$(active_catalog)"
  mapfile -t standbys < <(printf '%s\n' "${databases[@]}" | grep -vx -- "$primary")
  hurt "$@" sells 'a standby loses power' power "${standbys[0]}"
  hurt "$@" stands 'both standbys are cut off' cut "${standbys[@]}"
  hurt "$@" stands 'primary crashes, a standby is promoted' crash "$primary"
  hurt "$@" stands 'primary is cut off, a standby is promoted' cut "$primary"
}

# What happens while hosts are out.
meanwhile() { # HOST…
  local host
  for host in "$@"; do
    case $host in
      "$primary") promote_a_standby ;;
      catalog-*) active_catalog "$host" >/dev/null ;;
      order-*) leader "$host" >/dev/null ;;
    esac
  done
}

other_catalog() { printf '%s\n' "${catalogs[@]}" | grep -vx -- "$1"; } # CATALOG

write_catalogs() {
  local host hosts_of_url=()
  for host in "${databases[@]}"; do hosts_of_url+=("$(address_of "$host"):$PG_PORT"); done
  sed -e "s|^address = \"127\.0\.0\.1:8081\"|$(
  )database = \"postgres://toystore@$(join , "${hosts_of_url[@]}")/toystore\"\nstandbys = 1|" \
    -e "/^# The order replicas/i $(processes)"
}

processes() {
  local host
  for host in "${catalogs[@]}"; do
    printf '[[catalog.process]]\\nid = %s\\naddress = "%s:%s"\\n\\n' "${host#catalog-}" \
      "$(address_of "$host")" "$PORT"
  done
}

join() { # SEPARATOR WORD…
  local IFS=$1
  printf '%s' "${*:2}"
}

active_catalog() { # [OUT]
  local deadline=$((SECONDS + READY_SECONDS)) cluster
  while ((SECONDS < deadline)); do
    cluster=$(get_cluster 2>/dev/null) || cluster=
    if [[ $cluster =~ \"active\":\ *([0-9]+) && catalog-${BASH_REMATCH[1]} != "${1-}" ]]; then
      printf 'catalog-%s\n' "${BASH_REMATCH[1]}"
      return
    fi
    sleep 0.1
  done
  broken "no catalog is active within $READY_SECONDS s; the front-end says: ${cluster:-nothing}"
}

copy_journal() { # FOLDER
  ask_server "$primary" toystore 'SELECT number, name, quantity FROM journal ORDER BY number' \
    >"$1/journal.orders"
  ask_server "$primary" toystore 'SELECT name, quantity FROM products' >"$1/stock"
}
