//! What an office may say of a case, before anything is done: who, how many, how long. Out of scope: what it means (`plan`).

use trust::{
    item::ROLES,
    refusal::{Code, Refusal},
};

use crate::case::{
    Person,
    people::{MOST_PEOPLE, which},
};

/// The longest case number, in characters.
const LONGEST_NUMBER: usize = 64;

/// The most values of a person, and the longest.
const MOST_VALUES: usize = 32;
const LONGEST_VALUE: usize = 512;

pub(super) fn check_head(number: &str, officer: &str) -> Result<(), Refusal> {
    if number.trim().is_empty() {
        return Err(Refusal::new(Code::CaseMissing).at("case_number"));
    }
    if number.chars().count() > LONGEST_NUMBER || number.chars().any(char::is_control) {
        return Err(Refusal::new(Code::MessageMalformed)
            .at("case_number")
            .because("at most 64 characters in one line"));
    }
    if officer.trim().is_empty() {
        return Err(Refusal::new(Code::OfficerMissing).at("officer"));
    }
    Ok(())
}

pub(super) fn check_people(people: &[Person], is_new: bool) -> Result<(), Refusal> {
    let malformed = |field: String, why: &str| Err(Refusal::new(Code::MessageMalformed).at(field).because(why));
    if people.len() > MOST_PEOPLE {
        return malformed("people".to_owned(), "at most 16");
    }
    for (index, person) in people.iter().enumerate() {
        let is_known = ROLES.contains(&person.role.as_str()) || !is_new && which(&person.role).is_some();
        if !is_known {
            return malformed(format!("people[{index}].role"), "applicant, spouse, child, guardian, father or mother");
        }
        let is_twice = people[..index].iter().any(|other| other.role == person.role && person.role != "child");
        if is_twice {
            return malformed(format!("people[{index}].role"), "only children may stand in a case more than once");
        }
        let is_long = |text: &String| text.len() > LONGEST_VALUE || text.chars().any(char::is_control);
        if person.values.len() > MOST_VALUES
            || person.values.iter().any(|(name, value)| is_long(name) || is_long(value))
        {
            return malformed(format!("people[{index}].values"), "at most 32, each one line of at most 512 bytes");
        }
    }
    if is_new && people.iter().all(|person| person.role != "applicant") {
        return malformed("people".to_owned(), "there is no applicant");
    }
    Ok(())
}
