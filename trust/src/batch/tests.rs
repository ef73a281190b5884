//! Batches: what opens, that nothing altered does, and that one item shows nothing of the others.

use super::*;
use crate::{
    directory::WIRE_VERSION,
    envelope::seal,
    fixture::{Fixture, NOW_MS, key, party},
};

const NUMBERS: [&str; 5] =
    ["890101199003070011", "890101199111250028", "890102201909010038", "890102195802140045", "11010519491231002X"];

/// Five questions of housing, the second about the marital status `married`.
pub(crate) fn questions(fixture: &Fixture) -> wire::Batch {
    let request = wire::Request { request_id: Vec::new(), subject: None, claims: Vec::new(), ..fixture.request() };
    let item = |(index, number): (usize, &&str)| {
        let subject = Some(wire::Subject { scheme: "resident_id".into(), value: (*number).to_owned() });
        let status = if index == 1 { "married" } else { "single" };
        let claims = vec![crate::fixture::claim("marital_status", "equals", status)];
        wire::Request { subject, claims, ..wire::Request::default() }.encode_to_vec()
    };
    let items = NUMBERS.iter().enumerate().map(item).collect();
    signed_by(
        "housing node 1",
        wire::Batch {
            batch_id: vec![9; 32],
            salt_seed: vec![8; 32],
            common: request.encode_to_vec(),
            items,
            root: None,
        },
        &[],
    )
}

/// The answers to them: all `MATCH`.
pub(crate) fn answers(fixture: &Fixture, questions: &wire::Batch) -> wire::Batch {
    let opened = Questions::of(questions).unwrap();
    let whole = fixture.answer(&opened.common.wire, &opened.digest, wire::Verdict::Match);
    let common =
        wire::Answer { request_digest: Vec::new(), request_id: Vec::new(), outcome: None, ..whole }.encode_to_vec();
    let item = |index| {
        let question = opened.question(questions, index).unwrap();
        let answer = fixture.answer(&question.wire, &opened.requests[index], wire::Verdict::Match);
        wire::Answer { outcome: answer.outcome, ..wire::Answer::default() }.encode_to_vec()
    };
    let items = (0..questions.items.len()).map(item).collect();
    let batch = wire::Batch { batch_id: questions.batch_id.clone(), salt_seed: vec![7; 32], common, items, root: None };
    signed_by("civil-affairs node 1", batch, &opened.requests)
}

/// Signed as it is now: as questions, or as answers to these requests.
pub(crate) fn signed_by(signer: &str, batch: wire::Batch, requests: &[Digest]) -> wire::Batch {
    let digests = if requests.is_empty() { question_digests(&batch) } else { answer_digests(&batch, requests) };
    let root = seal(&root(&batch, &digests, NOW_MS), &key(signer)).0;
    wire::Batch { root: Some(root), ..batch }
}

fn open(fixture: &Fixture, batch: &wire::Batch) -> Result<Questions, Refusal> {
    open_questions(&fixture.directory, batch, &party("housing"), &party("civil-affairs"), NOW_MS)
}

#[test]
fn every_question_and_answer_of_a_batch_opens_as_a_single_one_would() {
    let fixture = Fixture::town();
    let batch = questions(&fixture);
    let opened = open(&fixture, &batch).unwrap();
    let answered = answers(&fixture, &batch);
    let answers = open_answers(&fixture.directory, &answered, &opened, NOW_MS + 10).unwrap();
    for (index, number) in NUMBERS.iter().enumerate() {
        let question = opened.question(&batch, index).unwrap();
        assert_eq!(question.wire.wire_version, WIRE_VERSION);
        assert_eq!(question.wire.subject.as_ref().unwrap().value, *number);
        assert_eq!(question.id.as_bytes(), &item_id(&batch.batch_id, index));
        let asked = (&question, &opened.requests[index]);
        answers.answer(&fixture.directory, &answered, asked, index, NOW_MS + 10, |_| None).unwrap();
        let next = (index + 1) % NUMBERS.len();
        let swapped = answers.answer(&fixture.directory, &answered, asked, next, NOW_MS + 10, |_| None).unwrap_err();
        assert_eq!(swapped, AnswerError::Field { field: "request_id" });
    }
}

