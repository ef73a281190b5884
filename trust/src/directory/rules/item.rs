//! Public service items: the guide is whole, asks for nothing that a department can answer, and leads in no circle; versions
//! follow one another. What is wrong is `crate::item`'s to say.

use proto::registry::v1::ItemPublished;

use super::{
    super::{Directory, Object, StatementError},
    fields::require_department,
};
use crate::item::{self, Flaw};

/// Checks a statement about an item.
pub(super) fn check(
    directory: &Directory,
    body: &ItemPublished,
    object: &Object,
    stated_at_ms: u64,
) -> Result<(), StatementError> {
    require_department(directory, &body.department)?;
    told(item::shape(body))?;
    let Object::Item(department, name) = object else { return Ok(()) };
    let before = directory.item_versions(department, name).last();
    let next = before.map_or(1, |before| before.version.saturating_add(1));
    if body.version != next {
        return Err(StatementError::rule("version", format!("the next version is {next}")));
    }
    if before.is_some_and(|before| body.effective_from_ms < before.effective_from_ms) {
        return Err(StatementError::rule("effective_from", "must not be before the version before it takes effect"));
    }
    told(item::standing(directory, body, stated_at_ms))
}

/// Checks what only whoever takes the statement in looks at.
pub(super) fn check_new(directory: &Directory, body: &ItemPublished, stated_at_ms: u64) -> Result<(), StatementError> {
    told(item::passing(directory, body, stated_at_ms))
}

/// All of it in one refusal, at the first field.
fn told(flaws: Vec<Flaw>) -> Result<(), StatementError> {
    let Some((first, others)) = flaws.split_first() else { return Ok(()) };
    let others: String = others.iter().map(|other| format!("; {other}")).collect();
    Err(StatementError::rule(&first.field, format!("{}{others}", first.reason)))
}
