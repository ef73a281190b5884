//! One item of a batch in a bundle: what proves it, and that nothing altered does.

use super::*;
use crate::{batch, envelope::Payload};

/// One item of a batch, as evidence by itself: its path, its salt and its bytes are held against what was logged.
#[test]
fn an_item_of_a_batch_is_proved_by_the_entry_of_its_batch() {
    let fixture = Fixture::town();
    let request = wire::Request { request_id: Vec::new(), subject: None, ..fixture.request() };
    let subject = |value: &str| {
        let subject = Some(wire::Subject { scheme: "resident_id".into(), value: value.into() });
        wire::Request { subject, ..wire::Request::default() }.encode_to_vec()
    };
    let mut questions = wire::Batch {
        batch_id: vec![9; 32],
        salt_seed: vec![8; 32],
        common: request.encode_to_vec(),
        items: ["890101199003070011", "890101199111250028", "890102201909010038"].map(subject).to_vec(),
        root: None,
    };
    let digests = batch::question_digests(&questions);
    let (root, questions_digest) = seal(&batch::root(&questions, &digests, fixture::NOW_MS), &key("housing node 1"));
    questions.root = Some(root);
    let whole = fixture.answer(&fixture.request(), &digests[0], wire::Verdict::Match);
    let own = wire::Answer { outcome: whole.outcome.clone(), ..wire::Answer::default() }.encode_to_vec();
    let common = wire::Answer { request_digest: Vec::new(), request_id: Vec::new(), outcome: None, ..whole };
    let mut answers = wire::Batch {
        salt_seed: vec![7; 32],
        common: common.encode_to_vec(),
        items: vec![own; 3],
        ..questions.clone()
    };
    let answered = batch::answer_digests(&answers, &digests);
    let signer = key("civil-affairs node 1");
    let (root, answers_digest) = seal(&batch::root(&answers, &answered, fixture::NOW_MS), &signer);
    answers.root = Some(root);
    let attested = |attestation| wire::Signed { form: Some(wire::signed::Form::Attestation(attestation)) };
    let bundle = |question: wire::Attestation, answer: wire::Attestation| {
        let messages = [
            (EntryKind::QuestionSent, attested(question), questions_digest),
            (EntryKind::AnswerReceived, attested(answer), answers_digest),
        ];
        verify(&bundle_of(&fixture, &messages).encode_to_vec(), key("authority").public_key())
    };
    let question = batch::attest_question(&questions, 1).unwrap();
    let answer = batch::attest_answer(&answers, &questions, 1).unwrap();
    let report = bundle(question.clone(), answer.clone());
    assert!(report.is_sound(), "{:?}", report.wrong());
    assert_eq!(report.request.unwrap().subject.unwrap().value, "890101199111250028");
    assert!(report.checks.iter().any(|check| check.name.ends_with("attestation")));

    // The record was wrong: an answer of its own follows the item's leaf, and no other item's.
    let given = |index: usize| batch::answer_payload(&answers, index, &digests[index]);
    let follows = |index: usize| envelope::digest(wire::Answer::TYPE, &given(index)).as_bytes().to_vec();
    let followed = |index: usize, follows: Vec<u8>| {
        let first = wire::Answer::decode(given(index).as_slice()).unwrap();
        let (sealed, digest) =
            seal(&wire::Answer { number: 2, follows, correction: vec![3; 32], ..first }, &key("civil-affairs node 1"));
        let messages = [
            (EntryKind::QuestionSent, attested(question.clone()), questions_digest),
            (EntryKind::AnswerReceived, attested(answer.clone()), answers_digest),
            (EntryKind::AnswerReceived, signed(sealed), digest),
        ];
        verify(&bundle_of(&fixture, &messages).encode_to_vec(), key("authority").public_key())
    };
    let report = followed(1, follows(1));
    assert!(report.is_sound(), "{:?}", report.wrong());
    assert_eq!(report.answers.iter().map(|answer| answer.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(followed(0, follows(0)).wrong().expect("it is another item's").name, "answer request_digest");
    assert_eq!(followed(1, follows(0)).wrong().expect("it follows another item's").name, "answer number");

    let refused = |question: wire::Attestation, answer: wire::Attestation, name: &str| {
        let report = bundle(question, answer);
        assert_eq!(report.wrong().expect("it is altered").name, name);
    };
    let other = batch::attest_question(&questions, 0).unwrap();
    let mut path = question.clone();
    path.path[0][0] ^= 1;
    let mut salt = question.clone();
    salt.salt[0] ^= 1;
    let mut leaf = question.clone();
    leaf.payload = other.payload.clone();
    for altered in [path, salt, leaf] {
        refused(altered, answer.clone(), "request signature");
    }
    refused(other, answer.clone(), "answer request_digest");
    let mut path = answer.clone();
    path.path.pop();
    refused(question.clone(), path, "answer signature");
    // Another batch's root, rightly signed, is not what was logged.
    let again = wire::Batch { salt_seed: vec![1; 32], ..questions };
    let root = batch::root(&again, &digests, fixture::NOW_MS);
    let again = wire::Batch { root: Some(seal(&root, &key("housing node 1")).0), ..again };
    refused(batch::attest_question(&again, 1).unwrap(), answer, "evidence log ninghe/housing/1/evidence entry 1");
}
