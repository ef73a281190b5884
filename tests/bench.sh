#!/usr/bin/env bash
# How fast the exchange is, measured beside its own limit; writes target/bench/summary.json.
# Without a section's name: questions and answers. ./tests/bench.sh --help shows the sections and what can be set.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet -p registry -p exchange-node -p tests --bins
export ERRAND_PROGRAMS="${CARGO_TARGET_DIR:-target}/release"
exec "$ERRAND_PROGRAMS/bench" "$@"
