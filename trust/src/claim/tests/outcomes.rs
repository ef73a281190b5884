//! Tests of outcomes on the wire: every outcome survives the journey, and what no claim can have is refused.

use proto::exchange::v1 as wire;

use super::{attribute_type, claim, rows, rule};
use crate::claim::{Claim, ClaimOutcome, Operator, OutcomeError, Reason, Verdict, evaluate};
use crate::value::{Type, Value, ValueError};
use proto::registry::v1::RowRule;

fn asked() -> Claim {
    claim(Type::Integer, Operator::AtLeast, &["12"])
}

fn read(answer: &wire::ClaimVerdict) -> Result<ClaimOutcome, OutcomeError> {
    ClaimOutcome::from_proto(answer, &asked(), &attribute_type(Type::Integer))
}

#[test]
fn outcomes_survive_the_wire() {
    let evaluated = evaluate(&rule(Type::Integer, RowRule::Only), &asked(), &rows(Type::Integer, &["9"]), super::TODAY);
    assert!(evaluated.disclosed().is_some());
    let outcomes = Reason::ALL.map(ClaimOutcome::unavailable).into_iter().chain([
        evaluated,
        ClaimOutcome::no_record(),
        ClaimOutcome::compared(true, true, None),
        ClaimOutcome::compared(false, false, None),
    ]);
    for outcome in outcomes {
        let answer = outcome.to_proto(&asked());
        assert_eq!((answer.attribute.as_str(), answer.operator.as_str()), ("fact", "at_least"));
        assert_eq!(read(&answer), Ok(outcome));
    }
}

#[test]
fn names_are_stable() {
    let reasons = ["ambiguous", "missing_value", "not_comparable", "not_imported", "quarantined", "source_down"];
    assert_eq!(Reason::ALL.map(Reason::as_str), reasons);
    for reason in Reason::ALL {
        assert_eq!(Reason::parse(reason.as_str()), Some(reason));
    }
    let verdicts = [Verdict::Match, Verdict::Mismatch, Verdict::NoRecord, Verdict::Unavailable];
    assert_eq!(verdicts.map(Verdict::as_str), ["MATCH", "MISMATCH", "NO_RECORD", "UNAVAILABLE"]);
    for verdict in verdicts {
        assert_eq!(Verdict::from_proto(verdict.to_proto().into()), Some(verdict));
    }
    assert_eq!(Verdict::from_proto(0), None);
    assert_eq!(Verdict::from_proto(5), None);
}

#[test]
fn impossible_answers_are_refused() {
    let matched = ClaimOutcome::compared(true, false, None).to_proto(&asked());
    let missing = ClaimOutcome::no_record().to_proto(&asked());
    let unavailable = ClaimOutcome::unavailable(Reason::SourceDown).to_proto(&asked());
    let value = Some(Value::Integer(9).to_proto());
    for (answer, expected) in [
        (wire::ClaimVerdict { attribute: "other".into(), ..matched.clone() }, OutcomeError::OtherClaim),
        (wire::ClaimVerdict { operator: "at_most".into(), ..matched.clone() }, OutcomeError::OtherClaim),
        (wire::ClaimVerdict { verdict: 0, ..matched.clone() }, OutcomeError::VerdictUnknown),
        (wire::ClaimVerdict { verdict: 9, ..matched.clone() }, OutcomeError::VerdictUnknown),
        (wire::ClaimVerdict { by_absence: true, ..missing.clone() }, OutcomeError::AbsenceMisplaced),
        (wire::ClaimVerdict { by_absence: true, ..unavailable.clone() }, OutcomeError::AbsenceMisplaced),
        (wire::ClaimVerdict { reason: "ambiguous".into(), ..matched.clone() }, OutcomeError::ReasonMisplaced),
        (wire::ClaimVerdict { reason: String::new(), ..unavailable.clone() }, OutcomeError::ReasonMisplaced),
        (wire::ClaimVerdict { disclosed: value.clone(), ..missing }, OutcomeError::DisclosureMisplaced),
        (wire::ClaimVerdict { disclosed: value.clone(), ..unavailable.clone() }, OutcomeError::DisclosureMisplaced),
        (
            wire::ClaimVerdict { disclosed: Some(Value::Boolean(true).to_proto()), ..matched.clone() },
            OutcomeError::DisclosureMalformed(ValueError::KindWrong { ty: Type::Integer }),
        ),
    ] {
        assert_eq!(read(&answer), Err(expected), "{answer:?}");
    }
    let silent = wire::Claim { disclose: false, ..asked().to_proto() };
    let silent = Claim::from_proto_strict(&silent, &attribute_type(Type::Integer)).unwrap();
    let answer = wire::ClaimVerdict { disclosed: value, ..matched };
    let refused = ClaimOutcome::from_proto(&answer, &silent, &attribute_type(Type::Integer));
    assert_eq!(refused, Err(OutcomeError::DisclosureMisplaced));
    // A reason of a later version is still UNAVAILABLE, and nothing else.
    let later = read(&wire::ClaimVerdict { reason: "struck_by_lightning".into(), ..unavailable }).unwrap();
    assert_eq!((later.verdict(), later.reason()), (Verdict::Unavailable, None));
}
