//! Nodes.

use proto::registry::v1::{self as wire, statement::Body};

use super::{
    super::{Directory, Object, StatementError},
    fields::{check_digest, require_department, require_known},
};

/// Checks a statement about a node.
pub(super) fn check(directory: &Directory, body: &Body, object: &Object) -> Result<(), StatementError> {
    match body {
        Body::NodePublished(body) => check_node(directory, body),
        Body::NodeRemoved(_) => require_known(directory, object),
        _ => Ok(()),
    }
}

fn check_node(directory: &Directory, body: &wire::NodePublished) -> Result<(), StatementError> {
    require_department(directory, &body.department)?;
    check_digest("tls_key", &body.tls_key)?;
    if body.addresses.len() > 16 || body.relays.len() > 16 {
        return Err(StatementError::rule("addresses", "give at most 16, and at most 16 relays"));
    }
    if body.addresses.is_empty() && body.relays.is_empty() {
        return Err(StatementError::rule("addresses", "give an address, or a relay for a node that can only dial out"));
    }
    if !body.next_tls_key.is_empty() {
        check_digest("next_tls_key", &body.next_tls_key)?;
        if body.next_tls_key == body.tls_key {
            return Err(StatementError::rule("next_tls_key", "is the TLS key itself"));
        }
    }
    for (field, key) in [("tls_key", &body.tls_key), ("next_tls_key", &body.next_tls_key)] {
        let another = <[u8; 32]>::try_from(key.as_slice()).ok().and_then(|key| directory.node_by_tls_key(&key));
        if another.is_some_and(|node| (node.department.as_str(), node.node.as_str()) != (&body.department, &body.node))
        {
            // Otherwise one machine could pass for another's.
            return Err(StatementError::rule(field, "is another node's"));
        }
    }
    Ok(())
}
