//! One record of the journal in bytes: what one commit made durable, as a head that anybody may read and a payload that
//! only the month's key opens. They are stored apart, so that a start reads heads alone.
//!
//! | bytes | head |
//! |---|---|
//! | 1 | format, 1 |
//! | 1 | which of the optional fields follow: 1 about, 2 request, 4 idempotency, 8 grant, 32 officer, 128 uses; 64 says that a duty follows from it |
//! | 1 | number of entries, 1 to 4 |
//! | 1 each | kinds, as numbered in evidence.proto |
//! | 8 | when, Unix milliseconds |
//! | 8 | id of the month's key |
//! | 8 | about (if any) |
//! | 16 + 32 | request: key and digest (if any) |
//! | 16 | idempotency (if any) |
//! | 16 | grant (if any) |
//! | 16 | officer (if any) |
//! | 4 | uses (if any) |
//! | 32 + 32 each | salt and digest |
//! | 4 each | length of the message |
//!
//! | bytes | payload |
//! |---|---|
//! | 24 | nonce |
//! | … | the messages one after the other, encrypted with XChaCha20-Poly1305 |
//! | 16 | tag over the messages and the whole head |
//!
//! Numbers are big-endian. The index is in neither: the record is made, and encrypted, before its place in the log is
//! known. Out of scope: where records are kept.

use host::random::Random;
use proto::exchange::v1::EntryKind;
use trust::{evidence::Entry, ids::Digest};

use super::{
    Commit, JournalError, MOST_ENTRIES, MOST_MESSAGE_BYTES, RecordHead, RequestMark,
    month_key::{MonthKey, MonthKeyId, NONCE_BYTES, TAG_BYTES},
};

/// A record ready to be written.
#[derive(Debug)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    head_length: usize,
    pub(super) entries: Entries,
}

impl Sealed {
    pub(super) fn head(&self) -> &[u8] {
        &self.bytes[..self.head_length]
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.head_length..]
    }
}

/// One to [`MOST_ENTRIES`] entries, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    entries: [Entry; MOST_ENTRIES],
    count: usize,
}

impl Entries {
    pub(super) fn as_slice(&self) -> &[Entry] {
        &self.entries[..self.count]
    }
}

/// Encrypts a commit. Runs on the caller's task, so that the one writer has nothing to compute but hashes of the tree.
pub(super) fn seal(commit: &Commit, key: &MonthKey, random: &dyn Random) -> Result<Sealed, JournalError> {
    let count = commit.entries.len();
    if !(1..=MOST_ENTRIES).contains(&count) {
        return Err(JournalError::EntryCount { entries: count });
    }
    let message_bytes: usize = commit.entries.iter().map(|entry| entry.message.len()).sum();
    if message_bytes > MOST_MESSAGE_BYTES {
        return Err(JournalError::MessagesTooLong { bytes: message_bytes });
    }

    // One draw for all: asking the operating system costs more than the bytes.
    let mut drawn = [0; MOST_ENTRIES * 32 + NONCE_BYTES];
    let drawn = &mut drawn[..NONCE_BYTES + count * 32];
    random.fill(drawn);
    let (nonce, salts) = drawn.split_at(NONCE_BYTES);
    let mut entries = Entries { entries: [NO_ENTRY; MOST_ENTRIES], count };
    for ((entry, new), salt) in entries.entries.iter_mut().zip(&commit.entries).zip(salts.as_chunks::<32>().0) {
        *entry = Entry { kind: new.kind, salt: *salt, envelope: new.digest };
    }

    let mut bytes = Vec::with_capacity(LONGEST_HEAD + NONCE_BYTES + message_bytes + TAG_BYTES);
    write_head(&mut bytes, commit, entries.as_slice(), key.id());
    let head_length = bytes.len();
    bytes.extend_from_slice(nonce);
    for entry in &commit.entries {
        bytes.extend_from_slice(&entry.message);
    }
    let (head, rest) = bytes.split_at_mut(head_length);
    let (nonce, messages) = rest.split_at_mut(NONCE_BYTES);
    let mut nonce_bytes = [0; NONCE_BYTES];
    nonce_bytes.copy_from_slice(nonce);
    let tag = key.seal(nonce_bytes, head, messages).ok_or(JournalError::MessagesTooLong { bytes: message_bytes })?;
    bytes.extend_from_slice(&tag);
    Ok(Sealed { bytes, head_length, entries })
}

/// A record's head read back.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) at_ms: u64,
    pub(super) key_id: MonthKeyId,
    pub(super) about: Option<u64>,
    pub(super) request: Option<RequestMark>,
    pub(super) idempotency: Option<[u8; 16]>,
    pub(super) grant: Option<[u8; 16]>,
    pub(super) officer: Option<[u8; 16]>,
    pub(super) duty: bool,
    pub(super) uses: Option<u32>,
    pub(super) entries: Entries,
    lengths: [usize; MOST_ENTRIES],
    bytes: &'a [u8],
}

/// The bytes are no head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is stored of it is malformed")]
pub(super) struct Malformed;

