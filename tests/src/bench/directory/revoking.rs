//! How long a revocation takes to reach every node: a node's key is stolen, whoever has it holds connections to all other
//! nodes, and the department revokes it. Measured from the command to the end of the last connection.

use std::time::{Duration, Instant};

use anyhow::Context;
use host::{
    random::{self, SystemRandom},
    tls::{ConnectorOptions, PeerConnector, TlsIdentity},
};
use proto::{
    admin::v1::{RevokeKeyRequest, node_client::NodeClient},
    registry::v1::{KeyAdded, NodePublished, statement::Body},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trust::{
    directory::{Object, WIRE_VERSION},
    key::{DescribedKey, Role, Signer, SigningKey},
};

use super::{
    place::{DEPARTMENTS, Place, RegistryReady, Submitter},
    rounded,
    running::Running,
    seen,
};

/// How long a revocation may take before the measurement is given up.
const LIMIT: Duration = Duration::from_secs(60);

/// HTTP/2's preface with empty settings: after it a quiet connection may stand.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[derive(Deserialize)]
struct NodeReady {
    peer: String,
}

/// Measures once.
pub async fn measure(place: &Place, ready: &RegistryReady, nodes: &[Running]) -> anyhow::Result<Map<String, Value>> {
    let keys = place.keys("housing")?;
    let signer = keys.department_signer().context("housing's key is here")?;
    let client = place.link(ready)?.directory(None)?;
    let mut submitter = Submitter { exchange: place.exchange()?, signer, client };
    let stolen = SigningKey::from_seed(&random::array(&SystemRandom));
    let identity = TlsIdentity::generate(&SystemRandom, &["127.0.0.1"])?;
    let node = format!("stolen-{}", &stolen.public_key().id().to_string()[..8]);
    let key = stolen.public_key().clone();
    let described = DescribedKey { role: Role::Node, key, valid_from_ms: 0, valid_until_ms: None };
    let added = KeyAdded { department: "housing".into(), key: Some(described.to_wire()), node: node.clone() };
    submitter.say(&Object::Key(*stolen.public_key().id()), None, Body::KeyAdded(added)).await?;
    let published = NodePublished {
        department: "housing".into(),
        node: node.clone(),
        addresses: vec!["127.0.0.1:9".into()],
        tls_key: identity.key_digest().as_bytes().to_vec(),
        oldest_wire_version: WIRE_VERSION,
        newest_wire_version: WIRE_VERSION,
        ..Default::default()
    };
    let object = Object::Node("housing".parse()?, node.parse()?);
    let (accepted, _) = submitter.say(&object, None, Body::NodePublished(published)).await?;

    let mut standing = Vec::new();
    for (running, department) in nodes.iter().zip(DEPARTMENTS) {
        seen(running, accepted.index + 1).await?;
        if department == "housing" {
            continue;
        }
        let theirs = place.keys(department)?.tls.key_digest();
        let address = running.ready::<NodeReady>()?.peer;
        let connector = PeerConnector::new([address], [theirs], Some(&identity), ConnectorOptions::default())?;
        let mut stream = connector.connect().await?;
        stream.write_all(PREFACE).await?;
        let mut first = [0; 9];
        stream.read_exact(&mut first).await?;
        standing.push(tokio::spawn(async move {
            let mut bytes = [0; 256];
            while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
            Instant::now()
        }));
    }
    let channel = host::admin_socket::connect(&place.node("housing"), "exchange-node serve").await?;
    let key_id = stolen.public_key().id().to_string();
    let request = RevokeKeyRequest { key_id, reason: "the machine was stolen".into() };
    let began = Instant::now();
    let revoking = tokio::spawn(async move { NodeClient::new(channel).revoke_key(request).await });
    let mut slowest = Duration::ZERO;
    for connection in standing {
        let ended = tokio::time::timeout(LIMIT, connection).await.context("a node does not hear of it")??;
        slowest = slowest.max(ended.duration_since(began));
    }
    let revoked = revoking.await??.into_inner();
    anyhow::ensure!(revoked.refused.is_none(), "the revocation is refused: {:?}", revoked.refused);
    Ok([("revocation_seconds".to_owned(), rounded(slowest.as_secs_f64(), 3))].into_iter().collect())
}
