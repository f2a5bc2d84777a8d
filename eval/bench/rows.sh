# shellcheck shell=bash
# The rows: what each measures, and how. Sourced by run.sh.
# shellcheck disable=SC2154 # run.sh, systems.sh and cluster.sh set what this uses

readonly MANY_CLIENTS=(64 256) FEW_CLIENTS=5 # of orders
readonly CONNECTIONS=(5 64 256)              # of queries
# Queries beside orders: an open loop, so slow that a core is left for them.
readonly QUERY_RATE=1000 QUERY_CLIENTS=20
readonly OUTAGE_RATE=500    # orders per second while a leader fails: one each 2 ms
readonly OUTAGE_SECONDS=5   # longer than a leader is missed
readonly BEFORE_FAULT=1.5   # seconds
readonly CROWD=1000         # clients that may not make a leader look stopped, nor stop sales
readonly CONNECT_SECONDS=3 CONNECTED_PER_S=32 # how long PostgreSQL's clients may take to connect
readonly START_LIMIT=600    # seconds for a role to be ready
readonly CATCH_UP_SHARE=10  # of the orders that a start reads; a replica fetches so many
readonly FIGURES=round,system,clients,requests,errors,conflicts,seconds,p50_ms,p99_ms,longest_ms,longest_gap_ms,processor_s,load_processor_s
# The toys that eval/load and PostgreSQL sell are twelve of those in roles.toml.
readonly STOCKED="s/^initial_stock = .*/initial_stock = $AMPLE_STOCK/"

csv= # where the lines of the current row go

begin_csv() { # FILE HEADER
  csv=$1
  printf '%s\n' "$2" >"$csv"
}

note() { tee -a -- "$csv" >&2; }

row_cached() { # FOLDER
  local round clients
  need_peer wrk wrk
  need_peer nginx nginx-light
  need_peer varnishd varnish
  begin_csv "$1/figures.csv" "$FIGURES"
  start_bare
  start_nginx
  start_varnish
  open_cluster "$STOCKED"
  for ((round = 1; round <= rounds; round++)); do
    for clients in "${CONNECTIONS[@]}"; do
      query store "$address:8080" "$(roles_running)"
      query bare "$peer_address:$PEER_PORT" "${peers[bare]}"
      query nginx "$peer_address:$((PEER_PORT + 1))" "${peers[nginx]}"
      query varnish "$peer_address:$((PEER_PORT + 3))" "${peers[varnish]}"
    done
  done
}

row_uncached() { # FOLDER
  local round clients
  need_peer wrk wrk
  need_peer nginx nginx-light
  begin_csv "$1/figures.csv" "$FIGURES"
  start_bare
  start_nginx
  open_cluster "$STOCKED" 's/^enabled = .*/enabled = false/'
  for ((round = 1; round <= rounds; round++)); do
    for clients in "${CONNECTIONS[@]}"; do
      query store "$address:8080" "$(roles_running)"
      # What it passes the queries on to is the catalog's part of the work.
      query nginx "$peer_address:$((PEER_PORT + 2))" "${peers[nginx]} ${peers[bare]}"
    done
  done
}

# A line of figures.csv: so many connections query one toy.
query() { # SYSTEM ADDRESS PIDS
  local before after TIMEFORMAT='%U %S'
  # Once, so that it is cached and every process has done everything.
  await "$1" curl --fail --silent --max-time 5 --output /dev/null "http://$2/products/Tux"
  # shellcheck disable=SC2086 # process ids are words
  before=$(processor_time_of_all $3)
  { time wrk --latency -t 1 -c "$clients" -d "${seconds}s" "http://$2/products/Tux" \
    >"$work/wrk.txt" 2>&1 </dev/null; } 2>"$work/time" || fail "wrk: $(cat -- "$work/wrk.txt")"
  # shellcheck disable=SC2086 # process ids are words
  after=$(processor_time_of_all $3)
  awk -v start="$round,$1,$clients" -v before="$before" -v after="$after" \
    -v used="$(cat -- "$work/time")" '
    function ms(text) {
      if (text ~ /us$/) return text / 1000
      if (text ~ /ms$/) return text + 0
      return text * 1000
    }
    $1 == "50%" { p50 = ms($2) }
    $1 == "99%" { p99 = ms($2) }
    $1 == "Latency" && NF == 5 && $5 ~ /%$/ { longest = ms($4) }
    /requests in/ { requests = $1; took = ms($4) / 1000 }
    /Socket errors|Non-2xx/ { for (i = 1; i <= NF; i++) errors += $i }
    END {
      split(used, load, " ")
      printf "%s,%d,%d,0,%.3f,%.3f,%.3f,%.3f,,%.2f,%.3f\n", start, requests, errors, took, p50, p99,
        longest, after - before, load[1] + load[2]
    }' "$work/wrk.txt" | note
}

