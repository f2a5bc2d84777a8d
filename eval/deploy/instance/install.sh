#!/bin/bash
# Runs on the instance, as root, in the source that deploy.sh has sent. Builds the store, installs
# its units and its roles.toml, and starts it. With --cache on|off it only changes that setting and
# starts the store afresh, with empty databases: runs with and without the cache begin alike. With
# --build it only builds, for three.sh to install the rest.

set -euo pipefail

source=$(readlink -f -- "$(dirname -- "$0")/../../..")
builder=${SUDO_USER:-root}
target=$(dirname -- "$source")/toystore-build # outside the source, so that it outlives the next one

readonly ETC=/etc/toystore
readonly UNITS=/etc/systemd/system
readonly SERVICES=(toystore-{catalog,order@1,order@2,order@3,frontend}.service)

main() {
  case $#:${1-} in
    2:--cache) set_cache "$2" ;;
    1:--build) build ;;
    1:*) install_commit "$1" ;;
    *) printf 'usage: install.sh COMMIT | --build | --cache on|off\n' >&2 && exit 2 ;;
  esac
}

build() {
  # The compiler need not be root, and its files should not be.
  # Cargo reads how to build SQLite from the present folder.
  (cd -- "$source" && sudo -u "$builder" env CARGO_TARGET_DIR="$target" \
    cargo build --release --locked)
  install -m 755 "$target/release/toystore" /usr/local/bin/toystore
}

install_commit() { # COMMIT
  build
  install -d -m 755 "$ETC"
  printf '%s\n' "$1" >"$ETC/commit"
  write_roles
  install -m 644 -t "$UNITS" "$source"/eval/deploy/instance/toystore*.{service,target}
  systemctl daemon-reload
  systemctl enable --quiet toystore.target
  open_store restart
}

# The roles.toml that ships, with another data folder, a front-end that is reached from outside,
# and for that a secret, which a later install keeps.
write_roles() {
  local secret
  secret=$(sed -n 's/^secret = "\(.*\)"$/\1/p' "$ETC/roles.toml" 2>/dev/null || true)
  secret=${secret:-$(od -An -N 24 -t x1 /dev/urandom | tr -d ' \n')}
  install -m 600 /dev/null "$ETC/roles.toml.new" # the units get it as a credential
  {
    printf 'secret = "%s"\n' "$secret"
    sed -e '/^secret *=/d' \
      -e 's|^data_dir *= *"[^"]*"|data_dir = "/var/lib/toystore"|' \
      -e 's|^address = "127.0.0.1:8080"|address = "0.0.0.0:8080"|' "$source/roles.toml"
  } >"$ETC/roles.toml.new"
  grep -q '^data_dir = "/var/lib/toystore"' "$ETC/roles.toml.new"
  grep -q '^address = "0.0.0.0:8080"' "$ETC/roles.toml.new"
  mv "$ETC/roles.toml.new" "$ETC/roles.toml"
}

set_cache() { # on | off
  local enabled
  case $1 in
    on) enabled=true ;;
    off) enabled=false ;;
    *) printf 'install.sh: --cache takes on or off\n' >&2 && exit 2 ;;
  esac
  sed -i "s/^enabled *= *[a-z]*/enabled = $enabled/" "$ETC/roles.toml"
  grep -q "^enabled = $enabled" "$ETC/roles.toml"
  systemctl stop toystore.target 'toystore-*.service'
  rm -rf /var/lib/private/toystore
  open_store start
}

# The target is there when each service is, or has failed.
open_store() { # start | restart
  local service
  systemctl "$1" toystore.target
  for service in "${SERVICES[@]}"; do
    systemctl is-active --quiet "$service" && continue
    printf 'install.sh: %s does not run\n' "$service" >&2
    systemctl status --no-pager --lines 20 "$service" >&2 || true
    exit 1
  done
}

main "$@"
