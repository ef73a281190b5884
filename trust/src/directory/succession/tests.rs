//! What moves a service or a grant to a successor, and that nothing less does.

use prost::Message;
use proto::registry::v1::{self as wire, statement::Body};

use super::*;
use crate::{
    decision::decide,
    directory::{
        Directory, StatementError,
        model::{AccessState, Profile},
    },
    fixture::{self, FOUNDED_MS, Fixture, NOW_MS, department, described, key, party},
    key::{Role, Signer},
    question::Question,
    refusal::Code,
};

const GRANT: &str = "0011223344556677";
/// When things go over, unless a test says otherwise.
const FROM_MS: u64 = FOUNDED_MS + 1;

/// Civil affairs and housing with a grant, and two departments that may succeed either.
fn town() -> Fixture {
    let mut fixture = Fixture::town();
    for id in ["social-affairs", "construction"] {
        fixture.admit(id);
        fixture.add_node(id, "1");
    }
    fixture
}

fn offer(from: &str, to: &str) -> wire::DepartmentSucceeded {
    let services = match from {
        "civil-affairs" => vec![wire::HandedService { service: "marriage-registration".into(), major_version: 1 }],
        _ => Vec::new(),
    };
    let held = match from {
        "housing" => vec![wire::HeldGrant { provider: "civil-affairs".into(), id: GRANT.into() }],
        _ => Vec::new(),
    };
    wire::DepartmentSucceeded {
        department: from.into(),
        successor: to.into(),
        services,
        held,
        custody: true,
        reason: "机构改革方案第 3 条".into(),
    }
}

fn hand_over(from: &str, to: &str) -> (Body, String) {
    (Body::DepartmentSucceeded(offer(from, to)), format!("succession/{from}/{to}"))
}

fn acceptance(fixture: &Fixture, from: &str, to: &str) -> (Body, String) {
    let known = fixture.directory.succession(&department(from), &department(to));
    let offer = known.map_or_else(|| vec![0; 32], |known| known.offered.as_bytes().to_vec());
    let body = wire::SuccessionAccepted { department: from.into(), successor: to.into(), offer };
    (Body::SuccessionAccepted(body), format!("succession/{from}/{to}"))
}

fn closing(id: &str, successors: &[&str], from_ms: u64) -> (Body, String) {
    let successors = successors.iter().map(|id| (*id).to_owned()).collect();
    let reason = "机构改革方案".to_owned();
    let body = wire::DepartmentClosed { department: id.into(), successors, from_ms, reason };
    (Body::DepartmentClosed(body), format!("department/{id}"))
}

fn split(id: &str, successors: &[&str], from_ms: u64) -> (Body, String) {
    let successors = successors.iter().map(|id| (*id).to_owned()).collect();
    let body = wire::DepartmentSplit { department: id.into(), successors, from_ms, reason: "划转".into() };
    (Body::DepartmentSplit(body), format!("department/{id}"))
}

fn say(fixture: &mut Fixture, signer: &str, (body, object): (Body, String)) {
    fixture.say(signer, body, &object);
}

fn refused(fixture: &Fixture, signer: &str, (body, object): (Body, String)) -> StatementError {
    fixture.directory.check_envelope(&fixture.sign(signer, body, &object)).unwrap_err()
}

/// All three signatures.
fn succeed(fixture: &mut Fixture, from: &str, to: &str, from_ms: u64) {
    say(fixture, from, hand_over(from, to));
    let accepted = acceptance(fixture, from, to);
    say(fixture, to, accepted);
    say(fixture, "authority", closing(from, &[to], from_ms));
}

/// Housing's question, as asked by and of somebody else.
fn question(fixture: &Fixture, asker: &str, provider: &str) -> Question {
    let mut request = fixture.request();
    request.sender = party(asker).to_string();
    request.recipient = party(provider).to_string();
    Question::read(request).unwrap()
}

fn code(fixture: &Fixture, asker: &str, provider: &str, now_ms: u64) -> Result<Digest, Code> {
    let question = question(fixture, asker, provider);
    decide(&fixture.directory, &question, now_ms).map(|permit| permit.grant).map_err(|refusal| refusal.code)
}

