//! Copying a ledger from one store to another, while no registry runs over either: entries, tiles, and the last checkpoint,
//! so that the log goes on where it was; so for the directory, and for each second log. Nothing is taken for done before everything was read back and led to the same root.
//! Out of scope: which stores (`store`), and pending enrolments, which go with it.

use trust::log::{
    checkpoint::Checkpoint,
    frontier::Frontier,
    hash::{Hash, leaf_hash},
    note::SignedNote,
};

use super::{Append, Error, Keep, Ledger, ReadLimit, SignedHead};

/// How much is copied at once.
const AT_ONCE: ReadLimit = ReadLimit { entries: 1000, bytes: 3 * 1024 * 1024 };

/// Why a ledger was not copied. What is in the target then is not to be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// What was read back is not what was written.
    #[error("what was copied does not read back the same at {what}: remove it and copy again")]
    Differs {
        /// Where.
        what: String,
    },
    /// There is something in the target.
    #[error("the target holds {size} entries already: nothing was changed; name an empty one")]
    InUse {
        /// How many.
        size: u64,
    },
    /// A ledger failed.
    #[error(transparent)]
    Ledger(#[from] Error),
    /// Somebody appended meanwhile.
    #[error("somebody appended to a ledger while it was copied: stop every registry over it first")]
    Moved,
    /// There is nothing to copy.
    #[error("there is nothing to copy: the source holds no statements")]
    Nothing,
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How many entries.
    pub size: u64,
    /// The root over them, the same in both.
    pub root: Hash,
}

/// Copies a ledger into an empty one, and reads everything back. `progress` hears how many statements are done, first of
/// the copy and then of the comparison.
pub async fn copy(
    from: &dyn Ledger,
    to: &dyn Ledger,
    mut progress: impl FnMut(&'static str, u64, u64),
) -> Result<Copied, CopyError> {
    check_empty(to).await?;
    let source = from.position().await?;
    if source.size == 0 {
        return Err(CopyError::Nothing);
    }
    // First of all: what signs nothing here must not sign there.
    if let Some(mark) = from.mark().await? {
        to.set_mark(Some(mark)).await?;
    }
    let mut size = 0;
    while size < source.size {
        let entries = from.read(size, AT_ONCE).await?;
        match to.append(size, entries).await? {
            Append::Appended { size: now, .. } if now > size && now <= source.size => size = now,
            _ => return Err(CopyError::Moved),
        }
        progress("copied", size, source.size);
    }
    if let Some(note) = from.checkpoint().await? {
        let unreadable = || CopyError::Differs { what: "the last checkpoint, which cannot be read".to_owned() };
        let head = SignedHead::read(note).ok_or_else(unreadable)?;
        if to.keep_checkpoint(head).await? != Keep::Kept {
            return Err(CopyError::Moved);
        }
    }
    compare(from, to, source.size, &mut progress).await?;
    if from.position().await? != source || to.position().await? != source {
        return Err(CopyError::Moved);
    }
    Ok(Copied { size: source.size, root: source.root })
}

/// That there is nothing in the target.
pub async fn check_empty(to: &dyn Ledger) -> Result<(), CopyError> {
    let target = to.position().await?;
    match target.size > 0 || to.checkpoint().await?.is_some() {
        true => Err(CopyError::InUse { size: target.size }),
        false => Ok(()),
    }
}

/// Reads both through: entry by entry, tile by tile, to the root.
async fn compare(
    from: &dyn Ledger,
    to: &dyn Ledger,
    size: u64,
    progress: &mut impl FnMut(&'static str, u64, u64),
) -> Result<(), CopyError> {
    let differs = |what: String| CopyError::Differs { what };
    let mut tree = Frontier::new();
    while tree.size() < size {
        let at = tree.size();
        let (here, there) = (from.read(at, AT_ONCE).await?, to.read(at, AT_ONCE).await?);
        if here.is_empty() || here != there {
            return Err(differs(format!("entry {at} and those behind it")));
        }
        for entry in &there {
            for tile in tree.append(leaf_hash(entry)) {
                if to.tile(tile.coordinate).await?.as_ref() != Some(&tile.hashes) {
                    let (level, index) = (tile.coordinate.level(), tile.coordinate.index());
                    return Err(differs(format!("tile {index} of level {level}")));
                }
            }
        }
        progress("compared", tree.size(), size);
    }
    if from.position().await?.root != tree.root() || to.position().await?.root != tree.root() {
        return Err(differs("the root".to_owned()));
    }
    match from.checkpoint().await? == to.checkpoint().await? {
        true => Ok(()),
        false => Err(differs("the last checkpoint".to_owned())),
    }
}

impl SignedHead {
    /// Reads what a signed note says, without verifying it: whoever starts a registry over it does.
    pub(crate) fn read(note: String) -> Option<Self> {
        let signed = SignedNote::parse(note.as_bytes()).ok()?;
        let checkpoint = Checkpoint::parse(signed.text()).ok()?;
        // A timestamped cosignature: eight bytes of time before the signature.
        let times = signed.signatures().iter().filter(|signature| signature.name().as_str() == checkpoint.origin());
        let times = times.filter_map(|signature| match signature.bytes().split_first_chunk::<8>() {
            Some((time, signature)) if signature.len() == 64 => Some(u64::from_be_bytes(*time)),
            _ => None,
        });
        let time_seconds = times.max()?;
        Some(Self { size: checkpoint.size(), time_seconds, note })
    }
}
