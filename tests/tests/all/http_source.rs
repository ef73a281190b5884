//! A service whose records are behind an HTTP endpoint, on real processes: what it answers, and every way in which it fails.
//! Out of scope: databases, folders; TLS and single failures are tested beside the code.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proto::{exchange::v1::Verdict, office::v1::VerifyRequest};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use town::harness::eventually;

use crate::{
    subscriptions::{come, subscribe},
    support::{MARRIAGE, MARRIED, Place, SINGLE, assert_outage, housings_scope, marital_status, verdict},
};

/// Whom a source is looked at with.
const NOBODY: &str = "11010519491231002X";

const PATIENCE: Duration = Duration::from_secs(60);

/// The system that owns the records.
#[derive(Clone, Default)]
struct Owner {
    /// What it sends; empty: it never answers.
    answer: Arc<Mutex<Vec<u8>>>,
    /// What it was sent.
    requests: Arc<Mutex<Vec<String>>>,
    /// How many went away before they had an answer.
    went: Arc<AtomicUsize>,
}

impl Owner {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let owner = self.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let owner = owner.clone();
                tokio::spawn(async move {
                    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                    // A body ends with the template's last brace.
                    while !request.ends_with(b"}") {
                        match stream.read(&mut buffer).await {
                            Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                            _ => return,
                        }
                    }
                    owner.requests.lock().unwrap().push(String::from_utf8(request).unwrap());
                    let answer = owner.answer.lock().unwrap().clone();
                    if answer.is_empty() {
                        while let Ok(1..) = stream.read(&mut buffer).await {}
                        owner.went.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        format!("http://{address}/civil")
    }

    fn says(&self, status: &str, kind: &str, body: &str) {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        *self.answer.lock().unwrap() = [head.as_bytes(), body.as_bytes()].concat();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_answers_every_failure_of_it_is_unavailable_and_a_deadline_ends_the_work_there() {
    let owner = Owner::default();
    let url = owner.start().await;
    // What ends a question here is the source's limit, or whoever asks, and never what the service promises.
    let patient = MARRIAGE.replace("time_to_answer_ms: 1000", "time_to_answer_ms: 60000");
    let place = Place::start(|plan, _| {
        plan.department("civil-affairs").service_without_records(patient).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            housings_scope().with_notices(),
        )
    })
    .await;
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    let sources = format!(
        "[sources.civil]\nkind = \"http\"\nurl = \"{url}\"\nat_once = 1\ntimeout_ms = 1500\nfailures = 1000\npause = \"1s\"\n\n\
         [services.marriage-registration]\nsource = \"civil\"\npoll = \"1s\"\npath = \"/marriages\"\nbody = '{{\"number\": \":subject\"}}'\n\
         rows = \"/rows\"\npointers = {{ state = \"/state\", registered_on = \"/on\" }}\nno_rows_status = [\"404\"]\n\
         [services.marriage-registration.columns.marital_status]\nfrom = \"state\"\ncodes = {{ \"10\" = \"single\", \"20\" = \"married\" }}\n"
    );
    fs::write(node.dir().join("sources.toml"), &sources).unwrap();
    let row = "{\"rows\":[{\"state\":20,\"on\":\"2018-05-20\"}]}";
    owner.says("200 OK", "application/json", row);
    node.start().await.unwrap();
    let matched = eventually(PATIENCE, || async {
        let answer = place.ask(marital_status(&MARRIED, "married")).await;
        answer.verdicts.first().is_some_and(|claim| claim.verdict() == Verdict::Match)
    });
    assert!(matched.await, "the endpoint never answers");
    owner.says("404 Not Found", "application/json", "{}");
    let absent = place.ask(marital_status(&SINGLE, "single")).await;
    assert_eq!((verdict(&absent).verdict(), verdict(&absent).by_absence), (Verdict::Match, true));

    let huge = format!("{{\"rows\":[],\"filler\":\"{}\"}}", "x".repeat(300 * 1024));
    let failures: [(&str, &str, &str); 7] = [
        ("500 Internal Server Error", "application/json", row),
        ("302 Found", "application/json", row),
        ("200 OK", "text/html", row),
        ("200 OK", "application/json", "garbage"),
        ("200 OK", "application/json", &huge),
        ("200 OK", "application/json", "{\"rows\":[{\"state\":77,\"on\":\"2018-05-20\"}]}"),
        ("200 OK", "application/json", "{\"data\":[]}"),
    ];
    for (status, kind, body) in failures {
        owner.says(status, kind, body);
        let answer = place.ask(marital_status(&MARRIED, "married")).await;
        assert_eq!(verdict(&answer).verdict(), Verdict::Unavailable, "{status} {kind} {}", &body[..body.len().min(60)]);
    }
    // Cut off in the middle, and never.
    owner.says("200 OK", "application/json", row);
    owner.answer.lock().unwrap().truncate(120);
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Unavailable);
    owner.answer.lock().unwrap().clear();
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Unavailable);

    owner.says("200 OK", "application/json", row);
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Match, "it is back");

