//! What bad input gets: a signed refusal with a stable code, the field and what to do next, and an entry in the evidence.
//! A hand-made peer that holds housing's real keys says what no node of ours would.

use proto::{
    exchange::v1::{Answer, Request, Signed},
    registry::v1::{KeyAdded, statement::Body},
};
use town::harness::{Scope, eventually};
use trust::{
    directory::Object,
    envelope,
    key::{DescribedKey, Role, Signer, SigningKey},
    refusal::Code,
};

use crate::support::{
    BASIS, MARRIAGE, MARRIED, Place, SINGLE, claim, exit, housings_scope,
    peer::{HandMadePeer, envelope_in, now_ms, refusal, seal_with},
    said,
};

/// A town with more services than housing may ask, and a third department.
async fn start() -> (Place, HandMadePeer) {
    let place = Place::start(|plan, dir| {
        let second = MARRIAGE.replace("service: marriage-registration", "service: marriage-history");
        plan.department("civil-affairs")
            .service(MARRIAGE, dir.join("marriage.csv"))
            .service_without_records(second)
            .department("housing")
            .department("taxation")
            .granting("civil-affairs/marriage-registration", "housing", housings_scope())
    })
    .await;
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    (place, peer)
}

/// Sends what is signed, and checks that it is refused with this code and field, in a signed answer that fits the
/// question and is in the evidence.
async fn refused(place: &Place, peer: &HandMadePeer, request: Signed, code: Code, field: &str) -> Answer {
    let before = place.evidence_size("civil-affairs").await;
    let digest = envelope::digest_of(&request).expect("an envelope");
    let answer = peer.answer_to(request).await;
    let refusal = refusal(&answer);
    assert_eq!((refusal.code.as_str(), refusal.field.as_str()), (code.as_str(), field), "{refusal:?}");
    assert!(!refusal.message.is_empty() && !refusal.next_step.is_empty(), "{refusal:?}");
    assert_eq!(answer.request_digest, digest.as_bytes());
    assert_eq!(answer.recipient, "ninghe/housing");
    assert!(answer.grant.is_empty());
    // The question as it came, and the refusal.
    assert_eq!(place.evidence_size("civil-affairs").await, before + 2, "{}", refusal.code);
    answer
}

