#!/usr/bin/env bash
# How fast the exchange is, measured beside its own limit; writes target/bench/summary.json.
# ./tests/bench.sh --help shows what can be set (--seconds, --rounds, --records).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet -p registry -p exchange-node -p tests --bins
export ERRAND_PROGRAMS="${CARGO_TARGET_DIR:-target}/release"
exec "$ERRAND_PROGRAMS/bench" "$@"
