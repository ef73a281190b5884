//! What one reader can show of the history it was told: a signed checkpoint, and that its tree begins with a given root.
//! Two strands of one log that begin differently at the same size are the proof that its owner told two stories, and need
//! nothing but the log's key to be believed.
//!
//! [`Strand::to_text`] is the body of a C2SP `tlog-witness` `add-checkpoint` request. Out of scope: where strands come
//! from, and what is done about two stories.

use super::checkpoint::{self, LogKey, VerifiedCheckpoint};
use super::hash::{Hash, node_hash};
use super::proof::{ProofError, consistency_proof, verify_consistency};
use super::tile::{TILE_WIDTH, TileSource};

/// The most hashes of a consistency proof: two for each level of the largest tree.
pub const MOST_HASHES: usize = 128;

/// A signed checkpoint, and the root of the tree that it begins with at `old_size` entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strand {
    /// The checkpoint, a signed note.
    pub checkpoint: String,
    /// How many entries the older tree has; at most as many as the checkpoint.
    pub old_size: u64,
    /// The root of the older tree.
    pub old_root: Hash,
    /// RFC 6962 consistency proof from the older tree to the checkpoint's; empty where both are one.
    pub proof: Vec<Hash>,
}

/// Why a strand shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The checkpoint is not the log's.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The proof does not lead from the older root to the checkpoint's.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl Strand {
    /// The strand of a reader that knows the leaf hashes of the whole tree which `checkpoint` covers.
    ///
    /// Where `old_size` is larger than the tree it is the tree's own size.
    pub fn of(checkpoint: &str, leaves: &Leaves, old_size: u64) -> Self {
        let size = leaves.size();
        let old_size = old_size.min(size);
        // Leaves in memory can always be read; where they could not, the strand would not verify.
        let proof = consistency_proof(leaves, old_size, size).unwrap_or_default();
        let old_root = super::proof::tree_root(leaves, old_size).unwrap_or_else(|_| super::hash::empty_root());
        Self { checkpoint: checkpoint.to_owned(), old_size, old_root, proof }
    }

    /// Verifies the checkpoint under the log's key, and that its tree begins with the older root.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn verify(&self, key: &LogKey) -> Result<VerifiedCheckpoint, Error> {
        let verified = checkpoint::open(self.checkpoint.as_bytes(), key)?;
        let newer = verified.checkpoint();
        verify_consistency(self.old_size, newer.size(), &self.old_root, &newer.root(), &self.proof)?;
        Ok(verified)
    }

    /// Whether the two strands, both of which verify, show that the log's owner signed two histories.
    ///
    /// # Errors
    ///
    /// [`Error`] where one of them does not verify.
    pub fn contradicts(&self, other: &Self, key: &LogKey) -> Result<bool, Error> {
        self.verify(key)?;
        other.verify(key)?;
        Ok(self.old_size == other.old_size && self.old_root != other.old_root)
    }

    /// As the body of a `tlog-witness` request: the older size, the proof in base64, a blank line, the signed checkpoint.
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            text.push_str(&hash.to_base64());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }
}

/// The leaf hashes of a whole tree, in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaves(Vec<Hash>);

impl Leaves {
    /// How many there are.
    pub fn size(&self) -> u64 {
        self.0.len() as u64
    }
}

impl FromIterator<Hash> for Leaves {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        Self(leaves.into_iter().collect())
    }
}

impl TileSource for Leaves {
    type Error = std::convert::Infallible;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Self::Error> {
        let first = index * u64::from(TILE_WIDTH);
        let span = 1_u64 << (8 * u32::from(level));
        let roots = (first..first + u64::from(width)).map(|position| {
            let start = usize::try_from(position * span).unwrap_or(usize::MAX).min(self.0.len());
            let end = usize::try_from((position + 1) * span).unwrap_or(usize::MAX).min(self.0.len());
            perfect_root(&self.0[start..end])
        });
        Ok(roots.collect())
    }
}

/// The root over a power of two of leaf hashes.
fn perfect_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => super::hash::empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        key::{Signer, SigningKey},
        log::{checkpoint::Checkpoint, frontier::Frontier, hash::leaf_hash},
    };

    fn signed(leaves: &Leaves) -> (String, LogKey) {
        let signer = SigningKey::from_seed(&[3; 32]);
        let key = LogKey::new("ninghe/directory".parse().unwrap(), signer.public_key().as_bytes()).unwrap();
        let mut frontier = Frontier::new();
        leaves.0.iter().for_each(|leaf| drop(frontier.append(*leaf)));
        let checkpoint = Checkpoint::new(key.origin(), frontier.size(), frontier.root()).unwrap();
        (checkpoint::sign(&checkpoint, &key, 7, |message| signer.sign(message)).unwrap(), key)
    }

    fn leaves(common: usize, own: usize, story: u8) -> Leaves {
        let common = (0..common).map(|number| leaf_hash(&number.to_be_bytes()));
        common.chain((0..own).map(|number| leaf_hash(&[&[story], number.to_be_bytes().as_slice()].concat()))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn two_stories_contradict_each_other_and_one_does_not(
            common in 0_usize..600, one in 0_usize..40, other in 0_usize..40, at in 1_usize..700,
        ) {
            let (first, second) = (leaves(common, one, 1), leaves(common, other, 2));
            prop_assume!(first.size() > 0 && second.size() > 0);
            let (first_note, key) = signed(&first);
            let (second_note, _) = signed(&second);
            let at = at.min(common + one).min(common + other) as u64;
            let (told, here) = (Strand::of(&first_note, &first, at), Strand::of(&second_note, &second, at));
            let differ = at > common as u64;
            prop_assert_eq!(told.contradicts(&here, &key), Ok(differ));
            prop_assert_eq!(told.contradicts(&told, &key), Ok(false));
        }
    }

    #[test]
    fn a_strand_that_does_not_verify_shows_nothing() {
        let (first, second) = (leaves(5, 3, 1), leaves(5, 3, 2));
        let (note, key) = signed(&first);
        let here = Strand::of(&signed(&second).0, &second, 7);
        let told = Strand::of(&note, &first, 7);
        assert_eq!(told.contradicts(&here, &key), Ok(true));
        let invented = Strand { old_root: leaf_hash(b"another"), ..told.clone() };
        assert!(matches!(invented.contradicts(&here, &key), Err(Error::Proof(_))));
        let forged = Strand { checkpoint: note.replace('8', "9"), ..told.clone() };
        assert!(matches!(forged.contradicts(&here, &key), Err(Error::Checkpoint(_))));
        let text = told.to_text();
        assert!(text.starts_with("old 7\n") && text.ends_with(&format!("\n\n{note}")), "{text}");
    }
}
