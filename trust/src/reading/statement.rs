//! One statement in words: what it says, who signed it, and where it stands.

use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{ProvenStatement, SignerEntry, Statement},
};
use serde::Serialize;

use super::{Fact, body, both_names, department::role, moment};
use crate::{
    directory, envelope,
    ids::{Digest, ExchangeId, IdError},
    key::{KeyError, PublicKey},
    log::{
        checkpoint::LogKey,
        hash::{Hash, leaf_hash},
        note::{self, SignedNote},
        tlog_proof::{self, TlogProof},
    },
};

/// Why a statement cannot be shown, or is not what it is said to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The checkpoint is no note.
    #[error("the checkpoint is malformed: {0}")]
    Checkpoint(#[from] note::Error),
    /// The exchange's id is none.
    #[error("the statement's exchange: {0}")]
    Exchange(#[from] IdError),
    /// A hash of the path is not 32 bytes.
    #[error("the inclusion path has a hash that is not 32 bytes")]
    HashMalformed,
    /// The log's key is none.
    #[error("the log's key is malformed: {0}")]
    LogKey(#[from] KeyError),
    /// The log's key is none.
    #[error("the log's key is malformed: {0}")]
    LogNoteKey(#[from] note::key::Error),
    /// The entry is no statement.
    #[error("the entry is no statement in an envelope")]
    NotAStatement,
    /// The proof does not hold.
    #[error("the statement is not in the log: {0}")]
    NotInLog(#[from] tlog_proof::Error),
}

/// A statement in words. Its keys are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StatementWords {
    /// Its index in the log.
    pub index: u64,
    /// Its kind, for example `department_admitted`.
    pub kind: &'static str,
    /// What it says, in a sentence.
    pub says: String,
    /// What it is about.
    pub object: String,
    /// When it was made, Unix milliseconds.
    pub stated_at_ms: u64,
    /// The officer who made the decision.
    pub officer: String,
    /// The officer who confirmed it, where it takes four eyes.
    pub second_officer: String,
    /// The document that it rests on.
    pub document: String,
    /// What it says in detail.
    pub details: Vec<Detail>,
    /// Its identity.
    pub digest: String,
    /// The statement before it about the same object; empty for the first.
    pub predecessor: String,
    /// Who signed it.
    pub signers: Vec<SignerWords>,
    /// A reader that does not know its kind may pass it over.
    pub ignorable: bool,
    /// The length of its envelope in bytes.
    pub bytes: usize,
}

/// One thing that a statement says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Detail {
    /// What it is about.
    pub name: &'static str,
    /// What is said.
    pub value: String,
}

/// Who signed, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SignerWords {
    /// The key's id.
    pub key_id: String,
    /// Its role.
    pub role: &'static str,
    /// The department it belongs to; empty for the authority's and the log's.
    pub department: String,
    /// The department's name.
    pub name: String,
    /// Whether the key's signature over these very bytes verifies.
    pub verified: bool,
}

impl StatementWords {
    /// Reads an entry of the log. Whether a signature verifies is found out here; whether its key may make such a
    /// statement is for the directory's rules, which whoever took it into the log has followed.
    pub fn of(index: u64, entry: &[u8], signers: &[SignerEntry]) -> Result<Self, StatementError> {
        let envelope = Envelope::decode(entry).map_err(|_| StatementError::NotAStatement)?;
        let statement = Statement::decode(envelope.payload.as_slice()).map_err(|_| StatementError::NotAStatement)?;
        let decision = statement.decision.clone().unwrap_or_default();
        let (says, details) = match &statement.body {
            Some(body) => (body::says(body, &statement), body::details(body)),
            None => ("It is of a kind that this version does not know.".to_owned(), Vec::new()),
        };
        Ok(Self {
            index,
            kind: statement.body.as_ref().map_or("unknown", body::kind),
            says,
            object: statement.object.clone(),
            stated_at_ms: statement.stated_at_ms,
            officer: decision.officer,
            second_officer: decision.second_officer,
            document: decision.document,
            details: details
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| Detail { name, value })
                .collect(),
            digest: envelope::digest(&envelope.payload_type, &envelope.payload).to_string(),
            predecessor: Digest::try_from(statement.predecessor.as_slice())
                .map_or(String::new(), |digest| digest.to_string()),
            signers: signers.iter().map(|signer| signer_words(signer, &envelope)).collect(),
            ignorable: statement.ignorable,
            bytes: entry.len(),
        })
    }

    /// The statement and its place in the log, for people. What it says in detail stands between.
    pub fn facts(&self) -> Vec<Fact> {
        let signers = self.signers.iter().map(|signer| {
            let who = match (signer.role, signer.department.as_str()) {
                ("", _) => "a key that the directory does not know".to_owned(),
                (role, "") => format!("the {role} key"),
                (role, department) => format!("{} ({department}), {role} key", signer.name),
            };
            let verified = if signer.verified { "signature verified" } else { "SIGNATURE NOT VERIFIED" };
            format!("{who} {}\n{verified}", signer.key_id)
        });
        vec![
            ("says", self.says.clone()),
            ("about", self.object.clone()),
            ("stated", moment(self.stated_at_ms)),
            ("officer", self.officer.clone()),
            ("second officer", self.second_officer.clone()),
            ("document", self.document.clone()),
            ("signed by", signers.collect::<Vec<_>>().join("\n")),
            ("digest", self.digest.clone()),
            ("follows", self.predecessor.clone()),
        ]
    }

    /// What it says in detail, for people.
    pub fn detail_rows(&self) -> Vec<[String; 2]> {
        self.details.iter().map(|detail| [detail.name.to_owned(), detail.value.clone()]).collect()
    }

    /// Proves that the statement is in the log of this exchange, as a C2SP proof that can be kept and checked offline.
    pub fn proof(exchange: &ExchangeId, proven: &ProvenStatement) -> Result<TlogProof, StatementError> {
        let log_key = PublicKey::ed25519(&proven.log_key)?;
        let name = directory::origin(exchange).parse().map_err(StatementError::LogNoteKey)?;
        let log_key = LogKey::new(name, log_key.as_bytes())?;
        let hash = |bytes: &Vec<u8>| {
            let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| StatementError::HashMalformed)?;
            Ok(Hash::from_bytes(bytes))
        };
        let path = proven.inclusion.iter().map(hash).collect::<Result<Vec<_>, StatementError>>()?;
        let note = SignedNote::parse(proven.checkpoint.as_bytes())?;
        let proof = TlogProof::new(proven.index, path, note);
        proof.verify(&leaf_hash(&proven.entry), &log_key)?;
        Ok(proof)
    }
}

fn signer_words(signer: &SignerEntry, envelope: &Envelope) -> SignerWords {
    let key = signer.key.as_ref();
    let public = key.and_then(|key| PublicKey::of_suite(&key.suite, &key.public_key).ok());
    let signature = envelope.signatures.iter().find(|signature| signature.keyid == signer.key_id);
    let verified = public.zip(signature).is_some_and(|(public, signature)| {
        let encoded = envelope::pre_authentication_encoding(&envelope.payload_type, &envelope.payload);
        public.id().to_string() == signer.key_id && public.verifies(&encoded, &signature.sig)
    });
    SignerWords {
        key_id: signer.key_id.clone(),
        role: key.map_or("", role),
        department: signer.department.clone(),
        name: both_names(signer.name.as_ref()),
        verified,
    }
}
