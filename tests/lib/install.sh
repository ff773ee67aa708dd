# install.sh - finds and installs what building, testing and the demo need; sourced by ./check and ./demo.
#
# On Debian and its descendants the missing packages are installed with apt-get, as root or through sudo.
# Elsewhere (or without the right to install) it says which programs and libraries are missing.
# shellcheck shell=bash

# What each purpose needs, in Debian's names.
PGS_PACKAGES_BUILD="autoconf automake pkg-config gcc make libc6-dev libevent-dev libssl-dev libpq-dev libinih-dev uthash-dev libc-ares-dev libidn-dev libldap-dev libpam0g-dev libsqlite3-dev libsystemd-dev"
PGS_PACKAGES_POSTGRES="postgresql postgresql-contrib postgresql-client"
PGS_PACKAGES_TEST="clang clang-format llvm libcmocka-dev openssl python3 python3-pytest python3-pytest-timeout python3-pytest-xdist python3-psycopg python3-psycopg2 python3-asyncpg python3-sqlalchemy python3-prometheus-client python3-configargparse check-postgres iproute2 procps strace mandoc xz-utils git"

# Drivers: a run whose driver is missing is skipped.
PGS_PACKAGES_DRIVERS="python3-django libpostgresql-jdbc-java php-cli php-pgsql ruby-pg ruby-activerecord libdbd-pg-perl"

PGS_PACKAGES_IMAGE="buildah debootstrap docker-compose python3-venv util-linux"

pgs_say() { printf '%s\n' "$*" >&2; }

# pgs_as_root COMMAND...: as it is for root, through sudo for others.
pgs_as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

pgs_is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The sanitizer and fuzzer run time of clang has a package of its own, with the version in its name, since clang 14.
pgs_clang_runtime() {
  local version
  version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9][0-9]*\)$/\1/p' | head -n 1)
  [ -n "$version" ] || return 0
  if apt-cache show "libclang-rt-$version-dev" >/dev/null 2>&1; then echo "libclang-rt-$version-dev"; fi
}

# Install PostgreSQL's packages without letting them create (and start) a cluster on port 5432 that nobody asked for.
# The setting is put back afterwards, also after Ctrl-C: only this installation is concerned.
pgs_install_postgres() (
  conf=/etc/postgresql-common/createcluster.conf
  pgs_apt_get install -y --no-install-recommends postgresql-common || exit
  saved=$(mktemp)
  cp "$conf" "$saved" 2>/dev/null || true
  trap 'pgs_as_root cp "$saved" "$conf"; rm -f "$saved"' EXIT
  trap 'exit 130' INT TERM
  echo 'create_main_cluster = false' | pgs_as_root tee -a "$conf" >/dev/null
  pgs_apt_get install -y --no-install-recommends "$@"
)

# What apt-get says goes to $PGS_INSTALL_LOG, or to stderr.
pgs_apt_get() {
  pgs_as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@" </dev/null >>"${PGS_INSTALL_LOG:-/dev/stderr}" 2>&1
}

# pgs_install PURPOSE...: build, postgres, test, image. Returns 1 when something is missing and cannot be installed.
pgs_install() {
  local purpose package wanted="" missing="" unknown="" postgres=""
  for purpose in "$@"; do
    case $purpose in
      build) wanted="$wanted $PGS_PACKAGES_BUILD" ;;
      postgres) wanted="$wanted $PGS_PACKAGES_POSTGRES" ;;
      test) wanted="$wanted $PGS_PACKAGES_TEST" ;;
      image) wanted="$wanted $PGS_PACKAGES_IMAGE" ;;
      *) pgs_say "pgs_install: no such purpose: $purpose"; return 2 ;;
    esac
  done
  if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
    pgs_check_by_hand "$@"
    return
  fi
  case " $* " in *" test "*) wanted="$wanted $(pgs_clang_runtime)" ;; esac
  for package in $wanted; do
    pgs_is_installed "$package" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null 2>&1; then
    pgs_say "These packages are missing, and neither root nor sudo is at hand. Install them with:"
    pgs_say "  apt-get install$missing"
    return 1
  fi
  pgs_say "installing (some minutes${PGS_INSTALL_LOG:+; log: $PGS_INSTALL_LOG}):$missing"
  [ -z "${PGS_INSTALL_LOG:-}" ] || : >"$PGS_INSTALL_LOG"
  pgs_apt_get update || pgs_say "apt-get update failed; trying with the package lists that are there"
  wanted=$missing
  missing=""
  case " $* " in *" test "*)
    package=$(pgs_clang_runtime)
    if [ -n "$package" ] && ! pgs_is_installed "$package"; then wanted="$wanted $package"; fi ;;
  esac
  for package in $wanted; do
    if ! apt-cache show "$package" >/dev/null 2>&1; then
      unknown="$unknown $package"
    elif [[ $package == postgresql* ]]; then
      postgres="$postgres $package"
    else
      missing="$missing $package"
    fi
  done
  [ -z "$unknown" ] || pgs_say "this release has no package named:$unknown (going on without)"
  # shellcheck disable=SC2086  # lists of words
  if { [ -n "$postgres" ] && ! pgs_install_postgres $postgres; } ||
    { [ -n "$missing" ] && ! pgs_apt_get install -y --no-install-recommends $missing; }; then
    [ -z "${PGS_INSTALL_LOG:-}" ] || tail -n 20 "$PGS_INSTALL_LOG" >&2
    pgs_say "the packages could not be installed"
    return 1
  fi
}

