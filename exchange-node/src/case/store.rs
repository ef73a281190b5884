//! Cases on the disk: beside the duties, so that a case changes together with what must still happen. A head says what may be
//! read without a key; the case itself is encrypted under the key of the month in which it was opened (`keys/months`), which no
//! backup has: destroying it destroys that month's cases. Cut in pieces, because a row is short. Out of scope: what a case means.

use data_encoding::BASE64;
use host::random::{self, Random};
use serde::{Deserialize, Serialize};

use super::{Case, Error};
use crate::{
    duty::{Change, Duties},
    journal::{Month, MonthKeys, NONCE_BYTES, TAG_BYTES},
};

/// The book of heads.
pub(super) const HEADS: &str = "case";

/// The book of what is encrypted.
const BODIES: &str = "case-body";

/// How many bytes one piece has before it is written as text; a row holds 4,096.
const PIECE: usize = 3000;

/// What is known of a case without its key.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Its id: when it was opened, and some random digits. Sorted by time.
    pub id: String,
    /// The case number.
    pub number: String,
    /// The item.
    pub item: String,
    /// Its version.
    pub item_version: u32,
    /// When it was opened, Unix milliseconds.
    pub opened_ms: u64,
    /// As [`Case::state`].
    pub state: String,
    /// A commitment in it was broken and has not been put right.
    pub flagged: bool,
    /// In how many pieces it is kept.
    pub pieces: usize,
}

/// Encrypts and decrypts cases.
pub(super) struct Vault {
    pub(super) keys: MonthKeys,
}

impl Vault {
    /// The rows that a case is kept in, and its head.
    pub(super) fn rows(
        &self,
        before: Option<&Head>,
        case: &Case,
        random: &dyn Random,
    ) -> Result<(Head, Vec<Change>), Error> {
        let id = match before {
            Some(head) => head.id.clone(),
            None => format!("{:013}-{}", case.opened_ms, data_encoding::HEXLOWER.encode(&random::array::<4>(random))),
        };
        let mut bytes = serde_json::to_vec(case).map_err(|error| Error::Malformed(error.to_string()))?;
        let key = self.keys.load_or_make(Month::of_ms(case.opened_ms), random)?;
        let nonce = random::array::<NONCE_BYTES>(random);
        let tag = key.seal(nonce, id.as_bytes(), &mut bytes);
        let tag = tag.ok_or_else(|| Error::Malformed("it is too long to be encrypted".to_owned()))?;
        let sealed = [&nonce[..], &tag, &bytes].concat();
        let pieces: Vec<String> = sealed.chunks(PIECE).map(|piece| BASE64.encode(piece)).collect();
        let head = Head {
            id: id.clone(),
            number: case.number.clone(),
            item: case.item.clone(),
            item_version: case.item_version,
            opened_ms: case.opened_ms,
            state: case.state().to_owned(),
            flagged: case.is_flagged(),
            pieces: pieces.len(),
        };
        let mut changes = vec![Change::row(HEADS, id.clone(), &head)];
        changes.extend(pieces.iter().enumerate().map(|(n, piece)| Change::row(BODIES, place(&id, n), piece)));
        // A shorter case leaves nothing of a longer one behind.
        let gone = pieces.len()..before.map_or(0, |head| head.pieces);
        changes.extend(gone.map(|n| Change::RowGone { book: BODIES, key: place(&id, n) }));
        Ok((head, changes))
    }

    /// The case with this head.
    pub(super) fn read(&self, duties: &Duties, head: &Head) -> Result<Case, Error> {
        let pieces = duties.rows_under::<String>(BODIES, &format!("{}/", head.id))?;
        let malformed = |what: &str| Error::Malformed(what.to_owned());
        let mut sealed = Vec::new();
        for piece in &pieces {
            sealed.extend(BASE64.decode(piece.as_bytes()).map_err(|_| malformed("a piece is damaged"))?);
        }
        let key = self.keys.load(Month::of_ms(head.opened_ms))?.ok_or(Error::Destroyed)?;
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(|| malformed("it is cut"))?;
        let (tag, rest) = rest.split_first_chunk::<TAG_BYTES>().ok_or_else(|| malformed("it is cut"))?;
        let mut bytes = rest.to_vec();
        let opened = key.open(*nonce, head.id.as_bytes(), &mut bytes, *tag);
        opened.ok_or_else(|| malformed("it is not what was encrypted under this month's key"))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Malformed(error.to_string()))
    }
}

fn place(id: &str, piece: usize) -> String {
    format!("{id}/{piece:04}")
}
