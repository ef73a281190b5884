//! Who belongs to the household of a case: those whose records a question about it adds up. Out of scope: adding up, which the
//! provider does.

use trust::item::HOUSEHOLD_ROLES;

use super::{Case, Person};

/// The members beside the applicant, each with what he is called.
pub(super) fn others(case: &Case) -> impl Iterator<Item = (String, &Person)> {
    let is_other = |person: &Person| HOUSEHOLD_ROLES.contains(&person.role.as_str()) && person.role != "applicant";
    case.everybody().filter(move |(_, person)| is_other(person))
}
