//! Looks at every source of an own service once it is known what the service needs, and again when its description
//! changes, so that an operator reads of a missing column or index before anybody asks. A source that cannot be reached, or
//! does not take the question, is tried again, more and more seldom. Out of scope: asking it for a record.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use trust::{
    ids::{DepartmentId, Digest, ServiceId},
    service::ServiceState,
};

use super::Sources;
use crate::view::View;

/// How long until a source that could not be reached is looked at again, first; each time twice as long.
const AGAIN: Duration = Duration::from_secs(30);

/// And at most.
const LONGEST: Duration = Duration::from_secs(3600);

/// Looks at the sources for as long as it is polled.
pub async fn run(sources: Arc<Sources>, view: Arc<View>, me: DepartmentId) {
    let mut examined: HashMap<ServiceId, Digest> = HashMap::new();
    let mut told: HashMap<ServiceId, String> = HashMap::new();
    let mut unreached = Unreached::default();
    let mut sizes = view.sizes();
    loop {
        sizes.borrow_and_update();
        let own = {
            let seen = view.seen();
            let own = seen.directory().services_of(&me);
            let lives = own.filter(|service| !matches!(service.state, ServiceState::Withdrawn { .. }));
            lives.cloned().collect::<Vec<_>>()
        };
        unreached.0.retain(|id, _| own.iter().any(|service| service.id == *id));
        for service in own {
            let Some(source) = sources.of_service(&service) else { continue };
            if examined.get(&service.id) == Some(&service.statement)
                || !unreached.is_due(&service.id, &service.statement, Instant::now())
            {
                continue;
            }
            let outcomes = source.examine(&service).await;
            let news = outcomes.iter().flat_map(|outcome| match outcome {
                Ok(remarks) => remarks.clone(),
                Err(reason) => vec![reason.clone()],
            });
            let news = news.collect::<Vec<_>>().join("; ");
            // Said once, however often it is looked at again.
            if !news.is_empty() && told.get(&service.id) != Some(&news) {
                tracing::warn!(service = %service.id, reason = news, "a source does not fit the service in everything");
            }
            told.insert(service.id.clone(), news);
            if outcomes.iter().all(Result::is_ok) {
                tracing::info!(service = %service.id, sources = source.source_names().join(", "), "the source was looked at");
                unreached.0.remove(&service.id);
                examined.insert(service.id.clone(), service.statement);
            } else {
                unreached.failed(&service.id, service.statement, Instant::now());
            }
        }
        let due = unreached.next();
        let again = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = sizes.changed() => if changed.is_err() { return },
            () = again => {}
        }
    }
}

/// Services whose source could not be looked at: under which statement, after what pause it is tried again, and when.
#[derive(Debug, Default)]
struct Unreached(HashMap<ServiceId, (Digest, Duration, Instant)>);

impl Unreached {
    /// Whether it may be looked at now: a service that was described anew may be at once.
    fn is_due(&self, service: &ServiceId, statement: &Digest, now: Instant) -> bool {
        self.0.get(service).is_none_or(|(of, _, due)| of != statement || *due <= now)
    }

    fn failed(&mut self, service: &ServiceId, statement: Digest, now: Instant) {
        let pause = match self.0.get(service) {
            Some((of, pause, _)) if *of == statement => (*pause * 2).min(LONGEST),
            _ => AGAIN,
        };
        self.0.insert(service.clone(), (statement, pause, now + pause));
    }

    fn next(&self) -> Option<Instant> {
        self.0.values().map(|(_, _, due)| *due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_tried_more_and_more_seldom_and_anew_when_it_is_described_anew() {
        let service = trust::fixture::marriage_registration();
        let statement = Digest::new([1; 32]);
        let id = trust::service::Service::check(&service, statement).unwrap().id;
        let mut unreached = Unreached::default();
        let begun = Instant::now();
        let (mut now, mut tries) = (begun, 0);
        while now < begun + Duration::from_secs(86_400) {
            assert!(unreached.is_due(&id, &statement, now));
            unreached.failed(&id, statement, now);
            assert!(!unreached.is_due(&id, &statement, now), "not at once, whatever comes into the directory");
            tries += 1;
            now = unreached.next().unwrap();
        }
        assert!((20..40).contains(&tries), "{tries} in a day");
        let other = Digest::new([2; 32]);
        assert!(unreached.is_due(&id, &other, begun));
        unreached.failed(&id, other, begun);
        assert_eq!(unreached.next(), Some(begun + AGAIN));
    }
}
