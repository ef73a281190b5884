//! Answers that follow one another: after a promise, and where a correction takes an answer back.

use super::*;

/// A deferral and the clerk's answer that follows it, changed by `change`, as housing's evidence has them.
fn succession(fixture: &Fixture, change: impl Fn(&mut wire::Answer, &mut wire::Answer)) -> wire::EvidenceBundle {
    let request = wire::Request { accepts_deferral: true, ..fixture.request() };
    let (request_envelope, request_digest) = seal(&request, &key("housing node 1"));
    let given = fixture.answer(&request, &request_digest, wire::Verdict::Match);
    let deferral = wire::Deferral { reason: "clerk".into(), due_at_ms: given.answered_at_ms + 9 };
    let mut first = wire::Answer { outcome: Some(Outcome::Deferral(deferral)), ..given.clone() };
    let mut second = wire::Answer { number: 2, clerk: "2001".into(), ..given };
    change(&mut first, &mut second);
    let (first_envelope, first_digest) = seal(&first, &key("civil-affairs node 1"));
    if second.follows.is_empty() {
        second.follows = first_digest.as_bytes().to_vec();
    }
    let (second_envelope, second_digest) = seal(&second, &key("civil-affairs node 1"));
    let messages = [
        (EntryKind::QuestionSent, signed(request_envelope), request_digest),
        (EntryKind::AnswerReceived, signed(first_envelope), first_digest),
        (EntryKind::AnswerReceived, signed(second_envelope), second_digest),
    ];
    bundle_of(fixture, &messages)
}

#[test]
fn a_deferral_and_the_answer_that_follows_it_hold_together_and_nothing_else_follows() {
    let fixture = Fixture::town();
    let sound = succession(&fixture, |_, _| ());
    let report = verify(&sound.encode_to_vec(), &authority());
    assert!(report.is_sound(), "{:?}", report.wrong());
    assert_eq!(report.answers.len(), 2);
    let mut without_promise = sound;
    without_promise.logs[0].items.remove(1);
    assert_eq!(wrong_check(&without_promise), "answer number");
    let other = succession(&fixture, |_, second| second.follows = vec![9; 32]);
    assert_eq!(wrong_check(&other), "answer number");
    let verdict_twice = succession(&fixture, |first, second| first.outcome.clone_from(&second.outcome));
    assert_eq!(wrong_check(&verdict_twice), "answer number", "a verdict has no successor");
    let earlier = succession(&fixture, |first, _| first.answered_at_ms += 5);
    assert_eq!(wrong_check(&earlier), "answer number", "made before what it follows");
}

#[test]
fn what_a_correction_takes_back_has_a_successor_that_names_it_and_may_be_a_refusal() {
    let fixture = Fixture::town();
    let corrected = |change: &dyn Fn(&mut wire::Answer, &mut wire::Answer)| {
        succession(&fixture, |first, second| {
            first.outcome.clone_from(&second.outcome);
            second.correction = vec![7; 32];
            change(first, second);
        })
    };
    let report = verify(&corrected(&|_, _| ()).encode_to_vec(), &authority());
    assert!(report.is_sound(), "{:?}", report.wrong());
    assert_eq!(report.answers.len(), 2);
    let refusal = crate::refusal::Refusal::new(crate::refusal::Code::AnswerWithdrawn).to_wire();
    let withdrawn = corrected(&|_, second| second.outcome = Some(Outcome::Refusal(refusal.clone())));
    assert!(verify(&withdrawn.encode_to_vec(), &authority()).is_sound());
    let unnamed = corrected(&|_, second| second.correction.clear());
    assert_eq!(wrong_check(&unnamed), "answer number");
    let deferral = wire::Deferral { reason: "clerk".into(), due_at_ms: 1 };
    let promised = corrected(&|_, second| second.outcome = Some(Outcome::Deferral(deferral.clone())));
    assert_eq!(wrong_check(&promised), "answer number", "a promise takes nothing back");
    let of_a_promise = corrected(&|first, _| first.outcome = Some(Outcome::Deferral(deferral.clone())));
    assert_eq!(wrong_check(&of_a_promise), "answer number", "a promise is kept, not corrected");
    let first = corrected(&|first, _| first.correction = vec![7; 32]);
    assert_eq!(wrong_check(&first), "answer correction", "the first answer follows nothing");
    let cut = corrected(&|_, second| second.correction.truncate(31));
    assert_eq!(wrong_check(&cut), "answer correction");
}
