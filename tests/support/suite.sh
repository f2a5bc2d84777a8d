# shellcheck shell=bash disable=SC2154
# What the suites that are written in Bash have in common. To be sourced, after `set -euo pipefail`,
# by a script that has set `work` to a temporary folder.
#
# A test is a function whose name is a sentence. What a missing tool leaves out is said, and with CI
# set it is a failure.

passed=0
failed=0
folder=. # where tests run

# Runs a test in a shell of its own, so that it changes no variable of the suite's.
run() { # TEST
  local status
  set +e # here, so that `set -e` counts within
  (set -e && cd -- "$folder" && "$1") >"$work/test.log" 2>&1 </dev/null
  status=$?
  set -e
  if ((status == 0)); then
    printf 'ok      %s\n' "${1//_/ }"
    passed=$((passed + 1))
    # What a test says also when it passes.
    sed -n 's/^note: /        /p' -- "$work/test.log"
  else
    printf 'FAILED  %s\n' "${1//_/ }"
    sed 's/^/    /' -- "$work/test.log"
    failed=$((failed + 1))
  fi
}

leave_out() { # WHAT REASON
  printf 'left out: %s: %s\n' "$1" "$2"
  [[ -z ${CI:-} ]] || failed=$((failed + 1))
}

# Prints the sum, in the line that tests/run.sh adds up, and fails if a test has.
sum_up() {
  printf '%s passed, %s failed\n' "$passed" "$failed"
  ((failed == 0))
}

# Makes TOOLS, a Python environment with what the file REQUIREMENTS names, unless it is there.
set_up_python() { # TOOLS REQUIREMENTS
  cmp -s -- "$2" "$1/requirements.txt" && return 0
  rm -rf -- "$1"
  # Debian has the part of Python that makes environments in a package of its own.
  if ! python3 -m venv "$1" && ! { get python3-venv && python3 -m venv "$1"; }; then
    echo 'python3-venv is missing; get it with: sudo apt-get install -y python3-venv'
    return 1
  fi
  "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2"
  cp -- "$2" "$1/requirements.txt"
}

# Installs a package of Debian's, where that is possible.
get() { # PACKAGE
  ((EUID == 0)) && command -v apt-get >/dev/null && apt-get update -q </dev/null &&
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$1" </dev/null
}

# Prints as many ports that are free, a line each.
free_ports() { # COUNT
  python3 - "$1" <<'END'
import socket
import sys

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(one.getsockname()[1] for one in sockets), sep="\n")
END
}
