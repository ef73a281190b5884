//! The directory's state as a Merkle map: for each object what was said about it last, and in which order everything
//! before. A `state` statement commits to its root, so that anyone can be shown that nothing newer was said about an
//! object, and start from a snapshot without trusting whoever gave it.
//!
//! For each object a chain c₀ = 32 zero bytes, cₙ = SHA-256(cₙ₋₁ ‖ index of the n-th statement about it as 8 bytes,
//! big-endian ‖ digest of that statement). Objects fall into 65,536 buckets by the first two bytes of SHA-256(object), and
//! are sorted by their bytes within one. A bucket's root is the RFC 6962 root over its leaves `object NUL cₙ`; the map's
//! root is the RFC 6962 root over the 65,536 bucket roots.
//!
//! A change costs its bucket alone: roots of buckets, and of 256 buckets together, are kept until something in them
//! changes. Copies share what they have in common, so that a view can be copied while it grows. Out of scope: what a
//! statement says, and proofs that nothing was ever said about an object.

mod bucket;

use std::sync::{Arc, LazyLock, OnceLock};

use proto::exchange::v1::StateProof;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

use super::model::Place;
use crate::{
    ids::Digest,
    log::{
        hash::{Hash, empty_root, leaf_hash, node_hash},
        proof::{ProofError, inclusion_root, verify_inclusion},
    },
};

/// How many buckets there are. They never become more: a bucket of a directory of a million objects has about 15.
pub const BUCKETS: u64 = 65_536;

/// How many buckets share one kept root.
const IN_A_GROUP: usize = 256;

/// The place in an object's chain: what everything said about it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(Hash);

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Hash::try_from(<&[u8]>::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

impl Chain {
    /// Before anything was said.
    pub const START: Self = Self(Hash::from_bytes([0; 32]));

    /// After one more statement.
    #[must_use]
    pub fn followed_by(self, place: &Place) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0.as_bytes());
        hash.update(place.index.to_be_bytes());
        hash.update(place.digest.as_bytes());
        Self(Hash::from_bytes(hash.finalize().into()))
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// What was said about one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    object: &'a str,
    last: Place,
    before: Chain,
}

impl<'a> Said<'a> {
    pub(super) fn new(object: &'a str, last: Place, before: Chain) -> Self {
        Self { object, last, before }
    }

    /// The object.
    pub fn object(&self) -> &'a str {
        self.object
    }

    /// The last statement about it.
    pub fn last(&self) -> Place {
        self.last
    }

    /// The chain before the last statement.
    pub fn before(&self) -> Chain {
        self.before
    }

    /// The chain with the last statement.
    pub fn chain(&self) -> Chain {
        self.before.followed_by(&self.last)
    }

    fn leaf(&self) -> Hash {
        leaf(self.object, self.chain())
    }
}

/// What was said last about every object. Clones share what they have in common.
#[derive(Clone, Debug, Default)]
pub struct StateMap {
    /// None, or as many as there are groups.
    groups: Vec<Option<Arc<Group>>>,
    objects: u64,
}

#[derive(Clone, Debug)]
struct Group {
    buckets: Vec<Option<Arc<Bucket>>>,
    root: OnceLock<Hash>,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    said: bucket::Packed,
    root: OnceLock<Hash>,
}

