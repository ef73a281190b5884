//! Answers that a person gives: which services have them, when they are due, what a clerk may say. A clerk gives one
//! verdict for each claim, a value only where the question may have one, or declines for a reason out of a list: free text
//! about a record never leaves. Out of scope: who a clerk is, which the department knows, and keeping what waits (the node).

use proto::{exchange::v1 as wire, registry::v1::ServicePublished};

use crate::{
    claim::Verdict,
    decision::Permit,
    directory::model::Profile,
    refusal::{Code, Refusal},
    value::Value,
};

/// The reason of an `UNAVAILABLE` that a clerk gives.
pub const UNDETERMINED: &str = "undetermined";

/// Why an answer is deferred: a person answers the service.
pub const BY_CLERK: &str = "clerk";

/// Why an answer is deferred: there is no record, and then a person answers.
pub const RECORD_MISSING: &str = "record_missing";

/// For what reasons a clerk may decline, each with what it means.
pub const DECLINE_REASONS: [(&str, &str); 5] = [
    ("NOT_OUR_RECORD", "the department does not keep this record"),
    ("QUESTION_UNCLEAR", "the question cannot be understood as it stands"),
    ("DUPLICATE", "the same was answered before"),
    ("BASIS_DOUBTED", "the legal basis does not cover the question"),
    ("PROCEDURE_PENDING", "the fact is the object of a procedure that is under way"),
];

/// Who answers a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// A person.
    Clerk,
    /// The record.
    Record,
    /// The record, and a person where there is none.
    RecordThenClerk,
}

impl AnsweredBy {
    /// The names in service descriptions.
    pub const NAMES: [&str; 3] = ["record", "clerk", "record_then_clerk"];

    /// Who answers a service as it was published.
    pub fn of(published: &ServicePublished) -> Self {
        match published.answered_by.as_str() {
            "clerk" => Self::Clerk,
            "record_then_clerk" => Self::RecordThenClerk,
            _ => Self::Record,
        }
    }
}

/// When a clerk's answer to a question of `now_ms` is due, Unix milliseconds: as the service says, or else as the profile.
pub fn due_ms(published: &ServicePublished, profile: &Profile, now_ms: u64) -> u64 {
    match (published.clerk_seconds, published.clerk_days) {
        (0, 0) => profile.calendar.deadline(now_ms, profile.clocks.clerk),
        (0, days) => profile.calendar.deadline(now_ms, days),
        (seconds, _) => now_ms.saturating_add(u64::from(seconds) * 1000),
    }
}

/// What a clerk says of a claim.
#[derive(Clone, Debug)]
pub struct Said {
    /// Which claim, counted from 1.
    pub claim: usize,
    /// The verdict.
    pub verdict: Verdict,
    /// The value as text; empty for none.
    pub disclosed: String,
}

