# Tests of all that happens on the instance, on a Debian of the release that deploy.sh asks for,
# made afresh and booted in a container: the kernel is this machine's, everything above it as on an
# instance. Its first boot gets the user data and the key that deploy.sh has given to the server
# that stands for AWS, through the same cloud-init; and deploy.sh reaches it by the public address
# that this server has made up. Part of test.sh; the tests are one story, in their order.
#
#   namespace "here"                         namespace "there"
#   moto, deploy.sh  203.0.113.7 ── a cable ── 54.x.y.z  container ── slirp4netns ── the world
#
# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of test.sh

# --- the tests ------------------------------------------------------------------------------------

a_clean_debian_boots_with_the_user_data_and_the_key() {
  expect 0 deploy create --hours 3 --cidr 203.0.113.7/32
  make_instance "$(instance_is PublicIpAddress)"
  eventually ssh_to true
  expect 0 ssh_to 'sudo cloud-init status --wait --long'
  says 'status: done' 'errors: []'
  expect 0 ssh_to 'cargo --version && cc --version && sqlite3 --version && systemctl list-timers'
  says toystore-end.timer
  says_nothing_of apt-daily
  expect 0 ssh_to 'systemctl show -P TimersMonotonic toystore-end.timer'
  says 'OnBootUSec=3h'
}

install_builds_the_commit_and_opens_the_store() {
  local begin=$SECONDS
  expect 0 deploy install
  says 'the store is open at http://'
  note "built and started in $((SECONDS - begin)) s, on $(nproc) cores"
  expect 0 ssh_to 'cat /etc/toystore/commit; systemctl is-system-running'
  is "$output" "$(git -C "$repo" rev-parse HEAD)"$'\n'running
  expect 0 deploy status
  says '"leader":3' '"state":"follower"'
}

roles_have_started_in_order_and_without_rights() {
  local unit last=0 started
  for unit in catalog order@1 order@2 order@3 frontend; do
    expect 0 ssh_to "systemctl show -P ActiveEnterTimestampMonotonic toystore-$unit"
    started=$output
    [[ $unit == order@[23] ]] || { ((started > last)) || die "$unit started too early"; }
    ((started <= last)) || last=$started
  done
  # One of the users that systemd makes for as long as a unit runs.
  expect 0 ssh_to 'ps -C toystore -o uid= | sort | uniq -c'
  [[ $(xargs <<<"$output") =~ ^5\ 6[1-5][0-9]{3}$ ]] || die 'not one user, or not such a one'
  expect 0 ssh_to 'sudo stat -c "%a %U" /etc/toystore/roles.toml &&
    sudo stat -c %a /var/lib/private/toystore'
  is "$output" $'600 root\n700'
  expect 0 ssh_to 'pgrep -x toystore | sudo xargs -I {} grep "open files" /proc/{}/limits'
  (($(awk '$4 == $5 && $4 > 10000' <<<"$output" | wc -l) == 5)) || die 'too few open files'
}

only_ssh_and_the_front_end_are_reached_from_outside() {
  expect 0 store products/Tux
  says '"quantity":100'
  expect 0 store orders -d '{"name":"Tux","quantity":1}'
  is "$output" '{"data":{"order_number":0}}'
  expect 0 store products/Tux
  says '"quantity":99'
  expect 22 store internal/health
  local port
  for port in 8081 8091 8092 8093; do
    expect 7 "${within[@]}" curl -sS --max-time 5 "http://$(<"$work/address"):$port/healthz"
  done
}

a_role_that_is_killed_is_started_again() {
  expect 0 ssh_to 'sudo systemctl kill -s KILL toystore-order@3'
  expect 0 store orders -d '{"name":"Tux","quantity":1}'
  is "$output" '{"data":{"order_number":1}}'
  eventually ssh_to 'systemctl is-active toystore-order@3'
  is "$(ssh_to 'systemctl show -P NRestarts toystore-order@3')" 1
  expect 0 ssh_to 'journalctl --quiet --no-pager -u toystore-frontend | grep -c "replica 2"'
}

