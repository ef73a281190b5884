//! One service whose records are in a source: asked, read, compared with a second source where there is one, and kept for
//! a while where that is allowed. Out of scope: how a source is asked.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use host::clock::Clock;
use jiff::civil::Date;
use trust::{claim::Row, ids::ServiceName, service::Service, subject::Subject, value::Value};

mod many;

use super::{
    Asked, Source,
    cache::{Cache, Question},
    guard::Guard,
    mapping::{Mapped, Mapping},
    raw::{Fetched, Trouble},
    settings::ServiceSettings,
};
use crate::records::{Lookup, Reading, calendar_day};

/// How often a source is looked at for those who subscribed to changes, where nothing else is said.
const USUAL_POLL: Duration = Duration::from_secs(900);

/// How often the same trouble of one service is logged, in milliseconds.
const LOG_EVERY_MS: u64 = 60_000;

/// One source of a service.
pub(super) struct AskedPlace {
    pub(super) name: String,
    pub(super) source: Arc<dyn Source>,
    pub(super) guard: Arc<Guard>,
    pub(super) mapping: Mapping,
}

/// A service whose records are in a source.
pub struct ServiceSource {
    service: ServiceName,
    major: Option<u32>,
    places: Vec<AskedPlace>,
    cache: Option<Cache>,
    poll: Duration,
    is_copy: bool,
    clock: Arc<dyn Clock>,
    noticed: Mutex<Noticed>,
}

/// What the operator should know of a service's source: what could not be read lately, without values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// What could not be read, and how the last lookup failed.
    pub notes: Vec<String>,
    /// When that was, Unix milliseconds.
    pub at_ms: u64,
}

/// What one source said of one subject, for the operator alone.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The source.
    pub source: String,
    /// What was asked.
    pub asked: String,
    /// What it gave.
    pub fetched: Result<Fetched, Trouble>,
    /// What was made of it.
    pub mapped: Result<Mapped, String>,
}

impl ServiceSource {
    pub(super) fn new(settings: &ServiceSettings, places: Vec<AskedPlace>, clock: Arc<dyn Clock>) -> Self {
        Self {
            service: settings.service.clone(),
            major: settings.major,
            places,
            cache: settings.cache.map(Cache::new),
            poll: settings.poll.unwrap_or(USUAL_POLL),
            is_copy: settings.is_copy,
            clock,
            noticed: Mutex::default(),
        }
    }

    /// The service.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Its major version; `None`: every one that has no source of its own.
    pub fn major(&self) -> Option<u32> {
        self.major
    }

    /// The names of its sources.
    pub fn source_names(&self) -> Vec<&str> {
        self.places.iter().map(|place| place.name.as_str()).collect()
    }

    /// How often it is looked at for those who subscribed to changes.
    pub fn poll(&self) -> Duration {
        self.poll
    }