/// Changes a good question, signs it as it then is, and checks the refusal.
async fn changed(place: &Place, peer: &HandMadePeer, change: impl FnOnce(&mut Request), code: Code, field: &str) {
    let mut request = peer.question(&MARRIED);
    change(&mut request);
    refused(place, peer, peer.seal(&request), code, field).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_question_is_refused_by_name() {
    let (place, peer) = start().await;
    // Ten a second that do not open are answered: those that do are put between them.
    Box::pin(who_asks_and_with_which_key(&place, &peer)).await;
    Box::pin(time_and_repetition(&place, &peer)).await;
    Box::pin(what_is_asked_for_what(&place, &peer)).await;
    Box::pin(the_own_node_refuses_before_anything_leaves(&place)).await;
    Box::pin(a_message_over_its_limit_is_refused_and_not_kept(&place, &peer)).await;
}

async fn who_asks_and_with_which_key(place: &Place, peer: &HandMadePeer) {
    changed(place, peer, |request| request.sender = "ninghe/nobody".into(), Code::DepartmentUnknown, "sender").await;
    changed(place, peer, |request| request.sender = "ninghe/taxation".into(), Code::SenderWrong, "sender").await;

    let stranger = SigningKey::from_seed(&[7; 32]);
    let by_stranger = seal_with(&peer.question(&MARRIED), &stranger);
    refused(place, peer, by_stranger, Code::KeyUnknown, "signatures").await;
    let other_role = seal_with(&peer.question(&MARRIED), peer.keys.department.as_ref().unwrap());
    refused(place, peer, other_role, Code::KeyUnknown, "signatures").await;

    let mut wrong_signature = peer.seal(&peer.question(&MARRIED));
    envelope_in(&mut wrong_signature).signatures[0].sig[10] ^= 1;
    refused(place, peer, wrong_signature, Code::SignatureWrong, "signatures").await;

    // Somebody else's number in place of the one that was signed.
    let mut altered = peer.seal(&peer.question(&MARRIED));
    let payload = &mut envelope_in(&mut altered).payload;
    let place_of_number = payload.windows(18).position(|window| window == MARRIED.as_bytes()).unwrap();
    payload[place_of_number..place_of_number + 18].copy_from_slice(SINGLE.as_bytes());
    refused(place, peer, altered, Code::SignatureWrong, "signatures").await;

    let mut other_type = peer.seal(&peer.question(&MARRIED));
    envelope_in(&mut other_type).payload_type = "application/vnd.errand.statement.v1+protobuf".into();
    refused(place, peer, other_type, Code::PayloadTypeWrong, "payload_type").await;

    let mut rubbish = peer.seal(&peer.question(&MARRIED));
    envelope_in(&mut rubbish).payload = vec![0xff; 64];
    refused(place, peer, rubbish, Code::MessageMalformed, "").await;
}

/// In a town of its own: it asks with a key that does not count, as often as that is answered in a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_from_when_until_when_its_statement_says_and_not_once_revoked() {
    let (place, peer) = start().await;
    for (seed, from, until, code) in [
        (1, now_ms() + 3_600_000, None, Code::KeyNotYetValid),
        (2, now_ms() - 60_000, Some(now_ms() + 1_500), Code::KeyExpired),
    ] {
        let key = SigningKey::from_seed(&[seed; 32]);
        let described = DescribedKey {
            role: Role::Node,
            key: key.public_key().clone(),
            valid_from_ms: from,
            valid_until_ms: until,
        };
        let added = KeyAdded { department: "housing".into(), key: Some(described.to_wire()), node: "1".into() };
        peer.state(&place.town, &Object::Key(*key.public_key().id()), &[], Body::KeyAdded(added)).await;
        // The one that ends counts until then.
        let gone = eventually(std::time::Duration::from_secs(10), async || {
            let answer = peer.answer_to(seal_with(&peer.question(&MARRIED), &key)).await;
            matches!(&answer.outcome, Some(proto::exchange::v1::answer::Outcome::Refusal(found)) if found.code == code.as_str())
        })
        .await;
        assert!(gone, "{code:?}");
        refused(&place, &peer, seal_with(&peer.question(&MARRIED), &key), code, "signatures").await;
    }

    peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
    let id = peer.keys.node.public_key().id().to_string();
    let revoked = place.cli("housing", &["keys", "revoke", &id, "--reason", "the machine was stolen"]).await;
    assert_eq!(exit(&revoked), 0, "{}", said(&revoked));
    place.town.settled().await.unwrap();
    // The connection that stood is cut off; on a new one the refusal says why.
    let again = eventually(std::time::Duration::from_secs(60), async || {
        peer.send(peer.seal(&peer.question(&MARRIED))).await.is_ok()
    });
    assert!(again.await);
    refused(&place, &peer, peer.seal(&peer.question(&MARRIED)), Code::KeyRevoked, "signatures").await;
}

