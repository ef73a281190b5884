//! Rules about evidence logs and the registry's second log, which holds their checkpoints: the second log only grows, and
//! an evidence log that ends says what it kept.

use proto::registry::v1::{AnchorsTaken, EvidenceLogClosed, statement::Body};

use super::{StatementError, fields::require};
use crate::{
    anchor,
    directory::{Directory, Reading},
    evidence::LogOf,
    ids::{DepartmentId, NodeId},
    log::{hash::Hash, proof::verify_consistency},
};

pub(super) fn check(directory: &Directory, body: &Body) -> Result<(), StatementError> {
    match body {
        Body::AnchorsTaken(body) => check_taken(directory, body),
        Body::EvidenceLogClosed(body) => check_closed(directory, body),
        _ => Ok(()),
    }
}

fn check_taken(directory: &Directory, body: &AnchorsTaken) -> Result<(), StatementError> {
    let log_key = directory.log_key().map(|key| *key.as_bytes());
    let (number, opened) = anchor::open_taken(directory.exchange(), log_key, &body.checkpoint)
        .map_err(|error| StatementError::rule("checkpoint", error))?;
    let (size, root) = (opened.checkpoint().size(), opened.checkpoint().root());
    let before = directory.anchors().map_or((0, 0), |taken| (taken.log, taken.size));
    let proof: Vec<Hash> = body
        .consistency
        .iter()
        .map(|hash| Hash::try_from(hash.as_slice()))
        .collect::<Result<_, _>>()
        .map_err(|error| StatementError::malformed("consistency", error))?;
    if directory.reading == Reading::Excerpt {
        return Ok(());
    }
    match directory.anchors() {
        Some(taken) if taken.log == number => {
            if size <= taken.size {
                return Err(StatementError::rule(
                    "checkpoint",
                    format!("{} checkpoints were taken before", taken.size),
                ));
            }
            verify_consistency(taken.size, size, &taken.root, &root, &proof)
                .map_err(|error| StatementError::rule("consistency", error))
        }
        _ if number != before.0 + 1 => {
            Err(StatementError::rule("checkpoint", format!("log {number} does not follow log {}", before.0)))
        }
        _ if size == 0 => Err(StatementError::rule("checkpoint", "there is nothing to take")),
        _ if !proof.is_empty() => {
            Err(StatementError::rule("consistency", "the first checkpoint of a log follows none"))
        }
        Some(_) => require("reason", &body.reason),
        None => Ok(()),
    }
}

fn check_closed(directory: &Directory, body: &EvidenceLogClosed) -> Result<(), StatementError> {
    require("reason", &body.reason)?;
    let department: DepartmentId =
        body.department.parse().map_err(|error| StatementError::malformed("department", error))?;
    let node: NodeId = body.node.parse().map_err(|error| StatementError::malformed("node", error))?;
    let current = directory.evidence_log(&department, &node);
    if directory.reading == Reading::Whole && body.log != current {
        return Err(StatementError::rule("log", format!("the node's log is number {current}")));
    }
    let anchored = anchor::read(directory, body.checkpoint.as_bytes(), anchor::Revoked::Taken)
        .map_err(|error| StatementError::rule("checkpoint", error))?;
    let party = anchor::party(directory.exchange(), &department);
    if anchored.log != (LogOf { party, node, number: body.log }) {
        return Err(StatementError::rule("checkpoint", format!("it is of {}", anchored.log)));
    }
    if body.highest_seen < anchored.size() {
        let reason = format!("it must be at least the {} entries that are kept", anchored.size());
        return Err(StatementError::rule("highest_seen", reason));
    }
    Ok(())
}
