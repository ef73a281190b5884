//! Corrections (校核): a department that was given an answer doubts it, and the provider's clerk looks at the record again.
//! What each side may say, for which reasons, and what the other one checks before it believes it. Out of scope: keeping
//! what waits, evaluating anew, and telling who relied on an answer (the node).

use proto::exchange::v1::{self as wire, correction_reply::Said};

use crate::{
    directory::{Directory, OLDEST_WIRE_VERSION, WIRE_VERSION},
    envelope::{self, EnvelopeError},
    ids::{Digest, NodeId, Party},
    refusal::{Code, Refusal},
};

/// The largest correction, and the largest reply to one, in bytes.
pub const LARGEST_CORRECTION: usize = 8 * 1024;

/// The longest text of a correction, in bytes.
pub const LONGEST_TEXT: usize = 1000;

/// Why an answer may be doubted, each with what it means.
pub const REASONS: [(&str, &str); 5] = [
    ("PAPER_SAYS_OTHERWISE", "the applicant holds a valid paper that says otherwise"),
    ("RECORD_OUTDATED", "the record does not show what has happened since"),
    ("WRONG_PERSON", "the record seems to be another person's"),
    ("RECORD_MISSING", "a record that must be there was not found"),
    ("OTHER", "another reason, which the text gives"),
];

/// What a clerk may find of a record that was wrong.
pub const WRONG_REASONS: [(&str, &str); 4] = [
    ("ENTRY_MENDED", "an entry was wrong and has been mended"),
    ("ENTRY_ADDED", "an entry was missing and has been added"),
    ("ENTRY_REMOVED", "an entry did not belong there and has been removed"),
    ("NUMBERS_JOINED", "numbers of one subject have been joined, or of two been parted"),
];

/// What a clerk may find of a record that is right.
pub const RIGHT_REASONS: [(&str, &str); 4] = [
    ("RECORD_CONFIRMED", "the record agrees with its source"),
    ("PAPER_NOT_VALID", "the paper is not valid, or not valid any more"),
    ("PROCEDURE_PENDING", "what the paper says is the object of a procedure that is under way"),
    ("NOT_OUR_RECORD", "what is doubted is another department's to record"),
];

/// Whether a code stands in a list of reasons.
pub fn is_listed(reasons: &[(&str, &str)], code: &str) -> bool {
    reasons.iter().any(|(known, _)| *known == code)
}

/// A correction that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its identity.
    pub digest: Digest,
    /// The node that sent it.
    pub sender_node: NodeId,
    /// The message as it was signed.
    pub wire: wire::Correction,
}

