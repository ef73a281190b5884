//! A registry in this process, and departments that speak to it through its ports.

use std::{net::SocketAddr, path::Path, sync::Arc};

use host::{
    admin_socket,
    clock::{Clock, SystemClock},
    edge::ChannelLimits,
    random::SystemRandom,
    tls::{ConnectorOptions, PeerConnector, TlsKeyDigest},
};
use prost::Message;
use proto::{
    admin::v1::{self as admin, registry_client::RegistryClient},
    exchange::v1::LegalBasis,
    registry::v1::{
        self as wire, directory_client::DirectoryClient, enrol_response, enrolment_client::EnrolmentClient,
        statement::Body,
    },
};
use registry::{
    app::{Addresses, App},
    config::{self, Config},
    init::{Founding, init},
    keys::Keys,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};
use trust::{
    directory::Object,
    envelope,
    ids::{DepartmentId, Digest, ExchangeId},
    key::{DescribedKey, Role, Signer, SigningKey},
    token::EnrolmentToken,
};

pub(crate) fn exchange() -> ExchangeId {
    "ninghe".parse().unwrap()
}

pub(crate) fn now_ms() -> u64 {
    SystemClock.now_ms()
}

pub(crate) fn basis() -> LegalBasis {
    LegalBasis { instrument: "公共租赁住房管理办法".to_owned(), article: "7".to_owned() }
}

pub(crate) fn key_body(department: &str, key: &SigningKey, role: Role) -> Body {
    let described = DescribedKey { role, key: key.public_key().clone(), valid_from_ms: now_ms(), valid_until_ms: None };
    let node = if role == Role::Node { "1" } else { "" }.to_owned();
    Body::KeyAdded(wire::KeyAdded { department: department.to_owned(), key: Some(described.to_wire()), node })
}

pub(crate) fn service_body() -> Body {
    Body::ServicePublished(wire::ServicePublished {
        department: "civil-affairs".to_owned(),
        service: "marriage-registration".to_owned(),
        major_version: 1,
        name: Some(wire::LocalName { zh: "婚姻登记".to_owned(), en: "Marriage registration".to_owned() }),
        subject_schemes: vec!["resident_id".to_owned()],
        attributes: vec![wire::Attribute {
            name: "marital_status".to_owned(),
            r#type: "enum".to_owned(),
            members: vec!["single".to_owned(), "married".to_owned()],
            operators: vec!["equals".to_owned()],
            rows: wire::RowRule::Only.into(),
            sensitivity: "ordinary".to_owned(),
            ..wire::Attribute::default()
        }],
        sharing: wire::SharingClass::Conditional.into(),
        legal_bases: vec![LegalBasis { instrument: "婚姻登记条例".to_owned(), article: "17".to_owned() }],
        ..wire::ServicePublished::default()
    })
}

/// A department with its keys.
pub(crate) struct Department {
    id: DepartmentId,
    first: SigningKey,
    recovery: SigningKey,
}

impl Department {
    pub(crate) fn new(id: &str, seed: u8) -> Self {
        let seeded = |second: u8| {
            let mut bytes = [seed; 32];
            bytes[..id.len()].copy_from_slice(id.as_bytes());
            bytes[31] = second;
            SigningKey::from_seed(&bytes)
        };
        Self { id: id.parse().unwrap(), first: seeded(1), recovery: seeded(2) }
    }

    pub(crate) fn id(&self) -> DepartmentId {
        self.id.clone()
    }

    pub(crate) fn offer(&self) -> Vec<u8> {
        wire::EnrolmentOffer {
            exchange_id: exchange().to_string(),
            department: self.id.to_string(),
            first_key: self.first.public_key().as_bytes().to_vec(),
            recovery_key: self.recovery.public_key().as_bytes().to_vec(),
        }
        .encode_to_vec()
    }

    pub(crate) fn say(&self, object: &Object, predecessor: Option<&Digest>, body: Body) -> (Vec<u8>, Digest) {
        self.say_at(object, predecessor, body, now_ms())
    }

    pub(crate) fn say_at(
        &self,
        object: &Object,
        predecessor: Option<&Digest>,
        body: Body,
        stated_at_ms: u64,
    ) -> (Vec<u8>, Digest) {
        let statement = wire::Statement {
            wire_version: 1,
            exchange_id: exchange().to_string(),
            object: object.to_string(),
            predecessor: predecessor.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default(),
            stated_at_ms,
            ignorable: false,
            decision: None,
            body: Some(body),
        };
        let (envelope, digest) = envelope::seal(&statement, &self.first);
        (envelope.encode_to_vec(), digest)
    }
}

/// A registry that runs in this process.
pub(crate) struct Running {
    folder: Arc<tempfile::TempDir>,
    addresses: Addresses,
    tls_key: TlsKeyDigest,
    stop: CancellationToken,
    app: Option<tokio::task::JoinHandle<Result<(), registry::app::Error>>>,
}

