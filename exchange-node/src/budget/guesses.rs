//! From the claims and inputs of a permitted question to what they try. Out of scope: whether that is within the budget.

use data_encoding::HEXLOWER;
use jiff::civil::Date;
use rust_decimal::Decimal;
use trust::{
    claim::{Claim, Operator},
    decision::Permit,
    directory::Directory,
    question::{MOST_CLAIMS, Question},
    service::Service,
    subject::Subject,
    value::{Type, Value},
};

use super::{BudgetKey, Guess, GuessSettings, Tried, fixed};

/// What the claims and inputs of a question try, about its subject and about every other number that it says the person has had:
/// whichever of them finds the record is charged.
pub fn guesses(
    key: &BudgetKey,
    settings: &GuessSettings,
    directory: &Directory,
    question: &Question,
    permit: &Permit<'_>,
    also: &[Subject],
    now_ms: u64,
) -> Vec<Guess> {
    let mut subjects = vec![permit.subject.clone()];
    for subject in permit.former_subjects.iter().chain(&permit.also_about).chain(also) {
        if !subjects.contains(subject) {
            subjects.push(subject.clone());
        }
    }
    let (service, mut guesses) = (permit.service, Vec::new());
    let mut charge = |name: &str, tries: Vec<Tried>, (per_day, per_year): (u32, Option<u32>), claim: usize| {
        guesses.extend(subjects.iter().map(|subject| Guess {
            about: key.about(question.sender.department(), subject, name),
            tries: tries.clone(),
            per_day,
            per_year,
            claim,
        }));
    };
    let of_attribute = |ty: Option<Type>| {
        let per_year = ty.is_some_and(has_order).then(|| service.guesses_per_year());
        (service.guesses_per_day(), per_year)
    };
    let type_in = |service: &Service, name: &str| service.attributes.get(name).map(|rule| rule.ty().ty());
    // What selects the rows of one service may be what another one of the department compares.
    let type_anywhere = |name: &str| {
        let department = &service.id.department;
        type_in(service, name).or_else(|| directory.services_of(department).find_map(|other| type_in(other, name)))
    };
    // Who chooses with whom somebody is added up chooses the bound, also where an item fixes it.
    let may_be_fixed = settings.fixed_claims_per_year > 0 && permit.also_about.is_empty();
    for (index, claim) in permit.claims.iter().enumerate() {
        let tries = tries(key, claim, &together(permit));
        if tries.is_empty() {
            continue;
        }
        // No attribute or input has a space in its name.
        if may_be_fixed && fixed::is_fixed(directory, question, service, claim, now_ms) {
            let whole = tries.iter().map(|tried| HEXLOWER.encode(tried)).collect::<Vec<_>>().join(" ");
            let limits = (settings.fixed_claims_per_year, Some(settings.fixed_claims_per_year));
            charge(&format!("fixed {}", claim.attribute()), vec![key.tried("fixed", &whole)], limits, index);
        } else {
            let name = claim.attribute();
            charge(name, tries, of_attribute(type_in(service, name)), index);
        }
    }
    for (index, (name, value)) in permit.inputs.iter().enumerate() {
        let tries = vec![key.tried("same", &canonical(value))];
        if let Some(ty) = type_anywhere(name) {
            charge(name, tries, of_attribute(Some(ty)), MOST_CLAIMS + index);
        } else {
            let limit = |limit: u32| if limit == 0 { u32::MAX } else { limit };
            let limits = (limit(settings.input_values_per_day), Some(limit(settings.input_values_per_year)));
            charge(&format!("input {name}"), tries, limits, MOST_CLAIMS + index);
        }
    }
    guesses
}

/// Everybody whom a question about several people is about, in one order; nothing where it is about one.
fn together(permit: &Permit<'_>) -> String {
    if permit.also_about.is_empty() {
        return String::new();
    }
    let mut all: Vec<String> = std::iter::once(&permit.subject)
        .chain(&permit.also_about)
        .map(|subject| format!("{}:{}", subject.scheme(), subject.value()))
        .collect();
    all.sort_unstable();
    format!(" of {}", all.join(" "))
}

/// Whether a value can be found by halving the rest.
fn has_order(ty: Type) -> bool {
    matches!(ty, Type::Date | Type::Decimal | Type::Integer)
}

/// What a claim tries: a value itself (`same`), or a bound just below or just above one. `at_least` and `before` part what
/// is below a value from the rest, `at_most` and `after` what is above it: asked either way it is the same bit.
fn tries(key: &BudgetKey, claim: &Claim, together: &str) -> Vec<Tried> {
    let one = |way: &str, value: &Value| key.tried(way, &format!("{}{together}", canonical(value)));
    match (claim.operator(), claim.operands()) {
        (Operator::Exists, _) => Vec::new(),
        (Operator::AtLeast | Operator::Before, operands) => operands.iter().map(|value| one("below", value)).collect(),
        (Operator::AtMost | Operator::After, operands) => operands.iter().map(|value| one("above", value)).collect(),
        (Operator::Between, [low, high]) => vec![one("below", low), one("above", high)],
        (Operator::WithinLast, operands) => operands.iter().map(|value| one("within", value)).collect(),
        (_, operands) => operands.iter().map(|value| one("same", value)).collect(),
    }
}

/// A value in one spelling, so that 60000 and 60000.00 are one, whichever type a service gives the attribute.
fn canonical(value: &Value) -> String {
    match value {
        Value::Decimal(decimal) => format!("number {}", decimal.normalize()),
        Value::Integer(integer) => format!("number {}", Decimal::from(*integer).normalize()),
        Value::Text(text) => match text.parse::<Date>() {
            // A service may keep a date as text.
            Ok(date) if text.len() == 10 => format!("date {date}"),
            _ => format!("text {text}"),
        },
        Value::Date(date) => format!("date {date}"),
        other => format!("other {}", other.to_text()),
    }
}
