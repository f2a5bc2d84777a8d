# Tests of all that happens on three instances, on three Debians of the release that deploy.sh asks
# for, booted in containers that a switch connects: etcd, Patroni and PostgreSQL by Debian's packages,
# and the store. Part of test.sh, after instance.sh, from which it has what makes and boots a Debian;
# the tests are one story, in their order. The user data is not run here: instance.sh tests it, and
# what it installs is for a build, while here the executable is one that is there.
#
#   namespace "here"                        namespaces "there"
#   moto, deploy.sh  203.0.113.7 ── switch ┬─ 54.x.y.z, 172.31.a.b  container ── slirp4netns ── the world
#                                          ├─ …                     container ── …
#                                          └─ …                     container ── …
#
# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of test.sh

# --- the tests ------------------------------------------------------------------------------------

three_hosts_are_installed_and_open_one_store() {
  local begin=$SECONDS number
  expect 0 deploy create --shape three --cidr 203.0.113.7/32
  for number in 1 2 3; do make_host "$number"; done
  for number in 1 2 3; do eventually host_does "$number" 'systemctl is-system-running | grep -E "running|degraded"'; done
  expect 0 deploy install --executable "$(debug_executable)"
  note "installed and open after $((SECONDS - begin)) s"
  expect 0 deploy status
  is "$(grep -c '"leader":' <<<"$output")" 3
}

a_commit_is_on_two_servers() {
  expect 0 host_does "$(primary_host)" "sudo -u postgres psql -qtA -c 'SHOW data_checksums' -c $(
  )\"SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'\""
  says $'on\n2'
  expect 0 host_does 2 'patronictl --version || patroni --version'
  says ' 4.'
}

what_one_front_end_sells_another_shows() {
  expect 0 shop 1 orders -d '{"name":"Tux","quantity":3}'
  is "$output" '{"data":{"order_number":0}}'
  expect 0 shop 2 products/Tux
  says '"quantity":97'
  expect 0 shop 3 orders/0
  says '"quantity":3'
}

a_primary_that_is_killed_is_replaced_and_orders_stay() {
  local number
  number=$(primary_host)
  host_does "$number" 'sudo pkill -KILL -o -x postgres'
  eventually shop 1 orders -H 'Idempotency-Key: after-the-crash' -d '{"name":"Tux","quantity":1}'
  expect 0 shop 2 orders -H 'Idempotency-Key: after-the-crash' -d '{"name":"Tux","quantity":1}'
  is "$output" '{"data":{"order_number":1}}'
  expect 0 shop 3 orders/0
  says '"quantity":3'
}

a_host_that_is_lost_does_not_close_the_store() {
  local number other
  number=$(primary_host)
  other=$((number % 3 + 1))
  end_container "$number"
  eventually shop "$other" orders -H 'Idempotency-Key: after-the-loss' -d '{"name":"Tux","quantity":1}'
  expect 0 shop "$other" orders/1
  expect 0 shop "$other" products/Tux
  says '"quantity":95'
  boot_host "$number"
  eventually shop "$number" orders/2
}

fetch_brings_the_orders_of_each_host_but_no_secret() {
  local number
  # The server of the host that was lost has to be a standby again.
  for number in 1 2 3; do
    eventually host_does "$number" 'sudo -u postgres psql -qtA -d toystore -c "SELECT 1"'
  done
  expect 0 deploy fetch --out fetched
  for number in 1 2 3; do
    is "$(cat "fetched/host-$number/journal.txt")" $'0|Tux|3\n1|Tux|1\n2|Tux|1'
    is "$(sqlite3 "fetched/host-$number/order-$number.db" 'SELECT * FROM orders' | xargs)" '0|Tux|3 1|Tux|1 2|Tux|1'
  done
  ! grep -r "$(host_does 1 'sudo sed -n "s/^store //p" /etc/toystore/secrets')" fetched ||
    die 'the secret is in what was fetched'
}

the_cache_of_three_is_turned_off_with_an_empty_store() {
  expect 0 deploy cache off
  expect 0 shop 3 products/Tux -i
  says 'x-cache: off' '"quantity":100'
  expect 0 shop 1 orders -d '{"name":"Tux","quantity":2}'
  is "$output" '{"data":{"order_number":0}}'
}

# --- how they are written -------------------------------------------------------------------------

