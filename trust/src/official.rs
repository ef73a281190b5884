//! Official decisions: which statements are one, and what the authority's profile asks of them: that they name the officer
//! and the document they rest on, and that a second officer confirmed them. The provider's node asks for it before it
//! signs, and everybody who reads the directory asks for it again. Out of scope: who an officer is, which the department
//! knows.

use proto::registry::v1::{OfficialDecision, statement::Body};

use crate::{
    directory::model::Profile,
    refusal::{Code, Refusal},
};

/// The longest officer number or document, in bytes.
pub const LONGEST_TEXT: usize = 200;

/// The kinds of decision that a profile can ask four eyes for.
pub const KINDS: [&str; 9] = [
    "access.approve",
    "access.extend",
    "access.refuse",
    "access.resume",
    "access.return",
    "access.revoke",
    "access.suspend",
    "clerk.answer",
    "correction.decide",
];

/// The stable codes of a refused application, each with what it means.
pub const REFUSAL_REASONS: [(&str, &str); 7] = [
    ("BASIS_INSUFFICIENT", "the legal basis does not cover the use"),
    ("SCOPE_EXCESSIVE", "more is asked for than the purpose needs"),
    ("PURPOSE_UNFIT", "the data do not serve the purpose"),
    ("FORBIDDEN_BY_LAW", "a law forbids sharing the data for this"),
    ("ALREADY_GRANTED", "another grant covers it"),
    ("CANNOT_SUPPLY", "the department cannot supply it"),
    ("PROVIDER_DECISION", "another reason, which the text gives"),
];

/// The kind of decision that a statement is; `None` where it is none.
pub fn kind_of(body: &Body) -> Option<&'static str> {
    Some(match body {
        Body::AccessExtended(_) => "access.extend",
        Body::AccessGranted(_) => "access.approve",
        Body::AccessRefused(_) => "access.refuse",
        Body::AccessResumed(_) => "access.resume",
        Body::AccessReturned(_) => "access.return",
        Body::AccessRevoked(_) => "access.revoke",
        Body::AccessSuspended(_) => "access.suspend",
        _ => return None,
    })
}

/// Whether a text may stand in a profile's list of kinds.
pub fn is_well_formed(kind: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'.' || byte == b'_';
    (1..=64).contains(&kind.len()) && kind.bytes().all(plain)
}

/// Whether the profile asks for a second officer.
pub fn takes_four_eyes(profile: &Profile, kind: &str) -> bool {
    profile.four_eyes.contains(kind)
}

/// Whether a decision names who made it as the profile asks; a second officer is asked for only where `is_final`.
pub fn check(
    profile: &Profile,
    kind: &str,
    decision: Option<&OfficialDecision>,
    is_final: bool,
) -> Result<(), Refusal> {
    check_texts(decision)?;
    let none = OfficialDecision::default();
    let OfficialDecision { officer, document, second_officer } = decision.unwrap_or(&none);
    let four_eyes = takes_four_eyes(profile, kind);
    for (field, text) in [("decision.officer", officer), ("decision.document", document)] {
        if text.trim().is_empty() && (profile.decisions_named || (four_eyes && field == "decision.officer")) {
            return Err(Refusal::new(Code::DecisionUnnamed).at(field));
        }
    }
    if !second_officer.trim().is_empty() && second_officer.trim() == officer.trim() {
        return Err(Refusal::new(Code::SecondOfficerSame).at("decision.second_officer"));
    }
    if four_eyes && is_final && second_officer.trim().is_empty() {
        return Err(Refusal::new(Code::SecondOfficerMissing).at("decision.second_officer").because(kind));
    }
    Ok(())
}

/// Whether the names can stand in a statement at all.
pub fn check_texts(decision: Option<&OfficialDecision>) -> Result<(), Refusal> {
    let Some(OfficialDecision { officer, document, second_officer }) = decision else { return Ok(()) };
    for (field, text) in
        [("decision.officer", officer), ("decision.document", document), ("decision.second_officer", second_officer)]
    {
        if text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
            let reason = format!("at most {LONGEST_TEXT} bytes, without control characters");
            return Err(Refusal::new(Code::MessageMalformed).at(field).because(reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    fn decision(officer: &str, document: &str, second_officer: &str) -> Option<OfficialDecision> {
        Some(OfficialDecision {
            officer: officer.into(),
            document: document.into(),
            second_officer: second_officer.into(),
        })
    }

    fn code(profile: &Profile, decision: Option<OfficialDecision>, is_final: bool) -> Option<Code> {
        check(profile, "access.approve", decision.as_ref(), is_final).err().map(|refusal| refusal.code)
    }

    #[test]
    fn a_decision_names_who_made_it_where_the_profile_says_so() {
        let mut profile = Fixture::founded().directory.profile().clone();
        assert_eq!(code(&profile, None, true), None);
        profile.decisions_named = true;
        assert_eq!(code(&profile, None, true), Some(Code::DecisionUnnamed));
        assert_eq!(code(&profile, decision("2001", " ", ""), true), Some(Code::DecisionUnnamed));
        assert_eq!(code(&profile, decision("2001", "民函〔2026〕9号", ""), true), None);
        assert_eq!(code(&profile, decision("2001", &"x".repeat(201), ""), true), Some(Code::MessageMalformed));
    }

    #[test]
    fn four_eyes_are_two_officers() {
        let mut profile = Fixture::founded().directory.profile().clone();
        profile.four_eyes.insert("access.approve".into());
        assert_eq!(code(&profile, None, false), Some(Code::DecisionUnnamed));
        assert_eq!(code(&profile, decision("2001", "", ""), false), None, "the first may decide");
        assert_eq!(code(&profile, decision("2001", "", ""), true), Some(Code::SecondOfficerMissing));
        assert_eq!(code(&profile, decision("2001", "", " 2001"), true), Some(Code::SecondOfficerSame));
        assert_eq!(code(&profile, decision("2001", "", "2002"), true), None);
        assert!(check(&profile, "access.revoke", None, true).is_ok(), "another kind");
    }

    #[test]
    fn kinds_and_reasons_are_well_formed() {
        assert!(KINDS.iter().all(|kind| is_well_formed(kind)) && KINDS.is_sorted());
        assert!(!is_well_formed("") && !is_well_formed("Access approve"));
        assert!(
            REFUSAL_REASONS.iter().all(|(code, _)| code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        );
    }
}
