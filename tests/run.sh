#!/usr/bin/env bash
# Installs what the tests need, builds everything once, and runs all tests: those of each crate, the scenarios on real
# processes, the interop checks. Ends with one line of totals.
#
#   ./tests/run.sh            all tests
#   ./tests/run.sh NAME …     only those whose names contain NAME (passed on to the test programs)
#
# ERRAND_MEANWHILE names a program that is run beside the tests (.ci/run has lints and documentation made so).
# ERRAND_TEST_PROFILE=release tests what the demo and the benchmarks run; the usual profile, dev, builds in a third of the
# time and also checks what an optimised build leaves out.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

# The Debian packages that the tests need, each with the command or file that shows it is there.
missing=()
need() { # command, package
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}
need cc gcc
need curl curl
need git git
need openssl openssl
need jq jq
need python3 python3
need mkfs.ext4 e2fsprogs
need losetup mount
need setpriv util-linux
# Debian keeps its programs off the path; the tests start a server of their own, as a plain user.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
need mariadb-install-db mariadb-server
python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)

# Records by ODBC need a driver manager to build: they are built and tested where there is one (ERRAND_ODBC=1: installed,
# ERRAND_ODBC=0: left out).
odbc=(/usr/include/sql.h /usr/lib/*/odbc/libsqlite3odbc.so)
if [ "${ERRAND_ODBC:-}" = 1 ]; then
  [ -e "${odbc[0]}" ] || missing+=(unixodbc-dev)
  [ -e "${odbc[1]}" ] || missing+=(libsqliteodbc)
elif [ -z "${ERRAND_ODBC:-}" ] && [ -e "${odbc[0]}" ] && [ -e "${odbc[1]}" ]; then
  ERRAND_ODBC=1
fi
features=()
[ "${ERRAND_ODBC:-}" != 1 ] || features=(--features exchange-node/odbc)
export ERRAND_ODBC="${ERRAND_ODBC:-0}"

if [ "${#missing[@]}" -gt 0 ]; then
  say "installing ${missing[*]}"
  if [ "$(id -u)" = 0 ]; then
    as_root=()
  elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    echo "The tests need these Debian packages. Please run, and start again:" >&2
    echo "  sudo apt-get update && sudo apt-get install --yes ${missing[*]}" >&2
    exit 1
  fi
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install --yes --no-install-recommends "${missing[@]}"
fi
command -v cargo >/dev/null || { echo "The tests need Rust: https://rustup.rs" >&2; exit 1; }

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
log=$target/tests.log
profile=${ERRAND_TEST_PROFILE:-dev}
case $profile in
  dev) programs=$target/debug ;;
  *) programs=$target/$profile ;;
esac

say "building (a few minutes the first time)"
# Beside it come the checkers in other languages, which are only downloaded.
./tests/interop/prepare.sh "$target/interop" >"$target/interop.log" 2>&1 &
preparing=$!
# Programs and tests at once: with the same features, nothing is built twice.
cargo build --profile "$profile" --locked --workspace "${features[@]}" --bins --tests

say "checkers in other languages"
prepared=0
wait "$preparing" || prepared=$?
cat "$target/interop.log"
[ "$prepared" = 0 ] || exit "$prepared"

say "testing"
ERRAND_PROGRAMS=$(cd "$programs" && pwd)
ERRAND_INTEROP=$(cd "$target/interop" && pwd)
export ERRAND_PROGRAMS ERRAND_INTEROP
# A test that cannot run here says so in this file.
ERRAND_SKIPPED=$(cd "$target" && pwd)/tests.skipped
export ERRAND_SKIPPED
: >"$ERRAND_SKIPPED"
status=0
# Tests wait for their processes for much of their time. What else is to be done (.ci/run: lints and documentation) is done
# meanwhile, at the lowest priority; its words come after theirs, and its failure counts.
: >"$log"
meanwhile=
if [ -n "${ERRAND_MEANWHILE:-}" ]; then
  (
    # Not before: until its first test runs, cargo holds the target folder.
    until grep -qE 'Running|^== tested' "$log"; do sleep 1; done
    exec nice -n 19 "$ERRAND_MEANWHILE"
  ) >"$target/meanwhile.log" 2>&1 &
  meanwhile=$!
  trap 'kill "$meanwhile" 2>/dev/null || true' EXIT
fi
cargo test --profile "$profile" --locked --workspace "${features[@]}" --no-fail-fast -- "$@" 2>&1 | tee "$log" || status=$?
if [ -n "$meanwhile" ]; then
  echo "== tested" >>"$log"
  wait "$meanwhile" || status=$?
  trap - EXIT
  cat "$target/meanwhile.log"
fi

say "result"
sort -u "$ERRAND_SKIPPED"
skipped=$(sort -u "$ERRAND_SKIPPED" | wc -l)
awk -v skipped="$skipped" '
  # A test that skips itself is counted as passed by its program.
  /^test result:/ { for (i = 2; i <= NF; i++) { if ($i == "passed;") passed += $(i-1); if ($i == "failed;") failed += $(i-1); if ($i == "ignored;") ignored += $(i-1) } }
  END { printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped + ignored }
' "$log"
exit "$status"