#[test]
fn three_signatures_move_a_service_with_its_grants() {
    let mut fixture = town();
    let grant = fixture.directory.all_access().next().unwrap().1.grant_statement.unwrap();
    assert_eq!(code(&fixture, "housing", "civil-affairs", NOW_MS), Ok(grant));
    succeed(&mut fixture, "civil-affairs", "social-affairs", FROM_MS);
    // The very grant that civil affairs once signed, and no other statement, permits it.
    assert_eq!(code(&fixture, "housing", "social-affairs", NOW_MS), Ok(grant));
    assert_eq!(code(&fixture, "housing", "civil-affairs", NOW_MS), Err(Code::DepartmentClosed));
    assert!(fixture.directory.has_custody(&department("civil-affairs"), &department("social-affairs")));
    let service = ServiceId::read("civil-affairs/marriage-registration", 1).unwrap();
    assert_eq!(fixture.directory.service_now(&service, NOW_MS).department.as_str(), "social-affairs");
    assert_eq!(fixture.directory.service_now(&service, FROM_MS - 1), service);
}

#[test]
fn three_signatures_move_a_grant_that_is_held() {
    let mut fixture = town();
    let grant = code(&fixture, "housing", "civil-affairs", NOW_MS).unwrap();
    succeed(&mut fixture, "housing", "construction", FROM_MS);
    assert_eq!(code(&fixture, "construction", "civil-affairs", NOW_MS), Ok(grant));
    assert_eq!(code(&fixture, "housing", "civil-affairs", NOW_MS), Err(Code::DepartmentClosed));
}

#[test]
fn nothing_less_than_three_signatures_moves_anything() {
    for missing in ["offer", "acceptance", "authority"] {
        let mut fixture = town();
        if missing != "offer" {
            say(&mut fixture, "civil-affairs", hand_over("civil-affairs", "social-affairs"));
        }
        let accepted = acceptance(&fixture, "civil-affairs", "social-affairs");
        if missing == "offer" {
            assert!(matches!(refused(&fixture, "social-affairs", accepted), StatementError::Rule { .. }));
        } else if missing != "acceptance" {
            say(&mut fixture, "social-affairs", accepted);
        }
        if missing != "authority" {
            say(&mut fixture, "authority", closing("civil-affairs", &["social-affairs"], FROM_MS));
        }
        assert_eq!(code(&fixture, "housing", "social-affairs", NOW_MS), Err(Code::ServiceUnknown), "{missing}");
        assert!(!fixture.directory.has_custody(&department("civil-affairs"), &department("social-affairs")));
        // Closed without a hand-over everything ends; without the authority everything stays as it was.
        let old = code(&fixture, "housing", "civil-affairs", NOW_MS);
        assert_eq!(old.is_ok(), missing == "authority", "{missing}: {old:?}");
    }
}

#[test]
fn the_authority_can_neither_hand_over_nor_accept() {
    let mut fixture = town();
    let (civil, social) = ("civil-affairs", "social-affairs");
    for signer in ["authority", "log", social, "housing", "civil-affairs recovery", "civil-affairs node 1"] {
        assert_eq!(refused(&fixture, signer, hand_over(civil, social)), StatementError::NotEntitled, "{signer}");
    }
    say(&mut fixture, civil, hand_over(civil, social));
    for signer in ["authority", "log", civil, "housing", "social-affairs recovery"] {
        let accepted = acceptance(&fixture, civil, social);
        assert_eq!(refused(&fixture, signer, accepted), StatementError::NotEntitled, "{signer}");
    }
    for signer in ["log", civil, social, "civil-affairs recovery"] {
        for confirmation in [closing(civil, &[social], FROM_MS), split(civil, &[social], FROM_MS)] {
            assert_eq!(refused(&fixture, signer, confirmation), StatementError::NotEntitled, "{signer}");
        }
    }
}