    // A deadline travels to the provider and ends the work there, and at the source: long before the source's own limit, and
    // also where the node that asked hangs and can say nothing any more.
    node.stop().await.unwrap();
    fs::write(node.dir().join("sources.toml"), sources.replace("timeout_ms = 1500", "timeout_ms = 60000")).unwrap();
    // The node's own look at the source is over before: it asks about nobody, and nobody's deadline ends it.
    let looks = || owner.requests.lock().unwrap().iter().filter(|request| request.contains(NOBODY)).count();
    let before = looks();
    node.start().await.unwrap();
    assert!(eventually(PATIENCE, async || looks() > before).await);
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Match);
    owner.answer.lock().unwrap().clear();
    let (came, went) = (owner.requests.lock().unwrap().len(), owner.went.load(Ordering::SeqCst));
    let office = place.town.office("housing").await.unwrap();
    let hurried = VerifyRequest { timeout_ms: 1500, ..marital_status(&MARRIED, "married") };
    let asking = tokio::spawn(async move { office.verify(hurried).await });
    let is_asked = async || owner.requests.lock().unwrap().len() > came;
    assert!(eventually(PATIENCE, is_asked).await, "the question comes to the source");
    place.town.node("housing").signal(Signal::STOP).unwrap();
    let is_put_down = async || owner.went.load(Ordering::SeqCst) > went;
    let ended = eventually(Duration::from_secs(25), is_put_down).await;
    place.town.node("housing").signal(Signal::CONT).unwrap();
    assert!(ended, "the provider goes on looking for nobody");
    assert_outage(&asking.await.unwrap().unwrap());
    // One at once: the next is asked while the first, left alone, would still be on its way.
    owner.says("200 OK", "application/json", row);
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Match, "there is room for the next");
    a_change_is_found_by_and_by(&place, &owner).await;
    for request in owner.requests.lock().unwrap().iter() {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /civil/marriages HTTP/1.1"), "{head}");
        assert!(!head.contains(&*MARRIED) && !head.contains(&*SINGLE), "a number stands in the head");
        assert!(body.starts_with("{\"number\":\""), "{body}");
    }
    let log = fs::read_to_string(node.log()).unwrap();
    assert!(!log.contains(&*MARRIED) && !log.contains(&*SINGLE), "a number stands in the log");
    place.town.stop().await.unwrap();
}

/// That a change is told of a source that cannot say so, and an outage is none.
async fn a_change_is_found_by_and_by(place: &Place, owner: &Owner) {
    let service = "civil-affairs/marriage-registration";
    let (code, told) = subscribe(place, service, "marital_status=married", &[&MARRIED]).await;
    assert_eq!(code, 0, "{told}");
    let ticket = told["subscribed"][0]["ticket"].as_str().unwrap();
    owner.says("500 Internal Server Error", "application/json", "{}");
    let asked = || owner.requests.lock().unwrap().len();
    let before = asked();
    assert!(eventually(PATIENCE, || async { asked() >= before + 2 }).await, "it is looked at");
    owner.says("200 OK", "application/json", "{\"rows\":[{\"state\":10,\"on\":\"2018-05-20\"}]}");
    // Were the outage told, this would be number 3.
    come(place, &[(ticket, 2, "MISMATCH")]).await;
}