async fn what_is_asked_for_what(place: &Place, peer: &HandMadePeer) {
    changed(place, peer, |request| request.recipient = "ninghe/taxation".into(), Code::RecipientWrong, "recipient")
        .await;
    changed(place, peer, |request| request.exchange_id = "elsewhere".into(), Code::ExchangeWrong, "exchange_id").await;
    changed(place, peer, |request| request.wire_version = 9, Code::WireVersionUnsupported, "wire_version").await;
    changed(place, peer, |request| request.service = "horse-registration".into(), Code::ServiceUnknown, "service")
        .await;
    changed(place, peer, |request| request.service_version = 2, Code::ServiceUnknown, "service").await;
    changed(place, peer, |request| request.service = "marriage-history".into(), Code::GrantMissing, "service").await;

    let other_item = |request: &mut Request| request.purpose.as_mut().unwrap().item = "养老金领取资格认证".into();
    changed(place, peer, other_item, Code::PurposeNotCovered, "purpose.item").await;
    let no_basis = |request: &mut Request| request.purpose.as_mut().unwrap().legal_bases.clear();
    changed(place, peer, no_basis, Code::LegalBasisMissing, "purpose.legal_bases").await;
    changed(place, peer, |request| request.case_number.clear(), Code::CaseMissing, "case_number").await;
    changed(place, peer, |request| request.officer.clear(), Code::OfficerMissing, "officer").await;
    changed(place, peer, |request| request.claims.clear(), Code::TooManyClaims, "claims").await;
    let attribute = |request: &mut Request| request.claims = vec![claim("income", "equals", "1")];
    changed(place, peer, attribute, Code::AttributeUnknown, "claims[0].attribute").await;
    // One that there is, and one that there is not: the grant covers neither.
    let operator = |request: &mut Request| request.claims = vec![claim("marital_status", "like", "married")];
    changed(place, peer, operator, Code::OperatorNotCovered, "claims[0].operator").await;
    // The service allows `one_of`; housing's grant does not cover it.
    let operator = |request: &mut Request| {
        let first = claim("marital_status", "equals", "married");
        request.claims = vec![first, claim("marital_status", "one_of", "married")];
    };
    changed(place, peer, operator, Code::OperatorNotCovered, "claims[1].operator").await;
    let disclose = |request: &mut Request| request.claims[0].disclose = true;
    changed(place, peer, disclose, Code::DisclosureNotCovered, "claims[0].disclose").await;
    let operand = |request: &mut Request| request.claims = vec![claim("marital_status", "equals", "engaged")];
    changed(place, peer, operand, Code::ClaimMalformed, "claims[0].operands[0]").await;

    // The check character is wrong: said before anything is looked up, and without repeating the number.
    let wrong = format!("{}0", &MARRIED[..17]);
    assert_ne!(wrong, *MARRIED);
    let request = peer.question(&wrong);
    let answer = refused(place, peer, peer.seal(&request), Code::SubjectMalformed, "subject.value").await;
    assert!(!format!("{:?}", refusal(&answer)).contains(&wrong[..17]), "the refusal repeats the number");
    let scheme = |request: &mut Request| request.subject.as_mut().unwrap().scheme = "licence_plate".into();
    changed(place, peer, scheme, Code::SubjectSchemeUnsupported, "subject.scheme").await;

    let suspended =
        place.cli("civil-affairs", &["service", "suspend", "marriage-registration", "--notice", "登记系统维护"]).await;
    assert_eq!(exit(&suspended), 0, "{}", said(&suspended));
    changed(place, peer, |_| {}, Code::ServiceSuspended, "service").await;
    let resumed = place.cli("civil-affairs", &["service", "resume", "marriage-registration"]).await;
    assert_eq!(exit(&resumed), 0, "{}", said(&resumed));
    let answer = peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
    assert!(matches!(answer.outcome, Some(proto::exchange::v1::answer::Outcome::Verdicts(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_beyond_the_grant_is_not_covered() {
    let place = Place::start(|plan, dir| {
        plan.department("civil-affairs").service(MARRIAGE, dir.join("marriage.csv")).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            Scope::of("marital_status", &["equals"]),
        )
    })
    .await;
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let other = |request: &mut Request| request.claims = vec![claim("registered_on", "after", "2000-01-01")];
    changed(&place, &peer, other, Code::AttributeNotCovered, "claims[0].attribute").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_counts_until_it_ends_or_is_suspended_or_revoked() {
    let place = Place::start(|plan, dir| {
        plan.department("civil-affairs").service(MARRIAGE, dir.join("marriage.csv")).department("housing")
    })
    .await;
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let id = place.town.grant("civil-affairs/marriage-registration", "housing", housings_scope()).await.unwrap();
    let answer = peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
    assert!(matches!(answer.outcome, Some(proto::exchange::v1::answer::Outcome::Verdicts(_))), "{answer:?}");
    for (action, code) in [("suspend", Code::GrantSuspended), ("revoke", Code::GrantRevoked)] {
        let decided =
            place.cli("civil-affairs", &["access", action, &id, "--reason", "questions without a case"]).await;
        assert_eq!(exit(&decided), 0, "{}", said(&decided));
        changed(&place, &peer, |_| {}, code, "grant").await;
    }

    // A new grant beside the revoked one, which ends soon.
    let short = Scope::of("marital_status", &["equals"]).on(&[BASIS]).until(now_ms() + 4_000);
    place.town.grant("civil-affairs/marriage-registration", "housing", short).await.unwrap();
    let expired = eventually(std::time::Duration::from_secs(20), async || {
        let answer = peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
        matches!(answer.outcome, Some(proto::exchange::v1::answer::Outcome::Refusal(_)))
    })
    .await;
    assert!(expired, "the grant ends");
    changed(&place, &peer, |_| {}, Code::GrantExpired, "grant").await;
}

async fn time_and_repetition(place: &Place, peer: &HandMadePeer) {
    let old = |request: &mut Request| {
        request.issued_at_ms = now_ms() - 300_000;
        request.expires_at_ms = now_ms() - 120_000;
    };
    changed(place, peer, old, Code::RequestTooOld, "expires_at_ms").await;
    let future = |request: &mut Request| {
        request.issued_at_ms = now_ms() + 120_000;
        request.expires_at_ms = now_ms() + 150_000;
    };
    changed(place, peer, future, Code::RequestFromFuture, "issued_at_ms").await;
    let long = |request: &mut Request| request.expires_at_ms = request.issued_at_ms + 600_000;
    changed(place, peer, long, Code::RequestValidityTooLong, "expires_at_ms").await;
    let other_root = |request: &mut Request| request.directory_root = vec![9; 32];
    changed(place, peer, other_root, Code::DirectoryDiverges, "directory_root").await;

    let mut request = peer.question(&MARRIED);
    let signed = peer.seal(&request);
    let answer = peer.send(signed.clone()).await.unwrap();
    let size = place.evidence_size("civil-affairs").await;
    assert_eq!(peer.send(signed).await.unwrap(), answer, "the same bytes get the same answer");
    assert_eq!(place.evidence_size("civil-affairs").await, size, "nothing new happened");
    request.officer = "1025".into();
    refused(place, peer, peer.seal(&request), Code::RequestIdReused, "request_id").await;
}

async fn a_message_over_its_limit_is_refused_and_not_kept(place: &Place, peer: &HandMadePeer) {
    let mut request = peer.question(&MARRIED);
    request.inputs = vec![proto::exchange::v1::Input { name: "x".repeat(40_000), value: None }];
    let before = place.evidence_size("civil-affairs").await;
    let answer = peer.answer_to(peer.seal(&request)).await;
    assert_eq!(refusal(&answer).code, Code::MessageTooLarge.as_str());
    // The refusal is in the evidence; the bytes, which nobody would read again, are not.
    assert_eq!(place.evidence_size("civil-affairs").await, before + 1);
}

/// What the asking node can know by itself it says by itself, and that is in its evidence too.
async fn the_own_node_refuses_before_anything_leaves(place: &Place) {
    use crate::support::{marital_status, question};
    let provider = place.evidence_size("civil-affairs").await;
    let mut no_grant = marital_status(&MARRIED, "married");
    no_grant.service = "marriage-history".into();
    let mut unknown = marital_status(&MARRIED, "married");
    unknown.provider = "horses".into();
    let malformed = marital_status("890101199111250020", "married");
    let uncovered = question(&MARRIED, vec![claim("marital_status", "one_of", "married")]);
    for (question, codes) in [
        (no_grant, &[Code::GrantMissing][..]),
        (unknown, &[Code::DepartmentUnknown, Code::ServiceUnknown]),
        (malformed, &[Code::SubjectMalformed]),
        (uncovered, &[Code::OperatorNotCovered]),
    ] {
        let own = place.evidence_size("housing").await;
        let answer = place.ask(question).await;
        assert_eq!(answer.state(), proto::office::v1::State::Refused, "{answer:?}");
        let refusal = answer.refusal.as_ref().unwrap();
        assert!(codes.iter().any(|code| code.as_str() == refusal.code), "{refusal:?}");
        assert!(!refusal.next_step.is_empty() && !answer.receipt.is_empty());
        assert_eq!(answer.refused_by, "own node");
        assert_eq!(place.evidence_size("housing").await, own + 1);
    }
    assert_eq!(place.evidence_size("civil-affairs").await, provider);
}
