//! A Bloom filter over keyed hashes: says of most that are not in a run that they are not, without reading it. Out of
//! scope: what is in the run.

use super::About;

/// At most so many bytes, however many charges a run has; above 3 million it says "maybe" more often.
const LARGEST: usize = 4 * 1024 * 1024;

/// How many bits stand for one hash.
const BITS: usize = 5;

#[derive(Debug)]
pub(super) struct Bloom(Vec<u8>);

impl Bloom {
    /// Room for so many.
    pub(super) fn for_count(count: u64) -> Self {
        let bytes = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(10) / 8 + 8;
        Self(vec![0; bytes.min(LARGEST)])
    }

    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn add(&mut self, about: &About) {
        for bit in Self::bits(about, self.0.len()) {
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    pub(super) fn may_have(&self, about: &About) -> bool {
        !self.0.is_empty() && Self::bits(about, self.0.len()).all(|bit| self.0[bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// The hash is keyed and uniform: two halves of it make as many bits as are wanted.
    fn bits(about: &About, bytes: usize) -> impl Iterator<Item = usize> {
        let (first, second) = about.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let (first, second) = (number(first), number(second) | 1);
        let bits = (bytes as u64).saturating_mul(8).max(1);
        (0..BITS as u64).map(move |nth| {
            // Below the number of bits, which is far below what a usize holds.
            (first.wrapping_add(second.wrapping_mul(nth)) % bits) as usize
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(number: u64) -> About {
        let mut about = [0; 16];
        about[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        about[8..].copy_from_slice(&number.wrapping_mul(0xC2B2_AE3D_27D4_EB4F).to_be_bytes());
        about
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let mut bloom = Bloom::for_count(1000);
        (0..1000).for_each(|number| bloom.add(&about(number)));
        assert!((0..1000).all(|number| bloom.may_have(&about(number))));
        let wrong = (1000..11_000).filter(|number| bloom.may_have(&about(*number))).count();
        assert!(wrong < 500, "{wrong} of 10,000");
        assert!(!Bloom::from_bytes(Vec::new()).may_have(&about(1)));
    }
}
