//! The file that is carried by hand between the registry and the machine where the authority's key is: statements that
//! wait for its signature, going there, and the same with signatures, coming back. Each statement is a DSSE envelope in
//! DSSE's own JSON form, so that any DSSE tool can look at it.
//!
//! Out of scope: what waits (`waiting`), and what is said of it in words before it is signed (`words`).

use data_encoding::BASE64;
use prost::Message;
use proto::{
    exchange::v1::{Envelope, Signature},
    registry::v1::Statement,
};
use serde::{Deserialize, Serialize};
use trust::{
    directory::{LARGEST_STATEMENT, Object},
    envelope::{self, EnvelopeError, Payload},
    ids::ExchangeId,
    key::{PublicKey, Signer, SigningKey},
};

/// What the file says of itself.
const KIND: &str = "errand statements for the authority";
const VERSION: u32 = 1;

/// Why a file that was carried cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A signature cannot be added.
    #[error("statement {id} cannot be signed: {source}")]
    Envelope {
        /// The statement's id.
        id: String,
        /// Why.
        source: EnvelopeError,
    },
    /// None of the keys is the one that must sign.
    #[error(
        "the key {given} is not the authority's key in force, which is {needed}: the file asks for a signature by that one"
    )]
    KeyWrong {
        /// The public keys that were given.
        given: String,
        /// The public key that must sign.
        needed: String,
    },
    /// The file is none.
    #[error("it is no file of statements for the authority: {0}")]
    Malformed(String),
    /// A statement in it is none, or is not about what it says.
    #[error("statement {id} in it cannot be read by this version: {reason}; nothing was signed")]
    StatementUnreadable {
        /// Its id.
        id: String,
        /// Why.
        reason: &'static str,
    },
}

/// Statements with the signatures that they have.
#[derive(Clone, Debug)]
pub struct Carried {
    /// The exchange.
    pub exchange: ExchangeId,
    /// The key that must sign: the authority's in force.
    pub authority_key: PublicKey,
    /// The statements, in the order in which they must be brought in.
    pub statements: Vec<CarriedStatement>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct CarriedStatement {
    /// Its id: the first 16 hex digits of its digest.
    pub id: String,
    /// What it says.
    pub statement: Statement,
    /// What it is about.
    pub object: Object,
    /// The envelope.
    pub envelope: Envelope,
}

impl CarriedStatement {
    /// Reads an envelope's statement, without believing anything of it.
    pub fn read(envelope: Envelope) -> Result<Self, Error> {
        let id = id_of(&envelope);
        let unreadable = |reason| Error::StatementUnreadable { id: id.clone(), reason };
        if envelope.payload_type != Statement::TYPE || envelope.payload.len() > LARGEST_STATEMENT {
            return Err(unreadable("it is no statement"));
        }
        let statement = Statement::decode(envelope.payload.as_slice()).map_err(|_| unreadable("it is no statement"))?;
        // What this version does not know it could not show, and nobody should sign what he was not shown.
        if statement.encode_to_vec() != envelope.payload {
            return Err(unreadable("it has parts that this version does not know"));
        }
        let object = Object::of_statement(&statement).ok_or_else(|| unreadable("it is not about what it says"))?;
        Ok(Self { id, statement, object, envelope })
    }
}

/// A statement's id for people: the first 16 hex digits of its digest.
pub fn id_of(envelope: &Envelope) -> String {
    envelope::digest(&envelope.payload_type, &envelope.payload).to_string().chars().take(16).collect()
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    file: String,
    version: u32,
    exchange: String,
    authority_key: String,
    statements: Vec<Dsse>,
}

/// DSSE's JSON form.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Dsse {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<DsseSignature>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct DsseSignature {
    keyid: String,
    sig: String,
}