impl<'a> Head<'a> {
    /// Reads the head that [`seal`] wrote, and nothing else.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { rest: bytes };
        let [format, fields, count] = reader.array()?;
        let count = usize::from(count);
        if format != FORMAT
            || fields & !(ABOUT | REQUEST | IDEMPOTENCY | GRANT | OFFICER | DUTY | USES) != 0
            || !(1..=MOST_ENTRIES).contains(&count)
        {
            return Err(Malformed);
        }
        let kinds = reader.take(count)?;
        let at_ms = u64::from_be_bytes(reader.array()?);
        let key_id = reader.array()?;
        let about = (fields & ABOUT != 0).then(|| reader.array()).transpose()?.map(u64::from_be_bytes);
        let request = match fields & REQUEST {
            0 => None,
            _ => Some(RequestMark { key: reader.array()?, digest: Digest::new(reader.array()?) }),
        };
        let idempotency = (fields & IDEMPOTENCY != 0).then(|| reader.array()).transpose()?;
        let grant = (fields & GRANT != 0).then(|| reader.array()).transpose()?;
        let officer = (fields & OFFICER != 0).then(|| reader.array()).transpose()?;
        let uses = (fields & USES != 0).then(|| reader.array()).transpose()?.map(u32::from_be_bytes);
        let mut entries = Entries { entries: [NO_ENTRY; MOST_ENTRIES], count };
        for (entry, kind) in entries.entries.iter_mut().zip(kinds) {
            let kind = EntryKind::try_from(i32::from(*kind)).map_err(|_| Malformed)?;
            *entry = Entry { kind, salt: reader.array()?, envelope: Digest::new(reader.array()?) };
        }
        let mut lengths = [0; MOST_ENTRIES];
        for length in &mut lengths[..count] {
            *length = usize::try_from(u32::from_be_bytes(reader.array()?)).map_err(|_| Malformed)?;
        }
        if !reader.rest.is_empty() {
            return Err(Malformed);
        }
        let duty = fields & DUTY != 0;
        Ok(Self { at_ms, key_id, about, request, idempotency, grant, officer, duty, uses, entries, lengths, bytes })
    }

    /// The messages, one for each entry; `None` if the payload is not the one that was sealed with this head.
    pub(super) fn messages(&self, payload: &[u8], key: &MonthKey) -> Option<Vec<Vec<u8>>> {
        let (nonce, rest) = payload.split_first_chunk::<NONCE_BYTES>()?;
        let (messages, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let mut plain = messages.to_vec();
        key.open(*nonce, self.bytes, &mut plain, *tag)?;
        let mut rest = plain.as_slice();
        let mut messages = Vec::with_capacity(self.entries.count);
        for length in &self.lengths[..self.entries.count] {
            let (message, after) = rest.split_at_checked(*length)?;
            messages.push(message.to_vec());
            rest = after;
        }
        rest.is_empty().then_some(messages)
    }

    /// What the journal's tail gives of it.
    pub(super) fn to_record_head(&self, first_index: u64) -> RecordHead {
        let entries = self.entries.as_slice();
        RecordHead {
            first_index,
            at_ms: self.at_ms,
            kinds: entries.iter().map(|entry| entry.kind).collect(),
            digests: entries.iter().map(|entry| entry.envelope).collect(),
            about: self.about,
            request: self.request,
            idempotency: self.idempotency,
            grant: self.grant,
            officer: self.officer,
            duty: self.duty,
            uses: self.uses,
        }
    }
}

fn write_head(bytes: &mut Vec<u8>, commit: &Commit, entries: &[Entry], key_id: MonthKeyId) {
    let has = |is_some: bool, bit: u8| if is_some { bit } else { 0 };
    let fields = has(commit.about.is_some(), ABOUT)
        | has(commit.request.is_some(), REQUEST)
        | has(commit.idempotency.is_some(), IDEMPOTENCY)
        | has(commit.grant.is_some(), GRANT)
        | has(commit.officer.is_some(), OFFICER)
        | has(commit.duty, DUTY)
        | has(commit.uses.is_some(), USES);
    // At most MOST_ENTRIES entries, and kinds are numbered from 0 to 143.
    bytes.extend_from_slice(&[FORMAT, fields, entries.len() as u8]);
    bytes.extend(entries.iter().map(|entry| i32::from(entry.kind) as u8));
    bytes.extend_from_slice(&commit.at_ms.to_be_bytes());
    bytes.extend_from_slice(&key_id);
    if let Some(about) = commit.about {
        bytes.extend_from_slice(&about.to_be_bytes());
    }
    if let Some(request) = &commit.request {
        bytes.extend_from_slice(&request.key);
        bytes.extend_from_slice(request.digest.as_bytes());
    }
    if let Some(idempotency) = &commit.idempotency {
        bytes.extend_from_slice(idempotency);
    }
    if let Some(grant) = &commit.grant {
        bytes.extend_from_slice(grant);
    }
    if let Some(officer) = &commit.officer {
        bytes.extend_from_slice(officer);
    }
    if let Some(uses) = commit.uses {
        bytes.extend_from_slice(&uses.to_be_bytes());
    }
    for entry in entries {
        bytes.extend_from_slice(&entry.salt);
        bytes.extend_from_slice(entry.envelope.as_bytes());
    }
    for entry in &commit.entries {
        // All together they are at most MOST_MESSAGE_BYTES.
        bytes.extend_from_slice(&(entry.message.len() as u32).to_be_bytes());
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }
}

const FORMAT: u8 = 1;
const ABOUT: u8 = 1;
const REQUEST: u8 = 2;
const IDEMPOTENCY: u8 = 4;
const GRANT: u8 = 8;
const OFFICER: u8 = 32;
const DUTY: u8 = 64;
const USES: u8 = 128;
/// The longest head, in bytes.
pub(super) const LONGEST_HEAD: usize = 3 + MOST_ENTRIES + 8 + 8 + 8 + 48 + 16 + 16 + 16 + 4 + MOST_ENTRIES * (64 + 4);
const NO_ENTRY: Entry = Entry { kind: EntryKind::Unspecified, salt: [0; 32], envelope: Digest::new([0; 32]) };

#[cfg(test)]
mod tests;