/// Why a correction or a reply is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The envelope does not open with a key of the sender's nodes.
    #[error("correction signature: {0}")]
    Envelope(#[from] EnvelopeError),
    /// A field cannot be what it is.
    #[error("correction {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

const fn field(field: &'static str, reason: &'static str) -> Error {
    Error::Field { field, reason }
}

/// Opens a correction that came over a connection of `peer`, for the department `me`.
///
/// # Errors
/// Why it is not believed; nothing of it is kept then.
pub fn open(
    directory: &Directory,
    signed: &wire::Signed,
    (peer, me): (&Party, &Party),
    now_ms: u64,
) -> Result<Opened, Error> {
    let opened = envelope::open_signed::<wire::Correction>(signed, LARGEST_CORRECTION, |key_id| {
        directory.node_key(peer.department(), key_id, now_ms).ok().map(|key| key.key.clone())
    })?;
    let said = opened.message;
    check_between((said.wire_version, &said.exchange_id), (&said.sender, &said.recipient), (peer, me))?;
    for (name, bytes) in [
        ("correction_id", &said.correction_id),
        ("request_digest", &said.request_digest),
        ("answer_digest", &said.answer_digest),
    ] {
        if bytes.len() != 32 {
            return Err(field(name, "must be 32 bytes"));
        }
    }
    check_words(&said)?;
    let sender_node = said.sender_node.parse().map_err(|_| field("sender_node", "is no node's id"))?;
    Ok(Opened { digest: opened.digest, sender_node, wire: said })
}

/// What must hold of the words of a correction, on either side.
///
/// # Errors
/// Which field is wrong.
pub fn check_words(said: &wire::Correction) -> Result<(), Error> {
    if !is_listed(&REASONS, &said.reason) {
        return Err(field("reason", "is none of the list"));
    }
    let texts = [
        ("text", &said.text, LONGEST_TEXT),
        ("officer", &said.officer, crate::question::LONGEST_TEXT),
        ("case_number", &said.case_number, crate::question::LONGEST_TEXT),
    ];
    for (name, text, longest) in texts {
        if text.len() > longest || text.chars().any(char::is_control) {
            return Err(field(name, "is too long, or has control characters"));
        }
    }
    if said.officer.trim().is_empty() {
        return Err(field("officer", "is missing"));
    }
    Ok(())
}

impl Error {
    /// As a refusal, for the office that opens a correction.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Field { field: "officer", reason: "is missing" } => Refusal::new(Code::OfficerMissing).at("officer"),
            Self::Field { field, reason } => Refusal::new(Code::MessageMalformed).at(*field).because(reason),
            Self::Envelope(error) => Refusal::new(Code::SignatureWrong).because(error),
        }
    }
}

/// Opens what the provider says of the correction with this identity.
///
/// # Errors
/// Why it is not believed.
pub fn open_reply(
    directory: &Directory,
    signed: &wire::Signed,
    (provider, me): (&Party, &Party),
    correction: &Digest,
) -> Result<(wire::CorrectionReply, Digest), Error> {
    // The key must have counted when it was said: it may come late, and be rotated by then.
    let said_ms = envelope::peek::<wire::CorrectionReply>(signed, LARGEST_CORRECTION)?.said_at_ms;
    let opened = envelope::open_signed::<wire::CorrectionReply>(signed, LARGEST_CORRECTION, |key_id| {
        directory.node_key(provider.department(), key_id, said_ms).ok().map(|key| key.key.clone())
    })?;
    let said = opened.message;
    check_between((said.wire_version, &said.exchange_id), (&said.sender, &said.recipient), (provider, me))?;
    if said.correction != correction.as_bytes() {
        return Err(field("correction", "it is about another correction"));
    }
    match &said.said {
        Some(Said::Accepted(accepted)) if accepted.due_at_ms > 0 => {}
        Some(Said::Refused(refusal)) if !refusal.code.is_empty() => {}
        Some(Said::Decided(decided)) if is_listed(reasons(decided.record_was_wrong), &decided.reason) => {}
        _ => return Err(field("said", "it says nothing that is known here")),
    }
    Ok((said, opened.digest))
}

/// The reasons of a decision.
pub fn reasons(record_was_wrong: bool) -> &'static [(&'static str, &'static str)] {
    if record_was_wrong { &WRONG_REASONS } else { &RIGHT_REASONS }
}

