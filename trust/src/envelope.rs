//! DSSE v1 envelopes over exact bytes, and attestations, which let one signature serve many messages. Bytes are verified
//! first, and then those same bytes are parsed; nothing is re-encoded to be checked. Which key may sign what is decided
//! by the caller, who passes the keys in.

use data_encoding::BASE64;
use prost::Message;
use proto::exchange::v1 as wire;
use sha2::{Digest as _, Sha256};

use crate::{
    ids::Digest,
    key::{KeyId, PublicKey, Signer},
    log::{
        hash::{Hash, leaf_hash},
        proof::verify_inclusion,
    },
};

/// The most signatures that an envelope may carry: each costs a verification.
pub const MOST_SIGNATURES: usize = 8;

/// Messages that are signed, with the payload type that names each.
pub trait Payload: Message + Default {
    /// The DSSE payload type.
    const TYPE: &'static str;
}

macro_rules! payload {
    ($type:ty, $name:literal) => {
        impl Payload for $type {
            const TYPE: &'static str = concat!("application/vnd.errand.", $name, ".v1+protobuf");
        }
    };
}

payload!(wire::Request, "request");
payload!(wire::Answer, "answer");
payload!(wire::Outcome, "outcome");
payload!(wire::Overdue, "overdue");
payload!(wire::Correction, "correction");
payload!(wire::CorrectionReply, "correction-reply");
payload!(wire::AttestationRoot, "attestation-root");
payload!(wire::RelayRegistration, "relay-registration");
payload!(proto::registry::v1::EventReport, "event-report");
payload!(proto::registry::v1::Statement, "statement");

/// Why a signed message is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Neither an envelope nor an attestation.
    #[error("there is no signed message")]
    Missing,
    /// Larger than its kind may be.
    #[error("the message has {size} bytes; {limit} are allowed")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A payload of another type.
    #[error("the payload is of type {found:?}; {expected:?} was expected")]
    WrongType {
        /// What was found, cut at 100 characters.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Without a signature, or with too many.
    #[error("an envelope carries 1 to {MOST_SIGNATURES} signatures")]
    SignatureCount,
    /// No signature is by a key that is acceptable here.
    #[error("no signature is by a key that may sign this")]
    KeyUnknown,
    /// A signature by the right key that does not fit the bytes.
    #[error("the signature does not fit the bytes")]
    SignatureWrong,
    /// An attestation whose leaf is not under its root.
    #[error("the attestation's path does not lead to its root")]
    PathWrong,
    /// The bytes are no such message.
    #[error("the payload is no valid message of its type")]
    Malformed,
}

/// DSSE's pre-authentication encoding: what is signed.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(payload_type.len() + payload.len() + 32);
    encoded.extend_from_slice(format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).as_bytes());
    encoded.extend_from_slice(payload);
    encoded
}

/// A message's identity.
pub fn digest(payload_type: &str, payload: &[u8]) -> Digest {
    Digest::new(Sha256::digest(pre_authentication_encoding(payload_type, payload)).into())
}

/// Signs a message. Returns the envelope and the message's identity.
pub fn seal<M: Payload>(message: &M, signer: &dyn Signer) -> (wire::Envelope, Digest) {
    let payload = message.encode_to_vec();
    let encoded = pre_authentication_encoding(M::TYPE, &payload);
    let signature =
        wire::Signature { sig: signer.sign(&encoded).to_vec(), keyid: signer.public_key().id().to_string() };
    let envelope = wire::Envelope { payload, payload_type: M::TYPE.to_owned(), signatures: vec![signature] };
    (envelope, Digest::new(Sha256::digest(&encoded).into()))
}

/// Adds another key's signature over the same bytes. A message's identity does not depend on who signed it.
///
/// # Errors
///
/// [`EnvelopeError::SignatureCount`]: there are as many as an envelope may carry. One by the same key is replaced.
pub fn countersign(envelope: &mut wire::Envelope, signer: &dyn Signer) -> Result<(), EnvelopeError> {
    let keyid = signer.public_key().id().to_string();
    envelope.signatures.retain(|signature| signature.keyid != keyid);
    if envelope.signatures.len() >= MOST_SIGNATURES {
        return Err(EnvelopeError::SignatureCount);
    }
    let encoded = pre_authentication_encoding(&envelope.payload_type, &envelope.payload);
    envelope.signatures.push(wire::Signature { sig: signer.sign(&encoded).to_vec(), keyid });
    Ok(())
}

