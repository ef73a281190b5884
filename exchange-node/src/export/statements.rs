//! The part of a bundle that comes from the directory: every statement about the objects relied on, in order, each with its
//! path to one checkpoint.
//!
//! The directory is read through twice: for its tree and what each statement is about, then for the statements wanted. That
//! costs a second or so in a directory of a hundred thousand statements, and nothing while nobody exports.

use std::collections::{BTreeSet, HashSet};

use prost::Message;
use proto::{
    exchange::v1::{DirectoryProof, Envelope, StateProof},
    registry::v1::{Statement, statement::Body},
};
use trust::{
    bundle,
    directory::Committed,
    envelope,
    ids::Digest,
    key::DescribedKey,
    log::{
        checkpoint::Checkpoint,
        hash::{Hash, leaf_hash, node_hash},
        note::SignedNote,
        proof::{BuildError, inclusion_proof, tree_root},
        tile::{TILE_WIDTH, TileSource},
    },
};

use super::{Entries, Error, bytes_of, digest};

/// What is relied on.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Objects: every statement about them is wanted.
    objects: HashSet<String>,
    /// Statements: every statement about their objects is wanted.
    statements: HashSet<Digest>,
    /// Single statements, wanted for themselves.
    indexes: BTreeSet<u64>,
}

impl Wanted {
    pub(super) fn object(&mut self, object: &str) {
        self.objects.insert(object.to_owned());
    }

    pub(super) fn key(&mut self, keyid: &str) {
        self.objects.insert(format!("key/{keyid}"));
    }

    pub(super) fn index(&mut self, index: Option<u64>) {
        self.indexes.extend(index);
    }

    pub(super) fn statement(&mut self, bytes: &[u8]) {
        self.statements.extend(digest(bytes));
    }
}

/// The statements wanted, with their proofs.
pub(super) struct Excerpt {
    pub(super) statements: Vec<DirectoryProof>,
    /// For each object of theirs, that they are all that was said before the last commitment to the state.
    pub(super) state: Vec<StateProof>,
}

/// What is kept of each entry while the directory is read through.
struct Heading {
    object: String,
    signers: Vec<String>,
}

impl Excerpt {
    /// Reads the directory as far as the checkpoint covers it.
    pub(super) fn read(
        entries: &Entries<'_>,
        checkpoint: &str,
        committed: Option<&Committed>,
        mut wanted: Wanted,
    ) -> Result<Self, Error> {
        let checkpoint = parse(checkpoint).ok_or(Error::NoDirectory)?;
        let size = usize::try_from(checkpoint.size()).map_err(|_| Error::DirectoryDamaged)?;
        let mut leaves = Vec::new();
        let mut headings = Vec::new();
        let mut owners = Owners::default();
        for entry in entries().take(size) {
            let entry = entry?;
            leaves.push(leaf_hash(&entry));
            headings.push(heading(&entry, &mut wanted, &mut owners));
        }
        let tree = Tiles::new(leaves);
        if headings.len() != size || tree_root(&tree, checkpoint.size()).map_err(unfit)? != checkpoint.root() {
            return Err(Error::DirectoryDamaged);
        }
        // The view may have read on since its checkpoint.
        let committed = committed.filter(|committed| committed.place().index < checkpoint.size());
        wanted.index(committed.map(|committed| committed.place().index));
        let chosen = choose(&headings, &mut wanted, &owners);
        let state = committed.map(|committed| prove(committed, &chosen, &headings)).unwrap_or_default();
        let mut statements = Vec::with_capacity(chosen.len());
        for (index, entry) in (0_u64..).zip(entries().take(size)).filter(|(index, _)| chosen.contains(index)) {
            let inclusion = inclusion_proof(&tree, index, checkpoint.size()).map_err(unfit)?;
            statements.push(DirectoryProof { entry: entry?, index, inclusion: bytes_of(&inclusion) });
        }
        Ok(Self { statements, state })
    }
}

/// How many statements a checkpoint covers; 0 for what is no checkpoint.
pub(super) fn size_of(checkpoint: &str) -> u64 {
    parse(checkpoint).map_or(0, |checkpoint| checkpoint.size())
}

fn parse(note: &str) -> Option<Checkpoint> {
    let note = SignedNote::parse(note.as_bytes()).ok()?;
    Checkpoint::parse(note.text()).ok().filter(|checkpoint| checkpoint.size() > 0)
}

fn unfit(_: BuildError<NoSuchTile>) -> Error {
    Error::DirectoryDamaged
}

/// By which object each key came into the directory: a department's first keys come with its admission.
#[derive(Default)]
struct Owners(std::collections::HashMap<String, String>);