#[test]
fn a_batch_with_anything_altered_does_not_open() {
    let fixture = Fixture::town();
    let good = questions(&fixture);
    let alter = |change: &dyn Fn(&mut wire::Batch)| {
        let mut batch = good.clone();
        change(&mut batch);
        open(&fixture, &batch).unwrap_err().code
    };
    assert_eq!(alter(&|batch| batch.items[3] = batch.items[2].clone()), Code::SignatureWrong);
    assert_eq!(alter(&|batch| batch.items.swap(0, 1)), Code::SignatureWrong);
    assert_eq!(alter(&|batch| drop(batch.items.pop())), Code::SignatureWrong);
    assert_eq!(alter(&|batch| batch.batch_id[0] ^= 1), Code::SignatureWrong);
    assert_eq!(alter(&|batch| batch.salt_seed[0] ^= 1), Code::SignatureWrong);
    assert_eq!(alter(&|batch| batch.items.clear()), Code::MessageMalformed);
    assert_eq!(alter(&|batch| batch.items = vec![Vec::new(); MOST_ITEMS + 1]), Code::MessageMalformed);
    assert_eq!(alter(&|batch| batch.items[0] = vec![0; LARGEST_BATCH]), Code::MessageTooLarge);
    assert_eq!(alter(&|batch| batch.root = None), Code::MessageMalformed);
    let answered = answers(&fixture, &good);
    let opened = open(&fixture, &good).unwrap();
    let of = |batch: &wire::Batch| open_answers(&fixture.directory, batch, &opened, NOW_MS + 10).map(drop);
    assert_eq!(of(&answered), Ok(()));
    let mut other = answered.clone();
    other.items[0] = other.items[1].iter().rev().copied().collect();
    assert_eq!(of(&other), Err(AnswerError::Envelope(EnvelopeError::PathWrong)));
    let mut fewer = answered;
    fewer.items.pop();
    assert_eq!(of(&fewer), Err(AnswerError::Field { field: "batch_id" }));
}

#[test]
fn an_item_says_nothing_of_what_all_have_in_common_and_no_other_id() {
    let fixture = Fixture::town();
    let good = questions(&fixture);
    let with = |own: wire::Request| {
        let mut items = good.items.clone();
        items[2] = own.encode_to_vec();
        let batch = signed_by("housing node 1", wire::Batch { items, ..good.clone() }, &[]);
        let opened = open(&fixture, &batch).unwrap();
        assert!(opened.question(&batch, 1).is_ok());
        opened.question(&batch, 2).unwrap_err().code
    };
    let own = wire::Request::decode(good.items[2].as_slice()).unwrap();
    for changed in [
        wire::Request { request_id: vec![1; 32], ..own.clone() },
        wire::Request { officer: "1".into(), ..own.clone() },
        wire::Request { expires_at_ms: u64::MAX, ..own.clone() },
        wire::Request { service: "income".into(), ..own },
    ] {
        assert_eq!(with(changed), Code::MessageMalformed);
    }
}

#[test]
fn one_item_is_proved_alone_and_shows_nothing_of_its_neighbours() {
    let fixture = Fixture::town();
    let batch = questions(&fixture);
    let opened = open(&fixture, &batch).unwrap();
    let answered = answers(&fixture, &batch);
    for (index, number) in NUMBERS.iter().enumerate() {
        let question = attest_question(&batch, index).unwrap();
        let answer = attest_answer(&answered, &batch, index).unwrap();
        let bytes = [question.encode_to_vec(), answer.encode_to_vec()].concat();
        let shows = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(shows(number.as_bytes()));
        for other in NUMBERS.iter().filter(|other| *other != number) {
            assert!(!shows(other.as_bytes()));
        }
        assert!(!shows(&batch.salt_seed) && !shows(&answered.salt_seed));
        let wrapped = wire::Signed { form: Some(wire::signed::Form::Attestation(question)) };
        let (read, digest) =
            crate::question::open(&fixture.directory, &wrapped, &party("housing"), &party("civil-affairs"), NOW_MS)
                .unwrap();
        assert_eq!(digest, opened.requests[index]);
        let wrapped = wire::Signed { form: Some(wire::signed::Form::Attestation(answer)) };
        answer::open(&fixture.directory, &wrapped, &read, &digest, NOW_MS + 10, |_| None).unwrap();
    }
    assert_eq!(attest_question(&batch, NUMBERS.len()), None);
}
