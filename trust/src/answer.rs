//! An answer between two nodes: what the asking side checks before it believes it.

use proto::exchange::v1::{self as wire, answer::Outcome};

use crate::{
    directory::{Directory, OLDEST_WIRE_VERSION, WIRE_VERSION},
    envelope::{self, EnvelopeError},
    ids::Digest,
    log::hash::Hash,
    question::Question,
    refusal::Code,
};

/// The largest answer in bytes.
pub const LARGEST_ANSWER: usize = 64 * 1024;

/// Why an answer is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The envelope does not open with a key of the answering department's nodes.
    #[error("answer signature: {0}")]
    Envelope(#[from] EnvelopeError),
    /// A field does not repeat what was asked.
    #[error("answer {field}: it answers something else")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// It does not follow the answer that was there before it.
    #[error("answer number: it does not follow the answer before it")]
    Succession,
    /// It says it was made before the question, or later than now.
    #[error("answer answered_at_ms: it was made before the question or later than now")]
    Time,
    /// It speaks another wire version.
    #[error("answer wire_version: it speaks a version that is not spoken here")]
    WireVersion,
    /// Its verdicts are not those of the claims, or there is no outcome.
    #[error("answer outcome: it has not one verdict for each claim, in their order")]
    Verdicts,
    /// The answerer saw another directory of the same size: the registry told two stories.
    #[error("answer directory_root: the other side saw another directory of the same size")]
    DirectoryDiverges,
}

/// An answer that is believed.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its identity.
    pub digest: Digest,
    /// The message as it was signed.
    pub wire: wire::Answer,
}

/// Opens the first answer to a question: signature, request digest, sender, recipient, service, freshness, verdicts.
///
/// `root_at` gives the root of the asker's own directory at a size, where it still knows it.
pub fn open(
    directory: &Directory,
    signed: &wire::Signed,
    question: &Question,
    request_digest: &Digest,
    now_ms: u64,
    root_at: impl Fn(u64) -> Option<Hash>,
) -> Result<Answer, AnswerError> {
    let answer = open_any(directory, signed, question, request_digest, now_ms, root_at)?;
    if answer.wire.number == 1 { Ok(answer) } else { Err(AnswerError::Succession) }
}

/// Opens an answer that follows the one `before` it, with the same checks.
pub fn open_successor(
    directory: &Directory,
    signed: &wire::Signed,
    question: &Question,
    before: &Answer,
    now_ms: u64,
    root_at: impl Fn(u64) -> Option<Hash>,
) -> Result<Answer, AnswerError> {
    let request_digest = Digest::try_from(before.wire.request_digest.as_slice());
    let request_digest = request_digest.map_err(|_| AnswerError::Field { field: "request_digest" })?;
    let answer = open_any(directory, signed, question, &request_digest, now_ms, root_at)?;
    if follows(question, &answer, before) { Ok(answer) } else { Err(AnswerError::Succession) }
}

/// Whether an answer is the successor of the one before it: its number is one higher, it names it by digest, and the one
/// before is of a kind that has a successor: a deferral, an answer that goes on, or, where a correction says so, any answer
/// that told of a record.
pub(crate) fn follows(question: &Question, answer: &Answer, before: &Answer) -> bool {
    answer.wire.number == before.wire.number.saturating_add(1)
        && answer.wire.follows == before.digest.as_bytes()
        && answer.wire.answered_at_ms >= before.wire.answered_at_ms
        && match (&before.wire.outcome, &answer.wire.outcome) {
            // A promise takes nothing back.
            (Some(Outcome::Deferral(_)), _) => answer.wire.correction.is_empty(),
            (Some(Outcome::Verdicts(_)), Some(Outcome::Verdicts(_) | Outcome::Refusal(_))) => {
                let goes_on = question.wire.subscription.is_some() && answer.wire.correction.is_empty();
                goes_on || answer.wire.correction.len() == 32
            }
            _ => false,
        }
}

