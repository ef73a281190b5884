//! Looks at every source of an own service once it is known what the service needs, and again when its description
//! changes, so that an operator reads of a missing column or index before anybody asks. A source that cannot be reached is
//! tried again until it can. Out of scope: asking it for a record.

use std::{collections::HashMap, sync::Arc, time::Duration};

use trust::{
    ids::{DepartmentId, Digest, ServiceId},
    service::ServiceState,
};

use super::Sources;
use crate::view::View;

/// How long until a source that could not be reached is looked at again.
const AGAIN: Duration = Duration::from_secs(30);

/// Looks at the sources for as long as it is polled.
pub async fn run(sources: Arc<Sources>, view: Arc<View>, me: DepartmentId) {
    let mut examined: HashMap<ServiceId, Digest> = HashMap::new();
    let mut told: HashMap<ServiceId, String> = HashMap::new();
    let mut sizes = view.sizes();
    loop {
        sizes.borrow_and_update();
        let own = {
            let seen = view.seen();
            let own = seen.directory().services_of(&me);
            let lives = own.filter(|service| !matches!(service.state, ServiceState::Withdrawn { .. }));
            lives.cloned().collect::<Vec<_>>()
        };
        let mut all_reached = true;
        for service in own {
            let Some(source) = sources.of_service(&service) else { continue };
            if examined.get(&service.id) == Some(&service.statement) {
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
                examined.insert(service.id.clone(), service.statement);
            } else {
                all_reached = false;
            }
        }
        tokio::select! {
            changed = sizes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !all_reached => {}
        }
    }
}
