//! What a fuzzer throws bytes at: six doors through which bytes come from somebody else, each with what must hold whatever
//! comes. The fuzzer's programs are in `tests/fuzz`; the scenario `fuzz_corpora` runs the kept inputs through the same
//! functions on every run of the tests.
//!
//! Signatures are made here over what the fuzzer thinks up, so that it gets past them and to what lies behind.
//!
//! Out of scope: looking for inputs, which is cargo-fuzz's.

mod messages;
mod texts;

/// One door.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: that of its program and of the folder of its kept inputs.
    pub name: &'static str,
    /// Takes an input; panics where something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "checkpoint", run: texts::checkpoint },
    Target { name: "csv", run: texts::csv },
    Target { name: "envelope", run: messages::envelope },
    Target { name: "request", run: messages::request },
    Target { name: "service_file", run: texts::service_file },
    Target { name: "statement", run: messages::statement },
];

/// The target of that name.
///
/// # Panics
///
/// There is none.
pub fn run(name: &str, input: &[u8]) {
    // Unwrap safety: only the fuzzer's programs and the scenario call this, with a name of the list.
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target's name");
    (target.run)(input);
}

pub use self::seeds::seeds;

mod seeds;
