//! Who asked about a subject: from this department's evidence, for each question about one subject who asked, when, for what,
//! about which attributes, and what came out. For an officer whom `node.toml` names, and for a citizens' portal with a key of
//! its own. Corrections find here who else relied on a record (`correction`).
//!
//! **Invariants:** each look-up is in `subject-lookups.jsonl` before anything is shown, and that file names nobody whom it was
//! about. What is under embargo by the provider's own grant is shown to auditors alone until the embargo ends; so is the
//! officer who asked. Neither what was claimed nor what is recorded is shown.
//!
//! With several nodes each knows what it answered itself. Out of scope: what this department asked others.

mod edges;
mod index;
mod item;
mod show;

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use host::{clock::Clock, files, supervise::TaskError};
use proto::exchange::v1::{self as wire, EntryKind};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use trust::{ids::Digest, subject::Subject};

pub use self::edges::{LookupsEdge, PortalEdge};
use self::index::{Index, read, subjects};
use crate::{
    budget::{self, BudgetKey},
    custody::{self, Custody, KeptLog},
    journal::{Journal, JournalError, StoredEntry},
    logs::{self, Logs},
    parts::Parts,
    records::aliases::Aliases,
    view::View,
};

/// Where look-ups are recorded, within the node's folder.
pub const FILE_NAME: &str = "subject-lookups.jsonl";

/// Who may look up who asked about a subject; nobody, where nobody is named.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Officers, by the department's own numbers.
    pub officers: Vec<String>,
    /// Officers who may look as auditors: with the officers who asked, and with what is under embargo.
    pub auditors: Vec<String>,
}

/// How often what is new is taken in.
const CATCH_UP_EVERY: Duration = Duration::from_secs(120);

/// Why nothing can be looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The table of former numbers cannot be read.
    #[error(transparent)]
    Aliases(#[from] crate::records::aliases::AliasError),
    /// Evidence of a predecessor cannot be read.
    #[error(transparent)]
    Custody(#[from] custody::Error),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The evidence cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A run of the index cannot be used.
    #[error("the index of subjects: {0}; remove the folder subject-index, and it is made again")]
    Run(#[from] budget::Error),
}

/// One look-up, as it is recorded.
#[derive(Debug, Serialize)]
struct LookedUp<'a> {
    at_ms: u64,
    /// `officer`, `auditor` or `portal`.
    way: &'a str,
    /// The officer, or the portal's name.
    by: &'a str,
    /// A keyed hash of the subject.
    subject: String,
    /// How many questions were shown.
    shown: usize,
}

/// One store of evidence.
struct Source<'a> {
    name: String,
    /// What stands before its indexes in a place; `None` for a predecessor's.
    base: Option<u64>,
    journal: &'a dyn Journal,
    /// Whose it is, where that is a predecessor.
    of: String,
}

/// A question that was asked, with all of its answers.
#[derive(Debug)]
pub(crate) struct QuestionAt {
    /// Its place in the evidence, of one question out of a batch that of the batch; `None` in a predecessor's.
    pub(crate) place: Option<u64>,
    /// Where it is one out of a batch.
    pub(crate) of_batch: Option<OfBatch>,
    pub(crate) request: wire::Request,
    pub(crate) request_digest: Digest,
    /// The answers in their order.
    pub(crate) answers: Vec<AnswerAt>,
}

/// Which question of which batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfBatch {
    /// The batch's identity.
    pub(crate) batch: Digest,
    /// The question's place in it, counted from 0.
    pub(crate) item: usize,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct AnswerAt {
    pub(crate) digest: Digest,
    pub(crate) wire: wire::Answer,
}

/// Who asked about whom.
pub struct SubjectLog {
    dir: PathBuf,
    settings: Settings,
    index: Index,
    key: Arc<BudgetKey>,
    logs: Arc<Logs>,
    custody: Arc<Custody>,
    aliases: Arc<Aliases>,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
}

impl SubjectLog {
    /// Over a node's evidence. The index is opened when it is first needed.
    pub fn new(parts: &Parts) -> Self {
        let key = Arc::clone(parts.budget.key());
        Self {
            dir: parts.config.dir.clone(),
            settings: parts.config.subject_log.clone(),
            index: Index::new(&parts.config.dir, Arc::clone(&key)),
            key,
            logs: Arc::clone(&parts.logs),
            custody: Arc::clone(&parts.custody),
            aliases: Arc::clone(&parts.aliases),
            view: Arc::clone(&parts.view),
            clock: Arc::clone(&parts.clock),
        }
    }