#[test]
fn an_acceptance_is_of_the_last_offer_alone() {
    let mut fixture = town();
    let (civil, social) = ("civil-affairs", "social-affairs");
    say(&mut fixture, civil, hand_over(civil, social));
    let first = acceptance(&fixture, civil, social);
    let mut smaller = offer(civil, social);
    smaller.services.clear();
    say(&mut fixture, civil, (Body::DepartmentSucceeded(smaller), format!("succession/{civil}/{social}")));
    assert_eq!(refused(&fixture, social, first).refusal().field, "offer");
    let second = acceptance(&fixture, civil, social);
    say(&mut fixture, social, second.clone());
    assert!(matches!(refused(&fixture, social, second), StatementError::Rule { .. }), "once");
    // Another offer takes the acceptance back.
    say(&mut fixture, civil, hand_over(civil, social));
    say(&mut fixture, "authority", closing(civil, &[social], FROM_MS));
    assert_eq!(code(&fixture, "housing", social, NOW_MS), Err(Code::ServiceUnknown));
}

#[test]
fn a_split_moves_a_part_and_the_department_goes_on() {
    let mut fixture = town();
    let mut other = fixture::marriage_registration();
    other.service = "subsistence-allowance".into();
    fixture.publish(other);
    say(&mut fixture, "civil-affairs", hand_over("civil-affairs", "social-affairs"));
    let accepted = acceptance(&fixture, "civil-affairs", "social-affairs");
    say(&mut fixture, "social-affairs", accepted);
    say(&mut fixture, "authority", split("civil-affairs", &["social-affairs"], FROM_MS));
    assert!(code(&fixture, "housing", "social-affairs", NOW_MS).is_ok());
    assert_eq!(code(&fixture, "housing", "civil-affairs", NOW_MS), Err(Code::ServiceHandedOver));
    let stays = ServiceId::read("civil-affairs/subsistence-allowance", 1).unwrap();
    assert!(fixture.directory.service(&stays).is_some());
    assert!(fixture.directory.service_handed_to(&stays).is_none());
    assert!(fixture.directory.department(&department("civil-affairs")).unwrap().closed.is_none());
    // It has nothing more to say about what it gave up, and the successor has.
    let suspended = |id: &str| {
        let (department, service) = (id.to_owned(), "marriage-registration".to_owned());
        let body = wire::ServiceSuspended { department, service, major_version: 1, notice: "维护".into() };
        (Body::ServiceSuspended(body), format!("service/{id}/marriage-registration/1"))
    };
    assert_eq!(refused(&fixture, "civil-affairs", suspended("civil-affairs")).refusal().field, "object");
    say(&mut fixture, "social-affairs", suspended("social-affairs"));
    assert_eq!(code(&fixture, "housing", "social-affairs", NOW_MS), Err(Code::ServiceSuspended));
}

#[test]
fn a_grant_that_was_handed_over_in_a_split_is_the_successors_alone() {
    let mut fixture = town();
    say(&mut fixture, "housing", hand_over("housing", "construction"));
    let accepted = acceptance(&fixture, "housing", "construction");
    say(&mut fixture, "construction", accepted);
    say(&mut fixture, "authority", split("housing", &["construction"], FROM_MS));
    assert!(code(&fixture, "construction", "civil-affairs", NOW_MS).is_ok());
    assert_eq!(code(&fixture, "housing", "civil-affairs", NOW_MS), Err(Code::GrantHandedOver));
}

#[test]
fn what_goes_over_later_is_whose_it_was_until_then() {
    let mut fixture = town();
    let later_ms = NOW_MS + 1_000_000;
    succeed(&mut fixture, "civil-affairs", "social-affairs", later_ms);
    assert!(code(&fixture, "housing", "civil-affairs", later_ms - 1).is_ok());
    assert_eq!(code(&fixture, "housing", "social-affairs", later_ms - 1), Err(Code::ServiceUnknown));
    assert!(code(&fixture, "housing", "social-affairs", later_ms).is_ok());
    assert_eq!(code(&fixture, "housing", "civil-affairs", later_ms), Err(Code::DepartmentClosed));
    // A revocation before the day counts after it too.
    let revoked = (
        Body::AccessRevoked(wire::AccessRevoked { reason: "滥用".into() }),
        format!("access/civil-affairs/housing/{GRANT}"),
    );
    say(&mut fixture, "civil-affairs", revoked);
    assert_eq!(code(&fixture, "housing", "social-affairs", later_ms), Err(Code::GrantRevoked));
}

