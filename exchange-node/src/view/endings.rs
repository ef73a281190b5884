//! Who is no longer welcome: a node whose key was revoked or that is gone, a department that is suspended or has ended. Told
//! as the view learns it, so that connections that stand can be cut off. Out of scope: the cutting (`app`).

use proto::registry::v1::statement::Body;
use trust::{
    directory::Directory,
    ids::{DepartmentId, NodeId},
    key::Role,
};

/// Connections with somebody must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The department.
    pub department: DepartmentId,
    /// The node; all of the department's where it is none.
    pub node: Option<NodeId>,
    /// The TLS keys by which connections from there are known.
    pub tls_keys: Vec<[u8; 32]>,
    /// Why, in a word for the log.
    pub why: &'static str,
}

impl Ending {
    /// What a statement ends, seen from the directory as it is before.
    pub(super) fn of(before: &Directory, body: &Body) -> Option<Self> {
        match body {
            Body::KeyRevoked(body) => {
                let key = before.key(&body.key_id.parse().ok()?)?;
                // One that came directly has ended them already.
                let news = key.described.role == Role::Node && key.revoked.is_none();
                Self::of_node(before, key.department.as_ref()?, key.node.as_ref()?, "a key of the node was revoked")
                    .filter(|_| news)
            }
            Body::NodeRemoved(body) => {
                Self::of_node(before, &body.department.parse().ok()?, &body.node.parse().ok()?, "the node was removed")
            }
            Body::NodePublished(body) => {
                let (department, node) = (body.department.parse().ok()?, body.node.parse().ok()?);
                let mut ending = Self::of_node(before, &department, &node, "the node has another TLS key")?;
                ending.tls_keys.retain(|key| *key != *body.tls_key && *key != *body.next_tls_key);
                Some(ending).filter(|ending| !ending.tls_keys.is_empty())
            }
            Body::DepartmentSuspended(body) => Self::of_department(before, &body.department, "it was suspended"),
            Body::DepartmentClosed(body) => Self::of_department(before, &body.department, "it has ended"),
            _ => None,
        }
    }

    fn of_node(before: &Directory, department: &DepartmentId, node: &NodeId, why: &'static str) -> Option<Self> {
        let known = before.nodes_of(department).find(|known| known.node == *node)?;
        let tls_keys = known.tls_keys().copied().collect();
        Some(Self { department: department.clone(), node: Some(node.clone()), tls_keys, why })
    }

    fn of_department(before: &Directory, department: &str, why: &'static str) -> Option<Self> {
        let department: DepartmentId = department.parse().ok()?;
        let tls_keys = before.nodes_of(&department).flat_map(|node| node.tls_keys().copied()).collect();
        Some(Self { department, node: None, tls_keys, why })
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1 as wire;
    use trust::{
        fixture::{self, Fixture, key},
        key::Signer,
    };

    use super::*;

    fn ends(fixture: &Fixture, body: Body) -> Option<(Option<String>, Vec<[u8; 32]>)> {
        Ending::of(&fixture.directory, &body).map(|ending| (ending.node.map(|node| node.to_string()), ending.tls_keys))
    }

    #[test]
    fn what_ends_connections_and_what_does_not() {
        let fixture = Fixture::town();
        let tls = fixture::tls_key("housing", "1");
        let revoked = |name: &str| {
            let key_id = key(name).public_key().id().to_string();
            Body::KeyRevoked(wire::KeyRevoked { department: "housing".into(), key_id, reason: "x".into() })
        };
        assert_eq!(ends(&fixture, revoked("housing node 1")), Some((Some("1".into()), vec![tls])));
        assert_eq!(ends(&fixture, revoked("housing")), None, "a department's key opens no connection");
        let removed = Body::NodeRemoved(wire::NodeRemoved { department: "housing".into(), node: "1".into() });
        assert_eq!(ends(&fixture, removed), Some((Some("1".into()), vec![tls])));
        let suspended = wire::DepartmentSuspended { department: "housing".into(), reason: "x".into() };
        assert_eq!(ends(&fixture, Body::DepartmentSuspended(suspended)), Some((None, vec![tls])));
        let published = |tls_key: [u8; 32], next: &[u8]| {
            Body::NodePublished(wire::NodePublished {
                department: "housing".into(),
                node: "1".into(),
                tls_key: tls_key.to_vec(),
                next_tls_key: next.to_vec(),
                ..Default::default()
            })
        };
        assert_eq!(ends(&fixture, published(tls, &[3; 32])), None, "the old one goes on while it is renewed");
        assert_eq!(ends(&fixture, published([3; 32], &[])), Some((Some("1".into()), vec![tls])));
    }
}
