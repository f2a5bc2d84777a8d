# shellcheck shell=bash
# What the store is compared with: how each is started, found and ended. Sourced after cluster.sh.
# All listen at an address of their own, keep their files in `$work`, and are ended by process id.
# shellcheck disable=SC2034,SC2154 # cluster.sh and rows.sh set and use some of this

readonly PEER_PORT=8100 # the first of the peers' ports
peer_address=127.$((RANDOM % 200 + 20)).$((RANDOM % 254 + 1)).$((RANDOM % 254 + 1))
declare -A peers=()          # process ids by system
declare -A etcd_members=()   # process ids by number
etcd_leader=''               # its number
# The program eval/load. LOAD_BIN names one that is built.
load=${LOAD_BIN:-}

build_load() { # PROFILE
  [[ -z $load ]] || return 0
  need_cargo
  (cd -- "$repo" && cargo build --profile "$1" --quiet --locked --package load)
  load=${CARGO_TARGET_DIR:-$repo/target}/${1/dev/debug}/load
}

# All of them are Debian's.
need_peer() { # COMMAND PACKAGE
  PATH=$PATH:/usr/sbin:$(postgres_folder)
  command -v "$1" >/dev/null || install_peer "$2" || true
  PATH=$PATH:$(postgres_folder)
  command -v "$1" >/dev/null || fail "$1 is missing; get it with: sudo apt-get install -y $2"
}

install_peer() (
  # shellcheck source=toolchain.sh
  source "$repo/toolchain.sh"
  install_packages "$1"
)

