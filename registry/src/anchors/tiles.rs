//! Proofs over a ledger: `trust` builds them from tiles at hand, and a ledger's come later. So tiles are fetched as they
//! are missed, a handful for each proof.

use std::collections::HashMap;

use trust::log::{
    hash::Hash,
    proof::{BuildError, consistency_proof, inclusion_proof, tree_root},
    tile::{TileCoordinate, TileSource},
};

use crate::ledger::{Error, Ledger};

/// Tiles that have been fetched.
#[derive(Default)]
struct Fetched(HashMap<(u8, u64, u16), Vec<Hash>>);

/// The tile is not there yet.
#[derive(Debug, thiserror::Error)]
#[error("tile {index} of level {level} is not at hand")]
struct Missed {
    level: u8,
    index: u64,
    width: u16,
}

impl TileSource for &Fetched {
    type Error = Missed;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Missed> {
        self.0.get(&(level, index, width)).cloned().ok_or(Missed { level, index, width })
    }
}

async fn build<T>(
    ledger: &dyn Ledger,
    build: impl Fn(&Fetched) -> Result<T, BuildError<Missed>> + Send,
) -> Result<T, Error>
where
    T: Send,
{
    let mut fetched = Fetched::default();
    loop {
        let missed = match build(&fetched) {
            Ok(built) => return Ok(built),
            Err(BuildError::Source(missed)) => missed,
            Err(error) => return Err(Error::damaged(error)),
        };
        let Missed { level, index, width } = missed;
        let coordinate = TileCoordinate::new(level, index, width).map_err(Error::damaged)?;
        let tile = ledger.tile(coordinate).await?;
        let tile = tile.ok_or_else(|| Error::damaged(format!("tile {index} of level {level} is missing")))?;
        fetched.0.insert((level, index, width), tile);
    }
}

/// The path of an entry in the tree of the first `size` entries.
///
/// # Errors
///
/// The ledger has no such tree, or cannot be read.
pub async fn inclusion(ledger: &dyn Ledger, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
    build(ledger, |tiles| inclusion_proof(&tiles, index, size)).await
}

/// That the tree of `new_size` entries begins with that of the first `old_size`.
///
/// # Errors
///
/// As for [`inclusion`].
pub async fn consistency(ledger: &dyn Ledger, old_size: u64, new_size: u64) -> Result<Vec<Hash>, Error> {
    build(ledger, |tiles| consistency_proof(&tiles, old_size, new_size)).await
}

/// The root over the first `size` entries.
///
/// # Errors
///
/// As for [`inclusion`].
pub async fn root_at(ledger: &dyn Ledger, size: u64) -> Result<Hash, Error> {
    build(ledger, |tiles| tree_root(&tiles, size)).await
}
