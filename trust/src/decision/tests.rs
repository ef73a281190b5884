//! The decision: what is permitted, and for everything else the code, the field, and that nothing else changes it.

use proto::registry::v1::{self as statement, statement::Body};

use super::*;
use crate::fixture::{self, Fixture, NOW_MS, claim};

fn refused(fixture: &Fixture, change: impl FnOnce(&mut wire::Request)) -> (Code, String) {
    refused_at(fixture, NOW_MS, change)
}

fn refused_at(fixture: &Fixture, now_ms: u64, change: impl FnOnce(&mut wire::Request)) -> (Code, String) {
    let mut request = fixture.request();
    change(&mut request);
    let question = Question::read(request).expect("a well-formed request");
    let refusal = decide(&fixture.directory, &question, now_ms).expect_err("a refusal");
    (refusal.code, refusal.field)
}

fn access(id: &str) -> String {
    format!("access/civil-affairs/housing/{id}")
}

const ID: &str = "0011223344556677";

#[test]
fn a_granted_question_is_permitted_by_its_grant() {
    let fixture = Fixture::town();
    let question = fixture.question();
    let permit = decide(&fixture.directory, &question, NOW_MS).unwrap();
    assert_eq!(permit.claims.len(), 1);
    assert_eq!(permit.subject.value(), fixture::RESIDENT);
    let object = access(ID).parse().map(crate::directory::Object::Access).unwrap();
    assert_eq!(permit.grant, fixture.digest_of(&object));
}

#[test]
fn without_a_grant_there_is_no_answer() {
    let mut fixture = Fixture::founded();
    for department in ["civil-affairs", "housing"] {
        fixture.admit(department);
    }
    assert_eq!(refused(&fixture, |_| {}), (Code::ServiceUnknown, "service".into()));
    fixture.publish(fixture::marriage_registration());
    assert_eq!(refused(&fixture, |_| {}), (Code::GrantMissing, "service".into()));
    // An asker that takes its legal bases from the grant has none to state; it hears what is really missing.
    let without_basis = |request: &mut wire::Request| request.purpose.as_mut().unwrap().legal_bases.clear();
    assert_eq!(refused(&fixture, without_basis).0, Code::GrantMissing);
    fixture.apply_for_access(ID);
    assert_eq!(refused(&fixture, |_| {}).0, Code::GrantMissing);
    fixture.grant(ID, |_| {});
    assert!(decide(&fixture.directory, &fixture.question(), NOW_MS).is_ok());
}

#[test]
fn each_part_of_a_grant_counts() {
    let fixture = Fixture::town();
    let purpose = |request: &mut wire::Request, item: &str| request.purpose.as_mut().unwrap().item = item.into();
    type Case<'a> = (&'a str, Code, &'a str, &'a dyn Fn(&mut wire::Request));
    let cases: [Case<'_>; 16] = [
        ("purpose", Code::PurposeNotCovered, "purpose.item", &|request| purpose(request, "入学")),
        ("no purpose", Code::PurposeNotCovered, "purpose.item", &|request| purpose(request, " ")),
        ("basis", Code::LegalBasisMissing, "purpose.legal_bases", &|request| {
            request.purpose.as_mut().unwrap().legal_bases.clear();
        }),
        ("case", Code::CaseMissing, "case_number", &|request| request.case_number.clear()),
        ("officer", Code::OfficerMissing, "officer", &|request| request.officer = " ".into()),
        ("attribute", Code::AttributeNotCovered, "claims[1].attribute", &|request| {
            request.claims.push(claim("registered_on", "equals", "2020-01-01"));
        }),
        ("no such attribute", Code::AttributeUnknown, "claims[0].attribute", &|request| {
            request.claims[0].attribute = "salary".into();
        }),
        ("operator", Code::OperatorNotCovered, "claims[0].operator", &|request| {
            request.claims[0].operator = "one_of".into();
        }),
        ("disclosure", Code::DisclosureNotCovered, "claims[0].disclose", &|request| request.claims[0].disclose = true),
        ("operand", Code::ClaimMalformed, "claims[0].operands[0]", &|request| {
            request.claims[0] = claim("marital_status", "equals", "engaged");
        }),
        ("no claims", Code::TooManyClaims, "claims", &|request| request.claims.clear()),
        ("33 claims", Code::TooManyClaims, "claims", &|request| {
            request.claims = vec![request.claims[0].clone(); 33];
        }),
        ("input", Code::InputUnknown, "inputs[0]", &|request| {
            request.inputs.push(wire::Input { name: "region".into(), value: None });
        }),
        ("scheme", Code::SubjectSchemeUnsupported, "subject.scheme", &|request| {
            request.subject.as_mut().unwrap().scheme = "uscc".into();
        }),
        ("checksum", Code::SubjectMalformed, "subject.value", &|request| {
            request.subject.as_mut().unwrap().value = "890101199003070012".into();
        }),
        ("service", Code::ServiceUnknown, "service", &|request| request.service_version = 2),
    ];
    for (what, code, field, change) in cases {
        assert_eq!(refused(&fixture, change), (code, field.to_owned()), "{what}");
    }
}

