//! A registry in memory for tests, behind real TLS: it sequences what the directory's rules allow, and vouches for it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use host::{
    edge::{EdgeLimits, Listener, ListenerLimits, Security, tuned_server},
    random::SeededRandom,
    tls::{ClientAuthentication, ServerTls, TlsIdentity},
};
use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{
        self as wire, EnrolRequest, EnrolResponse, EnrolmentOffer, ReadRequest, ReadResponse, SubmitRequest,
        SubmitResponse, WatchRequest,
        directory_server::{Directory, DirectoryServer},
        enrolment_server::{Enrolment, EnrolmentServer},
        statement::Body,
    },
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use trust::{
    fixture::{FOUNDED_MS, Fixture, NOW_MS, key},
    key::{DescribedKey, PublicKey, Role, Signer},
    refusal::{Code, Refusal},
    token::{EnrolmentToken, Secret},
};

use crate::view::tests::vouch;

pub(super) struct FakeRegistry {
    address: SocketAddr,
    tls_key: [u8; 32],
    stop: CancellationToken,
}

#[derive(Clone)]
struct State {
    fixture: Arc<Mutex<Fixture>>,
    size: watch::Sender<usize>,
    stop: CancellationToken,
}

impl FakeRegistry {
    pub(super) async fn start() -> Self {
        let identity = TlsIdentity::generate(&SeededRandom::new(77), &["registry"]).unwrap();
        let tls = ServerTls::new(&identity, ClientAuthentication::None).unwrap();
        let port = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(port, Security::Tls(tls), ListenerLimits::default()).await.unwrap();
        let address = listener.local_address();
        let stop = CancellationToken::new();
        let fixture = Arc::new(Mutex::new(Fixture::founded()));
        let state = Arc::new(State { fixture, size: watch::Sender::new(1), stop: stop.clone() });
        let server = tuned_server(&EdgeLimits::default())
            .add_service(DirectoryServer::from_arc(Arc::clone(&state)))
            .add_service(EnrolmentServer::from_arc(Arc::clone(&state)));
        tokio::spawn(server.serve_with_incoming_shutdown(listener.incoming(), stop.clone().cancelled_owned()));
        Self { address, tls_key: *identity.key_digest().as_bytes(), stop }
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn token(&self, department: &str) -> String {
        let token = EnrolmentToken {
            exchange: trust::fixture::exchange_id(),
            department: department.parse().unwrap(),
            authority_key: key("authority").public_key().clone(),
            registry: vec![self.address.to_string()],
            registry_tls_key: self.tls_key,
            secret: secret(department),
            expires_ms: NOW_MS + 1_000_000,
        };
        token.to_text().to_string()
    }
}

fn secret(department: &str) -> Secret {
    let mut secret = [7; 32];
    secret[0] = department.as_bytes()[0];
    Secret::new(secret)
}

impl State {
    /// The entries from `start` on with a checkpoint over all.
    fn from(&self, start: usize) -> ReadResponse {
        let fixture = self.fixture.lock().unwrap();
        let entries = fixture.entries.get(start..).unwrap_or_default().to_vec();
        ReadResponse { start: start as u64, entries, checkpoint: vouch(&fixture, NOW_MS), ..ReadResponse::default() }
    }
}

#[tonic::async_trait]
impl Directory for State {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        let entry = request.into_inner().envelope;
        let mut fixture = self.fixture.lock().unwrap();
        let outcome = match fixture.directory.apply(&entry) {
            Ok(()) => {
                fixture.entries.push(entry);
                self.size.send_replace(fixture.entries.len());
                let index = fixture.entries.len() as u64 - 1;
                let checkpoint = vouch(&fixture, NOW_MS);
                wire::submit_response::Outcome::Accepted(wire::Accepted { index, checkpoint })
            }
            Err(error) => wire::submit_response::Outcome::Refused(error.refusal().to_wire()),
        };
        Ok(Response::new(SubmitResponse { outcome: Some(outcome) }))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        Ok(Response::new(self.from(usize::try_from(request.into_inner().start).unwrap())))
    }

    type WatchStream = ReceiverStream<Result<ReadResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut start = usize::try_from(request.into_inner().start).unwrap();
        let (sender, receiver) = mpsc::channel(4);
        let mut size = self.size.subscribe();
        let stop = self.stop.clone();
        let first = self.from(start);
        start += first.entries.len();
        sender.send(Ok(first)).await.unwrap();
        let state = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = size.changed() => if changed.is_err() { return },
                }
                let next = state.from(start);
                start += next.entries.len();
                if sender.send(Ok(next)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Enrolment for State {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let request = request.into_inner();
        let offer = EnrolmentOffer::decode(request.offer.as_slice()).unwrap();
        let department = offer.department.clone();
        if !secret(&department).fits(&request.offer, &request.mac) {
            let refused = wire::enrol_response::Outcome::Refused(Refusal::new(Code::MacWrong).to_wire());
            return Ok(Response::new(EnrolResponse { outcome: Some(refused) }));
        }
        let described = |role, bytes: &[u8]| DescribedKey {
            role,
            key: PublicKey::ed25519(bytes).unwrap(),
            valid_from_ms: FOUNDED_MS,
            valid_until_ms: None,
        };
        let mut fixture = self.fixture.lock().unwrap();
        let object = trust::directory::Object::Department(department.parse().unwrap());
        if fixture.directory.last(&object).is_none() {
            let body = Body::DepartmentAdmitted(wire::DepartmentAdmitted {
                department: department.clone(),
                name: Some(wire::LocalName { zh: department, en: String::new() }),
                uscc: "118900000000010112".into(),
                first_key: Some(described(Role::Department, &offer.first_key).to_wire()),
                recovery_key: Some(described(Role::Recovery, &offer.recovery_key).to_wire()),
                division: String::new(),
            });
            let envelope: Envelope = fixture.sign("authority", body, &object.to_string());
            let entry = envelope.encode_to_vec();
            fixture.directory.apply(&entry).unwrap();
            fixture.entries.push(entry);
            self.size.send_replace(fixture.entries.len());
        }
        let index = fixture.directory.last(&object).unwrap().index;
        let admitted = wire::Accepted { index, checkpoint: vouch(&fixture, NOW_MS) };
        let outcome = Some(wire::enrol_response::Outcome::Admitted(admitted));
        Ok(Response::new(EnrolResponse { outcome }))
    }
}