    /// Takes in now and then what is new, until `stop`.
    ///
    /// # Errors
    /// The evidence or the index cannot be read; it is tried again.
    pub async fn keep_caught_up(self: Arc<Self>, stop: CancellationToken) -> Result<(), TaskError> {
        while stop.run_until_cancelled(tokio::time::sleep(CATCH_UP_EVERY)).await.is_some() {
            let log = Arc::clone(&self);
            tokio::task::spawn_blocking(move || log.catch_up()).await??;
        }
        Ok(())
    }

    /// Takes in what is new, so that look-ups are quick. Blocks.
    pub fn catch_up(&self) -> Result<(), Error> {
        let seen = self.view.seen();
        let schemes = &seen.directory().profile().schemes;
        self.with_sources(|sources| {
            for source in sources {
                let log = (source.name.as_str(), source.base.unwrap_or(0), source.journal);
                self.index.catch_up(log, schemes)?;
            }
            Ok(())
        })
    }

    /// Visits every question about a subject under any of its numbers, the newest first, until `visit` says no. Blocks. How
    /// many are there and cannot be read, because their month's key was destroyed.
    pub(crate) fn each(
        &self,
        subject: &Subject,
        former: &[Subject],
        mut visit: impl FnMut((u64, usize, u64), &str, QuestionAt) -> bool,
    ) -> Result<u32, Error> {
        let numbers = self.aliases.numbers(subject, former)?;
        let seen = self.view.seen();
        let schemes = &seen.directory().profile().schemes;
        self.with_sources(|sources| {
            let mut hits: Vec<(u64, usize, u64)> = Vec::new();
            for (number, source) in sources.iter().enumerate() {
                let log = (source.name.as_str(), source.base.unwrap_or(0), source.journal);
                let found = self.index.questions(log, schemes, &numbers)?;
                hits.extend(found.into_iter().map(|hit| (hit.at_ms, number, hit.index)));
            }
            hits.sort_unstable_by(|one, other| other.cmp(one));
            let mut erased = 0;
            for (at_ms, number, packed) in hits {
                let source = &sources[number];
                let (index, item) = item::unpacked(packed);
                let Some(stored) = source.journal.entry(index)? else { continue };
                if stored.entry.kind != EntryKind::QuestionReceived {
                    continue;
                }
                if stored.message.is_none() {
                    erased += 1;
                    continue;
                }
                let question = item::question(stored.message.as_deref(), stored.entry.envelope, item);
                let Some((request, request_digest)) = question else { continue };
                // The index is a shortcut: what stands there counts.
                if !subjects(&request, schemes).iter().any(|named| numbers.contains(named)) {
                    continue;
                }
                let answers = self.answers(sources, number, &stored, (item, &request_digest))?;
                let place = source.base.map(|base| base + index);
                let of_batch = item.map(|item| OfBatch { batch: stored.entry.envelope, item });
                let question = QuestionAt { place, of_batch, request, request_digest, answers };
                if !visit((at_ms, number, packed), &source.of, question) {
                    break;
                }
            }
            Ok(erased)
        })
    }

    /// The question at a place, or one of the batch there, with all of its answers; `None` where it cannot be read (any more).
    /// Blocks.
    pub(crate) fn question(&self, place: u64, item: Option<usize>) -> Result<Option<QuestionAt>, Error> {
        let base = logs::base_of(place);
        self.with_sources(|sources| {
            let Some(number) = sources.iter().position(|source| source.base == Some(base)) else { return Ok(None) };
            let Some(stored) = sources[number].journal.entry(logs::index_in(place))? else { return Ok(None) };
            let question = item::question(stored.message.as_deref(), stored.entry.envelope, item);
            let Some((request, request_digest)) = question else { return Ok(None) };
            let answers = self.answers(sources, number, &stored, (item, &request_digest))?;
            let of_batch = item.map(|item| OfBatch { batch: stored.entry.envelope, item });
            Ok(Some(QuestionAt { place: Some(place), of_batch, request, request_digest, answers }))
        })
    }