impl StateMap {
    /// Nothing was said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many objects there are.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// What was said about an object.
    pub fn get(&self, object: &str) -> Option<Said<'_>> {
        self.bucket(number(object))?.said.get(object)
    }

    /// Everything, in the order of the map.
    pub fn iter(&self) -> impl Iterator<Item = Said<'_>> {
        let groups = self.groups.iter().flatten();
        groups.flat_map(|group| group.buckets.iter().flatten()).flat_map(|bucket| bucket.said.iter())
    }

    /// The buckets that have anything, as they are packed, for whoever writes them down.
    pub(super) fn packed(&self) -> impl Iterator<Item = &[u8]> {
        let groups = self.groups.iter().flatten();
        groups.flat_map(|group| group.buckets.iter().flatten()).map(|bucket| bucket.said.as_bytes())
    }

    /// Puts down a bucket as it was packed; `false`, and nothing changed, where it is none.
    pub(super) fn put_packed(&mut self, bytes: &[u8]) -> bool {
        let Some(said) = bucket::Packed::read(bytes) else { return false };
        let Some(number) = said.iter().next().map(|first| number(first.object)) else { return false };
        if said.iter().any(|other| self::number(other.object) != number) {
            return false;
        }
        let (before, after) = (self.bucket(number).map_or(0, |bucket| bucket.said.iter().count()), said.iter().count());
        self.objects = self.objects - before as u64 + after as u64;
        self.bucket_to_change(number).said = said;
        true
    }

    /// Another statement about the object: now the last.
    pub fn say(&mut self, object: &str, place: Place) {
        let bucket = self.bucket_to_change(number(object));
        let before = bucket.said.get(object).map(|said| said.chain());
        bucket.said.put(Said { object, last: place, before: before.unwrap_or(Chain::START) });
        self.objects += u64::from(before.is_none());
    }

    /// Puts down what was said about an object as it was once, in place of what is known; for whoever goes back to an
    /// earlier state.
    pub(super) fn restore(&mut self, said: Said<'_>) {
        let is_new = self.bucket_to_change(number(said.object)).said.put(said);
        self.objects += u64::from(is_new);
    }

    /// Forgets an object; as [`StateMap::restore`].
    pub(super) fn forget(&mut self, object: &str) {
        let was_there = self.bucket_to_change(number(object)).said.remove(object);
        self.objects -= u64::from(was_there);
    }

    /// The objects about which something else was said last than in an earlier state, with what was said last then. What
    /// both have in common is passed over at once.
    pub(super) fn changed_since<'a>(&'a self, earlier: &'a Self) -> Vec<(&'a str, Option<Said<'a>>)> {
        let mut changed = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            let before = earlier.groups.get(number).and_then(Option::as_ref);
            let (Some(group), false) =
                (group, matches!((group, before), (Some(one), Some(other)) if Arc::ptr_eq(one, other)))
            else {
                continue;
            };
            for (number, bucket) in group.buckets.iter().enumerate() {
                let before = before.and_then(|before| before.buckets[number].as_ref());
                let Some(bucket) = bucket else { continue };
                if before.is_some_and(|before| Arc::ptr_eq(before, bucket)) {
                    continue;
                }
                for said in bucket.said.iter() {
                    let then = before.and_then(|before| before.said.get(said.object));
                    if then != Some(said) {
                        changed.push((said.object, then));
                    }
                }
            }
        }
        changed
    }

    fn bucket_to_change(&mut self, number: u16) -> &mut Bucket {
        let (group, bucket) = split(number);
        if self.groups.is_empty() {
            self.groups.resize(IN_A_GROUP, None);
        }
        let group = Arc::make_mut(self.groups[group].get_or_insert_with(Arc::default));
        group.root = OnceLock::new();
        let bucket = Arc::make_mut(group.buckets[bucket].get_or_insert_with(Arc::default));
        bucket.root = OnceLock::new();
        bucket
    }

    /// The map's root. Computes what has changed since it was last asked for.
    pub fn root(&self) -> Hash {
        fold_perfect(self.group_roots())
    }

    /// What shows that the last statement about the object is the last one: to be checked with [`verify`] against
    /// [`StateMap::root`]. `None` where nothing was said about it.
    pub fn prove(&self, object: &str) -> Option<StateProof> {
        let number = number(object);
        let bucket = self.bucket(number)?;
        let (position, said) = bucket.said.iter().enumerate().find(|(_, said)| said.object == object)?;
        let leaves: Vec<Hash> = bucket.said.iter().map(|said| said.leaf()).collect();
        let (group, place) = split(number);
        let in_group = self.groups.get(group)?.as_ref()?.leaves();
        let mut map_path = perfect_path(in_group, place);
        map_path.extend(perfect_path(self.group_roots(), group));
        Some(StateProof {
            object: object.to_owned(),
            last_statement: said.last.digest.as_bytes().to_vec(),
            index: said.last.index,
            chain_before: said.before.as_bytes().to_vec(),
            bucket_position: position as u64,
            bucket_size: leaves.len() as u64,
            bucket_path: bytes_of(&path(&leaves, position)),
            map_path: bytes_of(&map_path),
        })
    }

    fn bucket(&self, number: u16) -> Option<&Bucket> {
        let (group, bucket) = split(number);
        self.groups.get(group)?.as_ref()?.buckets[bucket].as_deref()
    }

    fn group_roots(&self) -> Vec<Hash> {
        match self.groups.is_empty() {
            true => vec![*EMPTY_GROUP; IN_A_GROUP],
            false => {
                self.groups.iter().map(|group| group.as_ref().map_or(*EMPTY_GROUP, |group| group.root())).collect()
            }
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self { buckets: vec![None; IN_A_GROUP], root: OnceLock::new() }
    }
}

