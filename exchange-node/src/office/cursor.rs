//! Cursors of lists whose rows have a place, over HTTP and over gRPC: opaque to whoever gets one. Out of scope: what is
//! listed, and how many a page has.

use data_encoding::HEXLOWER;

use super::Failure;

/// The cursor of a place.
pub(crate) fn cursor_of(place: u64) -> String {
    HEXLOWER.encode(&place.to_be_bytes())
}

/// The place of a cursor; `None` for an empty one, which is the first page's.
pub(crate) fn place_of(cursor: &str) -> Result<Option<u64>, Failure> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let bytes = HEXLOWER.decode(cursor.as_bytes()).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    let place = bytes.map(u64::from_be_bytes);
    place.map(Some).ok_or_else(|| Failure::Malformed {
        field: "cursor",
        reason: "the cursor is none that this node gave out".to_owned(),
    })
}

/// How many rows a page has over gRPC, where 0 leaves it to the node.
pub(crate) fn most_of(limit: u32, usual: usize, largest: usize) -> usize {
    match limit {
        0 => usual,
        limit => usize::try_from(limit).unwrap_or(largest).min(largest),
    }
}
