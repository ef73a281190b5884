//! What a decision states, and which application an id means. The whole way, over real sockets, is in the scenarios.

use proto::admin::v1::DecideAccessRequest;
use trust::{
    fixture::{self, Fixture, NOW_MS},
    service::Service,
};

use super::*;
use crate::{pending::PendingDecisions, usage::Usage};

const ID: &str = "0011223344556677";

fn key(consumer: &str) -> AccessKey {
    format!("access/civil-affairs/{consumer}/{ID}").parse().unwrap()
}

fn decided(change: impl FnOnce(&mut DecideAccessRequest)) -> Result<Body, body::Error> {
    let fixture = Fixture::town();
    let mut request = DecideAccessRequest { action: "approve".into(), ..DecideAccessRequest::default() };
    change(&mut request);
    body::of(&fixture.directory, &key("housing"), &request, NOW_MS)
}

#[test]
fn an_approval_gives_what_was_applied_for_or_less() {
    let Body::AccessGranted(whole) = decided(|_| {}).unwrap() else { panic!() };
    assert_eq!(whole.scope, fixture::application(ID).scope);
    assert_eq!((whole.valid_until_ms, whole.quota, whole.system.as_str()), (0, None, ""));
    assert_eq!(whole.valid_from_ms, NOW_MS - 60_000, "a clock a little behind is no reason to refuse");
    let Body::AccessGranted(narrow) = decided(|request| {
        request.valid_until_ms = NOW_MS + 1;
        request.system = "housing-desk".into();
    })
    .unwrap() else {
        panic!()
    };
    assert_eq!((narrow.valid_until_ms, narrow.system.as_str()), (NOW_MS + 1, "housing-desk"));
}

#[test]
fn an_extension_takes_what_the_profile_allows_where_nothing_is_said() {
    let extend = |days| decided(|request| (request.action, request.working_days) = ("extend".into(), days)).unwrap();
    for (asked, given) in [(0, 10), (3, 3)] {
        let Body::AccessExtended(body) = extend(asked) else { panic!() };
        assert_eq!(body.working_days, given);
    }
}

#[test]
fn a_refusal_has_one_of_the_stable_codes() {
    let refuse = |code: &str| decided(|request| (request.action, request.reason_code) = ("refuse".into(), code.into()));
    let Body::AccessRefused(body) = refuse("").unwrap() else { panic!() };
    assert_eq!(body.reason_code, "PROVIDER_DECISION");
    assert!(refuse("BASIS_INSUFFICIENT").is_ok());
    let Err(body::Error::Refused(refusal)) = refuse("NO") else { panic!() };
    assert_eq!(refusal.field, "reason_code");
    assert!(matches!(decided(|request| request.action = "ignore".into()), Err(body::Error::Usage(_))));
}