impl Group {
    /// The leaves of the map's tree that its buckets are.
    fn leaves(&self) -> Vec<Hash> {
        let root = |bucket: &Option<Arc<Bucket>>| bucket.as_ref().map_or(*EMPTY_BUCKET, |bucket| bucket.leaf());
        self.buckets.iter().map(root).collect()
    }

    fn root(&self) -> Hash {
        *self.root.get_or_init(|| fold_perfect(self.leaves()))
    }
}

impl Bucket {
    /// The leaf of the map's tree that this bucket is.
    fn leaf(&self) -> Hash {
        let root = || root(&self.said.iter().map(|said| said.leaf()).collect::<Vec<_>>());
        *self.root.get_or_init(|| leaf_hash(root().as_bytes()))
    }
}

/// Why a proof does not show what was said last.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field has not the bytes it must have.
    #[error("a hash of the proof is not 32 bytes")]
    Malformed,
    /// The hashes do not lead from the object to its bucket's root or from there to the map's.
    #[error("it does not lead to the state's root: {0}")]
    Proof(#[from] ProofError),
}

/// Checks a proof against the root of a `state` statement: the last statement about the proof's object, and the chain
/// before it. Nothing is believed of where the proof comes from.
///
/// # Errors
///
/// [`Error`]: it shows nothing.
pub fn verify(proof: &StateProof, root: &Hash) -> Result<(Place, Chain), Error> {
    let hash = |bytes: &[u8]| Hash::try_from(bytes).map_err(|_| Error::Malformed);
    let hashes = |path: &[Vec<u8>]| path.iter().map(|bytes| hash(bytes)).collect::<Result<Vec<_>, _>>();
    let digest = Digest::new(hash(&proof.last_statement)?.to_bytes());
    let place = Place { index: proof.index, digest };
    let before = Chain(hash(&proof.chain_before)?);
    let leaf = leaf(&proof.object, before.followed_by(&place));
    let bucket = inclusion_root(&leaf, proof.bucket_position, proof.bucket_size, &hashes(&proof.bucket_path)?)?;
    let number = u64::from(number(&proof.object));
    verify_inclusion(&leaf_hash(bucket.as_bytes()), number, BUCKETS, &hashes(&proof.map_path)?, root)?;
    Ok((place, before))
}

/// The bucket that an object falls into.
fn number(object: &str) -> u16 {
    let digest: [u8; 32] = Sha256::digest(object.as_bytes()).into();
    u16::from_be_bytes([digest[0], digest[1]])
}

fn split(number: u16) -> (usize, usize) {
    let [group, bucket] = number.to_be_bytes();
    (usize::from(group), usize::from(bucket))
}

fn leaf(object: &str, chain: Chain) -> Hash {
    let mut bytes = Vec::with_capacity(object.len() + 33);
    bytes.extend_from_slice(object.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(chain.as_bytes());
    leaf_hash(&bytes)
}

/// The RFC 6962 root over leaf hashes.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(largest_power_of_two_below(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The RFC 6962 inclusion path of one of the leaves, from its sibling up.
fn path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let middle = largest_power_of_two_below(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut hashes, other) = match index < middle {
        true => (path(left, index), root(right)),
        false => (path(right, index - middle), root(left)),
    };
    hashes.push(other);
    hashes
}

/// For two leaves or more.
fn largest_power_of_two_below(count: usize) -> usize {
    1 << (usize::BITS - 1 - (count - 1).leading_zeros())
}

/// The root over leaves whose number is a power of two.
fn fold_perfect(mut hashes: Vec<Hash>) -> Hash {
    while hashes.len() > 1 {
        hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    hashes.first().copied().unwrap_or_else(empty_root)
}

/// The path in a tree whose number of leaves is a power of two.
fn perfect_path(mut hashes: Vec<Hash>, mut index: usize) -> Vec<Hash> {
    let mut path = Vec::new();
    while hashes.len() > 1 {
        path.push(hashes[index ^ 1]);
        index >>= 1;
        hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    path
}

fn bytes_of(hashes: &[Hash]) -> Vec<Vec<u8>> {
    hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect()
}

/// The leaf of a bucket without objects.
static EMPTY_BUCKET: LazyLock<Hash> = LazyLock::new(|| leaf_hash(empty_root().as_bytes()));
/// The root of a group without objects.
static EMPTY_GROUP: LazyLock<Hash> = LazyLock::new(|| fold_perfect(vec![*EMPTY_BUCKET; IN_A_GROUP]));

#[cfg(test)]
mod tests;