set_up_three() {
  local number tool
  ((EUID == 0)) || { echo 'making and booting a Debian needs root' && return 1; }
  for tool in systemd-nspawn:systemd-container mmdebstrap slirp4netns ip:iproute2 sqlite3 \
    ssh:openssh-client iptables; do
    command -v "${tool%%:*}" || get "${tool##*:}" || { echo "$tool is missing" && return 1; }
  done
  set_up_cloud && rm "$work/bin/curl" && tear_down_cloud || return 1
  near=toystore-here-$$ root=$work/root
  within=(ip netns exec "$near")
  ip netns add "$near" && ip -n "$near" link add switch type bridge forward_delay 0 &&
    ip -n "$near" link set lo up && ip -n "$near" link set switch up &&
    ip -n "$near" address add 203.0.113.7/32 dev switch || return 1
  for number in 1 2 3; do
    ip netns add "$near-$number" &&
      ip -n "$near" link add "port$number" type veth peer name cable netns "$near-$number" &&
      ip -n "$near" link set "port$number" master switch up &&
      ip -n "$near-$number" link set lo up && ip -n "$near-$number" link set cable up || return 1
  done
  start_server || return 1
  make_root || { echo 'a Debian cannot be made here' && return 1; }
}

make_host() { # HOST
  local seed=$work/root-$1/var/lib/cloud/seed/nocloud space=$near-$1 address
  mkdir -p "$work/root-$1" "$work/upper-$1" "$work/work-$1"
  mount -t overlay overlay "$work/root-$1" \
    -o "lowerdir=$root,upperdir=$work/upper-$1,workdir=$work/work-$1"
  address=$(public_address "$1")
  echo "$address" >"$work/address-$1"
  ip -n "$space" address add "$address/32" dev cable
  ip -n "$space" address add "$(address_of_host "$1")/16" dev cable
  ip -n "$space" route add 203.0.113.7/32 dev cable src "$address"
  ip -n "$near" route add "$address/32" dev switch
  # As at AWS, where an instance knows its private address only.
  ip netns exec "$space" iptables -t nat -A PREROUTING -d "$address" -j DNAT \
    --to-destination "$(address_of_host "$1")"
  mkdir -p "$seed"
  printf '#!/bin/sh\nexit 0\n' >"$seed/user-data"
  printf 'instance-id: %s\nlocal-hostname: toystore-%s\npublic-keys:\n  - %s\n' \
    "$(instance_of_host "$1")" "$1" "$(pair)" >"$seed/meta-data"
  setsid slirp4netns --configure --mtu=65520 --disable-host-loopback --netns-type=path \
    "/run/netns/$space" tap0 >"$work/world-$1.log" 2>&1 &
  echo $! >"$work/world-$1"
  disown -a
  boot_host "$1"
}

boot_host() { # HOST
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 setsid systemd-nspawn --quiet --directory="$work/root-$1" --boot \
    --register=no --keep-unit --console=pipe --resolv-conf=off --timezone=off \
    --network-namespace-path="/run/netns/$near-$1" >>"$work/container-$1.log" 2>&1 &
  echo $! >"$work/container-$1"
  disown -a
}

# As when its zone loses power: nothing on it ends in order.
end_container() { # HOST
  local pids
  mapfile -t pids < <(ip netns pids "$near-$1" | grep -vx -- "$(<"$work/world-$1")")
  kill -KILL "${pids[@]}" "$(<"$work/container-$1")" 2>/dev/null || true
}

tear_down_three() {
  local number process pid
  for number in 1 2 3; do
    [[ ! -s $work/container-$number ]] || end_container "$number"
    for process in "container-$number" "world-$number"; do
      [[ -s $work/$process ]] || continue
      pid=$(<"$work/$process")
      ! kill "$pid" 2>/dev/null || sleep 1
      rm -f "$work/$process"
    done
    ! mountpoint -q "$work/root-$number" || umount -l "$work/root-$number"
    [[ -z ${near-} ]] || ip netns delete "$near-$number" 2>/dev/null || true
  done
  tear_down_cloud
  [[ -z ${near-} ]] || ip netns delete "$near" 2>/dev/null || true
  near=
  within=()
}

public_address() { # HOST
  ask ec2 describe-instances --filters "Name=tag:toystore-host,Values=$1" \
    Name=instance-state-name,Values=running --query 'Reservations[].Instances[].PublicIpAddress'
}

primary_host() {
  local number
  for number in 1 2 3; do
    [[ $(host_does "$number" 'sudo -u postgres psql -qtA -c "SELECT pg_is_in_recovery()"' 2>/dev/null) != f ]] ||
      echo "$number"
  done | tail -n 1
}

host_does() { # HOST COMMAND
  "${within[@]}" ssh -i "$work/state/toystore/eval-us-east-1/key" -o BatchMode=yes \
    -o ConnectTimeout=3 -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR \
    -o "UserKnownHostsFile=$work/known_hosts" "admin@$(<"$work/address-$1")" "$2"
}

shop() { # HOST PATH [OPTION]…
  "${within[@]}" curl -fsS --max-time 15 "http://$(<"$work/address-$1"):8080/$2" "${@:3}"
}
