#!/bin/bash
# Runs on each of three hosts, as root, in the source that deploy.sh has sent: PostgreSQL, Patroni and
# etcd by Debian's packages, a catalog, a replica and a front-end. deploy.sh calls it on all three at
# once, since etcd, PostgreSQL and the store wait for the other hosts.
#
#   three.sh secrets                                prints those of the deployment; makes them first
#   three.sh install COMMIT HOST ADDRESS ADDRESS ADDRESS    HOST is 1, 2 or 3; the secrets are the input
#   three.sh close | empty | open                   stops this host's roles; empties the store's
#                                                   databases (that of PostgreSQL on host 1); starts them
#   three.sh cache on|off                           changes the setting, for the next open
#
# The files of ./three have places to fill in, such as @ADDRESS@.

set -euo pipefail

source=$(readlink -f -- "$(dirname -- "$0")/../../..")
readonly FILES=$source/eval/deploy/instance
readonly ETC=/etc/toystore
readonly UNITS=/etc/systemd/system
readonly PATRONI=/etc/patroni/config.yml # where Debian's unit looks
readonly NAMES=(store superuser replication rest toystore) # of the secrets
readonly DATABASE_SECONDS=300 # for three hosts to install, to form etcd, and to copy the database

main() {
  case $#:${1-} in
    1:secrets) secrets ;;
    6:install) install_host "${@:2}" ;;
    1:close) systemctl stop toystore.target 'toystore-*.service' ;;
    1:empty) empty ;;
    1:open) open_store start ;;
    2:cache) set_cache "$2" ;;
    *) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  esac
}

# Those that are there stay.
secrets() {
  local name
  umask 077
  install -d -m 755 "$ETC"
  if [[ ! -s $ETC/secrets ]]; then
    for name in "${NAMES[@]}"; do
      printf '%s %s\n' "$name" "$(od -An -N 24 -t x1 /dev/urandom | tr -d ' \n')"
    done >"$ETC/secrets.new"
    mv "$ETC/secrets.new" "$ETC/secrets"
  fi
  cat "$ETC/secrets"
}

secret() { sed -n "s/^$1 //p" "$ETC/secrets"; } # NAME

install_host() { # COMMIT HOST ADDRESS…
  host=$2 addresses=("${@:3}")
  address=${addresses[host - 1]}
  umask 077
  install -d -m 755 "$ETC"
  cat >"$ETC/secrets.new"
  mv "$ETC/secrets.new" "$ETC/secrets"
  printf '%s\n' "$1" >"$ETC/commit"
  printf '%s\n' "$host" >"$ETC/host"
  chmod 644 "$ETC/commit" "$ETC/host"
  get_packages
  start_etcd
  start_patroni
  write_roles >"$ETC/roles.toml"
  write_pgpass >"$ETC/pgpass"
  printf 'PGPASSWORD=%s\n' "$(secret toystore)" >"$ETC/database.env"
  await_database
  write_units
  if ((host == 1)); then migrate; else await_schema; fi
  open_store restart
}

# Debian would make and start a database of its own.
get_packages() {
  install -d -m 755 /etc/postgresql-common
  [[ -e /etc/postgresql-common/createcluster.conf ]] ||
    install -m 644 /dev/stdin /etc/postgresql-common/createcluster.conf <<<'create_main_cluster = false'
  apt update
  apt install --no-install-recommends postgresql patroni python3-etcd etcd-server etcd-client curl \
    sqlite3
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=5 \
    -o DPkg::Lock::Timeout=300 "$@"
}

start_etcd() {
  local number members=()
  for number in 1 2 3; do members+=("host-$number=http://${addresses[number - 1]}:2380"); done
  install -m 644 /dev/stdin /etc/default/etcd <<TEXT
ETCD_NAME=host-$host
ETCD_DATA_DIR=/var/lib/etcd/toystore
ETCD_LISTEN_PEER_URLS=http://$address:2380
ETCD_LISTEN_CLIENT_URLS=http://$address:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$address:2380
ETCD_ADVERTISE_CLIENT_URLS=http://$address:2379
ETCD_INITIAL_CLUSTER=$(IFS=, && echo "${members[*]}")
ETCD_INITIAL_CLUSTER_STATE=new
ETCD_INITIAL_CLUSTER_TOKEN=toystore
TEXT
  systemctl enable --quiet etcd
  # It is started when two of the three are: that is waited for below.
  systemctl restart --no-block etcd
}

start_patroni() {
  local programs
  programs=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  fill "$FILES/three/post-init" | install -m 750 -g postgres /dev/stdin "$ETC/post-init"
  fill "$FILES/three/patroni.yml" | sed -e "s|@PROGRAMS@|$programs|" \
    -e 's|@DATA@|/var/lib/postgresql/toystore|' -e 's|@SOCKETS@|/var/run/postgresql|' \
    -e "s|@POST_INIT@|$ETC/post-init|" | install -m 640 -g postgres /dev/stdin "$PATRONI"
  systemctl enable --quiet patroni
  systemctl restart patroni
}