# The least that the sweep can be told to do: one repetition of ten runs. Its data and figures go to
# a copy of the repository.
the_sweep_runs_from_here_and_turns_the_cache_off_and_on() {
  local begin=$SECONDS
  git clone --quiet -- "file://$repo" copy
  expect 0 "${within[@]}" env TOYSTORE_BIN="$(executable)" \
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$repo/target}" \
    copy/eval/deploy/deploy.sh sweep --region us-east-1 -- 1 20
  says 'aws: repetition 1, p = 0.8, cache false: 100 queries'
  note "ten runs in $((SECONDS - begin)) s"
  # One row of hits per p: there are some with the cache, and none without.
  is "$(hits true | grep -c '^[1-9]')/$(hits false | sort -u)" 5/0
  grep '^## clients here, the store on an instance' copy/eval/sweep/data/summary.md
  [[ -s copy/docs/figures/sweep-aws.svg ]] || die 'there is no figure'
}

the_cache_is_turned_off_and_on_with_empty_databases() {
  expect 0 deploy cache off
  store products/Tux -o /dev/null
  expect 0 store products/Tux -i
  says 'x-cache: miss' '"quantity":100'
  expect 0 deploy cache on
  store products/Tux -o /dev/null
  expect 0 store products/Tux -i
  says 'x-cache: hit'
  expect 0 store orders -d '{"name":"Tux","quantity":2}'
  is "$output" '{"data":{"order_number":0}}'
  expect 0 store products/Tux -i
  says 'x-cache: miss' '"quantity":98' # the catalog reaches the front-end's cache
}

a_second_install_keeps_orders_and_secret() {
  local before
  before=$(ssh_to 'sudo sha256sum /etc/toystore/roles.toml')
  expect 0 deploy install
  is "$(ssh_to 'sudo sha256sum /etc/toystore/roles.toml')" "$before"
  expect 0 store orders/0
  says '"quantity":2'
}

fetch_brings_databases_logs_and_facts_but_not_the_secret() {
  expect 0 deploy fetch --out fetched
  local replica
  for replica in 1 2 3; do
    is "$(sqlite3 "fetched/order-$replica.db" 'SELECT * FROM orders')" '0|Tux|2'
  done
  is "$(sqlite3 fetched/catalog.db "SELECT quantity FROM products WHERE name = 'Tux'")" 98
  is "$(cat fetched/commit)" "$(ssh_to 'cat /etc/toystore/commit')"
  grep 'replica 3 leads' fetched/store.log
  grep '^"Debian GNU/Linux 13' fetched/machine.txt
  grep '^address = "0.0.0.0:8080"' fetched/roles.toml
  ! grep -r "$(ssh_to 'sudo sed -n "s/^secret = .\([0-9a-f]*\).$/\1/p" /etc/toystore/roles.toml')" \
    fetched || die 'the secret is in what was fetched'
}

after_a_reboot_the_store_is_back_by_itself() {
  ssh_to 'sudo systemctl reboot' || true
  eventually container_has_ended # it asks for a new start that way
  boot
  eventually store orders/0
  expect 0 ssh_to 'systemctl is-active toystore-end.timer'
}

at_the_end_of_its_hours_it_powers_itself_off() {
  if container_has_ended; then die 'it has ended already'; fi
  ssh_to 'sudo systemctl start toystore-end.service' || true
  eventually container_has_ended
  expect 0 deploy remove
}

# --- how they are written -------------------------------------------------------------------------

readonly ROOT_PACKAGES=(systemd systemd-sysv dbus openssh-server cloud-init sudo ca-certificates
  iproute2)

set_up_instance() {
  local tool
  ((EUID == 0)) || { echo 'making and booting a Debian needs root' && return 1; }
  for tool in systemd-nspawn:systemd-container mmdebstrap slirp4netns ip:iproute2 sqlite3 \
    ssh:openssh-client; do
    command -v "${tool%%:*}" || get "${tool##*:}" || { echo "$tool is missing" && return 1; }
  done
  set_up_cloud && rm "$work/bin/curl" && tear_down_cloud || return 1
  near=toystore-here-$$ far=toystore-there-$$ root=$work/root
  within=(ip netns exec "$near")
  if ! ip netns add "$near" || ! ip netns add "$far" ||
    ! ip -n "$near" link add cable type veth peer name cable netns "$far"; then
    echo 'network namespaces cannot be made here'
    return 1
  fi
  ip -n "$near" link set lo up && ip -n "$near" link set cable up &&
    ip -n "$near" address add 203.0.113.7/32 dev cable && ip -n "$far" link set lo up &&
    ip -n "$far" link set cable up && ip -n "$far" route add 203.0.113.7/32 dev cable || return 1
  start_server || return 1
  make_root || { echo 'a Debian cannot be made here' && return 1; }
}