/// Applicants choose their ids, so one may choose another's: it never passes for the other.
#[test]
fn two_applications_with_one_id_are_told_apart() {
    let mut fixture = Fixture::town();
    fixture.admit("taxation");
    let mut other = fixture::application(ID);
    other.consumer = "taxation".into();
    fixture.say("taxation", Body::AccessApplied(other), &format!("access/civil-affairs/taxation/{ID}"));
    let meant = |text: &str| one_of(&fixture.directory, text, |key| Some(key.consumer.as_str()));
    let several = meant(ID).unwrap_err();
    assert_eq!(several.code(), tonic::Code::InvalidArgument);
    assert!(several.message().contains(&format!("housing/{ID}")), "{several}");
    assert_eq!(meant(&format!("taxation/{ID}")).unwrap(), key("taxation"));
    assert_eq!(meant(&format!("civil-affairs/{ID}")).unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(meant("8899aabbccddeeff").unwrap_err().code(), tonic::Code::NotFound);
}

/// What an operator of a department is told of the first application.
fn told(fixture: &Fixture, me: &str, now_ms: u64, uses: [&Usage; 3]) -> proto::admin::v1::AccessState {
    told_by(fixture, me, now_ms, uses, &|_| false)
}

/// The same, where sources.toml names services.
fn told_by(
    fixture: &Fixture,
    me: &str,
    now_ms: u64,
    uses: [&Usage; 3],
    is_sourced: &dyn Fn(&Service) -> bool,
) -> proto::admin::v1::AccessState {
    let dir = tempfile::tempdir().unwrap();
    let pending = PendingDecisions::open(dir.path()).unwrap();
    let me = fixture::department(me);
    let looked = state::Looked {
        me: &me,
        directory: &fixture.directory,
        records: Vec::new(),
        is_sourced,
        pending: &pending,
        given: uses[0],
        asked: uses[1],
        answered: uses[2],
        now_ms,
    };
    let (key, access) = fixture.directory.all_access().next().unwrap();
    looked.state(key, access)
}

fn colour(state: &proto::admin::v1::AccessState) -> Option<(&str, &str)> {
    state.clock.as_ref().map(|clock| (clock.what.as_str(), clock.colour.as_str()))
}

/// A provider that answers from its own database, or by a person, supplies: it imports nothing, and nobody need have asked.
#[test]
fn supply_stands_where_a_source_or_a_person_answers() {
    const LATE_MS: u64 = NOW_MS + 29 * 86_400_000;
    let none = [&Usage::default(), &Usage::default(), &Usage::default()];
    let fixture = Fixture::town();
    let by_source = |service: &Service| service.id.service.as_str() == "marriage-registration";
    assert_eq!(colour(&told(&fixture, "civil-affairs", LATE_MS, none)), Some(("supply", "red")));
    assert_eq!(colour(&told_by(&fixture, "civil-affairs", LATE_MS, none, &by_source)), None);
    for answered_by in ["clerk", "record_then_clerk"] {
        let mut fixture = Fixture::founded();
        for department in ["civil-affairs", "housing"] {
            fixture.admit(department);
        }
        let mut service = fixture::marriage_registration();
        service.answered_by = answered_by.into();
        fixture.publish(service);
        fixture.apply_for_access(ID);
        fixture.grant(ID, |_| {});
        assert_eq!(colour(&told(&fixture, "civil-affairs", LATE_MS, none)), None, "{answered_by}");
    }
}

#[test]
fn clocks_turn_amber_and_red_on_both_sides() {
    const DAY_MS: u64 = 86_400_000;
    let none = [&Usage::default(), &Usage::default(), &Usage::default()];
    let mut fixture = Fixture::founded();
    for department in ["civil-affairs", "housing"] {
        fixture.admit(department);
    }
    fixture.publish(fixture::marriage_registration());
    fixture.apply_for_access(ID);
    // Applied for on Thursday, 1 January 2026: due by the end of Thursday, 15 January.
    for me in ["civil-affairs", "housing"] {
        for (days, expected) in [(0, "green"), (12, "amber"), (15, "red")] {
            let state = told(&fixture, me, fixture::FOUNDED_MS + days * DAY_MS, none);
            assert_eq!(colour(&state), Some(("reply", expected)), "{me} after {days} days");
            assert_eq!(state.clock.unwrap().last_day, "2026-01-15");
        }
    }
    fixture.grant(ID, |_| {});
    // Twenty working days to supply: until Thursday, 29 January.
    assert_eq!(colour(&told(&fixture, "civil-affairs", NOW_MS, none)), Some(("supply", "green")));
    assert_eq!(colour(&told(&fixture, "civil-affairs", NOW_MS + 29 * DAY_MS, none)), Some(("supply", "red")));
    // Who never asked cannot say that nothing came.
    assert_eq!(colour(&told(&fixture, "housing", NOW_MS + 29 * DAY_MS, none)), None);
    let grant = fixture.directory.all_access().next().unwrap().1.grant_statement.unwrap();
    let mark = crate::usage::mark(&grant, &fixture::department("housing"));
    let used = Usage::default();
    used.count(&mark, &trust::calendar::Calendar::default(), NOW_MS);
    let unanswered = [&Usage::default(), &used, &Usage::default()];
    assert_eq!(colour(&told(&fixture, "housing", NOW_MS + 29 * DAY_MS, unanswered)), Some(("supply", "red")));
    // Supplied: no clock runs, and both see what was used.
    let given = told(&fixture, "civil-affairs", NOW_MS, [&used, &Usage::default(), &Usage::default()]);
    assert_eq!((colour(&given), given.r#use.unwrap().total), (None, 1));
    let got = told(&fixture, "housing", NOW_MS, [&Usage::default(), &used, &used]);
    assert_eq!((colour(&got), got.r#use.unwrap().total, got.r#use.unwrap().asked), (None, 1, 1));
}

#[test]
fn a_consumer_asks_by_its_grants_and_whoever_asked_without_one_does_too() {
    use proto::admin::v1::{AccessState, StandingUse};
    let asks = |me: &str, access: &[AccessState], standing: &[StandingUse]| {
        state::asks(&fixture::department(me), access, standing)
    };
    let applied = AccessState { applied: Some(fixture::application(ID)), ..AccessState::default() };
    let granted = AccessState { granted: Some(fixture::granted(ID)), ..applied.clone() };
    assert!(!asks("housing", &[applied], &[]), "what was not granted was not used");
    assert!(asks("housing", std::slice::from_ref(&granted), &[]));
    assert!(!asks("civil-affairs", &[granted], &[]), "it answers");
    let of_others = StandingUse { consumer: "housing".into(), provider: "taxation".into(), ..StandingUse::default() };
    assert!(asks("housing", &[], std::slice::from_ref(&of_others)));
    assert!(!asks("taxation", &[], &[of_others]));
}
