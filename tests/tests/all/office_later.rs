//! What comes later reaches the office system by itself: as server-sent events, and as signed notices to its webhook, which
//! are tried until they are taken, across restarts, those of one case in their order.

use std::{
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use town::harness::eventually;

use crate::support::{BASIS, ITEM, MARRIAGE, MARRIED, Place, SINGLE, housings_scope, http::Call};

const LONG: Duration = Duration::from_secs(60);

/// Whoever is told.
#[derive(Clone, Default)]
struct Receiver {
    /// Whether it takes notices.
    takes: Arc<Mutex<bool>>,
    /// Every notice that came, head and body, taken or not.
    notices: Arc<Mutex<Vec<(String, String)>>>,
}

impl Receiver {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = self.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let receiver = receiver.clone();
                tokio::spawn(async move {
                    let (mut request, mut buffer) = (Vec::new(), [0; 8192]);
                    let (head, body) = loop {
                        match stream.read(&mut buffer).await {
                            Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
                            _ => return,
                        }
                        let text = String::from_utf8_lossy(&request).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length = head.lines().find_map(|line| {
                            line.to_lowercase().strip_prefix("content-length: ").map(|length| length.parse::<usize>())
                        });
                        if length.and_then(Result::ok).is_some_and(|length| body.len() >= length) {
                            break (head.to_owned(), body.to_owned());
                        }
                    };
                    let takes = *receiver.takes.lock().unwrap();
                    receiver.notices.lock().unwrap().push((head, body));
                    let status = if takes { "204 No Content" } else { "503 Service Unavailable" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        format!("http://{address}/told")
    }

    /// The notices that name a verification, each once, in the order in which they came first.
    fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        for (_, body) in self.notices.lock().unwrap().iter() {
            let id = serde_json::from_str::<Value>(body).unwrap()["data"]["id"].as_str().unwrap().to_owned();
            if !told.contains(&id) {
                told.push(id);
            }
        }
        told
    }
}

fn question(subject: &str) -> Value {
    let (instrument, article) = BASIS.split_once(' ').unwrap();
    json!({
        "provider": "civil-affairs",
        "service": "marriage-registration",
        "subject": { "scheme": "resident_id", "value": subject },
        "claims": [{ "attribute": "marital_status", "operator": "equals", "operands": ["married"] }],
        "purpose": { "item": ITEM, "legal_bases": [{ "instrument": instrument, "article": article }] },
        "case_number": "GZF-2026-0001",
        "officer": "1024",
        "accepts_deferral": true,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_answer_is_told_by_event_and_by_webhook_across_restarts() {
    let place = Place::start(|plan, _| {
        let yaml = format!("{MARRIAGE}answered_by: clerk\nclerk_answers_within: 1h\n");
        plan.department("civil-affairs").service_without_records(yaml).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            housings_scope(),
        )
    })
    .await;
    let office = place.town.office("housing").await.unwrap();
    let base = format!("http://{}", office.address());
    let receiver = Receiver::default();
    let url = receiver.start().await;
    let hook = place.json("housing", &["webhook", "add", "housing-desk", &url]).await;
    assert_eq!(place.json("housing", &["webhook", "list"]).await["webhooks"][0]["id"], hook["id"]);

    // A listener from the beginning.
    let events = place.dir().join("events");
    let listen = |last: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--no-buffer", "--noproxy", "*", "--max-time", "120"]);
        command.args(["--header", &format!("Authorization: Bearer {}", office.api_key())]);
        command.args(["--header", &format!("Last-Event-ID: {last}")]);
        let file = std::fs::File::create(&events).unwrap();
        command.arg(format!("{base}/v1/events")).stdout(Stdio::from(file)).spawn().expect("curl runs")
    };
    let heard = || std::fs::read_to_string(&events).unwrap();
    let mut listener = listen("");

    let mut ids = Vec::new();
    for subject in [&MARRIED, &SINGLE] {
        let deferred = Call::new("POST", &format!("{base}/v1/verifications"))
            .key(office.api_key())
            .json(&question(subject))
            .send();
        assert_eq!(deferred.status, 202, "{deferred:?}");
        assert!(deferred.headers["retry-after"].parse::<u64>().unwrap() > 0);
        let deferred = deferred.json();
        assert_eq!(deferred["state"], "deferred");
        ids.push(deferred["id"].as_str().unwrap().to_owned());
        let ticket = deferred["deferral"]["ticket"].as_str().unwrap();
        let arguments = ["tasks", "answer", ticket, "--officer", "3001", "--verdict", "marital_status=match"];
        place.json("civil-affairs", &arguments).await;
    }
    // The receiver takes nothing yet; the stream has both.
    assert!(eventually(LONG, async || heard().matches("verification.answered").count() >= 4).await, "{}", heard());
    assert!(eventually(LONG, async || !receiver.told().is_empty()).await);
    let shown = Call::new("GET", &format!("{base}/v1/verifications/{}", ids[0])).key(office.api_key()).send().json();
    let steps: Vec<_> = shown["timeline"].as_array().unwrap().iter().map(|step| step["what"].clone()).collect();
    assert_eq!(
        (shown["id"].as_str(), steps),
        (Some(ids[0].as_str()), vec![json!("asked"), json!("deferred"), json!("answered")])
    );

    // The first stands in the second's way, for they are of one case.
    assert_eq!(receiver.told(), ids[..1]);
    let first_event = heard().lines().find_map(|line| line.strip_prefix("id: ").map(str::to_owned)).unwrap();
    let node = place.town.node("housing");
    node.kill();
    listener.wait().unwrap();
    node.start().await.unwrap();
    // Whoever comes back with the first event's id gets the second, and the first not again.
    let mut listener = listen(&first_event);
    assert!(eventually(LONG, async || heard().contains(&ids[1])).await, "{}", heard());
    assert!(!heard().contains(&ids[0]), "{}", heard());
    *receiver.takes.lock().unwrap() = true;
    assert!(eventually(LONG, async || receiver.told() == ids).await, "{:?}", receiver.told());
    // A node that stops does not wait for whoever listens.
    node.stop().await.unwrap();
    listener.wait().unwrap();

    // Each is signed as Standard Webhooks are, under an id that stayed the same; Python's hmac checks it.
    let notices = receiver.notices.lock().unwrap().clone();
    let header = |head: &str, name: &str| {
        let line = head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then(|| value.to_owned())
        });
        line.unwrap_or_else(|| panic!("{name}: {head}"))
    };
    let mut names = Vec::new();
    for (head, body) in &notices {
        let [id, at, signature] =
            ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| header(head, name));
        let script = "import base64, hashlib, hmac, sys\n\
            secret, text = base64.b64decode(sys.argv[1].removeprefix('whsec_')), sys.argv[2].encode()\n\
            print('v1,' + base64.b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode())";
        let signed = format!("{id}.{at}.{body}");
        let computed = Command::new("python3").args(["-c", script, hook["secret"].as_str().unwrap(), &signed]).output();
        assert_eq!(String::from_utf8(computed.unwrap().stdout).unwrap().trim(), signature);
        assert!(!body.contains(&**MARRIED) && !body.contains(&**SINGLE), "a number stands in a notice");
        names.push(id);
    }
    names.dedup();
    assert_eq!(names.len(), 2, "{names:?}");
}