#[test]
fn the_successor_governs_what_it_took_over() {
    let mut fixture = town();
    succeed(&mut fixture, "civil-affairs", "social-affairs", FROM_MS);
    let object = format!("access/social-affairs/housing/{GRANT}");
    let suspended = Body::AccessSuspended(wire::AccessSuspended { reason: "核查".into() });
    for signer in ["authority", "civil-affairs", "housing"] {
        let error = refused(&fixture, signer, (suspended.clone(), object.clone()));
        assert!(matches!(error, StatementError::NotEntitled), "{signer}: {error:?}");
    }
    fixture.say("social-affairs", suspended, &object);
    assert_eq!(code(&fixture, "housing", "social-affairs", NOW_MS), Err(Code::GrantSuspended));
    fixture.say("social-affairs", Body::AccessResumed(wire::AccessResumed::default()), &object);
    assert!(code(&fixture, "housing", "social-affairs", NOW_MS).is_ok());
    // And the service: a change raises the version that was taken over.
    let mut changed = fixture::marriage_registration();
    changed.department = "social-affairs".into();
    let published = |service: &wire::ServicePublished| {
        (Body::ServicePublished(service.clone()), "service/social-affairs/marriage-registration/1".to_owned())
    };
    assert_eq!(refused(&fixture, "social-affairs", published(&changed)).refusal().field, "version");
    changed.minor_version = 1;
    say(&mut fixture, "social-affairs", published(&changed));
    assert!(code(&fixture, "housing", "social-affairs", NOW_MS).is_ok(), "the grants stay");
}

#[test]
fn a_department_that_has_ended_says_nothing_more_and_never_comes_back() {
    let mut fixture = town();
    say(&mut fixture, "authority", closing("civil-affairs", &[], FROM_MS));
    let revoked = Body::AccessRevoked(wire::AccessRevoked { reason: "x".into() });
    let late =
        [hand_over("civil-affairs", "social-affairs"), (revoked, format!("access/civil-affairs/housing/{GRANT}"))];
    for said in late {
        let error = refused(&fixture, "civil-affairs", said);
        assert!(matches!(error, StatementError::KeyNotValid { .. }), "{error:?}");
    }
    // Dated back it does not count either: when it was stated the department had ended already.
    let (body, object) = hand_over("civil-affairs", "social-affairs");
    let mut statement = fixture.statement(body, &object);
    statement.stated_at_ms = FOUNDED_MS;
    let sealed = crate::envelope::seal(&statement, &key("civil-affairs")).0;
    assert!(matches!(fixture.directory.check_envelope(&sealed), Err(StatementError::KeyNotValid { .. })));

    assert_eq!(refused(&fixture, "authority", closing("civil-affairs", &[], FROM_MS)).refusal().field, "department");
    let body = wire::DepartmentAdmitted {
        department: "civil-affairs".into(),
        name: Some(wire::LocalName { zh: "民政局".into(), en: String::new() }),
        first_key: Some(described(Role::Department, &key("x")).to_wire()),
        recovery_key: Some(described(Role::Recovery, &key("y")).to_wire()),
        ..Default::default()
    };
    let again = (Body::DepartmentAdmitted(body), "department/civil-affairs".to_owned());
    assert_eq!(refused(&fixture, "authority", again).refusal().field, "department");
    let apply = Body::AccessApplied(fixture::application("8899aabbccddeeff"));
    let error = refused(&fixture, "housing", (apply, "access/civil-affairs/housing/8899aabbccddeeff".to_owned()));
    assert_eq!(error.refusal().field, "provider");
}

