//! Pages: a cursor names the last entry of the page before, so that a list that grows in between loses nothing, and it
//! belongs to one query, so that it cannot be used with other filters by mistake.

use data_encoding::BASE64URL_NOPAD;
use prost::Message;
use proto::registry::v1::{PageEnd, PageQuery};
use sha2::{Digest, Sha256};

use super::{Error, LARGEST_PAGE, USUAL_PAGE};

const FINGERPRINT: usize = 8;

/// Reads page after page of a list, up to `most` entries: the entries, and whether there are more. `next` asks for the page
/// that it is given, and for the first where there is none.
pub async fn gather<T, E>(
    most: usize,
    mut next: impl AsyncFnMut(Option<PageQuery>) -> Result<(Vec<T>, Option<PageEnd>), E>,
) -> Result<(Vec<T>, bool), E> {
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let (entries, end) = next(page).await?;
        found.extend(entries);
        let cursor = end.unwrap_or_default().next_cursor;
        if found.len() > most || cursor.is_empty() {
            let more = found.len() > most;
            found.truncate(most);
            return Ok((found, more));
        }
        page = Some(PageQuery { limit: LARGEST_PAGE, cursor });
    }
}

/// The part of a list that was asked for.
pub(super) struct Paging {
    limit: usize,
    after: Option<String>,
    fingerprint: [u8; FINGERPRINT],
}

impl Paging {
    /// Reads what was asked for. `query` is the whole query without its page; `list` says of what.
    pub(super) fn read(page: Option<&PageQuery>, list: &str, query: &impl Message) -> Result<Self, Error> {
        let mut digest = Sha256::new_with_prefix(list.as_bytes());
        digest.update([0]);
        digest.update(query.encode_to_vec());
        let digest: [u8; 32] = digest.finalize().into();
        let mut fingerprint = [0; FINGERPRINT];
        fingerprint.copy_from_slice(&digest[..FINGERPRINT]);

        let PageQuery { limit, cursor } = page.cloned().unwrap_or_default();
        let limit = if limit == 0 { USUAL_PAGE } else { limit.min(LARGEST_PAGE) };
        let after = if cursor.is_empty() { None } else { Some(Self::after(&cursor, &fingerprint)?) };
        Ok(Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), after, fingerprint })
    }

    fn after(cursor: &str, fingerprint: &[u8; FINGERPRINT]) -> Result<String, Error> {
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).map_err(|_| Error::CursorWrong)?;
        let (of, key) = bytes.split_first_chunk::<FINGERPRINT>().ok_or(Error::CursorWrong)?;
        if of != fingerprint {
            return Err(Error::CursorWrong);
        }
        String::from_utf8(key.to_vec()).map_err(|_| Error::CursorWrong)
    }

    /// The key of the last entry of the page before.
    pub(super) fn after_key<T: std::str::FromStr>(&self) -> Result<Option<T>, Error> {
        self.after.as_ref().map(|key| key.parse().map_err(|_| Error::CursorWrong)).transpose()
    }

    /// The page: as many of the entries, which begin behind the page before, as it may have. Each comes with its key.
    pub(super) fn take<T>(
        &self,
        entries: impl Iterator<Item = (String, T)>,
        directory_size: u64,
    ) -> (Vec<T>, Option<PageEnd>) {
        let mut entries = entries.peekable();
        let mut page = Vec::new();
        let mut last = String::new();
        while page.len() < self.limit
            && let Some((key, entry)) = entries.next()
        {
            page.push(entry);
            last = key;
        }
        let next_cursor = if entries.peek().is_some() { self.cursor(&last) } else { String::new() };
        (page, Some(PageEnd { next_cursor, directory_size }))
    }

    /// How many entries the page has at most.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    fn cursor(&self, key: &str) -> String {
        let mut bytes = self.fingerprint.to_vec();
        bytes.extend_from_slice(key.as_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }
}
