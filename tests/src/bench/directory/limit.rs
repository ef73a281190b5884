//! The limit of folding: how many signatures over messages of a statement's length one core verifies strictly in a
//! second, with the code that the programs use, and does nothing else. Runs as a process of its own on the core that is
//! measured.

use std::time::{Duration, Instant};

use anyhow::Context;
use sha2::{Digest as _, Sha256};
use trust::key::{Signer, SigningKey};

use super::running::{on_core, processor_seconds};

/// A statement has about so many bytes.
const MESSAGE_BYTES: usize = 450;

/// Verifies for so long in this process; verifications in a second of the processor's time.
pub fn verify(seconds: f64) -> anyhow::Result<f64> {
    let key = |number: usize| SigningKey::from_seed(&Sha256::digest(format!("limit {number}")).into());
    let keys: Vec<SigningKey> = (0..500).map(key).collect();
    let signed: Vec<(Vec<u8>, [u8; 64])> = (0_u32..4000)
        .map(|number| {
            let message: Vec<u8> = (0_u32..).map(|at| (number ^ at) as u8).take(MESSAGE_BYTES).collect();
            let signature = keys[number as usize % keys.len()].sign(&message);
            (message, signature)
        })
        .collect();
    let all = || {
        signed
            .iter()
            .enumerate()
            .all(|(at, (message, signature))| keys[at % keys.len()].public_key().verifies(message, signature))
    };
    // Once before, so that every key's point is known.
    assert!(all(), "a signature does not verify");
    let (started, before, mut verified) = (Instant::now(), processor_seconds("self")?, 0);
    while started.elapsed() < Duration::from_secs_f64(seconds) {
        assert!(all(), "a signature does not verify");
        verified += signed.len();
    }
    Ok(verified as f64 / (processor_seconds("self")? - before))
}

/// The same in a process on one core.
pub fn measure(core: usize, seconds: f64) -> anyhow::Result<f64> {
    let mut command = on_core(core, &std::env::current_exe()?);
    let output = command.args(["signature-limit", &seconds.to_string()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| format!("the limit said {text:?}"))
}
