//! What office systems are told, in one durable list and one order: each event has a number, and what it is about is named by
//! its place or id alone. It is noted together with what happened, so a crash loses none and doubles none; whoever listens goes
//! on behind the last number he saw, and each webhook gets its duty beside it.
//!
//! **Invariant:** an event is in the list before anybody is told of it, and numbers are given one after the other, so nobody
//! who went on behind a number has missed a smaller one. Out of scope: what a notice says (`office::notices`), sending it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host::clock::Clock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    case::CommitmentState,
    duty::{self, Change, Duties},
    webhooks::Webhooks,
};

/// The book's name in the due-list.
const BOOK: &str = "office_event";

/// How long an event is kept: somewhat longer than a webhook is tried.
const KEPT_MS: u64 = 61 * 86_400_000;

/// How many events that are over are forgotten with one that comes.
const FORGOTTEN_AT_ONCE: usize = 16;

/// What happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// An answer came later than its question's first.
    Answer {
        /// Its place in the evidence.
        answer: u64,
    },
    /// A job of many questions has ended.
    Batch {
        /// Its id.
        job: String,
    },
    /// Something of a case came out otherwise by itself.
    Case {
        /// The case number.
        number: String,
    },
    /// A commitment was checked, or put right.
    Commitment {
        /// Its id.
        commitment: String,
        /// What it came to.
        state: CommitmentState,
    },
    /// What this department subscribed to has changed, or is over.
    Notice {
        /// The place of the notice in the evidence.
        answer: u64,
    },
    /// A correction that this department opened was decided, or refused.
    Correction {
        /// Its place in the evidence.
        entry: u64,
    },
}

/// An event.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its number, from 1.
    pub number: u64,
    /// When it was noted, Unix milliseconds.
    pub at_ms: u64,
    /// The office system that is told.
    pub system: String,
    /// What happened.
    pub happened: Happened,
}

/// The list.
pub struct Outbox {
    duties: Arc<Duties>,
    webhooks: Arc<Webhooks>,
    clock: Arc<dyn Clock>,
    events: Mutex<BTreeMap<u64, Event>>,
    /// The number of the next event; held while one is noted.
    next: tokio::sync::Mutex<u64>,
    news: watch::Sender<u64>,
}

impl Outbox {
    /// Reads what is kept beside the due-list.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(duties: Arc<Duties>, webhooks: Arc<Webhooks>, clock: Arc<dyn Clock>) -> Result<Self, duty::Error> {
        let events = duties.rows::<Event>(BOOK)?.into_iter().map(|event| (event.number, event));
        let events: BTreeMap<u64, Event> = events.collect();
        let last = events.last_key_value().map_or(0, |(number, _)| *number);
        Ok(Self {
            duties,
            webhooks,
            clock,
            events: Mutex::new(events),
            next: tokio::sync::Mutex::new(last + 1),
            news: watch::Sender::new(last),
        })
    }

    /// Begins to note events: nobody else does until the returned value is gone.
    pub async fn begin(&self) -> Noting<'_> {
        Noting { outbox: self, next: self.next.lock().await, noted: Vec::new(), forgotten: Vec::new() }
    }

    /// Notes one event that nothing else changes with.
    ///
    /// # Errors
    /// It cannot be made durable.
    pub async fn note(&self, system: &str, case_number: &str, happened: Happened) -> Result<(), duty::Error> {
        let mut noting = self.begin().await;
        let changes = noting.note(system, case_number, happened);
        if !changes.is_empty() {
            self.duties.commit(changes).await?;
        }
        noting.done();
        Ok(())
    }

    /// The event with this number; `None` where it is over.
    pub fn event(&self, number: u64) -> Option<Event> {
        self.locked().get(&number).cloned()
    }

    /// The first event of a system behind this number.
    pub fn next_for(&self, system: &str, behind: u64) -> Option<Event> {
        let events = self.locked();
        events.range(behind.saturating_add(1)..).map(|(_, event)| event).find(|event| event.system == system).cloned()
    }

    /// Whether an event of this kind is in the list.
    pub fn has(&self, happened: &Happened) -> bool {
        self.locked().values().any(|event| event.happened == *happened)
    }

    /// The number of the last event.
    pub fn last(&self) -> u64 {
        *self.news.borrow()
    }

    /// Changes with each event.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Whether something that happened then is still kept.
    pub fn keeps(&self, at_ms: u64) -> bool {
        self.clock.now_ms() < at_ms.saturating_add(KEPT_MS)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<u64, Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that are being noted. What [`Noting::note`] returns is committed with what happened; then [`Noting::done`].
#[must_use]
pub struct Noting<'a> {
    outbox: &'a Outbox,
    next: tokio::sync::MutexGuard<'a, u64>,
    noted: Vec<Event>,
    forgotten: Vec<u64>,
}

