//! The life of a data service: which change keeps the major version, how long before its end it is told, and what the
//! authority has to approve where its profile says so.

use super::*;
use crate::{
    decision::decide,
    directory::model::Profile,
    ids::ServiceId,
    question::Question,
    service::{Review, ServiceState},
};

const OBJECT: &str = "service/civil-affairs/marriage-registration/1";
const DAY_MS: u64 = 86_400_000;

fn id(service: &str) -> ServiceId {
    ServiceId { department: fixture::department("civil-affairs"), service: service.parse().unwrap(), major: 1 }
}

fn changed(minor: u32, change: impl FnOnce(&mut wire::ServicePublished)) -> wire::ServicePublished {
    let mut service = fixture::marriage_registration();
    service.minor_version = minor;
    change(&mut service);
    service
}

fn field(fixture: &Fixture, signer: &str, body: Body, object: &str) -> String {
    check(fixture, signer, body, object).unwrap_err().refusal().field
}

#[test]
fn an_incompatible_change_needs_a_new_major_version() {
    let mut fixture = Fixture::town();
    let narrower = changed(1, |service| drop(service.attributes.pop()));
    let refused = check(&fixture, "civil-affairs", Body::ServicePublished(narrower.clone()), OBJECT).unwrap_err();
    let told = refused.refusal();
    assert_eq!((told.code, told.field.as_str()), (Code::StatementRefused, "version"));
    assert!(told.detail.contains("attributes.registered_on: is gone"), "{told}");
    // As a new major version it is taken, and both answer.
    fixture.publish(wire::ServicePublished { major_version: 2, minor_version: 0, ..narrower });
    assert!(decide(&fixture.directory, &fixture.question(), fixture::NOW_MS).is_ok());
    // A compatible change counts at once, and raises the minor version.
    fixture.publish(changed(1, |service| service.contact = "0890".into()));
    assert_eq!(fixture.directory.service(&id("marriage-registration")).unwrap().published.contact, "0890");
    let again = Body::ServicePublished(changed(1, |service| service.contact = "0891".into()));
    assert_eq!(field(&fixture, "civil-affairs", again, OBJECT), "version");
}

fn withdrawal(reason: &str, from_ms: u64) -> Body {
    Body::ServiceWithdrawn(wire::ServiceWithdrawn {
        department: "civil-affairs".into(),
        service: "marriage-registration".into(),
        major_version: 1,
        reason: reason.into(),
        from_ms,
    })
}

#[test]
fn a_withdrawal_needs_a_reason_and_is_told_in_time() {
    let mut fixture = Fixture::town();
    let stated_ms = fixture.statement(withdrawal("r", 0), OBJECT).stated_at_ms;
    let soonest_ms = stated_ms + 10 * DAY_MS;
    assert_eq!(field(&fixture, "civil-affairs", withdrawal(" ", soonest_ms), OBJECT), "reason");
    let early = check(&fixture, "civil-affairs", withdrawal("replaced", soonest_ms - 1), OBJECT).unwrap_err();
    assert!(early.to_string().contains("at least 10 days"), "{early}");
    fixture.say("civil-affairs", withdrawal("replaced", soonest_ms), OBJECT);

    // It can be put off, and not be brought forward.
    let later_ms = soonest_ms + DAY_MS;
    fixture.say("civil-affairs", withdrawal("replaced", later_ms), OBJECT);
    assert_eq!(field(&fixture, "civil-affairs", withdrawal("sooner", later_ms - 1), OBJECT), "from_ms");
    let service = fixture.directory.service(&id("marriage-registration")).unwrap();
    assert_eq!(service.ends(), Some((later_ms, "replaced")));
    assert!(service.answers_at(later_ms - 1) && !service.answers_at(later_ms));

    // A leak before the end: it is suspended, and goes on afterwards, and still ends.
    let suspended = Body::ServiceSuspended(wire::ServiceSuspended {
        department: "civil-affairs".into(),
        service: "marriage-registration".into(),
        major_version: 1,
        notice: "wait".into(),
    });
    fixture.say("civil-affairs", suspended, OBJECT);
    let service = fixture.directory.service(&id("marriage-registration")).unwrap();
    assert_eq!((service.notice(), service.ends().is_some()), (Some("wait"), true));
    let resumed = Body::ServiceResumed(wire::ServiceResumed {
        department: "civil-affairs".into(),
        service: "marriage-registration".into(),
        major_version: 1,
    });
    fixture.say("civil-affairs", resumed.clone(), OBJECT);
    let service = fixture.directory.service(&id("marriage-registration")).unwrap();
    assert!(matches!(&service.state, ServiceState::Withdrawn { suspended: None, .. }));
    assert_eq!(field(&fixture, "civil-affairs", resumed, OBJECT), "object");
}

