//! The fuzzer's program for one door: see `tests/src/fuzz.rs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::run("service_file", input));
