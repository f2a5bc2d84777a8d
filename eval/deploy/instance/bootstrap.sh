#!/bin/bash
# The instance's user data: runs once, as root, at its first boot. What it says is in
# /var/log/cloud-init-output.log.

set -eu
export DEBIAN_FRONTEND=noninteractive

readonly HOURS=@HOURS@ # until the instance ends itself; 0 means never

# First of all, so that a failure below does not leave an instance running for ever. What is powered off here
# is terminated, its volume deleted (instance-initiated-shutdown-behavior).
if [ "$HOURS" -gt 0 ]; then
  cat >/etc/systemd/system/toystore-end.service <<'UNIT'
[Unit]
Description=End of the instance, a guard against its costs

[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl --no-block poweroff
UNIT
  cat >/etc/systemd/system/toystore-end.timer <<UNIT
[Unit]
Description=End of the instance $HOURS hours after its start

[Timer]
OnBootSec=${HOURS}h

[Install]
WantedBy=timers.target
UNIT
  systemctl daemon-reload
  systemctl enable --now toystore-end.timer
fi

# Upgrades in the background would be measured along with the store.
systemctl disable --now apt-daily.timer apt-daily-upgrade.timer

apt() { apt-get -q -y -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300 "$@"; }
apt update
# rustc-web is the Rust compiler that Debian's stable release keeps up to date for its browsers.
apt install --no-install-recommends build-essential cargo-web rustc-web curl sqlite3
