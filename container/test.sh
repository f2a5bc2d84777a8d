#!/usr/bin/env bash
# Builds the container image and runs a store of its containers, with a chroot as their only wall:
# they share this machine's network and see no more of its files than they are given. That is what
# root may do where containers themselves are not allowed. Compares the compose files with the
# Compose specification, and with the roles.toml in them.
#
# What a missing tool leaves out, it says; with CI set that is a failure. The last line is the sum:
# `N passed, N failed`.

set -euo pipefail

repo=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
here=$repo/container
tools=${CARGO_TARGET_DIR:-$repo/target}/container-tools # made once; in a folder that git ignores
work=$(cd -- "$(mktemp -d)" && pwd -P)
readonly IMAGE=localhost/toystore-test
readonly ROLES=(catalog 'order --id 1' 'order --id 2' 'order --id 3' frontend)
containers=()
processes=()
unset CDPATH
# shellcheck source=tests/support/suite.sh
source "$repo/tests/support/suite.sh"
# Images and containers of this test, apart from those of the person who runs it.
export CONTAINERS_STORAGE_CONF=$work/storage.conf TOYSTORE_SECRET=sixteen-characters PGPASSWORD=secret

main() {
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  if set_up_python "$tools" "$here/requirements.txt" >"$work/set-up.log" 2>&1; then
    run the_compose_files_follow_the_specification
    run every_role_has_a_service_that_starts_it
  else
    leave_out 'the compose files' "$(tail -n 1 -- "$work/set-up.log")"
  fi
  if ((EUID == 0)) && command -v buildah >/dev/null; then
    write_storage
    run the_image_holds_the_executable_and_nothing_else
    run a_store_of_containers_sells_and_keeps_its_orders
  else
    leave_out 'the image' 'buildah is missing, or this is not root; get it with: apt-get install buildah'
  fi
  sum_up
}

# --- the tests ------------------------------------------------------------------------------------

the_compose_files_follow_the_specification() {
  "$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec "$here"/compose*.yaml
}

every_role_has_a_service_that_starts_it() {
  local file
  for file in "$here"/compose*.yaml; do
    "$tools/bin/python" "$here/test_compose.py" "$file" "$work/roles-of-compose.toml"
  done
}

the_image_holds_the_executable_and_nothing_else() {
  local container root
  # What is asked here does not depend on the optimization, which takes minutes.
  export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1
  export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
  IMAGE_BUILDER=buildah "$here/build.sh" "$IMAGE"
  container=$(buildah from "$IMAGE")
  containers+=("$container")
  root=$(buildah mount "$container")
  diff <(cd -- "$root" && find . | LC_ALL=C sort) <(printf '%s\n' . ./data ./toystore)
  buildah umount "$container"
  buildah run --isolation chroot "$container" -- /toystore --version
}

a_store_of_containers_sells_and_keeps_its_orders() {
  local role container ports number
  mapfile -t ports < <(free_ports 5)
  write_roles
  for role in "${ROLES[@]}"; do
    container=$(buildah from "$IMAGE")
    containers+=("$container")
    mkdir -- "$work/data-${role//[^a-z0-9]/}"
    chown 65532:65532 "$work/data-${role//[^a-z0-9]/}"
  done
  start_containers
  number=$(buy)
  [[ $number == '{"data":{"order_number":0}}' ]]
  end_containers
  start_containers
  curl -fsS "http://127.0.0.1:${ports[0]}/orders/0" | grep -qF '"name":"Tux","quantity":2'
  [[ $(stat -c %u "$work/data-catalog/catalog.db") == 65532 ]]
  end_containers
}

start_containers() {
  local index role
  for index in "${!ROLES[@]}"; do
    role=${ROLES[index]}
    # shellcheck disable=SC2086 # a role is a verb and its options
    buildah run --isolation chroot -v "$work/data-${role//[^a-z0-9]/}:/data" \
      -v "$work/roles.toml:/roles.toml:ro" "${containers[-5 + index]}" \
      -- /toystore $role --config /roles.toml >>"$work/${role//[^a-z0-9]/}.log" 2>&1 &
    processes+=($!)
  done
  await_ready
}

end_containers() {
  local process role
  # buildah passes no signal on to what it runs; a pid file names the process.
  for role in "$work"/data-*/*.pid; do kill -TERM "$(<"$role")"; done
  for process in "${processes[@]}"; do wait "$process"; done
  processes=()
}

await_ready() {
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    ! curl -fsS "http://127.0.0.1:${ports[0]}/readyz" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  tail -n 5 -- "$work"/*.log
  return 1
}

buy() { curl -fsS -d '{"name":"Tux","quantity":2}' "http://127.0.0.1:${ports[0]}/orders"; }

# --- what they need -------------------------------------------------------------------------------

write_storage() {
  printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' \
    "$work/graph" "$work/runtime" >"$CONTAINERS_STORAGE_CONF"
}

write_roles() {
  "$tools/bin/python" "$here/test_compose.py" "$here/compose.yaml" "$work/compose.toml" >/dev/null
  sed -e "s/frontend:8080/127.0.0.1:${ports[0]}/" -e "s/catalog:8081/127.0.0.1:${ports[1]}/" \
    -e "s/order-1:8091/127.0.0.1:${ports[2]}/" -e "s/order-2:8092/127.0.0.1:${ports[3]}/" \
    -e "s/order-3:8093/127.0.0.1:${ports[4]}/" "$work/compose.toml" >"$work/roles.toml"
  chmod 644 "$work/roles.toml"
}

clean_up() {
  local file
  for file in "$work"/data-*/*.pid; do
    [[ ! -e $file ]] || kill -KILL "$(<"$file")" 2>/dev/null || true
  done
  if [[ -e $CONTAINERS_STORAGE_CONF ]]; then
    buildah rm --all >/dev/null 2>&1 || true
    buildah rmi --all --force >/dev/null 2>&1 || true
  fi
  rm -rf -- "$work"
}

main