/// What a statement is about, and who signed it; and whether it is one that is wanted by its digest.
fn heading(entry: &[u8], wanted: &mut Wanted, owners: &mut Owners) -> Heading {
    let envelope = Envelope::decode(entry).unwrap_or_default();
    let statement = Statement::decode(envelope.payload.as_slice()).unwrap_or_default();
    if !wanted.statements.is_empty()
        && wanted.statements.contains(&envelope::digest(&envelope.payload_type, &envelope.payload))
    {
        wanted.object(&statement.object);
    }
    if let Some(Body::DepartmentAdmitted(body)) = &statement.body {
        for key in [&body.first_key, &body.recovery_key].into_iter().flatten() {
            if let Ok(key) = DescribedKey::from_wire(key) {
                owners.0.insert(key.key.id().to_string(), statement.object.clone());
            }
        }
    }
    let signers = envelope.signatures.into_iter().map(|signature| signature.keyid).collect();
    Heading { object: statement.object, signers }
}

/// The indexes of the statements about the objects wanted, and about the keys that signed those, and so on.
fn choose(headings: &[Heading], wanted: &mut Wanted, owners: &Owners) -> BTreeSet<u64> {
    loop {
        let before = wanted.objects.len();
        let chosen: BTreeSet<u64> = (0..)
            .zip(headings)
            .filter(|(index, heading)| *index == 0 || wanted.objects.contains(&heading.object))
            .map(|(index, _)| index)
            // Of the commitments to the state, and of the second log as it was taken, one each is of use.
            .chain(wanted.indexes.iter().copied())
            .collect();
        for heading in (0_u64..).zip(headings).filter(|(index, _)| chosen.contains(index)).map(|(_, heading)| heading) {
            for signer in &heading.signers {
                wanted.key(signer);
                if let Some(object) = owners.0.get(signer) {
                    wanted.object(object);
                }
            }
        }
        if wanted.objects.len() == before {
            return chosen;
        }
    }
}

/// That nothing else was said about the objects of the chosen statements before the commitment.
fn prove(committed: &Committed, chosen: &BTreeSet<u64>, headings: &[Heading]) -> Vec<StateProof> {
    let before = (0_u64..).zip(headings).take_while(|(index, _)| *index < committed.place().index);
    let objects: BTreeSet<&str> = before
        .filter(|(index, heading)| chosen.contains(index) && !bundle::is_the_logs_own(&heading.object))
        .map(|(_, heading)| heading.object.as_str())
        .collect();
    objects.into_iter().filter_map(|object| committed.map().prove(object)).collect()
}

/// The directory's tree: the hashes of each level of tiles, from the leaves up.
pub(crate) struct Tiles(Vec<Vec<Hash>>);

impl Tiles {
    pub(crate) fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(above) = levels.last().filter(|level| level.len() >= usize::from(TILE_WIDTH)) {
            let full = above.chunks_exact(usize::from(TILE_WIDTH)).map(|tile| root_of(tile.to_vec())).collect();
            levels.push(full);
        }
        Self(levels)
    }
}

/// The root over a full tile.
fn root_of(mut hashes: Vec<Hash>) -> Hash {
    while hashes.len() > 1 {
        hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    hashes[0]
}

/// The tree has no such tile.
#[derive(Debug, thiserror::Error)]
#[error("there is no such tile")]
pub(crate) struct NoSuchTile;

impl TileSource for Tiles {
    type Error = NoSuchTile;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, NoSuchTile> {
        let first = index.checked_mul(u64::from(TILE_WIDTH)).and_then(|first| usize::try_from(first).ok());
        let first = first.ok_or(NoSuchTile)?;
        let hashes = self.0.get(usize::from(level)).and_then(|level| level.get(first..first + usize::from(width)));
        hashes.map(<[Hash]>::to_vec).ok_or(NoSuchTile)
    }
}

#[cfg(test)]
mod tests {
    use trust::log::{frontier::Frontier, proof::verify_inclusion};

    use super::*;

    #[test]
    fn proofs_hold_beyond_one_tile() {
        let leaves: Vec<Hash> = (0..70_000_u32).map(|number| leaf_hash(&number.to_be_bytes())).collect();
        let mut frontier = Frontier::new();
        for leaf in &leaves {
            frontier.append(*leaf);
        }
        let tree = Tiles::new(leaves.clone());
        assert_eq!(tree_root(&tree, 70_000).unwrap(), frontier.root());
        for index in [0_u64, 255, 256, 65_535, 65_536, 69_999] {
            let proof = inclusion_proof(&tree, index, 70_000).unwrap();
            let leaf = leaves[usize::try_from(index).unwrap()];
            verify_inclusion(&leaf, index, 70_000, &proof, &frontier.root()).unwrap();
        }
        assert!(tree.tile(0, 274, 1).is_err());
    }
}
