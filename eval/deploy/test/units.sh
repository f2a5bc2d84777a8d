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
  sed -i -E 's|^(Exec[A-Za-z]*=)/usr/(local/)?bin/[a-z]+|\1/bin/true|' "$work"/units/*.service
}

tear_down_units() { true; }