fn check_between(
    (wire_version, exchange): (u32, &str),
    (sender, recipient): (&str, &str),
    (from, to): (&Party, &Party),
) -> Result<(), Error> {
    if !(OLDEST_WIRE_VERSION..=WIRE_VERSION).contains(&wire_version) {
        return Err(field("wire_version", "is not spoken here"));
    }
    let same = [
        ("exchange_id", exchange == to.exchange().as_str(), "is another exchange"),
        ("sender", sender == from.to_string(), "is not whom the connection belongs to"),
        ("recipient", recipient == to.to_string(), "is somebody else"),
    ];
    match same.iter().find(|(_, same, _)| !same) {
        Some((name, _, reason)) => Err(field(name, reason)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, NOW_MS, key};

    fn correction() -> wire::Correction {
        wire::Correction {
            wire_version: WIRE_VERSION,
            exchange_id: "ninghe".into(),
            correction_id: vec![7; 32],
            sender: "ninghe/housing".into(),
            sender_node: "1".into(),
            recipient: "ninghe/civil-affairs".into(),
            request_digest: vec![1; 32],
            answer_digest: vec![2; 32],
            answered_at_ms: NOW_MS,
            reason: "PAPER_SAYS_OTHERWISE".into(),
            text: "结婚证".into(),
            officer: "1024".into(),
            case_number: "GZF-1".into(),
            opened_at_ms: NOW_MS,
        }
    }

    fn opened(correction: &wire::Correction, signer: &str) -> Result<Opened, Error> {
        let signed = envelope::signed(envelope::seal(correction, &key(signer)).0);
        let (housing, civil): (Party, Party) =
            ("ninghe/housing".parse().unwrap(), "ninghe/civil-affairs".parse().unwrap());
        open(&Fixture::town().directory, &signed, (&housing, &civil), NOW_MS)
    }

    #[test]
    fn a_correction_is_its_senders_own_and_for_its_recipient() {
        assert!(opened(&correction(), "housing node 1").is_ok());
        for signer in ["civil-affairs node 1", "housing department"] {
            assert!(matches!(opened(&correction(), signer), Err(Error::Envelope(_))), "{signer}");
        }
        let wrong = |change: fn(&mut wire::Correction)| {
            let mut changed = correction();
            change(&mut changed);
            opened(&changed, "housing node 1")
        };
        assert!(wrong(|said| said.sender = "ninghe/civil-affairs".into()).is_err());
        assert!(wrong(|said| said.recipient = "ninghe/housing".into()).is_err());
        assert!(wrong(|said| said.exchange_id = "other".into()).is_err());
        assert!(wrong(|said| said.reason = "I feel so".into()).is_err());
        assert!(wrong(|said| said.text = "x".repeat(LONGEST_TEXT + 1)).is_err());
        assert!(wrong(|said| said.correction_id = vec![1; 31]).is_err());
        let nobody = wrong(|said| said.officer = " ".into()).unwrap_err();
        assert_eq!(nobody.refusal().code, Code::OfficerMissing);
    }

    #[test]
    fn what_is_said_of_a_correction_is_the_providers_and_about_that_one() {
        let digest = Digest::new([9; 32]);
        let decided = wire::CorrectionDecision {
            record_was_wrong: true,
            reason: "ENTRY_MENDED".into(),
            officer: "2001".into(),
            second_officer: String::new(),
        };
        let reply = wire::CorrectionReply {
            wire_version: WIRE_VERSION,
            exchange_id: "ninghe".into(),
            correction: digest.as_bytes().to_vec(),
            sender: "ninghe/civil-affairs".into(),
            sender_node: "1".into(),
            recipient: "ninghe/housing".into(),
            answer_digest: vec![2; 32],
            said_at_ms: NOW_MS,
            said: Some(Said::Decided(decided.clone())),
        };
        let open = |reply: &wire::CorrectionReply, signer: &str| {
            let signed = envelope::signed(envelope::seal(reply, &key(signer)).0);
            let (housing, civil) = ("ninghe/housing".parse().unwrap(), "ninghe/civil-affairs".parse().unwrap());
            open_reply(&Fixture::town().directory, &signed, (&civil, &housing), &digest)
        };
        assert!(open(&reply, "civil-affairs node 1").is_ok());
        assert!(open(&reply, "housing node 1").is_err());
        let other = wire::CorrectionReply { correction: vec![8; 32], ..reply.clone() };
        assert!(open(&other, "civil-affairs node 1").is_err());
        // A reason belongs to what was found.
        let mixed = wire::CorrectionDecision { record_was_wrong: false, ..decided };
        let mixed = wire::CorrectionReply { said: Some(Said::Decided(mixed)), ..reply };
        assert!(open(&mixed, "civil-affairs node 1").is_err());
    }
}
