//! A question and its answer as the other side holds them: read, verified on both signatures, kept, and listed. Out of scope:
//! whose turn it is to be asked.

use std::collections::HashMap;

use prost::Message as _;
use proto::exchange::v1::{self as wire, EntryKind, HeldMessage, Signed, answer::Outcome};
use trust::{
    answer::{self, LARGEST_ANSWER},
    directory::Directory,
    envelope,
    evidence::Receipt,
    ids::{DepartmentId, Digest, NodeId, Party},
    question::{self, LARGEST_REQUEST},
};

use super::{Fetched, digest_of, is_own_question};
use crate::{
    asked::request_key,
    journal::{Commit, Journal, JournalError, NewEntry, RecordHead, RequestMark},
    usage,
};

/// A question as it came.
pub(super) struct Question {
    pub(super) message: Signed,
    pub(super) digest: Digest,
    pub(super) question: question::Question,
    /// Whether this department asked it.
    pub(super) is_ours: bool,
}

/// An answer as it came.
pub(super) struct Answer {
    pub(super) message: Signed,
    pub(super) digest: Digest,
    pub(super) request_digest: Digest,
    pub(super) wire: wire::Answer,
}

impl Answer {
    /// Whether it told anything of a record.
    pub(super) fn has_verdicts(&self) -> bool {
        matches!(self.wire.outcome, Some(Outcome::Verdicts(_)))
    }
}

/// What a message is, by its own word.
#[allow(clippy::large_enum_variant, reason = "one is looked at at a time")]
pub(super) enum Read {
    Answer(Answer),
    Question(Question),
    /// It cannot be read, or it was exchanged with somebody else.
    Invalid,
    /// It was exchanged with another node of this department, which has it itself.
    OfAnother,
}

/// Reads what the other side's node says it holds.
pub(super) fn read(me: &Party, node: &NodeId, other: &DepartmentId, held: &HeldMessage) -> Read {
    try_read(me, node, other, held).unwrap_or(Read::Invalid)
}

fn try_read(me: &Party, node: &NodeId, other: &DepartmentId, held: &HeldMessage) -> Option<Read> {
    let message = held.message.clone()?;
    let digest = digest_of(&message)?;
    let other = Party::new(me.exchange().clone(), other.clone());
    match held.kind() {
        EntryKind::QuestionReceived | EntryKind::QuestionSent => {
            let claimed: wire::Request = envelope::peek(&message, LARGEST_REQUEST).ok()?;
            let sender_node = claimed.sender_node.clone();
            let question = question::Question::read(claimed).ok()?;
            let is_ours = question.sender == *me && question.recipient == other;
            let is_theirs = question.sender == other && question.recipient == *me;
            if !is_ours && !is_theirs {
                return Some(Read::Invalid);
            }
            if is_ours && sender_node != node.as_str() {
                return Some(Read::OfAnother);
            }
            Some(Read::Question(Question { message, digest, question, is_ours }))
        }
        EntryKind::AnswerGiven | EntryKind::AnswerReceived => {
            let wire: wire::Answer = envelope::peek(&message, LARGEST_ANSWER).ok()?;
            if wire.sender == me.to_string() && wire.sender_node != node.as_str() {
                return Some(Read::OfAnother);
            }
            let request_digest = Digest::try_from(wire.request_digest.as_slice()).ok()?;
            Some(Read::Answer(Answer { message, digest, request_digest, wire }))
        }
        _ => None,
    }
}

/// Both signatures, as of when they were made. What does not verify is counted, and left aside.
pub(super) fn verify(
    directory: &Directory,
    question: Question,
    answer: Option<Answer>,
    fetched: &mut Fetched,
) -> Option<(Question, Option<Answer>)> {
    let asked = &question.question;
    if question::open_by_node_of(directory, &question.message, &asked.sender, asked.issued_at_ms).is_err() {
        fetched.invalid += 1 + u64::from(answer.is_some());
        return None;
    }
    let answer = answer.filter(|answer| {
        let made_ms = answer.wire.answered_at_ms;
        let opens = answer::open_by_recipient(directory, &answer.message, asked, &question.digest, made_ms).is_ok();
        fetched.invalid += u64::from(!opens);
        opens
    });
    Some((question, answer))
}

