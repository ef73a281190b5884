//! What is kept of a source's answers, and when it is not used.

use host::clock::MockClock;
use trust::{
    fixture::{self, party},
    ids::{Digest, Party},
    subject::Scheme,
};

use super::*;
use crate::sources::{Examined, Work, raw::Raw, settings::Bounds};

/// Says of everybody what it was told last.
#[derive(Clone)]
struct Register {
    says: Arc<Mutex<&'static str>>,
}

impl Source for Register {
    fn fetch(&self, _asked: Asked) -> Work<Result<Fetched, Trouble>> {
        let said = *self.says.lock().unwrap();
        let columns = ["marital_status", "registered_on"].map(str::to_owned).to_vec();
        let row = [said, "2018-05-20"].map(|cell| Raw::Text(cell.to_owned())).to_vec();
        Box::pin(async move { Ok(Fetched { columns, rows: vec![row] }) })
    }

    fn examine(&self, _service: Arc<Service>) -> Work<Result<Examined, Trouble>> {
        Box::pin(async { Ok(Examined::default()) })
    }

    fn selects_by(&self, _name: &str) -> bool {
        false
    }

    fn describe(&self) -> String {
        "register".to_owned()
    }
}

fn status(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Rows { rows, .. } => rows[0].value("marital_status").unwrap().to_text(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_kept_is_used_until_it_is_over_the_record_is_looked_at_anew_or_the_service_is_another() {
    let clock: Arc<dyn Clock> = Arc::new(MockClock::at(1_795_000_000_000));
    let described = |digest: u8| Service::check(&fixture::marriage_registration(), Digest::new([digest; 32])).unwrap();
    let (service, changed) = (described(7), described(8));
    let settings = ServiceSettings {
        service: "marriage-registration".parse().unwrap(),
        major: None,
        places: Vec::new(),
        cache: Some(Duration::from_secs(30)),
        poll: None,
        is_copy: false,
        line: 1,
    };
    let says = Arc::new(Mutex::new("married"));
    let source = Arc::new(Register { says: Arc::clone(&says) });
    let guard = Guard::new(Bounds::default(), Arc::clone(&clock));
    let place = AskedPlace { name: "civil".to_owned(), source, guard, mapping: Mapping::default() };
    let asked = ServiceSource::new(&settings, vec![place], clock);
    let (housing, taxes) = (party("housing"), party("civil-affairs"));
    let subject = Subject::parse_as(Scheme::ResidentId, fixture::RESIDENT).unwrap();
    let found = async |consumer: &Party, service: &Service| {
        status(&asked.lookup(Reading::KeptFor(consumer), service, &subject, &[]).await)
    };
    assert_eq!(found(&housing, &service).await, "married");
    *says.lock().unwrap() = "divorced";
    assert_eq!(found(&housing, &service).await, "married", "it may be kept for a while");
    assert_eq!(found(&housing, &changed).await, "divorced", "rows that were read for another description");
    assert_eq!(found(&taxes, &service).await, "divorced");
    *says.lock().unwrap() = "widowed";
    let anew = asked.lookup(Reading::Anew, &service, &subject, &[]).await;
    assert_eq!(status(&anew), "widowed");
    for consumer in [&housing, &taxes] {
        assert_eq!(found(consumer, &service).await, "widowed", "what was kept about the subject is forgotten");
    }
}
