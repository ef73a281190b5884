//! Many lookups of one service in one pass over its source. What a source cannot answer in one pass is asked one by one; what
//! it refuses in that form is asked of fewer at a time first. Out of scope: a service with two sources, which are compared
//! subject by subject.

use std::sync::Arc;

use trust::service::Service;

use super::ServiceSource;
use crate::{
    records::{Lookup, MANY_AT_ONCE, Wanted, calendar_day},
    sources::{Asked, raw::Trouble},
};

/// So many subjects in one question to a source: each takes a fraction of the time that a question may take.
const IN_ONE_QUESTION: usize = 1000;

/// So many where that was not to its liking: their rows may be too many together, or those of one cannot be read.
const IN_A_SMALL_QUESTION: usize = 6 * MANY_AT_ONCE;

impl ServiceSource {
    /// Looks up all that is wanted, in its order. Nothing is kept, and nothing that was kept is used: a batch would push out
    /// everything else.
    pub async fn lookup_many(&self, service: &Service, wanted: &[Wanted]) -> Vec<Lookup> {
        let of = Arc::new(service.clone());
        let mut found = Vec::with_capacity(wanted.len());
        // In runs of equal inputs, which select the same rows for everybody.
        for run in wanted.chunk_by(|one, other| one.inputs == other.inputs) {
            for some in run.chunks(IN_ONE_QUESTION) {
                if let Some(many) = self.in_one_pass(&of, some).await {
                    found.extend(many);
                    continue;
                }
                for few in some.chunks(IN_A_SMALL_QUESTION) {
                    // Where there are no others they were refused together just now.
                    let many = if few.len() < some.len() { self.in_one_pass(&of, few).await } else { None };
                    match many {
                        Some(many) => found.extend(many),
                        None => found.extend(self.one_by_one(service, few).await),
                    }
                }
            }
        }
        found
    }

    async fn one_by_one(&self, service: &Service, wanted: &[Wanted]) -> Vec<Lookup> {
        let mut found = Vec::with_capacity(wanted.len());
        for few in wanted.chunks(MANY_AT_ONCE) {
            let looking = few.iter().map(|one| self.look_up(service, &one.subject, &one.inputs));
            found.extend(futures_util::future::join_all(looking).await);
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
            // The value of one subject, or the form of the question, is not to the source's liking: fewer are asked, and then
            // each alone, so that one record that cannot be read spoils no other.
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use host::clock::MockClock;
    use trust::{
        fixture,
        ids::Digest,
        subject::{Scheme, Subject, resident_number::ResidentNumber},
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

    /// Cannot read the record of one, and says no more than that where it is asked about several; nor does it answer about more
    /// than so many together.
    #[derive(Clone)]
    struct Particular {
        together: Trouble,
        most: usize,
        alone: Arc<AtomicUsize>,
    }

    impl Particular {
        fn new(together: Trouble, most: usize) -> Self {
            Self { together, most, alone: Arc::default() }
        }

        fn one() -> Fetched {
            let columns = ["marital_status", "registered_on"].map(str::to_owned).to_vec();
            let row = ["married", "2018-05-20"].map(|cell| Raw::Text(cell.to_owned())).to_vec();
            Fetched { columns, rows: vec![row] }
        }
    }

    impl Source for Particular {
        fn fetch(&self, asked: Asked) -> Work<Result<Fetched, Trouble>> {
            self.alone.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                if asked.subject.value() == UNREADABLE {
                    return Err(Trouble::Wrong("a value cannot be converted".to_owned()));
                }
                Ok(Self::one())
            })
        }

        fn fetch_many(&self, asked: &[Asked]) -> Option<Work<Result<Vec<Fetched>, Trouble>>> {
            let is_readable = asked.iter().all(|asked| asked.subject.value() != UNREADABLE);
            let outcome = match asked.len() <= self.most && is_readable {
                true => Ok(vec![Self::one(); asked.len()]),
                false => Err(self.together.clone()),
            };
            Some(Box::pin(async move { outcome }))
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

    async fn looked_up(source: Particular, numbers: &[String]) -> Vec<Lookup> {
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
        let place =
            AskedPlace { name: "civil".to_owned(), source: Arc::new(source), guard, mapping: Mapping::default() };
        let asked = ServiceSource::new(&settings, vec![place], clock);
        let wanted = numbers.iter().map(|number| Wanted {
            subject: Subject::parse_as(Scheme::ResidentId, number).unwrap(),
            inputs: Vec::new(),
        });
        let wanted = wanted.collect::<Vec<_>>();
        asked.lookup_many(&service, &wanted).await
    }

    #[tokio::test]
    async fn one_record_that_cannot_be_read_spoils_no_other() {
        let source = Particular::new(Trouble::Wrong("something in it cannot be converted".to_owned()), 1000);
        let lookups = looked_up(source, &[FOUND, UNREADABLE, FOUND].map(str::to_owned)).await;
        assert!(matches!(&lookups[0], Lookup::Rows { rows, .. } if rows.len() == 1), "{lookups:?}");
        assert!(matches!(&lookups[1], Lookup::Failed(_)), "{lookups:?}");
        assert_eq!(lookups[2], lookups[0]);
    }

    #[tokio::test]
    async fn a_source_that_is_away_is_not_asked_about_each_of_them() {
        let source = Particular::new(Trouble::Down("it is away".to_owned()), 0);
        let lookups = looked_up(source, &[FOUND, UNREADABLE, FOUND].map(str::to_owned)).await;
        assert_eq!(lookups, vec![Lookup::Failed("source civil: it is away".to_owned()); 3]);
    }

    #[tokio::test]
    async fn what_is_too_much_together_is_asked_of_fewer_before_it_is_asked_of_each() {
        let number = |sequence: u16| {
            let born = jiff::civil::date(1958, 2, 14);
            ResidentNumber::compose("890101", born, sequence).unwrap().into_string()
        };
        let mut numbers: Vec<String> = (1..=900).map(number).collect();
        let source = Particular::new(Trouble::Wrong("there are too many rows".to_owned()), 100);
        let alone = Arc::clone(&source.alone);
        let lookups = looked_up(source.clone(), &numbers).await;
        let is_found = |lookup: &Lookup| matches!(lookup, Lookup::Rows { rows, .. } if rows.len() == 1);
        assert!(lookups.len() == 900 && lookups.iter().all(is_found), "{lookups:?}");
        assert_eq!(alone.load(Ordering::SeqCst), 0, "asked of each");
        // One that cannot be read: the few beside it are asked one by one, and in their order.
        UNREADABLE.clone_into(&mut numbers[300]);
        let lookups = looked_up(source, &numbers).await;
        assert_eq!(lookups.iter().position(|lookup| !is_found(lookup)), Some(300));
        assert_eq!(lookups.iter().filter(|lookup| is_found(lookup)).count(), 899);
        assert_eq!(alone.load(Ordering::SeqCst), IN_A_SMALL_QUESTION);
    }
}