# pgs_install_drivers [all]: the drivers' packages, and the programs that run and (with "all", from their registries) fetch
# drivers, unless another package has brought these programs. All at once; if that fails, one by one: none is indispensable.
pgs_install_drivers() {
  local wanted=$PGS_PACKAGES_DRIVERS package missing="" failed="" pair
  command -v apt-get >/dev/null 2>&1 && command -v dpkg-query >/dev/null 2>&1 || return 0
  for pair in node:nodejs javac:default-jdk-headless npm:npm ${1:+mvn:maven go:golang-go cargo:cargo}; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || wanted="$wanted ${pair#*:}"
  done
  if [ -n "${1:-}" ]; then wanted="$wanted python3-venv"; fi
  for package in $wanted; do
    pgs_is_installed "$package" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null 2>&1; then
    pgs_say "without the right to install them, the tests of these drivers are skipped:$missing"
    return 0
  fi
  pgs_say "installing drivers:$missing"
  pgs_apt_get update || true
  # shellcheck disable=SC2086  # a list
  pgs_apt_get install -y --no-install-recommends $missing && return 0
  for package in $missing; do
    pgs_apt_get install -y --no-install-recommends "$package" || failed="$failed $package"
  done
  [ -z "$failed" ] || pgs_say "these could not be installed, and what needs them is skipped:$failed"
}

# pgs_fetch_prometheus DIR: Debian's prometheus and promtool in DIR/usr/bin, unpacked and not installed, as installing
# would start a service. Without it the tests that need it are skipped.
pgs_fetch_prometheus() {
  local dir=$1
  [ ! -x "$dir/usr/bin/promtool" ] || return 0
  if command -v promtool >/dev/null 2>&1 && command -v prometheus >/dev/null 2>&1; then return 0; fi
  command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 0
  mkdir -p "$dir"
  (cd "$dir" && apt-get -q download prometheus && dpkg-deb -x prometheus_*.deb . && rm -f prometheus_*.deb) \
    >>"${PGS_INSTALL_LOG:-/dev/stderr}" 2>&1 || pgs_say "prometheus could not be fetched: its tests will be skipped"
}

# pgs_fetch_slapd DIR: Debian's slapd in DIR/usr/sbin, with the libraries that it needs in DIR/usr/lib, for the same reason.
pgs_fetch_slapd() {
  local dir=$1 libraries
  [ ! -x "$dir/usr/sbin/slapd" ] || return 0
  [ ! -x /usr/sbin/slapd ] || return 0
  command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 0
  libraries=$(apt-cache depends slapd 2>/dev/null | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p')
  mkdir -p "$dir"
  # shellcheck disable=SC2086  # a list
  (cd "$dir" && apt-get -q download slapd $libraries && for deb in ./*.deb; do dpkg-deb -x "$deb" . || exit; done && rm -f ./*.deb) \
    >>"${PGS_INSTALL_LOG:-/dev/stderr}" 2>&1 || pgs_say "slapd could not be fetched: its tests will be skipped"
}

# Systems without apt-get: look for what counts, and name what is missing.
pgs_check_by_hand() {
  local program library missing=""
  for program in autoconf automake pkg-config gcc make; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
  done
  for library in libevent openssl libpq inih; do
    pkg-config --exists "$library" 2>/dev/null || missing="$missing $library(headers)"
  done
  case " $* " in *" postgres "*) pgs_postgres_bin >/dev/null || missing="$missing postgresql(server,contrib)" ;; esac
  case " $* " in *" test "*)
    for program in clang clang-format; do
      command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    pkg-config --exists cmocka 2>/dev/null || missing="$missing cmocka(headers)"
    "$(pgs_python)" -c 'import pytest, psycopg' 2>/dev/null || missing="$missing python3:pytest,psycopg" ;;
  esac
  [ -z "$missing" ] && return 0
  pgs_say "This system has no apt-get, so install these first, by its own package manager:"
  pgs_say " $missing"
  return 1
}

# The directory of PostgreSQL's server programs (initdb, postgres): PGSLUICE_PG_BIN, or the newest one found.
pgs_postgres_bin() {
  local dir
  for dir in "${PGSLUICE_PG_BIN:-}" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5,5nr) \
    "$(pg_config --bindir 2>/dev/null)" /usr/pgsql-*/bin /usr/local/pgsql/bin; do
    if [ -n "$dir" ] && [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
      echo "$dir"
      return 0
    fi
  done
  return 1
}

# The interpreter that sees the distribution's pytest and psycopg, which another python first in PATH would not.
pgs_python() {
  local python
  for python in "${PYTHON:-}" /usr/bin/python3 python3; do
    if [ -n "$python" ] && "$python" -c 'import pytest, psycopg' >/dev/null 2>&1; then
      echo "$python"
      return 0
    fi
  done
  echo "${PYTHON:-python3}"
}

# The user for PostgreSQL and for the pooler where the caller is root, as both refuse to run as root.
pgs_plain_user() {
  if [ "$(id -u)" != 0 ]; then id -un; elif id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

# pgs_as_plain_user COMMAND...: as pgs_plain_user, without a login shell.
pgs_as_plain_user() {
  if [ "$(id -u)" != 0 ]; then "$@"; return; fi
  setpriv --reuid "$(pgs_plain_user)" --regid "$(id -g "$(pgs_plain_user)")" --clear-groups -- "$@"
}