#[test]
fn names_have_dates() {
    let mut fixture = town();
    let renamed = |zh: &str, uscc: &str, from_ms| {
        let name = Some(wire::LocalName { zh: zh.into(), en: String::new() });
        let (department, uscc) = ("housing".to_owned(), uscc.to_owned());
        let body = wire::DepartmentRenamed {
            department,
            name,
            uscc,
            division: String::new(),
            from_ms,
            document: String::new(),
        };
        (Body::DepartmentRenamed(body), "department/housing".to_owned())
    };
    for signer in ["housing", "civil-affairs", "log"] {
        assert_eq!(refused(&fixture, signer, renamed("x", "", 1)), StatementError::NotEntitled, "{signer}");
    }
    assert_eq!(refused(&fixture, "authority", renamed(" ", "", 1)).refusal().field, "name.zh");
    say(&mut fixture, "authority", renamed("住房和城乡建设局", "118900000000020192", NOW_MS));
    say(&mut fixture, "authority", renamed("住建局", "", NOW_MS + 1000));
    let housing = fixture.directory.department(&department("housing")).unwrap();
    let name = |at_ms| housing.name_at(at_ms).zh;
    assert_eq!(name(NOW_MS - 1), "housing");
    assert_eq!(name(NOW_MS), "住房和城乡建设局");
    assert_eq!(name(NOW_MS + 1000), "住建局");
    assert_eq!(housing.uscc_at(NOW_MS - 1), "118900000000010112");
    assert_eq!(housing.uscc_at(NOW_MS + 1000), "118900000000020192");
    assert!(code(&fixture, "housing", "civil-affairs", NOW_MS + 2000).is_ok(), "the id and the grants stay");
}

#[test]
fn what_is_handed_over_must_be_there() {
    let mut fixture = town();
    let check = |fixture: &Fixture, change: &dyn Fn(&mut wire::DepartmentSucceeded)| {
        let mut body = offer("civil-affairs", "social-affairs");
        change(&mut body);
        let object = format!("succession/{}/{}", body.department, body.successor);
        refused(fixture, "civil-affairs", (Body::DepartmentSucceeded(body), object)).refusal().field
    };
    assert_eq!(check(&fixture, &|body| body.services[0].major_version = 2), "services[0]");
    assert_eq!(check(&fixture, &|body| body.services.push(body.services[0].clone())), "services[1]");
    let stranger = wire::HeldGrant { provider: "civil-affairs".into(), id: GRANT.into() };
    assert_eq!(check(&fixture, &|body| body.held.push(stranger.clone())), "held[0]");
    assert_eq!(check(&fixture, &|body| body.successor = "nobody".into()), "successor");
    assert_eq!(check(&fixture, &|body| body.reason.clear()), "reason");
    let nothing = |body: &mut wire::DepartmentSucceeded| {
        body.services.clear();
        body.custody = false;
    };
    assert_eq!(check(&fixture, &nothing), "services");
    let mut taken = fixture::marriage_registration();
    taken.department = "social-affairs".into();
    fixture.publish(taken);
    assert_eq!(check(&fixture, &|_| {}), "services[0]");
}

#[test]
fn a_successor_that_is_succeeded_hands_on_what_it_took_over() {
    let mut fixture = town();
    let grant = code(&fixture, "housing", "civil-affairs", NOW_MS).unwrap();
    succeed(&mut fixture, "civil-affairs", "social-affairs", FROM_MS);
    fixture.admit("works");
    let mut body = offer("civil-affairs", "works");
    body.department = "social-affairs".into();
    fixture.say("social-affairs", Body::DepartmentSucceeded(body), "succession/social-affairs/works");
    let accepted = acceptance(&fixture, "social-affairs", "works");
    say(&mut fixture, "works", accepted);
    say(&mut fixture, "authority", closing("social-affairs", &["works"], FROM_MS));
    let first = ServiceId::read("civil-affairs/marriage-registration", 1).unwrap();
    assert_eq!(fixture.directory.service_now(&first, NOW_MS).department.as_str(), "works");
    assert_eq!(code(&fixture, "housing", "works", NOW_MS), Ok(grant));
    let key = AccessKey { provider: department("works"), consumer: department("housing"), id: GRANT.parse().unwrap() };
    assert_eq!(fixture.directory.access(&key).unwrap().state, AccessState::Granted);
    let relied = fixture.directory.relied_on_by_succession(&department("works"));
    for object in ["succession/civil-affairs/social-affairs", "succession/social-affairs/works"] {
        assert!(relied.iter().any(|wanted| wanted.to_string() == object), "{object}");
    }
}