#[test]
fn the_profile_sets_how_long_before_its_end_a_withdrawal_is_told() {
    let profile = wire::Profile { withdrawal_notice_seconds: 3600, ..Profile::usual() };
    let mut fixture = Fixture::founded_with(profile);
    fixture.admit("civil-affairs");
    fixture.publish(fixture::marriage_registration());
    let stated_ms = fixture.statement(withdrawal("r", 0), OBJECT).stated_at_ms;
    let early = check(&fixture, "civil-affairs", withdrawal("r", stated_ms + 3_599_999), OBJECT).unwrap_err();
    assert!(early.to_string().contains("at least 1 hours"), "{early}");
    fixture.say("civil-affairs", withdrawal("r", stated_ms + 3_600_000), OBJECT);
}

fn reviewing(reviews: wire::ServiceReviews) -> Fixture {
    let mut fixture = Fixture::founded_with(wire::Profile { service_reviews: reviews.into(), ..Profile::usual() });
    for department in ["civil-affairs", "housing"] {
        fixture.admit(department);
    }
    fixture.publish(changed(0, |service| service.sharing = wire::SharingClass::Unconditional.into()));
    fixture
}

fn asked(fixture: &Fixture) -> Result<(), Code> {
    decide(&fixture.directory, &fixture.question(), fixture::NOW_MS).map(drop).map_err(|refusal| refusal.code)
}

#[test]
fn a_new_service_answers_once_the_authority_has_approved_it() {
    let mut fixture = reviewing(wire::ServiceReviews::New);
    assert_eq!(asked(&fixture), Err(Code::ServiceNotReviewed));
    fixture.review("marriage-registration", &[]);
    assert_eq!(asked(&fixture), Ok(()));
    // There is nothing more to review; a compatible change counts at once.
    let (body, object) = fixture.reviewed("marriage-registration", &[]);
    assert_eq!(field(&fixture, "authority", body, &object), "service");
    let unconditional = |service: &mut wire::ServicePublished| {
        service.sharing = wire::SharingClass::Unconditional.into();
        service.contact = "0890".into();
    };
    fixture.publish(changed(1, unconditional));
    assert_eq!(asked(&fixture), Ok(()));
    // The next major version is new.
    fixture.publish(wire::ServicePublished { major_version: 2, ..changed(0, unconditional) });
    let second = ServiceId { major: 2, ..id("marriage-registration") };
    assert!(matches!(fixture.directory.service(&second).unwrap().review, Review::Waiting { .. }));
}

#[test]
fn a_returned_service_says_all_that_is_missing_and_waits_again_once_it_is_changed() {
    let mut fixture = reviewing(wire::ServiceReviews::New);
    fixture.review("marriage-registration", &["contact", "the law allows article 4 only"]);
    let service = fixture.directory.service(&id("marriage-registration")).unwrap();
    assert!(matches!(&service.review, Review::Returned { missing, .. } if missing.len() == 2));
    assert_eq!(asked(&fixture), Err(Code::ServiceNotReviewed));
    // One notice lists everything: there is no second one for the same description.
    let (body, object) = fixture.reviewed("marriage-registration", &["one thing more"]);
    assert_eq!(field(&fixture, "authority", body, &object), "service");

    // Nobody could ask it, so it may change in any way.
    let (stale, _) = fixture.reviewed("marriage-registration", &[]);
    fixture.publish(changed(1, |service| {
        service.sharing = wire::SharingClass::Unconditional.into();
        service.contact = "0890".into();
        service.attributes.pop();
    }));
    assert_eq!(field(&fixture, "authority", stale, &object), "service_statement");
    fixture.review("marriage-registration", &[]);
    assert_eq!(asked(&fixture), Ok(()));
}