row_orders() { # FOLDER
  order_of_clients "$1" "${MANY_CLIENTS[@]}"
}

row_few() { # FOLDER
  order_of_clients "$1" "$FEW_CLIENTS"
}

# Each system is started for its turn and ended after it, so that none takes time from another.
order_of_clients() { # FOLDER CLIENTS…
  local round clients kind
  need_peer etcd etcd-server
  need_peer initdb postgresql
  need_peer psql postgresql-client
  begin_csv "$1/figures.csv" "$FIGURES"
  for ((round = 1; round <= rounds; round++)); do
    open_cluster "$STOCKED"
    for clients in "${@:2}"; do order store "$(roles_running)" "$address:8080"; done
    close_cluster
    start_etcd
    for clients in "${@:2}"; do
      for kind in etcd-put etcd-transaction; do
        await etcd find_etcd_leader # another one may lead by now
        order "$kind" "${peers[etcd]}" "$(etcd_client "$etcd_leader")"
      done
    done
    end_peer etcd
    start_postgres
    for clients in "${@:2}"; do order_of_postgres; done
    end_peer postgres
  done
}

# A line of figures.csv: so many clients order.
order() { # SYSTEM PIDS ADDRESS [NAME]
  local before after TIMEFORMAT='%U %S'
  "$load" "$1" "$clients" 0.3 "$3" >/dev/null # what is done only once
  # shellcheck disable=SC2086 # process ids are words
  before=$(processor_time_of_all $2)
  { time "$load" "$1" "$clients" "$seconds" "$3" >"$work/load.csv" 2>"$work/load.log"; } \
    2>"$work/time" || fail "$1: $(cat -- "$work/load.log")"
  # shellcheck disable=SC2086 # process ids are words
  after=$(processor_time_of_all $2)
  cat -- "$work/load.log" >&2
  awk -v start="$round,${4:-$1},$clients" -v before="$before" -v after="$after" \
    -v used="$(cat -- "$work/time")" '
    {
      split(used, load, " ")
      printf "%s,%s,%.2f,%.3f\n", start, $0, after - before, load[1] + load[2]
    }' "$work/load.csv" | note
}

# The same with pgbench: one statement takes the stock and enters the order under its key. pgbench
# counts the time in which it connects, too, so the measurement begins when all are connected; where
# it ended before the measurement did, it is given more time.
order_of_postgres() {
  local before after begin end margin=$((CONNECT_SECONDS + clients / CONNECTED_PER_S)) ran=false
  cat >"$work/order.sql" <<'SQL'
\set toy random(1, 12)
WITH taken AS (
  UPDATE products SET quantity = quantity - 1 WHERE id = :toy AND quantity >= 1 RETURNING id)
INSERT INTO orders (key, toy, quantity) SELECT gen_random_uuid(), id, 1 FROM taken;
SQL
  while [[ $ran == false ]]; do
    ((margin < START_SECONDS * 4)) || fail 'PostgreSQL takes too long to connect its clients'
    rm -f -- "$work"/pgbench_log.*
    run_pgbench "$((seconds + margin))" &
    client=$!
    await postgres has_clients_or_ended "$clients"
    # shellcheck disable=SC2086 # process ids are words
    before=$(processor_time_of_all ${peers[postgres]}),$(processor_time_of_all "$client")
    begin=$(now_us)
    sleep "$seconds"
    # shellcheck disable=SC2086 # process ids are words
    after=$(processor_time_of_all ${peers[postgres]}),$(processor_time_of_all "$client")
    end=$(now_us)
    [[ ! -e /proc/$client/fd/1 ]] || ran=true
    wait "$client" || fail "pgbench: $(cat -- "$work/pgbench.txt")"
    client=
    margin=$((margin * 2))
  done
  # A line has how long it took, and when it ended.
  awk -v begin="$begin" -v end="$end" '
    { at = $5 * 1e6 + $6 }
    at > begin && at <= end { print $3 }' "$work"/pgbench_log.* | sort -n |
    awk -v start="$round,postgres,$clients" -v us="$((end - begin))" -v before="$before" \
      -v after="$after" '
      { took[NR] = $1 / 1000 }
      function at(share) { return took[int((NR - 1) * share) + 1] }
      END {
        if (!NR) exit 1
        split(before, was, ","); split(after, is, ",")
        printf "%s,%d,0,0,%.3f,%.3f,%.3f,%.3f,,%.2f,%.2f\n", start, NR, us / 1e6, at(0.5), at(0.99),
          took[NR], is[1] - was[1], is[2] - was[2]
      }' | note || fail "no order of PostgreSQL's was made: $(cat -- "$work/pgbench.txt")"
}

