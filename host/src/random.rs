//! Randomness, as something that is handed in.
//!
//! Keys, salts, nonces and request ids take a [`Random`]; `main` makes the only [`SystemRandom`]. Out of scope: the
//! randomness inside a TLS handshake, which the TLS library draws itself.

use std::sync::Mutex;

use aws_lc_rs::digest;

/// A source of random bytes.
pub trait Random: Send + Sync {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// `N` random bytes.
pub fn array<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// A number below `bound`, without bias worth speaking of; 0 when `bound` is 0.
pub fn below(random: &dyn Random, bound: u64) -> u64 {
    let number = u128::from_le_bytes(array(random));
    // 128 bits reduced to 64: the bias is at most 2^-64.
    u64::try_from(number % u128::from(bound.max(1))).unwrap_or(0)
}

/// The operating system's randomness, fit for keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for randomness")]
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            // A key or nonce drawn from anything else would be worse than no program: end at once, in every thread.
            eprintln!(
                "The operating system gives no random numbers ({error}); without them nothing here is safe. Stopping."
            );
            std::process::abort();
        }
    }
}

/// Bytes that follow from a seed alone, for tests and for made-up towns. **Never for keys that guard anything.**
#[derive(Debug)]
pub struct SeededRandom {
    seed: [u8; 32],
    counter: Mutex<u64>,
}

impl SeededRandom {
    /// A source whose bytes follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self { seed: bytes, counter: Mutex::new(0) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut counter = self.counter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in bytes.chunks_mut(32) {
            let mut block = digest::Context::new(&digest::SHA256);
            block.update(&self.seed);
            block.update(&counter.to_be_bytes());
            *counter += 1;
            chunk.copy_from_slice(&block.finish().as_ref()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_gives_other_bytes_each_time() {
        let first: [u8; 32] = array(&SystemRandom);
        let second: [u8; 32] = array(&SystemRandom);
        assert_ne!(first, second);
        assert_ne!(first, [0; 32]);
    }

    #[test]
    fn a_seed_repeats_itself_and_differs_from_another() {
        let draw = |seed| -> ([u8; 40], [u8; 40]) {
            let random = SeededRandom::new(seed);
            (array(&random), array(&random))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(7).0, draw(7).1);
    }

    #[test]
    fn below_stays_below_and_reaches_every_number() {
        let random = SeededRandom::new(1);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[usize::try_from(below(&random, 5)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(below(&random, 0), 0);
    }
}