/// An envelope over a message that nobody has signed yet.
pub fn unsigned<M: Payload>(message: &M) -> (wire::Envelope, Digest) {
    let payload = message.encode_to_vec();
    let digest = digest(M::TYPE, &payload);
    (wire::Envelope { payload, payload_type: M::TYPE.to_owned(), signatures: Vec::new() }, digest)
}

/// A message whose signature was verified.
#[derive(Clone, Debug)]
pub struct Opened<M> {
    /// The message.
    pub message: M,
    /// Its identity.
    pub digest: Digest,
    /// The key that signed it; the first of them.
    pub key_id: KeyId,
    /// Every acceptable key that signed it, in the order of the signatures.
    pub signers: Vec<KeyId>,
}

/// Verifies an envelope and then parses the bytes that were verified.
///
/// `key_for` finds the key for a key id that is acceptable here; signatures by other keys are passed over, a wrong one
/// by an acceptable key is fatal.
pub fn open<M: Payload>(
    envelope: &wire::Envelope,
    limit: usize,
    key_for: impl Fn(&KeyId) -> Option<PublicKey>,
) -> Result<Opened<M>, EnvelopeError> {
    check_form::<M>(&envelope.payload_type, envelope.payload.len(), limit)?;
    let encoded = pre_authentication_encoding(M::TYPE, &envelope.payload);
    let signers = verify_signatures(envelope, &encoded, key_for)?;
    let key_id = *signers.first().ok_or(EnvelopeError::KeyUnknown)?;
    let message = M::decode(envelope.payload.as_slice()).map_err(|_| EnvelopeError::Malformed)?;
    Ok(Opened { message, digest: Digest::new(Sha256::digest(&encoded).into()), key_id, signers })
}

/// Opens a signed message in either of its forms.
pub fn open_signed<M: Payload>(
    signed: &wire::Signed,
    limit: usize,
    key_for: impl Fn(&KeyId) -> Option<PublicKey>,
) -> Result<Opened<M>, EnvelopeError> {
    match signed.form.as_ref().ok_or(EnvelopeError::Missing)? {
        wire::signed::Form::Envelope(envelope) => open(envelope, limit, key_for),
        wire::signed::Form::Attestation(attestation) => open_attestation(attestation, limit, key_for),
        // A batch is many messages, and opened as such (`batch`).
        wire::signed::Form::Batch(_) => {
            let found = wire::AttestationRoot::TYPE.to_owned();
            Err(EnvelopeError::WrongType { found, expected: M::TYPE })
        }
    }
}

/// The payload of a signed message **before** anything was verified. Good only for finding out whom it claims to be from.
pub fn peek<M: Payload>(signed: &wire::Signed, limit: usize) -> Result<M, EnvelopeError> {
    let (payload_type, payload) = parts(signed)?;
    check_form::<M>(payload_type, payload.len(), limit)?;
    M::decode(payload).map_err(|_| EnvelopeError::Malformed)
}

/// The identities that an evidence entry may have been made under for this message: its own, and, where it was signed
/// together with others, that of the root that it is attested by: many messages have one entry.
pub fn logged_digests(signed: &wire::Signed) -> Result<Vec<Digest>, EnvelopeError> {
    let mut digests = vec![digest_of(signed)?];
    if let Some(wire::signed::Form::Attestation(attestation)) = &signed.form {
        let root = attestation.root.as_ref().ok_or(EnvelopeError::Missing)?;
        digests.push(digest(&root.payload_type, &root.payload));
    }
    Ok(digests)
}

/// The identity of a signed message in any form; that of a batch is that of its root.
pub fn digest_of(signed: &wire::Signed) -> Result<Digest, EnvelopeError> {
    let (payload_type, payload) = parts(signed)?;
    Ok(digest(payload_type, payload))
}

/// Wraps an envelope for the wire.
pub fn signed(envelope: wire::Envelope) -> wire::Signed {
    wire::Signed { form: Some(wire::signed::Form::Envelope(envelope)) }
}