# In a process of its own; its log is in `$work`.
run_pgbench() { # SECONDS
  cd -- "$work" || exit
  exec "$(postgres_folder)/pgbench" --no-vacuum --protocol prepared --client "$clients" --jobs 1 \
    --time "$1" --file "$work/order.sql" --log --host "$peer_address" \
    --port "$((PEER_PORT + 31))" --username toystore postgres >"$work/pgbench.txt" 2>&1 </dev/null
}

has_clients_or_ended() { # NUMBER
  [[ ! -e /proc/$client/fd/1 ]] || has_clients "$1"
}

has_clients() { # NUMBER
  [[ $(ask_postgres 1 "SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL") \
    -ge $(($1 / 2)) && $(ask_postgres 1 "SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()") -ge $1 ]]
}

# The catalog's engines. Each is started for its turn; the database's servers count.
row_engines() { # FOLDER
  local round clients
  need_peer initdb postgresql
  need_peer psql postgresql-client
  begin_csv "$1/figures.csv" "$FIGURES"
  for ((round = 1; round <= rounds; round++)); do
    open_cluster "$STOCKED"
    order_of_engine sqlite
    # shellcheck disable=SC2016 # the expression is sed's
    before_up=make_certificates open_cluster "$STOCKED" '$a [tls]'
    order_of_engine sqlite-tls
    close_cluster
    start_postgres
    open_on_postgres 'ANY 1 (standby2, standby3)' 1
    order_of_engine postgres-one
    open_on_postgres '2 (standby2, standby3)' 2
    order_of_engine postgres-both
    close_cluster
    end_peer postgres
  done
}

order_of_engine() { # SYSTEM
  for clients in "$FEW_CLIENTS" "${MANY_CLIENTS[0]}"; do
    order store "$(roles_running) ${peers[postgres]-}" "$address:8080" "$1"
  done
}

make_certificates() {
  rm -rf -- "$work/tls"
  "$TOYSTORE_BIN" certs --config "$ROLES" </dev/null >"$work/certs.log" 2>&1 ||
    fail "certs: $(cat -- "$work/certs.log")"
}