postgres_folder() {
  local folders=(/usr/lib/postgresql/*/bin)
  printf '%s' "${folders[-1]}"
}

# Starts a process of a system.
start_peer() { # SYSTEM COMMAND…
  local system=$1
  shift
  "$@" </dev/null >>"$work/$system.log" 2>&1 &
  peers[$system]="${peers[$system]:-} $!"
}

end_peers() {
  local system
  for system in "${!peers[@]}"; do end_peer "$system"; done
}

end_peer() { # SYSTEM
  local process signal=TERM
  # Which PostgreSQL takes to mean that it waits for all sessions to end.
  [[ $1 != postgres ]] || signal=INT
  for process in ${peers[$1]:-}; do
    kill -CONT "$process" 2>/dev/null || true
    kill -s "$signal" "$process" 2>/dev/null || true
  done
  for process in ${peers[$1]:-}; do wait "$process" 2>/dev/null || true; done
  unset "peers[$1]"
  [[ $1 != bare ]] || exec 8>&- || true
}

await() { # SYSTEM COMMAND…
  local system=$1 deadline=$((SECONDS + START_SECONDS))
  shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)); then
      [[ ! -f $work/$system.log ]] || tail -n 30 -- "$work/$system.log" >&2
      fail "$system does not start"
    fi
    sleep 0.05
  done
}

answers() { # PORT PATH
  curl --fail --silent --max-time 2 --output /dev/null "http://$peer_address:$1$2"
}

# The shortest handler of actix-web.
start_bare() {
  rm -f -- "$work/bare-alive"
  mkfifo -- "$work/bare-alive"
  exec 8<>"$work/bare-alive"
  "$load" bare "$peer_address:$PEER_PORT" <"$work/bare-alive" >"$work/bare.log" 2>&1 8>&- &
  peers[bare]=$!
  await bare answers "$PEER_PORT" /products/Tux
}

# nginx before that handler, once with a cache and once without, at two ports.
start_nginx() {
  local kept=$work/nginx
  mkdir -p -- "$kept"
  {
    ((EUID > 0)) || printf 'user root;\n'
    cat <<CONF
worker_processes $(nproc);
pid $kept/pid;
error_log $kept/error.log;
daemon off;
events { worker_connections 2048; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path $kept/body;
  proxy_temp_path $kept/proxy;
  fastcgi_temp_path $kept/fastcgi;
  uwsgi_temp_path $kept/uwsgi;
  scgi_temp_path $kept/scgi;
  proxy_cache_path $kept/cache keys_zone=toys:1m;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  upstream bare { server $peer_address:$PEER_PORT; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen $peer_address:$((PEER_PORT + 1));
    location / {
      proxy_pass http://bare;
      proxy_cache toys;
      proxy_cache_valid 200 1h;
      proxy_ignore_headers Cache-Control;
    }
  }
  server {
    listen $peer_address:$((PEER_PORT + 2));
    location / { proxy_pass http://bare; }
  }
}
CONF
  } >"$work/nginx.conf"
  start_peer nginx nginx -c "$work/nginx.conf" -p "$kept" -e "$kept/error.log"
  await nginx answers "$((PEER_PORT + 1))" /products/Tux
}

# Varnish before that handler; all that it answers is cached.
start_varnish() {
  cat >"$work/toys.vcl" <<VCL
vcl 4.1;
backend bare { .host = "$peer_address"; .port = "$PEER_PORT"; }
sub vcl_backend_response { set beresp.ttl = 1h; return (deliver); }
VCL
  start_peer varnish varnishd -F -j none -n "$work/varnish" -f "$work/toys.vcl" -s malloc,64m \
    -a "$peer_address:$((PEER_PORT + 3))"
  await varnish answers "$((PEER_PORT + 3))" /products/Tux
}

# Three members with empty databases, each of which syncs its log as etcd ships.
start_etcd() {
  local number
  rm -rf -- "$work/etcd"
  for number in 1 2 3; do start_etcd_member "$number"; done
  await etcd find_etcd_leader
}

start_etcd_member() { # NUMBER
  start_peer etcd etcd --name "m$1" --data-dir "$work/etcd/$1" --log-level error \
    --listen-client-urls "http://$(etcd_client "$1")" \
    --advertise-client-urls "http://$(etcd_client "$1")" \
    --listen-peer-urls "http://$peer_address:$((PEER_PORT + 20 + $1))" \
    --initial-advertise-peer-urls "http://$peer_address:$((PEER_PORT + 20 + $1))" \
    --initial-cluster "$(printf "m%s=http://$peer_address:%s\n" 1 $((PEER_PORT + 21)) \
      2 $((PEER_PORT + 22)) 3 $((PEER_PORT + 23)) | paste -sd ,)"
  etcd_members[$1]=$!
}

etcd_client() { # NUMBER
  printf '%s:%s' "$peer_address" "$((PEER_PORT + 10 + $1))"
}

# Sets etcd_leader to the number of the member that leads, if the others know it, too.
find_etcd_leader() {
  local number status leader='' known=0 own
  for number in 1 2 3; do
    status=$(curl --fail --silent --max-time 1 --data '{}' \
      "http://$(etcd_client "$number")/v3/maintenance/status") || return 1
    own=$(sed -n 's/.*"member_id":"\([0-9]*\)".*/\1/p' <<<"$status")
    [[ $status != *"\"leader\":\"$own\""* ]] || leader=$number
    [[ $status != *'"leader":"0"'* && $status == *'"leader":"'* ]] || return 1
    known=$((known + 1))
  done
  [[ -n $leader ]] && ((known == 3)) && etcd_leader=$leader
}

# Three servers, of which two are synchronous standbys: a transaction is on three disks when it is
# acknowledged.
start_postgres() {
  local number
  [[ -d $work/postgres ]] || make_postgres
  for number in 1 2 3; do
    start_peer postgres as_postgres "$(postgres_folder)/postgres" -D "$work/postgres/$number" \
      -c "port=$((PEER_PORT + 30 + number))"
    await postgres ask_postgres "$number" 'SELECT 1'
  done
  await postgres are_standbys_in_step
}

make_postgres() {
  local number folder=$work/postgres
  chmod 711 -- "$work"
  mkdir -- "$folder"
  ((EUID > 0)) || chown postgres -- "$folder"
  (as_postgres "$(postgres_folder)/initdb" -D "$folder/1" -U toystore -A trust -E UTF8 --locale=C) \
    >"$work/postgres.log" 2>&1 </dev/null
  cat >>"$folder/1/postgresql.conf" <<CONF
listen_addresses = '$peer_address'
unix_socket_directories = ''
max_connections = 300
shared_buffers = 256MB
wal_keep_size = 1GB
CONF
  printf 'host all,replication all 127.0.0.0/8 trust\n' >>"$folder/1/pg_hba.conf"
  start_peer postgres as_postgres "$(postgres_folder)/postgres" -D "$folder/1" \
    -c "port=$((PEER_PORT + 31))"
  await postgres ask_postgres 1 'SELECT 1'
  ask_postgres 1 "
    CREATE TABLE products (id int PRIMARY KEY, quantity bigint NOT NULL CHECK (quantity >= 0));
    INSERT INTO products SELECT toy, 1000000000 FROM generate_series(1, 12) AS toy;
    CREATE TABLE orders (
      number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key uuid NOT NULL UNIQUE,
      toy int NOT NULL, quantity int NOT NULL)"
  for number in 2 3; do
    (as_postgres "$(postgres_folder)/pg_basebackup" --checkpoint=fast --write-recovery-conf \
      -D "$folder/$number" -d "host=$peer_address port=$((PEER_PORT + 31)) user=toystore \
      dbname=postgres application_name=standby$number") >>"$work/postgres.log" 2>&1 </dev/null
  done
  ask_postgres 1 "ALTER SYSTEM SET synchronous_standby_names = '2 (standby2, standby3)'"
  end_peer postgres
}

# PostgreSQL refuses to run as root.
as_postgres() { # COMMAND…
  if ((EUID > 0)); then exec "$@"; fi
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
}

ask_postgres() { # NUMBER SQL
  psql --no-psqlrc --quiet --tuples-only --no-align --host "$peer_address" \
    --port "$((PEER_PORT + 30 + $1))" --username toystore --command "$2" postgres </dev/null
}

are_standbys_in_step() {
  [[ $(ask_postgres 1 "SELECT count(*) FROM pg_stat_replication
    WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming'") == 2 ]]
}

# What all processes of a system have used of the processor, in seconds: these, what they started,
# and of that what has ended.
processor_time_of_all() { # PID…
  # One that ends meanwhile cannot be read.
  { cat /proc/[0-9]*/stat 2>/dev/null || true; } | sed 's/^\([0-9]*\) (.*) /\1 /' |
    awk -v roots="$*" -v hz="$(getconf CLK_TCK)" '
      { parent[$1] = $3; used[$1] = $13 + $14 + $15 + $16 }
      END {
        count = split(roots, root, " ")
        for (i = 1; i <= count; i++) counts[root[i]] = 1
        do {
          more = 0
          for (pid in parent) if (!(pid in counts) && (parent[pid] in counts)) counts[pid] = more = 1
        } while (more)
        for (pid in counts) sum += used[pid]
        printf "%.2f\n", sum / hz
      }'
}