# A Debian with what the images for EC2 have and what matters here.
make_root() {
  mmdebstrap --quiet --variant=minbase --include="${ROOT_PACKAGES[*]}" trixie "$root" || return 1
  # A proxy may stand between this machine and the package sources: what is trusted here is there.
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/resolv.conf"
  echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf" # slirp4netns's
  : >"$root/etc/machine-id"
  cat >"$root/etc/cloud/cloud.cfg.d/90_image.cfg" <<'TEXT'
datasource_list: [NoCloud]
network: {config: disabled} # the cable and slirp4netns are there already
manage_etc_hosts: true
system_info:
  default_user:
    name: admin
    lock_passwd: true
    sudo: ["ALL=(ALL) NOPASSWD:ALL"]
    shell: /bin/bash
TEXT
}

# Connects the container, gives it what the server that stands for AWS knows of the instance, and
# boots it. The processes outlive the test that starts them; `tear_down_instance` ends them.
make_instance() { # ADDRESS
  local seed=$root/var/lib/cloud/seed/nocloud
  echo "$1" >"$work/address"
  ip -n "$far" address add "$1/32" dev cable
  ip -n "$near" route add "$1/32" dev cable
  mkdir -p "$seed"
  user_data >"$seed/user-data"
  printf 'instance-id: %s\nlocal-hostname: toystore\npublic-keys:\n  - %s\n' \
    "$(instance_is InstanceId)" "$(pair)" >"$seed/meta-data"
  setsid slirp4netns --configure --mtu=65520 --disable-host-loopback --netns-type=path \
    "/run/netns/$far" tap0 >"$work/world.log" 2>&1 &
  echo $! >"$work/world"
  disown -a
  boot
}

boot() {
  # The container gets the newer of the two kinds of control groups, whatever this machine has.
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 setsid systemd-nspawn --quiet --directory="$root" --boot \
    --register=no --keep-unit --console=pipe --resolv-conf=off --timezone=off \
    --network-namespace-path="/run/netns/$far" >>"$work/container.log" 2>&1 &
  echo $! >"$work/container"
  disown -a
}

tear_down_instance() {
  local process pid
  for process in container world; do
    [[ -s $work/$process ]] || continue
    pid=$(<"$work/$process")
    # The first signal asks the container to shut down, the second ends it.
    for _ in 1 2; do ! kill "$pid" 2>/dev/null || sleep 2; done
    rm -f "$work/$process"
  done
  tear_down_cloud
  [[ -z ${near-} ]] || { ip netns delete "$near"; ip netns delete "$far"; } 2>/dev/null || true
  near=
  within=()
}

container_has_ended() { ! kill -0 "$(<"$work/container")" 2>/dev/null; }

# The client that the sweep shops with is built by this machine's user, not within the network.
executable() {
  (cd -- "$repo" && cargo build --release --locked --quiet) || die 'the store cannot be built here'
  echo "${CARGO_TARGET_DIR:-$repo/target}/release/toystore"
}

hits() { # CACHE
  awk -F , -v cache="$1" '
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
    $column["cache"] == cache && $column["client"] == "all" && $column["type"] == "query_hit" {
      print $column["count"]
    }' copy/eval/sweep/data/aws/sweep.csv
}

ssh_to() { # COMMAND
  "${within[@]}" ssh -i "$work/state/toystore/eval-us-east-1/key" -o BatchMode=yes \
    -o ConnectTimeout=3 -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR \
    -o "UserKnownHostsFile=$work/known_hosts" "admin@$(<"$work/address")" "$1"
}

store() { # PATH [OPTION]…
  "${within[@]}" curl -fsS --max-time 15 "http://$(<"$work/address"):8080/$1" "${@:2}"
}

eventually() { # COMMAND…
  local end=$((SECONDS + 180))
  until "$@" 2>/dev/null; do
    ((SECONDS < end)) || die "still not so after 180 s: $*"
    sleep 1
  done
}
