#!/bin/bash
# Runs on the instance, as root. Writes to standard output, as a compressed tar archive: the
# databases, each as it is at one instant, the logs, the settings without the secret, and what
# machine this is.

set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cd -- "$work"

for database in /var/lib/toystore/*.db; do
  [[ -e $database ]] || continue
  sqlite3 "file:$database?mode=ro" ".backup ${database##*/}"
done
# On three hosts the journal is in PostgreSQL; a standby has it, too.
if [[ -e /etc/patroni/config.yml ]]; then
  runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --dbname=toystore \
    --command='SELECT number, name, quantity FROM journal ORDER BY number' >journal.txt || true
  journalctl --quiet --no-pager --output short-iso-precise --unit etcd --unit patroni >database.log ||
    true
fi
journalctl --quiet --no-pager --output short-iso-precise --unit 'toystore-*' >store.log || true
sed '/^secret *=/d' /etc/toystore/roles.toml >roles.toml
cp /etc/toystore/commit commit
frontend=$(sed -n 's/^address = "\(.*:8080\)"$/\1/p' roles.toml | sed -n "$(
  cat /etc/toystore/host 2>/dev/null || echo 1)p")
curl -fsS --max-time 5 "http://${frontend/0.0.0.0/127.0.0.1}/cluster" >cluster.json || true
{
  uname -srm
  sed -n 's/^PRETTY_NAME=//p' /etc/os-release
  lscpu
  free -m
} >machine.txt
# The type and the zone, from the metadata service; it asks for a token (IMDSv2).
metadata=http://169.254.169.254/latest
if token=$(curl -fsS --max-time 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
  "$metadata/api/token" 2>/dev/null); then
  for fact in instance-type ami-id placement/availability-zone; do
    printf '%s %s\n' "$fact" "$(curl -fsS --max-time 2 -H "X-aws-ec2-metadata-token: $token" \
      "$metadata/meta-data/$fact")"
  done >>machine.txt
fi
tar -czf - -- *
