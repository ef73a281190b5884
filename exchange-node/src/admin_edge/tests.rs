//! What operators are told, from a directory in memory. The socket itself is tested with real processes.

use proto::registry::v1::{ServiceWithdrawn, statement::Body};
use trust::{
    directory::model::AccessState,
    fixture::{self, Fixture, NOW_MS, department},
    refusal::{Code, Refusal},
};

use super::{answers::access_words, *};
use crate::records::RecordsStatus;

/// Later than the notice that a withdrawal needs.
const END_MS: u64 = NOW_MS + 20 * 86_400_000;

fn published(fixture: &mut Fixture, major_version: u32) {
    let mut service = fixture::marriage_registration();
    service.major_version = major_version;
    fixture.publish(service);
}

fn withdraw(fixture: &mut Fixture, major_version: u32) {
    let body = Body::ServiceWithdrawn(ServiceWithdrawn {
        department: "civil-affairs".into(),
        service: "marriage-registration".into(),
        major_version,
        reason: "replaced".into(),
        from_ms: END_MS,
    });
    fixture.say("civil-affairs", body, &format!("service/civil-affairs/marriage-registration/{major_version}"));
}

#[test]
fn the_newest_own_service_that_is_not_withdrawn_is_meant() {
    let mut fixture = Fixture::town();
    published(&mut fixture, 2);
    published(&mut fixture, 3);
    withdraw(&mut fixture, 3);
    let me = department("civil-affairs");
    let major = |name: &str, major: u32| own_service(&fixture.directory, &me, name, major).map(|id| id.major);
    assert_eq!(major("marriage-registration", 0), Some(2));
    assert_eq!(major("marriage-registration", 1), Some(1));
    assert_eq!(major("marriage-registration", 3), Some(3));
    assert_eq!(major("civil-affairs/marriage-registration", 0), Some(2));
    assert_eq!(major("housing/marriage-registration", 0), None);
    assert_eq!(major("birth-registration", 0), None);
    assert_eq!(own_service(&fixture.directory, &department("housing"), "marriage-registration", 0), None);
}

#[test]
fn states_are_told_in_the_operators_words() {
    let mut fixture = Fixture::town();
    withdraw(&mut fixture, 1);
    let service = fixture.directory.services().next().unwrap();
    let told = |now_ms: u64| service_state(&fixture.directory, service, now_ms);
    assert_eq!((told(END_MS).state.as_str(), told(END_MS).notice.as_str()), ("withdrawn", "replaced"));
    // Until then it answers, and says when it ends.
    assert_eq!((told(NOW_MS).state.as_str(), told(NOW_MS).ends_ms), ("answering", END_MS));
    assert_eq!(told(NOW_MS).provider_name, "civil-affairs");
    let returned = AccessState::Returned { missing: vec!["basis".into(), "item".into()] };
    assert_eq!(access_words(&returned), ("returned", "basis; item".to_owned()));
}

#[test]
fn a_service_without_records_says_so() {
    let fixture = Fixture::town();
    let me = department("civil-affairs");
    let told = records_status(&fixture.directory, &me, &[]);
    assert_eq!((told.len(), told[0].imported), (1, false));
    let mut held = RecordsStatus {
        service: "marriage-registration".parse().unwrap(),
        major: 1,
        fault: None,
        minor: 0,
        rows: 5,
        subjects: 4,
        quarantined_rows: 2,
        quarantined_subjects: 1,
        unattributed_rows: 0,
        imported_ms: 7,
        quarantine_file: None,
    };
    let told = records_status(&fixture.directory, &me, std::slice::from_ref(&held));
    assert_eq!((told[0].imported, told[0].rows, told[0].quarantined, told[0].imported_ms), (true, 5, 1, 7));
    held.fault = Some("damaged".into());
    assert!(!records_status(&fixture.directory, &me, &[held])[0].imported);
    assert!(records_status(&fixture.directory, &department("housing"), &[]).is_empty());
}

#[test]
fn a_refusal_is_an_outcome_and_an_unreachable_registry_is_not() {
    let refusal = Refusal::new(Code::StatementOutdated).to_wire();
    let answer = stated(Err(publish::Error::Refused(refusal))).unwrap();
    assert_eq!(answer.refused.unwrap().code, "STATEMENT_OUTDATED");
    let status = stated(Err(publish::Error::Unreachable("no route".into()))).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let status = stated(Err(publish::Error::KeyElsewhere)).unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
}
