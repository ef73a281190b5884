//! When what is subscribed to is looked at again: after records were imported or changed, by and by where they are in a source
//! that cannot say so, after news of the directory, and when its time has passed. Out of scope: what is then told
//! (`answer::notices`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use host::{clock::Clock, supervise::TaskError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trust::{
    ids::{DepartmentId, ServiceId, ServiceName},
    service::Service,
};

use super::{Given, GivenBook};
use crate::{
    answer::{Answerer, Looked},
    records::Records,
    sources::Sources,
    view::View,
};

/// How often imported records are looked at without an import: what a claim says of today changes with the days.
const SWEEP_MS: u64 = 3_600_000;

/// How soon what failed is tried again.
const AGAIN_MS: u64 = 5_000;

/// The longest that nothing is looked at: the clock may have been set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);

/// The shortest.
const SHORTEST_SLEEP: Duration = Duration::from_millis(50);

/// How many records are looked up at once.
const AT_ONCE: usize = 8;

/// A service and its major version.
type Version = (String, u32);

/// How often each service's records were imported.
type Imports = BTreeMap<(ServiceName, u32), u64>;

/// Looks at what is subscribed to.
pub struct Watcher {
    /// The department.
    pub me: DepartmentId,
    /// What is subscribed to.
    pub given: Arc<GivenBook>,
    /// Looks, and tells.
    pub answerer: Arc<Answerer>,
    /// Imported records.
    pub records: Arc<Records>,
    /// Where other records are.
    pub sources: Arc<Sources>,
    /// The directory.
    pub view: Arc<View>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What was looked at, and when it is to be looked at next.
#[derive(Default)]
struct Rounds {
    /// Which import of each service was looked at last.
    imports: Imports,
    /// When each service is looked at next, Unix milliseconds.
    due: HashMap<Version, u64>,
    /// Questions to be looked at by themselves, and when.
    single: HashMap<u64, u64>,
    /// The directory that permissions were last held against.
    directory: Option<u64>,
}

impl Watcher {
    /// Looks until `stop`.
    ///
    /// # Errors
    ///
    /// The view or the records have ended.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), TaskError> {
        let mut imports = self.records.imports();
        let mut sizes = self.view.sizes();
        let mut rounds = Rounds::default();
        loop {
            let imported = imports.borrow_and_update().clone();
            sizes.borrow_and_update();
            self.round(&mut rounds, &imported, &stop).await;
            let now_ms = self.clock.now_ms();
            let next = rounds.due.values().chain(rounds.single.values()).min().copied().unwrap_or(u64::MAX);
            let pause = Duration::from_millis(next.saturating_sub(now_ms)).clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = imports.changed() => changed?,
                changed = sizes.changed() => changed?,
                () = self.given.changed.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// One look at everything that is due.
    async fn round(&self, rounds: &mut Rounds, imported: &Imports, stop: &CancellationToken) {
        let now_ms = self.clock.now_ms();
        let fresh = self.given.take_fresh();
        let mut of_version: BTreeMap<Version, Vec<Given>> = BTreeMap::new();
        for row in self.given.live() {
            of_version.entry((row.service.clone(), row.major)).or_default().push(row);
        }
        rounds.due.retain(|version, _| of_version.contains_key(version));
        let is_due = |at_ms: u64| at_ms <= now_ms;
        let alone: BTreeSet<u64> =
            rounds.single.iter().filter(|(_, at_ms)| is_due(**at_ms)).map(|(question, _)| *question).collect();
        rounds.single.retain(|question, _| !alone.contains(question));
        let size = self.view.seen().size();
        let has_news = rounds.directory.replace(size) != Some(size);
        for (version, rows) in of_version {
            let import = version.0.parse().ok().and_then(|name| {
                let key = (name, version.1);
                imported.get(&key).map(|import| (key, *import))
            });
            let is_new = import.as_ref().is_some_and(|(key, import)| rounds.imports.get(key) != Some(import));
            let whole = is_new || rounds.due.get(&version).copied().is_none_or(is_due);
            let is_chosen = |row: &&Given| {
                let question = &row.question;
                whole || fresh.contains(question) || alone.contains(question) || is_due(row.until_ms)
            };
            let mut chosen: BTreeSet<u64> = rows.iter().filter(is_chosen).map(|row| row.question).collect();
            if has_news && !whole {
                chosen.extend(self.no_longer_granted(&rows));
            }
            let failed = self.look(&chosen, rounds, stop).await;
            if whole {
                let wait_ms = if failed { AGAIN_MS } else { self.interval_ms(&version) };
                rounds.due.insert(version, self.clock.now_ms().saturating_add(wait_ms));
                rounds.imports.extend(import);
            }
        }
    }

    /// Looks at some of them; whether any could not be looked at.
    async fn look(&self, questions: &BTreeSet<u64>, rounds: &mut Rounds, stop: &CancellationToken) -> bool {
        let looking = futures_util::stream::iter(questions.iter().copied()).map(|question| async move {
            // Never dropped half-way: what is in the evidence is to stand in the book too.
            match stop.is_cancelled() {
                true => (question, Ok(Looked::Silent)),
                false => (question, self.answerer.look_again(question).await),
            }
        });
        let mut looking = std::pin::pin!(looking.buffer_unordered(AT_ONCE));
        let mut failed = false;
        while let Some((question, looked)) = looking.next().await {
            match looked {
                Ok(Looked::Later(at_ms)) => drop(rounds.single.insert(question, at_ms)),
                Ok(Looked::Over | Looked::Silent | Looked::Told) => {}
                Err(error) => {
                    if !failed {
                        tracing::warn!(%error, "what is subscribed to cannot be looked at now; it is tried again");
                    }
                    failed = true;
                    rounds.single.insert(question, self.clock.now_ms().saturating_add(AGAIN_MS));
                }
            }
        }
        failed
    }

    /// Those whose permission may have ended: of each consumer and grant one is tried, and where it is refused, all of them
    /// are looked at.
    fn no_longer_granted(&self, rows: &[Given]) -> Vec<u64> {
        let mut refused: HashMap<(&str, &str), bool> = HashMap::new();
        let mut ended = Vec::new();
        for row in rows {
            let of = (row.consumer.as_str(), row.grant.as_str());
            if *refused.entry(of).or_insert_with(|| !self.answerer.is_still_permitted(row.question)) {
                ended.push(row.question);
            }
        }
        ended
    }

    fn interval_ms(&self, (service, major): &Version) -> u64 {
        let Ok(service) = service.parse() else { return SWEEP_MS };
        let id = ServiceId { department: self.me.clone(), service, major: *major };
        let seen = self.view.seen();
        let source = seen.directory().service(&id).and_then(|service: &Service| self.sources.of_service(service));
        source.map_or(SWEEP_MS, |source| u64::try_from(source.poll().as_millis()).unwrap_or(SWEEP_MS))
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watcher").finish_non_exhaustive()
    }
}
