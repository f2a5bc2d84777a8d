# shellcheck shell=bash
# Gets what a build needs: Rust, and a C compiler for SQLite. run.sh and tests/run.sh source this.
# It says what it installs, and what a person has to type where it may not install.

# The root of the project, and the script that a person started.
repo=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
script=${0##*/}

complain() { printf '%s: %s\n' "$script" "$*" >&2; }

fail() { # MESSAGE [STATUS]
  complain "$1"
  exit "${2:-1}"
}

set_up() {
  local version
  [[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$PATH:$HOME/.cargo/bin
  version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repo/Cargo.toml")
  has_rust "$version" || get_rust "$version" ||
    fail "Rust $version or newer is missing; get it with: $(rust_command)"
  command -v cc >/dev/null || { install_packages build-essential && command -v cc >/dev/null; } ||
    fail 'a C compiler is missing; get it with: sudo apt-get install -y build-essential'
}

has_rust() { # VERSION
  local found
  found=$({ cargo --version && rustc --version; } 2>/dev/null | awk 'NR == 2 { print $2 }') &&
    [[ -n $found && $(printf '%s\n' "$1" "$found" | sort -V | head -n 1) == "$1" ]]
}

# Leaves rustup itself and a person's default toolchain alone: `stable` is for this build, unless
# there is no default.
get_rust() { # VERSION
  command -v rustup >/dev/null || install_packages rustup ca-certificates || return 1
  RUSTUP_TOOLCHAIN=stable has_rust "$1" || {
    complain "installing Rust's stable toolchain: rustup toolchain install stable"
    rustup toolchain install stable --profile minimal --no-self-update >&2 || return 1
  }
  rustup default >/dev/null 2>&1 || rustup default stable >&2 || return 1
  export RUSTUP_TOOLCHAIN=stable
  has_rust "$1"
}

rust_command() {
  if command -v rustup >/dev/null; then
    printf 'rustup toolchain install stable && rustup default stable'
  else
    printf "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  fi
}

# Installs Debian packages, as root or with a sudo that asks for no password. Removes none, and has
# none start a service: this machine may use the port for something else.
install_packages() { # PACKAGE...
  local as_root=() policy=/usr/sbin/policy-rc.d is_ours=false status=0
  ((EUID == 0)) || as_root=(sudo -n)
  command -v apt-get >/dev/null && { ((EUID == 0)) || sudo -n true 2>/dev/null; } || return 1
  complain "installing: apt-get install -y $*"
  "${as_root[@]}" apt-get update -q </dev/null >&2 || true
  if [[ ! -e $policy ]]; then
    is_ours=true
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod +x "$policy"
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-remove --no-install-recommends "$@" </dev/null >&2 || status=$?
  [[ $is_ours == false ]] || "${as_root[@]}" rm -f -- "$policy"
  return "$status"
}
