//! Overdue answers: a deferred answer that was not given by its due time, as the node that owes it says itself. Such
//! statements stand in the registry's second log beside the anchors, so that a deadline has consequences, and anybody who
//! reads that log can count them. They name request and deferral by digest, and nobody.
//!
//! Out of scope: when a node states one, and who counts them.

use prost::Message;
use proto::exchange::v1 as wire;

use crate::{
    anchor::Revoked,
    directory::{Directory, model::KnownKey},
    envelope::EnvelopeError,
    ids::{DepartmentId, Digest, IdError, Party},
    node_message,
    refusal::{Code, Refusal},
};

/// The longest entry, in bytes.
pub const LARGEST_OVERDUE: usize = 2048;

/// An overdue answer, signed by the node that owes it.
#[derive(Clone, Debug)]
pub struct Stated {
    /// The department that owes the answer.
    pub department: DepartmentId,
    /// The department that waits.
    pub waiting: DepartmentId,
    /// The digest of the request: a question is overdue once.
    pub request: Digest,
    /// The message as it was signed.
    pub wire: wire::Overdue,
}

/// Why an entry is no overdue answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The envelope does not open.
    #[error("overdue signature: {0}")]
    Envelope(#[from] EnvelopeError),
    /// A field cannot be what it is.
    #[error("overdue {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It was said before the answer was due.
    #[error("overdue stated_at_ms: the answer was not due yet")]
    NotYet,
    /// The bytes are no envelope, or hold more than one.
    #[error("it is no signed statement")]
    NotSigned,
}

impl Error {
    /// As a refusal, for the node that states it.
    pub fn refusal(&self) -> Refusal {
        let code = match self {
            Self::Envelope(EnvelopeError::KeyUnknown) => Code::KeyUnknown,
            Self::Envelope(EnvelopeError::SignatureWrong | EnvelopeError::PathWrong) => Code::SignatureWrong,
            Self::NotYet => Code::NotOverdue,
            Self::Envelope(_) | Self::Field { .. } | Self::NotSigned => Code::MessageMalformed,
        };
        Refusal::new(code).at("overdue").because(self)
    }
}

/// Whether an entry of the second log is one of these, and no anchor: an encoded envelope begins with its first field's
/// tag, a line feed, and no checkpoint begins with an empty line.
pub fn is_one(entry: &[u8]) -> bool {
    entry.first() == Some(&0x0A)
}

/// Reads an entry of the second log: that a key of the node that owes the answer signed it, after it was due.
///
/// # Errors
/// What is wrong with it.
pub fn read(directory: &Directory, entry: &[u8], revoked: Revoked) -> Result<Stated, Error> {
    let envelope = wire::Envelope::decode(entry).map_err(|_| Error::NotSigned)?;
    // Otherwise bytes that nobody signed could hide in the log.
    if entry.len() > LARGEST_OVERDUE || envelope.encode_to_vec() != entry {
        return Err(Error::NotSigned);
    }
    let malformed = |field| move |error: IdError| Error::Field { field, reason: error.to_string() };
    let exchange = directory.exchange();
    let named = |wire: &wire::Overdue| {
        let sender: Party = wire.sender.parse()?;
        Ok((sender.department().clone(), wire.sender_node.parse()?))
    };
    let counts = |key: &KnownKey| match (&key.revoked, revoked) {
        (None, _) | (_, Revoked::Taken) => Ok(()),
        (Some(_), _) => Err(Code::KeyRevoked),
    };
    let opened = node_message::open(directory, &envelope, LARGEST_OVERDUE, named, counts);
    let (_, _, wire) = opened.map_err(|error| match error {
        node_message::Error::Envelope(error) => Error::Envelope(error),
        node_message::Error::Key(_) => Error::Envelope(EnvelopeError::KeyUnknown),
        node_message::Error::Named(error) => malformed("sender")(error),
    })?;
    let sender: Party = wire.sender.parse().map_err(malformed("sender"))?;
    let waiting: Party = wire.recipient.parse().map_err(malformed("recipient"))?;
    for (field, party) in [("sender", &sender), ("recipient", &waiting)] {
        if party.exchange() != exchange || wire.exchange_id != exchange.as_str() {
            return Err(Error::Field { field, reason: "is of another exchange".to_owned() });
        }
        if directory.department(party.department()).is_none() {
            return Err(Error::Field { field, reason: "is not admitted".to_owned() });
        }
    }
    let request = Digest::try_from(wire.request_digest.as_slice()).map_err(malformed("request_digest"))?;
    Digest::try_from(wire.deferral.as_slice()).map_err(malformed("deferral"))?;
    if wire.stated_at_ms < wire.due_at_ms || wire.due_at_ms == 0 {
        return Err(Error::NotYet);
    }
    Ok(Stated { department: sender.department().clone(), waiting: waiting.department().clone(), request, wire })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        envelope,
        fixture::{Fixture, NOW_MS, key},
    };

    fn overdue() -> wire::Overdue {
        wire::Overdue {
            exchange_id: "ninghe".into(),
            sender: "ninghe/civil-affairs".into(),
            sender_node: "1".into(),
            recipient: "ninghe/housing".into(),
            service: "marriage-registration".into(),
            service_version: 1,
            request_digest: vec![1; 32],
            deferral: vec![2; 32],
            due_at_ms: NOW_MS,
            stated_at_ms: NOW_MS + 1,
        }
    }

    fn entry(overdue: &wire::Overdue, signer: &str) -> Vec<u8> {
        envelope::seal(overdue, &key(signer)).0.encode_to_vec()
    }

    #[test]
    fn the_node_that_owes_the_answer_says_so_itself() {
        let directory = Fixture::town().directory;
        let by_itself = entry(&overdue(), "civil-affairs node 1");
        assert!(is_one(&by_itself) && !is_one(b"ninghe/housing/1/evidence\n1\n"));
        let stated = read(&directory, &by_itself, Revoked::Refused).unwrap();
        assert_eq!((stated.department.as_str(), stated.waiting.as_str()), ("civil-affairs", "housing"));
        // Nobody else can say it of a department.
        for other in ["housing node 1", "civil-affairs department"] {
            let error = read(&directory, &entry(&overdue(), other), Revoked::Taken).unwrap_err();
            assert_eq!(error.refusal().code, Code::KeyUnknown, "{other}");
        }
        let early = wire::Overdue { stated_at_ms: NOW_MS - 1, ..overdue() };
        let early = read(&directory, &entry(&early, "civil-affairs node 1"), Revoked::Refused).unwrap_err();
        assert_eq!(early.refusal().code, Code::NotOverdue);
    }

    #[test]
    fn every_flipped_byte_is_found_out() {
        let directory = Fixture::town().directory;
        let sound = entry(&overdue(), "civil-affairs node 1");
        for position in 0..sound.len() {
            let mut altered = sound.clone();
            altered[position] ^= 1;
            assert!(read(&directory, &altered, Revoked::Refused).is_err(), "byte {position}");
        }
    }
}