impl Noting<'_> {
    /// Notes an event, and puts the duties to tell the system's webhooks on the list. An operator's own doing is told to nobody.
    pub fn note(&mut self, system: &str, case_number: &str, happened: Happened) -> Vec<Change> {
        if system.is_empty() {
            return Vec::new();
        }
        let at_ms = self.outbox.clock.now_ms();
        // A number is given once, also where what it was for never became durable.
        let number = *self.next;
        *self.next += 1;
        let event = Event { number, at_ms, system: system.to_owned(), happened };
        let mut changes = vec![Change::row(BOOK, key(number), &event)];
        changes.extend(self.outbox.webhooks.duties(system, case_number, number, at_ms));
        self.noted.push(event);
        let events = self.outbox.locked();
        let over = events.values().filter(|event| !self.outbox.keeps(event.at_ms)).map(|event| event.number);
        let over = over.filter(|number| !self.forgotten.contains(number)).take(FORGOTTEN_AT_ONCE).collect::<Vec<_>>();
        drop(events);
        changes.extend(over.iter().map(|number| Change::RowGone { book: BOOK, key: key(*number) }));
        self.forgotten.extend(over);
        changes
    }

    /// What was noted is durable: whoever listens is told.
    pub fn done(self) {
        let Self { outbox, noted, forgotten, next } = self;
        let mut events = outbox.locked();
        for number in &forgotten {
            events.remove(number);
        }
        let last = noted.last().map(|event| event.number);
        events.extend(noted.into_iter().map(|event| (event.number, event)));
        drop(events);
        if let Some(last) = last {
            outbox.news.send_replace(last);
        }
        drop(next);
    }
}

/// So that keys are in the order of the numbers.
fn key(number: u64) -> String {
    format!("{number:020}")
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outbox").field("events", &self.locked().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use host::{clock::MockClock, random::SeededRandom};

    use super::*;

    fn outbox(dir: &std::path::Path, clock: &Arc<MockClock>) -> (Arc<Duties>, Outbox) {
        let duties = crate::duty::tests::duties(dir, Arc::clone(clock) as _);
        let webhooks = Arc::new(Webhooks::open(dir).unwrap());
        let outbox = Outbox::open(Arc::clone(&duties), webhooks, Arc::clone(clock) as _).unwrap();
        (duties, outbox)
    }

    fn numbers(outbox: &Outbox, system: &str) -> Vec<u64> {
        let mut found = Vec::new();
        while let Some(event) = outbox.next_for(system, found.last().copied().unwrap_or(0)) {
            found.push(event.number);
        }
        found
    }

    #[tokio::test]
    async fn events_are_kept_in_order_for_each_system_and_numbers_are_never_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(MockClock::at(1_000));
        let (duties, told) = outbox(dir.path(), &clock);
        Webhooks::open(dir.path())
            .unwrap()
            .add("desk", "http://127.0.0.1:9/told", None, &SeededRandom::new(2), 1)
            .unwrap();
        for (system, answer) in [("desk", 7), ("other", 8), ("", 9), ("desk", 10)] {
            told.note(system, "GZF-1", Happened::Answer { answer }).await.unwrap();
        }
        assert_eq!((numbers(&told, "desk"), numbers(&told, "other"), told.last()), (vec![1, 3], vec![2], 3));
        assert!(told.has(&Happened::Answer { answer: 10 }) && !told.has(&Happened::Answer { answer: 9 }));
        // One that was begun and never became durable leaves a gap, and its number is not another's.
        let mut noting = told.begin().await;
        assert_eq!(noting.note("desk", "GZF-1", Happened::Answer { answer: 11 }).len(), 1);
        drop(noting);
        told.note("desk", "GZF-1", Happened::Answer { answer: 12 }).await.unwrap();
        assert_eq!(numbers(&told, "desk"), [1, 3, 5]);
        assert_eq!(duties.count(), 0, "the webhook came after this outbox was opened");
        duties.close().await.unwrap();
        drop((duties, told));

        // After a restart it goes on; the webhook is told from now on; what is long over is forgotten, and never the last.
        let (duties, told) = outbox(dir.path(), &clock);
        assert_eq!((numbers(&told, "desk"), told.last()), (vec![1, 3, 5], 5));
        clock.set(1_000 + KEPT_MS);
        told.note("desk", "GZF-2", Happened::Batch { job: "j".into() }).await.unwrap();
        assert_eq!((numbers(&told, "desk"), duties.count()), (vec![6], 1));
        duties.close().await.unwrap();
        drop((duties, told));
        let (duties, told) = outbox(dir.path(), &clock);
        assert_eq!((numbers(&told, "desk"), duties.count()), (vec![6], 1));
        duties.close().await.unwrap();
    }
}
