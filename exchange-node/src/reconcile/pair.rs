//! A question and its answer as the other side holds them: read, verified on both signatures, kept, and listed. A batch is one of
//! each. Out of scope: whose turn it is to be asked.

use std::collections::HashMap;

use prost::Message as _;
use proto::exchange::v1::{self as wire, EntryKind, HeldMessage, Signed, answer::Outcome, signed::Form};
use trust::{
    answer::{self, LARGEST_ANSWER},
    batch::{self, MOST_ITEMS, Questions},
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
    /// Of a batch: what all of its questions share, with the batch's id.
    pub(super) question: question::Question,
    /// Whether this department asked it.
    pub(super) is_ours: bool,
    /// Of a batch: the identity of each of its questions.
    pub(super) batch: Option<Vec<Digest>>,
}

/// What an answer says that it is to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    /// To each question of the batch with this id.
    Batch(Vec<u8>),
    /// To the question, or to the batch as a whole, with this identity.
    Question(Digest),
}

/// An answer as it came.
pub(super) struct Answer {
    pub(super) message: Signed,
    pub(super) digest: Digest,
    pub(super) of: Of,
    /// Of a batch: what all of its answers share.
    pub(super) wire: wire::Answer,
    /// How many questions it answers with verdicts.
    pub(super) verdicts: usize,
}

impl Answer {
    /// Whether it told anything of a record.
    pub(super) fn has_verdicts(&self) -> bool {
        self.verdicts > 0
    }
}

fn has_verdicts(answer: &wire::Answer) -> bool {
    matches!(answer.outcome, Some(Outcome::Verdicts(_)))
}

/// Whether the answer to the question at this place of a batch has verdicts: its own part says so.
fn has_verdicts_at(answers: &wire::Batch, index: usize) -> bool {
    let own = answers.items.get(index).and_then(|own| wire::Answer::decode(own.as_slice()).ok());
    own.is_some_and(|own| has_verdicts(&own))
}

/// The questions that were answered with verdicts.
pub(super) fn answered(question: &Question, answer: &Answer) -> Vec<question::Question> {
    match (&question.message.form, &answer.message.form, questions(question)) {
        (Some(Form::Batch(asked)), Some(Form::Batch(answers)), Some(questions)) => (0..questions.requests.len())
            .filter(|index| has_verdicts_at(answers, *index))
            .filter_map(|index| questions.question(asked, index).ok())
            .collect(),
        _ if answer.has_verdicts() => vec![question.question.clone()],
        _ => Vec::new(),
    }
}

/// The questions of a batch, as they were read.
fn questions(question: &Question) -> Option<Questions> {
    let requests = question.batch.clone()?;
    Some(Questions { digest: question.digest, common: question.question.clone(), requests })
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
            let (question, batch) = match &message.form {
                Some(Form::Batch(batch)) if may_be_read(batch) => {
                    let questions = Questions::of(batch).ok()?;
                    (questions.common, Some(questions.requests))
                }
                _ => (question::Question::read(envelope::peek(&message, LARGEST_REQUEST).ok()?).ok()?, None),
            };
            let is_ours = question.sender == *me && question.recipient == other;
            let is_theirs = question.sender == other && question.recipient == *me;
            if !is_ours && !is_theirs {
                return Some(Read::Invalid);
            }
            if is_ours && question.wire.sender_node != node.as_str() {
                return Some(Read::OfAnother);
            }
            Some(Read::Question(Question { message, digest, question, is_ours, batch }))
        }
        EntryKind::AnswerGiven | EntryKind::AnswerReceived => {
            let (wire, of, verdicts): (wire::Answer, _, _) = match &message.form {
                Some(Form::Batch(batch)) if may_be_read(batch) => {
                    let verdicts = (0..batch.items.len()).filter(|index| has_verdicts_at(batch, *index)).count();
                    let shared = wire::Answer::decode(batch.common.as_slice()).ok()?;
                    (shared, Of::Batch(batch.batch_id.clone()), verdicts)
                }
                _ => {
                    let wire: wire::Answer = envelope::peek(&message, LARGEST_ANSWER).ok()?;
                    let of = Of::Question(Digest::try_from(wire.request_digest.as_slice()).ok()?);
                    let verdicts = usize::from(has_verdicts(&wire));
                    (wire, of, verdicts)
                }
            };
            if wire.sender == me.to_string() && wire.sender_node != node.as_str() {
                return Some(Read::OfAnother);
            }
            Some(Read::Answer(Answer { message, digest, of, wire, verdicts }))
        }
        _ => None,
    }
}

/// Whether a batch is no larger than one that was ever asked.
fn may_be_read(batch: &wire::Batch) -> bool {
    batch.items.len() <= MOST_ITEMS && batch.common.len() <= LARGEST_REQUEST
}