/// The envelope in DSSE's JSON form, for tools that nobody here wrote.
pub fn to_json(envelope: &wire::Envelope) -> String {
    // Injection safety: payload types and key ids of verified envelopes are plain; what could break out is dropped.
    let safe = |text: &str| text.replace(|character: char| character.is_control() || "\"\\".contains(character), "");
    let signatures: Vec<String> = envelope
        .signatures
        .iter()
        .map(|signature| {
            format!(r#"{{"keyid":"{}","sig":"{}"}}"#, safe(&signature.keyid), BASE64.encode(&signature.sig))
        })
        .collect();
    format!(
        r#"{{"payload":"{}","payloadType":"{}","signatures":[{}]}}"#,
        BASE64.encode(&envelope.payload),
        safe(&envelope.payload_type),
        signatures.join(",")
    )
}

/// The leaf that stands for a message in an attestation's tree.
pub fn attestation_leaf(salt: &[u8; 32], message: &Digest) -> Hash {
    let mut leaf = Vec::with_capacity(96);
    leaf.extend_from_slice(b"errand attestation v1\0");
    leaf.extend_from_slice(salt);
    leaf.extend_from_slice(message.as_bytes());
    leaf_hash(&leaf)
}

/// How many levels an attestation's tree may have: a million messages under one signature.
const DEEPEST_ATTESTATION: usize = 20;

/// A root message is two numbers and a hash.
const LARGEST_ROOT: usize = 256;

fn open_attestation<M: Payload>(
    attestation: &wire::Attestation,
    limit: usize,
    key_for: impl Fn(&KeyId) -> Option<PublicKey>,
) -> Result<Opened<M>, EnvelopeError> {
    check_form::<M>(&attestation.payload_type, attestation.payload.len(), limit)?;
    let root_envelope = attestation.root.as_ref().ok_or(EnvelopeError::Missing)?;
    let root = open::<wire::AttestationRoot>(root_envelope, LARGEST_ROOT, key_for)?;
    let message_digest = digest(M::TYPE, &attestation.payload);
    let salt: &[u8; 32] = attestation.salt.as_slice().try_into().map_err(|_| EnvelopeError::Malformed)?;
    let root_hash: [u8; 32] = root.message.root.as_slice().try_into().map_err(|_| EnvelopeError::Malformed)?;
    if attestation.path.len() > DEEPEST_ATTESTATION {
        return Err(EnvelopeError::PathWrong);
    }
    let path: Vec<Hash> = attestation
        .path
        .iter()
        .map(|hash| <[u8; 32]>::try_from(hash.as_slice()).map(Hash::from_bytes).map_err(|_| EnvelopeError::PathWrong))
        .collect::<Result<_, _>>()?;
    let leaf = attestation_leaf(salt, &message_digest);
    verify_inclusion(&leaf, attestation.index, root.message.size, &path, &Hash::from_bytes(root_hash))
        .map_err(|_| EnvelopeError::PathWrong)?;
    let message = M::decode(attestation.payload.as_slice()).map_err(|_| EnvelopeError::Malformed)?;
    Ok(Opened { message, digest: message_digest, key_id: root.key_id, signers: root.signers })
}

fn parts(signed: &wire::Signed) -> Result<(&str, &[u8]), EnvelopeError> {
    match signed.form.as_ref().ok_or(EnvelopeError::Missing)? {
        wire::signed::Form::Envelope(envelope) => Ok((&envelope.payload_type, &envelope.payload)),
        wire::signed::Form::Attestation(attestation) => Ok((&attestation.payload_type, &attestation.payload)),
        wire::signed::Form::Batch(batch) => {
            let root = batch.root.as_ref().ok_or(EnvelopeError::Missing)?;
            Ok((&root.payload_type, &root.payload))
        }
    }
}

fn check_form<M: Payload>(payload_type: &str, size: usize, limit: usize) -> Result<(), EnvelopeError> {
    if size > limit {
        return Err(EnvelopeError::TooLarge { size, limit });
    }
    if payload_type != M::TYPE {
        let found = payload_type.chars().take(100).collect();
        return Err(EnvelopeError::WrongType { found, expected: M::TYPE });
    }
    Ok(())
}

fn verify_signatures(
    envelope: &wire::Envelope,
    encoded: &[u8],
    key_for: impl Fn(&KeyId) -> Option<PublicKey>,
) -> Result<Vec<KeyId>, EnvelopeError> {
    if envelope.signatures.is_empty() || envelope.signatures.len() > MOST_SIGNATURES {
        return Err(EnvelopeError::SignatureCount);
    }
    let mut signed_by = Vec::new();
    for signature in &envelope.signatures {
        let Ok(key_id) = signature.keyid.parse::<KeyId>() else { continue };
        let Some(key) = key_for(&key_id) else { continue };
        if !key.verifies(encoded, &signature.sig) {
            return Err(EnvelopeError::SignatureWrong);
        }
        if !signed_by.contains(&key_id) {
            signed_by.push(key_id);
        }
    }
    if signed_by.is_empty() { Err(EnvelopeError::KeyUnknown) } else { Ok(signed_by) }
}

#[cfg(test)]
mod tests;