#[test]
fn an_excerpt_that_leaves_other_parts_out_leads_to_the_same_decision() {
    let mut fixture = town();
    let mut other = fixture::marriage_registration();
    other.service = "subsistence-allowance".into();
    fixture.publish(other);
    let mut body = offer("civil-affairs", "social-affairs");
    body.services.push(wire::HandedService { service: "subsistence-allowance".into(), major_version: 1 });
    fixture.say("civil-affairs", Body::DepartmentSucceeded(body), "succession/civil-affairs/social-affairs");
    let accepted = acceptance(&fixture, "civil-affairs", "social-affairs");
    say(&mut fixture, "social-affairs", accepted);
    say(&mut fixture, "authority", closing("civil-affairs", &["social-affairs", "construction"], FROM_MS));
    let left_out = ["subsistence-allowance", "construction"];
    let mut excerpt = Directory::excerpt(fixture::exchange_id(), key("authority").public_key().clone());
    for (index, entry) in (0..).zip(&fixture.entries) {
        let envelope = proto::exchange::v1::Envelope::decode(entry.as_slice()).unwrap();
        let statement = wire::Statement::decode(envelope.payload.as_slice()).unwrap();
        // The keys of what is left out stay: that nobody relies on them changes nothing.
        if !left_out.iter().any(|part| statement.object.contains(part)) {
            match excerpt.apply_excerpt(index, entry) {
                Ok(()) => {}
                Err(StatementError::Envelope(_)) if statement.object.starts_with("key/") => {}
                Err(error) => panic!("{}: {error}", statement.object),
            }
        }
    }
    let question = question(&fixture, "housing", "social-affairs");
    let whole = decide(&fixture.directory, &question, NOW_MS).unwrap().grant;
    assert_eq!(decide(&excerpt, &question, NOW_MS).unwrap().grant, whole);
}

#[test]
fn a_change_that_waits_for_its_review_goes_over_too_and_is_approved_there() {
    let reviews = wire::ServiceReviews::All.into();
    let mut fixture = Fixture::founded_with(wire::Profile { service_reviews: reviews, ..Profile::usual() });
    for id in ["civil-affairs", "housing", "social-affairs"] {
        fixture.admit(id);
        fixture.add_node(id, "1");
    }
    fixture.publish(fixture::marriage_registration());
    fixture.review("marriage-registration", &[]);
    fixture.apply_for_access(GRANT);
    fixture.grant(GRANT, |_| {});
    let mut changed = fixture::marriage_registration();
    changed.minor_version = 1;
    changed.contact = "0890".into();
    fixture.publish(changed);
    succeed(&mut fixture, "civil-affairs", "social-affairs", FROM_MS);
    let grant = code(&fixture, "housing", "social-affairs", NOW_MS);
    assert!(grant.is_ok(), "{grant:?}");

    let id = ServiceId::read("social-affairs/marriage-registration", 1).unwrap();
    let proposed = fixture.directory.service(&id).unwrap().proposed.clone().expect("the change went over");
    let approved = wire::ServiceReviewed {
        department: "social-affairs".into(),
        service: "marriage-registration".into(),
        major_version: 1,
        service_statement: proposed.statement.as_bytes().to_vec(),
        approved: true,
        missing: Vec::new(),
    };
    say(&mut fixture, "authority", (Body::ServiceReviewed(approved), Object::Review(id.clone()).to_string()));
    let service = fixture.directory.service(&id).unwrap();
    assert_eq!((&service.id, service.published.department.as_str()), (&id, "social-affairs"));
    assert_eq!(service.published.contact, "0890");
    assert_eq!(code(&fixture, "housing", "social-affairs", NOW_MS), grant, "it answers as before");
}
