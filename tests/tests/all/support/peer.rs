//! A hand-made peer: it holds the real keys of a department's node and speaks `exchange.v1` by itself, so that it can say
//! what no node of ours would. Out of scope: what its answers should be.

use std::{path::Path, time::Duration};

use exchange_node::keys::NodeKeys;
use host::{
    clock::{Clock, SystemClock},
    edge::ChannelLimits,
    random::{self, SystemRandom},
    tls::{ConnectorOptions, PeerConnector, TlsIdentity, TlsKeyDigest},
};
use prost::Message;
use proto::{
    exchange::v1::{
        Answer, HelloRequest, Refusal, Request, Signed, Subject, VerifyRequest, answer::Outcome,
        exchange_client::ExchangeClient, signed::Form,
    },
    registry::v1::{
        self as registry_wire, Statement, SubmitRequest, directory_client::DirectoryClient, statement::Body,
        submit_response,
    },
};
use tonic::{Code, Status, transport::Channel};
use town::harness::{NodeHandle, Town};
use trust::{
    answer::LARGEST_ANSWER,
    directory::{Object, WIRE_VERSION},
    envelope::{self, Opened},
    key::{PublicKey, Signer},
};

use super::{claim, purpose};

/// The exchange that the harness founds.
pub(crate) const EXCHANGE: &str = "ninghe";

/// How often it sends again what it was told to send later, and how long it waits in between.
const MOST_TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// The time now, Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemClock.now_ms()
}

/// A channel to a node that holds it to its own TLS key and shows `identity`.
pub(crate) fn channel(node: &NodeHandle, identity: Option<&TlsIdentity>) -> Channel {
    connector(node, identity).channel(&ChannelLimits::default())
}

/// As [`channel`], below HTTP.
pub(crate) fn connector(node: &NodeHandle, identity: Option<&TlsIdentity>) -> PeerConnector {
    let theirs = NodeKeys::read(node.dir()).expect("the node's keys").tls.key_digest();
    let options = ConnectorOptions::default();
    PeerConnector::new([node.peer_address()], [theirs], identity, options).expect("a connector")
}

/// Speaks in the name of a department's node.
pub(crate) struct HandMadePeer {
    /// The keys of the node in whose name it speaks.
    pub(crate) keys: NodeKeys,
    /// Its client.
    pub(crate) client: ExchangeClient<Channel>,
    department: String,
    recipient: String,
    answerer: PublicKey,
    directory: (u64, Vec<u8>),
}

impl HandMadePeer {
    /// Speaks as `asker` to `answerer`.
    pub(crate) async fn new(town: &Town, asker: &str, answerer: &str) -> Self {
        let keys = NodeKeys::read(town.node(asker).dir()).expect("the asker's keys");
        let client = ExchangeClient::new(channel(town.node(answerer), Some(&keys.tls)));
        let theirs = NodeKeys::read(town.node(answerer).dir()).expect("the answerer's keys");
        let mut peer = Self {
            keys,
            client,
            department: asker.to_owned(),
            recipient: answerer.to_owned(),
            answerer: theirs.node.public_key().clone(),
            directory: (0, vec![0; 32]),
        };
        peer.learn_directory().await;
        peer
    }

    /// Sees the directory that the answerer sees.
    pub(crate) async fn learn_directory(&mut self) {
        let hello = HelloRequest { oldest_wire_version: 1, newest_wire_version: 1 };
        let seen = self.client.clone().hello(hello).await.expect("hello").into_inner();
        self.directory = (seen.directory_size, seen.directory_root);
    }

    /// A question that is as it should be.
    pub(crate) fn question(&self, subject: &str) -> Request {
        let now_ms = now_ms();
        Request {
            wire_version: WIRE_VERSION,
            exchange_id: EXCHANGE.into(),
            request_id: random::array::<32>(&SystemRandom).to_vec(),
            sender: format!("{EXCHANGE}/{}", self.department),
            sender_node: "1".into(),
            recipient: format!("{EXCHANGE}/{}", self.recipient),
            service: "marriage-registration".into(),
            service_version: 1,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms + 30_000,
            directory_size: self.directory.0,
            directory_root: self.directory.1.clone(),
            subject: Some(Subject { scheme: "resident_id".into(), value: subject.into() }),
            claims: vec![claim("marital_status", "equals", "married")],
            purpose: Some(purpose()),
            case_number: "GZF-2026-0001".into(),
            officer: "1024".into(),
            trace: "0123456789abcdef".into(),
            ..Request::default()
        }
    }

