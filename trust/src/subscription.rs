//! Subscriptions: a question that goes on. It is decided on as every question is, at first and whenever something would be told; its
//! answer says the verdict now, and whenever that has changed, an answer follows the last one.
//!
//! **Invariant:** only a change of the one claim's verdict is told. A value never is, and that a record cannot be read is no
//! change. Out of scope: when a record is looked at again, and carrying what is told (the node).

use proto::exchange::v1 as wire;

use crate::{
    clerk::AnsweredBy,
    refusal::{Code, Refusal},
    service::Service,
};

/// The longest that a subscription lasts, in milliseconds.
pub const LONGEST_MS: u64 = 366 * 86_400_000;

/// Whether a question may go on as it stands: one claim, a verdict only, from a record, not for too long, and not over yet.
///
/// # Errors
///
/// What is wrong with it. A question that is answered once is never refused here.
pub fn check(service: &Service, request: &wire::Request, now_ms: u64) -> Result<(), Refusal> {
    let Some(subscription) = &request.subscription else { return Ok(()) };
    let malformed = |field: &str, why: &str| Err(Refusal::new(Code::SubscriptionMalformed).at(field).because(why));
    if request.claims.len() != 1 {
        return malformed("claims", "subscribe to each claim by itself");
    }
    if !request.also_about.is_empty() {
        return malformed("also_about", "subscribe to one subject");
    }
    if request.claims.iter().any(|claim| claim.disclose) {
        return malformed("claims[0].disclose", "a notice tells a verdict and no value");
    }
    if request.accepts_deferral || AnsweredBy::of(&service.published) == AnsweredBy::Clerk {
        return malformed("accepts_deferral", "changes are told from records, not by a person");
    }
    if subscription.until_ms > request.issued_at_ms.saturating_add(LONGEST_MS) {
        return malformed("subscription.until_ms", "it is too far away");
    }
    if subscription.until_ms <= now_ms {
        return Err(Refusal::new(Code::SubscriptionOver).at("subscription.until_ms").because("its time has passed"));
    }
    Ok(())
}

/// Whether a verdict is to be told to somebody who was `told` another. What cannot be told is no news: an outage is not a
/// change, and once it is over the verdict may be what it was.
pub fn is_news(told: wire::Verdict, verdict: wire::Verdict) -> bool {
    verdict != told && !matches!(verdict, wire::Verdict::Unavailable | wire::Verdict::Unspecified)
}

/// Whether a refusal ends a subscription. What is refused for a while only (a service that is suspended, a node whose view or
/// clock is behind) does not.
pub fn is_ended_by(code: Code) -> bool {
    !matches!(
        code,
        Code::ClockBackwards
            | Code::DirectoryExpired
            | Code::GrantNotYetValid
            | Code::KeyNotYetValid
            | Code::KeyUnknown
            | Code::ServiceSuspended
            | Code::ServiceNotReviewed
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decision::decide,
        fixture::{self, Fixture, NOW_MS},
        question::Question,
    };

    fn refused(change: impl FnOnce(&mut wire::Request)) -> Code {
        let mut request = Fixture::town().request();
        request.subscription = Some(wire::Subscription { until_ms: NOW_MS + 1000 });
        request.claims.truncate(1);
        change(&mut request);
        let service = crate::service::Service::clone(
            Fixture::town()
                .directory
                .services()
                .find(|service| service.id.service.as_str() == request.service)
                .unwrap(),
        );
        check(&service, &request, NOW_MS).unwrap_err().code
    }

    #[test]
    fn a_question_goes_on_with_one_claim_for_a_verdict_and_for_a_year_at_most() {
        assert_eq!(
            refused(|request| request.claims.push(fixture::claim("registered_on", "exists", ""))),
            Code::SubscriptionMalformed
        );
        assert_eq!(refused(|request| request.claims[0].disclose = true), Code::SubscriptionMalformed);
        assert_eq!(refused(|request| request.accepts_deferral = true), Code::SubscriptionMalformed);
        let until =
            |until_ms| move |request: &mut wire::Request| request.subscription = Some(wire::Subscription { until_ms });
        assert_eq!(refused(until(NOW_MS + 2 * LONGEST_MS)), Code::SubscriptionMalformed);
        assert_eq!(refused(until(NOW_MS)), Code::SubscriptionOver);
    }

    #[test]
    fn a_grant_that_does_not_say_so_covers_no_subscription() {
        let fixture = Fixture::town();
        let mut request = fixture.request();
        assert!(decide(&fixture.directory, &Question::read(request.clone()).unwrap(), NOW_MS).is_ok());
        request.subscription = Some(wire::Subscription { until_ms: NOW_MS + 1000 });
        let refusal = decide(&fixture.directory, &Question::read(request).unwrap(), NOW_MS).unwrap_err();
        assert_eq!(refusal.code, Code::SubscriptionNotGranted);
    }

    #[test]
    fn an_outage_is_no_news() {
        use wire::Verdict::{Match, Mismatch, NoRecord, Unavailable};
        assert!(is_news(Match, Mismatch) && is_news(Mismatch, NoRecord) && is_news(Unavailable, Match));
        assert!(!is_news(Match, Unavailable) && !is_news(Match, Match));
        assert!(is_ended_by(Code::GrantRevoked) && is_ended_by(Code::ServiceWithdrawn));
        assert!(!is_ended_by(Code::ServiceSuspended));
    }
}
