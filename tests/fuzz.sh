#!/usr/bin/env bash
# Fuzzes the six doors through which bytes come from somebody else (tests/src/fuzz.rs), two at a time, and keeps what
# reaches new code, as little of it as does, in tests/fuzz/corpus. Ends with 1 where something did not hold; the input is
# then in tests/fuzz/artifacts.
#
#   ./tests/fuzz.sh [SECONDS [TARGET …]]      20 minutes each, if nothing else is said
#
# Needs a nightly compiler (rustup toolchain install nightly) and cargo-fuzz (cargo install cargo-fuzz).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-1200}
shift || true
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(checkpoint csv envelope request service_file statement)

# The code forbids `unsafe`, so no address sanitizer: inputs come three times as fast.
fuzz=(cargo +nightly fuzz)
how=(--fuzz-dir tests/fuzz -s none)
cp Cargo.lock tests/fuzz/Cargo.lock
"${fuzz[@]}" build "${how[@]}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
one() { # target: fuzzes into a folder of its own, then merges into the kept one
  mkdir -p "$work/$1" "tests/fuzz/corpus/$1"
  "${fuzz[@]}" run "${how[@]}" "$1" "$work/$1" "tests/fuzz/corpus/$1" -- \
    -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 >"$work/$1.log" 2>&1 || {
      tail -n 40 "$work/$1.log" >&2; echo "$1: something does not hold" >&2; return 1; }
  # Only what adds coverage is kept: at most 64 KiB each, and the seeds stay as they are.
  "${fuzz[@]}" run "${how[@]}" "$1" "tests/fuzz/corpus/$1" "$work/$1" -- -merge=1 -max_len=65536 >"$work/$1.merge" 2>&1
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$1.log")
  echo "$1: ${runs:-?} inputs in $seconds s, none of them a finding; $(ls "tests/fuzz/corpus/$1" | wc -l) kept"
}
status=0
while [ "${#targets[@]}" -gt 0 ]; do
  pair=("${targets[@]:0:2}")
  targets=("${targets[@]:2}")
  jobs=()
  for target in "${pair[@]}"; do one "$target" & jobs+=($!); done
  for job in "${jobs[@]}"; do wait "$job" || status=1; done
done
exit "$status"