/// A refusal must never carry the subject's number or a claimed value.
#[test]
fn a_refusal_repeats_no_personal_data() {
    let fixture = Fixture::town();
    let mut request = fixture.request();
    request.subject.as_mut().unwrap().value = "890101199003070012".into();
    let question = Question::read(request).unwrap();
    let refusal = decide(&fixture.directory, &question, NOW_MS).unwrap_err();
    assert!(!refusal.to_string().contains("8901011990"));
    let mut request = fixture.request();
    request.claims[0].attribute = "890101199003070011".into();
    let question = Question::read(request).unwrap();
    let refusal = decide(&fixture.directory, &question, NOW_MS).unwrap_err();
    assert!(!refusal.to_string().contains("8901011990"));
}

#[test]
fn a_grant_has_its_time() {
    let mut fixture = Fixture::town();
    fixture.grant(ID, |granted| {
        granted.valid_from_ms = NOW_MS - 1000;
        granted.valid_until_ms = NOW_MS + 1000;
    });
    assert_eq!(refused_at(&fixture, NOW_MS - 1001, |_| {}).0, Code::GrantNotYetValid);
    assert!(decide(&fixture.directory, &fixture.question(), NOW_MS + 999).is_ok());
    assert_eq!(refused_at(&fixture, NOW_MS + 1000, |_| {}).0, Code::GrantExpired);
}

#[test]
fn suspension_and_revocation_close_and_only_a_resumption_opens() {
    let mut fixture = Fixture::town();
    let say = |fixture: &mut Fixture, body| fixture.say("civil-affairs", body, &access(ID));
    say(&mut fixture, Body::AccessSuspended(statement::AccessSuspended { reason: "核查中".into() }));
    assert_eq!(refused(&fixture, |_| {}).0, Code::GrantSuspended);
    say(&mut fixture, Body::AccessResumed(statement::AccessResumed::default()));
    assert!(decide(&fixture.directory, &fixture.question(), NOW_MS).is_ok());
    say(&mut fixture, Body::AccessRevoked(statement::AccessRevoked { reason: "超范围使用".into() }));
    assert_eq!(refused(&fixture, |_| {}).0, Code::GrantRevoked);
}

#[test]
fn a_grant_may_name_one_system() {
    let mut fixture = Fixture::town();
    fixture.grant(ID, |granted| granted.system = "window".into());
    assert_eq!(refused(&fixture, |_| {}), (Code::SystemNotCovered, "system".into()));
    let mut request = fixture.request();
    request.system = "window".into();
    assert!(decide(&fixture.directory, &Question::read(request).unwrap(), NOW_MS).is_ok());
}

