//! What the view does when somebody's word contradicts it: keeps the bytes as evidence (`findings`), and says whom to
//! compare directories with. Out of scope: the comparing (`compare`).

use std::sync::{PoisonError, atomic::Ordering};

use tokio::sync::mpsc;
use trust::{
    ids::DepartmentId,
    log::{
        bundle::EntryBundle,
        checkpoint::LogKey,
        hash::{Hash, leaf_hash},
        note::SignedNote,
        strand::{Leaves, Strand},
    },
};

use super::{Error, View, accept::Source, by_hand::covered_by, lock};
use crate::findings::{Finding, Findings, Kind, NewFinding};

/// The most entries that are hashed for a proof while others wait; a longer directory gives its checkpoints alone.
const MOST_HASHED_AT_ONCE: u64 = 200_000;

/// The longest note that is told to others with all its lines; of a longer one only the log's own.
const LONGEST_TOLD: usize = 32 * 1024;

/// The most bytes of entries that are kept as evidence.
const MOST_ENTRY_BYTES: usize = 2 * 1024 * 1024;

/// Somebody whose directory differs from this node's.
#[derive(Clone, Debug)]
pub struct Suspicion {
    /// The department.
    pub department: DepartmentId,
    /// The size at which both were compared.
    pub size: u64,
}

impl View {
    /// What was found wrong so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The newest thing that was found wrong and is not settled.
    pub fn finding(&self) -> Option<Finding> {
        self.findings.open_ones().into_iter().next()
    }

    /// Why the view ends before the directory does, where it does.
    pub fn stuck(&self) -> Option<String> {
        lock(&self.stuck).clone()
    }

    /// Those whose directories are to be compared with this one; for the one task that does it.
    pub fn suspicions(&self) -> Option<mpsc::Receiver<Suspicion>> {
        lock(&self.suspicions).take()
    }

    /// Keeps a finding. That it cannot be kept is told in the log, with the finding itself.
    pub fn find(&self, new: &NewFinding<'_>, evidence: impl FnOnce() -> Vec<(String, Vec<u8>)>) -> Option<String> {
        match self.findings.keep(new, evidence) {
            Ok((id, true)) => {
                tracing::error!(id, source = new.source, what = new.what, "found");
                Some(id)
            }
            Ok((id, false)) => Some(id),
            Err(error) => {
                tracing::error!(%error, what = new.what, "found, and its evidence cannot be kept");
                None
            }
        }
    }

    /// Notes that another department saw another directory, by its own signed word. `size` and `root` are what it said;
    /// the proof, where there is one, comes when both directories are compared.
    pub fn note_divergence(&self, other: &DepartmentId, size: u64, root: Option<&[u8]>, now_ms: u64) {
        let source = format!("{}/{other}", self.seen().directory().exchange());
        let told = root.and_then(|root| Hash::try_from(root).ok());
        let at = if size == 0 { String::new() } else { format!(" at {size} statements") };
        let new = NewFinding {
            kind: Kind::Divergence,
            identity: [other.as_str().as_bytes(), &size.to_be_bytes(), root.unwrap_or_default()].concat(),
            what: format!(
                "{source} saw another directory{at}: call the authority, whose registry may have told two stories"
            ),
            source: &source,
            at_ms: now_ms,
        };
        self.find(&new, || {
            let mut files = self.own_files();
            files.push(("roots.txt".to_owned(), roots_text(size, told, self.root_at(size)).into_bytes()));
            files
        });
        // Dropped where many wait: whoever it is will be met again.
        let _ = self.suspect.try_send(Suspicion { department: other.clone(), size });
    }

    /// Keeps two strands that contradict each other: the proof that the log's key signed two histories.
    pub fn find_fork(&self, other: &str, here: &Strand, told: &Strand, now_ms: u64) {
        let size = here.old_size;
        let new = NewFinding {
            kind: Kind::Fork,
            identity: [other.as_bytes(), b"\0strands"].concat(),
            what: format!(
                "the registry told two stories: {other} holds a checkpoint signed by the log for another history, which differs within the first {size} statements; both are kept; call the authority"
            ),
            source: other,
            at_ms: now_ms,
        };
        self.find(&new, || {
            let mut files = self.own_files();
            files.push(("here.consistency".to_owned(), here.to_text().into_bytes()));
            files.push(("told.checkpoint".to_owned(), told.checkpoint.clone().into_bytes()));
            files.push(("told.consistency".to_owned(), told.to_text().into_bytes()));
            let roots = roots_text(size, Some(told.old_root), Some(here.old_root));
            files.push(("roots.txt".to_owned(), roots.into_bytes()));
            files
        });
    }

    /// What this node was told, at `size` or at its own size where that is less. Reads the whole directory. Blocks.
    pub fn strand(&self, size: u64) -> Result<Strand, Error> {
        let checkpoint = self.checkpoint();
        let covered = covered_by(&checkpoint).unwrap_or(0);
        let leaves: Leaves = self
            .stored
            .entries_from(0)
            .take(usize::try_from(covered).unwrap_or(usize::MAX))
            .map(|entry| entry.map(|entry| leaf_hash(&entry)))
            .collect::<Result<Vec<Hash>, Error>>()?
            .into_iter()
            .collect();
        let mut note = checkpoint.to_string();
        if note.len() > LONGEST_TOLD {
            // Somebody padded it: the log's own lines are what matters.
            note = self.log_key()?.and_then(|key| own_lines(&checkpoint, &key)).unwrap_or(note);
        }
        Ok(Strand::of(&note, &leaves, size))
    }

