//! Applications and decisions: clocks, extensions, second attempts, officers, and the profile that asks for them.

use prost::Message;

use super::*;
use crate::{
    calendar::Colour,
    directory::Checked,
    envelope::seal,
    fixture::{self, FOUNDED_MS, Fixture, key},
};

const ID: &str = "8899aabbccddeeff";
const OBJECT: &str = "access/civil-affairs/housing/8899aabbccddeeff";
const DAY_MS: u64 = 86_400_000;

fn applied() -> Fixture {
    let mut fixture = Fixture::town();
    fixture.apply_for_access(ID);
    fixture
}

fn said(fixture: &Fixture, body: Body, change: impl FnOnce(&mut Statement)) -> Result<Checked, StatementError> {
    let mut statement = fixture.statement(body, OBJECT);
    change(&mut statement);
    let signer = if matches!(statement.body, Some(Body::AccessApplied(_))) { "housing" } else { "civil-affairs" };
    fixture.directory.check_envelope(&seal(&statement, &key(signer)).0)
}

fn refused(outcome: Result<Checked, StatementError>) -> (String, String) {
    let refusal = outcome.expect_err("a refusal").refusal();
    (refusal.field, refusal.detail)
}

fn extended(working_days: u32) -> Body {
    Body::AccessExtended(wire::AccessExtended { working_days, notice: "须查档案".into() })
}

fn set(fixture: &mut Fixture, change: impl FnOnce(&mut wire::Profile)) {
    let mut profile = fixture.directory.stated_profile().clone();
    change(&mut profile);
    let body = Body::ProfileChanged(wire::ProfileChanged { profile: Some(profile) });
    fixture.say("authority", body, "profile");
}

#[test]
fn only_the_authority_changes_the_profile_and_it_holds_from_then_on() {
    let mut fixture = Fixture::town();
    assert_eq!(fixture.directory.profile().clocks.reply_conditional, 10);
    let changed = |days: u32| {
        let profile = wire::Profile { reply_conditional_days: days, ..fixture.directory.stated_profile().clone() };
        Body::ProfileChanged(wire::ProfileChanged { profile: Some(profile) })
    };
    for signer in ["housing", "log", "civil-affairs recovery"] {
        let error = fixture.directory.check_envelope(&fixture.sign(signer, changed(5), "profile")).unwrap_err();
        assert_eq!(error, StatementError::NotEntitled, "{signer}");
    }
    let error = fixture.directory.check_envelope(&fixture.sign("authority", changed(400), "profile")).unwrap_err();
    assert_eq!(error.refusal().field, "profile.reply_conditional_days");
    let missing = Body::ProfileChanged(wire::ProfileChanged { profile: None });
    assert!(fixture.directory.check_envelope(&fixture.sign("authority", missing, "profile")).is_err());
    set(&mut fixture, |profile| profile.reply_conditional_days = 5);
    assert_eq!(fixture.directory.profile().clocks.reply_conditional, 5);
    set(&mut fixture, |profile| {
        profile.calendar = Some(wire::Calendar {
            years: vec![wire::CalendarYear { year: 2026, holidays: vec!["2026-01-02".into()], workdays: vec![] }],
            ..wire::Calendar::default()
        });
    });
    assert!(fixture.directory.profile().calendar.knows(2026));
    assert_eq!(fixture.directory.profile().clocks.reply_conditional, 5, "the whole profile is stated each time");
}

#[test]
fn a_reply_has_its_clock_until_it_is_given() {
    let mut fixture = applied();
    let reply = |fixture: &Fixture, days: u64| {
        let access = fixture.directory.access(&OBJECT.parse().unwrap()).unwrap();
        access.reply(fixture.directory.profile(), FOUNDED_MS + days * DAY_MS).map(|limit| limit.colour)
    };
    // Founded on Thursday, 1 January 2026: the tenth working day is Thursday, 15 January.
    assert_eq!(reply(&fixture, 0), Some(Colour::Green));
    assert_eq!(reply(&fixture, 12), Some(Colour::Amber));
    assert_eq!(reply(&fixture, 15), Some(Colour::Red));
    fixture.say("civil-affairs", extended(5), OBJECT);
    assert_eq!(reply(&fixture, 15), Some(Colour::Green));
    assert_eq!(reply(&fixture, 22), Some(Colour::Red));
    fixture.grant(ID, |_| {});
    assert_eq!(reply(&fixture, 22), None);
}

#[test]
fn the_time_to_reply_is_extended_once_in_time_and_with_notice() {
    let mut fixture = applied();
    assert!(said(&fixture, extended(10), |_| {}).is_ok());
    assert_eq!(refused(said(&fixture, extended(0), |_| {})).0, "working_days");
    assert_eq!(refused(said(&fixture, extended(11), |_| {})).0, "working_days");
    let silent = Body::AccessExtended(wire::AccessExtended { working_days: 3, notice: " ".into() });
    assert_eq!(refused(said(&fixture, silent, |_| {})).0, "notice");
    // The reply was due by the end of 15 January, at UTC+8.
    let over = FOUNDED_MS + 15 * DAY_MS - 8 * 3_600_000;
    assert!(said(&fixture, extended(3), |statement| statement.stated_at_ms = over - 1).is_ok());
    let late = refused(said(&fixture, extended(3), |statement| statement.stated_at_ms = over));
    assert!(late.1.contains("is over"), "{late:?}");
    let by_applicant = fixture.sign("housing", extended(3), OBJECT);
    assert_eq!(fixture.directory.check_envelope(&by_applicant).unwrap_err(), StatementError::NotEntitled);
    fixture.say("civil-affairs", extended(3), OBJECT);
    assert!(refused(said(&fixture, extended(3), |_| {})).1.contains("once"));
    fixture.grant(ID, |_| {});
    assert!(said(&fixture, extended(3), |_| {}).is_err(), "it is replied to");
}

