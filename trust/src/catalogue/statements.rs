//! Statements by the object they are about, and who signed one.
//!
//! The directory as folded knows of each object only its last statement. Who looks at them all needs an index over the
//! log, which is small (16 bytes a statement) and made when somebody asks for the first time.

use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{LoggedStatement, SignerEntry, Statement, StatementPage, StatementQuery},
};
use sha2::{Digest, Sha256};

use super::{Error, page::Paging};
use crate::{directory::Directory, key::KeyId};

/// Where the statements about each object stand in the log.
#[derive(Clone, Debug, Default)]
pub struct StatementIndex {
    /// Number of entries taken.
    size: u64,
    /// A short hash of the object, and the index: sorted, but for what was taken since.
    places: Vec<(u64, u64)>,
    sorted: usize,
}

impl StatementIndex {
    /// How many entries it covers: the index that it wants next.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next entry of the log.
    pub fn take(&mut self, entry: &[u8]) {
        self.places.push((short(&object_of(entry)), self.size));
        self.size += 1;
    }

    /// Where the page that a query asks for begins and which entries it has: their indexes, and one more where the list
    /// goes on. With an empty object these are all.
    pub fn places(&mut self, query: &StatementQuery) -> Result<Vec<u64>, Error> {
        let paging = paging(query)?;
        let from = paging.after_key::<u64>()?.map_or(0, |after| after.saturating_add(1));
        let wanted = paging.limit().saturating_add(1);
        if query.object.is_empty() {
            return Ok((from..self.size).take(wanted).collect());
        }
        if self.sorted < self.places.len() {
            self.places.sort_unstable();
            self.sorted = self.places.len();
        }
        let hash = short(&query.object);
        let first = self.places.partition_point(|place| *place < (hash, from));
        let same = self.places[first..].iter().take_while(|(other, _)| *other == hash);
        Ok(same.take(wanted).map(|(_, index)| *index).collect())
    }

    /// The page of these entries, read at [`Self::places`].
    pub fn page(
        query: &StatementQuery,
        entries: impl IntoIterator<Item = (u64, Vec<u8>)>,
        directory_size: u64,
    ) -> Result<StatementPage, Error> {
        let found = entries
            .into_iter()
            // Two objects may share a short hash.
            .filter(|(_, entry)| query.object.is_empty() || object_of(entry) == query.object)
            .map(|(index, entry)| (index.to_string(), LoggedStatement { index, entry }));
        let (statements, end) = paging(query)?.take(found, directory_size);
        Ok(StatementPage { statements, end })
    }
}

fn paging(query: &StatementQuery) -> Result<Paging, Error> {
    Paging::read(query.page.as_ref(), "statements", &StatementQuery { page: None, ..query.clone() })
}

fn object_of(entry: &[u8]) -> String {
    let envelope = Envelope::decode(entry).unwrap_or_default();
    Statement::decode(envelope.payload.as_slice()).unwrap_or_default().object
}

fn short(object: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(object.as_bytes()).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// The keys that an entry names as its signers, as the directory knows them.
pub fn signers(directory: &Directory, entry: &[u8]) -> Vec<SignerEntry> {
    let envelope = Envelope::decode(entry).unwrap_or_default();
    // What is old shows the name of then.
    let stated_at_ms = Statement::decode(envelope.payload.as_slice()).unwrap_or_default().stated_at_ms;
    let signer = |keyid: String| {
        let key = keyid.parse::<KeyId>().ok().and_then(|id| directory.key(&id));
        let department = key.and_then(|key| key.department.clone());
        let name = department.as_ref().and_then(|id| Some(directory.department(id)?.name_at(stated_at_ms)));
        SignerEntry {
            key_id: keyid,
            key: key.map(|key| key.described.to_wire()),
            department: department.map(|id| id.to_string()).unwrap_or_default(),
            name,
        }
    };
    envelope.signatures.into_iter().map(|signature| signer(signature.keyid)).collect()
}
