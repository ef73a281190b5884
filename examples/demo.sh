#!/bin/sh
# Builds the programs in release mode and runs the demo town. Options go to the demo: --help shows them.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
if ! command -v cargo >/dev/null 2>&1; then
    echo "demo.sh: this needs Rust (cargo): https://rustup.rs" >&2
    exit 1
fi

echo "Building registry, exchange-node and demo in release mode (the first time takes some minutes) ..." >&2
# From the root: that is where cargo looks for .cargo/config.toml.
(cd "$root" && cargo build --quiet --release --locked --workspace --bins)

programs=${CARGO_TARGET_DIR:-$root/target}/release
ERRAND_PROGRAMS=$programs exec "$programs/demo" "$@"
