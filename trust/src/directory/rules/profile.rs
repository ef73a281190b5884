//! The authority's settings.

use proto::registry::v1 as wire;

use super::super::StatementError;
use crate::{calendar::Calendar, official, subject::added::Schemes, witness::MOST_WITNESSES_REQUIRED};

/// The longest time limit, in working days.
const MOST_DAYS: u32 = 366;

/// Checks settings, whether they stand in the founding or change it.
pub(super) fn check(profile: Option<&wire::Profile>) -> Result<(), StatementError> {
    let profile = profile.ok_or_else(|| StatementError::rule("profile", "is missing"))?;
    if profile.view_lifetime_hours == 0 || profile.request_validity_seconds == 0 {
        return Err(StatementError::rule("profile", "lifetimes must be above 0"));
    }
    if profile.witnesses_required > MOST_WITNESSES_REQUIRED {
        let reason = format!("is at most {MOST_WITNESSES_REQUIRED}");
        return Err(StatementError::rule("profile.witnesses_required", reason));
    }
    if profile.request_validity_seconds > 300 {
        return Err(StatementError::rule("profile.request_validity_seconds", "is at most 300"));
    }
    for (field, days) in [
        ("reply_unconditional_days", profile.reply_unconditional_days),
        ("reply_conditional_days", profile.reply_conditional_days),
        ("extension_days", profile.extension_days),
        ("supply_days", profile.supply_days),
        ("correction_days", profile.correction_days),
        ("review_days", profile.review_days),
        ("amber_days", profile.amber_days),
        ("clerk_days", profile.clerk_days),
    ] {
        if days > MOST_DAYS {
            return Err(StatementError::rule(&format!("profile.{field}"), format!("is at most {MOST_DAYS}")));
        }
    }
    if let Some(calendar) = &profile.calendar
        && let Err(wrong) = Calendar::from_wire(calendar)
    {
        // Whoever made the file heard of everything; here the first is enough to refuse it.
        let first = wrong.into_iter().next();
        let (field, reason) = first.map_or_else(Default::default, |wrong| (wrong.field, wrong.reason));
        return Err(StatementError::rule(&format!("profile.{field}"), reason));
    }
    if let Err(wrong) = Schemes::from_wire(&profile.subject_schemes) {
        let field = format!("profile.subject_schemes[{}].{}", wrong.index, wrong.field);
        return Err(StatementError::rule(&field, wrong.reason));
    }
    // Kinds of a later version may stand there: they bind whoever knows them.
    if let Some(kind) = profile.four_eyes.iter().find(|kind| !official::is_well_formed(kind)) {
        return Err(StatementError::rule("profile.four_eyes", format!("{kind:?} is no kind of decision")));
    }
    Ok(())
}