# A store with two catalogs, and an empty database.
open_on_postgres() { # STANDBY-NAMES STANDBYS
  local number servers=
  close_cluster
  for number in 1 2 3; do servers+=${servers:+,}$peer_address:$((PEER_PORT + 30 + number)); done
  ask_postgres 1 "ALTER SYSTEM SET synchronous_standby_names = '$1'" >/dev/null
  ask_postgres 1 'SELECT pg_reload_conf()' >/dev/null
  ask_postgres 1 'DROP DATABASE IF EXISTS store' 2>/dev/null
  ask_postgres 1 'CREATE DATABASE store'
  before_up=make_tables open_cluster "$STOCKED" "s|^address = \"\([0-9.]*\):8081\"|$(
  )database = \"postgres://toystore@$servers/store\"\nstandbys = $2\n$(
  )process = [{ id = 1, address = \"\1:8081\" }, { id = 2, address = \"\1:8082\" }]|"
}

make_tables() {
  "$TOYSTORE_BIN" catalog --migrate --config "$ROLES" </dev/null >"$work/migrate.log" 2>&1 ||
    fail "migrate: $(cat -- "$work/migrate.log")"
}

# The store's own client queries at a fixed rate, alone and while others order: the store, and a
# bare handler, which shows how much of the difference is the machine's.
row_beside() { # FOLDER
  local round bare store
  begin_csv "$1/figures.csv" "$FIGURES"
  start_bare
  open_cluster "$STOCKED"
  bare=$peer_address:$PEER_PORT store=$address:8080
  query_at_a_rate warm "$store" >/dev/null 2>&1
  for ((round = 1; round <= rounds; round++)); do
    query_at_a_rate alone "$store"
    query_at_a_rate bare "$bare"
    "$load" store "${MANY_CLIENTS[0]}" "$((2 * seconds + 3))" "$store" >"$work/load.csv" &
    client=$!
    sleep 1
    query_at_a_rate beside "$store"
    query_at_a_rate bare-beside "$bare"
    wait "$client"
    client=
  done
}

query_at_a_rate() { # SYSTEM ADDRESS
  "$TOYSTORE_BIN" client --frontend "$2" -c "$QUERY_CLIENTS" -d "$seconds" -p 0 \
    --rate "$QUERY_RATE" --seed 1 --format csv --fail-if 'errors>0' </dev/null >"$work/client.csv"
  awk -F , -v start="${round-},$1,$QUERY_CLIENTS" -v seconds="$seconds" '
    $1 == "all" && $2 == "query" {
      printf "%s,%d,%d,0,%s,%s,%s,%s,,,\n", start, $3, $4, seconds, $10, $12, $14
    }' "$work/client.csv" | note
}

# Orders alone, and while a crowd asks one role for its metrics without a pause.
row_flood() { # FOLDER
  local round clients=$FEW_CLIENTS leader
  need_peer wrk wrk
  begin_csv "$1/figures.csv" "$FIGURES"
  open_cluster "$STOCKED"
  for ((round = 1; round <= rounds; round++)); do
    order store "$(roles_running)" "$address:8080" undisturbed
    leader=$(leader_of_store)
    order_during_flood at-catalog 8081
    order_during_flood at-leader "$((8090 + ${leader#order-}))"
    order_during_flood at-frontend 8080
  done
}

order_during_flood() { # SYSTEM PORT
  wrk -t 1 -c "$CROWD" -d "$((seconds + 2))s" "http://$address:$2/metrics" >"$work/wrk.txt" 2>&1 \
    </dev/null &
  client=$!
  sleep 1
  order store "$(roles_running)" "$address:8080" "$1"
  wait "$client" || fail "wrk: $(cat -- "$work/wrk.txt")"
  client=
}

row_killed() { # FOLDER
  outages "$1" KILL
}

row_stopped() { # FOLDER
  local before
  outages "$1" STOP
  begin_csv "$1/crowd.csv" clients,seconds,orders,errors,changes_of_leader
  open_cluster "$STOCKED"
  before=$(epoch_of_store)
  "$load" store "$CROWD" "$((seconds * rounds))" "$address:8080" >"$work/load.csv"
  cut -d , -f 1,2 -- "$work/load.csv" | awk -v start="$CROWD,$((seconds * rounds))" \
    -v changes="$(($(epoch_of_store) - before))" '{ print start "," $0 "," changes }' |
    note
}

# Orders are due at fixed times, at those that do not lead; then the leader fails.
outages() { # FOLDER SIGNAL
  local round leader member
  need_peer etcd etcd-server
  begin_csv "$1/outages.csv" \
    round,system,orders,errors,conflicts,seconds,p50_ms,p99_ms,longest_ms,longest_gap_ms
  open_cluster "$STOCKED"
  start_etcd
  for ((round = 1; round <= rounds; round++)); do
    await_store
    leader=$(leader_of_store)
    fail_under_load store "$(pid_of "$leader")" "$2" "$address:8080"
    if [[ $2 == KILL ]]; then restart_store_role "$leader"; fi
    await etcd find_etcd_leader
    leader=$etcd_leader
    member=$((leader % 3 + 1))
    fail_under_load etcd-put "${etcd_members[$leader]}" "$2" "$(etcd_client "$member")"
    if [[ $2 == KILL ]]; then
      wait "${etcd_members[$leader]}" 2>/dev/null || true
      start_etcd_member "$leader"
    fi
  done
}

fail_under_load() { # SYSTEM PID SIGNAL ADDRESS
  "$load" "$1" 8 "$OUTAGE_SECONDS" --rate "$OUTAGE_RATE" "$4" >"$work/load.csv" 2>"$work/load.log" &
  client=$!
  sleep "$BEFORE_FAULT"
  kill -s "$3" "$2"
  wait "$client" || fail "$1: $(cat -- "$work/load.log")"
  client=
  kill -CONT "$2" 2>/dev/null || true
  cat -- "$work/load.log" >&2
  sed "s/^/$round,$1,/" "$work/load.csv" | note
}

restart_store_role() { # ROLE
  "$repo/run.sh" start "$1" </dev/null >"$work/restart.log" 2>&1 || {
    cat -- "$work/restart.log" >&2
    fail "$1 does not start again"
  }
}

# Until a replica leads and the others follow.
await_store() {
  : >"$work/store.log"
  await store is_in_step
}

is_in_step() {
  [[ $(get_cluster | grep -o '"state":"\(leader\|follower\)"' | sort | uniq -c |
    awk '{ printf "%d", $1 }') == 21 ]]
}

leader_of_store() {
  printf 'order-%s' "$(get_cluster | sed -n 's/.*"leader":\([0-9]*\).*/\1/p')"
}

epoch_of_store() {
  get_cluster | sed -n 's/.*"epoch":\([0-9]*\).*/\1/p'
}

# The process ids of all roles that `run.sh up` started.
roles_running() {
  cat -- "$work"/data/*.pid | tr '\n' ' '
}

# A store whose catalog has `orders` orders. Its replicas have none.
fill_store() { # ORDERS
  close_cluster
  rm -rf -- "$work/data"
  mkdir -- "$work/data"
  address=127.$((RANDOM % 200 + 20)).$((RANDOM % 254 + 1)).$((RANDOM % 254 + 1))
  filled=$work/roles.toml
  sed -e "s/127\.0\.0\.1/$address/" -e "s/^initial_stock = .*/initial_stock = $1/" \
    "$repo/roles.toml" >"$filled"
  "$load" fill "$work/data/catalog.db" "$1" "$filled"
}

# Starts a role by itself.
spawn() { # ROLE
  # shellcheck disable=SC2086 # `order --id 1` is three words
  start_peer roles "$TOYSTORE_BIN" ${1/order-/order --id } --config "$filled"
}

now_us() { printf '%s' "${EPOCHREALTIME/./}"; }

until_seen() { # ready | sold PORT
  "$load" until "$1" "$address:$2" "$START_LIMIT" || {
    tail -n 20 -- "$work/roles.log" >&2
    fail "no role at port $2 is $1"
  }
}

# Starts roles one after the other, each when the one before is ready.
spawn_in_turn() { # ROLE…
  local role
  for role in "$@"; do
    spawn "$role"
    until_seen ready "${port_of[$role]}" >/dev/null
  done
}

row_start() { # FOLDER
  local round cache role begin
  begin_csv "$1/starts.csv" round,orders,cache,role,ready_ms
  fill_store "$orders"
  # The replicas fetch what they lack.
  spawn_in_turn catalog order-3 order-2 order-1 frontend
  await_length "$orders" order-1 order-2 order-3
  end_roles
  for ((round = 1; round <= rounds; round++)); do
    for cache in warm cold; do
      "read_$cache" "$work"/data/*.db
      for role in catalog order-1 order-2 order-3 frontend; do
        begin=$(now_us)
        spawn "$role"
        printf '%s,%s,%s,%s,%s\n' "$round" "$orders" "$cache" "$role" \
          "$((($(until_seen ready "${port_of[$role]}") - begin) / 1000))" | note
      done
      end_roles
    done
  done
}

read_warm() { # FILE…
  cat -- "$@" >/dev/null
}

# The files are on the disk only.
read_cold() { # FILE…
  local file
  for file in "$@"; do
    sync -- "$file"
    dd if="$file" iflag=nocache count=0 status=none
  done
}

row_opening() { # FOLDER
  local round begin
  begin_csv "$1/openings.csv" round,how,first_order_ms
  for ((round = 1; round <= rounds; round++)); do
    fill_store 1000
    spawn_in_turn catalog order-1 order-2 order-3 frontend
    until_seen sold 8080 >/dev/null # so that nothing is new
    end_roles
    begin=$(now_us)
    for role in catalog order-1 order-2 order-3 frontend; do spawn "$role"; done
    printf '%s,at once,%s\n' "$round" "$((($(until_seen sold 8080) - begin) / 1000))"
    end_roles
    begin=$(now_us)
    spawn_in_turn catalog order-1 order-2 order-3 frontend
    printf '%s,in turn,%s\n' "$round" "$((($(until_seen sold 8080) - begin) / 1000))"
    end_roles
  done | note
}

row_catch_up() { # FOLDER
  local round begin count=$(((orders + CATCH_UP_SHARE - 1) / CATCH_UP_SHARE))
  begin_csv "$1/catch_up.csv" round,orders,seconds
  fill_store "$count"
  spawn_in_turn catalog order-3 order-2 order-1 frontend
  await_length "$count" order-1 order-2 order-3
  for ((round = 1; round <= rounds; round++)); do
    end_role order-1
    rm -f -- "$work"/data/order-1.db*
    begin=$(now_us)
    spawn order-1
    await_length "$count" order-1
    awk -v start="$round,$count" -v us="$(($(now_us) - begin))" \
      'BEGIN { printf "%s,%.3f\n", start, us / 1e6 }' | note
  done
  end_roles
}

# In this order, a front-end can tell the catalog that it caches nothing any more; else the catalog
# would have to wait for its lease at the next start.
end_roles() {
  local role
  for role in frontend order-1 order-2 order-3 catalog; do end_role "$role"; done
  unset "peers[roles]"
}

# Ends one of the processes that spawn started.
end_role() { # ROLE
  local process
  process=$(pid_of "$1")
  kill -TERM "$process"
  wait "$process" 2>/dev/null || true
}

# Until replicas have so many orders.
await_length() { # ORDERS ROLE…
  local deadline=$((SECONDS + START_LIMIT)) role
  for role in "${@:2}"; do
    until [[ $(curl --silent --max-time 2 "http://$address:${port_of[$role]}/internal/log") == \
    *"\"length\":$1,"* ]]; do
      ((SECONDS < deadline)) || fail "$role does not catch up"
      sleep 0.01
    done
  done
}

row_replicas() { # FOLDER
  local round count id added before after
  begin_csv "$1/replicas.csv" round,replicas,orders,errors,p50_ms,p99_ms,idle_percent
  for ((round = 1; round <= rounds; round++)); do
    for count in 3 "$replicas"; do
      added=
      for ((id = 4; id <= count; id++)); do
        added+="\n\n[[order]]\nid = $id\n\1\2:$((8090 + id))\""
      done
      open_cluster "$STOCKED" "s/^\(address = \"\)\(.*\):8093\"/&$added/"
      "$load" store 1 0.5 "$address:8080" >/dev/null
      "$load" store 1 "$seconds" "$address:8080" >"$work/load.csv"
      # shellcheck disable=SC2046 # process ids are words
      before=$(processor_time_of_all $(roles_running))
      sleep "$seconds"
      # shellcheck disable=SC2046 # process ids are words
      after=$(processor_time_of_all $(roles_running))
      awk -F , -v start="$round,$count" -v idle="$before $after $seconds" '{
        split(idle, at, " ")
        printf "%s,%s,%s,%s,%s,%.1f\n", start, $1, $2, $5, $6, 100 * (at[2] - at[1]) / at[3]
      }' "$work/load.csv" | note
      close_cluster
    done
  done
}
