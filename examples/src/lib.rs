//! The demo town: its made-up people, its departments and what they publish, and a harness that starts all of it as
//! real processes. The demo, the tests and the benchmarks share it, so that what is shown is what is tested.

pub mod demo;
pub mod harness;
pub mod population;
pub mod services;
