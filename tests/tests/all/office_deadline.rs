//! An office's deadline travels to the provider and ends the work there, whatever has become of the node that asked. What was
//! put to a source goes on until the source's own limit, so that its connection is left clean (`sources::guard`). Out of
//! scope: everything else of the office port (`office_http`).

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proto::office::v1::{State, VerifyRequest};
use rustix::process::Signal;
use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpListener};
use town::harness::eventually;

use crate::support::{BASIS, ITEM, MARRIAGE, MARRIED, Place, housings_scope, http::Call, marital_status};

/// Less than the half minute after which the provider gives up on any question by itself.
const SOON: Duration = Duration::from_secs(22);

/// A system that takes questions and never answers; it counts who came.
#[derive(Clone, Default)]
struct Silent {
    came: Arc<AtomicUsize>,
}

impl Silent {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = self.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let silent = silent.clone();
                tokio::spawn(async move {
                    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        let was_whole = request.ends_with(b"}");
                        request.extend_from_slice(&buffer[..count]);
                        if !was_whole && request.ends_with(b"}") {
                            silent.came.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        format!("http://{address}/civil")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_work_at_the_provider() {
    let silent = Silent::default();
    let url = silent.start().await;
    let place = Place::start(|plan, _| {
        plan.department("civil-affairs")
            .service_without_records(MARRIAGE)
            .department("housing")
            .granting("civil-affairs/marriage-registration", "housing", housings_scope())
            .department("tax")
            .granting("civil-affairs/marriage-registration", "tax", housings_scope())
    })
    .await;
    let provider = place.town.node("civil-affairs");
    provider.stop().await.unwrap();
    let sources = format!(
        "[sources.civil]\nkind = \"http\"\nurl = \"{url}\"\ntimeout_ms = 60000\nfailures = 1000\npause = \"1s\"\n\n\
         [services.marriage-registration]\nsource = \"civil\"\npath = \"/marriages\"\nbody = '{{\"number\": \":subject\"}}'\n\
         rows = \"/rows\"\npointers = {{ state = \"/state\", registered_on = \"/on\" }}\nno_rows_status = [\"404\"]\n\
         [services.marriage-registration.columns.marital_status]\nfrom = \"state\"\ncodes = {{ \"10\" = \"single\", \"20\" = \"married\" }}\n"
    );
    fs::write(provider.dir().join("sources.toml"), sources).unwrap();
    // One question at once: the next shows whether the one before is still being worked on.
    provider.edit_config(|text| text.replace("answers_at_once = 1024", "answers_at_once = 1")).unwrap();
    provider.start().await.unwrap();
    let office = place.town.office("housing").await.unwrap();
    let (instrument, article) = BASIS.split_once(' ').unwrap();
    let question = json!({
        "provider": "civil-affairs",
        "service": "marriage-registration",
        "subject": { "scheme": "resident_id", "value": *MARRIED },
        "claims": [{ "attribute": "marital_status", "operator": "equals", "operands": ["married"] }],
        "purpose": { "item": ITEM, "legal_bases": [{ "instrument": instrument, "article": article }] },
        "case_number": "GZF-2026-0001",
        "officer": "1024",
    });
    let ask = || {
        let url = format!("http://{}/v1/verifications", office.address());
        let call = Call::new("POST", &url).key(office.api_key()).header("Prefer: wait=12").json(&question);
        tokio::task::spawn_blocking(move || call.send())
    };
    let asking = ask();
    assert!(eventually(SOON, async || silent.came.load(Ordering::SeqCst) == 1).await, "the question comes through");
    // The asking node hangs: it can neither give up nor say so.
    place.town.node("housing").signal(Signal::STOP).unwrap();
    let tax = place.town.office("tax").await.unwrap();
    let next = || tax.verify(VerifyRequest { timeout_ms: 3000, ..marital_status(&MARRIED, "married") });
    let full = eventually(Duration::from_secs(10), async || {
        next().await.is_ok_and(|answer| answer.refusal.is_some_and(|refusal| refusal.code == "OVERLOADED"))
    });
    assert!(full.await, "the question is being worked on");
    // Once the deadline is over there is room again.
    let ended = eventually(SOON, async || next().await.is_ok_and(|answer| answer.state() != State::Refused)).await;
    place.town.node("housing").signal(Signal::CONT).unwrap();
    assert!(ended, "the provider goes on for nobody");
    let answer = asking.await.unwrap().json();
    assert_eq!(answer["state"], "unanswered");
    assert_eq!(answer["verdicts"][0]["verdict"], "UNAVAILABLE");
}
