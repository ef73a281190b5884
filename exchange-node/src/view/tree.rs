//! The tree over the stored directory, for proofs: hashes of whole bundles are kept once they were computed, so that a proof
//! about one statement reads that statement's bundle and the last one, and not the log. Out of scope: whether anybody
//! believes a proof; whoever gets it checks it against a checkpoint.

use trust::log::{
    frontier::Frontier,
    hash::{Hash, leaf_hash},
    proof::{BuildError, inclusion_proof, tree_root},
    tile::TileSource,
};

use super::{Error, View, stored::BUNDLE};

/// The tree of the first entries.
pub struct StoredTree<'a> {
    view: &'a View,
    /// The root of each whole bundle, in order.
    bundles: Vec<Hash>,
    size: u64,
}

impl View {
    /// The tree of the first `size` entries. Blocks: where bundles were not hashed yet, for as long as reading them takes.
    ///
    /// # Errors
    ///
    /// What is stored cannot be read.
    pub fn tree(&self, size: u64) -> Result<StoredTree<'_>, Error> {
        let whole = size / BUNDLE;
        let mut bundles = self.stored.bundle_roots(whole)?;
        let mut computed = Vec::new();
        while (bundles.len() as u64) < whole {
            let number = bundles.len() as u64;
            let root = root_of(&leaves(self, number * BUNDLE, BUNDLE)?);
            computed.push((number, root));
            bundles.push(root);
        }
        self.stored.keep_bundle_roots(&computed)?;
        Ok(StoredTree { view: self, bundles, size })
    }
}

impl StoredTree<'_> {
    /// The path from an entry to the root.
    ///
    /// # Errors
    ///
    /// The tree has no such entry, or what is stored cannot be read.
    pub fn inclusion(&self, index: u64) -> Result<Vec<Hash>, BuildError<Error>> {
        inclusion_proof(&self, index, self.size)
    }

    /// The root.
    ///
    /// # Errors
    ///
    /// What is stored cannot be read.
    pub fn root(&self) -> Result<Hash, BuildError<Error>> {
        tree_root(&self, self.size)
    }
}

impl TileSource for &StoredTree<'_> {
    type Error = Error;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Error> {
        let (first, width) = (index * BUNDLE, u64::from(width));
        match level {
            0 => leaves(self.view, first, width),
            1 => {
                let range = usize::try_from(first).ok().zip(usize::try_from(first + width).ok());
                let hashes = range.and_then(|(from, to)| self.bundles.get(from..to));
                hashes.map(<[Hash]>::to_vec).ok_or(Error::StoredGap { index: first * BUNDLE })
            }
            _ => (first..first + width).map(|below| Ok(root_of(&self.tile(level - 1, below, 256)?))).collect(),
        }
    }
}

fn leaves(view: &View, start: u64, count: u64) -> Result<Vec<Hash>, Error> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    view.entries_from(start).take(count).map(|entry| Ok(leaf_hash(&entry?))).collect()
}

/// The root over the hashes of a perfect tree, whatever they are hashes of.
fn root_of(hashes: &[Hash]) -> Hash {
    let mut tree = Frontier::new();
    hashes.iter().for_each(|hash| drop(tree.append(*hash)));
    tree.root()
}

#[cfg(test)]
mod tests {
    use trust::{
        fixture::{key, signed_checkpoint},
        log::proof::verify_inclusion,
    };

    use super::*;
    use crate::view::{stored::Batch, tests::empty_view};

    #[tokio::test]
    async fn a_proof_reads_the_statements_bundle_once_the_others_were_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let view = empty_view(dir.path()).unwrap();
        let entries: Vec<Vec<u8>> = (0..600_u32).map(|number| number.to_be_bytes().to_vec()).collect();
        let mut tree = Frontier::new();
        entries.iter().for_each(|entry| drop(tree.append(leaf_hash(entry))));
        let checkpoint = signed_checkpoint("ninghe/directory", 600, tree.root(), &key("log"));
        view.stored.append(Batch { start: 0, entries: entries.clone(), checkpoint }).await.unwrap();

        let is_proved = |index: u64| {
            let proof = view.tree(600).unwrap().inclusion(index)?;
            let leaf = leaf_hash(&entries[usize::try_from(index).unwrap()]);
            verify_inclusion(&leaf, index, 600, &proof, &tree.root()).unwrap();
            Ok::<_, BuildError<Error>>(())
        };
        for index in [0, 255, 256, 511, 512, 599] {
            is_proved(index).unwrap();
        }
        assert_eq!(view.tree(600).unwrap().root().unwrap(), tree.root());
        assert_eq!(view.tree(256).unwrap().root().unwrap(), view.stored.bundle_roots(9).unwrap()[0]);
        assert!(is_proved(600).is_err());
        // What is not read is not missed.
        view.stored.lose_bundle(0);
        for index in [300, 599] {
            is_proved(index).unwrap();
        }
        assert!(is_proved(3).is_err());
    }
}
