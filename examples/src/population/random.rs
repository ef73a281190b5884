//! The population's own source of chance: SplitMix64 (Steele, Lea and Flood, 2014).
//!
//! It is written out here, a dozen lines, rather than taken from a crate: the same seed must give the same town on
//! every machine and with every later release of every dependency, because tests pin digests of the town and people
//! quote its residents to each other. For the same reason the population is computed in whole numbers throughout.
//!
//! Out of scope: anything that must not be guessed. Keys and request ids never come from here.

use jiff::civil::Date;

use super::days_later;

/// A stream of numbers that looks random and is settled by its seed and topic.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The stream for one topic. Each topic has a stream of its own, so that a change to how property is handed out
    /// does not rename everybody.
    pub(super) fn new(seed: u64, topic: &str) -> Self {
        // FNV-1a spreads the topics; the first step of SplitMix64 spreads neighbouring seeds.
        let topic = topic
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut seeded = Self { state: seed };
        Self { state: seeded.next() ^ topic }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to and without `bound`; 0 where `bound` is 0. The bias of multiplying instead of rejecting is
    /// under `bound` in 2^64.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next()) * bound as u128;
        (product >> 64) as usize
    }

    /// A number from `low` to `high`, both included; `low` where `high` is less.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    /// True `per_mille` times in a thousand.
    pub(super) fn chance(&mut self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }

    /// One of `choices`, which must not be empty.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// The index of one of `weights`, chosen as often as its weight says; the last where all are 0.
    pub(super) fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut ticket = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if ticket < *weight {
                return index;
            }
            ticket -= weight;
        }
        weights.len() - 1
    }

    /// A date from `first` to `last`, both included; `first` where `last` is before it.
    pub(super) fn date_between(&mut self, first: Date, last: Date) -> Date {
        let days = i64::from((last - first).get_days());
        days_later(first, self.between(0, days))
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_stream_is_splitmix64() {
        // The reference implementation's first numbers for the seed 1234567.
        let mut random = Random { state: 1_234_567 };
        let numbers: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn choices_keep_to_their_bounds_and_weights() {
        let mut random = Random::new(1, "bounds");
        let mut seen = [0_usize; 3];
        for _ in 0..10_000 {
            assert!((-3..=3).contains(&random.between(-3, 3)));
            seen[random.weighted(&[700, 0, 300])] += 1;
        }
        assert_eq!(seen[1], 0);
        assert!((6_500..7_500).contains(&seen[0]), "{seen:?}");
        assert_eq!((random.below(0), random.between(5, 4)), (0, 5));
    }

    #[test]
    fn topics_and_seeds_have_streams_of_their_own() {
        let first = |seed, topic| Random::new(seed, topic).next();
        assert_ne!(first(1, "families"), first(1, "names"));
        assert_ne!(first(1, "families"), first(2, "families"));
        assert_eq!(first(1, "families"), first(1, "families"));
    }
}
