//! Whether an evidence log's checkpoint was anchored, and by when: it is in the registry's second log, whose checkpoint
//! the directory took. What was anchored before a key was revoked stays good; what was not does not.

use std::rc::Rc;

use proto::exchange::v1 as wire;

use super::{Relied, Report, Wrong, hashes, wrong};
use crate::{
    directory::Directory,
    log::{hash::leaf_hash, proof::verify_inclusion},
    reading::moment,
};

/// The directory that a log's signatures are held against: as it was when the log's checkpoint was anchored, or, where it
/// was not, all that the bundle shows.
pub(super) fn check(
    log: &wire::EvidenceLogPart,
    relied: &Relied<'_>,
    report: &mut Report,
) -> Result<Rc<Directory>, Wrong> {
    let name = format!("anchor of {}", log.origin);
    let Some(anchor) = &log.anchor else {
        report.not_shown(
            name,
            "by when this evidence was there needs an anchor: a key that is revoked later, for whatever reason, takes it along",
        );
        return Ok(Rc::clone(&relied.now));
    };
    let directory = relied.before(anchor.taken_at.saturating_add(1), &name)?;
    let taken = directory.anchors().filter(|taken| taken.place.index == anchor.taken_at);
    let taken = taken
        .ok_or_else(|| wrong(&name, format!("statement {} is no `anchors_taken` of this bundle", anchor.taken_at)))?;
    let path = hashes(&name, &anchor.inclusion)?;
    verify_inclusion(&leaf_hash(log.checkpoint.as_bytes()), anchor.index, taken.size, &path, &taken.root)
        .map_err(|error| wrong(&name, format!("the checkpoint is not in the registry's second log: {error}")))?;
    report.holds(
        name,
        format!(
            "the checkpoint is entry {} of the registry's second log, which the directory took by {} (statement {})",
            anchor.index,
            moment(taken.stated_at_ms),
            anchor.taken_at
        ),
    );
    Ok(Rc::new(directory))
}