#[test]
fn services_can_be_suspended_withdrawn_or_not_shared() {
    let mut fixture = Fixture::town();
    let service = || ("civil-affairs".to_owned(), "marriage-registration".to_owned(), 1);
    let object = "service/civil-affairs/marriage-registration/1";
    let (department, name, major_version) = service();
    let notice = "系统维护至周一".to_owned();
    let body = statement::ServiceSuspended { department, service: name, major_version, notice };
    fixture.say("civil-affairs", Body::ServiceSuspended(body), object);
    assert_eq!(refused(&fixture, |_| {}).0, Code::ServiceSuspended);
    let (department, name, major_version) = service();
    let body = statement::ServiceResumed { department, service: name, major_version };
    fixture.say("civil-affairs", Body::ServiceResumed(body), object);
    // Later than the notice that a withdrawal needs.
    const END_MS: u64 = NOW_MS + 11 * 86_400_000;
    let (department, name, major_version) = service();
    let reason = "并入新服务".to_owned();
    let body = statement::ServiceWithdrawn { department, service: name, major_version, reason, from_ms: END_MS };
    fixture.say("civil-affairs", Body::ServiceWithdrawn(body), object);
    assert!(decide(&fixture.directory, &fixture.question(), NOW_MS).is_ok());
    assert_eq!(refused_at(&fixture, END_MS, |_| {}).0, Code::ServiceWithdrawn);

    let mut secret = fixture::marriage_registration();
    secret.service = "adoption".into();
    secret.sharing = statement::SharingClass::NotShared.into();
    secret.forbidden_by = Some(fixture::basis().remove(0));
    fixture.publish(secret);
    assert_eq!(refused(&fixture, |request| request.service = "adoption".into()).0, Code::ServiceNotShared);
}

#[test]
fn an_unconditional_service_is_its_own_grant_but_still_wants_a_reason() {
    let mut fixture = Fixture::town();
    let mut open = fixture::marriage_registration();
    open.service = "identity".into();
    open.sharing = statement::SharingClass::Unconditional.into();
    fixture.publish(open);
    let mut request = fixture.request();
    request.service = "identity".into();
    let question = Question::read(request).unwrap();
    let permit = decide(&fixture.directory, &question, NOW_MS).unwrap();
    assert_eq!(permit.grant, permit.service.statement);
    let no_reason = |request: &mut wire::Request| {
        request.service = "identity".into();
        request.purpose.as_mut().unwrap().legal_bases.clear();
    };
    assert_eq!(refused(&fixture, no_reason).0, Code::LegalBasisMissing);
}

/// Its own conditional service is asked by a department without a grant: the service's statement, which it signed, stands for
/// it. All else counts as for everybody, and nobody else gains by it.
#[test]
fn a_departments_own_service_is_its_word_to_itself_alone() {
    let mut fixture = Fixture::town();
    fixture.admit("taxation");
    let own = |request: &mut wire::Request| request.sender.clone_from(&request.recipient);
    let mut request = fixture.request();
    own(&mut request);
    let question = Question::read(request).unwrap();
    let permit = decide(&fixture.directory, &question, NOW_MS).unwrap();
    assert_eq!(permit.grant, permit.service.statement);
    assert!(permit.quota.is_none());

    type Case<'a> = (&'a str, Code, &'a dyn Fn(&mut wire::Request));
    let cases: [Case<'_>; 9] = [
        ("another's", Code::GrantMissing, &|request| request.sender = fixture::party("taxation").to_string()),
        ("basis", Code::LegalBasisMissing, &|request| request.purpose.as_mut().unwrap().legal_bases.clear()),
        ("purpose", Code::PurposeNotCovered, &|request| request.purpose.as_mut().unwrap().item.clear()),
        ("case", Code::CaseMissing, &|request| request.case_number.clear()),
        ("officer", Code::OfficerMissing, &|request| request.officer.clear()),
        ("attribute", Code::AttributeUnknown, &|request| request.claims[0].attribute = "salary".into()),
        ("operator", Code::OperatorUnknown, &|request| request.claims[0].operator = "at_least".into()),
        ("disclosure", Code::DisclosureNotCovered, &|request| request.claims[0].disclose = true),
        ("going on", Code::SubscriptionNotGranted, &|request| {
            request.subscription = Some(wire::Subscription { until_ms: NOW_MS + 86_400_000 });
        }),
    ];
    for (what, code, change) in cases {
        let refused = refused(&fixture, |request| {
            own(request);
            change(request);
        });
        assert_eq!(refused.0, code, "{what}");
    }

    // What a law keeps from being shared is nothing that is asked by way of the exchange.
    let mut secret = fixture::marriage_registration();
    secret.service = "adoption".into();
    secret.sharing = statement::SharingClass::NotShared.into();
    secret.forbidden_by = Some(fixture::basis().remove(0));
    fixture.publish(secret);
    let asks_secret = |request: &mut wire::Request| {
        own(request);
        request.service = "adoption".into();
    };
    assert_eq!(refused(&fixture, asks_secret).0, Code::ServiceNotShared);
    let body = statement::DepartmentSuspended { department: "civil-affairs".into(), reason: "整改".into() };
    fixture.say("authority", Body::DepartmentSuspended(body), "department/civil-affairs");
    assert_eq!(refused(&fixture, own).0, Code::DepartmentSuspended);
}