/// Both signatures, as of when they were made. What does not verify is counted, and left aside.
pub(super) fn verify(
    directory: &Directory,
    question: Question,
    answer: Option<Answer>,
    fetched: &mut Fetched,
) -> Option<(Question, Option<Answer>)> {
    let asked = &question.question;
    let opens = match &question.message.form {
        Some(Form::Batch(batch)) => {
            batch::open_questions(directory, batch, &asked.sender, &asked.recipient, asked.issued_at_ms).is_ok()
        }
        _ => question::open_by_node_of(directory, &question.message, &asked.sender, asked.issued_at_ms).is_ok(),
    };
    if !opens {
        fetched.invalid += 1 + u64::from(answer.is_some());
        return None;
    }
    let answer = answer.filter(|answer| {
        let opens = answers(directory, &question, answer);
        fetched.invalid += u64::from(!opens);
        opens
    });
    Some((question, answer))
}

/// Whether this is an answer to the question, signed by a node of whom was asked.
fn answers(directory: &Directory, question: &Question, answer: &Answer) -> bool {
    let made_ms = answer.wire.answered_at_ms;
    match (&question.message.form, &answer.message.form, questions(question)) {
        (Some(Form::Batch(asked)), Some(Form::Batch(answers)), Some(questions)) => {
            let Ok(opened) = batch::open_answers(directory, answers, &questions, made_ms) else { return false };
            questions.requests.iter().enumerate().all(|(index, digest)| match questions.question(asked, index) {
                // One that cannot be read was refused: its answer is under the same signature.
                Err(_) => true,
                Ok(one) => opened.answer(directory, answers, (&one, digest), index, made_ms, |_| None).is_ok(),
            })
        }
        (_, Some(Form::Batch(_)), _) => false,
        _ => {
            let (asked, digest) = (&question.question, &question.digest);
            answer::open_by_recipient(directory, &answer.message, asked, digest, made_ms).is_ok()
        }
    }
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
    let many = |count: usize| question.batch.as_ref().map(|_| u32::try_from(count).unwrap_or(u32::MAX));
    let asked_uses = many(question.batch.as_ref().map_or(0, Vec::len));
    let answered_uses = answer.as_ref().and_then(|answer| many(answer.verdicts));
    let grant = |bytes: &[u8], consumer: &Party| {
        Digest::try_from(bytes).ok().map(|grant| usage::mark(&grant, consumer.department()))
    };
    if question.is_ours {
        let commit = Commit {
            at_ms,
            entries: vec![entry(EntryKind::QuestionSent, question.digest, &question.message)],
            grant: grant(&asked.wire.grant, me),
            officer: Some(officer),
            uses: asked_uses,
            ..Commit::default()
        };
        let committed = store.commit(commit).await?;
        let Some(answer) = answer else { return Ok(()) };
        let commit = Commit {
            at_ms: answer.wire.answered_at_ms,
            entries: vec![entry(EntryKind::AnswerReceived, answer.digest, &answer.message)],
            about: Some(committed.first_index),
            grant: grant(&answer.wire.grant, me).filter(|_| answer.has_verdicts()),
            uses: answered_uses,
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
        uses: answered_uses,
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
    /// How many questions it is: more than one for a batch.
    pub questions: usize,
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
                found = message.and_then(|message| {
                    let (request, questions) = match &message.form {
                        Some(Form::Batch(batch)) => {
                            (wire::Request::decode(batch.common.as_slice()).ok()?, batch.items.len())
                        }
                        _ => (envelope::peek(&message, LARGEST_REQUEST).ok()?, 1),
                    };
                    Some((index, receipt, request, is_own_question(*kind), questions))
                });
            }
        }
    }
    Ok(found.map(|(index, receipt, request, is_ours, questions)| {
        let answer = answers.remove(&index);
        Listed { receipt: answer.unwrap_or(receipt), request, is_ours, answered: answer.is_some(), questions }
    }))
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::{Request, Verdict};
    use trust::{
        envelope::{seal, signed},
        fixture::{self, Fixture, NOW_MS, key, party},
    };

    use super::*;
    use crate::journal::memory::MemoryJournal;

    fn held(kind: EntryKind, message: Signed) -> HeldMessage {
        HeldMessage { kind: kind.into(), message: Some(message), at_ms: 7, ..HeldMessage::default() }
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
    /// A batch of two questions, and the answers to them.
    fn batch_pair(fixture: &Fixture, asker: &str, answerer: &str) -> (HeldMessage, HeldMessage) {
        let grant = fixture.directory.all_access().find_map(|(_, access)| access.grant_statement).unwrap();
        let (request_id, claims) = (Vec::new(), Vec::new());
        let common =
            Request { request_id, subject: None, claims, grant: grant.as_bytes().to_vec(), ..fixture.request() };
        let item = |number: &str| {
            let subject = Some(wire::Subject { scheme: "resident_id".into(), value: number.into() });
            let claims = vec![fixture::claim("marital_status", "equals", "single")];
            Request { subject, claims, ..Request::default() }.encode_to_vec()
        };
        let questions = wire::Batch {
            batch_id: vec![9; 32],
            salt_seed: vec![8; 32],
            common: common.encode_to_vec(),
            items: vec![item("890101199003070011"), item("890101199111250028")],
            root: None,
        };
        let root = batch::root(&questions, &batch::question_digests(&questions), NOW_MS);
        let questions = wire::Batch { root: Some(seal(&root, &key(asker)).0), ..questions };
        let read = Questions::of(&questions).unwrap();
        let answer = |index: usize| {
            let one = read.question(&questions, index).unwrap();
            fixture.answer(&one.wire, &read.requests[index], Verdict::Match)
        };
        let own = |index| wire::Answer { outcome: answer(index).outcome, ..wire::Answer::default() }.encode_to_vec();
        let (request_id, request_digest) = (Vec::new(), Vec::new());
        let common = wire::Answer { request_id, request_digest, outcome: None, ..answer(0) };
        let answers = wire::Batch {
            batch_id: questions.batch_id.clone(),
            salt_seed: vec![7; 32],
            common: common.encode_to_vec(),
            items: vec![own(0), own(1)],
            root: None,
        };
        let root = batch::root(&answers, &batch::answer_digests(&answers, &read.requests), NOW_MS);
        let answers = wire::Batch { root: Some(seal(&root, &key(answerer)).0), ..answers };
        let of = |batch| Signed { form: Some(Form::Batch(batch)) };
        (held(EntryKind::QuestionReceived, of(questions)), held(EntryKind::AnswerGiven, of(answers)))
    }

    fn read_batch(question: &HeldMessage, answer: &HeldMessage) -> (Question, Answer) {
        let Read::Question(question) = read_by("housing", "civil-affairs", question) else { panic!("a question") };
        let Read::Answer(answer) = read_by("housing", "civil-affairs", answer) else { panic!("an answer") };
        (question, answer)
    }

    #[test]
    fn a_batch_is_read_and_verified_as_a_whole_and_each_of_its_answers() {
        let fixture = Fixture::town();
        let (question, answer) = batch_pair(&fixture, "housing node 1", "civil-affairs node 1");
        let verified = |question: &HeldMessage, answer: &HeldMessage| {
            let mut fetched = Fetched::default();
            let (question, answer) = read_batch(question, answer);
            let verified = verify(&fixture.directory, question, Some(answer), &mut fetched);
            (verified.map(|(_, answer)| answer.is_some()), fetched.invalid)
        };
        assert_eq!(verified(&question, &answer), (Some(true), 0));
        let (asked, told) = read_batch(&question, &answer);
        assert_eq!((told.verdicts, answered(&asked, &told).len()), (2, 2));
        assert_eq!(told.of, Of::Batch(asked.question.id.as_bytes().to_vec()));
        // Signed by somebody else, or with one of its messages changed.
        let (_, forged) = batch_pair(&fixture, "housing node 1", "housing node 1");
        assert_eq!(verified(&question, &forged), (Some(false), 1));
        let (forged, _) = batch_pair(&fixture, "civil-affairs node 1", "civil-affairs node 1");
        assert_eq!(verified(&forged, &answer), (None, 2));
        let changed = |held: &HeldMessage| {
            let mut held = held.clone();
            let Some(Form::Batch(batch)) = held.message.as_mut().and_then(|message| message.form.as_mut()) else {
                panic!("a batch")
            };
            batch.items.swap(0, 1);
            batch.items[0].extend_from_slice(&[0x98, 0x06, 1]);
            held
        };
        assert_eq!(verified(&changed(&question), &answer), (None, 2));
        assert_eq!(verified(&question, &changed(&answer)), (Some(false), 1));
    }

    #[tokio::test]
    async fn a_batch_is_kept_with_the_uses_of_each_of_its_questions_and_listed_as_one() {
        let fixture = Fixture::town();
        let store = MemoryJournal::new();
        let (question, answer) = batch_pair(&fixture, "housing node 1", "civil-affairs node 1");
        let (asked, told) = read_batch(&question, &answer);
        commit(&store, &party("housing"), asked, Some(told), [9; 16]).await.unwrap();
        let (asked, told) = read_batch(&question, &answer);
        let (id, digest) = (asked.question.id.as_bytes().to_vec(), asked.digest);
        let theirs = Question { is_ours: false, ..asked };
        commit(&store, &party("civil-affairs"), theirs, Some(told), [9; 16]).await.unwrap();
        let heads = store.tail(0, 10).unwrap();
        assert_eq!(heads.iter().map(|head| head.uses).collect::<Vec<_>>(), [Some(2), Some(2), Some(2)]);
        assert_eq!(heads[2].request, Some(RequestMark { key: request_key(&party("housing"), &id), digest }));
        let (mut answers, mut found) = (HashMap::new(), Vec::new());
        for head in heads.iter().rev() {
            let listed = listed(&store, head, &mut answers).unwrap();
            found.extend(listed.map(|listed| (listed.is_ours, listed.answered, listed.questions)));
        }
        assert_eq!(found, [(false, true, 2), (true, true, 2)]);
    }
}