    /// The answer in the question's own commit, and those that came later, in this log or its successors.
    fn answers(
        &self,
        sources: &[Source<'_>],
        number: usize,
        asked: &StoredEntry,
        (item, request): (Option<usize>, &Digest),
    ) -> Result<Vec<AnswerAt>, Error> {
        let seen = self.view.seen();
        let schemes = &seen.directory().profile().schemes;
        let (journal, entries) = (sources[number].journal, asked.index + 1..asked.companions.end);
        let mut found = Vec::new();
        match item {
            Some(item) => found.extend(answers_of_item(journal, entries, item, request)?),
            None => {
                for first in entries {
                    found.extend(answer_at(journal, first)?);
                }
            }
        }
        let place = sources[number].base.unwrap_or(0) + asked.index;
        for (other, source) in sources.iter().enumerate() {
            // A predecessor's log is one of its own; the node's own ones go on in each other.
            if (source.base.is_none() || sources[number].base.is_none()) && other != number {
                continue;
            }
            let log = (source.name.as_str(), source.base.unwrap_or(0), source.journal);
            for hit in self.index.later(log, schemes, place)? {
                // What follows another question of the same batch does not follow this one.
                let is_to_it = |later: &AnswerAt| item.is_none() || later.wire.request_digest == request.as_bytes();
                found.extend(answer_at(source.journal, hit.index)?.filter(is_to_it));
            }
        }
        found.sort_by_key(|answer| answer.wire.number);
        found.dedup_by_key(|answer| answer.digest);
        Ok(found)
    }

    fn with_sources<T>(&self, work: impl FnOnce(&[Source<'_>]) -> Result<T, Error>) -> Result<T, Error> {
        let kept: Vec<Arc<KeptLog>> = self.custody.list()?;
        let mut sources = vec![Source {
            name: logs::folder_of(self.logs.of.number),
            base: Some(logs::base(self.logs.of.number)),
            journal: self.logs.current.as_ref(),
            of: String::new(),
        }];
        for (number, base, journal) in self.logs.others() {
            let name = if number == 0 { logs::RECOVERED.to_owned() } else { logs::folder_of(number) };
            sources.push(Source { name, base: Some(base), journal, of: String::new() });
        }
        for log in &kept {
            let (department, node) = (log.party.department(), &log.node);
            sources.push(Source {
                name: format!("kept.{department}.{node}.{}", log.number),
                base: None,
                journal: &log.journal,
                of: format!("{department}/{node}"),
            });
        }
        work(&sources)
    }

    /// Records a look-up. Nothing is shown before.
    fn record(&self, way: &str, by: &str, subject: &Subject, shown: usize) -> Result<(), Error> {
        let subject = data_encoding::HEXLOWER.encode(&self.key.subject(subject));
        let looked_up = LookedUp { at_ms: self.clock.now_ms(), way, by, subject, shown };
        let path = self.dir.join(FILE_NAME);
        let kept = serde_json::to_string(&looked_up).map_err(io::Error::from).and_then(|line| {
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())?;
            file.sync_data()
        });
        Ok(kept.map_err(|source| files::Error::Io { doing: "cannot write", path, source })?)
    }
}

impl std::fmt::Debug for SubjectLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SubjectLog").field("index", &self.index).finish_non_exhaustive()
    }
}

/// The answer to one question of a batch, out of the entries of the same commit.
fn answers_of_item(
    journal: &dyn Journal,
    entries: std::ops::Range<u64>,
    item: usize,
    request: &Digest,
) -> Result<Vec<AnswerAt>, Error> {
    let mut found = Vec::new();
    for index in entries {
        let stored = journal.entry(index)?.filter(|stored| stored.entry.kind == EntryKind::AnswerGiven);
        let answer =
            stored.and_then(|stored| item::answer(stored.message.as_deref(), stored.entry.envelope, item, request));
        found.extend(answer.map(|(wire, digest)| AnswerAt { digest, wire }));
    }
    Ok(found)
}

fn answer_at(journal: &dyn Journal, index: u64) -> Result<Option<AnswerAt>, Error> {
    let Some(stored) = journal.entry(index)?.filter(|stored| stored.entry.kind == EntryKind::AnswerGiven) else {
        return Ok(None);
    };
    let wire = read::<wire::Answer>(stored.message.as_deref());
    Ok(wire.map(|wire| AnswerAt { digest: stored.entry.envelope, wire }))
}
