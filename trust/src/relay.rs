//! Who may wait at a relay: a node that signs the relay's challenge with its own key, as the directory has it. A relay
//! needs no trust, and gets none: whom it joins speak TLS with each other, each held to the other's key. What is checked
//! here only keeps strangers from using it up, and one node from being called in another's place for nothing.
//!
//! Out of scope: connections, and limits on them.

use proto::exchange::v1::{Envelope, RelayRegistration};

use crate::{
    directory::{Directory, model::Node},
    envelope::EnvelopeError,
    node_message,
    refusal::Code,
};

/// The largest registration in bytes.
pub const LARGEST_REGISTRATION: usize = 768;

/// Why a node may not wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// It was made for another relay, exchange or challenge.
    #[error("{field}: it was made for something else")]
    Elsewhere {
        /// The field.
        field: &'static str,
    },
    /// The envelope does not open.
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
    /// The key does not count.
    #[error("the node's key does not count: {}", .0.message())]
    Key(Code),
    /// The directory has no such node.
    #[error("the directory has no such node, or it has another TLS key")]
    NodeUnknown,
    /// Its department is suspended or has ended.
    #[error("its department is suspended or has ended")]
    NotTakingPart,
}

/// Opens a registration at the relay that is dialled under `relays`, which has sent `nonce`.
pub fn open<'a>(
    directory: &'a Directory,
    envelope: &Envelope,
    relays: &[String],
    nonce: &[u8; 32],
    now_ms: u64,
) -> Result<&'a Node, RelayError> {
    let named = |message: &RelayRegistration| Ok((message.department.parse()?, message.node.parse()?));
    let opened = node_message::open(directory, envelope, LARGEST_REGISTRATION, named, |key| key.counts(now_ms, None));
    let (department, node, message) = opened.map_err(|error| match error {
        node_message::Error::Envelope(error) => RelayError::Envelope(error),
        node_message::Error::Key(code) => RelayError::Key(code),
        node_message::Error::Named(_) => RelayError::NodeUnknown,
    })?;
    for (field, same) in [
        ("exchange_id", message.exchange_id == directory.exchange().as_str()),
        ("nonce", message.nonce == nonce),
        ("relay", relays.contains(&message.relay)),
    ] {
        if !same {
            return Err(RelayError::Elsewhere { field });
        }
    }
    let takes_part = directory
        .department(&department)
        .is_some_and(|known| known.suspended.is_none() && known.closed_at(now_ms).is_none());
    if !takes_part {
        return Err(RelayError::NotTakingPart);
    }
    let tls_key = <[u8; 32]>::try_from(message.tls_key.as_slice()).map_err(|_| RelayError::NodeUnknown)?;
    directory
        .node_by_tls_key(&tls_key)
        .filter(|known| known.department == department && known.node == node)
        .ok_or(RelayError::NodeUnknown)
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::{self as wire, statement::Body};

    use super::*;
    use crate::{
        envelope,
        fixture::{self, Fixture, NOW_MS, key},
    };

    const NONCE: [u8; 32] = [9; 32];

    fn registration(node: &str) -> RelayRegistration {
        RelayRegistration {
            exchange_id: "ninghe".into(),
            department: "housing".into(),
            node: node.into(),
            tls_key: fixture::tls_key("housing", node).to_vec(),
            relay: "203.0.113.7:7470".into(),
            nonce: NONCE.to_vec(),
        }
    }

    fn opened(fixture: &Fixture, message: &RelayRegistration, signer: &str) -> Result<String, RelayError> {
        let envelope = envelope::seal(message, &key(signer)).0;
        let relays = ["relay.example:7470".to_owned(), "203.0.113.7:7470".to_owned()];
        open(&fixture.directory, &envelope, &relays, &NONCE, NOW_MS).map(|node| node.node.to_string())
    }

    #[test]
    fn a_node_that_signs_the_challenge_with_its_own_key_may_wait() {
        let mut fixture = Fixture::town();
        fixture.add_node("housing", "2");
        assert_eq!(opened(&fixture, &registration("1"), "housing node 1"), Ok("1".into()));
        assert_eq!(opened(&fixture, &registration("2"), "housing node 2"), Ok("2".into()));
        for signer in ["housing node 2", "housing", "civil-affairs node 1", "authority", "stranger"] {
            assert!(opened(&fixture, &registration("1"), signer).is_err(), "{signer}");
        }
    }

    #[test]
    fn a_signature_for_another_relay_or_challenge_is_of_no_use() {
        let fixture = Fixture::town();
        type Change<'a> = (&'a str, &'a dyn Fn(&mut RelayRegistration));
        let changes: [Change<'_>; 3] = [
            ("relay", &|message| message.relay = "198.51.100.1:7470".into()),
            ("nonce", &|message| message.nonce = vec![8; 32]),
            ("exchange_id", &|message| message.exchange_id = "elsewhere".into()),
        ];
        for (field, change) in changes {
            let mut message = registration("1");
            change(&mut message);
            assert_eq!(opened(&fixture, &message, "housing node 1"), Err(RelayError::Elsewhere { field }));
        }
        let mut message = registration("1");
        message.tls_key = fixture::tls_key("civil-affairs", "1").to_vec();
        assert_eq!(opened(&fixture, &message, "housing node 1"), Err(RelayError::NodeUnknown), "another's TLS key");
    }

    #[test]
    fn whoever_takes_no_part_does_not_wait() {
        let mut fixture = Fixture::town();
        let key_id = key("housing node 1");
        let key_id = crate::key::Signer::public_key(&key_id).id().to_string();
        let mut suspended = Fixture::town();
        let body = wire::DepartmentSuspended { department: "housing".into(), reason: "整改".into() };
        suspended.say("authority", Body::DepartmentSuspended(body), "department/housing");
        assert_eq!(opened(&suspended, &registration("1"), "housing node 1"), Err(RelayError::NotTakingPart));
        let object = format!("key/{key_id}");
        let body = wire::KeyRevoked { department: "housing".into(), key_id, reason: "遗失".into() };
        fixture.say("housing", Body::KeyRevoked(body), &object);
        assert_eq!(opened(&fixture, &registration("1"), "housing node 1"), Err(RelayError::Key(Code::KeyRevoked)));
        let mut removed = Fixture::town();
        let body = wire::NodeRemoved { department: "housing".into(), node: "1".into() };
        removed.say("housing", Body::NodeRemoved(body), "node/housing/1");
        assert_eq!(opened(&removed, &registration("1"), "housing node 1"), Err(RelayError::NodeUnknown));
    }
}
