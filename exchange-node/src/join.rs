//! How a further node of a department joins. The department's running node makes an **invitation**, a file with a one-use
//! secret; the further node's machine makes its own keys and answers with an **offer**, a file with the public ones under a
//! MAC with that secret; the department's node checks it and signs. Private keys never leave the machine they were made
//! on, and the department's key need not be on the further node's.
//!
//! Out of scope: making keys and the configuration (`init`), and the statements (`publish`).

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use host::{files, tls::TlsKeyDigest};
use prost::Message;
use proto::admin::v1::NodeOffer;
use serde::{Deserialize, Serialize};
use trust::{
    ids::{DepartmentId, ExchangeId, NodeId},
    key::PublicKey,
    token::Secret,
};
use zeroize::Zeroizing;

use crate::config::{from_text, quoted_list};

/// The folder of open invitations within the node's folder.
const FOLDER: &str = "invitations";

/// Why an invitation or offer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The invitation's time is over.
    #[error("the invitation of node {node} has expired: make another with `node invite`")]
    Expired {
        /// The node.
        node: NodeId,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A file says something it may not say.
    #[error(transparent)]
    Form(#[from] host::config::Error),
    /// The offer does not fit the invitation's secret.
    #[error(
        "the offer was not made with the last invitation of node {node}: make another with `node invite`, and join with that"
    )]
    MacWrong {
        /// The node.
        node: NodeId,
    },
    /// A field of an offer cannot be read.
    #[error("the offer's {field} cannot be read: was the file copied whole?")]
    Malformed {
        /// The field.
        field: &'static str,
    },
    /// There is no open invitation.
    #[error("there is no open invitation for node {node}: make one with `node invite`")]
    NotInvited {
        /// The node.
        node: NodeId,
    },
}

/// What a further node's machine is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The exchange.
    #[serde(deserialize_with = "from_text")]
    pub exchange: ExchangeId,
    /// The department.
    #[serde(deserialize_with = "from_text")]
    pub department: DepartmentId,
    /// The node's id.
    #[serde(deserialize_with = "from_text")]
    pub node: NodeId,
    /// The authority's key.
    #[serde(deserialize_with = "from_text")]
    pub authority_key: PublicKey,
    /// The registry's addresses.
    pub registry: Vec<String>,
    /// The registry's TLS key.
    #[serde(deserialize_with = "from_text")]
    pub registry_tls_key: TlsKeyDigest,
    /// 64 hex digits.
    #[serde(deserialize_with = "secret_from_text")]
    pub secret: Secret,
    /// Until when it can be used, Unix milliseconds.
    pub expires_ms: u64,
}

impl Invitation {
    /// Reads an invitation file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(host::config::load(path)?)
    }

    /// The file's text. Holds the secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "# Invitation of node {node} of {exchange}/{department}. On the node's machine:\n\
             #   exchange-node init --join THIS-FILE --address HOST:PORT --dir DIR\n\
             # Whoever holds it can offer a node in that name, once. Hand it over by a safe way, then delete it.\n\
             exchange = \"{exchange}\"\n\
             department = \"{department}\"\n\
             node = \"{node}\"\n\
             authority_key = \"{authority_key}\"\n\
             registry = {registry}\n\
             registry_tls_key = \"{registry_tls_key}\"\n\
             secret = \"{secret}\"\n\
             expires_ms = {expires_ms}\n",
            node = self.node,
            exchange = self.exchange,
            department = self.department,
            authority_key = self.authority_key,
            registry = quoted_list(&self.registry),
            registry_tls_key = self.registry_tls_key,
            secret = self.secret.to_hex().as_str(),
            expires_ms = self.expires_ms,
        ))
    }
}

/// The department's side: which invitations are open.
#[derive(Clone, Debug)]
pub struct Invitations {
    folder: PathBuf,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct OpenFile {
    secret: String,
    expires_ms: u64,
}

impl Invitations {
    /// Those of the node's folder.
    pub fn new(dir: &Path) -> Self {
        Self { folder: dir.join(FOLDER) }
    }

    /// Keeps an invitation's secret; another for the same node takes its place.
    pub fn keep(&self, invitation: &Invitation) -> Result<(), Error> {
        files::private_folder(&self.folder)?;
        let secret = invitation.secret.to_hex();
        let text = Zeroizing::new(format!("secret = \"{}\"\nexpires_ms = {}\n", *secret, invitation.expires_ms));
        Ok(files::replace_file(&self.path(&invitation.node), text.as_bytes(), files::PRIVATE_MODE)?)
    }

    /// Opens an offer that was made with an open invitation.
    pub fn open(&self, offer: &[u8], mac: &[u8], now_ms: u64) -> Result<(NodeId, NodeOffer), Error> {
        let opened = NodeOffer::decode(offer).map_err(|_| Error::Malformed { field: "content" })?;
        let node: NodeId = opened.node.parse().map_err(|_| Error::Malformed { field: "node" })?;
        let path = self.path(&node);
        if !path.exists() {
            return Err(Error::NotInvited { node });
        }
        let kept: OpenFile = host::config::load(&path)?;
        let secret = Secret::from_hex(&kept.secret).ok_or(Error::Malformed { field: "kept secret" })?;
        if !secret.fits(&under_mac(offer), mac) {
            return Err(Error::MacWrong { node });
        }
        if now_ms > kept.expires_ms {
            return Err(Error::Expired { node });
        }
        Ok((node, opened))
    }