fn open_any(
    directory: &Directory,
    signed: &wire::Signed,
    question: &Question,
    request_digest: &Digest,
    now_ms: u64,
    root_at: impl Fn(u64) -> Option<Hash>,
) -> Result<Answer, AnswerError> {
    // The key must have counted when the answer was made, which is after the question (see below): a retry gets the
    // answer of then, and its key may be out of use by now.
    let made_ms = envelope::peek::<wire::Answer>(signed, LARGEST_ANSWER)?.answered_at_ms;
    let answer = open_by_recipient(directory, signed, question, request_digest, made_ms.min(now_ms))?;
    check_now(directory, question, &answer, now_ms, root_at)?;
    Ok(answer)
}

/// The checks that need a clock and the asker's own directory.
pub(crate) fn check_now(
    directory: &Directory,
    question: &Question,
    answer: &Answer,
    now_ms: u64,
    root_at: impl Fn(u64) -> Option<Hash>,
) -> Result<(), AnswerError> {
    let skew_ms = directory.profile().clock_skew_ms;
    let made_ms = answer.wire.answered_at_ms;
    if made_ms.saturating_add(skew_ms) < question.issued_at_ms || made_ms > now_ms.saturating_add(skew_ms) {
        return Err(AnswerError::Time);
    }
    let diverges = root_at(answer.wire.directory_size)
        .is_some_and(|root| root.as_bytes() != answer.wire.directory_root.as_slice());
    // The other side's signed word that the directories differ is no less true for the difference.
    let said = matches!(&answer.wire.outcome, Some(Outcome::Refusal(refusal))
        if refusal.code == Code::DirectoryDiverges.as_str());
    if diverges && !said {
        return Err(AnswerError::DirectoryDiverges);
    }
    Ok(())
}

/// The checks that need no clock, for an audit too.
pub fn open_by_recipient(
    directory: &Directory,
    signed: &wire::Signed,
    question: &Question,
    request_digest: &Digest,
    at_ms: u64,
) -> Result<Answer, AnswerError> {
    let recipient = question.recipient.department();
    let opened = envelope::open_signed::<wire::Answer>(signed, LARGEST_ANSWER, |key_id| {
        directory.node_key(recipient, key_id, at_ms).ok().map(|key| key.key.clone())
    })?;
    check(opened.message, opened.digest, question, request_digest)
}

/// What must hold of an answer whose signature was verified: that it answers this question.
pub(crate) fn check(
    answer: wire::Answer,
    digest: Digest,
    question: &Question,
    request_digest: &Digest,
) -> Result<Answer, AnswerError> {
    if !(OLDEST_WIRE_VERSION..=WIRE_VERSION).contains(&answer.wire_version) {
        return Err(AnswerError::WireVersion);
    }
    let fields = [
        ("exchange_id", answer.exchange_id == question.wire.exchange_id),
        ("request_digest", answer.request_digest == request_digest.as_bytes()),
        ("request_id", answer.request_id == question.wire.request_id),
        ("sender", answer.sender == question.wire.recipient),
        ("recipient", answer.recipient == question.wire.sender),
        ("service", answer.service == question.wire.service),
        ("service_version", answer.service_version == question.wire.service_version),
        ("number", answer.number >= 1),
        ("follows", answer.follows.len() == if answer.number == 1 { 0 } else { 32 }),
        ("directory_root", answer.directory_root.len() == 32),
        ("correction", matches!((answer.correction.len(), answer.number), (0, _) | (32, 2..))),
    ];
    if let Some((field, _)) = fields.iter().find(|(_, same)| !same) {
        return Err(AnswerError::Field { field });
    }
    match &answer.outcome {
        Some(Outcome::Verdicts(verdicts)) if fits(verdicts, &question.wire.claims) => {}
        Some(Outcome::Refusal(refusal)) if !refusal.code.is_empty() => {}
        Some(Outcome::Deferral(_)) if question.wire.accepts_deferral => {}
        _ => return Err(AnswerError::Verdicts),
    }
    Ok(Answer { digest, wire: answer })
}

fn fits(verdicts: &wire::Verdicts, claims: &[wire::Claim]) -> bool {
    verdicts.verdicts.len() == claims.len()
        && verdicts.verdicts.iter().zip(claims).all(|(verdict, claim)| {
            verdict.attribute == claim.attribute
                && verdict.operator == claim.operator
                && verdict.verdict() != wire::Verdict::Unspecified
                && (verdict.disclosed.is_none() || claim.disclose)
        })
}
