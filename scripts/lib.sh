# Sourced by compose/quickstart, tests/run and bench/discovery: what all of them need from the machine.
# shellcheck shell=bash

die() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  shift
  for hint; do printf '  %s\n' "$hint" >&2; done
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# need COMMAND:PACKAGE...: makes the commands available. Root on Debian installs the packages, others are told.
need() {
  local pair missing=()
  for pair; do
    have "${pair%%:*}" || missing+=("${pair##*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! have apt-get; then
    die "missing on this machine: ${missing[*]}" "on Debian: sudo apt-get install ${missing[*]}"
  fi
  echo "installing ${missing[*]}"
  # Debian starts what it installs, and nginx or haproxy would sit on port 80. Only Docker may start.
  local policy=/usr/sbin/policy-rc.d ours=
  if [ ! -e "$policy" ]; then
    ours=yes
    # shellcheck disable=SC2016 # its own first argument
    printf '#!/bin/sh\ncase "$1" in docker*|containerd*) exit 0;; esac\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  local status=0
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq ${apt_options:-} "${missing[@]}"; } \
    >/dev/null || status=$?
  [ -z "$ours" ] || rm -f "$policy"
  [ "$status" = 0 ] || die "apt-get could not install ${missing[*]}"
}

# The same without what the packages recommend.
need_lean() { apt_options=--no-install-recommends need "$@"; }

# Debian's cargo is too old, so it is never installed for the user.
need_cargo() {
  have cargo && return
  # shellcheck source=/dev/null
  [ ! -r "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
  have cargo || die "cargo is not installed" "install Rust from https://rustup.rs, then run this again"
}

# Leaves only when the engine answers; says what is wrong otherwise.
need_docker() {
  local answer
  have docker || need docker:docker.io
  answer=$(docker version --format '{{.Server.Version}}' 2>&1) && return
  case "$answer" in
    *"permission denied"*)
      die "no permission to use Docker" "add yourself to its group (sudo usermod -aG docker \$USER, then log in again), or use sudo" ;;
    *)
      # A package installed a moment ago, or a machine without systemd.
      if [ "$(id -u)" = 0 ] && [ -z "${DOCKER_HOST:-}" ] && have service && service docker start >/dev/null 2>&1; then
        for _ in $(seq 30); do
          docker version >/dev/null 2>&1 && return
          sleep 0.5
        done
      fi
      die "Docker does not answer: $(printf '%s' "$answer" | tail -n 1)" "is it running? (sudo systemctl start docker)" ;;
  esac
}

# The compose command of this machine, as words in the array `compose`.
need_compose() {
  if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
  else
    need docker-compose:docker-compose
    # shellcheck disable=SC2034 # read by the scripts that source this file
    compose=(docker-compose)
  fi
}
