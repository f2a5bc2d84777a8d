# shellcheck shell=bash
# PostgreSQL that Patroni manages, with the configuration of eval/deploy: it chooses the primary,
# holds a lease on that in etcd, and promotes a standby when the primary's server is gone. Sourced
# by run.sh after postgres.sh, some functions of which are other here.
# shellcheck disable=SC2034,SC2154 # variables of cluster.sh, network.sh, store.sh and postgres.sh

readonly FAILOVER_SECONDS=60 # Patroni takes some seconds for a server, and 20 s and more for a host
patroni=()                   # the program
timeline=                    # of the primary that is out

# Debian's, or one of PyPI's, which is copied to where the user of PostgreSQL may read.
find_patroni() {
  local tools=${CARGO_TARGET_DIR:-$repo/target}/hosts-tools
  need etcd 'sudo apt-get install -y etcd-server'
  if [[ $(patroni --version 2>/dev/null) =~ \ ([4-9]|[1-9][0-9])\. ]]; then
    patroni=(patroni)
    return
  fi
  if ! cmp -s "$here/requirements.txt" "$tools/requirements.txt"; then
    rm -rf -- "$tools"
    { /usr/bin/python3 -m venv "$tools" &&
      "$tools/bin/pip" install -q --target "$tools/patroni" -r "$here/requirements.txt"; } >&2 ||
      fail 'Patroni 4 is missing; what installs it is: sudo apt-get install -y python3-venv'
    cp -- "$here/requirements.txt" "$tools/"
  fi
  cp -r -- "$tools/patroni" "$work/patroni"
  patroni=(env PYTHONPATH="$work/patroni" /usr/bin/python3 -m patroni)
}

open_database() {
  local host name names=(store superuser replication rest toystore)
  chmod 711 -- "$work"
  mkdir -- "$work/etc"
  for name in "${names[@]}"; do
    printf '%s %s\n' "$name" "$(od -An -N 12 -t x1 /dev/urandom | tr -d ' \n')"
  done >"$work/etc/secrets"
  database_password=$(sed -n 's/^toystore //p' "$work/etc/secrets")
  for host in "${databases[@]}"; do
    write_patroni "$host"
    chown -R postgres: -- "$work/$host"
    chmod 700 -- "$work/$host"
    start_etcd "$host"
  done
  for host in "${databases[@]}"; do start_patroni "$host"; done
  find_primary 0
  await_standbys 2
  make_tables
}

# The files of eval/deploy with their places filled in, as three.sh does it on a host. There the
# catalogs are beside the servers; here they have hosts of their own.
write_patroni() { # HOST
  local file
  for file in patroni.yml post-init; do
    (
      # shellcheck source=/dev/null # checked on its own
      source <(sed -e "s|^readonly ETC=.*|readonly ETC=$work/etc|" -e '/^main "\$@"$/d' \
        "$repo/eval/deploy/instance/three.sh")
      host=${1#database-} address=$(address_of "$1") addresses=()
      for one in "${databases[@]}"; do addresses+=("$(address_of "$one")"); done
      fill "$repo/eval/deploy/instance/three/$file"
    ) | sed -e "s|@PROGRAMS@|$pg|" -e "s|@DATA@|$work/$1/data|" -e "s|@SOCKETS@|$work/$1|" \
      -e "s|@POST_INIT@|$work/$1/post-init|" \
      -e "/- local all postgres peer/a \    - host toystore toystore $network.0/24 scram-sha-256" \
      >"$work/$1/$file"
  done
  chmod 700 -- "$work/$1/post-init"
}

start_etcd() { # HOST
  local members=() one
  for one in "${databases[@]}"; do members+=("$one=http://$(address_of "$one"):2380"); done
  start_on "$1" "$work/$1.etcd.log" etcd --name "$1" --data-dir "$work/$1/etcd" \
    --listen-peer-urls "http://$(address_of "$1"):2380" \
    --initial-advertise-peer-urls "http://$(address_of "$1"):2380" \
    --listen-client-urls "http://$(address_of "$1"):2379" \
    --advertise-client-urls "http://$(address_of "$1"):2379" \
    --initial-cluster "$(join , "${members[@]}")" --initial-cluster-state new
}

start_patroni() { # HOST
  start_on "$1" "$work/$1.log" runuser -u postgres -- "${patroni[@]}" "$work/$1/patroni.yml"
}

# Sets `primary` to the host whose server takes changes, in a later timeline than SINCE. It can be the
# host that it was, which has then recovered and been promoted.
find_primary() { # SINCE
  local deadline=$((SECONDS + FAILOVER_SECONDS)) host since
  while ((SECONDS < deadline)); do
    for host in "${databases[@]}"; do
      since=$(timeline_of "$host" 2>/dev/null) || continue
      if ((${since:-0} > $1)); then
        primary=$host
        return
      fi
    done
    sleep 0.2
  done
  tail -n 15 -- "$work"/database-?.log >&2
  broken "there is no new primary within $FAILOVER_SECONDS s"
}

# Prints nothing for a standby. The first file of its write-ahead log's name tells it.
timeline_of() { # HOST
  ask_server "$1" postgres "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
    WHERE NOT pg_is_in_recovery()"
}

# Patroni's way in is the socket, as the user postgres.
ask_server() { # HOST DATABASE SQL…
  local sql options=()
  for sql in "${@:3}"; do options+=(-c "$sql"); done
  (cd / && runuser -u postgres -- psql --host="$work/$1" --port="$PG_PORT" --dbname="$2" --no-psqlrc \
    --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "${options[@]}" </dev/null)
}

# Patroni makes it a standby again by itself.
start_database() { # HOST
  start_etcd "$1"
  start_patroni "$1"
}

take_out() { # server | power HOST
  timeline=$(timeline_of "$primary")
  # The server alone: Patroni is there, and sees to the rest.
  if [[ $1 == server ]]; then
    kill -KILL "$(head -n 1 "$work/$2/data/postmaster.pid")"
  else
    unplug "$2"
    kill_all_on "$2"
  fi
}

bring_back() { # server | power HOST
  if [[ $1 == power ]]; then
    plug "$2"
    start_database "$2"
  fi
  await_standbys 2
}

meanwhile() { find_primary "$timeline"; }

go_wrong() { # OUT_SECONDS UP_SECONDS
  hurt "$@" stands "the primary's server is killed" server "$primary"
  ((rounds == 1)) || hurt "$@" stands "the primary's host loses power" power "$primary"
}