    /// Signs with the node's key.
    pub(crate) fn seal(&self, request: &Request) -> Signed {
        seal_with(request, self.keys.node.as_ref())
    }

    /// Sends what is signed; the answer as it came.
    pub(crate) async fn send(&self, request: Signed) -> Result<Signed, Status> {
        let answered = self.client.clone().verify(VerifyRequest { request: Some(request) }).await?;
        Ok(answered.into_inner().answer.expect("an answer"))
    }

    /// Sends what is signed, and opens the answer: it must be signed by the answerer's node. Ten a second that do not open are
    /// answered; a fast machine sends more, is told to come again, and does.
    pub(crate) async fn answer_to(&self, request: Signed) -> Answer {
        for _ in 0..MOST_TRIES {
            match self.send(request.clone()).await {
                Ok(answer) => return self.open(&answer).message,
                Err(status) if status.code() == Code::ResourceExhausted => tokio::time::sleep(PAUSE).await,
                Err(status) => panic!("an answer, not {status}"),
            }
        }
        panic!("told to come again {MOST_TRIES} times");
    }

    /// Opens an answer, which must be signed by the answerer's node.
    pub(crate) fn open(&self, answer: &Signed) -> Opened<Answer> {
        let key_for = |id: &_| (self.answerer.id() == id).then(|| self.answerer.clone());
        envelope::open_signed(answer, LARGEST_ANSWER, key_for).expect("the answer's signature is the node's")
    }

    /// Says something in the directory in the department's name, with its real key.
    pub(crate) async fn state(&self, town: &Town, object: &Object, predecessor: &[u8], body: Body) {
        let statement = Statement {
            wire_version: WIRE_VERSION,
            exchange_id: EXCHANGE.into(),
            object: object.to_string(),
            predecessor: predecessor.to_vec(),
            stated_at_ms: now_ms(),
            ignorable: false,
            decision: None,
            body: Some(body),
        };
        let department = self.keys.department.as_ref().expect("the department's key");
        let (envelope, _) = envelope::seal(&statement, department);
        let submitted = registry_directory(town).submit(SubmitRequest { envelope: envelope.encode_to_vec() }).await;
        let outcome = submitted.expect("the registry answers").into_inner().outcome;
        assert!(matches!(outcome, Some(submit_response::Outcome::Accepted(_))), "{outcome:?}");
        town.settled().await.expect("every node sees it");
    }
}

/// A client of the registry's directory.
pub(crate) fn registry_directory(town: &Town) -> DirectoryClient<Channel> {
    DirectoryClient::new(registry_channel(town))
}

/// A channel to the registry's gRPC port.
pub(crate) fn registry_channel(town: &Town) -> Channel {
    let keys = registry::keys::Keys::read(town.registry().dir()).expect("the registry's keys");
    let key: TlsKeyDigest = keys.tls.key_digest();
    let connector = PeerConnector::new([town.registry().address()], [key], None, ConnectorOptions::default());
    connector.expect("a connector").channel(&ChannelLimits::default())
}

/// Every entry of the directory.
pub(crate) async fn directory_entries(town: &Town) -> Vec<Vec<u8>> {
    let request = registry_wire::ReadRequest { start: 0, limit: 1000 };
    registry_directory(town).read(request).await.expect("the directory").into_inner().entries
}

/// Signs a request with any key.
pub(crate) fn seal_with<M: envelope::Payload>(message: &M, key: &dyn Signer) -> Signed {
    envelope::signed(envelope::seal(message, key).0)
}

/// The envelope inside, to be tampered with.
pub(crate) fn envelope_in(signed: &mut Signed) -> &mut proto::exchange::v1::Envelope {
    match signed.form.as_mut() {
        Some(Form::Envelope(envelope)) => envelope,
        _ => panic!("it was signed by itself"),
    }
}

/// The refusal that an answer is.
pub(crate) fn refusal(answer: &Answer) -> &Refusal {
    match &answer.outcome {
        Some(Outcome::Refusal(refusal)) => refusal,
        other => panic!("a refusal is expected, not {other:?}"),
    }
}

/// The folder where a node's keys lie.
pub(crate) fn keys_of(node: &NodeHandle) -> std::path::PathBuf {
    Path::new(node.dir()).join("keys")
}