#[test]
fn an_incomplete_application_comes_back_under_its_id() {
    let mut fixture = applied();
    let returned = |missing: &[&str]| {
        let missing = missing.iter().map(|item| (*item).to_owned()).collect();
        Body::AccessReturned(wire::AccessReturned { missing })
    };
    for nothing in [&[][..], &["依据条款", ""]] {
        assert_eq!(refused(said(&fixture, returned(nothing), |_| {})).0, "missing");
    }
    let again = Body::AccessApplied(fixture::application(ID));
    assert_eq!(refused(said(&fixture, again.clone(), |_| {})).0, "id", "not before it was returned");
    fixture.say("civil-affairs", extended(3), OBJECT);
    fixture.say("civil-affairs", returned(&["依据条款", "预计调用量"]), OBJECT);
    let mut elsewhere = fixture::application(ID);
    elsewhere.service = "birth-registration".into();
    assert_eq!(refused(said(&fixture, Body::AccessApplied(elsewhere), |_| {})).0, "service");
    fixture.say("housing", again, OBJECT);
    let access = fixture.directory.access(&OBJECT.parse().unwrap()).unwrap();
    assert_eq!((&access.state, &access.extended), (&AccessState::Applied, &None), "everything begins anew");
    assert!(access.applied_ms > FOUNDED_MS + 1);
}

#[test]
fn a_refusal_has_a_code_and_a_text() {
    let fixture = applied();
    let refusal = |code: &str, reason: &str| {
        Body::AccessRefused(wire::AccessRefused { reason_code: code.into(), reason: reason.into() })
    };
    assert!(said(&fixture, refusal("BASIS_INSUFFICIENT", "依据不足"), |_| {}).is_ok());
    assert!(said(&fixture, refusal("SOMETHING_LATER", "依据不足"), |_| {}).is_ok(), "a later version's");
    for code in ["", "because", "A B"] {
        assert_eq!(refused(said(&fixture, refusal(code, "依据不足"), |_| {})).0, "reason_code", "{code}");
    }
    assert_eq!(refused(said(&fixture, refusal("BASIS_INSUFFICIENT", ""), |_| {})).0, "reason");
}

#[test]
fn a_decision_counts_only_with_its_officers_where_the_profile_says_so() {
    let mut fixture = applied();
    let grant = || Body::AccessGranted(fixture::granted(ID));
    let by = |officer: &str, document: &str, second: &str| {
        let decision = wire::OfficialDecision {
            officer: officer.into(),
            document: document.into(),
            second_officer: second.into(),
        };
        move |statement: &mut Statement| statement.decision = Some(decision)
    };
    assert!(said(&fixture, grant(), |_| {}).is_ok());
    set(&mut fixture, |profile| profile.decisions_named = true);
    assert_eq!(refused(said(&fixture, grant(), |_| {})).0, "decision.officer");
    assert_eq!(refused(said(&fixture, grant(), by("2001", "", ""))).0, "decision.document");
    assert!(said(&fixture, grant(), by("2001", "民函9号", "")).is_ok());
    set(&mut fixture, |profile| profile.four_eyes = vec!["access.approve".into()]);
    for (decision, field) in [
        (by("2001", "民函9号", ""), "decision.second_officer"),
        (by("2001", "民函9号", "2001"), "decision.second_officer"),
    ] {
        assert_eq!(refused(said(&fixture, grant(), decision)).0, field);
    }
    assert!(said(&fixture, grant(), by("2001", "民函9号", "2002")).is_ok());
    let refusal =
        Body::AccessRefused(wire::AccessRefused { reason_code: "ALREADY_GRANTED".into(), reason: "x".into() });
    assert!(said(&fixture, refusal, by("2001", "民函9号", "")).is_ok(), "another kind takes two eyes");
    // What was decided before counts on, and an excerpt reads it without the profile.
    let mut replayed = Directory::new(fixture::exchange_id(), fixture.directory.authority_key().clone());
    fixture.entries.iter().for_each(|entry| replayed.apply(entry).unwrap());
    let mut excerpt = Directory::excerpt(fixture::exchange_id(), fixture.directory.authority_key().clone());
    for (index, entry) in (0_u64..).zip(&fixture.entries) {
        excerpt.apply_excerpt(index, entry).unwrap();
    }
    let late = seal(&fixture.statement(grant(), OBJECT), &key("civil-affairs")).0.encode_to_vec();
    assert!(replayed.check(&late).is_err() && excerpt.check(&late).is_ok());
}
