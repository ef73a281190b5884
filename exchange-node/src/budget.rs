//! The guess budget: how many *different* values a department may try about one subject and attribute. Whoever may ask
//! "is the income at least 60,000?" must not find the income by asking again and again.
//!
//! **Invariant:** what is tried is charged durably, from the claims alone, before anything is looked up; a charge is never
//! given back. A refusal for it tells nothing about the record. Subjects appear only as keyed hashes.
//!
//! One budget counts for a canonical subject and attribute, whatever service, version, question, batch or case it is asked
//! through. `equals`, `not_equals`, `one_of`, `contains` and `matches_name` try a value; an operator that compares tries a
//! bound, just below a value (`at_least`, `before`) or just above it (`at_most`, `after`), and `between` one of each: each
//! charge tells an asker one bit at the most. Trying again what was tried is free. A claim that a published item fixes is charged
//! whole, as one, to a budget of its own: anybody can publish one item after the other.
//!
//! An input selects rows, so that whether there is one tells whether a row has its value: one that bears an attribute's name is
//! charged as `equals` on it, every other to a budget of its own.
//!
//! Out of scope: where charges are kept (`book`; nodes that share one keep it elsewhere), quotas (`usage`).

mod bloom;
mod book;
mod fixed;
mod guesses;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod runs;
mod settings;

use std::{future::Future, path::Path, pin::Pin};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use host::{
    committer::{CommitterError, CommitterStopped},
    files,
    random::{self, Random},
    store::StoreError,
};
use sha2::Sha256;
use trust::{
    ids::DepartmentId,
    question::MOST_CLAIMS,
    refusal::{Code, Refusal},
    subject::Subject,
};
use zeroize::{Zeroize as _, Zeroizing};

pub use self::{book::Book, guesses::guesses, settings::GuessSettings};

/// A day of the budget, in milliseconds: any 24 hours, so that midnight gives nobody two days at once.
pub const DAY_MS: u64 = 86_400_000;

/// A year of the budget, in milliseconds: any 365 days.
pub const YEAR_MS: u64 = 365 * DAY_MS;

/// Whom and what a budget is about: a keyed hash of asking department, subject and attribute.
pub type About = [u8; 16];

/// A value or bound that was tried: a keyed hash.
pub type Tried = [u8; 8];

/// What one claim tries about one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    /// The budget it takes from.
    pub about: About,
    /// What it tries; each costs one, unless it was tried before.
    pub tries: Vec<Tried>,
    /// So many different ones in any 24 hours.
    pub per_day: u32,
    /// So many in any 365 days; `None` without such a limit.
    pub per_year: Option<u32>,
    /// The claim's place in its question; the inputs' places come after all that claims can have ([`MOST_CLAIMS`]).
    pub claim: usize,
}

/// A question's budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The claim's or input's place in its question, as in [`Guess`].
    pub claim: usize,
    /// How many are allowed.
    pub limit: u32,
    /// Whether that is in a year, and not in a day.
    pub in_year: bool,
    /// From when on the claim will be within the budget, Unix milliseconds; `None` where it never is.
    pub retry_at_ms: Option<u64>,
}

impl Spent {
    /// The refusal: which claim, which limit, when to try again, and nothing about the record.
    pub fn refusal(&self) -> Refusal {
        let span = if self.in_year { "year" } else { "day" };
        let (field, of) = match self.claim.checked_sub(MOST_CLAIMS) {
            None => (format!("claims[{}]", self.claim), "attribute"),
            Some(input) => (format!("inputs[{input}]"), "input"),
        };
        let detail = format!("{} different values in a {span} for one subject and {of}", self.limit);
        let refusal = Refusal::new(Code::GuessBudgetSpent).at(field).because(detail);
        match self.retry_at_ms {
            Some(at_ms) => refusal.retry_at(at_ms),
            None => refusal,
        }
    }
}

/// What became of each question, in their order.
pub type Taken = Vec<Result<(), Spent>>;

/// Something that comes later.
pub type Later<'a> = Pin<Box<dyn Future<Output = Result<Taken, Error>> + Send + 'a>>;

/// Where budgets are kept. Nodes of one department that share one give the same answers, under one [`BudgetKey`].
pub trait GuessBudget: Send + Sync {
    /// Takes what each question tries from its budgets: all of one question or nothing of it, in their order. Returns only
    /// once what was taken survives a crash of the machine; until then nothing may be looked up.
    ///
    /// Two questions that come at once take one after the other. Dropping the future takes nothing back.
    ///
    /// # Errors
    /// What was taken is not known to be durable: nothing may be looked up.
    fn take_budget(&self, questions: Vec<Vec<Guess>>, now_ms: u64) -> Later<'_>;
}