#[test]
fn an_authorisation_must_be_there_and_hold() {
    let mut fixture = Fixture::town();
    let mut service = fixture::marriage_registration();
    service.service = "allowance".into();
    service.sharing = statement::SharingClass::Unconditional.into();
    service.needs_authorisation = Some(fixture::basis().remove(0));
    fixture.publish(service);
    let refused = |authorisation: Option<wire::Authorisation>| {
        refused(&fixture, |request| {
            request.service = "allowance".into();
            request.authorisation = authorisation;
        })
    };
    assert_eq!(refused(None), (Code::AuthorisationMissing, "authorisation".into()));
    let form = || wire::Authorisation {
        form_digest: vec![1; 32],
        scope: "公租房申请".into(),
        signed_by: "subject".into(),
        valid_until_ms: NOW_MS + 1,
    };
    type Change = fn(&mut wire::Authorisation);
    let wrong: [(Change, Code, &str); 7] = [
        (|form| form.form_digest = vec![1; 31], Code::AuthorisationMissing, "form_digest"),
        (|form| form.form_digest.clear(), Code::AuthorisationMissing, "form_digest"),
        (|form| form.signed_by = "neighbour".into(), Code::AuthorisationMissing, "signed_by"),
        (|form| form.scope = " ".into(), Code::AuthorisationMissing, "scope"),
        (|form| form.valid_until_ms = NOW_MS, Code::AuthorisationExpired, "valid_until_ms"),
        (|form| form.scope = "养老金领取资格认证".into(), Code::AuthorisationNotCovering, "scope"),
        // One of two data items that are asked for is not all of them, and a part of a name is no name.
        (|form| form.scope = "registered_on、公租房".into(), Code::AuthorisationNotCovering, "scope"),
    ];
    for (change, code, field) in wrong {
        let mut form = form();
        change(&mut form);
        assert_eq!(refused(Some(form)), (code, format!("authorisation.{field}")));
    }
    for scope in
        ["公租房申请", "低保、公租房申请", "allowance", "civil-affairs/allowance", "婚姻登记核验", "marital_status"]
    {
        let mut request = fixture.request();
        request.service = "allowance".into();
        request.authorisation = Some(wire::Authorisation { scope: scope.into(), ..form() });
        assert!(decide(&fixture.directory, &Question::read(request).unwrap(), NOW_MS).is_ok(), "{scope}");
    }
}

#[test]
fn a_suspended_department_neither_asks_nor_answers() {
    for (department, field) in [("housing", "sender"), ("civil-affairs", "recipient")] {
        let mut fixture = Fixture::town();
        let body = statement::DepartmentSuspended { department: department.into(), reason: "整改".into() };
        fixture.say("authority", Body::DepartmentSuspended(body), &format!("department/{department}"));
        assert_eq!(refused(&fixture, |_| {}), (Code::DepartmentSuspended, field.to_owned()));
    }
}