    /// What could not be read lately.
    pub fn noticed(&self) -> Noticed {
        self.noticed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks `subject` up.
    pub async fn lookup(
        &self,
        reading: Reading<'_>,
        service: &Service,
        subject: &Subject,
        inputs: &[(String, Value)],
    ) -> Lookup {
        let Some(cache) = &self.cache else { return self.look_up(service, subject, inputs).await };
        let Reading::KeptFor(consumer) = reading else {
            cache.forget(subject);
            return self.look_up(service, subject, inputs).await;
        };
        let (consumer, subject_asked, inputs_asked) = (consumer.clone(), subject.clone(), inputs.to_vec());
        let question =
            Question { consumer, statement: service.statement, subject: subject_asked, inputs: inputs_asked };
        let now_ms = self.clock.now_ms();
        if let Some(kept) = cache.answer(&question, now_ms) {
            return kept;
        }
        let forgotten = cache.forgotten();
        let lookup = self.look_up(service, subject, inputs).await;
        cache.keep(question, &lookup, (now_ms, forgotten));
        lookup
    }

    async fn look_up(&self, service: &Service, subject: &Subject, inputs: &[(String, Value)]) -> Lookup {
        // As of before it is asked: a record that changes meanwhile is no younger than that.
        let today = calendar_day(self.clock.now_ms());
        let asked = Asked { service: Arc::new(service.clone()), subject: subject.clone(), inputs: inputs.to_vec() };
        let mut lookups = Vec::with_capacity(self.places.len());
        for seen in self.ask(&asked).await {
            let trouble = |reason: String| format!("source {}: {reason}", seen.source);
            match seen.fetched.map_err(|error| error.to_string()).and(seen.mapped) {
                Ok(mapped) => lookups.push(mapped),
                Err(reason) => {
                    let reason = trouble(reason);
                    self.notice([reason.clone()]);
                    return Lookup::Failed(reason);
                }
            }
        }
        self.joined(service, lookups, today)
    }

    /// What the sources of the service say together.
    fn joined(&self, service: &Service, mut lookups: Vec<Mapped>, today: Date) -> Lookup {
        let notes = lookups.iter_mut().flat_map(|mapped| std::mem::take(&mut mapped.notes)).collect::<Vec<_>>();
        if !notes.is_empty() {
            self.notice(notes);
        }
        let mut lookups = lookups.into_iter();
        let Some(mut found) = lookups.next() else { return Lookup::NotImported };
        for other in lookups {
            if let Err(reason) = agree(&mut found, &other) {
                self.notice([reason.clone()]);
                return Lookup::Failed(reason);
            }
        }
        let as_of = self.as_of(service, &found, today);
        match found.lacking.as_slice() {
            [] => Lookup::Rows { rows: found.rows, as_of },
            _ => Lookup::Partial { rows: found.rows, as_of, lacking: found.lacking, uncertain: Vec::new() },
        }
    }

    /// Asks every source of the service, at the same time.
    pub async fn ask(&self, asked: &Asked) -> Vec<Seen> {
        let asking = self.places.iter().map(|place| {
            let asked = asked.clone();
            async move {
                let source = Arc::clone(&place.source);
                let of = asked.clone();
                let question = async move { source.fetch(of).await };
                let promise = Duration::from_millis(asked.service.published.time_to_answer_ms.into());
                let fetched = match place.source.ends_with_its_asker() {
                    true => place.guard.ask_while_awaited(promise, question).await,
                    false => place.guard.ask(question).await,
                };
                let selected = |name: &str| place.source.selects_by(name);
                let mapped = match &fetched {
                    Ok(fetched) => {
                        place.mapping.rows(&asked.service, &asked.subject, &asked.inputs, &selected, fetched)
                    }
                    Err(trouble) => Err(trouble.to_string()),
                };
                Seen { source: place.name.clone(), asked: place.source.describe(), fetched, mapped }
            }
        });
        futures_util::future::join_all(asking).await
    }

    /// What an operator should think of, though nothing shows that it is wrong.
    pub fn hints(&self, service: &Service) -> Vec<String> {
        let hint = |place: &AskedPlace| Some(format!("source {}: {}", place.name, place.source.hint(service)?));
        self.places.iter().filter_map(hint).collect()
    }

    /// Looks at every source before anybody asks: what does not fit, or how it cannot be reached.
    pub async fn examine(&self, service: &Service) -> Vec<Result<Vec<String>, String>> {
        let service = Arc::new(service.clone());
        let examining = self.places.iter().map(|place| {
            let service = Arc::clone(&service);
            async move {
                let source = Arc::clone(&place.source);
                let of = Arc::clone(&service);
                let examined = place.guard.ask(async move { source.examine(of).await }).await;
                let named = |text: String| format!("source {}: {text}", place.name);
                let examined = examined.map_err(|trouble| named(trouble.to_string()))?;
                let fit = place.mapping.fit(&service, &|name| place.source.selects_by(name), &examined.columns);
                Ok(fit.into_iter().chain(examined.remarks).map(named).collect())
            }
        });
        futures_util::future::join_all(examining).await
    }

    fn as_of(&self, service: &Service, found: &Mapped, today: Date) -> Option<Date> {
        let has_column = !service.published.record_as_of_column.is_empty();
        match (has_column && !found.rows.is_empty(), self.is_copy) {
            (true, _) => found.as_of,
            (false, false) => Some(today),
            (false, true) => None,
        }
    }

    fn notice(&self, notes: impl IntoIterator<Item = String>) {
        let now_ms = self.clock.now_ms();
        let notes = notes.into_iter().collect::<Vec<_>>();
        let mut noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = noticed.notes != notes || now_ms.saturating_sub(noticed.at_ms) >= LOG_EVERY_MS;
        if is_news {
            tracing::warn!(service = %self.service, reason = notes.join("; "), "records cannot be read as the service needs them");
            *noticed = Noticed { notes, at_ms: now_ms };
        }
    }
}

/// Two sources must say the same of every attribute that both know. Where they do not, nothing says which is right.
fn agree(one: &mut Mapped, other: &Mapped) -> Result<(), String> {
    let compared = |mapped: &Mapped, lacking: &BTreeSet<String>| {
        let mut rows = mapped.rows.iter().map(|row| plain(row, lacking)).collect::<Vec<_>>();
        rows.sort();
        rows
    };
    // What only one of them knows is taken from nobody: the other might say otherwise.
    let lacking = one.lacking.iter().chain(&other.lacking).cloned().collect::<BTreeSet<_>>();
    if compared(one, &lacking) != compared(other, &lacking) {
        return Err("the two sources disagree about the subject".to_owned());
    }
    one.lacking = lacking.into_iter().collect();
    one.as_of = one.as_of.zip(other.as_of).map(|(one, other)| one.min(other));
    Ok(())
}

fn plain(row: &Row, without: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut plain = row
        .columns()
        .filter(|(name, _)| !without.contains(*name))
        .map(|(name, value)| (name.to_owned(), canonical(value)))
        .collect::<Vec<_>>();
    plain.sort();
    plain
}

/// A value so that equal ones are written alike: a decimal without its trailing zeros.
fn canonical(value: &Value) -> String {
    match value {
        Value::Decimal(decimal) => decimal.normalize().to_string(),
        value => value.to_text(),
    }
}

impl fmt::Debug for ServiceSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServiceSource").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