    /// The key of the directory's log, for whoever verifies a strand.
    pub fn trusted_log_key(&self) -> Option<LogKey> {
        self.log_key().ok().flatten()
    }

    /// Keeps what the registry, or a file, said and what it contradicts.
    pub(super) fn find_lie(
        &self,
        error: &Error,
        source: Source,
        checkpoint: &str,
        (first, entries): (u64, Vec<Vec<u8>>),
        now_ms: u64,
    ) {
        let Some((kind, identity)) = lie(error, checkpoint) else { return };
        let new = NewFinding { kind, identity, what: error.to_string(), source: source.as_str(), at_ms: now_ms };
        self.find(&new, || {
            let mut files = self.own_files();
            files.push(("told.checkpoint".to_owned(), checkpoint.as_bytes().to_vec()));
            if let Some((name, bytes)) = entries_file(first, &entries) {
                files.push((name, bytes));
            }
            if let Error::Statement { index, .. } = error
                && let Some(Ok(entry)) = self.stored.entries_from(*index).next()
            {
                files.push((format!("statement-{index}.envelope"), entry));
            }
            files.extend(self.contradiction(error));
            files
        });
    }

    /// Where a checkpoint was compared at a size that this node knows: the roots, and that its own checkpoint is of the
    /// tree with its root.
    fn contradiction(&self, error: &Error) -> Vec<(String, Vec<u8>)> {
        let (size, told) = match error {
            Error::Forked { size, told, .. } => (*size, Some(*told)),
            Error::RolledBack { told, .. } => (*told, None),
            _ => return Vec::new(),
        };
        let mut files = vec![("roots.txt".to_owned(), roots_text(size, told, self.root_at(size)).into_bytes())];
        let own = self.seen().size();
        if size <= own && own <= MOST_HASHED_AT_ONCE {
            match self.strand(size) {
                Ok(strand) => files.push(("here.consistency".to_owned(), strand.to_text().into_bytes())),
                Err(error) => tracing::warn!(%error, "no proof can be made of the own directory"),
            }
        }
        files
    }

    /// This node's own checkpoint, and the log's key for tools that check it.
    fn own_files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let checkpoint = self.checkpoint();
        if !checkpoint.is_empty() {
            files.push(("here.checkpoint".to_owned(), checkpoint.as_bytes().to_vec()));
        }
        if let Some(key) = self.trusted_log_key() {
            files.push(("log.vkey".to_owned(), format!("{}\n", key.plain()).into_bytes()));
        }
        files
    }

    pub(super) fn stop_at(&self, reason: String) {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// When the log itself last vouched for what is folded in, Unix milliseconds.
    pub(super) fn log_vouched_ms(&self) -> u64 {
        self.log_ms.load(Ordering::Acquire)
    }
}

/// What kind of lie an error shows, and what makes it the same when it is told again; `None` for what is no lie.
fn lie(error: &Error, checkpoint: &str) -> Option<(Kind, Vec<u8>)> {
    // The signatures change with each renewal; what they are about does not.
    let text = || checkpoint.split("\n\n").next().unwrap_or_default().as_bytes().to_vec();
    Some(match error {
        Error::Checkpoint(_) | Error::NotFounded => (Kind::Signature, text()),
        Error::Forked { size, told, .. } => (Kind::Fork, [size.to_be_bytes().as_slice(), told.as_bytes()].concat()),
        Error::OutOfOrder { start, expected } => {
            (Kind::Skipped, [start.to_be_bytes(), expected.to_be_bytes()].concat())
        }
        Error::RolledBack { told, .. } => (Kind::Rollback, told.to_be_bytes().to_vec()),
        Error::Stale { .. } => (Kind::Stale, text()),
        Error::Statement { index, .. } => (Kind::Statement, index.to_be_bytes().to_vec()),
        _ => return None,
    })
}

fn own_lines(checkpoint: &str, key: &LogKey) -> Option<String> {
    let note = SignedNote::parse(checkpoint.as_bytes()).ok()?;
    let mut own = SignedNote::new(note.text().to_owned()).ok()?;
    let is_own = |line: &&trust::log::note::Signature| {
        line.name() == key.origin() && [key.plain().id(), key.cosigning().id()].contains(&line.key_id())
    };
    note.signatures().iter().filter(is_own).try_for_each(|line| own.add_signature(line.clone())).ok()?;
    Some(own.to_string())
}

fn entries_file(first: u64, entries: &[Vec<u8>]) -> Option<(String, Vec<u8>)> {
    let mut bytes = 0;
    let some: Vec<Vec<u8>> = entries
        .iter()
        .take(256)
        .take_while(|entry| {
            bytes += entry.len();
            bytes <= MOST_ENTRY_BYTES
        })
        .cloned()
        .collect();
    Some((format!("told-from-{first}.entries"), EntryBundle::new(some).ok()?.encode()))
}

fn roots_text(size: u64, told: Option<Hash>, here: Option<Hash>) -> String {
    let root = |root: Option<Hash>| root.map_or_else(|| "unknown".to_owned(), |root| root.to_base64());
    format!("size {size}\ntold {}\nhere {}\n", root(told), root(here))
}
