//! The one integration binary: scenarios on real processes, faults, interop, and rules about the code itself. Each module
//! names what it shows; each test reads like a sentence.

#[path = "all/support.rs"]
mod support;

#[path = "all/journey.rs"]
mod journey;
#[path = "all/refusals.rs"]
mod refusals;
#[path = "all/tidy.rs"]
mod tidy;