/// Keeps them as this node would have recorded them: with what finds a repeated question again, and with the grants used.
pub(super) async fn commit(
    store: &dyn Journal,
    me: &Party,
    question: Question,
    answer: Option<Answer>,
    officer: usage::Mark,
) -> Result<(), JournalError> {
    let entry = |kind, digest, message: &Signed| NewEntry { kind, digest, message: message.encode_to_vec() };
    let asked = &question.question;
    let at_ms = asked.issued_at_ms;
    let grant = |bytes: &[u8], consumer: &Party| {
        Digest::try_from(bytes).ok().map(|grant| usage::mark(&grant, consumer.department()))
    };
    if question.is_ours {
        let commit = Commit {
            at_ms,
            entries: vec![entry(EntryKind::QuestionSent, question.digest, &question.message)],
            grant: grant(&asked.wire.grant, me),
            officer: Some(officer),
            ..Commit::default()
        };
        let committed = store.commit(commit).await?;
        let Some(answer) = answer else { return Ok(()) };
        let commit = Commit {
            at_ms: answer.wire.answered_at_ms,
            entries: vec![entry(EntryKind::AnswerReceived, answer.digest, &answer.message)],
            about: Some(committed.first_index),
            grant: grant(&answer.wire.grant, me).filter(|_| answer.has_verdicts()),
            ..Commit::default()
        };
        return store.commit(commit).await.map(drop);
    }
    let Some(answer) = answer else { return Ok(()) };
    let commit = Commit {
        at_ms: answer.wire.answered_at_ms,
        entries: vec![
            entry(EntryKind::QuestionReceived, question.digest, &question.message),
            entry(EntryKind::AnswerGiven, answer.digest, &answer.message),
        ],
        request: Some(RequestMark { key: request_key(&asked.sender, asked.id.as_bytes()), digest: question.digest }),
        grant: grant(&answer.wire.grant, &asked.sender).filter(|_| answer.has_verdicts()),
        officer: Some(officer).filter(|_| answer.has_verdicts()),
        ..Commit::default()
    };
    store.commit(commit).await.map(drop)
}

/// A question that came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Finds it again: its answer's, or its own where there is none.
    pub receipt: Receipt,
    /// The question.
    pub request: wire::Request,
    /// Whether this department asked it.
    pub is_ours: bool,
    /// Whether its answer came back too.
    pub answered: bool,
}