impl Running {
    pub(crate) async fn init_and_start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let founding = Founding {
            exchange: exchange(),
            name: "宁河省".to_owned(),
            name_en: String::new(),
            listen: any,
            tiles: any,
            advertise: Vec::new(),
            store: registry::store::EMBEDDED.to_owned(),
            store_password_file: None,
        };
        init(&folder.path().join("r"), &founding, &SystemClock, &SystemRandom).await.unwrap();
        Self::start(Arc::new(folder)).await
    }

    async fn start(folder: Arc<tempfile::TempDir>) -> Self {
        let path = folder.path().join("r");
        let (config, dir) = Config::load(&path.join(config::FILE_NAME)).unwrap();
        let app = App::start(config, &dir, Arc::new(SystemClock), Arc::new(SystemRandom)).await.unwrap();
        let (addresses, stop) = (app.addresses().clone(), app.stop_token());
        let tls_key = Keys::read(&path).unwrap().tls.key_digest();
        Self { folder, addresses, tls_key, stop, app: Some(tokio::spawn(async move { app.run().await.map(|_| ()) })) }
    }

    /// For a task of its own.
    pub(crate) fn clone_addresses(&self) -> Self {
        Self {
            folder: Arc::clone(&self.folder),
            addresses: self.addresses.clone(),
            tls_key: self.tls_key,
            stop: self.stop.clone(),
            app: None,
        }
    }

    pub(crate) async fn stop(mut self) -> Arc<tempfile::TempDir> {
        self.stop.cancel();
        if let Some(app) = self.app.take() {
            app.await.unwrap().unwrap();
        }
        Arc::clone(&self.folder)
    }

    pub(crate) async fn restart(self) -> Self {
        let folder = self.stop().await;
        Self::start(folder).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.address
    }

    pub(crate) fn tiles(&self) -> SocketAddr {
        self.addresses.tiles
    }

    fn channel(&self) -> Channel {
        channel(self.address(), self.tls_key)
    }

    pub(crate) async fn directory_client(&self) -> DirectoryClient<Channel> {
        DirectoryClient::new(self.channel())
    }

    pub(crate) async fn size(&self) -> u64 {
        let request = wire::ReadRequest { start: 0, limit: 0 };
        let answer = self.directory_client().await.read(request).await.unwrap().into_inner();
        answer.entries.len() as u64
    }

    async fn operator(&self) -> RegistryClient<Channel> {
        operator(&self.folder.path().join("r")).await
    }

    pub(crate) async fn admit(&self, department: &str) -> EnrolmentToken {
        admit(&mut self.operator().await, department).await
    }

    pub(crate) async fn change(&self, department: &str, action: &str) -> Result<(), Status> {
        let request = admin::ChangeDepartmentRequest {
            department: department.to_owned(),
            action: action.to_owned(),
            reason: "a test".to_owned(),
        };
        self.operator().await.change_department(request).await.map(drop)
    }

    pub(crate) async fn revoke(&self, department: &str, key_id: &str) -> Result<(), Status> {
        let request = admin::RevokeDepartmentKeyRequest {
            department: department.to_owned(),
            key_id: key_id.to_owned(),
            reason: "a test".to_owned(),
        };
        self.operator().await.revoke_department_key(request).await.map(drop)
    }

    pub(crate) async fn offer(&self, offer: &[u8], mac: &[u8]) -> enrol_response::Outcome {
        self.try_offer(offer, mac).await.unwrap()
    }

    pub(crate) async fn try_offer(&self, offer: &[u8], mac: &[u8]) -> Result<enrol_response::Outcome, Status> {
        let request = wire::EnrolRequest { offer: offer.to_vec(), mac: mac.to_vec() };
        let response = EnrolmentClient::new(self.channel()).enrol(request).await?;
        Ok(response.into_inner().outcome.expect("an outcome"))
    }

    pub(crate) async fn enrol(&self, token: &EnrolmentToken) -> Department {
        enrol(self.channel(), token).await
    }

    /// Asks the tile port.
    pub(crate) async fn http(&self, path: &str) -> Answer {
        let mut stream = tokio::net::TcpStream::connect(self.tiles()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }
}

/// What the tile port answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }
}

pub(crate) fn channel(address: SocketAddr, tls_key: TlsKeyDigest) -> Channel {
    let connector = PeerConnector::new([address.to_string()], [tls_key], None, ConnectorOptions::default()).unwrap();
    connector.channel(&ChannelLimits::default())
}

pub(crate) async fn operator(folder: &Path) -> RegistryClient<Channel> {
    RegistryClient::new(admin_socket::connect(folder, "registry serve").await.unwrap())
}

pub(crate) async fn admit(operator: &mut RegistryClient<Channel>, department: &str) -> EnrolmentToken {
    let request = admin::AdmitDepartmentRequest {
        department: department.to_owned(),
        name: Some(wire::LocalName { zh: "民政局".to_owned(), en: String::new() }),
        uscc: "118900000000010112".to_owned(),
        ..admin::AdmitDepartmentRequest::default()
    };
    let response = operator.admit_department(request).await.unwrap().into_inner();
    EnrolmentToken::parse(&response.token).unwrap()
}

/// Enrols the token's department as its node's `init` does.
pub(crate) async fn enrol(channel: Channel, token: &EnrolmentToken) -> Department {
    let department = Department::new(token.department.as_str(), 1);
    let offer = department.offer();
    let mac = token.secret.mac(&offer).to_vec();
    let request = wire::EnrolRequest { offer, mac };
    let outcome = EnrolmentClient::new(channel).enrol(request).await.unwrap().into_inner().outcome;
    assert!(matches!(outcome, Some(enrol_response::Outcome::Admitted(_))), "{outcome:?}");
    department
}
