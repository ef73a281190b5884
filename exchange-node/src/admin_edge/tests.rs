//! What operators are told, from a directory in memory. The socket itself is tested with real processes.

use trust::{
    directory::model::AccessState,
    fixture::{self, Fixture, NOW_MS, department},
    ids::Digest,
};

use super::{answers::access_words, *};
use crate::records::RecordsStatus;

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
        from_ms: NOW_MS,
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
fn publishing_the_same_again_changes_nothing() {
    let mut fixture = Fixture::town();
    let same = |fixture: &Fixture, change: &dyn Fn(&mut proto::registry::v1::ServicePublished)| {
        let mut service = fixture::marriage_registration();
        change(&mut service);
        let service = Service::check(&service, Digest::new([0; 32])).unwrap();
        unchanged(&fixture.directory, &service, &Object::Service(service.id.clone()))
    };
    let answer = same(&fixture, &|_| {}).unwrap();
    assert_eq!(answer.object, "service/civil-affairs/marriage-registration/1");
    assert!(answer.index > 0 && answer.refused.is_none());
    assert!(same(&fixture, &|service| service.minor_version = 1).is_none());
    withdraw(&mut fixture, 1);
    assert!(same(&fixture, &|_| {}).is_none(), "a withdrawn service is not published by chance");
}

#[test]
fn states_are_told_in_the_operators_words() {
    let mut fixture = Fixture::town();
    withdraw(&mut fixture, 1);
    let service = fixture.directory.services().next().unwrap();
    let told = service_state(service, NOW_MS);
    assert_eq!((told.state.as_str(), told.notice.as_str()), ("withdrawn", "replaced"));
    assert_eq!(service_state(service, NOW_MS - 1).state, "answering");
    let (_, access) = fixture.directory.all_access().next().unwrap();
    assert_eq!(access_state(access).state, "granted");
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