/// The question of a record; `None` for one that holds an answer alone, which waits for its question.
pub(super) fn listed(
    store: &dyn Journal,
    head: &RecordHead,
    answers: &mut HashMap<u64, Receipt>,
) -> Result<Option<Listed>, JournalError> {
    let mut found = None;
    for (index, kind) in (head.first_index..).zip(&head.kinds) {
        let Some(stored) = store.entry(index)? else { continue };
        let receipt = stored.entry.receipt(index);
        match kind {
            EntryKind::AnswerReceived => drop(head.about.map(|about| answers.insert(about, receipt))),
            EntryKind::AnswerGiven => drop(answers.insert(head.first_index, receipt)),
            _ => {
                let message = stored.message.and_then(|message| Signed::decode(message.as_slice()).ok());
                let request =
                    message.and_then(|message| envelope::peek::<wire::Request>(&message, LARGEST_REQUEST).ok());
                found = request.map(|request| (index, receipt, request, is_own_question(*kind)));
            }
        }
    }
    Ok(found.map(|(index, receipt, request, is_ours)| {
        let answer = answers.remove(&index);
        Listed { receipt: answer.unwrap_or(receipt), request, is_ours, answered: answer.is_some() }
    }))
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::{Request, Verdict};
    use trust::{
        envelope::{seal, signed},
        fixture::{self, Fixture, key, party},
    };

    use super::*;
    use crate::journal::memory::MemoryJournal;

    fn held(kind: EntryKind, message: Signed) -> HeldMessage {
        HeldMessage { kind: kind.into(), message: Some(message), at_ms: 7 }
    }

    fn question(request: &Request, signer: &str) -> HeldMessage {
        held(EntryKind::QuestionReceived, signed(seal(request, &key(signer)).0))
    }

    fn read_by(me: &str, other: &str, message: &HeldMessage) -> Read {
        read(&party(me), &fixture::node("1"), &fixture::department(other), message)
    }

    fn pair(fixture: &Fixture, asker: &str, answerer: &str) -> (Question, Answer) {
        let grant = fixture.directory.all_access().find_map(|(_, access)| access.grant_statement).unwrap();
        let request = wire::Request { grant: grant.as_bytes().to_vec(), ..fixture.request() };
        let Read::Question(question) = read_by("housing", "civil-affairs", &question(&request, asker)) else {
            panic!("a question")
        };
        let answer = fixture.answer(&request, &question.digest, Verdict::Match);
        let given = held(EntryKind::AnswerGiven, signed(seal(&answer, &key(answerer)).0));
        let Read::Answer(answer) = read_by("housing", "civil-affairs", &given) else { panic!("an answer") };
        (question, answer)
    }

    #[test]
    fn only_what_was_exchanged_with_the_other_side_is_read_and_another_nodes_is_its_own() {
        let fixture = Fixture::town();
        let request = fixture.request();
        let message = question(&request, "housing node 1");
        assert!(matches!(
            read_by("housing", "civil-affairs", &message),
            Read::Question(Question { is_ours: true, .. })
        ));
        assert!(matches!(
            read_by("civil-affairs", "housing", &message),
            Read::Question(Question { is_ours: false, .. })
        ));
        assert!(matches!(read_by("housing", "taxation", &message), Read::Invalid));
        assert!(matches!(read_by("taxation", "civil-affairs", &message), Read::Invalid));
        let of_another = Request { sender_node: "2".into(), ..request };
        assert!(matches!(
            read_by("housing", "civil-affairs", &question(&of_another, "housing node 1")),
            Read::OfAnother
        ));
        assert!(matches!(
            read_by("housing", "civil-affairs", &held(EntryKind::QuestionReceived, Signed::default())),
            Read::Invalid
        ));
    }

    #[test]
    fn both_signatures_count_and_what_does_not_verify_is_left_aside() {
        let fixture = Fixture::town();
        let verified = |asker: &str, answerer: &str| {
            let (question, answer) = pair(&fixture, asker, answerer);
            let mut fetched = Fetched::default();
            let verified = verify(&fixture.directory, question, Some(answer), &mut fetched);
            (verified.map(|(_, answer)| answer.is_some()), fetched.invalid)
        };
        assert_eq!(verified("housing node 1", "civil-affairs node 1"), (Some(true), 0));
        assert_eq!(verified("housing node 1", "housing node 1"), (Some(false), 1));
        assert_eq!(verified("civil-affairs node 1", "civil-affairs node 1"), (None, 2));
    }

    #[tokio::test]
    async fn what_is_kept_finds_the_question_again_and_is_listed_with_its_answers_receipt() {
        let fixture = Fixture::town();
        let store = MemoryJournal::new();
        let (question, answer) = pair(&fixture, "housing node 1", "civil-affairs node 1");
        let (digest, id) = (question.digest, question.question.id.as_bytes().to_vec());
        let theirs = Question { is_ours: false, ..question };
        commit(&store, &party("civil-affairs"), theirs, Some(answer), [9; 16]).await.unwrap();
        let (question, answer) = pair(&fixture, "housing node 1", "civil-affairs node 1");
        commit(&store, &party("housing"), question, Some(answer), [9; 16]).await.unwrap();
        let (alone, _) = pair(&fixture, "housing node 1", "civil-affairs node 1");
        commit(&store, &party("housing"), alone, None, [9; 16]).await.unwrap();

        let heads = store.tail(0, 10).unwrap();
        let key = request_key(&party("housing"), &id);
        assert_eq!(heads[0].request, Some(RequestMark { key, digest }));
        let kinds: Vec<_> =
            heads.iter().map(|head| (usage::kind_of(head).map(|(kind, _)| kind), head.officer)).collect();
        use usage::Kind::{Answered, Asked, Given};
        let officer = Some([9; 16]);
        assert_eq!(
            kinds,
            [(Some(Given), officer), (Some(Asked), officer), (Some(Answered), None), (Some(Asked), officer)]
        );
        let (mut answers, mut found) = (HashMap::new(), Vec::new());
        for head in heads.iter().rev() {
            found.extend(
                listed(&store, head, &mut answers)
                    .unwrap()
                    .map(|listed| (listed.is_ours, listed.answered, listed.receipt.index())),
            );
        }
        assert_eq!(found, [(true, false, 4), (true, true, 3), (false, true, 1)]);
    }
}