impl Carried {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let malformed = |reason: &dyn std::fmt::Display| Error::Malformed(reason.to_string());
        let file: File = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        if file.file != KIND {
            return Err(malformed(&format!("it says that it is {:?}", file.file)));
        }
        if file.version != VERSION {
            return Err(malformed(&format!("version {} is not known; update this program", file.version)));
        }
        let exchange: ExchangeId = file.exchange.parse().map_err(|error| malformed(&error))?;
        let statements = file.statements.iter().map(|dsse| CarriedStatement::read(from_json(dsse)?));
        let statements = statements.collect::<Result<Vec<_>, _>>()?;
        if let Some(other) = statements.iter().find(|carried| carried.statement.exchange_id != exchange.as_str()) {
            let reason = "it belongs to another exchange";
            return Err(Error::StatementUnreadable { id: other.id.clone(), reason });
        }
        let authority_key = file.authority_key.parse().map_err(|error| malformed(&error))?;
        Ok(Self { exchange, authority_key, statements })
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let file = File {
            file: KIND.to_owned(),
            version: VERSION,
            exchange: self.exchange.to_string(),
            authority_key: self.authority_key.to_string(),
            statements: self.statements.iter().map(|carried| to_json(&carried.envelope)).collect(),
        };
        // Unwrap safety: strings and numbers in maps with string keys always have a JSON form.
        serde_json::to_string_pretty(&file).expect("plain data") + "\n"
    }

    /// Whether these keys can sign what is here: one of them must be the authority's in force.
    pub fn check_keys(&self, keys: &[SigningKey]) -> Result<(), Error> {
        if keys.iter().any(|key| *key.public_key() == self.authority_key) {
            return Ok(());
        }
        let given: Vec<String> = keys.iter().map(|key| key.public_key().to_string()).collect();
        Err(Error::KeyWrong { given: given.join(", "), needed: self.authority_key.to_string() })
    }

    /// Signs the statement at `position` with every key.
    pub fn sign(&mut self, position: usize, keys: &[SigningKey]) -> Result<(), Error> {
        let Some(carried) = self.statements.get_mut(position) else { return Ok(()) };
        for key in keys {
            envelope::countersign(&mut carried.envelope, key)
                .map_err(|source| Error::Envelope { id: carried.id.clone(), source })?;
        }
        Ok(())
    }
}

fn from_json(dsse: &Dsse) -> Result<Envelope, Error> {
    let base64 = |text: &str| {
        BASE64.decode(text.as_bytes()).map_err(|error| Error::Malformed(format!("base64 is expected: {error}")))
    };
    let signatures = dsse
        .signatures
        .iter()
        .map(|signature| Ok::<_, Error>(Signature { sig: base64(&signature.sig)?, keyid: signature.keyid.clone() }));
    Ok(Envelope {
        payload: base64(&dsse.payload)?,
        payload_type: dsse.payload_type.clone(),
        signatures: signatures.collect::<Result<_, _>>()?,
    })
}

fn to_json(envelope: &Envelope) -> Dsse {
    let signatures = envelope.signatures.iter();
    Dsse {
        payload: BASE64.encode(&envelope.payload),
        payload_type: envelope.payload_type.clone(),
        signatures: signatures
            .map(|signature| DsseSignature { keyid: signature.keyid.clone(), sig: BASE64.encode(&signature.sig) })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::{self as wire, statement::Body};
    use trust::fixture::{Fixture, key};

    use super::*;

    fn suspension(fixture: &Fixture) -> Envelope {
        let body =
            Body::DepartmentSuspended(wire::DepartmentSuspended { department: "housing".into(), reason: "x".into() });
        envelope::unsigned(&fixture.statement(body, "department/housing")).0
    }

    fn carried(fixture: &Fixture) -> Carried {
        Carried {
            exchange: "ninghe".parse().unwrap(),
            authority_key: key("authority").public_key().clone(),
            statements: vec![CarriedStatement::read(suspension(fixture)).unwrap()],
        }
    }

    #[test]
    fn what_was_signed_elsewhere_comes_back_and_counts() {
        let fixture = Fixture::town();
        let mut read = Carried::parse(&carried(&fixture).to_text()).unwrap();
        assert!(read.check_keys(&[key("housing")]).is_err());
        let keys = [key("authority")];
        read.check_keys(&keys).unwrap();
        read.sign(0, &keys).unwrap();
        let back = Carried::parse(&read.to_text()).unwrap();
        assert_eq!(back.statements[0].id, carried(&fixture).statements[0].id, "signing changes no identity");
        fixture.directory.check_envelope(&back.statements[0].envelope).unwrap();
        // Signed once more by the same key, it carries one signature of it.
        read.sign(0, &keys).unwrap();
        assert_eq!(read.statements[0].envelope.signatures.len(), 1);
    }

    #[test]
    fn what_cannot_be_shown_is_not_signed() {
        let fixture = Fixture::town();
        let text = carried(&fixture).to_text();
        for (from, to) in [("ninghe\"", "elsewhere\""), (KIND, "something else"), ("\"version\": 1", "\"version\": 2")]
        {
            assert!(Carried::parse(&text.replacen(from, to, 1)).is_err(), "{from}");
        }
        let mut envelope = suspension(&fixture);
        // A field of a later version: it would be signed and not shown.
        envelope.payload.extend_from_slice(&[0xfa, 0x3e, 0x01, 0x78]);
        assert!(matches!(CarriedStatement::read(envelope), Err(Error::StatementUnreadable { .. })));
        let mut statement = fixture.statement(Body::RegistryAnnounced(wire::RegistryAnnounced::default()), "registry");
        statement.object = "department/housing".into();
        assert!(CarriedStatement::read(envelope::unsigned(&statement).0).is_err());
    }
}
