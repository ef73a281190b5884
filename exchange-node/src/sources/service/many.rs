//! Many lookups of one service in one pass over its source. What a source cannot answer in one pass is asked one by one. Out
//! of scope: a service with two sources, which are compared subject by subject.

use std::sync::Arc;

use trust::service::Service;

use super::ServiceSource;
use crate::{
    records::{Lookup, MANY_AT_ONCE, Wanted, calendar_day},
    sources::{Asked, raw::Trouble},
};

/// So many subjects in one question to a source: each takes a fraction of the time that a question may take.
const IN_ONE_QUESTION: usize = 1000;

impl ServiceSource {
    /// Looks up all that is wanted, in its order. Nothing is kept, and nothing that was kept is used: a batch would push out
    /// everything else.
    pub async fn lookup_many(&self, service: &Service, wanted: &[Wanted]) -> Vec<Lookup> {
        let of = Arc::new(service.clone());
        let mut found = Vec::with_capacity(wanted.len());
        // In runs of equal inputs, which select the same rows for everybody.
        for run in wanted.chunk_by(|one, other| one.inputs == other.inputs) {
            for some in run.chunks(IN_ONE_QUESTION) {
                match self.in_one_pass(&of, some).await {
                    Some(many) => found.extend(many),
                    None => {
                        for few in some.chunks(MANY_AT_ONCE) {
                            let looking = few.iter().map(|one| self.look_up(service, &one.subject, &one.inputs));
                            found.extend(futures_util::future::join_all(looking).await);
                        }
                    }
                }
            }
        }
        found
    }

    async fn in_one_pass(&self, service: &Arc<Service>, wanted: &[Wanted]) -> Option<Vec<Lookup>> {
        let [place] = self.places.as_slice() else { return None };
        let today = calendar_day(self.clock.now_ms());
        let asked: Vec<Asked> = wanted
            .iter()
            .map(|wanted| Asked {
                service: Arc::clone(service),
                subject: wanted.subject.clone(),
                inputs: wanted.inputs.clone(),
            })
            .collect();
        let fetching = place.source.fetch_many(&asked)?;
        let fetched = match place.guard.ask(fetching).await {
            Ok(fetched) if fetched.len() == asked.len() => fetched,
            Ok(_) => {
                return Some(self.all_failed(&place.name, &Trouble::Wrong("it lost count".to_owned()), asked.len()));
            }
            Err(trouble) => return Some(self.all_failed(&place.name, &trouble, asked.len())),
        };
        let selected = |name: &str| place.source.selects_by(name);
        let lookups = asked.iter().zip(&fetched).map(|(asked, fetched)| {
            match place.mapping.rows(service, &asked.subject, &asked.inputs, &selected, fetched) {
                Ok(mapped) => self.joined(service, vec![mapped], today),
                Err(reason) => {
                    let reason = format!("source {}: {reason}", place.name);
                    self.notice([reason.clone()]);
                    Lookup::Failed(reason)
                }
            }
        });
        Some(lookups.collect())
    }

    fn all_failed(&self, place: &str, trouble: &Trouble, count: usize) -> Vec<Lookup> {
        let reason = format!("source {place}: {trouble}");
        self.notice([reason.clone()]);
        vec![Lookup::Failed(reason); count]
    }
}
