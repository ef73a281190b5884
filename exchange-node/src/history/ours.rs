//! Whether a message that the other side holds bears this node's own signature. Out of scope: whether it is in the evidence.

use prost::Message;
use proto::exchange::v1::{Answer, AttestationRoot, Batch, EntryKind, HeldMessage, Request, signed::Form};
use trust::{
    answer::LARGEST_ANSWER,
    directory::Directory,
    envelope,
    ids::{Digest, NodeId, Party},
    key::{KeyId, PublicKey},
    question::LARGEST_REQUEST,
};

/// The largest signed root of a batch, in bytes: two numbers and a hash.
const LARGEST_ROOT: usize = 256;

/// A message that this node signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ours {
    /// Its identity.
    pub(super) digest: Digest,
    /// When it was signed, by this node's clock, Unix milliseconds.
    pub(super) at_ms: u64,
}

/// Opens a message as one that this node signed; `None` for any other. `own` are the keys that are here, which a view that
/// was restored may not know.
pub(super) fn open(
    directory: &Directory,
    own: &[PublicKey],
    (me, node): (&Party, &NodeId),
    held: &HeldMessage,
) -> Option<Ours> {
    let message = held.message.as_ref()?;
    let key_at = |at_ms: u64| {
        move |id: &KeyId| {
            let here = own.iter().find(|key| key.id() == id).cloned();
            here.or_else(|| directory.node_key(me.department(), id, at_ms).ok().map(|key| key.key.clone()))
        }
    };
    let is_mine = |sender: &str, sender_node: &str| sender == me.to_string() && sender_node == node.as_str();
    if let Some(Form::Batch(batch)) = &message.form {
        return batch_root(batch, own, held.kind(), is_mine);
    }
    match held.kind() {
        EntryKind::QuestionReceived => {
            let claimed: Request = envelope::peek(message, LARGEST_REQUEST).ok()?;
            if !is_mine(&claimed.sender, &claimed.sender_node) {
                return None;
            }
            let at_ms = claimed.issued_at_ms;
            let opened = envelope::open_signed::<Request>(message, LARGEST_REQUEST, key_at(at_ms)).ok()?;
            Some(Ours { digest: opened.digest, at_ms })
        }
        EntryKind::AnswerReceived => {
            let claimed: Answer = envelope::peek(message, LARGEST_ANSWER).ok()?;
            if !is_mine(&claimed.sender, &claimed.sender_node) {
                return None;
            }
            let at_ms = claimed.answered_at_ms;
            let opened = envelope::open_signed::<Answer>(message, LARGEST_ANSWER, key_at(at_ms)).ok()?;
            Some(Ours { digest: opened.digest, at_ms })
        }
        _ => None,
    }
}

/// The root of a batch. Only what its messages say names the node that signed it, and these are not here: so it counts under a
/// key of this very node alone.
fn batch_root(batch: &Batch, own: &[PublicKey], kind: EntryKind, is_mine: impl Fn(&str, &str) -> bool) -> Option<Ours> {
    let is_mine = match kind {
        EntryKind::QuestionReceived => {
            let shared = Request::decode(batch.common.as_slice()).ok()?;
            is_mine(&shared.sender, &shared.sender_node)
        }
        EntryKind::AnswerReceived => {
            let shared = Answer::decode(batch.common.as_slice()).ok()?;
            is_mine(&shared.sender, &shared.sender_node)
        }
        _ => false,
    };
    let root = batch.root.as_ref().filter(|_| is_mine)?;
    let key = |id: &KeyId| own.iter().find(|key| key.id() == id).cloned();
    let opened = envelope::open::<AttestationRoot>(root, LARGEST_ROOT, key).ok()?;
    Some(Ours { digest: opened.digest, at_ms: opened.message.signed_at_ms })
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::Envelope;
    use trust::{
        envelope::{seal, signed},
        fixture::{self, Fixture, NOW_MS, key, party},
        key::Signer,
    };

    use super::*;

    #[test]
    fn only_what_this_node_signed_counts_as_its_own() {
        let fixture = Fixture::town();
        let (me, node) = (party("housing"), fixture::node("1"));
        let open = |envelope: Envelope, own: &[PublicKey]| {
            let held = HeldMessage {
                kind: EntryKind::QuestionReceived.into(),
                message: Some(signed(envelope)),
                ..HeldMessage::default()
            };
            open(&fixture.directory, own, (&me, &node), &held)
        };
        let request = |sender_node: &str| Request {
            sender: me.to_string(),
            sender_node: sender_node.to_owned(),
            issued_at_ms: NOW_MS,
            ..Request::default()
        };
        let (mine, digest) = seal(&request("1"), &key("housing node 1"));
        assert_eq!(open(mine, &[]), Some(Ours { digest, at_ms: NOW_MS }));
        // Another node of the department, and somebody who says to be this one.
        assert_eq!(open(seal(&request("2"), &key("housing node 1")).0, &[]), None);
        assert_eq!(open(seal(&request("1"), &key("civil-affairs node 1")).0, &[]), None);
        // A key that the view does not know yet, and that is here.
        let new = key("housing node 1, a new key");
        assert_eq!(open(seal(&request("1"), &new).0, &[]), None);
        assert!(open(seal(&request("1"), &new).0, &[new.public_key().clone()]).is_some());
    }
    #[test]
    fn the_root_of_a_batch_counts_under_a_key_of_this_node_and_no_other() {
        let fixture = Fixture::town();
        let (me, node) = (party("housing"), fixture::node("1"));
        let mine = key("housing node 1");
        let root = AttestationRoot { size: 2, root: vec![7; 32], signed_at_ms: NOW_MS };
        let (envelope, digest) = seal(&root, &mine);
        let open = |kind: EntryKind, sender_node: &str, own: &[PublicKey]| {
            let shared = Request { sender: me.to_string(), sender_node: sender_node.to_owned(), ..Request::default() };
            let batch = Batch { common: shared.encode_to_vec(), root: Some(envelope.clone()), ..Batch::default() };
            let message = proto::exchange::v1::Signed { form: Some(Form::Batch(batch)) };
            let held = HeldMessage { kind: kind.into(), message: Some(message), ..HeldMessage::default() };
            open(&fixture.directory, own, (&me, &node), &held)
        };
        let own = [mine.public_key().clone()];
        let received = EntryKind::QuestionReceived;
        assert_eq!(open(received, "1", &own), Some(Ours { digest, at_ms: NOW_MS }));
        // Whoever holds a root may put other words before it: the key alone says whose it is.
        assert_eq!(open(received, "1", &[key("housing node 2").public_key().clone()]), None);
        assert_eq!(open(received, "1", &[]), None);
        assert_eq!(open(received, "2", &own), None);
        assert_eq!(open(EntryKind::QuestionSent, "1", &own), None);
    }
}