#[test]
fn where_every_change_is_reviewed_the_service_answers_as_before_until_it_is_approved() {
    let mut fixture = reviewing(wire::ServiceReviews::All);
    fixture.review("marriage-registration", &[]);
    let wider = |minor: u32| {
        changed(minor, |service| {
            service.sharing = wire::SharingClass::Unconditional.into();
            service.attributes[0].discloses = true;
        })
    };
    fixture.publish(wider(1));
    let disclosed = |fixture: &Fixture| {
        let mut request = fixture.request();
        request.claims[0].disclose = true;
        let question = Question::read(request).unwrap();
        decide(&fixture.directory, &question, fixture::NOW_MS).map(drop).map_err(|refusal| refusal.code)
    };
    assert_eq!((asked(&fixture), disclosed(&fixture)), (Ok(()), Err(Code::DisclosureNotCovered)));
    fixture.review("marriage-registration", &["why the value is disclosed"]);
    assert_eq!((asked(&fixture), disclosed(&fixture)), (Ok(()), Err(Code::DisclosureNotCovered)));
    let again = Body::ServicePublished(wider(1));
    assert_eq!(field(&fixture, "civil-affairs", again, OBJECT), "version");
    fixture.publish(wider(2));
    fixture.review("marriage-registration", &[]);
    assert_eq!(disclosed(&fixture), Ok(()));
    let service = fixture.directory.service(&id("marriage-registration")).unwrap();
    assert_eq!((service.published.minor_version, service.proposed.is_none()), (2, true));
}

#[test]
fn only_the_authority_reviews_and_it_publishes_nothing_itself() {
    let fixture = reviewing(wire::ServiceReviews::New);
    for signer in ["civil-affairs", "housing", "log"] {
        let (body, object) = fixture.reviewed("marriage-registration", &[]);
        assert_eq!(check(&fixture, signer, body, &object).unwrap_err(), StatementError::NotEntitled);
    }
    for body in [
        Body::ServicePublished(changed(1, |_| {})),
        withdrawal("r", u64::MAX),
        Body::ServiceSuspended(wire::ServiceSuspended {
            department: "civil-affairs".into(),
            service: "marriage-registration".into(),
            major_version: 1,
            notice: "n".into(),
        }),
    ] {
        assert_eq!(check(&fixture, "authority", body, OBJECT).unwrap_err(), StatementError::NotEntitled);
    }
    // An approval lacks nothing, a return says what is missing, and what is not known cannot be reviewed.
    let (body, object) = fixture.reviewed("marriage-registration", &[]);
    let Body::ServiceReviewed(approval) = body else { unreachable!() };
    let with = |change: &dyn Fn(&mut wire::ServiceReviewed)| {
        let mut changed = approval.clone();
        change(&mut changed);
        field(&fixture, "authority", Body::ServiceReviewed(changed), &object)
    };
    assert_eq!(with(&|body| body.missing = vec!["contact".into()]), "missing");
    assert_eq!(with(&|body| body.approved = false), "missing");
    assert_eq!(
        with(&|body| {
            body.approved = false;
            body.missing = vec![" ".into()];
        }),
        "missing"
    );
    assert_eq!(with(&|body| body.service_statement = vec![0; 32]), "service_statement");
    let nowhere = wire::ServiceReviewed { major_version: 7, ..approval.clone() };
    let object = "review/civil-affairs/marriage-registration/7";
    assert_eq!(field(&fixture, "authority", Body::ServiceReviewed(nowhere), object), "service");
}

/// Whoever applied for what is not approved would get a grant for something else.
#[test]
fn nobody_applies_for_a_service_that_waits_for_its_review() {
    let mut fixture =
        Fixture::founded_with(wire::Profile { service_reviews: wire::ServiceReviews::New.into(), ..Profile::usual() });
    for department in ["civil-affairs", "housing"] {
        fixture.admit(department);
    }
    fixture.publish(fixture::marriage_registration());
    let application = || Body::AccessApplied(fixture::application("0011223344556677"));
    let object = "access/civil-affairs/housing/0011223344556677";
    assert_eq!(field(&fixture, "housing", application(), object), "service");
    fixture.review("marriage-registration", &[]);
    fixture.say("housing", application(), object);
}