/// One verdict for each claim of a permitted question, or what is wrong with what the clerk said.
pub fn verdicts(permit: &Permit<'_>, said: &[Said], record_as_of: &str) -> Result<wire::Verdicts, Refusal> {
    let malformed = |field: String, why: &str| Err(Refusal::new(Code::MessageMalformed).at(field).because(why));
    let is_day = |text: &str| text.parse::<jiff::civil::Date>().is_ok_and(|day| day.to_string() == text);
    if !record_as_of.is_empty() && !is_day(record_as_of) {
        return malformed("record_as_of".to_owned(), "write YYYY-MM-DD");
    }
    if let Some(stray) = said.iter().find(|said| said.claim == 0 || said.claim > permit.claims.len()) {
        return malformed("verdicts".to_owned(), &format!("the question has no claim {}", stray.claim));
    }
    let mut verdicts = Vec::with_capacity(permit.claims.len());
    for (number, claim) in (1..).zip(&permit.claims) {
        let field = || format!("verdicts[{number}]");
        let mut of_it = said.iter().filter(|said| said.claim == number);
        let (Some(said), None) = (of_it.next(), of_it.next()) else {
            return malformed(field(), "each claim takes one verdict");
        };
        let compared = matches!(said.verdict, Verdict::Match | Verdict::Mismatch);
        let disclosed = match (said.disclosed.as_str(), permit.service.attributes.get(claim.attribute())) {
            ("", _) => None,
            (_, _) if !claim.disclose() || !compared => {
                let refusal = Refusal::new(Code::DisclosureNotCovered).at(field());
                return Err(refusal.because("a value stands beside a MATCH or MISMATCH whose claim asked for it"));
            }
            (text, Some(rule)) => match Value::read(text, rule.ty()) {
                Ok(value) => Some(value.to_proto()),
                Err(error) => return malformed(field(), &error.to_string()),
            },
            (_, None) => return malformed(field(), "the service has no such attribute any more"),
        };
        verdicts.push(wire::ClaimVerdict {
            attribute: claim.attribute().to_owned(),
            operator: claim.operator().as_str().to_owned(),
            verdict: said.verdict.to_proto().into(),
            by_absence: false,
            disclosed,
            reason: if said.verdict == Verdict::Unavailable { UNDETERMINED.to_owned() } else { String::new() },
        });
    }
    Ok(wire::Verdicts { verdicts, record_as_of: record_as_of.to_owned() })
}

/// The refusal of a clerk who declines; `None` where the reason is not in the list.
pub fn declined(reason: &str) -> Option<Refusal> {
    let (code, meaning) = DECLINE_REASONS.iter().find(|(code, _)| *code == reason)?;
    Some(Refusal::new(Code::ClerkDeclined).because(format!("{code} ({meaning})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decision::decide,
        fixture::{Fixture, NOW_MS},
    };

    fn said(claim: usize, verdict: Verdict, disclosed: &str) -> Said {
        Said { claim, verdict, disclosed: disclosed.into() }
    }

    #[test]
    fn a_clerk_gives_one_verdict_for_each_claim_and_no_value_that_was_not_asked_for() {
        let fixture = Fixture::town();
        let question = fixture.question();
        let permit = decide(&fixture.directory, &question, NOW_MS).unwrap();
        let given = verdicts(&permit, &[said(1, Verdict::Unavailable, "")], "2026-01-01").unwrap();
        assert_eq!(given.verdicts[0].reason, UNDETERMINED);
        let code = |said: &[Said], day: &str| verdicts(&permit, said, day).unwrap_err().code;
        assert_eq!(code(&[], ""), Code::MessageMalformed);
        let one = said(1, Verdict::Match, "");
        assert_eq!(code(&[one.clone(), one.clone()], ""), Code::MessageMalformed, "twice");
        assert_eq!(code(&[one.clone(), said(2, Verdict::Match, "")], ""), Code::MessageMalformed, "no such claim");
        assert_eq!(code(std::slice::from_ref(&one), "yesterday"), Code::MessageMalformed);
        assert_eq!(code(&[said(1, Verdict::Match, "single")], ""), Code::DisclosureNotCovered);
    }

    #[test]
    fn an_answer_is_due_as_the_service_says_and_else_as_the_profile() {
        let profile = Fixture::town().directory.profile().clone();
        let mut published = crate::fixture::marriage_registration();
        assert_eq!(due_ms(&published, &profile, NOW_MS), profile.calendar.deadline(NOW_MS, 10));
        published.clerk_days = 3;
        assert_eq!(due_ms(&published, &profile, NOW_MS), profile.calendar.deadline(NOW_MS, 3));
        published.clerk_seconds = 30;
        assert_eq!(due_ms(&published, &profile, NOW_MS), NOW_MS + 30_000);
    }

    #[test]
    fn a_clerk_declines_for_a_reason_of_the_list_and_in_no_words_of_his_own() {
        assert!(declined("DUPLICATE").unwrap().detail.starts_with("DUPLICATE"));
        assert!(declined("he moved to another town").is_none());
    }
}
