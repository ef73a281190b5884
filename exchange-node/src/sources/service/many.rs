//! Many lookups of one service in one pass over its source. What a source cannot answer in one pass is asked one by one, and so
//! is what it refuses in that form. Out of scope: a service with two sources, which are compared subject by subject.

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
            // The value of one subject, or the form of the question, is not to the source's liking: each is asked alone, so
            // that one record that cannot be read spoils no other.
            Err(Trouble::Wrong(_)) => return None,
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

#[cfg(test)]
mod tests {
    use host::clock::MockClock;
    use trust::{
        fixture,
        ids::Digest,
        subject::{Scheme, Subject},
    };

    use super::*;
    use crate::sources::{
        Examined, Source, Work,
        guard::Guard,
        mapping::Mapping,
        raw::{Fetched, Raw},
        service::AskedPlace,
        settings::{Bounds, ServiceSettings},
    };

    const UNREADABLE: &str = "11010519491231002X";
    const FOUND: &str = "440524188001010014";

    /// Cannot read the record of one, and says no more than that where it is asked about several.
    #[derive(Clone)]
    struct Particular {
        together: Trouble,
    }

    impl Source for Particular {
        fn fetch(&self, asked: Asked) -> Work<Result<Fetched, Trouble>> {
            Box::pin(async move {
                if asked.subject.value() == UNREADABLE {
                    return Err(Trouble::Wrong("a value cannot be converted".to_owned()));
                }
                let columns = ["marital_status", "registered_on"].map(str::to_owned).to_vec();
                let row = ["married", "2018-05-20"].map(|cell| Raw::Text(cell.to_owned())).to_vec();
                Ok(Fetched { columns, rows: vec![row] })
            })
        }

        fn fetch_many(&self, _asked: &[Asked]) -> Option<Work<Result<Vec<Fetched>, Trouble>>> {
            let trouble = self.together.clone();
            Some(Box::pin(async move { Err(trouble) }))
        }

        fn examine(&self, _service: Arc<Service>) -> Work<Result<Examined, Trouble>> {
            Box::pin(async { Ok(Examined::default()) })
        }

        fn selects_by(&self, _name: &str) -> bool {
            false
        }

        fn describe(&self) -> String {
            "particular".to_owned()
        }
    }

    async fn looked_up(together: Trouble) -> Vec<Lookup> {
        let clock: Arc<dyn host::clock::Clock> = Arc::new(MockClock::at(1_795_000_000_000));
        let service = Service::check(&fixture::marriage_registration(), Digest::new([7; 32])).unwrap();
        let settings = ServiceSettings {
            service: "marriage-registration".parse().unwrap(),
            major: None,
            places: Vec::new(),
            cache: None,
            poll: None,
            is_copy: false,
            line: 1,
        };
        let guard = Guard::new(Bounds::default(), Arc::clone(&clock));
        let source = Arc::new(Particular { together });
        let place = AskedPlace { name: "civil".to_owned(), source, guard, mapping: Mapping::default() };
        let asked = ServiceSource::new(&settings, vec![place], clock);
        let wanted = [FOUND, UNREADABLE, FOUND].map(|number| Wanted {
            subject: Subject::parse_as(Scheme::ResidentId, number).unwrap(),
            inputs: Vec::new(),
        });
        asked.lookup_many(&service, &wanted).await
    }

    #[tokio::test]
    async fn one_record_that_cannot_be_read_spoils_no_other() {
        let lookups = looked_up(Trouble::Wrong("something in it cannot be converted".to_owned())).await;
        assert!(matches!(&lookups[0], Lookup::Rows { rows, .. } if rows.len() == 1), "{lookups:?}");
        assert!(matches!(&lookups[1], Lookup::Failed(_)), "{lookups:?}");
        assert_eq!(lookups[2], lookups[0]);
    }

    #[tokio::test]
    async fn a_source_that_is_away_is_not_asked_about_each_of_them() {
        let lookups = looked_up(Trouble::Down("it is away".to_owned())).await;
        assert_eq!(lookups, vec![Lookup::Failed("source civil: it is away".to_owned()); 3]);
    }
}
