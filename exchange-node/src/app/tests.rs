//! Two departments as they really run, in one process: from the token to the receipt, over real TLS, with a registry in
//! memory.

use std::path::PathBuf;

use host::{
    clock::MockClock,
    random::SeededRandom,
    tls::{ConnectorOptions, PeerConnector, TlsIdentity, TlsKeyDigest},
};
use proto::{
    exchange::v1::{self as wire, exchange_client::ExchangeClient},
    office::v1::{
        ExportEvidenceRequest, ListServicesRequest, ShowRequest, State, VerifyRequest, VerifyResponse,
        verifications_client::VerificationsClient,
    },
    registry::v1::statement::Body,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use trust::{
    claim::Verdict,
    directory::{AccessKey, Object},
    fixture::{self, NOW_MS},
    ids::{AccessId, ServiceId},
};

use super::{fake_registry::FakeRegistry, *};
use crate::{
    init::{self, InitOptions},
    publish,
    records::Format,
};

struct RunningNode {
    parts: Parts,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl RunningNode {
    async fn start(dir: &std::path::Path, seed: u64) -> Self {
        let config = Config::load(&dir.join("node.toml")).unwrap();
        let app = App::build(config, Arc::new(MockClock::at(NOW_MS)), Arc::new(SeededRandom::new(seed))).await.unwrap();
        let (parts, stop) = (app.parts().clone(), app.stop_token());
        Self { parts, stop, running: tokio::spawn(app.run()) }
    }

    async fn stop(self) {
        self.stop.cancel();
        let Self { parts, running, .. } = self;
        drop(parts);
        running.await.unwrap().unwrap();
    }

    async fn office(&self) -> VerificationsClient<Channel> {
        let address = format!("http://{}", self.parts.addresses.office);
        VerificationsClient::new(Channel::from_shared(address).unwrap().connect().await.unwrap())
    }

    /// Waits until the directory says where this node answers now.
    async fn published(&self, as_seen_by: &Self) {
        let address = self.parts.addresses.peer.to_string();
        let department = self.parts.config.department.clone();
        eventually(async || {
            let seen = as_seen_by.parts.view.seen();
            seen.directory().nodes_of(&department).any(|node| node.addresses.contains(&address))
        })
        .await;
    }
}

async fn eventually(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("in time");
}

async fn init(registry: &FakeRegistry, folder: &std::path::Path, department: &str, seed: u64) -> PathBuf {
    let token_file = folder.join(format!("{department}.token"));
    std::fs::write(&token_file, registry.token(department)).unwrap();
    let dir = folder.join(department);
    let options = InitOptions {
        token_file,
        addresses: vec!["127.0.0.1:0".into()],
        relays: Vec::new(),
        office_address: "127.0.0.1:0".parse().unwrap(),
        node: "1".parse().unwrap(),
        dir: dir.clone(),
    };
    // Run twice: the second finds everything done.
    for _ in 0..2 {
        let clock = Arc::new(MockClock::at(NOW_MS));
        init::init(&options, clock, Arc::new(SeededRandom::new(seed)), &mut |_| {}).await.unwrap();
    }
    dir
}

fn request() -> VerifyRequest {
    VerifyRequest {
        provider: "civil-affairs".into(),
        service: "marriage-registration".into(),
        subject: Some(wire::Subject { scheme: "resident_id".into(), value: fixture::RESIDENT.into() }),
        claims: vec![fixture::claim("marital_status", "equals", "married")],
        purpose: Some(wire::Purpose { item: "公租房申请".into(), ..Default::default() }),
        case_number: "GZF-2026-0001".into(),
        officer: "1024".into(),
        ..VerifyRequest::default()
    }
}

fn keyed<T>(message: T, key: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

fn verdict(response: &VerifyResponse) -> Verdict {
    Verdict::from_proto(response.verdicts[0].verdict).unwrap()
}

fn bare_status<T>(outcome: Result<tonic::Response<T>, tonic::Status>) -> tonic::Code {
    outcome.map(|_| ()).unwrap_err().code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_token_to_the_receipt() {
    collect_logs();
    let folder = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::start().await;
    let provider_dir = init(&registry, folder.path(), "civil-affairs", 1).await;
    let consumer_dir = init(&registry, folder.path(), "housing", 2).await;
    let provider = RunningNode::start(&provider_dir, 3).await;
    let consumer = RunningNode::start(&consumer_dir, 4).await;
    provider.published(&consumer).await;
    consumer.published(&provider).await;
    // It is written once the ports are served.
    eventually(async || consumer_dir.join("ready.json").exists()).await;
    let ready: serde_json::Value =
        serde_json::from_slice(&std::fs::read(consumer_dir.join("ready.json")).unwrap()).unwrap();
    assert_eq!(ready["office"], consumer.parts.addresses.office.to_string());

    publish_and_grant(&provider, &consumer).await;
    let (_, key) = consumer.parts.office_keys.add(housing_desk(), &SeededRandom::new(5), NOW_MS).unwrap();
    let key = key.unwrap();
    let mut office = consumer.office().await;
    assert_eq!(bare_status(office.verify(request()).await), tonic::Code::Unauthenticated);
    assert_eq!(bare_status(office.verify(keyed(request(), "00.11")).await), tonic::Code::Unauthenticated);

    // Published and granted, and no records yet.
    let response = office.verify(keyed(request(), &key)).await.unwrap().into_inner();
    assert_eq!((response.state(), verdict(&response)), (State::Answered, Verdict::Unavailable));
    assert_eq!(response.verdicts[0].reason, "not_imported");

    import(&provider).await;
    let response = office.verify(keyed(request(), &key)).await.unwrap().into_inner();
    assert_eq!((response.state(), verdict(&response)), (State::Answered, Verdict::Match));
    assert_eq!(response.provider, "ninghe/civil-affairs");
    let show = ShowRequest { receipt: response.receipt.clone() };
    let shown = office.show(keyed(show, &key)).await.unwrap().into_inner();
    assert_eq!(verdict(&shown), Verdict::Match);
    assert_eq!(shown.request_digest, response.request_digest);
    let wrong = ShowRequest { receipt: "0-0011223344556677".into() };
    assert_eq!(bare_status(office.show(keyed(wrong, &key)).await), tonic::Code::NotFound);
    let wrong = ExportEvidenceRequest { receipt: "none".into() };
    assert_eq!(bare_status(office.export_evidence(keyed(wrong, &key)).await), tonic::Code::InvalidArgument);
    let listed = office.list_services(keyed(ListServicesRequest::default(), &key)).await.unwrap().into_inner();
    assert_eq!((listed.services.len(), listed.services[0].may_ask), (1, true));
    // On the admin socket the kernel has said who calls.
    let admin = host::admin_socket::connect(&consumer_dir, "serve").await.unwrap();
    let response = VerificationsClient::new(admin).verify(request()).await.unwrap().into_inner();
    assert_eq!(verdict(&response), Verdict::Match);

    strangers_are_kept_out(&provider, &consumer).await;
    logs_show_the_way_and_nobody(&mut office, &key).await;

    // The registry is gone, and everything goes on.
    registry.stop();
    eventually(async || !consumer.parts.view.is_registry_reachable()).await;
    let response = office.verify(keyed(request(), &key)).await.unwrap().into_inner();
    assert_eq!(verdict(&response), Verdict::Match);

    // A revocation counts at once, at peers too, although the registry is gone.
    let node_key = *trust::key::Signer::public_key(consumer.parts.keys.node().as_ref()).id();
    let revoked = consumer.parts.publisher.revoke_key(&node_key, "遗失").await;
    assert!(matches!(revoked, Err(publish::Error::Unreachable(_))), "{revoked:?}");
    let known =
        provider.parts.view.seen().directory().node_key(&fixture::department("housing"), &node_key, NOW_MS).err();
    assert_eq!(known, Some(trust::refusal::Code::KeyRevoked));
    let response = office.verify(keyed(request(), &key)).await.unwrap().into_inner();
    assert_eq!((response.state(), response.refused_by.as_str()), (State::Refused, "own node"));
    assert_eq!(response.refusal.unwrap().code, "KEY_REVOKED");

    provider.stop().await;
    consumer.stop().await;
    assert!(!consumer_dir.join("ready.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_gone_is_unavailable_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::start().await;
    let provider_dir = init(&registry, folder.path(), "civil-affairs", 1).await;
    let consumer_dir = init(&registry, folder.path(), "housing", 2).await;
    let provider = RunningNode::start(&provider_dir, 3).await;
    let consumer = RunningNode::start(&consumer_dir, 4).await;
    provider.published(&consumer).await;
    consumer.published(&provider).await;
    publish_and_grant(&provider, &consumer).await;
    import(&provider).await;
    let (_, key) = consumer.parts.office_keys.add(housing_desk(), &SeededRandom::new(5), NOW_MS).unwrap();
    let key = key.unwrap();
    let mut office = consumer.office().await;
    let response = office.verify(keyed(request(), &key)).await.unwrap().into_inner();
    assert_eq!(verdict(&response), Verdict::Match);

    // The provider is gone: no verdict, and never a mismatch.
    provider.stop().await;
    let response =
        office.verify(keyed(VerifyRequest { timeout_ms: 300, ..request() }, &key)).await.unwrap().into_inner();
    assert_eq!((response.state(), verdict(&response)), (State::Unanswered, Verdict::Unavailable));
    assert!(!response.receipt.is_empty());

    // It comes back at another address, and says so itself.
    let provider = RunningNode::start(&provider_dir, 6).await;
    assert_eq!(provider.parts.journal.size(), 2, "what was acknowledged is there");
    provider.published(&consumer).await;
    let response = office.verify(keyed(request(), &key)).await.unwrap().into_inner();
    assert_eq!(verdict(&response), Verdict::Match);
    provider.stop().await;
    consumer.stop().await;
}

fn housing_desk() -> office_keys::NewOfficeKey {
    office_keys::NewOfficeKey { system: "housing-desk".to_owned(), ..office_keys::NewOfficeKey::default() }
}

async fn publish_and_grant(provider: &RunningNode, consumer: &RunningNode) {
    let service = fixture::marriage_registration();
    let id = ServiceId::read("civil-affairs/marriage-registration", service.major_version).unwrap();
    let publisher = &provider.parts.publisher;
    let published = publisher.publish(&Object::Service(id), Body::ServicePublished(service)).await.unwrap();
    consumer.parts.view.reached(published.index + 1).await;
    let text = "0011223344556677";
    let access = AccessKey {
        provider: fixture::department("civil-affairs"),
        consumer: fixture::department("housing"),
        id: text.parse::<AccessId>().unwrap(),
    };
    let object = Object::Access(access);
    let application = Body::AccessApplied(fixture::application(text));
    let applied = consumer.parts.publisher.publish(&object, application.clone()).await.unwrap();
    provider.parts.view.reached(applied.index + 1).await;
    // Only the provider can grant; the registry says so with a code.
    let refused = consumer.parts.publisher.publish(&object, Body::AccessGranted(fixture::granted(text))).await;
    let Err(publish::Error::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.code, "STATEMENT_NOT_ENTITLED");
    let granted = publisher.publish(&object, Body::AccessGranted(fixture::granted(text))).await.unwrap();
    consumer.parts.view.reached(granted.index + 1).await;
}

async fn import(provider: &RunningNode) {
    let (records, view) = (Arc::clone(&provider.parts.records), Arc::clone(&provider.parts.view));
    let imported = tokio::task::spawn_blocking(move || {
        let seen = view.seen();
        let service = seen.directory().services().next().unwrap();
        let text = format!("resident_id,marital_status,registered_on\n{},married,2020-05-01\n", fixture::RESIDENT);
        records.import(service, Format::Csv, false, text.as_bytes(), &|_| {}, NOW_MS).map(|report| report.rows)
    });
    assert_eq!(imported.await.unwrap().unwrap(), 1);
}

/// Another department's valid certificate, a certificate of nobody, and no certificate.
async fn strangers_are_kept_out(provider: &RunningNode, consumer: &RunningNode) {
    let address = provider.parts.addresses.peer.to_string();
    let expected = provider.parts.keys.tls().key_digest();
    let connect = |identity: Option<&TlsIdentity>, expected: TlsKeyDigest| {
        PeerConnector::new([address.clone()], [expected], identity, ConnectorOptions::default()).unwrap()
    };
    let hello = |connector: PeerConnector| async move {
        let channel = connector.channel(&host::edge::ChannelLimits::default());
        ExchangeClient::new(channel).hello(wire::HelloRequest::default()).await
    };
    let housing = &consumer.parts.keys.tls();
    let welcome = hello(connect(Some(housing), expected)).await.unwrap().into_inner();
    assert_eq!(welcome.directory_size, provider.parts.view.seen().size());
    let nobody = TlsIdentity::generate(&SeededRandom::new(99), &["nobody"]).unwrap();
    assert!(hello(connect(Some(&nobody), expected)).await.is_err());
    assert!(hello(connect(None, expected)).await.is_err());
    // Held to the key of its own statement: housing's key at civil affairs' address is refused by the caller.
    assert!(connect(Some(housing), housing.key_digest()).connect().await.is_err());
}

#[tokio::test]
async fn a_second_node_in_the_same_folder_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::start().await;
    let dir = init(&registry, folder.path(), "housing", 2).await;
    let first = RunningNode::start(&dir, 3).await;
    let socket_answers = async || host::admin_socket::connect(&dir, "serve").await.is_ok();
    eventually(socket_answers).await;
    let config = Config::load(&dir.join("node.toml")).unwrap();
    let second = App::build(config, Arc::new(MockClock::at(NOW_MS)), Arc::new(SeededRandom::new(9))).await;
    let error = second.err().unwrap().to_string();
    assert!(error.starts_with("a program is already running in"), "{error}");
    first.stop().await;
}

#[tokio::test]
async fn a_token_for_another_department_does_not_take_a_folder_over() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::start().await;
    let dir = init(&registry, folder.path(), "housing", 2).await;
    let token_file = folder.path().join("other.token");
    std::fs::write(&token_file, registry.token("health")).unwrap();
    let options = InitOptions {
        token_file,
        addresses: vec!["127.0.0.1:0".into()],
        relays: Vec::new(),
        office_address: "127.0.0.1:0".parse().unwrap(),
        node: "1".parse().unwrap(),
        dir,
    };
    let clock = Arc::new(MockClock::at(NOW_MS));
    let error = init::init(&options, clock, Arc::new(SeededRandom::new(1)), &mut |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("is the node of ninghe/housing; choose another folder"), "{error}");
}

/// Everything that is logged in this process, at every level; the libraries below log bytes at their lowest.
static LOGGED: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());

struct Collector;

impl std::io::Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn collect_logs() {
    let filter = "off,exchange_node=trace,host=trace,trust=trace,tonic=debug,tower=debug,h2=info,rustls=debug";
    let filter = tracing_subscriber::EnvFilter::new(filter);
    // Fails where another test was first, which collects the same.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(|| Collector).try_init();
}

async fn logs_show_the_way_and_nobody(office: &mut VerificationsClient<Channel>, key: &str) {
    let trace = "abcdef01-2345";
    let mut traced = keyed(request(), key);
    traced.metadata_mut().insert("x-request-id", trace.parse().unwrap());
    office.verify(traced).await.unwrap();
    let mut wrong = request();
    wrong.subject.as_mut().unwrap().value = "890101199003070012".into();
    office.verify(keyed(wrong, key)).await.unwrap();
    let logged = String::from_utf8_lossy(&LOGGED.lock().unwrap()).into_owned();
    let steps: Vec<_> = ["asking", "answered"]
        .iter()
        .filter(|step| logged.lines().any(|line| line.contains(trace) && line.contains(**step)))
        .collect();
    assert_eq!(steps.len(), 2, "the same id stands in the logs of both nodes");
    assert!(logged.contains("SUBJECT_MALFORMED"));
    for secret in ["890101", "19900307", "married", "GZF-2026-0001", key.split_once('.').unwrap().1] {
        assert!(!logged.contains(secret), "{secret} is in the logs");
    }
}