# Writes a file with its places filled in.
fill() { # FILE
  local hba='' peer etcd=()
  for peer in "${addresses[@]}"; do
    hba+="    - host replication replicator $peer/32 scram-sha-256"$'\\\n'
    hba+="    - host all all $peer/32 scram-sha-256"$'\\\n'
    etcd+=("$peer:2379")
  done
  sed -e "s|@HBA@|${hba%$'\\\n'}|" -e "s|@ETCD@|$(IFS=, && echo "${etcd[*]}")|" \
    -e "s|@NAME@|host-$host|" -e "s|@HOST@|$host|g" -e "s|@ADDRESS@|$address|g" \
    -e "s|@ADDRESSES@|${addresses[*]}|" -e "s|@REST@|$(secret rest)|" \
    -e "s|@SUPERUSER@|$(secret superuser)|" -e "s|@REPLICATION@|$(secret replication)|" \
    -e "s|@TOYSTORE@|$(secret toystore)|" "$1"
}

# The roles.toml that ships, with each role on a host; the same on all of them. What a person has set
# for the cache stays.
write_roles() {
  local enabled=true number database=() frontends='' catalogs='' orders=()
  ! grep -qs '^enabled = false' "$ETC/cache" || enabled=false
  for number in 1 2 3; do
    database+=("${addresses[number - 1]}:5432")
    frontends+="[[frontend]]\\nid = $number\\naddress = \"${addresses[number - 1]}:8080\"\\n\\n"
    catalogs+="[[catalog.process]]\\nid = $number\\naddress = \"${addresses[number - 1]}:8081\"\\n\\n"
    orders+=(-e "s|127\.0\.0\.1:809$number|${addresses[number - 1]}:809$number|")
  done
  printf 'secret = "%s"\n' "$(secret store)"
  sed -e '/^secret *=/d' -e 's|^data_dir *= *"[^"]*"|data_dir = "/var/lib/toystore"|' \
    -e '/^\[\[frontend\]\]/d' -e '/^address = "127\.0\.0\.1:8080"/d' \
    -e "/^\[catalog\]/i $frontends" \
    -e "s|^address = \"127\.0\.0\.1:8081\"|database = \"postgres://toystore@$(
    )$(IFS=, && echo "${database[*]}")/toystore\"\nstandbys = 1|" \
    -e "/^# The order replicas/i $catalogs" -e "s/^enabled = .*/enabled = $enabled/" \
    "${orders[@]}" "$source/roles.toml"
}

# libpq's format: host, port, database, user, password.
write_pgpass() { printf '*:5432:toystore:toystore:%s\n' "$(secret toystore)"; }

# Asks the primary, whichever it is, as the catalogs' user. Reads the addresses from roles.toml, so
# that it can be called later, too.
ask_primary() { # SQL
  local url
  url=$(sed -n 's/^database = "\(.*\)"$/\1/p' "$ETC/roles.toml")
  PGPASSFILE=$ETC/pgpass PGCONNECT_TIMEOUT=3 psql --no-psqlrc --quiet --tuples-only --no-align \
    --set=ON_ERROR_STOP=1 --dbname="$url?target_session_attrs=read-write" --command="$1"
}

# A primary, and a standby that has what it has: without one nothing is committed.
await_database() {
  await "SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') LIMIT 1"
}

await_schema() { await "SELECT 1 FROM pg_tables WHERE tablename = 'cluster'"; }

await() { # SQL, which prints something when it is so
  local end=$((SECONDS + DATABASE_SECONDS)) said
  until said=$(ask_primary "$1" 2>&1) && [[ -n $said ]]; do
    if ((SECONDS >= end)); then
      printf 'three.sh: not so within %s s: %s\n%s\n' "$DATABASE_SECONDS" "$1" "$said" >&2
      systemctl status --no-pager --lines 20 etcd patroni >&2 || true
      exit 1
    fi
    sleep 1
  done
}

migrate() {
  PGPASSFILE=$ETC/pgpass /usr/local/bin/toystore catalog --migrate --config "$ETC/roles.toml"
}

write_units() {
  local unit
  install -m 644 -t "$UNITS" "$FILES"/toystore-{order@,frontend}.service
  for unit in toystore-catalog@.service toystore.target; do
    fill "$FILES/three/$unit" | install -m 644 /dev/stdin "$UNITS/$unit"
  done
  for unit in order@ frontend; do
    install -d -m 755 "$UNITS/toystore-$unit.service.d"
    fill "$FILES/three/${unit%@}.conf" |
      install -m 644 /dev/stdin "$UNITS/toystore-$unit.service.d/three.conf"
  done
  systemctl daemon-reload
  systemctl enable --quiet toystore.target
}

set_cache() { # on | off
  local enabled
  case $1 in
    on) enabled=true ;;
    off) enabled=false ;;
    *) printf 'three.sh: cache takes on or off\n' >&2 && exit 2 ;;
  esac
  printf 'enabled = %s\n' "$enabled" >"$ETC/cache"
  sed -i "s/^enabled *= *[a-z]*/enabled = $enabled/" "$ETC/roles.toml"
}

# Called when the roles of all hosts are stopped.
empty() {
  rm -rf /var/lib/private/toystore
  if [[ $(<"$ETC/host") == 1 ]]; then
    ask_primary 'DROP OWNED BY toystore'
    migrate
  fi
}

# The target is there when each service is, or has failed.
open_store() { # start | restart
  local service number
  number=$(<"$ETC/host")
  systemctl "$1" toystore.target
  for service in toystore-{catalog@"$number",order@"$number",frontend}.service; do
    systemctl is-active --quiet "$service" && continue
    printf 'three.sh: %s does not run\n' "$service" >&2
    systemctl status --no-pager --lines 20 "$service" >&2 || true
    exit 1
  done
}

main "$@"
