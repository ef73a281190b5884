//! What scenarios and benchmarks share. The scenarios themselves are in `tests/all`, the benchmark's program in `bin/bench.rs`.

pub mod bench;