    /// Forgets an invitation that was used.
    pub fn close(&self, node: &NodeId) {
        // One that cannot be removed expires.
        let _ = std::fs::remove_file(self.path(node));
    }

    fn path(&self, node: &NodeId) -> PathBuf {
        self.folder.join(format!("{node}.toml"))
    }
}

/// What the further node's machine answers with.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OfferFile {
    offer: String,
    mac: String,
}

impl OfferFile {
    /// Signs an offer with the invitation's secret.
    pub fn new(offer: &NodeOffer, secret: &Secret) -> Self {
        let bytes = offer.encode_to_vec();
        let mac = secret.mac(&under_mac(&bytes));
        Self { offer: HEXLOWER.encode(&bytes), mac: HEXLOWER.encode(&mac) }
    }

    /// Reads an offer file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(host::config::load(path)?)
    }

    /// The offer's bytes and their MAC.
    pub fn parts(&self) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let decoded = |text: &str, field| HEXLOWER.decode(text.as_bytes()).map_err(|_| Error::Malformed { field });
        Ok((decoded(&self.offer, "offer")?, decoded(&self.mac, "mac")?))
    }

    /// The file's text. Holds no secret.
    pub fn to_text(&self, party: &str, node: &NodeId) -> String {
        format!(
            "# Offer of node {node} of {party}. On a node of the department:\n\
             #   exchange-node node add THIS-FILE\n\
             offer = \"{}\"\n\
             mac = \"{}\"\n",
            self.offer, self.mac
        )
    }
}

/// So that nobody can take an offer for an enrolment.
fn under_mac(offer: &[u8]) -> Vec<u8> {
    [b"node\0", offer].concat()
}

fn secret_from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let text = Zeroizing::new(String::deserialize(deserializer)?);
    // The text itself must not stand in the error.
    Secret::from_hex(&text).ok_or_else(|| serde::de::Error::custom("64 hexadecimal digits are expected"))
}

#[cfg(test)]
mod tests {
    use trust::{fixture, key::Signer};

    use super::*;

    fn invitation() -> Invitation {
        Invitation {
            exchange: "ninghe".parse().unwrap(),
            department: "housing".parse().unwrap(),
            node: "2".parse().unwrap(),
            authority_key: fixture::key("authority").public_key().clone(),
            registry: vec!["127.0.0.1:7400".into(), "[2001:db8::1]:7400".into()],
            registry_tls_key: TlsKeyDigest::from_bytes([3; 32]),
            secret: Secret::new([4; 32]),
            expires_ms: 1000,
        }
    }

    fn offer() -> NodeOffer {
        NodeOffer { department: "housing".into(), node: "2".into(), tls_key: vec![5; 32], ..NodeOffer::default() }
    }

    #[test]
    fn an_invitation_and_its_offer_come_back_from_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("housing-2.invitation");
        std::fs::write(&path, invitation().to_text().as_bytes()).unwrap();
        let read = Invitation::read(&path).unwrap();
        assert_eq!(read.registry, invitation().registry);
        let path = dir.path().join("housing-2.offer");
        std::fs::write(&path, OfferFile::new(&offer(), &read.secret).to_text("ninghe/housing", &read.node)).unwrap();
        let (bytes, mac) = OfferFile::read(&path).unwrap().parts().unwrap();

        let invitations = Invitations::new(dir.path());
        assert!(matches!(invitations.open(&bytes, &mac, 0), Err(Error::NotInvited { .. })));
        invitations.keep(&invitation()).unwrap();
        assert_eq!(invitations.open(&bytes, &mac, 1000).unwrap().1, offer());
        assert!(matches!(invitations.open(&bytes, &mac, 1001), Err(Error::Expired { .. })));
        invitations.close(&read.node);
        assert!(matches!(invitations.open(&bytes, &mac, 0), Err(Error::NotInvited { .. })), "used once");
    }

    #[test]
    fn an_offer_that_was_swapped_on_the_way_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let invitations = Invitations::new(dir.path());
        invitations.keep(&invitation()).unwrap();
        let (bytes, mac) = OfferFile::new(&offer(), &invitation().secret).parts().unwrap();
        let swapped = NodeOffer { tls_key: vec![6; 32], ..offer() }.encode_to_vec();
        assert!(matches!(invitations.open(&swapped, &mac, 0), Err(Error::MacWrong { .. })));
        // Nor does an earlier invitation's secret do.
        invitations.keep(&Invitation { secret: Secret::new([7; 32]), ..invitation() }).unwrap();
        assert!(matches!(invitations.open(&bytes, &mac, 0), Err(Error::MacWrong { .. })));
        assert!(matches!(invitations.open(b"\xff\xff", &mac, 0), Err(Error::Malformed { .. })));
    }

    #[test]
    fn a_secret_that_is_none_is_not_repeated() {
        let text = invitation().to_text().replace(&"04".repeat(32), "not-a-secret");
        let error = host::config::parse::<Invitation>(&text, Path::new("x")).unwrap_err().to_string();
        assert!(!error.contains("not-a-secret") && error.contains("secret"), "{error}");
    }
}
