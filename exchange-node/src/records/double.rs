//! A source of records for tests: it says what it was told to, after as long as it was told to take.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trust::service::Service;
use trust::subject::Subject;
use trust::value::Value;

use super::{Lookup, LookupFuture, Reading, RecordSource, RecordsStatus};

/// Answers lookups from memory. Inputs are not looked at: tell it the rows that they select.
pub struct RecordsDouble {
    told: Mutex<HashMap<Subject, Lookup>>,
    otherwise: Mutex<Lookup>,
    delay: Duration,
    lookups: AtomicU64,
    lookups_anew: AtomicU64,
    may_repeat: bool,
}

impl RecordsDouble {
    /// A source that says `otherwise` about every subject.
    pub fn saying(otherwise: Lookup) -> Self {
        Self {
            told: Mutex::default(),
            otherwise: Mutex::new(otherwise),
            delay: Duration::ZERO,
            lookups: AtomicU64::new(0),
            lookups_anew: AtomicU64::new(0),
            may_repeat: false,
        }
    }

    /// May give one row under several numbers of a subject.
    #[must_use]
    pub fn that_may_repeat(mut self) -> Self {
        self.may_repeat = true;
        self
    }

    /// A source that holds nothing about anybody.
    pub fn empty() -> Self {
        Self::saying(Lookup::Rows { rows: Vec::new(), as_of: None })
    }

    /// A source that is down.
    pub fn failing() -> Self {
        Self::saying(Lookup::Failed("the double fails".to_owned()))
    }

    /// Says `lookup` about `subject`.
    #[must_use]
    pub fn with(self, subject: Subject, lookup: Lookup) -> Self {
        self.told.lock().unwrap().insert(subject, lookup);
        self
    }

    /// Takes this long for each lookup (tokio's time, so tests can pause it).
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// From now on says `lookup` about every subject it was told nothing else about.
    pub fn say(&self, lookup: Lookup) {
        *self.otherwise.lock().unwrap() = lookup;
    }

    /// How many lookups there were.
    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::SeqCst)
    }

    /// How many of them were to use nothing that was kept.
    pub fn lookups_anew(&self) -> u64 {
        self.lookups_anew.load(Ordering::SeqCst)
    }
}

impl RecordSource for RecordsDouble {
    fn lookup<'a>(
        &'a self,
        reading: Reading<'a>,
        _service: &'a Service,
        subject: &'a Subject,
        _inputs: &'a [(String, Value)],
    ) -> LookupFuture<'a> {
        Box::pin(async move {
            self.lookups.fetch_add(1, Ordering::SeqCst);
            self.lookups_anew.fetch_add(matches!(reading, Reading::Anew).into(), Ordering::SeqCst);
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            let told = self.told.lock().unwrap().get(subject).cloned();
            told.unwrap_or_else(|| self.otherwise.lock().unwrap().clone())
        })
    }

    fn may_repeat(&self, _service: &Service) -> bool {
        self.may_repeat
    }

    fn status(&self) -> Vec<RecordsStatus> {
        Vec::new()
    }
}
