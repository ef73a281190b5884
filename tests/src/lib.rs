//! What scenarios, benchmarks and the fuzzer share. The scenarios themselves are in `tests/all`, the benchmark's program in `bin/bench.rs`.

pub mod bench;
#[cfg(feature = "fuzz")]
pub mod fuzz;
