#!/usr/bin/env bash
# Builds the container image: an executable that needs no libraries, and the image around it, by
# buildah or, where that is missing, by the program that IMAGE_BUILDER names (podman, docker).
#
#   container/build.sh [NAME]        (localhost/toystore)

set -euo pipefail

cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."
# shellcheck source=toolchain.sh
source ./toolchain.sh

readonly NAME=${1:-localhost/toystore}
readonly BUILDER=${IMAGE_BUILDER:-buildah}
triple=$(uname -m)-unknown-linux-gnu
target=${CARGO_TARGET_DIR:-target}
context=$(mktemp -d)
trap 'rm -rf -- "$context"' EXIT

main() {
  command -v "$BUILDER" >/dev/null ||
    fail "$BUILDER is missing; get it with: sudo apt-get install -y buildah, or name another in IMAGE_BUILDER"
  build_executable
  cp -- "$target/$triple/release/toystore" "$context/toystore"
  mkdir -- "$context/data"
  # Without isolation buildah needs no rights that a container itself lacks. (Nothing runs.)
  local options=()
  [[ $BUILDER != buildah ]] || options=(--isolation chroot)
  "$BUILDER" build "${options[@]}" -q -t "$NAME" -f container/Containerfile "$context"
}

# With a triple, the flags are not used for programs that run while it builds.
build_executable() {
  set_up
  RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --release --locked --bin toystore --target "$triple" --target-dir "$target"
}

main
