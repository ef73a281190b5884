//! Whether anything was held back: by the last `state` statement in the bundle, every statement about each object relied
//! on is there, up to that statement. A revocation that was left out, or one that came in between, is found out.
//!
//! Out of scope: what was said after the `state` statement. A bundle without one shows nothing of this, and says so.

use std::collections::BTreeMap;

use proto::exchange::v1 as wire;

use super::{Report, Wrong, wrong};
use crate::{
    directory::{Committed, Directory, state},
    question::Question,
    reading::moment,
};

const NAME: &str = "nothing newer was said";

/// Holds the bundle's state proofs against its last `state` statement.
pub(super) fn check(
    bundle: &wire::EvidenceBundle,
    directory: &Directory,
    question: &Question,
    answers: &[wire::Answer],
    report: &mut Report,
) -> Result<(), Wrong> {
    let Some(committed) = directory.committed() else {
        if !bundle.state.is_empty() {
            return Err(wrong("state proofs", "the bundle has no `state` statement to hold them against"));
        }
        report.not_shown(
            NAME,
            "that none of the statements relied on was withdrawn or replaced needs a `state` statement of the \
             directory; compare with the directory itself",
        );
        return Ok(());
    };
    let objects = check_histories(bundle, committed)?;
    let (until, statement) = (moment(committed.stated_at_ms()), committed.place().index);
    report.holds(
        "state",
        format!(
            "by statement {statement} of {until}, the bundle holds all that had been said of the {objects} objects relied on"
        ),
    );
    // What was decided rests on as much of the directory as whoever decided last had read.
    let relied_on = answers.iter().map(|answer| answer.directory_size).max().unwrap_or(question.wire.directory_size);
    let since = answers.iter().map(|answer| answer.answered_at_ms).max().unwrap_or(question.issued_at_ms);
    if relied_on <= statement && since <= committed.stated_at_ms() {
        report.holds(
            NAME,
            format!(
                "from {} to {until}, nothing that question and answer rest on was revoked, suspended, withdrawn or \
                 replaced but as the bundle shows; what was said later is not shown",
                moment(since)
            ),
        );
    } else {
        report.not_shown(
            NAME,
            format!(
                "the answer of {} rests on {relied_on} statements, and nothing shows what was said after statement \
                 {statement} of {until}: export the bundle again when there is a later `state` statement",
                moment(since)
            ),
        );
    }
    Ok(())
}

/// Holds the state proofs of statements alone against their last `state` statement: no question rests on them.
pub(super) fn check_held_back(
    bundle: &wire::EvidenceBundle,
    directory: &Directory,
    report: &mut Report,
) -> Result<(), Wrong> {
    let Some(committed) = directory.committed() else {
        if !bundle.state.is_empty() {
            return Err(wrong("state proofs", "there is no `state` statement to hold them against"));
        }
        report.not_shown(
            NAME,
            "that nothing was left out needs a `state` statement of the directory; compare with the directory itself",
        );
        return Ok(());
    };
    let objects = check_histories(bundle, committed)?;
    let (until, statement) = (moment(committed.stated_at_ms()), committed.place().index);
    report.holds(
        NAME,
        format!(
            "by statement {statement} of {until}, nothing that had been said of these {objects} objects is left out; what \
             was said later is here as far as whoever made the proof knew it"
        ),
    );
    Ok(())
}

/// That the bundle has every statement about each of its objects before the `state` statement; how many objects.
fn check_histories(bundle: &wire::EvidenceBundle, committed: &Committed) -> Result<usize, Wrong> {
    let index = committed.place().index;
    if committed.size() != index {
        return Err(wrong("state", format!("statement {index} covers {} statements", committed.size())));
    }
    let mut proofs: BTreeMap<&str, &wire::StateProof> = BTreeMap::new();
    for proof in &bundle.state {
        if proofs.insert(&proof.object, proof).is_some() {
            return Err(wrong(name(&proof.object), "is proved twice"));
        }
    }
    let mut objects = 0;
    for said in committed.map().iter().filter(|said| !is_the_logs_own(said.object())) {
        let name = || name(said.object());
        let proof = proofs.remove(said.object());
        let proof = proof.ok_or_else(|| wrong(name(), "there is no proof that nothing else was said about it"))?;
        let (last, before) = state::verify(proof, committed.root()).map_err(|error| wrong(name(), error))?;
        if last != said.last() || before != said.before() {
            return Err(wrong(
                name(),
                format!("something that was said about it before statement {index} is not in the bundle"),
            ));
        }
        objects += 1;
    }
    match proofs.keys().next() {
        None => Ok(objects),
        Some(object) => Err(wrong(name(object), "is proved, and the bundle has no statement about it")),
    }
}

/// What the log says of itself: earlier `state` and `anchors_taken` statements change nothing that is relied on, and need
/// not be there.
pub fn is_the_logs_own(object: &str) -> bool {
    matches!(object, "anchors" | "state")
}

fn name(object: &str) -> String {
    format!("state of {object}")
}