/// Why the budget cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What is stored does not fit together.
    #[error("the guess budget's {what} is damaged: restore {} from the backup", path.display())]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// What of it.
        what: &'static str,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A file cannot be read or written.
    #[error("the guess budget cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The budget that the department's nodes share cannot be taken from now.
    #[error("{reason}")]
    Shared {
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The writer has stopped; the program ends.
    #[error("the guess budget cannot be written: {0}")]
    Stopped(#[from] CommitterStopped),
    /// The task that reads the budget ended by itself.
    #[error("reading the guess budget ended: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The writer could not be started.
    #[error("the guess budget cannot be written: {0}")]
    Writer(#[from] CommitterError),
}

/// Makes the hashes under which budgets are kept. Without it nobody can find out which subjects they are about.
pub struct BudgetKey(Zeroizing<[u8; 32]>);

impl BudgetKey {
    /// The key with these bytes: nodes that share a budget are given the same.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key in this file, made now if there is none, and durable before it is used.
    ///
    /// # Errors
    /// The file cannot be used, or is no key.
    pub fn load_or_make(path: &Path, random: &dyn Random) -> Result<Self, Error> {
        if !path.exists() {
            let mut bytes: [u8; 32] = random::array(random);
            let written = files::write_private_file(path, HEXLOWER.encode(&bytes).as_bytes());
            bytes.zeroize();
            written?;
        }
        let text = files::read_private_file(path)?;
        let damaged = || Error::Damaged { path: path.to_owned(), what: "key" };
        let mut bytes = [0; 32];
        let decoded = Zeroizing::new(HEXLOWER.decode(text.trim_ascii()).map_err(|_| damaged())?);
        if decoded.len() != bytes.len() {
            return Err(damaged());
        }
        bytes.copy_from_slice(&decoded);
        let key = Self::new(bytes);
        bytes.zeroize();
        Ok(key)
    }

    /// An officer as he may be counted, without being told.
    pub(crate) fn officer(&self, department: &DepartmentId, officer: &str) -> [u8; 16] {
        self.hash("officer", &[department.as_str(), officer])
    }

    /// A group of subjects of one department's questions: a case, or a range of numbers.
    pub(crate) fn group(&self, kind: &str, department: &DepartmentId, name: &str) -> [u8; 16] {
        self.hash("group", &[kind, department.as_str(), name])
    }

    /// From what the salts of the answers to a batch are made: as good as random to everybody else.
    pub(crate) fn salt_seed(&self, batch: &trust::ids::Digest) -> [u8; 32] {
        self.hash("salt seed", &[&batch.to_string()])
    }

    fn about(&self, consumer: &DepartmentId, subject: &Subject, attribute: &str) -> About {
        let scheme = subject.scheme();
        let parts = [consumer.as_str(), scheme.as_str(), subject.value(), attribute];
        self.hash("about", &parts)
    }

    fn tried(&self, way: &str, value: &str) -> Tried {
        self.hash("tried", &[way, value])
    }

    /// By what two nodes find out whether they have the same key, without telling it.
    pub fn check(&self) -> [u8; 16] {
        self.hash("check", &[])
    }

    /// A subject as it may be counted and compared, without being told.
    pub fn subject(&self, subject: &Subject) -> [u8; 16] {
        self.hash("subject", &[subject.scheme().as_str(), subject.value()])
    }

    /// HMAC-SHA-256 over the parts, each after its length; cut to what is wanted.
    fn hash<const N: usize>(&self, domain: &str, parts: &[&str]) -> [u8; N] {
        // Unwrap safety: HMAC takes a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("any length is a key");
        mac.update(b"errand guess budget v1\0");
        for part in std::iter::once(&domain).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let mut cut = [0; N];
        cut.copy_from_slice(&mac.finalize().into_bytes()[..N]);
        cut
    }
}

impl std::fmt::Debug for BudgetKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("BudgetKey")
    }
}

/// A charge: what was tried, when first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Charge {
    /// The budget it was taken from.
    pub about: About,
    /// What was tried.
    pub tried: Tried,
    /// When, Unix milliseconds.
    pub at_ms: u64,
}

/// What of a guess is new beside `known`, the charges of its budget, if that is within its limits. The one rule, for
/// every keeper of budgets.
pub fn judge(guess: &Guess, known: &[(Tried, u64)], now_ms: u64) -> Result<Vec<Tried>, Spent> {
    let mut new: Vec<Tried> = Vec::new();
    for tried in &guess.tries {
        let is_free = known.iter().any(|(known, at_ms)| known == tried && at_ms.saturating_add(YEAR_MS) > now_ms);
        if !is_free && !new.contains(tried) {
            new.push(*tried);
        }
    }
    if new.is_empty() {
        return Ok(new);
    }
    let limits = [(guess.per_day, DAY_MS, false)].into_iter().chain(guess.per_year.map(|year| (year, YEAR_MS, true)));
    // Where both are spent, the one that takes longer says when there is a point in trying again.
    let mut spent: Option<Spent> = None;
    for (limit, span_ms, in_year) in limits {
        let Err(retry_at_ms) = room(new.len(), limit, span_ms, known, now_ms) else { continue };
        let found = Spent { claim: guess.claim, limit, in_year, retry_at_ms };
        let later = |at: Option<u64>| at.unwrap_or(u64::MAX);
        if spent.is_none_or(|before| later(retry_at_ms) >= later(before.retry_at_ms)) {
            spent = Some(found);
        }
    }
    spent.map_or(Ok(new), Err)
}

/// Whether so many new ones fit; if not, from when on they do, if ever. What is dated after now counts too.
fn room(new: usize, limit: u32, span_ms: u64, known: &[(Tried, u64)], now_ms: u64) -> Result<(), Option<u64>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut ends: Vec<u64> =
        known.iter().map(|(_, at_ms)| at_ms.saturating_add(span_ms)).filter(|ends_ms| *ends_ms > now_ms).collect();
    let Some(may_stay) = limit.checked_sub(new) else { return Err(None) };
    if ends.len() <= may_stay {
        return Ok(());
    }
    ends.sort_unstable();
    // So many must end before.
    Err(ends.get(ends.len() - may_stay - 1).copied())
}

#[cfg(test)]
mod tests;
