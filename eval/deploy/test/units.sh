# Tests of the units by systemd's own checkers. Part of test.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of test.sh

# --- the tests ------------------------------------------------------------------------------------

systemd_finds_no_fault_with_the_units() {
  expect 0 systemd-analyze verify units/*
  is "$output" ''
  echo 'Restart=sometimes' >>units/toystore-catalog.service
  systemd-analyze verify units/* 2>&1 | grep -F sometimes
}

a_role_can_do_little_else_than_its_work() {
  local unit
  for unit in catalog order@1 frontend; do
    # Of 100, where 0 means shut off from everything. What remains is the network.
    expect 0 systemd-analyze security --no-pager --offline=true --threshold=20 \
      "units/toystore-$unit.service"
    note "$unit: $(grep -o 'Overall exposure.*: [0-9.]*' <<<"$output" | grep -o '[0-9.]*$') of 10"
  done
  sed -i /^SystemCallFilter/d units/toystore-frontend.service
  expect 1 systemd-analyze security --no-pager --offline=true --threshold=20 \
    units/toystore-frontend.service
}

roles_start_in_the_order_catalog_replicas_frontend() {
  after() { sed -n 's/^After=//p' "$here/instance/toystore-$1.service" | xargs; }
  is "$(after catalog)" ''
  is "$(after order@)" toystore-catalog.service
  is "$(after frontend)" 'toystore-catalog.service toystore-order@1.service'\
' toystore-order@2.service toystore-order@3.service network-online.target'
}

the_units_of_three_hosts_are_sound_and_reach_the_other_hosts_only() {
  expect 0 systemd-analyze verify three/*.{service,target}
  is "$output" ''
  local file
  for file in three/toystore-catalog@.service three/toystore-{order@,frontend}.service.d/three.conf; do
    expect 0 cat "$file"
    says 'http://10.0.0.2:80'
    [[ $file == *frontend* ]] || says 'IPAddressAllow=10.0.0.1 10.0.0.2 10.0.0.3'
  done
  expect 0 systemd-analyze security --no-pager --offline=true --threshold=20 \
    three/toystore-catalog@2.service
  echo 'Restart=sometimes' >>three/toystore-order@.service.d/three.conf
  systemd-analyze verify three/*.service 2>&1 | grep -F sometimes
}

three_hosts_get_the_same_roles_toml_and_a_role_each() {
  local number kind
  three 2 write_roles >two.toml
  is "$(three 1 write_roles)" "$(<two.toml)"
  expect 0 "$(debug_executable)" roles --config two.toml
  for number in 1 2 3; do
    for kind in catalog-$number:8081 order-$number:809$number; do
      says "${kind%:*}"$'\t'"10.0.0.$number:${kind#*:}"
    done
    says "10.0.0.$number:8080"
  done
  expect 0 cat two.toml
  says 'database = "postgres://toystore@10.0.0.1:5432,10.0.0.2:5432,10.0.0.3:5432/toystore"' \
    'standbys = 1' 'enabled = true'
  says_nothing_of 127.0.0.1
  echo 'enabled = false' >etc/cache
  three 3 write_roles | grep -x 'enabled = false'
}

no_place_in_the_files_of_three_hosts_is_left_open() {
  local file
  for file in "$here"/instance/three/*; do
    three 3 fill "$file" >filled
    ! grep -E '@[A-Z_]+@' filled | grep -vE '@(DATA|PROGRAMS|SOCKETS|POST_INIT)@' ||
      die "a place in $file is open"
  done
  three 3 fill "$here/instance/three/patroni.yml" >filled
  grep -x "    - host all all 10.0.0.2/32 scram-sha-256" filled
  grep -x "  hosts: '10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379'" filled
  grep -x '    synchronous_mode: quorum' filled
  grep -x '    synchronous_mode_strict: true' filled
  grep -x '    primary_start_timeout: 0' filled
}

the_secrets_of_three_hosts_are_made_once() {
  local first
  rm etc/secrets
  first=$(three 1 secrets)
  is "$(wc -l <<<"$first")" 5
  is "$(cut -d ' ' -f 2 <<<"$first" | sort -u | wc -l)" 5
  is "$(three 1 secrets)" "$first"
  is "$(stat -c %a etc/secrets)" 600
}

# --- how they are written -------------------------------------------------------------------------

# The units as they are on the instance, but for the programs, which need not be here.
set_up_units() {
  if ! command -v systemd-analyze && ! get systemd; then
    echo 'systemd-analyze is missing; get it with: sudo apt-get install -y systemd'
    return 1
  fi
  mkdir "$work/units"
  cp "$here"/instance/toystore* "$work/units"
  cp "$work/units/toystore-order@.service" "$work/units/toystore-order@1.service"
  set_up_units_of_three
  sed -i -E 's|^(Exec[A-Za-z]*=)/usr/(local/)?bin/[a-z]+|\1/bin/true|' "$work"/units/*.service \
    "$work"/three/*.service "$work"/three/*/*.conf
}

# Those of the second of three hosts.
set_up_units_of_three() {
  local unit
  mkdir "$work/three" "$work/etc"
  three 2 secrets >/dev/null
  cp "$here"/instance/toystore-{order@,frontend}.service "$work/three"
  for unit in toystore-catalog@.service toystore.target; do
    three 2 fill "$here/instance/three/$unit" >"$work/three/$unit"
  done
  for unit in order@ frontend; do
    mkdir "$work/three/toystore-$unit.service.d"
    three 2 fill "$here/instance/three/${unit%@}.conf" \
      >"$work/three/toystore-$unit.service.d/three.conf"
  done
  cp "$work/three/toystore-catalog@.service" "$work/three/toystore-catalog@2.service"
  cp "$work/three/toystore-order@.service" "$work/three/toystore-order@2.service"
}

# A function of three.sh, as on a host at 10.0.0.HOST, but that its files are in ./etc.
three() { # HOST FUNCTION [ARGUMENT]…
  (
    # shellcheck disable=SC2034 # for the function
    host=$1 address=10.0.0.$1 addresses=(10.0.0.1 10.0.0.2 10.0.0.3)
    # shellcheck source=/dev/null # checked on its own
    source <(sed -e "s|^readonly ETC=.*|readonly ETC=$work/etc|" -e '/^main "\$@"$/d' \
      -e "s|^source=.*|source=$repo|" "$here/instance/three.sh")
    "${@:2}"
  )
}

debug_executable() {
  local found=${TOYSTORE_BIN:-${CARGO_TARGET_DIR:-$repo/target}/debug/toystore}
  [[ -x $found ]] || (cd -- "$repo" && cargo build --quiet --features failpoints --locked) >&2
  echo "$found"
}

tear_down_units() { true; }
