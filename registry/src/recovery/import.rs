//! What comes back to a registry that lacks it: every statement is checked by the rules that hold for all, the root is
//! recomputed, and the checkpoint must be signed by the log's own key at its size. Whoever brings it is trusted in nothing.
//!
//! Out of scope: the ways by which it comes (`history_edge`, `admin_edge`), and writing it (`sequencer`).

use trust::{
    directory::Directory,
    log::{hash::Hash, note::SignedNote},
    refusal::{Code, Refusal},
};

use super::open_with;
use crate::ledger::SignedHead;

/// The most bytes of statements that come at once.
const MOST_BYTES: usize = 1024 * 1024 * 1024;

/// Statements that were checked, and the checkpoint that covers them.
pub struct Brought {
    /// How many statements were held when they were checked.
    pub base_size: u64,
    /// The root over those.
    pub base_root: Hash,
    /// Those that are new.
    pub entries: Vec<Vec<u8>>,
    /// The directory with them.
    pub directory: Directory,
    /// The checkpoint, with the log's own lines alone.
    pub head: SignedHead,
}

/// Checks what comes, statement by statement.
pub struct Importer {
    base_size: u64,
    base_root: Hash,
    directory: Directory,
    entries: Vec<Vec<u8>>,
    bytes: usize,
    next: Option<u64>,
}

impl Importer {
    /// Goes on from what is held.
    pub(super) fn new(directory: Directory) -> Self {
        let (base_size, base_root) = (directory.size(), directory.root());
        Self { base_size, base_root, directory, entries: Vec::new(), bytes: 0, next: None }
    }

    /// Checks the statement with this index; one that is held already is passed over.
    pub fn entry(&mut self, index: u64, entry: Vec<u8>) -> Result<(), Refusal> {
        let malformed = |detail: String| Refusal::new(Code::MessageMalformed).at("entries").because(detail);
        if self.next.is_some_and(|next| next != index) || (self.next.is_none() && index > self.base_size) {
            let wanted = self.next.unwrap_or(self.base_size);
            return Err(malformed(format!("statement {index} comes where {wanted} or one before it was wanted")));
        }
        self.next = Some(index + 1);
        if index < self.base_size {
            return Ok(());
        }
        self.bytes += entry.len();
        if self.bytes > MOST_BYTES {
            return Err(malformed("more statements than can be taken at once".to_owned()));
        }
        self.directory.apply(&entry).map_err(|error| {
            let refusal = error.refusal();
            let detail = format!("statement {index} does not follow on those that are held: {error}");
            Refusal { detail, ..refusal }
        })?;
        self.entries.push(entry);
        Ok(())
    }

    /// All has come: it must lead to the checkpoint, and the log must have signed that.
    pub fn finish(self, checkpoint: &str) -> Result<Brought, Refusal> {
        let wrong = |code, detail: &str| Refusal::new(code).at("checkpoint").because(detail);
        let note = SignedNote::parse(checkpoint.as_bytes());
        let note = note.map_err(|error| wrong(Code::MessageMalformed, &error.to_string()))?;
        let size = self.directory.size();
        let key = self.directory.log_key_at(size).or_else(|| self.directory.log_key());
        let verified = key.and_then(|key| open_with(&self.directory, &note, key));
        let verified = verified.ok_or_else(|| wrong(Code::SignatureWrong, "the log's key did not sign it"))?;
        let covered = verified.checkpoint().size();
        if covered != size {
            let detail = format!("it covers {covered} statements, and {size} are held with those that came");
            return Err(wrong(Code::MessageMalformed, &detail));
        }
        if verified.checkpoint().root() != self.directory.root() {
            let detail = "what is held here is not the beginning of what the log signed: restore the registry from another backup";
            return Err(wrong(Code::DirectoryDiverges, detail));
        }
        let own = crate::witnesses::own_lines(verified.note(), verified.checkpoint().origin());
        let own = own.ok_or_else(|| wrong(Code::MessageMalformed, "its lines cannot be copied"))?;
        let head = SignedHead { note: own.to_string(), size, time_seconds: verified.time_seconds() };
        let Self { base_size, base_root, entries, directory, .. } = self;
        Ok(Brought { base_size, base_root, entries, directory, head })
    }
}
