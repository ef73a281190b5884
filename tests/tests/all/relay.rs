//! A node that can only dial out is reached through a relay. Mutual TLS stays end to end: a relay hears nothing that it
//! could tell, and one that redirects or tampers is found out.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use exchange_node::keys::NodeKeys;
use prost::Message;
use proto::exchange::v1::{
    RelayCall, RelayJoined, RelayMessage, RelayRegistration, RelayWait, Verdict, relay_message::Body,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use town::harness::eventually;
use trust::envelope;

use crate::support::{
    MARRIAGE, MARRIED, Place, assert_outage, exit,
    further::{Further, free_address},
    housings_scope, marital_status, said, skip, verdict,
    wire::{Change, Wire, pass_both},
};

/// How long anything may take on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

/// A relay in a folder of its own.
struct Relay {
    dir: PathBuf,
    /// Where it listens.
    address: String,
    running: Option<Further>,
}

impl Relay {
    /// A relay that nodes dial under `names` beside its own address.
    async fn start(place: &Place, names: &[&str], edit: impl FnOnce(String) -> String) -> Self {
        let dir = place.dir().join("relay");
        let address = free_address("127.46.0.1").to_string();
        let from = place.town.node("housing").dir().join("node.toml");
        let mut arguments = vec!["relay", "init", "--from", from.to_str().unwrap(), "--listen", &address];
        for name in names.iter().chain([&address.as_str()]) {
            arguments.extend(["--advertise", name]);
        }
        arguments.extend(["--dir", dir.to_str().unwrap()]);
        let made = place.cli("housing", &arguments).await;
        assert_eq!(exit(&made), 0, "{}", said(&made));
        let config = dir.join("relay.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, edit(text)).unwrap();
        let mut relay = Self { dir, address, running: None };
        relay.run(place).await;
        relay
    }

    async fn run(&mut self, place: &Place) {
        let config = self.dir.join("relay.toml");
        let arguments = ["relay", "serve", "--config", config.to_str().unwrap()];
        self.running = Some(Further::node(&place.town, &arguments, &self.dir).await);
    }

    fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

/// Civil affairs can only dial out: the directory names the relay and no address.
async fn dial_out_only(place: &Place, relay: &str) {
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    let relays = format!("relays = [\"{relay}\"]");
    node.edit_config(|text| {
        text.replace("relays = []", &relays).replace("dial_out_only = false", "dial_out_only = true")
    })
    .unwrap();
    node.start().await.unwrap();
    let told = eventually(LONG, async || {
        let listed = place.json("housing", &["node", "list", "civil-affairs"]).await;
        listed["nodes"][0]["relays"][0] == relay && listed["nodes"][0]["addresses"].as_array().unwrap().is_empty()
    })
    .await;
    assert!(told, "the directory does not name the relay alone");
}

async fn answers(place: &Place) -> bool {
    let mut question = marital_status(&MARRIED, "married");
    question.timeout_ms = 3_000;
    let answer = place.ask(question).await;
    answer.verdicts.iter().all(|claim| claim.verdict() == Verdict::Match)
}

async fn is_outage(place: &Place) {
    let mut question = marital_status(&MARRIED, "married");
    question.timeout_ms = 1_500;
    assert_outage(&place.ask(question).await);
}

async fn three_departments() -> Place {
    Place::start(|plan, dir| {
        plan.department("civil-affairs")
            .service(MARRIAGE, dir.join("marriage.csv"))
            .department("housing")
            .department("taxation")
            .granting("civil-affairs/marriage-registration", "housing", housings_scope())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_joins_a_caller_to_a_node_that_can_only_dial_out_and_hears_nothing() {
    let place = Place::civil_affairs_and_housing().await;
    // Everything that comes to the relay or goes from it passes this wire.
    let listening = free_address("127.46.0.2").to_string();
    let relay = Relay::start(&place, &[&listening], |text| text).await;
    let wire = Wire::to(&relay.address, &listening).await;
    dial_out_only(&place, &wire.address()).await;
    assert!(eventually(LONG, async || answers(&place).await).await, "{}", relay.log());
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Match);

    let heard = wire.heard();
    let holds = |text: &str| heard.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(heard.len() > 5_000, "{} bytes", heard.len());
    for secret in [
        MARRIED.as_str(),
        "marital_status",
        "married",
        "marriage-registration",
        "GZF-2026-0001",
        "公租房申请",
        "application/vnd.errand.request",
        "application/vnd.errand.answer",
    ] {
        assert!(!holds(secret), "the relay hears {secret:?}");
    }
    // It does hear who waits: the wire is the one that matters.
    assert!(holds("application/vnd.errand.relay-registration"));
    let doctor = place.json("civil-affairs", &["doctor"]).await;
    let checks = doctor["findings"].as_array().unwrap();
    let relays = checks.iter().find(|found| found["check"].as_str().unwrap().starts_with("relay "));
    assert_eq!(relays.unwrap()["level"], "ok", "{doctor}");
    assert!(checks.iter().any(|found| found["check"] == "peer port" && found["level"] == "ok"), "{doctor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_comes_back_to_a_relay_that_was_killed_and_started_again() {
    let place = Place::civil_affairs_and_housing().await;
    let mut relay = Relay::start(&place, &[], |text| text).await;
    dial_out_only(&place, &relay.address).await;
    assert!(eventually(LONG, async || answers(&place).await).await, "{}", relay.log());
    relay.kill();
    is_outage(&place).await;
    relay.run(&place).await;
    assert!(eventually(LONG, async || answers(&place).await).await, "{}", relay.log());
    // And the node that was killed, without anybody's doing.
    place.town.node("civil-affairs").kill();
    is_outage(&place).await;
    place.town.node("civil-affairs").start().await.unwrap();
    assert!(eventually(LONG, async || answers(&place).await).await, "{}", relay.log());
}

/// A relay that joins callers to whomever it likes.
async fn rogue(target: String, change: Change) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.46.0.3:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let (target, change, counted) = (target.clone(), Arc::clone(&change), Arc::clone(&counted));
            tokio::spawn(async move {
                let Ok(Body::Call(_)) = receive(&mut caller).await else { return };
                send(&mut caller, Body::Joined(RelayJoined {})).await;
                counted.fetch_add(1, Ordering::SeqCst);
                if let Ok(other) = TcpStream::connect(&target).await {
                    pass_both(caller, other, &Mutex::new(Vec::new()), &change).await;
                }
            });
        }
    });
    (address, calls)
}

async fn send(stream: &mut TcpStream, body: Body) {
    let message = RelayMessage { body: Some(body) }.encode_to_vec();
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    stream.write_all(&framed).await.unwrap();
}

async fn receive(stream: &mut TcpStream) -> Result<Body, std::io::Error> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(RelayMessage::decode(bytes.as_slice()).unwrap().body.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_redirects_to_another_node_is_found_out() {
    let place = three_departments().await;
    let (taxation, civil) =
        (place.town.node("taxation").peer_address(), place.town.node("civil-affairs").peer_address());
    let (wrong, calls) = rogue(taxation, Arc::new(|_| {})).await;
    let before = place.evidence_size("taxation").await;
    name_relay(&place, &wrong).await;
    is_outage(&place).await;
    assert!(calls.load(Ordering::SeqCst) > 0, "the caller did come");
    assert_eq!(place.evidence_size("taxation").await, before);
    // The same relay, where it leads to the node that was called for, is as good as any.
    let (right, _) = rogue(civil, Arc::new(|_| {})).await;
    name_relay(&place, &right).await;
    assert!(eventually(LONG, async || answers(&place).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_tampers_with_the_bytes_is_found_out() {
    let place = three_departments().await;
    let civil = place.town.node("civil-affairs").peer_address();
    // Handshakes pass; what follows, in its second half, does not.
    let passed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&passed);
    let change: Change = Arc::new(move |bytes: &mut [u8]| {
        if counted.fetch_add(bytes.len(), Ordering::SeqCst) > 6_000
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
    });
    let (address, _) = rogue(civil, change).await;
    name_relay(&place, &address).await;
    for _ in 0..3 {
        let mut question = marital_status(&MARRIED, "single");
        question.timeout_ms = 1_500;
        let answer = place.ask(question).await;
        // Either it was not touched yet, or nothing came: never another verdict.
        let verdicts: Vec<Verdict> = answer.verdicts.iter().map(|claim| claim.verdict()).collect();
        assert!(matches!(verdicts.as_slice(), [Verdict::Mismatch | Verdict::Unavailable]), "{answer:?}");
    }
    assert!(passed.load(Ordering::SeqCst) > 6_000);
    is_outage(&place).await;
}

/// Civil affairs' department key says that its node is reached at this relay alone.
async fn name_relay(place: &Place, relay: &str) {
    let changed = place.cli("civil-affairs", &["node", "change", "1", "--relay", relay]).await;
    assert_eq!(exit(&changed), 0, "{}", said(&changed));
    place.town.settled().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_wait_at_a_relay_is_settled_by_the_directory() {
    let place = three_departments().await;
    let relay =
        Relay::start(&place, &[], |text| text.replace("departments = []", "departments = [\"civil-affairs\"]")).await;
    let keys = |department: &str| NodeKeys::read(place.town.node(department).dir()).unwrap();
    let said = |department: &str, at: &str, nonce: Vec<u8>| RelayRegistration {
        exchange_id: "ninghe".into(),
        department: department.into(),
        node: "1".into(),
        tls_key: keys(department).tls.key_digest().as_bytes().to_vec(),
        relay: at.into(),
        nonce,
    };
    // Whose name, whose signature, for which relay; and what comes of it.
    let cases = [
        ("civil-affairs", "civil-affairs", relay.address.as_str(), "waiting"),
        ("civil-affairs", "taxation", relay.address.as_str(), "not_entitled"),
        ("civil-affairs", "civil-affairs", "198.51.100.1:7470", "not_entitled"),
        ("taxation", "taxation", relay.address.as_str(), "not_entitled"),
    ];
    for (name, signer, at, expected) in cases {
        let outcome = eventually(LONG, async || {
            let mut stream = TcpStream::connect(&relay.address).await.unwrap();
            send(&mut stream, Body::Wait(RelayWait {})).await;
            let Body::Challenge(challenge) = receive(&mut stream).await.unwrap() else { panic!("a challenge") };
            let registration = said(name, at, challenge.nonce);
            let signed = envelope::seal(&registration, keys(signer).node.as_ref()).0;
            send(&mut stream, Body::Registration(signed)).await;
            match receive(&mut stream).await.unwrap() {
                Body::Waiting(_) => expected == "waiting",
                Body::Refused(refused) => refused.reason == expected,
                other => panic!("{other:?}"),
            }
        })
        .await;
        // The relay may have yet to read the directory; what is refused stays refused.
        assert!(outcome, "{name} {signer} {at} {expected}: {}", relay.log());
    }
    // A call for a node that does not wait is told so.
    let mut caller = TcpStream::connect(&relay.address).await.unwrap();
    let tls_key = keys("taxation").tls.key_digest().as_bytes().to_vec();
    send(&mut caller, Body::Call(RelayCall { tls_key })).await;
    assert!(matches!(receive(&mut caller).await.unwrap(), Body::Refused(refused) if refused.reason == "not_waiting"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_joins_no_more_calls_than_it_may() {
    let place = Place::civil_affairs_and_housing().await;
    let relay = Relay::start(&place, &[], |text| text.replace("calls_per_node = 128", "calls_per_node = 1")).await;
    dial_out_only(&place, &relay.address).await;
    let tls_key = NodeKeys::read(place.town.node("civil-affairs").dir()).unwrap().tls.key_digest().as_bytes().to_vec();
    let call = async || {
        let mut caller = TcpStream::connect(&relay.address).await.unwrap();
        send(&mut caller, Body::Call(RelayCall { tls_key: tls_key.clone() })).await;
        (receive(&mut caller).await.unwrap(), caller)
    };
    let held = Mutex::new(None);
    let joined = eventually(LONG, async || match call().await {
        (Body::Joined(_), caller) => held.lock().unwrap().replace(caller).is_none(),
        _ => false,
    })
    .await;
    assert!(joined, "{}", relay.log());
    match call().await.0 {
        Body::Refused(refused) => assert_eq!(refused.reason, "too_many"),
        other => panic!("{other:?}"),
    }
    // The place is given back: a caller that says nothing is cut off by the node itself.
    drop(held);
    assert!(eventually(LONG, async || answers(&place).await).await, "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_a_network_that_lets_nobody_in_is_reached_through_a_relay() {
    const TEST: &str = "a_node_in_a_network_that_lets_nobody_in_is_reached_through_a_relay";
    let Some(network) = Network::new() else {
        return skip(TEST, "needs root and network namespaces (ip netns)");
    };
    let place = Place::civil_affairs_and_housing().await;
    let outside = network.outside();
    // Within, the machine knows one address outside: the registry and the relay are reached there.
    let registry = Wire::to(&place.town.registry().address(), &format!("{outside}:0")).await;
    let listening = free_address(&outside).to_string();
    let relay = Relay::start(&place, &[&listening], |text| text).await;
    let wire = Wire::to(&relay.address, &listening).await;
    dial_out_only(&place, &wire.address()).await;
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    let announced = place.town.registry().address();
    node.edit_config(|text| text.replace(&announced, &registry.address())).unwrap();
    let dir = node.dir().to_owned();
    let config = dir.join("node.toml");
    let mut command = network.within(place.town.programs().exchange_node());
    command.args(["serve", "--config", config.to_str().unwrap()]);
    let running = Further::start(command, &dir).await;

    // Its peer port is bound to the loopback of its own network: from here nobody gets in.
    let peer = running.ready()["peer"].as_str().unwrap().to_owned();
    assert!(TcpStream::connect(&peer).await.is_err(), "{peer} can be dialled from outside");
    assert!(eventually(LONG, async || answers(&place).await).await, "{}\n{}", running.log(), relay.log());
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Match);
    running.stop().await;
}

/// A network of its own, with one way out and none in.
struct Network {
    name: String,
    third: u8,
}

impl Network {
    fn new() -> Option<Self> {
        let id = std::process::id();
        let network = Self { name: format!("errand{id}"), third: u8::try_from(id % 250).unwrap_or(1) };
        let (inner, outer) = (format!("ei{id}"), format!("eo{id}"));
        let (inside, outside) = (format!("10.213.{}.2/30", network.third), format!("{}/30", network.outside()));
        let name = network.name.as_str();
        let steps: [&[&str]; 7] = [
            &["netns", "add", name],
            &["link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", name],
            &["addr", "add", &outside, "dev", &outer],
            &["link", "set", &outer, "up"],
            &["-n", name, "addr", "add", &inside, "dev", &inner],
            &["-n", name, "link", "set", &inner, "up"],
            &["-n", name, "link", "set", "lo", "up"],
        ];
        steps.iter().all(|step| ip(step)).then_some(network)
    }

    /// The address outside that is reached from within.
    fn outside(&self) -> String {
        format!("10.213.{}.1", self.third)
    }

    /// A command that runs within.
    fn within(&self, program: PathBuf) -> std::process::Command {
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    let ran = std::process::Command::new("ip").args(arguments).stderr(std::process::Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}
